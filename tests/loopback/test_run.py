"""The whole way over real LSL: a player in another process, the daemon here, clients beside it."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import edfio
import numpy as np
import pylsl
import pytest
from sleepstream_replay.synthetic import synthetic_night

from sleepstream.commands.run import run
from sleepstream.commands.score import score
from sleepstream.config import Night, Output, Settings, Staging, Stream
from sleepstream.errors import ChannelError, StreamError, UnitError
from sleepstream.sources.lsl import LslSource
from sleepstream.sources.network import describe
from sleepstream.store.nights import NightStore

pytestmark = pytest.mark.loopback

SECONDS = 160  # five epochs and a rest that is none

CLIENT = """
import sys, time, pylsl
bed, n = sys.argv[1], int(sys.argv[2])
inlets = [
    pylsl.StreamInlet(pylsl.resolve_byprop("name", f"sleepstream-{bed}-{kind}", timeout=60)[0])
    for kind in ("stage", "probabilities")
]
for inlet in inlets:
    inlet.open_stream(30)
print("ready", flush=True)
for _ in range(n):
    (stage,), at = inlets[0].pull_sample(60)
    probs, probs_at = inlets[1].pull_sample(60)
    print(stage, at, probs_at, *probs, flush=True)
"""

MNE_PLAYER = """
import sys, mne, numpy as np
from mne_lsl.player import PlayerLSL
name, data = sys.argv[1], np.load(sys.argv[2])
raw = mne.io.RawArray(data, mne.create_info(["Fpz-Cz"], 100.0, "eeg"), verbose="error")
with PlayerLSL(raw, chunk_size=20, n_repeat=1, name=name, source_id=name) as player:
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def make_night(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], Path]:
    """Return a maker of short recordings: two channels and scored stages, at any rate."""

    def make(sfreq: float) -> Path:
        path = tmp_path_factory.mktemp("night") / f"night{sfreq:g}.edf"
        n = int(SECONDS * sfreq)
        eeg = synthetic_night(0.5, 3, 100.0).read(0, int(SECONDS * 100))[0] * 1e6
        there, here = np.arange(eeg.size) / 100, np.arange(n) / sfreq
        channels = {"EMG chin": np.sin(here), "EEG Fpz-Cz": np.interp(here, there, eeg)}
        signals = [
            edfio.EdfSignal(
                values,
                sampling_frequency=sfreq,
                label=label,
                physical_dimension="uV",
                physical_range=(-1000, 1000),
            )
            for label, values in channels.items()
        ]
        edfio.Edf(signals, annotations=[edfio.EdfAnnotation(0, 90, "Sleep stage W")]).write(path)
        return path

    return make


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield child
    finally:
        child.terminate()
        child.communicate()


def replayed(path: Path, name: str, *options: str) -> Any:
    arguments = (str(path), "--stream-name", name, "--source-id", name, *options)
    return process("-m", "sleepstream_replay", *arguments)


def settings_for(name: str, store: Path, **stream: Any) -> Settings:
    return Settings(
        stream=Stream(**{"lsl_stream": name, "timeout": 60.0, "grace": 2.0, **stream}),
        staging=Staging(provisional=5.0),
        night=Night(bed=name, store=str(store)),
        output=Output(json=True),
    )


def estimates(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def said(estimate: dict[str, Any]) -> dict[str, Any]:
    """Everything that has to be equal, however the samples arrived."""
    return {k: v for k, v in estimate.items() if k not in {"onset", "latency_ms", "bed"}}


@pytest.fixture
def name() -> str:
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.mark.parametrize(
    ("sfreq", "options"),
    [
        (100.0, ("--speed", "60", "--chunk", "1")),
        (100.0, ("--speed", "max", "--units", "V", "--chunk", "100")),
        (256.0, ("--speed", "60", "--units", "V", "--chunk", "7")),
        (512.0, ("--speed", "60", "--chunk", "4096")),
    ],
)
def test_streamed_and_scored_are_the_same_to_the_bit(
    sfreq: float,
    options: tuple[str, ...],
    make_night: Callable[[float], Path],
    name: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = make_night(sfreq)
    settings = settings_for(name, tmp_path / "nights.sqlite")
    assert score(settings, path, store=False, out=None, as_json=True) == 0
    scored = json.loads(capfd.readouterr().out)
    assert scored["agreement"]["n"] == 3
    with replayed(path, name, *options):
        assert run(settings) == 0
    final = [e for e in estimates(capfd.readouterr().out) if e["final"]]
    assert [e["epoch"] for e in final] == list(range(5))
    assert [said(e) for e in final] == [said(e) for e in scored["estimates"]]
    with NightStore(tmp_path / "nights.sqlite") as store:
        stored = [said(e.as_json()) for e in store.estimates("last")]
    assert json.loads(json.dumps(stored)) == [said(e) for e in final]


def test_other_programs_hear_the_stages_while_it_runs(
    make_night: Callable[[float], Path],
    name: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with ExitStack() as stack:
        client = stack.enter_context(process("-c", CLIENT, name, "4"))
        stack.enter_context(replayed(make_night(100.0), name, "--speed", "20"))
        run(settings_for(name, tmp_path / "nights.sqlite"))
        heard, _ = client.communicate(timeout=60)
    _, ready, lines = heard.partition("ready\n")  # liblsl talks before it is asked
    assert ready
    final = {e["onset"] + 30.0: e for e in estimates(capfd.readouterr().out) if e["final"]}
    assert len(lines.splitlines()) == 4
    for line in lines.splitlines():
        stage, at, probs_at, *numbers = line.split()
        assert at == probs_at
        estimate = final[min(final, key=lambda end: abs(end - float(at)))]
        assert estimate["onset"] + 30.0 == pytest.approx(float(at), abs=1e-6)
        assert stage == estimate["stage"]
        assert [float(p) for p in numbers[:5]] == pytest.approx(estimate["probs"], abs=1e-6)
        assert float(numbers[6]) == pytest.approx(estimate["quality"]["score"], abs=1e-6)


def test_mne_lsls_own_player_is_staged_too(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    volts = synthetic_night(0.1, 3, 100.0).read(0, 6000)[:1]
    np.save(tmp_path / "volts.npy", volts)
    with process("-c", MNE_PLAYER, name, str(tmp_path / "volts.npy")):
        run(settings_for(name, tmp_path / "nights.sqlite", duration=36.0))
    found = estimates(capfd.readouterr().out)
    assert [e["epoch"] for e in found if e["final"]] == [0]
    assert any(not e["final"] and e["epoch"] == 1 for e in found)
    assert found[0]["quality"]["score"] == 1.0


@pytest.mark.parametrize(
    ("stream", "error", "words"),
    [
        ({"lsl_stream": "nobody", "timeout": 1.5}, StreamError, "on the network|found: "),
        ({"channel": "C4-M1"}, ChannelError, "'EMG chin', 'EEG Fpz-Cz'"),
        ({"units": "V"}, UnitError, "--units uV"),
    ],
)
def test_what_cannot_be_staged_is_refused_with_what_was_found(
    stream: dict[str, Any],
    error: type[Exception],
    words: str,
    make_night: Callable[[float], Path],
    name: str,
    tmp_path: Path,
) -> None:
    with (
        replayed(make_night(100.0), name, "--speed", "max"),
        pytest.raises(error, match=words),
    ):
        run(settings_for(name, tmp_path / "nights.sqlite", **stream))


def test_two_streams_of_one_name_are_told_apart(
    make_night: Callable[[float], Path], name: str, tmp_path: Path
) -> None:
    path = make_night(100.0)
    other = (str(path), "--stream-name", name, "--source-id", "other")
    with replayed(path, name), process("-m", "sleepstream_replay", *other) as second:
        assert second.stdout
        while "waiting" not in second.stdout.readline():
            pass
        with pytest.raises(StreamError, match="source_id=other"):
            run(settings_for(name, tmp_path / "nights.sqlite"))


def test_a_stream_that_is_announced_and_gone_is_refused(name: str) -> None:
    info = pylsl.StreamInfo(name, "EEG", 1, 100.0, "float32", name)
    outlet = pylsl.StreamOutlet(info)
    (found,) = pylsl.resolve_byprop("name", name, timeout=10)
    del outlet
    assert describe(found).labels == ()
    with pytest.raises(StreamError, match="did not answer"):
        LslSource(found)


GONE = """
import sys, time, pylsl
name, n = sys.argv[1], 6500
outlet = pylsl.StreamOutlet(pylsl.StreamInfo(name, "EEG", 1, 100.0, "float32"))  # no source_id
outlet.wait_for_consumers(60)
outlet.push_chunk([[20.0 * (k % 17 - 8)] for k in range(n)], 1000.0 + n / 100)
time.sleep(2)  # what is on the wire is lost with the outlet
"""


def test_a_sender_without_a_source_id_that_dies_ends_the_night_as_it_should(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with process("-c", GONE, name):
        assert run(settings_for(name, tmp_path / "nights.sqlite", grace=4.0)) == 0
    assert [e["epoch"] for e in estimates(capfd.readouterr().out) if e["final"]] == [0, 1]
    with NightStore(tmp_path / "nights.sqlite") as store:
        assert store.nights()[0].ended == "the stream left and did not return within 4 s"


def test_a_bed_that_is_taken_is_refused(
    make_night: Callable[[float], Path], name: str, tmp_path: Path
) -> None:
    info = pylsl.StreamInfo("x", "Markers", 1, 0.0, "string", f"sleepstream-{name}-stage")
    outlet = pylsl.StreamOutlet(info)
    with (
        replayed(make_night(100.0), name),
        pytest.raises(StreamError, match="--bed"),
    ):
        run(settings_for(name, tmp_path / "nights.sqlite"))
    del outlet


def test_markers_are_no_eeg(name: str, tmp_path: Path) -> None:
    info = pylsl.StreamInfo(name, "Markers", 1, 0.0, "string", name)
    outlet = pylsl.StreamOutlet(info)
    with pytest.raises(StreamError, match="carries text"):
        run(settings_for(name, tmp_path / "nights.sqlite"))
    del outlet
