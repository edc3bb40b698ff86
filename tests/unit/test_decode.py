"""Another stager's table: read as it is meant, or refused with the line; decoded row by row."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from sleepstream.cli import cli
from sleepstream.commands.decode import CSV_HEADER, corrected, summarise
from sleepstream.corpora.probabilities import parse
from sleepstream.errors import ModelError, RecordingError, SleepstreamError, StoreError
from sleepstream.messages import Stage
from sleepstream.stager.decoder import NoDecoder

YASA = """epoch,N1,N2,N3,R,W
0,0.05,0.02,0.01,0.02,0.9
1,0.5,0.1,0.01,0.19,0.2
2,0.2,0.7,0.02,0.03,0.05
"""


def run(*arguments: object, given: str | bytes | None = None) -> Result:
    result = CliRunner().invoke(cli, ["decode", *map(str, arguments)], input=given)
    if isinstance(result.exception, SleepstreamError):
        raise result.exception
    return result


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "probs.csv"
    path.write_text(YASA)
    return path


def test_yasas_columns_are_put_in_our_order() -> None:
    given = parse(YASA, "probs.csv")
    assert len(given.rows) == 3
    assert (given.first, given.onset_s, given.n_left_out) == (0, 0.0, 0)
    assert given.rows[0] == pytest.approx([0.9, 0.05, 0.02, 0.01, 0.02])


@pytest.mark.parametrize(
    "header", ["W,N1,N2,N3,REM", "wake,n1,n2,n3,rem", " W ;N1;N2;N3;R", "W\tN1\tN2\tN3\tR"]
)
def test_other_spellings_and_separators_are_understood(header: str) -> None:
    separator = max(",;\t", key=header.count)
    given = parse(f"{header}\n{separator.join(['1', '0', '0', '0', '0'])}\n", "x")
    assert given.rows[0] is not None
    assert given.rows[0].argmax() == Stage.W


def test_the_index_of_a_data_frame_and_columns_of_no_interest_are_no_trouble() -> None:
    given = parse(",W,N1,N2,N3,R,confidence\n7,1,0,0,0,0,sure\n8,0,1,0,0,0,unsure\n", "x")
    assert (given.first, len(given.rows)) == (7, 2)


def test_rounded_rows_are_taken_and_add_up_to_one_afterwards() -> None:
    row = parse("W,N1,N2,N3,R\n0.335,0.335,0.335,0,0\n", "x").rows[0]
    assert row is not None
    assert row.sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("nothing", [",,,,", "nan,NaN,NA,n/a,", ""])
def test_a_row_without_numbers_is_an_unscorable_epoch(nothing: str) -> None:
    given = parse(f"W,N1,N2,N3,R\n1,0,0,0,0\n{nothing}\n0,1,0,0,0\n\n", "x")
    assert [row is None for row in given.rows] == [False, True, False]
    assert given.n_left_out == 0


@pytest.mark.parametrize("place", ["epoch", "onset"])
def test_epochs_that_are_passed_over_are_unscorable(place: str) -> None:
    second = 4 if place == "epoch" else 121.5  # a clock that runs a little fast
    start = 1 if place == "epoch" else 30
    given = parse(f"{place},W,N1,N2,N3,R\n{start},1,0,0,0,0\n{second},0,1,0,0,0\n", "x")
    assert [row is None for row in given.rows] == [False, True, True, False]
    assert given.n_left_out == 2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("W,N1,N2,N3,R\n", "no line below"),
        ("", "no line below"),
        ("W,N1,N2,N3\n1,0,0,0\n", "one column for each"),
        ("W,N1,N2,N3,R,REM\n1,0,0,0,0,0\n", "one column for each"),
        ("N1,N2,N3,R,Wake,W\n1,0,0,0,0,0\n", "one column for each"),
        ("W,N1,N2,N3,R\n90,5,2,1,2\n", "per cent"),
        ("W,N1,N2,N3,R\n1,0,0,0,0\n0.5,0,0,0,0\n", "line 3 of x"),
        ("W,N1,N2,N3,R\n0,0,0,0,0\n", "add up to 1"),
        ("W,N1,N2,N3,R\n1.1,-0.1,0,0,0\n", "add up to 1"),
        ("W,N1,N2,N3,R\ninf,0,0,0,0\n", "add up to 1"),
        ("W,N1,N2,N3,R\n1,0,0,0,\n", "add up to 1"),
        ("W,N1,N2,N3,R\n1,0,0,0\n", "5 values in line 2"),
        ("W;N1;N2;N3;R\n0,9;0,1;0;0;0\n", "decimal point"),
        ("epoch,W,N1,N2,N3,R\nfirst,1,0,0,0,0\n", "a number"),
        ("epoch,W,N1,N2,N3,R\n0.5,1,0,0,0,0\n", "the number of an epoch"),
        ("epoch,W,N1,N2,N3,R\n3,1,0,0,0,0\n2,1,0,0,0,0\n", "in their order"),
        ("epoch,W,N1,N2,N3,R\n3,1,0,0,0,0\n3,1,0,0,0,0\n", "in their order"),
        ("epoch,W,N1,N2,N3,R\n3,1,0,0,0,0\n9999,1,0,0,0,0\n", "in their order"),
        ("onset,W,N1,N2,N3,R\n0,1,0,0,0,0\n20,1,0,0,0,0\n", "epochs of 30 s"),
        ("epoch,onset,W,N1,N2,N3,R\n0,0,1,0,0,0,0\n1,60,1,0,0,0,0\n", "epochs of 30 s"),
    ],
)
def test_what_could_be_misread_is_refused(text: str, found: str) -> None:
    with pytest.raises(RecordingError) as error:
        parse(text, "x")
    assert found in str(error.value)


def test_the_summary_counts_what_was_changed() -> None:
    class Smooth(NoDecoder):
        """Says N2 whenever it is asked."""

        def step(self, probs, spectrum=None):
            return super().step(None if probs is None else np.float32([0, 0, 1, 0, 0]), spectrum)

    given = parse(YASA + "4,0.2,0.7,0.02,0.03,0.05\n", "x")
    epochs = corrected(given, Smooth())
    summary = summarise(epochs, Smooth())
    assert (summary.n_epochs, summary.n_unscorable, summary.n_changed) == (5, 1, 2)
    assert (summary.n_transitions_given, summary.n_transitions) == (2, 0)
    assert summary.statistics.tst_min == 2.0
    assert [epoch.onset_s for epoch in epochs] == [0, 30, 60, 90, 120]


@pytest.mark.parametrize("decoder", ["gpt", "gpt-fusion", "hmm", "none"])
def test_the_corrected_night_is_written(table: Path, tmp_path: Path, decoder: str) -> None:
    out = tmp_path / "corrected.csv"
    result = run(table, "--decoder", decoder, "--out", out)
    assert result.exit_code == 0
    assert "3 epochs, 0 unscorable" in result.stdout
    assert "TST" in result.stdout
    header, *rows = csv.reader(out.read_text().splitlines())
    assert tuple(header) == CSV_HEADER
    assert [row[:3] for row in rows] == [
        ["0", "0.0", "W"],
        ["1", "30.0", "N1"],
        ["2", "60.0", "N2"],
    ]
    numbers = np.array([row[4:] for row in rows], dtype=float)
    np.testing.assert_allclose(numbers[:, :5].sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(numbers[:, 5:10].sum(axis=1), 1, atol=1e-5)


def test_json_from_standard_input() -> None:
    result = run("-", "--decoder", "none", "--json", given=b"\xef\xbb\xbf" + YASA.encode())
    said = json.loads(result.stdout)
    assert (said["decoder"], said["n_epochs"], said["n_changed"]) == ("none", 3, 0)
    assert said["n_transitions"] == {"given": 2, "decoded": 2}
    assert [epoch["stage"] for epoch in said["epochs"]] == ["W", "N1", "N2"]
    assert len(said["epochs"][0]["next_probs"]) == 5


def test_what_cannot_be_read_found_or_written_is_named(table: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"missing\.csv"):
        run(tmp_path / "missing.csv")
    with pytest.raises(ModelError, match="oracle"):
        run(table, "--decoder", "oracle")
    with pytest.raises(StoreError, match="nowhere"):
        run(table, "--decoder", "none", "--out", tmp_path / "nowhere" / "corrected.csv")
