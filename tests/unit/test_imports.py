"""Published checkpoints: imported they say what they always said; anything else is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import signal
from sklearn.metrics import cohen_kappa_score
from torch import Tensor
from torch.nn import functional as F

from sleepstream.errors import ModelError
from sleepstream.stager.encoder import Encoder
from sleepstream.stager.imports import import_checkpoint
from sleepstream.stager.networks import TinySleepNet

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
PUBLISHED = DATA / "third_party_weights" / "sleepgpt"
NIGHT = DATA / "raw_eeg" / "ucddb018.npz"

needs_weights = pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason=f"the published checkpoints are not in {PUBLISHED}"
)
needs_night = pytest.mark.skipif(not NIGHT.is_file(), reason=f"no development night {NIGHT}")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def published_logits(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """TinySleepNet as published: (50, 1) kernels over an image that is one sample wide."""
    h = x[:, None, :, None]
    for layer, stride, (before, after) in (
        (0, 6, (24, 25)),
        (3, 1, (3, 4)),
        (4, 1, (3, 4)),
        (5, 1, (3, 4)),
    ):
        h = F.conv2d(
            F.pad(h, (0, 0, before, after)), state[f"conv1.{layer}.0.weight"], stride=(stride, 1)
        )
        mean, var, weight, bias = (
            state[f"conv1.{layer}.1.{leaf}"]
            for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        h = F.relu(F.batch_norm(h, mean, var, weight, bias, training=False, eps=1e-5))
        if layer == 0:
            h = F.max_pool2d(h, (8, 1))
    h = F.max_pool2d(h, (4, 1)).reshape(len(x), -1)
    return F.linear(h, state["classifier.weight"], state["classifier.bias"])


@needs_weights
@pytest.mark.data
def test_an_imported_tinysleepnet_gives_the_published_logits(tmp_path: Path) -> None:
    path = PUBLISHED / "tinysleepnet_fold3.pth.tar"
    model = import_checkpoint(path, None, tmp_path)
    assert (model.name, model.kind, model.arch) == ("tinysleepnet_fold3", "encoder", "tinysleepnet")
    network = TinySleepNet()
    network.load_state_dict(load_file(model.weights))
    x = torch.from_numpy(np.random.default_rng(0).normal(0, 20, (16, 3000)).astype(np.float32))
    with torch.inference_mode():
        ours = network.eval()(x[:, None])
        theirs = published_logits(torch.load(path, map_location="cpu", weights_only=True), x)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


@needs_weights
@needs_night
@pytest.mark.data
def test_an_imported_tinysleepnet_stages_a_real_night(tmp_path: Path) -> None:
    model = import_checkpoint(PUBLISHED / "tinysleepnet_fold4.pth.tar", "theirs", tmp_path)
    encoder = Encoder.load(model, CPU)
    with np.load(NIGHT) as z:
        epochs, y = z["counts"].astype(np.float32) * z["microvolt_per_count"], z["y"]
    sos = signal.butter(2, 0.3, "highpass", fs=100, output="sos")
    samples = epochs.ravel()
    samples, _ = signal.sosfilt(sos, samples, zi=signal.sosfilt_zi(sos) * samples[0])
    said = [encoder.step(e).probs.argmax() for e in samples.astype(np.float32).reshape(-1, 1, 3000)]
    assert cohen_kappa_score(y, said) > 0.5


@needs_weights
@pytest.mark.data
@pytest.mark.parametrize("context", [60, 90])
def test_a_published_gpt_becomes_a_decoder(tmp_path: Path, context: int) -> None:
    model = import_checkpoint(PUBLISHED / f"gpt_shhs_{context}_48_3_6.pth.tar", "gpt", tmp_path)
    assert (model.kind, model.arch) == ("decoder", "sleepgpt")
    assert model.options["context"] == context
    assert model.description["source"]["license"] == "Apache-2.0"
    assert "Apache-2.0" in model.card


def of_other_shapes() -> dict[str, Tensor]:
    return {"conv1.0.0.weight": torch.zeros(64, 1, 25, 1), "classifier.weight": torch.zeros(5, 9)}


def write_text(path: Path) -> None:
    path.write_text("nothing like it")


def write_nothing(path: Path) -> None:
    path.write_bytes(b"")


def write_code(path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return Path.touch, (path.with_suffix(".touched"),)  # type: ignore[return-value]

    with path.open("wb") as file:
        pickle.dump(Evil(), file)


def write_other_network(path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(3, 3)}, path)


def write_other_shapes(path: Path) -> None:
    torch.save(of_other_shapes(), path)


def write_list(path: Path) -> None:
    torch.save([torch.zeros(3)], path)


def write_numbers(path: Path) -> None:
    torch.save({"conv1.0.0.weight": 3}, path)


@pytest.mark.parametrize(
    ("write", "found"),
    [
        (write_text, "no(t a)? file of tensors"),
        (write_nothing, "no(t a)? file of tensors"),
        (write_code, "a pickle that carries code"),
        (write_other_network, r"tensors of another network \(fc.weight"),
        (write_other_shapes, "a TinySleepNet of other shapes"),
        (write_list, "a list and no tensors by name"),
        (write_numbers, "something else than tensors"),
    ],
)
def test_anything_else_is_refused(
    tmp_path: Path, write: Callable[[Path], None], found: str
) -> None:
    path = tmp_path / "checkpoint.pth.tar"
    write(path)
    with pytest.raises(ModelError, match=found) as error:
        import_checkpoint(path, None, tmp_path / "models")
    assert str(path) in error.value.sought
    assert "SleepGPT" in error.value.remedy
    assert not (tmp_path / "models").exists()
    assert not list(tmp_path.glob("*.touched"))


def test_random_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth.tar"
    rng = np.random.default_rng(0)
    for first in range(256):  # every opcode that a pickle may start with
        path.write_bytes(b"\x80\x02" + bytes([first]) + rng.bytes(40))
        with pytest.raises(ModelError):
            import_checkpoint(path, None, tmp_path / "models")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        import_checkpoint(tmp_path / "gone.pth.tar", None, tmp_path)


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", ".."])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="a name for the model"):
        import_checkpoint(tmp_path / "gone", name, tmp_path)
