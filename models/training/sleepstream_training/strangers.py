"""Signals that are no sleep EEG, to ask a model about. None of them is ever learned from.

In come a name, a length and a rate; out comes a signal in microvolts. They are drawings: none was
recorded, and a real heart, muscle or mouse is less regular than these.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import fft, signal

from sleepstream.messages import Float32Array, Float64Array

Rng = np.random.Generator
Maker = Callable[[Float64Array, float, Rng], Float64Array]
"""From times in seconds and their rate in hertz to microvolts."""


def stranger(name: str, length_s: float, sfreq: float, rng: Rng) -> Float32Array:
    """Return a signal that is no sleep EEG.

    Parameters
    ----------
    name : str
        One of `STRANGERS`.
    length_s : float
        How long it is.
    sfreq : float
        Samples in a second, at least 100.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    ndarray of float32, shape (length_s * sfreq,)
        Microvolts.

    Raises
    ------
    ValueError
        Nobody of that name.
    """
    if name not in _MAKERS:
        raise ValueError(f"no such signal: {name}")
    t = np.arange(round(length_s * sfreq)) / sfreq
    return np.asarray(_MAKERS[name](t, sfreq, rng), dtype=np.float32)


def _flat(t: Float64Array, _sfreq: float, _rng: Rng) -> Float64Array:
    return np.zeros(len(t))


def _tone(hertz: float, noise_uv: float = 1.0) -> Maker:
    """Make mains on an open lead, or the tone of a test generator."""

    def make(t: Float64Array, _sfreq: float, rng: Rng) -> Float64Array:
        return np.asarray(40 * np.sin(2 * np.pi * hertz * t) + noise_uv * rng.normal(size=len(t)))

    return make


def _noise(slope: float) -> Maker:
    """Make noise of 20 µV whose power falls with this power of the frequency, from 0.1 Hz on."""

    def make(t: Float64Array, sfreq: float, rng: Rng) -> Float64Array:
        freqs = np.maximum(fft.rfftfreq(len(t), 1 / sfreq), 0.1)
        out = fft.irfft(fft.rfft(rng.normal(size=len(t))) * freqs ** (-slope / 2), len(t))
        return np.asarray(20 * out / out.std())

    return make


def _heart(
    per_minute: float, uneven: float = 0.04, wide: float = 1.0, noise_uv: float = 5
) -> Maker:
    """Make an electrocardiogram: P, Q, R, S and T wave over breathing, which sways its size.

    Parameters
    ----------
    per_minute : float
        Beats.
    uneven : float
        Standard deviation of the intervals, in intervals. From 0.15 on there is no P wave: the
        atria flutter.
    wide : float
        How many times as wide the QRS complex is: above 2, a bundle branch is blocked.
    noise_uv : float
        Of the muscle below the electrodes.
    """
    atria = 0.0 if uneven > 0.15 else 40.0
    waves = (
        *((0.15, 0.03, atria), (0.27, 0.01 * wide, -30.0), (0.3, 0.012 * wide, 300.0)),
        *((0.33, 0.012 * wide, -70.0), (0.52, 0.05, 60.0)),
    )

    def make(t: Float64Array, _sfreq: float, rng: Rng) -> Float64Array:
        drift = 1 + 0.1 * np.sin(2 * np.pi * np.arange(int(t[-1] * 4) + 10) / 400)
        intervals = 60 / per_minute * drift * (1 + uneven * rng.normal(size=len(drift))).clip(0.4)
        onsets = np.concatenate([[-1.0], np.cumsum(intervals)])
        beat = np.searchsorted(onsets, t, side="right") - 1
        breath = np.sin(2 * np.pi * 0.25 * t)
        out = np.zeros(len(t))
        for at, width, size in waves:
            out += size * np.exp(-0.5 * ((t - onsets[beat] - at) / width) ** 2)
        return np.asarray(
            out * (1 + 0.15 * breath) + 40 * breath + noise_uv * rng.normal(size=len(t))
        )

    return make


def _pulse(t: Float64Array, _sfreq: float, rng: Rng) -> Float64Array:
    """Make the wave of a pulse oximeter, 66 in a minute."""
    phase = np.cumsum(np.gradient(t) * 1.1 * (1 + 0.05 * np.sin(2 * np.pi * 0.1 * t)))
    wave = sum(np.sin(2 * np.pi * k * phase - k) / k**1.5 for k in (1, 2, 3))
    return np.asarray(60 * wave + rng.normal(size=len(t)))


def _breath(t: Float64Array, _sfreq: float, rng: Rng) -> Float64Array:
    """Make a breathing belt."""
    phase = np.cumsum(np.gradient(t) * 0.25 * (1 + 0.1 * np.sin(2 * np.pi * 0.01 * t)))
    return np.asarray(80 * np.sin(2 * np.pi * phase) + 2 * rng.normal(size=len(t)))


def _steps(t: Float64Array, _sfreq: float, rng: Rng) -> Float64Array:
    """Make one of two values once a second, as a loose contact does."""
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
    """Make a chin: tone that comes and goes over a minute, with twitches."""
    tone = np.exp(0.5 * np.sin(2 * np.pi * t / 70))
    twitches = np.repeat(rng.random(int(t[-1]) + 1) < 0.05, round(sfreq))[: len(t)]
    return np.asarray(15 * tone * (1 + 3 * twitches) * _band((20.0, 0.4 * sfreq), t, sfreq, rng))


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
    sizes = signal.lfilter(half_a_second, 1, sizes, axis=1)
    return np.asarray((sizes * rhythms).sum(axis=0) + 0.5 * _noise(1.6)(t, sfreq, rng))


def _band(hertz: tuple[float, float], t: Float64Array, sfreq: float, rng: Rng) -> Float64Array:
    sos = signal.butter(2, hertz, "bandpass", fs=sfreq, output="sos")
    out = signal.sosfilt(sos, rng.normal(size=len(t)))
    return np.asarray(out / out.std())


_MAKERS: dict[str, Maker] = {
    "flat": _flat,
    "mains 50 Hz": _tone(49.97),
    "mains 60 Hz": _tone(60.02),
    "tone 10 Hz": _tone(10.0),
    "square wave": _square,
    "white noise *": _noise(0.0),
    "pink noise *": _noise(1.0),
    "brown noise *": _noise(2.0),
    "heart at 50": _heart(50.0),
    "heart at 72, broad": _heart(72.0, wide=3.0),
    "heart at 90": _heart(90.0),
    "heart, uneven": _heart(85.0, uneven=0.2),
    "heart, noisy": _heart(65.0, noise_uv=20.0),
    "pulse": _pulse,
    "breathing belt": _breath,
    "muscle": _muscle,
    "mouse": _mouse,
    "walking": _walking,
    "loose contact": _steps,
}

STRANGERS = tuple(_MAKERS)
"""Signals to ask about."""
