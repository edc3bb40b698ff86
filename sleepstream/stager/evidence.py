"""What an epoch says about being sleep EEG: four numbers that no stage enters.

In come an epoch and its spectral numbers (`sleepstream.stager.spectral`); out goes `Evidence`, of
which `sleepstream.stager.familiarity` makes a verdict. Nothing here has learned anything or keeps
a state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import signal

from sleepstream.messages import SFREQ, Float32Array, Float64Array
from sleepstream.stager.spectral import GAIN, N_NUMBERS, N_WAVELET_BANDS

N_SHAPE = N_NUMBERS - 1
"""How many numbers are left of a spectrum without its gain."""

LIVELY_BANDS_HZ = ((2.0, 6.0), (6.0, 14.0), (14.0, 30.0))
"""Bands whose power is followed in time."""

NOISE_LOG_VARIANCE = (-0.917, -1.5, -2.144)
"""Logarithm of the variance of the log power of each of those bands in white noise."""

BEAT_S = (0.35, 1.8)
"""Time from one beat to the next: 170 to 33 in a minute, walking included."""

_LIVELY_LIMITS = (-1.0, 1.2)  # an epoch with a movement need not be livelier than that
_LIVELY_WINDOW = 50
_BEAT_WIDTH = 15  # samples over which a beat may be out of time
_FIRST_LAG = 10


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one epoch says.

    Attributes
    ----------
    level : float
        Log energy in µV² of the bands that tell the gain.
    surprise : float
        Negative log-likelihood of the shape of the spectrum, in nats.
    beat : float
        How much of a beat there is: from 0 up to 2.
    liveliness : float
        How much more the bands fluctuate than those of noise: log ratio of variances.
    """

    level: float
    surprise: float
    beat: float
    liveliness: float


def level(numbers: Float32Array) -> float:
    """Return what tells the gain, of the spectral numbers of one epoch, shape (17,)."""
    return float(numbers[GAIN].mean(dtype=np.float64))


def shape(numbers: npt.NDArray[Any]) -> Float64Array:
    """Return the shapes, shape (n, 16), of spectra: their numbers, shape (n, 17), without gain."""
    rows = numbers.astype(np.float64)
    rows[:, :N_WAVELET_BANDS] -= rows[:, GAIN].mean(axis=1, keepdims=True)
    # the two bands that tell the gain now differ in sign alone
    return np.delete(rows, GAIN.start, axis=1)


def liveliness(samples: Float32Array) -> float:
    """Return how much more the bands of an epoch, shape (3000,), fluctuate than those of noise."""
    spread = samples.std(dtype=np.float64)
    if spread == 0.0:
        return _LIVELY_LIMITS[0]
    freqs, _, spectrum = signal.stft(
        samples / spread,
        fs=SFREQ,
        nperseg=_LIVELY_WINDOW,
        noverlap=_LIVELY_WINDOW // 2,
        boundary=None,
        padded=False,
    )
    power = np.abs(spectrum) ** 2
    power = power[:, : power.shape[1] // 2 * 2].reshape(len(freqs), -1, 2).mean(axis=2)
    power /= power.mean(axis=1, keepdims=True) + 1e-12  # so that its colour does not matter
    excess = []
    for (low, high), noise in zip(LIVELY_BANDS_HZ, NOISE_LOG_VARIANCE, strict=True):
        band = power[(freqs >= low) & (freqs < high)].mean(axis=0)
        logs = np.log(band + 1e-3)  # silence is no bottomless pit
        excess.append(np.log(logs.var() + 1e-4) - noise)
    return float(np.clip(excess, *_LIVELY_LIMITS).mean())


def beat(samples: Float32Array) -> float:
    """Return how much of a regular beat there is in an epoch, shape (3000,).

    The slope of a beat stands out and comes again: the autocorrelation of the size of the slope
    falls, and rises again one beat later. How far it rises is returned.
    """
    slope = np.abs(np.diff(samples.astype(np.float64)))
    slope = np.minimum(slope, np.quantile(slope, 0.98))
    slope = signal.lfilter(np.full(_BEAT_WIDTH, 1.0 / _BEAT_WIDTH), 1.0, slope)
    slope -= slope.mean()
    energy = slope @ slope
    if energy == 0.0:
        return 0.0
    first, last = (int(s * SFREQ) for s in BEAT_S)
    whole = signal.correlate(slope, slope, method="fft")[len(slope) - 1 :] / energy
    tail = whole[_FIRST_LAG:last]
    rise = tail - np.minimum.accumulate(tail)
    return float(rise[first - _FIRST_LAG :].max())
