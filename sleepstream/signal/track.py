"""One derivation on its way from the sender's grid to epochs; an `Epocher` has one for each choice.

Enters: one derivation on the regular grid of the sender's rate. Leaves: any thirty seconds of it at
100 Hz, high-passed, with a verdict. All derivations are conditioned from the first sample on,
staged or not, so that one that takes over comes with settled filters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sleepstream.messages import EPOCH_N_SAMPLES, SFREQ, Float32Array
from sleepstream.signal.filters import HighPass, Resampler
from sleepstream.signal.quality import ABSURD_UV, Judge, Stretch, Usual, Verdict
from sleepstream.signal.ring import Ring
from sleepstream.signal.timeline import fill_missing

RING_N_SAMPLES = 2 * EPOCH_N_SAMPLES
_CONDITIONED, _CAME = 0, 1
_SECOND = int(SFREQ)


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """Thirty seconds of one derivation.

    Attributes
    ----------
    data : ndarray of float32, shape (3000,)
        High-passed microvolts at 100 Hz; zero where samples are missing.
    valid : float
        Fraction of the samples that are real.
    arrived : float
        Fraction of the samples that came, as numbers or not.
    verdict : Verdict
        How far they can be trusted.
    """

    data: Float32Array
    valid: float
    arrived: float
    verdict: Verdict


class Track:
    """The filters and the last seconds of one derivation.

    Parameters
    ----------
    sfreq : float
        Nominal rate of the sender in hertz.
    unit : str
        The unit in which the derivation was declared.
    min_valid : float
        Fraction of an epoch that has to be real for it to be scorable.

    Attributes
    ----------
    usual : Usual
        What the derivation looked like in the epochs that are closed.
    """

    def __init__(self, sfreq: float, unit: str, min_valid: float) -> None:
        self.usual = Usual()
        self._resampler = Resampler(sfreq)
        self._high_pass = HighPass()
        self._ring = Ring(2, RING_N_SAMPLES)
        # what was sent, for a little longer than an epoch: its last second may have begun before
        self._sent = Ring(1, self.newest_input(EPOCH_N_SAMPLES + _SECOND) + 1)
        self._n_second = self.newest_input(_SECOND - 1) + 1
        self._judge = Judge(sfreq, self._n_second, unit, min_valid)
        self._last_uv = 0.0  # held where a sample is missing
        self._settled = False  # whether the filters have begun with a real sample

    @property
    def delay_s(self) -> float:
        """Delay of the conditioned signal behind the sender's, in seconds."""
        return self._resampler.delay_s

    @property
    def end(self) -> int:
        """Samples at 100 Hz since the start of the night, missing ones included."""
        return self._ring.end

    def newest_input(self, place: int) -> int:
        """Return the number, on the sender's grid, of the last sample that `place` depends on."""
        return int(self._resampler.inputs_of(place, 1)[0])

    def begin(self, start: int) -> None:
        """Start a run at a place on the sender's grid: the filters settle on what comes first."""
        self._settled = False
        self._settle(start, 0.0)

    def push(self, start: int, derived: Float32Array) -> None:
        """Take the next samples of the run.

        Parameters
        ----------
        start : int
            Number of the first one on the sender's grid.
        derived : ndarray of float32, shape (n_samples,)
            Microvolts; NaN where missing. Absurd values are made so.
        """
        derived[~(np.abs(derived) < ABSURD_UV)] = np.nan
        if not self._settled:
            # Filters settle on the first real sample of a run, wherever the run was cut.
            n = int(np.argmax(np.isfinite(derived))) if np.isfinite(derived).any() else derived.size
            self._filter(start, derived[:n])
            start, derived = start + n, derived[n:]
            if derived.size:
                self._settled = True
                self._settle(start, float(derived[0]))
        self._filter(start, derived)

    def skip_to(self, end: int) -> None:
        """Mark everything up to a place on the 100 Hz grid as missing."""
        self._ring.skip_to(end)
        self._sent.skip_to(self.newest_input(end - 1) + 1)

    def recent(self) -> Float32Array:
        """Return up to thirty seconds of the conditioned signal that end now, in microvolts."""
        rows, _ = self._ring.read(max(0, self.end - EPOCH_N_SAMPLES), self.end)
        return np.asarray(rows[_CONDITIONED], np.float32)

    def cut(self, end: int) -> Cut:
        """Return and judge the thirty seconds up to a place on the 100 Hz grid; change nothing."""
        start = end - EPOCH_N_SAMPLES
        rows, real = self._ring.read(start, end)
        conditioned = np.where(real, rows[_CONDITIONED], np.float32(0.0))
        came = rows[_CAME] > 0
        stretch = Stretch(conditioned, real, came, self._seconds_sent(start))
        return Cut(
            data=conditioned,
            valid=float(real.mean()),
            arrived=float(came.mean()),
            verdict=self._judge.judge(stretch, self.usual),
        )

    def _settle(self, start: int, value: float) -> None:
        self._last_uv = value
        self._resampler.begin(start, value)
        self._high_pass.begin(value)

    def _filter(self, start_in: int, derived: Float32Array) -> None:
        if not derived.size:
            return
        filled, real_in = fill_missing(derived, self._last_uv)
        self._last_uv = float(filled[-1])
        self._sent.write(start_in, filled[np.newaxis], real_in)
        start, raw = self._resampler.push(filled)
        real = real_in[self._resampler.inputs_of(start, raw.size) - start_in]
        rows = np.stack((self._high_pass.push(raw), np.ones_like(raw)))
        self._ring.write(start, rows, real)

    def _seconds_sent(self, start: int) -> Float32Array:
        """Return what was sent in thirty seconds from a place on the 100 Hz grid."""
        seconds = range(start, start + EPOCH_N_SAMPLES, _SECOND)
        firsts = [self.newest_input(second) for second in seconds]
        return np.stack([self._sent.read(at, at + self._n_second)[0][0] for at in firsts])
