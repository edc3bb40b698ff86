"""How long a daemon that is asked to leave takes, whatever it is doing."""

from __future__ import annotations

import signal
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from reliability.processes import Daemon, Sender


@dataclass(frozen=True, slots=True)
class Departure:
    """One time that a daemon was asked to leave.

    Attributes
    ----------
    while_it : str
        What it was doing.
    seconds : float
        From SIGTERM to its end.
    code : int
        Its exit code.
    """

    while_it: str
    seconds: float
    code: int


def departures(recording: Path, folder: Path) -> list[Departure]:
    """Start daemons, and ask them to leave at different moments."""
    return [
        *_searching(folder),
        *_staging(recording, folder),
        *_without_a_stream(recording, folder),
    ]


def _searching(folder: Path) -> Iterator[Departure]:
    with Daemon(_name(), folder / "searching.sqlite") as daemon:
        daemon.until(lambda _: daemon.said("waiting for"), "a search")
        yield _left(daemon, "searches for its stream")


def _staging(recording: Path, folder: Path) -> Iterator[Departure]:
    for while_it, trouble in (("stages", _nothing), ("waits for a locked record", _locked)):
        store = folder / f"{while_it.replace(' ', '-')}.sqlite"
        with _night(recording, store) as (_, daemon), trouble(store):
            daemon.until_epoch(max(daemon.announced) + 2)
            yield _left(daemon, while_it)


def _without_a_stream(recording: Path, folder: Path) -> Iterator[Departure]:
    store = folder / "lost.sqlite"
    with _night(recording, store) as (sender, daemon):
        sender.send(signal.SIGKILL)
        daemon.until(lambda _: daemon.said("lost: "), "a loss")
        yield _left(daemon, "searches for a stream that was lost")


@contextmanager
def _night(recording: Path, store: Path) -> Iterator[tuple[Sender, Daemon]]:
    name = _name()
    with (
        Sender(recording, name, (), store.parent, speed=20.0, played_s=900.0) as sender,
        Daemon(name, store) as daemon,
    ):
        daemon.until_epoch(1)
        yield sender, daemon


@contextmanager
def _nothing(_store: Path) -> Iterator[None]:
    yield


@contextmanager
def _locked(store: Path) -> Iterator[None]:
    with closing(sqlite3.connect(store, isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def _left(daemon: Daemon, while_it: str) -> Departure:
    before_s = monotonic()
    daemon.send(signal.SIGTERM)
    code = daemon.process.wait()
    return Departure(while_it, monotonic() - before_s, code)


def _name() -> str:
    return f"t{uuid.uuid4().hex[:12]}"
