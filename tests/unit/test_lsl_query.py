"""Which stream is meant: by name, type, source_id or host, and never one of two."""

from __future__ import annotations

import pytest

from sleepstream.errors import StreamError
from sleepstream.sources.description import Query, StreamDescription


def stream(
    name: str, kind: str = "EEG", source_id: str = "", host: str = "lab"
) -> StreamDescription:
    return StreamDescription(name, kind, source_id, host, f"{name}{source_id}{host}", 1, 100.0)


BED1 = stream("EEG", source_id="amp1", host="lab-1")
BED2 = stream("EEG", source_id="amp2", host="lab-2")
MUSE = stream("Muse-00A2", source_id="00A2")
MARKS = stream("EEG-scored", kind="Markers", source_id="amp1")
ALL = [BED1, BED2, MUSE, MARKS]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Muse-00A2", [MUSE]),
        ("muse-00a2", [MUSE]),
        ("Markers", [MARKS]),
        ("EEG", [BED1, BED2]),
        ("00A2", [MUSE]),
        ("name=EEG,host=lab-2", [BED2]),
        ("name=EEG, source_id=amp1", [BED1]),
        ("source_id=amp1", [BED1, MARKS]),
        ("type=EEG", [BED1, BED2, MUSE]),
        ("nobody", []),
    ],
)
def test_a_query_finds(text: str, found: list[StreamDescription]) -> None:
    assert Query.parse(text).among(ALL) == found


def test_a_name_counts_more_than_a_type() -> None:
    other = stream("Other", kind="Muse-00A2")
    assert Query.parse("Muse-00A2").among([other, MUSE]) == [MUSE]


def test_a_selector_finds_its_stream_again() -> None:
    for each in ALL:
        assert Query.parse(each.selector).among(ALL) == [each]


def test_a_key_that_streams_do_not_have() -> None:
    with pytest.raises(StreamError, match="'nam'"):
        Query.parse("nam=EEG")


def test_a_name_with_separators_has_a_selector_too() -> None:
    odd = StreamDescription("A,b=c", "EEG", "x", "lab", "f00d", 1, 100.0)
    assert odd.selector == "uid=f00d"
    assert Query.parse(odd.selector).among([*ALL, odd]) == [odd]
