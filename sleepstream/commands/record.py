"""The night on disk, as a sink: written before anybody is told, and held when the disk says no.

A full disk must not end a night that is being slept. What cannot be written is kept in memory, said
loudly once, and written as soon as it can be; what is left at the very end goes into a file beside.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from sleepstream.config import Settings
from sleepstream.errors import StoreError
from sleepstream.messages import EPOCH_S, ClockOffset, Epoch, Event, Float32Array, StageEstimate
from sleepstream.outputs.text import json_line
from sleepstream.signal.epocher import EpocherState
from sleepstream.stager import weights
from sleepstream.store.nights import Night, NightStore

WAIT_S = 1.0
"""How long a write waits for another program that is writing: less than anybody notices."""


@dataclass(frozen=True, slots=True, eq=False)
class _Closed:
    """A final estimate and what is recorded with it."""

    estimate: StageEstimate
    signal: Float32Array | None = None
    state: str | None = None


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
    stream : str, optional
        Which live stream it is, as JSON.
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
        stream: str | None = None,
    ) -> None:
        self._store = store
        self._bed = settings.night.bed
        self._stream = stream
        self._keep_signal = settings.night.keep_signal
        self._night: Night | None = None
        self._kept: tuple[Epoch, EpocherState | None] | None = None
        self._waiting: deque[_Closed | Event | ClockOffset] = deque()
        self._trouble: StoreError | None = None
        self._n_held = 0
        self._now_s = 0.0  # sender's time of the newest that was to be recorded
        self._warn = warn
        self._begin = partial(
            store.begin,
            self._bed,
            source=source,
            channel=channel,
            sfreq=sfreq,
            started_utc=started_utc.astimezone(UTC).isoformat(timespec="seconds"),
            models=model_hashes(settings),
            settings_json=msgspec.json.encode(settings).decode(),
            synthetic=synthetic,
            stream=stream,
        )

    @property
    def night_id(self) -> str | None:
        """Id of the night; None while it has no epoch."""
        return self._night.id if self._night else None

    def held(self) -> int:
        """Return how many epochs are kept in memory because the disk does not take them."""
        return sum(isinstance(item, _Closed) for item in self._waiting)

    def go_on(self, night_id: str) -> None:
        """Write behind the last epoch of a night that is on record, instead of a new one.

        Raises
        ------
        StoreError
            The night had ended, and the record cannot be written.
        """
        self._night = self._store.go_on(night_id, self._bed, self._stream)
        self._write()

    def keep(self, epoch: Epoch, state: EpocherState | None = None) -> None:
        """Take the epoch whose estimate will be shown next, and the state behind it, if any."""
        self._kept = epoch, state

    def show(self, estimate: StageEstimate) -> None:
        """Put a final estimate on disk, after what is still waiting."""
        if not estimate.final:
            return
        self._now_s = estimate.end_s
        signal, state = None, None
        if self._kept is not None and self._kept[0].index == estimate.epoch:
            epoch, behind = self._kept
            signal = epoch.data if self._keep_signal else None
            state = msgspec.json.encode(behind).decode() if behind else None
        self._waiting.append(_Closed(estimate, signal, state))
        self._write()

    def tell(self, event: Event) -> None:
        """Put an event on disk; before the first epoch it waits for the night to begin."""
        self._waiting.append(event)
        self._now_s = event.at_s
        if self._night is not None:
            self._write()

    def clock(self, offset: ClockOffset) -> None:
        """Put a measurement of the sender's clock on disk; it waits as an event does."""
        self._waiting.append(offset)
        if self._night is not None:
            self._write()

    def end(self, reason: str, at_s: float | None = None) -> None:
        """Say why the night ended; if another program holds the record, wait for it only once.

        Parameters
        ----------
        reason : str
            In a few words.
        at_s : float, optional
            Sender's time at which it ended, for the list of events.

        Raises
        ------
        StoreError
            Something could still not be written; the message says where it is instead.
        """
        if at_s is not None:
            self._waiting.append(Event("ended", at_s, reason))
        if self._trouble is not None:
            self._store.wait_for_others(WAIT_S)
        if self._night is not None or self._trouble is not None:
            self._write()
        if self._trouble is not None:
            self._store.wait_for_others(0)
        held = [item.estimate for item in self._waiting if isinstance(item, _Closed)]
        if held and self._trouble is not None:
            raise _rescued(held, self._trouble, self._store.path.parent)
        if self._night is not None:
            self._night.end(reason)

    def _write(self) -> None:
        while self._waiting:
            item = self._waiting[0]
            try:
                if self._night is None:
                    closed = [each for each in self._waiting if isinstance(each, _Closed)]
                    if not closed:
                        return  # it begins with an epoch
                    item = closed[0]
                    self._night = self._begun(closed[0])
                elif isinstance(item, Event):
                    self._night.event(item)
                elif isinstance(item, ClockOffset):
                    self._night.clock(item)
                else:
                    self._night.append(item.estimate, item.signal, item.state)
            except StoreError as error:
                if not isinstance(error.__cause__, sqlite3.IntegrityError):
                    self._hold(error)
                    return
                # no disk will ever take this one, and it must not keep the others waiting
                self._warn(f"one entry cannot be recorded and is left out: {error.found}")
            self._waiting.remove(item)
        if self._trouble is not None:
            self._trouble = None
            self._store.wait_for_others(WAIT_S)
            self._say(f"on disk again, with the {self._n_held} epochs that were held")
            self._write()

    def _begun(self, first: _Closed) -> Night:
        """Begin the night with its first epoch: a crash leaves none without."""
        with self._store.together():
            estimate = first.estimate
            night = self._begin(started_s=estimate.onset_s - EPOCH_S * estimate.epoch)
            night.append(estimate, first.signal, first.state)
        return night

    def _hold(self, error: StoreError) -> None:
        if self._trouble is None:
            self._trouble = error
            self._store.wait_for_others(0)  # the staging has waited once, which is enough
            self._say(
                f"NOT ON DISK, kept in memory, staging goes on: {error.found}. It is tried again "
                "with each epoch: make room on the disk, or close the program that holds the record"
            )
        self._n_held = self.held()

    def _say(self, text: str) -> None:
        """Tell the person, and the record as soon as it can be written."""
        self._warn(text)
        self._waiting.append(Event("warning", self._now_s, text))


def model_hashes(settings: Settings) -> dict[str, str]:
    """Return the name and hash of each model in use, by its part."""
    wanted = {
        "encoder": settings.models.encoder,
        "decoder": settings.models.decoder,
        "disorder": settings.models.disorder,
        "familiarity": settings.models.familiarity,
    }
    return {part: _fingerprint(name, part) for part, name in wanted.items()}


def _fingerprint(name: str, part: str) -> str:
    if name == "none" and part != "decoder":  # of decoders it is one among others
        return name
    return f"{name}:{weights.find(name, part).fingerprint}"


def _rescued(held: list[StageEstimate], trouble: StoreError, beside: Path) -> StoreError:
    """Write what was held into a file, beside the record if it can be; say which in an error."""
    lines = "".join(json_line(estimate) + "\n" for estimate in held)
    for folder in (beside, Path(tempfile.gettempdir())):
        try:
            with tempfile.NamedTemporaryFile(
                "w",
                prefix="sleepstream-",
                suffix=".jsonl",
                dir=folder,
                delete=False,
                encoding="utf-8",
            ) as file:
                file.write(lines)
        except OSError as error:
            where = f"the last {len(held)} epochs could not be written anywhere ({error.strerror})"
        else:
            where = f"the last {len(held)} epochs are in {Path(file.name)} instead"
            break
    return StoreError(trouble.sought, f"{trouble.found}; {where}", trouble.remedy)
