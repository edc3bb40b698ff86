"""Parts that `run` and `score` build in the same way: the stager, the bed, the record."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from types import FrameType

import msgspec
from rich.console import Console

from sleepstream.config import Settings
from sleepstream.messages import EPOCH_S, Event, StageEstimate
from sleepstream.stager import device, weights
from sleepstream.stager.stager import NO_DECODER, Stager
from sleepstream.store.nights import Night, NightStore


def console() -> Console:
    """Return the console for what is said to the person at the terminal."""
    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def load_stager(settings: Settings, say: Console) -> Stager:
    """Choose the device, load the models and say what was chosen.

    Raises
    ------
    SettingsError
        The device that was asked for is not there.
    ModelError
        A model is missing or damaged.
    """
    chosen, reason = device.choose(settings.models.device)
    device.single_thread()
    names = settings.models
    stager = Stager.load(
        encoder=names.encoder,
        decoder=names.decoder,
        disorder=names.disorder,
        device=chosen,
        bed=settings.night.bed,
    )
    say.print(f"models: {names.encoder} + {names.decoder} ({stager.model}) on {reason}")
    return stager


def model_hashes(settings: Settings) -> dict[str, str]:
    """Return the hash of each model in use, by its part."""
    wanted = {
        "encoder": settings.models.encoder,
        "decoder": settings.models.decoder,
        "disorder": settings.models.disorder,
    }
    return {
        part: f"{name}:{weights.find(name, part).sha256}" if name != NO_DECODER else name
        for part, name in wanted.items()
    }


class Record:
    """The night on disk, as a `Sink`.

    It is opened with the first epoch, so that a stream which never sends leaves no empty night.

    Parameters
    ----------
    store : NightStore
        Where to.
    settings : Settings
        In force.
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
        *,
        source: str,
        channel: str,
        sfreq: float,
        started_utc: datetime,
        synthetic: bool,
    ) -> None:
        self._night: Night | None = None
        self._early: list[Event] = []
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
        """Put a final estimate on disk."""
        if not estimate.final:
            return
        if self._night is None:
            self._night = self._begin(started_s=estimate.onset_s - EPOCH_S * estimate.epoch)
            for event in self._early:
                self._night.event(event)
        self._night.append(estimate)

    def tell(self, event: Event) -> None:
        """Put an event on disk, or keep it until there is a night."""
        if self._night is None:
            self._early.append(event)
        else:
            self._night.event(event)

    def end(self, reason: str) -> None:
        """Say why the night ended."""
        if self._night is not None:
            self._night.end(reason)


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Turn the first SIGINT or SIGTERM into an event; a second one acts as ever."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
