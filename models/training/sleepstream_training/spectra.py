"""Spectral numbers of whole nights, and what another amplifier would have made of them.

In come the 34 features per epoch of ``sleep_edf_features/fpzcz_34.npz`` (order and units are in the
README of the data); out go the seventeen numbers that `sleepstream.stager.spectral.describe` gives
for the same epoch, as they are or bent as another gain, montage or filter bends them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sleepstream.stager.spectral import BANDS_HZ, N_WAVELET_BANDS

Array = npt.NDArray[Any]

LOG_UV2_PER_V2 = float(np.log(1e12))

_PER_BAND = 4  # energy, log energy, entropy, variance of each wavelet band
_LOG_ENERGIES = slice(1, _PER_BAND * N_WAVELET_BANDS, _PER_BAND)
_ENTROPIES = slice(2, _PER_BAND * N_WAVELET_BANDS, _PER_BAND)
_SHARES = slice(_PER_BAND * N_WAVELET_BANDS, _PER_BAND * N_WAVELET_BANDS + len(BANDS_HZ))

_WAVELET_HZ = np.array([0.8, 2.3, 4.7, 9.4, 18.8, 37.5])  # middles of the wavelet bands
_BAND_HZ = np.array([2.2, 6.0, 10.5, 21.0, 37.5])
_KNOTS_HZ = np.array([0.5, 1.5, 4.0, 8.0, 16.0, 32.0, 50.0])


_CUT_HZ = np.array([25.0, 28.0, 32.0, 36.0, 40.0, 45.0, 50.0])
_CUT_ENERGY = np.array([-1.0, -0.69, -0.41, -0.25, -0.14, -0.03, 0.0])
_CUT_SHARE = np.array([-6.3, -6.3, -1.73, -0.71, -0.32, -0.03, 0.0])
"""What a low-pass there takes from the log energy of the highest wavelet band and from the log
share of the highest band: medians over raw nights of UCDDB that the encoder learns from."""


def numbers_of(features: Array) -> Array:
    """Return the seventeen numbers, shape (n, 17), of 34 features, shape (n, 34)."""
    energies = features[:, _LOG_ENERGIES] + LOG_UV2_PER_V2
    shares = np.log(np.maximum(features[:, _SHARES], 1e-6))
    rows = np.concatenate([energies, features[:, _ENTROPIES], shares], axis=1)
    return rows.astype(np.float32)


def bend(numbers: Array, rng: np.random.Generator) -> Array:
    """Return the numbers of one recording as another amplifier and montage would have given them.

    The spectrum is multiplied by a smooth curve: another derivation is mostly that. At times it is
    cut off at one end, or hum and amplifier noise fill the top.

    Parameters
    ----------
    numbers : ndarray, shape (n_epochs, 17)
        One recording.
    rng : Generator
        Draws one amplifier.

    Returns
    -------
    ndarray of float64, shape (n_epochs, 17)
        Entropies are left as they are: within a band a smooth curve hardly moves them.
    """
    curve = _log_response(rng)
    energies = numbers[:, :N_WAVELET_BANDS] + 2.0 * curve(_WAVELET_HZ) + rng.normal(0.0, 1.2)
    if rng.random() < 0.15:  # hum, or noise of the amplifier
        level = energies[:, 2:4].mean() + rng.uniform(-3.0, 1.0)
        energies[:, -1] = np.logaddexp(energies[:, -1], level)
    first = 2 * N_WAVELET_BANDS
    before = np.exp(numbers[:, first:])
    total = np.minimum(before.sum(axis=1, keepdims=True), 1.0)
    after = before * np.exp(2.0 * curve(_BAND_HZ))
    shares = np.log(np.maximum(after / after.sum(axis=1, keepdims=True) * total, 1e-6))
    entropies = numbers[:, N_WAVELET_BANDS:first]
    bent: Array = np.concatenate([np.maximum(energies, 0.0), entropies, shares], axis=1)
    return bent + rng.normal(0.0, 0.04, bent.shape)


def low_pass(numbers: Array, rng: np.random.Generator) -> Array:
    """Return the numbers of one recording as an amplifier or a sampling rate cuts off its top.

    Parameters
    ----------
    numbers : ndarray, shape (n_epochs, 17)
        One recording.
    rng : Generator
        Draws the edge of the filter.

    Returns
    -------
    ndarray of float64, shape (n_epochs, 17)
        Nothing below the highest band is changed, and no entropy: they move by less than 0.3.
    """
    edge = rng.uniform(_CUT_HZ[0], _CUT_HZ[-1])
    cut: Array = numbers.astype(np.float64)
    cut[:, N_WAVELET_BANDS - 1] += np.interp(edge, _CUT_HZ, _CUT_ENERGY) * rng.uniform(0.7, 1.5)
    cut[:, -1] += np.interp(edge, _CUT_HZ, _CUT_SHARE) * rng.uniform(0.7, 1.5)
    cut[:, -1] = np.maximum(cut[:, -1], np.log(1e-6))
    return cut


def _log_response(rng: np.random.Generator) -> Any:
    """Draw the logarithm of an amplitude response; return it as a function of hertz."""
    gain = np.concatenate([[0.0], np.cumsum(rng.normal(0.0, 0.3, len(_KNOTS_HZ) - 1))])
    gain *= rng.choice([0.0, 0.5, 1.0, 1.4])
    if rng.random() < 0.5:  # central leads have more above 6 Hz than frontal ones
        gain += (_KNOTS_HZ > 6.0) * rng.uniform(-0.4, 1.2)
    if rng.random() < 0.15:  # low-pass
        gain -= (_KNOTS_HZ > 20.0) * rng.uniform(0.0, 2.5) + (_KNOTS_HZ > 33.0) * rng.uniform(0, 2)
    if rng.random() < 0.15:  # high-pass
        gain -= (_KNOTS_HZ < 1.0) * rng.uniform(0.0, 1.0)
    return lambda hertz: np.interp(np.log2(hertz), np.log2(_KNOTS_HZ), gain)
