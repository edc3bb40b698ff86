"""kill -9 at any moment: what is on record in the end is what an uninterrupted night has.

A process stages a night as fast as it can and is killed; the next one goes on with samples that
come somewhat later, as they do when a daemon is started again. The uninterrupted night meets a gap
of the same samples: all of them from the end of the last epoch on record until somebody listened
again. The two records are compared bit for bit.

``make faults`` kills 200 times in a night of eight hours; here it is done on a smaller scale.
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
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from sleepstream_replay.synthetic import synthetic_night

from sleepstream.commands.record import Record
from sleepstream.commands.resume import Past, Resumption, look_back
from sleepstream.config import Models, Night, Settings
from sleepstream.messages import EPOCH_N_SAMPLES, Chunk, StageEstimate
from sleepstream.pipeline import Bed, stage_recording
from sleepstream.signal.epocher import Epocher
from sleepstream.signal.montage import choose
from sleepstream.stager.stager import Stager
from sleepstream.store.nights import NightStore

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork, nor kill -9")

SFREQ = 100.0
STREAM = '{"name": "EEG"}'
N_KILLS = int(os.environ.get("SLEEPSTREAM_KILLS", "12"))
"""Processes killed; the night is as long as it takes for each to stage some epochs."""

EPOCHS_PER_KILL = 5
CHUNKS_PER_EPOCH = 12


@pytest.fixture(scope="module")
def stager() -> Iterator[Stager]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    names = Models()
    yield Stager.load(
        encoder=names.encoder,
        decoder=names.decoder,
        disorder=names.disorder,
        device=torch.device("cpu"),
        bed="bed1",
    )
    torch.set_num_threads(before)


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
            pytest.fail,
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
    with NightStore(path) as store:
        (night,) = store.nights()
        return list(store.estimates(night.id))


def assert_same_record(one: Path, other: Path) -> None:
    these, those = said(one), said(other)
    assert [e.epoch for e in these] == list(range(len(these))), "none missing, none twice"
    assert len(these) == len(those)
    for here, there in zip(these, those, strict=True):
        one_said, other_said = here.as_json(), there.as_json()
        assert one_said.pop("onset") == pytest.approx(other_said.pop("onset"), abs=1e-6)
        assert one_said.pop("latency_ms") >= 0 <= other_said.pop("latency_ms")
        assert one_said == other_said
    with NightStore(one) as a, NightStore(other) as b:
        for epoch, same in zip(a.epochs("last"), b.epochs("last"), strict=True):
            assert epoch.data.tobytes() == same.data.tobytes()


@pytest.mark.timeout(7200)
def test_kill_9_at_random_moments_costs_what_was_missed_and_nothing_else(
    tmp_path: Path, stager: Stager
) -> None:
    rng = np.random.default_rng(20261122)
    night = Crashes(tmp_path / "n.sqlite", Sender(EPOCHS_PER_KILL * N_KILLS), stager)
    for _ in range(N_KILLS):
        n_chunks = int(rng.integers(0, 60))
        moment_s = rng.uniform(0, 0.02)

        def until(chunks: int, n: int = n_chunks, moment_s: float = moment_s) -> bool:
            while n and (seen := os.read(chunks, n)):
                n -= len(seen)
            select.select([], [], [], moment_s)
            return True

        if night.live(until):
            break
        night.go_away(int(rng.integers(60, 3000)))
    assert len(night.holes) > N_KILLS / 2
    night.live()
    stage(tmp_path / "whole.sqlite", night.sender, stager, night.keep())
    assert_same_record(night.path, tmp_path / "whole.sqlite")


class Trap:
    """Kills the process just before the n-th statement of its record."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __call__(self, store: NightStore) -> None:
        store._db.set_trace_callback(self.count)

    def count(self, _statement: str) -> None:
        self.n -= 1
        if self.n == 0:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("n_before", [0, 9])
def test_a_crash_before_any_statement_of_the_record_costs_no_epoch(
    n_before: int, tmp_path: Path, stager: Stager
) -> None:
    """With `n_before`, of a night that goes on after a crash at that statement."""
    sender, n, at_the_end = Sender(4), 0, False
    whole: dict[str, Path] = {}  # by what was missed, which is often the same
    while not at_the_end:
        n += 3 if n_before else 1
        night = Crashes(tmp_path / f"{n}.sqlite", sender, stager)
        if n_before:
            assert not night.live(before=Trap(n_before))
            night.go_away(700)
        if not (at_the_end := night.live(before=Trap(n))):
            night.go_away(700)
            night.live()
        if (missed := str(night.holes)) not in whole:
            whole[missed] = tmp_path / f"{n}-whole.sqlite"
            stage(whole[missed], sender, stager, night.keep())
        assert_same_record(night.path, whole[missed])
    assert n > 10
