"""The player: a recording goes out at its own pace, or at any other.

In go a `Recording`, `Settings`, an outlet and a clock; samples leave through the outlet. Stamps
are in data time: the first sample is stamped with the clock at the start and sample *i* with
exactly ``t0 + i / sfreq``, at any speed. A receiver that goes by stamps therefore sees the same
night however fast it is played; at other speeds than 1 the stamps run away from the wall's clock.

A chunk leaves when its last sample is over, at ``t0 + n / (sfreq * speed)`` for the *n* samples up
to its end. That target comes from the count, not from the last push, so lateness never adds up, and
after a pause the player catches up.

With `Settings.faults` things go wrong on purpose: `injection` says what happens to which sample,
`line` does the sending, `fault_log` keeps account.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from sleepstream_replay.errors import ReplayError
from sleepstream_replay.fault_log import FaultLog, Injected, OnFault
from sleepstream_replay.faults import NO_FAULTS, Disconnect, Faults
from sleepstream_replay.injection import inject
from sleepstream_replay.line import CONSUMER_POLL_S, Line
from sleepstream_replay.recording import Recording
from sleepstream_replay.stage_marks import StageMarks
from sleepstream_replay.wire import (
    Clock,
    Description,
    Markers,
    OpenOutlet,
    Outlet,
    Rows,
    WireChannel,
)  # fmt: skip

MAX_SPEED = math.inf
"""As fast as the consumers' connections take the samples."""

UNITS = {
    "uV": ("microvolts", 1e6, "float32"),
    "mV": ("millivolts", 1e3, "float32"),
    "V": ("volts", 1.0, "float64"),
}
"""For each unit that can be asked for: its name on the wire, the factor from volts, the format."""

CHUNK_S = 0.05
"""Wall-clock seconds in a chunk, when nothing else is asked for."""

MAX_SPEED_CHUNK = 4096
"""Samples in a chunk at the maximum speed."""

BLOCK_S = 60.0
"""How much is read from the recording at once."""

BUFFER_MARGIN_S = 60.0
LOOP_BUFFER_S = 3600.0
MARKER_CONSUMER_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How to play.

    Attributes
    ----------
    stream_name : str
        Name of the stream.
    speed : float
        1 is as recorded, 60 a minute a second, `MAX_SPEED` as fast as it goes.
    start_s : float
        Where in the recording to begin.
    duration_s : float or None
        How much of it to play; None for all.
    units : str
        ``uV``, ``mV`` or ``V`` for the channels that are voltages.
    chunk : int or None
        Samples per push; None for about 50 ms of wall-clock time.
    loop : bool
        Begin again at the end, with stamps going on.
    wait : bool
        Hold the first sample until somebody listens.
    linger_s : float
        How long the stream stays after the last sample, while somebody listens.
    stages : bool
        Send the scored stages as a second stream.
    source_id : str or None
        Source id of the stream; None to derive one.
    faults : Faults
        What goes wrong; nothing, unless told.
    """

    stream_name: str = "EEG"
    speed: float = 1.0
    start_s: float = 0.0
    duration_s: float | None = None
    units: str = "uV"
    chunk: int | None = None
    loop: bool = False
    wait: bool = True
    linger_s: float = 5.0
    stages: bool = False
    source_id: str | None = None
    faults: Faults = NO_FAULTS


@dataclass(frozen=True, slots=True)
class Section:
    """The samples of a recording that are played: from `first` up to, not including, `stop`."""

    first: int
    stop: int

    @property
    def n_samples(self) -> int:
        """Length of the section."""
        return self.stop - self.first


@dataclass(frozen=True, slots=True)
class Played:
    """How a replay ended.

    Attributes
    ----------
    n_samples : int
        Samples sent, of each channel: without those left out, and repeated ones once more.
    duration_s : float
        How far it came in the recording, in seconds.
    stopped : bool
        True when it was stopped before the end.
    injected : tuple of Injected
        What went wrong, in the order in which the faults were over.
    """

    n_samples: int
    duration_s: float
    stopped: bool
    injected: tuple[Injected, ...] = ()


def section_of(recording: Recording, settings: Settings) -> Section:
    """Find the samples that the settings ask for.

    Raises
    ------
    ReplayError
        When the start lies beyond the end, or nothing is left to play.
    """
    first = round(settings.start_s * recording.sfreq)
    stop = recording.n_samples
    if settings.duration_s is not None:
        stop = min(stop, first + round(settings.duration_s * recording.sfreq))
    if stop <= first:
        raise ReplayError(
            f"Sought samples from {settings.start_s:g} s on in {recording.name}.",
            f"a recording of {recording.duration_s:g} s, of which nothing would be played",
            "Give a smaller --start or a longer --duration.",
        )
    return Section(first, stop)


def source_id_of(recording: Recording, settings: Settings) -> str:
    """Return the source id that was asked for, or one that the same replay always gets.

    It is made of a hash of the stream's and the file's name (file names can hold people's names)
    and of the start.
    """
    if settings.source_id is not None:
        return settings.source_id
    names = f"{settings.stream_name}\n{recording.name}"
    return f"replay-{hashlib.sha256(names.encode()).hexdigest()[:12]}-{settings.start_s:g}"


def describe(recording: Recording, settings: Settings) -> Description:
    """Return what the stream of samples says about itself."""
    unit, _, dtype = UNITS[settings.units]
    return Description(
        name=settings.stream_name,
        kind="EEG",
        channels=tuple(
            WireChannel(channel.label, unit if channel.unit == "V" else channel.unit, channel.kind)
            for channel in recording.channels
        ),
        sfreq=recording.sfreq,
        source_id=source_id_of(recording, settings),
        dtype=dtype,
        synthetic=recording.synthetic,
        ends=not any(isinstance(fault, Disconnect) for fault in settings.faults.faults),
    )


def describe_stages(recording: Recording, settings: Settings) -> Description:
    """Return what the stream of scored stages says about itself."""
    return Description(
        name=f"{settings.stream_name}-scored",
        kind="Markers",
        channels=(WireChannel("stage", "none", "Markers"),),
        sfreq=0.0,
        source_id=f"{source_id_of(recording, settings)}-scored",
        dtype="string",
        synthetic=recording.synthetic,
    )


def buffer_s(recording: Recording, settings: Settings) -> float:
    """Return how much the outlet must be ready to keep so that it never drops a sample."""
    if settings.loop:
        return LOOP_BUFFER_S
    return section_of(recording, settings).n_samples / recording.sfreq + BUFFER_MARGIN_S


def chunk_samples(settings: Settings, sfreq: float) -> int:
    """Return how many samples are pushed at once."""
    if settings.chunk is not None:
        return settings.chunk
    if settings.speed == MAX_SPEED:
        return MAX_SPEED_CHUNK
    return max(1, round(CHUNK_S * sfreq * settings.speed))


class Player:
    """Plays a recording once, or in a loop, into an outlet.

    Parameters
    ----------
    recording : Recording
        What to play; its channels are the stream's channels.
    settings : Settings
        How to play it.
    outlet : Outlet
        Where the samples go.
    clock : Clock
        What paces and stamps them; for a real stream, LSL's clock.
    markers : Markers or None
        Where the scored stages go. Each epoch's stage is sent when the samples have passed the
        epoch's onset, and stamped with that onset.
    open_outlet : callable or None
        Opens the streams that faults bring about (`Disconnect`, `SecondStream`); they are closed
        before `play` returns.

    Raises
    ------
    ReplayError
        When the settings ask for samples that the recording does not have, or for faults that
        cannot be had.
    """

    def __init__(
        self,
        recording: Recording,
        settings: Settings,
        outlet: Outlet,
        clock: Clock,
        markers: Markers | None = None,
        *,
        open_outlet: OpenOutlet | None = None,
    ) -> None:
        self.recording = recording
        self.settings = settings
        self.section = section_of(recording, settings)
        self._n_samples = None if settings.loop else self.section.n_samples
        per_uv = UNITS[settings.units][1] / 1e6
        self._injection = inject(settings.faults, recording, self._n_samples, per_uv)
        self._outlet = outlet
        self._clock = clock
        self._markers = markers
        self._open_outlet = open_outlet

    def play(
        self,
        on_progress: Callable[[int], None] = lambda _: None,
        on_fault: OnFault = lambda _: None,
    ) -> Played:
        """Send the samples, from the first to the last or until a stop.

        Parameters
        ----------
        on_progress : callable
            Called after each push with the number of samples of the recording that are past.
        on_fault : callable
            Called with each `Injected` once it is over.

        Returns
        -------
        Played
            How many were sent, what went wrong, and whether a stop cut it short.
        """
        line = Line(
            self._outlet,
            self._clock,
            describe(self.recording, self.settings),
            spans=self._injection.spans,
            n_samples=self._n_samples,
            open_outlet=self._open_outlet,
        )
        try:
            line.reach(0)
            if self.settings.wait and not self._await_consumer():
                return Played(0, 0.0, stopped=True)
            return self._play(line, on_progress, on_fault)
        finally:
            line.close()

    def _play(self, line: Line, on_progress: Callable[[int], None], on_fault: OnFault) -> Played:
        t0_s = self._clock.now()
        log = FaultLog(self._injection, self.recording.labels, t0_s, on_fault)
        section = range(self.section.first, self.section.stop)
        marks = StageMarks(self.recording, section, self.settings.loop, self._markers)

        def stamp_s(onset: float) -> float:
            moved_s = self._injection.shift_s(int(onset))
            return t0_s + onset / self.recording.sfreq + moved_s

        n_past, stopped = 0, False
        for first, rows in self._blocks():
            n_after = first + len(rows)
            stopped = self._clock.wait(self._due_s(t0_s, n_after) - self._clock.now())
            if stopped:
                break
            line.send(rows, self._injection.stamps_s(t0_s, first, n_after), first)
            line.reach(n_after)
            log.reach(n_after)
            n_past = n_after
            marks.reach(n_past, stamp_s)
            on_progress(n_past)
        log.close(n_past)
        if not stopped:
            self._linger(line)
        duration_s = n_past / self.recording.sfreq
        return Played(line.n_pushed, duration_s, stopped, tuple(log.injected))

    def _due_s(self, t0_s: float, n_samples: int) -> float:
        """Return when the first `n_samples` have to be out."""
        speed = self.settings.speed
        delay_s = self._injection.delay_s(n_samples)
        return t0_s + n_samples / (self.recording.sfreq * speed) + delay_s / speed

    def _await_consumer(self) -> bool:
        """Wait for somebody to listen; return False when a stop came first."""
        while not self._outlet.wait_for_consumer(CONSUMER_POLL_S):
            if self._clock.wait(0.0):
                return False
        if self._markers is not None:
            # who opens both streams does so one after the other; the first stage is due at once
            self._markers.wait_for_consumer(MARKER_CONSUMER_WAIT_S)
        return True

    def _linger(self, line: Line) -> None:
        until_s = self._clock.now() + self.settings.linger_s
        while self._clock.now() < until_s and line.wait_for_consumer(0.0):
            if self._clock.wait(min(CONSUMER_POLL_S, until_s - self._clock.now())):
                return

    def _blocks(self) -> Iterator[tuple[int, Rows]]:
        """Yield what goes on the wire, with the number of its first sample."""
        first = 0
        for rows in self._chunks():
            yield from self._injection.blocks(rows, first)
            first += len(rows)

    def _chunks(self) -> Iterator[Rows]:
        """Cut the section into chunks as they go on the wire, again and again in a loop."""
        size = chunk_samples(self.settings, self.recording.sfreq)
        block = size * math.ceil(BLOCK_S * self.recording.sfreq / size)
        while True:
            for start in range(self.section.first, self.section.stop, block):
                rows = self._read(start, min(start + block, self.section.stop))
                for at in range(0, len(rows), size):
                    yield rows[at : at + size]
            if not self.settings.loop:
                return

    def _read(self, start: int, stop: int) -> Rows:
        """Read samples, shape ``(n_samples, n_channels)``, in the unit and format of the wire."""
        _, factor, dtype = UNITS[self.settings.units]
        data = self.recording.read(start, stop)
        rows: Rows = np.empty((stop - start, len(data)), dtype=dtype)
        channels = enumerate(zip(data, self.recording.channels, strict=True))
        with np.errstate(over="ignore", invalid="ignore"):  # what a file holds may be absurd
            for column, (values, channel) in channels:
                # the product in double precision, then the cast: what a reader of the file computes
                rows[:, column] = values * factor if channel.unit == "V" else values
        return rows
