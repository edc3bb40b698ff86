"""The SQLite file itself: a path enters, an open database of the present schema leaves.

What SQLite says when something is wrong with the file, the disk or another program is turned into
a `StoreError` here.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sleepstream.errors import StoreError
from sleepstream.store.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION

_WAL_ATTEMPTS = 5

_OURS_ALONE, _OUR_FOLDER = 0o600, 0o700
"""What is made here is about somebody's health: nobody but its owner may read it."""

IN_MEMORY = Path(":memory:")
"""Path of a database that lives as long as its connection and leaves nothing behind."""

_PRIMARY = 0xFF
"""SQLite's extended result codes carry the primary one in their lowest byte."""

_REMEDIES: Mapping[int, str] = {
    sqlite3.SQLITE_FULL: "free some space on this disk, or name a place on another with --store",
    sqlite3.SQLITE_READONLY: "make the file and its folder writable, or name another with --store",
    sqlite3.SQLITE_PERM: "make the file and its folder writable, or name another with --store",
    sqlite3.SQLITE_CANTOPEN: "name a file (no folder) in a place that you may write to (--store)",
    sqlite3.SQLITE_BUSY: "another program is writing to it: close that one, or try again later",
    sqlite3.SQLITE_NOTADB: "name another file with --store; this one was left as it is",
    sqlite3.SQLITE_CORRUPT: "set the file aside, restore it from a copy, or rescue what can be read"
    " with `sqlite3 FILE .recover`",
    sqlite3.SQLITE_IOERR: "check the disk, the network drive, the cable; then try again",
    sqlite3.SQLITE_CONSTRAINT: "this is a mistake in the program: the record was left as it was",
}

_DUPLICATES = frozenset({sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE})


@contextlib.contextmanager
def explained(path: Path, sought: str = "the record of the nights") -> Iterator[None]:
    """Turn an error of SQLite into one that says what to do.

    Parameters
    ----------
    path : Path
        The file in question.
    sought : str
        What was wanted of it.

    Raises
    ------
    StoreError
        Where SQLite raised anything.
    """
    try:
        yield
    except sqlite3.Error as error:
        # Errors that Python's module raises itself (a closed database) carry no code.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        remedy = _REMEDIES.get(code & _PRIMARY, "report this, with the line above")
        if code in _DUPLICATES:
            remedy = "keep the record as it is: what was announced is never changed"
        raise StoreError(f"{sought}, in {path}", str(error), remedy) from error


def damaged(path: Path, found: str) -> StoreError:
    """Return the error that says that what was read is not what was written."""
    return StoreError(
        f"the record of the nights as it was written, in {path}",
        f"a damaged entry: {found}",
        _REMEDIES[sqlite3.SQLITE_CORRUPT],
    )


def opened(path: Path, wait_s: float) -> sqlite3.Connection:
    """Open a store of nights, or make it.

    Parameters
    ----------
    path : Path
        The file, or ``:memory:``. What is not there is made, for its owner alone: folders too.
    wait_s : float
        How long a write waits for another process that is writing, in seconds.

    Returns
    -------
    sqlite3.Connection
        In autocommit: each statement is its own transaction, on disk when it returns.

    Raises
    ------
    StoreError
        The file cannot be made or opened, is no store, or was written by a newer sleepstream.
    """
    if path != IN_MEMORY:
        _make(path)
    with explained(path, "a store of nights"):
        db = sqlite3.connect(path, timeout=wait_s, isolation_level=None)
        with contextlib.ExitStack() as unless_ready:
            unless_ready.callback(db.close)
            _prepare(db, path)
            unless_ready.pop_all()
    return db


def _make(path: Path) -> None:
    """Make the file, empty, and its folder; SQLite gives its other files the rights of this one."""
    try:
        _make_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"a folder for the record of the nights at {path.parent}",
            f"{type(error).__name__}: {error.strerror}",
            "name another place with --store, or make this one writable",
        ) from error
    # SQLite says better what is wrong with a place. A file that is there is left alone: to close
    # it here would give back the locks that another connection of this process has on it.
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _OURS_ALONE))


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(mode=_OUR_FOLDER, exist_ok=True)


@contextlib.contextmanager
def transaction(db: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """Write all of what follows, or nothing of it; within another one, as a part of that.

    Parameters
    ----------
    db : sqlite3.Connection
        As `opened` returns it.
    kind : str
        ``"DEFERRED"`` where it is only read: then all is read as it is at one moment.
    """
    if db.in_transaction:
        yield
        return
    with db:
        db.execute(f"BEGIN {kind}")
        yield


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA cell_size_check = ON")  # of a page that is read: damage is found early
    # FULL: a commit in WAL mode returns when the log is on disk. macOS alone needs to be told that
    # what is in the drive's own cache is not there yet.
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA fullfsync = ON")
    with transaction(db, "DEFERRED"):  # another process may be making the store right now
        version = _version(db, path)
    if version < SCHEMA_VERSION:
        with transaction(db):
            _migrate(db, _version(db, path))  # asked again: another process may have been faster
    _use_wal(db)


def _version(db: sqlite3.Connection, path: Path) -> int:
    """Return the version of a store, 0 for an empty file, after making sure that it is one."""
    version = int(_value(db, "PRAGMA user_version"))
    named = _value(db, "PRAGMA application_id") == APPLICATION_ID and version > 0
    if not named and _value(db, "SELECT COUNT(*) FROM sqlite_master"):
        raise _of_another(path, "a database of another program")
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"a store of nights up to version {SCHEMA_VERSION} in {path}",
            f"version {version}, written by a newer sleepstream",
            "upgrade sleepstream, or name another file with --store",
        )
    if _value(db, "SELECT COUNT(*) FROM sqlite_master WHERE type = 'trigger'"):
        raise _of_another(path, "a database that does something of its own when it is written to")
    if missing := _columns_of(max(version, 0)) - _columns(db):
        lacks = ", ".join(sorted(f"{table}.{column}" for table, column in missing)[:8])
        raise _of_another(path, f"a database of version {version} without {lacks}")
    return version


def _of_another(path: Path, found: str) -> StoreError:
    return StoreError(f"a store of nights in {path}", found, _REMEDIES[sqlite3.SQLITE_NOTADB])


def _columns_of(version: int) -> set[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(IN_MEMORY)) as model:
        _follow(model, MIGRATIONS[:version])
        return _columns(model)


def _columns(db: sqlite3.Connection) -> set[tuple[str, str]]:
    """Return the columns of all tables; a view is none."""
    query = (
        "SELECT t.name, c.name FROM sqlite_master AS t, pragma_table_info(t.name) AS c "
        "WHERE t.type = 'table'"
    )
    return set(db.execute(query))


def _follow(db: sqlite3.Connection, steps: Iterable[Iterable[str]]) -> None:
    for step in steps:
        for statement in step:
            db.execute(statement)


def _migrate(db: sqlite3.Connection, version: int) -> None:
    _follow(db, MIGRATIONS[version:])
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _use_wal(db: sqlite3.Connection) -> None:
    for attempt in range(_WAL_ATTEMPTS):
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # Two processes that make a new file together: here SQLite refuses at once instead of
            # waiting. A write transaction does wait, and after it the way is free.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or attempt == _WAL_ATTEMPTS - 1:
                raise
            with transaction(db):
                pass
        else:
            return


def _value(db: sqlite3.Connection, query: str) -> Any:
    return db.execute(query).fetchone()[0]
