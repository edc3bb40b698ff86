"""Databases from strangers, or from a disk that has gone bad, as the record of the nights."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import msgspec
import numpy as np
import pytest
from fuzzing import fuzzed, spoiled, survived
from hypothesis import example, given
from hypothesis import strategies as st

from sleepstream.commands import lists
from sleepstream.commands.health import health
from sleepstream.errors import SleepstreamError, StoreError
from sleepstream.messages import (
    EPOCH_N_SAMPLES,
    Chunk,
    ClockOffset,
    DisorderScore,
    Event,
    Quality,
    Stage,
    StageEstimate,
    frozen,
)
from sleepstream.signal.epocher import Epocher, EpocherState
from sleepstream.signal.montage import choose_all
from sleepstream.store.nights import NightStore
from sleepstream.store.schema import APPLICATION_ID, SCHEMA_VERSION

Out = pytest.CaptureFixture[str]

BED, SFREQ = "left", 128.0


def an_estimate(epoch: int) -> StageEstimate:
    return StageEstimate(
        bed=BED,
        epoch=epoch,
        onset_s=30.0 * epoch,
        end_s=30.0 * epoch + 30.0,
        stage=Stage.N2 if epoch else None,
        probs=frozen([0.1, 0.1, 0.6, 0.1, 0.1]),
        encoder_probs=frozen([0.2, 0.1, 0.5, 0.1, 0.1]) if epoch else None,
        confidence=0.6,
        quality=Quality(0.75, ("flat for 12 s",)),
        valid=1.0,
        forecast=frozen(np.full((20, 5), 0.2)),
        p_wake_5min=0.3,
        p_rem_5min=0.1,
        disorder=DisorderScore("apnoea", 0.2, (0.1, 0.3), "as nights of patients"),
        final=True,
        model="abc",
        latency_ms=12.3,
    )


def record_a_night(store: NightStore) -> None:
    night = store.begin(
        BED,
        source="EEG",
        sfreq=256.0,
        channel="Fpz-Cz",
        started_s=0.0,
        started_utc="2026-11-22T22:00:00+00:00",
        models={"encoder": "abc"},
        settings_json="{}",
        stream='{"name": "EEG"}',
    )
    for epoch in range(3):
        signal = frozen(np.full((1, EPOCH_N_SAMPLES), epoch))
        night.append(an_estimate(epoch), signal, '{"n_epochs": 1}')
    night.event(Event("gap", 3.0, "nothing came for 3 s"))
    night.clock(ClockOffset(1.0, 0.5, 0.001))
    night.end("no sample for 10 min")


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    path = tmp_path / "whole.sqlite"
    with NightStore(path) as store:
        record_a_night(store)
    return path.read_bytes()


def use(path: Path) -> None:
    """Do all that is done with a record, and then write to it."""
    health(path, BED, as_json=False)
    lists.nights(path, None, as_json=False)
    lists.nights(path, None, as_json=True)
    lists.nights(path, "last", as_json=False)
    lists.nights(path, "last", as_json=True)
    with NightStore(path, 0.1) as store:
        store.last_live(BED)
        list(store.epochs("last"))
        record_a_night(store)


def lay(path: Path, data: bytes) -> None:
    """Put a file in the place of a database and all that SQLite has put beside it."""
    for beside in path.parent.glob(f"{path.name}*"):
        beside.unlink()
    path.write_bytes(data)


def test_files(tmp_path: Path, capfd: Out, whole: bytes) -> None:
    path = tmp_path / "nights.sqlite"

    @fuzzed(50)
    @given(spoiled(whole))
    @example(b"SQLite format 3\0")
    @example(whole[:4096])
    def check(data: bytes) -> None:
        lay(path, data)
        with survived(tmp_path, capfd, SleepstreamError):
            use(path)

    check()


ODD = st.sampled_from(
    (
        None,
        -1,
        2**62,
        1e308,
        "",
        "x",
        "\x1b[31m\x1b]0;owned\x07",
        "\u202e\u2028",
        "[1, 2]",
        '{"missing": "x"}',
        '{"a": ' * 500 + "1" + "}" * 500,
        "nan",
        b"",
        b"\xff\xfe\0",
        b"\0" * 20,
        "x" * 100_000,
    )
)


def test_rows(tmp_path: Path, capfd: Out, whole: bytes) -> None:
    path = tmp_path / "nights.sqlite"
    lay(path, whole)
    db = sqlite3.connect(path)
    columns = [
        (table, column[1])
        for table in ("night", "epoch", "signal", "event", "clock")
        for column in db.execute(f"PRAGMA table_info({table})")
    ]
    db.close()

    @fuzzed(80)
    @given(st.sampled_from(columns), ODD, st.booleans())
    def check(where: tuple[str, str], value: object, as_text: bool) -> None:
        table, column = where
        lay(path, whole)
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("PRAGMA ignore_check_constraints = ON")
        try:
            # bytes that are called text: what a stranger's program may have written
            new = "CAST(? AS TEXT)" if as_text and isinstance(value, bytes) else "?"
            db.execute(f"UPDATE {table} SET {column} = {new}", (value,))  # noqa: S608
        except sqlite3.Error:
            return  # SQLite itself refuses
        finally:
            db.close()
        with survived(tmp_path, capfd, SleepstreamError):
            use(path)

    check()


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"


@pytest.mark.parametrize(
    "schema",
    [
        [f"CREATE VIEW night AS {ENDLESS}"],
        ["CREATE TABLE epoch (a)", f"CREATE VIEW x AS {ENDLESS}"],
        ["CREATE TABLE night (id)"],
        ["CREATE TABLE night (id TEXT GENERATED ALWAYS AS (hex(zeroblob(100))) STORED, a)"],
    ],
)
@pytest.mark.parametrize("version", [0, -1, 1, SCHEMA_VERSION, 2**31 - 1])
def test_schemas(tmp_path: Path, capfd: Out, schema: list[str], version: int) -> None:
    path = tmp_path / "nights.sqlite"
    db = sqlite3.connect(path)
    for statement in schema:
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {version}")
    db.commit()
    db.close()
    before = path.read_bytes()
    with survived(tmp_path, capfd), pytest.raises(StoreError):
        use(path)
    assert path.read_bytes() == before


def test_a_record_that_acts_when_it_is_written_to_is_refused(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "nights.sqlite"
    lay(path, whole)
    db = sqlite3.connect(path)
    db.execute("CREATE TRIGGER x AFTER INSERT ON epoch BEGIN DELETE FROM epoch; END")
    db.commit()
    db.close()
    with pytest.raises(StoreError, match="of its own"):
        NightStore(path)


def test_a_damaged_entry_is_told_of_where_it_is(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "nights.sqlite"
    lay(path, whole)
    db = sqlite3.connect(path)
    db.execute("UPDATE epoch SET probs = x'00' WHERE epoch = 1")
    db.commit()
    db.close()
    with NightStore(path) as store:
        kept = store.estimates("last")
        assert next(kept).epoch == 0
        with pytest.raises(StoreError, match="damaged"):
            next(kept)


MONTAGE = choose_all(("C4-M1", "C3-M2"), ("uV", "uV"), ("C4-M1", "C3-M2"))
QUIET = frozen(np.random.default_rng(0).normal(size=(2, 6400)) * 20)


def a_state() -> EpocherState:
    epocher = Epocher(SFREQ, MONTAGE)
    (epoch, *_) = epocher.push(Chunk(np.arange(QUIET.shape[1]) / SFREQ, QUIET))
    return epocher.state(epoch)


NUMBERS = st.sampled_from(
    (
        None,
        True,
        "x",
        [],
        {},
        -1,
        0,
        1,
        2,
        3,
        0.5,
        2880,
        1e12,
        2**47,
        2**62,
        -(2**62),
        1e308,
        -1e308,
    )
)


@fuzzed(80)
@given(st.data())
def test_states_to_go_on_from(data: st.DataObject) -> None:
    tree = at = msgspec.to_builtins(a_state())
    while True:
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if not at[key] or not isinstance(at[key], dict | list) or data.draw(st.booleans()):
            break
        at = at[key]
    at[key] = data.draw(NUMBERS)
    try:
        state = msgspec.json.decode(json.dumps(tree), type=EpocherState)
    except msgspec.ValidationError:
        return  # then a new night begins, as with one that is not sound
    if not state.sound:
        return
    epocher = Epocher(SFREQ, MONTAGE)
    epocher.resume(state)
    for epoch in epocher.push(Chunk(100 + np.arange(QUIET.shape[1]) / SFREQ, QUIET)):
        assert np.isfinite(epoch.in_scale).all()


@fuzzed(60)
@given(spoiled(b'{"bed":"left","pid":1,"version":"1","started":"2026-11-22T22:00:00Z"}'))
def test_signs_of_life(tmp_path: Path, capfd: Out, data: bytes) -> None:
    (tmp_path / "nights.sqlite.left.health").write_bytes(data)
    (tmp_path / "nights.sqlite.left.lock").write_bytes(data)
    with survived(tmp_path, capfd, SleepstreamError):
        health(tmp_path / "nights.sqlite", BED, as_json=False)
