"""What was said at an epoch does not depend on the epochs after it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepstream.messages import Epoch, Quality, frozen
from sleepstream.stager import context, spectral
from sleepstream.stager.decoder import GptDecoder
from sleepstream.stager.disorder import N_FEATURES, DisorderScorer, Meaning
from sleepstream.stager.encoder import EncoderOutput
from sleepstream.stager.gpt import Gpt, GptShape
from sleepstream.stager.stager import Stager

N_EPOCHS = 160


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class RunningScale:
    """An encoder with a memory: probabilities from the signal over its mean amplitude so far."""

    name = "running scale"
    sha256 = "e" * 64

    def __init__(self) -> None:
        self.reset()

    def step(self, data):
        self._sum, self._n = self._sum + np.abs(data).mean(), self._n + 1
        return self.peek(data)

    def peek(self, data):
        odds = np.exp(data[0, :5] * max(self._n, 1) / (self._sum + 1e-6))
        return EncoderOutput(probs=frozen(odds / odds.sum()))

    def skip(self):
        self._n += 1

    def reset(self):
        self._sum, self._n = 0.0, 0


def stager() -> Stager:
    torch.manual_seed(0)
    inputs = {"n_inputs": context.N_INPUTS, "n_spectral": spectral.N_INPUTS}
    shape = GptShape(**inputs, width=16, n_layers=2, n_heads=2, window=64)
    decoder = GptDecoder(Gpt(shape), torch.device("cpu"), "gpt", "0" * 64)
    rng = np.random.default_rng(0)
    tensors = {
        "mean": np.zeros((2, N_FEATURES)),
        "scale": np.ones((2, N_FEATURES)),
        "coefficients": rng.normal(0, 0.1, (2, 5, N_FEATURES + 1)),
    }
    return Stager(
        RunningScale(),
        decoder,
        DisorderScorer(Meaning("x", "y", "z", ""), "1" * 64, tensors),
        "bed",
    )


def night(seed: int) -> list[Epoch]:
    rng = np.random.default_rng(seed)
    return [
        Epoch(
            index=index,
            onset_s=30.0 * index,
            end_s=30.0 * index + 30,
            data=rng.normal(0, 2, (1, 3000)).astype(np.float32),
            valid=1.0,
            quality=Quality(1.0),
            scorable=bool(rng.random() > 0.1),
        )
        for index in range(N_EPOCHS)
    ]


@settings(max_examples=6, deadline=None)
@given(cut=st.integers(1, N_EPOCHS - 1), seed=st.integers(0, 100))
def test_another_future_gives_the_same_past(cut: int, seed: int):
    epochs, others = night(seed), night(seed + 1000)
    one, other = stager(), stager()
    for index in range(cut):
        assert one.step(epochs[index]).as_json() == other.step(epochs[index]).as_json()
    # the windows of a future that never came are a future too
    provisional = other.peek(others[cut])
    assert provisional.epoch == cut
    a = [one.step(epoch).as_json() for epoch in epochs[cut:]]
    b = [other.step(epoch).as_json() for epoch in epochs[cut:]]
    assert a == b


@settings(max_examples=6, deadline=None)
@given(cut=st.integers(1, N_EPOCHS - 1), seed=st.integers(0, 100))
def test_a_night_cut_short_said_what_the_whole_night_says(cut: int, seed: int):
    epochs, others = night(seed), night(seed + 1000)
    whole, changed = stager(), stager()
    said = [whole.step(epoch).as_json() for epoch in epochs]
    with_other_end = [changed.step(epoch).as_json() for epoch in epochs[:cut] + others[cut:]]
    assert said[:cut] == with_other_end[:cut]
