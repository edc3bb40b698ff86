"""How long each room takes, as medians and as ratios to one encoder step, measured in turn.

These machines are noisy: the ratios are what to compare, and only within one run. All steps are
taken in rotation, so that a slow moment hits them all.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from sleepstream.config import Settings
from sleepstream.messages import EPOCH_N_SAMPLES, EPOCH_S, Chunk, Epoch, Quality, frozen
from sleepstream.outputs.dashboard import Dashboard
from sleepstream.signal.epocher import Epocher
from sleepstream.signal.montage import Montage
from sleepstream.stager import device
from sleepstream.stager.stager import Stager
from sleepstream.store.nights import NightStore

ROUNDS = 60
NIGHT = 960
MONTAGE = Montage("Fpz-Cz", (0,), 0, (1.0,), "uV")


def epochs(rng: np.random.Generator) -> Iterator[Epoch]:
    index = 0
    while True:
        data = frozen(rng.normal(size=(1, EPOCH_N_SAMPLES)) * 20)
        onset = index * EPOCH_S
        yield Epoch(index, onset, onset + EPOCH_S, data, 1.0, Quality(1.0))
        index += 1


def stager(decoder: str) -> Stager:
    models = Settings().models
    return Stager.load(
        encoder=models.encoder,
        decoder=decoder,
        disorder=models.disorder,
        device=torch.device("cpu"),
        bed="bench",
    )


def signal_step(sfreq: float, rng: np.random.Generator) -> Callable[[], None]:
    epocher = Epocher(sfreq, MONTAGE)
    n = int(sfreq * EPOCH_S)
    data = (rng.normal(size=(1, n)) * 20).astype(np.float32)
    start = 0

    def step() -> None:
        nonlocal start
        for piece in range(0, n, n // 100):  # as it comes: 0.3 s at a time
            part = data[:, piece : piece + n // 100]
            stamps = (start + piece + np.arange(part.shape[1])) / sfreq
            for _ in epocher.push(Chunk(stamps, part)):
                pass
        start += n

    return step


def main() -> None:
    device.single_thread()
    rng = np.random.default_rng(0)
    bare, full = stager("none"), stager(Settings().models.decoder)
    one, other = epochs(rng), epochs(rng)
    for _ in range(NIGHT):  # deep in the night, with a full context
        full.step(next(other))
    console = Console(width=200, height=60, force_terminal=True, file=io.StringIO())
    board = Dashboard()
    with TemporaryDirectory() as folder, NightStore(Path(folder) / "nights.sqlite") as store:
        night = store.begin(
            "bench",
            source="bench",
            sfreq=100.0,
            channel="Fpz-Cz",
            started_s=0.0,
            started_utc="2026-01-01T00:00:00+00:00",
            models={},
            settings_json="{}",
        )

        def final() -> None:
            estimate = full.step(next(other))
            board.show(estimate)
            latest.append(estimate)

        latest = [full.step(next(other))]
        steps: dict[str, Callable[[], object]] = {
            "encoder alone, one epoch": lambda: bare.step(next(one)),
            "encoder + decoder + score, epoch 960 and later": final,
            "provisional estimate": lambda: full.peek(next(epochs(rng))),
            "signal room, 30 s at 100 Hz": signal_step(100.0, rng),
            "signal room, 30 s at 256 Hz": signal_step(256.0, rng),
            "signal room, 30 s at 4096 Hz": signal_step(4096.0, rng),
            "record, one estimate on disk": lambda: night.append(latest[-1]),
            "dashboard, one frame of 200x60": lambda: console.print(board),
        }
        taken: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(ROUNDS):
            for name, step in steps.items():
                before = time.perf_counter()
                step()
                taken[name].append(1000 * (time.perf_counter() - before))
    unit = statistics.median(next(iter(taken.values())))
    table = Table("step", "median ms", "p99 ms", "ratio to the encoder", "times real time")
    for name, ms in taken.items():
        middle = statistics.median(ms)
        row = (middle, float(np.percentile(ms, 99)), middle / unit, 1000 * EPOCH_S / middle)
        table.add_row(name, *(f"{value:,.2f}" for value in row))
    Console().print(table)


if __name__ == "__main__":
    main()
