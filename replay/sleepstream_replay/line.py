"""The sender's end of the wire: outlets that come and go, samples held, repeated or not sent.

In go blocks of samples, cut where an `Injection` has its borders; they leave through the outlet as
the spans that they lie in have it. Without faults, each block is pushed and that is all.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

from sleepstream_replay.faults import Disconnect, SecondStream, Silence, TransportFault
from sleepstream_replay.injection import Span
from sleepstream_replay.wire import Clock, Description, OpenOutlet, Outlet, Rows, Stamps

FLUSH_S = 0.5
"""How long a stream that is about to leave waits for what it sent to be out, by the wall's clock.
What an outlet has not sent when it is closed is lost."""

CONSUMER_POLL_S = 0.2

_OPENING = (Disconnect, SecondStream)
_Event = tuple[int, Callable[[Span], None], Span]


class Line:
    """Sends blocks as the transport faults have it.

    Parameters
    ----------
    outlet : Outlet
        The stream as it is at the start.
    clock : Clock
        What waits are made with.
    description : Description
        What the stream says about itself.
    spans : tuple of Span
        What happens to which sample; those of other faults are passed over.
    n_samples : int or None
        How many samples there are; None for no end.
    open_outlet : callable or None
        Opens the streams that come later; only streams that never leave can do without.

    Raises
    ------
    ValueError
        When a fault opens a stream and there is no `open_outlet`.
    """

    def __init__(
        self,
        outlet: Outlet,
        clock: Clock,
        description: Description,
        *,
        spans: tuple[Span, ...] = (),
        n_samples: int | None = None,
        open_outlet: OpenOutlet | None = None,
    ) -> None:
        self._outlet: Outlet | None = outlet
        self._clock = clock
        self._description = description
        self._n_samples = n_samples
        if open_outlet is None and any(isinstance(s.fault, _OPENING) for s in spans):
            raise ValueError("a fault opens a stream: give open_outlet")
        self._open_outlet = open_outlet or _open_none
        self._opened: list[Outlet] = []
        self._second: Outlet | None = None
        self._held: list[tuple[Rows, Stamps]] = []
        self._active: dict[Span, float] = {}
        self._ahead = deque(self._events(spans))
        self.n_pushed = 0

    def reach(self, sample: int) -> None:
        """Do what is due before this sample is sent."""
        while self._ahead and self._ahead[0][0] <= sample:
            _, act, span = self._ahead.popleft()
            act(span)

    def send(self, rows: Rows, stamps_s: Stamps, first: int) -> None:
        """Send the samples from number `first` on, which lie between two borders."""
        if self._second is not None:
            self._second.push(-rows, stamps_s)
        effect = self._effect(first)
        if effect in {"late", "repeated"}:
            self._held.append((rows, stamps_s))
        if effect not in {"late", "left out"}:
            self._push(rows, stamps_s)

    def wait_for_consumer(self, timeout_s: float) -> bool:
        """Return whether somebody listens, at the latest after `timeout_s`."""
        return self._outlet is not None and self._outlet.wait_for_consumer(timeout_s)

    def close(self) -> None:
        """Close the streams that were opened here."""
        for outlet in self._opened:
            outlet.close()

    def begin(self, span: Span) -> None:
        """Enter a span."""
        match span.fault:
            case Disconnect():
                self._leave()
            case SecondStream(source_id=source_id):
                named = source_id or f"{self._description.source_id}-second"
                self._second = self._open(replace(self._description, source_id=named))
        self._active[span] = self._clock.now()

    def end(self, span: Span) -> None:
        """Leave a span."""
        began_s = self._active.pop(span)
        fault = span.fault
        if isinstance(fault, Silence | Disconnect | SecondStream):
            self._clock.wait(began_s + fault.wall_s - self._clock.now())
        match fault:
            case Disconnect():
                if self._n_samples is None or span.done < self._n_samples:
                    self._return(fault)
            case SecondStream():
                self._close_second()
            case _:
                self._release()

    def _events(self, spans: Iterable[Span]) -> list[_Event]:
        """Return what is to be done before which sample, in order; ends before beginnings."""
        ours = [s for s in spans if isinstance(s.fault, TransportFault | SecondStream)]
        ends = [(span.done, self.end, span) for span in ours]
        begins = [(span.first, self.begin, span) for span in ours]
        return sorted(ends + begins, key=lambda event: event[0])

    def _effect(self, first: int) -> str | None:
        """Return what transport does to the block that begins with this sample."""
        for span in self._active:
            if isinstance(span.fault, TransportFault) and first < span.stop:
                return span.effect
        return None

    def _push(self, rows: Rows, stamps_s: Stamps) -> None:
        if self._outlet is not None:
            self._outlet.push(rows, stamps_s)
            self.n_pushed += len(rows)

    def _release(self) -> None:
        """Send what was held."""
        for rows, stamps_s in self._held:
            self._push(rows, stamps_s)
        self._held.clear()

    def _open(self, description: Description) -> Outlet:
        outlet = self._open_outlet(description)
        self._opened.append(outlet)
        return outlet

    def _close_second(self) -> None:
        if self._second is not None:
            self._second.close()
        self._second = None

    def _leave(self) -> None:
        self._clock.wait(FLUSH_S)
        if self._outlet is not None:
            self._outlet.close()
        self._outlet = None

    def _return(self, fault: Disconnect) -> None:
        if fault.source_id:
            self._description = replace(self._description, source_id=fault.source_id)
        leaves_again = any(isinstance(span.fault, Disconnect) for _, _, span in self._ahead)
        self._description = replace(self._description, ends=not leaves_again)
        self._outlet = self._open(self._description)
        for _ in range(math.ceil(fault.wait_s / CONSUMER_POLL_S)):
            if self._outlet.wait_for_consumer(CONSUMER_POLL_S) or self._clock.wait(0.0):
                return


def _open_none(description: Description) -> Outlet:
    raise ValueError(f"no open_outlet was given for the stream {description.name!r}")
