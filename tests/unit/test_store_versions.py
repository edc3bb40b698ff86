"""A record that an older sleepstream wrote is read and gone on with; what it said stays."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sleepstream.errors import StoreError
from sleepstream.messages import Event, Stage
from sleepstream.store import database
from sleepstream.store.nights import NightStore
from sleepstream.store.schema import MIGRATIONS, SCHEMA_VERSION

GOLDEN = Path(__file__).parents[1] / "golden" / "store_v1.sql"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "nights.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(GOLDEN.read_text(encoding="utf-8"))
    return path


def shape(path: Path) -> list[tuple[str, str, str]]:
    """Every column of every table, without the comments and the white space of its statement."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute(
            "SELECT m.name, c.name, c.type FROM sqlite_master m, pragma_table_info(m.name) c "
            "WHERE m.type = 'table' ORDER BY 1, 2"
        ).fetchall()


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def test_an_old_record_says_what_it_always_said(old: Path) -> None:
    with NightStore(old) as store:
        (night,) = store.nights()
        (estimate,) = store.estimates("last")
        assert list(store.events("last")) == [Event("connected", 1000.0, "connected")]
    assert version(old) == SCHEMA_VERSION
    assert (night.id, night.n_epochs, night.state) == ("0badcafe", 1, "interrupted")
    assert (estimate.stage, estimate.probs.tolist()) == (Stage.N2, [0.25, 0.25, 0.5, 0, 0])


def test_an_old_record_becomes_what_a_new_one_is(old: Path, tmp_path: Path) -> None:
    for path in (old, tmp_path / "new.sqlite"):
        NightStore(path).close()
    assert shape(old) == shape(tmp_path / "new.sqlite")


def test_nobody_goes_on_with_a_night_of_which_too_little_was_kept(old: Path) -> None:
    with NightStore(old) as store:
        assert store.last_live("bed1") is None
        with pytest.raises(StoreError, match="without the signal"):
            list(store.epochs("last"))


def test_a_migration_that_fails_leaves_the_record_as_it_was(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shape(old)
    broken = (*MIGRATIONS[:1], (*MIGRATIONS[1], "CREATE TABLE night (twice)"))
    monkeypatch.setattr(database, "MIGRATIONS", broken)
    with pytest.raises(StoreError, match="already exists"):
        NightStore(old)
    assert (shape(old), version(old)) == (before, 1)
    monkeypatch.undo()
    with NightStore(old) as store:
        assert store.find("last").n_epochs == 1
