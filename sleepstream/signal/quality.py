"""How far the signal of one epoch can be trusted, in a number and in words.

Enters: thirty seconds of one derivation before and after the high-pass. Leaves: a `Quality`. The
score is the fraction of the epoch against which nothing speaks; each reason is a sentence fragment
that a person at the bed can act on.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sleepstream.errors import UnitError
from sleepstream.messages import SFREQ, Float32Array, Quality

FLAT_UV = 0.05
"""A second that moves less than this is flat: below the noise of any amplifier."""

LARGE_UV = 500.0
"""Beyond this a sample is movement, sweat or a loose electrode, not sleep EEG."""

STUCK_FRACTION = 0.25
"""A second in which this share of the samples sits on one extreme value is saturated."""

PLAUSIBLE_UV = (0.3, 3000.0)
"""Robust amplitude (scaled median absolute deviation) that some recorder on some head may give."""

CERTAIN_UV = (3.0, 300.0)
"""Robust amplitude that sleep EEG certainly has; used to say which unit would explain it."""

UNITS = {"V": 1e6, "mV": 1e3, "uV": 1.0, "nV": 1e-3}
"""Microvolts in one of each unit."""


def judge(raw: Float32Array, conditioned: Float32Array, real: npt.NDArray[np.bool_]) -> Quality:
    """Judge one epoch.

    Parameters
    ----------
    raw, conditioned : ndarray of float32, shape (n_samples,)
        The derivation in microvolts at 100 Hz, before and after the high-pass.
    real : ndarray of bool, shape (n_samples,)
        Which samples are not missing.

    Returns
    -------
    Quality
        Score 0 to 1 and its reasons.
    """
    n = int(SFREQ)  # verdicts are given second by second, on seconds that are all there
    whole = real.reshape(-1, n).all(axis=1)
    raw_s = raw.reshape(-1, n)
    flat = whole & (np.ptp(raw_s, axis=1) < FLAT_UV)
    on_extreme = np.maximum(
        (raw_s == raw_s.max(axis=1, keepdims=True)).mean(axis=1),
        (raw_s == raw_s.min(axis=1, keepdims=True)).mean(axis=1),
    )
    stuck = whole & ~flat & (on_extreme > STUCK_FRACTION)
    peak = np.abs(conditioned).reshape(-1, n).max(axis=1)
    large = whole & ~flat & ~stuck & (peak > LARGE_UV)

    reasons = []
    missing = 1.0 - float(real.mean())
    if missing > 0:
        reasons.append(f"{max(1, round(100 * missing))} % missing")
    for seconds, words in (
        (flat, "flat"),
        (stuck, "saturated"),
        (large, f"beyond {LARGE_UV:g} µV"),
    ):
        if seconds.any():
            reasons.append(f"{words} for {int(seconds.sum())} s")
    bad = flat | stuck | large
    return Quality(max(0.0, float(real.mean() - bad.mean())), tuple(reasons))


def robust_amplitude(samples: Float32Array) -> float:
    """Return 1.4826 times the median absolute deviation, in the unit of `samples`."""
    return float(1.4826 * np.median(np.abs(samples - np.median(samples))))


def check_unit(conditioned: Float32Array, unit: str) -> None:
    """Refuse a signal whose amplitude says that its unit is not the declared one.

    Parameters
    ----------
    conditioned : ndarray of float32
        High-passed signal, believed to be in microvolts.
    unit : str
        The unit it was declared in (or assumed), for the message.

    Raises
    ------
    UnitError
        The amplitude cannot be EEG in that unit, but would be in another.
    """
    amplitude = robust_amplitude(conditioned)
    if amplitude == 0 or PLAUSIBLE_UV[0] <= amplitude <= PLAUSIBLE_UV[1]:
        return
    declared = UNITS.get(unit, 1.0)
    for other, scale in UNITS.items():
        if CERTAIN_UV[0] <= amplitude / declared * scale <= CERTAIN_UV[1]:
            raise UnitError(
                f"EEG of about 10 to 100 µV in the declared unit, {unit}",
                f"a typical amplitude of {amplitude:.3g} µV, which would be "
                f"{amplitude / declared * scale:.3g} µV if the numbers were in {other}",
                f"mend the unit at the sender, or tell us the true one: --units {other}",
            )
