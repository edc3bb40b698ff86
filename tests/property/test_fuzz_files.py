"""Recordings, scorings and caches from strangers, in binary formats."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import date, time
from pathlib import Path

import edfio
import mne
import numpy as np
import pytest
from fuzzing import fuzzed, spoiled, survived
from hypothesis import example, given
from hypothesis import strategies as st
from sleepstream_replay.errors import ReplayError
from sleepstream_replay.player import Player, Settings, describe
from sleepstream_replay.recording import read_recording
from sleepstream_replay.wire import MemoryOutlet, SimulatedClock

from sleepstream.corpora import catalogue
from sleepstream.corpora.cache import read_npz, write_npz
from sleepstream.corpora.names import Origin
from sleepstream.corpora.scored import Scored
from sleepstream.errors import SleepstreamError
from sleepstream.messages import EPOCH_N_SAMPLES, frozen
from sleepstream.signal.epocher import Epocher
from sleepstream.signal.montage import choose_all
from sleepstream.sources.recording import Recording

# MNE leaves files open that it could not read to the end; that they go with their object is enough
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

Out = pytest.CaptureFixture[str]
Files = dict[str, bytes]

SECONDS, SFREQ = 35, 64
LABELS = ("EEG Fpz-Cz", "EOG")
NOISE = np.random.default_rng(0).normal(size=(2, SECONDS * SFREQ)) * 20

VHDR = b"""BrainVision Data Exchange Header File Version 1.0
[Common Infos]
DataFile=a.eeg
MarkerFile=a.vmrk
DataFormat=BINARY
DataOrientation=MULTIPLEXED
NumberOfChannels=2
SamplingInterval=15625
[Binary Infos]
BinaryFormat=INT_16
[Channel Infos]
Ch1=Fpz-Cz,,0.1,\xc2\xb5V
Ch2=EOG,,0.1,\xc2\xb5V
"""
VMRK = b"""BrainVision Data Exchange Marker File, Version 1.0
[Common Infos]
DataFile=a.eeg
[Marker Infos]
Mk1=New Segment,,1,1,0,20010304220000000000
Mk2=Comment,Sleep stage W,1,1920,0
"""


def edf(folder: Path, notes: bool = True) -> Files:
    path = folder / "a.edf"
    signals = [
        edfio.EdfSignal(
            row,
            sampling_frequency=SFREQ,
            label=label,
            physical_dimension="uV",
            physical_range=(-500, 500),
        )
        for row, label in zip(NOISE, LABELS, strict=True)
    ]
    edfio.Edf(
        signals,
        annotations=[edfio.EdfAnnotation(0, 30, "Sleep stage W")] * notes,
        recording=edfio.Recording(startdate=date(2001, 3, 4)),
        starttime=time(22, 0),
    ).write(path)
    return {"a.edf": path.read_bytes()}


def fif(folder: Path) -> Files:
    path = folder / "a_raw.fif"
    info = mne.create_info(list(LABELS), SFREQ, "eeg")
    raw = mne.io.RawArray(NOISE * 1e-6, info, verbose="error")
    raw.set_annotations(mne.Annotations([0.0], [30.0], ["Sleep stage W"]))
    raw.save(path, fmt="single", verbose="error", overwrite=True)
    return {path.name: path.read_bytes()}


def brainvision(_: Path) -> Files:
    samples = (NOISE * 10).astype("<i2").T.tobytes()
    return {"a.vhdr": VHDR, "a.vmrk": VMRK, "a.eeg": samples}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Files]:
    """Return what gives the files of a small valid recording of some kind."""
    made = {
        make.__name__: make(tmp_path_factory.mktemp("whole")) for make in (edf, fif, brainvision)
    }
    return made.__getitem__


def stage(path: Path) -> None:
    """Do what `sleepstream score` does before the networks."""
    recording = Recording(path)
    recording.reference()
    choices = choose_all(recording.labels, recording.units)
    part = recording.only(choices.picks)
    choices = choose_all(part.labels, part.units, [choices.label])
    epocher = Epocher(part.sfreq, choices)
    for chunk in itertools.islice(part.chunks(choices.picks, choices.scales), 5):
        epocher.push(chunk)


def play(path: Path) -> None:
    """Do what `sleepstream replay` does, for a minute at most, with a wire in memory."""
    recording, settings = read_recording(path), Settings(stages=True, chunk=4096)
    describe(recording, settings)
    markers, clock = MemoryOutlet(), SimulatedClock(stop_at_s=60)
    Player(recording, settings, MemoryOutlet(), clock, markers).play()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("edf", "a.edf"),
        ("fif", "a_raw.fif"),
        ("brainvision", "a.vhdr"),
        ("brainvision", "a.vmrk"),
        ("brainvision", "a.eeg"),
    ],
)
def test_recordings(
    tmp_path: Path, capfd: Out, whole: Callable[[str], Files], kind: str, name: str
) -> None:
    files = whole(kind)
    for other, content in files.items():
        (tmp_path / other).write_bytes(content)
    (main, *_) = files

    @fuzzed(40)
    @given(spoiled(files[name]))
    def check(data: bytes) -> None:
        (tmp_path / name).write_bytes(data)
        with survived(tmp_path, capfd, SleepstreamError):
            stage(tmp_path / main)
        with survived(tmp_path, capfd, ReplayError):
            play(tmp_path / main)

    check()


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (slice(236, 244), b"99999999"),
        (slice(244, 252), b"1e-30   "),
        (slice(244, 252), b"0       "),
        (slice(244, 252), b"nan     "),
        (slice(252, 256), b"9999"),
        (slice(252, 256), b"0   "),
        (slice(256, 272), b"\x1b[31mFpz\x1b]0;x\x07"),
        (slice(168, 184), b"99.99.9999.99.99"),
    ],
)
def test_edf_headers(
    tmp_path: Path, capfd: Out, whole: Callable[[str], Files], where: slice, words: bytes
) -> None:
    data = bytearray(whole("edf")["a.edf"])
    data[where] = words
    path = tmp_path / "a.edf"
    path.write_bytes(data)
    with survived(tmp_path, capfd, SleepstreamError):
        stage(path)
    with survived(tmp_path, capfd, SleepstreamError):
        catalogue.find(path)[0].read()
    with survived(tmp_path, capfd, ReplayError):
        play(path)


def test_edf_scorings(tmp_path: Path, capfd: Out, whole: Callable[[str], Files]) -> None:
    (tmp_path / "SC4001E0-PSG.edf").write_bytes(whole("edf")["a.edf"])
    path = tmp_path / "SC4001EC-Hypnogram.edf"

    @fuzzed(40)
    @given(spoiled(whole("edf")["a.edf"]))
    @example(whole("edf")["a.edf"].replace(b"+0\x1530\x14", b"+" + b"9" * 40 + b"\x1530\x14"))
    def check(data: bytes) -> None:
        path.write_bytes(data)
        with survived(tmp_path, capfd, SleepstreamError):
            (found,) = catalogue.find(tmp_path / "SC4001E0-PSG.edf")
            found.outline()
            found.read()

    check()


def a_cache(path: Path) -> bytes:
    signal = frozen(NOISE[:1, :1500].repeat(4, axis=1))
    write_npz(path, Scored(Origin("cap", "n1", "n1"), "C4-M1", signal, np.zeros(2, np.int8)))
    return path.read_bytes()


def test_caches(tmp_path: Path, capfd: Out) -> None:
    path = tmp_path / "a.npz"

    @fuzzed(60)
    @given(spoiled(a_cache(path)))
    def check(data: bytes) -> None:
        path.write_bytes(data)
        with survived(tmp_path, capfd, SleepstreamError):
            read_npz(path)

    check()


ODD = st.sampled_from(
    (
        np.zeros((2, EPOCH_N_SAMPLES), "f4"),
        np.zeros(2, "i8"),
        np.array("causal high-pass 0.3 Hz"),
        np.array(100.0),
        np.array("x"),
        np.array(np.nan),
        np.array([]),
        np.zeros(2, "U3"),
        np.zeros(2, [("a", "i4")]),
        np.zeros(2, "c16"),
        np.zeros(2, "M8[s]"),
        np.array("\x1b[31m"),
    )
)
KEYS = ("x", "y", "fs", "front_end", "corpus", "subject", "record", "diagnosis", "channel")


@fuzzed(60)
@given(st.dictionaries(st.sampled_from((*KEYS, "onset_s", "started")), ODD))
@example({"front_end": np.array("causal high-pass 0.3 Hz")})
@example(
    {"front_end": np.array("causal high-pass 0.3 Hz")}
    | dict.fromkeys((*KEYS[4:], "onset_s", "started"), np.array("x"))
)
def test_caches_that_are_caches_of_something_else(
    tmp_path: Path, capfd: Out, arrays: dict[str, np.ndarray]
) -> None:
    path = tmp_path / "a.npz"
    right = {"x": np.zeros((2, EPOCH_N_SAMPLES), "f4"), "y": np.zeros(2, "i8"), "fs": np.array(100)}
    np.savez(path, **(right | arrays))
    with survived(tmp_path, capfd, SleepstreamError):
        read_npz(path)


def test_a_cache_that_carries_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.array([print], dtype=object), y=np.zeros(1, "i8"), fs=100.0)
    with pytest.raises(SleepstreamError):
        read_npz(path)
