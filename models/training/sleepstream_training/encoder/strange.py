"""Signals that are no EEG, so that an encoder learns to say that it does not know.

Out come epochs in the scale of the front end. Those to ask a model about are others: see
`sleepstream_training.strangers`.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from sleepstream.messages import EPOCH_N_SAMPLES, SFREQ, Float32Array
from sleepstream.stager.front_end import LIMIT

_T = np.arange(EPOCH_N_SAMPLES) / SFREQ


def strange(n: int, rng: np.random.Generator) -> Float32Array:
    """Return `n` epochs to learn from, shape (n, 3000): flat, tones, flat noise, overload."""
    makers = (_flat, _tones, _noise, _overload)
    out = np.stack([makers[int(rng.integers(len(makers)))](rng) for _ in range(n)])
    return np.clip(out, -LIMIT, LIMIT).astype(np.float32)


def _flat(rng: np.random.Generator) -> Float32Array:
    return np.asarray(rng.choice((0.0, 0.01, 0.05)) * rng.normal(size=EPOCH_N_SAMPLES))


def _tones(rng: np.random.Generator) -> Float32Array:
    out = 0.05 * rng.normal(size=EPOCH_N_SAMPLES)
    for _ in range(rng.integers(1, 4)):
        out += rng.uniform(0.3, 1) * np.sin(
            2 * np.pi * rng.uniform(0.5, 50) * _T + rng.uniform(0, 6.3)
        )
    return np.asarray(np.exp(rng.uniform(-1, 3.5)) * out)


def _noise(rng: np.random.Generator) -> Float32Array:
    """White noise or bluer: an EEG falls off with frequency."""
    spectrum = fft.rfft(rng.normal(size=EPOCH_N_SAMPLES))
    slope = np.maximum(np.arange(len(spectrum)), 1) ** rng.uniform(-0.1, 1.0)
    out = fft.irfft(spectrum * slope, EPOCH_N_SAMPLES)
    return np.asarray(np.exp(rng.uniform(0, 3)) * out / out.std())


def _overload(rng: np.random.Generator) -> Float32Array:
    """Return an EEG-like signal so large that most of it is cut off."""
    spectrum = fft.rfft(rng.normal(size=EPOCH_N_SAMPLES))
    slope = np.maximum(np.arange(len(spectrum)), 10) ** -rng.uniform(0.5, 1.5)
    out = fft.irfft(spectrum * slope, EPOCH_N_SAMPLES)
    return np.asarray(np.exp(rng.uniform(5, 8)) * out / out.std())
