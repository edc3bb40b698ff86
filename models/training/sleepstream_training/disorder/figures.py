"""How well two groups are told apart, with intervals over subjects.

In come logits of nights, one row for each repetition of a cross-validation, and the groups; out go
figures. Both groups always weigh the same, as they do in the score's own words. A draw of subjects
is a row of weights, so a thousand of them are one matrix product, and two scores on the same nights
are compared within each draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from sleepstream_training.evaluation.intervals import N_DRAWS, Figure, draws, interval, ratio
from sleepstream_training.evaluation.metrics import calibration_error, reliability

N_BINS = 10
"""Bins of the calibration error: a group has too few nights for more."""

FEWEST = 5
"""Fewer nights in a group give no figure."""

_NEWTON_STEPS = 30
_RIDGE = 1e-4  # keeps the slope finite in a draw that is told apart without a mistake

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What was said of the nights of two groups.

    Attributes
    ----------
    logits : ndarray, shape (n_repeats, n_nights)
        Of the group with the disorder, from models that did not know the night.
    cases : ndarray of bool, shape (n_nights,)
        Who has it.
    """

    logits: Array
    cases: Array

    @classmethod
    def of(cls, logits: Array, cases: Array) -> Judged:
        """Leave out nights in neither group (NaN in `cases`) and nights without a logit."""
        known = np.isfinite(cases) & np.isfinite(logits).all(axis=0)
        return cls(logits[:, known], cases[known] == 1)

    @property
    def n_cases(self) -> int:
        """Nights with the disorder."""
        return int(self.cases.sum())

    @property
    def n_controls(self) -> int:
        """Nights without."""
        return int((~self.cases).sum())

    @property
    def enough(self) -> bool:
        """Whether figures can be given."""
        return min(self.n_cases, self.n_controls) >= FEWEST

    def weights(self) -> Array:
        """Return everybody's weight, shape (1, n), and below it that in each draw, (1 + 1000, n).

        A draw without one of the groups has no weights (NaN).
        """
        n = len(self.cases)
        times = np.concatenate([np.ones((1, n)), draws(n)])
        groups = np.where(self.cases, 1.0, 0.0)
        totals = np.stack([times @ (1 - groups), times @ groups], axis=1)
        found: Array = times * 0.5 / np.where(totals > 0, totals, np.nan)[:, self.cases.astype(int)]
        return found


def auc(judged: Judged) -> Figure:
    """Return the area under the ROC curve, the mean over repetitions."""
    return _figure(_aucs(judged))


def auc_gain(one: Judged, other: Judged) -> Figure:
    """Return how much larger the area of `one` is than that of `other`, on the same nights."""
    return _figure(_aucs(one) - _aucs(other))


def loss_gain(one: Judged, other: Judged) -> Figure:
    """Return how much smaller the log-loss of `one` is (nats), on the same nights."""
    return _figure(_losses(other) - _losses(one))


def calibration(judged: Judged) -> tuple[Figure, Figure]:
    """Return slope and intercept of the regression of the groups on the logits.

    1 and 0 are perfect; a slope below 1 is over-confident.
    """
    found = recalibrations(judged.logits, judged.cases, judged.weights())
    return _figure(found[:, 0]), _figure(found[:, 1])


def brier(judged: Judged) -> Figure:
    """Return the mean squared error of the probability."""
    errors = ((_probs(judged) - judged.cases) ** 2).mean(axis=0)
    return _figure(judged.weights() @ errors)


def ece(judged: Judged) -> Figure:
    """Return the expected calibration error, the mean over repetitions."""
    weights = judged.weights()
    found = []
    for probs in _probs(judged):
        each = [reliability(probs[[n]], judged.cases[[n]], N_BINS) for n in range(len(probs))]
        found.append(calibration_error(np.tensordot(weights, np.stack(each), axes=(1, 0))))
    return _figure(np.mean(found, axis=0))


def rank_correlation(logits: Array, index: Array) -> Figure:
    """Return Spearman's correlation of mean logits and an index, as those of nights that have both.

    Parameters
    ----------
    logits : ndarray, shape (n_repeats, n_nights)
        NaN for none.
    index : ndarray, shape (n_nights,)
        Such as the apnoea-hypopnoea index; NaN for none.
    """
    known = np.isfinite(logits).all(axis=0) & np.isfinite(index)
    score, truth = logits[:, known].mean(axis=0), index[known]
    if len(truth) < FEWEST:
        return Figure(np.nan)
    rng = np.random.default_rng(len(truth))
    rows = rng.integers(len(truth), size=(N_DRAWS, len(truth)))
    drawn = _correlation(rankdata(score[rows], axis=1), rankdata(truth[rows], axis=1))
    value = _correlation(rankdata(score)[None], rankdata(truth)[None])[0]
    return interval(float(value), drawn)


def _correlation(x: Array, y: Array) -> Array:
    """Return Pearson's correlation of each row of `x` with that of `y`."""
    x, y = (part - part.mean(axis=1, keepdims=True) for part in (x, y))
    return ratio((x * y).sum(axis=1), np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1)))


def recalibrations(logits: Array, cases: Array, weights: Array) -> Array:
    """Fit slope and intercept of a logistic regression of the groups on logits, for each weighting.

    Parameters
    ----------
    logits : ndarray, shape (n_rows, n_nights)
        Each row is as good as another.
    cases : ndarray of bool, shape (n_nights,)
        The groups.
    weights : ndarray, shape (n_weightings, n_nights)
        Of the nights; rows of NaN give NaN.

    Returns
    -------
    ndarray, shape (n_weightings, 2)
        Slope and intercept.
    """
    u, y = logits.ravel(), np.tile(cases.astype(float), len(logits))
    w = np.tile(np.nan_to_num(weights), len(logits)) / len(logits)
    found = np.tile([1.0, 0.0], (len(weights), 1))
    inputs = np.stack([u, np.ones(len(u))], axis=1)
    products = np.stack([u * u, u, u, np.ones(len(u))], axis=1)
    ridge = np.diag([_RIDGE, _RIDGE])
    for _ in range(_NEWTON_STEPS):
        p = 1.0 / (1.0 + np.exp(-np.clip(found @ inputs.T, -30.0, 30.0)))
        gradient = (w * (p - y)) @ inputs + _RIDGE * (found - [1.0, 0.0])
        bend = ((w * p * (1 - p)) @ products).reshape(-1, 2, 2) + ridge
        step = np.linalg.solve(bend, gradient[..., None])[..., 0]
        found = found - np.clip(step, -1.0, 1.0)
    found[np.isnan(weights).any(axis=1)] = np.nan
    return found


def log_loss(logits: Array, cases: Array) -> float:
    """Return the mean log-loss (nats) with both groups at equal weight; NaN in logits is no case.

    Parameters
    ----------
    logits : ndarray, shape (n_rows, n_nights)
        Of the group with the disorder.
    cases : ndarray, shape (n_nights,)
        1 and 0.
    """
    _, night = np.nonzero(np.isfinite(logits))
    signed = np.where(cases[night] == 1, -1.0, 1.0) * logits[np.isfinite(logits)]
    losses = np.logaddexp(0.0, signed)
    return float(np.mean([losses[cases[night] == group].mean() for group in (0, 1)]))


def _aucs(judged: Judged) -> Array:
    weights = judged.weights()
    yes, no = weights[:, judged.cases], weights[:, ~judged.cases]
    above = judged.logits[:, judged.cases, None] - judged.logits[:, None, ~judged.cases]
    wins = ((above > 0) + 0.5 * (above == 0)).mean(axis=0)
    return ratio(((yes @ wins) * no).sum(axis=1), yes.sum(axis=1) * no.sum(axis=1))


def _losses(judged: Judged) -> Array:
    signed = np.where(judged.cases, -judged.logits, judged.logits)
    losses: Array = judged.weights() @ np.logaddexp(0.0, signed).mean(axis=0)
    return losses


def _probs(judged: Judged) -> Array:
    probs: Array = 1.0 / (1.0 + np.exp(-judged.logits))
    return probs


def _figure(values: Array) -> Figure:
    return interval(float(values[0]), values[1:])
