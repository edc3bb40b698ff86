"""Whether others can read our outlets: pylsl in this process, mne-lsl, and a plain script."""

import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import numpy as np
import pylsl
import pytest

from sleepstream.messages import DisorderScore, Quality, Stage, StageEstimate, frozen
from sleepstream.outputs.lsl import ESTIMATE_CHANNELS, StageOutlets, sample

pytestmark = pytest.mark.loopback

DEADLINE_S = 20.0


def an_estimate(
    bed: str, epoch: int = 0, stage: Stage | None = Stage.N2, final: bool = True
) -> StageEstimate:
    return StageEstimate(
        bed=bed,
        epoch=epoch,
        onset_s=5000.25 + 30 * epoch,
        end_s=5030.25 + 30 * epoch,
        stage=stage,
        probs=frozen([0.05, 0.15, 0.5, 0.2, 0.1]),
        encoder_probs=None,
        confidence=0.5,
        quality=Quality(0.75),
        valid=1.0,
        forecast=frozen(np.full((20, 5), 0.2)),
        p_wake_5min=0.3,
        p_rem_5min=0.1,
        disorder=DisorderScore("none", None, None, ""),
        final=final,
        model="abc123",
        latency_ms=12.5,
    )


def outlets_of(bed: str, linger_s: float = 0.5, network: bool = False) -> StageOutlets:
    return StageOutlets(
        bed,
        source="EEG",
        channel="Fpz-Cz",
        sfreq=256.0,
        model="abc123",
        network=network,
        linger_s=linger_s,
    )


@pytest.fixture
def bed() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def outlets(bed: str) -> Iterator[StageOutlets]:
    with outlets_of(bed, linger_s=0.0) as outlets:
        yield outlets


def inlet_of(bed: str, kind: str, outlets: StageOutlets) -> pylsl.StreamInlet:
    (info,) = pylsl.resolve_byprop("source_id", f"sleepstream-{bed}-{kind}", 1, DEADLINE_S)
    inlet = pylsl.StreamInlet(info)
    inlet.open_stream(DEADLINE_S)
    wait_for_receiver(outlets, kind)
    return inlet


def wait_for_receiver(outlets: StageOutlets, kind: str) -> None:
    assert outlets._outlets[kind].wait_for_consumers(DEADLINE_S)


def within_deadline(done: Callable[[], bool]) -> None:
    """Look again until it is done, and fail when it takes too long."""
    start, pause = time.monotonic(), threading.Event()
    while not done():
        assert time.monotonic() - start < DEADLINE_S, "not within the deadline"
        pause.wait(0.02)


def test_the_stage_leaves_as_a_marker_at_the_end_of_its_epoch(
    bed: str, outlets: StageOutlets
) -> None:
    inlet = inlet_of(bed, "stage", outlets)
    stages = [Stage.W, Stage.N1, None, Stage.REM]
    for epoch, stage in enumerate(stages):
        outlets.push(an_estimate(bed, epoch, stage))
    received = [inlet.pull_sample(DEADLINE_S) for _ in stages]
    assert [labels for labels, _ in received] == [["W"], ["N1"], ["?"], ["REM"]]
    assert [stamp for _, stamp in received] == [5030.25, 5060.25, 5090.25, 5120.25]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux filters sockets")
def test_only_this_computer_receives_unless_somebody_says_otherwise(bed: str) -> None:
    with outlets_of(bed) as ours, outlets_of(f"{bed}-open", network=True) as everybodys:
        assert ours.local
        assert not everybodys.local
        inlet_of(bed, "stage", ours)  # which is this computer's


def test_final_and_provisional_numbers_leave_by_different_outlets(
    bed: str, outlets: StageOutlets
) -> None:
    final, provisional = (
        inlet_of(bed, "probabilities", outlets),
        inlet_of(bed, "provisional", outlets),
    )
    for epoch, is_final in enumerate([False, True, False, True]):
        outlets.push(an_estimate(bed, epoch, final=is_final))
    for inlet, stamps in ((provisional, [5030.25, 5090.25]), (final, [5060.25, 5120.25])):
        received = [inlet.pull_sample(DEADLINE_S) for _ in stamps]
        assert [stamp for _, stamp in received] == stamps
        for numbers, _ in received:
            assert numbers == [float(np.float32(x)) for x in sample(an_estimate(bed))]


def test_a_stream_describes_itself(bed: str, outlets: StageOutlets) -> None:
    inlet = inlet_of(bed, "probabilities", outlets)
    info = inlet.info(DEADLINE_S)
    assert info.type() == "SleepStage"
    assert info.nominal_srate() == pylsl.IRREGULAR_RATE
    assert info.get_channel_labels() == [
        *["W", "N1", "N2", "N3", "REM"],
        *["confidence", "quality", "latency"],
    ]
    assert info.get_channel_units() == [channel.unit for channel in ESTIMATE_CHANNELS]
    about = {key: info.desc().child_value(key) for key in ("model", "source", "epoch_s", "bed")}
    assert about == {"model": "abc123", "source": "EEG", "epoch_s": "30.0", "bed": bed}
    assert info.desc().child_value("intended_use") == "research use only"


def test_the_last_epoch_of_a_night_reaches_a_receiver(bed: str) -> None:
    with outlets_of(bed) as outlets:
        inlet = inlet_of(bed, "stage", outlets)
        outlets.push(an_estimate(bed))
    assert inlet.pull_sample(DEADLINE_S) == (["N2"], 5030.25)


def test_a_receiver_finds_the_outlet_again_after_a_restart(bed: str) -> None:
    with outlets_of(bed) as outlets:
        inlet = inlet_of(bed, "stage", outlets)
        outlets.push(an_estimate(bed, 0))
        assert inlet.pull_sample(DEADLINE_S) == (["N2"], 5030.25)
    with outlets_of(bed, linger_s=0.0) as outlets:
        within_deadline(lambda: _pushed_and_received(outlets, inlet, an_estimate(bed, 1)))


def _pushed_and_received(
    outlets: StageOutlets, inlet: pylsl.StreamInlet, estimate: StageEstimate
) -> bool:
    outlets.push(estimate)
    return bool(inlet.pull_sample(0.1)[1] == estimate.end_s)


def test_closing_twice_is_closing_once(bed: str) -> None:
    outlets = outlets_of(bed, linger_s=0.0)
    outlets.close()
    outlets.close()
    assert pylsl.resolve_byprop("source_id", f"sleepstream-{bed}-stage", 1, 0.5) == []


def test_mne_lsl_reads_the_numbers_by_label(bed: str, outlets: StageOutlets) -> None:
    from mne_lsl.stream import StreamLSL

    # Of an irregular stream the buffer is a number of samples.
    stream = StreamLSL(bufsize=10, source_id=f"sleepstream-{bed}-probabilities")
    stream.connect(acquisition_delay=None, timeout=DEADLINE_S, processing_flags=None)
    try:
        assert stream.ch_names == [channel.label for channel in ESTIMATE_CHANNELS]
        wait_for_receiver(outlets, "probabilities")
        outlets.push(an_estimate(bed))
        within_deadline(lambda: _acquired(stream) == 1)
        data, stamps = stream.get_data(picks=["N2", "latency"], exclude=())
    finally:
        stream.disconnect()
    assert stamps[-1] == 5030.25
    assert data[:, -1].tolist() == [0.5, 12.5]


def _acquired(stream: object) -> int:
    stream.acquire()  # type: ignore[attr-defined]
    return int(stream.n_new_samples)  # type: ignore[attr-defined]


def test_mne_lsl_reads_the_stages_through_its_own_inlet(bed: str, outlets: StageOutlets) -> None:
    from mne_lsl.lsl import StreamInlet, resolve_streams

    (info,) = resolve_streams(timeout=DEADLINE_S, source_id=f"sleepstream-{bed}-stage", minimum=1)
    inlet = StreamInlet(info)
    inlet.open_stream(timeout=DEADLINE_S)
    wait_for_receiver(outlets, "stage")
    outlets.push(an_estimate(bed))
    try:
        assert inlet.pull_sample(timeout=DEADLINE_S) == (["N2"], 5030.25)
    finally:
        inlet.close_stream()


SCRIPT = """
import sys, pylsl
info, = pylsl.resolve_byprop("name", sys.argv[1], timeout=20)
inlet = pylsl.StreamInlet(info)
inlet.open_stream(20)
print("ready", flush=True)
(stage,), stamp = inlet.pull_sample(20)
print(stage, stamp, flush=True)
"""


def test_a_script_of_a_few_lines_reads_the_stage_in_another_process(
    bed: str, outlets: StageOutlets
) -> None:
    command = [sys.executable, "-c", SCRIPT, f"sleepstream-{bed}-stage"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        wait_for_receiver(outlets, "stage")
        outlets.push(an_estimate(bed, stage=Stage.REM))
        assert reader.stdout.readline() == "REM 5030.25\n"
    assert reader.returncode == 0


NOISE = """
import pylsl, uuid
from sleepstream.lsl_quiet import quiet_liblsl
quiet_liblsl()
name = uuid.uuid4().hex
outlet = pylsl.StreamOutlet(pylsl.StreamInfo(name, "Markers", 1, 0, "string", name))
info, = pylsl.resolve_byprop("name", name, timeout=20)
inlet = pylsl.StreamInlet(info)
inlet.open_stream(20)
del outlet
inlet.pull_sample(0.5)
"""


def test_liblsl_writes_nothing_even_when_a_sender_goes_away() -> None:
    done = subprocess.run([sys.executable, "-c", NOISE], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")
