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

ABSURD_UV = 1e12
"""No number in any unit for any electrode is as large; such a value is a missing one."""

MAX_DEAD = 0.5
"""An epoch of which a larger share is flat or saturated is unscorable."""

PLAUSIBLE_UV = (0.3, 3000.0)
"""Robust amplitude (scaled median absolute deviation) that some recorder on some head may give."""

CERTAIN_UV = (3.0, 300.0)
"""Robust amplitude that sleep EEG certainly has; used to say which unit would explain it."""

_SECOND = int(SFREQ)  # verdicts are given second by second

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
    flat, stuck = _dead_seconds(raw, real)
    whole = real.reshape(-1, _SECOND).all(axis=1)
    peak = np.abs(conditioned).reshape(-1, _SECOND).max(axis=1)
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


def is_dead(raw: Float32Array, real: npt.NDArray[np.bool_]) -> bool:
    """Return whether more of an epoch is flat or saturated than can be staged.

    Parameters
    ----------
    raw : ndarray of float32, shape (n_samples,)
        The derivation in microvolts at 100 Hz, before the high-pass.
    real : ndarray of bool, shape (n_samples,)
        Which samples are not missing.
    """
    flat, stuck = _dead_seconds(raw, real)
    return bool((flat | stuck).mean() > MAX_DEAD)


def _dead_seconds(
    raw: Float32Array, real: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return which seconds, of those that are all there, are flat and which are saturated."""
    whole = real.reshape(-1, _SECOND).all(axis=1)
    raw_s = raw.reshape(-1, _SECOND)
    flat = whole & (np.ptp(raw_s, axis=1) < FLAT_UV)
    on_extreme = np.maximum(
        (raw_s == raw_s.max(axis=1, keepdims=True)).mean(axis=1),
        (raw_s == raw_s.min(axis=1, keepdims=True)).mean(axis=1),
    )
    return flat, whole & ~flat & (on_extreme > STUCK_FRACTION)


def robust_amplitude(samples: Float32Array) -> float:
    """Return 1.4826 times the median absolute deviation, in the unit of `samples`."""
    return float(1.4826 * np.median(np.abs(samples - np.median(samples))))


def check_unit(conditioned: Float32Array, unit: str) -> str | None:
    """Hold the amplitude of a signal against the unit in which it was declared.

    Parameters
    ----------
    conditioned : ndarray of float32
        High-passed signal, believed to be in microvolts.
    unit : str
        The unit it was declared in (or assumed).

    Returns
    -------
    str or None
        None where the amplitude tells nothing yet (nothing moves). Otherwise a warning where the
        numbers look like another unit but may as well come from electrodes that are not on yet;
        an empty string where all is well.

    Raises
    ------
    UnitError
        Volts were taken for microvolts or the other way round: no electrode does that.
    """
    amplitude = robust_amplitude(conditioned)
    if amplitude == 0:
        return None
    if PLAUSIBLE_UV[0] <= amplitude <= PLAUSIBLE_UV[1]:
        return ""
    declared = UNITS.get(unit, 1.0)
    for other, scale in UNITS.items():
        as_other = amplitude / declared * scale
        if not CERTAIN_UV[0] <= as_other <= CERTAIN_UV[1]:
            continue
        found = (
            f"a typical amplitude of {amplitude:.3g} µV, which would be {as_other:.3g} µV if the "
            f"numbers were in {other}"
        )
        if max(declared / scale, scale / declared) > 1e3:
            raise UnitError(
                f"EEG of about 10 to 100 µV in the declared unit, {unit}",
                found,
                f"mend the unit at the sender, or tell us the true one: --units {other}",
            )
        return f"{found}; if the electrodes are on, say --units {other}"
    return None
