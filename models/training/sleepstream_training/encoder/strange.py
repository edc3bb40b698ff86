"""Signals that are no EEG, so that an encoder learns to say that it does not know.

Out come epochs in the scale of the front end to learn from, and signals in microvolts to ask about.
The latter are other signals, and a heart and steps are of a kind that was never learned from.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from sleepstream.messages import EPOCH_N_SAMPLES, SFREQ, Float32Array
from sleepstream.stager.front_end import LIMIT

UNSEEN = ("flat", "mains", "white noise", "heart", "steps")
"""Signals to ask about. The first three are near what is learned from, the others are not."""

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


def unseen(name: str, n: int, rng: np.random.Generator) -> Float32Array:
    """Return `n` consecutive epochs in microvolts, shape (n, 3000), of something that is no EEG.

    Parameters
    ----------
    name : str
        One of `UNSEEN`.
    n : int
        How many epochs.
    rng : numpy.random.Generator
        Source of chance.
    """
    t = np.arange(n * EPOCH_N_SAMPLES) / SFREQ
    if name == "flat":
        out = np.zeros(len(t))
    elif name == "mains":
        out = 40 * np.sin(2 * np.pi * 49.97 * t) + rng.normal(size=len(t))
    elif name == "white noise":
        out = 20 * rng.normal(size=len(t))
    elif name == "heart":
        phase = np.cumsum(1.05 + 0.03 * rng.normal(size=len(t))) / SFREQ % 1
        beats = ((0.3, 0.012, 900), (0.33, 0.012, -200), (0.27, 0.01, -90), (0.15, 0.03, 120))
        out = np.zeros(len(t))
        for at, width, size in beats:
            out += size * np.exp(-0.5 * ((phase - at) / width) ** 2)
        out += 180 * np.exp(-0.5 * ((phase - 0.6) / 0.05) ** 2) + 5 * rng.normal(size=len(t))
    elif name == "steps":
        out = 50 * rng.choice((-1.0, 1.0), size=len(t) // 100).repeat(100)
    else:
        raise ValueError(f"no such signal: {name}")
    return np.asarray(out, dtype=np.float32).reshape(n, EPOCH_N_SAMPLES)
