"""What the encoders are trained on: pools of epochs with targets, and their augmentation.

In come conditioned recordings and features (`encoder_data`), out go batches of scaled signals
with soft targets. Three sources: real W and N3 windows with their labels, mixtures of them that
only the teachers label, and synthetic epochs with their true labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from encoder_data import Features, Recording
from encoder_synthesis import synthesize
from scipy import fft

from sleepstream.messages import EPOCH_N_SAMPLES, N_STAGES, SFREQ, Float32Array
from sleepstream.stager.encoder import LIMIT, TinySleepNet, log_amplitude
from sleepstream.stager.imports import convert_tinysleepnet, read_state_dict

STAGE_SHARES = (0.22, 0.16, 0.32, 0.13, 0.17)
"""Shares of the stages among the synthetic epochs: a clinical night, N1 a little more often."""

LABEL_WEIGHT = 0.75
"""Of a real window's target: its label; the rest is what the teachers say."""

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


def real_pool(
    recordings: list[Recording], teachers: list[TinySleepNet], n: int, seed: int
) -> tuple[Pool, Pool]:
    """Return `n` real windows (labels, a little of the teachers) and `n` mixtures (teachers).

    A window may start anywhere in a run, so that it crosses epoch borders; it has a label where
    both epochs that it touches agree. Mixtures join or add two windows of one recording.
    """
    rng = np.random.default_rng(seed)
    windows: list[Float32Array] = []
    labels: list[int] = []
    gains: list[float] = []
    others: list[Float32Array] = []
    while len(windows) < n:
        recording = recordings[rng.integers(len(recordings))]
        window, label, gain = _window(recording, rng)
        if label < 0:
            continue
        partner, _, _ = _window(recording, rng)
        windows.append(window)
        labels.append(label)
        gains.append(gain)
        others.append(_mix(window, partner, rng))
    real, mixed = np.stack(windows), np.stack(others)
    log_gains = np.array(gains, dtype=np.float32)
    said = opinion(teachers, real)
    targets = LABEL_WEIGHT * one_hot(np.array(labels)) + (1 - LABEL_WEIGHT) * said
    return (
        make_pool(real, targets.astype(np.float32), log_gains),
        make_pool(mixed, opinion(teachers, mixed), log_gains),
    )


def _window(recording: Recording, rng: np.random.Generator) -> tuple[Float32Array, int, float]:
    """Return a window, its label (-1 where it crosses two stages) and its gain."""
    sizes = np.array([len(run) for run in recording.runs])
    # by stage first: else recordings of long wake would teach wake alone
    stages = np.concatenate(recording.labels)
    rows = np.flatnonzero(stages == rng.choice(np.unique(stages)))
    flat = int(rng.choice(rows))
    k = int(np.searchsorted(np.cumsum(sizes), flat, side="right"))
    i = flat - int(np.cumsum(sizes)[k] - sizes[k])
    run, labels = recording.runs[k], recording.labels[k]
    shift = 0 if i + 1 >= len(run) or rng.random() < 0.3 else int(rng.integers(EPOCH_N_SAMPLES))
    window = run[i : i + 2].ravel()[shift : shift + EPOCH_N_SAMPLES]
    same = shift == 0 or labels[i] == labels[i + 1]
    return window, int(labels[i]) if same else -1, float(recording.log_gains[k][i])


def _mix(a: Float32Array, b: Float32Array, rng: np.random.Generator) -> Float32Array:
    share = np.float32(rng.uniform(0.2, 0.8))
    if rng.random() < 0.5:  # one after the other, over half a second
        ramp = 1 / (1 + np.exp(-(np.arange(EPOCH_N_SAMPLES) - share * EPOCH_N_SAMPLES) / 12))
        return ((1 - ramp) * a + ramp * b).astype(np.float32)
    return (share * a + (1 - share) * b).astype(np.float32)


# --- teachers ----------------------------------------------------------------------------------


def load_teachers(folder: Path) -> list[TinySleepNet]:
    """Read the published TinySleepNet folds of ``folder/third_party_weights/sleepgpt``."""
    teachers = []
    for path in sorted((folder / "third_party_weights/sleepgpt").glob("tinysleepnet_fold*.tar")):
        tensors, _ = convert_tinysleepnet(path, read_state_dict(path))
        network = TinySleepNet()
        network.load_state_dict(tensors)
        teachers.append(network.eval())
    return teachers


@torch.inference_mode()
def opinion(teachers: list[TinySleepNet], signals: Float32Array) -> Float32Array:
    """Return the teachers' mean probabilities, shape (n, 5), of epochs in microvolts."""
    out = np.zeros((len(signals), N_STAGES), dtype=np.float32)
    for start in range(0, len(signals), 64):
        x = torch.from_numpy(signals[start : start + 64])[:, None]
        said = torch.stack([network(x).softmax(1) for network in teachers]).mean(0)
        out[start : start + 64] = said.numpy()
    return out


# --- batches -----------------------------------------------------------------------------------


def batch(
    pools: list[Pool], sizes: tuple[int, ...], rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw a batch of augmented epochs, shape (n, 1, 3000), and targets, shape (n, 5)."""
    signals, targets = [], []
    for k, (pool, size) in enumerate(zip(pools, sizes, strict=True)):
        rows = rng.integers(len(pool), size=size)
        # the first source is synthetic, of a frontal lead: other montages have more above 6 Hz
        lean = 0.15 if k == 0 else -0.1
        x = pool.signals[rows]
        if k == 0:
            x = np.roll(x, int(rng.integers(EPOCH_N_SAMPLES)), axis=1)
        start_of_night = rng.random(size) < 0.08
        gains = np.where(start_of_night, pool.own[rows], pool.log_gains[rows])
        gains = gains + np.where(start_of_night, 0.05, 0.2) * rng.normal(size=size)
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
    return np.clip(out, -LIMIT, LIMIT)


def _tilts(n: int, lean: float, rng: np.random.Generator) -> Float32Array:
    """Return smooth log gains over frequency, zero on average where the front end looks."""
    knots = np.cumsum(rng.normal(0, 0.13, size=(n, 8)), axis=1)
    low = np.minimum(_OCTAVES.astype(int), 6)
    curve = knots[:, low] * (1 - (_OCTAVES - low)) + knots[:, low + 1] * (_OCTAVES - low)
    step = 1 / (1 + np.exp(-3 * (np.log2(np.maximum(_FREQS, 0.1)) - np.log2(6.0))))
    curve = curve + rng.normal(lean, 0.3, size=(n, 1)) * step
    return (curve - curve[:, _REFERENCE].mean(axis=1, keepdims=True)).astype(np.float32)
