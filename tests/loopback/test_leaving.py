"""The daemon as a service: it says that it is up and that it lives, and leaves when it is asked."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import numpy as np
import pylsl
import pytest

from sleepstream.outputs.health import Condition, find, judge
from sleepstream.store.nights import NightStore

pytestmark = [
    pytest.mark.loopback,
    pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no systemd there"),
]

SENT_S, SFREQ = 65, 100


class Service:
    """A daemon in a process of its own, and what it tells its service manager."""

    def __init__(self, process: subprocess.Popen[str], listener: socket.socket) -> None:
        self.process = process
        self._listener = listener
        self.heard: list[str] = []

    def hears(self, wanted: Callable[[str], bool]) -> None:
        while not any(wanted(word) for word in self.heard):
            self.heard.append(self._listener.recv(4096).decode())

    def says(self, words: str) -> str:
        said: IO[str] | None = self.process.stdout
        assert said
        lines = []
        for line in said:
            lines.append(line)
            if words in line:
                break
        return "".join(lines)

    def asked_to_leave(self, number: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=60)
        return self.process.returncode, rest


@contextmanager
def service(folder: Path, name: str) -> Iterator[Service]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(folder / "notify"))
        listener.settimeout(120)
        settings = ("--lsl-stream", name, "--store", str(folder / "nights.sqlite"), "--bed", name)
        process = subprocess.Popen(
            [sys.executable, "-m", "sleepstream", "run", "--headless", *settings],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "4000000"},
        )
        try:
            yield Service(process, listener)
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def name() -> str:
    return f"t{uuid.uuid4().hex[:12]}"


def test_sigterm_ends_the_night_and_the_service_manager_knows_all_the_time(
    name: str, tmp_path: Path
) -> None:
    store = tmp_path / "nights.sqlite"
    info = pylsl.StreamInfo(name, "EEG", 1, SFREQ, "float32", name)
    outlet = pylsl.StreamOutlet(info)
    with service(tmp_path, name) as daemon:
        daemon.hears(lambda word: word == "READY=1")
        assert outlet.wait_for_consumers(60)
        samples = np.random.default_rng(0).normal(size=(SENT_S * SFREQ, 1)) * 20
        outlet.push_chunk(samples.astype(np.float32).tolist(), 1000.0 + SENT_S)
        daemon.says("epoch    1")
        daemon.hears(lambda word: word.startswith("STATUS=connected; epoch 1"))
        assert judge(find(store, name), datetime.now(UTC)).condition is Condition.OK
        daemon.heard.clear()
        daemon.hears(lambda word: word == "WATCHDOG=1")
        code, _ = daemon.asked_to_leave(signal.SIGTERM)
        assert code == 0
        daemon.hears(lambda word: word == "STOPPING=1")
    verdict = judge(find(store, name), datetime.now(UTC))
    assert (verdict.condition, verdict.sentence) == (
        Condition.DEAD,
        "not staged: stopped by the user",
    )
    with NightStore(store) as record:
        (night,) = record.nights()
        assert (night.ended, night.n_epochs) == ("stopped by the user", 2)
        assert list(record.events(night.id))[-1].kind == "ended"


def test_sigint_before_there_is_a_stream_leaves_no_night(name: str, tmp_path: Path) -> None:
    with service(tmp_path, name) as daemon:
        daemon.says("waiting for an LSL stream")
        code, said = daemon.asked_to_leave(signal.SIGINT)
    assert code == 0
    assert "stopped before there was a stream" in said
    with NightStore(tmp_path / "nights.sqlite") as record:
        assert record.nights() == []
