"""Going on with a night: what is on record becomes the state of the stager and the signal room.

A night that was cut off goes on by itself when the stream it was of is back in time, and with
``--resume`` the bed's last one does in any case. The stager steps through the recorded epochs once
more, and what it says has to be what it said then; of the signal room, the record has the state.
While that is done, samples wait in the inlet. The first of them decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import Progress

from sleepstream.commands.record import model_hashes
from sleepstream.config import Settings
from sleepstream.errors import StoreError
from sleepstream.messages import Event, StageEstimate
from sleepstream.pipeline import Estimator
from sleepstream.signal.epocher import EpocherState
from sleepstream.signal.timeline import LONGEST_GAP_S
from sleepstream.sources.description import StreamDescription
from sleepstream.store.nights import LiveNight, NightStore

BACK_S = 1.0
"""A stamp earlier than the end of the last epoch by more than this is of another clock."""

NEW = "leave --resume out to begin a new night"


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """A night that can be gone on with.

    Attributes
    ----------
    night : LiveNight
        As it is on record.
    estimates : tuple of StageEstimate
        What was said in it.
    state : EpocherState
        Of the signal room behind its last epoch.
    """

    night: LiveNight
    estimates: tuple[StageEstimate, ...]
    state: EpocherState


class _NotThisOneError(Exception):
    """Why a night cannot go on, in words."""


def identity(stream: StreamDescription) -> str:
    """Return, as JSON, what has to be the same for a stream to be the one of an earlier night."""
    names = ("name", "type", "source_id", "labels", "sfreq")
    return msgspec.json.encode({name: getattr(stream, name) for name in names}).decode()


def look_back(
    store: NightStore,
    settings: Settings,
    *,
    stream: str,
    channel: str,
    stager: Estimator,
    say: Console,
    stop: Callable[[], bool],
) -> Past | None:
    """Find the night to go on with, and bring the stager to its end.

    Parameters
    ----------
    store : NightStore
        The record.
    settings : Settings
        In force.
    stream : str
        Which stream there is, as `identity` has it.
    channel : str
        The derivation that is staged.
    stager : Estimator
        At the start of a night; it still is where there is no night to go on with.
    say : Console
        Told what is done, and why a night that was cut off is not gone on with.
    stop : callable
        Asked between epochs whether to give up.

    Returns
    -------
    Past or None
        None for a new night.

    Raises
    ------
    StoreError
        A night was asked for and there is none, or it cannot go on.
    """
    wanted = settings.night.resume
    night = None if wanted == "never" else store.last_live(settings.night.bed)
    if night is None and wanted == "last":
        raise StoreError(
            f"a night of bed {settings.night.bed!r} to go on with", f"none in {store.path}", NEW
        )
    if night is None or (night.ended is not None and wanted == "auto"):
        return None
    try:
        if wanted == "last":
            stream = _renamed(stream, night.stream)
        state = _checked(night, stream, channel, model_hashes(settings))
        estimates = _restage(store, night, stager, say, stop)
    except (_NotThisOneError, StoreError) as error:
        stager.reset()
        reason = error.found if isinstance(error, StoreError) else str(error)
        if wanted == "last":
            raise StoreError(f"to go on with night {night.id}", reason, NEW) from error
        if stream != night.stream == _renamed(stream, night.stream):
            reason += ". If it is the same device, end this at once and start it with --resume"
        say.print(f"night {night.id} was cut off, and a new one begins: {reason}")
        return None
    return None if stop() else Past(night, estimates, state)


class Resumption:
    """Decides at the first sample whether an earlier night goes on; `Bed` asks it.

    Parameters
    ----------
    past : Past or None
        The night in question.
    settings : Settings
        In force.
    stager : Estimator
        At the end of that night.
    go_on : callable
        Told to: the record and the screen are those of that night from here on.
    tell : callable
        Told what was decided.
    """

    def __init__(
        self,
        past: Past | None,
        settings: Settings,
        *,
        stager: Estimator,
        go_on: Callable[[Past], None],
        tell: Callable[[Event], None],
    ) -> None:
        self._past = past
        self._asked_for = settings.night.resume == "last"
        self._within_s = settings.night.resume_within
        self._stager = stager
        self._go_on = go_on
        self._tell = tell

    def decide(self, first_s: float) -> EpocherState | None:
        """Return the state to go on from; None for a new night.

        Parameters
        ----------
        first_s : float
            Sender's time of the first sample, in seconds.

        Raises
        ------
        StoreError
            A night was asked for, and it is too long ago.
        """
        if self._past is None:
            return None
        night = self._past.night
        missing_s = first_s - night.end_s
        if reason := self._too_far(missing_s):
            self._stager.reset()
            if self._asked_for:
                raise StoreError(f"to go on with night {night.id}", reason, NEW)
            text = f"night {night.id} was cut off, and a new one begins: {reason}"
            self._tell(Event("warning", first_s, text))
            return None
        self._go_on(self._past)
        text = f"going on with night {night.id} behind its {night.n_epochs} epochs: "
        if -BACK_S <= missing_s <= LONGEST_GAP_S:
            text += f"{max(0.0, missing_s):.1f} s are missing"
        else:
            text += "how much is missing is not known, as the sender's clock began anew"
        self._tell(Event("resumed", first_s, text))
        return self._past.state

    def _too_far(self, missing_s: float) -> str:
        if self._asked_for:
            hours = missing_s / 3600
            return f"it stopped {hours:.0f} h ago" if missing_s > LONGEST_GAP_S else ""
        if missing_s < -BACK_S:
            return "the sender's clock began anew meanwhile (--resume goes on all the same)"
        if missing_s > self._within_s:
            return (
                f"{missing_s / 60:.0f} min are missing, and it goes on by itself after "
                f"{self._within_s / 60:.0f} at most (--resume-within)"
            )
        return ""


def _renamed(stream: str, then: str) -> str:
    """Return a stream with the source_id of an earlier one.

    Some programs make up a new one at each start: who asks for the night vouches for the device.
    """
    before = _read(then, Any)
    if not isinstance(before, dict):
        return stream
    now = msgspec.json.decode(stream) | {"source_id": before.get("source_id")}
    return msgspec.json.encode(now).decode()


def _checked(night: LiveNight, stream: str, channel: str, models: dict[str, str]) -> EpocherState:
    """Return the state of the signal room, if stream, channel and models are those of the night."""
    _compare("stream", _read(night.stream, Any), msgspec.json.decode(stream))
    _compare("derivation", {"channel": night.channel}, {"channel": channel})
    _compare("models", _read(night.models, Any), models)
    state: EpocherState = _read(night.state or "null", EpocherState)
    if state.n_epochs != night.n_epochs or not state.sound:
        raise _NotThisOneError("its record contradicts itself on where it stopped")
    return state


def _read(text: str, kind: Any) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except (ValueError, RecursionError) as error:
        raise _NotThisOneError("its record does not say how to go on") from error


def _compare(what: str, then: Any, now: dict[str, Any]) -> None:
    if then == now:
        return
    then = then if isinstance(then, dict) else {}
    changed = (key for key in now if then.get(key) != now[key])
    listed = "; ".join(f"{key} was {then.get(key)!r}, now {now[key]!r}" for key in changed)
    raise _NotThisOneError(f"it was of another {what}: {listed}")


def _restage(
    store: NightStore,
    night: LiveNight,
    stager: Estimator,
    say: Console,
    stop: Callable[[], bool],
) -> tuple[StageEstimate, ...]:
    """Bring the stager to the end of a night, and see that it says what it said then."""
    said = tuple(store.estimates(night.id))
    with Progress(console=say, transient=True) as bar:
        task = bar.add_task(f"going back into night {night.id}", total=len(said))
        for index, epoch in enumerate(store.epochs(night.id)):
            if stop():
                break
            if epoch.index != index:
                raise _NotThisOneError(f"epoch {index} is not on record")
            if _words(stager.step(epoch)) != _words(said[index]):
                raise _NotThisOneError(
                    f"staged once more, its epoch {index} comes out different: the device or a "
                    "library is another one"
                )
            bar.update(task, advance=1)
    return said


def _words(estimate: StageEstimate) -> dict[str, Any]:
    """Return all of an estimate that does not differ from run to run."""
    return estimate.as_json() | {"latency_ms": None}
