"""Units of voltage, and what the amplitude of a signal says about the one that was declared.

Enters: a conditioned signal and the unit in which it came. Leaves: all is well, a doubt in words,
or an error. A network that is fed volts for microvolts says wake to everything.
"""

from __future__ import annotations

import numpy as np

from sleepstream.errors import UnitError
from sleepstream.messages import Float32Array

UNITS = {"V": 1e6, "mV": 1e3, "uV": 1.0, "nV": 1e-3}
"""Microvolts in one of each unit."""

PLAUSIBLE_UV = (0.3, 3000.0)
"""Robust amplitude (scaled median absolute deviation) that some recorder on some head may give."""

CERTAIN_UV = (3.0, 300.0)
"""Robust amplitude that sleep EEG certainly has; used to say which unit would explain it."""


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
    other = unit_that_fits(amplitude, unit)
    if other is None:
        return None
    factor = UNITS[other] / UNITS.get(unit, 1.0)
    found = (
        f"a typical amplitude of {amplitude:.3g} µV, which would be {amplitude * factor:.3g} µV if "
        f"the numbers were in {other}"
    )
    if max(factor, 1 / factor) > 1e3:
        raise UnitError(
            f"EEG of about 10 to 100 µV in the declared unit, {unit}",
            found,
            f"mend the unit at the sender, or tell us the true one: --units {other}",
        )
    return f"{found}; if the electrodes are on, say --units {other}"


def unit_that_fits(amplitude_uv: float, unit: str) -> str | None:
    """Return the unit in which an amplitude would be that of sleep EEG; None if there is none.

    Parameters
    ----------
    amplitude_uv : float
        Robust amplitude, believed to be in microvolts.
    unit : str
        The unit that made us believe so.
    """
    as_declared = amplitude_uv / UNITS.get(unit, 1.0)
    low, high = CERTAIN_UV
    return next((u for u, scale in UNITS.items() if low <= as_declared * scale <= high), None)
