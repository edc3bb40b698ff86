"""Fitting a disorder score from recipe to model folder: the parts put together.

In come a recipe and a folder of data, out goes a model folder that `sleepstream run --disorder`
accepts, with a card that holds every figure. The nested cross-validation is what takes time; it
judges, and the weights are then fitted on everybody.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from sleepstream.errors import ModelError
from sleepstream.stager import weights
from sleepstream.stager.device import single_thread
from sleepstream.stager.disorder import ARCH
from sleepstream.stager.weights import DESCRIPTION_FILE, ModelFiles
from sleepstream_training.decoder.data import load_encoded, load_hypnograms
from sleepstream_training.disorder import cohort as cohorts
from sleepstream_training.disorder import tables
from sleepstream_training.disorder.card import Story, card
from sleepstream_training.disorder.cohort import DECODED, SCORED, Cohort
from sleepstream_training.disorder.linear import Linear, LinearCandidate
from sleepstream_training.disorder.nested import Calibrated, Learners, Outcome, calibrated, nested
from sleepstream_training.disorder.recipe import Recipe
from sleepstream_training.disorder.segments import SegmentCandidate
from sleepstream_training.evaluation.tables import Table
from sleepstream_training.nights import Night, subjects_by_dataset
from sleepstream_training.runs import Reporter

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be fitted, and where things are and go.

    Attributes
    ----------
    recipe : Recipe
        With all changes.
    data : Path
        A folder with hypnograms and spectral features (`decoder.data`).
    out : Path
        The model folder to write; its last part is the model's name.
    work : Path
        Where what was read and judged is kept.
    command : str
        As it was given, for the card.
    """

    recipe: Recipe
    data: Path
    out: Path
    work: Path
    command: str


def train(order: Order, reporter: Reporter, stop: Callable[[], bool]) -> ModelFiles:
    """Judge and fit a disorder score, and write its model folder.

    Parameters
    ----------
    order : Order
        What, and where.
    reporter : Reporter
        Who tells a person.
    stop : callable
        Asked now and then whether to stop.

    Returns
    -------
    ModelFiles
        The model, read back.

    Raises
    ------
    Stopped
        `stop` said so; the same command goes on.
    ModelError
        The groups can be told apart at no hour well enough for a score, or there is no place for
        the model.
    RecordingError
        Data are missing.
    """
    _check_free(order.out)
    single_thread()
    began = time.monotonic()
    recipe = order.recipe
    cohort, decoder = _read(order, reporter)
    learners = Learners(cohort, recipe)
    outcome = _judge(order, cohort, decoder, learners, reporter=reporter, stop=stop)
    first_hour = _first_hour(cohort, outcome, recipe.validation.level)
    reporter.say(f"it speaks from {first_hour} h after sleep onset; fitting on everybody")
    best = _best(cohort, learners, recipe)
    made = list(_tables(cohort, learners, outcome, best, recipe))
    story = Story(
        recipe=recipe,
        cohort=cohort,
        decoder=decoder,
        best=best,
        first_hour=first_hour,
        chosen=outcome.chosen,
        tables=made,
        data=order.data,
        command=order.command,
        seconds=time.monotonic() - began,
    )
    return _write(order, story, learners)


def _check_free(out: Path) -> None:
    if out.exists() and not (out / DESCRIPTION_FILE).is_file():
        raise ModelError(
            f"a place for the model {out.name!r}",
            f"{out} exists and is no model",
            "choose another one with --out, or move it away",
        )


def _read(order: Order, reporter: Reporter) -> tuple[Cohort, ModelFiles]:
    """Choose the nights and read them through the decoder."""
    recipe = order.recipe
    decoder = weights.find(recipe.reading.decoder, "decoder")
    nights, cases = cohorts.choose(load_hypnograms(order.data), recipe.groups)
    reporter.say(
        f"{len(nights)} nights of {recipe.groups.dataset}: {np.sum(cases == 1)} with, "
        f"{np.sum(cases == 0)} without, {np.sum(np.isnan(cases))} between"
    )
    donors = [night for night in load_encoded(order.data, order.work) if not night.held_out]
    seed = recipe.training.seed
    reader = cohorts.Reader(decoder, donors, seed)
    settled = [decoder.fingerprint, seed, recipe.reading.decoded, _digest_of(nights, cases)]
    kept = order.work / f"read-{_digest(settled)}"
    reporter.say(f"reading them through {decoder.name} (kept in {kept})")
    cohort = cohorts.assemble(
        nights,
        cases,
        reader,
        recipe.reading.decoded,
        kept=kept,
        on_night=lambda done: reporter.at("nights read", done, len(nights)),
    )
    return cohort, decoder


def _judge(
    order: Order,
    cohort: Cohort,
    decoder: ModelFiles,
    learners: Learners,
    *,
    reporter: Reporter,
    stop: Callable[[], bool],
) -> Outcome:
    recipe = order.recipe
    settled = [decoder.fingerprint, recipe.decisive(), _digest_of(cohort.nights, cohort.cases)]
    kept = order.work / f"{order.out.name}-{_digest(settled)}"
    reporter.say(f"nested cross-validation (kept in {kept})")
    return nested(
        cohort,
        learners,
        recipe,
        kept,
        on_fold=lambda done, of: reporter.at("outer folds", done, of),
        stop=stop,
    )


def _first_hour(cohort: Cohort, outcome: Outcome, level: float) -> int:
    lower_ends = tables.lower_ends(cohort, outcome)
    found = tables.speaks_from(lower_ends, level)
    if found is None:
        shown = ", ".join(f"{hour} h: {low:.2f}" for hour, low in lower_ends.items())
        raise ModelError(
            f"an hour from which on the AUC's interval lies above {level:g}",
            f"lower ends of {shown or 'no hour: too few nights'}",
            "learn from more nights, or lower validation.level and say so to whoever reads it",
        )
    return found


def _best(cohort: Cohort, learners: Learners, recipe: Recipe) -> Calibrated[LinearCandidate]:
    """Choose and calibrate the score that ships, on everybody."""
    judged = [
        calibrated(
            learners,
            candidate,
            cohort.grouped,
            cohort.cases,
            n_folds=recipe.validation.folds,
            seed=recipe.training.seed,
        )
        for candidate in learners.candidates
        if isinstance(candidate, LinearCandidate)
    ]
    return min(judged, key=lambda found: found.loss)


def _tables(
    cohort: Cohort,
    learners: Learners,
    outcome: Outcome,
    best: Calibrated[LinearCandidate],
    recipe: Recipe,
) -> Iterator[Table]:
    """Yield the tables of the card."""
    seed, n_folds = recipe.training.seed, recipe.validation.folds
    yield tables.by_time(cohort, outcome)
    yield tables.calibration(cohort, outcome)
    yield tables.controls(cohort, outcome, seed)
    yield tables.learning_curve(cohort, learners, best.candidate, n_folds, seed)
    for table in (tables.middle(cohort, outcome), tables.other_architecture(cohort, outcome)):
        if table is not None:
            yield table
    if recipe.segments.compare:
        candidate = SegmentCandidate(max(recipe.segments.passes))
        network = learners.segments.fit(candidate, cohort.grouped)
        nights, shares = learners.segments.attention(network, cohort.grouped, tables.CONTROL_HOUR)
        yield tables.attention(shares, cohort.cases[nights] == 1)


def _write(order: Order, story: Story, learners: Learners) -> ModelFiles:
    recipe, cohort = order.recipe, story.cohort
    learned: list[Night] = [cohort.nights[n] for n in cohort.grouped]
    return weights.save_model(
        order.out,
        kind="disorder",
        arch=ARCH,
        tensors=_tensors(learners, cohort, story.best, recipe),
        options={
            **msgspec.to_builtins(recipe.words),
            "first_hour": story.first_hour,
            "by_hand": _by_hand(story.best),
        },
        card=card(order.out.name, story),
        license=recipe.license,
        trained_on=subjects_by_dataset(learned),
    )


def _tensors(
    learners: Learners, cohort: Cohort, best: Calibrated[LinearCandidate], recipe: Recipe
) -> dict[str, torch.Tensor]:
    """Fit on all nights, and again on nights drawn with replacement from each group."""
    candidate = best.candidate
    rng = np.random.default_rng(recipe.training.seed)
    grouped = cohort.grouped
    groups = [grouped[cohort.cases[grouped] == group] for group in (0.0, 1.0)]
    whole = learners.linear.fit(candidate, grouped)
    drawn = [
        np.concatenate([rng.choice(g, len(g)) for g in groups])
        for _ in range(recipe.model.replicates)
    ]
    fits: list[Linear] = [whole, *(learners.linear.fit(candidate, d, whole) for d in drawn)]
    served = float(best.slope[DECODED]), float(best.intercept[DECODED])
    stretched = [fit.calibrated(*served).coefficients for fit in fits]
    arrays = {
        "mean": whole.mean,
        "scale": whole.scale,
        "coefficients": np.stack(stretched, axis=1),
    }
    return {name: torch.from_numpy(array).float() for name, array in arrays.items()}


def _by_hand(best: Calibrated[LinearCandidate]) -> list[float]:
    """Return what turns served logits into those of hypnograms scored by a person."""
    slope = best.slope[SCORED] / best.slope[DECODED]
    intercept = best.intercept[SCORED] - slope * best.intercept[DECODED]
    return [round(float(slope), 4), round(float(intercept), 4)]


def _digest_of(nights: list[Night], cases: Array) -> str:
    whole = hashlib.sha256(cases.tobytes())
    for night in nights:
        whole.update(night.name.encode() + night.stages.tobytes())
    return whole.hexdigest()


def _digest(settled: Any) -> str:
    return hashlib.sha256(json.dumps(settled, sort_keys=True).encode()).hexdigest()[:10]
