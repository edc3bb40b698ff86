"""Tables: for a person at a terminal, for a program, and for the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from sleepstream.plain import printable
from sleepstream_training.evaluation.intervals import Figure

WIDEST = 400

Cell = str | int | Figure | None


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes
    ----------
    name : str
        Its heading, and its key in JSON.
    digits : int
        Decimals that a person is shown.
    interval : bool
        Whether a person is shown the interval; a program always is.
    sign : bool
        Whether a plus is written.
    """

    name: str
    digits: int = 3
    interval: bool = False
    sign: bool = False

    def text(self, cell: Cell) -> str:
        """Return a cell as a person reads it."""
        if isinstance(cell, Figure):
            return cell.text(self.digits, interval=self.interval, sign=self.sign)
        return "–" if cell is None else str(cell)

    def stacked(self, cell: Cell) -> Text:
        """Return a cell for a terminal: the interval below the figure."""
        value, _, interval = printable(self.text(cell)).partition(" [")
        if not isinstance(cell, Figure) or not interval:
            return Text(printable(self.text(cell)))
        return Text.assemble(value, "\n", (f"[{interval}", "dim"))


@dataclass(frozen=True, slots=True)
class Table:
    """A table of figures.

    Attributes
    ----------
    name : str
        How programs and the documentation call it.
    title : str
        What it is about, in one line.
    columns : sequence of Column
        The first one names the row.
    rows : sequence of sequence of Cell
        As long as `columns`.
    note : str
        How to read it; may be empty.
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def __rich__(self) -> RichTable:
        """Return the table for a terminal."""
        table = RichTable(
            title=printable(self.title),
            caption=printable(self.note) or None,
            title_justify="left",
            caption_justify="left",
            title_style="bold",
            caption_style="dim",
            box=None,
            pad_edge=False,
            header_style="bold",
        )
        for number, column in enumerate(self.columns):
            table.add_column(column.name, justify="right" if number else "left", no_wrap=True)
        for row in self.rows:
            cells = zip(self.columns, row, strict=True)
            table.add_row(*(column.stacked(cell) for column, cell in cells))
        return table

    def show(self) -> None:
        """Print the table, as wide as it is: a cell that is broken cannot be read."""
        out = Console()
        needed = out.measure(self, options=out.options.update(width=WIDEST)).maximum
        Console(width=max(out.width, needed)).print(self)

    def markdown(self) -> str:
        """Return the table as Markdown, without its title."""
        lines = [
            "| " + " | ".join(column.name for column in self.columns) + " |",
            "|" + "---|" * len(self.columns),
        ]
        for row in self.rows:
            cells = zip(self.columns, row, strict=True)
            lines.append("| " + " | ".join(column.text(cell) for column, cell in cells) + " |")
        return "\n".join([*lines, *(["", self.note] if self.note else [])])

    def as_json(self) -> dict[str, Any]:
        """Return the table as a JSON object; every figure with its interval."""
        names = [column.name for column in self.columns]
        return {
            "name": self.name,
            "title": self.title,
            "note": self.note,
            "rows": [dict(zip(names, map(_plain, row), strict=True)) for row in self.rows],
        }


def _plain(cell: Cell) -> Any:
    return cell.as_json() if isinstance(cell, Figure) else cell
