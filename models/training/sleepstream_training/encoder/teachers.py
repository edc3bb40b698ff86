"""Real windows and what the teachers say of them.

In come conditioned recordings (`encoder.data`) of which only W and N3 are in the set, out go pools:
windows with a light label, and edited windows that the teachers alone label. Two are asked, and
their probabilities multiplied. The published TinySleepNet folds learned from microvolts of a
frontal lead: they look at each recording through a `View`, a gain and a tilt at which they agree
best with its own labels. The `SpectralTeacher` learned from the spectra of many more people. On the
development recordings the two together are better than the folds alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy import fft

from sleepstream.messages import EPOCH_N_SAMPLES, N_STAGES, SFREQ, Float32Array, Stage
from sleepstream.stager.imports import convert_tinysleepnet, read_state_dict
from sleepstream.stager.networks import TinySleepNet
from sleepstream_training.encoder.augment import high_step
from sleepstream_training.encoder.data import Recording
from sleepstream_training.encoder.pools import Pool, make_pool, one_hot
from sleepstream_training.encoder.spectral_teacher import SpectralTeacher, usual
from sleepstream_training.encoder.synthesis import events

LABEL_WEIGHT = np.array([0.4, 0.0, 0.0, 0.6, 0.0], dtype=np.float32)
"""Of a real window's target: its label, W or N3; the rest is what the teachers say.

Taught by these labels alone, a network learns that whatever looks real and small is W.
"""

TEACHERS = Path("third_party_weights/sleepgpt")

N_ASKED = 12
"""Epochs of each stage by which a view is chosen."""

GAINS = (-0.8, -0.4, 0.0, 0.4, 0.8)
TILTS = (0.0, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class View:
    """How a recording is shown to the teachers.

    Attributes
    ----------
    gain : float
        Natural log of a factor on the microvolts.
    tilt : float
        By how much (natural log of the amplitude) frequencies above 6 Hz are taken down.
    """

    gain: float = 0.2
    tilt: float = 0.5

    def show(self, signals: Float32Array) -> Float32Array:
        """Return epochs, shape (n, 3000), as they are shown."""
        spectrum = fft.rfft(signals, axis=1) * np.exp(self.gain - self.tilt * high_step())
        return np.asarray(fft.irfft(spectrum, EPOCH_N_SAMPLES, axis=1), dtype=np.float32)


def load_teachers(folder: Path) -> list[TinySleepNet]:
    """Read the published TinySleepNet folds of ``folder/third_party_weights/sleepgpt``."""
    teachers = []
    for path in sorted((folder / TEACHERS).glob("tinysleepnet_fold*.tar")):
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


def best_view(recording: Recording, teachers: list[TinySleepNet], rng: np.random.Generator) -> View:
    """Return the view in which the teachers agree best with the recording's own W and N3.

    The gain is looked for first, then the tilt at that gain. A recording without both stages
    (of W alone the teachers like the largest gain best) gets the usual view.
    """
    epochs, y = np.concatenate(recording.runs), np.concatenate(recording.labels)
    stages = (int(Stage.W), int(Stage.N3))
    if not all(np.any(y == stage) for stage in stages):
        return View()
    rows = np.concatenate([rng.permutation(np.flatnonzero(y == s))[:N_ASKED] for s in stages])
    labels, asked = y[rows], epochs[rows]

    def agreement(view: View) -> float:
        said = opinion(teachers, view.show(asked))
        log_p = np.log(said[np.arange(len(labels)), labels] + 1e-3)
        return float(np.mean([log_p[labels == s].mean() for s in stages]))

    best = max((View(gain=gain) for gain in GAINS), key=agreement)
    return max((replace(best, tilt=tilt) for tilt in TILTS), key=agreement)


@dataclass(frozen=True, slots=True)
class Panel:
    """The two teachers.

    Attributes
    ----------
    folds : list of TinySleepNet
        The published networks, whose mean is one opinion.
    spectral : SpectralTeacher
        The other.
    """

    folds: list[TinySleepNet]
    spectral: SpectralTeacher

    def on(
        self, recording: Recording, rng: np.random.Generator
    ) -> Callable[[Float32Array], Float32Array]:
        """Return what says the teachers' probabilities of windows of one recording."""
        view, baseline = best_view(recording, self.folds, rng), usual(recording)

        def ask(signals: Float32Array) -> Float32Array:
            """Return probabilities, shape (n, 5), of epochs, shape (n, 3000), in microvolts."""
            folds = opinion(self.folds, view.show(signals))
            both = np.sqrt((folds + 1e-4) * (self.spectral.opinion(signals, baseline) + 1e-4))
            return np.asarray(both / both.sum(axis=1, keepdims=True), dtype=np.float32)

        return ask


def real_pools(
    recordings: list[Recording],
    panel: Panel,
    sizes: tuple[int, int],
    seed: int,
) -> tuple[Pool, Pool]:
    """Return real windows (a light label, the teachers) and edited ones (the teachers alone).

    A window may start anywhere in a run, so that it crosses epoch borders. The edited ones join or
    add two windows of a recording, or have their spectrum bent and the events of some stage added:
    so the recorder's own texture is also seen in N1, N2 and REM.

    Parameters
    ----------
    recordings : list of Recording
        To learn from.
    panel : Panel
        Whom to ask.
    sizes : tuple of int
        How many windows, and how many edited ones.
    seed : int
        Seed.
    """
    rng = np.random.default_rng(seed)
    plain: list[tuple[Float32Array, Float32Array, float]] = []
    edited: list[tuple[Float32Array, Float32Array, float]] = []
    for recording in recordings:
        ask = panel.on(recording, rng)
        share = [round(n / len(recordings)) for n in sizes]
        windows = [_window(recording, rng) for _ in range(share[0])]
        signals = np.stack([w[0] for w in windows])
        said = ask(signals)
        hot = one_hot(np.array([max(w[1], 0) for w in windows]))
        weight = np.array([LABEL_WEIGHT[w[1]] if w[1] >= 0 else 0.0 for w in windows])[:, None]
        targets = weight * hot + (1 - weight) * said
        plain += zip(signals, targets, (w[2] for w in windows), strict=True)
        pairs = [(_window(recording, rng), _window(recording, rng)) for _ in range(share[1])]
        signals = np.stack([_edit(a[0], b[0], rng) for a, b in pairs])
        said = ask(signals)
        edited += zip(signals, said, (a[2] for a, _ in pairs), strict=True)
    return _pool(plain), _pool(edited)


def _pool(rows: list[tuple[Float32Array, Float32Array, float]]) -> Pool:
    signals, targets, gains = zip(*rows, strict=True)
    return make_pool(
        np.stack(signals), np.stack(targets).astype(np.float32), np.array(gains, dtype=np.float32)
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


def _edit(a: Float32Array, b: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Return one window after the other, both at once, or the first made into something else."""
    share = np.float32(rng.uniform(0.2, 0.8))
    choice = rng.random()
    if choice < 0.2:  # one after the other, over half a second
        ramp = 1 / (1 + np.exp(-(np.arange(EPOCH_N_SAMPLES) - share * EPOCH_N_SAMPLES) / 12))
        return ((1 - ramp) * a + ramp * b).astype(np.float32)
    if choice < 0.4:
        return (share * a + (1 - share) * b).astype(np.float32)
    base = _bend(a if choice < 0.75 else share * a + (1 - share) * b, rng)
    made = events(int(rng.integers(N_STAGES)), float(base.std()), rng)
    return (base + rng.uniform(0.3, 1.0) * made).astype(np.float32)


def _bend(x: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Return a window whose octaves have each been made larger or smaller."""
    freqs = fft.rfftfreq(EPOCH_N_SAMPLES, 1 / SFREQ)
    octave = np.log2(np.clip(freqs, 0.4, 50.0) / 0.4)
    log_gain = np.interp(octave, np.arange(8), rng.normal(0, 0.5, 8))
    return np.asarray(fft.irfft(fft.rfft(x) * np.exp(log_gain), EPOCH_N_SAMPLES), dtype=np.float32)
