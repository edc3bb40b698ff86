"""What the replay reads out of a file: samples as MNE gives them, labels, units and stages."""

from pathlib import Path

import edfio
import mne
import numpy as np
import pytest
from sleepstream_replay.errors import ReplayError
from sleepstream_replay.recording import read_recording, stage_of

DATA = Path(__file__).parents[3] / "shared" / "data" / "raw_eeg"


def signal(label, unit, sfreq=100, scale=30.0):
    values = np.random.default_rng(len(label)).normal(0.0, scale, 120 * sfreq)
    return edfio.EdfSignal(values, sfreq, label=label, physical_dimension=unit)


@pytest.fixture
def edf(tmp_path):
    path = tmp_path / "night.edf"
    edfio.Edf(
        [
            signal("EEG Fpz-Cz", "uV"),
            signal("EOG horizontal", "mV", scale=0.03),
            signal("Temp rectal", "DegC", sfreq=1),
        ],
        annotations=[
            edfio.EdfAnnotation(0.0, 60.0, "Sleep stage W"),
            edfio.EdfAnnotation(60.0, 30.0, "Sleep stage 4"),
            edfio.EdfAnnotation(70.0, 5.0, "Snoring"),
            edfio.EdfAnnotation(90.0, 30.0, "Sleep stage ?"),
        ],
    ).write(path)
    return path


def test_samples_are_exactly_those_of_mne(edf):
    with mne.use_log_level("ERROR"):
        expected = mne.io.read_raw(edf, preload=True).get_data()
    recording = read_recording(edf)
    np.testing.assert_array_equal(recording.read(0, recording.n_samples), expected)
    np.testing.assert_array_equal(recording.read(333, 999), expected[:, 333:999])


def test_channels_have_label_kind_and_unit(edf):
    recording = read_recording(edf)
    assert recording.labels == ("EEG Fpz-Cz", "EOG horizontal", "Temp rectal")
    assert [channel.kind for channel in recording.channels] == ["EEG", "EOG", "MISC"]
    assert recording.units == ("V", "V", "none")
    assert not recording.synthetic


def test_stages_are_cut_into_epochs_and_other_annotations_left_out(edf):
    stages = read_recording(edf).stages
    assert [(stage.onset_s, stage.label) for stage in stages] == [
        (0.0, "W"),
        (30.0, "W"),
        (60.0, "N3"),
        (90.0, "?"),
    ]


def test_channels_come_in_the_order_asked_for_and_in_any_case(edf):
    recording = read_recording(edf, ("eog HORIZONTAL", "EEG Fpz-Cz"))
    everything = read_recording(edf)
    assert recording.labels == ("EOG horizontal", "EEG Fpz-Cz")
    np.testing.assert_array_equal(recording.read(0, 50), everything.read(0, 50)[[1, 0]])
    np.testing.assert_array_equal(
        everything.pick(("EOG horizontal",)).read(0, 50), everything.read(0, 50)[1:2]
    )


def test_an_unknown_channel_lists_those_that_exist(edf):
    with pytest.raises(ReplayError, match=r"(?s)'Fz'.*EEG Fpz-Cz, EOG horizontal, Temp rectal"):
        read_recording(edf, ("Fz",))


def test_a_channel_cannot_be_asked_for_twice(edf):
    with pytest.raises(ReplayError, match="named twice"):
        read_recording(edf, ("EEG Fpz-Cz", "eeg fpz-cz"))


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(ReplayError, match="no such file"):
        read_recording(tmp_path / "none.edf")


@pytest.mark.parametrize("name", ["a.edf", "a.bdf", "a.fif", "a.set", "a.vhdr", "a.txt", "a.mat"])
def test_a_file_that_is_no_recording_says_so(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"hello" * 100)
    with pytest.raises(ReplayError, match="a recording that MNE can read") as caught:
        read_recording(path)
    assert caught.value.exit_code == 4
    assert len(str(caught.value).splitlines()) == 3


def test_stages_of_a_cropped_file_count_from_its_first_sample(tmp_path):
    raw = mne.io.RawArray(
        np.zeros((1, 9000)), mne.create_info(["Cz"], 100.0, "eeg"), verbose="ERROR"
    )
    raw.set_annotations(mne.Annotations([30.0, 60.0], [30.0, 30.0], ["N1", "Sleep stage R"]))
    raw.crop(tmin=20.0).save(tmp_path / "cropped_raw.fif", verbose="ERROR")
    stages = read_recording(tmp_path / "cropped_raw.fif").stages
    assert [(stage.onset_s, stage.label) for stage in stages] == [(10.0, "N1"), (40.0, "REM")]


@pytest.mark.parametrize(
    ("description", "stage"),
    [
        ("Sleep stage W", "W"),
        ("Sleep stage 0", "W"),
        ("Sleep stage 1", "N1"),
        ("Sleep stage N1", "N1"),
        ("Sleep stage 2", "N2"),
        ("Sleep stage 3", "N3"),
        ("Sleep stage 4", "N3"),
        ("Sleep stage N3", "N3"),
        ("Sleep stage R", "REM"),
        ("Sleep stage ?", "?"),
        ("Sleep stage M", "?"),
        ("Movement time", "?"),
        ("SLEEP-S0", "W"),
        ("SLEEP-S2", "N2"),
        ("SLEEP-REM", "REM"),
        ("Stage N2", "N2"),
        ("N3", "N3"),
        ("REM", "REM"),
        ("wake", "W"),
        ("2", None),
        ("R", None),
        ("?", None),
        ("", None),
        ("Sleep stage", None),
        ("Lights off", None),
        ("EEG arousal", None),
    ],
)
def test_stage_words(description, stage):
    assert stage_of(description) == stage


@pytest.mark.data
def test_the_development_night_has_822_scored_epochs():
    path = DATA / "ucddb018.edf"
    if not path.exists():
        pytest.skip(f"the development recording {path} is not here")
    recording = read_recording(path)
    assert recording.labels == ("EEG C3-A2",)
    assert len(recording.stages) == 822
    assert recording.n_samples == 822 * 3000


def test_a_channel_that_is_played_alone_keeps_its_own_rate(tmp_path):
    path = tmp_path / "mixed.edf"
    edfio.Edf([signal("EEG C4-M1", "uV", sfreq=100), signal("ECG", "mV", sfreq=250)]).write(path)
    assert read_recording(path).sfreq == 250
    alone = read_recording(path, ("eeg c4-m1",))
    assert (alone.sfreq, alone.labels, alone.n_samples) == (100, ("EEG C4-M1",), 12000)
