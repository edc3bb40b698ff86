"""A network that reads a sequence hears nothing of the future, and a peek leaves no trace."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepstream.stager.encoder import Encoder
from sleepstream.stager.seqsleepnet import SeqSleepNet
from sleepstream.stager.weights import ModelFiles

N_EPOCHS = 26  # more than one sequence


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def encoder() -> Encoder:
    torch.manual_seed(0)
    files = ModelFiles("x", Path(), "encoder", "seqsleepnet", "", {"front_end": "running-gain"}, {})
    return Encoder(files, SeqSleepNet(), torch.device("cpu"))


def night(seed: int) -> list[np.ndarray | None]:
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.normal(2, 1, N_EPOCHS))
    return [
        None if rng.random() < 0.1 else (size * rng.normal(size=(1, 3000))).astype(np.float32)
        for size in sizes
    ]


def say(subject: Encoder, epoch: np.ndarray | None) -> list[float] | None:
    if epoch is None:
        subject.skip()
        return None
    return subject.step(epoch).probs.tolist()


@settings(max_examples=5, deadline=None)
@given(cut=st.integers(1, N_EPOCHS - 1), seed=st.integers(0, 100))
def test_another_future_gives_the_same_past(cut: int, seed: int):
    one, other = encoder(), encoder()
    whole = [say(one, epoch) for epoch in night(seed)]
    changed = [say(other, epoch) for epoch in night(seed)[:cut] + night(seed + 1000)[cut:]]
    assert whole[:cut] == changed[:cut]


@settings(max_examples=5, deadline=None)
@given(
    peeks=st.lists(st.integers(0, 2), min_size=N_EPOCHS, max_size=N_EPOCHS),
    seed=st.integers(0, 100),
)
def test_a_peek_leaves_no_trace(peeks: list[int], seed: int):
    plain, peeking = encoder(), encoder()
    windows = np.random.default_rng(seed).normal(size=(2, 1, 3000)).astype(np.float32)
    for epoch, n_peeks in zip(night(seed), peeks, strict=True):
        for window in windows[:n_peeks]:
            peeking.peek(window)
        foreseen = None if epoch is None else peeking.peek(epoch).probs.tolist()
        said = say(peeking, epoch)
        assert said == foreseen == say(plain, epoch)
