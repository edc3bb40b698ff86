"""The demonstration: made up, played and staged on a machine that has nothing."""

from __future__ import annotations

import re
from pathlib import Path

import edfio
import pytest

from sleepstream.commands.demo import demo, night_part
from sleepstream.errors import RecordingError


@pytest.mark.loopback
def test_the_demo_stages_a_made_up_night_and_ends_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    picture = tmp_path / "night.txt"
    code = demo(hours=0.2, seed=1, sleep_edf=None, speed=120, headless=True, picture=str(picture))
    captured = capfd.readouterr()
    assert code == 0
    assert "SYNTHETIC" in captured.err
    assert len(re.findall(r"^bed demo .* epoch ", captured.out, re.MULTILINE)) == 24
    assert "24 epochs" in captured.out
    assert "nights.sqlite" in captured.out
    assert "SYNTHETIC" in picture.read_text(encoding="utf-8")


def scoring(path: Path, stages: list[str]) -> Path:
    notes = [edfio.EdfAnnotation(600 * k, 600, f"Sleep stage {s}") for k, s in enumerate(stages)]
    edfio.Edf([], annotations=notes).write(path)
    return path


def test_of_a_day_and_a_night_the_night_is_played(tmp_path: Path) -> None:
    stages = ["W"] * 60 + ["1", "2", "3", "4", "R"] * 6 + ["W"] * 40
    start_s, length_s = night_part(scoring(tmp_path / "x.edf", stages))
    assert (start_s, length_s) == (60 * 600 - 1800, 30 * 600 + 3600)


def test_a_day_without_sleep_is_no_night(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="scored sleep"):
        night_part(scoring(tmp_path / "x.edf", ["W"] * 10))
