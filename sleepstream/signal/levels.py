"""How large the EEG of each derivation is beside that of the others.

Enters: for each epoch, the amplitude of each derivation that was any good. Leaves: by which factor
one derivation is larger than another. It is measured in the same epochs, so it does not depend on
who slept how deeply; when another derivation takes over, the networks get its signal at the size
that they have grown used to. Without that, C3-A2 at 0.4 of the size took the accuracy of the twenty
minutes after a takeover from 97 % to nothing, as every epoch looked like deeper sleep.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MEMORY_EPOCHS = 240
"""Epochs after which the levels forget: two hours, as an electrode's contact changes slowly."""

LARGEST_STEP = 0.5
"""No epoch counts as more than this far from the rest (a factor of 1.6)."""


@dataclass(frozen=True, slots=True)
class Level:
    """The size of one derivation's EEG, on a scale that all derivations of a bed share.

    Attributes
    ----------
    log : float
        Natural logarithm; the difference of two is the logarithm of their ratio.
    n_epochs : int
        Epochs behind it, at most `MEMORY_EPOCHS`. 0: not known.
    """

    log: float = 0.0
    n_epochs: int = 0


def updated(levels: Sequence[Level], eeg_uv: Sequence[float | None]) -> tuple[Level, ...]:
    """Return the levels after one more epoch.

    Parameters
    ----------
    levels : sequence of Level
        Before it.
    eeg_uv : sequence of (float or None)
        Amplitude of each derivation at 4-16 Hz in microvolts; None where it was not good.
    """
    now = {i: math.log(uv) for i, uv in enumerate(eeg_uv) if uv}
    if len(now) < 2:
        return tuple(levels)
    known = [now[i] - levels[i].log for i in now if levels[i].n_epochs]
    common = sum(known) / len(known) if known else 0.0  # all change with the depth of sleep
    return tuple(
        _moved(level, now[i] - common) if i in now else level for i, level in enumerate(levels)
    )


def _moved(level: Level, log: float) -> Level:
    if not level.n_epochs:
        return Level(log, 1)
    n = min(level.n_epochs + 1, MEMORY_EPOCHS)
    change = max(-LARGEST_STEP, min(LARGEST_STEP, log - level.log))
    return Level(level.log + change / n, n)


def log_ratio(levels: Sequence[Level], one: int, other: int) -> float:
    """Return the logarithm of how many times as large `one` is as `other`; 0 if it is not known."""
    if not (levels[one].n_epochs and levels[other].n_epochs):
        return 0.0
    return levels[one].log - levels[other].log
