"""The cached step is the full recompute, at every step and beyond the window."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepstream.stager import context, spectral
from sleepstream.stager.decoder import DecoderOutput, GptDecoder
from sleepstream.stager.gpt import Gpt, GptShape, KVCache, split

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network(seed: int, **sizes: int) -> Gpt:
    generator = torch.Generator().manual_seed(seed)
    shape = GptShape(n_inputs=context.N_INPUTS, n_spectral=spectral.N_INPUTS, **sizes)
    gpt = Gpt(shape).eval()
    with torch.no_grad():
        for parameter in gpt.parameters():
            parameter.copy_(0.15 * torch.randn(parameter.shape, generator=generator))
    return gpt


def night(n_epochs: int, seed: int) -> list[np.ndarray | None]:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(5, 0.3), size=n_epochs).astype(np.float32)
    return [None if rng.random() < 0.05 else row for row in probs]


def spectrum_of(probs: np.ndarray | None) -> np.ndarray | None:
    """Numbers as `spectral.describe` gives them, at times unknown."""
    if probs is None or probs[0] > 0.9:
        return None
    return (np.resize(probs, spectral.N_NUMBERS) * 3.0 + 1.0).astype(np.float32)


def inputs(epochs: list[np.ndarray | None]) -> torch.Tensor:
    state, usual, rows = context.start(), spectral.start(), []
    for probs in epochs:
        numbers = spectrum_of(probs)
        state, row = context.advance(
            state, np.zeros((1, 5)) if probs is None else probs[None], [probs is not None]
        )
        usual, spectrum = spectral.advance(
            usual,
            np.zeros((1, spectral.N_NUMBERS)) if numbers is None else numbers[None],
            [numbers is not None],
        )
        rows.append(np.concatenate([row[0], spectrum[0]]))
    return torch.from_numpy(np.stack(rows))


@torch.inference_mode()
def stepped(gpt: Gpt, rows: torch.Tensor) -> torch.Tensor:
    cache, said = KVCache(gpt.shape, CPU), []
    for row in rows:
        said.append(gpt(row[None, None], cache)[0, 0])
        cache.advance()
    return torch.stack(said)


def equal(a: DecoderOutput, b: DecoderOutput) -> bool:
    return (
        np.array_equal(a.probs, b.probs)
        and np.array_equal(a.forecast, b.forecast)
        and (a.p_wake_5min, a.p_rem_5min) == (b.p_wake_5min, b.p_rem_5min)
    )


def test_every_step_of_a_day_equals_the_full_recompute():
    gpt, rows = network(0), inputs(night(2880, 0))
    with torch.inference_mode():
        full = gpt(rows[None])[0]
    assert torch.allclose(stepped(gpt, rows), full, atol=1e-5, rtol=0)


@settings(max_examples=25, deadline=None)
@given(window=st.integers(1, 40), n_epochs=st.integers(1, 120), seed=st.integers(0, 1000))
def test_beyond_the_window_too(window: int, n_epochs: int, seed: int):
    gpt = network(seed, width=16, n_layers=2, n_heads=2, window=window)
    rows = inputs(night(n_epochs, seed))
    with torch.inference_mode():
        full = gpt(rows[None])[0]
    assert torch.allclose(stepped(gpt, rows), full, atol=1e-5, rtol=0)


def test_what_is_out_of_the_window_is_forgotten():
    gpt = network(1, width=16, n_layers=1, n_heads=2, window=8)
    rows = inputs(night(30, 1))
    other = rows.clone()
    other[:20] = inputs(night(30, 2))[:20]
    with torch.inference_mode():
        a, b = gpt(rows[None])[0], gpt(other[None])[0]
    changed = [not torch.equal(x, y) for x, y in zip(a[20:], b[20:], strict=True)]
    assert changed == [True] * 7 + [False] * 3


@settings(max_examples=12, deadline=None)
@given(
    window=st.integers(1, 30),
    n_epochs=st.integers(1, 60),
    peeks=st.lists(st.integers(0, 3), min_size=60, max_size=60),
    seed=st.integers(0, 1000),
)
def test_a_peek_leaves_no_trace(window: int, n_epochs: int, peeks: list[int], seed: int):
    gpt = network(seed, width=16, n_layers=2, n_heads=2, window=window)
    plain, peeking = GptDecoder(gpt, CPU, "a", "0"), GptDecoder(gpt, CPU, "a", "0")
    windows = night(4 * n_epochs, seed + 1)
    for epoch, n_peeks in zip(night(n_epochs, seed), peeks, strict=False):
        for _ in range(n_peeks):
            window_probs = windows.pop()
            peeking.peek(window_probs, spectrum_of(window_probs))
            windows = windows or night(60, seed)
        foreseen = peeking.peek(epoch, spectrum_of(epoch))
        said = peeking.step(epoch, spectrum_of(epoch))
        assert equal(foreseen, said)
        assert equal(said, plain.step(epoch, spectrum_of(epoch)))


def test_a_reset_decoder_is_a_new_one():
    gpt, epochs = network(3, width=16, n_layers=2, n_heads=2, window=10), night(40, 3)
    used, new = GptDecoder(gpt, CPU, "a", "0"), GptDecoder(gpt, CPU, "a", "0")
    for epoch in night(25, 4):
        used.step(epoch, spectrum_of(epoch))
    used.reset()
    for epoch in epochs:
        spectrum = spectrum_of(epoch)
        assert equal(used.step(epoch, spectrum), new.step(epoch, spectrum))


def test_the_decoder_builds_the_inputs_that_training_builds():
    gpt, epochs = network(5, width=16, n_layers=2, n_heads=2, window=64), night(50, 5)
    decoder = GptDecoder(gpt, CPU, "a", "0")
    said = [decoder.step(epoch, spectrum_of(epoch)).probs for epoch in epochs]
    with torch.inference_mode():
        now, _, _ = split(gpt(inputs(epochs)[None])[0])
    np.testing.assert_allclose(np.stack(said), now.softmax(-1), atol=1e-5)


@settings(max_examples=12, deadline=None)
@given(n_nights=st.integers(2, 5), seed=st.integers(0, 1000))
def test_the_context_of_many_nights_is_that_of_each(n_nights: int, seed: int):
    nights = [night(150, seed + k) for k in range(n_nights)]
    state, together = context.start(n_nights), []
    for epochs in zip(*nights, strict=True):
        probs = np.stack([np.zeros(5) if p is None else p for p in epochs])
        state, rows = context.advance(state, probs, [p is not None for p in epochs])
        together.append(rows)
    for k, epochs in enumerate(nights):
        expected = inputs(epochs).numpy()[:, : context.N_INPUTS]
        assert np.array_equal(np.stack(together)[:, k], expected)


def test_the_ring_says_how_old_each_slot_is():
    cache = KVCache(GptShape(n_inputs=1, width=4, n_layers=1, n_heads=1, window=4), CPU)
    seen = []
    for _ in range(6):
        seen.append(cache.ages().tolist())
        cache.advance()
    assert seen == [[0], [1, 0], [2, 1, 0], [3, 2, 1, 0], [0, 3, 2, 1], [1, 0, 3, 2]]
    assert all(len(a) <= len(b) for a, b in pairwise(seen))
