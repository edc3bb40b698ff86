"""What follows is what is learned and what is judged: labels are shifted once, and once only.

The night here goes W N1 N2 N3 REM W …: after each stage comes one certain next stage, another one
after that, and so on, so that a label that was shifted twice, or not at all, is another stage.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from sleepstream_training.decoder.batches import Tokens, batch, coming, following
from sleepstream_training.decoder.fit import loss_of
from sleepstream_training.evaluation import forecasting, forecasts
from sleepstream_training.evaluation.forecasts import Predictions
from sleepstream_training.evaluation.methods import (
    Markov,
    Persistence,
    RunLengths,
    baselines,
    hard,
    run_gpt,
)
from sleepstream_training.nights import Night

from sleepstream.messages import N_HORIZONS, N_STAGES, Stage
from sleepstream.stager import context
from sleepstream.stager.decoder import GptDecoder, SleepGptDecoder
from sleepstream.stager.gpt import Gpt, GptShape
from sleepstream.stager.sleepgpt import STAGES_AHEAD, SleepGpt

CPU = torch.device("cpu")
STAGES = np.arange(60) % N_STAGES
EYE = np.eye(N_STAGES)
IntArray = npt.NDArray[np.int64]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def after(stages: IntArray, steps: int) -> IntArray:
    return (stages + steps) % N_STAGES


def tokens() -> Tokens:
    return Tokens(EYE[STAGES], np.ones(len(STAGES), dtype=bool), STAGES, soft=True)


@pytest.fixture(scope="module")
def learned() -> Gpt:
    """A small network that was trained on the periodic night with the training's own batches."""
    torch.manual_seed(0)
    gpt = Gpt(GptShape(n_inputs=context.N_INPUTS, width=32, n_layers=1, n_heads=2))
    optimizer = torch.optim.AdamW(gpt.parameters(), lr=1e-2)
    night = batch([tokens()])
    for _ in range(60):
        optimizer.zero_grad()
        loss_of(gpt, night, 1.0).backward()
        optimizer.step()
    return gpt.eval()


def test_a_training_batch_holds_the_next_stages() -> None:
    night = batch([tokens()])
    np.testing.assert_array_equal(night.now[0], STAGES)
    for k in range(1, N_HORIZONS + 1):
        ahead = night.ahead[0, :, k - 1]
        np.testing.assert_array_equal(ahead[:-k], after(STAGES, k)[:-k])
        assert (ahead[-k:] == -1).all()


def test_what_the_training_teaches_is_the_next_stage(learned: Gpt) -> None:
    said = run_gpt(learned, tokens()).ahead
    for k in (1, 2, 4):
        np.testing.assert_array_equal(said[10:, k - 1].argmax(axis=1), after(STAGES, k)[10:])


def test_what_is_served_is_the_next_stage(learned: Gpt) -> None:
    decoder = GptDecoder(learned, CPU, "periodic", "0")
    for t, stage in enumerate(STAGES):
        said = decoder.step(EYE[stage].astype(np.float32))
        if t >= 10:
            assert said.forecast[0].argmax() == after(stage, 1)
            assert said.forecast[1].argmax() == after(stage, 2)


def test_the_evaluation_asks_for_the_next_stage() -> None:
    def loss(shift: int) -> npt.NDArray[np.float64]:
        ahead = np.stack([EYE[after(STAGES, k + shift)] for k in range(1, N_HORIZONS + 1)], axis=1)
        said = Predictions(EYE[STAGES], ahead, np.zeros((len(STAGES), 2)))
        group = forecasting.grouped(["one"], {"it": [forecasts.count(STAGES, said)]})["it"]
        return np.asarray(forecasts.log_loss(group.whole)[0])

    np.testing.assert_allclose(loss(0), 0.0, atol=1e-6)
    assert (loss(1) > 10).all()
    assert (loss(-1) > 10).all()


@pytest.mark.parametrize("fitted", [Markov.fitted, RunLengths])
def test_baselines_learn_the_next_stage(fitted: type[RunLengths]) -> None:
    said = fitted([np.tile(STAGES, 50)])(tokens())
    for k in (1, 2, 4):
        np.testing.assert_array_equal(said.ahead[6:, k - 1].argmax(axis=1), after(STAGES, k)[6:])


def test_persistence_says_that_nothing_changes_and_how_surely() -> None:
    said = Persistence.fitted([np.repeat(STAGES, 4)])(tokens())
    np.testing.assert_array_equal(said.ahead[:, 0].argmax(axis=1), STAGES)
    assert said.ahead[0, 0].max() == pytest.approx(3 / 4, abs=0.02)


def test_baselines_without_training_nights_are_those_that_ship() -> None:
    assert list(baselines([])) == ["persistence", "Markov"]
    night = Night("a", "a", "own", STAGES)
    assert list(baselines([night])) == ["persistence", "Markov", "run lengths"]
    rows = baselines([])["persistence"]([hard(night)])[0].ahead
    np.testing.assert_allclose(rows.sum(axis=-1), 1.0)


def test_events_are_known_only_when_all_ten_epochs_are() -> None:
    quiet = np.full(30, Stage.N2)
    quiet[12] = Stage.REM
    quiet[25] = -1
    soon = coming(following(quiet))
    assert soon[:12, 1].tolist() == [0, 0] + [1] * 10
    assert soon[14, 1] == 0  # epochs 15 to 24 are scored, and none is REM
    assert soon[15, 1] == -1  # epoch 25 is not


def sleepgpt_taught(ahead: int) -> SleepGpt:
    """Teach a small SleepGPT the periodic night with its labels so many epochs ahead."""
    torch.manual_seed(0)
    network = SleepGpt(context=20, width=24, n_layers=1, n_heads=2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-2)
    stages = torch.tensor(np.stack([STAGES[i : i + 20] for i in range(N_STAGES)]))
    for _ in range(60):
        optimizer.zero_grad()
        logits = network(stages).flatten(0, 1)
        F.cross_entropy(logits, ((stages + ahead) % N_STAGES).flatten()).backward()
        optimizer.step()
    return network.eval()


@pytest.mark.parametrize(("ahead", "right"), [(2, True), (1, False)])
def test_an_imported_sleepgpt_is_read_as_the_stage_after_the_next(ahead: int, right: bool) -> None:
    assert STAGES_AHEAD == 2
    decoder = SleepGptDecoder(sleepgpt_taught(ahead), 0.2, CPU, "periodic", "0")
    for stage in STAGES[:30]:
        decoder.step((0.96 * EYE[stage] + 0.008).astype(np.float32))
    unsure = np.full(N_STAGES, 1 / N_STAGES, dtype=np.float32)
    # an encoder that knows nothing leaves the word to what was predicted two epochs ago
    assert bool(decoder.step(unsure).probs.argmax() == STAGES[30]) is right
