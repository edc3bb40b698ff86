"""Gaps in words: each is told, until there are so many that nobody would read them."""

from __future__ import annotations

from sleepstream.messages import Gap, Surplus
from sleepstream.signal.gaps import BURST, EVERY_S, Gaps


def test_a_gap_and_what_came_twice_are_told_where_they_began() -> None:
    gaps = Gaps(100.0)
    gap, surplus = gaps.event(Gap(5.0, 12.5), 5.0), gaps.event(Surplus(20.0, 150), 12.5)
    assert gap
    assert surplus
    assert (gap.kind, gap.at_s, gap.text) == ("gap", 5.0, "nothing came for 7.5 s")
    assert (surplus.kind, surplus.at_s) == ("gap", 20.0)
    assert surplus.text == "1.5 s of samples came late or twice and were left out"


def test_a_clock_that_was_set_back_is_no_gap() -> None:
    told = Gaps(100.0).event(Gap(100.0, 40.0), 100.0)
    assert told
    assert told.kind == "clock"


def test_a_sender_of_nonsense_does_not_fill_the_record() -> None:
    """A gap each second for a quarter of an hour."""
    gaps = Gaps(100.0)
    seconds = range(900)
    told = [event for s in seconds if (event := gaps.event(Gap(s, s + 0.6), float(s)))]
    assert gaps.n == len(seconds), "all are counted"
    assert len(told) <= BURST + len(seconds) / EVERY_S
    assert all("more like it" not in event.text for event in told[: int(BURST)])
    assert told[-1].text == "nothing came for 0.6 s (and 9 more like it before)"


def test_after_a_calm_stretch_each_is_told_again() -> None:
    gaps = Gaps(100.0)
    for _ in range(50):
        gaps.event(Gap(0.0, 1.0), 0.0)
    later_s = BURST * EVERY_S
    told = [gaps.event(Gap(later_s, later_s + 1.0), later_s) for _ in range(int(BURST))]
    assert all(told)
