"""Sleep statistics and agreement, checked against what a person counts and against sklearn."""

import json

import numpy as np
import pytest
from sklearn import metrics

from sleepstream.hypnogram import (
    Hypnogram,
    agreement,
    is_stage_annotation,
    parse_stage,
)
from sleepstream.messages import STAGES, Stage

BY_LETTER = {"W": Stage.W, "1": Stage.N1, "2": Stage.N2, "3": Stage.N3, "R": Stage.REM, "?": None}


def night(letters):
    return [BY_LETTER[letter] for letter in letters]


def test_the_statistics_of_a_short_night_are_those_counted_by_hand():
    statistics = Hypnogram(night("WWWW11222233W?2RRW2WW")).statistics()
    assert statistics.trt_min == 10.5
    assert statistics.tst_min == 6.0
    assert statistics.se_percent == pytest.approx(100 * 6.0 / 10.5)
    assert statistics.sol_min == 2.0
    assert statistics.waso_min == 2.0
    assert statistics.rem_latency_min == 5.5
    assert statistics.spt_min == 7.5
    assert statistics.minutes == (4.0, 1.0, 3.0, 1.0, 1.0)
    assert statistics.unscorable_min == 0.5
    assert statistics.n_awakenings == 3
    assert statistics.percent_of_tst(Stage.N2) == pytest.approx(50.0)
    assert statistics.percent_of_tst(Stage.W) is None


def test_waso_is_what_trt_leaves_beside_sol_and_tst_where_all_is_scored():
    statistics = Hypnogram(night("WW122W33RRW11WWW")).statistics()
    left = statistics.trt_min - statistics.sol_min - statistics.tst_min
    assert statistics.waso_min == left


def test_nothing_is_said_about_sleep_before_there_was_any():
    statistics = Hypnogram(night("WW?W")).statistics()
    assert statistics.se_percent == 0.0
    assert statistics.sol_min is None
    assert statistics.waso_min is None
    assert statistics.rem_latency_min is None
    assert statistics.spt_min is None
    assert statistics.percent_of_tst(Stage.N2) is None
    assert statistics.n_awakenings == 0


@pytest.mark.parametrize(("letters", "lights_off"), [("", 0), ("W2", 2), ("W2", 9)])
def test_an_empty_record_has_no_efficiency(letters, lights_off):
    statistics = Hypnogram(night(letters), lights_off=lights_off).statistics()
    assert statistics.trt_min == 0.0
    assert statistics.se_percent is None


def test_time_before_lights_off_counts_nowhere():
    whole = Hypnogram(night("2R2W" + "WW1223"), lights_off=4)
    assert whole.statistics() == Hypnogram(night("WW1223")).statistics()


def test_an_unscorable_stretch_between_sleep_and_wake_hides_no_awakening():
    assert Hypnogram(night("2??W2")).statistics().n_awakenings == 1
    assert Hypnogram(night("2??2W")).statistics().n_awakenings == 1


def test_a_night_that_grows_equals_a_night_that_is_given():
    grown = Hypnogram()
    for stage in night("WW12?3R"):
        grown.append(stage)
    assert len(grown) == 7
    assert grown.stages == tuple(night("WW12?3R"))
    assert grown.statistics() == Hypnogram(grown.stages).statistics()


def test_the_json_of_a_sleepless_night_has_nulls_and_never_nan():
    text = json.dumps(Hypnogram(night("W?")).statistics().as_json(), allow_nan=False)
    assert json.loads(text)["sol_min"] is None
    assert json.loads(text)["percent_of_tst"] == {"N1": None, "N2": None, "N3": None, "REM": None}


def test_table_rows_name_unit_and_definition():
    rows = {short: (meaning, value) for short, meaning, value in _rows("WW1223RW")}
    assert rows["TST"] == ("total sleep time", "2.5 min")
    assert rows["N2"] == ("time in N2", "1.0 min, 40 % of TST")
    assert {value for _, _, value in _rows("")} >= {"–", "0.0 min", "0"}


def _rows(letters):
    return Hypnogram(night(letters)).statistics().rows()


@pytest.mark.parametrize("seed", range(5))
def test_agreement_equals_sklearn_on_the_epochs_that_both_staged(seed):
    rng = np.random.default_rng(seed)
    reference = rng.integers(-1, 5, 400)
    estimated = np.where(rng.random(400) < 0.6, reference, rng.integers(-1, 5, 400))
    both = (reference >= 0) & (estimated >= 0)
    true, said = reference[both], estimated[both]
    result = agreement(_stages(reference), _stages(estimated))
    assert result.n == both.sum()
    assert result.accuracy == pytest.approx(metrics.accuracy_score(true, said))
    assert result.kappa == pytest.approx(metrics.cohen_kappa_score(true, said))
    assert result.macro_f1 == pytest.approx(metrics.f1_score(true, said, average="macro"))
    assert result.f1 == pytest.approx(metrics.f1_score(true, said, average=None))
    assert result.recall == pytest.approx(metrics.recall_score(true, said, average=None))
    assert result.support == tuple(np.bincount(true, minlength=5))
    np.testing.assert_array_equal(
        result.confusion, metrics.confusion_matrix(true, said, labels=list(range(5)))
    )
    assert not result.confusion.flags.writeable


def test_macro_f1_leaves_out_a_stage_that_nobody_names():
    result = agreement(night("WW22"), night("WW2R"))
    assert result.f1[Stage.N3] is None
    assert result.recall[Stage.REM] is None
    assert result.f1[Stage.REM] == 0.0
    assert result.macro_f1 == pytest.approx(
        metrics.f1_score([0, 0, 2, 2], [0, 0, 2, 4], average="macro")
    )


def test_agreement_about_nothing_is_undefined():
    result = agreement(night("?W"), night("W?"))
    assert (result.n, result.accuracy, result.kappa, result.macro_f1) == (0, None, None, None)
    assert json.dumps(result.as_json(), allow_nan=False)


def test_kappa_is_undefined_where_both_say_the_same_throughout():
    result = agreement(night("WWW"), night("WWW"))
    assert result.accuracy == 1.0
    assert result.kappa is None


def test_two_nights_of_different_length_are_not_compared():
    with pytest.raises(ValueError, match="2 reference epochs, 1 estimated"):
        agreement(night("WW"), night("W"))


def _stages(codes):
    return [None if code < 0 else STAGES[code] for code in codes]


@pytest.mark.parametrize(
    ("text", "stage"),
    [
        ("Sleep stage W", Stage.W),
        ("Sleep stage 1", Stage.N1),
        ("Sleep stage 2", Stage.N2),
        ("Sleep stage 3", Stage.N3),
        ("Sleep stage 4", Stage.N3),
        ("Sleep stage R", Stage.REM),
        ("Sleep stage N1", Stage.N1),
        ("sleep stage n4", Stage.N3),
        ("W", Stage.W),
        ("N1", Stage.N1),
        (" N3 ", Stage.N3),
        ("REM", Stage.REM),
        ("R", Stage.REM),
        ("SLEEP-S0", Stage.W),
        ("SLEEP-S4", Stage.N3),
        ("SLEEP-REM", Stage.REM),
        ("Stage 2 sleep|2", Stage.N2),
        ("REM sleep|5", Stage.REM),
        ("Wake|0", Stage.W),
    ],
)
def test_a_stage_is_read_from_its_usual_spellings(text, stage):
    assert parse_stage(text) is stage
    assert is_stage_annotation(text)


@pytest.mark.parametrize(
    "text",
    ["Sleep stage ?", "Movement time", "SLEEP-MT", "SLEEP-UNSCORED", "Unscored|9", "Sleep stage X"],
)
def test_an_unscored_epoch_is_a_stage_annotation_without_a_stage(text):
    assert parse_stage(text) is None
    assert is_stage_annotation(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "S1",
        "Stimulus/S  2",
        "Lights off",
        "Arousal",
        "sleep",
        "Sleep-onset",
        "Stage lights",
        "R-peak",
    ],
)
def test_other_annotations_are_not_mistaken_for_stages(text):
    assert parse_stage(text) is None
    assert not is_stage_annotation(text)
