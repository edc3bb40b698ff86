"""What to do when a live stream fails: a state machine that decides, and does nothing itself.

Enters: what was seen of the stream (samples, silence, a broken connection, who else announces
itself). Leaves: what to do next, and what to tell a person. It knows neither pylsl nor the time:
whoever drives it (`sleepstream.sources.live`) brings the clocks.

The states and what leads from one to the next are `TRANSITIONS`; nothing else changes the state.
A stream is taken for ours when source_id, name, type and host are what they were, and its channels,
units and rate too. Where the source_id is empty two devices of one name cannot be told apart, so
another is taken only once ours has certainly left.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from sleepstream.messages import StreamState
from sleepstream.sources.description import StreamDescription
from sleepstream.sources.notes import Notes, in_words

logger = logging.getLogger(__name__)

SETTLE_S = 1.0
"""For so long we look around before anybody is taken: a second one may answer a little later."""

SURE_S = 2.0
"""After so many seconds of looking around, who has not announced itself is not there."""

ANSWER_S = 5.0
"""How long an announced stream may take to answer before somebody is told."""

REOPEN_S = 30.0
"""A stream that is announced and has been silent so long is subscribed to anew: its connection may
be dead without either side knowing."""

LEFT_S = 3.0
"""How long a recording that is played and has left the network is waited for."""


class Sign(Enum):
    """What can be seen of a stream."""

    OPENED = auto()  # ours was found and subscribed to
    SAMPLES = auto()
    SILENT = auto()  # nothing came for the stale time, the connection stands
    BROKEN = auto()  # the connection does not
    OVER = auto()  # the grace time has passed, or somebody wants to stop


class Action(Enum):
    """What whoever drives the machine has to do next."""

    WAIT = auto()
    SEARCH = auto()  # look who announces itself
    REOPEN = auto()  # ask `Supervisor.candidate` for its channels, and subscribe if it is accepted
    END = auto()


_S = StreamState

TRANSITIONS: Mapping[tuple[StreamState, Sign], StreamState] = {
    (_S.SEARCHING, Sign.OPENED): _S.CONNECTED,
    (_S.CONNECTED, Sign.SILENT): _S.STALLED,
    (_S.CONNECTED, Sign.BROKEN): _S.LOST,
    (_S.STALLED, Sign.SAMPLES): _S.CONNECTED,
    (_S.STALLED, Sign.BROKEN): _S.LOST,
    (_S.STALLED, Sign.OPENED): _S.RECONNECTED,
    (_S.LOST, Sign.SAMPLES): _S.CONNECTED,
    (_S.LOST, Sign.OPENED): _S.RECONNECTED,
    (_S.RECONNECTED, Sign.SAMPLES): _S.CONNECTED,
    (_S.RECONNECTED, Sign.SILENT): _S.STALLED,
    (_S.RECONNECTED, Sign.BROKEN): _S.LOST,
    **{(state, Sign.OVER): _S.ENDED for state in _S if state is not _S.ENDED},
}
"""Where each sign leads; a sign that is not listed for a state leaves it as it is."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait.

    Attributes
    ----------
    stale_s : float
        Seconds without a sample after which a stream counts as stalled.
    grace_s : float
        Seconds without a sample after which the night is over.
    """

    stale_s: float = 3.0
    grace_s: float = 600.0


class Supervisor:
    """Watches over one stream.

    Parameters
    ----------
    ours : StreamDescription
        The stream, with its channels.
    patience : Patience
        How long to wait.
    clock : callable
        A monotonic clock in seconds.
    wall : callable
        The time of day, for sentences.

    Attributes
    ----------
    state : StreamState
        How the stream is doing.
    candidate : StreamDescription or None
        Whom to subscribe to when the action is `Action.REOPEN`.
    ended : str or None
        Why the night is over, once it is.
    """

    def __init__(
        self,
        ours: StreamDescription,
        patience: Patience,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
    ) -> None:
        self.state = StreamState.SEARCHING
        self.candidate: StreamDescription | None = None
        self.ended: str | None = None
        self._ours = ours
        self._patience = patience
        self._clock = clock
        self._wall = wall
        self._heard_s = clock()  # when the last sample came
        self._heard_at = wall()
        self._since_s = self._heard_s  # the same, or when the stream was opened since
        self._began = False
        self._broken_s = 0.0
        self._looking_s = 0.0  # when this search began
        self._asked_s = 0.0
        self._told: set[object] = set()  # what need not be said again
        self._refused: set[str] = set()  # uids
        self._silent: dict[str, float] = {}  # uids that were left because they said nothing, when
        self._notes = Notes(clock)

    @property
    def silent_s(self) -> float:
        """Seconds since the last sample."""
        return self._clock() - self._heard_s

    def take_notes(self) -> list[str]:
        """Return what there is to tell since the last call, a sentence or two each.

        A link that comes and goes all the time is not told of each time (see `Notes`).
        """
        return self._notes.take()

    def heard(self) -> None:
        """Take in that samples came."""
        silent_s = self.silent_s
        self._heard_s = self._since_s = self._clock()
        self._heard_at = self._wall()
        self._began = True
        if self._moved(Sign.SAMPLES):
            self._say(
                f"connected: samples are coming again, after {in_words(silent_s)}; what was not "
                "sent meanwhile is listed as a gap"
            )

    def waited(self, broken: bool, around: Collection[StreamDescription] | None) -> Action:
        """Take in that nothing came.

        Parameters
        ----------
        broken : bool
            Whether the connection to the stream is.
        around : collection of StreamDescription or None
            Who announces itself at the moment; None if nobody has looked.

        Returns
        -------
        Action
            What to do now.
        """
        now = self._clock()
        if broken:
            if self._moved(Sign.BROKEN):
                self._broken_s = now
                self._say(self._lost())
        elif now - self._since_s >= self._patience.stale_s and self._moved(Sign.SILENT):
            self._say(self._stalled())
        if reason := self._over():
            self.end(reason)
        if self.state is StreamState.ENDED:
            return Action.END
        if self.state not in {StreamState.STALLED, StreamState.LOST}:
            return Action.WAIT
        if around is None:  # a new search
            self.candidate, self._looking_s = None, now
            return Action.SEARCH
        self._ask(self._chosen(around, now - self._looking_s), now)
        return Action.REOPEN if self.candidate else Action.SEARCH

    def accepts(self, found: StreamDescription) -> bool:
        """Return whether a stream that answered may go on in the place of ours.

        Parameters
        ----------
        found : StreamDescription
            With its channels. If it is refused, it is not asked again, and somebody is told why.
        """
        changed = differences(self._ours, found)
        if changed:
            self._refused.add(found.uid)
            self._say(
                f"refused: {found.name!r} is back, but not as it was: {'; '.join(changed)}. The "
                "search goes on. Set the sender as it was; or end sleepstream and start it again, "
                "which begins a new night"
            )
        return not changed

    def opened(self, found: StreamDescription) -> None:
        """Take in that a stream was subscribed to that is ours."""
        same_outlet = found.uid == self._ours.uid
        if self.state is StreamState.STALLED and not same_outlet:
            self._silent[self._ours.uid] = self._clock()
        self._ours, self._since_s = found, self._clock()
        self.candidate = None
        if self.state is StreamState.STALLED and same_outlet:
            return  # a fresh connection to a sender that is merely silent: nothing happened
        if self._moved(Sign.OPENED) and self.state is StreamState.RECONNECTED:
            self._say(f"reconnected: the same stream is back, after {in_words(self.silent_s)}")

    def end(self, reason: str) -> None:
        """End the night; the first reason stays."""
        if self._moved(Sign.OVER):
            self.ended = reason

    def _moved(self, sign: Sign) -> bool:
        """Go where the table says, and return whether that is somewhere else."""
        before = self.state
        self.state = TRANSITIONS.get((before, sign), before)
        if self.state is before:
            return False
        logger.info("stream: %s -> %s", before, self.state)
        return True

    def _over(self) -> str | None:
        """Return why the night is over, if it is."""
        lost = self.state is StreamState.LOST
        if lost and self._ours.ends and self._clock() - self._broken_s >= LEFT_S:
            return "the recording that was played is over"
        if self.silent_s < self._patience.grace_s:
            return None
        grace = in_words(self._patience.grace_s)
        return (
            f"the stream left and did not return within {grace}"
            if lost
            else f"no sample for {grace}"
        )

    def _chosen(
        self, around: Collection[StreamDescription], looked_s: float
    ) -> StreamDescription | None:
        """Return the one stream among those on the network that is ours, if it is there."""
        announced = next((s for s in around if s.uid == self._ours.uid), None)
        others = [s for s in around if s.uid != self._ours.uid and s.uid not in self._refused]
        if announced:  # no to and fro between two that are both silent
            others = [s for s in others if not self._was_silent(s)]
        same = [s for s in others if identity(s) == identity(self._ours)]
        sure = looked_s >= SURE_S
        # without a source_id, one that looks like ours may be another as long as ours is there
        settled = looked_s >= SETTLE_S if self._ours.source_id else sure and not announced
        if announced and self.state is StreamState.LOST:
            # only the connection broke; or it has left, and the network will forget it soon
            return announced if sure or not same else None
        if len(same) > 1:
            self._say_once(frozenset(s.uid for s in same), _ambiguous(same))
        elif same and settled:
            return same[0]
        elif sure and not announced:
            for stranger in others:
                if stranger.name == self._ours.name:
                    self._say_once(stranger.uid, self._strange(stranger))
        overdue = self._clock() - self._since_s >= REOPEN_S
        return announced if overdue else None

    def _was_silent(self, stream: StreamDescription) -> bool:
        """Return whether this one was left a moment ago because nothing came from it."""
        left_s = self._silent.get(stream.uid)
        return left_s is not None and self._clock() - left_s < REOPEN_S

    def _ask(self, candidate: StreamDescription | None, now: float) -> None:
        """Note who is asked, and tell somebody if there is no answer."""
        if candidate is None or self.candidate is None or candidate.uid != self.candidate.uid:
            self._asked_s = now
        self.candidate = candidate
        if candidate and now - self._asked_s >= ANSWER_S:
            self._say_once(
                ("no answer", candidate.uid),
                f"no answer: {candidate.name!r} is announced, but does not answer; sleepstream "
                "keeps asking. Restart the sender if it stays so",
            )

    def _stalled(self) -> str:
        since = f"{self._heard_at:%H:%M:%S}"
        if not self._began:
            return (
                f"stalled: connected, but no sample has come since {since}. Has the sender been "
                "started?"
            )
        return (
            f"stalled: no sample since {since}, though the connection stands. Check the device, "
            "its battery and the sender; what is not sent will be missing"
        )

    def _lost(self) -> str:
        since = f"{self._heard_at:%H:%M:%S}"
        if self._ours.ends:
            return f"lost: the stream has left the network; last sample at {since}"
        until = self._wall() + timedelta(seconds=self._patience.grace_s - self.silent_s)
        return (
            f"lost: the stream has left the network; last sample at {since}. Start the sender "
            f"again: sleepstream searches for it until {until:%H:%M:%S}, then the night ends"
        )

    def _strange(self, found: StreamDescription) -> str:
        changed = "; ".join(
            f"{key} {theirs or 'none'!r} instead of {ours or 'none'!r}"
            for key, ours, theirs in zip(
                ("source_id", "name", "type", "host"),
                identity(self._ours),
                identity(found),
                strict=True,
            )
            if ours != theirs
        )
        return (
            f"refused: there is a stream {found.name!r}, but not ours: {changed}. The search goes "
            "on. If it is the right one, end sleepstream and start it with --resume"
        )

    def _say(self, text: str) -> None:
        self._notes.add(text)

    def _say_once(self, what: object, text: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self._say(text)


def identity(stream: StreamDescription) -> tuple[str, str, str, str]:
    """Return what tells one device from another: source_id, name, type and host."""
    return stream.source_id, stream.name, stream.type, stream.host


def differences(ours: StreamDescription, found: StreamDescription) -> list[str]:
    """Return what a stream has otherwise than ours, in words; nothing if it may go on in its place.

    Parameters
    ----------
    ours, found : StreamDescription
        With their channels.
    """
    if not found.numeric:
        return ["text instead of numbers"]
    changed = []
    if found.sfreq != ours.sfreq:
        changed.append(f"{found.sfreq:g} Hz instead of {ours.sfreq:g} Hz")
    if found.n_channels != ours.n_channels:
        changed.append(f"{found.n_channels} channels instead of {ours.n_channels}")
    elif pairs := _unequal(ours.labels, found.labels):
        changed.append(f"channels {pairs}")
    elif pairs := _unequal(ours.units, found.units):
        changed.append(f"units {pairs}")
    return changed


def _unequal(ours: tuple[str, ...], found: tuple[str, ...]) -> str:
    pairs = [
        f"{b or 'none'!r} instead of {a or 'none'!r}"
        for a, b in zip(ours, found, strict=True)
        if a != b
    ]
    return ", ".join(pairs[:3]) + (f" and {len(pairs) - 3} more" if len(pairs) > 3 else "")


def _ambiguous(same: list[StreamDescription]) -> str:
    return (
        f"refused: {len(same)} streams claim to be ours ({same[0].selector}), and none is taken. "
        "Stop all but the right one"
    )
