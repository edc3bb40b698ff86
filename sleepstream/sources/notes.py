"""What a stream's failures give to tell, in bounded number.

Enters: sentences, as often as the stream changes. Leaves: the same sentences, and where a link
comes and goes all the time, now and then the last of them with how many were left out. So the
record of a night stays bounded, and its last word is how things are.
"""

from __future__ import annotations

from collections.abc import Callable

BURST, EVERY_S = 30.0, 60.0
"""So many sentences are passed on in a row, and after that one in so many seconds."""


class Notes:
    """Sentences that wait to be told.

    Parameters
    ----------
    clock : callable
        A monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: list[str] = []
        self._last, self._n_left_out = "", 0
        self._allowed = BURST
        self._counted_s = clock()

    def add(self, text: str) -> None:
        """Keep a sentence until somebody takes it."""
        self._waiting.append(text)

    def take(self) -> list[str]:
        """Return what there is to tell since the last call."""
        now_s = self._clock()
        self._allowed = min(BURST, self._allowed + (now_s - self._counted_s) / EVERY_S)
        self._counted_s = now_s
        told: list[str] = []
        for text in self._waiting:
            if self._n_left_out or self._allowed < 1.0:
                self._last, self._n_left_out = text, self._n_left_out + 1
            else:
                told.append(self._allow(text))
        self._waiting.clear()
        if self._n_left_out and self._allowed >= 1.0:
            told.append(self._allow(self._in_short()))
        return told

    def _allow(self, text: str) -> str:
        self._allowed -= 1.0
        return text

    def _in_short(self) -> str:
        """Return the last sentence that was left out, and how many there were before it."""
        n_before, self._n_left_out = self._n_left_out - 1, 0
        if not n_before:
            return self._last
        return (
            f"{self._last} (the link comes and goes: {n_before} messages before this one were left "
            "out; look at the network and at the sender)"
        )


def in_words(seconds: float) -> str:
    """Return a length of time as people say it: ``42 s``, ``10 min``, ``3 min 20 s``."""
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min" + (f" {rest} s" if rest else "")
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h" + (f" {minutes} min" if minutes else "")
