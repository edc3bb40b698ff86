"""A disk that is full, that may only be read, or that somebody else has locked, in the middle of a
night: it goes on being staged and announced, and everything is on record in the end."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from sleepstream.commands.record import Record
from sleepstream.config import Settings
from sleepstream.messages import (
    EPOCH_N_SAMPLES,
    SFREQ,
    Chunk,
    DisorderScore,
    Epoch,
    Stage,
    StageEstimate,
    frozen,
)
from sleepstream.outputs.sink import Collected
from sleepstream.pipeline import Bed, stage_recording
from sleepstream.signal.epocher import Epocher
from sleepstream.signal.montage import choose
from sleepstream.store.nights import NightStore

resource = pytest.importorskip("resource", reason="no limits for files on this system")


class Plain:
    """An estimator that says wake to everything."""

    def step(self, epoch: Epoch) -> StageEstimate:
        return StageEstimate(
            bed="bed1",
            epoch=epoch.index,
            onset_s=epoch.onset_s,
            end_s=epoch.end_s,
            stage=Stage.W,
            probs=frozen([1, 0, 0, 0, 0]),
            encoder_probs=None,
            confidence=1.0,
            quality=epoch.quality,
            valid=epoch.valid,
            forecast=frozen(np.full((20, 5), 0.2)),
            p_wake_5min=1.0,
            p_rem_5min=0.0,
            disorder=DisorderScore("x", None, None, "none"),
            final=epoch.final,
            model="0",
        )

    peek = step

    def reset(self) -> None:
        pass


class Room:
    """A night that is staged into a record, as long as one likes."""

    def __init__(self, folder: Path) -> None:
        self.store = NightStore(folder / "nights.sqlite", wait_s=0.2)
        self.announced = Collected()
        self.warnings: list[str] = []
        montage = choose(["Cz"], ["uV"])
        self.record = Record(
            self.store,
            Settings(),
            self.warnings.append,
            source="EEG",
            channel="Cz",
            sfreq=SFREQ,
            started_utc=datetime(2026, 1, 1, tzinfo=UTC),
            synthetic=False,
            stream="{}",
        )
        self.bed = Bed(Epocher(SFREQ, montage), Plain(), keep=self.record.keep)
        self.n = 0

    def sleep(self, n_epochs: int) -> None:
        """Stage so many epochs more."""
        rng = np.random.default_rng(self.n)
        samples = (rng.normal(size=(1, n_epochs * EPOCH_N_SAMPLES)) * 20).astype(np.float32)
        stamps = (self.n + np.arange(samples.size)) / SFREQ
        self.n += samples.size
        chunk = Chunk(stamps, samples)
        sinks = [self.record, self.announced]
        stage_recording([chunk], self.bed, sinks, self.record.tell, lambda _: None)

    def recorded(self) -> int:
        return self.store.find("last").n_epochs

    def wake(self) -> None:
        """End the night; make sure that each epoch is on record once, with its signal."""
        self.record.end("over")
        said = [e.epoch for e in self.announced.final]
        assert said == list(range(self.n // EPOCH_N_SAMPLES))
        assert [e.epoch for e in self.store.estimates("last")] == said
        signals = list(self.store.epochs("last"))
        assert [e.index for e in signals] == said
        assert not any(np.array_equal(a.data, b.data) for a, b in pairwise(signals))
        events = [e.text for e in self.store.events("last")]
        assert [text for text in self.warnings if text in events] == self.warnings


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path)
    yield room
    room.store.close()


def assert_trouble(room: Room, words: str) -> None:
    """It was told once, and staging and announcing have gone on."""
    (warning,) = room.warnings
    assert warning.startswith("NOT ON DISK, kept in memory, staging goes on: ")
    assert words in warning
    assert room.recorded() < len(room.announced.final)


@contextmanager
def locked(room: Room) -> Iterator[None]:
    """Another program holds the whole file, readers and writers shut out."""
    with closing(sqlite3.connect(room.store.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def read_only(room: Room) -> Iterator[None]:
    room.store._db.execute("PRAGMA query_only = ON")
    yield
    room.store._db.execute("PRAGMA query_only = OFF")


@contextmanager
def full(room: Room) -> Iterator[None]:
    (pages,) = room.store._db.execute("PRAGMA page_count").fetchone()
    room.store._db.execute(f"PRAGMA max_page_count = {pages}")
    yield
    room.store._db.execute("PRAGMA max_page_count = 1000000")


@contextmanager
def failing(room: Room) -> Iterator[None]:
    """The operating system refuses to make the files any longer."""
    log = room.store.path.with_name("nights.sqlite-wal")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (locked, "database is locked"),
        (read_only, "readonly"),
        (full, "full"),
        (failing, "I/O error"),
    ],
)
def test_whatever_the_disk_says_the_night_goes_on_and_is_on_record_in_the_end(
    trouble: Callable[[Room], Iterator[None]], words: str, room: Room
) -> None:
    room.sleep(3)
    with trouble(room):
        room.sleep(7)
        assert_trouble(room, words)
    room.sleep(1)
    assert room.recorded() == 11
    assert room.warnings[1].startswith("on disk again, with the ")
    room.wake()


def test_trouble_at_the_first_epoch_only_delays_the_beginning_of_the_night(room: Room) -> None:
    with locked(room):
        room.sleep(2)
    assert room.store.nights() == []
    room.wake()
    assert room.recorded() == 2


def test_trouble_that_comes_twice_is_told_twice(room: Room) -> None:
    room.sleep(1)
    for _ in range(2):
        with locked(room):
            room.sleep(2)
        room.sleep(1)
    assert [text.split(",")[0] for text in room.warnings] == ["NOT ON DISK", "on disk again"] * 2
    assert room.warnings[1] == "on disk again, with the 2 epochs that were held"
    room.wake()


def test_a_reader_that_takes_all_night_holds_nothing_up(room: Room) -> None:
    room.sleep(2)
    with NightStore(room.store.path) as reader:
        reading = reader.epochs("last")
        next(reading)
        room.sleep(20)
        assert room.recorded() == 22
        assert len(list(reading)) == 1
    assert room.warnings == []
    room.wake()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes, where this may be made."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    command = [mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if not (mount and umount) or os.geteuid() or subprocess.run(command, check=False).returncode:
        pytest.skip("only root can make a small disk, and not everywhere")
    yield folder
    subprocess.run([umount, "-l", str(folder)], check=True)


def test_a_disk_that_is_really_full_takes_it_all_once_there_is_space(small_disk: Path) -> None:
    room = Room(small_disk)
    (small_disk / "ballast").write_bytes(bytes(3_500_000))
    room.sleep(40)
    assert_trouble(room, "full")
    (small_disk / "ballast").unlink()
    room.sleep(1)
    assert room.recorded() == 41
    room.wake()
    room.store.close()
