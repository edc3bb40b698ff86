"""The record: final estimates and events enter, and are on disk before the call returns.

What leaves are the same estimates, bit for bit, and summaries of the nights. One file holds the
nights of all beds; several processes may write to it at the same time. How a row looks is
`sleepstream.store.rows`, the tables are `sleepstream.store.schema`, the file is
`sleepstream.store.database`.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import sleepstream
from sleepstream.errors import StoreError
from sleepstream.messages import EPOCH_S, Event, StageEstimate
from sleepstream.store import rows
from sleepstream.store.database import explained, opened

IN_MEMORY = Path(":memory:")
"""Path of a store that lives as long as its object and leaves nothing behind."""

LAST = "last"
"""How the most recent night is asked for."""

T = TypeVar("T")

_SUMMARY = """
SELECT night.id, bed, source, channel, started_utc, synthetic, ended,
       COUNT(epoch.epoch), COALESCE(MAX(epoch.epoch) + 1, 0), COUNT(NULLIF(epoch.stage, 'W'))
FROM night LEFT JOIN epoch ON epoch.night = night.id
"""


@dataclass(frozen=True, slots=True)
class NightSummary:
    """One line of the list of nights.

    Attributes
    ----------
    id : str
        Names the night.
    bed : str
        Whose night it was.
    source, channel : str
        The stream or file, and the derivation that was staged.
    started_utc : str
        When it began, ISO 8601.
    synthetic : bool
        Whether the signal was made up.
    n_epochs : int
        Epochs on record.
    hours : float
        From the night's start to the end of its last epoch.
    tst_min : float
        Total sleep time: minutes staged as anything but W.
    ended : str or None
        Why it ended; None while it runs, or if it was cut off.
    """

    id: str
    bed: str
    source: str
    channel: str
    started_utc: str
    synthetic: bool
    n_epochs: int
    hours: float
    tst_min: float
    ended: str | None

    def as_json(self) -> dict[str, Any]:
        """Return the summary as the documented JSON object (see ``docs/outputs.md``)."""
        return {name: getattr(self, name) for name in self.__slots__}


class NightStore:
    """The nights in one SQLite file, made if it is not there; a context manager.

    Parameters
    ----------
    path : Path
        The file, or `IN_MEMORY`. Missing parent folders are made.
    wait_s : float
        How long a write waits for another process that is writing, in seconds.

    Raises
    ------
    StoreError
        The file cannot be made or opened, is no store, or was written by a newer sleepstream.
    """

    def __init__(self, path: Path, wait_s: float = 10.0) -> None:
        self.path = path
        self._db = opened(path, wait_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. A night that was not ended stays open in the record."""
        with explained(self.path):
            self._db.close()

    def begin(
        self,
        bed: str,
        *,
        source: str,
        sfreq: float,
        channel: str,
        started_s: float,
        started_utc: str,
        models: Mapping[str, str],
        settings_json: str,
        synthetic: bool = False,
    ) -> Night:
        """Open a new night.

        Parameters
        ----------
        bed : str
            Whose night it is.
        source : str
            Name of the stream or file.
        sfreq : float
            Sampling rate of the source, in hertz.
        channel : str
            The derivation that is staged.
        started_s : float
            Sender's time of the first sample, in seconds.
        started_utc : str
            The same on the wall clock, ISO 8601.
        models : mapping of str to str
            Which model does what (``encoder``, ``decoder``, …), by hash.
        settings_json : str
            The settings in force, as JSON.
        synthetic : bool
            Whether the signal is made up.

        Returns
        -------
        Night
            Takes the estimates and events of this night.

        Raises
        ------
        StoreError
            The record cannot be written.
        """
        night_id = secrets.token_hex(4)
        values = {
            "id": night_id,
            "bed": rows.storable(bed),
            "source": rows.storable(source),
            "channel": rows.storable(channel),
            "sfreq": float(sfreq),
            "started_s": float(started_s),
            "started_utc": started_utc,
            "models": json.dumps(dict(models), sort_keys=True),
            "settings": settings_json,
            "synthetic": bool(synthetic),
            "software": sleepstream.__version__,
        }
        with explained(self.path):
            self._db.execute(rows.insert("night", values), values)
        return Night(self._db, self.path, night_id, bed)

    def nights(self) -> list[NightSummary]:
        """Return the nights on record in the order in which they began.

        Raises
        ------
        StoreError
            The record cannot be read.
        """
        with explained(self.path):
            found = self._db.execute(_SUMMARY + "GROUP BY night.number ORDER BY night.number")
            return [_summary(*row) for row in found]

    def find(self, which: str) -> NightSummary:
        """Return the one night that is meant.

        Parameters
        ----------
        which : str
            The id, or as much of its beginning as settles it, or ``"last"``.

        Returns
        -------
        NightSummary
            The night.

        Raises
        ------
        StoreError
            No such night, or more than one.
        """
        nights = self.nights()
        fitting = nights[-1:] if which == LAST else [n for n in nights if n.id.startswith(which)]
        if len(fitting) == 1:
            return fitting[0]
        shown = ", ".join(night.id for night in (fitting or nights)[-8:]) or "none"
        raise StoreError(
            f"one night called {which!r} in {self.path}",
            f"{len(fitting)} of {len(nights)} nights; the most recent: {shown}",
            "name one of them, or `last`; `sleepstream nights` lists them all",
        )

    def estimates(self, which: str) -> Iterator[StageEstimate]:
        """Return the final estimates of one night, in order, as they were announced.

        Parameters
        ----------
        which : str
            As for `find`.

        Returns
        -------
        iterator of StageEstimate
            Equal to what was appended, bit for bit, the latency too.

        Raises
        ------
        StoreError
            No such night, or the record cannot be read.
        """
        night = self.find(which)
        return self._read(rows.SELECT_EPOCHS, night.id, lambda row: rows.estimate(night.bed, row))

    def events(self, which: str) -> Iterator[Event]:
        """Return the events of one night in the order in which they were recorded.

        Parameters
        ----------
        which : str
            As for `find`.

        Returns
        -------
        iterator of Event
            Equal to what was recorded.

        Raises
        ------
        StoreError
            No such night, or the record cannot be read.
        """
        return self._read(rows.SELECT_EVENTS, self.find(which).id, rows.event)

    def _read(
        self, query: str, night_id: str, made_of: Callable[[tuple[Any, ...]], T]
    ) -> Iterator[T]:
        with explained(self.path):
            for row in self._db.execute(query, (night_id,)):
                yield made_of(row)


class Night:
    """One open night of a `NightStore`; made by `NightStore.begin`.

    Attributes
    ----------
    id : str
        Names the night: short, and without a person's name.
    bed : str
        Whose night it is.
    """

    def __init__(self, db: sqlite3.Connection, path: Path, night_id: str, bed: str) -> None:
        self.id = night_id
        self.bed = bed
        self._db = db
        self._path = path

    def append(self, estimate: StageEstimate) -> None:
        """Put a final estimate on disk; it is there when the call returns.

        Parameters
        ----------
        estimate : StageEstimate
            The estimate of an epoch that this night does not hold yet.

        Raises
        ------
        ValueError
            A provisional estimate, or one of another bed.
        StoreError
            The epoch is on record already, or the record cannot be written. The record is as it
            was, and the estimate may be appended again.
        """
        if not estimate.final:
            raise ValueError("a provisional estimate never enters the record")
        if estimate.bed != self.bed:
            raise ValueError(f"an estimate of bed {estimate.bed!r} in a night of {self.bed!r}")
        values = {"night": self.id, **rows.epoch_values(estimate)}
        with explained(self._path, f"epoch {estimate.epoch} of night {self.id} written once"):
            self._db.execute(rows.insert("epoch", values), values)

    def event(self, event: Event) -> None:
        """Put an event on disk; it is there when the call returns.

        Parameters
        ----------
        event : Event
            What happened.

        Raises
        ------
        StoreError
            The record cannot be written.
        """
        values = {"night": self.id, **rows.event_values(event)}
        with explained(self._path):
            self._db.execute(rows.insert("event", values), values)

    def end(self, reason: str) -> None:
        """Record why the night ended; the first reason stays.

        Parameters
        ----------
        reason : str
            In a few words.

        Raises
        ------
        StoreError
            The record cannot be written.
        """
        with explained(self._path):
            self._db.execute(
                "UPDATE night SET ended = ? WHERE id = ? AND ended IS NULL",
                (rows.storable(reason), self.id),
            )


def _summary(*row: Any) -> NightSummary:
    night_id, bed, source, channel, started_utc, synthetic, ended, n_epochs, span, asleep = row
    return NightSummary(
        id=night_id,
        bed=bed,
        source=source,
        channel=channel,
        started_utc=started_utc,
        synthetic=bool(synthetic),
        n_epochs=n_epochs,
        hours=span * EPOCH_S / 3600,
        tst_min=asleep * EPOCH_S / 60,
        ended=ended,
    )
