"""The daemon as a process of its own: killed, started again, told to stop, started twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import edfio
import numpy as np
import pytest
import torch
from sleepstream_replay.synthetic import synthetic_night

from sleepstream.config import Models
from sleepstream.messages import Chunk, Epoch, StageEstimate
from sleepstream.signal.epocher import Epocher
from sleepstream.signal.montage import choose
from sleepstream.sources.recording import Recording
from sleepstream.stager.stager import Stager
from sleepstream.store.nights import NightStore

pytestmark = [pytest.mark.loopback, pytest.mark.timeout(480)]

SPEED = "30"
TIMES = 8  # half an hour so often: on a busy machine a start takes a while, at this speed hours


@pytest.fixture
def name() -> str:
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("night") / "night.edf"
    eeg = np.tile(synthetic_night(0.5, 5, 100.0).read(0, 180000)[0] * 1e6, TIMES)
    signal = edfio.EdfSignal(
        np.clip(eeg, -1000, 1000),
        sampling_frequency=100,
        label="EEG Fpz-Cz",
        physical_dimension="uV",
        physical_range=(-1000, 1000),
    )
    edfio.Edf([signal]).write(path)
    return path


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            yield child
        finally:
            child.kill()
            child.communicate()


def replayed(path: Path, name: str) -> Any:
    options = ("--stream-name", name, "--source-id", name, "--speed", SPEED)
    return process("sleepstream_replay", str(path), *options)


def daemon(name: str, store: Path) -> Any:
    stream = ("--lsl-stream", name, "--bed", name, "--timeout", "60")
    quiet = ("--no-lsl-out", "--provisional", "0", "--json", "--device", "cpu")
    always = ("--resume-within", "86400")
    return process("sleepstream", "run", *stream, "--store", str(store), *quiet, *always)


def until(child: subprocess.Popen[str], n_scored: int) -> list[dict[str, Any]]:
    """Read what is announced until so many epochs have a stage."""
    said: list[dict[str, Any]] = []
    assert child.stdout
    while sum(epoch["stage"] != "?" for epoch in said) < n_scored:
        line = child.stdout.readline()
        assert line, child.stderr and child.stderr.read()
        said.append(json.loads(line))
    return said


def without(night: Path, holes: list[tuple[int, int]]) -> list[StageEstimate]:
    """Stage a recording in which some samples never came."""
    recording = Recording(night)
    montage = choose(recording.labels, recording.units)
    parts = list(recording.chunks(montage.picks, montage.scales))
    stamps = np.concatenate([part.stamps_s for part in parts])
    data = np.concatenate([part.data for part in parts], axis=1)
    keep = np.ones(stamps.size, bool)
    for start, stop in holes:
        keep[start:stop] = False
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    names = Models()
    stager = Stager.load(
        encoder=names.encoder,
        decoder=names.decoder,
        disorder=names.disorder,
        device=torch.device("cpu"),
        bed="bed1",
    )
    epochs: Iterator[Epoch] = Epocher(100.0, montage).push(Chunk(stamps[keep], data[:, keep]))
    said = [stager.step(epoch) for epoch in epochs]
    torch.set_num_threads(threads)
    return said


def words(estimate: StageEstimate) -> dict[str, Any]:
    """Everything that has to be equal, whenever the samples were sent."""
    return estimate.as_json() | {"onset": 0, "latency_ms": 0, "bed": "", "derivation": ""}


def test_after_kill_9_the_night_goes_on_as_if_it_had_met_a_gap(
    night: Path, name: str, tmp_path: Path
) -> None:
    store = tmp_path / "nights.sqlite"
    with replayed(night, name):
        with daemon(name, store) as first:
            announced = until(first, 3)
            first.send_signal(signal.SIGKILL)
        with NightStore(store) as kept:
            (cut_off,) = kept.nights()
            assert (cut_off.state, cut_off.n_epochs >= 3) == ("interrupted", True)
            recorded = [e.epoch for e in kept.estimates(cut_off.id)]
        assert [e["epoch"] for e in announced] == recorded[: len(announced)]
        with daemon(name, store) as second:
            announced = until(second, 3)
            assert announced[0]["epoch"] == len(recorded)
            second.send_signal(signal.SIGTERM)
            assert second.wait() == 0
    with NightStore(store) as kept:
        (whole,) = kept.nights()
        estimates = list(kept.estimates(whole.id))
        (resumed,) = [e for e in kept.events(whole.id) if e.kind == "resumed"]
    assert (whole.id, whole.ended) == (cut_off.id, "stopped by the user")
    assert [e.epoch for e in estimates] == list(range(len(estimates)))
    again = round((resumed.at_s - estimates[0].onset_s) * 100)
    expected = without(night, [(3000 * len(recorded), again)])
    assert [words(e) for e in estimates] == [words(e) for e in expected[: len(estimates)]]


def test_a_bed_is_staged_once_and_ctrl_c_loses_nothing(
    night: Path, name: str, tmp_path: Path
) -> None:
    store = tmp_path / "nights.sqlite"
    with replayed(night, name), daemon(name, store) as one:
        announced = until(one, 2)
        with daemon(name, store) as other:
            assert other.wait() == 7
            assert other.stderr
            assert f"process {one.pid}" in other.stderr.read()
        one.send_signal(signal.SIGINT)
        rest, said = one.communicate()
        assert one.returncode == 0, said
        announced += [json.loads(line) for line in rest.splitlines()]
    with NightStore(store) as kept:
        (ended,) = kept.nights()
        epochs = [estimate.epoch for estimate in kept.estimates(ended.id)]
        assert list(kept.events(ended.id))[-1].kind == "ended"
        assert len(list(kept.epochs(ended.id))) == len(epochs)
    assert (ended.ended, ended.state) == ("stopped by the user", "ended")
    assert epochs == [epoch["epoch"] for epoch in announced]
