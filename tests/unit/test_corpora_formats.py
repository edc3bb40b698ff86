"""Scorings in the layouts of the corpora: read by time, refused in words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import pytest

from sleepstream.corpora.nsrr import read_nsrr
from sleepstream.corpora.scoring import MOVEMENT, UNSCORED, Bout, code_of, edf_start, read_edf
from sleepstream.corpora.tables import LARGEST_BYTES, read_cap, read_csv
from sleepstream.errors import RecordingError
from sleepstream.messages import Stage

W, N1, N2, N3, REM = (int(stage) for stage in Stage)
MakeEdf = Callable[..., Path]
NIGHT = datetime(2008, 7, 7, 22, 9, 33)

CAP_HEAD = """REMlogic Event Export
Patient:\t1
Patient ID:\t
Recording Date:\t07/07/2008

Events Included:
MCAP-A1
SLEEP-MT
SLEEP-REM
SLEEP-S0
SLEEP-S2
SLEEP-S4

"""
WITH_POSITION = "Sleep Stage\tPosition\tTime [hh:mm:ss]\tEvent\tDuration[s]\tLocation\n"
WITH_BLANK_IN_DURATION = "Sleep Stage\tPosition\tTime [hh:mm:ss]\tEvent\tDuration [s]\tLocation\n"
WITHOUT_POSITION = "Sleep Stage\tTime [hh:mm:ss]\tEvent\tDuration[s]\tLocation\n"
BARE = "Sleep Stage\tTime [hh:mm:ss]\tEvent\tDuration[s]\n"


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("Sleep stage W", W),
        ("Sleep stage 4", N3),
        ("Sleep stage R", REM),
        ("Sleep stage ?", UNSCORED),
        ("Movement time", MOVEMENT),
        ("SLEEP-S4", N3),
        ("SLEEP-MT", MOVEMENT),
        ("SLEEP-UNSCORED", UNSCORED),
        ("Wake|0", W),
        ("Stage 1 sleep|1", N1),
        ("Stage 3 sleep|3", N3),
        ("Stage 4 sleep|4", N3),
        ("REM sleep|5", REM),
        ("Movement|6", MOVEMENT),
        ("Unscored|9", UNSCORED),
        ("Lights off", None),
        ("MCAP-A1", None),
        ("LEG-MOVEMENT", None),
    ],
)
def test_the_words_of_all_corpora_have_one_code(word: str, code: int | None) -> None:
    assert code_of(word) == code


def test_edf_annotations_are_moved_by_the_clocks_of_both_files(make_edf: MakeEdf) -> None:
    notes = [(0, 60, "Sleep stage W"), (60, 30, "Movement time"), (90, None, "Lights on")]
    path = make_edf("SC4001EC-Hypnogram.edf", 0, labels=(), notes=notes, start="22:01:00")
    assert edf_start(path) == datetime(2001, 3, 4, 22, 1)
    bouts = read_edf(path, datetime(2001, 3, 4, 22, 0))
    assert bouts == [Bout(60, 60, W), Bout(120, 30, MOVEMENT)]


def test_a_scoring_of_another_day_is_not_taken(make_edf: MakeEdf) -> None:
    path = make_edf("x.edf", 0, labels=(), notes=[(0, 30, "Sleep stage W")], day=date(2001, 3, 9))
    with pytest.raises(RecordingError, match=r"\+120.0 h"):
        read_edf(path, datetime(2001, 3, 4, 22, 0))


def test_a_header_without_a_clock_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.edf"
    path.write_bytes(b"0" + b" " * 300)
    with pytest.raises(RecordingError, match="date and time of the start"):
        edf_start(path)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (WITH_POSITION, "{0}\tUnknown Position\t{1}\t{2}\t{3}\tROC-LOC\n"),
        (WITH_BLANK_IN_DURATION, "{0}\tN/A\t{1}\t{2}\t{3}\tROC-LOC\n"),
        (WITHOUT_POSITION, "{0}\t{1}\t{2}\t{3}\tC4-A1\n"),
        (BARE, "{0}\t{1}\t{2}\t{3}\n"),
    ],
)
@pytest.mark.parametrize(("colon", "newline"), [(":", "\n"), (".", "\r\n")])
def test_cap_tables_in_every_layout_across_midnight(
    tmp_path: Path, header: str, row: str, colon: str, newline: str
) -> None:
    rows = [
        ("W", "22:09:23", "SLEEP-S0", "30"),
        ("S2", "23:59:43", "SLEEP-S2", "30"),
        ("S2", "23:59:58", "MCAP-A1", "4"),
        ("S4", "00:00:13", "SLEEP-S4", "30"),
        ("MT", "00:00:43", "SLEEP-MT", "30"),
        ("R", "04:00:13", "SLEEP-REM", "30"),
    ]
    text = CAP_HEAD + header + "".join(row.format(*r) for r in rows)
    (tmp_path / "n1.txt").write_bytes(
        text.replace(":", colon).replace("hh.mm.ss", "hh:mm:ss").replace("\n", newline).encode()
    )
    assert read_cap(tmp_path / "n1.txt", NIGHT) == [
        Bout(-10, 30, W),
        Bout(6610, 30, N2),
        Bout(6640, 30, N3),
        Bout(6670, 30, MOVEMENT),
        Bout(21040, 30, REM),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no such line"),
        (CAP_HEAD, "no such line"),
        (CAP_HEAD + WITHOUT_POSITION + "S2\t22:10:03\tSLEEP-S2\n", "in line 15 of n1"),
        (CAP_HEAD + WITHOUT_POSITION + "S2\t\tSLEEP-S2\t30\tC4\n", "time, event and duration"),
        (CAP_HEAD + WITHOUT_POSITION + "S2\t22:10:03\tSLEEP-S2\tlong\tC4\n", "number of seconds"),
        (CAP_HEAD + WITHOUT_POSITION + "S9\t22:10:03\tSLEEP-S9\t30\tC4\n", "'SLEEP-S9'"),
        ("\0" * 100, "binary data"),
    ],
)
def test_a_cap_table_that_is_none_is_refused_in_words(
    tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "n1.txt").write_text(text)
    with pytest.raises(RecordingError, match=words):
        read_cap(tmp_path / "n1.txt", NIGHT)


def nsrr(*events: tuple[str, str, str, str], head: str = "") -> str:
    body = "".join(
        f"<ScoredEvent>\n<EventType>{kind}</EventType>\n<EventConcept>{concept}</EventConcept>\n"
        f"<Start>{start}</Start>\n<Duration>{duration}</Duration>\n</ScoredEvent>\n"
        for kind, concept, start, duration in events
    )
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n'
        f"{head}<PSGAnnotation>\n<SoftwareVersion>Compumedics</SoftwareVersion>\n"
        f"<EpochLength>30</EpochLength>\n<ScoredEvents>\n{body}</ScoredEvents>\n</PSGAnnotation>\n"
    )


def test_nsrr_xml_gives_its_stages_and_leaves_other_events_out(tmp_path: Path) -> None:
    path = tmp_path / "shhs1-200001-nsrr.xml"
    path.write_text(
        nsrr(
            ("", "Recording Start Time", "0", "30000"),
            ("Respiratory|Respiratory", "Hypopnea|Hypopnea", "12.5", "20.1"),
            ("Arousals|Arousals", "Arousal|Arousal ()", "50.0", "3.0"),
            ("Stages|Stages", "Wake|0", "0.0", "60.0"),
            ("Stages|Stages", "Stage 4 sleep|4", "60.0", "90.0"),
            ("Stages|Stages", "Movement|6", "150.0", "30.0"),
            ("Stages|Stages", "REM sleep|5", "180.0", "30.0"),
            ("Stages|Stages", "Unscored|9", "210.0", "30.0"),
        )
    )
    assert read_nsrr(path) == [
        Bout(0, 60, W),
        Bout(60, 90, N3),
        Bout(150, 30, MOVEMENT),
        Bout(180, 30, REM),
        Bout(210, 30, UNSCORED),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (nsrr()[:-20], "not well-formed"),
        (nsrr(head='<!DOCTYPE x [<!ENTITY a "b">]>'), "a document type"),
        (nsrr(("Stages|Stages", "Stage 7 sleep|7", "0", "30")), "Stage 7"),
        (nsrr(("Stages|Stages", "Wake|0", "soon", "30")), "Start 'soon'"),
        (nsrr(("Stages|Stages", "Wake|0", "0", "nan")), "Duration 'nan'"),
    ],
)
def test_nsrr_xml_that_cannot_be_trusted_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "x.xml").write_text(text)
    with pytest.raises(RecordingError, match=words):
        read_nsrr(tmp_path / "x.xml")


def test_utf16_and_enormous_files_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "x.xml"
    path.write_bytes(nsrr(head="<!DOCTYPE x>").encode("utf-16"))
    with pytest.raises(RecordingError, match="binary data"):
        read_nsrr(path)
    with path.open("wb") as file:
        file.truncate(LARGEST_BYTES + 1)
    with pytest.raises(RecordingError, match="64 MB"):
        read_nsrr(path)


@pytest.mark.parametrize(
    "text",
    [
        "onset,stage\n30,N2\n60,S4\n90,MT\n150,R\n",
        "Onset;Duration;Stage;who\n30;30;Sleep stage 2;me\n60;30;N3;me\n90;;Movement;me\n150;;REM;",
        "epoch\tstage\n1\tN2\n2\tN3\n3\tSLEEP-MT\n5\trem\n",
    ],
)
def test_csv_hypnograms_need_a_time_and_a_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    assert read_csv(tmp_path / "x.csv") == [
        Bout(30, 30, N2),
        Bout(60, 30, N3),
        Bout(90, 30, MOVEMENT),
        Bout(150, 30, REM),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no header"),
        ("stage\nW\nW\n", "by time, never by order"),
        ("onset,stage\n0,W\n30,4\n", "line 3"),
        ("onset,stage\n0,awkward\n", "'awkward'"),
        ("onset,stage\nsoon,W\n", "number of seconds"),
        ("onset,stage\n0\n", "a stage by name"),
        ("epoch,onset,stage,confidence\n0,0,W,0.9\n", "its own words"),
    ],
)
def test_csv_that_leaves_room_for_doubt_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(RecordingError, match=words):
        read_csv(tmp_path / "x.csv")
