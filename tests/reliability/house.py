"""A night that a case spoils: sender and daemon run, something goes wrong, the record is read.

In goes a `Case`; out comes `Observed`, all that the outside world can know of how it went.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event as Moment
from time import monotonic
from types import ModuleType

import edfio
import numpy as np
from reliability.cases import OURS, Case, Deed
from reliability.processes import Daemon, OverdueError, Sender
from sleepstream_replay.fault_log import Injected
from sleepstream_replay.faults import Disconnect, Fault, SecondStream, Silence
from sleepstream_replay.synthetic import synthetic_night

from sleepstream.messages import EPOCH_S, Event, StageEstimate
from sleepstream.store.nights import NightStore

SFREQ = 256.0
LABEL = "EEG Fpz-Cz"

DISK_MB = 8


class NotHereError(Exception):
    """A case that this machine does not allow; says why."""


@dataclass
class Observed:
    """How a night went.

    Attributes
    ----------
    sent_as : tuple of Fault
        The faults as the replay had them.
    injected : list of Injected
        What the replay says it did.
    announced : list of int
        The final epochs that were told to others, by all daemons of this night.
    estimates : list of StageEstimate
        The record's.
    events : list of Event
        The record's.
    n_nights : int
        On record.
    over_s, back_s : float or None
        When the fault was over, and when the daemon said that all was well, on one clock.
    codes : list of int
        Exit codes of the daemons that were not killed.
    """

    sent_as: tuple[Fault, ...] = ()
    injected: list[Injected] = field(default_factory=list)
    announced: list[int] = field(default_factory=list)
    estimates: list[StageEstimate] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    n_nights: int = 0
    over_s: float | None = None
    back_s: float | None = None
    codes: list[int] = field(default_factory=list)


def a_recording(folder: Path, hours: float = 0.25) -> Path:
    """Write a made-up night into a file, and return the file."""
    night = synthetic_night(hours, 7, SFREQ).pick((LABEL,))
    path = folder / "night.edf"
    signal_ = edfio.EdfSignal(
        np.clip(night.read(0, night.n_samples)[0] * 1e6, -1000, 1000),
        sampling_frequency=SFREQ,
        label=LABEL,
        physical_dimension="uV",
        physical_range=(-1000, 1000),
    )
    edfio.Edf([signal_]).write(path)
    return path


class House:
    """One case, under way.

    Parameters
    ----------
    case : Case
        What goes wrong.
    recording : Path
        Who sleeps.
    folder : Path
        Empty; for the record and the like.
    """

    def __init__(self, case: Case, recording: Path, folder: Path) -> None:
        self.case = case
        self.name = f"t{uuid.uuid4().hex[:12]}"
        self.observed = Observed(tuple(_named(fault, self.name) for fault in case.faults))
        self._recording = recording
        self._folder = folder
        self._stack = ExitStack()
        self._daemons: list[Daemon] = []

    def live(self) -> Observed:
        """Let the night happen.

        Raises
        ------
        OverdueError
            Something that has to happen did not.
        NotHereError
            This machine does not allow it.
        """
        with self._stack:
            self.store = self._disk() / "nights.sqlite"
            self._sender = self._stack.enter_context(
                Sender(
                    self._recording,
                    self.name,
                    self.observed.sent_as,
                    self._folder,
                    speed=self.case.speed,
                    played_s=self.case.played_s,
                )
            )
            self._start(*self.case.options)
            _DEEDS[self.case.deed](self)
            self.observed.codes.append(self._daemon.wait())
            if not self.case.ends_early:
                self._sender.wait()
            self._read()
        return self.observed

    @property
    def _daemon(self) -> Daemon:
        return self._daemons[-1]

    def _start(self, *options: str) -> None:
        daemon = Daemon(self.name, self.store, options)
        self._daemons.append(self._stack.enter_context(daemon))

    def _read(self) -> None:
        observed = self.observed
        injected = self._sender.injected
        observed.injected = [record for _, record in injected]
        observed.announced = [epoch for daemon in self._daemons for epoch in daemon.announced]
        with NightStore(self.store) as store:
            observed.n_nights = len(store.nights())
            if observed.n_nights:
                observed.estimates = list(store.estimates("last"))
                observed.events = list(store.events("last"))
        if observed.over_s is None:
            observed.over_s = self._over_s(injected)
        if self.case.back:
            observed.back_s = self._daemon.said(self.case.back)

    def _over_s(self, injected: list[tuple[float, Injected]]) -> float | None:
        """Return when the last fault of the wire was over."""
        faults = self.observed.sent_as
        last = faults[-1] if faults else None
        if isinstance(last, Disconnect) and last.wait_s and len(faults) == 1:
            # the log has it once somebody listens again; it came back so long after it had left
            lost_s = self._daemon.first_said("lost: ")
            return None if lost_s is None else lost_s + last.wall_s
        if isinstance(last, Disconnect | Silence) and injected:
            return injected[-1][0]
        return None

    def _disk(self) -> Path:
        if self.case.deed is not Deed.FILL:
            return self._folder
        folder = self._folder / "disk"
        folder.mkdir()
        self._stack.enter_context(_small_disk(folder))
        return folder

    def _for_a_while(self, trouble: AbstractContextManager[object]) -> None:
        """Have some trouble for as long as the case says."""
        self._daemon.until_epoch(int(self.case.start_s // EPOCH_S))
        with trouble:
            Moment().wait(self.case.length_s)
        self.observed.over_s = monotonic()

    def _kill(self) -> None:
        self._daemon.until_epoch(int(self.case.start_s // EPOCH_S))
        self._daemon.send(signal.SIGKILL)
        Moment().wait(self.case.length_s)
        self.observed.over_s = monotonic()
        self._start(*self.case.options)

    def _replace(self) -> None:
        daemon = self._daemon
        daemon.until(lambda _: daemon.said("refused: "), "a refusal")
        daemon.send(signal.SIGINT)
        self.observed.codes.append(daemon.wait())
        self.observed.over_s = monotonic()
        self._start("--resume")

    @contextmanager
    def _stopped(self) -> Iterator[None]:
        self._daemon.send(signal.SIGSTOP)
        yield
        self._daemon.send(signal.SIGCONT)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with closing(sqlite3.connect(self.store, isolation_level=None, timeout=30)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield
            other.execute("ROLLBACK")

    @contextmanager
    def _read_by_another(self) -> Iterator[None]:
        with NightStore(self.store) as reader:
            reading = reader.epochs("last")
            next(reading)
            yield
            reading.close()  # type: ignore[attr-defined]

    @contextmanager
    def _full(self) -> Iterator[None]:
        ballast = self.store.with_name("ballast")
        about = os.statvfs(self.store.parent)
        ballast.write_bytes(bytes(about.f_bavail * about.f_frsize))
        yield
        ballast.unlink()

    @contextmanager
    def _refused(self) -> Iterator[None]:
        resource = _resource()
        pid, which = self._daemon.process.pid, resource.RLIMIT_FSIZE
        log = self.store.with_name(f"{self.store.name}-wal")
        before = resource.prlimit(pid, which)
        resource.prlimit(pid, which, (log.stat().st_size, before[1]))
        yield
        resource.prlimit(pid, which, before)


_DEEDS: dict[Deed, Callable[[House], None]] = {
    Deed.NOTHING: lambda _: None,
    Deed.KILL: House._kill,
    Deed.REPLACE: House._replace,
    Deed.STOP: lambda house: house._for_a_while(house._stopped()),
    Deed.LOCK: lambda house: house._for_a_while(house._locked()),
    Deed.READ: lambda house: house._for_a_while(house._read_by_another()),
    Deed.FILL: lambda house: house._for_a_while(house._full()),
    Deed.REFUSE: lambda house: house._for_a_while(house._refused()),
}


def _named(fault: Fault, name: str) -> Fault:
    """Put the stream's own source_id where a case speaks of it."""
    if isinstance(fault, SecondStream) and fault.source_id == OURS:
        return SecondStream(
            start_s=fault.start_s, length_s=fault.length_s, wall_s=fault.wall_s, source_id=name
        )
    return fault


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if not (mount and umount) or os.geteuid():
        raise NotHereError("only root can make a small disk")
    command = [mount, "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        raise NotHereError("no small disk can be mounted here")
    try:
        yield
    finally:
        subprocess.run([umount, "-l", str(folder)], check=True)


def _resource() -> ModuleType:
    try:
        import resource
    except ImportError as error:
        raise NotHereError("no limits for files on this system") from error
    if not hasattr(resource, "prlimit"):
        raise NotHereError("the limits of another process cannot be set on this system")
    return resource


__all__ = ["House", "NotHereError", "Observed", "OverdueError", "a_recording"]
