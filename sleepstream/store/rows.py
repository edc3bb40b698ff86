"""How messages look as rows of the record, and rows as messages: an exact round trip.

Floats are SQLite's 8-byte REALs and arrays BLOBs of little-endian float32, so nothing is rounded
on the way. (SQLite keeps no NaN, which the tables refuse where a number is due, and no sign of
zero.)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from sleepstream.messages import (
    EPOCH_N_SAMPLES,
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


def estimate(bed: str, row: tuple[Any, ...]) -> StageEstimate:
    """Return the estimate of a row of `SELECT_EPOCHS`."""
    (epoch, onset_s, end_s, stage, confidence, quality, reasons, valid, *rest) = row
    (p_wake, p_rem, probs, encoder_probs, forecast, *rest) = rest
    (disorder, disorder_p, low, high, statement, model, latency_ms, derivation, gain, seconds) = (
        rest
    )
    return StageEstimate(
        bed=bed,
        epoch=epoch,
        onset_s=onset_s,
        end_s=end_s,
        stage=None if stage is None else Stage[stage],
        probs=_array(probs),
        encoder_probs=None if encoder_probs is None else _array(encoder_probs),
        confidence=confidence,
        quality=_quality(quality, reasons, seconds),
        valid=valid,
        forecast=_array(forecast).reshape(-1, N_STAGES),
        p_wake_5min=p_wake,
        p_rem_5min=p_rem,
        disorder=DisorderScore(
            disorder, disorder_p, None if low is None else (low, high), statement
        ),
        final=True,
        model=model,
        latency_ms=latency_ms,
        derivation=derivation,
        gain=gain,
    )


def signal(row: tuple[Any, ...]) -> Epoch | None:
    """Return the epoch of a row of `SELECT_SIGNALS`, as it was staged; None if it is not whole."""
    index, onset_s, end_s, quality, reasons, valid, scorable, samples, derivation, gain, seconds = (
        row
    )
    if samples is None or len(samples) != EPOCH_N_SAMPLES * _FLOAT32.itemsize:
        return None
    return Epoch(
        index=index,
        onset_s=onset_s,
        end_s=end_s,
        data=_array(samples).reshape(1, EPOCH_N_SAMPLES),
        valid=valid,
        quality=_quality(quality, reasons, seconds),
        scorable=bool(scorable),
        derivation=derivation,
        gain=gain,
    )


def _quality(score: float, reasons: str, seconds: str) -> Quality:
    return Quality(score, tuple(json.loads(reasons)), Artefacts(**json.loads(seconds)))


def clock_values(offset: ClockOffset) -> Mapping[str, Any]:
    """Return the columns of ``clock`` for a measurement, all but the night."""
    return {
        "at_s": float(offset.at_s),
        "offset_s": float(offset.offset_s),
        "uncertainty_s": float(offset.uncertainty_s),
    }


def clock(row: tuple[Any, ...]) -> ClockOffset:
    """Return the measurement of a row of `SELECT_CLOCK`."""
    return ClockOffset(*row)


def event_values(event: Event) -> Mapping[str, Any]:
    """Return the columns of ``event`` for an event, all but the night."""
    return {"kind": event.kind, "at_s": float(event.at_s), "text": storable(event.text)}


def event(row: tuple[Any, ...]) -> Event:
    """Return the event of a row of `SELECT_EVENTS`."""
    return Event(*row)


def blob(array: Float32Array) -> bytes:
    """Return an array as the record keeps it."""
    return array.astype(_FLOAT32).tobytes()


def _array(blob: bytes) -> Float32Array:
    return frozen(np.frombuffer(blob, _FLOAT32))


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
