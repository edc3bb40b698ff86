"""Does it grow? A series of measurements enters, a verdict leaves.

Growth is judged over the second half of a series, when everything that fills up once is full. Two
things are looked at, and the larger counts: the slope by Theil and Sen times the length, which a
few outliers cannot bend, and the step from the median of the half's first quarter to that of its
last, which finds what came all at once.

References
----------
Sen PK. Estimates of the regression coefficient based on Kendall's tau. Journal of the American
Statistical Association 63(324), 1968.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy.stats import theilslopes

FEWEST = 24
"""Measurements in the second half that a verdict needs."""

MOST = 600
"""Measurements that a slope is made of: there are as many pairs as their square."""

FEWEST_LATENCIES = 400
"""A 99th percentile of fewer is one or two accidents."""

RESAMPLES = 1000


class Verdict(StrEnum):
    """What can be said of a series."""

    FLAT = "flat"
    GROWS = "GROWS"
    OPEN = "cannot tell"


@dataclass(frozen=True, slots=True)
class Trend:
    """How a series went over its second half.

    Attributes
    ----------
    earlier, later : float
        Medians of the half's first quarter and of its last.
    growth : float
        By how much it grew in that time; below zero where it shrank.
    allowed : float
        By how much it may.
    verdict : Verdict
    """

    earlier: float
    later: float
    growth: float
    allowed: float
    verdict: Verdict


def trend(at: Sequence[float], values: Sequence[float], allowed: float) -> Trend:
    """Judge a series.

    Parameters
    ----------
    at : sequence of float
        When each value was measured, rising.
    values : sequence of float
        The measurements.
    allowed : float
        Growth over the second half that still counts as none, in the unit of the values.
    """
    x, y = np.asarray(at, float), np.asarray(values, float)
    late = x >= (x[0] + x[-1]) / 2
    x, y = x[late], y[late]
    quarter = max(1, x.size // 4)
    stepped = step(float(np.median(y[:quarter])), float(np.median(y[-quarter:])), allowed)
    if x.size < FEWEST:
        return replace(stepped, verdict=Verdict.OPEN)
    every = -(-x.size // MOST)
    slope = theilslopes(y[::every], x[::every]).slope
    growth = max(float(slope * (x[-1] - x[0])), stepped.growth)
    return replace(stepped, growth=growth, verdict=_verdict(growth, allowed))


def step(earlier: float, later: float, allowed: float) -> Trend:
    """Judge two measurements, of which the later should not be the larger."""
    growth = later - earlier
    return Trend(earlier, later, growth, allowed, _verdict(growth, allowed))


def _verdict(growth: float, allowed: float) -> Verdict:
    return Verdict.GROWS if growth > allowed else Verdict.FLAT


@dataclass(frozen=True, slots=True)
class Comparison:
    """A 99th percentile of what came late, held against that of what came early.

    Attributes
    ----------
    early, late : float
        The two.
    ratio : float
        Late by early.
    interval : tuple of float
        Where the ratio lies with 95 % confidence, by resampling in blocks.
    verdict : Verdict
        ``FLAT`` where the ratio is within what is allowed; ``GROWS`` where it is beyond it even at
        the lower end of the interval; else it cannot be told from chance.
    """

    early: float
    late: float
    ratio: float
    interval: tuple[float, float]
    verdict: Verdict


def compare(
    early: Sequence[float], late: Sequence[float], allowed: float = 0.1, block: int = 12
) -> Comparison:
    """Compare the 99th percentiles of two series.

    Parameters
    ----------
    early, late : sequence of float
        Each in the order in which it was measured.
    allowed : float
        By what fraction the late one may be larger.
    block : int
        So many neighbours are resampled together: a slow moment makes several of them slow.
    """
    rng = np.random.default_rng(0)
    one, other = np.asarray(early, float), np.asarray(late, float)
    if min(one.size, other.size) < FEWEST_LATENCIES:
        p99 = [float(np.percentile(each, 99)) if each.size else np.nan for each in (one, other)]
        return Comparison(p99[0], p99[1], p99[1] / p99[0], (np.nan, np.nan), Verdict.OPEN)
    before, after = float(np.percentile(one, 99)), float(np.percentile(other, 99))
    ratios = _resampled(other, block, rng) / _resampled(one, block, rng)
    low, high = (float(bound) for bound in np.quantile(ratios, (0.025, 0.975)))
    ratio, bound = after / before, 1.0 + allowed
    verdict = Verdict.FLAT if ratio <= bound else Verdict.GROWS if low > bound else Verdict.OPEN
    return Comparison(before, after, ratio, (low, high), verdict)


def _resampled(
    values: npt.NDArray[np.float64], block: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return 99th percentiles of series that are made of blocks of this one."""
    n_blocks = -(-values.size // block)
    starts = rng.integers(0, values.size - block + 1, (RESAMPLES, n_blocks))
    places = (starts[..., np.newaxis] + np.arange(block)).reshape(RESAMPLES, -1)
    percentiles: npt.NDArray[np.float64] = np.percentile(values[places], 99, axis=1)
    return percentiles
