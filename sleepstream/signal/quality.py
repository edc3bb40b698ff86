"""How far the signal of one epoch can be trusted, in numbers and in words.

Enters: thirty seconds of one derivation, as it was sent and as it will be staged, and what the
recording looked like so far. Leaves: a `Verdict`. Everything is judged second by second. The score
is the fraction of the epoch against which nothing speaks; each reason is a sentence fragment that a
person at the bed can act on.

Nobody knows the gain of a recording to better than a factor of three or so, so movement and muscle
are held against the recording's own past, and only what no gain explains against microvolts.

An epoch is *unscorable* where there is no EEG to stage: too little of it is real, most of it is
flat or saturated, or its amplitude left the range of any EEG after it had been within. All else
lowers the score and nothing more: mains is filtered out, and movement and muscle are part of waking
up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sleepstream.messages import EPOCH_S, SFREQ, Artefacts, Float32Array, Quality
from sleepstream.signal.spectra import BandMeter, MainsMeter
from sleepstream.signal.units import PLAUSIBLE_UV, robust_amplitude, unit_that_fits

FLAT_UV = 0.05
"""A second that moves less than this is flat: below the noise of any amplifier."""

STUCK_FRACTION = 0.25
"""A second in which this share of the samples sits on one extreme value is saturated."""

ABSURD_UV = 1e12
"""No number in any unit for any electrode is as large; such a value is a missing one."""

MAX_DEAD = 0.5
"""An epoch of which a larger share is flat or saturated is unscorable."""

MOVEMENT = 40.0
"""A swing this many times as large as the recording's own amplitude at 4-16 Hz is no EEG. It is
where the networks' front end cuts off. In 24 nights of the UCD database at most 4 % of the seconds
of wake are beyond it, and 0.2 % of N3, where slow waves are largest."""

MUSCLE = 3.0
"""A second with this many times the recording's usual amplitude at 20-45 Hz is a burst of muscle.
Brunner et al. [1]_ take 2 (4 in power), at 26-32 Hz against three minutes around; that finds every
twitch, while we want what drowns the EEG. In the same 24 nights it is 1 to 15 % of the seconds of
wake and at most 1 % of N3.

.. [1] Brunner DP et al. Muscle artifacts in the sleep EEG: automated detection and effect on
   all-night EEG power spectra. J Sleep Res 1996;5:155-164.
"""

MAINS = 1.0
"""Hum this many times as large as the EEG is said."""

MAINS_DROWNS = 10.0
"""Hum this many times as large as the EEG counts against the signal even where our filter takes it
out (to a hundredth, if the stream is faster than 100 Hz): such an electrode has hardly any
contact."""

MEMORY_EPOCHS = 20
"""Epochs after which the recording's usual amplitudes forget: ten minutes."""

LARGEST_STEP = 1.0
"""No epoch counts as more than a factor of e away from the usual: an hour of moving is no EEG."""

MIN_TELLING_S = 10
"""An epoch with fewer seconds of signal says nothing of what is usual."""

MENTIONED_S = 0.1
"""What lasted for less is not worth words: a sender that is slow is a sample short now and then."""

_SECOND = int(SFREQ)  # verdicts are given second by second

Seconds = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Usual:
    """What a recording looked like so far: running means that no single epoch can move far.

    Attributes
    ----------
    n_epochs : int
        Epochs behind the means, at most `MEMORY_EPOCHS`.
    eeg, fast : float
        Natural logarithms of the amplitude in microvolts at 4-16 Hz and at 20-45 Hz.
    in_range : bool
        Whether an epoch had an amplitude that EEG can have: from then on the unit is right, and
        another amplitude is the electrode's fault.
    """

    n_epochs: int = 0
    eeg: float = 0.0
    fast: float = 0.0
    in_range: bool = False

    def after(self, eeg_uv: float, fast_uv: float) -> Usual:
        """Return what is usual after an epoch with these amplitudes in microvolts."""
        eeg, fast = float(np.log(eeg_uv + _TINY_UV)), float(np.log(fast_uv + _TINY_UV))
        if not self.n_epochs:
            return replace(self, n_epochs=1, eeg=eeg, fast=fast)
        n = min(self.n_epochs + 1, MEMORY_EPOCHS)
        return replace(
            self,
            n_epochs=n,
            eeg=self.eeg + _step(eeg - self.eeg) / n,
            fast=self.fast + _step(fast - self.fast) / n,
        )


_TINY_UV = 1e-3  # keeps logarithms finite


def _step(change: float) -> float:
    return max(-LARGEST_STEP, min(LARGEST_STEP, change))


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Thirty seconds of one derivation, at 100 Hz but for `sent`.

    Attributes
    ----------
    conditioned : ndarray of float32, shape (3000,)
        Microvolts behind all filters; 0 where samples are missing.
    real : ndarray of bool, shape (3000,)
        Which samples are not missing.
    came : ndarray of bool, shape (3000,)
        Which samples arrived at all, as a number or not.
    sent : ndarray of float32, shape (30, n)
        The derivation in microvolts at the sender's rate, second by second.
    """

    conditioned: Float32Array
    real: npt.NDArray[np.bool_]
    came: npt.NDArray[np.bool_]
    sent: Float32Array


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came out.

    Attributes
    ----------
    quality : Quality
        For people and programs.
    scorable : bool
        Whether there is EEG to be staged.
    usual : Usual
        What is usual after this epoch.
    eeg_uv : float or None
        Amplitude at 4-16 Hz in microvolts; None where there is too little to tell.
    """

    quality: Quality
    scorable: bool
    usual: Usual
    eeg_uv: float | None


class Judge:
    """Judges the epochs of one derivation. It keeps nothing: what is usual is given and returned.

    Parameters
    ----------
    sfreq : float
        The sender's rate in hertz.
    n_sent : int
        Samples of each second that it sees at that rate.
    unit : str
        The unit in which the derivation was declared.
    min_valid : float
        Fraction of an epoch that has to be real for it to be scorable.
    """

    def __init__(self, sfreq: float, n_sent: int, unit: str, min_valid: float) -> None:
        self._bands = BandMeter()
        self._mains = MainsMeter(sfreq, n_sent)
        self._unit = unit
        self._min_valid = min_valid
        # nothing takes out what lies below half of our own rate
        self._drowns = MAINS_DROWNS if sfreq > SFREQ else MAINS

    def judge(self, stretch: Stretch, usual: Usual) -> Verdict:
        """Judge an epoch, or a window between two.

        Parameters
        ----------
        stretch : Stretch
            The signal.
        usual : Usual
            What the recording looked like before.
        """
        valid = float(stretch.real.mean())
        whole: Seconds = np.all(_by_second(stretch.real), axis=1)
        flat, stuck = _dead_seconds(stretch.sent, whole)
        alive = whole & ~flat & ~stuck
        eeg = valid >= self._min_valid and (flat | stuck).mean() <= MAX_DEAD
        amplitude = robust_amplitude(stretch.conditioned[stretch.real]) if eeg else None
        odd = amplitude is not None and not PLAUSIBLE_UV[0] <= amplitude <= PLAUSIBLE_UV[1]
        scorable = bool(eeg) and not (odd and usual.in_range)
        size, fast = self._bands.measure(_by_second(stretch.conditioned))
        after, eeg_uv = usual, None
        if scorable and np.count_nonzero(alive) >= MIN_TELLING_S:
            eeg_uv = float(np.median(size[alive]))
            after = usual.after(eeg_uv, float(np.median(fast[alive])))
        if amplitude is not None and not odd:
            after = replace(after, in_range=True)
        known = alive & bool(after.n_epochs)
        peak = np.abs(_by_second(stretch.conditioned)).max(axis=1)
        hz, hum = self._mains.measure(stretch.sent)
        found = _Found(
            flat=flat,
            saturated=stuck,
            amplitude=alive & odd,
            movement=known & (peak > MOVEMENT * np.exp(after.eeg)),
            muscle=known & (fast > MUSCLE * np.exp(after.fast)),
            mains=alive & (hum > MAINS),
            drowned=alive & (hum > self._drowns),
        )
        seconds = _seconds(stretch, found, mains_known=self._mains.can_tell)
        drowned = bool(2 * found.drowned.sum() > found.mains.sum())
        words = _Words(amplitude or 0.0, self._unit, usual.in_range, hz, drowned)
        score = max(0.0, valid - float(found.spoiled.mean()))
        return Verdict(Quality(score, words.reasons(seconds), seconds), scorable, after, eeg_uv)


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Which seconds are spoiled, by what; each of shape (30,)."""

    flat: Seconds
    saturated: Seconds
    amplitude: Seconds
    movement: Seconds
    muscle: Seconds
    mains: Seconds
    drowned: Seconds

    @property
    def spoiled(self) -> Seconds:
        dead = self.flat | self.saturated | self.amplitude
        return dead | self.movement | self.muscle | self.drowned


def _seconds(stretch: Stretch, found: _Found, *, mains_known: bool) -> Artefacts:
    return Artefacts(
        missing=float(np.count_nonzero(~stretch.came) / SFREQ),
        nan=float(np.count_nonzero(stretch.came & ~stretch.real) / SFREQ),
        flat=float(found.flat.sum()),
        saturated=float(found.saturated.sum()),
        amplitude=float(found.amplitude.sum()),
        movement=float(found.movement.sum()),
        muscle=float(found.muscle.sum()),
        mains=float(found.mains.sum()) if mains_known else None,
    )


@dataclass(frozen=True, slots=True)
class _Words:
    """What a verdict says, beside how many seconds of what there are."""

    amplitude_uv: float
    unit: str
    was_in_range: bool
    mains_hz: float
    drowned: bool

    def reasons(self, seconds: Artefacts) -> tuple[str, ...]:
        """Return a fragment of a sentence for each artefact there is, the worst first."""
        said = (
            (seconds.amplitude, self._amplitude()),
            (seconds.flat, _lasting("flat", seconds.flat, "the electrode is off")),
            (
                seconds.saturated,
                _lasting("saturated", seconds.saturated, "the amplifier is at its limit"),
            ),
            (seconds.missing, _lasting("nothing came", seconds.missing)),
            (
                seconds.nan,
                _lasting("no numbers (NaN)", seconds.nan, "the sender has no signal here"),
            ),
            (seconds.movement, _lasting("movement", seconds.movement)),
            (seconds.muscle, _lasting("muscle", seconds.muscle)),
            (seconds.mains or 0.0, self._mains(seconds.mains or 0.0)),
        )
        # stable: of two that last as long, the graver stands first
        worst_first = sorted(said, key=_length, reverse=True)
        return tuple(text for length, text in worst_first if length >= MENTIONED_S)

    def _amplitude(self) -> str:
        found = f"an amplitude of {self.amplitude_uv:.2g} µV is no scalp EEG"
        if self.was_in_range:
            return f"{found}: the electrode has come off"
        unit = unit_that_fits(self.amplitude_uv, self.unit)
        if unit is None:
            return f"{found}: are the electrodes on?"
        return f"{found}: is the unit {unit} and not {self.unit}?"

    def _mains(self, length_s: float) -> str:
        text = _lasting(f"{self.mains_hz:g} Hz mains is stronger than the EEG", length_s)
        return f"{text}: check the contact" if self.drowned else f"{text}, and is filtered out"


def _length(said: tuple[float, str]) -> float:
    return said[0]


def _lasting(what: str, length_s: float, when_most: str = "") -> str:
    """Return what was wrong for how long, and what it means where it was so most of the time."""
    text = f"{what} for {length_s:.0f} s" if length_s >= 1 else f"{what} for {length_s:.2g} s"
    return f"{text}: {when_most}" if when_most and length_s > MAX_DEAD * EPOCH_S else text


def _by_second(samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return samples.reshape(-1, _SECOND)


def _dead_seconds(sent: Float32Array, whole: Seconds) -> tuple[Seconds, Seconds]:
    """Return which seconds, of those that are all there, are flat and which are saturated.

    It is told by what was sent: behind a filter no sample is quite like the one before.
    """
    flat = whole & (np.ptp(sent, axis=1) < FLAT_UV)
    on_extreme = np.maximum(
        (sent == sent.max(axis=1, keepdims=True)).mean(axis=1),
        (sent == sent.min(axis=1, keepdims=True)).mean(axis=1),
    )
    return flat, whole & ~flat & (on_extreme > STUCK_FRACTION)
