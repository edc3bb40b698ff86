import numpy as np
import pytest
import torch

from sleepstream.errors import ModelError
from sleepstream.messages import DisorderScore, Stage
from sleepstream.stager import weights
from sleepstream.stager.disorder import (
    ARCH,
    EPOCHS_PER_H,
    FARTHEST,
    N_FEATURES,
    NO_SCORE,
    DisorderScorer,
    Meaning,
    architecture,
    load_scorer,
    sleep_onset,
)

N_REPLICATES = 20
WORDS = {
    "speaks_of": "sleep",
    "resembles": "these people",
    "rather_than": "those",
    "caution": "They are rare.",
}


def tensors(n_hours: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "mean": np.zeros((n_hours, N_FEATURES), dtype=np.float32),
        "scale": np.ones((n_hours, N_FEATURES), dtype=np.float32),
        "coefficients": rng.normal(0, 0.05, (n_hours, 1 + N_REPLICATES, N_FEATURES + 1)).astype(
            np.float32
        ),
    }


def scorer(first_hour: int = 1, **changes: np.ndarray) -> DisorderScorer:
    meaning = Meaning(**WORDS, first_hour=first_hour)
    return DisorderScorer(meaning, "0" * 64, tensors() | changes)


def after(stages: list[Stage | None], subject: DisorderScorer | None = None) -> DisorderScore:
    subject = subject or scorer()
    for stage in stages:
        score = subject.step(stage)
    return score


def test_sleep_begins_with_three_minutes_of_it():
    assert sleep_onset([0, 0, 2, 2, 2, 2, 2]) is None
    assert sleep_onset([0, 1, 0, 1, 2, 2, 2, 3, 4, 0]) == 3
    assert sleep_onset([1, 1, 1, -1, 1, 1, 1, 1, 1, 1]) == 4


def test_no_sleep_no_score():
    score = after([Stage.W] * 300)
    assert (score.probability, score.interval) == (None, None)
    assert score.statement == "No score: no sleep yet; it speaks from 1 h after sleep onset."


def test_before_the_first_epoch_there_is_a_statement_too():
    assert scorer().score == after([Stage.W])


def test_it_speaks_from_an_hour_after_sleep_onset():
    subject = scorer()
    assert after([Stage.W] * 50 + [Stage.N2] * (EPOCHS_PER_H - 1), subject).probability is None
    assert "59 min ago" in subject.score.statement
    score = subject.step(Stage.N2)
    assert score.probability is not None
    assert score is subject.score


def test_the_statement_says_what_is_compared_and_that_it_is_no_diagnosis():
    score = after([Stage.N2] * 150)
    assert score.name == "sleep"
    assert score.statement == (
        "Research score, not a diagnosis: 1.2 h after sleep onset the stages resemble those of "
        f"these people rather than those, with probability {score.probability:.0%} if both were "
        "equally common. They are rare."
    )


def test_a_score_may_speak_later():
    subject = scorer(first_hour=2)
    assert after([Stage.N2] * (2 * EPOCHS_PER_H - 1), subject).probability is None
    assert "speaks from 2 h after sleep onset" in subject.score.statement
    assert subject.step(Stage.N2).probability is not None


def test_nobody_need_have_a_score():
    subject = load_scorer(NO_SCORE)
    assert subject.step(Stage.N2) == DisorderScore(
        "none", None, None, "No score: none was asked for."
    )
    subject.reset()
    assert subject.score.probability is None


def test_a_hypnogram_scored_by_hand_is_calibrated_for_itself():
    meaning = Meaning(**WORDS, by_hand=(1.5, -0.3))
    served = DisorderScorer(meaning, "0", tensors())
    by_hand = DisorderScorer(meaning, "0", tensors(), by_hand=True)
    night = [Stage.N2, Stage.N2, Stage.N3, Stage.REM] * 100
    one, other = (after(night, subject).probability for subject in (served, by_hand))
    logits = np.log(np.array([one, other]) / (1 - np.array([one, other])))
    assert logits[1] == pytest.approx(1.5 * logits[0] - 0.3)


def test_what_no_training_night_was_like_moves_the_score_only_so_far():
    slope = np.zeros((2, 1, N_FEATURES + 1))
    slope[:, :, 1] = 1.0  # the share of W, whose scale says that nobody is ever awake
    far = scorer(coefficients=slope, scale=np.full((2, N_FEATURES), 1e-6))
    score = after([Stage.N2, Stage.W] * 90 + [Stage.N2] * 20, far)
    assert score.probability is None  # no six epochs of sleep in a row until the end
    score = after([Stage.N2] * 100 + [Stage.W] * 50, far)
    assert score.probability == pytest.approx(1 / (1 + np.exp(-FARTHEST)))


def test_the_interval_holds_the_probability():
    rng = np.random.default_rng(1)
    subject = scorer()
    for _ in range(600):
        score = subject.step(Stage(int(rng.choice(5, p=[0.1, 0.1, 0.5, 0.1, 0.2]))))
        if score.probability is not None:
            low, high = score.interval
            assert 0 <= low <= score.probability <= high <= 1
    assert score.probability is not None


def test_too_much_unscorable_silences_it():
    night = ([Stage.N2] * 6 + [None] * 4) * 20
    score = after(night)
    assert score.probability is None
    assert score.statement.startswith("No score: 40% of the epochs since sleep onset")


def test_hours_of_wake_silence_it():
    score = after([Stage.N2] * 30 + [Stage.W] * 300)
    assert score.probability is None
    assert "only 9% of the time since sleep onset is sleep" in score.statement


def test_the_hour_chooses_the_model():
    subject = scorer()
    changed = tensors()["coefficients"]
    changed[1] += 1.0
    other = scorer(coefficients=changed)
    night = [Stage.N2, Stage.N2, Stage.N3, Stage.REM] * 100
    for index, stage in enumerate(night):
        same = subject.step(stage).probability == other.step(stage).probability
        assert same == (index + 1 < 2 * EPOCHS_PER_H)


def test_a_reset_forgets_the_night():
    subject = scorer()
    after([Stage.N2] * 200, subject)
    subject.reset()
    assert subject.score == scorer().score
    assert after([Stage.N3] * 150, subject) == after([Stage.N3] * 150)


def test_architecture_counts_what_it_says():
    # an hour: 40 epochs each of N2, W and N2
    features = architecture([2] * 40 + [0] * 40 + [2] * 40)
    hours, shares, rates = features[0], features[1:5], features[5:9]
    assert hours == 1.0
    assert np.allclose(shares, [1 / 3, 0, 2 / 3, 0])
    assert np.allclose(rates, [2, 1, 0, 0])
    assert np.allclose(features[9:15], np.log1p([40, 0, 40, 0, 0, 40]) * [1, 0, 1, 0, 0, 1])
    assert np.allclose(features[15:17], np.log1p([120, 120]))
    assert features.shape == (N_FEATURES,)


def test_unscorable_epochs_do_not_count_as_shifts():
    assert architecture([2, 2, -1, 2, 2])[5] == 0


def saved(folder, **changes) -> weights.ModelFiles:
    described = {"kind": "disorder", "arch": ARCH, "options": WORDS, **changes}
    arrays = described.pop("arrays", tensors())
    return weights.save_model(
        folder,
        tensors={name: torch.from_numpy(array) for name, array in arrays.items()},
        card="# a test",
        **described,
    )


def test_a_saved_score_is_loaded(tmp_path):
    model = saved(tmp_path / "mine")
    subject = DisorderScorer.load(model)
    assert (subject.meaning, subject.sha256) == (Meaning(**WORDS), model.fingerprint)
    assert after([Stage.N2] * 130, subject).probability == after([Stage.N2] * 130).probability


@pytest.mark.parametrize(
    "changes",
    [
        {"arch": "forest"},
        {"arrays": {"mean": np.zeros((2, 3), dtype=np.float32)}},
        {"arrays": {**tensors(), "mean": np.zeros((2, 3), dtype=np.float32)}},
        {"arrays": {**tensors(), "coefficients": np.zeros((2, 3), dtype=np.float32)}},
        {"arrays": {**tensors(), "scale": np.zeros((2, N_FEATURES), dtype=np.float32)}},
        {"arrays": {**tensors(), "mean": np.full((2, N_FEATURES), np.nan, dtype=np.float32)}},
        {"options": {"speaks_of": "sleep"}},
        {"options": {**WORDS, "first_hour": "late"}},
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, changes):
    with pytest.raises(ModelError, match="disorder score of arch"):
        DisorderScorer.load(saved(tmp_path / "odd", **changes))


def test_the_shipped_score_tells_a_broken_night_from_a_whole_one():
    subject = DisorderScorer.load(weights.find("apnoea", "disorder"))
    cycle = [Stage.N2] * 30 + [Stage.N3] * 60 + [Stage.N2] * 40 + [Stage.REM] * 50
    whole = after(cycle * 3, subject)
    subject.reset()
    broken = after([Stage.N1] * 6 + [Stage.N2, Stage.N1, Stage.N2, Stage.W] * 130, subject)
    assert whole.probability is not None
    assert broken.probability is not None
    assert whole.probability < 0.5 < broken.probability
