"""A forecast from stage transitions alone, for decoders that have no forecast of their own.

In come the stage probabilities of the present epoch; out go those of the next twenty, and the
probabilities of wake and of REM in the next five minutes. The night is a Markov chain here: it
knows neither how long a stage has lasted nor what the night was like, which makes it the baseline
that a better forecast is measured against.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sleepstream.messages import EPOCH_S, N_HORIZONS, Float32Array, Float64Array, Stage, frozen

SOON_EPOCHS = int(5 * 60 / EPOCH_S)
"""Epochs in the five minutes that "soon" means."""

_TRANSITIONS = (
    (167238, 23765, 1274, 21, 368),
    (13549, 90203, 28235, 36, 3632),
    (8249, 16402, 420644, 14535, 4826),
    (974, 584, 12884, 123921, 132),
    (2336, 4692, 1802, 30, 151225),
)


def transitions() -> Float64Array:
    """Return the transition matrix, shape (5, 5): from the row's stage to the column's.

    Counted from one epoch to the next over the training nights of `sleepstream_training.decoder`
    (sleep period and 30 minutes to either side, unscored epochs left out).
    """
    counts = np.asarray(_TRANSITIONS, dtype=np.float64)
    matrix: Float64Array = counts / counts.sum(axis=1, keepdims=True)
    return matrix


def stationary(matrix: Float64Array) -> Float64Array:
    """Return the stage probabilities that the chain settles to, shape (5,)."""
    settled: Float64Array = np.linalg.matrix_power(matrix, 4096)[0]
    return settled


def markov(probs: npt.ArrayLike, matrix: Float64Array) -> tuple[Float32Array, float, float]:
    """Forecast by the chain.

    Parameters
    ----------
    probs : array-like, shape (5,)
        Stage probabilities of the present epoch.
    matrix : ndarray, shape (5, 5)
        From `transitions`.

    Returns
    -------
    forecast : ndarray of float32, shape (20, 5)
        Stage probabilities 1 … 20 epochs ahead.
    p_wake_5min, p_rem_5min : float
        Probability of at least one such epoch among the next ten.
    """
    now = np.asarray(probs, dtype=np.float64)
    rows, row = [], now
    for _ in range(N_HORIZONS):
        row = row @ matrix
        rows.append(row)
    return frozen(rows), reaches(now, matrix, Stage.W), reaches(now, matrix, Stage.REM)


def reaches(
    probs: Float64Array, matrix: Float64Array, stage: Stage, n_epochs: int = SOON_EPOCHS
) -> float:
    """Return the probability that the chain visits `stage` within the next `n_epochs`.

    Whoever steps into `stage` is taken out of the chain; who is left never did.
    """
    avoiding = matrix.copy()
    avoiding[:, stage] = 0.0
    left = probs @ np.linalg.matrix_power(avoiding, n_epochs)
    return float(1.0 - left.sum())
