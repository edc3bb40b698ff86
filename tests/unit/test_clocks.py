"""Clocks that leap: the sender's is told from silence, and this computer's sleep is noticed."""

from __future__ import annotations

import numpy as np
import pytest

from sleepstream.messages import Chunk, Gap
from sleepstream.signal.clocks import (
    Arrivals,
    SleepWatch,
    break_in_words,
    says_unix_time,
    slept_s,
)


def arrivals(pace: float, n_s: int = 60) -> Arrivals:
    """Return what is known after `n_s` seconds of samples at a pace."""
    known = Arrivals()
    for k in range(n_s):
        known.take(chunk(float(k)), 100.0 + k / pace)
    return known


def chunk(stamp_s: float) -> Chunk:
    return Chunk(np.array([stamp_s]), np.zeros((1, 1), np.float32))


LEAP = Gap(60.0, 3660.0)


@pytest.mark.parametrize(
    ("pace", "at_s", "was_set"),
    [
        (1.0, 160.0, True),  # the next chunk came a second later
        (1.0, 160.9, True),
        (1.0, 3760.0, False),  # an hour later
        (1.0, 1000.0, False),  # neither: nobody knows
        (60.0, 101.0, False),  # a replay: its arrivals say nothing
    ],
)
def test_a_leap_is_a_clock_that_was_set_if_samples_kept_coming(
    pace: float, at_s: float, was_set: bool
) -> None:
    known = arrivals(pace)
    known.take(chunk(3660.0), at_s)
    assert known.was_set(LEAP) is was_set
    missing, text = break_in_words(LEAP, known)
    assert missing
    assert ("jumped ahead by 3600.0 s while samples kept coming" in text) is was_set


def test_a_stream_that_has_just_begun_is_not_judged() -> None:
    known = arrivals(1.0, n_s=10)
    known.take(chunk(3660.0), 111.0)
    assert not known.was_set(LEAP)


@pytest.mark.parametrize(
    ("gap", "missing", "words"),
    [
        (Gap(100.0, 105.0), True, "nothing came for 5.0 s"),
        (Gap(100.0, 40.0), False, "jumped back by 60.0 s"),
        (Gap(0.0, 90000.0), False, "jumped ahead by 25.0 h"),
    ],
)
def test_breaks_in_words(gap: Gap, missing: bool, words: str) -> None:
    found, text = break_in_words(gap, Arrivals())
    assert found is missing
    assert words in text


def test_unix_time_is_recognised() -> None:
    assert "Unix time" in says_unix_time(1.7e9 - 3600, unix_now_s=1.7e9)
    assert says_unix_time(12345.6, unix_now_s=1.7e9) == ""


def test_a_sleep_is_said_once() -> None:
    readings = iter([5.0, 5.0, 5.2, 317.6, 317.6])
    watch = SleepWatch(lambda: next(readings))
    said = [watch.look() for _ in range(4)]
    assert said[:2] == said[3:] * 2 == ["", ""]
    assert said[2].startswith("this computer slept for 312 s")


def test_this_computer_says_how_long_it_slept() -> None:
    assert slept_s() >= 0
    assert SleepWatch().look() == ""
