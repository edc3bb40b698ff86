"""The daemon as a person runs it, on the real wire: half a day in minutes, then an hour as it is.

Enters: a plan of what goes wrong. Leaves: looks at the daemon, the latencies that it announced,
and a count of its epochs. One daemon lives through both parts, in one night: the stream that is
played fast leaves, and comes back at real time. In the second part another daemon, just started,
stages the same stream: what the old one has gathered is what the two differ in.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from sleepstream_replay.fault_log import read_fault_log
from soak.plan import Plan, n_epochs
from soak.watch import Look, look

from sleepstream.outputs.health import Health, health_file
from sleepstream.store.nights import NightStore

SFREQ = 100.0
CHANNEL = "EEG Fpz-Cz"
RESUMES_AT_S = 5400.0
"""Where in a made-up night the hour at real time begins."""

SLOW_EVERY_S, FAST_EVERY_S = 5.0, 1.0
PATIENCE_S = 120.0


class SoakError(Exception):
    """Something that should not have happened at all."""


@dataclass(frozen=True, slots=True)
class Said:
    """One estimate, as it was announced."""

    epoch: int
    final: bool
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Count:
    """The epochs of a daemon.

    Attributes
    ----------
    expected, recorded, unscorable : int
        What was sent, what is on record, and how many of these have no stage.
    lost, doubled : int
        Expected and not on record or not announced; on record or announced more than once.
    n_faults, n_events : int
        What was injected, and what the record tells of.
    """

    expected: int
    recorded: int
    unscorable: int
    lost: int
    doubled: int
    n_faults: int
    n_events: int


@dataclass(frozen=True, slots=True)
class Lived:
    """What was seen of the daemons.

    Attributes
    ----------
    fast, slow : list of Look
        The old daemon, in both parts.
    said_fast, said_slow : list of Said
        What it announced in each.
    said_young : list of Said
        What the young one announced in the second part.
    count : Count
        The old daemon's epochs.
    """

    fast: list[Look]
    slow: list[Look]
    said_fast: list[Said]
    said_slow: list[Said]
    said_young: list[Said]
    count: Count


class Daemon:
    """``sleepstream run`` in a process of its own; it is ended with the context.

    Parameters
    ----------
    stream : str
        Which stream.
    bed : str
        Whose.
    folder : Path
        Where its record and its words go.
    """

    def __init__(self, stream: str, bed: str, folder: Path) -> None:
        self.record, self.words = folder / f"{bed}.sqlite", folder / f"{bed}.jsonl"
        self._log, self._bed = folder / f"{bed}.log", bed
        names = ("--lsl-stream", f"name={stream}", "--bed", bed, "--store", str(self.record))
        more = ("--device", "cpu", "--headless", "--json")
        with self.words.open("wb") as out, self._log.open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sleepstream", "run", *names, *more],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def look(self) -> Look:
        """Look at the process."""
        if self._process.poll() is not None:
            raise SoakError(f"the daemon of bed {self._bed} has ended:\n{self._last_words()}")
        path = health_file(self.record, self._bed)
        health = msgspec.json.decode(path.read_bytes(), type=Health) if path.exists() else None
        epoch = -1 if health is None or health.epoch is None else health.epoch
        return look(self._process.pid, self.record, epoch)

    def until_ready(self) -> None:
        """Wait until it has its models and looks for the stream."""
        deadline = time.monotonic() + PATIENCE_S
        while b"models:" not in self._log.read_bytes():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise SoakError(f"the daemon of bed {self._bed} is not up:\n{self._last_words()}")
            time.sleep(0.1)

    def leave(self) -> None:
        """Ask it to end, if it has not already, and wait until it has."""
        self._process.terminate()
        self.wait()

    def wait(self) -> None:
        """Wait until it has ended by itself."""
        try:
            code = self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired as error:
            raise SoakError(f"the daemon of bed {self._bed} does not end") from error
        if code:
            raise SoakError(f"the daemon left with exit code {code}:\n{self._last_words()}")

    def said(self) -> list[Said]:
        """Return the estimates that it announced."""
        lines = map(msgspec.json.decode, self.words.read_bytes().splitlines())
        return [Said(e["epoch"], e["final"], e["latency_ms"]) for e in lines]

    def _last_words(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-2000:]


@contextmanager
def replayed(stream: str, log: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Play a made-up night as a stream, in a process of its own."""
    named = ("--stream-name", stream, "--source-id", stream, "--channels", CHANNEL)
    with log.open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "sleepstream_replay", *named, *options],
            stdin=subprocess.DEVNULL,
            stderr=err,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def live(folder: Path, stream: str, plan: Plan, speed: float, real_s: float) -> Lived:
    """Let a daemon live through a plan at speed, and then through some time as it passes.

    Parameters
    ----------
    folder : Path
        Where records and logs go.
    stream : str
        A name that no other stream has; the beds are called after it.
    plan : Plan
        What is played fast.
    speed : float
        How many times faster than it would pass.
    real_s : float
        Seconds of the part at real time.

    Raises
    ------
    SoakError
        A process ended otherwise than it should.
    """
    faults, log = folder / "faults.toml", folder / "faults.jsonl"
    plan.write(faults)
    night = ("--synthetic", f"{(plan.played_s + 60) / 3600:.4f}", "--seed", str(plan.seed))
    with ExitStack() as stack:
        once = (*night, "--duration", str(plan.played_s), "--speed", str(speed))
        wrong = ("--faults", str(faults), "--fault-log", str(log))
        player = stack.enter_context(replayed(stream, folder / "fast.log", *once, *wrong))
        old = stack.enter_context(Daemon(stream, f"{stream}-old", folder))
        fast = _watched(player, old, FAST_EVERY_S)
        young = stack.enter_context(Daemon(stream, f"{stream}-young", folder))
        young.until_ready()
        again = (*_later(real_s), "--seed", str(plan.seed + 1), "--speed", "1")
        player = stack.enter_context(replayed(stream, folder / "slow.log", *again))
        slow = _watched(player, old, SLOW_EVERY_S)
        old.wait()
        young.leave()
        said, injected = old.said(), read_fault_log(log)
        # the epoch in which one part ends and the other begins is of neither
        n_fast = n_epochs(injected, SFREQ, 0.0)
        return Lived(
            fast,
            slow,
            [each for each in said if each.epoch < n_fast],
            [each for each in said if each.epoch > n_fast],
            young.said(),
            _count(old, said, n_epochs(injected, SFREQ, real_s), len(plan.faults)),
        )


def _later(real_s: float) -> tuple[str, ...]:
    """Return how the second part is played: from the middle of another night."""
    hours = (RESUMES_AT_S + real_s + 60) / 3600
    start = ("--start", f"{RESUMES_AT_S:g}", "--duration", f"{real_s:g}")
    return ("--synthetic", f"{hours:.4f}", *start)


def _watched(player: subprocess.Popen[bytes], daemon: Daemon, every_s: float) -> list[Look]:
    """Look at a daemon while a replay plays; the replay's end is the end."""
    looks = []
    while True:
        looks.append(daemon.look())
        try:
            if code := player.wait(every_s):
                raise SoakError(f"the replay left with exit code {code}")
        except subprocess.TimeoutExpired:
            continue
        return looks


def _count(daemon: Daemon, said: list[Said], expected: int, n_faults: int) -> Count:
    announced = Counter(each.epoch for each in said if each.final)
    with NightStore(daemon.record) as store:
        if (n := len(store.nights())) != 1:
            raise SoakError(f"one night was to be on record, and {n} are")
        estimates = list(store.estimates("last"))
        n_events = sum(1 for _ in store.events("last"))
    recorded = Counter(estimate.epoch for estimate in estimates)
    whole = range(expected)
    return Count(
        expected=expected,
        recorded=len(estimates),
        unscorable=sum(estimate.stage is None for estimate in estimates),
        lost=sum(not (announced[n] and recorded[n]) for n in whole),
        doubled=sum(announced[n] > 1 or recorded[n] > 1 for n in announced | recorded)
        + sum(n >= expected for n in recorded),
        n_faults=n_faults,
        n_events=n_events,
    )
