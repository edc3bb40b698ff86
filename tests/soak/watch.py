"""A process, looked at from outside: what Linux says about it, and how large its record is.

Enters: a process id and the file of its record. Leaves: `Look`, one for each time.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

MIB = 1024.0**2
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Look:
    """A process at one moment.

    Attributes
    ----------
    at_s : float
        When, on our monotonic clock.
    epoch : int
        The last one that was final; -1 before the first.
    rss_mib, pss_mib, own_mib : float
        Memory that is resident; the same, with what is shared divided by those who share it; and
        what no file stands behind (heap and stacks). Only the last is nobody else's business.
    n_threads, n_files : int
        Threads, open file handles.
    switches : int
        Times that the main thread let go of its core or lost it.
    cpu_s, waited_s : float
        Time that all threads computed, and that the main one could have and had no core.
    record_mib, wal_mib : float
        What the record holds, wherever SQLite has put it so far, and the size of its write-ahead
        log.
    """

    at_s: float
    epoch: int
    rss_mib: float
    pss_mib: float
    own_mib: float
    n_threads: int
    n_files: int
    switches: int
    cpu_s: float
    waited_s: float
    record_mib: float
    wal_mib: float


def look(pid: int, record: Path, epoch: int) -> Look:
    """Look at a process.

    Parameters
    ----------
    pid : int
        Which one; it may be ours.
    record : Path
        The file of its record.
    epoch : int
        Its last final epoch.

    Raises
    ------
    OSError
        It has gone.
    """
    proc = Path("/proc") / str(pid)
    status = _fields(proc / "status")
    memory = _fields(proc / "smaps_rollup")
    # the second field is the name, which may have blanks in it, but stands in brackets
    times = (proc / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    waited_ns = int((proc / "schedstat").read_text(encoding="ascii").split()[1])
    return Look(
        at_s=time.monotonic(),
        epoch=epoch,
        rss_mib=memory["Rss"] / 1024,
        pss_mib=memory["Pss"] / 1024,
        own_mib=memory["Anonymous"] / 1024,
        n_threads=status["Threads"],
        n_files=sum(1 for _ in (proc / "fd").iterdir()),
        switches=status["voluntary_ctxt_switches"] + status["nonvoluntary_ctxt_switches"],
        cpu_s=(int(times[11]) + int(times[12])) / TICKS_PER_S,
        waited_s=waited_ns / 1e9,
        record_mib=_held(record) / MIB,
        wal_mib=_size(record.with_name(f"{record.name}-wal")) / MIB,
    )


def _fields(path: Path) -> dict[str, int]:
    """Read the lines of the form ``name: number``, with or without a unit."""
    pairs = (line.split(":", 1) for line in path.read_text(encoding="ascii").splitlines()[1:])
    numbers = ((pair[0], pair[-1].split()) for pair in pairs)
    return {name: int(words[0]) for name, words in numbers if words and words[0].isdecimal()}


def _held(record: Path) -> int:
    if not _size(record):
        return 0
    with closing(sqlite3.connect(f"{record.absolute().as_uri()}?mode=ro", uri=True)) as db:
        pages, size = (
            db.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size")
        )
    return int(pages[0] * size[0])


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
