"""`sleepstream train encoder` from end to end: cut off and gone on with, by several processes."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from datetime import date
from datetime import time as clock
from pathlib import Path

import edfio
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console
from sleepstream_training import recipes
from sleepstream_training.encoder.fitting import Stopped
from sleepstream_training.encoder.recipe import Recipe
from sleepstream_training.encoder.train import Order, train
from sleepstream_training.runs import Processes, Reporter, Run

from sleepstream.cli import cli
from sleepstream.errors import ModelError, SettingsError, StoreError
from sleepstream.sources.recording import Recording
from sleepstream.stager.encoder import Encoder
from sleepstream.stager.weights import ModelFiles, find

DATA = Path(__file__).parents[3] / "shared" / "data" / "raw_eeg"
SMALL = {
    "data.nights": 3,
    "data.hours": 0.25,
    "training.batch": 4,
    "training.steps": 6,
    "training.evaluate_every": 2,
    "training.average": 0.5,
}
FLAGS = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
DEADLINE_S = 200.0


def trained(
    folder: Path,
    *,
    stop: Callable[[], bool] = lambda: False,
    work: str = "work",
    **changes: object,
) -> tuple[ModelFiles, str]:
    """Train on made-up nights; return the model and what was said."""
    changed = SMALL | {key.replace("__", "."): value for key, value in changes.items()}
    recipe = recipes.load("encoder", "made-up", Recipe, changed)
    order = Order(recipe, folder / "model", folder / work, ["sleepstream", "train", "encoder"])
    said = io.StringIO()
    with Reporter(Console(file=said, width=200)) as reporter:
        model = train(order, Processes(0, 1, torch.device("cpu"), "the CPU"), reporter, stop)
    assert model is not None
    return model, said.getvalue()


def after(n_steps: int) -> Callable[[], bool]:
    """Return a wish to stop that comes true when it has been asked for so often."""
    asked = iter(range(1000))
    return lambda: next(asked) >= n_steps - 1


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelFiles, str]:
    return trained(tmp_path_factory.mktemp("uninterrupted"))


def test_it_ends_with_a_model_that_stages(uninterrupted: tuple[ModelFiles, str]) -> None:
    model = find(str(uninterrupted[0].folder), "encoder")
    probs = Encoder.load(model, torch.device("cpu")).step(np.ones((1, 3000), np.float32)).probs
    assert probs.sum() == pytest.approx(1.0, abs=1e-5)
    assert model.description["steps"] == 6
    assert set(model.description["figures"]) == {"accuracy", "kappa", "macro_f1", "ece"}


def test_the_card_says_how_it_came_about(uninterrupted: tuple[ModelFiles, str]) -> None:
    model, said = uninterrupted
    for words in (
        "made-up-5000",
        "Seed 7; 6 steps of 4",
        "sleepstream train encoder",
        "| step | loss | validation_kappa | score |",
        "recall W N1 N2 N3 REM",
        '"nights": 3',
        "## What it cannot do",
        torch.__version__,
    ):
        assert words in model.card
    assert [line.split()[1] for line in said.splitlines() if line.startswith("step")] == [
        "2/6",
        "4/6",
        "6/6",
    ]


@pytest.mark.parametrize("n_steps", [1, 4])
def test_what_was_cut_off_goes_on_bit_for_bit(
    tmp_path: Path, uninterrupted: tuple[ModelFiles, str], n_steps: int
) -> None:
    with pytest.raises(Stopped, match=f"step {n_steps} of 6"):
        trained(tmp_path, stop=after(n_steps))
    model, said = trained(tmp_path)
    assert f"going on after step {n_steps} of 6" in said
    assert model.sha256 == uninterrupted[0].sha256
    assert model.options == uninterrupted[0].options


def test_threads_that_make_batches_ahead_change_nothing(
    tmp_path: Path, uninterrupted: tuple[ModelFiles, str]
) -> None:
    assert trained(tmp_path, training__workers=2)[0].sha256 == uninterrupted[0].sha256


def test_another_order_starts_anew_beside_it(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        trained(tmp_path, stop=after(2))
    model, said = trained(tmp_path, training__seed=8)
    assert "going on" not in said
    assert model.description["seed"] == 8
    assert len([p for p in (tmp_path / "work").iterdir() if p.name.startswith("model-")]) == 2


def test_what_is_finished_is_only_written_again(uninterrupted: tuple[ModelFiles, str]) -> None:
    again, said = trained(uninterrupted[0].folder.parent)
    assert "going on after step 6 of 6" in said
    assert again.sha256 == uninterrupted[0].sha256


def test_a_training_by_the_clock_says_how_many_steps_repeat_it(tmp_path: Path) -> None:
    model, _ = trained(tmp_path, training__steps=0, training__minutes=0.02)
    n_steps = model.description["steps"]
    assert f"`--steps {n_steps}` instead of `--minutes`" in model.card
    repeated, _ = trained(tmp_path, work="other", training__steps=n_steps)
    assert repeated.sha256 == model.sha256


def test_a_network_that_reads_sequences_is_trained_on_them(tmp_path: Path) -> None:
    model, _ = trained(tmp_path, model__arch="seqsleepnet", training__steps=2)
    encoder = Encoder.load(model, torch.device("cpu"))
    epochs = np.random.default_rng(0).normal(size=(3, 1, 3000)).astype(np.float32)
    assert all(np.isfinite(encoder.step(epoch).probs).all() for epoch in epochs)


def test_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="the nearest is tinysleepnet"):
        trained(tmp_path, model__arch="tinysleep")


def test_a_folder_that_is_no_model_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(ModelError, match="exists and is no model"):
        trained(tmp_path)


def test_a_line_of_the_curves_is_never_there_twice(tmp_path: Path) -> None:
    run = Run(tmp_path, "x", {"a": 1})
    for step in (2, 4, 6, 4):
        run.note({"step": step})
    assert run.curves() == [{"step": 2}, {"step": 4}]
    Run(tmp_path, "x", {"a": 1}, writes=False).note({"step": 8})
    assert len(run.curves()) == 2
    assert Run(tmp_path, "x", {"a": 2}).folder != run.folder


def test_a_damaged_state_is_said(tmp_path: Path) -> None:
    run = Run(tmp_path, "x", {})
    run.save({"step": 3})
    assert run.load() == {"step": 3}
    (run.folder / "state.pt").write_bytes(b"no state")
    with pytest.raises(StoreError, match="remove that file"):
        run.load()


def command(*words: str | Path, torchrun: int = 0) -> list[str]:
    start = [sys.executable, "-m"]
    if torchrun:
        start += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(torchrun), "-m"]
    return [*start, "sleepstream", "train", "encoder", *map(str, words)]


def test_after_a_kill_the_same_command_goes_on_bit_for_bit(
    tmp_path: Path, uninterrupted: tuple[ModelFiles, str]
) -> None:
    words = ["--recipe", "made-up", *FLAGS, "--device", "cpu"]
    words += ["--out", str(tmp_path / "model"), "--work", str(tmp_path / "work")]
    process = subprocess.Popen(command(*words), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("step 2/6"):
            break
    deadline = time.monotonic() + DEADLINE_S
    while not list((tmp_path / "work").glob("model-*/state.pt")) and process.poll() is None:
        assert time.monotonic() < deadline
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    model, said = trained(tmp_path)
    assert "going on after step" in said
    assert model.sha256 == uninterrupted[0].sha256


def test_two_processes_share_each_batch_and_one_writes(tmp_path: Path) -> None:
    words = ["--recipe", "made-up", *FLAGS, "--device", "cpu", "--out", tmp_path / "model"]
    done = subprocess.run(
        command(*words, "--work", tmp_path / "work", torchrun=2),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
    model = find(str(tmp_path / "model"), "encoder")
    assert done.stdout.splitlines() == [str(tmp_path / "model")]
    assert done.stderr.count("step 6/6") == 1
    assert "2 processes (gloo) on the CPU" in model.card
    assert "torchrun --nproc-per-node 2 -m sleepstream train encoder" in model.card
    assert len(list((tmp_path / "work").glob("model-*/curves.jsonl"))) == 1


def test_a_batch_has_to_be_shared_evenly(tmp_path: Path) -> None:
    recipe = recipes.load("encoder", "made-up", Recipe, SMALL)
    order = Order(recipe, tmp_path / "model", tmp_path / "work", [])
    with pytest.raises(SettingsError, match="3 processes can share"):
        train(
            order,
            Processes(0, 3, torch.device("cpu"), ""),
            Reporter(Console(file=io.StringIO())),
            lambda: False,
        )


def sleep_edf(folder: Path, name: str, source: str, start_s: int, n_epochs: int) -> None:
    """Write some minutes of a scored recording as a night of Sleep-EDF: two files."""
    recording = Recording(DATA / f"{source}.edf")
    stages = recording.reference()
    assert stages is not None
    words = {None: "Sleep stage ?", 0: "W", 1: "1", 2: "2", 3: "4", 4: "R"}
    first = start_s // 30
    volts = np.concatenate([c.data for c in recording.chunks((0,), (1e6,))], axis=1)[0]
    piece = volts[first * 3000 : (first + n_epochs) * 3000]
    eeg = edfio.EdfSignal(
        piece.astype(np.float64), 100, label="EEG Fpz-Cz", physical_dimension="uV"
    )
    when = {"recording": edfio.Recording(startdate=date(1989, 4, 24)), "starttime": clock(16, 13)}
    edfio.Edf([eeg], **when).write(folder / f"{name}0-PSG.edf")
    notes = [
        edfio.EdfAnnotation(30 * i, 30, f"Sleep stage {words[stage]}")
        for i, stage in enumerate(stages[first : first + n_epochs])
    ]
    edfio.Edf([], annotations=notes, **when).write(folder / f"{name}C-Hypnogram.edf")


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the recordings in {DATA}")
def test_the_recipe_sleep_edf_runs_on_real_pieces(tmp_path: Path) -> None:
    nights = tmp_path / "physionet-sleep-data"
    nights.mkdir()
    sleep_edf(nights, "SC4001E", "ucddb018", 3600, 40)
    sleep_edf(nights, "SC4012E", "ucddb018", 9000, 40)
    sleep_edf(nights, "SC4021E", "prerau_segment", 600, 40)
    words = ["train", "encoder", "--recipe", "sleep-edf", "--data", str(nights), "--steps", "3"]
    words += ["--set", "training.batch=8", "--device", "cpu", "--out", str(tmp_path / "own")]
    words += ["--work", str(tmp_path / "work")]
    for _ in range(2):  # the second time there is nothing left to do but to write
        done = CliRunner().invoke(cli, words, catch_exceptions=False)
        assert done.exit_code == 0
        assert done.stdout.strip() == str(tmp_path / "own")
    assert "going on after step 3 of 3" in done.stderr
    card = find(str(tmp_path / "own")).card
    assert "SC4001E0-PSG.edf" in card
    assert "sleepedf-SC-01" in card
    scored = CliRunner().invoke(
        cli,
        [
            "score",
            str(nights / "SC4001E0-PSG.edf"),
            "--encoder",
            str(tmp_path / "own"),
            "--no-store",
        ],
        catch_exceptions=False,
    )
    assert scored.exit_code == 0
    description = tomllib.loads((tmp_path / "own" / "model.toml").read_text(encoding="utf-8"))
    assert description["steps"] == 3
