"""From chunks on the wire to epochs for the stager: the whole signal room as one object.

Enters: `Chunk`. Leaves: `Epoch` (final ones, each once, in order, none left out) and on request the
provisional window that ends now. The path of a sample is timeline, montage, then for each
derivation resampler, high-pass and ring; at the end of each epoch one of the derivations is chosen.
Every step carries its own state and none depends on how the samples were cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sleepstream.messages import (
    EPOCH_N_SAMPLES,
    SFREQ,
    ChannelChange,
    Chunk,
    Epoch,
    Float32Array,
    Gap,
    Surplus,
    frozen,
)
from sleepstream.signal.fallback import POOR, Hysteresis, Standing, in_words
from sleepstream.signal.levels import Level, log_ratio, updated
from sleepstream.signal.montage import Choices, Montage
from sleepstream.signal.quality import Usual
from sleepstream.signal.timeline import LAST_STAMP_S, Anchor, Run, Timeline
from sleepstream.signal.track import Cut, Track
from sleepstream.signal.units import check_unit

_LARGEST_LOG, _MOST_EPOCHS, _MOST_SAMPLES = 100.0, 10**6, 2**40
"""No night comes near these: an amplitude by its logarithm, a year, a year at any rate."""

Note = Gap | Surplus | ChannelChange | str
"""What is found beside the epochs; a plain string is a warning."""


@dataclass(frozen=True, slots=True)
class EpocherState:
    """What has to be known at the end of an epoch to go on after an outage.

    Attributes
    ----------
    n_epochs : int
        Epochs that are closed.
    anchor : Anchor
        What ties the grid of the samples to the sender's clock.
    unit_warned : bool
        Whether the amplitude has raised a doubt about the unit.
    usual : tuple of Usual
        What each derivation looked like so far.
    standing : Standing
        Which derivation is staged.
    levels : tuple of Level
        How large the EEG of each is.
    log_gain : float
        Natural logarithm of the gain of the one that is staged.
    """

    n_epochs: int
    anchor: Anchor
    unit_warned: bool
    usual: tuple[Usual, ...]
    standing: Standing
    levels: tuple[Level, ...]
    log_gain: float

    @property
    def sound(self) -> bool:
        """Whether its parts fit each other, and some night can have led to them."""
        standing, n = self.standing, len(self.usual)
        of_each = (self.levels, standing.n_bad, standing.n_good)
        logs = (self.log_gain, *(level.log for level in self.levels))
        logs += tuple(value for usual in self.usual for value in (usual.eeg, usual.fast))
        counts = (self.n_epochs, *standing.n_bad, *standing.n_good)
        counts += tuple(usual.n_epochs for usual in self.usual)
        counts += tuple(level.n_epochs for level in self.levels)
        return (
            0 <= standing.staged < n
            and all(len(one) == n for one in of_each)
            and abs(self.anchor.time_s) < LAST_STAMP_S
            and 0 <= self.anchor.place < _MOST_SAMPLES
            and all(abs(log) < _LARGEST_LOG for log in logs)
            and all(0 <= count < _MOST_EPOCHS for count in counts)
        )


class Epocher:
    """Turns one stream into epochs.

    Parameters
    ----------
    sfreq : float
        Nominal rate of the stream in hertz.
    montage : Montage or Choices
        What to make of its channels.
    min_valid : float
        Fraction of an epoch that has to be real for it to be scorable.
    hysteresis : Hysteresis
        How long a derivation has to be bad, or good, before another one is staged.
    """

    def __init__(
        self,
        sfreq: float,
        montage: Montage | Choices,
        min_valid: float = 0.8,
        hysteresis: Hysteresis = Hysteresis(),  # noqa: B008 - frozen
    ) -> None:
        self.choices = montage if isinstance(montage, Choices) else Choices((montage,))
        self._min_valid = min_valid
        self._hysteresis = hysteresis
        self.timeline = Timeline(sfreq)
        self._tracks = [Track(sfreq, m.unit, min_valid) for m in self.choices.montages]
        self._standing = Standing.first(len(self._tracks))
        self._levels = (Level(),) * len(self._tracks)
        self._log_gain = 0.0  # of what is staged, against what was staged first
        self._n_epochs = 0
        self._unit_warned = False
        self._notes: list[Note] = []

    @property
    def delay_s(self) -> float:
        """Delay of the conditioned signal behind the sender's, in seconds."""
        return self._tracks[0].delay_s

    @property
    def n_samples(self) -> int:
        """Samples at 100 Hz since the start of the night, missing ones included."""
        return self._tracks[0].end

    @property
    def now_s(self) -> float:
        """Sender's time of the end of the newest sample."""
        return self._time_of(self.n_samples)

    @property
    def derivation(self) -> str:
        """Label of the derivation that is staged."""
        return self.choices.montages[self._standing.staged].label

    def recent(self) -> Float32Array:
        """Return up to thirty seconds of what is staged that end now, in microvolts."""
        return self._tracks[self._standing.staged].recent()

    def take_notes(self) -> list[Note]:
        """Return what was found since the last call: gaps, surplus samples, warnings."""
        notes, self._notes = self._notes, []
        return notes

    def push(self, chunk: Chunk) -> Iterator[Epoch]:
        """Take the next samples and yield the epochs that they complete.

        Parameters
        ----------
        chunk : Chunk
            The picked channels in microvolts, of any length.

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
            n_epochs=epoch.index + 1,
            anchor=self.timeline.anchor,
            unit_warned=self._unit_warned,
            usual=tuple(track.usual for track in self._tracks),
            standing=self._standing,
            levels=self._levels,
            log_gain=self._log_gain,
        )

    def resume(self, state: EpocherState) -> None:
        """Go on after an outage, as if nothing had come since the end of the last epoch.

        The next sample comes after a gap: the filters settle on it, and the epochs in the gap
        close when it arrives.

        Parameters
        ----------
        state : EpocherState
            Of an epocher of the same rate and choices. This one must be fresh.
        """
        self._n_epochs, self._unit_warned = state.n_epochs, state.unit_warned
        self._standing = state.standing
        self._levels, self._log_gain = state.levels, state.log_gain
        end = state.n_epochs * EPOCH_N_SAMPLES
        for track, usual in zip(self._tracks, state.usual, strict=True):
            track.usual = usual
            track.skip_to(end)
        self.timeline.resume(state.anchor, self._tracks[0].newest_input(end - 1) + 1)

    def window(self) -> Epoch | None:
        """Return the thirty seconds that end now as a provisional epoch.

        Returns
        -------
        Epoch or None
            None during the first thirty seconds of a night.
        """
        end = self.n_samples
        if end < EPOCH_N_SAMPLES:
            return None
        index = (end - 1) // EPOCH_N_SAMPLES
        return self._epoch(self._tracks[self._standing.staged].cut(end), end, index, final=False)

    def _push_run(self, run: Run) -> Iterator[Epoch]:
        """Push a run into all tracks in steps that stop at each epoch's end."""
        start, derived = run.start, self.choices.derive(run.data)
        if run.fresh:
            for track in self._tracks:
                track.begin(start)
        while derived[0].size:
            end = (self._n_epochs + 1) * EPOCH_N_SAMPLES
            n = self._tracks[0].newest_input(end - 1) + 1 - start
            if n <= 0:  # the epoch ends in the gap before this run
                for track in self._tracks:
                    track.skip_to(end)
                yield self._close(end)
                continue
            for track, samples in zip(self._tracks, derived, strict=True):
                track.push(start, samples[:n])
            start, derived = start + n, [samples[n:] for samples in derived]
            if self.n_samples >= end:
                yield self._close(end)

    def _close(self, end: int) -> Epoch:
        """Judge all derivations of an epoch that is over, and choose one."""
        cuts = [track.cut(end) for track in self._tracks]
        self._check_unit(cuts[0])
        for track, cut in zip(self._tracks, cuts, strict=True):
            track.usual = cut.verdict.usual
        if cuts[0].arrived >= self._min_valid:  # a gap says nothing about any of them
            self._choose(cuts, self._time_of(end - EPOCH_N_SAMPLES))
        epoch = self._epoch(cuts[self._standing.staged], end, self._n_epochs, final=True)
        self._n_epochs += 1
        return epoch

    def _choose(self, cuts: Sequence[Cut], onset_s: float) -> None:
        verdicts = [cut.verdict for cut in cuts]
        good = [v.scorable and v.quality.score >= POOR for v in verdicts]
        labels = [montage.label for montage in self.choices.montages]
        before, self._standing = self._standing, self._standing.after(good, self._hysteresis)
        sizes = [v.eeg_uv if ok else None for v, ok in zip(verdicts, good, strict=True)]
        self._levels = updated(self._levels, sizes)
        self._log_gain += log_ratio(self._levels, self._standing.staged, before.staged)
        if text := in_words(before, self._standing, labels, [v.quality.verdict for v in verdicts]):
            self._notes.append(ChannelChange(onset_s, text))

    def _epoch(self, cut: Cut, end: int, index: int, *, final: bool) -> Epoch:
        return Epoch(
            index=index,
            onset_s=self._time_of(end - EPOCH_N_SAMPLES),
            end_s=self._time_of(end),
            data=frozen(cut.data[np.newaxis]),
            valid=cut.valid,
            quality=cut.verdict.quality,
            scorable=cut.verdict.scorable,
            final=final,
            derivation=self.derivation,
            gain=math.exp(self._log_gain),
        )

    def _check_unit(self, first: Cut) -> None:
        """Check the first choice until an epoch settles the matter; a doubt is told once.

        The others are never refused: where their amplitude is odd, they are not good, and do not
        take over.
        """
        if first.valid < self._min_valid or self._tracks[0].usual.in_range:
            return
        doubt = check_unit(first.data, self.choices.unit)
        if doubt and not self._unit_warned:
            self._unit_warned = True
            self._notes.append(doubt)

    def _time_of(self, place: int) -> float:
        """Return the sender's time of a place on the 100 Hz grid."""
        return self.timeline.time_of(0) + place / SFREQ
