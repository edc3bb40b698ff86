"""Time stamps, looked at before anybody relies on them.

Enters: chunks as they came. Leaves: the same chunks, each sample with a time of its own, and
sentences about the sender's clock: stamps that are alike or stand still, and a rate that is not the
declared one. All are recursions over single samples: it does not matter how they were cut.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sleepstream.messages import Chunk, Float64Array
from sleepstream.signal.timeline import BACK_S

ALIKE_N = 4
"""So many samples with one stamp are no accident of rounding."""

STILL_S = 10.0
"""Stamps that repeat for so long will not go on by themselves."""

OFF = 0.005
"""How far the rate may be from the declared one, as a fraction."""

WINDOW_S = 60.0
"""Signal over which a rate is measured. It counts when two windows in a row agree: a late stamp at
their border makes one look slow and the other fast."""


class Stamps:
    """The stamps of one stream.

    Parameters
    ----------
    sfreq : float
        Nominal rate of the stream in hertz.
    """

    def __init__(self, sfreq: float) -> None:
        self._sfreq = sfreq
        self._window_n = round(WINDOW_S * sfreq)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._stamp_s = np.nan  # the newest as it was sent, and how often it has come again since
        self._n_again = 0
        self._told_alike = False
        self._told_still = False
        self._spread_s = np.nan  # the newest as it left
        self._n = 0  # steps from sample to sample in the window, and their length
        self._span_s = 0.0
        self._before = 0.0  # by how much the rate of the window before was off
        self._off = False
        self._notes: list[str] = []

    def take_notes(self) -> list[str]:
        """Return what was found since the last call, in sentences."""
        notes, self._notes = self._notes, []
        return notes

    def spread(self, chunk: Chunk) -> Chunk:
        """Give each sample a time of its own.

        Samples that bear the stamp of the one before them follow it at the nominal rate. So a
        sender that stamps whole chunks keeps its time, and one whose stamps stand still is counted.

        Parameters
        ----------
        chunk : Chunk
            As it came.

        Returns
        -------
        Chunk
            The same one where no stamp was repeated.
        """
        stamps = chunk.stamps_s
        again = stamps == np.concatenate(([self._stamp_s], stamps[:-1]))
        if again.any():
            places = np.arange(stamps.size)
            newest = np.maximum.accumulate(np.where(again, -1 - self._n_again, places))
            n_again = places - newest
            chunk = replace(chunk, stamps_s=stamps + n_again / self._sfreq)
            self._warn(int(n_again.max()))
            self._n_again = int(n_again[-1])
        elif stamps.size:
            self._n_again = 0
        if stamps.size:
            self._stamp_s = float(stamps[-1])
            self._watch_rate(chunk.stamps_s)
        return chunk

    def _warn(self, n_again: int) -> None:
        if n_again >= STILL_S * self._sfreq and not self._told_still:
            self._told_still = self._told_alike = True
            self._notes.append(
                "the sender's time stamps stand still, so samples are placed by counting them, at "
                f"{self._sfreq:g} Hz: what gets lost will not be noticed. Let the sender stamp"
            )
        elif n_again >= ALIKE_N and not self._told_alike:
            self._told_alike = True
            self._notes.append(
                "the sender gives several samples the same time stamp; they are spaced at "
                f"{self._sfreq:g} Hz from the first of them"
            )

    def _watch_rate(self, stamps: Float64Array) -> None:
        with np.errstate(invalid="ignore"):  # a stamp may be anything
            steps = np.diff(np.concatenate(([self._spread_s], stamps)))
        self._spread_s = float(stamps[-1])
        steps = steps[np.abs(steps) < BACK_S]  # gaps and jumps say nothing of the rate
        while steps.size:
            piece = steps[: self._window_n - self._n]
            steps = steps[piece.size :]
            self._n += piece.size
            self._span_s += float(piece.sum())
            if self._n == self._window_n:
                self._judge(self._n / self._span_s if self._span_s > 0 else np.inf)
                self._n, self._span_s = 0, 0.0

    def _judge(self, rate: float) -> None:
        """Compare the rate of a window, and of the one before it, with the nominal one."""
        off, before = rate / self._sfreq - 1.0, self._before
        self._before = off
        if not self._off and min(abs(off), abs(before)) > OFF and off * before > 0:
            self._off = True
            self._notes.append(
                f"{rate:.2f} samples a second come by the sender's own time stamps, and it "
                f"declares {self._sfreq:g} ({off:+.1%}): its rate is set otherwise, or a few are "
                "lost all the time. Epochs follow the stamps and stay 30 s long"
            )
        elif self._off and max(abs(off), abs(before)) <= OFF:
            self._off = False
            self._notes.append(f"the sender's rate is as declared again: {rate:.2f} Hz")
