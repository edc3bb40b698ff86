"""The front end: an epoch in microvolts in, an epoch in the recording's own scale out.

In comes `Epoch.data`, out goes the same signal as the network was trained to see it. Nobody knows
the gain of a recording, so it is estimated from the night so far, by the one implementation that
serves and trains. The estimate is the only state here.
"""

from __future__ import annotations

import functools
from typing import Protocol

import numpy as np
from scipy import signal

from sleepstream.errors import ModelError
from sleepstream.messages import SFREQ, Float32Array, Float64Array
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


@functools.cache
def _reference_filter() -> Float64Array:
    sos: Float64Array = signal.butter(2, REFERENCE_BAND_HZ, "bandpass", fs=SFREQ, output="sos")
    return sos


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
