"""Text from strangers, made harmless."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from sleepstream.plain import printable, printable_json, printable_lines

TEXT = st.text(st.characters())


@given(TEXT)
def test_nothing_that_steers_a_terminal_is_left(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text)) == len(text)
    assert printable_lines(text).count("\n") == text.count("\n")
    assert all(line.isprintable() for line in printable_lines(text).split("\n"))


def test_what_can_be_shown_stays() -> None:
    assert printable("EEG Fpz-Cz, 5 µV – ja") == "EEG Fpz-Cz, 5 µV – ja"
    assert printable("\x1b[31m\u202e") == "?[31m?"


@given(st.recursive(st.none() | st.integers() | TEXT, st.lists))
def test_json_reads_back_and_steers_no_terminal(value: object) -> None:
    line = printable_json(json.dumps(value, ensure_ascii=False))
    assert line.isprintable()
    assert json.loads(line) == value
