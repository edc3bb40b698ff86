"""The promises of the signal room: causal, the same however cut, in time by time stamps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepstream.errors import UnitError
from sleepstream.messages import (
    EPOCH_N_SAMPLES,
    ChannelChange,
    Chunk,
    Epoch,
    Float32Array,
    Gap,
    Surplus,
)
from sleepstream.signal.epocher import Epocher
from sleepstream.signal.montage import Montage

MONTAGE = Montage("C4-M1", (0,), 0, (1.0,), "uV")
SFREQS = (64.0, 100.0, 128.0, 200.0, 250.0, 256.0, 333.3, 500.0, 512.0, 1000.0)


def recording(
    sfreq: float, seconds: float, seed: int = 0
) -> tuple[npt.NDArray[np.float64], Float32Array]:
    rng = np.random.default_rng(seed)
    n = int(sfreq * seconds)
    eeg = np.cumsum(rng.normal(size=n)) * 0.5 + rng.normal(size=n) * 10 + 40
    return 1234.5 + np.arange(n) / sfreq, eeg.astype(np.float32)[np.newaxis]


def epochs_of(
    sfreq: float, stamps: npt.NDArray[np.float64], data: Float32Array, cuts: list[int]
) -> list[Epoch]:
    epocher = Epocher(sfreq, MONTAGE)
    borders = [0, *sorted(cuts), stamps.size]
    return [
        epoch
        for a, b in pairwise(borders)
        for epoch in epocher.push(Chunk(stamps[a:b], data[:, a:b]))
    ]


def assert_same(these: list[Epoch], those: list[Epoch]) -> None:
    assert [e.index for e in these] == [e.index for e in those]
    for one, other in zip(these, those, strict=True):
        assert one.data.tobytes() == other.data.tobytes()
        assert (one.onset_s, one.end_s, one.valid, one.quality) == (
            other.onset_s,
            other.end_s,
            other.valid,
            other.quality,
        )


@given(
    sfreq=st.sampled_from(SFREQS),
    cuts=st.lists(st.floats(0, 1), max_size=40),
    drift=st.floats(-2e-3, 2e-3),
    jitter_s=st.floats(0, 0.02),
    lost=st.tuples(st.floats(0, 0.9), st.floats(0, 0.6)),
    twice=st.tuples(st.floats(0, 0.9), st.floats(0, 0.3)),
    offset=st.sampled_from([0.0, 1000.0]),
    missing=st.tuples(st.floats(0, 1), st.integers(0, 500)),
)
@settings(max_examples=40, deadline=None)
def test_any_chunking_gives_the_same_epochs(
    sfreq: float,
    cuts: list[float],
    drift: float,
    jitter_s: float,
    lost: tuple[float, float],
    twice: tuple[float, float],
    offset: float,
    missing: tuple[float, int],
) -> None:
    stamps, data = recording(sfreq, 130)
    rng = np.random.default_rng(1)
    stamps = stamps * (1 + drift) + rng.normal(size=stamps.size) * jitter_s
    keep = np.ones(stamps.size, bool)
    keep[int(lost[0] * stamps.size) : int(min(1.0, sum(lost)) * stamps.size)] = False
    order = np.flatnonzero(keep)
    a, b = int(twice[0] * order.size), int(min(1.0, sum(twice)) * order.size)
    order = np.concatenate((order[:b], order[a:]))  # a stretch that comes twice
    stamps, data = stamps[order], data[:, order] + np.float32(offset)
    start = int(missing[0] * stamps.size)
    data[:, start : start + missing[1]] = np.nan
    data[:, : missing[1] // 2] = np.nan  # the filters have to settle on what comes first
    whole = epochs_of(sfreq, stamps, data, [])
    assert_same(whole, epochs_of(sfreq, stamps, data, [int(c * stamps.size) for c in cuts]))


@pytest.mark.parametrize("n", [1, 7, 100, 4096])
def test_chunks_of_one_size_give_the_same_epochs(n: int) -> None:
    stamps, data = recording(256.0, 65)
    cuts = list(range(n, stamps.size, n))
    assert_same(epochs_of(256.0, stamps, data, []), epochs_of(256.0, stamps, data, cuts))


@given(sfreq=st.sampled_from(SFREQS), where=st.floats(0.3, 0.99), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_future_never_changes_the_past(sfreq: float, where: float, seed: int) -> None:
    stamps, data = recording(sfreq, 130)
    at = int(where * stamps.size)
    changed = data.copy()
    changed[:, at:] = np.random.default_rng(seed).normal(size=stamps.size - at) * 1000
    before = epochs_of(sfreq, stamps, data, [])
    after = epochs_of(sfreq, stamps, changed, [])
    n_closed = int((stamps[at] - stamps[0]) // 30)
    assert_same(before[:n_closed], after[:n_closed])


@given(sfreq=st.sampled_from(SFREQS), drift=st.sampled_from([-2e-3, -5e-4, 5e-4, 2e-3]))
@settings(max_examples=20, deadline=None)
def test_a_sender_that_runs_fast_or_slow_does_not_shift_the_epochs(
    sfreq: float, drift: float
) -> None:
    n = int(sfreq * 200)
    stamps = 50.0 + np.arange(n) / sfreq * (1 + drift)
    data = np.random.default_rng(0).normal(size=(1, n)).astype(np.float32) * 20
    epochs = epochs_of(sfreq, stamps, data, [])
    expected = int((stamps[-1] - stamps[0]) // 30)
    assert abs(len(epochs) - expected) <= 1
    assert [e.onset_s for e in epochs] == pytest.approx([50.0 + 30 * k for k in range(len(epochs))])
    # a sender that is slow leaves holes, and they are counted
    assert all(e.valid > 0.995 for e in epochs)


@given(
    sfreq=st.sampled_from(SFREQS),
    start_s=st.floats(1, 100),
    length_s=st.floats(0.6, 200),
)
@settings(max_examples=30, deadline=None)
def test_a_gap_leaves_every_later_epoch_in_its_place(
    sfreq: float, start_s: float, length_s: float
) -> None:
    n = int(sfreq * 400)
    stamps = np.arange(n) / sfreq
    data = np.random.default_rng(0).normal(size=(1, n)).astype(np.float32) * 20
    keep = (stamps < start_s) | (stamps >= start_s + length_s)
    epochs = epochs_of(sfreq, stamps[keep], data[:, keep], [])
    assert [e.index for e in epochs] == list(range(13))
    assert [e.onset_s for e in epochs] == pytest.approx([30.0 * k for k in range(13)])
    for epoch in epochs:
        lost = max(0.0, min(epoch.end_s, start_s + length_s) - max(epoch.onset_s, start_s))
        assert epoch.valid == pytest.approx(1 - lost / 30, abs=0.002)
        assert epoch.scorable == (epoch.valid >= 0.8)
        assert np.isfinite(epoch.data).all()


def test_nan_is_missing_and_poisons_nothing() -> None:
    stamps, data = recording(256.0, 95)
    data[:, 256 * 10 : 256 * 20] = np.nan
    epochs = epochs_of(256.0, stamps, data, [])
    assert [round(e.valid, 2) for e in epochs] == [0.67, 1.0, 1.0]
    assert not epochs[0].scorable
    assert all(np.isfinite(e.data).all() for e in epochs)
    assert epochs[0].quality.reasons == ("no numbers (NaN) for 10 s",)


def test_a_clock_that_is_set_back_goes_on_without_a_hole() -> None:
    stamps, data = recording(100.0, 95)
    stamps[4000:] -= 3600.0
    epocher = Epocher(100.0, MONTAGE)
    epochs = list(epocher.push(Chunk(stamps, data)))
    assert [e.valid for e in epochs] == [1.0, 1.0, 1.0]
    (gap,) = epocher.take_notes()
    assert isinstance(gap, Gap)
    assert gap.end_s - gap.start_s == pytest.approx(-3600.0)
    assert epochs[2].end_s == pytest.approx(1234.5 + 90 - 3600)


def test_the_window_between_epochs_is_the_last_thirty_seconds() -> None:
    stamps, data = recording(100.0, 47)
    epocher = Epocher(100.0, MONTAGE)
    n = 4500
    assert epocher.window() is None
    list(epocher.push(Chunk(stamps[:n], data[:, :n])))
    window = epocher.window()
    assert window is not None
    assert not window.final
    assert window.index == 1
    assert (window.onset_s, window.end_s) == pytest.approx((1249.5, 1279.5))
    assert window.data.shape == (1, EPOCH_N_SAMPLES)
    assert not window.data.flags.writeable


@pytest.mark.parametrize("seconds", [0.4, 1.0, 20.0])
def test_samples_that_come_twice_are_left_out_and_told(seconds: float) -> None:
    stamps, data = recording(100.0, 125)
    n, length = 4000, int(seconds * 100)
    order = np.concatenate((np.arange(n), np.arange(n - length, stamps.size)))
    epocher = Epocher(100.0, MONTAGE)
    again = list(epocher.push(Chunk(stamps[order], data[:, order])))
    assert_same(epochs_of(100.0, stamps, data, []), again)
    (surplus,) = epocher.take_notes()
    assert isinstance(surplus, Surplus)
    assert surplus.n_samples == length


def test_a_late_second_is_missing_and_moves_nothing() -> None:
    stamps, data = recording(100.0, 125)
    order = np.concatenate((np.arange(4000), np.arange(4100, 4400), np.arange(4000, 4100)))
    order = np.concatenate((order, np.arange(4400, stamps.size)))
    epocher = Epocher(100.0, MONTAGE)
    epochs = list(epocher.push(Chunk(stamps[order], data[:, order])))
    assert [e.onset_s for e in epochs] == pytest.approx([1234.5 + 30 * k for k in range(4)])
    assert [round(e.valid, 3) for e in epochs] == [1.0, 0.967, 1.0, 1.0]
    assert [type(note) for note in epocher.take_notes()] == [Gap, Surplus]


def test_stamps_that_are_no_times_are_survived() -> None:
    stamps, data = recording(100.0, 125)
    stamps[4000:4010] = [np.nan, np.inf, -np.inf, 1e308, -1e308, 1e15, 0.0, 1.0, np.nan, 5e9]
    epocher = Epocher(100.0, MONTAGE)
    epochs = list(epocher.push(Chunk(stamps, data)))
    assert all(np.isfinite(e.data).all() for e in epochs)
    assert all(np.isfinite([e.onset_s, e.end_s]).all() for e in epochs)
    same = np.full(10_000, 7.0)  # one stamp for all
    assert list(Epocher(100.0, MONTAGE).push(Chunk(same, data[:, :10_000]))) == []


def test_absurd_values_are_missing_and_the_next_epoch_is_well() -> None:
    stamps, data = recording(250.0, 130)
    data[0, 9000:9100], data[0, 9050:9060] = 3e38, -3e38
    data[0, 9100], data[0, 9101] = np.inf, -np.inf
    epochs = epochs_of(250.0, stamps, data, [])
    assert [round(e.valid, 3) for e in epochs] == [1.0, 0.986, 1.0, 1.0]
    assert all(np.abs(e.data).max() < 2000 for e in epochs)


def test_an_epoch_that_is_dead_is_unscorable_with_its_reason() -> None:
    stamps, data = recording(100.0, 125)
    data[0, 3000:6000] = 12.0
    data[0, 6000:7000] = 12.0
    epochs = epochs_of(100.0, stamps, data, [])
    assert [e.scorable for e in epochs] == [True, False, True, True]
    assert epochs[1].quality.reasons == ("flat for 30 s: the electrode is off",)


def test_the_unit_is_checked_when_something_moves() -> None:
    stamps, data = recording(100.0, 125)
    volts = data * np.float32(1e-6)
    volts[0, :3100] = 0.0
    with pytest.raises(UnitError, match="--units V"):
        epochs_of(100.0, stamps, volts, [])
    epocher = Epocher(100.0, MONTAGE)
    list(epocher.push(Chunk(stamps, data * np.float32(1e3))))  # electrodes that are not on
    doubt, poor = epocher.take_notes()
    assert isinstance(doubt, str)
    assert isinstance(poor, ChannelChange)
    assert "no scalp EEG: is the unit nV and not uV?" in poor.text
    assert "if the electrodes are on, say --units" in doubt
