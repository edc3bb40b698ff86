"""The loop: one bed's samples go in, and everybody is told what comes out.

Enters: a source, a bed and those who want to know. Leaves: nothing but what they were told. This is
the only file that knows the wall clock and when to stop; everything else knows the sender's time.

There is one thread. Between two epochs the source is drained until it is empty, so that liblsl
never has to drop a sample while we compute.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from sleepstream.messages import (
    EPOCH_N_SAMPLES,
    SFREQ,
    ChannelChange,
    Chunk,
    ClockOffset,
    Epoch,
    Event,
    Float32Array,
    StageEstimate,
    StreamState,
)
from sleepstream.outputs.dashboard import StreamHealth
from sleepstream.outputs.sink import Sink
from sleepstream.signal.clocks import SleepWatch, says_unix_time
from sleepstream.signal.epocher import Epocher, EpocherState
from sleepstream.signal.gaps import Gaps
from sleepstream.signal.stamps import Stamps
from sleepstream.signal.timeline import LAST_STAMP_S

POLL_S = 0.1
"""How long one wait for samples takes; a request to stop is seen within it."""

PIECE_S = 5.0
"""Signal that is staged between two looks at the source."""

DRAIN_PIECES = 2000
"""Pieces taken in one go, so that a sender without pacing cannot keep us from staging."""

OFFSET_EVERY_S = 60.0
"""Seconds between two measurements of the sender's clock that are kept."""


class Monitor(Protocol):
    """Somebody who watches the stream itself, such as the dashboard."""

    def stream(self, health: StreamHealth) -> None:
        """Take the state of the stream."""
        ...

    def signal(self, recent: Float32Array) -> None:
        """Take the last seconds of the conditioned signal, in microvolts at 100 Hz."""
        ...


class Estimator(Protocol):
    """Who makes estimates of epochs: `sleepstream.stager.stager.Stager` is one."""

    def step(self, epoch: Epoch) -> StageEstimate:
        """Stage a closed epoch and add it to the night."""
        ...

    def peek(self, epoch: Epoch) -> StageEstimate:
        """Stage a sliding window and leave no trace."""
        ...

    def reset(self) -> None:
        """Forget the night: the next epoch is number 0."""
        ...


class Source(Protocol):
    """Where live samples come from: `sleepstream.sources.live.LiveStream` is one."""

    @property
    def state(self) -> StreamState:
        """How the stream is doing."""
        ...

    @property
    def silent_s(self) -> float:
        """Seconds since the last sample."""
        ...

    @property
    def ended(self) -> str | None:
        """Why nothing will come any more; None while something may."""
        ...

    def poll(self, timeout_s: float, max_samples: int) -> Chunk | None:
        """Return what has arrived; None if nothing came within `timeout_s`."""
        ...

    def take_events(self) -> list[Event]:
        """Return what happened to the stream since the last call."""
        ...

    def clock_offset(self) -> ClockOffset | None:
        """Return how far the sender's clock is from ours, at once; None while that is unknown."""
        ...


@dataclass(frozen=True, slots=True)
class Arrival:
    """A chunk, and when it reached us on our monotonic clock."""

    chunk: Chunk
    at_s: float


class Bed:
    """One person's stream and state.

    Parameters
    ----------
    epocher : Epocher
        Makes epochs of the samples.
    stager : Estimator
        Makes estimates of the epochs.
    provisional_s : float
        Seconds between provisional estimates; 0 for none.
    clock : callable
        A monotonic clock in seconds.
    keep : callable
        Given each epoch that closes, and what has to be known to go on behind it, just before its
        estimate is told.
    begin : callable
        Given the first stamp there is, in seconds; returns the state to go on from where this is a
        night that was cut off, and None for a new one.
    """

    def __init__(
        self,
        epocher: Epocher,
        stager: Estimator,
        provisional_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        *,
        keep: Callable[[Epoch, EpocherState], None] = lambda _epoch, _state: None,
        begin: Callable[[float], EpocherState | None] = lambda _: None,
    ) -> None:
        self.epocher = epocher
        self.stager = stager
        self._keep = keep
        self._begin: Callable[[float], EpocherState | None] | None = begin
        self._stamps = Stamps(epocher.timeline.sfreq)
        self._gaps = Gaps(epocher.timeline.sfreq)
        self.clock = clock
        self._step = round(provisional_s * SFREQ)
        self._last = 0  # where on the 100 Hz grid the last provisional estimate was due

    @property
    def n_gaps(self) -> int:
        """Gaps so far."""
        return self._gaps.n

    def stage(self, arrival: Arrival) -> Iterator[StageEstimate | Event]:
        """Take a chunk; yield the final estimates that it completes, and the gaps in it."""
        chunk = self._stamps.spread(arrival.chunk)
        self._gaps.arrived(chunk, arrival.at_s)
        if self._begin and (stamps := chunk.stamps_s[np.abs(chunk.stamps_s) < LAST_STAMP_S]).size:
            if state := self._begin(float(stamps[0])):
                self.epocher.resume(state)
            self._begin = None
        for epoch in self.epocher.push(chunk):
            yield from self._notes()
            estimate = self._timed(self.stager.step(epoch), arrival)
            self._keep(epoch, self.epocher.state(epoch))
            yield estimate
        yield from self._notes()

    def between(self, arrival: Arrival) -> StageEstimate | None:
        """Return a provisional estimate if one is due after `arrival`.

        None is due at the end of an epoch: the final estimate has just been made.
        """
        if not self._step:
            return None
        place = self.epocher.n_samples // self._step * self._step
        if place == self._last:
            return None
        self._last = place
        window = self.epocher.window() if place % EPOCH_N_SAMPLES else None
        return self._timed(self.stager.peek(window), arrival) if window else None

    def _timed(self, estimate: StageEstimate, arrival: Arrival) -> StageEstimate:
        return replace(estimate, latency_ms=1000.0 * (self.clock() - arrival.at_s))

    def _notes(self) -> Iterator[Event]:
        now_s = self.epocher.now_s
        for text in self._stamps.take_notes():
            yield Event("clock", now_s, text)
        for note in self.epocher.take_notes():
            if isinstance(note, str):
                yield Event("warning", now_s, note)
            elif isinstance(note, ChannelChange):
                yield Event("channel", note.at_s, note.text)
            elif event := self._gaps.event(note, self.epocher.n_samples / SFREQ):
                yield event


def stage_recording(
    chunks: Iterable[Chunk],
    bed: Bed,
    sinks: Sequence[Sink],
    tell: Callable[[Event], None],
    on_progress: Callable[[float], None],
) -> None:
    """Stage a recording from beginning to end.

    Parameters
    ----------
    chunks : iterable of Chunk
        The recording.
    bed : Bed
        Fresh.
    sinks : sequence of Sink
        Shown each estimate, in this order: the record comes first.
    tell : callable
        Told each event.
    on_progress : callable
        Told how many seconds have been staged.
    """
    for chunk in chunks:
        _announce(bed.stage(Arrival(chunk, bed.clock())), sinks, tell)
        on_progress(bed.epocher.n_samples / SFREQ)


def stage_live(
    source: Source,
    bed: Bed,
    sinks: Sequence[Sink],
    tell: Callable[[Event], None],
    watch: LiveWatch,
    *,
    duration_s: float,
    stop: Callable[[], bool],
) -> str:
    """Stage a live stream until it ends.

    Parameters
    ----------
    source : Source
        Connected and started; it says when it has ended.
    bed : Bed
        Fresh.
    sinks : sequence of Sink
        Shown each estimate, in this order: the record comes first.
    tell : callable
        Told each event.
    watch : LiveWatch
        Shows the stream itself.
    duration_s : float
        Seconds of signal after which the night is over; 0 for no limit.
    stop : callable
        Asked whether somebody wants to end the night.

    Returns
    -------
    str
        Why the night ended, in words.
    """
    max_samples = max(1, int(PIECE_S * bed.epocher.timeline.sfreq))
    backlog: deque[Arrival] = deque()
    while not stop():
        for _ in range(DRAIN_PIECES):
            chunk = source.poll(0.0 if backlog else POLL_S, max_samples)
            if chunk is None:
                break
            backlog.append(Arrival(chunk, bed.clock()))
        for event in source.take_events():
            tell(event)
        if backlog:
            arrival = backlog.popleft()
            _announce(bed.stage(arrival), sinks, tell)
            # what is said between epochs is worth saying only while it is the newest there is
            if not backlog and (estimate := bed.between(arrival)):
                _announce([estimate], sinks, tell)
        watch.look(bed, source, tell)
        if duration_s and bed.epocher.n_samples >= duration_s * SFREQ:
            return f"{duration_s:g} s of signal, as asked for"
        if not backlog and source.ended:
            return source.ended
    return "stopped by the user"


class LiveWatch:
    """Watches the clocks, and tells how the stream does as often as a person can see it.

    Parameters
    ----------
    monitors : sequence of Monitor
        The dashboard and whoever else is told.
    health : StreamHealth
        What is known from the start.
    keep : callable, optional
        Told each measurement of the sender's clock.
    every_s : float
        Seconds between two looks.
    sleep : SleepWatch, optional
        Notices that this computer slept.
    unix_now : callable
        The time of day in seconds since 1970.
    """

    def __init__(
        self,
        monitors: Sequence[Monitor],
        health: StreamHealth,
        keep: Callable[[ClockOffset], None] = lambda _: None,
        *,
        every_s: float = 0.25,
        sleep: SleepWatch | None = None,
        unix_now: Callable[[], float] = time.time,
    ) -> None:
        self._monitors = monitors
        self._health = health
        self._keep = keep
        self._every_s = every_s
        self._sleep = sleep or SleepWatch()
        self._unix_now = unix_now
        self._next_s = 0.0
        self._next_offset_s = 0.0
        self._stamps_seen = False

    def look(self, bed: Bed, source: Source, tell: Callable[[Event], None]) -> None:
        """Look at the clocks and pass on the state, if it is time."""
        now = bed.clock()
        if now < self._next_s:
            return
        self._next_s = now + self._every_s
        for text in self._clocks(bed):
            tell(Event("clock", bed.epocher.now_s, text))
        if now >= self._next_offset_s and (offset := source.clock_offset()):
            self._next_offset_s = now + OFFSET_EVERY_S
            self._keep(offset)
        self._pass_on(bed, source.silent_s, source.state)

    def end(self, bed: Bed) -> None:
        """Pass on that the stream has ended."""
        self._pass_on(bed, None, StreamState.ENDED)

    def _clocks(self, bed: Bed) -> Iterator[str]:
        if text := self._sleep.look():
            yield text
        if not self._stamps_seen and bed.epocher.n_samples > 0:
            self._stamps_seen = True
            if text := says_unix_time(bed.epocher.now_s, self._unix_now()):
                yield text

    def _pass_on(self, bed: Bed, silent_s: float | None, state: StreamState) -> None:
        timeline = bed.epocher.timeline
        started = bed.epocher.n_samples > 0
        health = replace(
            self._health,
            sfreq=timeline.effective_sfreq,
            since_last_s=silent_s if started else None,
            n_gaps=bed.n_gaps,
            n_lost=timeline.n_missing,
            clock_s=bed.epocher.now_s if started else None,
            state=state,
        )
        recent = bed.epocher.recent() if started else None
        for monitor in self._monitors:
            monitor.stream(health)
            if recent is not None:
                monitor.signal(recent)


def _announce(
    said: Iterable[StageEstimate | Event], sinks: Sequence[Sink], tell: Callable[[Event], None]
) -> None:
    for item in said:
        if isinstance(item, Event):
            tell(item)
            continue
        for sink in sinks:
            sink.show(item)
