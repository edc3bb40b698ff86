"""From chunks on the wire to epochs for the stager: the whole signal room as one object.

Enters: `Chunk`. Leaves: `Epoch` (final ones, each once, in order, none left out) and on request the
provisional window that ends now. The path of a sample is timeline, montage, resampler, high-pass,
ring; every step carries its own state and none depends on how the samples were cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sleepstream.messages import (
    EPOCH_N_SAMPLES,
    SFREQ,
    Chunk,
    Epoch,
    Float32Array,
    Gap,
    Surplus,
    frozen,
)
from sleepstream.signal import quality
from sleepstream.signal.filters import HighPass, Resampler
from sleepstream.signal.montage import Montage
from sleepstream.signal.ring import Ring
from sleepstream.signal.timeline import Anchor, Run, Timeline, fill_missing

RING_N_SAMPLES = 4 * EPOCH_N_SAMPLES
_RAW, _CONDITIONED = 0, 1


@dataclass(frozen=True, slots=True)
class EpocherState:
    """What has to be known at the end of an epoch to go on after an outage.

    Attributes
    ----------
    n_epochs : int
        Epochs that are closed.
    anchor : Anchor
        What ties the grid of the samples to the sender's clock.
    unit_checked, unit_warned : bool
        Whether the amplitude has confirmed the declared unit, or raised a doubt.
    """

    n_epochs: int
    anchor: Anchor
    unit_checked: bool
    unit_warned: bool


class Epocher:
    """Turns one stream into epochs.

    Parameters
    ----------
    sfreq : float
        Nominal rate of the stream in hertz.
    montage : Montage
        What to make of its channels.
    min_valid : float
        Fraction of an epoch that has to be real for it to be scorable.
    """

    def __init__(self, sfreq: float, montage: Montage, min_valid: float = 0.8) -> None:
        self.montage = montage
        self._min_valid = min_valid
        self._resampler = Resampler(sfreq)
        self.timeline = Timeline(sfreq)
        self._high_pass = HighPass()
        self._ring = Ring(2, RING_N_SAMPLES)
        self._last_uv = 0.0  # held where a sample is missing
        self._n_epochs = 0
        self._settled = False  # whether the filters have begun with a real sample
        self._unit_checked = False
        self._unit_warned = False
        self._notes: list[Gap | Surplus | str] = []

    @property
    def delay_s(self) -> float:
        """Delay of the conditioned signal behind the sender's, in seconds."""
        return self._resampler.delay_s

    @property
    def n_samples(self) -> int:
        """Samples at 100 Hz since the start of the night, missing ones included."""
        return self._ring.end

    @property
    def now_s(self) -> float:
        """Sender's time of the end of the newest sample."""
        return self._time_of(self._ring.end)

    def recent(self) -> Float32Array:
        """Return up to thirty seconds of the conditioned signal that end now, in microvolts."""
        end = self._ring.end
        rows, _ = self._ring.read(max(0, end - EPOCH_N_SAMPLES), end)
        return np.asarray(rows[_CONDITIONED], np.float32)

    def take_notes(self) -> list[Gap | Surplus | str]:
        """Return what was found since the last call: gaps, surplus samples, warnings."""
        notes, self._notes = self._notes, []
        return notes

    def push(self, chunk: Chunk) -> Iterator[Epoch]:
        """Take the next samples and yield the epochs that they complete.

        Parameters
        ----------
        chunk : Chunk
            The montage's channels in microvolts, of any length.

        Yields
        ------
        Epoch
            Final epochs, each once and in order. Epochs in which nothing arrived come too.

        Raises
        ------
        UnitError
            The amplitude contradicts the declared unit.
        """
        for item in self.timeline.place(chunk):
            if isinstance(item, Run):
                yield from self._push_run(item)
            else:
                self._notes.append(item)

    def state(self, epoch: Epoch) -> EpocherState:
        """Return what has to be known to go on behind `epoch`, the one just yielded."""
        return EpocherState(
            epoch.index + 1, self.timeline.anchor, self._unit_checked, self._unit_warned
        )

    def resume(self, state: EpocherState) -> None:
        """Go on after an outage, as if nothing had come since the end of the last epoch.

        The next sample comes after a gap: the filters settle on it, and the epochs in the gap
        close when it arrives.

        Parameters
        ----------
        state : EpocherState
            Of an epocher of the same rate and montage. This one must be fresh.
        """
        self._n_epochs = state.n_epochs
        self._unit_checked, self._unit_warned = state.unit_checked, state.unit_warned
        end = state.n_epochs * EPOCH_N_SAMPLES
        self._ring.skip_to(end)
        newest = int(self._resampler.inputs_of(end - 1, 1)[0])
        self.timeline.resume(state.anchor, newest + 1)

    def window(self) -> Epoch | None:
        """Return the thirty seconds that end now as a provisional epoch.

        Returns
        -------
        Epoch or None
            None during the first thirty seconds of a night.
        """
        end = self._ring.end
        if end < EPOCH_N_SAMPLES:
            return None
        return self._cut(end, index=(end - 1) // EPOCH_N_SAMPLES, final=False)

    def _push_run(self, run: Run) -> Iterator[Epoch]:
        derived = self.montage.derive(run.data)
        derived[~(np.abs(derived) < quality.ABSURD_UV)] = np.nan
        start = run.start
        if run.fresh:
            self._settled = False
            self._begin(start, 0.0)
        if not self._settled:
            # Filters settle on the first real sample of a run, wherever the run was cut.
            n = int(np.argmax(np.isfinite(derived))) if np.isfinite(derived).any() else derived.size
            yield from self._filter(start, derived[:n])
            start, derived = start + n, derived[n:]
            if derived.size:
                self._settled = True
                self._begin(start, float(derived[0]))
        yield from self._filter(start, derived)

    def _begin(self, start: int, value: float) -> None:
        self._last_uv = value
        self._resampler.begin(start, value)
        self._high_pass.begin(value)

    def _filter(self, start_in: int, derived: Float32Array) -> Iterator[Epoch]:
        if not derived.size:
            return
        filled, real_in = fill_missing(derived, self._last_uv)
        self._last_uv = float(filled[-1])
        start, raw = self._resampler.push(filled)
        real_out = real_in[self._resampler.inputs_of(start, raw.size) - start_in]
        rows = np.stack((raw, self._high_pass.push(raw)))
        yield from self._write(start, rows, real_out)

    def _write(
        self, start: int, rows: Float32Array, real: npt.NDArray[np.bool_]
    ) -> Iterator[Epoch]:
        """Write to the ring in steps that stop at each epoch's end."""
        while (end := (self._n_epochs + 1) * EPOCH_N_SAMPLES) <= start + real.size:
            if start < end:
                n = end - start
                self._ring.write(start, rows[:, :n], real[:n])
                start, rows, real = end, rows[:, n:], real[n:]
            else:
                self._ring.skip_to(end)
            yield self._cut(end, index=self._n_epochs, final=True)
            self._n_epochs += 1
        self._ring.write(start, rows, real)

    def _cut(self, end: int, *, index: int, final: bool) -> Epoch:
        rows, real = self._ring.read(end - EPOCH_N_SAMPLES, end)
        valid = float(real.mean())
        conditioned = np.where(real, rows[_CONDITIONED], np.float32(0.0))
        verdict = quality.judge(rows[_RAW], conditioned, real)
        if final and valid >= self._min_valid and not self._unit_checked:
            self._check_unit(conditioned)
        return Epoch(
            index=index,
            onset_s=self._time_of(end - EPOCH_N_SAMPLES),
            end_s=self._time_of(end),
            data=frozen(conditioned[np.newaxis]),
            valid=valid,
            quality=verdict,
            scorable=valid >= self._min_valid and not quality.is_dead(rows[_RAW], real),
            final=final,
        )

    def _check_unit(self, conditioned: Float32Array) -> None:
        """Check until an epoch settles the matter; a doubt is told once."""
        doubt = quality.check_unit(conditioned, self.montage.unit)
        self._unit_checked = doubt == ""
        if doubt and not self._unit_warned:
            self._unit_warned = True
            self._notes.append(doubt)

    def _time_of(self, place: int) -> float:
        """Return the sender's time of a place on the 100 Hz grid."""
        return self.timeline.time_of(0) + place / SFREQ
