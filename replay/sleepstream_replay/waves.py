"""The waves that define the stages, one at a time.

Each function returns one event in microvolts as it appears in a frontal derivation, sampled at
`sfreq`; `synthetic` decides when and how large. Shapes follow the words of the AASM manual.

References
----------
Berry RB et al. The AASM Manual for the Scoring of Sleep and Associated Events. American Academy of
Sleep Medicine.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft

FloatArray = npt.NDArray[np.float32]


def band_noise(
    rng: np.random.Generator, n_samples: int, sfreq: float, band_hz: tuple[float, float]
) -> FloatArray:
    """Gaussian noise of one band with a 1/f spectrum inside it, of unit variance.

    The spectrum is drawn and transformed back, so the band has edges of a tenth of its limits and
    no energy elsewhere.

    Parameters
    ----------
    rng : Generator
        Where the chance comes from.
    n_samples : int
        Length of the signal.
    sfreq : float
        Its sampling rate in hertz.
    band_hz : tuple of float
        Lower and upper limit in hertz.

    Returns
    -------
    ndarray of float32, shape (n_samples,)
        The noise.
    """
    size = fft.next_fast_len(max(n_samples, 2), real=True)
    low, high = band_hz
    first = max(1, int(low * 0.9 * size / sfreq))
    last = min(size // 2, int(high * 1.1 * size / sfreq) + 2)
    hz = np.arange(first, last, dtype=np.float32) * np.float32(sfreq / size)
    rise = np.clip((hz - 0.9 * low) / (0.2 * low), 0.0, 1.0)
    fall = np.clip((1.1 * high - hz) / (0.2 * high), 0.0, 1.0)
    shape = (np.sqrt(rise * fall) / np.sqrt(hz)).astype(np.float32)
    spectrum = np.zeros(size // 2 + 1, dtype=np.complex64)
    spectrum[first:last].real = rng.standard_normal(last - first, dtype=np.float32) * shape
    spectrum[first:last].imag = rng.standard_normal(last - first, dtype=np.float32) * shape
    power = 2.0 * float(np.sum(np.abs(spectrum[first:last]) ** 2)) / size**2
    noise = fft.irfft(spectrum, size)[:n_samples]
    return np.asarray(noise / np.sqrt(max(power, 1e-30)), dtype=np.float32)


def spindle(sfreq: float, hz: float, seconds: float, phase: float) -> FloatArray:
    """Return a sleep spindle of unit amplitude: 11-16 Hz, waxing and waning, slowing a little."""
    t = _time(sfreq, seconds)
    envelope = np.sin(np.pi * t / seconds) ** 1.5
    slowing = -0.4 * (t - seconds / 2) / seconds
    carrier = np.sin(2 * np.pi * (hz + slowing) * t + phase)
    return (envelope * carrier).astype(np.float32)


def k_complex(sfreq: float, seconds: float) -> FloatArray:
    """Return a K-complex of unit amplitude: a sharp negative wave, then a slower positive one."""
    t = _time(sfreq, seconds) / seconds
    sharp = -np.exp(-(((t - 0.30) / 0.085) ** 2))
    slow = 0.65 * np.exp(-(((t - 0.58) / 0.16) ** 2))
    return ((sharp + slow) * _taper(t)).astype(np.float32)


def vertex_wave(sfreq: float, seconds: float) -> FloatArray:
    """Return a vertex sharp wave of unit amplitude: shorter than 0.5 s, negative."""
    t = _time(sfreq, seconds) / seconds
    sharp = -np.exp(-(((t - 0.4) / 0.11) ** 2))
    after = 0.35 * np.exp(-(((t - 0.68) / 0.14) ** 2))
    return ((sharp + after) * _taper(t)).astype(np.float32)


def sawtooth(sfreq: float, hz: float, seconds: float) -> FloatArray:
    """Return a train of sawtooth waves of unit amplitude: 2-6 Hz, slow rise and quick fall."""
    t = _time(sfreq, seconds)
    turn = (t * hz) % 1.0
    teeth = np.where(turn < 0.7, turn / 0.35 - 1.0, 1.0 - (turn - 0.7) / 0.15)
    return (teeth * _taper(t / seconds)).astype(np.float32)


def saccade(sfreq: float, rise_s: float, hold_s: float) -> FloatArray:
    """Return a rapid eye movement of unit amplitude: a quick step, held, then drifting back."""
    t = _time(sfreq, rise_s + hold_s)
    step = 1.0 / (1.0 + np.exp(-(t - rise_s) / (rise_s / 6.0)))
    back = np.exp(-np.maximum(t - rise_s, 0.0) / (hold_s / 3.0))
    return (step * back * _taper(t / t[-1])).astype(np.float32)


def slow_eye_movement(sfreq: float, seconds: float) -> FloatArray:
    """Return a slow rolling of the eyes: one sinusoidal turn of unit amplitude."""
    t = _time(sfreq, seconds) / seconds
    return np.sin(2 * np.pi * t).astype(np.float32)


def blink(sfreq: float, seconds: float) -> FloatArray:
    """Return a blink of unit amplitude: up in a third of its time, down in the rest."""
    t = _time(sfreq, seconds) / seconds
    return (np.exp(-(((t - 0.35) / 0.14) ** 2)) * _taper(t)).astype(np.float32)


def _time(sfreq: float, seconds: float) -> npt.NDArray[np.float64]:
    return np.arange(max(8, round(seconds * sfreq))) / sfreq


def _taper(t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Go to zero at both ends of 0 ... 1, so that no event starts with a step."""
    return np.asarray(np.clip(t / 0.08, 0.0, 1.0) * np.clip((1.0 - t) / 0.08, 0.0, 1.0))
