"""The spectrum of an epoch, as a second opinion for the decoder.

In comes `Epoch.data`; out go seventeen numbers of it (`describe`), and the decoder's input row that
is made of them and of what the recording looked like so far (`advance`). The encoder learned from
few real nights; these numbers are known, with their true stages, for all nights of Sleep-EDF
Expanded, so what the decoder makes of them was learned from real sleep of many people.

Neither the gain of a recording nor, after a few minutes, the tilt of its spectrum matters: each
number also comes as its distance from its own causal running mean. The state is a value, so that
looking ahead from it leaves no trace. `advance` is the one implementation: serving calls it with
one night, training with many side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pywt
from scipy import signal

from sleepstream.messages import SFREQ, Float32Array, Float64Array

WAVELET, LEVELS = "db4", 5
BANDS_HZ = ((0.5, 4.0), (4.0, 8.0), (8.0, 13.0), (13.0, 30.0), (30.0, 45.0))
"""Bands whose share of the power is taken."""

N_WAVELET_BANDS = LEVELS + 1
N_NUMBERS = 2 * N_WAVELET_BANDS + len(BANDS_HZ)
"""Log energy and entropy of each wavelet band (0 to 1.6 Hz first), log share of each band."""

N_INPUTS = 2 * N_NUMBERS + 3
"""Length of the decoder's input row: the numbers, their distance from the mean so far, how much
lies behind that mean (twice), and whether there is anything at all."""

MEMORY_EPOCHS = 480.0
"""Epochs after which the running means forget: four hours, longer than any bout."""

PRIOR_EPOCHS = 4.0
"""How many epochs the population counts for at the start of a recording."""

POPULATION_MEAN = (
    *(2.54, 0.74, 0.21, -0.21, -0.77, -1.13),
    *(3.66, 3.54, 4.21, 4.97, 5.61, 6.35),
    *(-0.66, -2.99, -3.72, -3.83, -5.22),
)
POPULATION_SD = (
    *(1.26, 1.07, 0.85, 0.68, 0.86, 1.63),
    *(0.30, 0.33, 0.33, 0.28, 0.34, 0.50),
    *(0.44, 0.92, 1.06, 1.16, 1.54),
)
"""Of the training subjects of Sleep-EDF Expanded, Fpz-Cz, half an hour around sleep, with the gain
taken out; they only bring the numbers to order one."""

_GAIN = slice(2, 4)  # wavelet bands of 3 to 12 Hz tell the gain: they differ least between stages
_ENERGIES = slice(0, N_WAVELET_BANDS)
_TINY_UV2 = 1.0  # of an epoch's energy: far below any amplifier's noise
_TINY_SHARE = 1e-6
_LIMIT = 6.0  # standard deviations; a movement need not be bigger than that


def describe(data: Float32Array) -> Float32Array:
    """Return the numbers of one epoch.

    Parameters
    ----------
    data : ndarray of float32, shape (1, 3000)
        `Epoch.data`: high-passed microvolts at 100 Hz, zero where samples are missing.

    Returns
    -------
    ndarray of float32, shape (17,)
        Natural logarithms of the energy in µV² of six wavelet bands, their entropies in nats, and
        natural logarithms of the share of five bands in the power.
    """
    samples = data[0].astype(np.float64)
    energies, entropies = [], []
    for part in pywt.wavedec(samples, WAVELET, level=LEVELS):
        power = part**2
        energy = power.sum()
        share = power / (energy + _TINY_UV2)
        energies.append(np.log(energy + _TINY_UV2))
        entropies.append(-(share * np.log(share + 1e-12)).sum())
    shares = np.log(np.maximum(_shares(samples), _TINY_SHARE))
    return np.array([*energies, *entropies, *shares], dtype=np.float32)


def _shares(samples: Float64Array) -> Float64Array:
    """Return the share of each of `BANDS_HZ` in the power of an epoch."""
    freqs, _, spectrum = signal.stft(samples, fs=SFREQ, window="hann", nperseg=200, noverlap=100)
    power = (np.abs(spectrum) ** 2).mean(axis=1)
    total = power.sum() + 1e-12
    parts = [power[(freqs >= low) & (freqs < high)].sum() / total for low, high in BANDS_HZ]
    return np.array(parts)


@dataclass(frozen=True, slots=True)
class Baseline:
    """What recordings looked like so far; the first axis counts recordings.

    Attributes
    ----------
    n_epochs : ndarray of float64, shape (n,)
        Epochs behind the means, at most `MEMORY_EPOCHS`.
    gain : ndarray of float64, shape (n,)
        Mean log energy of the bands that tell the gain.
    mean : ndarray of float64, shape (n, 17)
        Mean of the numbers, the gain taken out.
    """

    n_epochs: Float64Array
    gain: Float64Array
    mean: Float64Array


def start(n_recordings: int = 1) -> Baseline:
    """Return the baseline before the first epoch of `n_recordings` recordings."""
    return Baseline(
        n_epochs=np.zeros(n_recordings),
        gain=np.zeros(n_recordings),
        mean=np.tile(POPULATION_MEAN, (n_recordings, 1)),
    )


def advance(
    baseline: Baseline, numbers: npt.ArrayLike, present: npt.ArrayLike
) -> tuple[Baseline, Float32Array]:
    """Take in one epoch of each recording.

    Parameters
    ----------
    baseline : Baseline
        Before this epoch; it is not changed.
    numbers : array-like, shape (n_recordings, 17)
        From `describe`; ignored where not `present`.
    present : array-like of bool, shape (n_recordings,)
        Whether there is anything to tell. Where not, the row is all zeros.

    Returns
    -------
    baseline : Baseline
        After this epoch.
    inputs : ndarray of float32, shape (n_recordings, N_INPUTS)
        The decoder's input for this epoch.
    """
    there = np.asarray(present, dtype=bool)
    told = np.where(there[:, None], np.asarray(numbers, dtype=np.float64), 0.0)
    n = np.where(there, np.minimum(baseline.n_epochs + 1.0, MEMORY_EPOCHS), baseline.n_epochs)
    rate = np.where(there, 1.0 / np.maximum(n, 1.0), 0.0)
    gain = baseline.gain + rate * (told[:, _GAIN].mean(axis=1) - baseline.gain)
    told[:, _ENERGIES] -= gain[:, None]
    # the population is one of the means that the first epochs are averaged with
    share = np.where(there, 1.0 / (np.maximum(n, 1.0) + PRIOR_EPOCHS), 0.0)[:, None]
    mean = baseline.mean + share * (told - baseline.mean)
    rows = np.concatenate(
        [
            _in_deviations(told - np.asarray(POPULATION_MEAN)),
            _in_deviations(told - mean),
            (np.log1p(n) / 6.0)[:, None],
            (n / MEMORY_EPOCHS)[:, None],
            np.ones((len(n), 1)),
        ],
        axis=1,
    )
    inputs = np.where(there[:, None], rows, 0.0).astype(np.float32)
    return Baseline(n, gain, mean), inputs


def _in_deviations(differences: Float64Array) -> Float64Array:
    deviations: Float64Array = np.clip(differences / np.asarray(POPULATION_SD), -_LIMIT, _LIMIT)
    return deviations
