"""One night that is being written: each call is on disk when it returns."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sleepstream.messages import ClockOffset, Event, Float32Array, StageEstimate
from sleepstream.store import rows
from sleepstream.store.database import explained, transaction


class Night:
    """One open night of a `NightStore`; made by `NightStore.begin` or `NightStore.go_on`.

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

    def append(
        self,
        estimate: StageEstimate,
        signal: Float32Array | None = None,
        state: str | None = None,
    ) -> None:
        """Put a final estimate and what belongs to it on disk, all or nothing.

        Parameters
        ----------
        estimate : StageEstimate
            The estimate of an epoch that this night does not hold yet.
        signal : ndarray of float32, shape (1, 3000), optional
            The epoch itself, as it was staged.
        state : str, optional
            What has to be known to go on behind this epoch, as JSON.

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
        values = {"night": self.id, "state": state, **rows.epoch_values(estimate)}
        sought = f"epoch {estimate.epoch} of night {self.id} written once"
        with explained(self._path, sought), transaction(self._db):
            self._db.execute(rows.insert("epoch", values), values)
            if signal is not None:
                kept = {"night": self.id, "epoch": values["epoch"], "samples": rows.blob(signal)}
                self._db.execute(rows.insert("signal", kept), kept)

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

    def clock(self, offset: ClockOffset) -> None:
        """Put a measurement of the sender's clock on disk; it is there when the call returns.

        Parameters
        ----------
        offset : ClockOffset
            What was measured.

        Raises
        ------
        StoreError
            The record cannot be written.
        """
        values = {"night": self.id, **rows.clock_values(offset)}
        with explained(self._path):
            self._db.execute(rows.insert("clock", values), values)

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
