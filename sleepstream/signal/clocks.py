"""Clocks that do not go as they should: the sender's, and this computer's.

Enters: when samples were stamped and when they arrived. Leaves: sentences. What an epoch holds
never depends on this room: it goes by the stamps alone, live or not.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sleepstream.messages import Chunk, Gap
from sleepstream.signal.timeline import LONGEST_GAP_S

STEADY_S = 20.0
"""For so long samples must have come at the pace of their stamps before a leap is put down to the
sender's clock. In a replay at another speed they never do."""

TOLERANCE_S = 1.0
"""How much a network may hold up samples that come at a steady pace."""

DAY_S = 86400.0

SLEPT_S = 1.0
"""A sleep shorter than this is none."""


class Arrivals:
    """When samples arrived, against when they were stamped."""

    def __init__(self) -> None:
        self._lead_s = 0.0  # arrival minus stamp, at the start of the steady stretch
        self._since_s: float | None = None  # when that stretch began
        self._newest_s = 0.0
        self._leap_s: float | None = None  # how the last chunk left a steady stretch, if it did

    def take(self, chunk: Chunk, at_s: float) -> None:
        """Take in that a chunk arrived at `at_s` on our clock."""
        if not chunk.stamps_s.size:
            return
        lead_s = at_s - float(chunk.stamps_s[-1])
        change_s = lead_s - self._lead_s
        self._leap_s = None
        if self._since_s is None or not abs(change_s) <= TOLERANCE_S:
            if self._since_s is not None and self._newest_s - self._since_s >= STEADY_S:
                self._leap_s = -change_s
            self._lead_s, self._since_s = lead_s, at_s
        self._newest_s = at_s

    def was_set(self, gap: Gap) -> bool:
        """Return whether samples kept coming while the stamps leapt: the sender's clock was set."""
        length_s = gap.end_s - gap.start_s
        return self._leap_s is not None and abs(self._leap_s - length_s) <= TOLERANCE_S


def break_in_words(gap: Gap, arrivals: Arrivals) -> tuple[bool, str]:
    """Return whether samples are missing where the stamps leapt, and what to say about it."""
    length_s = gap.end_s - gap.start_s
    if length_s < 0:
        return False, (
            f"the sender's clock jumped back by {-length_s:.1f} s; the night goes on where it was"
        )
    if length_s > LONGEST_GAP_S:
        return False, (
            f"the sender's clock jumped ahead by {length_s / 3600:.1f} h; the night goes on where "
            "it was"
        )
    if arrivals.was_set(gap):
        return True, (
            f"the sender's clock jumped ahead by {length_s:.1f} s while samples kept coming; that "
            "time counts as missing"
        )
    return True, f"nothing came for {length_s:.1f} s"


def says_unix_time(stamp_s: float, unix_now_s: float) -> str:
    """Return what to say if a stamp is Unix time, and nothing if it is not."""
    if abs(stamp_s - unix_now_s) > DAY_S:
        return ""
    return (
        "the sender stamps in Unix time, not on LSL's clock. Epochs follow its stamps; if its "
        "computer's time of day is corrected during the night, that shows as a gap or a jump"
    )


def slept_s() -> float:
    """Return for how long this computer has been asleep since it was started, in seconds.

    0 where the system does not tell (it does on Linux).
    """
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    awake_s = time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.clock_gettime(time.CLOCK_BOOTTIME) - awake_s


class SleepWatch:
    """Notices that this computer was asleep.

    Parameters
    ----------
    slept : callable
        For how long it has been in all, in seconds.
    """

    def __init__(self, slept: Callable[[], float] = slept_s) -> None:
        self._slept = slept
        self._before_s = slept()

    def look(self) -> str:
        """Return what to say; nothing if it was awake since the last call."""
        now_s = self._slept()
        length_s, self._before_s = now_s - self._before_s, now_s
        if length_s < SLEPT_S:
            return ""
        return (
            f"this computer slept for {length_s:.0f} s; what was sent meanwhile is missing. Turn "
            "its automatic sleep off (on Linux: `systemd-inhibit sleepstream run`)"
        )
