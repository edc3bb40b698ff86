"""Plots made of characters: step line, stacked chart, trace, big letters, meters.

In come arrays and sizes, out go lines of `rich.text.Text`, never longer than was asked for. Nothing
here knows about streams, estimates or consoles.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.text import Span, Text

from sleepstream.messages import EPOCH_S, N_STAGES, STAGES, Float32Array, Stage
from sleepstream.outputs.dashboard.palette import (
    FILLS,
    LOUD,
    QUIET,
    STAGE_ROWS,
    colour,
    emphasis,
)
from sleepstream.plain import printable

Columns = Sequence[Stage | None]
"""Stages by column of a chart."""

Tick = tuple[int, str]
"""Column and label of a mark on the time axis."""

_EPOCHS_PER_H = round(3600 / EPOCH_S)
_TICK_STEPS_MIN = (5, 10, 15, 30, 60, 120, 180, 240, 360, 720, 1440)

# Where one column must stand for several epochs that are equally many: the rarer one is shown.
_TIE_ORDER = np.array([0.3, 0.2, 0.0, 0.1, 0.4])


def plain(text: str) -> str:
    """Return `text` in one line of printable characters; markup in it is never interpreted."""
    return printable(" ".join(text.split()))


def fit(line: Text, width: int) -> Text:
    """Return `line` cut or filled up to exactly `width` cells."""
    line = line.copy()
    line.no_wrap = True
    line.truncate(width, overflow="ellipsis", pad=True)
    return line


class Canvas:
    """A rectangle of characters with styles; what falls outside is dropped."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = max(width, 0), max(height, 0)
        self._chars = [[" "] * self.width for _ in range(self.height)]
        self._styles = [[""] * self.width for _ in range(self.height)]

    def put(self, x: int, y: int, text: str, style: str = "") -> None:
        """Write `text` from column `x` of line `y`, one cell for each character."""
        if not 0 <= y < self.height:
            return
        text = text[max(-x, 0) : max(self.width - x, 0)]
        x = max(x, 0)
        self._chars[y][x : x + len(text)] = text
        self._styles[y][x : x + len(text)] = [style] * len(text)

    def lines(self) -> list[Text]:
        """Return the drawing."""
        lines = []
        for chars, styles in zip(self._chars, self._styles, strict=True):
            spans, start = [], 0
            for style, run in groupby(styles):
                end = start + len(list(run))
                if style:
                    spans.append(Span(start, end, style))
                start = end
            lines.append(Text("".join(chars), spans=spans))
        return lines


def span_epochs(n: int) -> int:
    """Return how many epochs a chart of a night of `n` epochs shows: whole hours, at least one.

    So the scale stands still for an hour at a time while the night grows into it.
    """
    return max(1, -(-n // _EPOCHS_PER_H)) * _EPOCHS_PER_H


def column_sums(values: npt.NDArray[Any], width: int) -> npt.NDArray[np.float64]:
    """Return the sum of `values` over the epochs of each column of a chart of the night.

    Parameters
    ----------
    values : ndarray, shape (n_epochs, n_kinds)
        One row per epoch so far.
    width : int
        Columns for the whole span; each speaks of at least one epoch.

    Returns
    -------
    ndarray of float64, shape (n_columns, n_kinds)
        As many columns as the night fills so far.
    """
    n = len(values)
    edges = np.arange(width + 1) * span_epochs(n) // max(width, 1)
    starts = edges[:-1][edges[:-1] < n]
    ends = np.maximum(edges[1:][: starts.size], starts + 1).clip(max=n)
    before = np.zeros((n + 1, values.shape[1]))
    np.cumsum(np.nan_to_num(values), axis=0, out=before[1:])
    sums: npt.NDArray[np.float64] = before[ends] - before[starts]
    return sums


def stage_columns(codes: npt.NDArray[np.int8], width: int) -> list[Stage | None]:
    """Return one stage for each column: that of most of its epochs, the rarer one at a tie.

    Parameters
    ----------
    codes : ndarray of int8, shape (n_epochs,)
        Stages as numbers, -1 where there is none.
    width : int
        Columns for the whole span of the chart.
    """
    counts = column_sums(codes[:, None] == np.arange(N_STAGES), width)
    return [STAGES[int((row + _TIE_ORDER).argmax())] if row.any() else None for row in counts]


def step_line(columns: Columns, width: int, height: int, now: Stage | None = None) -> Canvas:
    """Draw a hypnogram as a step line: W on top, then REM (solid), N1, N2, N3.

    Parameters
    ----------
    columns : sequence of Stage or None
        At most `width` stages; the line breaks where there is none.
    width, height : int
        Size of the drawing; `height` is at least 5.
    now : Stage or None
        Provisional stage, marked by a ring after the last column.
    """
    canvas = Canvas(width, height)
    levels = {s: i * (height - 1) // (len(STAGE_ROWS) - 1) for i, s in enumerate(STAGE_ROWS)}
    if height > len(STAGE_ROWS):  # faint lines lead the eye where rows lie apart
        for level in levels.values():
            canvas.put(0, level, "┈" * width, QUIET)
    before: Stage | None = None
    for x, stage in enumerate(columns):
        if stage is not None:
            _step(canvas, x, before, stage, levels)
        before = stage
    if now is not None:
        canvas.put(min(len(columns), width - 1), levels[now], "○", f"bold {colour(now)}")
    return canvas


def _step(
    canvas: Canvas, x: int, before: Stage | None, stage: Stage, levels: dict[Stage, int]
) -> None:
    to = levels[stage]
    rem = stage is Stage.REM
    if before is None or before is stage:
        canvas.put(x, to, "█" if rem else "─", emphasis(stage))
        return
    start = levels[before]
    down = to > start
    leave = ("┑" if down else "┙") if before is Stage.REM else ("┐" if down else "┘")
    arrive = "█" if rem else "└" if down else "┌"
    for y in range(min(start, to) + 1, max(start, to)):
        canvas.put(x, y, "│", colour(stage))
    canvas.put(x, start, leave, emphasis(before))
    canvas.put(x, to, arrive, emphasis(stage))


def stacked(probs: npt.NDArray[Any], width: int, height: int, repeat: int = 1) -> Canvas:
    """Draw stage probabilities stacked on each other, W on top, each stage with its own fill.

    Parameters
    ----------
    probs : ndarray of float, shape (n_columns, 5)
        Stage probabilities of each column, or anything in proportion to them; a column of zeros
        stays empty.
    width, height : int
        Size of the drawing.
    repeat : int
        How many characters wide a column is.
    """
    canvas = Canvas(width, height)
    if not len(probs) or not height:
        return canvas
    ordered = np.nan_to_num(np.asarray(probs, dtype=np.float64)[:, list(STAGE_ROWS)]).clip(min=0.0)
    totals = ordered.sum(axis=1)
    bounds = np.cumsum(ordered, axis=1) / np.where(totals > 0, totals, 1.0)[:, None]
    for y in range(height):
        # a cell belongs to the stage in which its middle lies
        rows = (bounds <= (y + 0.5) / height).sum(axis=1).clip(max=N_STAGES - 1)
        rows[totals <= 0] = -1
        x = 0
        for row, run in groupby(rows.tolist()):
            length = len(list(run)) * repeat
            if row >= 0:
                stage = STAGE_ROWS[row]
                canvas.put(x, y, FILLS[stage] * length, colour(stage))
            x += length
    return canvas


def half_range(samples: Float32Array) -> float:
    """Return the round number of microvolts, up and down, in which 98 % of the samples lie."""
    finite = samples[np.isfinite(samples)]
    reach = float(np.percentile(np.abs(finite), 98)) if finite.size else 0.0
    steps = np.array([1, 2, 5]) * 10.0 ** np.arange(1, 8)[:, None]
    return float(next((step for step in steps.ravel() if step >= reach), steps.max()))


def trace(samples: Float32Array, width: int, height: int, reach: float) -> Canvas:
    """Draw a signal in braille dots, from lowest to highest within each column of dots.

    Parameters
    ----------
    samples : ndarray of float32, shape (n_samples,)
        The signal; not finite where it is missing, where the trace breaks.
    width, height : int
        Size of the drawing.
    reach : float
        The value that touches the upper edge; its negative touches the lower edge.
    """
    canvas = Canvas(width, height)
    n_rows, n_columns = height * 4, width * 2
    if not samples.size or not n_rows or not n_columns:
        return canvas
    cells = np.zeros((height, width), dtype=np.int64)
    starts = np.arange(n_columns) * samples.size // n_columns
    rows = (1.0 - samples.astype(np.float64) / reach) / 2.0 * (n_rows - 1)
    rows = np.where(np.isfinite(rows), rows, np.nan).clip(0, n_rows - 1)
    top, bottom = np.fmin.reduceat(rows, starts), np.fmax.reduceat(rows, starts)
    # a column begins where the one before it ended, so that the trace hangs together
    joined = np.where(np.isfinite(top), rows[np.maximum(starts - 1, 0)], np.nan)
    top, bottom = np.fmin(top, joined), np.fmax(bottom, joined)
    for x in np.flatnonzero(np.isfinite(top)):
        for y in range(round(float(top[x])), round(float(bottom[x])) + 1):
            cells[y // 4, x // 2] |= _BRAILLE_DOTS[y % 4][x % 2]
    for y, row in enumerate(cells):
        canvas.put(0, y, "".join(chr(_BRAILLE + int(dots)) if dots else " " for dots in row))
    return canvas


_BRAILLE = 0x2800
_BRAILLE_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def time_ticks(n: int, width: int, start: dt.datetime | None = None) -> list[Tick]:
    """Return the marks of the time axis under a chart of a night.

    Parameters
    ----------
    n : int
        Epochs so far.
    width : int
        Columns for the whole span.
    start : datetime, optional
        When the night began. With it the marks are times of day, else hours of the night.
    """
    span_min = span_epochs(n) * EPOCH_S / 60
    steps = (step for step in _TICK_STEPS_MIN if step * width / span_min >= _TICK_CELLS)
    step = next(steps, _TICK_STEPS_MIN[-1])
    offset = 0.0 if start is None else start.hour * 60 + start.minute + start.second / 60
    first = -(-offset // step) * step
    ticks: list[Tick] = []
    for at in np.arange(first, offset + span_min + 1e-6, step):
        x = round((at - offset) / span_min * width)
        minutes = round(at) if start is None else round(at) % 1440
        label = f"{minutes // 60}:{minutes % 60:02d}"
        if start is None and minutes % 60 == 0:
            label = f"{minutes // 60} h"
        if x + len(label) <= width:
            ticks.append((x, label))
    return ticks


_TICK_CELLS = 9


def big_letters(text: str, style: str, scale: int) -> list[Text]:
    """Draw a stage's name in big letters.

    Parameters
    ----------
    text : str
        Letters of stage names; others are left out.
    style : str
        Its style.
    scale : int
        1: three lines, a dot is half a character; 2: five lines, a dot is two characters.
    """
    glyphs = [_GLYPHS[char] for char in text if char in _GLYPHS]
    rows = [" ".join(glyph[y] for glyph in glyphs) for y in range(5)]
    if scale > 1:
        return [Text("".join("██" if dot == "#" else "  " for dot in row), style) for row in rows]
    rows.append(" " * len(rows[0]))
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return [
        Text("".join(_HALVES[a + b] for a, b in zip(upper, lower, strict=True)), style)
        for upper, lower in pairs
    ]


_HALVES = {"##": "█", "# ": "▀", " #": "▄", "  ": " "}
_GLYPHS = {
    "W": ("#   #", "#   #", "# # #", "## ##", "#   #"),
    "N": ("#   #", "##  #", "# # #", "#  ##", "#   #"),
    "R": ("### ", "#  #", "### ", "# # ", "#  #"),
    "E": ("####", "#   ", "### ", "#   ", "####"),
    "M": ("#   #", "## ##", "# # #", "#   #", "#   #"),
    "1": (" # ", "## ", " # ", " # ", "###"),
    "2": ("### ", "   #", " ## ", "#   ", "####"),
    "3": ("### ", "   #", " ## ", "   #", "### "),
    "?": ("### ", "   #", " ## ", "    ", " #  "),
}


def meter(fraction: float, width: int, style: str) -> Text:
    """Draw a fraction as a heavy line on a light one."""
    filled = round(min(max(0.0, fraction), 1.0) * width)
    return Text.assemble(("━" * filled, style), ("─" * (width - filled), QUIET))


def heading(title: str, width: int, note: Text | None = None) -> Text:
    """Draw a thin rule with a title on the left and a note on the right."""
    line = Text.assemble(("─ ", QUIET), (title, "bold"), " ")
    room = width - line.cell_len
    if note is not None and note.plain and room >= _NOTE_CELLS:
        note = note.copy()
        note.truncate(room - 4, overflow="ellipsis")
        line.append("─" * (room - note.cell_len - 3), QUIET)
        line.append_text(Text.assemble(" ", note, (" ─", QUIET)))
    else:
        line.append("─" * max(room, 0), QUIET)
    return fit(line, width)


_NOTE_CELLS = 16


def badge(text: str) -> Text:
    """Draw something that must not be overlooked."""
    return Text(f" {text} ", LOUD)


def beside(parts: Iterable[tuple[Sequence[Text], int]], height: int, gap: int = 2) -> list[Text]:
    """Put blocks of lines side by side.

    Parameters
    ----------
    parts : iterable of (lines, width)
        From left to right.
    height : int
        Lines of the result.
    gap : int
        Empty columns between two blocks.
    """
    blocks = [([fit(line, width) for line in lines[:height]], width) for lines, width in parts]
    rows: list[Text] = []
    for y in range(height):
        cells = [lines[y] if y < len(lines) else Text(" " * width) for lines, width in blocks]
        rows.append(Text(" " * gap).join(cells))
    return rows
