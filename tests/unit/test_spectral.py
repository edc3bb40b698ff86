import numpy as np
import pytest

from sleepstream.stager import spectral

SECONDS = np.arange(3000) / 100.0


def noise(seed: int = 0, scale: float = 20.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(1, 3000)) * scale).astype(np.float32)


def tone(hz: float, microvolts: float = 20.0) -> np.ndarray:
    return (microvolts * np.sin(2 * np.pi * hz * SECONDS) + noise(1, 0.1)).astype(np.float32)


@pytest.mark.parametrize(
    ("hz", "wavelet_band", "share"), [(1, 0, 0), (5, 2, 1), (10, 3, 2), (20, 4, 3), (35, 5, 4)]
)
def test_a_rhythm_is_where_it_belongs(hz: float, wavelet_band: int, share: int):
    numbers = spectral.describe(tone(hz))
    assert numbers[: spectral.N_WAVELET_BANDS].argmax() == wavelet_band
    assert numbers[2 * spectral.N_WAVELET_BANDS :].argmax() == share


def test_the_numbers_are_those_of_the_published_feature_set():
    # energy, log energy, entropy and variance of each coefficient array, of the epoch in volts
    pywt = pytest.importorskip("pywt")
    epoch = noise(3)
    parts = pywt.wavedec(epoch[0].astype(float) * 1e-6, "db4", level=5)
    energies = np.array([np.log((part**2).sum() + 1e-12) for part in parts])
    numbers = spectral.describe(epoch)
    np.testing.assert_allclose(numbers[:6], energies + np.log(1e12), rtol=1e-5)


def test_a_flat_epoch_gives_finite_numbers():
    assert np.isfinite(spectral.describe(np.zeros((1, 3000), dtype=np.float32))).all()


@pytest.mark.parametrize("gain", [0.3, 3.0])
def test_the_gain_of_a_recording_does_not_matter(gain: float):
    before, louder = spectral.start(), spectral.start()
    for seed in range(5):
        epoch = noise(seed)
        before, row = spectral.advance(before, spectral.describe(epoch)[None], [True])
        louder, same = spectral.advance(
            louder, spectral.describe(np.float32(gain) * epoch)[None], [True]
        )
        np.testing.assert_allclose(row, same, atol=0.02)


def test_a_tilt_of_the_spectrum_is_taken_out_after_a_while():
    tilt = np.zeros(spectral.N_NUMBERS)
    tilt[4:6] = 2.0
    plain, tilted = spectral.start(), spectral.start()
    for seed in range(200):
        numbers = spectral.describe(noise(seed))
        plain, row = spectral.advance(plain, numbers[None], [True])
        tilted, other = spectral.advance(tilted, (numbers + tilt)[None], [True])
    distance = slice(spectral.N_NUMBERS, 2 * spectral.N_NUMBERS)
    np.testing.assert_allclose(row[0, distance], other[0, distance], atol=0.08)


def test_an_epoch_that_is_not_there_leaves_no_trace():
    before, _ = spectral.advance(spectral.start(), spectral.describe(noise())[None], [True])
    after, row = spectral.advance(before, np.full((1, spectral.N_NUMBERS), np.nan), [False])
    assert not row.any()
    assert all(
        np.array_equal(getattr(before, name), getattr(after, name))
        for name in ("n_epochs", "gain", "mean")
    )


def test_recordings_side_by_side_are_those_of_each():
    numbers = np.stack([spectral.describe(noise(seed)) for seed in range(6)]).reshape(3, 2, -1)
    together, alone = spectral.start(2), [spectral.start(), spectral.start()]
    for pair in numbers:
        together, rows = spectral.advance(together, pair, [True, True])
        for k in range(2):
            alone[k], row = spectral.advance(alone[k], pair[k][None], [True])
            assert np.array_equal(rows[k], row[0])
