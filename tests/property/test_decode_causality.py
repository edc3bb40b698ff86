"""A decoded row depends on the rows up to it and on no later one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepstream.commands.decode import corrected
from sleepstream.corpora.probabilities import parse
from sleepstream.stager import weights
from sleepstream.stager.decoders import load_decoder

N_EPOCHS = 40
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def lines(seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.full(5, 0.3), N_EPOCHS)
    return [",,,," if rng.random() < 0.1 else ",".join(f"{p:.6f}" for p in row) for row in rows]


def decoded(rows: list[str], decoder: str) -> list[dict]:
    table = parse("\n".join(["N1,N2,N3,R,W", *rows]), "x")
    return [epoch.as_json() for epoch in corrected(table, load_decoder(weights.find(decoder), CPU))]


@pytest.mark.parametrize("decoder", ["gpt", "gpt-fusion", "hmm", "none"])
@settings(max_examples=8, deadline=None)
@given(cut=st.integers(1, N_EPOCHS - 1), seed=st.integers(0, 100))
def test_another_future_gives_the_same_past(decoder: str, cut: int, seed: int):
    rows, others = lines(seed), lines(seed + 1000)
    said = decoded(rows, decoder)
    assert said[:cut] == decoded(rows[:cut] + others[cut:], decoder)[:cut]
    assert said[:cut] == decoded(rows[:cut], decoder)
