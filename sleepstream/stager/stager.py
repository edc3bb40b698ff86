"""The stager: one bed's encoder, decoder and disorder score, stepped together.

In come epochs, in order and with none left out; out go estimates. `Stager.step` commits a final
epoch to the night; `Stager.peek` answers for a sliding window and leaves no trace.

Where the signal is unlike the sleep EEG that the networks learned from, their probabilities are
mixed with "any stage", before the decoder reads them and after it: the stage is still said, and
nobody can be sure of it.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Protocol

import torch

from sleepstream.messages import DisorderScore, Epoch, Float32Array, Quality, Stage, StageEstimate
from sleepstream.stager import spectral, weights
from sleepstream.stager.decoder import Decoder, DecoderOutput
from sleepstream.stager.decoders import load_decoder
from sleepstream.stager.disorder import Scorer, load_scorer
from sleepstream.stager.encoder import Encoder, EncoderOutput
from sleepstream.stager.familiarity import (
    SHIPPED,
    UNFAMILIAR,
    AllFamiliar,
    Judge,
    Verdict,
    load_judge,
    soften,
)


class EpochEncoder(Protocol):
    """What the stager asks of an encoder (`sleepstream.stager.encoder.Encoder` is one)."""

    name: str
    sha256: str

    def step(self, data: Float32Array) -> EncoderOutput:
        """Stage one epoch, shape (1, 3000), and remember what has to be."""
        ...

    def peek(self, data: Float32Array) -> EncoderOutput:
        """Stage one window and leave no trace."""
        ...

    def skip(self) -> None:
        """Let an unscorable epoch pass."""
        ...

    def reset(self) -> None:
        """Forget the night."""
        ...


class Stager:
    """Everything that is said about one bed's epochs.

    Parameters
    ----------
    encoder : EpochEncoder
        From the signal to stage probabilities.
    decoder : Decoder
        From those to the night's.
    disorder : Scorer
        From final stages to the overnight score.
    bed : str
        Whose epochs they are.
    familiarity : Judge
        Whether they are sleep EEG at all.

    Attributes
    ----------
    model : str
        Twelve hexadecimal digits that stand for all of them.
    """

    def __init__(
        self,
        encoder: EpochEncoder,
        decoder: Decoder,
        disorder: Scorer,
        bed: str,
        familiarity: Judge = AllFamiliar(),  # noqa: B008 - it has no state
    ) -> None:
        self._encoder = encoder
        self._decoder = decoder
        self._disorder = disorder
        self._familiarity = familiarity
        self._bed = bed
        self._n_epochs = 0
        hashes = (encoder.sha256, decoder.sha256, disorder.sha256, familiarity.sha256)
        self.model = hashlib.sha256(":".join(hashes).encode()).hexdigest()[:12]

    @classmethod
    def load(
        cls,
        *,
        encoder: str,
        decoder: str,
        disorder: str,
        device: torch.device,
        bed: str,
        familiarity: str = SHIPPED,
    ) -> Stager:
        """Find the models and build a stager at the start of a night.

        Parameters
        ----------
        encoder, decoder, disorder, familiarity : str
            Names or folders, as `sleepstream.stager.weights.find` takes them; ``"none"`` does
            without decoder, score or judge.
        device : torch.device
            Where the networks run.
        bed : str
            Whose epochs they are.

        Raises
        ------
        ModelError
            A model is missing, damaged or of another kind.
        """
        return cls(
            Encoder.load(weights.find(encoder, "encoder"), device),
            load_decoder(weights.find(decoder, "decoder"), device),
            load_scorer(disorder),
            bed,
            load_judge(familiarity),
        )

    def step(self, epoch: Epoch) -> StageEstimate:
        """Stage a closed epoch and add it to the night.

        Parameters
        ----------
        epoch : Epoch
            The next one: its index follows the last one's. Unscorable epochs come too.

        Returns
        -------
        StageEstimate
            Final. Without a stage where the epoch was unscorable; its probabilities are then what
            the decoder believes.

        Raises
        ------
        ValueError
            The epoch is not the next one.
        """
        if epoch.index != self._n_epochs:
            raise ValueError(f"epoch {self._n_epochs} comes next, not {epoch.index}")
        self._n_epochs += 1
        if not epoch.scorable:
            self._encoder.skip()
            return self._unscored(epoch, self._decoder.step(None), self._disorder.step(None))
        numbers = spectral.describe(epoch.in_scale)
        verdict = self._familiarity.step(epoch.in_scale, numbers)
        probs = soften(self._encoder.step(epoch.in_scale).probs, verdict.familiarity)
        decoded = self._decoder.step(probs, _told(numbers, verdict))
        # the architecture of what is no sleep EEG is nobody's
        disorder = self._disorder.step(_stage(decoded) if _familiar(verdict) else None)
        return self._scored(epoch, verdict, probs, decoded, disorder)

    def peek(self, epoch: Epoch) -> StageEstimate:
        """Stage a sliding window and leave no trace in the night.

        Returns
        -------
        StageEstimate
            Provisional. Its disorder score is that of the epochs closed so far.
        """
        if not epoch.scorable:
            return self._unscored(epoch, self._decoder.peek(None), self._disorder.score)
        numbers = spectral.describe(epoch.in_scale)
        verdict = self._familiarity.peek(epoch.in_scale, numbers)
        probs = soften(self._encoder.peek(epoch.in_scale).probs, verdict.familiarity)
        decoded = self._decoder.peek(probs, _told(numbers, verdict))
        return self._scored(epoch, verdict, probs, decoded, self._disorder.score)

    def reset(self) -> None:
        """Forget the night: the next epoch is number 0."""
        self._encoder.reset()
        self._decoder.reset()
        self._disorder.reset()
        self._familiarity.reset()
        self._n_epochs = 0

    def _scored(
        self,
        epoch: Epoch,
        verdict: Verdict,
        probs: Float32Array,
        decoded: DecoderOutput,
        disorder: DisorderScore,
    ) -> StageEstimate:
        stage = _stage(decoded)
        softened = replace(decoded, probs=soften(decoded.probs, verdict.familiarity))
        estimate = self._unscored(epoch, softened, disorder)
        return replace(
            estimate,
            stage=stage,
            encoder_probs=probs,
            confidence=float(estimate.probs[stage]),
            quality=_doubted(epoch.quality, verdict),
        )

    def _unscored(
        self, epoch: Epoch, decoded: DecoderOutput, disorder: DisorderScore
    ) -> StageEstimate:
        return StageEstimate(
            bed=self._bed,
            epoch=epoch.index,
            onset_s=epoch.onset_s,
            end_s=epoch.end_s,
            stage=None,
            probs=decoded.probs,
            encoder_probs=None,
            confidence=0.0,
            quality=epoch.quality,
            valid=epoch.valid,
            forecast=decoded.forecast,
            p_wake_5min=decoded.p_wake_5min,
            p_rem_5min=decoded.p_rem_5min,
            disorder=disorder,
            final=epoch.final,
            model=self.model,
            derivation=epoch.derivation,
            gain=epoch.gain,
        )


def _familiar(verdict: Verdict) -> bool:
    return verdict.familiarity >= UNFAMILIAR


def _told(numbers: Float32Array, verdict: Verdict) -> Float32Array | None:
    """Return what the decoder is told of the spectrum: nothing of one that would mislead it."""
    return numbers if _familiar(verdict) else None


def _stage(decoded: DecoderOutput) -> Stage:
    return Stage(int(decoded.probs.argmax()))


def _doubted(quality: Quality, verdict: Verdict) -> Quality:
    """Return the quality with the doubt in it, once: a night on record is staged again."""
    if _familiar(verdict) or verdict.reason in quality.reasons:
        return quality
    return replace(
        quality,
        score=min(quality.score, verdict.familiarity),
        reasons=(verdict.reason, *quality.reasons),
    )
