"""Epochs made to measure: a signal whose spectral features are those of a real Sleep-EDF epoch.

In come features with their true stage, out go signals in microvolts that have about the same
wavelet energies and entropies and band shares, and in which the events happen that define the
stage: alpha, blinks and muscle in W, slow eye movements and vertex waves in N1, spindles and
K-complexes in N2, slow waves with spindles on their crests in N3, rapid eye movements and
sawtooth waves in REM. The signal that is shaped is coloured noise, a piece of a real recording,
or a mixture.

References
----------
AASM Manual for the Scoring of Sleep and Associated Events (definitions of the events).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pywt

from sleepstream.messages import EPOCH_N_SAMPLES, SFREQ, Float32Array

WAVELET = "db4"
LEVEL = 5
BANDS_HZ = ((0.5, 4.0), (4.0, 8.0), (8.0, 13.0), (13.0, 30.0), (30.0, 45.0))
POWERS = np.array([0.6, 0.75, 0.9, 1.0, 1.15, 1.35, 1.6, 2.0])
"""Exponents tried on wavelet coefficients: below 1 steadier, above 1 more bursty."""

_T = np.arange(EPOCH_N_SAMPLES) / SFREQ
_FREQS = np.fft.rfftfreq(EPOCH_N_SAMPLES, 1 / SFREQ)
_BATCH = 512

Float64 = npt.NDArray[np.float64]


def synthesize(
    x: Float32Array,
    y: npt.NDArray[np.int64],
    raw: Float32Array,
    rng: np.random.Generator,
) -> Float32Array:
    """Return signals with the features `x` and the events of the stages `y`.

    Parameters
    ----------
    x : ndarray, shape (n, 34)
        Features as in ``fpzcz_34.npz`` (energies in square volts).
    y : ndarray of int, shape (n,)
        Stages.
    raw : ndarray, shape (m, 3000)
        Pieces of real recordings to shape, high-passed.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    ndarray of float32, shape (n, 3000)
        Signals in microvolts.
    """
    out = np.empty((len(x), EPOCH_N_SAMPLES), dtype=np.float32)
    for start in range(0, len(x), _BATCH):
        part = slice(start, start + _BATCH)
        base = _base(len(x[part]), raw, rng)
        # shaped once before the events, so that these stand out from the background as they should
        base = _shape(base, x[part].astype(np.float64), rounds=1)
        sizes = base.std(axis=1)
        for i, stage in enumerate(y[part]):
            base[i] += events(int(stage), float(sizes[i]), rng)
        out[part] = _shape(base, x[part].astype(np.float64), rounds=3)
    return out


def _base(n: int, raw: Float32Array, rng: np.random.Generator) -> Float64:
    """Return standardised signals: pink noise of uneven strength, real pieces, or both."""
    spectrum = rng.normal(size=(n, len(_FREQS))) + 1j * rng.normal(size=(n, len(_FREQS)))
    noise = np.fft.irfft(spectrum / np.maximum(_FREQS, 0.4), EPOCH_N_SAMPLES, axis=1)
    noise *= np.exp(0.25 * _slow(n, rng))
    real = raw[rng.integers(len(raw), size=n)].astype(np.float64)
    real = np.roll(real * rng.choice((-1.0, 1.0), size=(n, 1)), int(rng.integers(3000)), axis=1)
    share = rng.choice((0.0, 0.35, 0.7, 1.0), size=(n, 1), p=(0.35, 0.25, 0.2, 0.2))
    return (1 - share) * _unit(noise) + share * _unit(real)


def _slow(n: int, rng: np.random.Generator) -> Float64:
    """Return n standardised curves that wander over seconds."""
    knots = rng.normal(size=(n, 16))
    at = np.linspace(0, 15, EPOCH_N_SAMPLES)
    low = np.minimum(at.astype(int), 14)
    curve: Float64 = knots[:, low] * (1 - (at - low)) + knots[:, low + 1] * (at - low)
    return curve


def _unit(signals: Float64) -> Float64:
    centred = signals - signals.mean(axis=1, keepdims=True)
    return np.asarray(centred / (centred.std(axis=1, keepdims=True) + 1e-9))


# --- shaping ---------------------------------------------------------------------------------


def _shape(signals: Float64, x: Float64, rounds: int) -> Float64:
    """Bring signals to the wavelet energies, entropies and band shares of `x`."""
    for i in range(rounds):
        signals = _match_shares(signals, x[:, 24:29])
        signals = _match_wavelets(signals, x, entropies=i == 0)
    return signals


def _match_shares(signals: Float64, shares: Float64) -> Float64:
    spectrum = np.fft.rfft(signals, axis=1)
    power = np.abs(spectrum) ** 2
    total = power.sum(axis=1)
    log_gain = np.zeros((len(signals), len(BANDS_HZ)))
    for k, (low, high) in enumerate(BANDS_HZ):
        inside = (low <= _FREQS) & (high > _FREQS)
        now = power[:, inside].sum(axis=1) / (total + 1e-30)
        log_gain[:, k] = 0.5 * np.log((shares[:, k] + 1e-5) / (now + 1e-5))
    log_gain = np.clip(log_gain, -2.5, 2.5)
    centres = np.log([np.sqrt(low * high) for low, high in BANDS_HZ])
    at = np.clip(np.log(np.maximum(_FREQS, 0.1)), centres[0], centres[-1])
    low_band = np.clip(np.searchsorted(centres, at) - 1, 0, len(centres) - 2)
    w = (at - centres[low_band]) / (centres[low_band + 1] - centres[low_band])
    gain = np.exp(log_gain[:, low_band] * (1 - w) + log_gain[:, low_band + 1] * w)
    return np.asarray(np.fft.irfft(spectrum * gain, EPOCH_N_SAMPLES, axis=1))


def _match_wavelets(signals: Float64, x: Float64, *, entropies: bool) -> Float64:
    coefficients = pywt.wavedec(signals, WAVELET, level=LEVEL, axis=1)
    for k in range(LEVEL + 1):
        c = coefficients[k]
        if entropies:
            c = _match_entropy(c, x[:, 4 * k + 2])
        energy = x[:, 4 * k] * 1e12
        coefficients[k] = c * np.sqrt(energy / (np.sum(c**2, axis=1) + 1e-12))[:, None]
    return np.asarray(pywt.waverec(coefficients, WAVELET, axis=1)[:, :EPOCH_N_SAMPLES])


def _match_entropy(c: Float64, target: Float64) -> Float64:
    """Make coefficients steadier or more bursty by a power, the one whose entropy fits best."""
    size = np.abs(c) / (np.abs(c).max(axis=1, keepdims=True) + 1e-12) + 1e-9
    found = np.empty((len(POWERS), len(c)))
    for i, power in enumerate(POWERS):
        p = size ** (2 * power)
        p /= p.sum(axis=1, keepdims=True)
        found[i] = -np.sum(p * np.log(p + 1e-12), axis=1)
    best = POWERS[np.abs(found - target).argmin(axis=0)]
    return np.asarray(np.sign(c) * size ** best[:, None])


# --- events ----------------------------------------------------------------------------------


def events(stage: int, sd: float, rng: np.random.Generator) -> Float64:
    """Return the events that define a stage, on a background of standard deviation `sd`."""
    makers = (_wake, _n1, _n2, _n3, _rem)
    return np.asarray(makers[stage](rng) * sd)


def _wake(rng: np.random.Generator) -> Float64:
    out = _bursts(rng, rng.integers(2, 9), (8.5, 11.5), (1.0, 6.0), (0.3, 1.2))
    for _ in range(rng.integers(0, 8)):
        out += _bump(rng, (0.15, 0.35), (1.0, 4.0))
    if rng.random() < 0.4:
        out += _bursts(rng, 2, (20.0, 40.0), (1.0, 6.0), (0.3, 1.0))
    if rng.random() < 0.15:
        out += _bump(rng, (0.5, 2.0), (3.0, 8.0))
    return out


def _n1(rng: np.random.Generator) -> Float64:
    rolling = np.sin(2 * np.pi * rng.uniform(0.25, 0.5) * _T + rng.uniform(0, 6.28))
    out = rolling * _envelope(rng, (6.0, 15.0)) * rng.uniform(0, 1.5)
    out += _bursts(rng, rng.integers(2, 7), (4.5, 7.0), (1.0, 3.0), (0.4, 1.2))
    if rng.random() < 0.5:
        out += _bursts(rng, rng.integers(1, 4), (8.0, 10.5), (1.0, 4.0), (0.3, 0.9))
    for _ in range(rng.integers(0, 4)):
        out += _bump(rng, (0.06, 0.12), (-3.0, -1.0))
    return np.asarray(out)


def _n2(rng: np.random.Generator) -> Float64:
    out = _bursts(rng, rng.integers(1, 8), (11.8, 14.8), (0.5, 1.6), (0.5, 1.6))
    for _ in range(rng.integers(0, 5)):
        out += _k_complex(rng, rng.uniform(1.5, 4.0))
    return out


def _n3(rng: np.random.Generator) -> Float64:
    freq = rng.uniform(0.6, 1.1) * np.exp(0.12 * _slow(1, rng)[0])
    phase = 2 * np.pi * np.cumsum(freq) / SFREQ
    # a sharper trough than crest, as real slow waves have at frontal leads
    wave = np.cos(phase) - 0.25 * np.cos(2 * phase + 0.5)
    wave *= np.clip(1 + 0.6 * _slow(1, rng)[0], 0, 2.5) * rng.uniform(0.5, 1.6)
    spindle = np.sin(2 * np.pi * rng.uniform(11.5, 14.0) * _T)
    crest = np.clip(np.cos(phase), 0, 1) ** 2 * np.clip(_slow(1, rng)[0], 0, 2)
    return np.asarray(wave + rng.uniform(0, 0.3) * spindle * crest)


def _rem(rng: np.random.Generator) -> Float64:
    out = np.zeros(EPOCH_N_SAMPLES)
    if rng.random() < 0.75:
        centre = rng.uniform(0, 30)
        for _ in range(rng.integers(1, 12)):
            out += _saccade(rng, centre + rng.normal() * 4)
    if rng.random() < 0.5:
        freq = rng.uniform(2.0, 5.0)
        saw = 2 * ((freq * _T) % 1) - 1
        out += saw * _envelope(rng, (1.0, 4.0)) * rng.uniform(0.4, 1.3)
    if rng.random() < 0.4:
        out += _bursts(rng, rng.integers(1, 4), (7.0, 9.5), (0.8, 2.5), (0.3, 0.8))
    return out


def _bursts(
    rng: np.random.Generator,
    n: int | np.integer,
    freq_hz: tuple[float, float],
    length_s: tuple[float, float],
    size: tuple[float, float],
) -> Float64:
    out = np.zeros(EPOCH_N_SAMPLES)
    centre_hz = rng.uniform(*freq_hz)
    for _ in range(int(n)):
        freq = centre_hz + rng.normal() * 0.25
        wave = np.sin(2 * np.pi * freq * _T + rng.uniform(0, 6.28))
        out += rng.uniform(*size) * wave * _envelope(rng, length_s)
    return out


def _envelope(rng: np.random.Generator, length_s: tuple[float, float]) -> Float64:
    """Return a bell (values above 0.1 for about `length_s`) somewhere in the epoch."""
    width = rng.uniform(*length_s) / 4
    return np.asarray(np.exp(-0.5 * ((_T - rng.uniform(0, 30)) / width) ** 2))


def _bump(
    rng: np.random.Generator, width_s: tuple[float, float], size: tuple[float, float]
) -> Float64:
    width = rng.uniform(*width_s)
    bell = np.exp(-0.5 * ((_T - rng.uniform(0, 30)) / width) ** 2)
    return np.asarray(rng.uniform(*size) * bell)


def _k_complex(rng: np.random.Generator, size: float) -> Float64:
    at, width = rng.uniform(1, 29), rng.uniform(0.09, 0.16)
    trough = -np.exp(-0.5 * ((_T - at) / width) ** 2)
    crest = 0.6 * np.exp(-0.5 * ((_T - at - 3.2 * width) / (1.9 * width)) ** 2)
    spindle = 0.2 * np.sin(2 * np.pi * 13 * _T) * np.exp(-0.5 * ((_T - at - 0.7) / 0.25) ** 2)
    return np.asarray(size * (trough + crest + spindle))


def _saccade(rng: np.random.Generator, at: float) -> Float64:
    """Return a fast deflection that decays, as a saccade looks through an AC amplifier."""
    rise = 1 / (1 + np.exp(-np.clip((_T - at) / 0.02, -50, 50)))
    decay = np.exp(-np.clip(_T - at, 0, None) / rng.uniform(0.2, 0.7))
    return np.asarray(rng.choice((-1, 1)) * rng.uniform(0.8, 3.0) * rise * decay)
