"""What every training has in common: a folder to go on from, curves, progress, and processes.

Enters: where to keep things, and what identifies a training. Leaves: a `Run` whose state is written
whole or not at all, so that a training that was killed goes on with the same command; and
`Processes`, which says which of several processes this one is.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import platformdirs
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import distributed

from sleepstream.errors import SettingsError, StoreError
from sleepstream.stager.device import choose

LONGEST_WAIT = timedelta(hours=12)
"""How long processes wait for each other: one of them may have to read a large corpus."""


def default_work() -> Path:
    """Return the folder in which trainings are kept where nobody says."""
    return platformdirs.user_cache_path("sleepstream") / "training"


class Run:
    """One training's folder: its state and its curves.

    The folder's name holds a hash of all that decides how the training goes. So the same command
    goes on where it stopped, and another one starts anew beside it.

    Parameters
    ----------
    work : Path
        Where trainings are kept.
    name : str
        For people.
    identity : object
        All that decides how the training goes; what JSON can hold.
    writes : bool
        Whether this process writes; the others only read.

    Raises
    ------
    StoreError
        The folder cannot be made.
    """

    def __init__(self, work: Path, name: str, identity: Any, *, writes: bool = True) -> None:
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self.folder = work / f"{name}-{digest[:10]}"
        self.writes = writes
        self._state, self._curves = self.folder / "state.pt", self.folder / "curves.jsonl"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"a folder for the training at {self.folder}",
                f"{type(error).__name__}: {error.strerror}",
                "name another one with --work",
            ) from error

    def load(self) -> dict[str, Any] | None:
        """Return the state that was saved last, None where there is none.

        Raises
        ------
        StoreError
            It was damaged.
        """
        if not self._state.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self._state, map_location="cpu", weights_only=True)
        except (OSError, EOFError, RuntimeError, UnpicklingError) as error:
            raise StoreError(
                f"the state of a training in {self._state}",
                f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
                "remove that file: the same command then starts anew",
            ) from error
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Keep a state: all of it, or the one before stays.

        Raises
        ------
        StoreError
            It cannot be written.
        """
        if not self.writes:
            return
        new = self._state.with_suffix(".new")
        try:
            with new.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._state)
        except OSError as error:
            raise StoreError(
                f"to keep the training in {self.folder}",
                f"{type(error).__name__}: {error.strerror}",
                "make room; the same command goes on from the last state that was written",
            ) from error

    def note(self, line: dict[str, Any]) -> None:
        """Add a line to the curves; one from before a kill, of this step or later, is dropped."""
        if not self.writes:
            return
        lines = [kept for kept in self.curves() if kept["step"] < line["step"]]
        new = self._curves.with_suffix(".new")
        text = "".join(json.dumps(kept) + "\n" for kept in [*lines, line])
        new.write_text(text, encoding="utf-8")
        new.replace(self._curves)

    def curves(self) -> list[dict[str, Any]]:
        """Return the lines noted so far, each with its ``"step"``."""
        if not self._curves.exists():
            return []
        return [json.loads(line) for line in self._curves.read_text(encoding="utf-8").splitlines()]


@dataclass(frozen=True, slots=True)
class Processes:
    """Which of several processes this is (`torchrun` starts them).

    Attributes
    ----------
    rank, size : int
        Its number, and how many there are.
    device : torch.device
        Where it computes.
    place : str
        The same in words.
    """

    rank: int
    size: int
    device: torch.device
    place: str

    @property
    def first(self) -> bool:
        """Whether it is the one that writes and speaks."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all have come here."""
        if self.size > 1:
            distributed.barrier()

    def largest(self, value: float) -> float:
        """Return the largest of the values that the processes have."""
        if self.size == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=self.device)
        distributed.all_reduce(shared, distributed.ReduceOp.MAX)
        return float(shared)


@contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Join the processes that `torchrun` started; one process where it did not.

    Parameters
    ----------
    device : str
        ``"auto"``, ``"cpu"`` or ``"cuda"``. Of several GPUs, each process takes one.

    Raises
    ------
    SettingsError
        The device is not there.
    """
    chosen, _ = choose(device)
    size = int(os.environ.get("WORLD_SIZE", "1"))
    place = torch.cuda.get_device_name() if chosen.type == "cuda" else "the CPU"
    if size == 1:
        yield Processes(0, 1, chosen, place)
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", _own_gpu())
        torch.cuda.set_device(chosen)
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=LONGEST_WAIT)
    try:
        yield Processes(
            distributed.get_rank(), size, chosen, f"{size} processes ({backend}) on {place}"
        )
    finally:
        distributed.destroy_process_group()


def _own_gpu() -> int:
    number, n_gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if number >= n_gpus:
        raise SettingsError(
            f"a GPU for process {number}",
            f"{n_gpus} on this machine",
            f"say torchrun --nproc-per-node {n_gpus}, or --device cpu",
        )
    return number


class Reporter:
    """Tells a person how far a training is: a bar on a terminal, plain lines elsewhere.

    Parameters
    ----------
    console : Console
        Where to.
    silent : bool
        Say nothing: another process speaks.
    """

    def __init__(self, console: Console, *, silent: bool = False) -> None:
        self._console = console
        self._silent = silent
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=silent or not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, visible=False)
        self._what = ""

    def __enter__(self) -> Reporter:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line."""
        if not self._silent:
            self._console.print(text)

    def at(self, what: str, done: float, total: float) -> None:
        """Move the bar: so much of `what` is done."""
        if what != self._what:
            self._what = what
            self._bar.reset(self._task, description=what)
        self._bar.update(self._task, completed=done, total=total, visible=done < total)
