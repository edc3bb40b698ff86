"""The encoder: one epoch of EEG in, five stage probabilities out.

In comes `Epoch.data` (one derivation, microvolts, 100 Hz, high-passed), out go the probabilities
of W, N1, N2, N3 and REM for that epoch. What the night says about it is the decoder's business;
some networks read the last epochs too, and nothing that is later. The state is that of the front
end, a causal estimate of the recording's gain, and what such a network saw in those epochs.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from sleepstream.errors import ModelError
from sleepstream.messages import EPOCH_N_SAMPLES, N_STAGES, Float32Array, frozen
from sleepstream.stager.front_end import front_end
from sleepstream.stager.networks import DeepSleepNet, TinySleepNet
from sleepstream.stager.seqsleepnet import SeqSleepNet
from sleepstream.stager.sequences import DeepSleepNetLstm, SequenceNetwork, TinySleepNetLstm
from sleepstream.stager.weights import ModelFiles

ARCHITECTURES: dict[str, type[nn.Module]] = {
    "tinysleepnet": TinySleepNet,
    "deepsleepnet": DeepSleepNet,
    "seqsleepnet": SeqSleepNet,
    "tinysleepnet-lstm": TinySleepNetLstm,
    "deepsleepnet-lstm": DeepSleepNetLstm,
}
"""The networks by the name that ``arch`` gives them in model.toml."""


@dataclass(frozen=True, slots=True, eq=False)
class EncoderOutput:
    """What the encoder says about one epoch.

    Attributes
    ----------
    probs : ndarray of float32, shape (5,)
        Probabilities of W, N1, N2, N3, REM; read-only.
    """

    probs: Float32Array


class Encoder:
    """A trained network with its front end, for one bed.

    Make it with `Encoder.load`. Batch size is always 1, so that an estimate does not depend on
    what else is staged at the same time.

    Attributes
    ----------
    name : str
        Name of the model.
    sha256 : str
        Fingerprint of the model: its weights, network and options.
    """

    def __init__(self, model: ModelFiles, network: nn.Module, device: torch.device) -> None:
        self.name = model.name
        self.sha256 = model.fingerprint
        self._network = network.to(device).eval()
        self._device = device
        self._front_end = front_end(model)
        n_before = network.n_epochs - 1 if isinstance(network, SequenceNetwork) else 0
        self._before: deque[torch.Tensor] = deque(maxlen=n_before)
        bias = [float(b) for b in model.options.get("logit_bias", [0.0] * N_STAGES)]
        self._bias = np.array(bias, dtype=np.float32)
        self._temperature = np.float32(model.options.get("temperature", 1.0))

    @classmethod
    def load(cls, model: ModelFiles, device: torch.device) -> Encoder:
        """Read the weights of `model` onto `device`.

        Raises
        ------
        ModelError
            It is no encoder, of an unknown architecture, or its weights do not fit.
        """
        if model.kind != "encoder" or model.arch not in ARCHITECTURES:
            raise ModelError(
                f"an encoder ({', '.join(ARCHITECTURES)})",
                f"{model.name!r} is of kind {model.kind!r}, arch {model.arch!r}",
                "name another model; `sleepstream models list` shows each encoder",
            )
        network = ARCHITECTURES[model.arch]()
        try:
            network.load_state_dict(load_file(model.weights))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise ModelError(
                f"weights of a {model.arch} in {model.weights}",
                str(error).splitlines()[0],
                "import or install the model again",
            ) from error
        return cls(model, network, device)

    def step(self, data: Float32Array) -> EncoderOutput:
        """Stage one epoch and remember what it says about the gain, and in a sequence.

        Parameters
        ----------
        data : ndarray of float32, shape (1, 3000)
            `Epoch.data`: high-passed microvolts at 100 Hz, zero where samples are missing.

        Returns
        -------
        EncoderOutput
            The probabilities of the five stages.
        """
        return self._stage(data, keep=True)

    def peek(self, data: Float32Array) -> EncoderOutput:
        """Stage one window without a trace in the state: for provisional estimates."""
        return self._stage(data, keep=False)

    @torch.inference_mode()
    def skip(self) -> None:
        """Let an epoch pass that could not be scored: zeros in the sequence of a network."""
        if isinstance(self._network, SequenceNetwork):
            nothing = torch.zeros((1, 1, EPOCH_N_SAMPLES), device=self._device)
            self._before.append(self._network.represent(nothing))

    def reset(self) -> None:
        """Forget the recording: the next epoch is the first of a night."""
        self._front_end.reset()
        self._before.clear()

    def _stage(self, data: Float32Array, *, keep: bool) -> EncoderOutput:
        if data.shape != (1, EPOCH_N_SAMPLES):
            raise ValueError(f"an epoch has shape (1, {EPOCH_N_SAMPLES}), not {data.shape}")
        scaled = torch.from_numpy(np.array(self._front_end.scale(data, keep=keep)))
        logits = self._logits(scaled.to(self._device)[None], keep=keep)
        return EncoderOutput(probs=self._probs(logits.cpu().numpy()))

    @torch.inference_mode()
    def _logits(self, scaled: torch.Tensor, *, keep: bool) -> torch.Tensor:
        """Return the five logits of one scaled epoch, shape (1, 1, 3000)."""
        if not isinstance(self._network, SequenceNetwork):
            alone: torch.Tensor = self._network(scaled)[0]
            return alone
        seen = self._network.represent(scaled)
        rows = torch.stack([*self._before, seen], dim=1)
        if keep:
            self._before.append(seen)
        return self._network.classify(rows)[0, -1]

    def _probs(self, logits: Float32Array) -> Float32Array:
        corrected = (logits + self._bias) / self._temperature
        odds = np.exp(corrected - corrected.max())
        return frozen(odds / odds.sum())
