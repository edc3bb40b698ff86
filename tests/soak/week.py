"""A week in one process, as fast as it goes: the loop that `sleepstream run` is, without the wire.

Enters: a seed and a length. Leaves: looks at this process, and what each epoch cost. That is time
in which we computed, and it is held against one step of the encoder alone, done right afterwards:
whatever else the computer does makes both slow.
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from sleepstream_replay.synthetic import synthetic_night
from soak.watch import Look, look

from sleepstream.commands.record import Record
from sleepstream.config import Models, Night, Settings
from sleepstream.messages import (
    EPOCH_N_SAMPLES,
    EPOCH_S,
    SFREQ,
    Chunk,
    ClockOffset,
    Epoch,
    Event,
    Quality,
    StageEstimate,
    StreamState,
    frozen,
)
from sleepstream.outputs.dashboard import Dashboard, StreamHealth
from sleepstream.outputs.health import LifeSigns
from sleepstream.outputs.sink import Sink
from sleepstream.outputs.supervision import ServiceManager
from sleepstream.outputs.text import TextSink, json_line
from sleepstream.pipeline import Bed, LiveWatch, stage_live
from sleepstream.signal.epocher import Epocher
from sleepstream.signal.montage import choose
from sleepstream.stager import device
from sleepstream.stager.stager import Stager
from sleepstream.store.nights import NightStore

BED = "week"
NIGHT_H = 8.0
CHUNK_S = 5.0
MISSING = 0.01
"""So many of the chunks never come."""

LOOKS = 400


@dataclass(frozen=True, slots=True)
class Week:
    """What was seen of the process.

    Attributes
    ----------
    looks : list of Look
        From the first epoch to the last.
    cost : list of float
        Per epoch: from its last sample to its estimate, in steps of the encoder.
    step_ms : float
        Median of such a step.
    n_recorded : int
        Epochs on record.
    n_expected : int
        Whole epochs that were sent.
    """

    looks: list[Look]
    cost: list[float]
    step_ms: float
    n_recorded: int
    n_expected: int


class Endless:
    """A made-up night that begins anew each evening; a `Source` in memory.

    Parameters
    ----------
    seed : int
        Which night, and which of its chunks are missing.
    n_chunks : int
        After so many it ends.
    """

    state = StreamState.CONNECTED
    silent_s = 0.0

    def __init__(self, seed: int, n_chunks: int) -> None:
        hours = min(NIGHT_H, n_chunks * CHUNK_S / 3600)
        night = synthetic_night(hours, seed, SFREQ)
        self._data = (night.read(0, night.n_samples)[:1] * 1e6).astype(np.float32)
        self._chunks = self._sent(np.random.default_rng(seed), n_chunks)
        self._next: Chunk | None = next(self._chunks)

    @property
    def ended(self) -> str | None:
        """Why nothing will come any more."""
        return None if self._next else "the week is over"

    def poll(self, timeout_s: float, max_samples: int) -> Chunk | None:  # noqa: ARG002
        """Return the next chunk, where nothing is left to do with the one before."""
        chunk = self._next if timeout_s else None
        if chunk is not None:
            self._next = next(self._chunks, None)
        return chunk

    def take_events(self) -> list[Event]:
        """Nothing happens."""
        return []

    def clock_offset(self) -> ClockOffset | None:
        """There is one clock."""
        return ClockOffset(0.0, 0.0, 0.0)

    def _sent(self, rng: np.random.Generator, n_chunks: int) -> Iterator[Chunk]:
        size = int(CHUNK_S * SFREQ)
        for number in range(n_chunks):
            ends = number in {0, n_chunks - 1}
            if ends or rng.random() > MISSING:
                places = np.arange(number * size, (number + 1) * size)
                yield Chunk(places / SFREQ, self._data[:, places % self._data.shape[1]])


class Watcher:
    """Weighs each epoch, and looks at this process now and then; a `Sink`.

    Parameters
    ----------
    record : Path
        The file of the record.
    every : int
        Epochs between two looks.
    """

    def __init__(self, record: Path, every: int) -> None:
        self.looks: list[Look] = []
        self.cost, self.step_ms = array("f"), array("f")
        self._record, self._every = record, every
        self._bare = _stager(Models(decoder="none", disorder="none"))
        data = frozen(np.random.default_rng(0).normal(size=(1, EPOCH_N_SAMPLES)) * 20)
        self._same = Epoch(0, 0.0, EPOCH_S, data, 1.0, Quality(1.0))

    def show(self, estimate: StageEstimate) -> None:
        """Take an estimate; look, if it is time."""
        before = time.thread_time()
        self._bare.peek(self._same)
        step_ms = 1000 * (time.thread_time() - before)
        self.step_ms.append(step_ms)
        self.cost.append(estimate.latency_ms / step_ms)
        if estimate.epoch % self._every == 0:
            self.looks.append(look(os.getpid(), self._record, estimate.epoch))


def week(folder: Path, seed: int, hours: float) -> Week:
    """Stage so many hours of signal as one night.

    Parameters
    ----------
    folder : Path
        Where the record goes.
    seed : int
        Which signal.
    hours : float
        How much of it.
    """
    device.single_thread()
    path = folder / f"{BED}.sqlite"
    settings = Settings(night=Night(bed=BED, store=str(path)))
    montage = choose(["Fpz-Cz"], ["uV"])
    n_epochs = int(hours * 3600 / EPOCH_S)
    source = Endless(seed, int(n_epochs * EPOCH_S / CHUNK_S))
    watcher = Watcher(path, max(1, n_epochs // LOOKS))
    with ExitStack() as stack:
        store = stack.enter_context(NightStore(path))
        life = stack.enter_context(LifeSigns(path, BED, ServiceManager({})))
        nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
        record = Record(
            store,
            settings,
            print,
            source="made up",
            channel=montage.label,
            sfreq=SFREQ,
            started_utc=datetime.now(UTC),
            synthetic=True,
        )
        board = Dashboard(bed=BED, synthetic=True)
        # its clock stands while others compute
        bed = Bed(
            Epocher(SFREQ, montage),
            _stager(settings.models),
            clock=time.thread_time,
            keep=record.keep,
        )
        health = StreamHealth("made up", montage.label, "uV", SFREQ)
        watch = LiveWatch([board, life], health, record.clock)
        sinks: list[Sink] = [record, life, board, TextSink(nowhere, json_line), watcher]

        def tell(event: Event) -> None:
            record.tell(event)
            life.tell(event)
            board.notice(event.text)

        def stop() -> bool:
            life.beat()
            return False

        reason = stage_live(source, bed, sinks, tell, watch, duration_s=0, stop=stop)
        record.end(reason, bed.epocher.now_s)
        n_recorded = sum(1 for _ in store.estimates("last"))
    n_sent = bed.epocher.n_samples // EPOCH_N_SAMPLES
    step_ms = float(np.median(watcher.step_ms))
    return Week(watcher.looks, watcher.cost.tolist(), step_ms, n_recorded, n_sent)


def _stager(names: Models) -> Stager:
    return Stager.load(
        encoder=names.encoder,
        decoder=names.decoder,
        disorder=names.disorder,
        device=torch.device("cpu"),
        bed=BED,
    )
