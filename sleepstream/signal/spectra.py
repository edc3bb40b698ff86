"""Power spectra of single seconds: what the verdict on an epoch is made of.

Enters: thirty seconds of one derivation, second by second. Leaves: amplitudes in bands, and how
large the hum of the mains is beside the EEG. Each second is looked at alone, so nothing depends on
how the samples were cut.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sleepstream.messages import SFREQ, Float32Array, Float64Array

EEG_HZ = (4.0, 16.0)
"""Band whose amplitude differs least between stages: how large this recording's EEG is."""

FAST_HZ = (20.0, 45.0)
"""Muscle is broad and fast; the EEG has little there, and the mains is not there yet."""

MAINS_HZ = (50.0, 60.0)
N_HARMONICS = 3

_BESIDE_MAINS_HZ = (1.0, 45.0)  # all EEG, for the hum to be held against
_LINE_HZ = 2.0  # half the width of a line in the spectrum of a windowed second
_AROUND_HZ = 8.0  # so far on both sides of a line is looked what is there without it
_TINY_UV2 = 1e-6  # nothing at all; keeps ratios finite


class BandMeter:
    """Amplitudes in bands of a signal at 100 Hz, second by second."""

    def __init__(self) -> None:
        self._window = _window(int(SFREQ))
        freqs = np.fft.rfftfreq(int(SFREQ), 1 / SFREQ)
        self._bands = [(freqs >= low) & (freqs <= high) for low, high in (EEG_HZ, FAST_HZ)]

    def measure(self, seconds: Float32Array) -> tuple[Float64Array, Float64Array]:
        """Return the root mean square in two bands.

        Parameters
        ----------
        seconds : ndarray of float32, shape (n_seconds, 100)
            Microvolts at 100 Hz.

        Returns
        -------
        eeg, fast : ndarray of float64, shape (n_seconds,)
            Microvolts in `EEG_HZ` and in `FAST_HZ`.
        """
        power = _power(seconds, self._window)
        eeg, fast = (np.sqrt(power[:, band].sum(axis=1)) for band in self._bands)
        return eeg, fast


class MainsMeter:
    """The hum of the mains beside the EEG, in the signal as it was sent.

    At 100 Hz after our resampler there is none left to be seen, so this looks before it. What can
    be known depends on the sender's rate: below 100 Hz nothing; at 100 Hz there is 50 Hz at the
    very end of the spectrum, shown smaller than it is or not at all, as chance has it; 60 Hz is
    there above 120 Hz. A recorder without a filter of its own folds what it cannot show to lower
    frequencies (at 100 Hz, 60 to 40 Hz), where nobody can tell it from EEG: that is not looked for.

    Parameters
    ----------
    sfreq : float
        The sender's rate in hertz.
    n_samples : int
        Samples that are looked at in each second.
    """

    def __init__(self, sfreq: float, n_samples: int) -> None:
        self._window = _window(n_samples)
        freqs: Float64Array = np.fft.rfftfreq(n_samples, 1 / sfreq).astype(np.float64)
        low, high = _BESIDE_MAINS_HZ
        self._eeg = (freqs >= low) & (freqs <= high)
        self._lines = {hz: _lines(freqs, hz, sfreq / 2) for hz in MAINS_HZ if hz <= sfreq / 2}

    @property
    def can_tell(self) -> bool:
        """Whether there is anything to be known at this rate."""
        return bool(self._lines)

    def measure(self, seconds: Float32Array) -> tuple[float, Float64Array]:
        """Measure the hum, its harmonics included, against the EEG.

        Parameters
        ----------
        seconds : ndarray of float32, shape (n_seconds, n_samples)
            Microvolts at the sender's rate, no NaN.

        Returns
        -------
        hz : float
            Which mains it is, if it is one.
        ratio : ndarray of float64, shape (n_seconds,)
            Amplitude of the hum over that of the EEG.
        """
        if not self._lines:
            return MAINS_HZ[0], np.zeros(len(seconds))
        power = _power(seconds, self._window)
        hums = {
            hz: np.sum([_above(power, *line) for line in lines], axis=0)
            for hz, lines in self._lines.items()
        }
        hz = max(hums, key=lambda each: float(np.median(hums[each])))
        eeg = power[:, self._eeg].sum(axis=1) + _TINY_UV2
        return hz, np.sqrt(hums[hz] / eeg)


_Mask = npt.NDArray[np.bool_]


def _lines(freqs: Float64Array, hz: float, nyquist_hz: float) -> list[tuple[_Mask, _Mask]]:
    """Return for the mains and each harmonic that can be seen its bins, and those around it."""
    found = []
    for harmonic in range(1, N_HARMONICS + 1):
        if harmonic * hz <= nyquist_hz:
            away = np.abs(freqs - harmonic * hz)
            found.append((away <= _LINE_HZ, (away > 2 * _LINE_HZ) & (away <= _AROUND_HZ)))
    return found


def _above(power: Float64Array, line: _Mask, around: _Mask) -> Float64Array:
    """Return the power of a line over what is broad, as muscle is."""
    broad = np.median(power[:, around], axis=1) * np.count_nonzero(line)
    return np.asarray(np.maximum(power[:, line].sum(axis=1) - broad, 0.0), np.float64)


def _window(n: int) -> Float64Array:
    """Return a Hann window of a size that makes the spectrum sum to the variance."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)
    return np.asarray(window / np.sqrt(np.square(window).sum() * n / 2))


def _power(seconds: Float32Array, window: Float64Array) -> Float64Array:
    """Return the power of each bin in µV²; offset and slope are taken out first."""
    n = seconds.shape[1]
    slope = np.arange(n) - (n - 1) / 2
    level = seconds - seconds.mean(axis=1, keepdims=True, dtype=np.float64)
    tilt = (level * slope).sum(axis=1, keepdims=True) / np.square(slope).sum()
    spectrum = np.fft.rfft((level - tilt * slope) * window, axis=1)
    return np.asarray(np.square(np.abs(spectrum)), np.float64)
