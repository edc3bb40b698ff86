"""Several derivations side by side: chosen by what they are, however the samples arrive."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepstream.messages import ChannelChange, Chunk, Epoch, Float32Array
from sleepstream.signal.epocher import Epocher, EpocherState
from sleepstream.signal.fallback import Hysteresis
from sleepstream.signal.montage import Choices, choose_all

LABELS = ["C4", "C3", "O2", "M1", "M2"]
CHOICES = choose_all(LABELS, ["uV"] * 5, ["C4-M1", "C3-M2", "O2-M1"])
HYSTERESIS = Hysteresis(2, 3)
SFREQS = (64.0, 100.0, 128.0, 256.0, 333.3)
SECONDS = 310

Stamps = npt.NDArray[np.float64]

stretches = st.lists(
    st.tuples(
        st.sampled_from(["flat", "nan", "mains", "muscle", "swing", "saturated", "large"]),
        st.integers(0, 4),
        st.floats(0, SECONDS - 10),
        st.floats(1, 200),
    ),
    max_size=6,
)


def night(sfreq: float, faults: list[tuple[str, int, float, float]]) -> tuple[Stamps, Float32Array]:
    """Return noise in which channels fail for a while."""
    rng = np.random.default_rng(3)
    n = int(SECONDS * sfreq)
    stamps = 1234.5 + np.arange(n) / sfreq
    data = rng.normal(size=(5, n)) * 15
    for kind, channel, start_s, length_s in faults:
        part = slice(int(start_s * sfreq), int((start_s + length_s) * sfreq))
        row = data[channel, part]
        t = np.arange(row.size) / sfreq
        data[channel, part] = {
            "flat": row * 0.0,
            "nan": row * np.nan,
            "mains": row + 900 * np.sin(2 * np.pi * 50 * t),
            "muscle": row + rng.normal(size=row.size) * 90,
            "swing": row + 2000 * np.sin(2 * np.pi * 0.7 * t),
            "saturated": np.clip(row * 50, -300, 300),
            "large": row * 1e4,
        }[kind]
    return stamps, data[list(CHOICES.picks)].astype(np.float32)


def epoched(
    epocher: Epocher, stamps: Stamps, data: Float32Array, cuts: list[int]
) -> list[tuple[Epoch, EpocherState]]:
    borders = [0, *sorted(cuts), stamps.size]
    return [
        (epoch, epocher.state(epoch))
        for a, b in pairwise(borders)
        for epoch in epocher.push(Chunk(stamps[a:b], data[:, a:b]))
    ]


def words(epocher: Epocher) -> list[str]:
    return [note.text for note in epocher.take_notes() if isinstance(note, ChannelChange)]


def look(epoch: Epoch) -> tuple[object, ...]:
    return (
        epoch.index,
        epoch.data.tobytes(),
        epoch.valid,
        epoch.quality,
        epoch.scorable,
        epoch.derivation,
        epoch.gain,
    )


@given(sfreq=st.sampled_from(SFREQS), faults=stretches, cuts=st.lists(st.floats(0, 1), max_size=30))
@settings(max_examples=10, deadline=None)
def test_any_chunking_gives_the_same_choice(
    sfreq: float, faults: list[tuple[str, int, float, float]], cuts: list[float]
) -> None:
    stamps, data = night(sfreq, faults)
    whole, cut = (Epocher(sfreq, CHOICES, hysteresis=HYSTERESIS) for _ in range(2))
    one = epoched(whole, stamps, data, [])
    other = epoched(cut, stamps, data, [int(c * stamps.size) for c in cuts])
    assert [look(epoch) for epoch, _ in one] == [look(epoch) for epoch, _ in other]
    assert [state for _, state in one] == [state for _, state in other]
    assert words(whole) == words(cut)


@given(faults=stretches, where=st.floats(0.1, 0.9), seed=st.integers(0, 9))
@settings(max_examples=10, deadline=None)
def test_the_future_never_changes_what_was_chosen(
    faults: list[tuple[str, int, float, float]], where: float, seed: int
) -> None:
    stamps, data = night(100.0, faults)
    at = int(where * stamps.size)
    changed = data.copy()
    changed[:, at:] = np.random.default_rng(seed).normal(size=changed[:, at:].shape) * 1000
    before = epoched(Epocher(100.0, CHOICES, hysteresis=HYSTERESIS), stamps, data, [])
    after = epoched(Epocher(100.0, CHOICES, hysteresis=HYSTERESIS), stamps, changed, [])
    n = at // 3000
    assert [look(epoch) for epoch, _ in before[:n]] == [look(epoch) for epoch, _ in after[:n]]


@given(faults=stretches, epoch=st.integers(0, 5), away_s=st.floats(0.6, 100))
@settings(max_examples=10, deadline=None)
def test_resumed_from_the_record_it_chooses_as_if_it_had_met_a_gap(
    faults: list[tuple[str, int, float, float]], epoch: int, away_s: float
) -> None:
    stamps, data = night(100.0, faults)
    end, back = 3000 * (epoch + 1), 3000 * (epoch + 1) + int(100 * away_s)
    one = Epocher(100.0, CHOICES, hysteresis=HYSTERESIS)
    state = epoched(one, stamps[:end], data[:, :end], [])[-1][1]
    on_record = msgspec.json.encode(state)
    other = Epocher(100.0, CHOICES, hysteresis=HYSTERESIS)
    other.resume(msgspec.json.decode(on_record, type=EpocherState))
    one.take_notes()
    here = epoched(one, stamps[back:], data[:, back:], [])
    there = epoched(other, stamps[back:], data[:, back:], [])
    assert [look(e) for e, _ in here] == [look(e) for e, _ in there]
    assert words(one) == words(other)


@given(faults=stretches)
@settings(max_examples=10, deadline=None)
def test_what_is_staged_is_that_derivation_bit_for_bit(
    faults: list[tuple[str, int, float, float]],
) -> None:
    """Filters run from the first sample on, so a takeover starts nothing anew."""
    stamps, data = night(128.0, faults)
    both = epoched(Epocher(128.0, CHOICES, hysteresis=HYSTERESIS), stamps, data, [])
    rows = {pick: row for row, pick in enumerate(CHOICES.picks)}
    alone = {}
    for montage in CHOICES.montages:
        picked = data[[rows[pick] for pick in montage.picks]]
        found = epoched(Epocher(128.0, Choices((montage,))), stamps, picked, [])
        alone[montage.label] = [epoch for epoch, _ in found]
    for index, (epoch, _) in enumerate(both):
        same = alone[epoch.derivation][index]
        assert epoch.data.tobytes() == same.data.tobytes()
        assert (epoch.quality, epoch.scorable) == (same.quality, same.scorable)
