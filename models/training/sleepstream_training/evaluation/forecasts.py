"""How well it is told what comes next.

In come the scored stages of one night and the forecasts made at every epoch; out go counts that add
up (`ForecastCounts`), and out of sums of those come log-losses, skill over a baseline, and how well
changes of stage, wake and REM are seen coming.

An event (wake, or REM, within five minutes) is a question only at epochs where it is not there
already. A forecast made at the end of epoch t for "+1" is compared with the stage of epoch t + 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sleepstream.messages import N_HORIZONS, Stage
from sleepstream_training.decoder.batches import coming, following
from sleepstream_training.evaluation.intervals import ratio
from sleepstream_training.evaluation.metrics import FLOOR, calibration_error, reliability

HORIZONS = (1, 2, 4, 10, 20)
"""How many epochs ahead the tables look."""

EVENTS = ("change", "wake", "rem")
"""Another stage in the next epoch; wake, and REM, within five minutes."""

N_RANKS = 512
"""Bins of log-odds in which forecasts of events are ranked; those in one bin count as tied."""

MAX_LOG_ODDS = 12.0
_SOON = (Stage.W, Stage.REM)

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What a method says at every epoch of one night.

    Attributes
    ----------
    now : ndarray, shape (n_epochs, 5)
        The stage.
    ahead : ndarray, shape (n_epochs, 20, 5)
        The stages 1 … 20 epochs later.
    soon : ndarray, shape (n_epochs, 2)
        Wake, and REM, within ten epochs.
    """

    now: Array
    ahead: Array
    soon: Array


@dataclass(frozen=True, slots=True, eq=False)
class ForecastCounts:
    """What is counted about forecasts; every array may have leading axes.

    Attributes
    ----------
    surprise, n : ndarray, shape (20,)
        Sum of the negative log-likelihood (nats), and epochs, at each horizon.
    top : ndarray, shape (15, 3)
        Reliability of the next epoch's most probable stage (see `metrics.StageCounts`).
    ranks : ndarray, shape (3, 2, 512)
        For each event, epochs at which it did not and did happen, in bins of its log-odds.
    each : ndarray, shape (3, 15, 3)
        Reliability of each event's probability.
    squares : ndarray, shape (3,)
        Sum of squared errors of each event's probability.
    """

    surprise: Array
    n: Array
    top: Array
    ranks: Array
    each: Array
    squares: Array


def count(stages: Array, said: Predictions) -> ForecastCounts:
    """Count one night.

    Parameters
    ----------
    stages : ndarray of int, shape (n_epochs,)
        Scored stages; epochs below 0 are left out, as present and as future.
    said : Predictions
        Of the same epochs; those whose stage now is NaN are left out.
    """
    ahead = following(stages.astype(int))
    here = _judged(stages, said)
    surprise, n = np.zeros(N_HORIZONS), np.zeros(N_HORIZONS)
    for k in range(N_HORIZONS):
        rows = np.flatnonzero(here & (ahead[:, k] >= 0))
        chosen = said.ahead[rows, k, ahead[rows, k]]
        surprise[k], n[k] = -np.log(np.maximum(chosen, FLOOR)).sum(), len(rows)
    rows = np.flatnonzero(here & (ahead[:, 0] >= 0))
    following_one = said.ahead[rows, 0]
    right = following_one.argmax(axis=1) == ahead[rows, 0]
    ranks, each, squares = zip(*(_event(*pair) for pair in _events(stages, said)), strict=True)
    return ForecastCounts(
        surprise=surprise,
        n=n,
        top=reliability(following_one.max(axis=1, initial=0.0), right),
        ranks=np.stack(ranks),
        each=np.stack(each),
        squares=np.stack(squares),
    )


def _judged(stages: Array, said: Predictions) -> Array:
    judged: Array = (stages >= 0) & np.isfinite(said.now).all(axis=1)
    return judged


def _events(stages: Array, said: Predictions) -> list[tuple[Array, Array]]:
    """Return, for each of `EVENTS`, whether it happened and how probable it was said to be."""
    ahead = following(stages.astype(int))
    soon = coming(ahead)
    here = _judged(stages, said)
    rows = np.flatnonzero(here & (ahead[:, 0] >= 0))
    stay = said.ahead[rows, 0, stages[rows].astype(int)]
    pairs = [(ahead[rows, 0] != stages[rows], 1.0 - stay)]
    for event, stage in enumerate(_SOON):
        rows = np.flatnonzero(here & (stages != stage) & (soon[:, event] >= 0))
        pairs.append((soon[rows, event] > 0, said.soon[rows, event]))
    return pairs


def _event(happened: Array, probability: Array) -> tuple[Array, Array, Array]:
    clipped = np.clip(probability.astype(np.float64), 1e-15, 1 - 1e-15)
    place = (np.log(clipped / (1 - clipped)) / MAX_LOG_ODDS + 1) / 2 * N_RANKS
    bins = np.clip(place.astype(int), 0, N_RANKS - 1)
    ranks = np.stack([np.bincount(bins[happened == did], None, N_RANKS) for did in (False, True)])
    squares = ((probability - happened) ** 2).sum()
    return ranks, reliability(probability, happened), squares


def log_loss(counts: ForecastCounts) -> Array:
    """Return the mean negative log-likelihood at each horizon in nats, shape (n, 20)."""
    return ratio(counts.surprise, counts.n)


def skill(counts: ForecastCounts, baseline: ForecastCounts) -> Array:
    """Return the share of the baseline's log-loss that is saved at each horizon, shape (n, 20)."""
    return 1.0 - ratio(log_loss(counts), log_loss(baseline))


def auc(counts: ForecastCounts) -> Array:
    """Return how well each event is ranked, shape (n, 3): the area under the ROC curve."""
    no, yes = counts.ranks[..., 0, :], counts.ranks[..., 1, :]
    below = np.cumsum(no, axis=-1) - 0.5 * no  # ties count half
    pairs = no.sum(axis=-1) * yes.sum(axis=-1)
    return ratio((yes * below).sum(axis=-1), pairs)


def event_rate(counts: ForecastCounts) -> Array:
    """Return how often each event happens where it is a question, shape (n, 3)."""
    return ratio(counts.each[..., 2].sum(axis=-1), counts.each[..., 0].sum(axis=-1))


def event_brier(counts: ForecastCounts) -> Array:
    """Return the mean squared error of each event's probability, shape (n, 3)."""
    return ratio(counts.squares, counts.each[..., 0].sum(axis=-1))


def event_ece(counts: ForecastCounts) -> Array:
    """Return the expected calibration error of each event's probability, shape (n, 3)."""
    return calibration_error(counts.each)


def next_ece(counts: ForecastCounts) -> Array:
    """Return the expected calibration error of the next epoch's most probable stage, shape (n,)."""
    return calibration_error(counts.top)
