"""Hypnograms from files of every kind, and whose nights a model may be judged on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sleepstream_training.nights import Night, period, read_nights, split, subjects_by_dataset

from sleepstream.errors import RecordingError
from sleepstream.messages import Stage

MakeEdf = Callable[..., Path]
W, N1, N2, REM = (int(stage) for stage in (Stage.W, Stage.N1, Stage.N2, Stage.REM))


def line(**keys: object) -> str:
    return json.dumps({"id": "a", "stages": "00012?4"} | keys)


def test_lines_bring_what_is_known_of_the_sleeper(tmp_path: Path) -> None:
    file = tmp_path / "nights.jsonl"
    known = {"subject": "s", "dataset": "d", "ahi": 31.5, "age": 50, "sex": "F", "drug": None}
    file.write_text(line(**known) + "\n\n" + line(id="b"))
    first, second = read_nights([file])
    assert first.stages.tolist() == [W, W, W, N1, N2, -1, REM]
    assert (first.subject, first.dataset, first.ahi, first.age) == ("s", "d", 31.5, 50)
    assert (second.subject, second.dataset, second.diagnosis) == ("b", "own", "")


@pytest.mark.parametrize(
    "text", ["{", '{"id": "a"}', line(stages="0015"), line(ahi="many"), '["a"]', "\x00"]
)
def test_a_line_that_is_no_night_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "nights.jsonl"
    file.write_text(line() + "\n" + text)
    with pytest.raises(RecordingError, match=r"line 2 of nights\.jsonl"):
        read_nights([file])


def test_a_table_starts_with_its_first_stage(tmp_path: Path) -> None:
    file = tmp_path / "SC4012EC-Hypnogram.csv"
    file.write_text("onset,duration,stage\n60,30,W\n90,60,N2\n150,30,MT\n180,30,REM\n")
    (night,) = read_nights([file])
    assert night.stages.tolist() == [W, N2, N2, -1, REM]


def test_annotations_of_a_file_of_their_own_and_of_a_recording(make_edf: MakeEdf) -> None:
    notes = [(0.0, 60.0, "Sleep stage W"), (60.0, 30.0, "Sleep stage 2"), (0.0, None, "Lights off")]
    make_edf("SC4012EC-Hypnogram.edf", notes=notes)
    folder = make_edf("mine.edf", notes=notes).parent
    make_edf("SC4012E0-PSG.edf")
    sc, mine = sorted(read_nights([folder]), key=lambda night: night.name)
    assert (sc.name, sc.subject, sc.dataset) == ("SC4012", "sleepedf-SC-01", "sleep-edf-sc")
    assert (mine.name, mine.subject, mine.dataset) == ("mine", "mine", "own")
    assert sc.stages.tolist() == mine.stages.tolist() == [W, W, N2]


def test_a_night_that_is_there_twice_counts_once(make_edf: MakeEdf) -> None:
    folder = make_edf("mine.edf", notes=[(0.0, 150.0, "Sleep stage W")]).parent
    (folder / "mine-hypnogram.csv").write_text("epoch,stage\n0,N1\n1,N2\n")
    (night,) = read_nights([folder])
    assert night.stages.tolist() == [N1, N2]


def test_what_holds_no_stages_is_refused_by_name_and_passed_over_in_a_folder(
    make_edf: MakeEdf, tmp_path: Path
) -> None:
    file = make_edf("plain.edf")
    with pytest.raises(RecordingError, match=r"scored sleep stages in plain\.edf"):
        read_nights([file])
    with pytest.raises(RecordingError, match="none in 1 such files"):
        read_nights([tmp_path])
    with pytest.raises(RecordingError, match="no such file"):
        read_nights([tmp_path / "nowhere.csv"])
    (tmp_path / "notes.txt").write_text("W")
    with pytest.raises(RecordingError, match=r"notes\.txt"):
        read_nights([tmp_path / "notes.txt"])


def test_the_sleep_period_has_half_an_hour_on_either_side() -> None:
    stages = np.array([W] * 100 + [N2] * 10 + [W] * 5 + [REM] + [W] * 100)
    assert period(stages) == slice(40, 176)
    assert period(stages, 0) == slice(100, 116)
    assert period(np.array([W, W])) == slice(0, 2)


def test_nights_are_parted_by_subject_within_a_database() -> None:
    empty = np.zeros(1, dtype=np.int8)
    nights = [Night(f"{d}{s}", s, d, empty) for d in ("x", "y") for s in ("a", "b")]
    parts = split(nights, subjects_by_dataset(nights[:1]))
    assert [night.name for night in parts.known] == ["xa"]
    assert [night.name for night in parts.unseen] == ["xb", "ya", "yb"]
