"""What systemd hears, over a real datagram socket."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sleepstream.outputs.supervision import ServiceManager

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no systemd there")


@pytest.fixture(params=["path", "abstract"])
def listener(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """A service manager's socket, and the environment that names it."""
    name = str(tmp_path / "notify")
    if request.param == "abstract":
        name = f"@sleepstream-test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0", 1))
        listener.settimeout(10)
        yield listener, {"NOTIFY_SOCKET": name}


def test_each_word_is_one_datagram(listener: tuple[socket.socket, dict[str, str]]) -> None:
    hears, environment = listener
    manager = ServiceManager(environment)
    manager.ready()
    manager.status("epoch 3\nMAINPID=1 \x1b[31mµ")
    manager.alive()
    manager.stopping()
    heard = [hears.recv(4096).decode() for _ in range(4)]
    # a status that holds a line of its own would be another command
    assert heard == ["READY=1", "STATUS=epoch 3?MAINPID=1 ?[31mµ", "WATCHDOG=1", "STOPPING=1"]


def test_nobody_there_is_nobody_to_tell(tmp_path: Path) -> None:
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "nobody")}, {"NOTIFY_SOCKET": "\0"}):
        manager = ServiceManager(environment)
        manager.ready()
        assert manager.watchdog_s is None


def test_a_manager_that_does_not_read_holds_nobody_up(
    listener: tuple[socket.socket, dict[str, str]],
) -> None:
    _, environment = listener
    manager = ServiceManager(environment)
    for _ in range(5000):
        manager.alive()


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("30000000", None, 30.0),
        ("500000", str(os.getpid()), 0.5),
        ("500000", "1", None),  # it is asked of another process
        ("0", None, None),
        ("soon", None, None),
        ("-5", None, None),
    ],
)
def test_the_watchdog_is_fed_as_often_as_it_asks(
    usec: str, pid: str | None, seconds: float | None
) -> None:
    environment = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": usec}
    if pid:
        environment["WATCHDOG_PID"] = pid
    assert ServiceManager(environment).watchdog_s == seconds
    del environment["NOTIFY_SOCKET"]
    assert ServiceManager(environment).watchdog_s is None
