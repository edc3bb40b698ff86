"""Estimates and nights as text: all that a person reads has a twin that a program reads.

In come estimates, statistics and summaries of nights; out go strings and `rich` renderables, which
the command line prints. What is foreign (a bed, a stream's name) is stripped of control characters
and never read as markup.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sleepstream.hypnogram import Agreement, SleepStatistics
from sleepstream.messages import EPOCH_S, STAGES, Event, StageEstimate, stage_name
from sleepstream.plain import printable, printable_json
from sleepstream.store.nights import NightSummary

logger = logging.getLogger(__name__)

NOTHING = "–"
"""What is written where a value is undefined."""


def log_line(estimate: StageEstimate) -> str:
    """Return an estimate as one line for a log, its columns aligned (see ``docs/outputs.md``).

    The time is that of the epoch's end since the start of the night, by the sender's clock.
    """
    quality = f"{estimate.quality.score:.2f}"
    if estimate.quality.reasons:
        quality += f" ({'; '.join(estimate.quality.reasons)})"
    columns = (
        f"bed {estimate.bed}",
        _elapsed(estimate),
        f"epoch {estimate.epoch:4d}",
        f"{stage_name(estimate.stage):3s}",
        f"confidence {estimate.confidence:.2f}",
        f"P(wake in 5 min) {estimate.p_wake_5min:.2f}",
        f"P(REM in 5 min) {estimate.p_rem_5min:.2f}",
        f"latency {estimate.latency_ms:.0f} ms",
        f"quality {quality}",
    )
    line = "  ".join(columns) + ("" if estimate.final else "  provisional")
    return printable(line)


def json_line(estimate: StageEstimate) -> str:
    """Return an estimate as one JSON object on one line; its floats read back as they were."""
    return _json(estimate.as_json())


def event_json(event: Event) -> str:
    """Return an event as one JSON object on one line."""
    return _json(event.as_json())


class TextSink:
    """Writes estimates as lines to a stream; a `Sink`.

    A reader that goes away (``sleepstream run --json | head``) costs the lines and never the night.

    Parameters
    ----------
    stream : TextIO
        Where the lines go, usually ``sys.stdout``. It is flushed after each line and not closed.
    line : callable
        `log_line` or `json_line`.
    provisional : bool
        Whether provisional estimates are written too.
    """

    def __init__(
        self,
        stream: TextIO,
        line: Callable[[StageEstimate], str],
        *,
        provisional: bool = False,
    ) -> None:
        self._stream = stream
        self._line = line
        self._provisional = provisional
        self._broken = False

    def show(self, estimate: StageEstimate) -> None:
        """Write one line, unless nobody reads any more."""
        if self._broken or not (estimate.final or self._provisional):
            return
        try:
            self._stream.write(self._line(estimate) + "\n")
            self._stream.flush()
        except OSError as error:
            self._broken = True
            _discard_from_now_on(self._stream)
            logger.warning(
                "the output can no longer be written (%s); the night and its record go on", error
            )


def _discard_from_now_on(stream: TextIO) -> None:
    # What the stream still holds is flushed once more when Python exits, and would fail again.
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, stream.fileno())
        finally:
            os.close(null)


@dataclass(frozen=True, slots=True)
class NightReport:
    """What is said when a night is over.

    Attributes
    ----------
    bed : str
        Whose night it was.
    night : str or None
        Its id in the store; None where it is not kept.
    store : Path or None
        The file of the record.
    ended : str
        Why it ended.
    n_epochs : int
        Final epochs.
    statistics : SleepStatistics
        The night in numbers.
    n_doubted : int
        Epochs that do not look like sleep EEG, whose stages are in the statistics all the same.
    agreement : Agreement or None
        With the stages that somebody else scored, where there are any.
    """

    bed: str
    night: str | None
    store: Path | None
    ended: str
    n_epochs: int
    statistics: SleepStatistics
    n_doubted: int = 0
    agreement: Agreement | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the report as the documented JSON object (see ``docs/outputs.md``)."""
        return {
            "bed": self.bed,
            "night": self.night,
            "store": None if self.store is None else str(self.store),
            "ended": self.ended,
            "n_epochs": self.n_epochs,
            "n_doubted": self.n_doubted,
            "statistics": self.statistics.as_json(),
            "agreement": None if self.agreement is None else self.agreement.as_json(),
        }


def summary_table(report: NightReport) -> RenderableType:
    """Return the summary at the end of a night, for `rich` to print."""
    kept = "not kept" if report.night is None else f"night {report.night} in {report.store}"
    parts: list[RenderableType] = [
        _text(f"bed {report.bed}: {report.n_epochs} epochs; {report.ended}"),
        _path(f"record: {kept}"),
        statistics_table(report.statistics),
    ]
    if report.n_doubted:
        doubted = f"{report.n_doubted} of {report.n_epochs} epochs do not look like sleep EEG"
        parts.append(_text(f"{doubted}: look at the signal before you use their stages"))
    if report.agreement is not None:
        parts.append(agreement_table(report.agreement))
    return Group(*parts)


def summary_json(report: NightReport) -> str:
    """Return the summary at the end of a night as one line of JSON."""
    return _json(report.as_json())


def statistics_table(statistics: SleepStatistics) -> Table:
    """Return sleep statistics as a table of abbreviation, meaning and value."""
    table = Table(title="sleep statistics", title_justify="left", show_header=False)
    for short, meaning, value in statistics.rows():
        table.add_row(_text(short), _text(meaning), _text(value))
    table.columns[-1].justify = "right"
    return table


def agreement_table(agreement: Agreement) -> RenderableType:
    """Return the agreement with a reference: three numbers and the confusion matrix."""
    head = _text(
        f"agreement on {agreement.n} epochs: accuracy {_share(agreement.accuracy)}, "
        f"kappa {_share(agreement.kappa)}, macro-F1 {_share(agreement.macro_f1)}"
    )
    table = Table(title="scored (rows) against estimated (columns)", title_justify="left")
    table.add_column("")
    for heading in (*(stage.name for stage in STAGES), "recall", "F1"):
        table.add_column(heading, justify="right")
    for stage in STAGES:
        counts = (str(count) for count in agreement.confusion[stage])
        rates = (_share(agreement.recall[stage]), _share(agreement.f1[stage]))
        table.add_row(stage.name, *counts, *rates)
    return Group(head, table)


def nights_table(nights: Iterable[NightSummary]) -> Table:
    """Return the list of nights, for `rich` to print."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), expand=True)
    table.add_column("night", no_wrap=True, min_width=8)  # an id cut short could not be typed
    table.add_column("bed", no_wrap=True, min_width=5)
    table.add_column("began (UTC)", no_wrap=True, min_width=16)
    for heading in ("hours", "TST min"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=len(heading))
    # one line for a night, so that a list of many can be read; --json has everything in full
    for heading, share, least in (("source", 3, 6), ("ended", 2, len("interrupted"))):
        table.add_column(heading, no_wrap=True, overflow="ellipsis", ratio=share, min_width=least)
    for night in nights:
        source = f"{night.source} (synthetic)" if night.synthetic else night.source
        table.add_row(
            _text(night.id),
            _text(night.bed),
            night.started_utc[:16].replace("T", " "),
            f"{night.hours:.1f}",
            f"{night.tst_min:.1f}",
            _text(f"{source}, {night.channel}"),
            _text(night.state if night.ended is None else night.ended),
        )
    return table


def nights_json(nights: Iterable[NightSummary]) -> str:
    """Return the list of nights as one JSON array."""
    return _json([night.as_json() for night in nights])


def _text(text: str) -> Text:
    return Text(printable(text))


def _path(text: str) -> Text:
    """Return text with a path in it, which is copied from the screen and so never wrapped."""
    return Text(printable(text), no_wrap=True, overflow="ignore")


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"


def _elapsed(estimate: StageEstimate) -> str:
    minutes, seconds = divmod(round((estimate.epoch + 1) * EPOCH_S), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def _json(fields: object) -> str:
    return printable_json(msgspec.json.encode(fields).decode())
