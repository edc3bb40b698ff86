"""Recordings: the same samples whatever the format, scored stages matched by time."""

from __future__ import annotations

import contextlib
from pathlib import Path

import edfio
import numpy as np
import pytest

from sleepstream.errors import RecordingError
from sleepstream.messages import Stage
from sleepstream.sources.recording import Recording


def edf(path: Path, sfreq: float = 100.0, notes: list[edfio.EdfAnnotation] | None = None) -> Path:
    rng = np.random.default_rng(0)
    signals = [
        edfio.EdfSignal(
            rng.normal(size=int(120 * sfreq)) * 20,
            sampling_frequency=sfreq,
            label=label,
            physical_dimension="uV",
            physical_range=(-500, 500),
        )
        for label in ("EEG Fpz-Cz", "EOG horizontal")
    ]
    edfio.Edf(signals, annotations=notes or []).write(path)
    return path


def test_a_file_comes_in_microvolts_and_in_time(tmp_path: Path) -> None:
    recording = Recording(edf(tmp_path / "x.edf", 256.0))
    assert recording.labels == ("EEG Fpz-Cz", "EOG horizontal")
    assert (recording.sfreq, recording.duration_s) == (256.0, 120.0)
    chunks = list(recording.chunks([0], [1e6], n_samples=1000))
    data = np.concatenate([chunk.data for chunk in chunks], axis=1)
    stamps = np.concatenate([chunk.stamps_s for chunk in chunks])
    assert data.shape == (1, 120 * 256)
    assert data.dtype == np.float32
    assert data.std() == pytest.approx(20, rel=0.05)
    assert np.array_equal(stamps, np.arange(120 * 256) / 256)
    whole = next(recording.chunks([0], [1e6], n_samples=10**6))
    assert np.array_equal(whole.data, data)


def test_scored_stages_are_matched_by_time_and_not_by_order(tmp_path: Path) -> None:
    notes = [
        edfio.EdfAnnotation(90.0, 30.0, "Sleep stage R"),
        edfio.EdfAnnotation(31.0, 30.0, "Sleep stage 4"),
        edfio.EdfAnnotation(0.0, 30.0, "Sleep stage W"),
        edfio.EdfAnnotation(10.0, None, "Lights off"),
    ]
    recording = Recording(edf(tmp_path / "x.edf", notes=notes))
    assert recording.reference() == [Stage.W, Stage.N3, None, Stage.REM]


def test_a_long_annotation_covers_many_epochs(tmp_path: Path) -> None:
    notes = [edfio.EdfAnnotation(0.0, 120.0, "Sleep stage 2")]
    assert Recording(edf(tmp_path / "x.edf", notes=notes)).reference() == [Stage.N2] * 4


def test_a_file_that_nobody_scored_has_no_reference(tmp_path: Path) -> None:
    assert Recording(edf(tmp_path / "x.edf")).reference() is None


def test_a_file_cut_short_is_an_error_or_shorter_and_never_a_traceback(tmp_path: Path) -> None:
    path = edf(tmp_path / "x.edf")
    whole = path.read_bytes()
    for n_bytes in (0, 100, 300, 1000, 20_000, len(whole) - 100):
        path.write_bytes(whole[:n_bytes])
        with contextlib.suppress(RecordingError):
            list(Recording(path).chunks([0], [1e6]))


def test_a_file_with_holes_is_refused(tmp_path: Path) -> None:
    path = edf(tmp_path / "x.edf")
    whole = bytearray(path.read_bytes())
    whole[192:197] = b"EDF+D"
    path.write_bytes(whole)
    with pytest.raises(RecordingError, match="EDF\\+D"):
        Recording(path)


def test_a_file_that_was_cut_short_says_so(tmp_path: Path) -> None:
    path = edf(tmp_path / "x.edf")
    whole = path.read_bytes()
    assert Recording(path).note == ""
    path.write_bytes(whole[: len(whole) // 2])
    assert "cut short: its header promises 120 s" in Recording(path).note
