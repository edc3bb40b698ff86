"""A night on record is staged once more, and written for other programs."""

from __future__ import annotations

import json
from pathlib import Path

import edfio
import numpy as np
import pytest

from sleepstream.commands.nights import export, rescore
from sleepstream.commands.score import score
from sleepstream.config import Models, Night, Settings
from sleepstream.errors import SettingsError, StoreError
from sleepstream.messages import stage_name
from sleepstream.store.nights import NightStore

CAPTURE = pytest.CaptureFixture[str]


@pytest.fixture
def settings(tmp_path: Path, make_edf, capfd: CAPTURE) -> Settings:
    """Settings whose record has one night of five epochs."""
    settings = Settings(night=Night(bed="left", store=str(tmp_path / "nights.sqlite")))
    recording = make_edf("night.edf", labels=("EEG Fpz-Cz",))
    score(settings, recording, store=True, out=None, as_json=True)
    capfd.readouterr()
    return settings


def test_the_same_models_say_the_same_to_the_bit(settings: Settings, capfd: CAPTURE) -> None:
    assert rescore(settings, "last", as_json=True) == 0
    said = capfd.readouterr()
    assert "5 of 5 epochs have the stage that they had" in said.err
    with NightStore(settings.store_path()) as store:
        first, again = store.nights()
        assert json.loads(said.out)["night"] == again.id
        assert (again.bed, again.source, again.state) == ("left", "night.edf", "ended")
        assert again.started_utc == first.started_utc
        for one, other in zip(store.estimates(first.id), store.estimates(again.id), strict=True):
            assert one.as_json() | {"latency_ms": 0} == other.as_json() | {"latency_ms": 0}


def test_other_models_make_another_night(settings: Settings, capfd: CAPTURE) -> None:
    other = Settings(night=settings.night, models=Models(decoder="none"))
    assert rescore(other, "last", as_json=False) == 0
    assert "staged once more" in capfd.readouterr().out
    with NightStore(settings.store_path()) as store:
        first, again = (list(store.estimates(night.id)) for night in store.nights())
    assert first[0].model != again[0].model
    assert [e.encoder_probs.tolist() for e in first if e.encoder_probs is not None] == [
        e.encoder_probs.tolist() for e in again if e.encoder_probs is not None
    ]


def test_a_night_without_its_signal_is_neither_staged_nor_written(tmp_path: Path, make_edf) -> None:
    night = Night(store=str(tmp_path / "bare.sqlite"), keep_signal=False)
    settings = Settings(night=night)
    score(settings, make_edf("night.edf"), store=True, out=None, as_json=True)
    with pytest.raises(StoreError, match="--keep-signal"):
        rescore(settings, "last", as_json=True)
    with pytest.raises(StoreError, match="--keep-signal"):
        export(settings.store_path(), "last", tmp_path / "night.npz")


def test_arrays_have_every_bit(settings: Settings, tmp_path: Path) -> None:
    assert export(settings.store_path(), "last", tmp_path / "night.npz") == 0
    with NightStore(settings.store_path()) as store:
        epochs, estimates = list(store.epochs("last")), list(store.estimates("last"))
    arrays = np.load(tmp_path / "night.npz")
    assert arrays["signal"].shape == (5, 3000)
    assert arrays["signal"].tobytes() == b"".join(e.data.tobytes() for e in epochs)
    assert arrays["stage"].tolist() == [stage_name(e.stage) for e in estimates]
    assert arrays["probs"].tobytes() == b"".join(e.probs.tobytes() for e in estimates)
    assert (float(arrays["sfreq"]), arrays["onset_s"].tolist()) == (100.0, [0, 30, 60, 90, 120])


def test_edf_has_the_signal_and_the_stages(settings: Settings, tmp_path: Path) -> None:
    assert export(settings.store_path(), "last", tmp_path / "night.edf") == 0
    edf = edfio.read_edf(tmp_path / "night.edf")
    (signal,) = edf.signals
    with NightStore(settings.store_path()) as store:
        data = np.concatenate([epoch.data[0] for epoch in store.epochs("last")])
        stages = [stage_name(e.stage).replace("REM", "R") for e in store.estimates("last")]
    assert (signal.label, signal.sampling_frequency) == ("EEG Fpz-Cz", 100.0)
    np.testing.assert_allclose(signal.data, data, atol=0.051)
    assert [note.text for note in edf.annotations] == [f"Sleep stage {s}" for s in stages]
    assert (edf.starttime.hour, edf.recording.startdate.year) == (22, 2001)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [("night.txt", SettingsError, ".edf or .npz"), ("no/night.npz", StoreError, "folder")],
)
def test_a_file_that_cannot_be_is_refused(
    name: str, error: type[Exception], words: str, settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        export(settings.store_path(), "last", tmp_path / name)
