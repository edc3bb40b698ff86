"""Labels, references and units as people write them."""

from __future__ import annotations

import numpy as np
import pytest

from sleepstream.errors import ChannelError, UnitError
from sleepstream.signal.montage import choose, normalise, parse_unit
from sleepstream.signal.units import check_unit


@pytest.mark.parametrize(
    ("label", "asked"),
    [
        ("EEG Fpz-Cz", "Fpz-Cz"),
        ("Fpz-Cz", "EEG FPZ-CZ"),
        ("C4-A1", "C4-M1"),
        ("C4:M1", "c4-a1"),
        ("EEG C4_M1", "C4:M1"),
        ("eeg c4 a1", "C4-M1"),
    ],
)
def test_aliases(label: str, asked: str) -> None:
    montage = choose(["EMG chin", label], ["uV", "uV"], asked)
    assert (montage.picks, montage.references, montage.label) == ((1,), 0, label)


def test_a_derivation_is_made_from_single_electrodes() -> None:
    montage = choose(["A1", "C4", "O2"], ["uV", "mV", "uV"], "C4-M1")
    assert (montage.picks, montage.scales) == ((1, 0), (1e3, 1.0))
    data = np.array([[5.0, 7.0], [1.0, np.nan]], np.float32)
    np.testing.assert_array_equal(montage.derive(data), np.array([4.0, np.nan], np.float32))


def test_the_mean_of_the_mastoids() -> None:
    montage = choose(["M1", "M2", "C4"], ["uV"] * 3, "C4-mastoids")
    derived = montage.derive(np.array([[10.0], [2.0], [4.0]], np.float32))
    assert (montage.label, float(derived[0])) == ("C4-mastoids", 7.0)


@pytest.mark.parametrize(
    ("labels", "best"),
    [
        (["EOG horizontal", "EEG Pz-Oz", "EEG Fpz-Cz"], "EEG Fpz-Cz"),
        (["ECG", "C3", "C4", "M1", "M2"], "C4-M1"),
        (["TP9", "AF7", "AF8", "TP10"], "AF8"),
        (["EMG", "Channel 1"], "Channel 1"),
    ],
)
def test_the_best_channel_is_taken_and_said_when_nobody_chose(labels: list[str], best: str) -> None:
    montage = choose(labels, ["uV"] * len(labels))
    assert montage.label == best
    assert best in montage.note


def test_messages_say_what_there_is() -> None:
    with pytest.raises(ChannelError, match="'Fpz', 'Cz'"):
        choose(["Fpz", "Cz"], ["uV", "uV"], "C4-M1")
    with pytest.raises(ChannelError, match="2 of that name"):
        choose(["C4-M1", "EEG C4-A1"], ["uV", "uV"], "C4-M1")
    with pytest.raises(ChannelError, match="only these: 'EOG', 'Status'"):
        choose(["EOG", "Status"], ["uV", ""])
    with pytest.raises(ChannelError, match="degC"):
        choose(["Fpz"], ["degC"])


@pytest.mark.parametrize(
    ("text", "unit"),
    [("V", "V"), ("mV", "mV"), ("uV", "uV"), ("µV", "uV"), ("μV", "uV"), ("microvolts", "uV")],
)
def test_units_as_declared(text: str, unit: str) -> None:
    assert parse_unit(text) == unit


def test_no_unit_is_said_aloud() -> None:
    assert "declares no unit" in choose(["Fpz"], [""]).note
    assert choose(["Fpz"], [""], unit="V").note == ""


def test_labels_are_compared_in_one_form() -> None:
    assert normalise(" EEG C4:A1 ") == "C4-M1"
    assert normalise("EEG") == "EEG"
    assert normalise("EEG Fpz-Ref") == "FPZ"


@pytest.mark.parametrize(
    ("declared", "scale", "true_unit"),
    [("uV", 1e-6, "V"), ("V", 1e6, "uV")],
)
def test_an_amplitude_that_contradicts_the_unit_is_refused(
    declared: str, scale: float, true_unit: str
) -> None:
    eeg = np.random.default_rng(0).normal(size=3000).astype(np.float32) * 25
    assert check_unit(eeg, declared) == ""
    with pytest.raises(UnitError, match=f"--units {true_unit}"):
        check_unit(eeg * np.float32(scale), declared)
    assert check_unit(np.zeros(3000, np.float32), declared) is None


@pytest.mark.parametrize(
    ("declared", "scale", "true_unit"), [("mV", 1e3, "uV"), ("uV", 1e-3, "mV")]
)
def test_an_amplitude_that_open_electrodes_may_have_is_a_doubt(
    declared: str, scale: float, true_unit: str
) -> None:
    eeg = np.random.default_rng(0).normal(size=3000).astype(np.float32) * 25
    doubt = check_unit(eeg * np.float32(scale), declared)
    assert doubt is not None
    assert f"--units {true_unit}" in doubt
