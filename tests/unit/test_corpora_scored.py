"""Scored recordings: epochs of the live path, each with the score of its own time; and caches."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from sleepstream.corpora.cache import read_npz, write_npz
from sleepstream.corpora.catalogue import find
from sleepstream.corpora.names import Origin
from sleepstream.corpora.scored import Scored
from sleepstream.corpora.scoring import MOVEMENT, UNSCORED
from sleepstream.errors import ChannelError, RecordingError, UnitError
from sleepstream.messages import EPOCH_N_SAMPLES, Stage
from sleepstream.signal.epocher import Epocher
from sleepstream.signal.montage import choose
from sleepstream.sources.recording import Recording

W, N1, N2, N3, REM = (int(stage) for stage in Stage)
MakeEdf = Callable[..., Path]


def sleep_edf(make_edf: MakeEdf, notes: list[tuple[float, float, str]], **psg: object) -> Path:
    make_edf("SC4001EC-Hypnogram.edf", 0, labels=(), notes=notes)
    return make_edf("SC4001E0-PSG.edf", **psg)


def read(path: Path, channel: str = "") -> Scored:
    (found,) = find(path)
    return found.read(channel)


def test_the_signal_is_what_the_live_path_makes_of_it(make_edf: MakeEdf) -> None:
    path = sleep_edf(make_edf, [(0, 150, "Sleep stage 2")], sfreq=256.0)
    scored = read(path)
    recording = Recording(path)
    montage = choose(recording.labels, recording.units)
    epocher = Epocher(256.0, montage)
    live = [
        epoch.data
        for chunk in recording.chunks(montage.picks, montage.scales, n_samples=777)
        for epoch in epocher.push(chunk)
    ]
    assert np.array_equal(scored.signal, np.concatenate(live, axis=1))
    assert scored.signal.dtype == np.float32
    assert not scored.signal.flags.writeable
    assert scored.epochs.shape == (5, EPOCH_N_SAMPLES)
    assert scored.channel == "EEG Fpz-Cz"
    assert scored.stages == (Stage.N2,) * 5


def test_gaps_movement_and_what_nobody_scored_stay_what_they_are(make_edf: MakeEdf) -> None:
    notes = [
        (120, 30, "Movement time"),  # the order in the file means nothing
        (0, 30, "Sleep stage W"),
        (60, 30, "Sleep stage 4"),
        (90, 30, "Sleep stage ?"),
    ]
    scored = read(sleep_edf(make_edf, notes, seconds=180))
    assert scored.codes.tolist() == [W, UNSCORED, N3, UNSCORED, MOVEMENT, UNSCORED]
    assert scored.stages == (Stage.W, None, Stage.N3, None, None, None)
    assert scored.movement.tolist() == [False] * 4 + [True, False]
    assert scored.origin == Origin("sleep-edf-sc", "sleepedf-SC-00", "SC4001", "healthy")


def test_a_scoring_that_starts_late_brings_its_grid_along(make_edf: MakeEdf) -> None:
    notes = [(42, 30, "Sleep stage 1"), (72, 30, "Sleep stage 2")]
    path = sleep_edf(make_edf, notes, seconds=150)
    scored = read(path)
    assert scored.onset_s == 12.0
    assert scored.started == datetime(2001, 3, 4, 22, 0, 12, tzinfo=UTC)
    assert scored.codes.tolist() == [UNSCORED, N1, N2, UNSCORED]
    raw = next(Recording(path).chunks([0], [1e6], 15000)).data[0]
    # from the first sample of the grid on: the high-pass changes slow shape, not fast detail
    assert np.corrcoef(np.diff(scored.signal[0, :3000]), np.diff(raw[1200:4200]))[0, 1] > 0.99


def test_a_scoring_that_starts_before_the_signal_or_goes_on_after_it(make_edf: MakeEdf) -> None:
    make_edf(
        "SC4001EC-Hypnogram.edf",
        0,
        labels=(),
        notes=[(0, 45, "Sleep stage W"), (60, 30, "Sleep stage 2"), (90, 9000, "Sleep stage R")],
        start="21:59:00",
    )
    scored = read(make_edf("SC4001E0-PSG.edf", 100))
    assert scored.codes.tolist() == [N2, REM, REM]


def test_a_scoring_of_another_recording_is_refused(make_edf: MakeEdf) -> None:
    path = sleep_edf(make_edf, [(7200, 30, "Sleep stage W")])
    with pytest.raises(RecordingError, match=r"from 2.00 h to 2.01 h"):
        read(path)
    path = sleep_edf(make_edf, [(0, 30, "Sleep stage ?")])
    with pytest.raises(RecordingError, match="scored sleep stages"):
        read(path)
    path = sleep_edf(make_edf, [(25, 30, "Sleep stage W")], seconds=40)
    with pytest.raises(RecordingError, match="belong together"):
        read(path)


def test_a_channel_keeps_its_own_rate_beside_faster_ones(make_edf: MakeEdf) -> None:
    notes = [(0, 150, "Sleep stage 2")]
    alone = read(sleep_edf(make_edf, notes, labels=("EEG Fpz-Cz",), sfreq=125.0))
    beside = read(sleep_edf(make_edf, notes, labels=("ECG", "EEG Fpz-Cz"), sfreq=(250.0, 125.0)))
    assert np.array_equal(alone.signal, beside.signal)


def test_any_channel_can_be_asked_for_and_a_missing_one_is_said(make_edf: MakeEdf) -> None:
    path = sleep_edf(make_edf, [(0, 150, "Sleep stage 2")])
    eog = read(path, "EOG horizontal")
    assert eog.channel == "EOG horizontal"
    assert not np.array_equal(eog.signal, read(path).signal)
    with pytest.raises(ChannelError, match="'EEG Fpz-Cz'"):
        read(path, "Pz-Oz")


def test_a_cache_comes_back_as_it_was(make_edf: MakeEdf, tmp_path: Path) -> None:
    notes = [(42, 30, "Sleep stage 4"), (72, 30, "Movement time")]
    scored = read(sleep_edf(make_edf, notes))
    write_npz(tmp_path / "SC4001E0.npz", scored)
    with np.load(tmp_path / "SC4001E0.npz") as file:
        assert file["x"].shape == (4, EPOCH_N_SAMPLES)
        assert file["y"].tolist() == [6, 3, 5, 6]
        assert file["fs"] == 100
    again = read_npz(tmp_path / "SC4001E0.npz")
    assert np.array_equal(again.signal, scored.signal)
    assert np.array_equal(again.codes, scored.codes)
    for name in ("origin", "channel", "onset_s", "started"):
        assert getattr(again, name) == getattr(scored, name)


def test_a_cache_of_another_project_goes_through_the_live_path(tmp_path: Path) -> None:
    path = tmp_path / "ST7022J0.npz"
    x = np.random.default_rng(0).normal(55, 20, size=(3, EPOCH_N_SAMPLES, 1)).astype(np.float32)
    np.savez(path, x=x, y=np.array([0, 3, 4], np.int32), fs=np.array([100.0]), ch_label="EEG")
    scored = read_npz(path)
    assert scored.codes.tolist() == [W, N3, REM]
    assert scored.origin.subject == "sleepedf-ST-02"
    assert abs(scored.signal[0, 2000:].mean()) < 2  # the offset of 55 µV is gone


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fs": 125.0}, "fs = 125"),
        ({"x": np.zeros((2, 3750))}, r"\(2, 3750\)"),
        ({"y": np.array([0, 9])}, "codes in y"),
        ({"y": np.array(["W", "N1"])}, "codes in y"),
        ({"y": np.array([0, None])}, "ValueError"),
    ],
)
def test_a_cache_that_is_none_is_refused(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    good = {"x": np.zeros((2, EPOCH_N_SAMPLES)), "y": np.array([0, 1]), "fs": 100.0}
    np.savez(tmp_path / "x.npz", **good | change)
    with pytest.raises(RecordingError, match=words):
        read_npz(tmp_path / "x.npz")


def test_a_cache_in_volts_or_no_cache_at_all(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(2, EPOCH_N_SAMPLES)) * 20e-6
    np.savez(tmp_path / "v.npz", x=x, y=np.array([0, 1]), fs=100)
    with pytest.raises(UnitError):
        read_npz(tmp_path / "v.npz")
    np.savez(tmp_path / "y.npz", y=np.array([0, 1]))
    with pytest.raises(RecordingError, match="no key x, fs"):
        read_npz(tmp_path / "y.npz")
    (tmp_path / "t.npz").write_text("dear diary")
    with pytest.raises(RecordingError, match="scored epochs"):
        read_npz(tmp_path / "t.npz")
    with pytest.raises(RecordingError, match="scored epochs"):
        read_npz(tmp_path / "none.npz")
