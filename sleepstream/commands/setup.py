"""Parts that several commands build in the same way: console, rooms, a file, a clean stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TextIO

from rich.console import Console

from sleepstream.config import Settings
from sleepstream.errors import StoreError
from sleepstream.signal.epocher import Epocher
from sleepstream.signal.fallback import Hysteresis
from sleepstream.signal.montage import Choices
from sleepstream.stager import device
from sleepstream.stager.stager import Stager


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
        familiarity=names.familiarity,
        device=chosen,
        bed=settings.night.bed,
    )
    say.print(f"models: {names.encoder} + {names.decoder} ({stager.model}) on {reason}")
    return stager


def epocher(settings: Settings, sfreq: float, choices: Choices) -> Epocher:
    """Build the signal room for a stream or a file of this rate, in hertz."""
    staging = settings.staging
    hysteresis = Hysteresis(staging.give_up_after, staging.take_back_after)
    return Epocher(sfreq, choices, staging.min_valid, hysteresis)


@contextmanager
def writing(out: Path) -> Iterator[TextIO]:
    """Open a file for what came out.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    try:
        with out.open("w", encoding="utf-8", newline="") as file:
            yield file
    except OSError as error:
        raise StoreError(
            f"to write to {out}",
            f"{type(error).__name__}: {error.strerror}",
            "name a file in a folder that is there and can be written to",
        ) from error


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
