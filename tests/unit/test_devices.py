"""Each network computes where it was put: torch's meta device stands in for a GPU."""

from __future__ import annotations

import pytest
import torch

from sleepstream.stager import context
from sleepstream.stager.encoder import ARCHITECTURES
from sleepstream.stager.gpt import Gpt, GptShape, KVCache
from sleepstream.stager.sleepgpt import SleepGpt

# it knows shapes and no numbers, and refuses, as a GPU does, to compute with a tensor of the CPU
ELSEWHERE = torch.device("meta")


@pytest.mark.parametrize("arch", sorted(ARCHITECTURES))
def test_an_encoder_stays_on_its_device(arch: str) -> None:
    network = ARCHITECTURES[arch]().to(ELSEWHERE).eval()
    shape = (1, getattr(network, "n_epochs", 1), 3000)
    assert network(torch.zeros(shape, device=ELSEWHERE)).device == ELSEWHERE


def test_the_gpt_and_its_cache_stay_on_their_device() -> None:
    shape = GptShape(n_inputs=context.N_INPUTS, window=2)
    gpt, cache = Gpt(shape).to(ELSEWHERE), KVCache(shape, ELSEWHERE)
    row = torch.zeros((1, 1, context.N_INPUTS), device=ELSEWHERE)
    with torch.inference_mode():
        for _ in range(3):
            assert gpt(row, cache).device == ELSEWHERE
            cache.advance()
        assert gpt(row.expand(2, 5, -1)).device == ELSEWHERE
        with pytest.raises(RuntimeError):
            gpt(row, KVCache(shape, torch.device("cpu")))


def test_the_imported_gpt_stays_on_its_device() -> None:
    network = SleepGpt(context=8, width=12, n_layers=1, n_heads=2).to(ELSEWHERE)
    stages = torch.zeros((1, 5), dtype=torch.int64, device=ELSEWHERE)
    assert network(stages).device == ELSEWHERE
