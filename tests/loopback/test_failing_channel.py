"""A channel goes flat on the wire: the next takes over, and the first comes back."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import edfio
import pytest
from sleepstream_replay.synthetic import synthetic_night

from sleepstream.commands.run import run
from sleepstream.commands.score import score
from sleepstream.config import Channel, Night, Output, Settings, Stream
from sleepstream.errors import ChannelError
from sleepstream.store.nights import NightStore

pytestmark = pytest.mark.loopback

SFREQ = 100.0
N_EPOCHS = 26
FLAT_FROM, N_FLAT = 3, 10  # epochs
TAKEN_OVER, TAKEN_BACK = FLAT_FROM + 3, FLAT_FROM + N_FLAT + 9  # the 4th bad and the 10th good one

FAULTS = f"""
[[fault]]
kind = "flat"
start_s = {30 * FLAT_FROM}
length_s = {30 * N_FLAT}
channels = ["EEG C4-M1"]
level_uv = LEVEL
"""


def recording(path: Path, *, flat: bool) -> Path:
    """Write two derivations; the first one is flat for ten epochs, or is to be on the wire."""
    n = int(30 * N_EPOCHS * SFREQ)
    rows = synthetic_night(0.5, 3, SFREQ).read(0, 2 * n)[0] * 1e6
    channels = {"EEG C4-M1": rows[:n].copy(), "EEG C3-M2": rows[:n] * 0.6 + 0.1 * rows[n:]}
    if flat:
        part = slice(int(30 * FLAT_FROM * SFREQ), int(30 * (FLAT_FROM + N_FLAT) * SFREQ))
        channels["EEG C4-M1"][part] = 0.0
    signals = [
        edfio.EdfSignal(
            values,
            sampling_frequency=SFREQ,
            label=label,
            physical_dimension="uV",
            physical_range=(-1000, 1000),
        )
        for label, values in channels.items()
    ]
    edfio.Edf(signals).write(path)
    return path


def said(estimate: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in estimate.items() if k not in {"onset", "latency_ms", "bed"}}


def test_the_second_takes_over_and_the_first_comes_back(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name = f"t{uuid.uuid4().hex[:12]}"
    settings = Settings(
        stream=Stream(lsl_stream=name, timeout=60.0, grace=2.0),
        night=Night(bed=name, store=str(tmp_path / "nights.sqlite")),
        output=Output(json=True),
        channels=(Channel("C4-M1"), Channel("C3-M2")),
    )
    whole = recording(tmp_path / "whole.edf", flat=False)
    failed = recording(tmp_path / "failed.edf", flat=True)
    flat = edfio.read_edf(failed).signals[0].data[int(30 * FLAT_FROM * SFREQ)]  # not quite zero
    faults = tmp_path / "faults.toml"
    faults.write_text(FAULTS.replace("LEVEL", repr(float(flat))), encoding="utf-8")
    arguments = [str(whole), "--stream-name", name, "--source-id", name, "--speed", "max"]
    player = subprocess.Popen(
        [sys.executable, "-m", "sleepstream_replay", *arguments, "--faults", str(faults)]
    )
    try:
        assert run(settings) == 0
    finally:
        player.terminate()
        player.wait()
    lines = (json.loads(line) for line in capfd.readouterr().out.splitlines())
    final = [estimate for estimate in lines if estimate["final"]]

    second = range(TAKEN_OVER, TAKEN_BACK)
    assert [e["derivation"] for e in final] == [
        "EEG C3-M2" if epoch in second else "EEG C4-M1" for epoch in range(N_EPOCHS)
    ]
    gains = [e["gain"] for e in final]
    assert gains[:TAKEN_OVER] == [1.0] * TAKEN_OVER
    assert 0.5 < gains[TAKEN_OVER] < 0.75  # it is made 0.6 times as large
    assert len(set(gains[TAKEN_OVER:TAKEN_BACK])) == 1
    assert gains[-1] == pytest.approx(1.0, rel=0.05)
    unscorable = [e["epoch"] for e in final if e["stage"] == "?"]
    assert unscorable == list(range(FLAT_FROM, TAKEN_OVER))
    assert {e["quality"]["verdict"] for e in final if e["stage"] == "?"} == {
        "flat for 30 s: the electrode is off"
    }
    with NightStore(tmp_path / "nights.sqlite") as store:
        night = store.find("last")
        assert night.channel == "EEG C4-M1, EEG C3-M2"
        start_s = final[0]["onset"]
        told = [(e.text, round(e.at_s - start_s)) for e in store.events("last")
                if e.kind == "channel"]  # fmt: skip
        stored = [said(e.as_json()) for e in store.estimates("last")]
    assert told == [
        (
            "EEG C4-M1 has been bad for 2 min (flat for 30 s: the electrode is off); from now on "
            "EEG C3-M2 is staged",
            30 * TAKEN_OVER,
        ),
        (
            "EEG C4-M1 has been good for 5 min and is staged again in place of EEG C3-M2",
            30 * TAKEN_BACK,
        ),
    ]
    assert json.loads(json.dumps(stored)) == [said(e) for e in final]

    assert score(settings, failed, store=False, out=None, as_json=True) == 0
    scored = json.loads(capfd.readouterr().out)["estimates"]
    assert [said(e) for e in scored] == [said(e) for e in final]


def test_a_channel_that_is_not_there_is_refused_before_the_night(tmp_path: Path) -> None:
    settings = Settings(channels=(Channel("C4-M1"), Channel("O2-M1")))
    whole = recording(tmp_path / "whole.edf", flat=False)
    with pytest.raises(ChannelError, match="'O2-M1'"):
        score(settings, whole, store=False, out=None, as_json=True)
    twice = Settings(stream=Stream(channel="C4-M1,C4-A1"))
    with pytest.raises(ChannelError, match="the same one twice"):
        score(twice, whole, store=False, out=None, as_json=True)
