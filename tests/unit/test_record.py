"""The night on disk, and what happens when the disk says no."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from sleepstream.commands.record import Record
from sleepstream.config import Settings
from sleepstream.errors import StoreError
from sleepstream.messages import DisorderScore, Event, Quality, Stage, StageEstimate, frozen
from sleepstream.store.nights import NightStore


def an_estimate(epoch: int, *, final: bool = True) -> StageEstimate:
    return StageEstimate(
        bed="bed1",
        epoch=epoch,
        onset_s=100.0 + 30 * epoch,
        end_s=130.0 + 30 * epoch,
        stage=Stage.N2,
        probs=frozen([0, 0, 1, 0, 0]),
        encoder_probs=None,
        confidence=1.0,
        quality=Quality(1.0),
        valid=1.0,
        forecast=frozen(np.full((20, 5), 0.2)),
        p_wake_5min=0.1,
        p_rem_5min=0.1,
        disorder=DisorderScore("x", None, None, "none"),
        final=final,
        model="0",
    )


class Bench:
    """A record in a file, with a switch that makes the file refuse to be written."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "nights.sqlite"
        self.warnings: list[str] = []
        self.store = NightStore(self.path, wait_s=0.05)
        self.other = sqlite3.connect(self.path, isolation_level=None)
        self.record = Record(
            self.store,
            Settings(),
            self.warnings.append,
            source="EEG",
            channel="Cz",
            sfreq=100.0,
            started_utc=datetime(2026, 1, 1, tzinfo=UTC),
            synthetic=False,
        )

    def refuse(self) -> None:
        self.other.execute("BEGIN IMMEDIATE")

    def allow(self) -> None:
        self.other.execute("ROLLBACK")

    def epochs(self) -> list[int]:
        return [e.epoch for e in self.store.estimates("last")]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[[], Bench]]:
    made: list[Bench] = []

    def make() -> Bench:
        made.append(Bench(tmp_path))
        return made[-1]

    yield make
    for each in made:
        each.other.close()
        each.store.close()


def test_a_night_begins_with_its_first_epoch(bench: Callable[[], Bench]) -> None:
    night = bench()
    night.record.tell(Event("connected", 99.0, "connected"))
    night.record.show(an_estimate(0, final=False))
    assert night.store.nights() == []
    night.record.show(an_estimate(0))
    night.record.show(an_estimate(1))
    night.record.end("over")
    (summary,) = night.store.nights()
    assert (summary.n_epochs, summary.ended, summary.id) == (2, "over", night.record.night_id)
    assert [e.text for e in night.store.events("last")] == ["connected"]
    assert night.warnings == []


def test_what_the_disk_refuses_is_held_said_once_and_written_later(
    bench: Callable[[], Bench],
) -> None:
    night = bench()
    night.record.show(an_estimate(0))
    night.refuse()
    for epoch in (1, 2, 3):
        night.record.show(an_estimate(epoch))
    assert len(night.warnings) == 1
    assert night.warnings[0].startswith("NOT ON DISK")
    assert night.epochs() == [0]
    night.allow()
    night.record.show(an_estimate(4))
    assert night.epochs() == [0, 1, 2, 3, 4]
    assert night.warnings[1] == "on disk again, with the 3 epochs that were held"


def test_a_night_that_could_not_begin_begins_later(bench: Callable[[], Bench]) -> None:
    night = bench()
    night.refuse()
    night.record.show(an_estimate(0))
    night.allow()
    night.record.end("over")
    assert night.epochs() == [0]


def test_what_is_left_at_the_end_goes_beside(
    bench: Callable[[], Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    night = bench()
    night.record.show(an_estimate(0))
    night.refuse()
    night.record.show(an_estimate(1))
    night.record.show(an_estimate(2))
    with pytest.raises(StoreError, match="the last 2 epochs are in") as caught:
        night.record.end("over")
    (beside,) = tmp_path.glob("sleepstream-*.jsonl")
    assert str(beside) in str(caught.value)
    lines = beside.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


def test_a_first_epoch_that_no_disk_would_take_does_not_end_the_night(
    bench: Callable[[], Bench],
) -> None:
    night = bench()
    night.record.tell(Event("connected", 99.0, "connected"))
    night.record.show(replace(an_estimate(0), confidence=float("nan")))
    assert "left out" in night.warnings[0]
    night.record.show(an_estimate(1))
    assert night.epochs() == [1]


def test_an_entry_that_no_disk_would_take_does_not_hold_up_the_others(
    bench: Callable[[], Bench],
) -> None:
    night = bench()
    for epoch in (0, 0, 1):  # an epoch stands once
        night.record.show(an_estimate(epoch))
    assert night.epochs() == [0, 1]
    assert "left out" in night.warnings[0]
