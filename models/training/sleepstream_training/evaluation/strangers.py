"""Input that is no sleep EEG: how sure the stager is of it, with and without its judge.

In come a stager with the judge and one without, and recordings to hold against it; out goes a
table. Everything reaches them as it would live, at 256 Hz and through the signal room.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sleepstream_replay.synthetic import synthetic_night

from sleepstream.corpora.scored import Opened
from sleepstream.messages import EPOCH_S, Chunk, Float32Array, StageEstimate
from sleepstream.outputs.sink import Collected
from sleepstream.pipeline import Bed, stage_recording
from sleepstream.signal.epocher import Epocher
from sleepstream.signal.montage import Montage
from sleepstream.stager.stager import Stager
from sleepstream_training.evaluation.intervals import Figure
from sleepstream_training.evaluation.tables import Cell, Column, Table
from sleepstream_training.strangers import STRANGERS, stranger

SFREQ_HZ = 256.0
N_EPOCHS = 40
"""Of each stranger: twenty minutes."""

N_NIGHT, N_BEFORE = 240, 60
"""Epochs of a made-up night, and of it before a stranger that comes in the middle."""

SEED = 97
SURE = 0.5
MIN_VALID = 0.8

_MONTAGE = Montage("EEG", (0,), 0, (1.0,), "uV")


@dataclass(frozen=True, slots=True)
class Beds:
    """The same models, with the judge of familiarity and without."""

    judged: Stager
    alone: Stager


def made_up(n_epochs: int) -> Float32Array:
    """Return a night that nobody slept and no model has learned from, in microvolts at 256 Hz."""
    night = synthetic_night(n_epochs * EPOCH_S / 3600.0, SEED, SFREQ_HZ)
    return np.asarray(night.read(0, night.n_samples)[0] * 1e6, dtype=np.float32)


def signals() -> Iterator[tuple[str, Float32Array]]:
    """Yield what is to be doubted, in microvolts at 256 Hz."""
    for number, name in enumerate(STRANGERS):
        rng = np.random.default_rng([SEED, number])
        yield name, stranger(name, N_EPOCHS * EPOCH_S, SFREQ_HZ, rng)
    night = made_up(N_EPOCHS)
    yield "EEG, 1000 times too small", night * np.float32(1e-3)
    yield "EEG, 1000 times too large", night * np.float32(1e3)


def table(beds: Beds, recordings: Mapping[str, Opened]) -> Table:
    """Return the table: first what should be believed, then what should not."""
    rows: list[list[Cell]] = []
    for name, found in recordings.items():
        said = [
            _staged(found.chunks(), Epocher(found.recording.sfreq, found.montage, MIN_VALID), bed)
            for bed in (beds.alone, beds.judged)
        ]
        rows.append([name, *_row(*said), None])
    night = made_up(N_NIGHT)
    rows.append(
        ["a made-up night", *_row(*(_heard(night, bed) for bed in (beds.alone, beds.judged))), None]
    )
    for name, data in signals():
        alone, judged = (_heard(data, bed) for bed in (beds.alone, beds.judged))
        within = _heard(
            np.concatenate([night[: round(N_BEFORE * EPOCH_S * SFREQ_HZ)], data]), beds.judged
        )
        rows.append([name, *_row(alone, judged), _first_doubt(within[N_BEFORE:])])
    columns = [
        Column("signal"),
        Column("epochs"),
        Column("alone: mean", 2),
        Column("alone: most", 2),
        Column("alone: sure", 2),
        Column("judged: mean", 2),
        Column("judged: most", 2),
        Column("judged: sure", 2),
        Column("doubted", 3),
        Column("from epoch"),
        Column("in a night from"),
    ]
    note = (
        "Confidence of the stager alone, and with the judge: mean, largest, and share of epochs "
        f"above {SURE:g} (sure). Doubted: share of epochs that are unscorable or said not to look "
        "like sleep EEG; the first of them, and the first after half an hour of a made-up night. "
        "The judge has learned from none of these signals. Where the limit for noise (*) has to "
        "be was calculated, and then settled with these noises in view: their rows are no test."
    )
    return Table("strangers", "Input that is no sleep EEG", columns, rows, note)


def _heard(data: Float32Array, bed: Stager) -> list[StageEstimate]:
    step = round(EPOCH_S * SFREQ_HZ)
    starts = range(0, len(data), step)
    stamps = np.arange(len(data)) / SFREQ_HZ
    chunks = (Chunk(stamps[i : i + step], data[np.newaxis, i : i + step]) for i in starts)
    return _staged(chunks, Epocher(SFREQ_HZ, _MONTAGE, MIN_VALID), bed)


def _staged(chunks: Iterable[Chunk], epocher: Epocher, bed: Stager) -> list[StageEstimate]:
    bed.reset()
    collected = Collected()
    stage_recording(chunks, Bed(epocher, bed), [collected], lambda _: None, lambda _: None)
    return collected.final


def _row(alone: Sequence[StageEstimate], judged: Sequence[StageEstimate]) -> list[Cell]:
    cells: list[Cell] = [len(judged)]
    for said in (alone, judged):
        sure = np.array([estimate.confidence for estimate in said])
        cells += [Figure(float(f)) for f in (sure.mean(), sure.max(), (sure > SURE).mean())]
    doubts = [_doubted(estimate) for estimate in judged]
    return [*cells, Figure(float(np.mean(doubts))), _first_doubt(judged)]


def _doubted(estimate: StageEstimate) -> bool:
    return estimate.stage is None or estimate.quality.doubted


def _first_doubt(said: Sequence[StageEstimate]) -> int | None:
    return next((n for n, estimate in enumerate(said, start=1) if _doubted(estimate)), None)
