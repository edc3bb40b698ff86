"""Samples get their place in time from their time stamps.

Enters: chunks with stamps on the sender's clock. Leaves: runs of samples on a regular grid at the
nominal rate, and the gaps between them. Downstream nobody looks at a time stamp again: a sample's
number on the grid *is* its time.

Stamps jitter by some milliseconds, senders run a little faster or slower than they say, samples get
lost, come late or twice, and clocks jump. The stamps are therefore smoothed by a slow first-order
loop, and the grid follows the smoothed time: where the sender falls behind by a sample, one missing
sample is put in; where it runs ahead, one is left out. A deviation of more than `GAP_S` is not
jitter but a gap. A step back of up to `LATE_S` is samples whose time is past: they are left out
until the stamps have caught up. A larger one, or one that lasts, is a clock that was set.

Everything here is a recursion over single samples, so it does not matter how they were cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from sleepstream.messages import Chunk, Float32Array, Float64Array, Gap, Surplus

GAP_S = 0.5
"""A stamp further than this from where it was due is a gap or a jump, not jitter."""

BACK_S = 0.25
"""A stamp this much before it was due belongs to samples that came late or twice."""

LATE_S = 30.0
"""A step back of more than this is a clock that was set."""

LAST_STAMP_S = 1e12
"""No clock shows more seconds than this; such a stamp is no time."""

LONGEST_GAP_S = 12 * 3600.0
"""A step forward of more than this is a clock that was set, not a person who went away."""

SMOOTHING_S = 10.0
"""Time constant of the loop that smooths the stamps."""

SLIP = 0.75
"""How many samples smoothed time and grid may differ; above one half, so that jitter around the
border between two places does not make it flutter."""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Consecutive samples on the regular grid.

    Attributes
    ----------
    start : int
        Number of the first sample on the grid; the first sample of the night is 0.
    data : ndarray of float32, shape (n_channels, n_samples)
        The samples in microvolts; NaN where one is missing.
    fresh : bool
        True for the first run and after a gap: filters start anew.
    """

    start: int
    data: Float32Array
    fresh: bool


@dataclass(frozen=True, slots=True)
class Anchor:
    """One place of the grid whose time is known; all others follow at the nominal rate.

    Attributes
    ----------
    place : int
        Number on the grid.
    time_s : float
        Its time on the sender's clock, in seconds.
    """

    place: int
    time_s: float


class Timeline:
    """Places samples on a regular grid by their time stamps.

    Parameters
    ----------
    sfreq : float
        Nominal rate of the sender in hertz.
    """

    def __init__(self, sfreq: float) -> None:
        self.sfreq = sfreq
        self._most_late = int(LATE_S * sfreq)
        self._gain = min(1.0, 1.0 / (SMOOTHING_S * sfreq))
        self.reset()

    def reset(self) -> None:
        """Forget everything; the next sample is the first of a night."""
        self._anchored = False
        self._anchor_s = 0.0  # stamp of the sample with count 0 since the last break
        self._count = 0  # samples since the last break
        self._error_s = 0.0  # smoothed deviation of the stamps from anchor + count / sfreq
        self._grid_start = 0  # place on the grid of the sample with count 0
        self._slip = 0  # samples put in (or left out, if negative) since the last break
        self._late_start_s: float | None = None  # while samples come whose time is past
        self._n_late = 0
        self._resumed = False  # until the first sample after an outage has its place
        self.n_missing = 0
        self.n_dropped = 0

    @property
    def anchor(self) -> Anchor:
        """What ties the grid to the sender's clock; it changes only where time breaks."""
        return Anchor(self._grid_start, self._anchor_s)

    def resume(self, anchor: Anchor, place: int) -> None:
        """Go on with a grid after an outage, as if nothing had come since `place`.

        Parameters
        ----------
        anchor : Anchor
            Of the grid, as it was at `place`.
        place : int
            Number on the grid of the first sample that is missing.
        """
        self.reset()
        self._anchored, self._resumed = True, True
        self._anchor_s, self._grid_start = anchor.time_s, anchor.place
        self._count = place - anchor.place

    def time_of(self, index: int) -> float:
        """Return the sender's time of place `index` on the grid, in seconds.

        Valid for places since the last jump of the sender's clock.
        """
        return self._anchor_s + (index - self._grid_start) / self.sfreq

    @property
    def effective_sfreq(self) -> float | None:
        """Rate by the time stamps since the last gap, in hertz; None in its first half minute."""
        if self._count < 30 * self.sfreq:
            return None
        return self._count / (self._count / self.sfreq + self._error_s)

    def place(self, chunk: Chunk) -> Iterator[Run | Gap | Surplus]:
        """Place the samples of one chunk.

        Parameters
        ----------
        chunk : Chunk
            Samples with stamps, of any length including none.

        Yields
        ------
        Run, Gap or Surplus
            In the order of time. Samples whose stamp is no time at all are left out.
        """
        stamps, data = chunk.stamps_s, chunk.data
        timely = np.abs(stamps) < LAST_STAMP_S  # false for NaN too
        if not timely.all():
            self.n_dropped += int(stamps.size - timely.sum())
            stamps, data = stamps[timely], data[:, timely]
        fresh = False
        while stamps.size:
            if self._late_start_s is not None:
                n_late = self._count_late(stamps)
                stamps, data = stamps[n_late:], data[:, n_late:]
                if stamps.size:
                    lasting = self._n_late >= self._most_late
                    yield self._caught_up()
                    if lasting:
                        yield self._break(float(stamps[0]))
                        fresh = True
                continue
            if not self._anchored:
                self._anchored, self._anchor_s, fresh = True, float(stamps[0]), True
            elif self._resumed:
                self._resumed, fresh = False, True
                yield self._break(float(stamps[0]))
            deviations, smoothed = self._smooth(stamps)
            # each stamp is held against what the ones before it led us to expect
            errors = np.concatenate(([self._error_s], smoothed[:-1]))
            ahead = deviations - errors
            breaks = np.flatnonzero((ahead > GAP_S) | (ahead < -BACK_S))
            n = int(breaks[0]) if breaks.size else stamps.size
            if n:
                yield self._regular(data[:, :n], errors[:n], fresh)
                fresh = False
                self._count += n
                self._error_s = float(smoothed[n - 1])
            stamps, data = stamps[n:], data[:, n:]
            if stamps.size and -LATE_S <= stamps[0] - self._due_s() < 0:
                self._late_start_s = float(stamps[0])
            elif stamps.size:
                yield self._break(float(stamps[0]))
                fresh = True

    def _smooth(self, stamps: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return how far the stamps are from nominal counting, as they are and smoothed."""
        nominal = self._anchor_s + (self._count + np.arange(stamps.size)) / self.sfreq
        deviations = stamps - nominal
        g = self._gain
        smoothed, _ = lfilter([g], [1.0, g - 1.0], deviations, zi=[(1.0 - g) * self._error_s])
        return deviations, smoothed

    def _regular(self, data: Float32Array, errors: Float64Array, fresh: bool) -> Run:
        """Put samples in or leave them out where smoothed time and grid have drifted apart."""
        start = self._grid_start + self._count + self._slip
        lead = errors * self.sfreq
        pieces: list[Float32Array] = []
        done = 0
        while (late := np.flatnonzero(np.abs(lead[done:] - self._slip) > SLIP)).size:
            at = done + int(late[0])
            pieces.append(data[:, done:at])
            if lead[at] > self._slip:
                pieces.append(np.full((data.shape[0], 1), np.nan, np.float32))
                self._slip += 1
                self.n_missing += 1
                done = at
            else:
                self._slip -= 1
                self.n_dropped += 1
                done = at + 1
        pieces.append(data[:, done:])
        return Run(start, pieces[0] if len(pieces) == 1 else np.concatenate(pieces, 1), fresh)

    def _due_s(self) -> float:
        """Return the time at which the grid expects the next sample."""
        return self._anchor_s + (self._count + self._slip) / self.sfreq

    def _count_late(self, stamps: Float64Array) -> int:
        """Return how many of these samples come before the time has caught up, and count them."""
        behind = self._due_s() - stamps
        in_time = np.flatnonzero((behind < 0.5 / self.sfreq) | (behind > LATE_S))
        n_late = int(in_time[0]) if in_time.size else stamps.size
        n_late = min(n_late, self._most_late - self._n_late)
        self._n_late += n_late
        self.n_dropped += n_late
        return n_late

    def _caught_up(self) -> Surplus:
        """Go back to placing samples; return what was left out."""
        surplus = Surplus(self._late_start_s or 0.0, self._n_late)
        self._late_start_s, self._n_late = None, 0
        return surplus

    def _break(self, stamp: float) -> Gap:
        """Start counting anew at a stamp that is too far from where it was due."""
        due, due_s = self._count + self._slip, self._due_s()
        forward = 0 < stamp - due_s <= LONGEST_GAP_S
        missing = round((stamp - due_s) * self.sfreq) if forward else 0
        # A clock that was set tells nothing of how long nothing came, so the grid goes on as if
        # nothing was lost; only a plausible step forward is time that passed.
        self._grid_start += due + missing
        self.n_missing += missing
        # after a real gap the grid keeps its phase: time_of stays true to the night's start
        self._anchor_s = due_s + missing / self.sfreq if forward else stamp
        self._count, self._slip = 0, 0
        self._error_s = stamp - self._anchor_s
        return Gap(due_s, stamp)


def fill_missing(samples: Float32Array, last: float) -> tuple[Float32Array, npt.NDArray[np.bool_]]:
    """Hold the last real value where a sample is missing, so that filters see numbers only.

    Parameters
    ----------
    samples : ndarray of float32, shape (n_samples,)
        One derivation in microvolts, NaN or infinite where missing.
    last : float
        Value held before the first sample.

    Returns
    -------
    filled : ndarray of float32, shape (n_samples,)
    real : ndarray of bool, shape (n_samples,)
        Which of the samples are real.
    """
    real = np.isfinite(samples)
    if real.all():
        return samples, real
    source = np.maximum.accumulate(np.where(real, np.arange(samples.size), -1))
    filled = np.where(source >= 0, samples[source], np.float32(last))
    return filled.astype(np.float32), real
