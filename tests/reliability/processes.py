"""The daemon and the replay as processes of their own, and when they said what.

Nothing here imports the daemon: it is started as a user starts it, and meets the replay on the
wire.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Thread
from time import monotonic
from types import TracebackType
from typing import IO, Any, Self

import msgspec
from sleepstream_replay.fault_log import Injected
from sleepstream_replay.faults import Fault

DEADLINE_S = 900.0
"""Nothing that is waited for takes so long, on the busiest machine."""

THREADS = {"OMP_NUM_THREADS": "1"}


class OverdueError(Exception):
    """Something that was waited for did not happen."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line that a process wrote, and when, on our monotonic clock."""

    at_s: float
    text: str


class Child:
    """A process whose lines are read as they come.

    Parameters
    ----------
    arguments : sequence of str
        For this Python.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | THREADS,
        )
        self.out: list[Line] = []
        self.err: list[Line] = []
        self._news = Condition()
        pipes = ((self.process.stdout, self.out), (self.process.stderr, self.err))
        self._readers = [Thread(target=self._read, args=pair, daemon=True) for pair in pipes]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.wait()

    def until(
        self, there: Callable[[Self], object], what: str, within_s: float = DEADLINE_S
    ) -> None:
        """Wait until something is there among the lines.

        Raises
        ------
        OverdueError
            It is not in time, or the process has ended without it.
        """
        deadline_s = monotonic() + within_s
        with self._news:
            while not there(self):
                left_s = deadline_s - monotonic()
                over = not any(reader.is_alive() for reader in self._readers)
                if left_s <= 0 or over:
                    said = "\n".join(line.text for line in [*self.out[-3:], *self.err[-8:]])
                    raise OverdueError(
                        f"waited in vain for {what}; the last that was said:\n{said}"
                    )
                self._news.wait(min(left_s, 0.5))

    def wait(self) -> int:
        """Return the exit code, once all has been read."""
        code = self.process.wait(DEADLINE_S)
        for reader in self._readers:
            reader.join(DEADLINE_S)
        return code

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def _read(self, pipe: IO[str], lines: list[Line]) -> None:
        with pipe:
            for text in pipe:
                with self._news:
                    lines.append(Line(monotonic(), text.rstrip("\n")))
                    self._news.notify_all()


class Sender(Child):
    """``sleepstream replay`` of a file, with faults; what it injects it says at once.

    Parameters
    ----------
    file : Path
        The recording.
    name : str
        Of the stream, and its source_id.
    faults : tuple of Fault
        What goes wrong.
    folder : Path
        Where the file of faults is written.
    """

    def __init__(
        self,
        file: Path,
        name: str,
        faults: tuple[Fault, ...],
        folder: Path,
        *,
        speed: float,
        played_s: float,
    ) -> None:
        options = ["--stream-name", name, "--source-id", name, "--linger", "2"]
        options += ["--speed", f"{speed:g}", "--duration", f"{played_s:g}"]
        if faults:
            toml = folder / "faults.toml"
            toml.write_text("\n".join(_table(fault) for fault in faults), encoding="utf-8")
            options += ["--faults", str(toml), "--fault-log", "/dev/stdout"]
        super().__init__(["sleepstream", "replay", str(file), *options])

    @property
    def injected(self) -> list[tuple[float, Injected]]:
        """What was injected, each with the moment at which it was over."""
        return [(line.at_s, msgspec.json.decode(line.text, type=Injected)) for line in self.out]


def _table(fault: Fault) -> str:
    """Return a fault as a faults file has it."""
    # JSON's strings, numbers and lists are TOML's too
    keys = msgspec.to_builtins(fault).items()
    return "[[fault]]\n" + "\n".join(f"{k} = {msgspec.json.encode(v).decode()}" for k, v in keys)


class Daemon(Child):
    """``sleepstream run --json``.

    Parameters
    ----------
    name : str
        Of the stream, and of the bed.
    store : Path
        The file of the record.
    options : sequence of str
        More flags.
    """

    def __init__(self, name: str, store: Path, options: Sequence[str] = ()) -> None:
        chosen = ["--lsl-stream", name, "--bed", name, "--store", str(store), "--json"]
        super().__init__(["sleepstream", "run", *chosen, "--device", "cpu", *options])

    @property
    def announced(self) -> list[int]:
        """The numbers of the final epochs that it announced."""
        said = [msgspec.json.decode(line.text) for line in self.out]
        return [estimate["epoch"] for estimate in said if estimate["final"]]

    @property
    def told(self) -> list[tuple[float, dict[str, Any]]]:
        """The events that it told, each with its moment."""
        lines = [line for line in self.err if line.text.startswith('{"kind"')]
        return [(line.at_s, msgspec.json.decode(line.text)) for line in lines]

    def said(self, word: str) -> float | None:
        """Return when it last said something with this word; None if it never did."""
        return next((line.at_s for line in reversed(self.err) if word in line.text), None)

    def first_said(self, word: str) -> float | None:
        """Return when it first said something with this word; None if it never did."""
        return next((line.at_s for line in self.err if word in line.text), None)

    def until_epoch(self, number: int) -> None:
        """Wait until it has announced an epoch."""
        self.until(lambda _: number in self.announced, f"epoch {number}")
