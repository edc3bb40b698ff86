"""The causal context of an epoch: what the night so far says, as the decoder's input vector.

In come the encoder's probabilities, one epoch at a time; out goes one row per epoch: the
probabilities themselves, their logarithms, whether the epoch was scorable, and features of the
history (run lengths, time since the start, since sleep onset and since each stage, stage shares,
the phase of a 90-minute cycle, running averages). `advance` is the one implementation: serving
calls it with one night, training with many side by side. The state is a value, so that looking
ahead from it leaves no trace.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sleepstream.messages import EPOCH_S, N_STAGES, Float32Array, Float64Array, Stage

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

AVERAGES_EPOCHS = (2.0, 6.0, 20.0, 60.0, 180.0)
"""Time constants of the running averages of the probabilities, in epochs."""

CYCLE_EPOCHS = 90.0 * 60.0 / EPOCH_S
"""One sleep cycle as the textbooks have it, in epochs."""

N_FEATURES = 29 + N_STAGES * len(AVERAGES_EPOCHS)
"""How many features of the history there are."""

N_INPUTS = 2 * N_STAGES + 1 + N_FEATURES
"""Length of the decoder's input vector."""

_FLOOR = 1e-4  # below this probability the encoder's logarithm means nothing
_LONG = 2880.0  # a day of epochs: further back is all the same
_ONSET_AVERAGE = AVERAGES_EPOCHS.index(6.0)
_AWAKE_AVERAGE = AVERAGES_EPOCHS.index(60.0)
_NONE = -1


@dataclass(frozen=True, slots=True)
class Context:
    """What is remembered of the night so far; the first axis counts nights.

    Attributes
    ----------
    epochs : ndarray of float64, shape (n,)
        Epochs since the start.
    stage, previous : ndarray of int, shape (n,)
        The encoder's most probable stage now, and the one before the present run; -1 for none.
    run, previous_run : ndarray of float64, shape (n,)
        Lengths of those two runs in epochs.
    since : ndarray of float64, shape (n, 5)
        Epochs since each stage was last the most probable.
    asleep : ndarray of float64, shape (n,)
        Epochs since sleep onset; -1 before it.
    sums : ndarray of float64, shape (n, 5)
        Probabilities summed since sleep onset.
    averages : ndarray of float64, shape (n, 5, 5)
        Running averages of the probabilities: time constant, stage.
    """

    epochs: Float64Array
    stage: IntArray
    previous: IntArray
    run: Float64Array
    previous_run: Float64Array
    since: Float64Array
    asleep: Float64Array
    sums: Float64Array
    averages: Float64Array


def start(n_nights: int = 1) -> Context:
    """Return the context before the first epoch of `n_nights` nights."""
    none = np.full(n_nights, _NONE, dtype=np.int64)
    zero = np.zeros(n_nights)
    return Context(
        epochs=zero,
        stage=none,
        previous=none,
        run=zero,
        previous_run=zero,
        since=np.full((n_nights, N_STAGES), _LONG),
        asleep=np.full(n_nights, -1.0),
        sums=np.zeros((n_nights, N_STAGES)),
        averages=np.zeros((n_nights, len(AVERAGES_EPOCHS), N_STAGES)),
    )


def advance(
    context: Context, probs: npt.ArrayLike, scorable: npt.ArrayLike
) -> tuple[Context, Float32Array]:
    """Take in one epoch of each night.

    Parameters
    ----------
    context : Context
        The night before this epoch; it is not changed.
    probs : array-like, shape (n_nights, 5)
        The encoder's probabilities; ignored where not `scorable`.
    scorable : array-like of bool, shape (n_nights,)
        Whether the epoch could be staged. Where not, time passes and nothing else does.

    Returns
    -------
    context : Context
        The night after this epoch.
    inputs : ndarray of float32, shape (n_nights, N_INPUTS)
        The decoder's input for this epoch.
    """
    valid = np.asarray(scorable, dtype=bool)
    p = np.where(valid[:, None], np.asarray(probs, dtype=np.float64), 0.0)
    after = _with_sleep(_with_runs(context, p, valid), p, valid)
    logs = np.where(valid[:, None], np.log(np.clip(p, _FLOOR, 1.0)) / 4.0, 0.0)
    inputs = np.concatenate([p, logs, valid[:, None], _features(after)], axis=1)
    return after, inputs.astype(np.float32)


def _with_runs(context: Context, p: Float64Array, valid: BoolArray) -> Context:
    stage = np.where(valid, p.argmax(axis=1), context.stage)
    same = stage == context.stage
    since = context.since + 1.0
    rows = np.flatnonzero(valid)
    since[rows, stage[rows]] = 0.0
    rates = 1.0 - np.exp(-1.0 / np.asarray(AVERAGES_EPOCHS))[None, :, None]
    moved = context.averages + rates * (p[:, None, :] - context.averages)
    return Context(
        epochs=context.epochs + 1.0,
        stage=stage,
        previous=np.where(same, context.previous, context.stage),
        run=np.where(same, context.run + 1.0, 1.0),
        previous_run=np.where(same, context.previous_run, context.run),
        since=np.minimum(since, _LONG),
        asleep=context.asleep,
        sums=context.sums,
        averages=np.where(valid[:, None, None], moved, context.averages),
    )


def _with_sleep(context: Context, p: Float64Array, valid: BoolArray) -> Context:
    """Begin sleep when the last minutes were mostly sleep; end it after hours of wake."""
    falls = context.averages[:, _ONSET_AVERAGE, Stage.N1 :].sum(axis=1) > 0.5
    leaves = context.averages[:, _AWAKE_AVERAGE, Stage.W] > 0.95
    was = context.asleep >= 0.0
    now = (was | falls) & ~leaves
    asleep = np.where(now, np.where(was, context.asleep + 1.0, 0.0), -1.0)
    counted = np.where((was & valid)[:, None], context.sums + p, context.sums)
    return Context(
        epochs=context.epochs,
        stage=context.stage,
        previous=context.previous,
        run=context.run,
        previous_run=context.previous_run,
        since=context.since,
        asleep=asleep,
        sums=np.where(now[:, None], counted, 0.0),
        averages=context.averages,
    )


def _features(context: Context) -> Float64Array:
    """Return the history as numbers of order one, shape (n_nights, N_FEATURES)."""
    asleep = np.maximum(context.asleep, 0.0)
    sleeping = context.asleep >= 0.0
    phase = 2.0 * np.pi * asleep / CYCLE_EPOCHS
    stages = np.arange(N_STAGES)
    total = np.maximum(context.sums.sum(axis=1, keepdims=True), 1.0)
    times = np.stack(
        [
            _log(context.epochs),
            np.minimum(context.epochs, _LONG) / 960.0,
            sleeping.astype(np.float64),
            _log(asleep),
            np.minimum(asleep, _LONG) / 960.0,
            np.where(sleeping, np.sin(phase), 0.0),
            np.where(sleeping, np.cos(phase), 0.0),
            _log(context.run),
            _log(context.previous_run),
        ],
        axis=1,
    )
    return np.concatenate(
        [
            times,
            _log(context.since),
            (context.stage[:, None] == stages).astype(np.float64),
            (context.previous[:, None] == stages).astype(np.float64),
            context.sums / total,
            context.averages.reshape(len(context.epochs), -1),
        ],
        axis=1,
    )


def _log(epochs: Float64Array) -> Float64Array:
    logs: Float64Array = np.log1p(np.minimum(epochs, _LONG)) / 5.0
    return logs
