import dataclasses
import io
import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console, RenderableType

from sleepstream.hypnogram import Hypnogram, agreement
from sleepstream.messages import DisorderScore, Quality, Stage, StageEstimate, frozen
from sleepstream.outputs.sink import Collected, Sink
from sleepstream.outputs.text import (
    NightReport,
    TextSink,
    json_line,
    log_line,
    nights_json,
    nights_table,
    summary_json,
    summary_table,
)
from sleepstream.store.nights import NightSummary


def an_estimate(
    epoch: int = 14,
    stage: Stage | None = Stage.N2,
    final: bool = True,
    reasons: tuple[str, ...] = (),
) -> StageEstimate:
    return StageEstimate(
        bed="1",
        epoch=epoch,
        onset_s=1000.1 + 30 * epoch,
        end_s=1030.1 + 30 * epoch,
        stage=stage,
        probs=frozen([0.1, 0.1, 0.6, 0.1, 0.1]),
        encoder_probs=None,
        confidence=0.0 if stage is None else 0.6,
        quality=Quality(0.75, reasons),
        valid=1 / 3,
        forecast=frozen(np.full((20, 5), 0.2)),
        p_wake_5min=0.3,
        p_rem_5min=0.1,
        disorder=DisorderScore("narcolepsy", None, None, "abstains before 3 hours"),
        final=final,
        model="abc123",
        latency_ms=12.3,
    )


def a_summary(**changes: Any) -> NightSummary:
    night = NightSummary(
        id="3fa90c11",
        bed="1",
        source="EEG",
        channel="Fpz-Cz",
        started_utc="2026-11-22T22:00:00Z",
        sfreq=256.0,
        synthetic=False,
        n_epochs=960,
        hours=8.0,
        tst_min=411.5,
        ended="the stream ended",
        state="ended",
    )
    return dataclasses.replace(night, **changes)


def printed(renderable: RenderableType, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_a_line_says_when_what_how_sure_and_what_next() -> None:
    assert log_line(an_estimate(reasons=("flat 12 s", "41 % missing"))) == (
        "bed 1  0:07:30  epoch   14  N2   confidence 0.60  P(wake in 5 min) 0.30"
        "  P(REM in 5 min) 0.10  latency 12 ms  quality 0.75 (flat 12 s; 41 % missing)"
    )


def test_the_columns_of_all_stages_stand_below_each_other() -> None:
    starts = {log_line(an_estimate(stage=s)).index("confidence") for s in (*Stage, None)}
    assert len(starts) == 1


def test_an_unscorable_epoch_has_a_question_mark_for_a_stage() -> None:
    assert "  ?    confidence 0.00" in log_line(an_estimate(stage=None))


def test_the_time_in_a_line_goes_past_the_hour() -> None:
    assert "  8:00:00  " in log_line(an_estimate(epoch=959))


def test_a_provisional_line_says_that_it_is() -> None:
    assert log_line(an_estimate(final=False)).endswith("provisional")


def test_a_line_is_one_line_whatever_the_reason_says() -> None:
    line = log_line(an_estimate(reasons=("flat\n\x1b[31m",)))
    assert line.isprintable()


def test_json_reads_back_as_it_was() -> None:
    estimate = an_estimate()
    line = json_line(estimate)
    assert "\n" not in line
    assert json.loads(line) == estimate.as_json()


def test_json_has_the_documented_keys_in_their_order() -> None:
    assert list(json.loads(json_line(an_estimate()))) == [
        *["bed", "epoch", "onset", "derivation", "gain", "stage", "probs", "confidence"],
        *["quality", "forecast", "disorder", "latency_ms", "final", "model"],
    ]


# Sinks


def shown(sink: Sink) -> None:
    for epoch, final in ((0, False), (0, True), (1, True)):
        sink.show(an_estimate(epoch, final=final))


def test_the_sink_in_memory_tells_final_from_provisional() -> None:
    sink = Collected()
    shown(sink)
    assert (len(sink.estimates), [e.epoch for e in sink.final]) == (3, [0, 1])


@pytest.mark.parametrize(("provisional", "n_lines"), [(False, 2), (True, 3)])
def test_a_text_sink_writes_a_line_each(provisional: bool, n_lines: int) -> None:
    stream = io.StringIO()
    shown(TextSink(stream, json_line, provisional=provisional))
    assert len(stream.getvalue().splitlines()) == n_lines
    assert not stream.closed, "the stream is not the sink's"


def test_a_reader_that_goes_away_is_noted_once_and_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        sink = TextSink(stream, json_line)
        sink.show(an_estimate(0))
        os.close(reading)
        with caplog.at_level(logging.WARNING):
            for epoch in range(1, 5):
                sink.show(an_estimate(epoch))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the night and its record go on" in caplog.text


# Tables and their twins


def a_report(scored: bool) -> NightReport:
    staged = [Stage.W, Stage.W, Stage.N1, Stage.N2, Stage.N2, Stage.REM, None, Stage.W]
    reference = [Stage.W, Stage.N1, Stage.N1, Stage.N2, Stage.N3, Stage.REM, Stage.N2, Stage.W]
    return NightReport(
        bed="1",
        night="3fa90c11",
        store=Path("nights.sqlite"),
        ended="the stream ended",
        n_epochs=8,
        statistics=Hypnogram(staged).statistics(),
        agreement=agreement(reference, staged) if scored else None,
    )


def test_the_summary_says_where_the_record_is_and_how_the_night_was() -> None:
    text = printed(summary_table(a_report(scored=False)))
    assert "do not look like" not in text
    doubted = printed(summary_table(dataclasses.replace(a_report(scored=False), n_doubted=2)))
    assert f"2 of {a_report(scored=False).n_epochs} epochs do not look like sleep EEG" in doubted
    for part in ("8 epochs", "the stream ended", "3fa90c11", "nights.sqlite", "TST", "2.0 min"):
        assert part in text
    assert "kappa" not in text


def test_the_summary_of_a_scored_night_has_the_confusion_matrix() -> None:
    text = printed(summary_table(a_report(scored=True)))
    assert "agreement on 7 epochs: accuracy 0.714" in text
    (row,) = [line for line in text.splitlines() if line.startswith("│ N3 ")][-1:]
    assert row.replace("│", " ").split() == ["N3", "0", "0", "1", "0", "0", "0.000", "0.000"]


def test_the_summary_fits_80_columns() -> None:
    assert max(map(len, printed(summary_table(a_report(scored=True)), 80).splitlines())) <= 80


def test_the_summary_as_json_says_the_same() -> None:
    report = a_report(scored=True)
    fields = json.loads(summary_json(report))
    assert fields["night"] == "3fa90c11"
    assert fields["statistics"] == report.statistics.as_json()
    assert fields["agreement"]["n"] == 7


def test_the_list_of_nights_shows_each_and_says_what_was_cut_off() -> None:
    cut_off = a_summary(id="aa", ended=None, state="interrupted", synthetic=True)
    text = printed(nights_table([a_summary(), cut_off]), 120)
    assert "411.5" in text
    assert "EEG (synthetic)" in text
    assert "the stream ended" in text
    assert "interrupted" in text


def test_the_list_of_nights_fits_80_columns_with_ids_and_dates_in_full() -> None:
    text = printed(nights_table([a_summary(source="ucddb018.edf")]), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "3fa90c11" in text
    assert "2026-11-22 22:00" in text


def test_a_hostile_stream_name_reaches_no_terminal() -> None:
    text = printed(nights_table([a_summary(source="\x1b[2J[red]EEG[/red]")]), 140)
    assert "\x1b" not in text
    assert "[red]EEG[/red]" in text


def test_the_list_of_nights_as_json_says_the_same() -> None:
    night = a_summary()
    assert json.loads(nights_json([night])) == [night.as_json()]
