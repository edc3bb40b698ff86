"""The score that ships: a regularised logistic regression on the architecture of the night.

In come hypnograms since sleep onset; out go logits by the hour, and the weights that
`sleepstream.stager.disorder` reads. One regression for each hour since sleep onset, or one for all
of them; the inner cross-validation chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from sleepstream.errors import RecordingError
from sleepstream.stager.disorder import EPOCHS_PER_H, N_FEATURES, architecture, standardised
from sleepstream_training.disorder.cohort import SEGMENT_EPOCHS, Cohort

HOURS = (1, 2, 3, 4, 5, 6)
"""Hours since sleep onset that have a model of their own; the last serves all later ones."""

END = "end"
FAMILY = "features, logistic"
TINY = 1e-6
TIMES: tuple[int | str, ...] = (*HOURS, END)
"""When the score is judged: so many hours after sleep onset, and at the end of the night."""

Array = npt.NDArray[Any]


class Snapshots:
    """The architecture of nights as seen every ten minutes from the first hour on.

    Parameters
    ----------
    hypnograms : sequence of ndarray
        Stages since sleep onset, one night each.

    Attributes
    ----------
    x : ndarray of float64, shape (n, N_FEATURES)
        See `sleepstream.stager.disorder.architecture`.
    night, hour : ndarray of int, shape (n,)
        Whose, and which full hour since onset, 6 for all later ones.
    """

    def __init__(self, hypnograms: Sequence[Array]) -> None:
        rows = [
            (night, min(end // EPOCHS_PER_H, HOURS[-1]), architecture(stages[:end].tolist()))
            for night, stages in enumerate(hypnograms)
            for end in range(EPOCHS_PER_H, len(stages) + 1, SEGMENT_EPOCHS)
            if (stages[:end] >= 0).any()
        ]
        self.n_nights = len(hypnograms)
        self.night = np.array([row[0] for row in rows], dtype=int)
        self.hour = np.array([row[1] for row in rows], dtype=int)
        self.x = np.array([row[2] for row in rows]).reshape(-1, N_FEATURES)

    def at(self, time: int | str) -> Array:
        """Return the row of each night at that time, -1 where there is none."""
        found = np.full(self.n_nights, -1)
        if time == END:
            found[self.night] = np.arange(len(self.night))
            return found
        rows = np.flatnonzero(self.hour == time)[::-1]
        found[self.night[rows]] = rows
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """Fitted regressions.

    Attributes
    ----------
    mean, scale : ndarray of float64, shape (6, N_FEATURES)
        By hour.
    coefficients : ndarray of float64, shape (6, N_FEATURES + 1)
        The intercept comes last.
    """

    mean: Array
    scale: Array
    coefficients: Array

    def logits(self, x: Array, hour: Array) -> Array:
        """Return the logit of each snapshot."""
        row = hour - HOURS[0]
        z = standardised(x, self.mean[row], self.scale[row])
        found: Array = (z * self.coefficients[row, :-1]).sum(axis=1) + self.coefficients[row, -1]
        return found

    def calibrated(self, slope: float, intercept: float) -> Linear:
        """Return the regressions with every logit stretched and moved."""
        coefficients = self.coefficients * slope
        coefficients[:, -1] += intercept
        return Linear(self.mean, self.scale, coefficients)


@dataclass(frozen=True, slots=True)
class LinearCandidate:
    """One way to fit the regressions.

    Attributes
    ----------
    strength : float
        Weight of the squared coefficients against the mean loss.
    by_hour : bool
        One regression for each hour, or one for all.
    """

    strength: float
    by_hour: bool

    @property
    def family(self) -> str:
        """Which architecture it is."""
        return FAMILY

    @property
    def name(self) -> str:
        """What distinguishes it, for people."""
        return f"strength {self.strength:g}, {'by hour' if self.by_hour else 'all hours in one'}"


class LinearLearner:
    """Fits candidates on some nights and applies them to all.

    Parameters
    ----------
    cohort : Cohort
        The nights.
    """

    def __init__(self, cohort: Cohort) -> None:
        self.snapshots = [
            Snapshots([reading.stages for reading in readings]) for readings in cohort.readings
        ]
        self._cases = cohort.cases

    def fit(self, candidate: LinearCandidate, nights: Array, like: Linear | None = None) -> Linear:
        """Fit on `nights`, which may hold some of them several times.

        Parameters
        ----------
        candidate : LinearCandidate
            How.
        nights : ndarray of int
            Numbers of nights in either group.
        like : Linear, optional
            Standardise as this one does.
        """
        times = np.bincount(nights, minlength=len(self._cases)).astype(float)
        parts: list[tuple[Array, Array, Array]] = []
        for hours in [(hour,) for hour in HOURS] if candidate.by_hour else [HOURS]:
            rows = self._rows(times, hours)
            # past the end of most nights, the last hour that has both groups serves
            alone = bool(parts) and len(set(rows[1].tolist())) < 2
            parts.append(parts[-1] if alone else _fit(candidate, rows, hours[0], like))
        parts *= len(HOURS) // len(parts)
        mean, scale, coefficients = (np.stack(part) for part in zip(*parts, strict=True))
        return Linear(mean, scale, coefficients)

    def predict(self, fitted: Linear, reading: int) -> Array:
        """Return logits at each of `TIMES` of every night, shape (7, n_nights); NaN for none."""
        table = self.snapshots[reading]
        found = np.full((len(TIMES), table.n_nights), np.nan)
        logits = fitted.logits(table.x, table.hour)
        for number, time in enumerate(TIMES):
            rows = table.at(time)
            found[number, rows >= 0] = logits[rows[rows >= 0]]
        return found

    def _rows(self, times: Array, hours: tuple[int, ...]) -> tuple[Array, Array, Array]:
        """Return features, groups and weights of the snapshots of those hours.

        A night counts once, however many snapshots it has; all decoded readings together count as
        much as the scored one; both groups weigh the same; the weights add up to one.
        """
        x, y, weight = [], [], []
        for number, table in enumerate(self.snapshots):
            rows = np.flatnonzero(np.isin(table.hour, hours) & (times[table.night] > 0))
            night = table.night[rows]
            each = np.bincount(night, minlength=table.n_nights)[night]
            share = 1.0 if number == 0 else 1.0 / (len(self.snapshots) - 1)
            x.append(table.x[rows])
            y.append(self._cases[night])
            weight.append(share * times[night] / each)
        groups, weights = np.concatenate(y), np.concatenate(weight)
        for group in (0.0, 1.0):
            weights[groups == group] /= 2.0 * max(weights[groups == group].sum(), TINY)
        return np.concatenate(x), groups, weights


def _fit(
    candidate: LinearCandidate, rows: tuple[Array, Array, Array], hour: int, like: Linear | None
) -> tuple[Array, Array, Array]:
    """Fit one regression; return mean, scale and coefficients."""
    x, y, weight = rows
    if len(set(y.tolist())) < 2:
        raise RecordingError(
            "nights of both groups that last an hour after sleep onset",
            f"{len(x)} such snapshots, of one group at most",
            "give longer nights",
        )
    if like is None:
        mean, scale = x.mean(axis=0), x.std(axis=0) + TINY
    else:
        mean, scale = like.mean[hour - HOURS[0]], like.scale[hour - HOURS[0]]
    model = LogisticRegression(C=1.0 / candidate.strength, solver="newton-cholesky")
    model.fit(standardised(x, mean, scale), y, sample_weight=weight)
    return mean, scale, np.append(model.coef_[0], model.intercept_)
