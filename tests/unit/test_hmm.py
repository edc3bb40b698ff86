"""The HMM filter is the forward algorithm, and its forecast is the chain's."""

from itertools import pairwise, product

import numpy as np
import pytest

from sleepstream.errors import ModelError
from sleepstream.messages import Stage
from sleepstream.stager import weights
from sleepstream.stager.decoders import load_decoder
from sleepstream.stager.forecast import markov, stationary, transitions
from sleepstream.stager.hmm import HmmDecoder

N2 = np.array([0.02, 0.08, 0.8, 0.05, 0.05], dtype=np.float32)


def night(n_epochs: int, seed: int = 0) -> list[np.ndarray | None]:
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.full(5, 0.5), n_epochs).astype(np.float32)
    return [None if rng.random() < 0.2 else row for row in rows]


def by_all_paths(rows: list[np.ndarray | None], prior_power: float) -> np.ndarray:
    """Bayes' rule over every sequence of stages, for a few epochs."""
    matrix = transitions()
    start = stationary(matrix)
    total = np.zeros(5)
    for path in product(range(5), repeat=len(rows)):
        weight = start[path[0]]
        for before, after in pairwise(path):
            weight *= matrix[before, after]
        for stage, row in zip(path, rows, strict=True):
            weight *= 1.0 if row is None else row[stage] / start[stage] ** prior_power
        total[path[-1]] += weight
    return total / total.sum()


@pytest.mark.parametrize("prior_power", [0.0, 0.5, 1.0])
def test_it_says_what_every_path_together_says(prior_power):
    rows = night(5)
    decoder = HmmDecoder(prior_power)
    for n, row in enumerate(rows, start=1):
        said = decoder.step(row).probs
        assert np.allclose(said, by_all_paths(rows[:n], prior_power), atol=1e-6)


def test_behind_a_calibrated_encoder_of_independent_epochs_the_whole_prior_is_right():
    rng = np.random.default_rng(0)
    matrix = transitions()
    prior = stationary(matrix)
    # what is seen of a stage is one of five symbols; the encoder knows how often each comes
    seen_in = 0.6 * np.eye(5) + 0.08
    stage, stages, rows = 0, [], []
    for _ in range(1500):
        stage = rng.choice(5, p=matrix[stage])
        symbol = rng.choice(5, p=seen_in[stage])
        stages.append(stage)
        rows.append(prior * seen_in[:, symbol] / (prior @ seen_in[:, symbol]))

    def surprise(prior_power: float) -> float:
        decoder = HmmDecoder(prior_power)
        said = [decoder.step(row).probs[s] for row, s in zip(rows, stages, strict=True)]
        return float(-np.log(said).mean())

    assert surprise(1.0) < min(surprise(0.5), surprise(0.0))


def test_an_encoder_that_knows_nothing_moves_the_belief_along_the_chain():
    decoder = HmmDecoder(prior_power=1.0)
    before = decoder.step(N2).probs
    know_nothing = stationary(transitions()).astype(np.float32)
    assert np.allclose(decoder.step(know_nothing).probs, before @ transitions(), atol=1e-6)


def test_time_goes_on_over_an_unscorable_epoch():
    decoder = HmmDecoder()
    before = decoder.step(N2).probs
    decoder.step(None)
    expected = before @ np.linalg.matrix_power(transitions(), 2)
    assert np.allclose(decoder.step(None).probs, expected, atol=1e-6)


def test_the_forecast_is_the_chains_from_the_filtered_stage():
    decoder = HmmDecoder()
    for row in night(20):
        said = decoder.step(row)
    rows, p_wake, p_rem = markov(said.probs, transitions())
    assert np.allclose(said.forecast, rows, atol=1e-6)
    assert said.p_wake_5min == pytest.approx(p_wake, abs=1e-6)
    assert said.p_rem_5min == pytest.approx(p_rem, abs=1e-6)
    assert not said.probs.flags.writeable


def test_a_peek_leaves_no_trace_and_a_reset_forgets():
    plain, peeking = HmmDecoder(), HmmDecoder()
    for row in night(30):
        peeking.peek(N2)
        peeking.peek(None)
        foreseen = peeking.peek(row).probs
        said = peeking.step(row).probs
        assert np.array_equal(said, foreseen)
        assert np.array_equal(said, plain.step(row).probs)
    peeking.reset()
    assert np.array_equal(peeking.step(N2).probs, HmmDecoder().step(N2).probs)


def test_certainty_that_contradicts_itself_is_survived():
    decoder = HmmDecoder()
    rows = np.eye(5, dtype=np.float32)
    for stage in (Stage.W, Stage.N3, Stage.REM, Stage.N3, Stage.W):
        said = decoder.step(rows[stage]).probs
        assert said.sum() == pytest.approx(1, abs=1e-6)
        assert said.argmax() == stage


def test_another_prior_is_another_model():
    assert HmmDecoder(0.5).sha256 == HmmDecoder(0.5).sha256 != HmmDecoder(0.6).sha256


@pytest.mark.parametrize("options", ["prior_power = 2.0", "prior_power = 'half'", "depth = 3"])
def test_options_that_make_no_sense_are_refused(tmp_path, options):
    folder = tmp_path / "odd"
    folder.mkdir()
    text = f"kind = 'decoder'\narch = 'hmm'\nsha256 = ''\n[options]\n{options}\n"
    (folder / "model.toml").write_text(text)
    with pytest.raises(ModelError, match="options of a 'hmm' decoder"):
        load_decoder(weights.find(str(folder)), None)
