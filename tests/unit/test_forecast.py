import itertools

import numpy as np
import pytest

from sleepstream.messages import Stage
from sleepstream.stager.forecast import markov, reaches, stationary, transitions


def test_transitions_are_probabilities_and_stages_last():
    matrix = transitions()
    assert np.allclose(matrix.sum(axis=1), 1)
    assert (matrix.argmax(axis=1) == np.arange(5)).all()


def test_the_forecast_is_powers_of_the_transitions():
    matrix = transitions()
    now = np.array([0.1, 0.2, 0.4, 0.2, 0.1])
    rows, _, _ = markov(now, matrix)
    assert rows.shape == (20, 5)
    assert not rows.flags.writeable
    for k in (1, 2, 20):
        assert np.allclose(rows[k - 1], now @ np.linalg.matrix_power(matrix, k), atol=1e-6)


@pytest.mark.parametrize("stage", [Stage.W, Stage.REM])
def test_reaching_a_stage_is_the_sum_over_all_paths_that_visit_it(stage):
    matrix, now = transitions(), np.array([0.3, 0.1, 0.3, 0.1, 0.2])
    by_paths = 0.0
    for path in itertools.product(range(5), repeat=4):
        if stage in path[1:]:
            steps = [matrix[a, b] for a, b in itertools.pairwise(path)]
            by_paths += now[path[0]] * np.prod(steps)
    assert reaches(now, matrix, stage, n_epochs=3) == pytest.approx(by_paths)


def test_an_event_is_at_least_as_likely_as_any_epoch_of_it():
    rows, p_wake, p_rem = markov(np.eye(5)[Stage.N2], transitions())
    assert p_wake >= rows[:10, Stage.W].max()
    assert p_rem >= rows[:10, Stage.REM].max()


def test_being_in_a_stage_now_is_not_reaching_it():
    frozen_chain = np.eye(5)
    swapped = frozen_chain[[1, 0, 2, 3, 4]]
    assert reaches(np.eye(5)[Stage.W], swapped, Stage.W, n_epochs=1) == 0.0
    assert reaches(np.eye(5)[Stage.W], swapped, Stage.W, n_epochs=2) == 1.0


def test_the_chain_settles_where_it_stays():
    matrix = transitions()
    settled = stationary(matrix)
    assert settled.sum() == pytest.approx(1)
    assert np.allclose(settled @ matrix, settled)
