"""How the daemon is, for whoever watches over it: a small file beside the record.

The loop itself gives the signs of life, a few each second, so that a process that hangs gives
none. They are passed on to the service manager, and every other second into a file. Who reads it
also looks at the bed's lock: a process that was killed leaves the file behind, but not the lock.

Enters: estimates, events and the state of the stream. Leaves: ``<record>.<bed>.health``, replaced
as a whole, without signal, stages or names; and for who asks, a `Verdict`.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from msgspec import Struct
from msgspec.structs import replace

import sleepstream
from sleepstream.errors import SleepstreamError, StoreError
from sleepstream.messages import EPOCH_S, Event, Float32Array, StageEstimate, StreamState
from sleepstream.outputs.dashboard.view import StreamHealth
from sleepstream.outputs.supervision import ServiceManager
from sleepstream.store.lock import is_staged

EVERY_S = 2.0
"""Seconds between two writes of the file."""

STALE_S = 30.0
"""Who has given no sign of life for so many seconds hangs."""

LATE_S = 3 * EPOCH_S
"""Where samples come, an epoch is due each 30 s; so many seconds without one are odd."""

_TROUBLED: Mapping[StreamState, str] = {
    StreamState.SEARCHING: "waiting for the stream: start the sender",
    StreamState.STALLED: "stalled: no sample comes, though the connection stands; check the device",
    StreamState.LOST: "lost: the stream has left the network; start the sender again",
    StreamState.RECONNECTED: "reconnected: the stream is back, but no sample yet",
}

WARNINGS = frozenset({"warning", "stream", "gap", "clock", "channel"})


class Health(Struct, frozen=True):
    """What the file says.

    Attributes
    ----------
    bed : str
        Whose daemon it is.
    pid : int
        Its process.
    version : str
        Of sleepstream.
    started, written : datetime
        When it began, and when this was written; UTC.
    state : StreamState
        How the stream is doing.
    silent_s : float or None
        Seconds since the last sample when this was written; None before the first one.
    epoch : int or None
        Number of the last final epoch.
    epoch_said : datetime or None
        When it was announced, UTC.
    scorable : bool
        Whether it had a stage.
    latency_ms : float or None
        From the arrival of its last sample to the estimate.
    n_events, n_warnings : int
        Events since the start, and those among them that are not a normal course.
    n_held : int
        Epochs that are not on disk, because it does not take them.
    ended : str or None
        Why nobody stages any more; None while somebody does.
    """

    bed: str
    pid: int
    version: str
    started: datetime
    written: datetime
    state: StreamState = StreamState.SEARCHING
    silent_s: float | None = None
    epoch: int | None = None
    epoch_said: datetime | None = None
    scorable: bool = True
    latency_ms: float | None = None
    n_events: int = 0
    n_warnings: int = 0
    n_held: int = 0
    ended: str | None = None


class Condition(IntEnum):
    """How it is; the number is the exit code of ``sleepstream health``."""

    OK = 0
    DEGRADED = 1
    DEAD = 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a daemon is, in a word and in a sentence.

    Attributes
    ----------
    condition : Condition
        The word.
    sentence : str
        What is the matter, and what to do about it.
    """

    condition: Condition
    sentence: str


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of a daemon.

    Attributes
    ----------
    health : Health or None
        What its file says; None where there is none.
    age_s : float
        Seconds since its last sign of life.
    staged : bool
        Whether a process holds the bed's lock.
    """

    health: Health | None
    age_s: float
    staged: bool


class LifeSigns:
    """Gives signs of life while a bed is staged; a context manager, a `Sink` and a `Monitor`.

    Parameters
    ----------
    store : Path
        The file of the record; the file lies beside it.
    bed : str
        Whose lock is held.
    manager : ServiceManager
        Told the same.
    clock : callable
        A monotonic clock in seconds.

    Attributes
    ----------
    held : callable
        Asked how many epochs are not on disk.
    """

    def __init__(
        self,
        store: Path,
        bed: str,
        manager: ServiceManager,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.held: Callable[[], int] = lambda: 0
        self._path = health_file(store, bed)
        self._manager = manager
        self._clock = clock
        self._next_write_s = self._next_alive_s = clock()
        self._sentence = ""
        now = _now()
        self._health = Health(
            bed=bed, pid=os.getpid(), version=sleepstream.__version__, started=now, written=now
        )

    def __enter__(self) -> Self:
        self._write()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end(_reason(error))

    def ready(self) -> None:
        """Say that the daemon is up; what it stages may come when it likes."""
        self._manager.ready()
        self.beat()

    def beat(self) -> None:
        """Give a sign of life, if one is due. The loop calls this, and nobody else may."""
        now_s = self._clock()
        every_s = self._manager.watchdog_s
        if every_s is not None and now_s >= self._next_alive_s:
            self._next_alive_s = now_s + every_s / 4  # three may get lost
            self._manager.alive()
        if now_s >= self._next_write_s:
            self._next_write_s = now_s + EVERY_S
            self._write()

    def show(self, estimate: StageEstimate) -> None:
        """Take a final estimate: that there is one, and not what it says."""
        if estimate.final:
            self._health = replace(
                self._health,
                epoch=estimate.epoch,
                epoch_said=_now(),
                scorable=estimate.stage is not None,
                latency_ms=estimate.latency_ms,
            )

    def tell(self, event: Event) -> None:
        """Count an event."""
        self._health = replace(
            self._health,
            n_events=self._health.n_events + 1,
            n_warnings=self._health.n_warnings + (event.kind in WARNINGS),
        )

    def stream(self, health: StreamHealth) -> None:
        """Take the state of the stream."""
        self._health = replace(self._health, state=health.state, silent_s=health.since_last_s)

    def signal(self, recent: Float32Array) -> None:
        """Leave the signal alone."""

    def end(self, reason: str) -> None:
        """Say that nobody stages any more, and why; the first reason stays."""
        if self._health.ended is None:
            self._health = replace(self._health, state=StreamState.ENDED, ended=reason)
            self._manager.stopping()
            self._write()

    def _write(self) -> None:
        self._health = replace(self._health, written=_now(), n_held=self.held())
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                out.write(msgspec.json.encode(self._health))
            new.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                os.utime(self._path)  # a full disk has no room for words, but for this
        verdict = judge(Found(self._health, 0.0, staged=True), self._health.written)
        if verdict.sentence != self._sentence:
            self._sentence = verdict.sentence
            self._manager.status(verdict.sentence)


def health_file(store: Path, bed: str) -> Path:
    """Return where the signs of life of a bed are."""
    return store.with_name(f"{store.name}.{bed}.health")


def find(store: Path, bed: str) -> Found:
    """Look how the daemon of a bed is.

    Parameters
    ----------
    store : Path
        The file of the record.
    bed : str
        Whose daemon.

    Raises
    ------
    StoreError
        The file is there and may not be read.
    """
    path = health_file(store, bed)
    staged = is_staged(store, bed)
    try:
        written_s = path.stat().st_mtime
        health = msgspec.json.decode(path.read_bytes(), type=Health)
    except (FileNotFoundError, ValueError, RecursionError):  # spoiled bytes raise both of these
        return Found(None, 0.0, staged)
    except OSError as error:
        raise StoreError(
            f"the signs of life of bed {bed!r} in {path}",
            f"{type(error).__name__}: {error.strerror}",
            "ask as the user who stages this bed",
        ) from error
    return Found(health, max(0.0, time.time() - written_s), staged)


def judge(found: Found, now: datetime) -> Verdict:
    """Say how a daemon is.

    Parameters
    ----------
    found : Found
        What was found of it.
    now : datetime
        UTC.
    """
    health = found.health
    if health is None:
        if found.staged:
            return Verdict(Condition.DEGRADED, "staged, but its signs of life cannot be read")
        return Verdict(Condition.DEAD, "not staged: nobody has given a sign of life here")
    if dead := _dead(health, found):
        return Verdict(Condition.DEAD, dead)
    if trouble := _trouble(health, now):
        return Verdict(Condition.DEGRADED, trouble)
    if health.epoch is None:
        return Verdict(Condition.OK, "connected; the first epoch is not whole yet")
    return Verdict(Condition.OK, f"connected; epoch {health.epoch} was the last, and is on disk")


def _dead(health: Health, found: Found) -> str:
    if health.ended is not None:
        return f"not staged: {health.ended}"
    again = "start sleepstream again: it goes on with the night"
    if not found.staged:
        return f"not staged: process {health.pid} has gone without a word; {again}"
    if found.age_s > STALE_S:
        return (
            f"process {health.pid} hangs: no sign of life for {found.age_s:.0f} s; "
            f"end it with `kill -9 {health.pid}` and {again}"
        )
    return ""


def _trouble(health: Health, now: datetime) -> str:
    """Return the worst of what is not as it should be."""
    late_s = (now - health.epoch_said).total_seconds() if health.epoch_said else 0.0
    took_s = (health.latency_ms or 0.0) / 1000
    if health.n_held:
        return (
            f"{health.n_held} epochs are NOT ON DISK and kept in memory: make room on the disk, or "
            "close the program that holds the record"
        )
    if health.state in _TROUBLED:
        return _TROUBLED[health.state]
    if late_s > LATE_S:
        return f"samples come, but no epoch for {late_s:.0f} s: look at the events of the night"
    if took_s > EPOCH_S:
        return f"too slow: the last epoch took {took_s:.0f} s; give this computer less to do"
    return "" if health.scorable else "the last epoch could not be scored: check the electrodes"


def _reason(error: BaseException | None) -> str:
    if isinstance(error, SleepstreamError):
        return " ".join(f"{error.sought}: {error.found}".split())
    return "it is over" if error is None else f"it failed ({type(error).__name__})"


def _now() -> datetime:
    return datetime.now(UTC)
