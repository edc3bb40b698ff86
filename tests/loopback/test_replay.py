"""The replay on the real wire: every sample once and bit-equal; what a stream says of itself."""

import signal
import subprocess
import sys
import uuid
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic

import mne
import numpy as np
import pylsl
import pytest
from sleepstream_replay.player import (
    MAX_SPEED,
    Player,
    Settings,
    buffer_s,
    describe,
    describe_stages,
)
from sleepstream_replay.recording import Channel, Recording, ScoredStage, read_recording
from sleepstream_replay.synthetic import synthetic_night
from sleepstream_replay.wire import LslClock, lsl_outlet

pytestmark = pytest.mark.loopback

SFREQ = 256.0
N_SAMPLES = 40_003
DEADLINE_S = 30.0

RECORDING = Recording.from_array(
    "night.edf",
    (
        Channel("EEG Fpz-Cz", "EEG", "V"),
        Channel("EOG horizontal", "EOG", "V"),
        Channel("Temp", "MISC", "DegC"),
    ),
    SFREQ,
    np.random.default_rng(1).normal(0.0, 3e-5, (3, N_SAMPLES)),
    stages=tuple(
        ScoredStage(30.0 * i, 30.0, label) for i, label in enumerate(["W", "N1", "N2", "N3", "REM"])
    ),
)


def find(name):
    found = pylsl.resolve_byprop("name", name, timeout=DEADLINE_S)
    assert len(found) == 1
    return found[0]


def receive(inlet, n_samples):
    """Pull until `n_samples` came, or nothing more does before the deadline."""
    rows, stamps = [], []
    until = monotonic() + DEADLINE_S
    while len(stamps) < n_samples and monotonic() < until:
        chunk, at = inlet.pull_chunk(timeout=0.2, max_samples=8192)
        rows.extend(chunk)
        stamps.extend(at)
    return rows, stamps


@contextmanager
def playing(recording, **settings):
    """Play in a thread, with both streams, until the block ends; yields the name."""
    name = f"replay-{uuid.uuid4().hex}"
    stop = Event()
    chosen = Settings(stream_name=name, source_id=name, **settings)
    with (
        lsl_outlet(
            describe(recording, chosen),
            buffer_s(recording, chosen),
            blocking=chosen.speed == MAX_SPEED,
        ) as outlet,
        lsl_outlet(describe_stages(recording, chosen), 100.0) as markers,
    ):
        player = Player(recording, chosen, outlet, LslClock(stop), markers)
        thread = Thread(target=player.play)
        thread.start()
        try:
            yield name
        finally:
            stop.set()
            thread.join(DEADLINE_S)
            assert not thread.is_alive()


@pytest.mark.parametrize("speed", [MAX_SPEED, 2000.0])
@pytest.mark.parametrize("chunk", [None, 7, 1009])
def test_every_sample_arrives_once_and_bit_equal(chunk, speed):
    with playing(RECORDING, speed=speed, chunk=chunk) as name:
        inlet = pylsl.StreamInlet(find(name), max_buflen=3600)
        rows, stamps = receive(inlet, N_SAMPLES)
        inlet.close_stream()
    data = RECORDING.read(0, N_SAMPLES)
    expected = np.stack([data[0] * 1e6, data[1] * 1e6, data[2]], axis=1).astype(np.float32)
    np.testing.assert_array_equal(np.array(rows, dtype=np.float32), expected)
    assert stamps == [stamps[0] + i / SFREQ for i in range(N_SAMPLES)]


def test_volts_arrive_in_double_precision():
    with playing(RECORDING, speed=MAX_SPEED, units="V", duration_s=5.0) as name:
        inlet = pylsl.StreamInlet(find(name))
        said = inlet.info(DEADLINE_S)
        rows, _ = receive(inlet, 1280)
        inlet.close_stream()
    assert said.channel_format() == pylsl.cf_double64
    assert said.desc().child("channels").child("channel").child_value("unit") == "volts"
    np.testing.assert_array_equal(np.array(rows), RECORDING.read(0, 1280).T)


def test_the_stream_says_what_it_is():
    with playing(RECORDING, speed=1.0) as name:
        inlet = pylsl.StreamInlet(find(name))
        said = inlet.info(DEADLINE_S)
        inlet.close_stream()
    channels = []
    node = said.desc().child("channels").child("channel")
    while not node.empty():
        channels.append(tuple(node.child_value(key) for key in ("label", "unit", "type")))
        node = node.next_sibling()
    assert channels == [
        ("EEG Fpz-Cz", "microvolts", "EEG"),
        ("EOG horizontal", "microvolts", "EOG"),
        ("Temp", "DegC", "MISC"),
    ]
    assert (said.type(), said.nominal_srate(), said.source_id()) == ("EEG", SFREQ, name)
    assert said.desc().child_value("manufacturer") == "sleepstream replay"
    assert said.desc().child("synthetic").empty()


def test_a_synthetic_night_says_so_on_the_wire():
    with playing(synthetic_night(0.01), speed=1.0) as name:
        inlet = pylsl.StreamInlet(find(name))
        said = inlet.info(DEADLINE_S)
        inlet.close_stream()
    assert said.desc().child_value("synthetic") == "true"


def test_stages_come_as_markers_at_their_onsets():
    with playing(RECORDING, speed=MAX_SPEED) as name:
        scored = pylsl.StreamInlet(find(f"{name}-scored"))
        scored.open_stream(DEADLINE_S)
        inlet = pylsl.StreamInlet(find(name), max_buflen=3600)
        _, stamps = receive(inlet, N_SAMPLES)
        labels, at = receive(scored, 5)
        inlet.close_stream()
        scored.close_stream()
    assert [label for (label,) in labels] == ["W", "N1", "N2", "N3", "REM"]
    np.testing.assert_allclose(np.array(at) - stamps[0], 30.0 * np.arange(5), atol=1e-9)


def test_an_independent_client_knows_labels_units_and_rate():
    mne_lsl_stream = pytest.importorskip("mne_lsl.stream")
    with playing(RECORDING, speed=1.0) as name:
        stream = mne_lsl_stream.StreamLSL(bufsize=10, name=name, source_id=name)
        stream.connect(timeout=DEADLINE_S, processing_flags=None)
        try:
            assert stream.ch_names == ["EEG Fpz-Cz", "EOG horizontal", "Temp"]
            assert stream.get_channel_types() == ["eeg", "eog", "misc"]
            assert stream.info["sfreq"] == SFREQ
            assert [channel["unit_mul"] for channel in stream.info["chs"]] == [
                mne.io.constants.FIFF.FIFF_UNITM_MU,
                mne.io.constants.FIFF.FIFF_UNITM_MU,
                mne.io.constants.FIFF.FIFF_UNITM_NONE,
            ]
        finally:
            stream.disconnect()


def command(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "sleepstream_replay", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_stops_cleanly(number):
    name = f"replay-{uuid.uuid4().hex}"
    process = command("--synthetic", "0.1", "--stream-name", name, "--speed", "1")
    try:
        inlet = pylsl.StreamInlet(find(name))
        rows, _ = receive(inlet, 10)
        process.send_signal(number)
        _, said = process.communicate(timeout=DEADLINE_S)
        inlet.close_stream()
    finally:
        process.kill()
    assert len(rows) >= 10
    assert process.returncode == 0
    assert "Traceback" not in said
    assert "the signal is synthetic" in said
    assert "stopped at 0:00:0" in said


def test_the_command_plays_a_file_to_its_end(tmp_path):
    path = tmp_path / "night_raw.fif"
    data = RECORDING.read(0, 5_000)[:1]
    info = mne.create_info(["EEG Fpz-Cz"], SFREQ, "eeg")
    mne.io.RawArray(data, info, verbose="ERROR").save(path, fmt="double", verbose="ERROR")
    name = f"replay-{uuid.uuid4().hex}"
    process = command(str(path), "--stream-name", name, "--speed", "max", "--linger", "30")
    try:
        inlet = pylsl.StreamInlet(find(name))
        rows, _ = receive(inlet, 5_000)
        inlet.close_stream()  # nobody listens any more: no need to linger
        _, said = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
    expected = (read_recording(path).read(0, 5_000) * 1e6).astype(np.float32)
    np.testing.assert_array_equal(np.array(rows, dtype=np.float32), expected.T)
    assert process.returncode == 0
    assert "5000 samples sent" in said
