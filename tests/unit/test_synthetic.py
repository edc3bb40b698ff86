"""The synthetic night: each stage has the rhythm that defines it, and a seed says which night."""

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt, welch
from sleepstream_replay import waves
from sleepstream_replay.hypnogram import N3, REM, STAGE_LABELS, synthetic_hypnogram
from sleepstream_replay.synthetic import synthetic_night

SFREQ = 100.0
EPOCH_N_SAMPLES = 3000
FPZ, C4, EOG = range(3)


@pytest.fixture(scope="module")
def night():
    return synthetic_night(hours=4.0, seed=3)


@pytest.fixture(scope="module")
def epochs(night):
    """Microvolts by stage label, shape (n_epochs, n_channels, n_samples)."""
    data = night.read(0, night.n_samples) * 1e6
    cut = data.reshape(3, -1, EPOCH_N_SAMPLES).transpose(1, 0, 2)
    labels = np.array([stage.label for stage in night.stages])
    return {label: cut[labels == label] for label in STAGE_LABELS}


def power(epochs, channel, low_hz, high_hz):
    hz, density = welch(epochs[:, channel], SFREQ, nperseg=400)
    inside = (hz >= low_hz) & (hz < high_hz)
    return float(np.median(density[:, inside].mean(axis=1)))


def test_the_same_seed_gives_the_same_samples():
    first, second = synthetic_night(0.2, seed=5), synthetic_night(0.2, seed=5)
    np.testing.assert_array_equal(first.read(0, 72_000), second.read(0, 72_000))
    assert first.stages == second.stages


def test_another_seed_gives_another_night():
    first, second = synthetic_night(0.2, seed=5), synthetic_night(0.2, seed=6)
    assert not np.array_equal(first.read(0, 72_000), second.read(0, 72_000))


def test_it_says_what_it_is(night):
    assert night.synthetic
    assert "synthetic" in night.name
    assert night.labels == ("EEG Fpz-Cz", "EEG C4-M1", "EOG horizontal")
    assert night.units == ("V", "V", "V")


def test_every_epoch_has_its_stage(night):
    assert [stage.onset_s for stage in night.stages] == [30.0 * i for i in range(480)]
    assert {stage.label for stage in night.stages} == set(STAGE_LABELS)


def test_the_shortest_night_is_one_epoch():
    assert synthetic_night(0.001).n_samples == EPOCH_N_SAMPLES


def test_amplitudes_are_those_of_an_eeg(epochs):
    for label, cut in epochs.items():
        assert np.isfinite(cut).all(), label
        assert 5.0 < np.median(cut[:, FPZ].std(axis=1)) < 60.0, label
        assert np.abs(cut).max() < 1000.0, label


def test_alpha_marks_wake(epochs):
    assert power(epochs["W"], FPZ, 8, 12) > 2.0 * power(epochs["N2"], FPZ, 8, 12)


def test_muscle_is_tense_awake_and_slack_in_rem(epochs):
    assert power(epochs["W"], FPZ, 25, 40) > 4.0 * power(epochs["REM"], FPZ, 25, 40)


def test_theta_outweighs_alpha_in_n1_but_not_in_wake(epochs):
    ratio = {
        label: power(epochs[label], FPZ, 4, 8) / power(epochs[label], FPZ, 8, 12)
        for label in ("W", "N1")
    }
    assert ratio["N1"] > 1.0 > ratio["W"]


@pytest.mark.parametrize("channel", [FPZ, C4])
def test_the_spindle_band_stands_out_in_n2(epochs, channel):
    n2 = epochs["N2"]
    spindles = power(n2, channel, 12.5, 14.0)
    assert spindles > 1.3 * power(n2, channel, 15.5, 18.0)
    assert spindles / power(n2, channel, 9.0, 11.0) > 1.5 * (
        power(epochs["REM"], channel, 12.5, 14.0) / power(epochs["REM"], channel, 9.0, 11.0)
    )


def slow_wave_share(epochs):
    """Share of the time in half-waves of 0.5 to 2 Hz that exceed 75 µV from peak to peak."""
    sos = butter(2, (0.4, 2.2), "bandpass", fs=SFREQ, output="sos")
    slow = sosfiltfilt(sos, epochs[:, FPZ].ravel())
    span = slow.reshape(-1, 100)
    return float(np.mean(span.max(axis=1) - span.min(axis=1) > 75.0))


def test_slow_waves_fill_a_fifth_of_n3_and_little_of_n2(epochs):
    assert slow_wave_share(epochs["N3"]) > 0.2
    assert slow_wave_share(epochs["N2"]) < 0.2
    assert power(epochs["N3"], FPZ, 0.5, 2) > 4.0 * power(epochs["N2"], FPZ, 0.5, 2)


def test_spindles_ride_on_the_slow_waves_of_n3(epochs):
    trace = epochs["N3"][:, FPZ].ravel()
    slow = sosfiltfilt(butter(2, (0.3, 1.0), "bandpass", fs=SFREQ, output="sos"), trace)
    sigma = sosfiltfilt(butter(2, (12.0, 15.0), "bandpass", fs=SFREQ, output="sos"), trace) ** 2
    assert sigma[slow > slow.std()].mean() > 1.5 * sigma[slow < -slow.std()].mean()


def test_eyes_move_in_rem_and_roll_in_n1(epochs):
    n2 = power(epochs["N2"], EOG, 0.3, 2)
    assert power(epochs["REM"], EOG, 0.3, 2) > 2.0 * n2
    assert power(epochs["N1"], EOG, 0.25, 0.75) > 2.0 * power(epochs["N2"], EOG, 0.25, 0.75)


def test_another_rate_makes_a_night_like_it(night):
    fast = synthetic_night(hours=0.5, seed=3, sfreq=256.0)
    assert fast.n_samples == (1800 * 256)
    ratio = fast.read(0, fast.n_samples).std(axis=1) / night.read(0, 180_000).std(axis=1)
    assert ((ratio > 0.3) & (ratio < 3.0)).all()


def test_proportions_are_those_of_a_healthy_night():
    nights = np.concatenate(
        [synthetic_hypnogram(960, np.random.default_rng(seed)) for seed in range(20)]
    )
    share = np.bincount(nights, minlength=5) / len(nights)
    for stage, (low, high) in enumerate(
        [(0.03, 0.15), (0.03, 0.10), (0.40, 0.60), (0.12, 0.25), (0.15, 0.28)]
    ):
        assert low < share[stage] < high, STAGE_LABELS[stage]


def test_deep_sleep_comes_early_and_rem_late():
    for seed in range(10):
        first, second = np.split(synthetic_hypnogram(960, np.random.default_rng(seed)), 2)
        assert np.sum(first == N3) > np.sum(second == N3)
        assert np.sum(first == REM) < np.sum(second == REM)


def test_band_noise_has_unit_variance_and_stays_in_its_band():
    noise = waves.band_noise(np.random.default_rng(0), 100_000, SFREQ, (8.0, 12.0))
    hz, density = welch(noise, SFREQ, nperseg=1000)
    outside = (hz < 6.5) | (hz > 14.0)
    assert noise.std() == pytest.approx(1.0, abs=0.05)
    assert density[outside].sum() < 1e-3 * density.sum()


def test_no_event_starts_or_ends_with_a_step():
    made = {
        "spindle": waves.spindle(SFREQ, 13.0, 1.0, 0.4),
        "K-complex": waves.k_complex(SFREQ, 1.0),
        "vertex wave": waves.vertex_wave(SFREQ, 0.4),
        "sawtooth": waves.sawtooth(SFREQ, 3.0, 2.0),
        "saccade": waves.saccade(SFREQ, 0.1, 0.8),
        "rolling": waves.slow_eye_movement(SFREQ, 3.0),
        "blink": waves.blink(SFREQ, 0.3),
    }
    for name, wave in made.items():
        assert abs(wave[0]) < 0.15, name
        assert abs(wave[-1]) < 0.15, name
        assert 0.4 < np.abs(wave).max() <= 1.05, name
