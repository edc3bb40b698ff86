"""The stager on scored recordings, along the very path that serves.

In come recordings with their scoring and a stager; out go tables for each recording and for all of
them: the encoder alone beside the decoder, what the forecast adds, and how far the probabilities
can be believed. The signal may be changed before it reaches us, as another amplifier would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import signal

from sleepstream.corpora.names import Origin
from sleepstream.corpora.scored import Opened
from sleepstream.messages import N_HORIZONS, N_STAGES, STAGES, Chunk, Event, StageEstimate
from sleepstream.outputs.sink import Collected
from sleepstream.pipeline import Bed, stage_recording
from sleepstream.signal.epocher import Epocher
from sleepstream.stager.stager import Stager
from sleepstream_training.decoder.batches import Tokens
from sleepstream_training.evaluation import forecasting, forecasts, metrics, staging
from sleepstream_training.evaluation.forecasts import Predictions
from sleepstream_training.evaluation.intervals import figure, figures, resampled
from sleepstream_training.evaluation.methods import Method
from sleepstream_training.evaluation.tables import Cell, Column, Table

ENCODER = "encoder"
ABOUT = "of scored recordings"
PIECE_S = 30.0

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Amplifier:
    """What is done to the signal before it reaches us.

    Attributes
    ----------
    gain : float
        It comes so many times as large.
    sfreq : float
        It comes at this rate in hertz; 0 for its own.
    """

    gain: float = 1.0
    sfreq: float = 0.0

    def rate(self, found: Opened) -> float:
        """Return the rate at which a recording then comes, in hertz."""
        return self.sfreq or found.recording.sfreq

    def chunks(self, found: Opened) -> Iterator[Chunk]:
        """Yield the recording as this amplifier would send it."""
        if not self.sfreq:
            for chunk in found.chunks():
                yield replace(chunk, data=chunk.data * np.float32(self.gain))
            return
        whole = np.concatenate([chunk.data for chunk in found.chunks()], axis=1)
        ratio = Fraction(self.sfreq / found.recording.sfreq).limit_denominator(1000)
        data = signal.resample_poly(whole, ratio.numerator, ratio.denominator, axis=1)
        data = (data * self.gain).astype(np.float32)
        stamps = found.start_s + np.arange(data.shape[1]) / self.sfreq
        step = round(PIECE_S * self.sfreq)
        for start in range(0, data.shape[1], step):
            piece = slice(start, start + step)
            yield Chunk(stamps[piece], data[:, piece])


@dataclass(frozen=True, slots=True, eq=False)
class Staged:
    """One recording, scored and staged.

    Attributes
    ----------
    origin : Origin
        Whose it is.
    channel : str
        The derivation.
    stages : ndarray of int8, shape (n_epochs,)
        Scored stages, below 0 where there is none.
    encoder : ndarray, shape (n_epochs, 5)
        The encoder's probabilities; NaN where the epoch could not be staged.
    said : Predictions
        The stager's; NaN likewise.
    """

    origin: Origin
    channel: str
    stages: Array
    encoder: Array
    said: Predictions

    @property
    def n_unscorable(self) -> int:
        """Scored epochs that the stager called unscorable."""
        return int(np.sum((self.stages >= 0) & np.isnan(self.said.now[:, 0])))


def stage(
    found: Opened,
    stager: Stager,
    amplifier: Amplifier,
    *,
    min_valid: float,
    tell: Callable[[Event], None],
) -> Staged:
    """Stage a recording as `sleepstream score` does, from the scorer's first epoch on.

    Parameters
    ----------
    found : Opened
        The recording and its scoring.
    stager : Stager
        It forgets the night before.
    amplifier : Amplifier
        What is done to the signal first.
    min_valid : float
        Fraction of an epoch that has to be real for it to be staged.
    tell : callable
        Told of gaps and doubts.
    """
    stager.reset()
    collected = Collected()
    bed = Bed(Epocher(amplifier.rate(found), found.montage, min_valid), stager)
    stage_recording(amplifier.chunks(found), bed, [collected], tell, lambda _: None)
    codes = found.codes(len(collected.final))
    return collect(found.origin, found.montage.label, codes, collected.final)


def collect(
    origin: Origin, channel: str, codes: Array, estimates: Sequence[StageEstimate]
) -> Staged:
    """Put scored stages and estimates side by side, epoch by epoch."""
    nothing = np.full(N_STAGES, np.nan)
    known = np.array([estimate.stage is not None for estimate in estimates], dtype=bool)
    now = np.array([e.probs for e in estimates], dtype=np.float64).reshape(-1, N_STAGES)
    ahead = np.array([e.forecast for e in estimates], dtype=np.float64)
    soon = np.array([(e.p_wake_5min, e.p_rem_5min) for e in estimates], dtype=np.float64)
    now[~known], soon.reshape(-1, 2)[~known] = np.nan, np.nan
    ahead = ahead.reshape(-1, N_HORIZONS, N_STAGES)
    ahead[~known] = np.nan
    encoder = [nothing if e.encoder_probs is None else e.encoder_probs for e in estimates]
    return Staged(
        origin=origin,
        channel=channel,
        stages=codes,
        encoder=np.array(encoder, dtype=np.float64).reshape(-1, N_STAGES),
        said=Predictions(now, ahead, soon.reshape(-1, 2)),
    )


def tables(
    staged: Sequence[Staged], ours: str, baselines: Mapping[str, Method] | None
) -> list[Table]:
    """Return the tables.

    Parameters
    ----------
    staged : sequence of Staged
        At least one.
    ours : str
        What the stager is called; ``"encoder"`` where it is judged alone.
    baselines : mapping of str to Method, or None
        What a forecast from the encoder's probabilities is compared with; None for no forecasts.
    """
    subjects = [f"{one.origin.corpus}/{one.origin.subject}" for one in staged]
    counts = {ENCODER: [metrics.count(one.stages, one.encoder) for one in staged]}
    if ours != ENCODER:
        counts[ours] = [metrics.count(one.stages, one.said.now) for one in staged]
    groups = staging.grouped(subjects, counts)
    out = [recordings(staged, counts[ours], ours), *staging.whole("stager", ABOUT, groups, ours)]
    if baselines is None or ours == ENCODER:
        return out
    tokens = [_tokens(one) for one in staged]
    coming = {
        f"{name} on the encoder": [
            forecasts.count(one.stages, said)
            for one, said in zip(staged, method(tokens), strict=True)
        ]
        for name, method in baselines.items()
    }
    coming[ours] = [forecasts.count(one.stages, one.said) for one in staged]
    return [*out, *forecasting.whole("stager", ABOUT, forecasting.grouped(subjects, coming), ours)]


def _tokens(one: Staged) -> Tokens:
    return Tokens(one.encoder, np.isfinite(one.encoder[:, 0]), one.stages, soft=True)


def recordings(staged: Sequence[Staged], counts: Sequence[metrics.StageCounts], ours: str) -> Table:
    """Return one row for each recording."""
    columns = [
        Column("recording"),
        Column("subject"),
        Column("channel"),
        Column("epochs"),
        Column("unscorable"),
        Column("accuracy"),
        Column("kappa"),
        Column("macro-F1"),
        *(Column(f"F1 {stage.name}", 2) for stage in STAGES),
        Column("ECE"),
        Column("encoder's kappa"),
    ]
    rows: list[list[Cell]] = []
    for one, its in zip(staged, counts, strict=True):
        group = resampled([one.origin.subject], [its])
        alone = resampled([one.origin.subject], [metrics.count(one.stages, one.encoder)])
        rows.append(
            [
                one.origin.record,
                one.origin.subject,
                one.channel,
                int(metrics.n_epochs(group.whole)[0]),
                one.n_unscorable,
                *(figure(f, group) for f in (metrics.accuracy, metrics.kappa, metrics.macro_f1)),
                *figures(metrics.f1, group),
                figure(metrics.ece, group),
                figure(metrics.kappa, alone),
            ]
        )
    return Table("stager-recordings", f"Each recording, {ours}", columns, rows)
