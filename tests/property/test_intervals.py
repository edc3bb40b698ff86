"""An interval holds its figure, whatever was counted and of whom."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sleepstream_training.evaluation import metrics
from sleepstream_training.evaluation.intervals import figure, figures, resampled

from sleepstream.messages import N_STAGES

STATISTICS = (metrics.accuracy, metrics.kappa, metrics.macro_f1, metrics.nll, metrics.ece)
PER_STAGE = (metrics.f1, metrics.recall, metrics.ece_by_stage, metrics.accuracy_at)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(0, 40), min_size=2, max_size=6),
    n_subjects=st.integers(2, 6),
    skill=st.floats(0, 5),
)
def test_the_interval_holds_the_figure(
    seed: int, sizes: list[int], n_subjects: int, skill: float
) -> None:
    rng = np.random.default_rng(seed)
    nights, subjects = [], []
    for number, n in enumerate(sizes):
        stages = rng.integers(-1, N_STAGES, n)
        logits = rng.normal(size=(n, N_STAGES)) + skill * np.eye(N_STAGES)[np.maximum(stages, 0)]
        probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        nights.append(metrics.count(stages, probs))
        subjects.append(f"s{number % n_subjects}")
    group = resampled(subjects, nights)
    found = [figure(statistic, group) for statistic in STATISTICS]
    for found_figure in found + [f for each in PER_STAGE for f in figures(each, group)]:
        if found_figure.low is not None and found_figure.high is not None:
            assert found_figure.low <= found_figure.value <= found_figure.high
