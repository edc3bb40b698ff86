"""`sleepstream train decoder` from end to end: cut off, gone on with, and whom it learned from."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console
from safetensors.torch import load_file
from sleepstream_training import recipes
from sleepstream_training.decoder.fit import Stopped, train
from sleepstream_training.decoder.recipe import Recipe
from sleepstream_training.evaluation.methods import hard, of_model
from sleepstream_training.nights import read_nights
from sleepstream_training.runs import Reporter

from sleepstream.cli import cli
from sleepstream.errors import ModelError, RecordingError
from sleepstream.stager.decoders import load_decoder
from sleepstream.stager.weights import ModelFiles, find

SMALL = {
    "model.width": 16,
    "model.n_layers": 1,
    "model.n_heads": 2,
    "training.short_epochs": 40,
    "training.short_share": 1.0,
    "language_model.steps": 6,
    "language_model.batch": 2,
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ten nights of ten people."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "data"
    folder.mkdir()
    lines = [
        {
            "id": f"n{i}",
            "subject": f"s{i}",
            "dataset": "field",
            "stages": "".join(map(str, np.repeat(rng.integers(0, 5, 40), 4))),
            "license": "CC0",
        }
        for i in range(10)
    ]
    (folder / "nights.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def trained(data: Path, out: Path, n_steps: int = 1000, *, causal: bool = True) -> ModelFiles:
    """Train until the end, or until so many steps are made."""
    steps = count(1)
    return train(
        recipes.load("decoder", "language", Recipe, SMALL | {"model.causal": causal}),
        data,
        out,
        work=out.parent / "work",
        command="as typed",
        reporter=Reporter(Console(file=io.StringIO())),
        stop=lambda: next(steps) >= n_steps,
    )


def test_a_training_that_was_cut_off_ends_with_the_same_weights(data: Path, tmp_path: Path) -> None:
    whole = load_file(trained(data, tmp_path / "a" / "m").weights)
    for n_steps in (2, 3):
        with pytest.raises(Stopped):
            trained(data, tmp_path / "b" / "m", n_steps)
    parts = load_file(trained(data, tmp_path / "b" / "m").weights)
    assert whole.keys() == parts.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, parts[name]), name


def test_a_model_says_whom_it_has_learned_from_and_works(data: Path, tmp_path: Path) -> None:
    model = trained(data, tmp_path / "m")
    learned = model.description["trained_on"]["field"]
    assert len(learned) == 8  # a fifth of ten people is held out
    assert "| field | 8 | 8 | CC0 |" in model.card
    assert "`as typed`" in model.card
    assert "{" not in model.card
    said = load_decoder(model, torch.device("cpu")).step(np.full(5, 0.2, dtype=np.float32))
    assert said.forecast.shape == (20, 5)


def test_what_it_started_from_counts_as_learned(data: Path, tmp_path: Path) -> None:
    first = trained(data, tmp_path / "first")
    other = tmp_path / "other"
    other.mkdir()
    text = (data / "nights.jsonl").read_text().replace("field", "clinic")
    (other / "nights.jsonl").write_text(text)
    words = [f"--set={key}={value}" for key, value in SMALL.items()]
    words += ["--recipe", "language", "--set", f"start={first.folder}", "--steps", "2"]
    words += ["--data", str(other), "--out", str(tmp_path / "next"), "--work", str(tmp_path / "w")]
    done = CliRunner().invoke(cli, ["train", "decoder", *words])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{tmp_path / 'next'}\n"
    found = find(str(tmp_path / "next")).description["trained_on"]
    assert set(found) == {"field", "clinic"}
    assert found["field"] == first.description["trained_on"]["field"]


def test_the_yardstick_sees_the_future_and_does_not_serve(data: Path, tmp_path: Path) -> None:
    ours, yardstick = (trained(data, tmp_path / str(c), causal=c) for c in (True, False))
    with pytest.raises(ModelError, match="gpt-both-ways"):
        load_decoder(yardstick, torch.device("cpu"))
    night = hard(read_nights([data])[0])
    changed = replace(night, probs=np.roll(night.probs, 1, axis=1))
    other = replace(night, probs=np.concatenate([night.probs[:80], changed.probs[80:]]))
    for model, sees in ((ours, False), (yardstick, True)):
        before, after = (of_model(model)([tokens])[0].now[:80] for tokens in (night, other))
        assert np.array_equal(before, after) is not sees


def test_phases_that_need_spectra_ask_for_them(data: Path, tmp_path: Path) -> None:
    recipe = recipes.load("decoder", "shipped", Recipe, SMALL | {"start": ""})
    with pytest.raises(RecordingError, match="fpzcz_34"):
        train(
            recipe,
            data,
            tmp_path / "m",
            work=tmp_path / "work",
            command="",
            reporter=Reporter(Console(file=io.StringIO())),
            stop=lambda: False,
        )


def test_what_is_no_model_is_not_overwritten(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="exists and is no model"):
        trained(data, data)
    assert (tmp_path / "data" / "nights.jsonl").is_file()
