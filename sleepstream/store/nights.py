"""The record: final estimates and events enter, and are on disk before the call returns.

What leaves are the same estimates, bit for bit, and summaries of the nights. One file holds the
nights of all beds; several processes may write to it at the same time. How a row looks is
`sleepstream.store.rows`, the tables are `sleepstream.store.schema`, the file is
`sleepstream.store.database`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

import sleepstream
from sleepstream.errors import StoreError
from sleepstream.messages import EPOCH_S, ClockOffset, Epoch, Event, StageEstimate
from sleepstream.store import rows
from sleepstream.store.database import IN_MEMORY, damaged, explained, opened, transaction
from sleepstream.store.lock import is_staged
from sleepstream.store.night import Night
from sleepstream.store.summary import LiveNight, NightState, NightSummary

__all__ = ["IN_MEMORY", "LAST", "LiveNight", "Night", "NightStore", "NightSummary"]

LAST = "last"
"""How the most recent night is asked for."""

T = TypeVar("T")
Told = TypeVar("Told", NightSummary, LiveNight)

_LIVE = """
SELECT id, channel, started_utc, ended, stream, models, epoch + 1, end_s, state
FROM night JOIN epoch ON epoch.night = night.id
WHERE bed = ? AND stream IS NOT NULL
ORDER BY number DESC, epoch DESC LIMIT 1
"""

_SUMMARY = """
SELECT night.id, bed, source, channel, started_utc, sfreq, synthetic, ended, stream IS NOT NULL,
       COUNT(epoch.epoch), COALESCE(MAX(epoch.epoch) + 1, 0), COUNT(NULLIF(epoch.stage, 'W'))
FROM night LEFT JOIN epoch ON epoch.night = night.id
"""


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
        stream: str | None = None,
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
        stream : str, optional
            Which live stream it is, as JSON; without it nobody can go on with this night.

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
            "stream": stream,
            "software": sleepstream.__version__,
        }
        with explained(self.path):
            self._db.execute(rows.insert("night", values), values)
        return Night(self._db, self.path, night_id, bed)

    def last_live(self, bed: str) -> LiveNight | None:
        """Return the last night that a bed had of a live stream, if it has an epoch.

        Raises
        ------
        StoreError
            The record cannot be read.
        """
        with explained(self.path):
            row = self._db.execute(_LIVE, (bed,)).fetchone()
        if row is None:
            return None
        return self._checked(dict(zip(LiveNight.__slots__, row, strict=True)), LiveNight)

    def go_on(self, night_id: str, bed: str, stream: str | None = None) -> Night:
        """Take up a night again; it counts as not ended from here on.

        Parameters
        ----------
        night_id : str
            The id of a night on record.
        bed : str
            Whose night it is.
        stream : str, optional
            Which live stream it is now, as JSON; without it, the one that it was.

        Returns
        -------
        Night
            Takes what comes behind its last epoch.

        Raises
        ------
        StoreError
            The record cannot be written, which a night that was cut off does not need.
        """
        with explained(self.path):
            self._db.execute(
                "UPDATE night SET ended = NULL, stream = ifnull(:stream, stream) WHERE id = :id"
                " AND (ended IS NOT NULL OR stream <> ifnull(:stream, stream))",
                {"id": night_id, "stream": stream},
            )
        return Night(self._db, self.path, night_id, bed)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Put all that is written in this context on disk at its end, or nothing of it.

        Raises
        ------
        StoreError
            The record cannot be written.
        """
        with explained(self.path), transaction(self._db):
            yield

    def wait_for_others(self, seconds: float) -> None:
        """Set how long a write waits for another process that is writing."""
        with explained(self.path):
            self._db.execute(f"PRAGMA busy_timeout = {round(1000 * seconds)}")

    def nights(self) -> list[NightSummary]:
        """Return the nights on record in the order in which they began.

        Raises
        ------
        StoreError
            The record cannot be read.
        """
        with explained(self.path):
            found = self._db.execute(
                _SUMMARY + "GROUP BY night.number ORDER BY night.number"
            ).fetchall()
        # of a bed's nights, the last one of a live stream may run
        newest = {row[1]: row[0] for row in found if row[8]}
        return [self._summary(*row, newest=row[0] == newest.get(row[1])) for row in found]

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

    def epochs(self, which: str) -> Iterator[Epoch]:
        """Return the epochs of one night, in order, as they were staged.

        Parameters
        ----------
        which : str
            As for `find`.

        Returns
        -------
        iterator of Epoch
            Equal to what was staged, bit for bit.

        Raises
        ------
        StoreError
            No such night, its signal was not kept, or the record cannot be read.
        """
        night = self.find(which)
        for epoch in self._read(rows.SELECT_SIGNALS, night.id, rows.signal):
            if epoch is None:
                raise StoreError(
                    f"the signal of night {night.id} in {self.path}",
                    "estimates without the signal that they were made of",
                    "keep the signal of the nights to come: --keep-signal",
                )
            yield epoch

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

    def clock(self, which: str) -> Iterator[ClockOffset]:
        """Return how the sender's clock went against ours in one night, in order.

        Parameters
        ----------
        which : str
            As for `find`.

        Returns
        -------
        iterator of ClockOffset
            Equal to what was recorded.

        Raises
        ------
        StoreError
            No such night, or the record cannot be read.
        """
        return self._read(rows.SELECT_CLOCK, self.find(which).id, rows.clock)

    def _read(
        self, query: str, night_id: str, made_of: Callable[[tuple[Any, ...]], T]
    ) -> Iterator[T]:
        with explained(self.path):
            for row in self._db.execute(query, (night_id,)):
                try:
                    made = made_of(row)
                except (ValueError, RecursionError) as error:
                    raise damaged(self.path, str(error)) from error
                yield made

    def _checked(self, values: Mapping[str, Any], kind: type[Told]) -> Told:
        try:
            told = msgspec.convert(values, kind)
            datetime.fromisoformat(told.started_utc).astimezone()
        except (ValueError, OverflowError) as error:
            raise damaged(self.path, str(error)) from error
        return told

    def _summary(self, *row: Any, newest: bool) -> NightSummary:
        night_id, bed, source, channel, started_utc, sfreq, synthetic, ended, _, *counts = row
        n_epochs, span, asleep = counts
        state: NightState = "ended"
        if ended is None:
            state = "running" if newest and is_staged(self.path, bed) else "interrupted"
        values = {
            "id": night_id,
            "bed": bed,
            "source": source,
            "channel": channel,
            "started_utc": started_utc,
            "sfreq": sfreq,
            "synthetic": bool(synthetic),
            "n_epochs": n_epochs,
            "hours": span * EPOCH_S / 3600,
            "tst_min": asleep * EPOCH_S / 60,
            "ended": ended,
            "state": state,
        }
        return self._checked(values, NightSummary)
