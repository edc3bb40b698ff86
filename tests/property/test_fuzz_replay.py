"""What the replay is given: faults that are understood are played, and so are odd recordings."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from fuzzing import fuzzed, survived
from hypothesis import example, given
from hypothesis import strategies as st
from sleepstream_replay.cli import replay
from sleepstream_replay.errors import ReplayError
from sleepstream_replay.faults import KINDS
from sleepstream_replay.faults_file import parse_faults
from sleepstream_replay.player import UNITS, Player, Settings, describe, section_of
from sleepstream_replay.recording import Channel, Recording
from sleepstream_replay.wire import MemoryNetwork, MemoryOutlet, SimulatedClock

Out = pytest.CaptureFixture[str]

SFREQ, SECONDS = 64.0, 40
NOISE = np.random.default_rng(1).normal(size=(3, int(SFREQ * SECONDS))) * 2e-5
RECORDING = Recording.from_array(
    "\x1b[31mnight\u202e.edf",
    (Channel("Cz", "EEG", "V"), Channel("\x1b]0;x\x07", "EEG", "V"), Channel("", "MISC", "")),
    SFREQ,
    NOISE,
)
ODD = st.sampled_from(
    (0, 0.0, -0.0, 1, -1, 0.5, 1e-9, 5e-324, 3.7, 19.99, 1e6, -1e6, 1e10, -1e10, 1e300, math.nan,
     math.inf, "", "nan", "Cz", "\x1b[31m", True, [], ["Cz"], ["\x1b[31m"], {}, 2**70, 50, 60)
)  # fmt: skip
SECOND = st.floats(0, SECONDS).map(lambda s: round(s, 2)) | ODD


@st.composite
def a_fault(draw: st.DrawFn) -> dict[str, Any]:
    """Return the table of a fault, mostly valid."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    table: dict[str, Any] = {"kind": kind, "start_s": draw(SECOND)}
    for key in KINDS[kind].__struct_fields__:
        if key == "length_s" or (key != "start_s" and draw(st.booleans())):
            table[key] = draw(SECOND if key.endswith("_s") else ODD)
    return table


@fuzzed(150)
@given(st.lists(a_fault(), max_size=4), st.sampled_from(sorted(UNITS)), st.integers(0, 2**63))
@example([{"kind": "gain", "start_s": 0, "length_s": 40, "factor": 1e6}], "V", 0)
@example([{"kind": "jump", "start_s": k / 64, "by_s": 1} for k in range(20_000)], "uV", 0)
def test_faults_that_are_played(
    tmp_path: Path, capfd: Out, faults: list[dict[str, Any]], units: str, seed: int
) -> None:
    with survived(tmp_path, capfd, ReplayError):
        read = parse_faults({"fault": faults, "seed": seed})
        settings = Settings(units=units, faults=read, linger_s=0)
        network = MemoryNetwork()
        clock = SimulatedClock(stop_at_s=1e5)
        outlet = MemoryOutlet()
        player = Player(RECORDING, settings, outlet, clock, open_outlet=network.open)
        played = player.play()
        assert played.n_samples == sum(
            len(rows)
            for one in (outlet, *(o for d, o in network.opened if "second" not in d.source_id))
            for rows, _ in one.chunks
        )


OFFSETS = st.sampled_from(
    ("0", "1", "39.999", "40", "1e308", "1e308:0:0", "0:1e308:1e308", "nan", "inf", "-1", "1:1", "",
     ":", "0:0:0:0", "9" * 400, "1e-320", "0x10", "१", "\x1b[31m", "1_0")
)  # fmt: skip
TEXT = st.text(max_size=20).filter(lambda text: not text.startswith("-")) | st.sampled_from(
    ("\x1b[31m", "\u202e", "a" * 5000, "[red]", "../../x")
)


@fuzzed(100)
@given(OFFSETS, OFFSETS, TEXT, TEXT)
def test_where_to_begin(
    tmp_path: Path, capfd: Out, start: str, duration: str, name: str, source_id: str
) -> None:
    asked = ["x.edf", "--start", start, "--duration", duration]
    with survived(tmp_path, capfd, ReplayError, click.ClickException):
        named = ["--stream-name", name, "--source-id", source_id]
        given = replay.make_context("replay", [*asked, *named]).params
        settings = Settings(
            stream_name=given["stream_name"],
            source_id=given["source_id"],
            start_s=given["start"],
            duration_s=given["duration"],
        )
        section_of(RECORDING, settings)
        describe(RECORDING, settings)
