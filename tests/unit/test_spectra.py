"""Spectral numbers as other amplifiers would give them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import signal
from sleepstream_training.spectra import low_pass

from sleepstream.stager.spectral import N_NUMBERS, N_WAVELET_BANDS, describe

RAW = Path("../shared/data/raw_eeg/ucddb002.npz")
TOP = [N_WAVELET_BANDS - 1, N_NUMBERS - 1]


def test_a_low_pass_takes_from_the_top_alone() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.normal(0.0, 1.0, (50, N_NUMBERS)).astype(np.float32)
    for _ in range(20):
        change = low_pass(numbers, rng) - numbers
        assert np.all(np.delete(change, TOP, axis=1) == 0)
        assert np.all(change[:, TOP] <= 0)
        assert np.ptp(change[:, TOP[0]]) < 1e-6  # the same amplifier all night


@pytest.mark.skipif(not RAW.is_file(), reason=f"no {RAW}")
def test_what_is_taken_is_what_filters_take_from_real_nights() -> None:
    with np.load(RAW) as file:
        epochs = file["counts"][::10].astype(np.float32) * file["microvolt_per_count"]
    before = np.array([describe(epoch[None]) for epoch in epochs])
    rng = np.random.default_rng(0)
    drawn = [np.median(low_pass(before, rng) - before, axis=0)[TOP] for _ in range(300)]
    for edge in (28.0, 32.0, 40.0):
        taps = signal.firwin(91, edge, width=6.0, fs=100.0)
        filtered = signal.lfilter(taps, 1.0, epochs, axis=1).astype(np.float32)
        after = np.array([describe(epoch[None]) for epoch in filtered])
        change = np.median(after - before, axis=0)
        assert np.all(np.abs(np.delete(change, TOP)) < 0.3)
        off = np.abs(np.array(drawn) - change[TOP]) / np.array([0.2, 1.0])
        assert off.max(axis=1).min() < 1.0  # one of the draws is such a filter
