"""Rows become the tables in ``docs/reliability.md``."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime

from reliability.crashes import Killed
from reliability.leaving import Departure
from reliability.oracle import Row
from sleepstream_training.evaluation.tables import Column, Table

import sleepstream

_FAULTS = (
    "what happens", "for", "epochs expected", "final", "unscorable", "lost", "doubled",
    "different", "stage again after", "well again after", "recorded",
)  # fmt: skip


def faults_table(rows: Sequence[Row]) -> Table:
    """Return what came out of the cases; a name is written once for all its lengths."""
    names = [row.case.what for row in rows]
    shown = [
        "" if name == before else name
        for name, before in zip(names, ["", *names[:-1]], strict=True)
    ]
    cells = [_cells(name, row) for name, row in zip(shown, rows, strict=True)]
    return _table("faults", "A night with faults", _FAULTS, cells)


def leaving_table(departures: Sequence[Departure]) -> Table:
    """Return how long it took a daemon to leave."""
    cells = [(d.while_it, f"{d.seconds:.1f} s", d.code) for d in departures]
    return _table("leaving", "SIGTERM", ("while it", "gone after", "exit code"), cells)


def kills_table(how: Killed) -> Table:
    """Return what is left of a night that was cut off many times."""
    names = ("kill -9 at random moments", "epochs on record", "lost, doubled or different")
    cells = [(str(how.n_kills), how.n_epochs, len(how.different))]
    return _table("kills", "kill -9", names, cells)


def _table(
    name: str, title: str, columns: Sequence[str], rows: Sequence[Sequence[str | int]]
) -> Table:
    where = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    note = f"sleepstream {sleepstream.__version__}, {datetime.now(UTC):%Y-%m-%d}, {where}."
    return Table(name, title, [Column(column) for column in columns], rows, note)


def _cells(name: str, row: Row) -> list[str | int]:
    return [
        name,
        f"{row.case.length_s:g} s" if row.case.length_s else "",
        row.expected,
        row.final,
        row.unscorable,
        row.lost,
        row.doubled,
        "–" if row.different is None else row.different,
        _seconds(row.stage_again_s),
        _seconds(row.back_s),
        row.recorded or "–",
    ]


def _seconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
