"""Gaps in words, and no more of them than a person would read.

Enters: stretches for which nothing came, or too much, and when samples arrived. Leaves: an `Event`
for each, unless there are so many that they would fill the record.
"""

from __future__ import annotations

from sleepstream.messages import Chunk, Event, EventKind, Gap, Surplus
from sleepstream.signal.clocks import Arrivals, break_in_words

BURST, EVERY_S = 20.0, 10.0
"""So many gaps are listed in a row, and after that one in so many seconds of signal."""


class Gaps:
    """The gaps of one stream.

    Parameters
    ----------
    sfreq : float
        Nominal rate of the stream in hertz.

    Attributes
    ----------
    n : int
        How many there were, listed or not.
    """

    def __init__(self, sfreq: float) -> None:
        self.n = 0
        self._sfreq = sfreq
        self._arrivals = Arrivals()
        self._n_unlisted = 0
        self._listable = BURST
        self._listed_s = 0.0

    def arrived(self, chunk: Chunk, at_s: float) -> None:
        """Take in that a chunk arrived at `at_s` on our clock."""
        self._arrivals.take(chunk, at_s)

    def event(self, gap: Gap | Surplus, now_s: float) -> Event | None:
        """Return what to tell of a gap, if it is told.

        Parameters
        ----------
        gap : Gap or Surplus
            The next one.
        now_s : float
            Seconds of signal so far.
        """
        self.n += 1
        if not self._may_list(now_s):
            self._n_unlisted += 1
            return None
        kind, text = self._in_words(gap)
        if self._n_unlisted:
            text += f" (and {self._n_unlisted} more like it before)"
            self._n_unlisted = 0
        return Event(kind, gap.start_s, text)

    def _in_words(self, gap: Gap | Surplus) -> tuple[EventKind, str]:
        if isinstance(gap, Gap):
            missing, text = break_in_words(gap, self._arrivals)
            return "gap" if missing else "clock", text
        late_s = gap.n_samples / self._sfreq
        return "gap", f"{late_s:.1f} s of samples came late or twice and were left out"

    def _may_list(self, now_s: float) -> bool:
        """Return whether one more gap is listed.

        A sender whose stamps are nonsense would otherwise fill the record with them.
        """
        self._listable = min(BURST, self._listable + (now_s - self._listed_s) / EVERY_S)
        self._listed_s = now_s
        if self._listable < 1.0:
            return False
        self._listable -= 1.0
        return True
