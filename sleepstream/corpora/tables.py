"""Scorings in text: the tables of the CAP database, and hypnograms in CSV.

Enters: a text file and, for CAP, the clock at which the recording started. Leaves: `Bout`. A line
that cannot be read is refused by its number, never skipped.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sleepstream.corpora.scoring import Bout, code_of
from sleepstream.errors import RecordingError
from sleepstream.messages import EPOCH_S
from sleepstream.plain import printable

LARGEST_BYTES = 64 << 20
"""No scoring of a night is larger; what is, is something else."""

DAY_S = 24 * 3600
LONGEST_S = 1000.0 * DAY_S
"""No scoring is longer, nor is anything in it further from its start."""

_CAP_HEADER = re.compile(
    r"sleep stage\t(?:position\t)?time \[hh[:.]mm[:.]ss\]\tevent\tduration ?\[s\](?:\tlocation)?",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"(\d{1,2})[:.](\d{2})[:.](\d{2})")


def read_text(path: Path) -> str:
    """Return a scoring's text, refusing what cannot be one.

    Raises
    ------
    RecordingError
        Unreadable, larger than 64 MB, or binary.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            found = f"{path.stat().st_size >> 20} MB"
        else:
            data = path.read_bytes()
            if b"\0" not in data:
                # REMlogic writes the code page of its Windows; all that counts here is ASCII
                return data.decode("utf-8-sig", errors="replace")
            found = "binary data"
    except OSError as error:
        found = f"{type(error).__name__}: {error.strerror}"
    raise RecordingError(
        f"a scoring as text in {path.name}", found, "check that it is the right file; copy it again"
    )


def read_cap(path: Path, started: datetime) -> list[Bout]:
    """Read the scoring of a night of the CAP database, as REMlogic exported it.

    The table begins below a line ``Sleep Stage … Time [hh:mm:ss] Event Duration[s] …``, with or
    without the columns Position and Location. Its clock knows no date: a time far before the one
    above it is of the next day.

    Parameters
    ----------
    path : Path
        The ``.txt`` beside the recording.
    started : datetime
        Start of the recording.

    Returns
    -------
    list of Bout
        Lines about stages; phases of CAP are left out.

    Raises
    ------
    RecordingError
        No table, or a line in it that is not one of its rows.
    """
    bouts: list[Bout] = []
    now_s = started.hour * 3600 + started.minute * 60 + started.second
    onset_s = 0  # of the last line, since the recording's start
    for number, cells in _cap_rows(path):
        clock = next((i for i, cell in enumerate(cells) if _CLOCK.fullmatch(cell)), None)
        if clock is None or len(cells) < clock + 3:
            raise _bad_line(path, number, "time, event and duration", "\t".join(cells))
        at_s = _seconds(cells[clock])
        event, duration = cells[clock + 1 : clock + 3]
        # the shortest way from the last time to this one, round the clock
        onset_s += (at_s - now_s + DAY_S // 2) % DAY_S - DAY_S // 2
        now_s = at_s
        if event.upper().startswith("SLEEP"):
            code = code_of(event)
            if code is None:
                raise _bad_line(path, number, "a stage such as SLEEP-S2", event)
            bouts.append(Bout(onset_s, _number(path, number, duration), code))
    return bouts


def _cap_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    lines = iter(enumerate(read_text(path).splitlines(), 1))
    if not any(_CAP_HEADER.fullmatch(line.strip()) for _, line in lines):
        raise RecordingError(
            f"the table of a CAP scoring in {path.name}, below a line 'Sleep Stage, Time "
            "[hh:mm:ss], Event, Duration[s]' with or without Position and Location",
            "no such line",
            "take the .txt that the database has for this recording",
        )
    for number, line in lines:
        if line.strip():
            yield number, [cell.strip() for cell in line.split("\t")]


def _seconds(clock: str) -> int:
    hours, minutes, seconds = re.split("[:.]", clock)
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds)


def read_csv(path: Path) -> list[Bout]:
    """Read a hypnogram as a table with a header.

    Parameters
    ----------
    path : Path
        Columns ``stage`` (W, N1, N2, N3, REM, S4, MT, ?, Sleep stage 2, …), and ``onset``
        (seconds since the first sample) or ``epoch`` (from 0); ``duration`` (seconds) if it is
        not 30. Separated by comma, semicolon or tab; further columns do no harm.

    Returns
    -------
    list of Bout

    Raises
    ------
    RecordingError
        A column is missing, a line cannot be read, or the table was written by a program.
    """
    text = read_text(path)
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    rows = csv.DictReader(text.splitlines(), delimiter=delimiter)
    names = {name.strip().casefold(): name for name in _header(path, rows)}
    _check_columns(path, names)
    timed, unit_s = ("onset", 1.0) if "onset" in names else ("epoch", EPOCH_S)
    bouts = []
    for number, row in _csv_rows(path, rows):
        word = (row[names["stage"]] or "").strip()
        code = _stage_code(word)
        if code is None:
            raise _bad_line(path, number, "a stage by name (W, N1, N2, N3, REM, MT or ?)", word)
        length = row[names["duration"]] if "duration" in names else ""
        bouts.append(
            Bout(
                _number(path, number, row[names[timed]]) * unit_s,
                _number(path, number, length) if length else EPOCH_S,
                code,
            )
        )
    return bouts


def _header(path: Path, rows: csv.DictReader[str]) -> Sequence[str]:
    try:
        return rows.fieldnames or ()
    except csv.Error as error:
        raise _bad_line(path, 1, "the header of a table", str(error)) from error


def _csv_rows(
    path: Path, rows: csv.DictReader[str]
) -> Iterator[tuple[int, dict[str | Any, str | Any]]]:
    try:
        yield from enumerate(rows, 2)
    except csv.Error as error:
        raise _bad_line(path, rows.line_num, "a row of a table", str(error)) from error


def _stage_code(word: str) -> int | None:
    """Return the code of what stands in a column ``stage``."""
    if word.isdigit():
        return None  # 4 is S4 with Rechtschaffen and Kales, and REM in most programs
    code = code_of(word)
    return code_of(f"stage {word}") if code is None else code


def _check_columns(path: Path, names: dict[str, str]) -> None:
    found = printable(", ".join(names)) or "no header"
    if "stage" not in names or not {"onset", "epoch"} & names.keys():
        raise RecordingError(
            f"columns 'stage' and 'onset' (s) or 'epoch' (from 0) in {path.name}",
            found,
            "add the header: stages are matched to the signal by time, never by order",
        )
    if "confidence" in names:
        raise RecordingError(
            f"stages that a person scored, in {path.name}",
            "estimates of `sleepstream score`",
            "move that file away: a model must not be measured against its own words",
        )


def _number(path: Path, number: int, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = float("nan")
    if not abs(value) < LONGEST_S:
        raise _bad_line(path, number, "a number of seconds", text or "nothing")
    return value


def _bad_line(path: Path, number: int, sought: str, found: str) -> RecordingError:
    return RecordingError(
        f"{sought} in line {number} of {path.name}",
        repr(printable(found[:80])),
        "mend the line, or copy the file again",
    )
