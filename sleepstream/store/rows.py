"""How messages look as rows of the record, and rows as messages: an exact round trip.

Floats are SQLite's 8-byte REALs and arrays BLOBs of little-endian float32, so nothing is rounded
on the way. (SQLite keeps no NaN, which the tables refuse where a number is due, and no sign of
zero.) A row that is read is checked: the file may have been damaged, or be a stranger's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from sleepstream.messages import (
    EPOCH_N_SAMPLES,
    N_HORIZONS,
    N_STAGES,
    Artefacts,
    ClockOffset,
    DisorderScore,
    Epoch,
    Event,
    Float32Array,
    Quality,
    Stage,
    StageEstimate,
    frozen,
)

_FLOAT32 = np.dtype("<f4")


class _EpochRow(NamedTuple):
    epoch: int
    onset_s: float
    end_s: float
    stage: Literal["W", "N1", "N2", "N3", "REM"] | None
    confidence: float
    quality: float
    quality_reasons: str
    valid: float
    p_wake_5min: float
    p_rem_5min: float
    probs: bytes
    encoder_probs: bytes | None
    forecast: bytes
    disorder: str
    disorder_p: float | None
    disorder_low: float | None
    disorder_high: float | None
    disorder_statement: str
    model: str
    latency_ms: float
    derivation: str
    gain: float
    quality_seconds: str


class _SignalRow(NamedTuple):
    epoch: int
    onset_s: float
    end_s: float
    quality: float
    quality_reasons: str
    valid: float
    scorable: int
    samples: bytes | None
    derivation: str
    gain: float
    quality_seconds: str


SELECT_EPOCHS = """
SELECT epoch, onset_s, end_s, stage, confidence, quality, quality_reasons, valid,
       p_wake_5min, p_rem_5min, probs, encoder_probs, forecast,
       disorder, disorder_p, disorder_low, disorder_high, disorder_statement, model, latency_ms,
       derivation, gain, quality_seconds
FROM epoch WHERE night = ? ORDER BY epoch
"""

SELECT_SIGNALS = """
SELECT epoch.epoch, onset_s, end_s, quality, quality_reasons, valid, stage IS NOT NULL, samples,
       derivation, gain, quality_seconds
FROM epoch LEFT JOIN signal ON signal.night = epoch.night AND signal.epoch = epoch.epoch
WHERE epoch.night = ? ORDER BY epoch.epoch
"""

SELECT_CLOCK = "SELECT at_s, offset_s, uncertainty_s FROM clock WHERE night = ? ORDER BY number"

SELECT_EVENTS = "SELECT kind, at_s, text FROM event WHERE night = ? ORDER BY number"


def insert(table: str, columns: Iterable[str]) -> str:
    """Return the statement that inserts a mapping of `columns` into `table`."""
    names = tuple(columns)
    places = ", ".join(f":{name}" for name in names)
    # Tables and columns are named by this package alone; every value is bound.
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})"  # noqa: S608


def storable(text: str) -> str:
    """Return a text as SQLite can keep it: UTF-8, what is not replaced by ``?``.

    Names of streams and files are foreign, and may be no Unicode at all.
    """
    return text.encode("utf-8", "replace").decode("utf-8")


def epoch_values(estimate: StageEstimate) -> Mapping[str, Any]:
    """Return the columns of ``epoch`` for an estimate, all but the night."""
    low, high = estimate.disorder.interval or (None, None)
    encoder_probs = estimate.encoder_probs
    return {
        "epoch": int(estimate.epoch),
        "onset_s": float(estimate.onset_s),
        "end_s": float(estimate.end_s),
        "stage": None if estimate.stage is None else estimate.stage.name,
        "confidence": float(estimate.confidence),
        "quality": float(estimate.quality.score),
        "quality_reasons": json.dumps(estimate.quality.reasons),
        "valid": float(estimate.valid),
        "p_wake_5min": float(estimate.p_wake_5min),
        "p_rem_5min": float(estimate.p_rem_5min),
        "probs": blob(estimate.probs),
        "encoder_probs": None if encoder_probs is None else blob(encoder_probs),
        "forecast": blob(estimate.forecast),
        "disorder": estimate.disorder.name,
        "disorder_p": _number(estimate.disorder.probability),
        "disorder_low": _number(low),
        "disorder_high": _number(high),
        "disorder_statement": estimate.disorder.statement,
        "model": estimate.model,
        "latency_ms": float(estimate.latency_ms),
        "derivation": storable(estimate.derivation),
        "gain": float(estimate.gain),
        "quality_seconds": json.dumps(asdict(estimate.quality.seconds)),
    }


def estimate(bed: str, values: Sequence[Any]) -> StageEstimate:
    """Return the estimate of a row of `SELECT_EPOCHS`.

    Raises
    ------
    ValueError
        It is no such row; so do the other functions that take one.
    """
    row = msgspec.convert(values, _EpochRow)
    interval = None
    if row.disorder_low is not None and row.disorder_high is not None:
        interval = row.disorder_low, row.disorder_high
    return StageEstimate(
        bed=bed,
        epoch=row.epoch,
        onset_s=row.onset_s,
        end_s=row.end_s,
        stage=None if row.stage is None else Stage[row.stage],
        probs=_array(row.probs, N_STAGES),
        encoder_probs=None if row.encoder_probs is None else _array(row.encoder_probs, N_STAGES),
        confidence=row.confidence,
        quality=_quality(row),
        valid=row.valid,
        forecast=_array(row.forecast, N_HORIZONS, N_STAGES),
        p_wake_5min=row.p_wake_5min,
        p_rem_5min=row.p_rem_5min,
        disorder=DisorderScore(row.disorder, row.disorder_p, interval, row.disorder_statement),
        final=True,
        model=row.model,
        latency_ms=row.latency_ms,
        derivation=row.derivation,
        gain=row.gain,
    )


def signal(values: Sequence[Any]) -> Epoch | None:
    """Return the epoch of a row of `SELECT_SIGNALS`, as it was staged; None if it is not whole."""
    row = msgspec.convert(values, _SignalRow)
    if row.samples is None or len(row.samples) != EPOCH_N_SAMPLES * _FLOAT32.itemsize:
        return None
    return Epoch(
        index=row.epoch,
        onset_s=row.onset_s,
        end_s=row.end_s,
        data=_array(row.samples, 1, EPOCH_N_SAMPLES),
        valid=row.valid,
        quality=_quality(row),
        scorable=bool(row.scorable),
        derivation=row.derivation,
        gain=row.gain,
    )


def _quality(row: _EpochRow | _SignalRow) -> Quality:
    return Quality(
        row.quality,
        msgspec.json.decode(row.quality_reasons, type=tuple[str, ...]),
        msgspec.json.decode(row.quality_seconds, type=Artefacts),
    )


def clock_values(offset: ClockOffset) -> Mapping[str, Any]:
    """Return the columns of ``clock`` for a measurement, all but the night."""
    return {
        "at_s": float(offset.at_s),
        "offset_s": float(offset.offset_s),
        "uncertainty_s": float(offset.uncertainty_s),
    }


def clock(values: Sequence[Any]) -> ClockOffset:
    """Return the measurement of a row of `SELECT_CLOCK`."""
    return msgspec.convert(dict(zip(ClockOffset.__slots__, values, strict=True)), ClockOffset)


def event_values(event: Event) -> Mapping[str, Any]:
    """Return the columns of ``event`` for an event, all but the night."""
    return {"kind": event.kind, "at_s": float(event.at_s), "text": storable(event.text)}


def event(values: Sequence[Any]) -> Event:
    """Return the event of a row of `SELECT_EVENTS`."""
    return msgspec.convert(dict(zip(Event.__slots__, values, strict=True)), Event)


def blob(array: Float32Array) -> bytes:
    """Return an array as the record keeps it."""
    return array.astype(_FLOAT32).tobytes()


def _array(blob: bytes, *shape: int) -> Float32Array:
    return frozen(np.frombuffer(blob, _FLOAT32).reshape(shape))


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
