"""Epochs as another montage, amplifier or room might have given them.

In come batches in the scale of the front end, out go changed ones. What happens to a sequence of
epochs happens to all of it: one night has one amplifier.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from sleepstream.messages import EPOCH_N_SAMPLES, SFREQ, Float32Array
from sleepstream.stager.front_end import LIMIT
from sleepstream_training.encoder.recipe import Augmentation

FREQS = fft.rfftfreq(EPOCH_N_SAMPLES, 1 / SFREQ).astype(np.float32)
_OCTAVES = np.log2(np.clip(FREQS, 0.4, 50.0) / 0.4)
_REFERENCE = (FREQS >= 4) & (FREQS <= 16)
_KNOT_STEP = 0.43
"""Of the tilt's deviation, the part that each octave adds of its own."""

Rng = np.random.Generator


def augment(x: Float32Array, how: Augmentation, rng: Rng) -> Float32Array:
    """Return changed epochs.

    Parameters
    ----------
    x : ndarray of float32, shape (n, n_epochs, 3000)
        As the front end scales them.
    how : Augmentation
        How far.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    ndarray of float32, shape (n, n_epochs, 3000)
    """
    n = len(x)
    response = _tilts(n, how, rng) * _filters(n, how, rng)
    out = fft.irfft(fft.rfft(x, axis=2) * response[:, np.newaxis], EPOCH_N_SAMPLES, axis=2)
    out = out.astype(np.float32)
    if how.flip:
        out *= rng.choice(np.array([-1, 1], dtype=np.float32), size=(n, 1, 1))
    noise = np.where(rng.random(n) < how.noise, rng.uniform(0, how.noise_size, n), 0)
    white = rng.standard_normal(out.shape, dtype=np.float32)
    out += noise[:, np.newaxis, np.newaxis].astype(np.float32) * white
    samples = out.reshape(n, -1)  # a view: the whole sequence as one stretch of time
    for i in np.flatnonzero(rng.random(n) < how.hum):
        samples[i] += _hum(samples.shape[1], rng)
    for i in np.flatnonzero(rng.random(n) < how.missing):  # missing samples are zero
        at, length = int(rng.integers(samples.shape[1])), int(rng.integers(100, 800))
        samples[i, at : at + length] = 0
    return np.asarray(np.clip(out, -LIMIT, LIMIT))


def gain_errors(n: int, how: Augmentation, rng: Rng) -> tuple[Float32Array, Float32Array]:
    """Draw how the front end may have been wrong.

    Returns
    -------
    own : ndarray of float32, shape (n,)
        How much of the gain is the epoch's own amplitude instead of the night's: 1 at the start of
        a night, between 0 and 1 a little later, else 0.
    error : ndarray of float32, shape (n,)
        To be added to the log gain.
    """
    chance = rng.random(n)
    at_start, soon = chance < 0.25 * how.night_start, chance < how.night_start
    own = np.where(at_start, 1.0, np.where(soon, rng.random(n), 0.0))
    error = np.where(own > 0, 0.5, 1.0) * how.gain * rng.normal(size=n)
    return own.astype(np.float32), error.astype(np.float32)


def high_step() -> Float32Array:
    """Return 0 below and 1 above about 6 Hz, shape (1501,): where montages differ most."""
    octaves_above = np.log2(np.maximum(FREQS, 0.1) / 6.0)
    return np.asarray(1 / (1 + np.exp(-3 * octaves_above)), dtype=np.float32)


def _tilts(n: int, how: Augmentation, rng: Rng) -> Float32Array:
    """Return smooth gains over frequency, one on average where the front end looks."""
    knots = np.cumsum(rng.normal(0, _KNOT_STEP * how.tilt, size=(n, 8)), axis=1)
    low = np.minimum(_OCTAVES.astype(int), 6)
    curve = knots[:, low] * (1 - (_OCTAVES - low)) + knots[:, low + 1] * (_OCTAVES - low)
    curve = curve + rng.normal(how.lean, how.tilt, size=(n, 1)) * high_step()
    centred = curve - curve[:, _REFERENCE].mean(axis=1, keepdims=True)
    return np.asarray(np.exp(centred), dtype=np.float32)


def _filters(n: int, how: Augmentation, rng: Rng) -> Float32Array:
    """Return the gains over frequency of other low-passes and high-passes."""
    cut = np.where(rng.random(n) < how.low_pass, rng.uniform(22, 45, n), 80)[:, np.newaxis]
    low = np.where(rng.random(n) < how.high_pass, rng.uniform(0.3, 0.8, n), 0.05)[:, np.newaxis]
    above = 1 / np.sqrt(1 + (FREQS / cut) ** 8)
    below = 1 / np.sqrt(1 + (low / np.maximum(FREQS, 1e-3)) ** 4)
    return np.asarray(above * below, dtype=np.float32)


def _hum(n_samples: int, rng: Rng) -> Float32Array:
    """Return mains, or its alias."""
    t = np.arange(n_samples) / SFREQ
    phase = 2 * np.pi * rng.uniform(20, 50) * t + rng.uniform(0, 6)
    return np.asarray(rng.uniform(0.1, 1.0) * np.sin(phase), dtype=np.float32)
