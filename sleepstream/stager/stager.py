"""The stager: one bed's encoder, decoder and disorder score, stepped together.

In come epochs, in order and with none left out; out go estimates. `Stager.step` commits a final
epoch to the night; `Stager.peek` answers for a sliding window and leaves no trace.

Where the signal does not look like the sleep EEG that the networks learned from, their
probabilities are mixed with "any stage", before the decoder reads them and after it: the stage is
still said, and nobody can be sure of it.
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

_UNJUDGED = Verdict(1.0)  # of an epoch without a signal, about which nothing is said anyway


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
        Whether they look like sleep EEG.

    Attributes
    ----------
    model : str
        Twelve hexadecimal digits that stand for all the models.
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
        probs, numbers, verdict = None, None, _UNJUDGED
        if epoch.scorable:
            numbers = spectral.describe(epoch.in_scale)
            verdict = self._familiarity.step(numbers)
            probs = soften(self._encoder.step(epoch.in_scale).probs, verdict.familiarity)
        else:
            self._encoder.skip()
        decoded = self._decoder.step(probs, _told(numbers, verdict))
        self._n_epochs += 1
        # the architecture of what is no sleep EEG is nobody's
        stage = _stage(probs, decoded) if _familiar(verdict) else None
        return self._estimate(epoch, verdict, probs, decoded, self._disorder.step(stage))

    def peek(self, epoch: Epoch) -> StageEstimate:
        """Stage a sliding window and leave no trace in the night.

        Returns
        -------
        StageEstimate
            Provisional. Its disorder score is that of the epochs closed so far.
        """
        probs, numbers, verdict = None, None, _UNJUDGED
        if epoch.scorable:
            numbers = spectral.describe(epoch.in_scale)
            verdict = self._familiarity.peek(numbers)
            probs = soften(self._encoder.peek(epoch.in_scale).probs, verdict.familiarity)
        decoded = self._decoder.peek(probs, _told(numbers, verdict))
        return self._estimate(epoch, verdict, probs, decoded, self._disorder.score)

    def reset(self) -> None:
        """Forget the night: the next epoch is number 0."""
        self._encoder.reset()
        self._decoder.reset()
        self._disorder.reset()
        self._familiarity.reset()
        self._n_epochs = 0

    def _estimate(
        self,
        epoch: Epoch,
        verdict: Verdict,
        probs: Float32Array | None,
        decoded: DecoderOutput,
        disorder: DisorderScore,
    ) -> StageEstimate:
        stage = _stage(probs, decoded)
        now = soften(decoded.probs, verdict.familiarity)
        return StageEstimate(
            bed=self._bed,
            epoch=epoch.index,
            onset_s=epoch.onset_s,
            end_s=epoch.end_s,
            stage=stage,
            probs=now,
            encoder_probs=probs,
            confidence=0.0 if stage is None else float(now[stage]),
            quality=_doubted(epoch.quality, verdict),
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


def _told(numbers: Float32Array | None, verdict: Verdict) -> Float32Array | None:
    """Return what the decoder is told of the spectrum: nothing of one that would mislead it."""
    return numbers if _familiar(verdict) else None


def _stage(probs: Float32Array | None, decoded: DecoderOutput) -> Stage | None:
    return None if probs is None else Stage(int(decoded.probs.argmax()))


def _doubted(quality: Quality, verdict: Verdict) -> Quality:
    """Return the quality with the doubt in it, once: a night on record is staged again."""
    if _familiar(verdict) or verdict.reason in quality.reasons:
        return quality
    score = min(quality.score, verdict.familiarity)
    return replace(quality, score=score, reasons=(verdict.reason, *quality.reasons))
