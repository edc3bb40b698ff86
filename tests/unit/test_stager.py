import numpy as np
import pytest
import torch

from sleepstream.messages import Epoch, Quality, Stage, frozen
from sleepstream.stager.decoder import NoDecoder
from sleepstream.stager.disorder import N_FEATURES, DisorderScorer, Meaning
from sleepstream.stager.encoder import EncoderOutput
from sleepstream.stager.stager import Stager


class Reader:
    """An encoder that reads the stage off the first sample and counts what it committed."""

    name = "reader"

    def __init__(self, sha256: str = "e" * 64) -> None:
        self.sha256 = sha256
        self.reset()

    def step(self, data):
        self.n_steps += 1
        return self.peek(data)

    def peek(self, data):
        return EncoderOutput(probs=frozen(0.1 + 0.5 * np.eye(5)[int(data[0, 0])]))

    def skip(self):
        self.n_skipped += 1

    def reset(self):
        self.n_steps = self.n_skipped = 0


def scorer(sha256: str = "d" * 64) -> DisorderScorer:
    tensors = {
        "mean": np.zeros((1, N_FEATURES)),
        "scale": np.ones((1, N_FEATURES)),
        "coefficients": np.zeros((1, 3, N_FEATURES + 1)),
    }
    return DisorderScorer(Meaning("something", "these", "those", ""), sha256, tensors)


def stager(**hashes) -> Stager:
    return Stager(Reader(**hashes), NoDecoder(), scorer(), "left")


def epoch(index: int, stage: int = 2, **changes) -> Epoch:
    data = np.full((1, 3000), stage, dtype=np.float32)
    fields = {"valid": 1.0, "quality": Quality(0.9, ("mains",)), **changes}
    return Epoch(index, 30.0 * index, 30.0 * index + 30, data, **fields)


def test_a_scorable_epoch_gets_a_stage():
    said = stager().step(epoch(0, Stage.N3))
    assert (said.bed, said.epoch, said.onset_s, said.end_s) == ("left", 0, 0.0, 30.0)
    assert said.stage is Stage.N3
    assert said.confidence == pytest.approx(0.6)
    assert np.array_equal(said.probs, said.encoder_probs)
    assert said.quality == Quality(0.9, ("mains",))
    assert said.final
    assert said.forecast.shape == (20, 5)
    assert said.disorder.probability is None


def test_an_unscorable_epoch_gets_what_the_decoder_believes():
    subject = stager()
    subject.step(epoch(0, Stage.N3))
    said = subject.step(epoch(1, scorable=False, valid=0.2))
    assert said.stage is None
    assert said.encoder_probs is None
    assert said.confidence == 0.0
    assert said.probs.argmax() == Stage.N3
    assert said.valid == 0.2


def test_a_peek_is_provisional_and_leaves_no_trace():
    plain, peeking = stager(), stager()
    for index in range(5):
        said = peeking.peek(epoch(index, 4, final=False))
        assert said.stage is Stage.REM
        assert not said.final
        peeking.peek(epoch(index, scorable=False, final=False))
        one, other = plain.step(epoch(index, index)), peeking.step(epoch(index, index))
        assert one.as_json() == other.as_json()


@pytest.mark.parametrize("index", [0, 2, 7])
def test_an_epoch_out_of_order_is_refused_before_anything_moves(index):
    subject = stager()
    subject.step(epoch(0))
    with pytest.raises(ValueError, match=f"epoch 1 comes next, not {index}"):
        subject.step(epoch(index))
    assert subject.step(epoch(1)).epoch == 1


def test_a_reset_begins_another_night():
    subject = stager()
    first = subject.step(epoch(0)).as_json()
    subject.step(epoch(1, 4))
    subject.reset()
    assert subject.step(epoch(0)).as_json() == first


def test_the_model_hash_stands_for_all_three():
    assert stager().model == stager().model
    assert len(stager().model) == 12
    assert stager(sha256="f" * 64).model != stager().model
    other = Stager(Reader(), NoDecoder(), scorer("0" * 64), "left")
    assert other.model != stager().model


def test_the_shipped_models_load_and_stage():
    subject = Stager.load(
        encoder="tinysleepnet",
        decoder="gpt",
        disorder="apnoea",
        device=torch.device("cpu"),
        bed="bed",
    )
    noise = np.random.default_rng(0).normal(0, 20, (1, 3000)).astype(np.float32)
    said = subject.step(Epoch(0, 0.0, 30.0, noise, 1.0, Quality(1.0)))
    assert said.stage is not None
    assert said.probs.sum() == pytest.approx(1, abs=1e-5)
