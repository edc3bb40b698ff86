"""Anti-aliased resampling to 100 Hz and the high-pass: made once, carrying their state.

Enters: one derivation on the regular grid of the sender's rate, in runs. Leaves: the same on the
100 Hz grid. Both filters are strictly causal: the output at time *t* depends on input up to *t*.

The price of being causal is a delay. The resampler's is stated (`Resampler.delay_s`: 45 ms,
none for input at 100 Hz), and is not compensated: that would be to look ahead.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt
from scipy.signal import butter, firwin, kaiser_beta, sosfilt, sosfilt_zi, upfirdn

from sleepstream.errors import StreamError
from sleepstream.messages import SFREQ, Float32Array, Float64Array

LOWEST_SFREQ, HIGHEST_SFREQ = 64.0, 4096.0
DELAY_S = 0.045
STOP_BAND_DB = 40.0
HIGH_PASS_HZ = 0.3


class Resampler:
    """Streaming rational resampler to 100 Hz.

    A linear-phase Kaiser low-pass of 90 ms, applied polyphase by `scipy.signal.upfirdn` over a
    history that is kept from call to call and always starts at the same phase, so the output does
    not depend on how the input was cut. For input above 100 Hz the stop band (40 dB) starts at
    50 Hz.

    Parameters
    ----------
    sfreq : float
        Input rate in hertz, 64 to 4096.

    Raises
    ------
    StreamError
        The rate is out of range.

    References
    ----------
    .. [1] Kaiser, J. F. (1974). Nonrecursive digital filter design using the I0-sinh window
       function. Proc. IEEE Int. Symp. Circuits and Systems, 20-23.
    """

    def __init__(self, sfreq: float) -> None:
        check_sfreq(sfreq)
        ratio = _ratio(sfreq)
        self._up, self._down = ratio.numerator, ratio.denominator
        self.delay_s = 0.0 if ratio == 1 else DELAY_S
        self._taps = _anti_alias(sfreq, self._up) if ratio != 1 else None
        self._n_history = 0 if self._taps is None else -(-len(self._taps) // self._up)
        self.reset()

    def reset(self) -> None:
        """Forget the history."""
        self._buffer: Float32Array = np.zeros(0, np.float32)
        self._start = 0  # grid number of the first sample in the buffer
        self._next_out = 0  # number of the next sample to put out

    def inputs_of(self, start: int, n: int) -> npt.NDArray[np.int64]:
        """Return, for `n` outputs from `start`, the newest input on which each depends."""
        return np.arange(start, start + n) * self._down // self._up

    def begin(self, start: int, value: float) -> None:
        """Start a run at grid number `start`, as if `value` had been there for ever.

        Parameters
        ----------
        start : int
            Number of the first input sample to come.
        value : float
            First value in microvolts.
        """
        # Output number k needs the input up to k * down / up. Histories start at a multiple of
        # `down`, where the two grids meet; there the phase is always the same.
        self._start = (start - self._n_history) // self._down * self._down
        self._buffer = np.full(start - self._start, value, np.float32)
        self._next_out = -(-start * self._up // self._down)

    def push(self, samples: Float32Array) -> tuple[int, Float32Array]:
        """Resample the next samples of the run.

        Parameters
        ----------
        samples : ndarray of float32, shape (n_in,)
            Input in microvolts, no NaN.

        Returns
        -------
        start : int
            Number of the first output sample on the 100 Hz grid.
        out : ndarray of float32, shape (n_out,)
            Output in microvolts.
        """
        first = self._next_out
        if self._taps is None:
            self._next_out += samples.size
            return first, samples
        self._buffer = np.concatenate((self._buffer, samples))
        end = self._start + self._buffer.size
        self._next_out = max(first, -(-end * self._up // self._down))
        origin = self._start * self._up // self._down
        full = upfirdn(self._taps, self._buffer.astype(np.float64), self._up, self._down)
        out = full[first - origin : self._next_out - origin].astype(np.float32)
        keep = (end - self._n_history) // self._down * self._down
        if keep > self._start:
            self._buffer = self._buffer[keep - self._start :]
            self._start = keep
        return first, out


def _ratio(sfreq: float) -> Fraction:
    """Return output rate over input rate as a fraction of the smallest numbers that will do.

    5e-7 of the rate is 14 ms in eight hours; and small numbers make a short history.
    """
    exact = Fraction(SFREQ) / Fraction(sfreq)
    near = (exact.limit_denominator(10**digits) for digits in range(2, 8))
    return next((ratio for ratio in near if abs(ratio / exact - 1) < 5e-7), exact)


def check_sfreq(sfreq: float) -> None:
    """Raise StreamError unless `sfreq` (hertz) is a rate that can be resampled to 100 Hz."""
    if not LOWEST_SFREQ <= sfreq <= HIGHEST_SFREQ:
        irregular = sfreq == 0
        raise StreamError(
            f"EEG at a regular rate of {LOWEST_SFREQ:g} to {HIGHEST_SFREQ:g} Hz",
            "a stream of irregular rate (0 Hz)" if irregular else f"{sfreq:g} Hz",
            "choose the EEG stream, not its markers (`sleepstream streams`)"
            if irregular
            else "set the amplifier or its LSL program to a rate in that range",
        )


def _anti_alias(sfreq: float, up: int) -> Float64Array:
    """Design the low-pass at the rate ``sfreq * up``; its gain makes up for the zeros put in."""
    rate = sfreq * up
    n_taps = 2 * int(DELAY_S * rate) + 1
    # Kaiser's formula for the width of the transition that this length and attenuation allow
    width = (STOP_BAND_DB - 7.95) / (2.285 * (n_taps - 1)) * rate / (2 * np.pi)
    # Going down, everything from 50 Hz has to be gone. Going up nothing folds back, there are only
    # weak images above the sleep bands, and a lower cutoff would cost spindles.
    cutoff = SFREQ / 2 - width / 2 if sfreq > SFREQ else sfreq / 2
    window = ("kaiser", kaiser_beta(STOP_BAND_DB))
    return np.asarray(up * firwin(n_taps, cutoff, window=window, fs=rate), np.float64)


class HighPass:
    """Causal second-order Butterworth high-pass at 0.3 Hz, settled at the first sample.

    An amplifier's offset drives a staging network to nonsense; after this filter there is none.
    """

    def __init__(self) -> None:
        self._sos = butter(2, HIGH_PASS_HZ, "highpass", fs=SFREQ, output="sos")
        self._settled = sosfilt_zi(self._sos)
        self.begin(0.0)

    def begin(self, value: float) -> None:
        """Start a run as if `value` (microvolts) had been there for ever."""
        self._state = self._settled * value

    def push(self, samples: Float32Array) -> Float32Array:
        """Filter the next samples of the run.

        Parameters
        ----------
        samples : ndarray of float32, shape (n_samples,)
            Microvolts at 100 Hz, no NaN.

        Returns
        -------
        ndarray of float32, shape (n_samples,)
        """
        if not samples.size:
            return samples
        out, self._state = sosfilt(self._sos, samples.astype(np.float64), zi=self._state)
        return np.asarray(out, np.float32)
