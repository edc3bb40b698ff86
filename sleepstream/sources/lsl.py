"""The inlet: draining one stream, and subscribing to it again when it is back.

Enters: a stream that `sleepstream.sources.network` found. Leaves: `Chunk` in microvolts with the
sender's own time stamps.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
import pylsl
from pylsl.lib import lib as liblsl

from sleepstream.errors import StreamError
from sleepstream.messages import Chunk
from sleepstream.sources.description import StreamDescription
from sleepstream.sources.network import (
    ANSWER_S,
    ASK_S,
    FORGET_S,
    HIGHEST_SFREQ,
    MOST_CHANNELS,
    NO_ANSWER,
    announced,
    described,
    never,
    receivable,
)

BUFFER_S = 3600
"""Seconds of samples that liblsl may hold for us. An overfull inlet drops samples without a word,
so it is far more than we ever leave undrained."""

BUFFER_N = 2**21
"""Samples that it may hold at most: it takes 16 bytes for the place of each in advance, whether it
is needed or not, and during a reconnection twice. At 4096 Hz they are 8 minutes."""

Answer = TypeVar("Answer")


class LslSource:
    """One connected stream; a context manager, and the `Link` of a `LiveStream`.

    liblsl's own recovery is off: it takes whoever has the name, type and source_id, before anybody
    could look at the channels and the rate.

    Parameters
    ----------
    info : pylsl.StreamInfo
        The stream, as `find` returned it.
    stop : callable, optional
        Asked, while the stream has not answered, whether to wait no longer.

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

    def __init__(self, info: pylsl.StreamInfo, stop: Callable[[], bool] = never) -> None:
        brief = announced(info)
        _check_is_signal(brief)
        self._stop = stop
        self._inlet = _inlet(info)
        try:
            self.description = described(brief, self._answer(self._inlet.info))
        except NO_ANSWER as error:
            raise StreamError(
                f"an answer from the stream {brief.name!r} on {brief.host}",
                f"it is announced, but did not answer within {ANSWER_S:g} s",
                "restart the sender (a stream that crashed can stay announced for a while)",
            ) from error
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
            self._answer(self._inlet.open_stream)
        except NO_ANSWER as error:
            raise StreamError(
                f"samples from the stream {self.description.name!r}",
                f"it stopped answering within {ANSWER_S:g} s",
                "restart the sender and try again",
            ) from error

    def _answer(self, ask: Callable[[float], Answer]) -> Answer:
        """Return what a call answers that takes a time limit, unless it takes too long."""
        deadline = time.monotonic() + ANSWER_S
        while True:
            try:
                return ask(ASK_S)
            except pylsl.util.TimeoutError:
                if self._stop() or time.monotonic() >= deadline:
                    raise

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
        except NO_ANSWER:
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
        found = {announced(info): info for info in self._resolver.results()}
        self._infos = {stream.uid: info for stream, info in found.items()}
        return list(found)

    def rest(self) -> None:
        """Listen no longer, and let go of whoever was asked."""
        self._resolver, self._next = None, None
        self._infos = {}

    def ask(self, stream: StreamDescription, timeout_s: float) -> StreamDescription | None:
        """Return a stream that was around with its channels; None if it has not answered yet."""
        if not receivable(stream):
            return None
        if self._next is None or self._next[0] != stream.uid:
            if (info := self._infos.get(stream.uid)) is None:
                return None
            self._next = stream.uid, _inlet(info)
        try:
            return described(stream, self._next[1].info(timeout_s))
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
        except NO_ANSWER:
            return float(pylsl.local_clock())


def buffer_s(sfreq: float) -> int:
    """Return how many seconds of a stream of this rate, in hertz, liblsl may hold for us."""
    return max(1, min(BUFFER_S, int(BUFFER_N / max(sfreq, 1.0))))


def _inlet(info: pylsl.StreamInfo) -> pylsl.StreamInlet:
    return pylsl.StreamInlet(info, max_buflen=buffer_s(info.nominal_srate()), recover=False)


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
    if not receivable(stream):
        raise StreamError(
            f"a stream of at most {MOST_CHANNELS} channels and {HIGHEST_SFREQ:g} Hz",
            f"{stream.name!r} has {stream.n_channels} channels and {stream.sfreq:g} Hz",
            remedy,
        )
    if stream.sfreq <= 0:
        raise StreamError(
            "a stream with a sampling rate",
            f"{stream.name!r} has an irregular rate (0 Hz), as markers and events have",
            remedy,
        )
