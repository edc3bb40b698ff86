"""A plausible night of stages, from cycles drawn as a semi-Markov chain.

The room for what a synthetic sleeper does; `synthetic` turns it into signals. In goes a length and
a random generator, out comes one stage for each 30 s epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

EPOCH_S = 30.0
"""Length of a scored epoch in seconds."""

STAGE_LABELS = ("W", "N1", "N2", "N3", "REM")
"""What the codes 0 to 4 in a hypnogram stand for."""

W, N1, N2, N3, REM = range(5)

EPOCHS_PER_MINUTE = 2

Bout = tuple[int, int]
"""A stage and for how many epochs it lasts."""


@dataclass(frozen=True)
class Cycle:
    """What one NREM-REM cycle is expected to hold, in minutes.

    Attributes
    ----------
    n2_before_min, n3_min, n2_after_min, rem_min : float
        Median minutes of N2 on the way down, of N3, of N2 on the way up, and of REM.
    """

    n2_before_min: float
    n3_min: float
    n2_after_min: float
    rem_min: float


CYCLES = (
    Cycle(12.0, 38.0, 14.0, 8.0),
    Cycle(16.0, 26.0, 24.0, 17.0),
    Cycle(28.0, 10.0, 24.0, 23.0),
    Cycle(34.0, 2.0, 22.0, 28.0),
    Cycle(36.0, 0.0, 18.0, 32.0),
)
"""Deep sleep early, REM late; from the fifth on, cycles are like the fifth."""

SLEEP_LATENCY_MIN = 9.0
SPREAD = 0.25
"""Standard deviation of the logarithm of every length."""

AROUSALS_PER_N2_EPOCH = 0.022
MORNING_FROM_EPOCHS = 480
"""A night of at least four hours ends awake; a shorter one is cut off asleep."""

LONG_AWAKENING = 0.12
"""Probability that an awakening after REM becomes a long one."""


def synthetic_hypnogram(n_epochs: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw the stages of one night.

    A sleep latency in W, then cycles of about 90 minutes: N1, N2, N3 with steps up to N2, N2 again,
    REM with short intrusions, often a brief awakening. Brief arousals break N2 at random.

    Parameters
    ----------
    n_epochs : int
        Length of the night in epochs of 30 s. A short night is the beginning of a long one, and
        a long one ends awake.
    rng : Generator
        Where the chance comes from.

    Returns
    -------
    ndarray of int64, shape (n_epochs,)
        0 W, 1 N1, 2 N2, 3 N3, 4 REM.

    References
    ----------
    Kemp B, Kamphuisen HAC. Simulation of human hypnograms using a Markov chain model.
    Sleep 9(3), 405-414, 1986.
    """
    stages = np.empty(n_epochs, dtype=np.int64)
    filled = 0
    for stage, length in _bouts(rng):
        stages[filled : filled + length] = stage
        filled += length
        if filled >= n_epochs:
            break
    if n_epochs >= MORNING_FROM_EPOCHS:
        stages[-int(rng.integers(4, 13)) :] = W
    return stages


def _bouts(rng: np.random.Generator) -> Iterator[Bout]:
    yield W, _epochs(rng, SLEEP_LATENCY_MIN)
    yield N1, _epochs(rng, 2.5)
    number = 0
    while True:
        cycle = CYCLES[min(number, len(CYCLES) - 1)]
        yield from _broken_n2(rng, cycle.n2_before_min)
        yield from _deep(rng, cycle.n3_min)
        yield from _broken_n2(rng, cycle.n2_after_min)
        yield from _rem(rng, cycle.rem_min)
        yield from _awakening(rng)
        number += 1


def _broken_n2(rng: np.random.Generator, minutes: float) -> Iterator[Bout]:
    """N2 with now and then an epoch or two of wake and the N1 that follows it."""
    left = _epochs(rng, minutes)
    while left > 0:
        run = min(left, int(rng.geometric(AROUSALS_PER_N2_EPOCH)))
        yield N2, run
        left -= run
        if left > 0:
            if rng.random() < 0.5:
                yield W, int(rng.integers(1, 3))
            yield N1, int(rng.integers(1, 4))


def _deep(rng: np.random.Generator, minutes: float) -> Iterator[Bout]:
    """N3 in bouts of about ten minutes with short steps up to N2."""
    if minutes <= 0.0:
        return
    left = _epochs(rng, minutes)
    while left > 0:
        run = min(left, _epochs(rng, 10.0))
        yield N3, run
        left -= run
        if left > 0:
            yield N2, int(rng.integers(1, 5))


def _rem(rng: np.random.Generator, minutes: float) -> Iterator[Bout]:
    """REM, in the longer bouts with short intrusions of N1."""
    left = _epochs(rng, minutes)
    while left > 0:
        run = min(left, _epochs(rng, 12.0))
        yield REM, run
        left -= run
        if left > 4:
            yield N1, int(rng.integers(1, 3))


def _awakening(rng: np.random.Generator) -> Iterator[Bout]:
    """Wake after REM in most cycles, long in a few, then N1."""
    if rng.random() < 0.7:
        long = rng.random() < LONG_AWAKENING
        yield W, _epochs(rng, 10.0) if long else int(rng.integers(1, 6))
    yield N1, _epochs(rng, 2.0)


def _epochs(rng: np.random.Generator, minutes: float) -> int:
    drawn = minutes * EPOCHS_PER_MINUTE * rng.lognormal(0.0, SPREAD)
    return max(1, round(drawn))
