"""What goes wrong, as values: each `Case` is one row of the table in ``docs/reliability.md``.

A case says which faults the replay injects, or what is done to the daemon, at which speed, and what
the record has to say of it. `house` makes it happen, `oracle` judges.

Faults begin at `START_S` of signal, in the fourth epoch, and two whole epochs follow after them. A
fault of the signal or of the stamps is the same at any speed, so these nights are played fast.
Where the daemon's own timers have to notice something, it lasts as long on the wall's clock
(``wall_s``); where the pace itself says what happened, the night is played in real time, and the
fault comes in the second epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from math import ceil

from sleepstream_replay.faults import (
    Disconnect,
    Drift,
    Drop,
    Duplicate,
    Fault,
    Flat,
    Gain,
    Jump,
    LastingFault,
    Late,
    Mains,
    Nan,
    Rate,
    Saturation,
    SecondStream,
    Silence,
)  # fmt: skip

START_S, SOON_S = 100.0, 40.0
LENGTHS_S = (1.0, 10.0, 60.0)
FAST, STEADY, REAL = 60.0, 5.0, 1.0

OURS = "OURS"
"""Stands for the source_id of the stream, which is another one in each run."""


class Deed(Enum):
    """What is done to the daemon, or around it."""

    NOTHING = auto()
    KILL = auto()  # kill -9, and started again
    REPLACE = auto()  # Ctrl-C, and started again with --resume
    STOP = auto()  # SIGSTOP, SIGCONT
    LOCK = auto()  # another program holds the whole record
    READ = auto()  # another program reads the record
    FILL = auto()  # no space left
    REFUSE = auto()  # the operating system refuses every write


@dataclass(frozen=True, slots=True)
class Case:
    """One row.

    Attributes
    ----------
    what : str
        The row's first cell.
    length_s : float
        How long it lasts, in seconds; 0 where it has no length.
    faults : tuple of Fault
        What the replay injects.
    deed : Deed
        What is done to the daemon, for `length_s` of wall-clock time.
    speed : float
        Of the replay.
    told : tuple of str
        Words that the texts of the recorded events have to have, in this order.
    back : str
        With which word the daemon says that all is well again; empty where it need not.
    options : tuple of str
        Flags of ``sleepstream run``.
    exact : bool
        Whether it is known to the sample what the daemon was sent.
    ends_early : bool
        Whether nothing is staged any more after the first fault.
    """

    what: str
    length_s: float = 0.0
    faults: tuple[Fault, ...] = ()
    deed: Deed = Deed.NOTHING
    speed: float = FAST
    told: tuple[str, ...] = ()
    back: str = ""
    options: tuple[str, ...] = ()
    exact: bool = True
    ends_early: bool = False

    @property
    def name(self) -> str:
        """What ``--only`` looks at."""
        return f"{self.what} {self.length_s:g} s" if self.length_s else self.what

    @property
    def start_s(self) -> float:
        """Seconds of signal before anything happens."""
        return SOON_S if self.speed == REAL else START_S

    @property
    def played_s(self) -> float:
        """Seconds of signal that are played: two epochs and a half after the last fault."""
        ends_s = [fault.start_s + fault.reach_s for fault in self.faults]
        if not ends_s:  # what passes meanwhile, and while a daemon starts
            ends_s = [self.start_s + (self.length_s + 30) * self.speed]
        over_s = max(ends_s)
        return 30 * ceil(over_s / 30) + 75


def all_cases() -> tuple[Case, ...]:
    """Return every row in the order of the table."""
    return (*_signal(), *_time(), *_transport(), *_streams(), *_daemon())


def _signal() -> Iterator[Case]:
    for length_s in LENGTHS_S:
        yield _one("not a number", Nan(start_s=START_S, length_s=length_s))
    for length_s in LENGTHS_S:
        yield _one("flat line", Flat(start_s=START_S, length_s=length_s))
    for length_s in LENGTHS_S:
        yield _one("saturation", Saturation(start_s=START_S, length_s=length_s))
    for length_s in LENGTHS_S:
        yield _one("mains hum", Mains(start_s=START_S, length_s=length_s))
    for length_s in LENGTHS_S:
        yield _one("gain x 0.2", Gain(start_s=START_S, length_s=length_s, factor=0.2))


def _time() -> Iterator[Case]:
    slow = ("declares 256",)
    for length_s in (*LENGTHS_S, 300.0):
        told = slow if length_s > 120 else ()
        yield _one("rate 1 % low", Rate(start_s=START_S, length_s=length_s, percent=-1), told=told)
    for length_s in (*LENGTHS_S, 300.0):
        drift = Drift(start_s=START_S, length_s=length_s, ppm=200)
        yield _one("clock drifts, 200 ppm", drift)
    for length_s in LENGTHS_S:
        told = ("clock jumped back" if length_s > 30 else "late or twice",)
        jump = Jump(start_s=START_S, by_s=-length_s)
        yield Case("clock set back", length_s, (jump,), told=told)
    for length_s in LENGTHS_S:
        jump = Jump(start_s=SOON_S, by_s=length_s)
        # only the pace at which samples come tells a clock that was set from silence
        yield Case("clock set ahead", length_s, (jump,), speed=REAL, told=("jumped ahead",))


def _transport() -> Iterator[Case]:
    for length_s in LENGTHS_S:
        drop = Drop(start_s=START_S, length_s=length_s, chunk_s=0.2, probability=0.5)
        gap = ("nothing came for",) if length_s > 1 else ()  # less than half a second is none
        yield _one("half of the chunks lost", drop, told=gap)
    for length_s in LENGTHS_S:
        twice = Duplicate(start_s=START_S, length_s=length_s)
        yield _one("chunks twice", twice, told=("late or twice",))
    for length_s in LENGTHS_S:
        yield _one("chunks late, in order", Late(start_s=START_S, length_s=length_s))
    for length_s in LENGTHS_S:
        told = ("nothing came for", "jumped back" if length_s > 30 else "late or twice")
        late = Late(start_s=START_S, length_s=length_s, delay_s=5)
        yield _one("chunks late, overtaken", late, told=told)
    for length_s in LENGTHS_S:
        noticed = ("stalled", "connected") if length_s > 3 else ()
        silence = Silence(start_s=START_S, length_s=length_s, wall_s=length_s)
        yield _one(
            "silence",
            silence,
            told=(*noticed, "nothing came for"),
            back="connected" * bool(noticed),
        )


def _streams() -> Iterator[Case]:
    back = ("lost", "reconnected", "connected")
    for length_s in LENGTHS_S:
        leave = Disconnect(start_s=START_S, length_s=length_s, wall_s=length_s)
        yield _one(
            "disconnect, same source_id", leave, told=(*back, "nothing came for"), back="connected"
        )
    for length_s in LENGTHS_S:
        leave = Disconnect(start_s=SOON_S, length_s=length_s, wall_s=length_s, wait_s=0)
        told = (*back, "nothing came for")
        yield _one(
            "the same, and it sends at once",
            leave,
            speed=REAL,
            told=told,
            back="connected",
            exact=False,
        )
    for length_s in LENGTHS_S:
        leave = Disconnect(
            start_s=START_S, length_s=length_s, wall_s=length_s, wait_s=20, source_id="another"
        )
        yield _one(
            "disconnect, new source_id",
            leave,
            told=("lost", "refused", "did not return"),
            options=("--grace", f"{length_s + 15:g}"),
            ends_early=True,
        )
    leave = Disconnect(start_s=START_S, length_s=10, wall_s=10, wait_s=90, source_id="another")
    yield _one(
        "the same, started again with `--resume`",
        leave,
        Deed.REPLACE,
        told=("lost", "refused", "going on"),
        back="going on",
    )
    for length_s in LENGTHS_S:
        second = SecondStream(start_s=START_S, length_s=length_s * STEADY)
        yield Case("second stream of that name", length_s, (second,), speed=STEADY)
    twin = (
        SecondStream(start_s=SOON_S - 5, length_s=25, wall_s=20, source_id=OURS),
        Disconnect(start_s=SOON_S, length_s=5, wall_s=5, wait_s=0),
    )
    yield Case(
        "ours leaves, its twin is there, ours returns",
        0.0,
        twin,
        speed=REAL,
        told=("lost", "reconnected", "lost", "reconnected"),
        back="connected",
        exact=False,
    )
    flapping = tuple(Disconnect(start_s=START_S + 4 * k, length_s=2, wall_s=1) for k in range(30))
    yield Case(
        "leaves 30 times, for 1 s each",
        0.0,
        flapping,
        told=("lost", "reconnected"),
    )


def _daemon() -> Iterator[Case]:
    for length_s in LENGTHS_S:
        told = ("going on",)
        yield Case(
            "kill -9, started again after", length_s, (), Deed.KILL, REAL, told, back="going on"
        )
    for length_s in LENGTHS_S:
        grace = ("--grace", "20")
        yield _done(Deed.STOP, "daemon stopped (SIGSTOP)", length_s, (), "", grace)
    held, again = ("NOT ON DISK", "on disk again"), "on disk again"
    for length_s in LENGTHS_S[1:]:
        yield _done(Deed.LOCK, "record locked by a writer", length_s, held, again)
    for length_s in LENGTHS_S[1:]:
        yield _done(Deed.READ, "record held by a reader", length_s, (), "")
    for length_s in LENGTHS_S[1:]:
        yield _done(Deed.FILL, "disk full", length_s, held, again)
    for length_s in LENGTHS_S[1:]:
        yield _done(Deed.REFUSE, "disk refuses every write", length_s, held, again)


def _one(
    what: str,
    fault: LastingFault,
    deed: Deed = Deed.NOTHING,
    *,
    speed: float = FAST,
    told: tuple[str, ...] = (),
    back: str = "",
    options: tuple[str, ...] = (),
    exact: bool = True,
    ends_early: bool = False,
) -> Case:
    return Case(what, fault.length_s, (fault,), deed, speed, told, back, options, exact, ends_early)


def _done(
    deed: Deed,
    what: str,
    length_s: float,
    told: tuple[str, ...],
    back: str,
    options: tuple[str, ...] = (),
) -> Case:
    return Case(what, length_s, (), deed, STEADY, told, back, options)
