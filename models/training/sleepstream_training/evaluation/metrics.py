"""How well stages are told, and how well it is known how well.

In come the scored stages of one night and the probabilities that somebody gave; out go counts that
add up (`StageCounts`), and out of sums of those come the figures. Every figure takes counts with
draws along the first axis and returns one number (or one per stage) for each; `tests` hold them
against scikit-learn.

References
----------
Guo C, et al. On calibration of modern neural networks. ICML 2017 (expected calibration error).
Geifman Y, El-Yaniv R. Selective classification for deep neural networks. NeurIPS 2017 (accuracy
against coverage).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sleepstream.messages import N_STAGES
from sleepstream_training.evaluation.intervals import ratio

N_BINS = 15
"""Bins of equal width in which probabilities are compared with frequencies."""

N_SURE = 500
"""Bins of confidence: epochs that fall in the same one count as equally sure."""

COVERAGES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
FLOOR = 1e-9
"""A smaller probability costs no more than this one."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class StageCounts:
    """What is counted about the staging of epochs; every array may have leading axes.

    Attributes
    ----------
    confusion : ndarray, shape (5, 5)
        Epochs by scored (row) and estimated (column) stage.
    top : ndarray, shape (15, 3)
        Reliability of the stage that was named: epochs, sum of confidence, and how many were right,
        in bins of confidence.
    each : ndarray, shape (5, 15, 3)
        The same of every stage's probability, named or not.
    sure : ndarray, shape (500, 2)
        Epochs, and how many were right, in fine bins of confidence.
    surprise, squares : ndarray, shape ()
        Sums of the negative log-likelihood (nats) and of the Brier score (over the five classes,
        from 0 to 2).
    """

    confusion: Array
    top: Array
    each: Array
    sure: Array
    surprise: Array
    squares: Array


def count(stages: Array, probs: Array) -> StageCounts:
    """Count one night.

    Parameters
    ----------
    stages : ndarray of int, shape (n_epochs,)
        Scored stages; epochs below 0 are left out.
    probs : ndarray, shape (n_epochs, 5)
        Probabilities; epochs with NaN are left out.
    """
    known = (stages >= 0) & np.isfinite(probs).all(axis=1)
    truth, p = stages[known].astype(int), probs[known].astype(np.float64)
    said, sure = p.argmax(axis=1), p.max(axis=1, initial=0.0)
    right = said == truth
    hits = np.eye(N_STAGES)[truth]
    confusion = np.zeros((N_STAGES, N_STAGES))
    np.add.at(confusion, (truth, said), 1)
    return StageCounts(
        confusion=confusion,
        top=reliability(sure, right),
        each=np.stack([reliability(p[:, stage], hits[:, stage]) for stage in range(N_STAGES)]),
        sure=reliability(sure, right, N_SURE)[:, [0, 2]],
        surprise=-np.log(np.maximum(p[hits > 0], FLOOR)).sum(),
        squares=((p - hits) ** 2).sum(),
    )


def reliability(probability: Array, happened: Array, n_bins: int = N_BINS) -> Array:
    """Return cases, summed probability and events in bins of probability, shape (n_bins, 3)."""
    bins = np.minimum((probability * n_bins).astype(int), n_bins - 1)
    columns = (np.ones(len(bins)), probability, happened)
    return np.stack([np.bincount(bins, column, n_bins) for column in columns], axis=1)


def n_epochs(counts: StageCounts) -> Array:
    """Return the number of epochs, shape (n,)."""
    total: Array = counts.confusion.sum(axis=(-2, -1))
    return total


def accuracy(counts: StageCounts) -> Array:
    """Return the share of epochs that were right, shape (n,)."""
    return ratio(np.trace(counts.confusion, axis1=-2, axis2=-1), n_epochs(counts))


def kappa(counts: StageCounts) -> Array:
    """Return Cohen's kappa, shape (n,)."""
    rows, columns = counts.confusion.sum(axis=-1), counts.confusion.sum(axis=-2)
    chance = ratio((rows * columns).sum(axis=-1), n_epochs(counts) ** 2)
    return ratio(accuracy(counts) - chance, 1.0 - chance)


def f1(counts: StageCounts) -> Array:
    """Return the F1 of each stage, shape (n, 5); NaN where it was neither scored nor named."""
    hits = np.diagonal(counts.confusion, axis1=-2, axis2=-1)
    return ratio(2.0 * hits, counts.confusion.sum(axis=-1) + counts.confusion.sum(axis=-2))


def macro_f1(counts: StageCounts) -> Array:
    """Return the mean F1 of the stages that were scored or named, shape (n,)."""
    each = f1(counts)
    return ratio(np.nansum(each, axis=-1), np.isfinite(each).sum(axis=-1))


def recall(counts: StageCounts) -> Array:
    """Return the share of each stage's epochs that was found, shape (n, 5)."""
    hits = np.diagonal(counts.confusion, axis1=-2, axis2=-1)
    return ratio(hits, counts.confusion.sum(axis=-1))


def nll(counts: StageCounts) -> Array:
    """Return the mean negative log-likelihood in nats, shape (n,)."""
    return ratio(counts.surprise, n_epochs(counts))


def brier(counts: StageCounts) -> Array:
    """Return the mean squared error summed over the five classes, from 0 to 2, shape (n,)."""
    return ratio(counts.squares, n_epochs(counts))


def calibration_error(bins: Array) -> Array:
    """Return the expected calibration error of bins, shape (..., n_bins, 3), over the last two."""
    gaps = np.abs(bins[..., 1] - bins[..., 2]).sum(axis=-1)
    return ratio(gaps, bins[..., 0].sum(axis=-1))


def ece(counts: StageCounts) -> Array:
    """Return the expected calibration error of the stage that was named, shape (n,)."""
    return calibration_error(counts.top)


def ece_by_stage(counts: StageCounts) -> Array:
    """Return the expected calibration error of each stage's probability, shape (n, 5)."""
    return calibration_error(counts.each)


def accuracy_at(counts: StageCounts, coverages: tuple[float, ...] = COVERAGES) -> Array:
    """Return the accuracy over the surest share of epochs, shape (n, n_coverages)."""
    surest_first = counts.sure[..., ::-1, :]
    epochs, right = np.cumsum(surest_first[..., 0], -1), np.cumsum(surest_first[..., 1], -1)
    rows = []
    for total, hits in zip(epochs, right, strict=True):
        wanted = np.asarray(coverages) * total[-1]
        found = np.interp(wanted, np.append(0.0, total), np.append(0.0, hits))
        rows.append(ratio(found, wanted))
    return np.stack(rows)
