"""Whether the soak can fail: its verdicts on made-up series, its plan, its account of epochs."""

from __future__ import annotations

import mmap
import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sleepstream_replay.fault_log import FaultLog
from sleepstream_replay.faults_file import read_faults
from sleepstream_replay.injection import inject
from sleepstream_replay.recording import Channel, Recording
from soak.flat import Verdict, compare, trend
from soak.live import Count, Lived, Said
from soak.plan import DRAWS, n_epochs, plan
from soak.report import report
from soak.watch import Look, look
from soak.week import Week

HOURS = np.linspace(0.0, 12.0, 400)
NOISE = np.random.default_rng(5).normal(0.0, 0.3, HOURS.size)
LEVEL = 340.0 + NOISE


def verdict(values: np.ndarray, allowed: float = 2.0) -> Verdict:
    return trend(HOURS.tolist(), values.tolist(), allowed).verdict


def test_noise_is_flat() -> None:
    assert verdict(LEVEL) is Verdict.FLAT


def test_a_leak_grows() -> None:
    assert verdict(LEVEL + 0.5 * HOURS) is Verdict.GROWS
    assert verdict(LEVEL + 0.2 * HOURS) is Verdict.FLAT, "1.2 in the second half, 2 allowed"


@pytest.mark.parametrize("at_h", [7.0, 9.0, 10.0])
def test_a_step_in_the_second_half_grows(at_h: float) -> None:
    assert verdict(LEVEL + 3.0 * (at_h <= HOURS)) is Verdict.GROWS


def test_what_fills_up_once_and_stays_is_flat() -> None:
    assert verdict(LEVEL + 30.0 * (1.0 - np.exp(-HOURS))) is Verdict.FLAT


def test_what_shrinks_is_flat() -> None:
    assert verdict(LEVEL - HOURS) is Verdict.FLAT


def test_a_few_outliers_are_no_growth() -> None:
    values = LEVEL.copy()
    values[-20::2] += 100.0
    assert verdict(values) is Verdict.FLAT


def test_one_thread_more_grows() -> None:
    assert verdict(8.0 + (HOURS > 9.0), 0.5) is Verdict.GROWS
    assert verdict(8.0 + (np.arange(HOURS.size) % 5 == 0), 0.5) is Verdict.FLAT


def test_of_too_few_measurements_nothing_can_be_told() -> None:
    assert trend(range(40), range(40), 1.0).verdict is Verdict.OPEN


def latencies(seed: int, n: int = 1500) -> np.ndarray:
    return 12.0 * np.random.default_rng(seed).lognormal(0.0, 0.25, n)


def test_latencies_of_one_kind_do_not_differ() -> None:
    assert compare(latencies(1).tolist(), latencies(2).tolist()).verdict is not Verdict.GROWS
    assert compare(latencies(1).tolist(), latencies(1).tolist()).verdict is Verdict.FLAT


def test_latencies_that_are_half_as_long_again_grow() -> None:
    found = compare(latencies(1).tolist(), (1.5 * latencies(2)).tolist())
    assert found.verdict is Verdict.GROWS
    assert found.interval[0] < found.ratio < found.interval[1]


def test_what_chance_could_do_is_left_open() -> None:
    one, other = latencies(1, 500), latencies(2, 500)
    one[:3], other[:12] = 300.0, 300.0  # one slow moment more
    found = compare(one.tolist(), other.tolist())
    assert found.ratio > 1.1
    assert found.verdict is Verdict.OPEN
    assert compare(one[:100].tolist(), other.tolist()).verdict is Verdict.OPEN


@pytest.mark.parametrize("seed", range(8))
def test_a_plan_is_played_as_it_is_meant(seed: int, tmp_path: Path) -> None:
    drawn = plan(seed, 3.0, 100.0)
    assert drawn == plan(seed, 3.0, 100.0)
    drawn.write(tmp_path / "faults.toml")
    faults = read_faults(tmp_path / "faults.toml")
    assert (faults.faults, faults.seed) == (drawn.faults, seed)
    n = round(drawn.played_s * 100)
    recording = Recording.from_array("n", (Channel("C4", "EEG", "V"),), 100.0, np.zeros((1, n)))
    log = FaultLog(inject(faults, recording, n, 1.0), ("C4",), 0.0, lambda _: None)
    log.reach(n)
    # in the middle of an epoch: some seconds more or less make none
    for more_s in (-14.9, 0.0, 14.9):
        assert n_epochs(log.injected, 100.0, 100.0 + more_s) == n_epochs(log.injected, 100.0, 100.0)


def test_half_a_day_has_faults_of_every_kind() -> None:
    kinds = {fault.kind for fault in plan(20261122, 12.0, 3600.0).faults}
    assert len(kinds) == len({draw(np.random.default_rng(0), 9.0).kind for draw in DRAWS})


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="no /proc, as on Linux")
def test_a_look_sees_files_memory_and_the_record(tmp_path: Path) -> None:
    record = tmp_path / "n.sqlite"
    before = look(os.getpid(), record, -1)
    with closing(sqlite3.connect(record)) as db:
        db.execute("CREATE TABLE big (bytes BLOB)")
        db.execute("INSERT INTO big VALUES (zeroblob(1 << 20))")
        db.commit()
    # memory that is new for certain: an array may come to lie in what others have given back
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    with mmap.mmap(-1, 32 * 2**20, flags=private) as memory, record.open("rb"):
        memory.write(b"1" * len(memory))
        after = look(os.getpid(), record, 7)
    assert after.n_files == before.n_files + 1
    assert (before.record_mib, after.wal_mib, after.epoch) == (0, 0, 7)
    assert after.record_mib == pytest.approx(1, abs=0.02)
    assert after.own_mib > before.own_mib + 0.9 * 32
    assert after.cpu_s >= before.cpu_s


CALM = Look(0.0, 0, 340.0, 300.0, 215.0, 9, 69, 0, 0.0, 0.0, 0.0, 4.0)


def calm(n: int) -> list[Look]:
    return [replace(CALM, at_s=30.0 * k, epoch=2 * k, record_mib=0.03 * k) for k in range(n)]


def said(seed: int) -> list[Said]:
    return [Said(k // 6, k % 6 == 0, ms) for k, ms in enumerate(latencies(seed, 720))]


LIVED = Lived(calm(720), calm(720), said(1), said(2), said(2), Count(1559, 1559, 9, 0, 0, 99, 300))
WEEK = Week(calm(400), latencies(3, 20160).tolist(), 5.0, 20160, 20160)
PARTS = ("12 h at 100x", "60 min at 1x", "168 h in one process")


def test_a_calm_soak_holds_and_says_how_much() -> None:
    found = report(LIVED, WEEK, PARTS)
    assert found.failures == ()
    assert [table.name for table in found.tables] == [
        "soak-epochs", "soak-fast", "soak-hour", "soak-week", "soak-conditions",
    ]  # fmt: skip
    assert all(row[-1] == "flat" for table in found.tables[1:4] for row in table.rows)


def test_a_soak_that_was_too_short_for_an_epoch_leaves_all_open() -> None:
    none = replace(LIVED, fast=[replace(CALM, epoch=-1)], slow=[CALM], said_slow=[], said_young=[])
    found = report(none, WEEK, PARTS)
    assert found.failures == ()
    assert {row[-1] for table in found.tables[1:3] for row in table.rows} == {"cannot tell"}


@pytest.mark.parametrize(
    ("lived", "week", "failure"),
    [
        (replace(LIVED, count=replace(LIVED.count, lost=1)), WEEK, "epochs: 12 h at 100x"),
        (replace(LIVED, count=replace(LIVED.count, doubled=1)), WEEK, "epochs: 12 h at 100x"),
        (LIVED, replace(WEEK, n_recorded=20159), "epochs: 168 h in one process"),
        (
            replace(LIVED, slow=[replace(x, n_threads=10) for x in calm(720)]),
            WEEK,
            "60 min at 1x: threads, before",
        ),
        (
            replace(LIVED, fast=[replace(x, rss_mib=340 + x.at_s / 1000) for x in calm(720)]),
            WEEK,
            "12 h at 100x: memory",
        ),
        (
            replace(LIVED, said_slow=[replace(x, latency_ms=2 * x.latency_ms) for x in said(3)]),
            WEEK,
            "60 min at 1x: latency",
        ),
        (
            LIVED,
            replace(WEEK, cost=[(1 + k / 20160) * x for k, x in enumerate(WEEK.cost)]),
            "168 h in one process: an epoch",
        ),
    ],
)
def test_a_soak_in_which_something_grows_fails(lived: Lived, week: Week, failure: str) -> None:
    assert any(said.startswith(failure) for said in report(lived, week, PARTS).failures)
