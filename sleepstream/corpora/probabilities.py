"""What another stager says of a night: stage probabilities per epoch, in a table.

Enters: the text of a CSV file, such as YASA's ``predict_proba`` writes. Leaves: one row of five
probabilities per epoch of 30 s, or None where it could not be scored. A table that can be read in
two ways is refused with the number of the line; nothing is guessed, skipped or scaled.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sleepstream.errors import RecordingError
from sleepstream.messages import EPOCH_S, STAGES, Float32Array, Stage, frozen
from sleepstream.plain import printable

TOLERANCE = 0.03
"""How far from 1 a row may add up to: five numbers rounded to two decimals miss by 0.025."""

LONGEST_GAP = 2880
"""Epochs that a table may leave out in one place: a day. More is a typing error."""

LARGEST = 1e12
"""No epoch has a larger number or onset, not even in seconds since 1970."""

_NAMES = {"w": Stage.W, "wake": Stage.W, "r": Stage.REM} | {s.name.lower(): s for s in STAGES}
_EPOCH_NAMES = ("epoch", "")  # pandas leaves the name of an index empty
_ONSET_NAMES = ("onset", "onset_s")
_NOTHING = ("", "nan", "na", "n/a", "none", "null")
_SHOW = "a table with a header such as N1,N2,N3,R,W or epoch,onset,W,N1,N2,N3,REM"


@dataclass(frozen=True, slots=True, eq=False)
class Probabilities:
    """A night as another stager sees it.

    Attributes
    ----------
    first : int
        Number of the first epoch, as the table counts.
    onset_s : float
        When it begins, in seconds, as the table has it.
    rows : tuple of (ndarray of float32, shape (5,), or None)
        Probabilities of W, N1, N2, N3 and REM, one row per epoch of 30 s; None where unscorable.
    n_left_out : int
        How many of those without probabilities the table does not mention.
    """

    first: int
    onset_s: float
    rows: tuple[Float32Array | None, ...]
    n_left_out: int


def parse(text: str, name: str) -> Probabilities:
    """Read the table.

    Parameters
    ----------
    text : str
        A header and one line per epoch, separated by commas, semicolons or tabs. Columns may come
        in any order: the five stages (W or Wake, N1, N2, N3, R or REM), and, where there are any,
        ``epoch`` (a number) and ``onset`` (seconds). Others are not looked at.
    name : str
        What the file is called.

    Returns
    -------
    Probabilities
        Rows add up to 1. A line without probabilities is an unscorable epoch, and so is each
        epoch that ``epoch`` or ``onset`` pass over.

    Raises
    ------
    RecordingError
        Not such a table; percentages, or rows that do not add up to 1; epochs that are not in
        order, or not of 30 s.
    """
    lines = text.rstrip("\r\n ").splitlines()
    if len(lines) < 2:
        raise RecordingError(f"{_SHOW} in {name}", "no line below a header", "check the file")
    separator = max(",;\t", key=lines[0].count)
    header = [cell.strip().lower() for cell in next(_cells(lines[:1], separator, name))]
    columns = _stage_columns(header, name)
    epoch, onset = _column(header, _EPOCH_NAMES), _column(header, _ONSET_NAMES)
    rows: list[Float32Array | None] = []
    places: list[_Place] = []
    for number, cells in enumerate(_cells(lines[1:], separator, name), start=2):
        where = f"line {number} of {name}"
        values = cells or [""] * len(header)
        if len(values) != len(header):
            raise RecordingError(
                f"{len(header)} values in {where}", f"{len(values)}", "write the table again"
            )
        rows.append(_row([_number(values[c], where) for c in columns], where))
        places.append(_place(values, epoch, onset, where))
    return _on_grid(rows, places, name)


def _cells(lines: Sequence[str], separator: str, name: str) -> Iterator[list[str]]:
    try:
        yield from csv.reader(lines, delimiter=separator)
    except csv.Error as error:
        raise RecordingError(f"{_SHOW} in {name}", str(error), "write the table again") from error


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an epoch is in the night, as far as its line says."""

    epoch: int | None
    onset_s: float | None
    where: str


def _stage_columns(header: Sequence[str], name: str) -> list[int]:
    """Return the column of each stage, in the order of `Stage`."""
    found = [_NAMES.get(cell) for cell in header]
    if sorted(stage for stage in found if stage is not None) != list(STAGES):
        raise RecordingError(
            f"one column for each of W, N1, N2, N3 and R (or REM) in {name}",
            f"the columns {printable(', '.join(header))}",
            f"give the file {_SHOW}",
        )
    return [found.index(stage) for stage in STAGES]


def _column(header: Sequence[str], names: Sequence[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _number(text: str, where: str) -> float:
    if text.strip().lower() in _NOTHING:
        return math.nan
    try:
        return float(text)
    except ValueError as error:
        raise RecordingError(
            f"a number with a decimal point in {where}",
            repr(printable(text[:80])),
            "mend that line; leave the cells of an epoch without a score empty",
        ) from error


def _row(values: list[float], where: str) -> Float32Array | None:
    """Return the five probabilities of an epoch, None where there are none."""
    if all(math.isnan(value) for value in values):
        return None
    total = sum(values)
    if min(values) >= 0 and abs(total - 1.0) <= TOLERANCE:
        return frozen([value / total for value in values])
    said = ", ".join(f"{value:g}" for value in values)
    remedy = "leave all five cells of an epoch without a score empty; write the table again"
    if abs(total - 100.0) <= 100.0 * TOLERANCE:
        remedy = "these are per cent: divide them by 100"
    raise RecordingError(
        f"five probabilities that add up to 1 in {where}",
        f"{said} for W, N1, N2, N3, REM, which add up to {total:g}",
        remedy,
    )


def _place(values: Sequence[str], epoch: int | None, onset: int | None, where: str) -> _Place:
    number = math.nan if epoch is None else _number(values[epoch], where)
    onset_s = math.nan if onset is None else _number(values[onset], where)
    if epoch is not None and not (number.is_integer() and abs(number) <= LARGEST):
        raise RecordingError(
            f"the number of an epoch in {where}",
            repr(printable(values[epoch])),
            "mend that line, or leave the column out",
        )
    if onset is not None and abs(onset_s) > LARGEST:
        raise RecordingError(
            f"an onset in seconds in {where}",
            repr(printable(values[onset])),
            "mend that line, or leave the column out",
        )
    return _Place(
        epoch=None if epoch is None else int(number),
        onset_s=None if math.isnan(onset_s) else onset_s,
        where=where,
    )


def _on_grid(
    rows: Sequence[Float32Array | None], places: Sequence[_Place], name: str
) -> Probabilities:
    """Put the rows where their numbers or onsets say, and None where there is no row."""
    first = places[0]
    filled: list[Float32Array | None] = []
    for row, place in zip(rows, places, strict=True):
        index = _index(place, first, len(filled))
        if not len(filled) <= index <= len(filled) + LONGEST_GAP:
            raise RecordingError(
                f"epochs of a night in their order in {name}",
                f"{place.where} is {index - len(filled) + 1} epochs after the one above it",
                "sort the table, and write each epoch once",
            )
        filled += [None] * (index - len(filled))
        filled.append(row)
    return Probabilities(
        first=first.epoch or 0,
        onset_s=first.onset_s or 0.0,
        rows=tuple(filled),
        n_left_out=len(filled) - len(rows),
    )


def _index(place: _Place, first: _Place, following: int) -> int:
    """Return how many epochs after the first one this one is."""
    by_number = by_time = None
    if place.epoch is not None and first.epoch is not None:
        by_number = place.epoch - first.epoch
    if place.onset_s is not None and first.onset_s is not None:
        epochs = (place.onset_s - first.onset_s) / EPOCH_S
        by_time = round(epochs)
        if abs(epochs - by_time) > 0.1 or by_number not in {None, by_time}:
            raise RecordingError(
                f"epochs of {EPOCH_S:g} s in {place.where}",
                f"an onset of {place.onset_s:g} s, {epochs:g} epochs after the first one",
                f"write the table in epochs of {EPOCH_S:g} s, its onsets in seconds",
            )
    if by_number is not None:
        return by_number
    return following if by_time is None else by_time
