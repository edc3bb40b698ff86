"""What travels down the stream: chunks, epochs, estimates.

Every room speaks in these types and in nothing else. They are frozen, and the arrays in them are
read-only, so that a value that was announced is the value that was recorded. This module imports
nothing of ours.

Units: signals in microvolts, float32, shape ``(n_channels, n_samples)``; times in seconds on the
sender's clock (for a file: seconds since its first sample).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import IntEnum, StrEnum
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

EPOCH_S = 30.0
"""Length of an epoch in seconds, as in the AASM manual."""

SFREQ = 100.0
"""Sampling rate of everything downstream of the resampler, in hertz."""

EPOCH_N_SAMPLES = int(EPOCH_S * SFREQ)
"""Samples in one epoch at `SFREQ`."""

N_HORIZONS = 20
"""How many epochs ahead the forecast looks (20 epochs are 10 minutes)."""


class Stage(IntEnum):
    """A sleep stage, numbered as the models number it."""

    W = 0
    N1 = 1
    N2 = 2
    N3 = 3
    REM = 4


STAGES: tuple[Stage, ...] = tuple(Stage)
N_STAGES = len(STAGES)

UNSCORABLE = "?"
"""What is written where there is no stage."""


def stage_name(stage: Stage | None) -> str:
    """Return the name of a stage, or ``"?"`` where there is none."""
    return UNSCORABLE if stage is None else stage.name


def frozen(values: npt.ArrayLike) -> Float32Array:
    """Return a read-only float32 copy of `values`."""
    copy = np.array(values, dtype=np.float32)
    copy.setflags(write=False)
    return copy


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Samples as they came off the wire or out of a file.

    Attributes
    ----------
    stamps_s : ndarray of float64, shape (n_samples,)
        Time stamp of each sample, in seconds on the sender's clock.
    data : ndarray of float32, shape (n_channels, n_samples)
        The samples in microvolts. NaN where the sender sent no number.
    """

    stamps_s: Float64Array
    data: Float32Array


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of time for which no samples came.

    Attributes
    ----------
    start_s, end_s : float
        Sender's time of the first missing sample and of the first sample after the gap. A sender
        whose clock jumped backwards yields ``end_s < start_s``.
    """

    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Surplus:
    """Samples that came late or twice: their places in time were past, so they were left out.

    Attributes
    ----------
    start_s : float
        Sender's time of the first of them.
    n_samples : int
        How many there were.
    """

    start_s: float
    n_samples: int


@dataclass(frozen=True, slots=True)
class ChannelChange:
    """Another derivation is staged from an epoch on, or would be if there were a better one.

    Attributes
    ----------
    at_s : float
        Sender's time of the epoch's start.
    text : str
        What happened and why, in one sentence.
    """

    at_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Artefacts:
    """How many seconds of an epoch were spoiled, by what. One second may be spoiled twice.

    Attributes
    ----------
    missing : float
        Nothing came.
    nan : float
        What came was no number.
    flat, saturated : float
        Nothing moved, or the amplifier was at its limit.
    amplitude : float
        Too small or too large for EEG from any electrode and amplifier.
    movement, muscle : float
        A swing that no EEG of this recording makes; a burst of fast activity.
    mains : float or None
        The hum of the mains was larger than the EEG. None where the sender's rate is too low to
        tell.
    """

    missing: float = 0.0
    nan: float = 0.0
    flat: float = 0.0
    saturated: float = 0.0
    amplitude: float = 0.0
    movement: float = 0.0
    muscle: float = 0.0
    mains: float | None = 0.0


DOUBT = "does not look like sleep EEG"
"""How the reason begins where the signal is not what the models have learned from."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How far the signal of one epoch can be trusted.

    Attributes
    ----------
    score : float
        From 0 (nothing usable) to 1 (nothing to complain about).
    reasons : tuple of str
        What was wrong, in words, the worst first: ``"muscle for 12 s"``. Empty when nothing was.
    seconds : Artefacts
        The same in numbers.
    """

    score: float
    reasons: tuple[str, ...] = ()
    seconds: Artefacts = Artefacts()

    @property
    def verdict(self) -> str:
        """The worst of it in one sentence; ``"good"`` when nothing was wrong."""
        return self.reasons[0] if self.reasons else "good"

    @property
    def doubted(self) -> bool:
        """Whether it was said not to be sleep EEG at all."""
        return any(reason.startswith(DOUBT) for reason in self.reasons)


@dataclass(frozen=True, slots=True, eq=False)
class Epoch:
    """Thirty seconds of one derivation, conditioned for the encoder.

    Attributes
    ----------
    index : int
        Number of the epoch in its night, from 0. For a provisional window: of the epoch in which
        the window ends.
    onset_s, end_s : float
        Sender's time of the first sample and of the end.
    data : ndarray of float32, shape (1, 3000)
        High-passed signal in microvolts at 100 Hz; zero where samples are missing.
    valid : float
        Fraction of the samples that are real, 0 to 1.
    quality : Quality
        Verdict on the signal.
    scorable : bool
        Whether enough of the epoch is real to be staged.
    final : bool
        False for a sliding window between epochs.
    derivation : str
        Which one it is, where there are several to choose from.
    gain : float
        How many times as large its EEG is as that of the derivation that was staged first.
    """

    index: int
    onset_s: float
    end_s: float
    data: Float32Array
    valid: float
    quality: Quality
    scorable: bool = True
    final: bool = True
    derivation: str = ""
    gain: float = 1.0

    @property
    def in_scale(self) -> Float32Array:
        """The signal at the size that it would have if no other derivation had taken over."""
        return self.data if self.gain == 1.0 else frozen(self.data / np.float32(self.gain))


@dataclass(frozen=True, slots=True)
class DisorderScore:
    """The overnight disorder score, or the reason why there is none yet.

    Attributes
    ----------
    name : str
        What the score speaks of.
    probability : float or None
        None while the score abstains.
    interval : tuple of float or None
        95 % interval of the probability.
    statement : str
        One sentence: what the number means, or why there is none.
    """

    name: str
    probability: float | None
    interval: tuple[float, float] | None
    statement: str


@dataclass(frozen=True, slots=True, eq=False)
class StageEstimate:
    """What the program says about one epoch.

    Attributes
    ----------
    bed : str
        Whose epoch it is.
    epoch : int
        Number of the epoch in its night, from 0.
    onset_s, end_s : float
        Sender's time of the epoch's start and end.
    stage : Stage or None
        The most probable stage; None when the epoch is unscorable.
    probs : ndarray of float32, shape (5,)
        Probabilities of W, N1, N2, N3, REM after the decoder.
    encoder_probs : ndarray of float32, shape (5,), or None
        The same before the decoder; None when the epoch is unscorable.
    confidence : float
        Probability of the stage that is named; 0 when unscorable.
    quality : Quality
        Verdict on the signal.
    valid : float
        Fraction of the epoch that is real.
    forecast : ndarray of float32, shape (20, 5)
        Stage probabilities 1 … 20 epochs ahead.
    p_wake_5min, p_rem_5min : float
        Probability that at least one of the next ten epochs is W, or REM.
    disorder : DisorderScore
        The overnight disorder score so far.
    final : bool
        True when the epoch has closed. A final estimate is never changed.
    model : str
        Hash of the models that made it.
    latency_ms : float
        From the arrival of the last sample needed to this estimate. Not part of the estimate's
        identity: it differs from run to run.
    derivation : str
        The one that was staged.
    gain : float
        How many times as large its EEG is as that of the derivation that was staged first. The
        networks see the signal divided by it.
    """

    bed: str
    epoch: int
    onset_s: float
    end_s: float
    stage: Stage | None
    probs: Float32Array
    encoder_probs: Float32Array | None
    confidence: float
    quality: Quality
    valid: float
    forecast: Float32Array
    p_wake_5min: float
    p_rem_5min: float
    disorder: DisorderScore
    final: bool
    model: str
    latency_ms: float = 0.0
    derivation: str = ""
    gain: float = 1.0

    def as_json(self) -> dict[str, Any]:
        """Return the estimate as the documented JSON object (see ``docs/outputs.md``)."""
        return {
            "bed": self.bed,
            "epoch": self.epoch,
            "onset": self.onset_s,
            "derivation": self.derivation,
            "gain": self.gain,
            "stage": stage_name(self.stage),
            "probs": _numbers(self.probs),
            "confidence": self.confidence,
            "quality": {
                "score": self.quality.score,
                "valid": self.valid,
                "verdict": self.quality.verdict,
                "reasons": list(self.quality.reasons),
                "seconds": asdict(self.quality.seconds),
            },
            "forecast": {
                "probs": [_numbers(row) for row in self.forecast],
                "p_wake_5min": self.p_wake_5min,
                "p_rem_5min": self.p_rem_5min,
            },
            "disorder": {
                "name": self.disorder.name,
                "probability": self.disorder.probability,
                "interval": self.disorder.interval,
                "statement": self.disorder.statement,
            },
            "latency_ms": self.latency_ms,
            "final": self.final,
            "model": self.model,
        }


def _numbers(row: Float32Array) -> list[float]:
    return [float(value) for value in row]


class StreamState(StrEnum):
    """How a live stream is doing, in the words that are shown and recorded."""

    SEARCHING = "searching"
    CONNECTED = "connected"
    STALLED = "stalled"
    LOST = "lost"
    RECONNECTED = "reconnected"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """One measurement of the sender's LSL clock against ours.

    Attributes
    ----------
    at_s : float
        Stamp of the newest sample when it was taken, in seconds on the sender's clock.
    offset_s : float
        What has to be added to a time on the LSL clock of the sender's machine to get ours.
    uncertainty_s : float
        How far it may be off: the round trip of the best probe.
    """

    at_s: float
    offset_s: float
    uncertainty_s: float

    def as_json(self) -> dict[str, float]:
        """Return the measurement as the documented JSON object (see ``docs/outputs.md``)."""
        return {"at": self.at_s, "offset": self.offset_s, "uncertainty": self.uncertainty_s}


EventKind = Literal["connected", "resumed", "stream", "gap", "clock", "warning", "channel", "ended"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to the night beside its epochs.

    Attributes
    ----------
    kind : str
        ``connected`` and ``ended`` are the first and the last; ``resumed``: the night goes on after
        it was cut off; ``stream``: it stalled, was lost,
        came back, or another was refused; ``gap``: samples are missing or were left out;
        ``clock``: the sender's clock, its rate, or this computer's sleep; ``channel``, ``warning``.
    at_s : float
        Sender's time at which it happened.
    text : str
        One sentence for a person.
    """

    kind: EventKind
    at_s: float
    text: str

    def as_json(self) -> dict[str, Any]:
        """Return the event as the documented JSON object (see ``docs/outputs.md``)."""
        return {"kind": self.kind, "at": self.at_s, "text": self.text}
