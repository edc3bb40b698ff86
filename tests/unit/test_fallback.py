"""One derivation fails, the next takes over, and the first comes back when it has earned it."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from sleepstream.signal.fallback import Hysteresis, Standing, in_words
from sleepstream.signal.levels import MEMORY_EPOCHS, Level, log_ratio, updated

LABELS = ("C4-M1", "C3-M2", "O2-M1")
USUAL = Hysteresis(4, 10)


def staged(*rows: str, hysteresis: Hysteresis = USUAL) -> str:
    """Return which derivation is staged in each epoch; a row per derivation, ``x`` where bad."""
    standing, out = Standing.first(len(rows)), ""
    for marks in zip(*rows, strict=True):
        standing = standing.after([mark != "x" for mark in marks], hysteresis)
        out += str(standing.staged)
    return out


def said(*rows: str, hysteresis: Hysteresis = USUAL) -> list[str]:
    standing, out = Standing.first(len(rows)), list[str]()
    for marks in zip(*rows, strict=True):
        before = standing
        standing = standing.after([mark != "x" for mark in marks], hysteresis)
        verdicts = ["flat for 30 s" if mark == "x" else "good" for mark in marks]
        if text := in_words(before, standing, LABELS[: len(rows)], verdicts):
            out.append(text)
    return out


def test_ten_flat_epochs_and_back() -> None:
    first, second = "..xxxxxxxxxx..............", "." * 26
    assert staged(first, second) == "00000" + "1" * 16 + "00000"
    assert said(first, second) == [
        "C4-M1 has been bad for 2 min (flat for 30 s); from now on C3-M2 is staged",
        "C4-M1 has been good for 5 min and is staged again in place of C3-M2",
    ]


def test_less_than_the_patience_changes_nothing() -> None:
    assert staged("xxx.xxx.xx", "..........") == "0000000000"


def test_one_bad_epoch_begins_the_way_back_anew() -> None:
    first = "xxxx" + "." * 9 + "x" + "." * 11
    assert staged(first, "." * 25) == "000" + "1" * 20 + "00"


def test_the_next_that_is_good_takes_over() -> None:
    assert staged("xxxxx", "xxxxx", ".....") == "00022"
    assert staged("xxxxxxxxx", "...xxxxxx", ".........") == "000222222"


def test_a_stand_in_that_fails_gives_way_to_the_first_before_its_time() -> None:
    assert staged("xxxx......", "....xxxxxx") == "0001111000"
    assert said("xxxx......", "....xxxxxx")[1] == (
        "C3-M2 has been bad for 2 min (flat for 30 s); from now on C4-M1 is staged"
    )


def test_where_no_other_is_good_the_present_one_stays_and_it_is_said_once() -> None:
    assert staged("xxxxxxxx.", "xxxxxxxx.") == "000000000"
    assert said("xxxxxxxx.", "xxxxxxxx.") == [
        "C4-M1 has been bad for 2 min (flat for 30 s), and no other is good",
        "C4-M1 is good again",
    ]
    assert said("xxxxxx") == [
        "C4-M1 has been bad for 2 min (flat for 30 s), and there is no other to stage"
    ]


def test_another_that_becomes_good_later_takes_over_then() -> None:
    assert staged("xxxxxxxx", "xxxxxx..") == "00000011"
    assert len(said("xxxxxxxx", "xxxxxx..")) == 2


def test_how_long_is_a_setting() -> None:
    assert staged("x...", "....", hysteresis=Hysteresis(1, 2)) == "1100"


def test_the_standing_is_a_value_that_can_be_recorded() -> None:
    standing = Standing.first(2).after([False, True], Hysteresis())
    assert msgspec.json.decode(msgspec.json.encode(standing), type=Standing) == standing


def test_how_large_one_is_beside_another_does_not_depend_on_the_depth_of_sleep() -> None:
    levels = (Level(),) * 3
    rng = np.random.default_rng(0)
    for epoch in range(300):
        deep = 10 * np.exp(np.sin(epoch / 30)) * rng.uniform(0.9, 1.1)
        sizes = [deep, 0.4 * deep * rng.uniform(0.9, 1.1), 2.5 * deep]
        levels = updated(levels, [size if rng.random() > 0.2 else None for size in sizes])
    assert np.exp(log_ratio(levels, 1, 0)) == pytest.approx(0.4, rel=0.05)
    assert np.exp(log_ratio(levels, 2, 1)) == pytest.approx(6.25, rel=0.05)
    assert log_ratio(levels, 0, 1) == -log_ratio(levels, 1, 0)
    assert levels[0].n_epochs <= MEMORY_EPOCHS


def test_of_one_that_was_never_good_beside_another_nothing_is_known() -> None:
    levels = updated((Level(),) * 2, [None, 12.0])
    assert levels == (Level(),) * 2
    assert log_ratio(levels, 1, 0) == 0.0
