"""The promises of the signal room: causal, the same however cut, in time by time stamps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepstream.messages import EPOCH_N_SAMPLES, Chunk, Epoch, Float32Array
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
)
@settings(max_examples=40, deadline=None)
def test_any_chunking_gives_the_same_epochs(
    sfreq: float,
    cuts: list[float],
    drift: float,
    jitter_s: float,
    lost: tuple[float, float],
) -> None:
    stamps, data = recording(sfreq, 130)
    rng = np.random.default_rng(1)
    stamps = stamps * (1 + drift) + rng.normal(size=stamps.size) * jitter_s
    keep = np.ones(stamps.size, bool)
    keep[int(lost[0] * stamps.size) : int(min(1.0, sum(lost)) * stamps.size)] = False
    stamps, data = stamps[keep], data[:, keep]
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
    assert epochs[0].quality.reasons == ("33 % missing",)


def test_a_clock_that_is_set_back_goes_on_without_a_hole() -> None:
    stamps, data = recording(100.0, 95)
    stamps[4000:] -= 3600.0
    epocher = Epocher(100.0, MONTAGE)
    epochs = list(epocher.push(Chunk(stamps, data)))
    assert [e.valid for e in epochs] == [1.0, 1.0, 1.0]
    (gap,) = epocher.take_gaps()
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
