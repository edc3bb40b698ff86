"""The overnight score looks back only, and is the same however the night arrived."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepstream.messages import DisorderScore, Stage
from sleepstream.stager.disorder import (
    EPOCHS_PER_H,
    N_FEATURES,
    DisorderScorer,
    Meaning,
    architecture,
    sleep_onset,
    standardised,
)

STAGES: list[Stage | None] = [*Stage, None]
N_HOURS = 2


@st.composite
def nights(draw) -> list[Stage | None]:
    """Draw a night of bouts that begins with sleep and lasts about an hour or longer."""
    bouts = draw(
        st.lists(st.tuples(st.sampled_from(STAGES), st.integers(1, 60)), min_size=1, max_size=12)
    )
    return [Stage.N2] * 110 + [stage for stage, length in bouts for _ in range(length)]


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "mean": rng.normal(0, 1, (N_HOURS, N_FEATURES)),
        "scale": rng.uniform(0.5, 2, (N_HOURS, N_FEATURES)),
        "coefficients": rng.normal(0, 0.1, (N_HOURS, 4, N_FEATURES + 1)),
    }


def scorer() -> DisorderScorer:
    return DisorderScorer(Meaning("a", "b", "c", "d"), "0" * 64, tensors())


def said(night: list[Stage | None], subject: DisorderScorer) -> list[DisorderScore]:
    subject.reset()
    return [subject.step(stage) for stage in night]


@settings(max_examples=25, deadline=None)
@given(nights(), nights(), st.integers(0, 200))
def test_what_comes_later_changes_nothing(night, other, cut):
    subject = scorer()
    part = night[:cut]
    assert said(part + other, subject)[: len(part)] == said(night, subject)[: len(part)]


@settings(max_examples=25, deadline=None)
@given(nights())
def test_epoch_by_epoch_is_the_same_as_the_whole_night_at_once(night):
    subject = scorer()
    score = said(night, subject)[-1]
    stages = [-1 if stage is None else int(stage) for stage in night]
    since = stages[sleep_onset(stages) :]
    if score.probability is None:
        return
    row = min(len(since) // EPOCHS_PER_H, N_HOURS) - 1
    mean, scale, weights = (tensors()[key][row] for key in ("mean", "scale", "coefficients"))
    z = np.append(standardised(architecture(since), mean, scale), 1.0)
    assert np.isclose(score.probability, 1 / (1 + np.exp(-weights[0] @ z)), rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(nights(), st.integers(0, 40))
def test_lying_awake_first_changes_nothing(night, minutes):
    """Time to sleep onset is no part of the score: it says more of the laboratory."""
    subject = scorer()
    assert said(night, subject)[-1] == said([Stage.W] * minutes + night, subject)[-1]


@settings(max_examples=25, deadline=None)
@given(nights(), st.data())
def test_unscorable_epochs_move_only_the_hours(night, data):
    stages = [int(stage) for stage in night if stage is not None]
    with_holes = list(stages)
    for _ in range(data.draw(st.integers(1, 5))):
        with_holes.insert(data.draw(st.integers(0, len(with_holes))), -1)
    assert np.array_equal(architecture(stages)[1:], architecture(with_holes)[1:])
