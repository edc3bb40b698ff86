"""The sender's time stamps: alike, standing still, and at another rate than was declared."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepstream.messages import Chunk, Float64Array
from sleepstream.signal.stamps import Stamps

SFREQ = 100.0


def pushed(
    stamps: Float64Array, size: int = 50, sfreq: float = SFREQ
) -> tuple[Float64Array, list[str]]:
    """Push stamps in chunks; return them as they left, and what was said."""
    room = Stamps(sfreq)
    left = []
    for k in range(0, stamps.size, size):
        piece = stamps[k : k + size]
        left.append(room.spread(Chunk(piece, np.zeros((1, piece.size), np.float32))).stamps_s)
    return np.concatenate(left), room.take_notes()


def minutes(n: float, sfreq: float = SFREQ) -> Float64Array:
    return 500.0 + np.arange(int(n * 60 * sfreq)) / sfreq


def test_stamps_that_differ_leave_as_they_came() -> None:
    chunk = Chunk(minutes(1), np.zeros((1, 6000), np.float32))
    assert Stamps(SFREQ).spread(chunk) is chunk


def test_chunks_with_one_stamp_each_are_spread_from_it() -> None:
    left, notes = pushed(np.repeat(minutes(1)[::25], 25))
    np.testing.assert_allclose(left, minutes(1), atol=1e-9)
    (note,) = notes
    assert note.startswith("the sender gives several samples the same time stamp")


def test_stamps_that_stand_still_are_counted_and_said_once() -> None:
    left, notes = pushed(np.full(6000, 500.0))
    np.testing.assert_allclose(left, minutes(1), atol=1e-9)
    assert [note.partition(",")[0] for note in notes] == [
        "the sender gives several samples the same time stamp; they are spaced at 100 Hz from the "
        "first of them",
        "the sender's time stamps stand still",
    ]


def test_coarse_stamps_are_no_cause_for_a_word() -> None:
    _, notes = pushed(np.floor(minutes(1, 256.0) * 100) / 100, sfreq=256.0)
    assert notes == []


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=30),
    st.integers(1, 60),
    st.sampled_from([1.0, 0.98]),
)
@settings(max_examples=30, deadline=None)
def test_it_does_not_matter_how_stamps_were_cut(cuts: list[int], alike: int, pace: float) -> None:
    stamps = np.repeat(minutes(3)[::alike] * pace, alike)
    whole, said = pushed(stamps, size=stamps.size)
    room, left, start = Stamps(SFREQ), [], 0
    for n in [*cuts, stamps.size]:
        piece = stamps[start : start + n]
        start += n
        left.append(room.spread(Chunk(piece, np.zeros((1, piece.size), np.float32))).stamps_s)
    np.testing.assert_array_equal(np.concatenate(left), whole)
    assert room.take_notes() == said


def test_another_rate_is_said_when_it_begins_and_when_it_is_over() -> None:
    slow = np.arange(30000) / 99.0
    after = 500.0 + slow[-1] + (1 + np.arange(30000)) / SFREQ
    _, notes = pushed(np.concatenate((500.0 + slow, after)))
    assert [note.partition(":")[0] for note in notes] == [
        "99.00 samples a second come by the sender's own time stamps, and it declares 100 (-1.0%)",
        "the sender's rate is as declared again",
    ]


@pytest.mark.parametrize("percent", [0.4, -0.4])
def test_a_little_off_is_no_cause_for_a_word(percent: float) -> None:
    _, notes = pushed(500.0 + np.arange(60000) / (SFREQ * (1 + percent / 100)))
    assert notes == []


def test_neither_gaps_nor_jumps_nor_late_chunks_are_a_rate() -> None:
    rng = np.random.default_rng(2)
    stamps = minutes(10).reshape(-1, 50)  # chunks of half a second, each late by up to 0.2 s
    stamps = stamps + rng.uniform(0, 0.2, (len(stamps), 1))
    stamps = stamps[rng.random(len(stamps)) > 0.1]  # one in ten is lost
    stamps[len(stamps) // 2 :] -= 3600.0
    _, notes = pushed(stamps.ravel())
    assert notes == []


def test_stamps_that_are_no_time_say_nothing() -> None:
    stamps = minutes(3)
    stamps[::7] = np.nan
    stamps[3::11] = np.inf
    stamps[5::13] = -np.inf
    assert pushed(stamps)[1] == []
