"""The night on disk, as a sink: written before anybody is told, and held when the disk says no.

A full disk must not end a night that is being slept. What cannot be written is kept in memory, said
loudly once, and written as soon as it can be; what is left at the very end goes into a file beside.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from sleepstream.config import Settings
from sleepstream.errors import StoreError
from sleepstream.messages import EPOCH_S, Event, StageEstimate
from sleepstream.outputs.text import json_line
from sleepstream.stager import weights
from sleepstream.store.nights import Night, NightStore


class Record:
    """The night on disk, as a `Sink`.

    It is opened with the first epoch, so that a stream which never sends leaves no empty night.

    Parameters
    ----------
    store : NightStore
        Where to.
    settings : Settings
        In force.
    warn : callable
        Told, in a sentence, when the record cannot be written and when it can again.
    source, channel : str
        The stream or file, and the derivation that is staged.
    sfreq : float
        Rate of the source in hertz.
    started_utc : datetime
        When the first sample was taken.
    synthetic : bool
        Whether the signal was made up.
    """

    def __init__(
        self,
        store: NightStore,
        settings: Settings,
        warn: Callable[[str], None],
        *,
        source: str,
        channel: str,
        sfreq: float,
        started_utc: datetime,
        synthetic: bool,
    ) -> None:
        self._night: Night | None = None
        self._waiting: deque[StageEstimate | Event] = deque()
        self._trouble: StoreError | None = None
        self._warn = warn
        self._begin = partial(
            store.begin,
            settings.night.bed,
            source=source,
            channel=channel,
            sfreq=sfreq,
            started_utc=started_utc.astimezone(UTC).isoformat(timespec="seconds"),
            models=model_hashes(settings),
            settings_json=msgspec.json.encode(settings).decode(),
            synthetic=synthetic,
        )

    @property
    def night_id(self) -> str | None:
        """Id of the night; None while it has no epoch."""
        return self._night.id if self._night else None

    def show(self, estimate: StageEstimate) -> None:
        """Put a final estimate on disk, after what is still waiting."""
        if estimate.final:
            self._waiting.append(estimate)
            self._write()

    def tell(self, event: Event) -> None:
        """Put an event on disk; before the first epoch it waits for the night to begin."""
        self._waiting.append(event)
        if self._night is not None:
            self._write()

    def end(self, reason: str) -> None:
        """Say why the night ended.

        Raises
        ------
        StoreError
            Something could still not be written; the message says where it is instead.
        """
        if self._night is not None or self._trouble is not None:
            self._write()
        held = [item for item in self._waiting if isinstance(item, StageEstimate)]
        if held and self._trouble is not None:
            raise _rescued(held, self._trouble)
        if self._night is not None:
            self._night.end(reason)

    def _write(self) -> None:
        n_held = sum(isinstance(item, StageEstimate) for item in self._waiting) - 1
        try:
            while self._waiting:
                self._put(self._waiting[0])
                self._waiting.popleft()
        except StoreError as error:
            if isinstance(error.__cause__, sqlite3.IntegrityError):
                # no disk will ever take this one, and it must not keep the others waiting
                self._warn(f"one entry cannot be recorded and is left out: {error.found}")
                self._waiting.popleft()
                self._write()
                return
            if self._trouble is None:
                self._warn(f"NOT ON DISK, kept in memory, staging goes on: {error.found}")
            self._trouble = error
            return
        if self._trouble is not None:
            self._trouble = None
            self._warn(f"on disk again, with the {n_held} epochs that were held")

    def _put(self, item: StageEstimate | Event) -> None:
        if self._night is None:
            first = next(each for each in self._waiting if isinstance(each, StageEstimate))
            self._night = self._begin(started_s=first.onset_s - EPOCH_S * first.epoch)
        if isinstance(item, Event):
            self._night.event(item)
        else:
            self._night.append(item)


def model_hashes(settings: Settings) -> dict[str, str]:
    """Return the name and hash of each model in use, by its part."""
    wanted = {
        "encoder": settings.models.encoder,
        "decoder": settings.models.decoder,
        "disorder": settings.models.disorder,
    }
    return {part: f"{name}:{weights.find(name, part).fingerprint}" for part, name in wanted.items()}


def _rescued(held: list[StageEstimate], trouble: StoreError) -> StoreError:
    """Write what was held into a file beside; return the error that says so."""
    lines = "".join(json_line(estimate) + "\n" for estimate in held)
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="sleepstream-", suffix=".jsonl", delete=False, encoding="utf-8"
        ) as file:
            file.write(lines)
        where = f"the last {len(held)} epochs are in {Path(file.name)} instead"
    except OSError as error:
        where = f"the last {len(held)} epochs could not be written anywhere ({error.strerror})"
    return StoreError(trouble.sought, f"{trouble.found}; {where}", trouble.remedy)
