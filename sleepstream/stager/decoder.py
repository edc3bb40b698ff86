"""The decoder: what the encoder says about one epoch, read in the light of the night.

In come the encoder's five probabilities per epoch and the numbers of its spectrum, or the news that
an epoch could not be scored; out go the decoder's probabilities, the forecast, and the chance of
wake and of REM in five minutes. All decoders share one protocol. Here are our GPT with its cache,
the published SleepGPT, and none at all; `sleepstream.stager.decoders` knows them by name.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from sleepstream.messages import N_STAGES, Float32Array, Float64Array, Stage, frozen
from sleepstream.stager import context, forecast, spectral
from sleepstream.stager.gpt import Gpt, KVCache, split
from sleepstream.stager.sleepgpt import STAGES_AHEAD, SleepGpt, fuse

__all__ = [
    "Decoder",
    "DecoderOutput",
    "GptDecoder",
    "NoDecoder",
    "SleepGptDecoder",
]


@dataclass(frozen=True, slots=True, eq=False)
class DecoderOutput:
    """What the decoder says at one epoch.

    Attributes
    ----------
    probs : ndarray of float32, shape (5,)
        Stage probabilities of this epoch.
    forecast : ndarray of float32, shape (20, 5)
        Stage probabilities 1 … 20 epochs ahead.
    p_wake_5min, p_rem_5min : float
        Probability that any of the next ten epochs is W, or REM.
    """

    probs: Float32Array
    forecast: Float32Array
    p_wake_5min: float
    p_rem_5min: float


class Decoder(Protocol):
    """What the stager asks of a decoder. One decoder serves one night."""

    name: str
    sha256: str

    def step(
        self, probs: Float32Array | None, spectrum: Float32Array | None = None
    ) -> DecoderOutput:
        """Take in one epoch.

        Parameters
        ----------
        probs : ndarray of float32, shape (5,), or None
            What the encoder says; None where the epoch was unscorable.
        spectrum : ndarray of float32, shape (17,), or None
            From `sleepstream.stager.spectral.describe`; None where it is not known. Decoders that
            read probabilities alone do not look at it.
        """
        ...

    def peek(
        self, probs: Float32Array | None, spectrum: Float32Array | None = None
    ) -> DecoderOutput:
        """Say what `step` would say, and leave no trace."""
        ...

    def reset(self) -> None:
        """Forget the night."""
        ...


class NoDecoder:
    """The encoder's probabilities as they are, with a forecast from stage transitions alone.

    An unscorable epoch gets what the transitions make of the epoch before.
    """

    def __init__(self) -> None:
        self._matrix = forecast.transitions()
        self.name = "none"
        self.sha256 = hashlib.sha256(self._matrix.tobytes()).hexdigest()
        self.reset()

    def step(
        self,
        probs: Float32Array | None,
        spectrum: Float32Array | None = None,  # noqa: ARG002
    ) -> DecoderOutput:
        """Take in one epoch's probabilities, None where it was unscorable."""
        output = self.peek(probs)
        self._belief = output.probs.astype(np.float64)
        return output

    def peek(
        self,
        probs: Float32Array | None,
        spectrum: Float32Array | None = None,  # noqa: ARG002
    ) -> DecoderOutput:
        """Say what `step` would say, and leave no trace."""
        return _markov_output(self._belief @ self._matrix if probs is None else probs, self._matrix)

    def reset(self) -> None:
        """Forget the night."""
        self._belief = forecast.stationary(self._matrix)


class GptDecoder:
    """Our GPT over soft stages and the spectrum, one cached step per epoch.

    Parameters
    ----------
    gpt : Gpt
        The network.
    device : torch.device
        Where it runs.
    name, sha256 : str
        Name and fingerprint of the model.
    """

    def __init__(self, gpt: Gpt, device: torch.device, name: str, sha256: str) -> None:
        self.name = name
        self.sha256 = sha256
        self._device = device
        self._gpt = gpt.to(device).eval()
        self._cache = KVCache(gpt.shape, device)
        self._before = _start()

    def step(
        self,
        probs: Float32Array | None,
        spectrum: Float32Array | None = None,
    ) -> DecoderOutput:
        """Take in one epoch's probabilities, None where it was unscorable."""
        self._before, output = self._run(probs, spectrum)
        self._cache.advance()
        return output

    def peek(
        self,
        probs: Float32Array | None,
        spectrum: Float32Array | None = None,
    ) -> DecoderOutput:
        """Say what `step` would say, and leave no trace."""
        return self._run(probs, spectrum)[1]

    def reset(self) -> None:
        """Forget the night."""
        self._cache.reset()
        self._before = _start()

    @torch.inference_mode()
    def _run(
        self, probs: Float32Array | None, spectrum: Float32Array | None
    ) -> tuple[_Before, DecoderOutput]:
        after, inputs = self._inputs(probs, spectrum)
        logits = self._gpt(torch.from_numpy(inputs[None]).to(self._device), self._cache)
        now, ahead, soon = (part.double().cpu() for part in split(logits[0, 0]))
        rows = ahead.softmax(dim=-1)
        # an epoch among the next ten cannot be likelier than any of them
        floor = rows[: forecast.SOON_EPOCHS].amax(dim=0)
        p_wake, p_rem = soon.sigmoid().maximum(floor[[Stage.W, Stage.REM]]).tolist()
        return after, DecoderOutput(
            probs=frozen(now.softmax(dim=-1).numpy()),
            forecast=frozen(rows.numpy()),
            p_wake_5min=p_wake,
            p_rem_5min=p_rem,
        )

    def _inputs(
        self, probs: Float32Array | None, spectrum: Float32Array | None
    ) -> tuple[_Before, Float32Array]:
        """Return what is known after this epoch, and its input vector, shape (1, n)."""
        row = np.zeros(N_STAGES) if probs is None else probs
        night, inputs = context.advance(self._before.night, row[None], [probs is not None])
        if not self._gpt.shape.n_spectral:
            return _Before(night, self._before.spectrum), inputs
        told = probs is not None and spectrum is not None
        numbers = spectrum if told else np.zeros(spectral.N_NUMBERS)
        usual, rows = spectral.advance(self._before.spectrum, np.asarray(numbers)[None], [told])
        return _Before(night, usual), np.concatenate([inputs, rows], axis=1)


@dataclass(frozen=True, slots=True)
class _Before:
    """What the GPT's inputs depend on besides the epoch itself."""

    night: context.Context
    spectrum: spectral.Baseline


def _start() -> _Before:
    return _Before(context.start(), spectral.start())


class SleepGptDecoder:
    """The published SleepGPT over hard stages, fused with the encoder as its authors do.

    The encoder's log-probabilities and the prediction made two epochs ago are averaged with the
    fusion's weight; the most probable stage is what the language model reads next. The whole
    context is recomputed at every epoch (see `sleepstream.stager.sleepgpt`). The forecast is by
    stage transitions. An unscorable epoch is read as the stage that was predicted for it.

    Parameters
    ----------
    network : SleepGpt
        The network.
    weight : float
        Share of the language model in the fusion.
    device : torch.device
        Where it runs.
    name, sha256 : str
        Name and fingerprint of the model.
    """

    def __init__(
        self, network: SleepGpt, weight: float, device: torch.device, name: str, sha256: str
    ) -> None:
        self.name = name
        self.sha256 = sha256
        self._weight = weight
        self._device = device
        self._network = network.to(device).eval()
        self._matrix = forecast.transitions()
        self.reset()

    def step(
        self,
        probs: Float32Array | None,
        spectrum: Float32Array | None = None,  # noqa: ARG002
    ) -> DecoderOutput:
        """Take in one epoch's probabilities, None where it was unscorable."""
        output = self.peek(probs)
        self._stages.append(int(output.probs.argmax()))
        self._predicted.append(self._predict())
        return output

    def peek(
        self,
        probs: Float32Array | None,
        spectrum: Float32Array | None = None,  # noqa: ARG002
    ) -> DecoderOutput:
        """Say what `step` would say, and leave no trace."""
        return _markov_output(self._fused(probs), self._matrix)

    def reset(self) -> None:
        """Forget the night."""
        self._stages: deque[int] = deque(maxlen=self._network.context)
        self._predicted: deque[Float64Array] = deque(maxlen=STAGES_AHEAD)

    def _fused(self, probs: Float32Array | None) -> npt.NDArray[Any]:
        ripe = len(self._predicted) == STAGES_AHEAD
        prior = self._predicted[0] if ripe else forecast.stationary(self._matrix)
        if probs is None:
            return prior
        if not ripe:
            return probs
        return fuse(probs, prior, self._weight)

    @torch.inference_mode()
    def _predict(self) -> Float64Array:
        """Return the probabilities of the stage two epochs on."""
        stages = torch.tensor([list(self._stages)], device=self._device)
        logits = self._network(stages)[0, -1, :N_STAGES].double().cpu()
        probs: Float64Array = logits.softmax(dim=-1).numpy()
        return probs


def _markov_output(probs: npt.NDArray[Any], matrix: Float64Array) -> DecoderOutput:
    rows, p_wake, p_rem = forecast.markov(probs, matrix)
    return DecoderOutput(frozen(probs), rows, p_wake, p_rem)
