"""The encoder: one epoch of EEG in, five stage probabilities out.

In comes `Epoch.data` (one derivation, microvolts, 100 Hz, high-passed), out go the probabilities
of W, N1, N2, N3 and REM for that epoch alone. What the rest of the night says about it is the
decoder's business. The only state is that of the front end: a causal estimate of the recording's
gain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from scipy import signal
from torch import nn

from sleepstream.errors import ModelError
from sleepstream.messages import (
    EPOCH_N_SAMPLES,
    N_STAGES,
    SFREQ,
    Float32Array,
    Float64Array,
    frozen,
)
from sleepstream.stager.weights import ModelFiles

REFERENCE_BAND_HZ = (4.0, 16.0)
"""Band whose amplitude tells the gain: it differs least between stages and catches neither slow
waves nor muscle."""

MIN_REAL_SAMPLES = 1000
"""An epoch with fewer real (nonzero) samples says nothing about the gain."""

MIN_AMPLITUDE_UV = 0.1
"""A quieter signal is a lead that is off, not a small EEG."""

TYPICAL_LOG_AMPLITUDE = 1.6
"""What is assumed before any epoch has said something: about 5 µV."""

LIMIT = 40.0
"""Scaled signals are cut off here, several times the largest slow wave: a movement is no bigger
to the network than it need be."""


@dataclass(frozen=True, slots=True, eq=False)
class EncoderOutput:
    """What the encoder says about one epoch.

    Attributes
    ----------
    probs : ndarray of float32, shape (5,)
        Probabilities of W, N1, N2, N3, REM; read-only.
    """

    probs: Float32Array


class _Block(nn.Module):
    """Padding, convolution without bias, batch norm, ReLU."""

    def __init__(
        self, n_in: int, n_out: int, size: int, stride: int, padding: tuple[int, int]
    ) -> None:
        super().__init__()
        self.pad = nn.ConstantPad1d(padding, 0.0)
        self.conv = nn.Conv1d(n_in, n_out, size, stride, bias=False)
        self.norm = nn.BatchNorm1d(n_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.relu(self.norm(self.conv(self.pad(x))))
        return out


class TinySleepNet(nn.Module):
    """The single-epoch part of TinySleepNet: a small CNN and a linear classifier.

    The published network adds an LSTM over epochs; here the night's context is the decoder's
    task. Shapes and padding are those of the PyTorch version published with SleepGPT, so that its
    weights can be imported.

    References
    ----------
    .. [1] Supratak A, Guo Y. TinySleepNet: an efficient deep learning model for sleep stage
       scoring based on raw single-channel EEG. EMBC 2020:641-644.
    .. [2] SleepGPT, https://github.com/yuty2009/sleepgpt
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _Block(1, 128, 50, 6, (24, 25)),
            nn.MaxPool1d(8),
            nn.Dropout(0.5),
            _Block(128, 128, 8, 1, (3, 4)),
            _Block(128, 128, 8, 1, (3, 4)),
            _Block(128, 128, 8, 1, (3, 4)),
            nn.MaxPool1d(4),
            nn.Dropout(0.5),
        )
        self.classifier = nn.Linear(1920, N_STAGES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (n, 5), of epochs `x`, shape (n, 1, 3000)."""
        logits: torch.Tensor = self.classifier(self.features(x).flatten(1))
        return logits


class DeepSleepNet(nn.Module):
    """The representation-learning part of DeepSleepNet and its classifier.

    Two CNN branches: small filters (Fs/2 wide, stride Fs/16) see when something happens, large
    ones (Fs*4, stride Fs/2) see which rhythms there are. The published network adds a
    bidirectional LSTM over epochs with a residual path; it looks ahead, and the night's context is
    the decoder's task here.

    References
    ----------
    .. [1] Supratak A, Dong H, Wu C, Guo Y. DeepSleepNet: a model for automatic sleep stage
       scoring based on raw single-channel EEG. IEEE TNSRE 2017;25(11):1998-2008.
    """

    def __init__(self) -> None:
        super().__init__()
        # pools round up, as TensorFlow's "same" does: 16 x 128 and 8 x 128 outputs
        self.small = nn.Sequential(
            _Block(1, 64, 50, 6, (22, 22)),
            nn.MaxPool1d(8, ceil_mode=True),
            nn.Dropout(0.5),
            _Block(64, 128, 8, 1, (3, 4)),
            _Block(128, 128, 8, 1, (3, 4)),
            _Block(128, 128, 8, 1, (3, 4)),
            nn.MaxPool1d(4, ceil_mode=True),
        )
        self.large = nn.Sequential(
            _Block(1, 64, 400, 50, (175, 175)),
            nn.MaxPool1d(4, ceil_mode=True),
            nn.Dropout(0.5),
            _Block(64, 128, 6, 1, (2, 3)),
            _Block(128, 128, 6, 1, (2, 3)),
            _Block(128, 128, 6, 1, (2, 3)),
            nn.MaxPool1d(2, ceil_mode=True),
        )
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(3072, N_STAGES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (n, 5), of epochs `x`, shape (n, 1, 3000)."""
        both = torch.cat((self.small(x).flatten(1), self.large(x).flatten(1)), dim=1)
        logits: torch.Tensor = self.classifier(self.dropout(both))
        return logits


ARCHITECTURES: dict[str, type[nn.Module]] = {
    "tinysleepnet": TinySleepNet,
    "deepsleepnet": DeepSleepNet,
}
"""The networks by the name that ``arch`` gives them in model.toml."""


class FrontEnd(Protocol):
    """Scales an epoch for the network."""

    def scale(self, data: Float32Array, *, keep: bool) -> Float32Array:
        """Return `data` scaled; remember what it says about the gain only if `keep`."""

    def reset(self) -> None:
        """Forget the recording."""


class Microvolts:
    """The front end of the published weights: microvolts go in as they are."""

    def scale(self, data: Float32Array, *, keep: bool) -> Float32Array:  # noqa: ARG002
        """Return `data`."""
        return data

    def reset(self) -> None:
        """Nothing to forget."""


class RunningGain:
    """Divide by a causal estimate of the recording's own amplitude.

    The estimate is the mean over the epochs so far, this one included, of the log of a robust
    amplitude in `REFERENCE_BAND_HZ`. It starts as a plain mean (the first epoch already comes out
    at the right size) and becomes an exponential one after `memory` epochs, too slow to follow
    the stages: slow waves stay larger than the waking EEG. A recording that is `k` times as large
    gives the same output.

    Parameters
    ----------
    memory : int
        Number of epochs after which the mean forgets.
    """

    def __init__(self, memory: int = 240) -> None:
        self.memory = memory
        self._n = 0
        self._mean = TYPICAL_LOG_AMPLITUDE

    def scale(self, data: Float32Array, *, keep: bool) -> Float32Array:
        """Return `data`, shape (1, 3000), in units of the amplitude so far."""
        n, mean = self.updated(log_amplitude(data))
        if keep:
            self._n, self._mean = n, mean
        scaled: Float32Array = np.clip(data * np.float32(np.exp(-mean)), -LIMIT, LIMIT)
        return scaled

    def updated(self, log_amp: float | None) -> tuple[int, float]:
        """Return the count and the mean after one more epoch, of which None says nothing."""
        if log_amp is None:
            return self._n, self._mean
        n = min(self._n + 1, self.memory)
        return n, self._mean + (log_amp - self._mean) / n

    def follow(self, log_amps: Float32Array) -> Float32Array:
        """Take in a whole record's log amplitudes, shape (n,); return the mean at each (training).

        NaN stands for an epoch that says nothing.
        """
        means = np.empty(len(log_amps), dtype=np.float32)
        for i, value in enumerate(log_amps):
            self._n, self._mean = self.updated(None if np.isnan(value) else float(value))
            means[i] = self._mean
        return means

    def reset(self) -> None:
        """Forget the recording."""
        self._n = 0
        self._mean = TYPICAL_LOG_AMPLITUDE


def log_amplitude(data: Float32Array) -> float | None:
    """Return the log of an epoch's robust amplitude in the reference band.

    Parameters
    ----------
    data : ndarray of float32, shape (1, 3000)
        One epoch in microvolts, zero where samples are missing.

    Returns
    -------
    float or None
        Natural log of the interquartile range over 1.349 (the standard deviation of a Gaussian)
        of the 4-16 Hz signal in microvolts; None where too little is real or the lead is off.
    """
    real = data[0] != 0
    if np.count_nonzero(real) < MIN_REAL_SAMPLES:
        return None
    band = signal.sosfilt(_reference_filter(), data[0].astype(np.float64))[real]
    low, high = np.percentile(band, (25, 75))
    amplitude = float(high - low) / 1.349
    return float(np.log(amplitude)) if amplitude > MIN_AMPLITUDE_UV else None


def _reference_filter() -> Float64Array:
    sos: Float64Array = signal.butter(2, REFERENCE_BAND_HZ, "bandpass", fs=SFREQ, output="sos")
    return sos


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
        """Stage one epoch and remember what it says about the gain.

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

    def reset(self) -> None:
        """Forget the recording: the next epoch is the first of a night."""
        self._front_end.reset()

    def _stage(self, data: Float32Array, *, keep: bool) -> EncoderOutput:
        if data.shape != (1, EPOCH_N_SAMPLES):
            raise ValueError(f"an epoch has shape (1, {EPOCH_N_SAMPLES}), not {data.shape}")
        scaled = torch.from_numpy(np.array(self._front_end.scale(data, keep=keep)))
        with torch.inference_mode():
            logits = self._network(scaled.to(self._device)[None])[0].cpu().numpy()
        return EncoderOutput(probs=self._probs(logits))

    def _probs(self, logits: Float32Array) -> Float32Array:
        corrected = (logits + self._bias) / self._temperature
        odds = np.exp(corrected - corrected.max())
        return frozen(odds / odds.sum())


def front_end(model: ModelFiles) -> FrontEnd:
    """Make the front end that `model` was trained with.

    Raises
    ------
    ModelError
        The description names one that does not exist.
    """
    kind = model.options.get("front_end", "none")
    if kind == "none":
        return Microvolts()
    if kind == "running-gain":
        return RunningGain(int(model.options.get("gain_memory", 240)))
    raise ModelError(
        "a front end: none or running-gain",
        f"front_end = {kind!r} in the description of {model.name!r}",
        "this model needs a newer sleepstream, or another model",
    )
