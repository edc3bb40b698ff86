"""The inlet: finding one stream among those on the network, draining it, and finding it again.

Enters: what liblsl hears. Leaves: `Chunk` in microvolts with the sender's own time stamps. This is
the only file of the daemon's input side that knows pylsl.

A name is no proof of identity: two headbands of one make announce the same one. So a search always
waits its full time, lists all matches, and refuses to choose between two.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

import numpy as np
import pylsl
from pylsl.lib import lib as liblsl

from sleepstream.errors import StreamError
from sleepstream.messages import Chunk
from sleepstream.plain import printable
from sleepstream.sources.description import Query, StreamDescription

SEARCH_S = 1.0
"""How long one look around takes. On one network every stream answers well within it."""

ANSWER_S = 5.0
"""How long a stream that was announced may take to answer before it counts as a zombie."""

BUFFER_S = 3600
"""Seconds of samples that liblsl may hold for us. An overfull inlet drops samples without a word,
so it is far more than we ever leave undrained."""

FORGET_S = 2.0
"""After so many seconds without an announcement a stream counts as gone from the network."""

_NO_ANSWER = (pylsl.util.TimeoutError, pylsl.util.LostError)  # not Python's TimeoutError


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
    """One connected stream; a context manager, and the `Link` of a `LiveStream`.

    liblsl's own recovery is off: it takes whoever has the name, type and source_id, before anybody
    could look at the channels and the rate.

    Parameters
    ----------
    info : pylsl.StreamInfo
        The stream, as `find` returned it.

    Attributes
    ----------
    description : StreamDescription
        What it said about itself when it was found.
    broken : bool
        Whether the connection is.

    Raises
    ------
    StreamError
        The stream does not answer, carries no numbers, or has no rate.
    """

    def __init__(self, info: pylsl.StreamInfo) -> None:
        announced = _announced(info)
        self._inlet = _inlet(info)
        try:
            self.description = _described(self._inlet.info(ANSWER_S))
        except _NO_ANSWER as error:
            raise StreamError(
                f"an answer from the stream {announced.name!r} on {announced.host}",
                f"it is announced, but did not answer within {ANSWER_S:g} s",
                "restart the sender (a stream that crashed can stay announced for a while)",
            ) from error
        _check_is_signal(self.description)
        self.broken = False
        self._picks: list[int] = []
        self._scales = np.ones((0, 1))
        self._resolver: pylsl.ContinuousResolver | None = None
        self._infos: dict[str, pylsl.StreamInfo] = {}
        self._next: tuple[str, pylsl.StreamInlet] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.rest()
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
        if self.broken:
            time.sleep(timeout_s)
            return None
        try:
            samples, stamps = self._inlet.pull_chunk(
                timeout_s, max_samples, min_samples=1, as_numpy=True
            )
        except _NO_ANSWER:
            self.broken = True
            return None
        if not len(stamps):
            return None
        with np.errstate(over="ignore", invalid="ignore"):  # absurd values become missing ones
            data = (samples[:, self._picks].T * self._scales).astype(np.float32)
        return Chunk(np.asarray(stamps, np.float64), data)

    def around(self) -> list[StreamDescription]:
        """Return at once who announces itself; the first call begins to listen."""
        if self._resolver is None:
            self._resolver = pylsl.ContinuousResolver(forget_after=FORGET_S)
        found = {_announced(info): info for info in self._resolver.results()}
        self._infos = {stream.uid: info for stream, info in found.items()}
        return list(found)

    def rest(self) -> None:
        """Listen no longer, and let go of whoever was asked."""
        self._resolver, self._next = None, None
        self._infos = {}

    def ask(self, stream: StreamDescription, timeout_s: float) -> StreamDescription | None:
        """Return a stream that was around with its channels; None if it has not answered yet."""
        if self._next is None or self._next[0] != stream.uid:
            if (info := self._infos.get(stream.uid)) is None:
                return None
            self._next = stream.uid, _inlet(info)
        try:
            return _described(self._next[1].info(timeout_s))
        except pylsl.util.TimeoutError:
            return None
        except pylsl.util.LostError:
            self._next = None
            return None

    def switch(self, timeout_s: float) -> bool:
        """Subscribe to the stream that answered, in the place of the old one.

        Returns
        -------
        bool
            False while it has not accepted.
        """
        if self._next is None:
            return False
        try:
            self._next[1].open_stream(timeout_s)
        except pylsl.util.TimeoutError:
            return False
        except pylsl.util.LostError:
            self._next = None
            return False
        self._inlet.close_stream()
        self._inlet, self.broken = self._next[1], False
        return True

    def clock_offset(self) -> tuple[float, float] | None:
        """Return how far the sender's LSL clock is from ours, without waiting.

        Returns
        -------
        offset_s, uncertainty_s : float
            What has to be added to the sender's time to get ours, and the round trip of the best
            probe; None while there is no measurement. The first call begins to measure.
        """
        return _time_correction(self._inlet)

    def now_s(self) -> float:
        """Return the time on the sender's LSL clock, in seconds (on ours if it does not answer)."""
        try:
            return float(pylsl.local_clock() - self._inlet.time_correction(1.0))
        except _NO_ANSWER:
            return float(pylsl.local_clock())


def _inlet(info: pylsl.StreamInfo) -> pylsl.StreamInlet:
    return pylsl.StreamInlet(info, max_buflen=BUFFER_S, recover=False)


def _time_correction(inlet: pylsl.StreamInlet) -> tuple[float, float] | None:
    # pylsl has no name for the call that also tells the uncertainty
    call = ctypes.CFUNCTYPE(
        ctypes.c_double,
        ctypes.c_void_p,
        ctypes.POINTER(ctypes.c_double),
        ctypes.POINTER(ctypes.c_double),
        ctypes.c_double,
        ctypes.POINTER(ctypes.c_int),
    )(("lsl_time_correction_ex", liblsl))
    remote_s, uncertainty_s, failed = ctypes.c_double(), ctypes.c_double(), ctypes.c_int()
    offset_s = call(inlet.obj, remote_s, uncertainty_s, 0.0, failed)
    return None if failed.value else (float(offset_s), float(uncertainty_s.value))


def _check_is_signal(stream: StreamDescription) -> None:
    remedy = "choose the EEG stream, not its markers (`sleepstream streams`)"
    if not stream.numeric:
        raise StreamError("a stream of numbers", f"{stream.name!r} carries text (markers)", remedy)
    if stream.sfreq <= 0:
        raise StreamError(
            "a stream with a sampling rate",
            f"{stream.name!r} has an irregular rate (0 Hz), as markers and events have",
            remedy,
        )


def _announced(info: pylsl.StreamInfo) -> StreamDescription:
    return StreamDescription(
        name=printable(info.name()),
        type=printable(info.type()),
        source_id=printable(info.source_id()),
        host=printable(info.hostname()),
        uid=printable(info.uid()),
        n_channels=int(info.channel_count()),
        sfreq=float(info.nominal_srate()),
        numeric=info.channel_format() != pylsl.cf_string,
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
            "ends": info.desc().child_value("ends") == "true",
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
