"""Fitting a disorder score: groups, snapshots, choice of hour, nested folds; the command itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sleepstream_training import recipes
from sleepstream_training.disorder import figures, tables
from sleepstream_training.disorder.cohort import Cohort, Reading, choose
from sleepstream_training.disorder.figures import Judged
from sleepstream_training.disorder.linear import (
    HOURS,
    TIMES,
    LinearCandidate,
    LinearLearner,
    Snapshots,
)
from sleepstream_training.disorder.nested import EITHER, Learners, Stopped, nested, recalibration
from sleepstream_training.disorder.recipe import ByAhi, ByDiagnosis, Recipe
from sleepstream_training.disorder.segments import SegmentTransformer
from sleepstream_training.nights import Night

from sleepstream.cli import cli
from sleepstream.errors import RecordingError
from sleepstream.messages import Stage
from sleepstream.stager import weights
from sleepstream.stager.disorder import (
    EPOCHS_PER_H,
    DisorderScorer,
    Meaning,
    architecture,
    load_scorer,
)

DATA = Path(__file__).parents[2].parent / "shared" / "data"
HAVE_DATA = (DATA / "hypnograms" / "nights.jsonl").is_file()


def hypnogram(rng: np.random.Generator, broken: float, hours: float = 4.0) -> np.ndarray:
    """Return a made-up night in which N2 gives way to N1 or W the more often, the more broken."""
    stages, stage = [], 2
    for _ in range(int(hours * EPOCHS_PER_H)):
        stay = {0: 0.4, 1: 0.4, 2: 0.95 - 0.5 * broken, 3: 0.97, 4: 0.95}[stage]
        if rng.random() > stay:
            stage = int(rng.choice(5, p=[0.2 * broken, 0.2 * broken, 0.4, 0.3, 0.3 - 0.4 * broken]))
        stages.append(stage)
    return np.array([2] * 6 + stages, dtype=np.int8)


def cohort(n: int = 40, between: int = 4, seed: int = 0) -> Cohort:
    rng = np.random.default_rng(seed)
    cases = np.array([i % 2 for i in range(n)] + [np.nan] * between, dtype=float)
    nights, readings = [], []
    for number, case in enumerate(cases):
        broken = 0.35 if np.isnan(case) else 0.1 + 0.5 * case
        stages = hypnogram(rng, broken)
        ahi = {0.0: 1.0, 1.0: 40.0}.get(case, 10.0 + number)
        sex, age = "FM"[number % 3 % 2], 50.0 + number % 7
        nights.append(Night(f"n{number}", f"s{number}", "lab", stages, ahi=ahi, age=age, sex=sex))
        n_segments = len(stages) // 20
        parts = stages[: n_segments * 20].reshape(n_segments, 20)
        states = np.stack([(parts == s).mean(axis=1) for s in range(5)], axis=1).astype(np.float32)
        readings.append(Reading(stages, states))
    return Cohort(nights, cases, [readings, readings])


def recipe(**changes: object) -> Recipe:
    small = {
        "groups.dataset": "lab",
        "model.strengths": [0.3],
        "model.replicates": 5,
        "validation.repeats": 1,
        "validation.folds": 3,
        "validation.inner_folds": 2,
        "segments.passes": [2],
    }
    return recipes.load("disorder", "apnoea", Recipe, small | changes)


def test_every_recipe_that_ships_can_be_read() -> None:
    assert set(recipes.names("disorder")) == {"apnoea", "cap"}
    for name in recipes.names("disorder"):
        found = recipes.load("disorder", name, Recipe)
        assert found.words.caution
        assert isinstance(found.groups, ByAhi if name == "apnoea" else ByDiagnosis)


def lab(ahis: tuple[float | None, ...], dataset: str = "lab") -> list[Night]:
    stages = np.zeros(3, np.int8)
    return [Night(f"{dataset}{n}", f"s{n}", dataset, stages, ahi=a) for n, a in enumerate(ahis)]


def test_groups_are_of_one_database_and_who_is_between_is_in_neither() -> None:
    nights = lab((0.0, 4.9, 5.0, 29.9, 30.0, 90.0, None)) + lab((0.0, 50.0), "other")
    found, cases = choose(nights, ByAhi("lab"))
    assert [night.ahi for night in found] == [0.0, 4.9, 5.0, 29.9, 30.0, 90.0]
    assert np.array_equal(cases, [0, 0, np.nan, np.nan, 1, 1], equal_nan=True)


def test_a_night_can_be_left_out_and_too_few_are_refused() -> None:
    nights = lab((0.0, 1.0, 40.0, 50.0))
    assert len(choose(nights, ByAhi("lab"))[0]) == 4
    with pytest.raises(RecordingError, match="2 with and 1 without"):
        choose(nights, ByAhi("lab", leave_out=("lab0",)))


def test_a_second_night_of_somebody_is_refused() -> None:
    twice = lab((0.0, 1.0, 40.0, 50.0, 60.0))
    twice[-1] = Night("again", "s0", "lab", twice[-1].stages, ahi=60.0)
    with pytest.raises(RecordingError, match="one night of each subject"):
        choose(twice, ByAhi("lab"))


def test_diagnoses_are_told_by_who_has_none() -> None:
    stages = np.zeros(3, np.int8)
    names = ("normal", "rbd", "plm", "normal", "")
    nights = [Night(str(n), str(n), "cap", stages, diagnosis=d) for n, d in enumerate(names)]
    assert choose(nights, ByDiagnosis("cap", none=("normal",)))[1].tolist() == [0, 1, 1, 0]


def test_snapshots_are_the_architecture_at_each_time() -> None:
    rng = np.random.default_rng(0)
    nights = [hypnogram(rng, 0.2, hours) for hours in (0.5, 2.2, 8.0)]
    snapshots = Snapshots(nights)
    assert snapshots.at(1).tolist()[0] == -1
    assert snapshots.at(3).tolist()[1] == -1
    expected = architecture(nights[2][: 3 * EPOCHS_PER_H].tolist())
    assert np.array_equal(snapshots.x[snapshots.at(3)[2]], expected)
    assert snapshots.hour.max() == HOURS[-1]
    assert snapshots.at("end")[2] == len(snapshots.x) - 1


def test_what_is_fitted_is_what_is_served() -> None:
    those = cohort()
    learner = LinearLearner(those)
    fitted = learner.fit(LinearCandidate(0.3, by_hour=True), those.grouped).calibrated(1.5, -0.2)
    arrays = {
        "mean": fitted.mean,
        "scale": fitted.scale,
        "coefficients": fitted.coefficients[:, None],
    }
    served = DisorderScorer(Meaning("x", "y", "z", ""), "0", arrays)
    for stage in those.nights[1].stages[: 2 * EPOCHS_PER_H]:
        served.step(Stage(int(stage)))
    logit = learner.predict(fitted, 0)[TIMES.index(2), 1]
    assert served.score.probability == pytest.approx(1 / (1 + np.exp(-logit)))


def test_a_night_counts_once_and_both_groups_weigh_the_same() -> None:
    those = cohort()
    few = LinearLearner(those)
    candidate = LinearCandidate(0.3, by_hour=False)
    twice = np.concatenate([those.grouped, those.grouped])
    one, other = few.fit(candidate, those.grouped), few.fit(candidate, twice)
    assert np.allclose(one.coefficients, other.coefficients, atol=1e-6)


def judged(seed: int = 0, n: int = 60) -> Judged:
    rng = np.random.default_rng(seed)
    cases = rng.random(n) < 0.4
    return Judged.of(rng.normal(0, 1, (1, n)) + 1.2 * cases, cases.astype(float))


def test_the_area_is_that_of_scikit_learn() -> None:
    found = judged()
    area = figures.auc(found)
    assert area.value == pytest.approx(roc_auc_score(found.cases, found.logits[0]))
    assert area.low < area.value < area.high


def test_the_calibration_is_that_of_scikit_learn() -> None:
    found = judged(1)
    slope, intercept = figures.calibration(found)
    model = LogisticRegression(C=np.inf, class_weight="balanced", max_iter=1000)
    model.fit(found.logits[0][:, None], found.cases)
    assert slope.value == pytest.approx(model.coef_[0, 0], abs=1e-2)
    assert intercept.value == pytest.approx(model.intercept_[0], abs=1e-2)


def test_recalibrated_logits_are_calibrated() -> None:
    found = judged(2, 400)
    slope, intercept = recalibration(3.0 * found.logits + 1.0, found.cases.astype(float))
    again = Judged(slope * (3.0 * found.logits + 1.0) + intercept, found.cases)
    assert figures.calibration(again)[0].value == pytest.approx(1.0, abs=0.02)
    assert figures.calibration(again)[1].value == pytest.approx(0.0, abs=0.02)


def test_a_score_gains_nothing_over_itself_and_something_over_noise() -> None:
    found = judged()
    assert figures.auc_gain(found, found).value == 0
    noise = Judged(np.random.default_rng(5).normal(size=found.logits.shape), found.cases)
    assert figures.auc_gain(found, noise).value > 0
    assert figures.loss_gain(found, noise).value > 0


def test_rank_correlation_looks_at_who_has_both() -> None:
    index = np.array([np.nan, *range(20)])
    logits = np.array([[3.0, *np.arange(20.0)]])
    assert figures.rank_correlation(logits, index).value == pytest.approx(1.0)
    assert np.isnan(figures.rank_correlation(logits[:, :3], index[:3]).value)


@pytest.mark.parametrize(
    ("lows", "hour"),
    [
        ({1: 0.7, 2: 0.7}, 1),
        ({1: 0.7, 2: 0.6, 3: 0.7, 4: 0.8}, 3),
        ({1: 0.7, 2: 0.65}, None),
        ({}, None),
    ],
)
def test_it_speaks_from_where_the_lower_end_stays_above(lows: dict, hour: int | None) -> None:
    assert tables.speaks_from(lows, 0.65) == hour


def test_attention_adds_up_to_one_and_ends_with_the_night() -> None:
    torch.manual_seed(0)
    network = SegmentTransformer(5, recipe().segments).eval()
    states, there = torch.randn(2, 9, 5), torch.ones(2, 9, dtype=torch.bool)
    there[1, 4:] = False
    with torch.inference_mode():
        logits, attention = network(states, there)
        alone, _ = network(states[1:, :4], there[1:, :4])
    assert torch.allclose(attention.sum(dim=1), torch.ones(2))
    assert float(attention[1, 4:].abs().max()) == 0
    assert torch.allclose(logits[1], alone[0], atol=1e-6)


def test_the_nested_folds_judge_everybody_once_and_go_on_where_they_stopped(tmp_path) -> None:
    those, wanted = cohort(), recipe()
    learners, done = Learners(those, wanted), []
    with pytest.raises(Stopped):
        nested(
            those,
            learners,
            wanted,
            tmp_path,
            on_fold=lambda n, of: done.append((n, of)),
            stop=lambda: len(done) == 2,
        )
    assert done == [(1, 3), (2, 3)]
    kept = (tmp_path / "fold-0-0.npz").stat().st_mtime_ns
    outcome = nested(those, learners, wanted, tmp_path, on_fold=lambda *_: None, stop=lambda: False)
    assert (tmp_path / "fold-0-0.npz").stat().st_mtime_ns == kept
    assert list(outcome.logits) == ["features, logistic", "decoder states, transformer", EITHER]
    logits = outcome.logits["features, logistic"]
    assert logits.shape == (1, 2, len(TIMES), 44)
    assert np.isfinite(logits[:, :, : TIMES.index(4) + 1]).all()
    assert np.isnan(logits[:, :, TIMES.index(5)]).all()
    three = figures.auc(Judged.of(logits[:, 0, TIMES.index(3)], those.cases))
    assert three.value > 0.9
    for table in (
        tables.by_time(those, outcome),
        tables.calibration(those, outcome),
        tables.controls(those, outcome, 0),
        tables.middle(those, outcome),
        tables.other_architecture(those, outcome),
    ):
        assert table is not None
        assert table.markdown()


def test_no_night_that_is_judged_was_learned_from(tmp_path) -> None:
    those, wanted = cohort(), recipe(**{"segments.compare": False})
    asked: list[set[int]] = []

    class Watched(Learners):
        def learn(self, candidate, nights):
            asked.append(set(nights.tolist()))
            return super().learn(candidate, nights)

    outcome = nested(
        those,
        Watched(those, wanted),
        wanted,
        tmp_path,
        on_fold=lambda *_: None,
        stop=lambda: False,
    )
    between = set(np.flatnonzero(np.isnan(those.cases)).tolist())
    assert all(not learned & between for learned in asked)
    assert list(outcome.logits) == ["features, logistic"]


def interrupted(rng: np.random.Generator, share: float) -> np.ndarray:
    """Return three cycles of a calm night, a share of its epochs taken by N1 or W."""
    cycle = [2] * 30 + [3] * 40 + [2] * 40 + [4] * 40
    stages = np.array([2] * 6 + cycle * 3, dtype=np.int8)
    taken = np.flatnonzero(rng.random(len(stages)) < share)
    taken = taken[taken >= 6]
    stages[taken] = rng.choice([0, 1], len(taken), p=[0.4, 0.6])
    return stages


def test_the_apnoea_score_rises_as_a_night_breaks_up() -> None:
    scorer = load_scorer("apnoea")
    found = []
    for share in (0.0, 0.1, 0.2, 0.4):
        scorer.reset()
        for stage in interrupted(np.random.default_rng(1), share):
            score = scorer.step(Stage(int(stage)))
        assert score.probability is not None
        found.append(score.probability)
    assert found == sorted(found)
    assert found[0] < 0.5 < found[-1]


@pytest.mark.parametrize("name", ["apnoea", "cap"])
def test_what_ships_says_what_it_is(name: str) -> None:
    model = weights.find(name, "disorder")
    assert model.description["trained_on"]
    assert "Not a diagnosis" in model.card
    assert "{" not in model.card
    DisorderScorer.load(model)


@pytest.mark.data
@pytest.mark.skipif(not HAVE_DATA, reason=f"no hypnograms in {DATA}")
def test_the_command_fits_a_score_on_a_few_nights(tmp_path: Path) -> None:
    few_data(tmp_path / "data")
    command = [
        *["train", "disorder", "--recipe", "apnoea", "--data", str(tmp_path / "data")],
        *["--out", str(tmp_path / "mine"), "--work", str(tmp_path / "work"), "--seed", "3"],
        *["--set", "validation.repeats=1", "--set", "validation.folds=2", "--set"],
        *["validation.inner_folds=2", "--set", "validation.level=0.0", "--set"],
        *["model.strengths=[1.0]", "--set", "model.replicates=3", "--set", "reading.decoded=1"],
        *["--set", "segments.passes=[1]"],
    ]
    result = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    model = weights.find(str(tmp_path / "mine"), "disorder")
    assert len(model.description["trained_on"]["physionet2018"]) == 16
    assert "seed 3" in model.card
    assert "{" not in model.card
    assert "decoder states, transformer" in model.card
    DisorderScorer.load(model)


def few_data(folder: Path) -> None:
    """Make a data folder of eight nights of each group, and of few epochs with features."""
    lines = (DATA / "hypnograms" / "nights.jsonl").read_text(encoding="utf-8").splitlines()
    chosen: dict[str, list[str]] = {"severe": [], "none": [], "sleep-edf": []}
    for text in lines:
        line = json.loads(text)
        ahi = line.get("ahi")
        group = "sleep-edf" if line["dataset"] == "sleep-edf-sc" else ""
        if ahi is not None and not 5 <= ahi < 30:
            group = "severe" if ahi >= 30 else "none"
        if group and len(chosen[group]) < 8:
            chosen[group].append(text)
    (folder / "hypnograms").mkdir(parents=True)
    kept = "\n".join(text for texts in chosen.values() for text in texts)
    (folder / "hypnograms" / "nights.jsonl").write_text(kept, encoding="utf-8")
    with np.load(DATA / "sleep_edf_features" / "fpzcz_34.npz") as file:
        subjects = list(dict.fromkeys(file["subject"].tolist()))[:8]
        rows = np.flatnonzero(np.isin(file["subject"], subjects))[::8]
        arrays = {key: file[key][rows] for key in ("x", "y", "record", "subject")}
    (folder / "sleep_edf_features").mkdir()
    np.savez(folder / "sleep_edf_features" / "fpzcz_34.npz", **arrays)
