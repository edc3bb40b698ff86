"""The encoder: shapes as published, a front end that knows no gain, and no trace of a peek."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sleepstream_training.encoder import calibration

from sleepstream.errors import ModelError, SettingsError
from sleepstream.messages import Float32Array
from sleepstream.stager.device import choose, single_thread
from sleepstream.stager.encoder import ARCHITECTURES, Encoder
from sleepstream.stager.front_end import RunningGain, log_amplitude
from sleepstream.stager.networks import DeepSleepNet, TinySleepNet
from sleepstream.stager.weights import ModelFiles, find, save_model

CPU = torch.device("cpu")
SHIPPED = ("tinysleepnet", "deepsleepnet")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def night(n: int, seed: int = 0, size: float = 15.0) -> Float32Array:
    """Noise that grows slower and larger through the night, as sleep does."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n, 1, 3000))
    slow = np.cumsum(rng.normal(size=(n, 1, 3000)), axis=2) / 20
    depth = np.linspace(0, 1, n)[:, None, None]
    return (size * (noise + depth * (slow - slow.mean(axis=2, keepdims=True)))).astype(np.float32)


def make(tmp_path: Path, arch: str = "tinysleepnet", **options: Any) -> ModelFiles:
    torch.manual_seed(1)
    tensors = {
        k: v
        for k, v in ARCHITECTURES[arch]().state_dict().items()
        if not k.endswith("num_batches_tracked")
    }
    return save_model(
        tmp_path / arch, kind="encoder", arch=arch, tensors=tensors, options=options, card=""
    )


def stages(encoder: Encoder, epochs: Float32Array) -> Float32Array:
    return np.stack([encoder.step(epoch).probs for epoch in epochs])


def test_tinysleepnet_has_the_published_shapes() -> None:
    network = TinySleepNet().eval()
    assert network.features(torch.zeros(2, 1, 3000)).shape == (2, 128, 15)
    assert network(torch.zeros(2, 1, 3000)).shape == (2, 5)


def test_deepsleepnet_has_the_published_shapes() -> None:
    network = DeepSleepNet().eval()
    assert network.small(torch.zeros(2, 1, 3000)).shape == (2, 128, 16)
    assert network.large(torch.zeros(2, 1, 3000)).shape == (2, 128, 8)
    assert network(torch.zeros(2, 1, 3000)).shape == (2, 5)


@pytest.mark.parametrize("arch", sorted(ARCHITECTURES))
@pytest.mark.parametrize("front_end", ["none", "running-gain"])
def test_probabilities_are_probabilities_and_read_only(
    tmp_path: Path, arch: str, front_end: str
) -> None:
    encoder = Encoder.load(make(tmp_path, arch, front_end=front_end), CPU)
    probs = encoder.step(night(1)[0]).probs
    assert probs.shape == (5,)
    assert probs.dtype == np.float32
    assert probs.sum() == pytest.approx(1, abs=1e-6)
    assert not probs.flags.writeable


def test_the_same_epochs_give_the_same_bits(tmp_path: Path) -> None:
    model, epochs = make(tmp_path, front_end="running-gain"), night(6)
    first = stages(Encoder.load(model, CPU), epochs)
    encoder = Encoder.load(model, CPU)
    assert np.array_equal(stages(encoder, epochs), first)
    encoder.reset()
    assert np.array_equal(stages(encoder, epochs), first)


def test_a_peek_leaves_no_trace(tmp_path: Path) -> None:
    model, epochs = make(tmp_path, front_end="running-gain"), night(6)
    without = stages(Encoder.load(model, CPU), epochs)
    encoder = Encoder.load(model, CPU)
    with_peeks = []
    for epoch in epochs:
        encoder.peek(epoch * 7)
        peeked = encoder.peek(epoch).probs
        with_peeks.append(encoder.step(epoch).probs)
        assert np.array_equal(peeked, with_peeks[-1])
    assert np.array_equal(np.stack(with_peeks), without)


def test_what_comes_later_changes_nothing_that_was_said(tmp_path: Path) -> None:
    model, epochs = make(tmp_path, front_end="running-gain"), night(6)
    changed = epochs.copy()
    changed[4:] *= -3
    before = stages(Encoder.load(model, CPU), epochs)
    after = stages(Encoder.load(model, CPU), changed)
    assert np.array_equal(before[:4], after[:4])
    assert not np.array_equal(before[4:], after[4:])


@pytest.mark.parametrize("gain", [0.3, 3.0])
def test_the_running_gain_hides_the_recordings_gain(gain: float) -> None:
    plain, scaled = RunningGain(), RunningGain()
    for epoch in night(8):
        np.testing.assert_allclose(
            scaled.scale(epoch * np.float32(gain), keep=True),
            plain.scale(epoch, keep=True),
            rtol=1e-4,
            atol=1e-5,
        )


def test_the_running_gain_keeps_slow_waves_larger_than_wake() -> None:
    front_end = RunningGain()
    rng = np.random.default_rng(0)
    wake = rng.normal(0, 10, (60, 1, 3000)).astype(np.float32)
    deep = 2.5 * rng.normal(0, 10, (60, 1, 3000)).astype(np.float32)
    awake = [front_end.scale(e, keep=True).std() for e in wake]
    asleep = [front_end.scale(e, keep=True).std() for e in deep]
    assert np.std(awake) < 0.05 * np.mean(awake)
    assert asleep[0] > 2.4 * np.mean(awake)
    assert min(asleep) > 1.5 * np.mean(awake)


def test_an_old_gain_is_forgotten() -> None:
    front_end = RunningGain(memory=10)
    for _ in range(30):
        front_end.updated(0.0)
    front_end.follow(np.zeros(30, dtype=np.float32))
    assert front_end.follow(np.full(60, 2.0, dtype=np.float32))[-1] > 1.99


def test_epochs_that_say_nothing_leave_the_gain_alone() -> None:
    quiet = np.zeros((1, 3000), dtype=np.float32)
    holed = night(1)[0].copy()
    holed[:, 900:] = 0
    assert log_amplitude(quiet) is None
    assert log_amplitude(holed) is None
    front_end = RunningGain()
    front_end.scale(night(1)[0], keep=True)
    before = front_end.updated(None)
    for epoch in (quiet, holed):
        assert np.isfinite(front_end.scale(epoch, keep=True)).all()
    assert front_end.updated(None) == before


def test_missing_samples_do_not_make_an_epoch_small() -> None:
    whole = night(1)[0]
    holed = whole.copy()
    holed[:, 1500:] = 0
    assert log_amplitude(holed) == pytest.approx(log_amplitude(whole), abs=0.1)


def test_bias_and_temperature_correct_the_logits(tmp_path: Path) -> None:
    epoch = night(1)[0]
    plain = Encoder.load(make(tmp_path), CPU).step(epoch).probs
    bias = [0.0, 2.0, 0.0, 0.0, 0.0]
    lifted = Encoder.load(make(tmp_path, logit_bias=bias), CPU).step(epoch).probs
    flat = Encoder.load(make(tmp_path, temperature=1e6), CPU).step(epoch).probs
    np.testing.assert_allclose(lifted[1] / lifted[0], plain[1] / plain[0] * np.exp(2), rtol=1e-4)
    np.testing.assert_allclose(flat, 0.2, atol=1e-4)


def test_an_epoch_of_another_length_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shape"):
        Encoder.load(make(tmp_path), CPU).step(np.zeros((1, 2999), dtype=np.float32))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    model = save_model(
        tmp_path / "m",
        kind="encoder",
        arch="tinysleepnet",
        tensors={"w": torch.zeros(2)},
        options={},
        card="",
    )
    with pytest.raises(ModelError, match="weights of a tinysleepnet"):
        Encoder.load(model, CPU)


@pytest.mark.parametrize(("kind", "arch"), [("decoder", "tinysleepnet"), ("encoder", "resnet")])
def test_a_model_that_is_no_encoder_is_refused(tmp_path: Path, kind: str, arch: str) -> None:
    model = save_model(
        tmp_path / "m", kind=kind, arch=arch, tensors={"w": torch.zeros(2)}, options={}, card=""
    )
    with pytest.raises(ModelError, match="an encoder"):
        Encoder.load(model, CPU)


def test_an_unknown_front_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a front end"):
        Encoder.load(make(tmp_path, front_end="crystal-ball"), CPU)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_encoder_loads_and_has_a_card(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLEEPSTREAM_MODELS", str(tmp_path))
    model = find(name, "encoder")
    encoder = Encoder.load(model, CPU)
    assert (encoder.name, encoder.sha256) == (name, model.fingerprint)
    assert np.isfinite(encoder.step(night(1)[0]).probs).all()
    assert "research" in model.card


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_encoder_does_not_care_about_gain(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLEEPSTREAM_MODELS", str(tmp_path))
    model, epochs = find(name, "encoder"), night(5)
    plain = stages(Encoder.load(model, CPU), epochs)
    np.testing.assert_allclose(stages(Encoder.load(model, CPU), epochs * 3), plain, atol=1e-3)


def test_the_device_is_chosen_and_explained() -> None:
    device, reason = choose("auto")
    assert device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert reason.startswith(device.type)
    assert choose("cpu")[0] == CPU


def test_a_device_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(SettingsError, match="none that torch"):
        choose("cuda")
    with pytest.raises(SettingsError, match="auto, cpu or cuda"):
        choose("tpu")


def test_one_thread_is_one_thread() -> None:
    before = torch.get_num_threads()
    try:
        single_thread()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def drawn(n: int, sharpness: float, seed: int, lift: float = 0.0) -> tuple[torch.Tensor, Any]:
    """Logits and labels drawn from them; said with another sharpness, and N2 `lift` too high."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 5)) * 2
    odds = np.exp(logits)
    labels = (rng.random((n, 1)) > (odds / odds.sum(1, keepdims=True)).cumsum(1)).sum(1)
    said = logits * sharpness + lift * np.eye(5)[2]
    return torch.from_numpy(said.astype(np.float32)), labels.clip(0, 4)


def sources(*lifts: float) -> dict[str, calibration.Source]:
    weights = {"synthetic": 0.5, "real": 0.3, "made_up": 0.2}
    return {
        name: calibration.Source(*drawn(6000, 0.5, seed, lift), weight)
        for seed, ((name, weight), lift) in enumerate(zip(weights.items(), lifts, strict=True))
    }


@pytest.mark.parametrize("lift", [0.0, 1.5])
def test_calibration_finds_the_temperature_and_a_bias_where_there_is_one(lift: float) -> None:
    held_out = sources(lift, lift, lift)
    shares = np.bincount(held_out["synthetic"].labels) / 6000
    found = calibration.calibrate(held_out, shares.astype(np.float32))
    assert found.temperature == pytest.approx(0.5, abs=0.05)
    assert found.bias[2] == pytest.approx(-0.8 * lift, abs=0.1)
    logits, labels = drawn(6000, 0.5, 9, lift)
    figures = calibration.figures(found.log_probs(logits).exp().numpy(), labels)
    assert float(figures["ece"]) < 0.03


def test_a_bias_that_only_some_sources_want_is_not_taken_in_full() -> None:
    held_out = sources(2.0, 0.0, 0.0)
    shares = np.full(5, 0.2, dtype=np.float32)
    whole = calibration.fit(held_out, shares, None).bias[2]
    assert 0.9 * whole < calibration.calibrate(held_out, shares).bias[2] <= 0


def test_the_served_probabilities_are_the_calibrated_ones(tmp_path: Path) -> None:
    epoch = night(1)[0]
    plain = torch.from_numpy(np.log(Encoder.load(make(tmp_path), CPU).step(epoch).probs))[None]
    asked = calibration.Calibration(0.7, (0.3, 0.2, -0.5, 0.0, 0.0))
    model = make(tmp_path, temperature=asked.temperature, logit_bias=list(asked.bias))
    served = Encoder.load(model, CPU).step(epoch).probs
    np.testing.assert_allclose(served, asked.log_probs(plain)[0].exp(), atol=1e-6)
