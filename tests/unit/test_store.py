import itertools
import json
import multiprocessing
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sleepstream.errors import StoreError
from sleepstream.messages import (
    ClockOffset,
    DisorderScore,
    Event,
    Float32Array,
    Quality,
    Stage,
    StageEstimate,
    frozen,
)
from sleepstream.store.lock import bed_lock
from sleepstream.store.nights import IN_MEMORY, Night, NightStore
from sleepstream.store.schema import SCHEMA_VERSION


def an_estimate(
    epoch: int = 0, stage: Stage | None = Stage.N2, bed: str = "1", final: bool = True
) -> StageEstimate:
    return StageEstimate(
        bed=bed,
        epoch=epoch,
        onset_s=1000.1 + 30 * epoch,
        end_s=1030.1 + 30 * epoch,
        stage=stage,
        probs=frozen([0.1, 0.1, 0.6, 0.1, 0.1]),
        encoder_probs=None if stage is None else frozen([0.2, 0.1, 0.5, 0.1, 0.1]),
        confidence=0.0 if stage is None else 0.6,
        quality=Quality(0.75, ("flat 12 s",)),
        valid=1.0,
        forecast=frozen(np.full((20, 5), 0.2)),
        p_wake_5min=0.3,
        p_rem_5min=0.1,
        disorder=DisorderScore("narcolepsy", None, None, "abstains before 3 hours"),
        final=final,
        model="abc123",
        latency_ms=12.3,
    )


def begin(store: NightStore, bed: str = "1") -> Night:
    return store.begin(
        bed,
        source="EEG",
        sfreq=256.0,
        channel="Fpz-Cz",
        started_s=1000.1,
        started_utc="2026-11-22T22:00:00Z",
        models={"encoder": "abc"},
        settings_json="{}",
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[NightStore]:
    with NightStore(tmp_path / "nights.sqlite") as store:
        yield store


def test_parent_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "nights.sqlite"
    with NightStore(path) as store:
        assert store.nights() == []
    assert path.is_file()


@pytest.mark.skipif(os.name == "nt", reason="rights are other things there")
def test_what_is_made_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "nights.sqlite"
    with NightStore(path) as store, bed_lock(path, "left"):
        begin(store).append(an_estimate())
        made = {file: file.stat().st_mode & 0o777 for file in (tmp_path / "new").rglob("*")}
    assert made.pop(tmp_path / "new" / "deep") == 0o700
    assert len(made) == 4  # the database, its log, the log's index, and the lock
    assert set(made.values()) == {0o600}
    assert tmp_path.joinpath("new").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.name == "nt", reason="rights are other things there")
def test_a_file_that_is_there_keeps_its_rights(tmp_path: Path) -> None:
    path = tmp_path / "nights.sqlite"
    path.touch(0o640)
    path.chmod(0o640)
    with NightStore(path) as store:
        begin(store)
    assert path.stat().st_mode & 0o777 == 0o640


def test_an_estimate_is_on_disk_when_append_returns(store: NightStore) -> None:
    begin(store).append(an_estimate())
    with sqlite3.connect(store.path) as other:
        row = other.execute("SELECT epoch, stage FROM epoch").fetchone()
    other.close()
    assert row == (0, "N2")


def test_the_file_is_written_ahead_and_synced_in_full(store: NightStore) -> None:
    ask = store._db.execute
    assert ask("PRAGMA journal_mode").fetchone() == ("wal",)
    assert ask("PRAGMA synchronous").fetchone() == (2,)
    assert ask("PRAGMA foreign_keys").fetchone() == (1,)


def test_a_night_of_a_reopened_store_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "nights.sqlite"
    with NightStore(path) as store:
        night = begin(store)
        for epoch, stage in enumerate([Stage.W, Stage.N1, None, Stage.REM]):
            night.append(an_estimate(epoch, stage))
        night.end("the stream ended")
    with NightStore(path) as store:
        assert [e.stage for e in store.estimates(night.id)] == [Stage.W, Stage.N1, None, Stage.REM]
        (summary,) = store.nights()
    assert (summary.n_epochs, summary.tst_min, summary.ended) == (4, 1.0, "the stream ended")
    assert summary.hours == pytest.approx(4 * 30 / 3600)


def test_hours_count_the_epochs_that_are_missing(store: NightStore) -> None:
    begin(store).append(an_estimate(epoch=119))
    assert store.nights()[0].hours == 1.0


def test_a_night_that_was_cut_off_has_no_reason_to_have_ended(store: NightStore) -> None:
    begin(store)
    assert store.nights()[0].ended is None


def test_the_first_reason_to_end_stays(store: NightStore) -> None:
    night = begin(store)
    night.end("the stream ended")
    night.end("stopped")
    assert store.find("last").ended == "the stream ended"


def test_events_come_back_in_order(store: NightStore) -> None:
    night = begin(store)
    events = [Event("connected", 1000.1, "EEG on host"), Event("gap", 1010.0, "5 s missing")]
    for event in events:
        night.event(event)
    assert list(store.events(night.id)) == events


def test_the_senders_clock_comes_back_in_order(store: NightStore) -> None:
    night = begin(store)
    measured = [ClockOffset(1000.0, -3.25, 1e-4), ClockOffset(1060.0, -3.2502, 2e-4)]
    for offset in measured:
        night.clock(offset)
    assert list(store.clock(night.id)) == measured


def test_a_provisional_estimate_is_refused(store: NightStore) -> None:
    with pytest.raises(ValueError, match="provisional"):
        begin(store).append(an_estimate(final=False))


def test_an_estimate_of_another_bed_is_refused(store: NightStore) -> None:
    with pytest.raises(ValueError, match="bed '2'"):
        begin(store, bed="1").append(an_estimate(bed="2"))


def test_an_epoch_is_never_replaced(store: NightStore) -> None:
    night = begin(store)
    night.append(an_estimate(stage=Stage.N2))
    with pytest.raises(StoreError, match="never changed"):
        night.append(an_estimate(stage=Stage.W))
    assert [e.stage for e in store.estimates(night.id)] == [Stage.N2]


def test_the_same_epoch_number_in_two_nights_is_fine(store: NightStore) -> None:
    for night in (begin(store), begin(store, bed="2")):
        night.append(an_estimate(bed=night.bed))
    assert [night.n_epochs for night in store.nights()] == [1, 1]


def test_a_night_is_found_by_id_by_its_beginning_and_as_the_last(store: NightStore) -> None:
    first, last = begin(store), begin(store, bed="2")
    assert store.find(first.id).bed == "1"
    assert store.find(first.id[:7]).bed == "1"
    assert store.find("last").id == last.id


@pytest.mark.parametrize("which", ["", "nobody"])
def test_a_night_that_is_not_settled_lists_the_candidates(store: NightStore, which: str) -> None:
    ids = {begin(store).id, begin(store).id}
    with pytest.raises(StoreError) as caught:
        store.find(which)
    assert all(night_id in caught.value.found for night_id in ids)


def test_an_empty_store_has_no_last_night(store: NightStore) -> None:
    with pytest.raises(StoreError, match="0 of 0 nights"):
        store.estimates("last")


def test_ids_hold_no_name(store: NightStore) -> None:
    night = begin(store, bed="Ada Lovelace")
    assert len(night.id) == 8
    int(night.id, 16)


def test_a_summary_is_plain_json(store: NightStore) -> None:
    begin(store)
    fields = json.loads(json.dumps(store.nights()[0].as_json()))
    assert fields["bed"] == "1"
    assert fields["synthetic"] is False


def test_names_that_are_no_unicode_are_kept_as_far_as_they_are(store: NightStore) -> None:
    night = begin(store, bed="caf\udce9")
    night.append(an_estimate(bed="caf\udce9"))
    assert store.find("last").bed == "caf?"


def test_a_store_in_memory_keeps_a_night_too() -> None:
    with NightStore(IN_MEMORY) as store:
        begin(store).append(an_estimate())
        assert store.find("last").n_epochs == 1


def test_the_list_of_nights_reads_no_estimate(store: NightStore) -> None:
    begin(store).append(an_estimate())
    steps: list[str] = []
    store._db.set_trace_callback(steps.append)
    store.nights()
    store._db.set_trace_callback(None)
    plan = store._db.execute("EXPLAIN QUERY PLAN " + steps[0]).fetchall()
    assert "USING COVERING INDEX stage_of_night" in " ".join(row[-1] for row in plan)


# What docs/outputs.md says

DOCUMENT = Path(__file__).parents[2] / "docs" / "outputs.md"


@pytest.mark.parametrize(
    ("question", "answer"),
    [(0, [(0, 1000.1, "N2", 0.6), (1, 1030.1, None, 0.0)]), (1, [("N2", 0.5), ("?", 0.5)])],
)
def test_the_example_queries_answer(
    store: NightStore, question: int, answer: list[tuple[object, ...]]
) -> None:
    night = begin(store)
    night.append(an_estimate(0))
    night.append(an_estimate(1, stage=None))
    queries = re.findall(r"```sql\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    rows = store._db.execute(queries[question]).fetchall()
    assert sorted(row[-len(answer[0]) :] for row in rows) == sorted(answer)


@pytest.mark.parametrize("table", ["night", "epoch", "signal", "event"])
def test_every_column_is_documented(store: NightStore, table: str) -> None:
    columns = store._db.execute("SELECT name FROM pragma_table_info(?)", (table,)).fetchall()
    section = DOCUMENT.read_text(encoding="utf-8").partition("## The record")[2]
    (line,) = re.findall(rf"^\| `{table}` \|.*", section, re.MULTILINE)
    assert {name for (name,) in columns} <= set(re.findall(r"`(\w+)`", line))


# What goes wrong


def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Ada, " * 100, encoding="utf-8")
    with pytest.raises(StoreError, match="name another file"):
        NightStore(path)
    assert path.read_text(encoding="utf-8").startswith("Dear Ada")


def test_a_database_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE recipe (cake TEXT)")
    with pytest.raises(StoreError, match="another program"):
        NightStore(path)
    tables = other.execute("SELECT name FROM sqlite_master").fetchall()
    other.close()
    assert tables == [("recipe",)]


def test_a_newer_store_is_refused_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "nights.sqlite"
    with NightStore(path) as store:
        store._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(StoreError, match="upgrade sleepstream"):
        NightStore(path)


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no folder"):
        NightStore(tmp_path)


def test_a_store_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="another place"):
        NightStore(tmp_path / "file" / "nights.sqlite")


def append_for_ever(night: Night, first: int) -> None:
    for epoch in itertools.count(first):
        night.append(an_estimate(epoch))


def test_a_full_disk_costs_no_recorded_epoch_and_the_next_try_succeeds(store: NightStore) -> None:
    night = begin(store)
    night.append(an_estimate(0))
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="free some space"):
        append_for_ever(night, first=1)
    store._db.execute(f"PRAGMA max_page_count = {pages + 1000}")
    n_kept = store.find("last").n_epochs
    night.append(an_estimate(n_kept))
    assert [e.epoch for e in store.estimates(night.id)] == list(range(n_kept + 1))


def test_a_store_that_another_program_holds_says_so(tmp_path: Path) -> None:
    path = tmp_path / "nights.sqlite"
    with NightStore(path, wait_s=0.0) as store:
        night = begin(store)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another program is writing"):
            night.append(an_estimate())
        other.execute("COMMIT")
        other.close()
        night.append(an_estimate())


def test_a_store_that_may_only_be_read_says_so(store: NightStore) -> None:
    night = begin(store)
    store._db.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError, match="writable"):
        night.append(an_estimate())


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    with NightStore(tmp_path / "nights.sqlite") as store:
        night = begin(store)
    with pytest.raises(StoreError, match="closed"):
        night.append(an_estimate())


def test_settings_that_are_no_json_are_refused(store: NightStore) -> None:
    with pytest.raises(StoreError):
        store.begin(
            "1",
            source="EEG",
            sfreq=100.0,
            channel="Fpz-Cz",
            started_s=0.0,
            started_utc="2026-11-22T22:00:00Z",
            models={},
            settings_json="{",
        )


# Several beds, one file


def write_a_night(path: Path, bed: str, n_epochs: int) -> None:
    with NightStore(path) as store:
        night = begin(store, bed)
        for epoch in range(n_epochs):
            night.append(an_estimate(epoch, bed=bed))
        night.end("done")


def test_processes_that_make_and_write_one_store_together_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "nights.sqlite"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_a_night, args=(path, bed, 100)) for bed in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    with NightStore(path) as store:
        nights = store.nights()
        assert sorted((night.bed, night.n_epochs) for night in nights) == [("a", 100), ("b", 100)]
        for night in nights:
            assert [e.epoch for e in store.estimates(night.id)] == list(range(100))


def test_a_reader_in_the_middle_of_a_night_does_not_hold_up_the_writer(store: NightStore) -> None:
    night = begin(store)
    for epoch in range(50):
        night.append(an_estimate(epoch))
    with NightStore(store.path, wait_s=0.0) as reader:
        reading = reader.estimates(night.id)
        next(reading)
        night.append(an_estimate(50))
        assert len(list(reading)) == 49, "the reader sees the night as it was when it began"


# What it takes to go on with a night, and to stage it once more


def signal(seed: int) -> Float32Array:
    return frozen(np.random.default_rng(seed).normal(size=(1, 3000)))


def test_an_epoch_comes_back_as_it_was_staged(store: NightStore) -> None:
    night = begin(store)
    night.append(an_estimate(0), signal(0))
    night.append(an_estimate(1, stage=None), signal(1))
    one, other = store.epochs(night.id)
    assert (one.index, one.onset_s, one.end_s, one.valid) == (0, 1000.1, 1030.1, 1.0)
    assert (one.quality, one.final) == (Quality(0.75, ("flat 12 s",)), True)
    assert one.data.tobytes() == signal(0).tobytes()
    assert (one.scorable, other.scorable) == (True, False)
    assert not one.data.flags.writeable


def test_a_signal_that_is_damaged_is_no_signal(store: NightStore) -> None:
    begin(store).append(an_estimate(), signal(0))
    store._db.execute("UPDATE signal SET samples = X'00'")
    with pytest.raises(StoreError, match="--keep-signal"):
        list(store.epochs("last"))


def test_an_epoch_and_its_signal_are_written_together_or_not_at_all(store: NightStore) -> None:
    night = begin(store)
    store._db.execute(
        "CREATE TRIGGER no BEFORE INSERT ON signal BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    with pytest.raises(StoreError):
        night.append(an_estimate(), signal(0))
    assert list(store.estimates(night.id)) == []
    store._db.execute("DROP TRIGGER no")
    night.append(an_estimate(), signal(0))
    assert len(list(store.epochs(night.id))) == 1


def begin_live(store: NightStore, stream: str = '{"name": "EEG"}') -> Night:
    return store.begin(
        "1",
        source="EEG",
        sfreq=256.0,
        channel="Fpz-Cz",
        started_s=1000.1,
        started_utc="2026-11-22T22:00:00Z",
        models={"encoder": "abc"},
        settings_json="{}",
        stream=stream,
    )


def test_the_last_night_of_a_stream_is_known_by_its_last_epoch(store: NightStore) -> None:
    night = begin_live(store)
    begin(store).append(an_estimate())  # a file that was scored meanwhile
    assert store.last_live("1") is None
    for epoch in (0, 1):
        night.append(an_estimate(epoch), signal(epoch), state=f"[{epoch}]")
    live = store.last_live("1")
    assert live is not None
    assert (live.id, live.n_epochs, live.end_s, live.state) == (night.id, 2, 1060.1, "[1]")
    assert (live.stream, live.models, live.ended) == ('{"name": "EEG"}', '{"encoder": "abc"}', None)
    assert store.last_live("2") is None


def test_a_night_that_is_taken_up_again_has_not_ended(store: NightStore) -> None:
    night = begin_live(store)
    night.append(an_estimate(0))
    night.end("stopped")
    again = store.go_on(night.id, "1")
    assert store.find("last").ended is None
    again.append(an_estimate(1))
    again.end("the stream ended")
    assert (store.find("last").n_epochs, store.find("last").ended) == (2, "the stream ended")


def test_a_night_runs_while_its_bed_is_staged_and_is_interrupted_after(store: NightStore) -> None:
    begin_live(store)
    begin_live(store)
    begin(store).end("end of the recording")
    with bed_lock(store.path, "1"):
        assert [night.state for night in store.nights()] == [
            "interrupted",
            "running",
            "ended",
        ]
    assert [night.state for night in store.nights()] == ["interrupted", "interrupted", "ended"]
