"""The card of a disorder score, written by the command that fits it.

In comes what was done and what came of it; out goes Markdown.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import sklearn
import torch

from sleepstream.stager.disorder import FARTHEST, MAX_UNSCORABLE, MIN_ASLEEP, ONSET_EPOCHS
from sleepstream.stager.weights import ModelFiles
from sleepstream_training.decoder.data import FEATURES, HYPNOGRAMS, sha256
from sleepstream_training.disorder.cohort import DECODED, SCORED, Cohort, agreement
from sleepstream_training.disorder.linear import LinearCandidate
from sleepstream_training.disorder.nested import Calibrated
from sleepstream_training.disorder.recipe import ByAhi, Recipe
from sleepstream_training.evaluation.tables import Table

TEMPLATE = Path(__file__).with_name("card.md")


@dataclass(frozen=True, slots=True, eq=False)
class Story:
    """What was done, and what came of it.

    Attributes
    ----------
    recipe : Recipe
        What was asked for.
    cohort : Cohort
        Whose nights.
    decoder : ModelFiles
        Through which they were read.
    best : Calibrated
        What ships.
    first_hour : int
        From when on it speaks.
    chosen : dict of list of str
        What the outer folds chose, by family.
    tables : sequence of Table
        The figures.
    data : Path
        Where the data were.
    command : str
        What was typed.
    seconds : float
        How long it took, what was found in ``--work`` not counted.
    """

    recipe: Recipe
    cohort: Cohort
    decoder: ModelFiles
    best: Calibrated[LinearCandidate]
    first_hour: int
    chosen: dict[str, list[str]]
    tables: Sequence[Table]
    data: Path
    command: str
    seconds: float


def card(name: str, story: Story) -> str:
    """Return the card."""
    recipe, cases = story.recipe, story.cohort.cases
    facts = {
        "name": name,
        "about": recipe.about.strip(),
        "resembles": recipe.words.resembles,
        "rather_than": recipe.words.rather_than,
        "caution": recipe.words.caution,
        "first_hour": story.first_hour,
        "level": f"{recipe.validation.level:g}",
        "onset_minutes": ONSET_EPOCHS // 2,
        "max_unscorable": f"{MAX_UNSCORABLE:.0%}",
        "min_asleep": f"{MIN_ASLEEP:.0%}",
        "farthest": f"{FARTHEST:g}",
        "replicates": recipe.model.replicates,
        "groups": _groups(recipe),
        "n_with": int(np.sum(cases == 1)),
        "n_without": int(np.sum(cases == 0)),
        "hashes": _hashes(story),
        "decoder": f"{story.decoder.name} {story.decoder.sha256[:12]}",
        "kappa": f"{agreement(story.cohort):.2f}",
        "decoded": recipe.reading.decoded,
        "repeats": recipe.validation.repeats,
        "folds": recipe.validation.folds,
        "inner_folds": recipe.validation.inner_folds,
        "best": story.best.candidate.name,
        "slope_scored": f"{story.best.slope[SCORED]:.2f}",
        "slope_decoded": f"{story.best.slope[DECODED]:.2f}",
        "chosen": _chosen(story.chosen),
        "tables": "\n\n".join(f"**{t.title}**\n\n{t.markdown()}" for t in story.tables),
        "command": story.command,
        "seed": recipe.training.seed,
        "date": datetime.now(UTC).date().isoformat(),
        "versions": f"Python {platform.python_version()}, numpy {np.__version__}, "
        f"scikit-learn {sklearn.__version__}, torch {torch.__version__}",
        "minutes": f"{story.seconds / 60:.0f}",
        "machine": f"{platform.machine()}, one thread",
    }
    text = TEMPLATE.read_text(encoding="utf-8")
    for key, value in facts.items():
        text = text.replace("{" + key + "}", str(value))
    return text


def _groups(recipe: Recipe) -> str:
    groups = recipe.groups
    if isinstance(groups, ByAhi):
        return (
            f"{groups.dataset}: an apnoea-hypopnoea index of {groups.severe:g} or more against "
            f"below {groups.none:g}. Who is between was not learned from, which makes the question "
            "easier than it is in life"
        )
    out = f"; left out: {', '.join(groups.leave_out)}" if groups.leave_out else ""
    return f"{groups.dataset}: any diagnosis against {' or '.join(groups.none)}{out}"


def _hashes(story: Story) -> str:
    files = [story.data / part for part in (HYPNOGRAMS, FEATURES)]
    licences = sorted({night.license for night in story.cohort.nights} - {""})
    hashes = [f"`{file.name}` has sha256 {sha256(file)}." for file in files if file.is_file()]
    return "\n".join([f"Licence of the nights: {', '.join(licences) or 'not given'}.", *hashes])


def _chosen(chosen: dict[str, list[str]]) -> str:
    """Return how often the inner folds chose what."""
    lines = []
    for family, names in chosen.items():
        counts = ", ".join(f"{name} ({n})" for name, n in Counter(names).most_common())
        lines.append(f"- *{family}*: {counts}")
    return "\n".join(lines)
