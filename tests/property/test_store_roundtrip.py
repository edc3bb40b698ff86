import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sleepstream.messages import (
    Artefacts,
    DisorderScore,
    Event,
    Quality,
    Stage,
    StageEstimate,
    frozen,
)
from sleepstream.store.nights import IN_MEMORY, Night, NightStore


def float32s(*shape: int) -> st.SearchStrategy[npt.NDArray[np.float32]]:
    """Any bits at all: NaN, infinities and negative zero too."""
    return arrays(np.uint32, shape).map(lambda bits: frozen(bits.view(np.float32)))


numbers = st.floats(allow_nan=False)
texts = st.text(st.characters(exclude_categories=("Cs",)))
probabilities = st.floats(0, 1)

disorders = st.builds(
    DisorderScore,
    texts,
    st.none() | probabilities,
    st.none() | st.tuples(probabilities, probabilities),
    texts,
)

seconds = st.floats(0, 30)
qualities = st.builds(
    Quality,
    probabilities,
    st.lists(texts, max_size=3).map(tuple),
    st.builds(Artefacts, *(seconds,) * 7, st.none() | seconds),
)

estimates = st.builds(
    StageEstimate,
    bed=st.just("1"),
    epoch=st.integers(0, 2**40),
    onset_s=numbers,
    end_s=numbers,
    stage=st.none() | st.sampled_from(Stage),
    probs=float32s(5),
    encoder_probs=st.none() | float32s(5),
    confidence=probabilities,
    quality=qualities,
    valid=probabilities,
    forecast=float32s(20, 5),
    p_wake_5min=probabilities,
    p_rem_5min=probabilities,
    disorder=disorders,
    final=st.just(True),
    model=texts,
    latency_ms=numbers,
    derivation=texts,
    gain=st.floats(1e-3, 1e3),
)

events = st.builds(
    Event,
    st.sampled_from(["connected", "stream", "gap", "clock", "warning", "channel", "ended"]),
    numbers,
    texts,
)


def begin(store: NightStore) -> Night:
    return store.begin(
        "1",
        source="EEG",
        sfreq=100.0,
        channel="Fpz-Cz",
        started_s=0.0,
        started_utc="2026-11-22T22:00:00Z",
        models={},
        settings_json="{}",
    )


def assert_same(one: StageEstimate, other: StageEstimate) -> None:
    for name in StageEstimate.__slots__:
        a, b = getattr(one, name), getattr(other, name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype
            assert a.shape == b.shape
            assert a.tobytes() == b.tobytes(), name
        else:
            assert a == b, name
            assert type(a) is type(b), name


@given(st.lists(estimates, max_size=4, unique_by=lambda e: e.epoch))
@settings(max_examples=60, deadline=None)
def test_what_is_read_is_what_was_announced(announced: list[StageEstimate]) -> None:
    with NightStore(IN_MEMORY) as store:
        night = begin(store)
        for estimate in announced:
            night.append(estimate)
        read = list(store.estimates(night.id))
    for one, other in zip(sorted(announced, key=lambda e: e.epoch), read, strict=True):
        assert_same(one, other)
        assert not other.probs.flags.writeable


@given(st.lists(events, max_size=5))
@settings(max_examples=40, deadline=None)
def test_events_are_read_as_they_were_recorded(recorded: list[Event]) -> None:
    with NightStore(IN_MEMORY) as store:
        night = begin(store)
        for event in recorded:
            night.event(event)
        assert list(store.events("last")) == recorded


@given(estimates)
@settings(max_examples=10, deadline=None)
def test_the_file_gives_the_same_after_it_was_closed(estimate: StageEstimate) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nights.sqlite"
        with NightStore(path) as store:
            begin(store).append(estimate)
        with NightStore(path) as store:
            (read,) = store.estimates("last")
    assert_same(estimate, read)
