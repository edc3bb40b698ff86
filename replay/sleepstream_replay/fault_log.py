"""The log of what was injected, to be held against what somebody recorded.

In go an `Injection` and how far the replay has come; out comes one `Injected` for each stretch of
samples, once the fault is over. What a stop cuts short is logged as far as it came.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct, json

from sleepstream_replay.faults import Disconnect, SecondStream
from sleepstream_replay.injection import Effect, Injection, Span


class Injected(Struct, frozen=True, kw_only=True):
    """What was done to a stretch of samples.

    Samples are counted from 0, the first that was played, and sample *i* is the same one however
    many before it were left out or repeated.

    Attributes
    ----------
    fault : int
        Which fault, from 1 in the order of the file.
    kind : str
        Its kind.
    effect : str
        ``changed``: other values. ``restamped``: other stamps. ``left out``: never sent.
        ``repeated``: sent again once `last` had been. ``late``: sent before sample `sent_before`
        instead of in time. ``second stream``: sent on another stream of the same name, too.
    first, last : int
        The first and the last sample, both included.
    first_stamp_s, last_stamp_s : float
        Their stamps on the wire (or what these would have been).
    channels : tuple of str
        Which channels were changed; empty where all are concerned.
    shift_s : float
        By how much the stamp of `last` and all after it was moved. Within the stretch it grows
        evenly, and is there from its first sample on.
    sent_before : int
        Of late samples: which sample they were sent in front of.
    source_id : str
        Under which source_id a stream returned, or a second one appeared; empty where it follows
        from that of the stream.
    """

    fault: int
    kind: str
    effect: Effect
    first: int
    last: int
    first_stamp_s: float
    last_stamp_s: float
    channels: tuple[str, ...] = ()
    shift_s: float = 0.0
    sent_before: int = 0
    source_id: str = ""


def read_fault_log(path: Path) -> tuple[Injected, ...]:
    """Read what ``--fault-log`` wrote.

    Raises
    ------
    OSError, msgspec.DecodeError
        When it cannot be read, or was not written by a replay.
    """
    return tuple(json.decode(line, type=Injected) for line in path.read_bytes().splitlines())


OnFault = Callable[[Injected], None]


class FaultLog:
    """Tells what was injected as the replay comes past it.

    Parameters
    ----------
    injection : Injection
        What happens to which sample.
    labels : tuple of str
        Labels of the channels.
    t0_s : float
        When sample 0 was due.
    on_fault : callable
        Told each `Injected`, in the order in which faults are over.
    """

    def __init__(
        self, injection: Injection, labels: tuple[str, ...], t0_s: float, on_fault: OnFault
    ) -> None:
        self._injection = injection
        self._labels = labels
        self._t0_s = t0_s
        self._on_fault = on_fault
        self._open = deque(sorted(injection.spans, key=lambda span: (span.done, span.number)))
        self.injected: list[Injected] = []

    def reach(self, n_samples: int) -> None:
        """Tell of the faults that were over before sample `n_samples`."""
        while self._open and self._open[0].done <= n_samples:
            span = self._open.popleft()
            self._tell(span, span.effect, span.stop)

    def close(self, n_samples: int) -> None:
        """Tell of the faults that a stop before sample `n_samples` cut short."""
        self.reach(n_samples)
        for span in self._open:
            # what was to be repeated was not, and what was held back has never left
            if span.first < n_samples and span.effect != "repeated":
                effect: Effect = "left out" if span.effect == "late" else span.effect
                self._tell(span, effect, min(span.stop, n_samples))
        self._open.clear()

    def _tell(self, span: Span, effect: Effect, stop: int) -> None:
        fault, last = span.fault, stop - 1
        first_stamp_s, last_stamp_s = (
            float(self._injection.stamps_s(self._t0_s, sample, sample + 1)[0])
            for sample in (span.first, last)
        )
        record = Injected(
            fault=span.number,
            kind=fault.kind,
            effect=effect,
            first=span.first,
            last=last,
            first_stamp_s=first_stamp_s,
            last_stamp_s=last_stamp_s,
            channels=tuple(self._labels[column] for column in span.columns),
            shift_s=span.slope_s * (stop - span.first),
            sent_before=span.done if effect == "late" else 0,
            source_id=fault.source_id if isinstance(fault, Disconnect | SecondStream) else "",
        )
        self.injected.append(record)
        self._on_fault(record)
