"""kill -9 at any moment: a night in many processes, and the same night in one.

A process stages a night as fast as it can and is killed; the next one goes on with samples that
come somewhat later, as they do when a daemon is started again. The uninterrupted night meets a gap
of the same samples: all of them from the end of the last epoch on record until somebody listened
again. The two records are compared bit for bit. There is no wire here, so that hundreds of kills
take minutes; ``make faults`` makes them, and ``tests/property/test_crash.py`` a few.
"""

from __future__ import annotations

import io
import mmap
import os
import select
import signal
import struct
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from sleepstream_replay.synthetic import synthetic_night

from sleepstream.commands.record import Record
from sleepstream.commands.resume import Past, Resumption, look_back
from sleepstream.config import Models, Night, Settings
from sleepstream.messages import EPOCH_N_SAMPLES, Chunk, Epoch, StageEstimate
from sleepstream.pipeline import Bed, stage_recording
from sleepstream.signal.epocher import Epocher
from sleepstream.signal.montage import choose
from sleepstream.stager.stager import Stager
from sleepstream.store.nights import NightStore

SFREQ = 100.0
STREAM = '{"name": "EEG"}'
SEED = 20261122

EPOCHS_PER_KILL = 5
"""The night is as long as it takes for each process to stage some epochs."""

CHUNKS_PER_EPOCH = 12


def a_stager() -> Stager:
    """Return the stager that ships, on one thread."""
    torch.set_num_threads(1)
    names = Models()
    return Stager.load(
        encoder=names.encoder,
        decoder=names.decoder,
        disorder=names.disorder,
        device=torch.device("cpu"),
        bed="bed1",
    )


def refuse(warning: str) -> None:
    """Take a warning of the record as a failure: nothing keeps it from writing here."""
    raise AssertionError(warning)


class Sender:
    """A night of made-up EEG with stamps; it remembers from where on samples were taken."""

    def __init__(self, n_epochs: int) -> None:
        n = n_epochs * EPOCH_N_SAMPLES
        night = synthetic_night(max(0.2, n_epochs / 120), 11, SFREQ)
        self.data = (night.read(0, n)[:1] * 1e6).astype(np.float32)
        self.stamps = 1000.0 + np.arange(n) / SFREQ
        self.n = n

    def chunks(self, keep: np.ndarray, on_sent: Callable[[int], None]) -> Iterator[Chunk]:
        size = EPOCH_N_SAMPLES // CHUNKS_PER_EPOCH
        for start in range(0, self.n, size):
            here = keep[start : start + size]
            if here.any():
                on_sent(start + size)
                piece = slice(start, start + size)
                yield Chunk(self.stamps[piece][here], self.data[:, piece][:, here])


def stage(
    path: Path,
    sender: Sender,
    stager: Stager,
    keep: np.ndarray,
    on_sent: Callable[[int], None] = lambda _: None,
    before: Callable[[NightStore], None] = lambda _: None,
) -> None:
    """Stage what is kept of a night, as ``sleepstream run`` does, in this process."""
    stager.reset()
    settings = Settings(night=Night(store=str(path), resume_within=86400.0))
    montage = choose(["Fpz-Cz"], ["uV"])
    with NightStore(path) as store:
        before(store)
        record = Record(
            store,
            settings,
            refuse,
            source="EEG",
            channel=montage.label,
            sfreq=SFREQ,
            started_utc=datetime(2026, 1, 1, tzinfo=UTC),
            synthetic=True,
            stream=STREAM,
        )
        past = look_back(
            store,
            settings,
            stream=STREAM,
            channel=montage.label,
            stager=stager,
            say=Console(file=io.StringIO()),
            stop=lambda: False,
        )

        def go_on(past: Past) -> None:
            record.go_on(past.night.id)

        earlier = Resumption(past, settings, stager=stager, go_on=go_on, tell=record.tell)
        bed = Bed(Epocher(SFREQ, montage), stager, keep=record.keep, begin=earlier.decide)
        stage_recording(sender.chunks(keep, on_sent), bed, [record], record.tell, lambda _: None)
        record.end("the stream ended")


@dataclass
class Crashes:
    """A night in several processes, none of which but the last comes to the end."""

    path: Path
    sender: Sender
    stager: Stager
    first: int = 0
    origin: int = 0
    holes: list[tuple[int, int]] = field(default_factory=list)
    n_kills: int = 0

    def keep(self) -> np.ndarray:
        """What an uninterrupted night has to miss to be the same."""
        keep = np.ones(self.sender.n, bool)
        for start, stop in self.holes:
            keep[start:stop] = False
        return keep

    def live(
        self,
        until: Callable[[int], bool] = lambda _: False,
        before: Callable[[NightStore], None] = lambda _: None,
    ) -> bool:
        """Let a process stage from where the sender is; return whether it came to the end.

        `until` gets a pipe in which each chunk is a byte, and returns whether to kill it now.
        """
        here = np.arange(self.sender.n) >= self.first
        with mmap.mmap(-1, 8) as shared:
            shared[:8] = struct.pack("q", self.first)
            reader, writer = os.pipe()
            if (child := os.fork()) == 0:

                def on_sent(n: int) -> None:
                    shared[:8] = struct.pack("q", n)
                    os.write(writer, b".")

                code = 1
                try:
                    stage(self.path, self.sender, self.stager, here, on_sent, before)
                    code = 0
                except BaseException:
                    traceback.print_exc()
                    raise
                finally:
                    os._exit(code)
            os.close(writer)
            with os.fdopen(reader, "rb", buffering=0) as chunks:
                if until(chunks.fileno()):
                    os.kill(child, signal.SIGKILL)
                status = os.waitpid(child, 0)[1]
            (self.first,) = struct.unpack("q", shared[:8])
        assert status in {0, signal.SIGKILL}, "the process failed by itself"
        return status == 0

    def go_away(self, n_samples: int) -> None:
        """Nobody listens for so many samples, and what the dead process had is lost with it."""
        with NightStore(self.path) as store:
            night = store.last_live("bed1")
        self.first = min(self.sender.n, self.first + n_samples)
        if night is None:
            self.origin, self.holes = self.first, [(0, self.first)]
        else:
            self.holes.append((self.origin + night.n_epochs * EPOCH_N_SAMPLES, self.first))


def said(path: Path) -> list[StageEstimate]:
    """Return the estimates of the one night on record."""
    with NightStore(path) as store:
        (night,) = store.nights()
        return list(store.estimates(night.id))


def differences(one: Path, other: Path) -> list[int]:
    """Return the epochs that are not the same in two records: numbers, words, signals."""
    with NightStore(one) as a, NightStore(other) as b:
        rows = zip_longest(said(one), said(other), a.epochs("last"), b.epochs("last"))
        return [number for number, row in enumerate(rows) if not _alike(number, *row)]


def _alike(number: int, one: StageEstimate, other: StageEstimate, *signals: Epoch) -> bool:
    if not all((one, other, *signals)) or one.epoch != number:
        return False  # one is missing, or there twice
    here, there = (
        estimate.as_json() | {"onset": round(estimate.onset_s, 6), "latency_ms": 0}
        for estimate in (one, other)
    )
    return here == there and signals[0].data.tobytes() == signals[1].data.tobytes()


@dataclass(frozen=True, slots=True)
class Killed:
    """How a night went that was cut off many times.

    Attributes
    ----------
    n_kills : int
        Processes that were killed before they came to the end.
    n_epochs : int
        On record at the end.
    different : list of int
        Those that an uninterrupted night has otherwise.
    """

    n_kills: int
    n_epochs: int
    different: list[int]


def killed_night(folder: Path, n_kills: int, stager: Stager) -> Killed:
    """Stage a night in processes that are killed at random moments, and once without."""
    rng = np.random.default_rng(SEED)
    night = Crashes(folder / "n.sqlite", Sender(EPOCHS_PER_KILL * n_kills), stager)
    for _ in range(n_kills):
        n_chunks = int(rng.integers(0, 60))
        moment_s = rng.uniform(0, 0.02)

        def until(chunks: int, n: int = n_chunks, moment_s: float = moment_s) -> bool:
            while n and (seen := os.read(chunks, n)):
                n -= len(seen)
            select.select([], [], [], moment_s)
            return True

        if night.live(until):
            break
        night.n_kills += 1
        night.go_away(int(rng.integers(60, 3000)))
    night.live()
    stage(folder / "whole.sqlite", night.sender, stager, night.keep())
    different = differences(night.path, folder / "whole.sqlite")
    return Killed(night.n_kills, len(said(night.path)), different)
