"""A signal room that was resumed goes on like one that met a gap."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepstream.messages import Chunk, Epoch, Gap
from sleepstream.signal.epocher import Epocher, EpocherState
from sleepstream.signal.montage import Choices, Montage

MONTAGE = Montage("C4-M1", (0,), 0, (1.0,), "uV")
TWO = Choices((MONTAGE, Montage("C3-M2", (1,), 0, (1.0,), "uV")))
SFREQS = (64.0, 100.0, 128.0, 250.0, 256.0, 333.3, 500.0)


class Sender:
    """Six minutes of noise with stamps, from which any stretch can be taken."""

    def __init__(self, sfreq: float, drift: float, jitter_s: float) -> None:
        rng = np.random.default_rng(7)
        n = int(360 * sfreq)
        self.stamps = 1234.5 + np.arange(n) / sfreq * (1 + drift) + rng.normal(size=n) * jitter_s
        self.data = (rng.normal(size=(2, n)) * [[20], [30]] + 40).astype(np.float32)
        self.data[0, n // 10 : n // 2] = 40.0  # the first choice is off for a while

    def chunks(self, first: int, size: int) -> list[Chunk]:
        starts = range(first, self.stamps.size, size)
        return [Chunk(self.stamps[k : k + size], self.data[:, k : k + size]) for k in starts]


def until(epocher: Epocher, sender: Sender, epoch: int) -> tuple[int, EpocherState]:
    """Push sample after sample until `epoch` closes; return how many, and the state then."""
    sfreq = epocher.timeline.sfreq
    near = int((30 * (epoch + 1) - 1) * sfreq)
    rest(epocher, [Chunk(sender.stamps[:near], sender.data[:, :near])])
    for k in itertools.count(near):
        for closed in rest(epocher, [Chunk(sender.stamps[k : k + 1], sender.data[:, k : k + 1])]):
            if closed.index == epoch:
                return k + 1, epocher.state(closed)
    raise AssertionError("the sender has no end")


def rest(epocher: Epocher, chunks: list[Chunk]) -> list[Epoch]:
    return [epoch for chunk in chunks for epoch in epocher.push(chunk)]


@given(
    sfreq=st.sampled_from(SFREQS),
    epoch=st.integers(0, 6),
    away_s=st.floats(0.6, 200),
    size=st.integers(100, 5000),
    drift=st.floats(-2e-3, 2e-3),
    jitter_s=st.sampled_from([0.0, 0.002, 0.01]),
    montage=st.sampled_from([MONTAGE, TWO]),
)
@settings(max_examples=15, deadline=None)
def test_resumed_is_the_same_as_a_gap(
    sfreq: float,
    epoch: int,
    away_s: float,
    size: int,
    drift: float,
    jitter_s: float,
    montage: Montage | Choices,
) -> None:
    sender = Sender(sfreq, drift, jitter_s)
    one = Epocher(sfreq, montage)
    n, state = until(one, sender, epoch)
    other = Epocher(sfreq, montage)
    other.resume(state)
    back = sender.chunks(n + int(away_s * sfreq), size)
    uninterrupted, resumed = rest(one, back), rest(other, back)
    assert [e.index for e in resumed] == list(range(epoch + 1, epoch + 1 + len(resumed)))
    assert len(resumed) == len(uninterrupted)
    for here, there in zip(resumed, uninterrupted, strict=True):
        assert here.data.tobytes() == there.data.tobytes()
        for name in ("valid", "quality", "scorable", "derivation"):
            assert getattr(here, name) == getattr(there, name)
        assert here.onset_s == pytest.approx(there.onset_s, abs=1e-9)


def test_an_outage_is_a_gap_that_says_how_long_it_was() -> None:
    sender, one, other = Sender(100.0, 0.0, 0.0), Epocher(100.0, MONTAGE), Epocher(100.0, MONTAGE)
    n, state = until(one, sender, 2)
    other.resume(state)
    assert (n, other.n_samples, other.now_s) == (9000, 9000, pytest.approx(1234.5 + 90))
    epochs = rest(other, sender.chunks(n + 4500, 100)[:20])
    assert [(e.index, e.valid, e.scorable) for e in epochs] == [(3, 0.0, False), (4, 0.5, False)]
    (gap,) = other.take_notes()
    assert isinstance(gap, Gap)
    assert (gap.start_s, gap.end_s) == pytest.approx((1324.5, 1369.5))


@pytest.mark.parametrize("step_s", [-1000.0, 1e6])
def test_a_clock_that_was_set_meanwhile_leaves_no_hole(step_s: float) -> None:
    sender, one, other = Sender(100.0, 0.0, 0.0), Epocher(100.0, MONTAGE), Epocher(100.0, MONTAGE)
    n, state = until(one, sender, 2)
    other.resume(state)
    (epoch,) = rest(
        other, [Chunk(c.stamps_s + step_s, c.data) for c in sender.chunks(n + 4500, 100)[:30]]
    )
    assert (epoch.index, epoch.valid) == (3, 1.0)
    assert epoch.onset_s == pytest.approx(1234.5 + 135 + step_s)
