"""The tables of the card: by time, calibration, controls, the middle, the other architecture.

In come a cohort and the outcome of the nested cross-validation; out go tables whose every figure
has an interval over subjects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sleepstream.messages import EPOCH_S
from sleepstream.stager.disorder import sleep_onset
from sleepstream_training.disorder import figures, linear
from sleepstream_training.disorder.cohort import DECODED, SCORED, Cohort
from sleepstream_training.disorder.figures import Judged
from sleepstream_training.disorder.linear import HOURS, TIMES, LinearCandidate
from sleepstream_training.disorder.nested import Learners, Outcome
from sleepstream_training.evaluation.tables import Cell, Column, Table

CONTROL_HOUR = 4
"""Hours after sleep onset at which the score is compared with age and sex."""

CURVE_HOUR = 3
CURVE_SHARES = (0.25, 0.5, 0.75, 1.0)
SHIPS = linear.FAMILY

Array = npt.NDArray[Any]


def by_time(cohort: Cohort, outcome: Outcome) -> Table:
    """Return the AUC of each family on both readings, a row for each time."""
    columns = [Column("hours after onset"), Column("with"), Column("without")]
    for family in outcome.logits:
        columns += [
            Column(f"{family}: scored", 2, interval=True),
            Column(f"{family}: decoded", 2, interval=True),
        ]
    rows: list[list[Cell]] = []
    for number, time in enumerate(TIMES):
        judged = [
            Judged.of(logits[:, reading, number], cohort.cases)
            for logits in outcome.logits.values()
            for reading in (SCORED, DECODED)
        ]
        counts: list[Cell] = [judged[0].n_cases, judged[0].n_controls]
        rows.append([str(time), *counts, *(figures.auc(j) if j.enough else None for j in judged)])
    return Table("disorder-by-time", "AUC in nested cross-validation", columns, rows)


def calibration(cohort: Cohort, outcome: Outcome) -> Table:
    """Return slope, intercept, ECE and Brier score of the family that ships."""
    columns = [
        Column("hours after onset"),
        Column("hypnogram"),
        Column("slope", 2, interval=True),
        Column("intercept", 2, interval=True),
        Column("ECE", 3, interval=True),
        Column("Brier", 3, interval=True),
    ]
    rows: list[list[Cell]] = []
    for number, time in enumerate(TIMES):
        for reading, name in ((SCORED, "scored"), (DECODED, "decoded")):
            judged = Judged.of(outcome.logits[SHIPS][:, reading, number], cohort.cases)
            if judged.enough:
                slope, intercept = figures.calibration(judged)
                last = [figures.ece(judged), figures.brier(judged)]
                rows.append([str(time), name, slope, intercept, *last])
    note = "A slope below 1 is over-confident. A coin has a Brier score of 0.25."
    return Table("disorder-calibration", "Calibration of the score", columns, rows, note)


def lower_ends(cohort: Cohort, outcome: Outcome) -> dict[int, float]:
    """Return the lower end of the AUC's interval by the hour, on decoded hypnograms.

    These are what the score reads when it serves. An hour with too few nights is left out.
    """
    found = {}
    for number, hour in enumerate(HOURS):
        judged = Judged.of(outcome.logits[SHIPS][:, DECODED, number], cohort.cases)
        low = figures.auc(judged).low if judged.enough else None
        if low is not None:
            found[hour] = low
    return found


def speaks_from(lower_ends: Mapping[int, float], level: float) -> int | None:
    """Return the first hour from which on every hour's lower end is above `level`.

    >>> speaks_from({1: 0.7, 2: 0.6, 3: 0.7, 4: 0.7}, 0.65)
    3
    """
    found = None
    for hour in sorted(lower_ends, reverse=True):
        if lower_ends[hour] <= level:
            break
        found = hour
    return found


def controls(cohort: Cohort, outcome: Outcome, seed: int) -> Table:
    """Return what can be told without looking at sleep, and what the score adds to it."""
    known = {name: x for name, x in _bystanders(cohort).items() if _varies(x, cohort.cases)}
    at = TIMES.index(CONTROL_HOUR)
    score = {
        name: outcome.logits[SHIPS][:, reading, at].mean(axis=0)
        for reading, name in ((SCORED, "scored"), (DECODED, "decoded"))
    }
    sets: dict[str, list[Array]] = {name: [x] for name, x in known.items()}
    both = [known[name] for name in ("age", "sex") if name in known]
    if len(both) == 2:
        sets["age and sex"] = both
    for name, x in score.items():
        sets[f"the {CONTROL_HOUR} h score, {name}"] = [x]
        if len(both) == 2:
            sets[f"age, sex and the {CONTROL_HOUR} h score, {name}"] = [*both, x]
    # everybody is compared on the nights that have all of it
    everyone = np.isfinite(np.stack([x for parts in sets.values() for x in parts])).all(axis=0)
    cases = np.where(everyone, cohort.cases, np.nan)
    columns = [
        Column("told by"),
        Column("with"),
        Column("without"),
        Column("AUC", 2, interval=True),
    ]
    rows: list[list[Cell]] = []
    for name, parts in sets.items():
        judged = Judged.of(_logit(np.stack(parts, axis=1), cases, seed), cases)
        rows.append([name, judged.n_cases, judged.n_controls, figures.auc(judged)])
    note = (
        "The same nights in every row. One number counts in the direction that suits it; several "
        "are joined by a cross-validated logistic regression."
    )
    return Table("disorder-controls", "Beside what needs no sleep", columns, rows, note)


def middle(cohort: Cohort, outcome: Outcome) -> Table | None:
    """Return how the score ranks by AHI, also where nothing was learned; None without an AHI."""
    ahi = np.array([np.nan if n.ahi is None else n.ahi for n in cohort.nights], dtype=float)
    between = ~np.isfinite(cohort.cases)
    if not np.isfinite(ahi).any() or not between.any():
        return None
    columns = [
        Column("hours after onset"),
        Column("nights between"),
        *(
            Column(f"{who}: {name}", 2, interval=True)
            for who in ("between the groups", "all nights")
            for name in ("scored", "decoded")
        ),
    ]
    rows: list[list[Cell]] = []
    for number, time in enumerate(TIMES):
        logits = outcome.logits[SHIPS][:, :, number]
        n_between = int((np.isfinite(logits[0, SCORED]) & between).sum())
        cells = [
            figures.rank_correlation(logits[:, reading], np.where(who, ahi, np.nan))
            for who in (between, np.ones(len(ahi), dtype=bool))
            for reading in (SCORED, DECODED)
        ]
        rows.append([str(time), n_between, *cells])
    note = "Spearman's correlation with the AHI. Nothing was chosen by it."
    return Table("disorder-middle", "Rank by AHI", columns, rows, note)


def other_architecture(cohort: Cohort, outcome: Outcome) -> Table | None:
    """Return the transformer minus the score that ships, within each draw of subjects."""
    others = [name for name in outcome.logits if name != SHIPS]
    if not others:
        return None
    columns = [Column("hours after onset")]
    for name in ("scored", "decoded"):
        columns += [
            Column(f"AUC, {name}", 3, interval=True, sign=True),
            Column(f"log-loss, {name}", 3, interval=True, sign=True),
        ]
    rows: list[list[Cell]] = []
    for number, time in enumerate(TIMES[: len(HOURS)]):
        cells: list[Cell] = []
        for reading in (SCORED, DECODED):
            pair = [outcome.logits[name][:, reading, number] for name in (others[0], SHIPS)]
            there = np.isfinite(np.stack(pair)).all(axis=(0, 1))
            cases = np.where(there, cohort.cases, np.nan)
            one, two = (Judged.of(logits, cases) for logits in pair)
            cells += (
                [figures.auc_gain(one, two), figures.loss_gain(one, two)]
                if one.enough
                else [None, None]
            )
        rows.append([str(time), *cells])
    note = "Positive where the transformer is better (log-loss: nats saved)."
    return Table("disorder-architectures", "The transformer's gain", columns, rows, note)


def attention(weights: Array, cases: Array) -> Table:
    """Return how much attention each half hour got, beside what even attention would give.

    Parameters
    ----------
    weights : ndarray, shape (n_nights, n_segments)
        From `SegmentLearner.attention`.
    cases : ndarray of bool, shape (n_nights,)
        The groups.
    """
    shares = weights.reshape(len(weights), -1, 3).sum(axis=2)
    columns = [
        Column("minutes after onset"),
        Column("with", 3),
        Column("without", 3),
        Column("even", 3),
    ]
    rows: list[list[Cell]] = [
        [
            f"{30 * part}–{30 * (part + 1)}",
            *(f"{shares[group, part].mean():.3f}" for group in (cases, ~cases)),
            f"{1 / shares.shape[1]:.3f}",
        ]
        for part in range(shares.shape[1])
    ]
    return Table("disorder-attention", "Where the transformer looks", columns, rows)


def learning_curve(
    cohort: Cohort, learners: Learners, candidate: LinearCandidate, n_folds: int, seed: int
) -> Table:
    """Return the AUC after learning from fewer people."""
    columns = [
        Column("people learned from"),
        Column(f"AUC at {CURVE_HOUR} h: scored", 2, interval=True),
        Column(f"AUC at {CURVE_HOUR} h: decoded", 2, interval=True),
    ]
    grouped, at = cohort.grouped, TIMES.index(CURVE_HOUR)
    rows: list[list[Cell]] = []
    for share in CURVE_SHARES:
        logits = np.full((2, len(cohort.nights)), np.nan)
        n_learned = []
        folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
        for train, test in folds.split(grouped, cohort.cases[grouped]):
            some = _part(grouped[train], cohort.cases, share, seed)
            n_learned.append(len(some))
            found = learners.learn(candidate, some)[:, at]
            logits[:, grouped[test]] = found[:, grouped[test]]
        judged = [Judged.of(logits[[reading]], cohort.cases) for reading in (SCORED, DECODED)]
        rows.append([round(float(np.mean(n_learned))), *(figures.auc(j) for j in judged)])
    return Table("disorder-curve", "With fewer people", columns, rows)


def _part(nights: Array, cases: Array, share: float, seed: int) -> Array:
    """Return a share of each group, the same people in every larger share."""
    rng = np.random.default_rng(seed)
    groups = [rng.permutation(nights[cases[nights] == group]) for group in (0.0, 1.0)]
    return np.sort(np.concatenate([g[: max(2, round(share * len(g)))] for g in groups]))


def _bystanders(cohort: Cohort) -> dict[str, Array]:
    """Return what is known of each night without looking at sleep."""

    def of(value: Callable[[Any], float | None]) -> Array:
        return np.array([value(night) for night in cohort.nights], dtype=float)

    def latency(night: Any) -> float | None:
        onset = sleep_onset(night.stages.tolist())
        return None if onset is None else onset * EPOCH_S

    sexes = {"F": 0.0, "M": 1.0}
    return {
        "length of the recording": of(lambda night: len(night.stages)),
        "time to sleep onset": of(latency),
        "age": of(lambda night: night.age),
        "sex": of(lambda night: sexes.get(night.sex or "")),
    }


def _varies(x: Array, cases: Array) -> bool:
    known = x[np.isfinite(x) & np.isfinite(cases)]
    return len(known) >= 0.5 * np.isfinite(cases).sum() and len(set(known.tolist())) > 1


def _logit(x: Array, cases: Array, seed: int) -> Array:
    """Return one row of logits from some numbers, NaN for nights in neither group."""
    out = np.full((1, len(cases)), np.nan)
    known = np.flatnonzero(np.isfinite(cases))
    y = cases[known] == 1
    if x.shape[1] == 1:
        out[0, known] = x[known, 0]
        alone = figures.auc(Judged.of(out, cases)).value
        return out if alone >= 0.5 else -out
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    out[0, known] = cross_val_predict(model, x[known], y, cv=folds, method="decision_function")
    return out
