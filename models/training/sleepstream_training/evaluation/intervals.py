"""Figures with intervals, by drawing subjects again.

In come counts per subject (confusions, squared errors, bins: whatever adds up over epochs), out go
figures. Because every figure is a function of sums over subjects, a thousand draws of subjects are
one matrix product, and a difference between two methods is taken within each draw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SEED = 2026
N_DRAWS = 1000
LEVEL = 0.95

Array = npt.NDArray[Any]
Counts = TypeVar("Counts", bound="DataclassInstance")


@dataclass(frozen=True, slots=True)
class Figure:
    """A number and its 95 % interval over subjects.

    Attributes
    ----------
    value : float
        NaN where it is undefined.
    low, high : float or None
        The interval, which always holds the value; None where there is one subject, or no value.
    """

    value: float
    low: float | None = None
    high: float | None = None

    def text(self, digits: int = 3, *, interval: bool = True, sign: bool = False) -> str:
        """Return it for a person: ``0.71 [0.68, 0.74]``, or a dash."""
        if np.isnan(self.value):
            return "–"
        shown = f"{self.value:{'+' if sign else ''}.{digits}f}"
        if not interval or self.low is None or self.high is None:
            return shown
        return f"{shown} [{self.low:.{digits}f}, {self.high:.{digits}f}]"

    def as_json(self) -> dict[str, Any]:
        """Return it for a program, null where there is none."""
        return {
            "value": None if np.isnan(self.value) else self.value,
            "interval": None if self.low is None else [self.low, self.high],
        }


@dataclass(frozen=True, slots=True)
class Resampled(Generic[Counts]):
    """Counts of all subjects together, and of a thousand drawn groups of them.

    Attributes
    ----------
    whole : Counts
        Their sums; the first axis has length 1.
    drawn : Counts or None
        Sums over each draw, along the first axis; None where there is one subject.
    """

    whole: Counts
    drawn: Counts | None


def by_subject(subjects: Sequence[str], nights: Sequence[Counts]) -> Counts:
    """Add up the counts of each subject's nights.

    Parameters
    ----------
    subjects : sequence of str
        Whose each night is.
    nights : sequence of Counts
        A dataclass of arrays for each night; at least one.

    Returns
    -------
    Counts
        The first axis of each array counts the subjects, in the order of their names.
    """
    names, rows = np.unique(np.asarray(subjects), return_inverse=True)
    totals = {}
    for field in fields(nights[0]):
        values = [np.asarray(getattr(night, field.name), dtype=np.float64) for night in nights]
        total = np.zeros((len(names), *values[0].shape))
        for row, value in zip(rows.tolist(), values, strict=True):
            total[row] += value
        totals[field.name] = total
    return replace(nights[0], **totals)


def resampled(subjects: Sequence[str], nights: Sequence[Counts]) -> Resampled[Counts]:
    """Add up counts over subjects, and over groups of subjects drawn with replacement.

    The draws depend on the number of subjects alone, so two methods on the same nights are
    compared within the same groups.
    """
    each = by_subject(subjects, nights)
    n = len(next(iter(np.asarray(getattr(each, field.name)) for field in fields(each))))
    return Resampled(
        whole=_weighted(each, np.ones((1, n))),
        drawn=_weighted(each, draws(n)) if n > 1 else None,
    )


def draws(n_subjects: int) -> Array:
    """Return how often each subject counts in each draw, shape (1000, n_subjects)."""
    rng = np.random.default_rng([SEED, n_subjects])
    times = rng.multinomial(n_subjects, np.full(n_subjects, 1.0 / n_subjects), size=N_DRAWS)
    return times.astype(np.float64)


def figure(statistic: Callable[..., Array], *groups: Resampled[Any]) -> Figure:
    """Return a figure with its interval.

    Parameters
    ----------
    statistic : callable
        From the sums of each group, first axis draws, to one number per draw. NaN where a draw has
        none.
    *groups : Resampled
        One for each argument of `statistic`, of the same subjects.
    """
    return figures(lambda *sums: statistic(*sums)[:, None], *groups)[0]


def figures(statistic: Callable[..., Array], *groups: Resampled[Any]) -> list[Figure]:
    """Do as `figure` does, for a statistic that returns several numbers per draw."""
    values = statistic(*(group.whole for group in groups))[0]
    if any(group.drawn is None for group in groups):
        return [Figure(float(value)) for value in values]
    drawn = statistic(*(group.drawn for group in groups))
    return [interval(float(value), column) for value, column in zip(values, drawn.T, strict=True)]


def interval(value: float, drawn: Array) -> Figure:
    """Return the percentile interval of `drawn` about `value`, widened where it misses it.

    A calibration error is never negative, so noise in a draw adds to it and its draws lie above the
    value: the interval then begins at the value.
    """
    known = drawn[np.isfinite(drawn)]
    if np.isnan(value) or not len(known):
        return Figure(value)
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Figure(value, min(float(low), value), max(float(high), value))


def ratio(part: Array, whole: Array) -> Array:
    """Divide, NaN where there is nothing to divide by."""
    out = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out


def _weighted(each: Counts, times: Array) -> Counts:
    sums = {
        field.name: np.tensordot(times, getattr(each, field.name), axes=(1, 0))
        for field in fields(each)
    }
    return replace(each, **sums)
