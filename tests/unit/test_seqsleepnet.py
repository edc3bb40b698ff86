"""Networks that read a sequence: the published sizes, and served as they were trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import signal

from sleepstream.messages import Float32Array
from sleepstream.stager.encoder import Encoder
from sleepstream.stager.seqsleepnet import FLOOR, SeqSleepNet
from sleepstream.stager.sequences import DeepSleepNetLstm, SequenceNetwork, TinySleepNetLstm
from sleepstream.stager.weights import ModelFiles

CPU = torch.device("cpu")
NETWORKS = (SeqSleepNet, TinySleepNetLstm, DeepSleepNetLstm)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def epochs(n: int, seed: int = 0) -> Float32Array:
    return np.random.default_rng(seed).normal(size=(n, 1, 3000)).astype(np.float32)


def serve(network: SequenceNetwork, front_end: str = "none") -> Encoder:
    options = {"front_end": front_end}
    files = ModelFiles("x", Path(), "encoder", "seqsleepnet", "", options, {})
    return Encoder(files, network, CPU)


def n_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def gru(n_in: int, n: int) -> int:
    """Count a bidirectional GRU: three gates of inputs, state and the library's two biases."""
    return 2 * 3 * n * (n_in + n + 2)


def lstm(n_in: int, n: int) -> int:
    return 4 * n * (n_in + n + 2)


def test_seqsleepnet_has_the_published_sizes() -> None:
    network = SeqSleepNet()
    attention = 128 * 64 + 64 + 64
    output = 128 * 5 + 5
    expected = 129 * 32 + gru(32, 64) + attention + gru(128, 64) + output
    assert n_parameters(network) == expected == 125_221
    assert network.n_epochs == 20
    assert network.image(torch.zeros(2, 1, 3000)).shape == (2, 129, 29)


def test_the_lstms_have_the_published_sizes() -> None:
    assert n_parameters(TinySleepNetLstm().lstm) == lstm(1920, 128)
    both = 2 * (lstm(3072, 512) + lstm(1024, 512))
    deep = DeepSleepNetLstm()
    assert n_parameters(deep.lstm) == both
    assert n_parameters(deep) == pytest.approx(24.7e6, rel=0.01)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_sequence_gets_logits_for_each_epoch(network: type[SequenceNetwork]) -> None:
    made = network().eval()
    assert made(torch.zeros(2, 4, 3000)).shape == (2, 4, 5)
    assert made(torch.zeros(1, made.n_epochs, 3000)).shape == (1, made.n_epochs, 5)


def test_the_image_is_the_log_power_spectrum() -> None:
    x = epochs(1)[0]
    _, _, power = signal.spectrogram(
        x[0].astype(np.float64),
        fs=100.0,
        window=np.hamming(200),
        noverlap=100,
        nfft=256,
        detrend=False,
        scaling="density",
    )
    power *= 100.0  # per sample, not per hertz
    power[1:-1] /= 2.0  # two-sided
    image = SeqSleepNet().image(torch.from_numpy(x)[None])[0]
    np.testing.assert_allclose(image, np.log(power + FLOOR), atol=1e-3)


def test_the_filterbank_covers_every_frequency() -> None:
    triangles = SeqSleepNet().triangles
    assert triangles.shape == (129, 32)
    assert (triangles >= 0).all()
    inner = triangles[4:125].sum(dim=1)  # between the first and the last peak neighbours add up
    torch.testing.assert_close(inner, torch.ones_like(inner))
    assert (triangles.argmax(dim=0).diff() > 0).all()


@pytest.mark.parametrize("network", [SeqSleepNet, TinySleepNetLstm])
def test_an_encoder_says_of_an_epoch_what_the_network_says_of_the_last_in_its_sequence(
    network: type[SequenceNetwork],
) -> None:
    torch.manual_seed(0)
    made = network().eval()
    encoder, night = serve(made), epochs(made.n_epochs + 3)
    said = np.stack([encoder.step(epoch).probs for epoch in night])
    for t in (0, 1, made.n_epochs - 1, made.n_epochs + 2):
        sequence = torch.from_numpy(night[max(0, t + 1 - made.n_epochs) : t + 1, 0])
        with torch.inference_mode():
            expected = made(sequence[None])[0, -1].softmax(dim=-1)
        np.testing.assert_allclose(said[t], expected, atol=1e-5)


def test_an_unscorable_epoch_is_zeros_in_the_sequence() -> None:
    torch.manual_seed(0)
    network = SeqSleepNet()
    encoder, night = serve(network), epochs(3)
    encoder.step(night[0])
    encoder.skip()
    said = encoder.step(night[2]).probs
    night[1] = 0
    with torch.inference_mode():
        expected = network(torch.from_numpy(night[:, 0])[None])[0, -1].softmax(dim=-1)
    np.testing.assert_allclose(said, expected, atol=1e-5)


def test_a_reset_encoder_is_a_new_one() -> None:
    torch.manual_seed(0)
    network, night = SeqSleepNet(), epochs(4)
    used, new = serve(network, "running-gain"), serve(network, "running-gain")
    for epoch in epochs(5, seed=1):
        used.step(epoch)
    used.reset()
    assert all(np.array_equal(used.step(e).probs, new.step(e).probs) for e in night)


def test_seqsleepnet_learns() -> None:
    """It tells slow from fast epochs after a few steps: gradients reach every part."""
    torch.manual_seed(0)
    network = SeqSleepNet()
    x = torch.randn(8, 6, 3000)
    y = torch.randint(0, 2, (8, 6))
    slow = torch.sin(2 * torch.pi * 2 * torch.arange(3000) / 100)
    fast = torch.sin(2 * torch.pi * 12 * torch.arange(3000) / 100)
    x += 2 * torch.where(y[..., None] == 1, slow, fast)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(x).flatten(0, 1), y.flatten())
        loss.backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 < losses[0]
