"""Folders as the corpora come: who is who, which scoring is whose, which channel is meant."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest

from sleepstream.cli import data_list, main
from sleepstream.corpora.catalogue import find, scan
from sleepstream.corpora.names import CORPORA, identify
from sleepstream.corpora.scoring import MOVEMENT, UNSCORED
from sleepstream.errors import RecordingError
from sleepstream.messages import Stage

W, N1, N2, N3, REM = (int(stage) for stage in Stage)
MakeEdf = Callable[..., Path]
NOTES = [(0, 60, "Sleep stage W"), (60, 60, "Sleep stage 4"), (120, 30, "Movement time")]
CODES = [W, W, N3, N3, MOVEMENT]


@pytest.mark.parametrize(
    ("stem", "subject", "record", "diagnosis"),
    [
        ("SC4001E0-PSG", "sleepedf-SC-00", "SC4001", "healthy"),
        ("SC4822G0-PSG", "sleepedf-SC-82", "SC4822", "healthy"),
        ("SC4002E0", "sleepedf-SC-00", "SC4002", "healthy"),
        ("ST7242J0-PSG", "sleepedf-ST-24", "ST7242", "mild-insomnia"),
        ("n16", "cap-n16", "n16", "normal"),
        ("nfle3", "cap-nfle3", "nfle3", "nfle"),
        ("01-03-0064 PSG", "mass-01-03-0064", "01-03-0064", ""),
        ("01-03-0064_PSG", "mass-01-03-0064", "01-03-0064", ""),
        ("shhs1-200001", "shhs-200001", "shhs1-200001", ""),
        ("shhs2-200001", "shhs-200001", "shhs2-200001", ""),
    ],
)
def test_the_name_of_a_file_says_whose_night_it_is(
    stem: str, subject: str, record: str, diagnosis: str
) -> None:
    origin = identify(stem)
    assert origin is not None
    assert (origin.subject, origin.record, origin.diagnosis) == (subject, record, diagnosis)


def test_names_that_follow_no_rule_say_nothing() -> None:
    assert all(identify(stem) is None for stem in ("night", "SC40", "n", "xn1", "2020-01-01"))


def test_mass_with_its_scoring_in_a_folder_below(make_edf: MakeEdf, tmp_path: Path) -> None:
    labels = ("EEG C3-CLE", "EEG C4-CLE", "EEG A2-CLE", "EOG Left Horiz")
    make_edf("SS3/01-03-0001 PSG.edf", labels=labels, sfreq=256.0)
    make_edf("SS3/annotations/01-03-0001 Base.edf", 0, labels=(), notes=NOTES)
    make_edf("SS3/annotations/01-03-0001 Spindles_E1.edf", 0, labels=(), notes=[(9, 1, "spindle")])
    (found,) = find(tmp_path)
    assert found.origin.corpus == "mass"
    scored = found.read()
    assert scored.codes.tolist() == CODES
    assert scored.channel == "C3-M2"
    assert found.read("C4-CLE").channel == "EEG C4"
    assert found.outline()[1].tolist() == CODES


def test_mass_pages_of_20_s_fall_where_they_were_scored(make_edf: MakeEdf, tmp_path: Path) -> None:
    make_edf("01-02-0001 PSG.edf", 130, labels=("EEG C4-LER",), sfreq=256.0)
    notes = [(10 + 20 * i, 20, f"Sleep stage {s}") for i, s in enumerate("WW1222")]
    make_edf("01-02-0001 Base.edf", 0, labels=(), notes=notes)
    (found,) = find(tmp_path)
    scored = found.read()
    assert scored.onset_s == 10.0
    assert scored.codes.tolist() == [W, N1, N2, N2]


def test_shhs_with_edf_and_xml_in_their_own_trees(make_edf: MakeEdf, tmp_path: Path) -> None:
    make_edf(
        "edfs/shhs1/shhs1-200001.edf",
        labels=("ECG", "EEG(sec)", "EEG", "EOG(L)"),
        sfreq=(250.0, 125.0, 125.0, 50.0),
        start="00:00:00",
    )
    xml = tmp_path / "annotations-events-nsrr/shhs1/shhs1-200001-nsrr.xml"
    xml.parent.mkdir(parents=True)
    stages = [("Wake|0", 0, 60), ("Stage 4 sleep|4", 60, 60), ("Movement|6", 120, 30)]
    xml.write_text(
        "<PSGAnnotation><ScoredEvents>"
        + "".join(
            "<ScoredEvent><EventType>Stages|Stages</EventType>"
            f"<EventConcept>{c}</EventConcept><Start>{s}</Start><Duration>{d}</Duration></ScoredEvent>"
            for c, s, d in stages
        )
        + "</ScoredEvents></PSGAnnotation>"
    )
    (found,) = find(tmp_path)
    scored = found.read()
    assert scored.channel == "C4-A1"
    assert scored.codes.tolist() == CODES
    assert scored.epochs.shape == (5, 3000)
    assert found.read("EEG(sec)").channel == found.read("C3-M2").channel == "C3-A2"


def cap_table(path: Path, times: dict[str, str]) -> None:
    path.write_text(
        "REMlogic Event Export\n\nSleep Stage\tTime [hh:mm:ss]\tEvent\tDuration[s]\tLocation\n"
        + "".join(f"\t{at}\t{event}\t30\tC4\n" for at, event in times.items())
    )


@pytest.mark.parametrize(
    ("labels", "channel"),
    [
        (("ROC-LOC", "C4-A1", "EMG1-EMG2"), "C4-A1"),
        (("C3A2", "C4A1"), "C4A1"),
        (("C4", "C3", "A1", "A2"), "C4-M1"),
    ],
)
def test_cap_channels_by_any_name_matched_across_midnight(
    make_edf: MakeEdf, tmp_path: Path, labels: tuple[str, ...], channel: str
) -> None:
    make_edf("nfle1.edf", labels=labels, sfreq=128.0, start="23:59:00")
    times = {"23:59:10": "SLEEP-S0", "23:59:40": "SLEEP-S4", "00:00:40": "SLEEP-MT"}
    cap_table(tmp_path / "nfle1.txt", times)
    (found,) = find(tmp_path)
    scored = found.read()
    assert scored.channel == channel
    assert scored.onset_s == 10.0
    assert scored.codes.tolist() == [W, N3, UNSCORED, MOVEMENT]


def test_c4_minus_a1_is_made_where_it_is_not_stored(make_edf: MakeEdf, tmp_path: Path) -> None:
    make_edf("n1.edf", labels=("C4", "A1", "F1"))
    cap_table(tmp_path / "n1.txt", {"22:00:00": "SLEEP-S0"})
    (found,) = find(tmp_path)
    made = found.read("C4-A1").signal
    parts = [found.read(label).signal for label in ("C4", "A1")]
    assert np.allclose(made, parts[0] - parts[1], atol=1e-3)


def test_any_edf_with_stages_inside_or_a_csv_beside_it(make_edf: MakeEdf, tmp_path: Path) -> None:
    make_edf("inside.edf", notes=NOTES)
    make_edf("beside.edf")
    (tmp_path / "beside_hypnogram.csv").write_text("onset,stage\n0,W\n30,W\n60,S4\n90,N3\n120,MT\n")
    found = find(tmp_path)
    assert [one.origin.subject for one in found] == ["beside", "inside"]
    assert [one.read().codes.tolist() for one in found] == [CODES, CODES]


def test_one_recording_can_be_named_by_its_file(make_edf: MakeEdf, tmp_path: Path) -> None:
    paths = [make_edf(f"{name}.edf", notes=NOTES) for name in "ab"]
    assert [one.psg for one in find(paths[0])] == [paths[0]]
    assert [one.psg for one in find(tmp_path)] == paths


def test_a_recording_without_its_scoring_is_named(make_edf: MakeEdf, tmp_path: Path) -> None:
    make_edf("SC4001E0-PSG.edf")
    make_edf("SC4011E0-PSG.edf")
    make_edf("SC4011EH-Hypnogram.edf", 0, labels=(), notes=NOTES)
    with pytest.raises(RecordingError, match="none for SC4001E0-PSG"):
        find(tmp_path)
    assert [one.lacks_scoring for one in scan(tmp_path)] == [True, False]
    make_edf("SC4001E0-PSG.edf", notes=NOTES)
    assert find(tmp_path / "SC4001E0-PSG.edf", "edf")[0].read().codes.tolist() == CODES


def test_two_scorings_of_one_night_are_not_chosen_between(
    make_edf: MakeEdf, tmp_path: Path
) -> None:
    make_edf("SC4001E0-PSG.edf")
    for name in ("SC4001EC-Hypnogram.edf", "SC4001EV-Hypnogram.edf"):
        make_edf(name, 0, labels=(), notes=NOTES)
    with pytest.raises(RecordingError, match=r"one scoring of SC4001E0-PSG.edf\n  found: 2"):
        find(tmp_path)


def test_nothing_to_find_is_said(make_edf: MakeEdf, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="nothing there"):
        find(tmp_path / "none")
    with pytest.raises(RecordingError, match="among 0 files"):
        find(tmp_path)
    make_edf("night.edf")
    with pytest.raises(RecordingError, match="named as those of cap"):
        find(tmp_path, "cap")
    with pytest.raises(RecordingError, match="a corpus called 'dream'"):
        find(tmp_path, "dream")


Done = tuple[int, str, str]


@pytest.fixture
def sleepstream(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["sleepstream", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capfd.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return run


def test_data_list_shows_what_is_there_and_what_is_wrong_with_it(
    make_edf: MakeEdf, tmp_path: Path, sleepstream: Callable[..., Done]
) -> None:
    make_edf("SC4001E0-PSG.edf")
    make_edf("SC4001EC-Hypnogram.edf", 0, labels=(), notes=NOTES)
    code, out, err = sleepstream("data", "list", str(tmp_path), "--json")
    assert code == 0, err
    (row,) = json.loads(out)
    assert list(row["epochs"]) == ["W", "N1", "N2", "N3", "REM", "movement", "unscored"]
    assert list(row["epochs"].values()) == [2, 0, 0, 2, 0, 1, 0]
    assert (row["subject"], row["hours"], row["error"]) == ("sleepedf-SC-00", 0.042, None)
    make_edf("silent.edf")
    code, out, err = sleepstream("data", "list", str(tmp_path))
    assert code == RecordingError.exit_code
    assert "SC4001" in out
    assert "scored sleep stages of silent.edf" in err
    assert "2 recordings of 2 subjects" in err


def test_every_corpus_can_be_named_on_the_command_line() -> None:
    (corpus,) = (option for option in data_list.params if option.name == "corpus")
    assert isinstance(corpus.type, click.Choice)
    assert tuple(corpus.type.choices) == CORPORA


@pytest.mark.parametrize("subjects", ["39", "0-99", "one", "1-x"])
def test_data_fetch_knows_who_took_part(subjects: str, sleepstream: Callable[..., Done]) -> None:
    code, _, err = sleepstream("data", "fetch", "sleep-edf", "--subjects", subjects)
    assert code == 2
    assert "Traceback" not in err
