"""A live stream that outlasts its failures: the supervisor's decisions, carried out.

Enters: a `Link`, which is the wire (`sleepstream.sources.lsl`) or its twin in memory. Leaves:
chunks as they come, and an `Event` for each thing that happened to the stream. Nothing here waits
longer than a moment, so that whoever polls can stop at any time.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from sleepstream.messages import Chunk, ClockOffset, Event, StreamState
from sleepstream.sources.description import StreamDescription
from sleepstream.sources.supervisor import Action, Patience, Supervisor

ASK_S = 0.1
"""How long one look at whether somebody has answered takes."""

AWAY_S = 5.0
"""A stream is looked at several times a second; if not for so long, this process stood still."""


class Link(Protocol):
    """The wire, as the supervisor needs it."""

    @property
    def broken(self) -> bool:
        """Whether the connection is: nothing will come over it any more."""
        ...

    def poll(self, timeout_s: float, max_samples: int) -> Chunk | None:
        """Return what has arrived; None, after `timeout_s`, if nothing has."""
        ...

    def around(self) -> Collection[StreamDescription]:
        """Return at once who announces itself; the first call begins to listen."""
        ...

    def rest(self) -> None:
        """Listen no longer."""
        ...

    def ask(self, stream: StreamDescription, timeout_s: float) -> StreamDescription | None:
        """Return a stream that was around with its channels; None if it has not answered yet."""
        ...

    def switch(self, timeout_s: float) -> bool:
        """Subscribe to the stream that answered, in the place of the old one; False: not yet."""
        ...

    def now_s(self) -> float:
        """Return the time on the sender's LSL clock, in seconds."""
        ...

    def clock_offset(self) -> tuple[float, float] | None:
        """Return our clock minus the sender's, and its uncertainty, in seconds; None: unknown."""
        ...


class Awake:
    """A clock that stands still while this process does: nobody could listen meanwhile.

    A computer that is suspended, or a process that is stopped, is no silence of the sender.

    Parameters
    ----------
    clock : callable
        A monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last_s = clock()
        self._away_s = 0.0

    def __call__(self) -> float:
        """Return the time, in seconds; who asks less often than each `AWAY_S` was away."""
        now_s = self._clock()
        if now_s - self._last_s > AWAY_S:
            self._away_s += now_s - self._last_s
        self._last_s = now_s
        return now_s - self._away_s


class LiveStream:
    """One stream and its supervisor; a `Source` for the pipeline.

    Parameters
    ----------
    link : Link
        Connected and started.
    ours : StreamDescription
        What the stream says about itself.
    patience : Patience
        How long to wait.
    clock : callable
        A monotonic clock in seconds.
    wall : callable
        The time of day, for sentences.
    """

    def __init__(
        self,
        link: Link,
        ours: StreamDescription,
        patience: Patience,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._link = link
        self._supervisor = Supervisor(ours, patience, Awake(clock), wall)
        self._supervisor.opened(ours)
        self._around: Collection[StreamDescription] | None = None
        self._newest_s: float | None = None

    @property
    def state(self) -> StreamState:
        """How the stream is doing."""
        return self._supervisor.state

    @property
    def silent_s(self) -> float:
        """Seconds since the last sample."""
        return self._supervisor.silent_s

    @property
    def ended(self) -> str | None:
        """Why the night is over; None while it is not."""
        return self._supervisor.ended

    def poll(self, timeout_s: float, max_samples: int) -> Chunk | None:
        """Return what has arrived.

        Parameters
        ----------
        timeout_s : float
            How long to wait for the first sample.
        max_samples : int
            At most so many; the rest stays for the next call.

        Returns
        -------
        Chunk or None
            None if nothing came. What is to be done about that is done, a little at each call.
        """
        chunk = self._link.poll(timeout_s, max_samples)
        if chunk is not None:
            self._supervisor.heard()
            self._rest()
            if math.isfinite(chunk.stamps_s[-1]):
                self._newest_s = float(chunk.stamps_s[-1])
            return chunk
        match self._supervisor.waited(self._link.broken, self._around):
            case Action.SEARCH:
                self._around = self._link.around()
            case Action.REOPEN:
                self._around = self._link.around()
                self._reopen()
            case _:
                self._rest()
        return None

    def take_events(self) -> list[Event]:
        """Return what happened to the stream since the last call."""
        notes = self._supervisor.take_notes()
        return [Event("stream", self._at_s(), note) for note in notes]

    def clock_offset(self) -> ClockOffset | None:
        """Return how far the sender's clock is from ours, at once; None while that is unknown."""
        if self._newest_s is None or (measured := self._link.clock_offset()) is None:
            return None
        return ClockOffset(self._newest_s, *measured)

    def _reopen(self) -> None:
        candidate = self._supervisor.candidate
        found = candidate and self._link.ask(candidate, ASK_S)
        if found and self._supervisor.accepts(found) and self._link.switch(ASK_S):
            self._supervisor.opened(found)
            self._rest()

    def _rest(self) -> None:
        if self._around is not None:
            self._around = None
            self._link.rest()

    def _at_s(self) -> float:
        return self._link.now_s() if self._newest_s is None else self._newest_s


class MemoryLink:
    """The wire in memory: a connection, and a network on which streams come and go.

    Parameters
    ----------
    ours : StreamDescription
        Who is connected at the start.
    pass_time : callable
        Told how many seconds pass in a poll for which nothing came.
    script : iterable
        What happens, poll by poll: a `Chunk` is sent, None is a moment of nothing, and a callable
        is called with this link and may change what is below. Once it is over, nothing comes.

    Attributes
    ----------
    script : deque
        What is still to happen.
    network : dict of str to StreamDescription
        Who announces itself, by uid.
    mute : set of str
        The uids of those among them that do not answer.
    broken : bool
        Whether the connection is; what is sent meanwhile is lost.
    listening : bool
        Whether somebody listens for announcements.
    subscribed : list of StreamDescription
        Who was subscribed to, one after the other.
    """

    def __init__(
        self,
        ours: StreamDescription,
        pass_time: Callable[[float], None],
        script: Iterable[Chunk | Callable[[MemoryLink], None] | None] = (),
    ) -> None:
        self.network = {ours.uid: ours}
        self.mute: set[str] = set()
        self.broken = False
        self.listening = False
        self.subscribed = [ours]
        self.script = deque(script)
        self._asked: StreamDescription | None = None
        self._pass_time = pass_time

    def leave(self, uid: str) -> None:
        """Take a stream off the network, and its connection with it."""
        self.network.pop(uid)
        self.broken = True

    def poll(self, timeout_s: float, max_samples: int) -> Chunk | None:  # noqa: ARG002
        """Return the next chunk that is sent; None, and `timeout_s` later, if there is none."""
        while self.script and (item := self.script.popleft()) is not None:
            if not isinstance(item, Chunk):
                item(self)
            elif not self.broken:
                return item
        self._pass_time(timeout_s)
        return None

    def around(self) -> list[StreamDescription]:
        """Return who announces itself."""
        self.listening = True
        return [replace(stream, labels=(), units=()) for stream in self.network.values()]

    def rest(self) -> None:
        """Listen no longer."""
        self.listening = False

    def ask(self, stream: StreamDescription, timeout_s: float) -> StreamDescription | None:
        """Return a stream with its channels, if it answers."""
        if stream.uid in self.mute:
            self._pass_time(timeout_s)
            return None
        self._asked = self.network.get(stream.uid)
        return self._asked

    def switch(self, timeout_s: float) -> bool:  # noqa: ARG002
        """Connect to whoever answered."""
        if self._asked is None:
            return False
        self.subscribed.append(self._asked)
        self.broken = False
        return True

    def now_s(self) -> float:
        """Return 0: no sample has come yet."""
        return 0.0

    def clock_offset(self) -> tuple[float, float] | None:
        """Return that both ends have the same clock."""
        return 0.0, 0.0
