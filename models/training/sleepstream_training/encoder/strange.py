"""Signals that are no sleep EEG: to learn from, and to ask about.

Out come epochs in the scale of the front end, so that an encoder learns to say that it does not
know (`strange`), and signals in microvolts to ask a model about (`unseen`). The latter are other
signals, and most are of a kind that was never learned from.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import fft, signal

from sleepstream.messages import EPOCH_N_SAMPLES, EPOCH_S, SFREQ, Float32Array, Float64Array
from sleepstream.stager.front_end import LIMIT

Rng = np.random.Generator
Maker = Callable[[Float64Array, float, Rng], Float64Array]
"""From times in seconds and their rate in hertz to microvolts."""

_T = np.arange(EPOCH_N_SAMPLES) / SFREQ


def strange(n: int, rng: Rng) -> Float32Array:
    """Return `n` epochs to learn from, shape (n, 3000): flat, tones, flat noise, overload."""
    makers = (_flat, _tones, _bluish, _overload)
    out = np.stack([makers[int(rng.integers(len(makers)))](rng) for _ in range(n)])
    return np.clip(out, -LIMIT, LIMIT).astype(np.float32)


def _flat(rng: Rng) -> Float32Array:
    return np.asarray(rng.choice((0.0, 0.01, 0.05)) * rng.normal(size=EPOCH_N_SAMPLES))


def _tones(rng: Rng) -> Float32Array:
    out = 0.05 * rng.normal(size=EPOCH_N_SAMPLES)
    for _ in range(rng.integers(1, 4)):
        out += rng.uniform(0.3, 1) * np.sin(
            2 * np.pi * rng.uniform(0.5, 50) * _T + rng.uniform(0, 6.3)
        )
    return np.asarray(np.exp(rng.uniform(-1, 3.5)) * out)


def _bluish(rng: Rng) -> Float32Array:
    """White noise or bluer: an EEG falls off with frequency."""
    spectrum = fft.rfft(rng.normal(size=EPOCH_N_SAMPLES))
    slope = np.maximum(np.arange(len(spectrum)), 1) ** rng.uniform(-0.1, 1.0)
    out = fft.irfft(spectrum * slope, EPOCH_N_SAMPLES)
    return np.asarray(np.exp(rng.uniform(0, 3)) * out / out.std())


def _overload(rng: Rng) -> Float32Array:
    """Return an EEG-like signal so large that most of it is cut off."""
    spectrum = fft.rfft(rng.normal(size=EPOCH_N_SAMPLES))
    slope = np.maximum(np.arange(len(spectrum)), 10) ** -rng.uniform(0.5, 1.5)
    out = fft.irfft(spectrum * slope, EPOCH_N_SAMPLES)
    return np.asarray(np.exp(rng.uniform(5, 8)) * out / out.std())


def unseen(name: str, n: int, rng: Rng, sfreq: float = SFREQ) -> Float32Array:
    """Return consecutive epochs in microvolts of something that is no sleep EEG.

    Parameters
    ----------
    name : str
        One of `UNSEEN`.
    n : int
        How many epochs.
    rng : numpy.random.Generator
        Source of chance.
    sfreq : float
        Samples in a second.

    Returns
    -------
    ndarray of float32, shape (n, 30 * sfreq)
    """
    if name not in _MAKERS:
        raise ValueError(f"no such signal: {name}")
    t = np.arange(round(n * EPOCH_S * sfreq)) / sfreq
    return np.asarray(_MAKERS[name](t, sfreq, rng), dtype=np.float32).reshape(n, -1)


def _flat_line(t: Float64Array, _sfreq: float, _rng: Rng) -> Float64Array:
    return np.zeros(len(t))


def _mains(hertz: float) -> Maker:
    def make(t: Float64Array, _sfreq: float, rng: Rng) -> Float64Array:
        return np.asarray(40 * np.sin(2 * np.pi * hertz * t) + rng.normal(size=len(t)))

    return make


def _noise(slope: float) -> Maker:
    """Make noise of 20 µV whose power falls with this power of the frequency, from 0.1 Hz on."""

    def make(t: Float64Array, sfreq: float, rng: Rng) -> Float64Array:
        freqs = np.maximum(fft.rfftfreq(len(t), 1 / sfreq), 0.1)
        out = fft.irfft(fft.rfft(rng.normal(size=len(t))) * freqs ** (-slope / 2), len(t))
        return np.asarray(20 * out / out.std())

    return make


def _heart(per_minute: float) -> Maker:
    """Make an electrocardiogram: P, Q, R, S and T wave, irregular, over a breath."""

    def make(t: Float64Array, _sfreq: float, rng: Rng) -> Float64Array:
        intervals = 60 / per_minute * (1 + 0.04 * rng.normal(size=int(t[-1] * 3) + 10))
        onsets = np.concatenate([[-1.0], np.cumsum(intervals)])
        beat = np.searchsorted(onsets, t, side="right") - 1
        out = 40 * np.sin(2 * np.pi * 0.25 * t) + 5 * rng.normal(size=len(t))
        waves = ((0.15, 0.03, 40), (0.27, 0.01, -30), (0.3, 0.012, 300), (0.33, 0.012, -70))
        for at, width, size in (*waves, (0.52, 0.05, 60)):
            out += size * np.exp(-0.5 * ((t - onsets[beat] - at) / width) ** 2)
        return np.asarray(out)

    return make


def _steps(t: Float64Array, _sfreq: float, rng: Rng) -> Float64Array:
    """Make one of two values once a second."""
    return np.asarray(50 * rng.choice((-1.0, 1.0), size=int(t[-1]) + 1)[t.astype(int)])


def _walking(t: Float64Array, sfreq: float, rng: Rng) -> Float64Array:
    """Make electrodes swing with 108 steps a minute, over slow noise."""
    phase = np.cumsum(1.8 * (1 + 0.05 * rng.normal(size=len(t)))) / sfreq % 1
    swing = 150 * np.exp(-0.5 * ((phase - 0.3) / 0.05) ** 2)
    swing -= 80 * np.exp(-0.5 * ((phase - 0.5) / 0.08) ** 2)
    return np.asarray(swing + 3 * _noise(2.0)(t, sfreq, rng))


def _square(t: Float64Array, _sfreq: float, rng: Rng) -> Float64Array:
    """Make the calibration signal of an amplifier, 0.5 Hz."""
    return np.asarray(50 * np.sign(np.sin(np.pi * t + 0.1)) + 0.5 * rng.normal(size=len(t)))


def _muscle(t: Float64Array, sfreq: float, rng: Rng) -> Float64Array:
    return 40 * _band((20.0, 0.45 * sfreq), t, sfreq, rng)


def _mouse(t: Float64Array, sfreq: float, rng: Rng) -> Float64Array:
    """Make large delta, theta of 7 to 9 Hz and wake with muscle, in turns of 4 to 20 seconds."""
    parts = ((1.0, 4.0), (7.0, 9.0), (30.0, 49.0), (10.0, 14.0))
    rhythms = np.stack([_band(part, t, sfreq, rng) for part in parts])
    states = np.array([[15.0, 20, 10, 3], [70, 8, 3, 12], [8, 45, 3, 3]])  # wake, NREM, REM
    sizes = np.empty_like(rhythms)
    start = 0
    while start < len(t):
        end = start + int(rng.uniform(4, 20) * sfreq)
        sizes[:, start:end] = states[rng.choice(3, p=(0.4, 0.45, 0.15))][:, np.newaxis]
        start = end
    half_a_second = np.ones(int(sfreq / 2)) / int(sfreq / 2)
    sizes = signal.filtfilt(half_a_second, 1, sizes, axis=1)
    return np.asarray((sizes * rhythms).sum(axis=0) + 0.5 * _noise(1.6)(t, sfreq, rng))


def _band(hertz: tuple[float, float], t: Float64Array, sfreq: float, rng: Rng) -> Float64Array:
    sos = signal.butter(2, hertz, "bandpass", fs=sfreq, output="sos")
    out = signal.sosfilt(sos, rng.normal(size=len(t)))
    return np.asarray(out / out.std())


_MAKERS: dict[str, Maker] = {
    "flat": _flat_line,
    "mains 50 Hz": _mains(49.97),
    "mains 60 Hz": _mains(60.02),
    "white noise": _noise(0.0),
    "pink noise": _noise(1.0),
    "brown noise": _noise(2.0),
    "muscle": _muscle,
    "heart at 60": _heart(60.0),
    "heart at 90": _heart(90.0),
    "steps": _steps,
    "walking": _walking,
    "square wave": _square,
    "mouse": _mouse,
}

UNSEEN = tuple(_MAKERS)
"""Signals to ask about. Flat, mains and white noise are near what is learned from."""
