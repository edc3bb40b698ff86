"""The inlet: finding one stream among those on the network, and draining it.

Enters: what liblsl hears. Leaves: `Chunk` in microvolts with the sender's own time stamps. This is
the only file of the daemon's input side that knows pylsl.

A name is no proof of identity: two headbands of one make announce the same one. So a search always
waits its full time, lists all matches, and refuses to choose between two.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import pylsl

from sleepstream.errors import StreamError
from sleepstream.messages import Chunk
from sleepstream.plain import printable

SEARCH_S = 1.0
"""How long one look around takes. On one network every stream answers well within it."""

ANSWER_S = 5.0
"""How long a stream that was announced may take to answer before it counts as a zombie."""

BUFFER_S = 3600
"""Seconds of samples that liblsl may hold for us. An overfull inlet drops samples without a word,
so it is far more than we ever leave undrained."""

_KEYS = ("name", "type", "source_id", "host", "uid")

_SEPARATORS = {",", "="}

_NO_ANSWER = (pylsl.util.TimeoutError, pylsl.util.LostError)  # not Python's TimeoutError


@dataclass(frozen=True, slots=True)
class StreamDescription:
    """What a stream says about itself.

    Attributes
    ----------
    name, type, source_id, host, uid : str
        As announced, made printable.
    n_channels : int
        Number of channels.
    sfreq : float
        Nominal rate in hertz; 0 where it is irregular.
    labels, units : tuple of str
        Per channel; empty strings where nothing was declared. Empty tuples when the stream was
        announced but does not answer.
    synthetic : bool
        Whether it says of itself that its signal was made up.
    """

    name: str
    type: str
    source_id: str
    host: str
    uid: str
    n_channels: int
    sfreq: float
    labels: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    synthetic: bool = False

    @property
    def selector(self) -> str:
        """A query that finds this stream and, where it has a source_id, no other."""
        keys = {"name": self.name, "source_id": self.source_id, "host": self.host}
        words = {key: value for key, value in keys.items() if value}
        if any(_SEPARATORS & set(value) or value != value.strip() for value in words.values()):
            words = {"uid": self.uid}  # these values would be taken apart
        return ",".join(f"{key}={value}" for key, value in words.items())

    def as_json(self) -> dict[str, Any]:
        """Return the description as a JSON object."""
        return {name: getattr(self, name) for name in self.__slots__} | {"selector": self.selector}


@dataclass(frozen=True, slots=True)
class Query:
    """Which stream is meant.

    Attributes
    ----------
    text : str
        As the user wrote it.
    wanted : tuple of (str, str)
        Properties that have to match; empty for a plain word.
    """

    text: str
    wanted: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Query:
        """Read ``EEG`` or ``name=EEG,host=lab-2`` (keys: name, type, source_id, host, uid).

        Raises
        ------
        StreamError
            A key that streams do not have.
        """
        if "=" not in text:
            return cls(text)
        pairs = [part.partition("=") for part in text.split(",")]
        wanted = tuple((key.strip().lower(), value.strip()) for key, _, value in pairs)
        unknown = [key for key, _ in wanted if key not in _KEYS]
        if unknown:
            raise StreamError(
                "a stream name, or properties such as name=EEG,host=lab-2",
                f"the key {unknown[0]!r} in {text!r}",
                f"use the keys {', '.join(_KEYS)}",
            )
        return cls(text, wanted)

    def among(self, streams: Iterable[StreamDescription]) -> list[StreamDescription]:
        """Return the streams that fit. A plain word is a name, else a type, else a source_id."""
        streams = list(streams)
        if self.wanted:
            return [s for s in streams if all(getattr(s, k) == v for k, v in self.wanted)]
        for key in ("name", "type", "source_id"):
            fitting = [s for s in streams if getattr(s, key).casefold() == self.text.casefold()]
            if fitting:
                return fitting
        return []


def look_around(wait_s: float = SEARCH_S) -> dict[StreamDescription, pylsl.StreamInfo]:
    """Return every stream that announces itself within `wait_s` seconds, by description."""
    return {_announced(info): info for info in pylsl.resolve_streams(wait_s)}


def describe(info: pylsl.StreamInfo) -> StreamDescription:
    """Ask a stream for its channel labels and units; without them if it does not answer."""
    inlet = pylsl.StreamInlet(info, recover=False)
    try:
        return _described(inlet.info(ANSWER_S))
    except _NO_ANSWER:
        return _announced(info)
    finally:
        inlet.close_stream()


def find(
    query: Query, timeout_s: float, on_wait: Callable[[str], None], stop: Callable[[], bool]
) -> pylsl.StreamInfo | None:
    """Wait for the stream that is meant.

    Parameters
    ----------
    query : Query
        Which one.
    timeout_s : float
        How long to look, in seconds; 0 for as long as it takes.
    on_wait : callable
        Told, in a sentence, whenever what is on the network changes while we wait.
    stop : callable
        Asked between looks whether to give up.

    Returns
    -------
    pylsl.StreamInfo or None
        None if `stop` said so.

    Raises
    ------
    StreamError
        None in time, or more than one that fits.
    """
    deadline = time.monotonic() + timeout_s if timeout_s else float("inf")
    told = None
    while not stop():
        left = deadline - time.monotonic()
        around = look_around(max(0.2, min(SEARCH_S, left)))
        fitting = query.among(around)
        if len(fitting) > 1:
            raise _ambiguous(query, fitting)
        if fitting:
            # one more look: a second stream of that name may only be a little later
            around |= look_around()
            fitting = query.among(around)
            if len(fitting) > 1:
                raise _ambiguous(query, fitting)
            return around[fitting[0]]
        if time.monotonic() >= deadline:
            raise StreamError(
                f"an LSL stream {query.text!r} (a name, type or source_id) within {timeout_s:g} s",
                _on_network(around),
                "start the sender, check the name with `sleepstream streams`, and see that the "
                "firewall lets LSL pass (UDP 16571, TCP 16572-16604)",
            )
        sentence = (
            f"waiting for an LSL stream {query.text!r}; on the network: {_on_network(around)}"
        )
        if sentence != told:
            on_wait(sentence)
            told = sentence
    return None


class LslSource:
    """One connected stream; a context manager.

    Parameters
    ----------
    info : pylsl.StreamInfo
        The stream, as `find` returned it.

    Raises
    ------
    StreamError
        The stream does not answer, or carries no numbers.
    """

    def __init__(self, info: pylsl.StreamInfo) -> None:
        announced = _announced(info)
        self._inlet = pylsl.StreamInlet(info, max_buflen=BUFFER_S, recover=True)
        try:
            full = self._inlet.info(ANSWER_S)
        except _NO_ANSWER as error:
            raise StreamError(
                f"an answer from the stream {announced.name!r} on {announced.host}",
                f"it is announced, but did not answer within {ANSWER_S:g} s",
                "restart the sender (a stream that crashed can stay announced for a while)",
            ) from error
        self.description = _described(full)
        if full.channel_format() == pylsl.cf_string:
            raise StreamError(
                "a stream of numbers", f"{announced.name!r} carries text (markers)", _CHOOSE
            )
        self._picks: list[int] = []
        self._scales = np.ones((0, 1))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._inlet.close_stream()

    def start(self, picks: Sequence[int], scales: Sequence[float]) -> None:
        """Subscribe: from here on no sample is missed.

        Parameters
        ----------
        picks : sequence of int
            Which channels to take.
        scales : sequence of float
            How many microvolts the unit of each is.

        Raises
        ------
        StreamError
            The stream has gone since it was found.
        """
        self._picks = list(picks)
        self._scales = np.array(scales)[:, np.newaxis]
        try:
            self._inlet.open_stream(ANSWER_S)
        except _NO_ANSWER as error:
            raise StreamError(
                f"samples from the stream {self.description.name!r}",
                f"it stopped answering within {ANSWER_S:g} s",
                "restart the sender and try again",
            ) from error

    def poll(self, timeout_s: float, max_samples: int) -> Chunk | None:
        """Return what has arrived.

        Parameters
        ----------
        timeout_s : float
            How long to wait for the first sample.
        max_samples : int
            At most so many; the rest stays for the next call.

        Returns
        -------
        Chunk or None
            The picked channels in microvolts; None if nothing came.
        """
        try:
            samples, stamps = self._inlet.pull_chunk(
                timeout_s, max_samples, min_samples=1, as_numpy=True
            )
        except _NO_ANSWER:
            # A sender without a source_id has gone for good, and liblsl says so at once and for
            # ever: for us that is silence, and the grace time decides.
            time.sleep(timeout_s)
            return None
        if not len(stamps):
            return None
        with np.errstate(over="ignore", invalid="ignore"):  # absurd values become missing ones
            data = (samples[:, self._picks].T * self._scales).astype(np.float32)
        return Chunk(np.asarray(stamps, np.float64), data)

    def now_s(self) -> float:
        """Return the time on the sender's LSL clock, in seconds (on ours if it does not answer)."""
        try:
            return float(pylsl.local_clock() - self._inlet.time_correction(1.0))
        except _NO_ANSWER:
            return float(pylsl.local_clock())


_CHOOSE = "choose the EEG stream, not its markers (`sleepstream streams`)"


def _announced(info: pylsl.StreamInfo) -> StreamDescription:
    return StreamDescription(
        name=printable(info.name()),
        type=printable(info.type()),
        source_id=printable(info.source_id()),
        host=printable(info.hostname()),
        uid=printable(info.uid()),
        n_channels=int(info.channel_count()),
        sfreq=float(info.nominal_srate()),
    )


def _described(info: pylsl.StreamInfo) -> StreamDescription:
    announced = _announced(info)
    n = announced.n_channels
    labels = _per_channel(info.get_channel_labels(), n)
    return StreamDescription(
        **{
            **{name: getattr(announced, name) for name in StreamDescription.__slots__},
            "labels": tuple(label or f"channel {k + 1}" for k, label in enumerate(labels)),
            "units": tuple(_per_channel(info.get_channel_units(), n)),
            "synthetic": info.desc().child_value("synthetic") == "true",
        }
    )


def _per_channel(values: list[str | None] | None, n: int) -> list[str]:
    given = [printable(value or "") for value in values or []][:n]
    return given + [""] * (n - len(given))


def _ambiguous(query: Query, fitting: list[StreamDescription]) -> StreamError:
    listed = "".join(f"\n         {stream.selector}" for stream in fitting)
    return StreamError(
        f"one LSL stream {query.text!r}",
        f"{len(fitting)} that fit, and only you know whose is whose:{listed}",
        "give one of these lines to --lsl-stream"
        if len({stream.selector for stream in fitting}) == len(fitting)
        else "give each sender a source_id of its own, or stop all but one",
    )


def _on_network(around: Iterable[StreamDescription]) -> str:
    seen = sorted(f"{s.name!r} ({s.type or 'no type'}, {s.host})" for s in around)
    return ", ".join(seen) or "no stream at all"
