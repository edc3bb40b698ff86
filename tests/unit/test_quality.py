"""What spoils an epoch is found, counted in seconds and said in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sleepstream.messages import Artefacts, Chunk, Epoch, Float32Array, Quality
from sleepstream.signal.epocher import Epocher
from sleepstream.signal.montage import Montage
from sleepstream.sources.recording import Recording

NIGHT = Path(__file__).parents[3] / "shared" / "data" / "raw_eeg" / "ucddb018.edf"


def eeg(seconds: float, sfreq: float = 256.0, seed: int = 0) -> Float32Array:
    """Something with the spectrum of EEG: about 15 µV, falling with the frequency, and noise."""
    rng = np.random.default_rng(seed)
    n = int(seconds * sfreq)
    spectrum = np.fft.rfft(rng.normal(size=n))
    freqs = np.fft.rfftfreq(n, 1 / sfreq)
    slow = np.fft.irfft(spectrum * (freqs > 0.5) / np.maximum(freqs, 2.0), n)
    samples = 15 * slow / slow.std() + rng.normal(size=n)
    return samples.astype(np.float32)


def epochs_of(samples: Float32Array, sfreq: float = 256.0, unit: str = "uV") -> list[Epoch]:
    epocher = Epocher(sfreq, Montage("C4-M1", (0,), 0, (1.0,), unit))
    stamps = np.arange(samples.size) / sfreq
    return list(epocher.push(Chunk(stamps, samples[np.newaxis])))


def at(start_s: float, stop_s: float, sfreq: float = 256.0) -> slice:
    return slice(int(start_s * sfreq), int(stop_s * sfreq))


def hum(samples: Float32Array, hz: float, amplitude_uv: float, sfreq: float) -> Float32Array:
    t = np.arange(samples.size) / sfreq
    wave = amplitude_uv * np.sin(2 * np.pi * hz * t + 1.0)
    return (samples + wave).astype(np.float32)


def test_eeg_is_good() -> None:
    for epoch in epochs_of(eeg(121)):
        assert epoch.quality == Quality(1.0)
        assert epoch.quality.verdict == "good"
        assert epoch.scorable


def test_each_artefact_is_counted_and_the_worst_stands_first() -> None:
    samples = eeg(121)
    rng = np.random.default_rng(1)
    samples[at(65, 70)] = 12.0
    samples[at(71, 74)] = np.clip(40 * samples[at(71, 74)], -400, 400)
    samples[at(75, 77)] = np.nan
    burst = rng.normal(size=12 * 256) * 60
    samples[at(78, 90)] += burst.astype(np.float32)
    swing = 900 * np.sin(2 * np.pi * np.arange(256) / 256)
    samples[at(98, 99)] += swing.astype(np.float32)
    one, two, three, four = epochs_of(samples)
    assert (one.quality, two.quality) == (Quality(1.0), Quality(1.0))
    found = three.quality
    assert 12 <= found.seconds.muscle <= 16  # the edges of the others are fast, too
    assert found.verdict == f"muscle for {found.seconds.muscle:.0f} s"
    others = {"flat for 5 s", "saturated for 3 s", "no numbers (NaN) for 2 s"}
    assert others <= set(found.reasons[1:])
    assert found.seconds.nan == pytest.approx(2, abs=0.02)
    assert three.scorable is (three.valid >= 0.8)
    assert found.score < 0.5
    assert four.quality.seconds.movement >= 1
    assert "movement" in four.quality.verdict
    assert four.scorable


@pytest.mark.parametrize("gain", [0.3, 3.0])
def test_the_gain_of_the_amplifier_changes_nothing(gain: float) -> None:
    samples = eeg(121)
    samples[at(78, 90)] += (np.random.default_rng(1).normal(size=12 * 256) * 25).astype(np.float32)
    louder = epochs_of(samples * np.float32(gain))
    assert [e.quality for e in louder] == [e.quality for e in epochs_of(samples)]


@pytest.mark.parametrize(
    ("sfreq", "hz", "known"),
    [(64.0, 50, None), (100.0, 50, 50), (128.0, 50, 50), (256.0, 60, 60), (500.0, 50, 50)],
)
def test_mains_is_seen_as_far_as_the_rate_allows(sfreq: float, hz: int, known: int | None) -> None:
    (epoch,) = epochs_of(hum(eeg(31, sfreq), hz, 60.0, sfreq), sfreq)
    if known is None:
        assert epoch.quality.seconds.mains is None
        return
    assert epoch.quality.seconds.mains == 30.0
    assert epoch.quality.verdict.startswith(f"{hz} Hz mains is stronger than the EEG for 30 s")
    filtered = sfreq > 100
    assert epoch.quality.score == (1.0 if filtered else 0.0)
    assert ("filtered out" in epoch.quality.verdict) is filtered
    assert epoch.scorable


def test_mains_that_drowns_the_eeg_counts_even_where_it_is_filtered_out() -> None:
    (epoch,) = epochs_of(hum(eeg(31), 50, 400.0, 256.0))
    assert epoch.quality.verdict == (
        "50 Hz mains is stronger than the EEG for 30 s: check the contact"
    )
    assert epoch.quality.score == 0.0
    assert epoch.scorable


def test_muscle_is_not_taken_for_mains() -> None:
    samples = eeg(61)
    samples[at(40, 50)] += (np.random.default_rng(1).normal(size=2560) * 60).astype(np.float32)
    seconds = epochs_of(samples)[1].quality.seconds
    assert seconds.mains == 0
    assert seconds.muscle == 10


def test_an_amplitude_that_never_was_that_of_eeg_is_a_question_of_the_unit() -> None:
    for epoch in epochs_of(eeg(61) * np.float32(0.01)):
        assert epoch.quality.score == 0.0
        assert epoch.quality.seconds == Artefacts(amplitude=30.0)
        assert epoch.quality.verdict.startswith("an amplitude of 0.1")
        assert epoch.quality.verdict.endswith("is no scalp EEG: is the unit mV and not uV?")
        assert epoch.scorable  # the networks do not mind the gain


def test_an_amplitude_that_was_that_of_eeg_and_is_not_has_lost_its_electrode() -> None:
    samples = eeg(121)
    samples[at(60, 90)] *= np.float32(1000)
    *_, off, on = epochs_of(samples)
    assert not off.scorable
    assert "is no scalp EEG: the electrode has come off" in off.quality.verdict
    assert on.scorable


def test_what_never_came_and_what_was_no_number_are_told_apart() -> None:
    sfreq, samples = 256.0, eeg(61)
    samples[at(5, 9)] = np.nan
    stamps = np.arange(samples.size) / sfreq
    stamps[at(12, 61)] += 10.0
    epocher = Epocher(sfreq, Montage("C4-M1", (0,), 0, (1.0,), "uV"))
    first = next(epocher.push(Chunk(stamps, samples[np.newaxis])))
    assert first.quality.reasons == ("nothing came for 10 s", "no numbers (NaN) for 4 s")
    assert first.valid == pytest.approx(16 / 30, abs=1e-3)
    assert not first.scorable


def test_a_window_between_two_epochs_leaves_no_trace() -> None:
    sfreq, samples = 100.0, eeg(95, 100.0)
    samples[4000:5000] += (np.random.default_rng(1).normal(size=1000) * 60).astype(np.float32)
    watched, alone = (Epocher(sfreq, Montage("x", (0,), 0, (1.0,), "uV")) for _ in range(2))
    said: list[list[Quality]] = [[], []]
    for start in range(0, samples.size, 100):
        chunk = Chunk(
            np.arange(start, start + 100) / sfreq, samples[np.newaxis, start : start + 100]
        )
        for epocher, out in zip((watched, alone), said, strict=True):
            out += [epoch.quality for epoch in epocher.push(chunk)]
        watched.window()
    assert said[0] == said[1]


@pytest.mark.data
@pytest.mark.skipif(not NIGHT.is_file(), reason=f"needs the recording {NIGHT.name} beside it")
def test_a_night_with_apnoea_is_staged_from_end_to_end() -> None:
    recording = Recording(NIGHT)
    epocher = Epocher(recording.sfreq, Montage("C3-A2", (0,), 0, (1.0,), "V"))
    chunks = recording.chunks((0,), (1e6,))
    qualities = [epoch for chunk in chunks for epoch in epocher.push(chunk)]
    assert all(epoch.scorable for epoch in qualities)
    scores = np.array([epoch.quality.score for epoch in qualities])
    assert (scores < 0.5).mean() < 0.02
    assert scores.mean() > 0.95
    stages = np.array([-1 if s is None else s for s in recording.reference() or ()])
    assert scores[stages[: scores.size] == 3].mean() > 0.99
    # what is wrong with it is waking up
    assert scores[stages[: scores.size] == 0].mean() < scores.mean()
    assert epocher.take_notes() == []
