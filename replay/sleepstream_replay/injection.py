"""Faults become what happens to which sample.

In go `Faults` and what is played; out comes an `Injection`: spans of sample numbers, the changes
that are made to the samples in them, and the shifts of their stamps. Everything here is a function
of a sample's number, so it does not matter in what chunks the samples come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from sleepstream_replay.errors import ReplayError
from sleepstream_replay.faults import (
    Disconnect,
    Drift,
    Drop,
    Duplicate,
    Fault,
    Faults,
    Flat,
    Gain,
    Jump,
    LastingFault,
    Late,
    Mains,
    Nan,
    Rate,
    Saturation,
    SecondStream,
    SignalFault,
    TransportFault,
)  # fmt: skip
from sleepstream_replay.faults_file import check
from sleepstream_replay.recording import Recording
from sleepstream_replay.wire import Rows

Effect = Literal["changed", "restamped", "left out", "repeated", "late", "second stream"]
"""What a fault does to samples."""

Numbers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

Step = Callable[[Rows, int], Rows]
"""``step(rows, first)`` returns the rows of the samples from number `first` on, faulty where they
should be; it leaves what it is given alone."""

Change = Callable[[Rows, Numbers], Rows]
"""What a signal fault makes of rows, given their numbers since its start."""

_LONGEST_PERIOD = 100_000


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive samples that a fault acts on.

    Attributes
    ----------
    number : int
        Which fault, from 1 in the order of the file.
    fault : Fault
        The fault.
    effect : str
        What it does to them.
    first, stop : int
        From sample `first` up to, not including, `stop`.
    done : int
        Before which sample it is over: `stop`, or later where samples are held longer.
    columns : tuple of int
        The channels that it acts on, where it does not act on all.
    slope_s : float
        By how much each stamp moves further than the one before, in seconds.
    """

    number: int
    fault: Fault
    effect: Effect
    first: int
    stop: int
    done: int
    columns: tuple[int, ...] = ()
    slope_s: float = 0.0

    def shift_s(self, samples: Numbers) -> Floats:
        """Return by how much the stamps of these samples are moved; past the end it stays."""
        steps = np.clip(samples - self.first + 1, 0, self.stop - self.first)
        return self.slope_s * steps.astype(np.float64)


@dataclass(frozen=True, slots=True)
class Injection:
    """What happens to which sample.

    Attributes
    ----------
    spans : tuple of Span
        One for each stretch of samples that a fault acts on.
    steps : tuple of callable
        What is done to the samples, one after the other.
    shifts : tuple of Span
        Those of the spans that move stamps.
    borders : ndarray of int64
        Where a chunk has to end because the sending changes there, in order.
    sfreq : float
        Nominal rate in hertz.
    """

    spans: tuple[Span, ...]
    steps: tuple[Step, ...]
    shifts: tuple[Span, ...]
    borders: Numbers
    sfreq: float

    def blocks(self, rows: Rows, first: int) -> Iterator[tuple[int, Rows]]:
        """Apply the signal faults to the samples from number `first` on, and cut at the borders.

        Yields
        ------
        tuple of (int, ndarray)
            Number of the first sample, and rows of shape ``(n_samples, n_channels)``.
        """
        for step in self.steps:
            rows = step(rows, first)
        start, stop = np.searchsorted(self.borders, (first, first + len(rows)), side="right")
        cuts = [0, *(self.borders[start:stop] - first).tolist(), len(rows)]
        for a, b in pairwise(cuts):
            if b > a:
                yield first + a, rows[a:b]

    def stamps_s(self, t0_s: float, first: int, stop: int) -> Floats:
        """Return the stamps of samples `first` up to `stop`, when sample 0 was due at `t0_s`."""
        samples = np.arange(first, stop)
        stamps_s: Floats = t0_s + samples / self.sfreq
        for span in self.shifts:
            stamps_s += span.shift_s(samples)
        return stamps_s

    def shift_s(self, sample: int) -> float:
        """Return by how much the stamp of one sample is moved."""
        return _shift_s(self.shifts, sample)

    def delay_s(self, n_samples: int) -> float:
        """Return how much later than nominal the first `n_samples` have been taken."""
        rates = (span for span in self.shifts if isinstance(span.fault, Rate))
        return _shift_s(rates, n_samples - 1)


def inject(faults: Faults, recording: Recording, n_samples: int | None, per_uv: float) -> Injection:
    """Work out what happens to which sample.

    Parameters
    ----------
    faults : Faults
        What goes wrong.
    recording : Recording
        What is played.
    n_samples : int or None
        How much of it; None for a loop without end.
    per_uv : float
        What a microvolt is in the unit of the wire.

    Raises
    ------
    ReplayError
        A fault that is no valid fault, that lies beyond what is played, that names no channel of
        the recording, or that overlaps another where that makes no sense.
    """
    spans = [
        _span(number, fault, recording, n_samples) for number, fault in enumerate(faults.faults, 1)
    ]
    for one, other in combinations(spans, 2):
        _refuse_clash(one, other)
    steps = (
        _step(span, _change(span, recording.sfreq, per_uv))
        for span in spans
        if isinstance(span.fault, SignalFault)
    )
    pieces = tuple(piece for span in spans for piece in _pieces(span, recording.sfreq, faults.seed))
    cutting = (p for p in pieces if isinstance(p.fault, TransportFault | SecondStream))
    borders = sorted({border for p in cutting for border in (p.first, p.stop, p.done)})
    shifts = tuple(piece for piece in pieces if piece.effect == "restamped")
    return Injection(pieces, tuple(steps), shifts, np.array(borders, np.int64), recording.sfreq)


def _shift_s(spans: Iterable[Span], sample: int) -> float:
    return float(sum(span.shift_s(np.array([sample]))[0] for span in spans))


def _span(number: int, fault: Fault, recording: Recording, n_samples: int | None) -> Span:
    check(fault, f"fault {number} ({fault.kind})")
    sfreq = recording.sfreq
    first = round(fault.start_s * sfreq)
    length_s = fault.length_s if isinstance(fault, LastingFault) else 0.0
    stop = max(first + 1, round((fault.start_s + length_s) * sfreq))
    done = max(stop, round((fault.start_s + fault.reach_s) * sfreq))
    if n_samples is not None and done > n_samples:
        raise ReplayError(
            f"Sought fault {number} ({fault.kind}) within the {n_samples / sfreq:g} s played.",
            f"it begins at {fault.start_s:g} s and is over at {done / sfreq:g} s",
            "Make it earlier or shorter, or play more of the recording.",
        )
    if isinstance(fault, Disconnect) and first == 0:
        raise ReplayError(
            f"Sought fault {number} ({fault.kind}) after the first sample.",
            f"it begins at {fault.start_s:g} s",
            "Let it begin later: a stream has to be there before it can leave.",
        )
    columns = _columns(number, fault, recording) if isinstance(fault, SignalFault) else ()
    slope_s = _slope_s(fault, sfreq)
    return Span(number, fault, _effect(fault), first, stop, done, columns, slope_s)


def _effect(fault: Fault) -> Effect:
    match fault:
        case SignalFault():
            return "changed"
        case Late():
            return "late"
        case Duplicate():
            return "repeated"
        case TransportFault():
            return "left out"
        case SecondStream():
            return "second stream"
    return "restamped"


def _slope_s(fault: Fault, sfreq: float) -> float:
    match fault:
        case Jump():
            return fault.by_s
        case Drift():
            return fault.ppm * 1e-6 / sfreq
        case Rate():
            return (1.0 / (1.0 + fault.percent / 100.0) - 1.0) / sfreq
    return 0.0


def _columns(number: int, fault: SignalFault, recording: Recording) -> tuple[int, ...]:
    """Find the channels that are meant, among those that are voltages."""
    voltages = {c.label.casefold(): k for k, c in enumerate(recording.channels) if c.unit == "V"}
    wanted = [label.casefold() for label in fault.channels] or list(voltages)
    unknown = [label for label in fault.channels if label.casefold() not in voltages]
    if unknown or not wanted:
        labels = ", ".join(recording.labels[k] for k in voltages.values())
        raise ReplayError(
            f"Sought the channels of fault {number} ({fault.kind}) among the voltages played.",
            f"{', '.join(map(repr, unknown)) or 'none'}, where there are: {labels or 'none'}",
            "Name some of these in `channels`, or leave it out to hit them all.",
        )
    return tuple(sorted({voltages[label] for label in wanted}))


def _refuse_clash(one: Span, other: Span) -> None:
    if one.first >= other.done or other.first >= one.done or not _clash(one, other):
        return
    raise ReplayError(
        f"Sought fault {other.number} ({other.fault.kind}) apart from fault {one.number} "
        f"({one.fault.kind}).",
        f"they overlap from {max(one.fault.start_s, other.fault.start_s):g} s on, and only one of "
        "them can be had at a time",
        "Move or shorten one of them"
        + (", or give them different channels." if one.columns else "."),
    )


def _clash(one: Span, other: Span) -> bool:
    """Return whether two faults cannot be had at the same time."""
    a, b = one.fault, other.fault
    if isinstance(a, SignalFault) and isinstance(b, SignalFault):
        hides = type(a) is type(b) or isinstance(a, Nan | Flat) or isinstance(b, Nan | Flat)
        return hides and bool(set(one.columns) & set(other.columns))
    if isinstance(a, TransportFault) and isinstance(b, TransportFault):
        return True
    return type(a) is type(b)


def _pieces(span: Span, sfreq: float, seed: int) -> list[Span]:
    """Cut a fault that hits chunks into the pieces that chance has it hit."""
    fault = span.fault
    if not isinstance(fault, Drop | Duplicate):
        return [span]
    size = max(1, round(fault.chunk_s * sfreq))
    starts = np.arange(span.first, span.stop, size)
    # a chance of its own for each fault: adding another leaves this one as it was
    hit = np.random.default_rng([seed, span.number]).random(len(starts)) < fault.probability
    return [
        Span(span.number, fault, span.effect, first, stop, stop)
        for first in starts[hit].tolist()
        for stop in [min(first + size, span.stop)]
    ]


def _step(span: Span, change: Change) -> Step:
    """Have a change act on the samples and channels of a span and on no others."""
    columns = list(span.columns)

    def step(rows: Rows, first: int) -> Rows:
        a, b = max(span.first - first, 0), min(span.stop - first, len(rows))
        if a >= b:
            return rows
        changed = rows.copy()
        numbers = np.arange(a, b) + (first - span.first)
        changed[a:b, columns] = change(rows[a:b, columns], numbers)
        return changed

    return step


def _change(span: Span, sfreq: float, per_uv: float) -> Change:
    match span.fault:
        case Nan():
            return lambda rows, _: np.full_like(rows, np.nan)
        case Flat(level_uv=level_uv):
            return lambda rows, _: np.full_like(rows, level_uv * per_uv)
        case Saturation(limit_uv=limit_uv, drive=drive):
            limit = limit_uv * per_uv
            return lambda rows, _: np.clip(rows * drive, -limit, limit)
        case Gain(factor=factor):
            return lambda rows, _: rows * factor
        case Mains(hz=hz, amplitude_uv=amplitude_uv):
            wave = amplitude_uv * per_uv * _hum(span.number, hz, sfreq)
            return lambda rows, numbers: rows + wave[numbers % len(wave), np.newaxis]
    raise TypeError(f"{span.fault.kind} is not a fault of the signal")


def _hum(number: int, hz: int, sfreq: float) -> Floats:
    """Return one period of the sampled mains, after which it repeats exactly.

    A cosine, so that at exactly half the rate it is there in full.
    """
    if 2 * hz > sfreq:
        raise ReplayError(
            f"Sought mains of {hz} Hz for fault {number} (mains).",
            f"a recording of {sfreq:g} Hz, which holds nothing above {sfreq / 2:g} Hz",
            "Play a recording of a higher rate, or take the lower mains.",
        )
    turns = Fraction(hz / sfreq).limit_denominator(_LONGEST_PERIOD)
    wave: Floats = np.cos(2 * np.pi * float(turns) * np.arange(turns.denominator))
    return wave
