"""What the encoders are trained on: pools of epochs with targets, and their augmentation.

In come features and nights (`encoder_data`), out go batches of scaled signals with soft targets.
Four sources: synthetic epochs with the features and the true labels of Sleep-EDF, real windows and
edited ones (`encoder_teachers`), and epochs of made-up nights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import fft

from sleepstream.messages import EPOCH_N_SAMPLES, N_STAGES, SFREQ, Float32Array
from sleepstream.stager.front_end import LIMIT, log_amplitude
from sleepstream_training.encoder.data import Features, Recording
from sleepstream_training.encoder.synthesis import synthesize

STAGE_SHARES = (0.22, 0.16, 0.32, 0.13, 0.17)
"""Shares of the stages among the synthetic epochs: a clinical night, N1 a little more often."""

LEANS = (0.15, -0.1, -0.1, 0.1)
"""Mean tilt of each source (synthetic, real, edited, made-up nights) when it is augmented.

Synthetic epochs are of a frontal lead: other montages have more above 6 Hz.
"""

_FREQS = fft.rfftfreq(EPOCH_N_SAMPLES, 1 / SFREQ).astype(np.float32)
_OCTAVES = np.log2(np.clip(_FREQS, 0.4, 50.0) / 0.4)
_REFERENCE = (_FREQS >= 4) & (_FREQS <= 16)


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Epochs to draw from.

    Attributes
    ----------
    signals : ndarray of float32, shape (n, 3000)
        Microvolts, high-passed.
    targets : ndarray of float32, shape (n, 5)
        Probabilities to learn.
    log_gains : ndarray of float32, shape (n,)
        What the front end subtracts from the log amplitude.
    own : ndarray of float32, shape (n,)
        The epoch's own log amplitude: what the front end subtracts at the start of a night.
    """

    signals: Float32Array
    targets: Float32Array
    log_gains: Float32Array
    own: Float32Array

    def __len__(self) -> int:
        return len(self.signals)


def make_pool(signals: Float32Array, targets: Float32Array, log_gains: Float32Array) -> Pool:
    """Return a pool, with each epoch's own amplitude measured, less those whose lead was off."""
    own = [log_amplitude(s[None]) for s in signals]
    on = np.array([a is not None for a in own])
    amps = np.array([a for a in own if a is not None], dtype=np.float32)
    return Pool(signals[on], targets[on], log_gains[on].astype(np.float32), amps)


def one_hot(labels: npt.NDArray[np.int64], smoothing: float = 0.0) -> Float32Array:
    """Return targets, shape (n, 5), of labels."""
    hot = np.eye(N_STAGES, dtype=np.float32)[labels]
    return np.asarray(hot * (1 - smoothing) + smoothing / N_STAGES, dtype=np.float32)


def synthetic_pool(
    features: Features, raw: Float32Array, n: int, shares: tuple[float, ...] | None, seed: int
) -> Pool:
    """Return `n` synthetic epochs, in given shares of stages or (None) as the nights have them."""
    rng = np.random.default_rng(seed)
    weight = np.ones(len(features.y))
    if shares is not None:
        weight = np.array(shares)[features.y] / np.bincount(features.y)[features.y]
    rows = rng.choice(len(features.y), size=n, replace=False, p=weight / weight.sum())
    some = features.take(rows)
    signals = synthesize(some.x, some.y, raw, rng)
    return make_pool(signals, one_hot(some.y, 0.05), some.log_gain)


def night_pool(nights: list[Recording], n: int, seed: int) -> Pool:
    """Return about `n` epochs of made-up nights, with their labels."""
    rng = np.random.default_rng(seed)
    share = round(n / len(nights))
    signals, labels, gains = [], [], []
    for night in nights:
        y = np.concatenate(night.labels)
        rows = rng.permutation(np.flatnonzero(y >= 0))[:share]
        signals.append(np.concatenate(night.runs)[rows])
        labels.append(y[rows])
        gains.append(np.concatenate(night.log_gains)[rows])
    targets = one_hot(np.concatenate(labels), 0.1)
    return make_pool(np.concatenate(signals), targets, np.concatenate(gains))


# --- batches -----------------------------------------------------------------------------------


def batch(
    pools: list[Pool], sizes: tuple[int, ...], rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw a batch of augmented epochs, shape (n, 1, 3000), and targets, shape (n, 5)."""
    signals, targets = [], []
    for k, (pool, size) in enumerate(zip(pools, sizes, strict=True)):
        rows = rng.integers(len(pool), size=size)
        lean = LEANS[k]
        x = pool.signals[rows]
        if k == 0:
            x = np.roll(x, int(rng.integers(EPOCH_N_SAMPLES)), axis=1)
        # a night that began just now, a little while ago, or long ago
        chance = rng.random(size)
        own = np.where(chance < 0.08, 1.0, np.where(chance < 0.3, rng.random(size), 0.0))
        gains = own * pool.own[rows] + (1 - own) * pool.log_gains[rows]
        gains = gains + np.where(own > 0, 0.1, 0.2) * rng.normal(size=size)
        signals.append(augment(x * np.exp(-gains)[:, None].astype(np.float32), lean, rng))
        targets.append(pool.targets[rows])
    return (
        torch.from_numpy(np.concatenate(signals))[:, None],
        torch.from_numpy(np.concatenate(targets)),
    )


def augment(x: Float32Array, lean: float, rng: np.random.Generator) -> Float32Array:
    """Return epochs as another montage, amplifier or room might have given them."""
    n = len(x)
    spectrum = fft.rfft(x, axis=1) * np.exp(_tilts(n, lean, rng))
    cut = np.where(rng.random(n) < 0.3, rng.uniform(22, 45, n), 80)[:, None].astype(np.float32)
    spectrum *= 1 / np.sqrt(1 + (_FREQS / cut) ** 8)
    low = np.where(rng.random(n) < 0.25, rng.uniform(0.3, 0.8, n), 0.05)[:, None]
    spectrum *= 1 / np.sqrt(1 + (low.astype(np.float32) / np.maximum(_FREQS, 1e-3)) ** 4)
    out = fft.irfft(spectrum, EPOCH_N_SAMPLES, axis=1).astype(np.float32)
    out *= rng.choice(np.array([-1, 1], dtype=np.float32), size=(n, 1))
    noise = np.where(rng.random(n) < 0.35, rng.uniform(0, 0.35, n), 0)[:, None]
    out += (noise * rng.standard_normal(out.shape, dtype=np.float32)).astype(np.float32)
    for i in np.flatnonzero(rng.random(n) < 0.1):  # hum, or its alias
        t = np.arange(EPOCH_N_SAMPLES) / SFREQ
        hum = rng.uniform(0.1, 1.0) * np.sin(
            2 * np.pi * rng.uniform(20, 50) * t + rng.uniform(0, 6)
        )
        out[i] += hum.astype(np.float32)
    for i in np.flatnonzero(rng.random(n) < 0.08):  # missing samples are zero
        at, length = int(rng.integers(EPOCH_N_SAMPLES)), int(rng.integers(100, 800))
        out[i, at : at + length] = 0
    return np.asarray(np.clip(out, -LIMIT, LIMIT))


def _tilts(n: int, lean: float, rng: np.random.Generator) -> Float32Array:
    """Return smooth log gains over frequency, zero on average where the front end looks."""
    knots = np.cumsum(rng.normal(0, 0.13, size=(n, 8)), axis=1)
    low = np.minimum(_OCTAVES.astype(int), 6)
    curve = knots[:, low] * (1 - (_OCTAVES - low)) + knots[:, low + 1] * (_OCTAVES - low)
    curve = curve + rng.normal(lean, 0.3, size=(n, 1)) * high_step()
    centred = curve - curve[:, _REFERENCE].mean(axis=1, keepdims=True)
    return np.asarray(centred, dtype=np.float32)


def high_step() -> Float32Array:
    """Return 0 below and 1 above about 6 Hz, shape (1501,): where montages differ most."""
    octaves_above = np.log2(np.maximum(_FREQS, 0.1) / 6.0)
    return np.asarray(1 / (1 + np.exp(-3 * octaves_above)), dtype=np.float32)
