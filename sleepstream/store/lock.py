"""One sleepstream per bed: a lock that goes with the process that holds it, however it ends.

The operating system keeps the lock, not the file: after a crash the file is still there and the
lock is not. What the file says is for people.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from sleepstream.errors import BedTakenError, StoreError

PATIENCE_S, RETRY_S = 0.5, 0.05
"""Somebody who only asks whether a bed is taken has its lock for a moment."""

_BED = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")

if sys.platform == "win32":
    import msvcrt

    _PLACE = 1 << 30  # what is locked cannot be read there, so it lies behind all that is written

    def _lock(file: int) -> None:
        os.lseek(file, _PLACE, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who stages a bed.

    Attributes
    ----------
    pid : int
        The process.
    since_utc : str
        When it began, ISO 8601.
    """

    pid: int
    since_utc: str


@contextmanager
def bed_lock(store: Path, bed: str) -> Iterator[None]:
    """Hold the right to stage a bed for as long as the context lasts.

    Parameters
    ----------
    store : Path
        The file of the record; the lock lies beside it. Two records know nothing of each other.
    bed : str
        Whose right it is.

    Raises
    ------
    BedTakenError
        Another process stages this bed.
    StoreError
        The file of the lock cannot be made.
    """
    path = _path(store, bed)
    deadline = time.monotonic() + PATIENCE_S
    while (file := _taken(path)) is None:
        if time.monotonic() >= deadline:
            raise _refusal(path, bed)
        time.sleep(RETRY_S)
    try:
        holder = Holder(os.getpid(), datetime.now(UTC).isoformat(timespec="seconds"))
        with contextlib.suppress(OSError):  # on a full disk the lock holds without a name on it
            os.ftruncate(file, 0)
            os.lseek(file, 0, os.SEEK_SET)
            os.write(file, msgspec.json.encode(holder))
        yield
    finally:
        os.close(file)


def is_staged(store: Path, bed: str) -> bool:
    """Return whether some process stages a bed at this moment; false for what is no bed's name."""
    if not _BED.fullmatch(bed) or not (path := _path(store, bed)).exists():
        return False
    try:
        file = _taken(path)
    except StoreError:  # a record that may only be read
        return False
    if file is None:
        return True
    os.close(file)
    return False


def _path(store: Path, bed: str) -> Path:
    return store.with_name(f"{store.name}.{bed}.lock")


def _taken(path: Path) -> int | None:
    """Take the lock and return its open file; None if another process has it."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreError(
            f"a lock for the bed in {path}",
            f"{type(error).__name__}: {error.strerror}",
            "make that folder writable, or name another place with --store",
        ) from error
    try:
        _lock(file)
    except OSError:
        os.close(file)
        return None
    return file


def _refusal(path: Path, bed: str) -> BedTakenError:
    try:
        holder = msgspec.json.decode(path.read_bytes(), type=Holder)
        who = f"process {holder.pid}, which has staged it since {holder.since_utc}"
    except (OSError, ValueError, RecursionError):
        who = "another process, which stages it"
    return BedTakenError(
        f"the bed {bed!r} for this sleepstream alone",
        who,
        "stop that one first, or give this bed another name with --bed",
    )
