"""What systemd hears, over a real datagram socket."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sleepstream.cli import cli
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
        ("500000", "ours", 0.5),
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
        environment["WATCHDOG_PID"] = str(os.getpid()) if pid == "ours" else pid
    assert ServiceManager(environment).watchdog_s == seconds
    del environment["NOTIFY_SOCKET"]
    assert ServiceManager(environment).watchdog_s is None


UNIT = Path(__file__).parents[2] / "docs" / "systemd" / "sleepstream@.service"


def test_the_unit_for_systemd_calls_a_command_that_there_is() -> None:
    lines = UNIT.read_text(encoding="utf-8").replace("\\\n", " ").replace("%i", "left").splitlines()
    (start,) = (line.partition("=")[2] for line in lines if line.startswith("ExecStart="))
    program, command, *flags = shlex.split(start)
    assert Path(program).name == "sleepstream"
    given = cli.commands[command].make_context(command, flags).obj
    assert given["night.bed"] == "left"
    assert given["output.headless"] is True


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "sleepstream@left.service"
    text = UNIT.read_text(encoding="utf-8")
    unit.write_text(text.replace("/opt/sleepstream/bin/sleepstream", sys.executable))
    verified = subprocess.run(
        ["systemd-analyze", "verify", str(unit)],  # noqa: S607 - wherever it is
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verified.returncode, verified.stderr) == (0, "")
