"""The resampler keeps the sleep bands and lets nothing fold back; the high-pass removes offsets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepstream.errors import StreamError
from sleepstream.messages import Float32Array
from sleepstream.signal.filters import HighPass, Resampler


def resampled(sfreq: float, hertz: float, seconds: float = 20.0) -> Float32Array:
    resampler = Resampler(sfreq)
    resampler.begin(0, 0.0)
    t = np.arange(int(seconds * sfreq)) / sfreq
    _, out = resampler.push(np.sin(2 * np.pi * hertz * t).astype(np.float32))
    return out


@pytest.mark.parametrize("sfreq", [128.0, 200.0, 250.0, 256.0, 333.3, 512.0, 1000.0, 4096.0])
@pytest.mark.parametrize(("hertz", "gain"), [(1, 1.0), (5, 1.0), (10, 1.0), (14, 1.0), (20, 1.0)])
def test_sleep_bands_pass(sfreq: float, hertz: float, gain: float) -> None:
    amplitude = np.sqrt(2) * resampled(sfreq, hertz)[200:-200].std()
    assert amplitude == pytest.approx(gain, abs=0.05)


@pytest.mark.parametrize("sfreq", [256.0, 500.0, 512.0, 1000.0])
@pytest.mark.parametrize("hertz", [50, 60, 70, 90, 120])
def test_what_would_fold_back_is_gone(sfreq: float, hertz: float) -> None:
    assert np.abs(resampled(sfreq, hertz)[200:-200]).max() < 0.015


@pytest.mark.parametrize("sfreq", [64.0, 80.0])
def test_a_slow_stream_keeps_its_spindles(sfreq: float) -> None:
    assert np.sqrt(2) * resampled(sfreq, 13)[200:-200].std() > 0.85


def test_the_stated_delay_is_the_delay() -> None:
    out = resampled(256.0, 3.0)
    t = np.arange(out.size) / 100 - Resampler(256.0).delay_s
    assert np.abs(out - np.sin(2 * np.pi * 3.0 * t))[200:].max() < 0.02


def test_100_hz_comes_through_untouched() -> None:
    resampler = Resampler(100.0)
    x = np.random.default_rng(0).normal(size=500).astype(np.float32)
    resampler.begin(7, 0.0)
    start, out = resampler.push(x)
    assert start == 7
    assert np.array_equal(out, x)
    assert resampler.delay_s == 0


@pytest.mark.parametrize(("sfreq", "word"), [(0.0, "irregular"), (32.0, "32 Hz"), (8192.0, "8192")])
def test_other_rates_are_refused(sfreq: float, word: str) -> None:
    with pytest.raises(StreamError, match=word):
        Resampler(sfreq)


def test_an_offset_is_gone_from_the_first_sample() -> None:
    high_pass = HighPass()
    high_pass.begin(55.0)
    assert np.abs(high_pass.push(np.full(3000, 55.0, np.float32))).max() < 1e-3


@given(sfreq=st.floats(64, 4096))
@settings(deadline=None, max_examples=50)
def test_any_rate_is_met_to_milliseconds_a_night(sfreq: float) -> None:
    resampler = Resampler(sfreq)
    night_s = 8 * 3600
    (newest,) = resampler.inputs_of(int(night_s * 100), 1)
    assert newest / sfreq == pytest.approx(night_s, abs=0.02 + 1 / sfreq)
