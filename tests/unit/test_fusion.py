"""Shallow fusion: hard stages in, a share of the forecast out, and no trace of a peek."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sleepstream.errors import ModelError
from sleepstream.messages import Stage
from sleepstream.stager import weights
from sleepstream.stager.decoder import NoDecoder
from sleepstream.stager.decoders import load_decoder
from sleepstream.stager.forecast import transitions
from sleepstream.stager.fusion import FusionDecoder

CPU = torch.device("cpu")
N2 = np.array([0.02, 0.08, 0.8, 0.05, 0.05], dtype=np.float32)
UNSURE = np.array([0.3, 0.1, 0.29, 0.01, 0.3], dtype=np.float32)


def fusion(weight: float = 0.2) -> FusionDecoder:
    """Fuse with the stage transitions as the language model."""
    return FusionDecoder(NoDecoder(), weight, "x", "0")


def test_the_first_epoch_is_as_the_encoder_says():
    assert np.array_equal(fusion().step(N2).probs, N2)


def test_the_forecast_from_the_hard_stage_before_has_its_share():
    decoder = fusion(0.2)
    decoder.step(N2)
    expected = UNSURE**0.8 * transitions()[Stage.N2] ** 0.2
    assert np.allclose(decoder.step(UNSURE).probs, expected / expected.sum(), atol=1e-6)


def test_no_weight_changes_nothing_and_the_whole_weight_listens_to_nobody():
    deaf, silent = fusion(1.0), fusion(0.0)
    for decoder in (deaf, silent):
        decoder.step(N2)
    assert np.allclose(silent.step(UNSURE).probs, UNSURE, atol=1e-6)
    assert np.allclose(deaf.step(UNSURE).probs, transitions()[Stage.N2], atol=1e-6)


def test_an_unscorable_epoch_is_what_was_forecast_and_is_read_as_such():
    decoder = fusion()
    forecast = decoder.step(N2).forecast
    assert np.array_equal(decoder.step(None).probs, forecast[0])
    assert np.allclose(decoder.step(None).probs, forecast[1], atol=1e-6)


def test_a_peek_leaves_no_trace_and_a_reset_forgets():
    plain, peeking = (load_decoder(weights.find("gpt-fusion"), CPU) for _ in range(2))
    rows = np.random.default_rng(0).dirichlet(np.full(5, 0.5), 20).astype(np.float32)
    for row in (None, *rows[:10], None, *rows[10:]):
        peeking.peek(N2)
        peeking.peek(None)
        foreseen = peeking.peek(row)
        said, other = peeking.step(row), plain.step(row)
        for one in (foreseen, other):
            assert np.array_equal(one.probs, said.probs)
            assert np.array_equal(one.forecast, said.forecast)
    peeking.reset()
    assert np.array_equal(peeking.step(N2).probs, N2)


def described(folder: Path, text: str) -> weights.ModelFiles:
    folder.mkdir()
    (folder / "model.toml").write_text(
        f"kind = 'decoder'\narch = 'gpt-fusion'\nsha256 = ''\n{text}"
    )
    return weights.find(str(folder))


def test_its_fingerprint_is_that_of_the_language_model_too(tmp_path):
    ours = described(tmp_path / "a", "base = 'gpt-language'\n[options]\nweight = 0.2\n")
    with_hmm = described(tmp_path / "b", "base = 'hmm'\n[options]\nweight = 0.2\n")
    heavier = described(tmp_path / "c", "base = 'gpt'\n[options]\nweight = 0.3\n")
    assert ours.fingerprint == weights.find("gpt-fusion").fingerprint
    assert len({ours.fingerprint, with_hmm.fingerprint, heavier.fingerprint}) == 3
    assert load_decoder(ours, CPU).sha256 == ours.fingerprint


@pytest.mark.parametrize(
    "text",
    [
        "[options]\nweight = 0.2\n",
        "base = 'gpt'\n",
        "base = 'gpt'\n[options]\nweight = 2.0\n",
        "base = 'gpt-fusion'\n[options]\nweight = 0.2\n",
        "base = 'tinysleepnet'\n[options]\nweight = 0.2\n",
    ],
)
def test_a_description_that_makes_no_sense_is_refused(tmp_path, text):
    with pytest.raises(ModelError, match="decoder"):
        load_decoder(described(tmp_path / "odd", text), CPU)


def test_a_base_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelError, match="'oracle'"):
        described(tmp_path / "odd", "base = 'oracle'\n[options]\nweight = 0.2\n")
