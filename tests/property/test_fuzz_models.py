"""Models and checkpoints from strangers: weights are numbers, and descriptions are bounded."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sleepstream_models
import torch
from fuzzing import fuzzed, spoiled, survived
from hypothesis import example, given
from hypothesis import strategies as st

from sleepstream.errors import ModelError, SleepstreamError
from sleepstream.stager import weights
from sleepstream.stager.decoders import load_decoder
from sleepstream.stager.disorder import DisorderScorer
from sleepstream.stager.encoder import Encoder
from sleepstream.stager.familiarity import Familiarity
from sleepstream.stager.imports import import_checkpoint, read_state_dict
from sleepstream.stager.sleepgpt import _expected

Out = pytest.CaptureFixture[str]

CPU = torch.device("cpu")
LOADERS: dict[str, Callable[[weights.ModelFiles], object]] = {
    "encoder": lambda model: Encoder.load(model, CPU),
    "decoder": lambda model: load_decoder(model, CPU),
    "disorder": DisorderScorer.load,
    "familiarity": Familiarity.load,
}
"""What is done with a model of each kind."""


def shipped(name: str, to: Path) -> Path:
    """Copy a model that ships to where it can be spoiled."""
    folder = to / name
    shutil.copytree(sleepstream_models.FOLDER / name, folder, dirs_exist_ok=True)
    return folder


def load(folder: Path) -> None:
    model = weights.find(str(folder))
    assert model.fingerprint
    if loader := LOADERS.get(model.kind):
        loader(model)


@pytest.mark.parametrize(
    "name", ["apnoea", "gpt", "gpt-fusion", "hmm", "sleep-eeg", "tinysleepnet"]
)
def test_descriptions(tmp_path: Path, capfd: Out, name: str) -> None:
    folder = shipped(name, tmp_path)
    description = folder / weights.DESCRIPTION_FILE
    whole = description.read_bytes()
    # a thousand subjects are of no interest here
    whole = whole[: whole.find(b"[trained_on")] + whole[whole.find(b"[options") :]

    @fuzzed(20)
    @given(spoiled(whole))
    @example(b"kind = " + b"9" * 5000)
    @example(b"kind = " + b"[" * 5000)
    def check(data: bytes) -> None:
        description.write_bytes(data)
        with survived(tmp_path, capfd, SleepstreamError):
            load(folder)

    check()


SIZES = st.sampled_from(
    (-1, 0, 1, 7, 2**15, 10**5, 10**9, 2**63, 10**30, 0.5, float("nan"), True, "64", [64], {"a": 1})
)


def toml(value: object) -> str:
    return json.dumps(value).replace("NaN", "nan").replace('{"a": 1}', "{a = 1}")


@pytest.mark.parametrize("name", ["apnoea", "gpt", "gpt-fusion", "hmm", "sleep-eeg", "sleepgpt"])
def test_options(tmp_path: Path, capfd: Out, name: str) -> None:
    folder = sleepgpt(tmp_path) if name == "sleepgpt" else shipped(name, tmp_path)
    model = weights.find(str(folder))

    @fuzzed(30)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        changes = st.dictionaries(st.sampled_from(sorted(model.options)), SIZES, min_size=1)
        options = model.options | data.draw(changes)
        lines = [f'{key} = "{getattr(model, key)}"' for key in ("kind", "arch", "sha256")]
        lines += [f'base = "{model.base.folder}"'] if model.base else []
        lines += ["[options]", *(f"{key} = {toml(value)}" for key, value in options.items())]
        (folder / weights.DESCRIPTION_FILE).write_text("\n".join(lines))
        with survived(tmp_path, capfd, SleepstreamError):
            load(folder)

    check()


@pytest.mark.parametrize("name", ["apnoea", "gpt", "sleep-eeg"])
def test_weights(tmp_path: Path, capfd: Out, name: str) -> None:
    folder = shipped(name, tmp_path)
    model = weights.find(str(folder))
    whole, described = model.weights.read_bytes(), (folder / weights.DESCRIPTION_FILE).read_text()

    @fuzzed(30)
    @given(spoiled(whole))
    @example(b"\xff" * 8 + whole[8:])  # a header of 2**64 bytes
    def check(data: bytes) -> None:
        model.weights.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        (folder / weights.DESCRIPTION_FILE).write_text(described.replace(model.sha256, digest))
        with survived(tmp_path, capfd, SleepstreamError):
            load(folder)

    check()


def published(width: int = 12, context: int = 4) -> dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint as the SleepGPT authors publish them, a small one."""
    made = torch.Generator().manual_seed(1)
    state = {
        name: torch.randn(shape, generator=made)
        for name, shape in _expected(1, width, context).items()
    }
    return state | {"lm_head.weight": state["transformer.wte.weight"]}


def sleepgpt(folder: Path) -> Path:
    """Import such a checkpoint."""
    path = folder / "gpt_x.pth.tar"
    torch.save({"state_dict": published()}, path)
    return import_checkpoint(path, "sleepgpt", folder).folder


def checkpoint(folder: Path, *, zipped: bool) -> bytes:
    path = folder / "whole.pth.tar"
    torch.save({"state_dict": published()}, path, _use_new_zipfile_serialization=zipped)
    return path.read_bytes()


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (self.path, "w"))


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch wonders about what it is given
@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoints(tmp_path: Path, capfd: Out, zipped: bool) -> None:
    path, models = tmp_path / "x.pth.tar", tmp_path / "models"

    @fuzzed(40)
    @given(spoiled(checkpoint(tmp_path, zipped=zipped)))
    def check(data: bytes) -> None:
        path.write_bytes(data)
        with survived(tmp_path, capfd, SleepstreamError):
            import_checkpoint(path, "x", models)

    check()


@pytest.mark.parametrize("how", ["pickle", "torch", "legacy"])
def test_a_checkpoint_that_carries_code_is_refused_and_not_run(tmp_path: Path, how: str) -> None:
    path, ran = tmp_path / "x.pth.tar", tmp_path / "ran"
    evil = {"state_dict": published() | {"x": Evil(str(ran))}}
    if how == "pickle":
        path.write_bytes(pickle.dumps({"state_dict": Evil(str(ran))}))
    else:
        torch.save(evil, path, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(ModelError, match="code"):
        read_state_dict(path)
    assert not ran.exists()


@pytest.mark.parametrize("name", ["../x", "..", ".x", "/x", "a/b", "", "a\0b", "\x1b[31m"])
def test_a_name_leads_nowhere_else(tmp_path: Path, capfd: Out, name: str) -> None:
    path, models = tmp_path / "x.pth.tar", tmp_path / "deep" / "models"
    path.write_bytes(checkpoint(tmp_path, zipped=True))
    with survived(models.parent, capfd, ModelError):
        import_checkpoint(path, name, models)
