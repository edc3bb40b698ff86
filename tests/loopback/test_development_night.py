"""The development night, whole: streamed as scored, and staged well whatever the amplifier does."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import resample_poly

from sleepstream.commands.run import run
from sleepstream.commands.score import score
from sleepstream.config import Night, Output, Settings, Stream
from sleepstream.hypnogram import agreement
from sleepstream.messages import Chunk, Float64Array, Stage
from sleepstream.signal.epocher import Epocher
from sleepstream.signal.montage import Montage
from sleepstream.sources.recording import Recording
from sleepstream.stager.device import single_thread
from sleepstream.stager.stager import Stager

NIGHT = Path(__file__).resolve().parents[3] / "shared" / "data" / "raw_eeg" / "ucddb018.edf"

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not NIGHT.is_file(), reason=f"the development night is not at {NIGHT}"),
]


@pytest.fixture(scope="module")
def night() -> tuple[Float64Array, list[Stage | None]]:
    recording = Recording(NIGHT)
    reference = recording.reference()
    assert reference is not None
    chunks = recording.chunks([0], [1e6])
    return np.concatenate([c.data[0] for c in chunks]).astype(np.float64), reference


def kappa(signal: Float64Array, sfreq: float, reference: list[Stage | None]) -> float:
    names = Settings().models
    stager = Stager.load(
        encoder=names.encoder,
        decoder=names.decoder,
        disorder=names.disorder,
        device=torch.device("cpu"),
        bed="b",
    )
    epocher = Epocher(sfreq, Montage("C3-A2", (0,), 0, (1.0,), "uV"))
    stamps = np.arange(signal.size) / sfreq
    chunk = Chunk(stamps, signal.astype(np.float32)[np.newaxis])
    stages = [stager.step(epoch).stage for epoch in epocher.push(chunk)]
    found = agreement(reference, stages).kappa
    assert found is not None
    return found


def test_neither_gain_nor_rate_changes_what_is_said(
    night: tuple[Float64Array, list[Stage | None]],
) -> None:
    single_thread()
    signal, reference = night
    as_recorded = kappa(signal, 100.0, reference)
    assert as_recorded > 0.7
    for gain in (0.3, 3.0):
        assert abs(kappa(signal * gain, 100.0, reference) - as_recorded) <= 0.02
    for up, down in ((16, 25), (128, 25)):
        resampled = resample_poly(signal, up, down)
        assert abs(kappa(resampled, 100.0 * up / down, reference) - as_recorded) <= 0.02


@pytest.mark.loopback
def test_all_of_it_comes_through_at_maximum_speed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name = f"t{uuid.uuid4().hex[:12]}"
    settings = Settings(
        stream=Stream(lsl_stream=name, timeout=60.0, grace=3.0),
        night=Night(bed=name, store=str(tmp_path / "nights.sqlite")),
        output=Output(json=True),
    )
    score(settings, NIGHT, store=False, out=None, as_json=True)
    scored = json.loads(capfd.readouterr().out)["estimates"]
    command = ["-m", "sleepstream_replay", str(NIGHT), "--speed", "max", "--stream-name", name]
    with subprocess.Popen([sys.executable, *command], stderr=subprocess.DEVNULL) as player:
        run(settings)
        player.terminate()
    said = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    final = [estimate for estimate in said if estimate["final"]]
    assert [estimate["epoch"] for estimate in final] == list(range(822))
    for one, other in zip(final, scored, strict=True):
        assert {**one, "onset": 0, "latency_ms": 0} == {**other, "onset": 0, "latency_ms": 0}
