"""The way out: Lab Streaming Layer outlets, and twins of them in memory.

In go rows of numbers or labels with a time stamp each; out they go on the network, or into a list.
This is the only module of the replay that knows pylsl, and it imports it when an outlet is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sleepstream.lsl_local import keep_local, sockets

MANUFACTURER = "sleepstream replay"

Rows = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Stamps = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class WireChannel:
    """What a stream says about one of its channels: label, unit and kind."""

    label: str
    unit: str
    kind: str


@dataclass(frozen=True, slots=True)
class Description:
    """What a stream says about itself.

    Attributes
    ----------
    name, kind : str
        Name and type of the stream.
    channels : tuple of WireChannel
        Label, unit and kind of each channel.
    sfreq : float
        Nominal rate in hertz; 0 for a stream without one.
    source_id : str
        What tells it from other streams of the same name, and lets inlets recover.
    dtype : str
        ``float32``, ``float64`` or ``string``.
    synthetic : bool
        True when nobody was recorded.
    ends : bool
        True when the stream will not come back once it has left the network.
    """

    name: str
    kind: str
    channels: tuple[WireChannel, ...]
    sfreq: float
    source_id: str
    dtype: str = "float32"
    synthetic: bool = False
    ends: bool = False


class Outlet(Protocol):
    """Something that samples can be sent to."""

    def push(self, rows: Rows, stamps_s: Stamps) -> None:
        """Send samples, shape ``(n_samples, n_channels)``, with the time of each."""

    def wait_for_consumer(self, timeout_s: float) -> bool:
        """Return whether somebody listens, at the latest after `timeout_s`."""

    def close(self) -> None:
        """Take the stream off the network; a second time does nothing."""


OpenOutlet = Callable[[Description], Outlet]
"""Puts a stream of that description on the network."""


class Markers(Protocol):
    """Something that labels can be sent to."""

    def mark(self, label: str, stamp_s: float) -> None:
        """Send one label with its time."""

    def wait_for_consumer(self, timeout_s: float) -> bool:
        """Return whether somebody listens, at the latest after `timeout_s`."""


class Clock(Protocol):
    """A clock that never jumps, and a way to wait on it that can be cut short."""

    def now(self) -> float:
        """Seconds since some fixed moment."""

    def wait(self, seconds: float) -> bool:
        """Wait, and return whether a stop was asked for."""


class LslOutlet:
    """A numeric or string outlet on the network.

    Parameters
    ----------
    description : Description
        What the stream says about itself.
    buffer_s : float
        How many seconds of data (hundreds of samples, without a rate) are kept for a consumer that
        falls behind. LSL keeps no more than the consumer asked for, whatever is said here.
    blocking : bool
        Send on the caller's thread, at the pace at which the consumers' connections take it, so
        that nothing can be dropped here. Not for strings.
    network : bool
        Whether other computers may receive it, too.

    Attributes
    ----------
    local : bool
        Whether nobody but this computer can receive it.
    """

    def __init__(
        self,
        description: Description,
        buffer_s: float,
        blocking: bool = False,
        network: bool = False,
    ) -> None:
        import pylsl  # noqa: PLC0415  # loads a shared library: not at import

        formats = {
            "float32": pylsl.cf_float32,
            "float64": pylsl.cf_double64,
            "string": pylsl.cf_string,
        }
        info = pylsl.StreamInfo(
            description.name,
            description.kind,
            len(description.channels),
            description.sfreq,
            formats[description.dtype],
            description.source_id,
        )
        _describe(info.desc(), description)
        flags = pylsl.transp_sync_blocking if blocking else pylsl.transp_default
        before = sockets()
        self._outlet: Any = pylsl.StreamOutlet(info, 0, int(buffer_s) + 1, flags)
        self.local = not network and keep_local(sockets() - before)

    def push(self, rows: Rows, stamps_s: Stamps) -> None:
        """Send samples, shape ``(n_samples, n_channels)``, with the time of each."""
        # a list, because pylsl takes an array of one stamp for a single float
        self._outlet.push_chunk(rows, stamps_s.tolist())

    def mark(self, label: str, stamp_s: float) -> None:
        """Send one label with its time."""
        self._outlet.push_sample([label], stamp_s)

    def wait_for_consumer(self, timeout_s: float) -> bool:
        """Return whether somebody listens, at the latest after `timeout_s`."""
        # liblsl waits at least until its next wake-up even for a timeout of zero
        return bool(self._outlet.have_consumers() or self._outlet.wait_for_consumers(timeout_s))

    def close(self) -> None:
        """Take the stream off the network; a second time does nothing."""
        self._outlet = None  # the binding destroys it when nobody holds it any more


@contextmanager
def lsl_outlet(
    description: Description, buffer_s: float, blocking: bool = False, network: bool = False
) -> Iterator[LslOutlet]:
    """Open an outlet for as long as the block lasts; see `LslOutlet`."""
    outlet = LslOutlet(description, buffer_s, blocking, network)
    try:
        yield outlet
    finally:
        outlet.close()


def _describe(desc: Any, description: Description) -> None:
    """Write labels, units and kinds where the XDF convention has them."""
    desc.append_child_value("manufacturer", MANUFACTURER)
    if description.synthetic:
        desc.append_child_value("synthetic", "true")
    if description.ends:
        desc.append_child_value("ends", "true")
    channels = desc.append_child("channels")
    for channel in description.channels:
        node = channels.append_child("channel")
        node.append_child_value("label", channel.label)
        node.append_child_value("unit", channel.unit)
        node.append_child_value("type", channel.kind)


class LslClock:
    """The clock of the Lab Streaming Layer: monotonic, and the one that stamps are made with.

    Parameters
    ----------
    stop : Event
        Set from a signal handler or another thread to end the replay.
    """

    def __init__(self, stop: Event) -> None:
        import pylsl  # noqa: PLC0415  # loads a shared library: not at import

        self._now = pylsl.local_clock
        self._stop = stop

    def now(self) -> float:
        """Seconds since some fixed moment."""
        return float(self._now())

    def wait(self, seconds: float) -> bool:
        """Wait, and return whether a stop was asked for."""
        return self._stop.wait(max(0.0, seconds))


@dataclass
class MemoryOutlet:
    """The twin of an outlet: keeps what it is given, chunk by chunk.

    Attributes
    ----------
    chunks : list of tuple
        Rows and stamps of each push.
    marks : list of tuple
        Label and stamp of each mark.
    consumer : bool
        Whether somebody listens.
    closed : bool
        Whether it has left the network.
    """

    chunks: list[tuple[Rows, Stamps]] = field(default_factory=list)
    marks: list[tuple[str, float]] = field(default_factory=list)
    consumer: bool = True
    closed: bool = False

    def push(self, rows: Rows, stamps_s: Stamps) -> None:
        """Keep samples, shape ``(n_samples, n_channels)``, with the time of each."""
        self.chunks.append((rows.copy(), stamps_s.copy()))

    def mark(self, label: str, stamp_s: float) -> None:
        """Keep one label with its time."""
        self.marks.append((label, stamp_s))

    def wait_for_consumer(self, timeout_s: float) -> bool:  # noqa: ARG002
        """Return whether somebody listens, without waiting."""
        return self.consumer

    def close(self) -> None:
        """Leave the network."""
        self.closed = True


@dataclass
class MemoryNetwork:
    """The twin of a network: opens outlets in memory and remembers them.

    Attributes
    ----------
    opened : list of tuple
        Description and outlet of each stream, in the order in which they were opened.
    consumer : bool
        Whether somebody listens to new streams.
    """

    opened: list[tuple[Description, MemoryOutlet]] = field(default_factory=list)
    consumer: bool = True

    def open(self, description: Description) -> MemoryOutlet:
        """Open an outlet: an `OpenOutlet`."""
        outlet = MemoryOutlet(consumer=self.consumer)
        self.opened.append((description, outlet))
        return outlet


@dataclass
class SimulatedClock:
    """The twin of a clock: time passes only when somebody waits.

    Attributes
    ----------
    time_s : float
        The time now.
    stop_at_s : float
        When a stop is asked for.
    """

    time_s: float = 0.0
    stop_at_s: float = float("inf")

    def now(self) -> float:
        """Seconds since some fixed moment."""
        return self.time_s

    def wait(self, seconds: float) -> bool:
        """Let time pass, and return whether a stop was asked for."""
        self.time_s = min(self.time_s + max(0.0, seconds), max(self.time_s, self.stop_at_s))
        return self.time_s >= self.stop_at_s
