"""Faults on the real wire: what an inlet receives is what the log says was injected."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread
from time import monotonic

import numpy as np
import pylsl
import pytest
from sleepstream_replay.fault_log import Injected, read_fault_log
from sleepstream_replay.faults import Disconnect, Fault, Faults, Nan, SecondStream
from sleepstream_replay.player import MAX_SPEED, Played, Player, Settings, describe
from sleepstream_replay.recording import Channel, Recording
from sleepstream_replay.synthetic import synthetic_night
from sleepstream_replay.wire import LslClock, LslOutlet, lsl_outlet

pytestmark = pytest.mark.loopback

SFREQ = 128.0
N_SAMPLES = 12_800
DEADLINE_S = 60.0
DATA = np.random.default_rng(1).normal(0.0, 3e-5, (1, N_SAMPLES))
RECORDING = Recording.from_array("night.edf", (Channel("Fpz-Cz", "EEG", "V"),), SFREQ, DATA)
SENT = (DATA[0] * 1e6).astype(np.float32)

Floats = np.ndarray


def find(name: str) -> pylsl.StreamInfo:
    found = pylsl.resolve_byprop("name", name, timeout=DEADLINE_S)
    assert len(found) == 1
    return found[0]


def receive(inlet: pylsl.StreamInlet, enough: Callable[[int], bool]) -> tuple[Floats, Floats]:
    """Pull until enough came, or the deadline did."""
    rows: list[list[float]] = []
    stamps: list[float] = []
    until = monotonic() + DEADLINE_S
    while not enough(len(stamps)) and monotonic() < until:
        chunk, at = inlet.pull_chunk(timeout=0.1, max_samples=8192)
        rows.extend(chunk)
        stamps.extend(at)
    return np.array(rows, np.float32), np.array(stamps)


@contextmanager
def playing(
    fault: Fault, speed: float = MAX_SPEED, wait: bool = True
) -> Iterator[tuple[str, list[Played]]]:
    """Play in a thread until the block ends; yields the name, and how it went once it did."""
    name = f"faults-{uuid.uuid4().hex}"
    stop = Event()
    chosen = Settings(
        stream_name=name, source_id=name, speed=speed, wait=wait, faults=Faults((fault,))
    )
    opener = partial(LslOutlet, buffer_s=200.0, blocking=speed == MAX_SPEED)
    with lsl_outlet(describe(RECORDING, chosen), 200.0, speed == MAX_SPEED) as outlet:
        player = Player(RECORDING, chosen, outlet, LslClock(stop), open_outlet=opener)
        played: list[Played] = []
        thread = Thread(target=lambda: played.append(player.play()))
        thread.start()
        try:
            yield name, played
        finally:
            stop.set()
            thread.join(DEADLINE_S)
            assert not thread.is_alive()


@pytest.mark.parametrize("speed", [MAX_SPEED, 100.0])
def test_an_inlet_follows_a_stream_that_leaves_and_returns(speed: float) -> None:
    fault = Disconnect(start_s=30.0, length_s=20.0)
    left = np.delete(np.arange(N_SAMPLES), np.s_[3840:6400])
    with playing(fault, speed) as (name, played):
        inlet = pylsl.StreamInlet(find(name), max_buflen=3600, recover=True)
        rows, stamps = receive(inlet, lambda n: n >= len(left))
        inlet.close_stream()
    np.testing.assert_array_equal(rows[:, 0], SENT[left])
    np.testing.assert_array_equal(stamps, stamps[0] + left / SFREQ)
    (record,) = played[0].injected
    assert (record.effect, record.first, record.last) == ("left out", 3840, 6399)


def test_one_that_returns_under_another_source_id_is_found_by_its_name() -> None:
    other = uuid.uuid4().hex
    fault = Disconnect(start_s=30.0, length_s=20.0, source_id=other)
    with playing(fault) as (name, _):
        inlet = pylsl.StreamInlet(find(name), max_buflen=3600, recover=False)
        rows, _ = receive(inlet, lambda n: n >= 3840)
        found = pylsl.resolve_byprop("source_id", other, timeout=DEADLINE_S)
        assert [info.name() for info in found] == [name]
        again = pylsl.StreamInlet(found[0], max_buflen=3600)
        more, _ = receive(again, lambda n: n >= 6400)
        inlet.close_stream()
        again.close_stream()
    np.testing.assert_array_equal(rows[:, 0], SENT[:3840])
    np.testing.assert_array_equal(more[:, 0], SENT[6400:])


def test_nan_arrives() -> None:
    with playing(Nan(start_s=10.0, length_s=5.0)) as (name, _):
        inlet = pylsl.StreamInlet(find(name), max_buflen=3600)
        rows, _ = receive(inlet, lambda n: n >= N_SAMPLES)
        inlet.close_stream()
    assert np.flatnonzero(np.isnan(rows[:, 0])).tolist() == list(range(1280, 1920))


def test_two_of_one_name_are_on_the_network() -> None:
    with playing(SecondStream(start_s=0.0, length_s=60.0), speed=1.0) as (name, _):
        found = pylsl.resolve_byprop("name", name, minimum=2, timeout=DEADLINE_S)
        assert {info.source_id() for info in found} == {name, f"{name}-second"}
        by_id = {info.source_id(): pylsl.StreamInlet(info) for info in found}
        by_id[f"{name}-second"].open_stream(DEADLINE_S)  # the first sample waits for the other
        ours, _ = receive(by_id[name], lambda n: n >= 64)
        theirs, _ = receive(by_id[f"{name}-second"], lambda n: n >= 64)
        for inlet in by_id.values():
            inlet.close_stream()
    np.testing.assert_array_equal(ours[:64, 0], SENT[:64])
    np.testing.assert_array_equal(theirs[:64, 0], -SENT[:64])


FAULTS_FILE = """
seed = 4
[[fault]]
kind = "drop"
start_s = 10
length_s = 40
chunk_s = 0.5
probability = 0.2

[[fault]]
kind = "jump"
start_s = 60
by_s = -100
"""


def test_the_command_drops_chunks_and_sets_the_clock_as_its_log_says(tmp_path: Path) -> None:
    faults, log = tmp_path / "faults.toml", tmp_path / "log.jsonl"
    faults.write_text(FAULTS_FILE, encoding="utf-8")
    name = f"faults-{uuid.uuid4().hex}"
    arguments = ["--synthetic", "0.025", "--channels", "EEG Fpz-Cz", "--stream-name", name]
    arguments += ["--speed", "max", "--faults", str(faults), "--fault-log", str(log)]
    process = subprocess.Popen(
        [sys.executable, "-m", "sleepstream_replay", *arguments, "--linger", "60"],
        stderr=subprocess.PIPE,
        text=True,
    )
    night = synthetic_night(0.025).pick(("EEG Fpz-Cz",))
    try:
        inlet = pylsl.StreamInlet(find(name), max_buflen=3600)
        # the log has the jump once it is over, and the drops before it
        rows, stamps = receive(inlet, lambda n: n >= night.n_samples - left_out(log))
        inlet.close_stream()  # nobody listens any more: no need to linger
        _, said = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert "2 faults will be injected" in said
    *drops, jump = read_fault_log(log)
    order = np.arange(night.n_samples)
    at = stamps[0] + order / night.sfreq - 100.0 * (order >= jump.first)
    heard = ~np.isin(order, [n for record in drops for n in samples_of(record)])
    assert 0 < len(drops) < 80
    np.testing.assert_allclose(stamps, at[heard], rtol=0, atol=1e-9)
    expected = (night.read(0, night.n_samples)[0] * 1e6).astype(np.float32)
    np.testing.assert_array_equal(rows[:, 0], expected[heard])


def samples_of(record: Injected) -> range:
    return range(record.first, record.last + 1)


def left_out(log: Path) -> int:
    lines = read_fault_log(log) if log.exists() else ()
    return sum(len(samples_of(record)) for record in lines if record.effect == "left out")
