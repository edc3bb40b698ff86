"""What the mixture is made of: pools of epochs with targets.

In come features and nights (`encoder.data`), out go epochs in microvolts with soft targets: here
synthetic epochs with the features and the true labels of Sleep-EDF, and epochs of made-up nights;
real windows and edited ones are in `teachers`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sleepstream.messages import N_STAGES, Float32Array
from sleepstream.stager.front_end import log_amplitude
from sleepstream_training.encoder.data import Features, Recording
from sleepstream_training.encoder.synthesis import synthesize

STAGE_SHARES = (0.22, 0.16, 0.32, 0.13, 0.17)
"""Shares of the stages among the synthetic epochs: a clinical night, N1 a little more often."""


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
