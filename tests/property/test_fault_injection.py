"""The promises of the faults: the same however cut, and the log accounts for every sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from sleepstream_replay.fault_log import Injected
from sleepstream_replay.faults import (
    Disconnect,
    Drift,
    Drop,
    Duplicate,
    Fault,
    Faults,
    Flat,
    Gain,
    Jump,
    Late,
    Mains,
    Nan,
    Rate,
    Saturation,
    SecondStream,
    Silence,
)
from sleepstream_replay.player import MAX_SPEED, Player, Settings
from sleepstream_replay.recording import Channel, Recording
from sleepstream_replay.wire import MemoryNetwork, MemoryOutlet, SimulatedClock

SFREQ = 128.0
SLOT_S = 4.0
N_SLOTS = 3
N_SAMPLES = int(N_SLOTS * SLOT_S * SFREQ)
T0_S = 5000.25
LABELS = ("Fpz-Cz", "C4-M1")
DATA = np.random.default_rng(3).normal(0.0, 3e-5, (2, N_SAMPLES))
RECORDING = Recording.from_array(
    "night.edf", tuple(Channel(label, "EEG", "V") for label in LABELS), SFREQ, DATA
)
SENT = (DATA.T * 1e6).astype(np.float32)

CHUNKED = {"chunk_s": st.sampled_from([0.01, 0.3, 1.0]), "probability": st.floats(0.2, 1.0)}
TRANSPORT = (
    (Drop, CHUNKED),
    (Duplicate, CHUNKED),
    (Silence, {}),
    (Disconnect, {"source_id": st.sampled_from(["", "other"])}),
    (Late, {"delay_s": st.floats(0.0, 1.0)}),
)
SIGNAL = (
    (Nan, {}),
    (Flat, {"level_uv": st.floats(-100.0, 100.0)}),
    (Saturation, {}),
    (Mains, {"hz": st.sampled_from([50, 60])}),
    (Gain, {"factor": st.floats(-3.0, 3.0)}),
)
TIME = (
    (Rate, {"percent": st.floats(-5.0, 5.0)}),
    (Drift, {"ppm": st.floats(-1e4, 1e4)}),
    (Jump, {"by_s": st.floats(-1e4, 1e4)}),
)
BESIDE = ((SecondStream, {}),)


@st.composite
def one_of(draw: st.DrawFn, kinds: tuple, slot: int) -> Fault:
    """Draw a fault that begins and ends within its slot."""
    kind, own = draw(st.sampled_from(kinds))
    start_s = slot * SLOT_S + draw(st.floats(0.01, 1.4))
    keys = {name: draw(values) for name, values in own.items()}
    if kind is not Jump:
        keys["length_s"] = draw(st.floats(0.001, 1.5))
    if kinds is SIGNAL:
        keys["channels"] = draw(st.sampled_from([(), LABELS[:1], LABELS[1:]]))
    return kind(start_s=start_s, **keys)


@st.composite
def all_faults(draw: st.DrawFn) -> Faults:
    """Draw up to one fault of each sort for each slot, in any order."""
    chosen = [
        draw(one_of(kinds, slot))
        for slot in range(N_SLOTS)
        for kinds in (TRANSPORT, SIGNAL, TIME, BESIDE)
        if draw(st.booleans())
    ]
    return Faults(tuple(draw(st.permutations(chosen))), draw(st.integers(0, 9)))


CHUNK = st.one_of(st.integers(1, 40), st.integers(1, 2 * N_SAMPLES))


@dataclass
class Wire:
    """What was on the wire: that of the stream, in order, and that of others of its name."""

    rows: npt.NDArray[np.float32]
    stamps_s: npt.NDArray[np.float64]
    beside: bytes
    source_ids: list[str]
    injected: tuple[Injected, ...]


def replayed(faults: Faults, chunk: int | None, speed: float) -> Wire:
    network, first = MemoryNetwork(), MemoryOutlet()
    chosen = Settings(source_id="mine", chunk=chunk, speed=speed, faults=faults)
    player = Player(RECORDING, chosen, first, SimulatedClock(T0_S), open_outlet=network.open)
    injected = player.play().injected
    ours = [first, *(o for said, o in network.opened if not said.source_id.endswith("-second"))]
    others = [o for said, o in network.opened if said.source_id.endswith("-second")]
    chunks = [chunk for outlet in ours for chunk in outlet.chunks]
    return Wire(
        np.concatenate([np.zeros((0, 2), np.float32), *(rows for rows, _ in chunks)]),
        np.concatenate([np.zeros(0), *(stamps_s for _, stamps_s in chunks)]),
        b"".join(rows.tobytes() for outlet in others for rows, _ in outlet.chunks),
        [said.source_id for said, _ in network.opened],
        injected,
    )


@given(faults=all_faults(), chunk=CHUNK, other=CHUNK, speed=st.sampled_from([1.0, 50.0, MAX_SPEED]))
@settings(max_examples=60, deadline=None)
def test_any_chunk_and_speed_give_the_same_wire_and_log(
    faults: Faults, chunk: int, other: int, speed: float
) -> None:
    one, another = replayed(faults, chunk, 1.0), replayed(faults, other, speed)
    assert one.rows.tobytes() == another.rows.tobytes()
    assert one.stamps_s.tobytes() == another.stamps_s.tobytes()
    assert one.beside == another.beside
    assert one.source_ids == another.source_ids
    assert one.injected == another.injected


def order_by(injected: tuple[Injected, ...]) -> list[int]:
    """Tell from the log alone which sample came when."""
    missing: set[int] = set()
    after: dict[int, list[int]] = {}
    before: dict[int, list[int]] = {}
    for record in injected:
        samples = list(range(record.first, record.last + 1))
        if record.effect in {"left out", "late"}:
            missing.update(samples)
        if record.effect == "late":
            before[record.sent_before] = samples
        if record.effect == "repeated":
            after[record.last] = samples
    order = []
    for sample in range(N_SAMPLES):
        order += before.get(sample, [])
        order += [] if sample in missing else [sample]
        order += after.get(sample, [])
    return order


@given(faults=all_faults(), chunk=CHUNK)
@settings(max_examples=60, deadline=None)
def test_the_log_accounts_for_every_sample(faults: Faults, chunk: int) -> None:
    wire = replayed(faults, chunk, 1.0)
    order = np.array(order_by(wire.injected), int)
    assert len(order) == len(wire.stamps_s)

    untouched = np.ones((N_SAMPLES, 2), bool)
    stamps_s = T0_S + np.arange(N_SAMPLES) / SFREQ
    for record in wire.injected:
        span = slice(record.first, record.last + 1)
        if record.effect == "changed":
            untouched[span, [LABELS.index(label) for label in record.channels]] = False
        if record.effect == "restamped":
            n = record.last - record.first + 1
            stamps_s[span] += record.shift_s * np.arange(1, n + 1) / n
            stamps_s[record.last + 1 :] += record.shift_s
    as_recorded = np.where(untouched[order], SENT[order], wire.rows)
    np.testing.assert_array_equal(wire.rows, as_recorded)
    np.testing.assert_allclose(wire.stamps_s, stamps_s[order], rtol=0, atol=1e-8)
    for record in wire.injected:
        said = (record.first_stamp_s, record.last_stamp_s)
        np.testing.assert_allclose(said, stamps_s[[record.first, record.last]], rtol=0, atol=1e-8)


@given(faults=all_faults())
@settings(max_examples=60, deadline=None)
def test_every_fault_is_in_the_log_with_its_time(faults: Faults) -> None:
    injected = replayed(faults, None, MAX_SPEED).injected
    for number, fault in enumerate(faults.faults, 1):
        records = [record for record in injected if record.fault == number]
        # chance may have spared every piece of these
        assert records or isinstance(fault, Drop | Duplicate)
        for record in records:
            assert record.kind == fault.kind
            assert record.first >= round(fault.start_s * SFREQ)
            ends = round((fault.start_s + fault.reach_s) * SFREQ)
            assert record.last <= max(ends - 1, record.first)


@given(chunk=st.one_of(st.none(), CHUNK), speed=st.sampled_from([1.0, 7.0, MAX_SPEED]))
@settings(max_examples=30, deadline=None)
def test_without_faults_the_wire_is_the_recording_bit_for_bit(
    chunk: int | None, speed: float
) -> None:
    wire = replayed(Faults(seed=5), chunk, speed)
    assert wire.rows.tobytes() == SENT.tobytes()
    assert wire.stamps_s.tobytes() == (T0_S + np.arange(N_SAMPLES) / SFREQ).tobytes()
    assert wire.injected == ()
