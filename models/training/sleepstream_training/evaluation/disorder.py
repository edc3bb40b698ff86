"""The disorder score on scored nights, beside what needs no sleep at all to say.

In come nights with an apnoea-hypopnoea index or a diagnosis, and a scorer; out go tables, one pair
for each database and never one for several: recordings of different databases differ in length,
scorers and age, and a score that sees that is a score of databases. The controls are given the same
nights: length, age and sex alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sleepstream.messages import DisorderScore, Stage
from sleepstream.stager.disorder import EPOCHS_PER_H, DisorderScorer, sleep_onset
from sleepstream_training.evaluation.intervals import SEED, Figure, draws, interval, ratio
from sleepstream_training.evaluation.metrics import calibration_error, reliability
from sleepstream_training.evaluation.tables import Cell, Column, Table
from sleepstream_training.nights import Night

HOURS = (1, 2, 3, 4, 5, 6)
SEVERE_AHI, NO_AHI = 30.0, 5.0
HEALTHY = ("normal", "healthy")
MIN_CASES = 5
"""Fewer nights on either side of a contrast are no contrast."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Contrast:
    """Nights of one database, with and without.

    Attributes
    ----------
    dataset : str
        Which database.
    question : str
        What is told from what.
    nights : list of Night
        All of them.
    cases : ndarray of bool, shape (n_nights,)
        Which have it.
    """

    dataset: str
    question: str
    nights: list[Night]
    cases: Array


def contrasts(nights: Sequence[Night]) -> list[Contrast]:
    """Return what can be asked of these nights, database by database."""
    out = []
    for dataset in sorted({night.dataset for night in nights}):
        its = [night for night in nights if night.dataset == dataset]
        by_ahi = [n for n in its if n.ahi is not None and not NO_AHI <= n.ahi < SEVERE_AHI]
        severe = np.array([(n.ahi or 0.0) >= SEVERE_AHI for n in by_ahi], dtype=bool)
        question = f"AHI {SEVERE_AHI:.0f} or more against below {NO_AHI:.0f}"
        out.append(Contrast(dataset, question, by_ahi, severe))
        if not by_ahi:
            named = [n for n in its if n.diagnosis]
            ill = np.array([n.diagnosis not in HEALTHY for n in named], dtype=bool)
            out.append(Contrast(dataset, "any diagnosis against none", named, ill))
    return [c for c in out if min(c.cases.sum(), (~c.cases).sum()) >= MIN_CASES]


def tables(
    contrast: Contrast, scorer: DisorderScorer, on_night: Callable[[], None] = lambda: None
) -> list[Table]:
    """Return the score by the hour, and the controls.

    Parameters
    ----------
    contrast : Contrast
        Of nights that the scorer has not learned from.
    scorer : DisorderScorer
        It forgets the night before.
    on_night : callable, optional
        Called after each night.
    """
    said = []
    for night in contrast.nights:
        said.append(_by_hour(night, scorer))
        on_night()
    probs = np.array(said)
    return [_score_table(contrast, probs), _control_table(contrast)]


def _by_hour(night: Night, scorer: DisorderScorer) -> list[float]:
    """Return the probability so many hours after sleep onset and at the end, NaN where none."""
    scorer.reset()
    onset = sleep_onset(night.stages.tolist())
    ends = {} if onset is None else {onset + hour * EPOCHS_PER_H: hour for hour in HOURS}
    found, score = dict.fromkeys(HOURS, np.nan), scorer.score
    for index, score in enumerate(_steps(night, scorer), 1):
        if index in ends:
            found[ends[index]] = _probability(score)
    return [*found.values(), _probability(score)]


def _steps(night: Night, scorer: DisorderScorer) -> Iterator[DisorderScore]:
    for code in night.stages.tolist():
        yield scorer.step(Stage(code) if code >= 0 else None)


def _probability(score: DisorderScore) -> float:
    return np.nan if score.probability is None else score.probability


def _score_table(contrast: Contrast, probs: Array) -> Table:
    columns = [
        Column("hours after onset"),
        Column("with"),
        Column("without"),
        Column("silent"),
        Column("AUC", interval=True),
        Column("Brier", interval=True),
        Column("ECE", interval=True),
        Column("calibration slope", 2),
    ]
    rows: list[list[Cell]] = []
    for column, name in enumerate([*map(str, HOURS), "end"]):
        p = probs[:, column]
        known = np.isfinite(p)
        cases = contrast.cases[known]
        subjects = [contrast.nights[row].subject for row in np.flatnonzero(known)]
        row: list[Cell] = [name, int(cases.sum()), int((~cases).sum()), int((~known).sum())]
        if min(cases.sum(), (~cases).sum()) < MIN_CASES:
            rows.append([*row, None, None, None, None])
            continue
        rows.append(
            [*row, auc(cases, p[known], subjects), *_calibration(cases, p[known], subjects)]
        )
    title = f"{contrast.dataset}: {contrast.question}"
    note = "silent: nights too short or too poor for a score. A slope below 1 is over-confident."
    return Table(f"disorder-{contrast.dataset}", title, columns, rows, note)


def _calibration(cases: Array, p: Array, subjects: Sequence[str]) -> list[Figure]:
    times, one = _times(subjects), np.ones((1, len(p)))
    errors = (p - cases) ** 2

    def brier(weights: Array) -> Array:
        return ratio(weights @ errors, weights.sum(axis=1))

    def ece(weights: Array) -> Array:
        bins = np.stack([reliability(p[[i]], cases[[i]]) for i in range(len(p))])
        return calibration_error(np.tensordot(weights, bins, axes=(1, 0)))

    logits = np.log(np.clip(p, 1e-6, 1 - 1e-6) / np.clip(1 - p, 1e-6, 1 - 1e-6))[:, None]
    slope = LogisticRegression(C=np.inf, max_iter=1000).fit(logits, cases).coef_[0, 0]
    return [
        *(interval(float(f(one)[0]), f(times)) for f in (brier, ece)),
        Figure(float(slope)),
    ]


def _control_table(contrast: Contrast) -> Table:
    columns = [Column("control"), Column("nights"), Column("AUC", interval=True)]
    cases, nights = contrast.cases, contrast.nights
    length = np.array([len(night.stages) for night in nights], dtype=float)
    age = np.array([np.nan if n.age is None else n.age for n in nights], dtype=float)
    sexes = {"F": 0.0, "M": 1.0}
    sex = np.array([sexes.get(n.sex or "", np.nan) for n in nights], dtype=float)
    rows: list[list[Cell]] = []
    for name, x in (
        ("length of the recording", length[:, None]),
        ("age", age[:, None]),
        ("sex", sex[:, None]),
        ("age and sex", np.stack([age, sex], axis=1)),
    ):
        known = np.isfinite(x).all(axis=1)
        y, subjects = cases[known], [nights[row].subject for row in np.flatnonzero(known)]
        if min(y.sum(), (~y).sum()) < MIN_CASES:
            rows.append([name, int(known.sum()), None])
            continue
        one = x.shape[1] == 1
        score = x[known, 0] if one else _cross_validated(x[known], y, subjects)
        rows.append([name, int(known.sum()), auc(y, score, subjects, either_way=one)])
    title = f"{contrast.dataset}: the same nights without looking at sleep"
    note = "One number alone counts in the direction that suits it; two are cross-validated."
    return Table(f"disorder-{contrast.dataset}-controls", title, columns, rows, note)


def _cross_validated(x: Array, y: Array, subjects: Sequence[str]) -> Array:
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    folds = StratifiedGroupKFold(MIN_CASES, shuffle=True, random_state=SEED)
    probs: Array = cross_val_predict(
        model, x, y, groups=list(subjects), cv=folds, method="predict_proba"
    )[:, 1]
    return probs


def auc(cases: Array, score: Array, subjects: Sequence[str], *, either_way: bool = False) -> Figure:
    """Return the area under the ROC curve, with its interval over subjects.

    Parameters
    ----------
    cases : ndarray of bool, shape (n,)
        Which have it.
    score : ndarray, shape (n,)
        Higher for those who should have it.
    subjects : sequence of str
        Whose each is.
    either_way : bool, optional
        Take the direction that suits the score; it is chosen once, on everybody.
    """
    above = score[cases][:, None] - score[~cases][None]
    wins = (above > 0) + 0.5 * (above == 0)

    def of(weights: Array) -> Array:
        yes, no = weights[:, cases], weights[:, ~cases]
        return ratio(((yes @ wins) * no).sum(axis=1), yes.sum(axis=1) * no.sum(axis=1))

    value, drawn = float(of(np.ones((1, len(cases))))[0]), of(_times(subjects))
    if either_way and value < 0.5:
        value, drawn = 1 - value, 1 - drawn
    return interval(value, drawn)


def _times(subjects: Sequence[str]) -> Array:
    names, rows = np.unique(np.asarray(subjects), return_inverse=True)
    times: Array = draws(len(names))[:, rows]
    return times
