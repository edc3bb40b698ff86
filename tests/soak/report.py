"""What the soak says: what was seen enters, tables and a verdict leave."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
from sleepstream_training.evaluation.tables import Column, Table
from soak.flat import Comparison, Trend, Verdict, compare, step, trend
from soak.live import Count, Lived, Said
from soak.plan import QUIET_S
from soak.watch import Look
from soak.week import Week

import sleepstream
from sleepstream.messages import EPOCH_S

EPOCHS_PER_H = 120
EPOCHS_PER_DAY = 24 * EPOCHS_PER_H
N_QUIET = int(QUIET_S / EPOCH_S)

MORE_MIB = {"fast": 8.0, "hour": 2.0, "week": 4.0}
"""Memory that may come in the second half of each part. At speed more than elsewhere: liblsl keeps
the room of its largest backlog, and the queue of one connection takes 5.5 MiB."""

MORE_WAL_MIB = 1.0
MORE_THREADS = MORE_FILES = 0.5
MORE_COST = 0.1
"""Fraction by which an epoch may become dearer, and a latency longer."""

HEAD = ("what", "earlier", "later", "growth", "allowed", "verdict")

ENOUGH_S, ENOUGH_EPOCHS = 1200.0, 4 * EPOCHS_PER_H
"""A part that is shorter in both is over before anything could be told."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table, and whether it is as it should be."""

    cells: tuple[str, ...]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Report:
    """All of it.

    Attributes
    ----------
    tables : tuple of Table
        For people and documents.
    failures : tuple of str
        What is not as it should be; nothing where the soak held.
    """

    tables: tuple[Table, ...]
    failures: tuple[str, ...]


def report(lived: Lived, week: Week, parts: tuple[str, str, str]) -> Report:
    """Judge what was seen.

    Parameters
    ----------
    lived : Lived
        Of the daemon.
    week : Week
        Of the process without the wire.
    parts : tuple of str
        What the three parts are called.
    """
    at_speed, in_hour, in_week = parts
    fast = _of_process(lived.fast, MORE_MIB["fast"])
    hour = [*_of_process(lived.slow, MORE_MIB["hour"]), _left_behind(lived), _latency(lived)]
    days = [*_of_process(week.looks, MORE_MIB["week"]), *_cost(week)]
    counts = [_count(f"{at_speed}, then {in_hour}", lived.count), _count_week(in_week, week)]
    tables = (
        Table("soak-epochs", "Epochs", _columns(_COUNTS), [line.cells for line in counts]),
        _table("soak-fast", at_speed, fast),
        _table("soak-hour", in_hour, hour),
        _table("soak-week", in_week, days),
        _conditions(lived, week),
    )
    named = zip((at_speed, in_hour, in_week, "epochs"), (fast, hour, days, counts), strict=True)
    failures = tuple(
        f"{part}: {line.cells[0]}"
        for part, lines in named
        for line in lines
        if line.verdict is Verdict.GROWS
    )
    return Report(tables, failures)


_COUNTS = ("part", "expected", "on record", "unscorable", "lost", "doubled", "faults", "events")

Pick = Callable[[Look], float]


def _of_process(looks: Sequence[Look], more_mib: float) -> list[Line]:
    """Judge what was seen of a process, once for each epoch from the first on."""
    seen = list({look.epoch: look for look in looks if look.epoch >= 0}.values())
    if not seen:
        return []
    wanted: tuple[tuple[str, Pick, float], ...] = (
        ("memory, resident, MiB", lambda look: look.rss_mib, more_mib),
        ("memory of its own, MiB", lambda look: look.own_mib, more_mib),
        ("threads", lambda look: look.n_threads, MORE_THREADS),
        ("file handles", lambda look: look.n_files, MORE_FILES),
    )
    at = [look.epoch for look in seen]  # what an epoch leaves behind, however long it took
    trends = {
        name: trend(at, [pick(look) for look in seen], allowed) for name, pick, allowed in wanted
    }
    middle = len(seen) // 2
    halves = seen[: middle + 1], seen[middle:]
    before, after = (max(look.wal_mib for look in half) for half in halves)
    trends["largest write-ahead log, MiB"] = step(before, after, MORE_WAL_MIB)
    if _n_epochs(seen) >= ENOUGH_EPOCHS:
        before, after = (_mib_per_h(half) for half in halves)
        trends["record, MiB per hour of night"] = step(before, after, MORE_COST * before)
    enough = _enough(seen)
    return [_line(name, found if enough else _undecided(found)) for name, found in trends.items()]


def _enough(looks: Sequence[Look]) -> bool:
    return looks[-1].at_s - looks[0].at_s >= ENOUGH_S or _n_epochs(looks) >= ENOUGH_EPOCHS


def _n_epochs(looks: Sequence[Look]) -> int:
    return looks[-1].epoch - looks[0].epoch


def _undecided(found: Trend) -> Trend:
    return replace(found, verdict=Verdict.OPEN)


def _mib_per_h(looks: Sequence[Look]) -> float:
    mib = looks[-1].record_mib - looks[0].record_mib
    return EPOCHS_PER_H * mib / max(1, _n_epochs(looks))


def _left_behind(lived: Lived) -> Line:
    """Hold the threads after all faults against those before the first."""
    began = [look.n_threads for look in lived.fast if 0 <= look.epoch < N_QUIET]
    before = float(np.median(began)) if began else np.nan
    now = float(np.median([look.n_threads for look in lived.slow]))
    found = step(before, now, MORE_THREADS)
    return _line(
        "threads, before all faults and now", found if _enough(lived.slow) else _undecided(found)
    )


def _latency(lived: Lived) -> Line:
    """Hold the latencies of the old daemon against those of one that was just started."""
    young, old = _ms(lived.said_young), _ms(lived.said_slow)
    return _compared("latency p99, ms: a fresh daemon, and this one", compare(young, old))


def _cost(week: Week) -> list[Line]:
    """Judge what an epoch cost: on the whole, and at worst in the first day and in the last."""
    at = np.arange(len(week.cost), dtype=float)
    usual = trend(at.tolist(), week.cost, MORE_COST * float(np.median(week.cost)))
    day = min(EPOCHS_PER_DAY, len(week.cost) // 4)
    ends = compare(week.cost[:day], week.cost[-day:])
    enough = _enough(week.looks)
    return [
        _line("an epoch, in steps of the encoder", usual if enough else _undecided(usual)),
        _compared("the same, p99: the first day, and the last", ends),
    ]


def _ms(said: Sequence[Said]) -> list[float]:
    return [each.latency_ms for each in said]


def _compared(name: str, found: Comparison) -> Line:
    low, high = found.interval
    cells = (f"{found.early:.2f}", f"{found.late:.2f}", f"{found.ratio - 1:+.0%}")
    between = "" if np.isnan(low) else f" [{low - 1:+.0%}, {high - 1:+.0%}]"
    ends = (f"{cells[2]}{between}", f"{MORE_COST:.0%}", str(found.verdict))
    return Line((name, *cells[:2], *ends), found.verdict)


def _line(name: str, found: Trend) -> Line:
    numbers = (f"{value:.2f}" for value in (found.earlier, found.later))
    ends = (f"{found.growth:+.2f}", f"{found.allowed:.2f}", str(found.verdict))
    return Line((name, *numbers, *ends), found.verdict)


def _count(part: str, count: Count) -> Line:
    numbers = (
        count.expected,
        count.recorded,
        count.unscorable,
        count.lost,
        count.doubled,
        count.n_faults,
        count.n_events,
    )
    verdict = Verdict.GROWS if count.lost or count.doubled else Verdict.FLAT
    return Line((part, *map(str, numbers)), verdict)


def _count_week(part: str, week: Week) -> Line:
    lost = week.n_expected - week.n_recorded
    cells = (part, str(week.n_expected), str(week.n_recorded), "–", str(max(0, lost)))
    verdict = Verdict.GROWS if lost else Verdict.FLAT
    return Line((*cells, str(max(0, -lost)), "–", "–"), verdict)


def _columns(names: Sequence[str]) -> list[Column]:
    return [Column(name) for name in names]


def _table(name: str, title: str, lines: Sequence[Line]) -> Table:
    return Table(name, title, _columns(HEAD), [line.cells for line in lines])


def _conditions(lived: Lived, week: Week) -> Table:
    cores = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    fast, hour = (f"{_waited(looks):.0%}" for looks in (lived.fast, lived.slow))
    rows = [
        ("when", f"{date.today():%Y-%m-%d}, sleepstream {sleepstream.__version__}"),
        ("where", cores),
        ("others", f"the daemon waited for a core {fast} of the time at speed, {hour} of the hour"),
        ("a step of the encoder", f"{week.step_ms:.1f} ms"),
    ]
    return Table("soak-conditions", "Conditions", _columns(("", " ")), rows)


def _waited(looks: Sequence[Look]) -> float:
    """Return for which part of the time the main thread could have computed and had no core."""
    first, last = looks[0], looks[-1]
    return (last.waited_s - first.waited_s) / max(last.at_s - first.at_s, 1e-9)
