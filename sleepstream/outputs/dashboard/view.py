"""What the dashboard knows at one moment: frozen, so that drawing needs no lock."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sleepstream.hypnogram import SleepStatistics
from sleepstream.messages import EPOCH_S, Float32Array, Stage, StageEstimate, StreamState


@dataclass(frozen=True, slots=True)
class StreamHealth:
    """How the stream is doing.

    Attributes
    ----------
    source : str
        Name of the stream, or of the file.
    channel : str
        Label of the derivation that is staged.
    unit : str
        Unit that the stream declares.
    sfreq_nominal : float
        Sampling rate that the stream declares, in hertz.
    sfreq : float or None
        Sampling rate by the time stamps; None while it is unknown.
    since_last_s : float or None
        Seconds since the last sample came; None before the first one.
    n_gaps : int
        Gaps so far.
    n_lost : int
        Samples that are missing in them.
    clock_s : float or None
        Sender's time now; None while it is unknown.
    state : StreamState
        In the supervisor's words.
    """

    source: str
    channel: str
    unit: str
    sfreq_nominal: float
    sfreq: float | None = None
    since_last_s: float | None = None
    n_gaps: int = 0
    n_lost: int = 0
    clock_s: float | None = None
    state: StreamState = StreamState.SEARCHING


@dataclass(frozen=True, slots=True)
class Latency:
    """Time from the last sample of an epoch to its estimate, in milliseconds.

    Attributes
    ----------
    last_ms, p50_ms, p99_ms : float
        Of the last final estimate; median and 99th percentile of the night.
    """

    last_ms: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class Night:
    """All final estimates so far.

    Attributes
    ----------
    codes : ndarray of int8, shape (n_epochs,)
        Stages as numbers, -1 where unscorable.
    probs : ndarray of float32, shape (n_epochs, 5)
        Stage probabilities.
    statistics : SleepStatistics
        What they come to.
    latency : Latency or None
        None before the first estimate.
    last : StageEstimate or None
        The last final estimate.
    """

    codes: npt.NDArray[np.int8]
    probs: Float32Array
    statistics: SleepStatistics
    latency: Latency | None
    last: StageEstimate | None

    @property
    def n(self) -> int:
        """Number of epochs."""
        return int(self.codes.size)

    def bout_min(self) -> float:
        """Return for how many minutes the last stage has lasted."""
        changes = np.flatnonzero(np.diff(self.codes))
        return (self.n - (int(changes[-1]) + 1 if changes.size else 0)) * EPOCH_S / 60


_LONGEST_S = 10 * 86400.0


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Everything there is to draw.

    Attributes
    ----------
    bed : str
        Whose night it is.
    night : Night
        The final estimates.
    provisional : StageEstimate or None
        The newest estimate of the window between epochs; None once its epoch is final.
    health : StreamHealth or None
        None before the first report on the stream.
    signal : ndarray of float32, shape (n_samples,), or None
        The last half minute in microvolts.
    notices : tuple of (str, int)
        The last warnings and how often each came in a row, the newest last.
    start : datetime or None
        Time of day at which the night began, where it is known.
    budget_ms : float
        What the latency is held against.
    synthetic : bool
        Whether the signal is made up.
    """

    bed: str
    night: Night
    provisional: StageEstimate | None
    health: StreamHealth | None
    signal: Float32Array | None
    notices: tuple[tuple[str, int], ...]
    start: dt.datetime | None
    budget_ms: float
    synthetic: bool

    @property
    def newest(self) -> StageEstimate | None:
        """The newest estimate, final or not: what is said about the signal and the future."""
        return self.provisional or self.night.last

    @property
    def now(self) -> Stage | None:
        """The provisional stage."""
        return None if self.provisional is None else self.provisional.stage

    @property
    def elapsed_s(self) -> float:
        """Length of the night so far."""
        estimate, health = self.newest, self.health
        if estimate is None:
            return 0.0
        if health is None or health.clock_s is None:
            return self.night.n * EPOCH_S
        # a sender whose clock jumped must not make a night of years
        elapsed = health.clock_s - (estimate.onset_s - estimate.epoch * EPOCH_S)
        return min(max(0.0, elapsed), _LONGEST_S)

    def at(self, seconds: float) -> str:
        """Return a moment of the night as time of day, or as time since its start."""
        if self.start is not None:
            return f"{self.start + dt.timedelta(seconds=seconds):%H:%M:%S}"
        minutes, rest = divmod(int(seconds), 60)
        return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
