"""Figures against scikit-learn's and against numbers by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics as oracle
from sleepstream_training.evaluation import disorder, forecasts, metrics
from sleepstream_training.evaluation.forecasts import Predictions
from sleepstream_training.evaluation.intervals import Figure, figure, figures, resampled

from sleepstream.messages import N_HORIZONS, N_STAGES, Stage

Array = npt.NDArray[np.float64]


def night(seed: int, n: int = 400) -> tuple[npt.NDArray[np.int8], Array]:
    rng = np.random.default_rng(seed)
    stages = rng.integers(-1, N_STAGES, n).astype(np.int8)
    logits = rng.normal(size=(n, N_STAGES)) + 1.5 * np.eye(N_STAGES)[np.maximum(stages, 0)]
    odds = np.exp(logits)
    return stages, odds / odds.sum(axis=1, keepdims=True)


@pytest.fixture
def known() -> tuple[npt.NDArray[np.int8], Array]:
    stages, probs = night(1)
    return stages[stages >= 0], probs[stages >= 0]


def one(stages: npt.NDArray[np.int8], probs: Array) -> metrics.StageCounts:
    return resampled(["a"], [metrics.count(stages, probs)]).whole


def test_agreement_is_scikit_learns(known: tuple[npt.NDArray[np.int8], Array]) -> None:
    stages, probs = known
    said, counts = probs.argmax(axis=1), one(*known)
    assert metrics.n_epochs(counts)[0] == len(stages)
    assert metrics.accuracy(counts)[0] == pytest.approx(oracle.accuracy_score(stages, said))
    assert metrics.kappa(counts)[0] == pytest.approx(oracle.cohen_kappa_score(stages, said))
    np.testing.assert_allclose(metrics.f1(counts)[0], oracle.f1_score(stages, said, average=None))
    recall = oracle.recall_score(stages, said, average=None)
    np.testing.assert_allclose(metrics.recall(counts)[0], recall)
    np.testing.assert_array_equal(counts.confusion[0], oracle.confusion_matrix(stages, said))


def test_a_stage_that_nobody_names_has_no_f1_and_is_left_out_of_the_mean() -> None:
    stages = np.array([0, 0, 2, 2], dtype=np.int8)
    said = np.array([0, 2, 2, 2])
    counts = one(stages, np.eye(N_STAGES)[said])
    assert np.isnan(metrics.f1(counts)[0, [1, 3, 4]]).all()
    assert metrics.macro_f1(counts)[0] == pytest.approx(
        oracle.f1_score(stages, said, average="macro")
    )


def test_losses_are_scikit_learns(known: tuple[npt.NDArray[np.int8], Array]) -> None:
    stages, probs = known
    counts = one(*known)
    labels = range(N_STAGES)
    assert metrics.nll(counts)[0] == pytest.approx(oracle.log_loss(stages, probs, labels=labels))
    each = [oracle.brier_score_loss(stages == s, probs[:, s]) for s in labels]
    assert metrics.brier(counts)[0] == pytest.approx(sum(each))


def test_calibration_error_by_hand() -> None:
    # four epochs at .65, of which three are right; one at .95, wrong
    stages = np.array([0, 0, 0, 1, 2], dtype=np.int8)
    probs = np.full((5, N_STAGES), 0.35 / 4)
    probs[:, 0] = 0.65
    probs[4] = 0.05 / 4
    probs[4, 0] = 0.95
    counts = one(stages, probs)
    assert metrics.ece(counts)[0] == pytest.approx((4 * abs(0.65 - 0.75) + 0.95) / 5)
    # N1's probability: .0875 four times (one is N1) and .0125 once, both in the first bins
    low = (abs(4 * 0.0875 - 1) + 0.0125) / 5
    assert metrics.ece_by_stage(counts)[0, Stage.N1] == pytest.approx(low)


def test_accuracy_where_it_is_surest_by_hand() -> None:
    sure = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    probs = np.zeros((5, N_STAGES))
    probs[:, 0], probs[:, 1] = sure, 1 - sure
    stages = np.array([0, 0, 1, 0, 1], dtype=np.int8)
    found = metrics.accuracy_at(one(stages, probs), (0.2, 0.4, 0.6, 0.8, 1.0))[0]
    np.testing.assert_allclose(found, [1.0, 1.0, 2 / 3, 3 / 4, 3 / 5])


def test_epochs_without_a_stage_or_an_answer_are_left_out() -> None:
    stages, probs = night(2)
    probs[5] = np.nan
    n = int((stages >= 0).sum()) - int(stages[5] >= 0)
    assert metrics.n_epochs(one(stages, probs))[0] == n


def forecast(seed: int, stages: npt.NDArray[np.int8]) -> Predictions:
    rng = np.random.default_rng(seed)
    ahead = rng.dirichlet(np.ones(N_STAGES), (len(stages), N_HORIZONS))
    return Predictions(np.eye(N_STAGES)[np.maximum(stages, 0)], ahead, rng.random((len(stages), 2)))


def test_forecast_figures_are_scikit_learns() -> None:
    stages = np.repeat(np.random.default_rng(3).integers(0, N_STAGES, 60), 7).astype(np.int8)
    said = forecast(4, stages)
    counts = resampled(["a"], [forecasts.count(stages, said)]).whole
    loss = oracle.log_loss(stages[4:], said.ahead[:-4, 3], labels=range(N_STAGES))
    assert forecasts.log_loss(counts)[0, 3] == pytest.approx(loss)
    changes = stages[1:] != stages[:-1]
    stay = said.ahead[np.arange(len(stages) - 1), 0, stages[:-1]]
    found = forecasts.auc(counts)[0]
    assert found[0] == pytest.approx(oracle.roc_auc_score(changes, 1 - stay), abs=2e-3)
    rows = [t for t in range(len(stages) - 10) if stages[t] != Stage.REM]
    came = [Stage.REM in stages[t + 1 : t + 11] for t in rows]
    assert found[2] == pytest.approx(oracle.roc_auc_score(came, said.soon[rows, 1]), abs=2e-3)
    brier = oracle.brier_score_loss(came, said.soon[rows, 1])
    # where it is known early that REM comes, the last epochs of the night count too
    assert forecasts.event_brier(counts)[0, 2] == pytest.approx(brier, abs=0.02)
    assert forecasts.skill(counts, counts)[0] == pytest.approx(np.zeros(N_HORIZONS))


def test_one_subject_has_no_interval() -> None:
    group = resampled(["a", "a"], [metrics.count(*night(seed)) for seed in (1, 2)])
    found = figure(metrics.kappa, group)
    assert found.low is None
    assert found.as_json()["interval"] is None
    assert found.text(2) == f"{found.value:.2f}"


def test_a_difference_is_taken_within_each_draw() -> None:
    nights = [metrics.count(*night(seed)) for seed in range(6)]
    group = resampled([str(i) for i in range(6)], nights)
    same = figure(lambda a, b: metrics.kappa(a) - metrics.kappa(b), group, group)
    assert same == Figure(0.0, 0.0, 0.0)


def test_the_order_of_nights_does_not_matter_and_the_draws_are_always_the_same() -> None:
    nights = [metrics.count(*night(seed)) for seed in range(5)]
    names = ["b", "a", "c", "a", "d"]
    there = figures(metrics.f1, resampled(names, nights))
    back = figures(metrics.f1, resampled(names[::-1], nights[::-1]))
    for a, b in zip(there, back, strict=True):
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high))


def test_auc_of_cases_is_scikit_learns_and_takes_the_better_direction_if_told() -> None:
    rng = np.random.default_rng(5)
    cases = rng.random(80) < 0.4
    score = np.round(rng.normal(size=80) - 0.6 * cases, 1)
    names = [str(i) for i in range(80)]
    expected = oracle.roc_auc_score(cases, score)
    assert disorder.auc(cases, score, names).value == pytest.approx(expected)
    either = disorder.auc(cases, score, names, either_way=True)
    assert either.value == pytest.approx(1 - expected)
    assert either.low is not None
    assert either.low <= either.value
