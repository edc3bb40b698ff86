"""The decoder's model folder: weights, description and card.

In come a trained network and what it was trained on; out goes the folder. The figures are not made
here: ``sleepstream evaluate all`` puts them between the card's markers.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from sleepstream.stager.gpt import Gpt
from sleepstream.stager.weights import ModelFiles, find, save_model
from sleepstream_training.decoder import both_ways
from sleepstream_training.decoder.data import FEATURES, HYPNOGRAMS, sha256
from sleepstream_training.decoder.recipe import Recipe
from sleepstream_training.nights import Night, subjects_by_dataset

TEMPLATE = Path(__file__).with_name("card.md")


def save(
    gpt: Gpt,
    recipe: Recipe,
    nights: Sequence[Night],
    out: Path,
    *,
    data: Path,
    seconds: float,
    command: str,
) -> ModelFiles:
    """Write the model folder.

    Parameters
    ----------
    gpt : Gpt
        Trained.
    recipe : Recipe
        How.
    nights : sequence of Night
        What it learned from. Their subjects go into the description, so that nobody measures the
        model on them by mistake.
    out : Path
        The folder.
    data : Path
        Where the data were.
    seconds : float
        How long the steps took.
    command : str
        What was typed.
    """
    shape = asdict(gpt.shape)
    shape.pop("n_inputs")
    card = TEMPLATE.read_text(encoding="utf-8")
    facts = {
        "name": out.name,
        "command": command,
        "seed": recipe.training.seed,
        "steps": recipe.n_steps,
        "date": datetime.now(UTC).date().isoformat(),
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"numpy {np.__version__}",
        "minutes": f"{seconds / 60:.0f}",
        "machine": f"{platform.machine()}, one thread",
        "parameters": f"{sum(p.numel() for p in gpt.parameters()):,}",
        "hashes": _hashes(data),
        "data": _databases(nights),
        "phases": _phases(recipe),
    }
    for key, value in facts.items():
        card = card.replace("{" + key + "}", str(value))
    return save_model(
        out,
        kind="decoder",
        arch=both_ways.ARCH if isinstance(gpt, both_ways.BothWays) else "gpt",
        tensors={name: tensor.contiguous() for name, tensor in gpt.state_dict().items()},
        options=shape,
        card=card,
        license="BSD-3-Clause",
        trained_on=_learned_from(recipe, nights),
    )


def _learned_from(recipe: Recipe, nights: Sequence[Night]) -> dict[str, list[str]]:
    """Return the subjects of these nights, and those of the model that the recipe starts from."""
    found = {dataset: set(names) for dataset, names in subjects_by_dataset(nights).items()}
    if recipe.start:
        earlier = find(recipe.start, "decoder").description.get("trained_on", {})
        for dataset, names in earlier.items():
            found.setdefault(dataset, set()).update(names)
    return {dataset: sorted(found[dataset]) for dataset in sorted(found)}


def _hashes(data: Path) -> str:
    files = [data / part for part in (HYPNOGRAMS, FEATURES) if (data / part).is_file()]
    hashes = [f"`{file.name}` has sha256 {sha256(file)}." for file in files]
    return "\n".join(["Scored nights of these databases.", *hashes])


def _databases(nights: Sequence[Night]) -> str:
    rows = ["| database | nights | subjects | licence |", "|---|---|---|---|"]
    for dataset, subjects in subjects_by_dataset(nights).items():
        its = [night for night in nights if night.dataset == dataset]
        licences = ", ".join(sorted({night.license for night in its} - {""})) or "–"
        rows.append(f"| {dataset} | {len(its)} | {len(subjects)} | {licences} |")
    return "\n".join(rows)


def _phases(recipe: Recipe) -> str:
    rows = [
        "| phase | steps | nights a step | learning rate | scored | simulated | paired | own |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, phase in recipe.phases.items():
        if not phase.steps:
            continue
        kinds = (phase.language, phase.simulated, phase.paired, phase.encoded)
        shares = " | ".join(f"{kind:g}" for kind in kinds)
        rows.append(
            f"| {name} | {phase.steps} | {phase.batch} | {phase.learning_rate:g} | {shares} |"
        )
    return "\n".join(rows)
