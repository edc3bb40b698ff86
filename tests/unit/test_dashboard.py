"""The dashboard drawn at many sizes, with a made-up night of a fixed seed.

``SLEEPSTREAM_UPDATE_GOLDEN=1 pytest tests/unit/test_dashboard.py`` writes the golden pictures anew.
"""

import dataclasses
import datetime as dt
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.color import Color, ColorSystem
from rich.console import Console

from sleepstream.errors import SettingsError
from sleepstream.messages import (
    DisorderScore,
    Quality,
    Stage,
    StageEstimate,
    StreamState,
    frozen,
)
from sleepstream.outputs.dashboard import (
    Dashboard,
    DashboardScreen,
    StreamHealth,
    drawing,
    palette,
    screenshot,
)
from sleepstream.outputs.dashboard.layout import allot

GOLDEN = Path(__file__).parents[1] / "golden"
LETTERS = {"W": Stage.W, "1": Stage.N1, "2": Stage.N2, "3": Stage.N3, "R": Stage.REM}

NIGHT = (
    "W" * 40 + "1" * 8 + "2" * 30 + "3" * 60 + "2" * 20 + "R" * 14 + "W" * 3 + "1" * 4 + "2" * 80
) + ("3" * 40 + "2" * 30 + "R" * 40 + "1" * 6 + "2" * 90 + "W" * 9 + "1" * 3 + "2" * 60 + "R" * 50)

# how a stager's doubt usually falls: rows the stage, columns W, N1, N2, N3, REM
DOUBT = np.array(
    [
        [0.85, 0.10, 0.02, 0.00, 0.03],
        [0.18, 0.55, 0.15, 0.00, 0.12],
        [0.02, 0.07, 0.78, 0.10, 0.03],
        [0.01, 0.00, 0.17, 0.82, 0.00],
        [0.04, 0.10, 0.05, 0.00, 0.81],
    ]
)
ABSTAINS = DisorderScore(
    "sleep apnoea", None, None, "Abstains: it needs four hours of sleep, and there were 2.1."
)
HEALTH = StreamHealth(
    source="EEG",
    channel="EEG Fpz-Cz",
    unit="µV",
    sfreq_nominal=100.0,
    sfreq=99.98,
    since_last_s=0.1,
    n_gaps=1,
    n_lost=310,
    clock_s=1000.0 + len(NIGHT) * 30.0 + 12.0,
    state=StreamState.CONNECTED,
)


def estimate(epoch, truth, rng, final=True, **changes):
    probs = rng.dirichlet(DOUBT[truth] * 20 + 0.05) * 0.5 + DOUBT[truth] * 0.5
    fading = np.linspace(1.0, 0.4, 20)[:, None]
    forecast = fading * probs + (1 - fading) * np.array([0.1, 0.1, 0.5, 0.2, 0.1])
    made = StageEstimate(
        bed="bed-1",
        epoch=epoch,
        onset_s=1000.0 + epoch * 30.0,
        end_s=1030.0 + epoch * 30.0,
        stage=Stage(int(probs.argmax())),
        probs=frozen(probs),
        encoder_probs=None,
        confidence=float(probs.max()),
        quality=Quality(0.93),
        valid=1.0,
        forecast=frozen(forecast),
        p_wake_5min=0.12,
        p_rem_5min=0.31,
        disorder=ABSTAINS,
        final=final,
        model="0" * 64,
        latency_ms=11.0 + float(rng.gamma(2.0, 2.0)),
    )
    return dataclasses.replace(made, **changes)


def shown_night(letters=NIGHT, **options):
    """Return a dashboard to which a whole night was shown."""
    rng = np.random.default_rng(3)
    board = Dashboard(**options)
    for epoch, letter in enumerate(letters):
        hidden = {"stage": None, "confidence": 0.0} if 300 <= epoch < 310 else {}
        board.show(estimate(epoch, LETTERS[letter], rng, **hidden))
    fair = Quality(0.62, ("flat 4 s", "41 % missing"))
    board.show(estimate(len(letters), Stage.N1, rng, final=False, quality=fair))
    time = np.arange(3000) / 100.0
    board.signal(
        (30 * np.sin(2 * np.pi * 0.4 * time) + 12 * np.sin(2 * np.pi * 6 * time)).astype("f4")
    )
    board.stream(HEALTH)
    board.notice("gap of 3.1 s in the stream")
    return board


def picture(board, width, height, encoding="utf-8", **options):
    """Return the lines that a terminal of that size shows."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    console = Console(
        file=file, width=width, height=height, color_system=None, legacy_windows=False, **options
    )
    console.print(board)
    file.seek(0)
    return file.read().removesuffix("\n").split("\n")


@pytest.fixture(scope="module")
def board():
    return shown_night(synthetic=True)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60)])
def test_the_picture_of_a_night_is_the_golden_one(board, width, height):
    path = GOLDEN / f"dashboard_{width}x{height}.txt"
    text = "\n".join(line.rstrip() for line in picture(board, width, height)) + "\n"
    if os.environ.get("SLEEPSTREAM_UPDATE_GOLDEN") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def boards(board):
    return {"bare": Dashboard(), "young": shown_night("W2"), "whole": board}


@settings(max_examples=80, deadline=None)
@given(
    width=st.integers(20, 250),
    height=st.integers(5, 80),
    which=st.sampled_from(["bare", "young", "whole"]),
)
def test_every_size_is_filled_and_never_overrun(boards, width, height, which):
    lines = picture(boards[which], width, height)
    assert len(lines) == height
    assert {cell_len(line) for line in lines} == {width}


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (120, 40), (200, 60)])
def test_from_80x24_on_nothing_that_matters_is_missing(board, width, height):
    text = "\n".join(picture(board, width, height))
    for word in (
        "SYNTHETIC SIGNAL",
        "research use only — not a medical device",
        "● connected",
        "P(wake in 5 min)  12 %",
        "P(REM in 5 min)   31 %",
        "now ~N1 (provisional,",
        "quality fair 0.62: flat 4 s, 41 % missing",
        "WASO",
        "sleep apnoea",
        "gaps 1, lost 310",
        "latency",
        "gap of 3.1 s",
    ):
        assert word in text


def test_the_smallest_terminal_still_says_what_this_is_and_what_the_stage_is(board):
    lines = picture(board, 40, 10)
    assert lines[-1].startswith("research use only — not a medical device")
    assert "SYNTHETIC SIGNAL" in lines[0]
    assert lines[1].startswith("REM")
    assert lines[2].startswith("in 5 min: P(wake) 12 %  P(REM) 31 %")


def test_a_real_signal_has_no_badge():
    assert "SYNTHETIC" not in "\n".join(picture(Dashboard(), 80, 24))


def test_nothing_is_drawn_that_ascii_cannot_show_where_the_terminal_is_ascii(board):
    lines = picture(board, 80, 24, encoding="ascii")
    assert all(len(line) == 80 for line in lines)
    assert "research use only - not a medical device" in lines[-1]


def test_hostile_names_are_printed_literally_and_without_control_characters():
    board = Dashboard(bed="[red]bed\x1b[2J\u202e")
    board.stream(dataclasses.replace(HEALTH, source="[bold]\x1b]0;owned\x07", channel="a\nb\tc"))
    board.notice("[/nonsense] \x9b31m\r\n\x00 stop")
    text = "\n".join(picture(board, 100, 30))
    assert "[red]bed?[2J?" in text
    assert "[bold]?]0;owned? · a b c" in text
    assert "! [/nonsense] ?31m ? stop" in text
    assert not any(char in text for char in "\x1b\x07\x9b\x00\r\u202e")


def test_a_final_estimate_never_changes_and_a_hole_is_unscorable():
    rng = np.random.default_rng(0)
    board = Dashboard()
    board.show(estimate(0, Stage.N2, rng))
    board.show(estimate(0, Stage.W, rng))
    board.show(estimate(3, Stage.N3, rng))
    night = board.view().night
    assert night.codes.tolist() == [Stage.N2, -1, -1, Stage.N3]
    assert night.statistics.unscorable_min == 1.0


def test_a_provisional_estimate_is_gone_once_its_epoch_is_final():
    rng = np.random.default_rng(0)
    board = Dashboard()
    board.show(estimate(0, Stage.N1, rng, final=False))
    assert board.view().now is Stage.N1
    board.show(estimate(0, Stage.N2, rng))
    assert board.view().now is None
    board.show(estimate(0, Stage.N1, rng, final=False))
    assert board.view().now is None


def test_a_warning_that_repeats_is_counted():
    board = Dashboard()
    for _ in range(3):
        board.notice("no samples")
    assert board.view().notices == (("no samples", 3),)


def test_a_stalled_stream_and_a_late_estimate_are_said_in_words():
    board = shown_night("2222", budget_ms=1.0)
    board.stream(dataclasses.replace(HEALTH, state=StreamState.STALLED, since_last_s=12.4))
    text = "\n".join(picture(board, 80, 24))
    assert "▲ stalled 12 s" in text
    assert " LATE " in text


def test_with_a_known_start_the_axis_shows_times_of_day():
    board = shown_night(start=dt.datetime(2026, 11, 21, 22, 47, tzinfo=dt.UTC))
    text = "\n".join(picture(board, 80, 24))
    assert "23:00" in text
    assert "0:00" in text


def test_a_signal_with_holes_and_an_unscorable_epoch_are_drawn():
    board = Dashboard()
    unknown = {"stage": None, "confidence": 0.0, "quality": Quality(0.0, ("no signal",))}
    nothing = frozen(np.full((20, 5), np.nan))
    board.show(estimate(0, Stage.W, np.random.default_rng(0), forecast=nothing, **unknown))
    signal = np.full(3000, np.nan, dtype=np.float32)
    board.signal(signal)
    assert "quality unusable 0.00: no signal" in "\n".join(picture(board, 100, 40))
    signal[100:200] = np.inf
    signal[200:300] = 1e30
    board.signal(signal)
    assert "? unscorable" in "\n".join(picture(board, 100, 40))


def test_estimates_may_come_while_it_is_drawn():
    board = Dashboard()
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True)
    rng = np.random.default_rng(0)
    estimates = [estimate(i, Stage(i % 5), rng) for i in range(200)]
    feeder = threading.Thread(target=lambda: [board.show(e) for e in estimates])
    with DashboardScreen(board, console=console, refresh_hz=50) as same:
        feeder.start()
        feeder.join()
        assert same is board
    text = console.file.getvalue()
    assert text.index("\x1b[?1049h") < text.index("\x1b[?1049l")
    assert board.view().night.n == 200


def test_a_screenshot_is_a_picture_or_text(board, tmp_path):
    screenshot(board, tmp_path / "a.svg", 100, 30)
    screenshot(board, tmp_path / "b.svg", 100, 30)
    screenshot(board, tmp_path / "a.txt", 100, 30)
    svg = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert svg == (tmp_path / "b.svg").read_text(encoding="utf-8")
    assert svg.startswith("<svg")
    assert "url(http" not in svg
    assert len((tmp_path / "a.txt").read_text(encoding="utf-8").splitlines()) == 30
    with pytest.raises(SettingsError, match=r"\.svg or \.txt"):
        screenshot(board, tmp_path / "a.png")


def test_the_dashboard_needs_neither_torch_nor_mne():
    code = "import sys, sleepstream.outputs.dashboard; print({'torch', 'mne'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "style", [*palette.STAGE_COLOURS.values(), palette.GOOD, palette.WARN, palette.BAD]
)
def test_every_colour_stands_out_on_black_and_on_white(style):
    channels = np.array(Color.parse(style).get_truecolor()) / 255
    linear = np.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert 1.05 / (luminance + 0.05) > 3.0
    assert (luminance + 0.05) / 0.05 > 3.0
    assert Color.parse(style).downgrade(ColorSystem.STANDARD).number not in (0, 7, 8, 15)


def test_stages_differ_without_colour():
    assert len(set(palette.FILLS.values())) == len(Stage)
    assert len({palette.letter(stage) for stage in Stage}) == len(Stage)


def test_a_column_shows_the_stage_of_most_of_its_epochs_and_a_gap_where_there_is_none():
    codes = np.array([0, 0, 2, 2, 2, 4, -1, -1, -1, -1, -1, -1], dtype=np.int8)
    columns = drawing.stage_columns(codes, 40)  # 120 epochs in 40 columns
    assert columns == [Stage.W, Stage.N2, None, None]
    assert drawing.stage_columns(codes[:0], 40) == []


def test_a_night_wider_than_its_epochs_is_stretched_evenly():
    columns = drawing.stage_columns(np.array([0, 2], dtype=np.int8), 360)
    assert columns == [Stage.W] * 3 + [Stage.N2] * 3


def test_the_step_line_turns_at_each_change_and_rem_is_solid():
    stages = [Stage.W, Stage.W, Stage.N2, Stage.N2, Stage.REM, Stage.REM, None, Stage.N3]
    lines = [line.plain for line in drawing.step_line(stages, 9, 5, now=Stage.N1).lines()]
    assert lines == [
        "──┐      ",
        "  │ ██   ",
        "  │ │   ○",
        "  └─┘    ",
        "       ─ ",
    ]


def test_stacked_probabilities_fill_in_proportion():
    probs = np.array([[0.5, 0, 0.5, 0, 0], [0, 0, 0, 0, 1.0], [0, 0, 0, 0, 0]])
    assert [line.plain for line in drawing.stacked(probs, 3, 4).lines()] == [
        "·█ ",
        "·█ ",
        "▒█ ",
        "▒█ ",
    ]


def test_the_trace_breaks_where_samples_are_missing():
    samples = np.zeros(80, dtype=np.float32)
    samples[20:40] = np.nan
    (line,) = drawing.trace(samples, 4, 1, 10.0).lines()
    assert [char != " " for char in line.plain] == [True, False, True, True]


def test_lines_are_dealt_out_by_importance():
    wishes = [("a", 1), ("b", 4), ("a", 3), ("c", 2), ("a", 99)]
    assert allot(1, wishes) == {"a": 1, "b": 0, "c": 0}
    assert allot(4, wishes) == {"a": 4, "b": 0, "c": 0}
    assert allot(12, wishes) == {"a": 6, "b": 4, "c": 2}
