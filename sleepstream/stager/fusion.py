"""Shallow fusion with our own GPT: it reads stages, and has a small say in the next one.

In come the encoder's five probabilities per epoch, or the news that an epoch could not be scored;
out go those probabilities after the language model's share, and the language model's forecast.
This is how the SleepGPT authors decode, with a network that sees the whole night and was trained
to predict the next stage (theirs is `sleepstream.stager.decoder.SleepGptDecoder`).

References
----------
Gulcehre et al. (2015). On Using Monolingual Corpora in Neural Machine Translation.
arXiv:1503.03535. (Shallow fusion.)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sleepstream.messages import N_STAGES, Float32Array, frozen
from sleepstream.stager.decoder import Decoder, DecoderOutput
from sleepstream.stager.sleepgpt import fuse


class FusionDecoder:
    """A decoder as a language model of hard stages, fused with the encoder.

    At each epoch the encoder's log-probabilities and the language model's one-epoch-ahead forecast
    from the epoch before are averaged. The most probable stage of the fusion, and nothing of how
    sure it is, is what the language model reads next. An unscorable epoch gets what was forecast
    for it, and the language model reads that it was unscorable.

    Parameters
    ----------
    language_model : Decoder
        Reads the stages. It serves nobody else.
    weight : float
        Share of the language model in the fusion, 0 to 1.
    name, sha256 : str
        Name and fingerprint of the model.

    Raises
    ------
    ValueError
        `weight` is out of range.
    """

    def __init__(self, language_model: Decoder, weight: float, name: str, sha256: str) -> None:
        if not 0.0 <= weight <= 1.0:
            raise ValueError(f"weight is from 0 to 1, not {weight}")
        self.name = name
        self.sha256 = sha256
        self._language_model = language_model
        self._weight = weight
        self._before: DecoderOutput | None = None

    def step(
        self,
        probs: Float32Array | None,
        spectrum: Float32Array | None = None,  # noqa: ARG002
    ) -> DecoderOutput:
        """Take in one epoch's probabilities, None where it was unscorable."""
        fused = self._fused(probs)
        self._before = self._language_model.step(_hard(probs, fused))
        return replace(self._before, probs=fused)

    def peek(
        self,
        probs: Float32Array | None,
        spectrum: Float32Array | None = None,  # noqa: ARG002
    ) -> DecoderOutput:
        """Say what `step` would say, and leave no trace."""
        fused = self._fused(probs)
        return replace(self._language_model.peek(_hard(probs, fused)), probs=fused)

    def reset(self) -> None:
        """Forget the night."""
        self._language_model.reset()
        self._before = None

    def _fused(self, probs: Float32Array | None) -> Float32Array:
        if self._before is None:
            # nothing was forecast for the first epoch; if it is unscorable too, ask as things stand
            return self._language_model.peek(None).probs if probs is None else frozen(probs)
        expected = self._before.forecast[0]
        return frozen(expected if probs is None else fuse(probs, expected, self._weight))


def _hard(probs: Float32Array | None, fused: Float32Array) -> Float32Array | None:
    """Return the stage that the language model reads, as a one-hot row."""
    return None if probs is None else np.eye(N_STAGES, dtype=np.float32)[fused.argmax()]
