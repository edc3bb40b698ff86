"""The judge of familiarity: causal, without traces, and indifferent to the gain."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sleepstream_replay.synthetic import synthetic_night

from sleepstream.stager import weights
from sleepstream.stager.familiarity import Familiarity
from sleepstream.stager.spectral import describe

KINDS = ("white", "slow", "tone", "step")


def judge() -> Familiarity:
    return Familiarity.load(weights.find("sleep-eeg", "familiarity"))


def epoch(kind: str, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=3000)
    made = {
        "white": 20 * noise,
        "slow": np.cumsum(noise) - np.linspace(0, noise.sum(), 3000),
        "tone": 30 * np.sin(np.arange(3000) * (0.1 + seed / 50)) + noise,
        "step": 40 * np.sign(noise[::50]).repeat(50) + noise,
    }
    return made[kind].astype(np.float32)[None]


epochs = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 50)), min_size=2, max_size=30)


@given(past=epochs, one=epochs, other=epochs)
@settings(max_examples=25, deadline=None)
def test_another_future_gives_the_same_past_and_peeking_leaves_no_trace(
    past: list[tuple[str, int]], one: list[tuple[str, int]], other: list[tuple[str, int]]
) -> None:
    first, second = judge(), judge()
    for kind, seed in past:
        numbers = describe(epoch(kind, seed))
        assert first.step(numbers) == second.step(numbers)
        for ahead in other[:3]:
            second.peek(describe(epoch(*ahead)))
    again = [first.step(describe(epoch(*each))) for each in one]
    assert [second.step(describe(epoch(*each))) for each in one] == again
    first.reset()
    fresh = judge()
    for kind, seed in past:
        numbers = describe(epoch(kind, seed))
        assert first.step(numbers) == fresh.step(numbers)


@pytest.fixture(scope="module")
def eeg() -> np.ndarray:
    made = synthetic_night(0.5, 5)
    return np.asarray(made.read(0, made.n_samples)[0] * 1e6, dtype=np.float32).reshape(-1, 1, 3000)


@given(first=st.integers(0, 50), beside=st.floats(0, 5), gain=st.floats(0.3, 3.0))
@settings(max_examples=15, deadline=None)
def test_another_gain_gives_the_same_familiarity(
    eeg: np.ndarray, first: int, beside: float, gain: float
) -> None:
    plain, louder = judge(), judge()
    for row in eeg[first : first + 10]:
        data = row + np.float32(beside) * epoch("step", first) / 4
        one = plain.step(describe(data)).familiarity
        other = louder.step(describe(data * np.float32(gain))).familiarity
        assert other == pytest.approx(one, abs=0.01)
