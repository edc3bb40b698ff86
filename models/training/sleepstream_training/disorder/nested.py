"""Nested cross-validation: how good a score is that was chosen on other people.

In come a cohort and candidates of both architectures; out come, for every night, logits of models
that knew neither the night nor how well it is told: the inner folds choose the candidate of each
family (and of all families together) and calibrate it, the outer folds judge. What each outer fold
gave is kept, so that a run that was cut off goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedKFold

from sleepstream_training.disorder.cohort import DECODED, SCORED, Cohort
from sleepstream_training.disorder.figures import log_loss, recalibrations
from sleepstream_training.disorder.linear import HOURS, TIMES, LinearCandidate, LinearLearner
from sleepstream_training.disorder.recipe import Recipe
from sleepstream_training.disorder.segments import SegmentCandidate, SegmentLearner

EITHER = "either, chosen by the inner folds"

Array = npt.NDArray[Any]
Candidate = LinearCandidate | SegmentCandidate
SomeCandidate = TypeVar("SomeCandidate", LinearCandidate, SegmentCandidate, Candidate)


class Stopped(Exception):  # noqa: N818 - no error: somebody asked for it
    """The cross-validation was asked to stop, and has kept its folds."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibrated(Generic[SomeCandidate]):
    """A candidate, and what the inner folds make of its logits.

    Attributes
    ----------
    candidate : LinearCandidate or SegmentCandidate
        Which one.
    loss : float
        Log-loss in the inner folds, calibrated (nats).
    slope, intercept : ndarray, shape (2,)
        What its logits are multiplied by, and what is then added, by reading (scored, decoded).
    """

    candidate: SomeCandidate
    loss: float
    slope: Array
    intercept: Array

    def of(self, logits: Array) -> Array:
        """Calibrate logits, shape (2, n_times, n_nights)."""
        found: Array = logits * self.slope[:, None, None] + self.intercept[:, None, None]
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Logits of nights by models that did not know them.

    Attributes
    ----------
    logits : dict of ndarray, shape (n_repeats, 2, 7, n_nights)
        By family: repetition, reading (scored, decoded), time, night. NaN where there is none.
    chosen : dict of list of str
        By family, what each outer fold chose.
    """

    logits: dict[str, Array]
    chosen: dict[str, list[str]]


class Learners:
    """Both architectures behind one door.

    Parameters
    ----------
    cohort : Cohort
        The nights.
    recipe : Recipe
        Candidates and seeds.
    """

    def __init__(self, cohort: Cohort, recipe: Recipe) -> None:
        self.linear = LinearLearner(cohort)
        self.segments = SegmentLearner(cohort, recipe.segments, recipe.training.seed)
        self.candidates: list[Candidate] = [
            LinearCandidate(strength, by_hour)
            for strength in recipe.model.strengths
            for by_hour in (True, False)
        ]
        if recipe.segments.compare:
            self.candidates += [SegmentCandidate(passes) for passes in recipe.segments.passes]

    def learn(self, candidate: Candidate, nights: Array) -> Array:
        """Fit on `nights`; return logits of all nights, shape (2, 7, n_nights)."""
        if isinstance(candidate, LinearCandidate):
            linear = self.linear.fit(candidate, nights)
            return np.stack([self.linear.predict(linear, r) for r in (SCORED, DECODED)])
        network = self.segments.fit(candidate, nights)
        return np.stack([self.segments.predict(network, r) for r in (SCORED, DECODED)])


def calibrated(
    learners: Learners,
    candidate: SomeCandidate,
    nights: Array,
    cases: Array,
    *,
    n_folds: int,
    seed: int,
) -> Calibrated[SomeCandidate]:
    """Judge and calibrate a candidate by folds within `nights`.

    Only the hours count, not the end of the night, which comes at another hour for everybody.
    """
    logits = np.full((2, len(TIMES), len(cases)), np.nan)
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    for train, test in folds.split(nights, cases[nights]):
        logits[:, :, nights[test]] = learners.learn(candidate, nights[train])[:, :, nights[test]]
    by_hour, groups = logits[:, : len(HOURS), nights], cases[nights]
    slope, intercept = np.array([recalibration(rows, groups) for rows in by_hour]).T
    found = Calibrated(candidate, 0.0, slope, intercept)
    loss = log_loss(found.of(by_hour).reshape(-1, len(nights)), groups)
    return replace(found, loss=loss)


def recalibration(logits: Array, cases: Array) -> tuple[float, float]:
    """Return slope and intercept that calibrate rows of logits; both groups weigh the same."""
    known = np.isfinite(logits)
    row, night = np.nonzero(known)
    truth = cases[night] == 1
    each = 1.0 / np.bincount(night, minlength=len(cases))[night]
    totals = np.array([each[~truth].sum(), each[truth].sum()])
    weights = 0.5 * each / totals[truth.astype(int)]
    slope, intercept = recalibrations(logits[row, night][None], truth, weights[None])[0]
    return float(slope), float(intercept)


def nested(
    cohort: Cohort,
    learners: Learners,
    recipe: Recipe,
    kept: Path,
    *,
    on_fold: Callable[[int, int], None],
    stop: Callable[[], bool],
) -> Outcome:
    """Run the nested cross-validation.

    Parameters
    ----------
    cohort : Cohort
        The nights; those in neither group are judged by every model, and learned from by none.
    learners : Learners
        From the same cohort.
    recipe : Recipe
        How many folds.
    kept : Path
        A folder for the outcome of each outer fold.
    on_fold : callable
        Told how many folds are done, and of how many.
    stop : callable
        Asked before each fold whether to stop.

    Raises
    ------
    Stopped
        `stop` said so.
    """
    kept.mkdir(parents=True, exist_ok=True)
    validation, seed = recipe.validation, recipe.training.seed
    grouped = cohort.grouped
    parts: list[list[tuple[Array, dict[str, Any]]]] = []
    for repeat in range(validation.repeats):
        folds = StratifiedKFold(validation.folds, shuffle=True, random_state=seed + repeat)
        parts.append([])
        for fold, (train, test) in enumerate(folds.split(grouped, cohort.cases[grouped])):
            if stop():
                raise Stopped
            path = kept / f"fold-{repeat}-{fold}.npz"
            if not path.is_file():
                found, chosen = _outer(cohort, learners, recipe, grouped[train], seed + repeat)
                _keep(path, found, chosen)
            with np.load(path) as file:
                judged = _only(file["logits"], cohort, grouped[test])
                parts[-1].append((judged, json.loads(str(file["chosen"]))))
            on_fold(repeat * validation.folds + fold + 1, validation.repeats * validation.folds)
    return _together(parts)


def families(candidates: Sequence[Candidate]) -> dict[str, list[Candidate]]:
    """Return the candidates by family, and all of them where there are several families."""
    found: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        found.setdefault(candidate.family, []).append(candidate)
    return {**found, EITHER: list(candidates)} if len(found) > 1 else found


def _outer(
    cohort: Cohort, learners: Learners, recipe: Recipe, train: Array, seed: int
) -> tuple[Array, dict[str, str]]:
    """Choose, calibrate and fit each family on `train`; return logits of all nights."""
    n_folds = recipe.validation.inner_folds
    judged = {
        candidate: calibrated(learners, candidate, train, cohort.cases, n_folds=n_folds, seed=seed)
        for candidate in learners.candidates
    }
    learned: dict[Candidate, Array] = {}
    logits, chosen = [], {}
    for family, candidates in families(learners.candidates).items():
        best = min((judged[c] for c in candidates), key=lambda found: found.loss)
        if best.candidate not in learned:
            learned[best.candidate] = learners.learn(best.candidate, train)
        logits.append(best.of(learned[best.candidate]))
        chosen[family] = f"{best.candidate.family}: {best.candidate.name}"
    return np.stack(logits), chosen


def _keep(path: Path, logits: Array, chosen: dict[str, str]) -> None:
    new = path.with_suffix(".new.npz")
    np.savez(new, logits=logits, chosen=np.array(json.dumps(chosen)))
    new.replace(path)


def _only(logits: Array, cohort: Cohort, test: Array) -> Array:
    """Leave the logits of the nights that were not learned from."""
    unknown = ~np.isfinite(cohort.cases)
    unknown[test] = True
    return np.where(unknown, logits, np.nan)


def _together(parts: list[list[tuple[Array, dict[str, Any]]]]) -> Outcome:
    """Join the folds: a night of either group is in one of them, the others are in all."""
    names = list(parts[0][0][1])
    repeats = []
    for folds in parts:
        stacked = np.stack([logits for logits, _ in folds])
        n_known = np.isfinite(stacked).sum(axis=0)
        sums = np.nansum(stacked, axis=0)
        repeats.append(np.where(n_known > 0, sums / np.maximum(n_known, 1), np.nan))
    logits = np.stack(repeats)
    return Outcome(
        logits={name: logits[:, number] for number, name in enumerate(names)},
        chosen={name: [its[name] for folds in parts for _, its in folds] for name in names},
    )
