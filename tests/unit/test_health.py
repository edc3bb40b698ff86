"""How the daemon is: what it writes, and what is made of it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace as changed

from sleepstream.errors import StoreError, StreamError
from sleepstream.messages import (
    DisorderScore,
    Event,
    Quality,
    Stage,
    StageEstimate,
    StreamState,
    frozen,
)
from sleepstream.outputs.dashboard import StreamHealth
from sleepstream.outputs.health import (
    STALE_S,
    Condition,
    Found,
    Health,
    LifeSigns,
    find,
    health_file,
    judge,
)
from sleepstream.outputs.supervision import ServiceManager
from sleepstream.store.lock import bed_lock

NOW = datetime(2026, 11, 22, 3, 4, 5, tzinfo=UTC)
WELL = Health(
    bed="left",
    pid=123,
    version="1",
    started=NOW - timedelta(hours=4),
    written=NOW,
    state=StreamState.CONNECTED,
    silent_s=0.1,
    epoch=479,
    epoch_said=NOW - timedelta(seconds=20),
    latency_ms=12.0,
)
NOBODY = ServiceManager({})


def estimate(
    epoch: int = 0, *, final: bool = True, stage: Stage | None = Stage.N2
) -> StageEstimate:
    return StageEstimate(
        bed="left",
        epoch=epoch,
        onset_s=30.0 * epoch,
        end_s=30.0 * epoch + 30.0,
        stage=stage,
        probs=frozen([0, 0, 1, 0, 0]),
        encoder_probs=None,
        confidence=1.0,
        quality=Quality(1.0),
        valid=1.0,
        forecast=frozen(np.full((20, 5), 0.2)),
        p_wake_5min=0.5,
        p_rem_5min=0.5,
        disorder=DisorderScore("x", None, None, "none"),
        final=final,
        model="0",
        latency_ms=12.0,
    )


class Clock:
    """A clock that goes when it is told to."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "nights.sqlite"


@pytest.fixture
def hears(tmp_path: Path) -> Iterator[tuple[socket.socket, ServiceManager]]:
    """A service manager whose watchdog bites after 20 s, and the way to it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000000"}
        yield listener, ServiceManager(environment)


def heard(listener: socket.socket) -> list[str]:
    words = []
    while True:
        try:
            words.append(listener.recv(4096).decode())
        except BlockingIOError:
            return words


@pytest.mark.parametrize(
    ("health", "condition", "words"),
    [
        (WELL, Condition.OK, "epoch 479"),
        (changed(WELL, epoch=None, epoch_said=None), Condition.OK, "not whole yet"),
        (changed(WELL, n_held=3), Condition.DEGRADED, "3 epochs are NOT ON DISK"),
        (changed(WELL, state=StreamState.SEARCHING), Condition.DEGRADED, "waiting"),
        (changed(WELL, state=StreamState.STALLED), Condition.DEGRADED, "stalled"),
        (changed(WELL, state=StreamState.LOST), Condition.DEGRADED, "lost"),
        (changed(WELL, state=StreamState.RECONNECTED), Condition.DEGRADED, "reconnected"),
        (changed(WELL, scorable=False), Condition.DEGRADED, "electrodes"),
        (changed(WELL, latency_ms=41e3), Condition.DEGRADED, "took 41 s"),
        (
            changed(WELL, epoch_said=NOW - timedelta(seconds=100)),
            Condition.DEGRADED,
            "no epoch for 100 s",
        ),
        (
            changed(WELL, state=StreamState.ENDED, ended="stopped by the user"),
            Condition.DEAD,
            "stopped by the user",
        ),
    ],
)
def test_each_condition_has_its_sentence(health: Health, condition: Condition, words: str) -> None:
    verdict = judge(Found(health, 1.0, staged=True), NOW)
    assert verdict.condition is condition
    assert words in verdict.sentence


def test_one_that_hangs_is_told_from_one_that_is_gone() -> None:
    hangs = judge(Found(WELL, STALE_S + 1, staged=True), NOW)
    gone = judge(Found(WELL, 1.0, staged=False), NOW)
    assert hangs.condition is gone.condition is Condition.DEAD
    assert "process 123 hangs" in hangs.sentence
    assert "process 123 has gone" in gone.sentence


def test_a_bed_that_was_never_staged_is_dead(store: Path) -> None:
    assert judge(find(store, "left"), NOW).condition is Condition.DEAD


def test_signs_of_life_are_read_back(store: Path) -> None:
    with bed_lock(store, "left"), LifeSigns(store, "left", NOBODY, clock := Clock()) as life:
        assert judge(find(store, "left"), datetime.now(UTC)).sentence.startswith("waiting")
        health = StreamHealth("EEG", "Cz", "uV", 100.0, since_last_s=0.2)
        life.stream(replace(health, state=StreamState.CONNECTED))
        life.tell(Event("connected", 0.0, "secret name"))
        life.tell(Event("gap", 1.0, "nothing came"))
        life.show(estimate(6))
        life.show(estimate(7, final=False))
        clock.now_s = 2.0
        life.beat()
        found = find(store, "left")
        assert found.health
        assert found.staged
        assert found.age_s < STALE_S
        assert (found.health.epoch, found.health.latency_ms, found.health.pid) == (
            6,
            12.0,
            os.getpid(),
        )
        assert (found.health.n_events, found.health.n_warnings) == (2, 1)
        assert judge(found, datetime.now(UTC)).condition is Condition.OK
    found = find(store, "left")
    assert not found.staged
    assert judge(found, datetime.now(UTC)).sentence == "not staged: it is over"


def test_the_file_has_neither_stages_nor_names_and_is_its_owners(store: Path) -> None:
    with LifeSigns(store, "left", NOBODY) as life:
        life.tell(Event("connected", 0.0, "connected to 'Jane Doe'"))
        life.show(estimate(6))
    path = health_file(store, "left")
    words = path.read_text()
    assert "N2" not in words
    assert "Jane" not in words
    assert set(json.loads(words)) <= set(Health.__struct_fields__)
    if os.name != "nt":
        assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.glob("*.new")) == []


def test_an_error_is_the_reason_why_nobody_stages(store: Path) -> None:
    life = LifeSigns(store, "left", NOBODY)
    with pytest.raises(StreamError), life:
        raise StreamError("a stream", "two\n of them", "stop one")
    assert judge(find(store, "left"), NOW).sentence == "not staged: a stream: two of them"


def test_what_cannot_be_written_ages_and_a_full_disk_only_falls_silent(store: Path) -> None:
    clock = Clock()
    with LifeSigns(store, "left", NOBODY, clock) as life:
        path = health_file(store, "left")
        before = path.read_bytes()
        os.utime(path, (0, 0))
        path.with_name(f"{path.name}.new").mkdir()  # no room for words
        clock.now_s = 10.0
        life.beat()
        assert path.read_bytes() == before
        assert find(store, "left").age_s < STALE_S


def test_a_damaged_file_says_nothing(store: Path) -> None:
    health_file(store, "left").write_bytes(b"\x00{")
    assert find(store, "left").health is None
    with bed_lock(store, "left"):
        assert judge(find(store, "left"), NOW).condition is Condition.DEGRADED


def test_a_file_that_may_not_be_read_says_so(store: Path) -> None:
    health_file(store, "left").mkdir()
    with pytest.raises(StoreError, match="as the user"):
        find(store, "left")


def test_systemd_hears_the_whole_life(
    store: Path, hears: tuple[socket.socket, ServiceManager]
) -> None:
    listener, manager = hears
    clock = Clock()
    with LifeSigns(store, "left", manager, clock) as life:
        assert heard(listener) == ["STATUS=waiting for the stream: start the sender"]
        life.ready()
        assert heard(listener) == ["READY=1", "WATCHDOG=1"]
        for clock.now_s in (1.0, 4.9, 5.0, 9.9, 10.0):
            life.beat()
        assert heard(listener) == ["WATCHDOG=1"] * 2
        life.stream(StreamHealth("EEG", "Cz", "uV", 100.0, state=StreamState.CONNECTED))
        life.show(estimate(0))
        clock.now_s = 12.0
        life.beat()
        assert heard(listener) == ["STATUS=connected; epoch 0 was the last, and is on disk"]
        life.held = lambda: 2
        clock.now_s = 14.0
        life.beat()
        assert "2 epochs are NOT ON DISK" in heard(listener)[0]
        life.end("stopped by the user")
    assert heard(listener) == ["STOPPING=1", "STATUS=not staged: stopped by the user"]


def test_a_loop_that_hangs_gives_no_sign(
    store: Path, hears: tuple[socket.socket, ServiceManager]
) -> None:
    listener, manager = hears
    clock = Clock()
    with LifeSigns(store, "left", manager, clock) as life:
        life.ready()
        heard(listener)
        clock.now_s = 60.0  # the loop does not ask, so nobody is told that it lives
        life.show(estimate(0))
        life.tell(Event("gap", 0.0, "x"))
        assert heard(listener) == []


def test_health_is_plain_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(WELL), type=Health) == WELL
