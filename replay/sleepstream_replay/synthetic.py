"""A night that nobody slept: EEG with the rhythms that define each stage.

The room of the demo. In goes a length, a seed and a sampling rate; out comes a `Recording` that
says that it is synthetic. The background is 1/f noise in bands whose amplitudes follow the stage
and drift; on it lie the events of `waves`: alpha, blinks, movements and muscle in W, theta, vertex
waves and rolling eyes in N1, spindles and K-complexes in N2, slow waves with coupled spindles in
N3, sawtooth waves and rapid eye movements in REM.

The amplitudes were set so that spectra resemble those of real nights and a staging network that was
trained on real EEG finds the stages. It is an illustration, not a model of the brain, and nothing
that is measured on it says how well a person would be staged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sleepstream_replay import waves
from sleepstream_replay.hypnogram import (
    EPOCH_S,
    N1,
    N2,
    N3,
    REM,
    STAGE_LABELS,
    W,
    synthetic_hypnogram,
)
from sleepstream_replay.recording import Channel, Recording, ScoredStage

FloatArray = npt.NDArray[np.float32]

CHANNELS = (
    Channel("EEG Fpz-Cz", "EEG", "V"),
    Channel("EEG C4-M1", "EEG", "V"),
    Channel("EOG horizontal", "EOG", "V"),
)
FPZ, C4, EOG = range(3)

BANDS_HZ = (
    (0.3, 1.0),
    (1.0, 2.0),
    (2.0, 4.0),
    (4.0, 8.0),
    (8.0, 12.0),
    (12.0, 16.0),
    (16.0, 25.0),
    (25.0, 45.0),
)
SLOW, ALPHA, SIGMA, MUSCLE = 0, 4, 5, 7

BACKGROUND_UV = np.array(
    [
        [7.5, 4.6, 4.0, 3.8, 3.0, 2.6, 3.7, 4.2],
        [5.5, 3.9, 4.0, 5.4, 3.3, 2.4, 2.3, 1.7],
        [6.2, 5.4, 4.8, 4.3, 3.6, 2.2, 1.5, 0.75],
        [22.0, 14.5, 8.4, 5.4, 4.2, 2.3, 1.3, 0.65],
        [3.6, 3.1, 3.9, 4.0, 3.1, 1.8, 1.8, 0.9],
    ]
)
"""Root mean square of the background in microvolts, by stage and band, between the events."""

DRIFT_LOG_SD = np.array([0.22, 0.20, 0.15, 0.13, 0.18, 0.15, 0.15, 0.25])
"""How much each band wanders within a stage (standard deviation of the logarithm)."""

TRANSITION_S = 5.0
"""How long one stage takes to turn into the next."""


@dataclass(frozen=True)
class Sleeper:
    """What differs from night to night.

    Attributes
    ----------
    gain : float
        Factor on all amplitudes.
    alpha_hz, spindle_hz : float
        Middle frequencies of the alpha rhythm and of the spindles.
    alpha_uv : float
        Amplitude of the alpha rhythm with eyes closed.
    spindle_uv, k_complex_uv : float
        Median amplitudes.
    tilt : ndarray, shape (8,)
        Factor on each band.
    """

    gain: float
    alpha_hz: float
    spindle_hz: float
    alpha_uv: float
    spindle_uv: float
    k_complex_uv: float
    tilt: npt.NDArray[np.float64]


def synthetic_night(hours: float = 8.0, seed: int = 0, sfreq: float = 100.0) -> Recording:
    """Make a night of synthetic EEG with its hypnogram.

    The same arguments give the same samples.

    Parameters
    ----------
    hours : float
        Length of the night; whole epochs of 30 s, at least one.
    seed : int
        Which night.
    sfreq : float
        Sampling rate in hertz, at least 64.

    Returns
    -------
    Recording
        "EEG Fpz-Cz", "EEG C4-M1" and "EOG horizontal" in volts, with the stage of each epoch.
    """
    n_epochs = max(1, round(hours * 3600.0 / EPOCH_S))
    for_stages, for_signal = np.random.SeedSequence(seed).spawn(2)
    stages = synthetic_hypnogram(n_epochs, np.random.default_rng(for_stages))
    data = _Night(stages, np.random.default_rng(for_signal), sfreq).signals()
    scored = tuple(
        ScoredStage(i * EPOCH_S, EPOCH_S, STAGE_LABELS[stage]) for i, stage in enumerate(stages)
    )
    return Recording.from_array(
        f"synthetic night, seed {seed}",
        CHANNELS,
        sfreq,
        data.astype(np.float64) * 1e-6,
        stages=scored,
        synthetic=True,
    )


class _Night:
    """One night in the making: the sum of background and events, channel by channel."""

    control_hz = 4.0

    def __init__(
        self, stages: npt.NDArray[np.int64], rng: np.random.Generator, sfreq: float
    ) -> None:
        self.stages = stages
        self.rng = rng
        self.sfreq = sfreq
        self.n_samples = round(len(stages) * EPOCH_S * sfreq)
        self.sleeper = _draw_sleeper(rng)
        self.belonging = _belonging(stages, self.control_hz)
        self.out = np.zeros((len(CHANNELS), self.n_samples), dtype=np.float32)

    def signals(self) -> FloatArray:
        """Return microvolts, shape (3, n_samples)."""
        self._background()
        eyes_closed = self._eyes_closed()
        self._alpha(eyes_closed)
        self._sleep_waves()
        self._eye_movements(eyes_closed)
        self._movements()
        self.out *= np.float32(self.sleeper.gain)
        return self.out

    def _background(self) -> None:
        slow = waves.band_noise(self.rng, self.n_samples, self.sfreq, BANDS_HZ[SLOW])
        for band, limits in enumerate(BANDS_HZ):
            high = min(limits[1], 0.42 * self.sfreq)
            noise = (
                slow
                if band == SLOW
                else waves.band_noise(self.rng, self.n_samples, self.sfreq, (limits[0], high))
            )
            noise = noise * self._samples(self._envelope(band))
            if band == SIGMA:
                noise *= self._up_state(slow)
            self._add_background(noise, 0.5 if band == MUSCLE else 0.8)

    def _envelope(self, band: int) -> npt.NDArray[np.float64]:
        """Amplitude of one band on the control grid: the stage's, wandering slowly."""
        level = np.log(BACKGROUND_UV[:, band] * self.sleeper.tilt[band]) @ self.belonging
        wander = self._wander(period_s=45.0) * DRIFT_LOG_SD[band]
        return np.asarray(np.exp(level + wander))

    def _up_state(self, slow: FloatArray) -> FloatArray:
        """Spindle-band activity rides on the positive half of the slow waves, in N3 only."""
        depth = self._samples(self.belonging[N3])
        riding = 1.6 / (1.0 + np.exp(-2.0 * slow)) + 0.2
        return np.asarray(1.0 + depth * (riding - 1.0), dtype=np.float32)

    def _add_background(self, noise: FloatArray, shared: float) -> None:
        """Give each channel a part of one noise and, by a shift of it, a part of its own."""
        own = np.float32(np.sqrt(1.0 - shared**2))
        third = self.n_samples // 3
        self.out[FPZ] += noise
        self.out[C4] += 1.1 * (np.float32(shared) * noise + own * np.roll(noise, third))
        self.out[EOG] += 0.45 * (0.4 * noise + 0.9 * np.roll(noise, 2 * third))

    def _alpha(self, eyes_closed: npt.NDArray[np.float64]) -> None:
        middle = self.sleeper.alpha_hz
        rhythm = waves.band_noise(
            self.rng, self.n_samples, self.sfreq, (middle - 0.7, middle + 0.7)
        )
        level = eyes_closed * self.belonging[W] + 0.2 * self.belonging[N1]
        waxing = np.exp(0.35 * self._wander(period_s=8.0))
        rhythm *= self._samples(self.sleeper.alpha_uv * level * waxing)
        self.out += np.array([1.0, 1.3, 0.3], dtype=np.float32)[:, None] * rhythm

    def _sleep_waves(self) -> None:
        rng, who, sfreq = self.rng, self.sleeper, self.sfreq

        def spindle() -> FloatArray:
            size = who.spindle_uv * rng.lognormal(0.0, 0.3)
            hz = who.spindle_hz + rng.normal(0.0, 0.4)
            return size * waves.spindle(sfreq, hz, rng.uniform(0.6, 1.5), rng.uniform(0.0, 6.3))

        def k_complex() -> FloatArray:
            size = who.k_complex_uv * rng.lognormal(0.0, 0.25)
            return size * waves.k_complex(sfreq, rng.uniform(0.9, 1.4))

        def k_complex_with_spindle() -> FloatArray:
            return np.concatenate([k_complex(), 0.8 * spindle()])

        def vertex_wave() -> FloatArray:
            return rng.uniform(25.0, 60.0) * waves.vertex_wave(sfreq, rng.uniform(0.3, 0.5))

        def sawtooth() -> FloatArray:
            size = rng.uniform(7.0, 14.0)
            return size * waves.sawtooth(sfreq, rng.uniform(2.5, 4.5), rng.uniform(1.5, 4.0))

        self._scatter({N2: 5.0, N3: 1.5}, spindle, (1.0, 1.4, 0.2))
        self._scatter({N2: 1.0}, k_complex, (1.0, 0.8, 0.4))
        self._scatter({N2: 0.6}, k_complex_with_spindle, (1.0, 0.8, 0.4))
        self._scatter({N1: 2.0}, vertex_wave, (0.8, 1.0, 0.2))
        self._scatter({REM: 1.2}, sawtooth, (0.9, 1.0, 0.2))

    def _eye_movements(self, eyes_closed: npt.NDArray[np.float64]) -> None:
        rng, sfreq = self.rng, self.sfreq

        def rapid() -> FloatArray:
            size = rng.uniform(40.0, 150.0) * _sign(rng)
            return size * waves.saccade(sfreq, rng.uniform(0.05, 0.15), rng.uniform(0.4, 1.2))

        def rapid_burst() -> FloatArray:
            return np.concatenate([rapid() for _ in range(int(rng.integers(2, 6)))])

        def rolling() -> FloatArray:
            size = rng.uniform(50.0, 130.0) * _sign(rng)
            return size * waves.slow_eye_movement(sfreq, rng.uniform(2.0, 4.0))

        def blink() -> FloatArray:
            return rng.uniform(60.0, 150.0) * waves.blink(sfreq, rng.uniform(0.2, 0.4))

        self._scatter({REM: 2.5}, rapid_burst, (0.22, 0.06, 1.0))
        self._scatter({N1: 6.0, W: 1.0}, rolling, (0.24, 0.05, 1.0))
        self._scatter({W: 14.0}, blink, (1.0, 0.12, 0.3), where=1.0 - eyes_closed)
        self._scatter({W: 3.0}, rapid, (0.4, 0.1, 1.0), where=1.0 - eyes_closed)

    def _movements(self) -> None:
        """Add seconds of large slow swings with muscle on top, in W and rarely in N1."""
        rng, sfreq = self.rng, self.sfreq
        n_reserve = min(self.n_samples, round(600 * sfreq))
        swing = waves.band_noise(rng, n_reserve, sfreq, (0.3, 2.0))
        muscle = waves.band_noise(rng, n_reserve, sfreq, (18.0, 0.42 * sfreq))

        def movement() -> FloatArray:
            length = min(n_reserve - 1, round(rng.uniform(2.0, 7.0) * sfreq))
            start = int(rng.integers(0, n_reserve - length))
            cut = slice(start, start + length)
            window = np.sin(np.linspace(0.0, np.pi, length)) ** 0.5
            size_uv = rng.uniform(30.0, 110.0)
            mixed = size_uv * swing[cut] + rng.uniform(0.1, 0.25) * size_uv * muscle[cut]
            return np.asarray(window * mixed, dtype=np.float32)

        def muscle_burst() -> FloatArray:
            length = min(n_reserve - 1, round(rng.uniform(1.0, 8.0) * sfreq))
            start = int(rng.integers(0, n_reserve - length))
            window = np.sin(np.linspace(0.0, np.pi, length)) ** 0.5
            return np.asarray(rng.uniform(4.0, 12.0) * window * muscle[start : start + length])

        self._scatter({W: 0.7, N1: 0.08}, movement, (1.0, 0.8, 1.0))
        self._scatter({W: 3.0, N1: 0.3}, muscle_burst, (1.0, 0.7, 0.9))

    def _scatter(
        self,
        per_minute: dict[int, float],
        make: Callable[[], FloatArray],
        gains: tuple[float, float, float],
        where: npt.NDArray[np.float64] | None = None,
    ) -> None:
        """Lay events at random times into the epochs of the given stages.

        `where` thins them out by a probability on the control grid.
        """
        for stage, rate in per_minute.items():
            epochs = np.flatnonzero(self.stages == stage)
            n_events = int(self.rng.poisson(rate * len(epochs) * EPOCH_S / 60.0))
            for _ in range(n_events):
                onset_s = (self.rng.choice(epochs) + self.rng.random()) * EPOCH_S
                if where is not None:
                    chance = where[min(int(onset_s * self.control_hz), len(where) - 1)]
                    if self.rng.random() >= chance:
                        continue
                start = int(onset_s * self.sfreq)
                wave = make()[: self.n_samples - start]
                cut = slice(start, start + len(wave))
                for channel, gain in enumerate(gains):
                    self.out[channel, cut] += np.float32(gain) * wave

    def _eyes_closed(self) -> npt.NDArray[np.float64]:
        """Close the eyes for a minute, open them for half of one; 0 to 1 on the control grid."""
        n_control = self.belonging.shape[1]
        closed = np.ones(n_control)
        at = 0
        while at < n_control:
            at += int(self.rng.exponential(60.0) * self.control_hz) + 1
            length = int(self.rng.exponential(30.0) * self.control_hz) + 1
            closed[at : at + length] = 0.0
            at += length
        return _smooth(closed, round(1.0 * self.control_hz))

    def _wander(self, period_s: float) -> npt.NDArray[np.float64]:
        """Slow noise of unit variance on the control grid."""
        n_control = self.belonging.shape[1]
        width = max(1, round(period_s * self.control_hz))
        noise = _smooth(self.rng.standard_normal(n_control + width), width)[:n_control]
        return np.asarray(noise * np.sqrt(width / 0.75))

    def _samples(self, control: npt.NDArray[np.float64]) -> FloatArray:
        """Bring a signal from the control grid to the sampling rate."""
        at = np.arange(self.n_samples) * (self.control_hz / self.sfreq)
        return np.asarray(np.interp(at, np.arange(len(control)), control), dtype=np.float32)


def _sign(rng: np.random.Generator) -> float:
    return 1.0 if rng.random() < 0.5 else -1.0


def _draw_sleeper(rng: np.random.Generator) -> Sleeper:
    return Sleeper(
        gain=float(rng.lognormal(0.0, 0.12)),
        alpha_hz=float(rng.uniform(9.2, 10.8)),
        spindle_hz=float(rng.uniform(12.6, 13.8)),
        alpha_uv=float(rng.uniform(6.0, 10.0)),
        spindle_uv=float(rng.uniform(14.0, 20.0)),
        k_complex_uv=float(rng.uniform(65.0, 95.0)),
        tilt=rng.lognormal(0.0, 0.10, len(BANDS_HZ)),
    )


def _belonging(stages: npt.NDArray[np.int64], control_hz: float) -> npt.NDArray[np.float64]:
    """Return how far each moment belongs to each stage, shape (5, n_control); columns sum to 1."""
    per_epoch = round(EPOCH_S * control_hz)
    sharp = np.equal.outer(np.arange(len(STAGE_LABELS)), np.repeat(stages, per_epoch))
    width = round(TRANSITION_S * control_hz)
    return np.stack([_smooth(row.astype(np.float64), width) for row in sharp])


def _smooth(values: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    """Weigh each value with its neighbours (Hann window), repeating the ends."""
    window = np.hanning(width + 2)[1:-1]
    left = (width - 1) // 2
    padded = np.pad(values, (left, width - 1 - left), mode="edge")
    return np.convolve(padded, window / window.sum(), mode="valid")
