import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sleepstream.errors import ModelError
from sleepstream.messages import Stage
from sleepstream.stager import context, weights
from sleepstream.stager.decoder import (
    GptDecoder,
    NoDecoder,
    SleepGptDecoder,
)
from sleepstream.stager.decoders import load_decoder
from sleepstream.stager.forecast import stationary, transitions
from sleepstream.stager.fusion import FusionDecoder
from sleepstream.stager.gpt import Gpt, GptShape, KVCache
from sleepstream.stager.hmm import HmmDecoder
from sleepstream.stager.sleepgpt import SleepGpt, convert_sleepgpt

CPU = torch.device("cpu")
PUBLISHED = Path(__file__).parents[3] / "shared/data/third_party_weights/sleepgpt"
N2 = np.array([0.02, 0.08, 0.8, 0.05, 0.05], dtype=np.float32)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def published(context_epochs: int) -> dict[str, torch.Tensor]:
    path = PUBLISHED / f"gpt_shhs_{context_epochs}_48_3_6.pth.tar"
    if not path.is_file():
        pytest.skip(f"the published SleepGPT weights are not here ({path})")
    return torch.load(path, weights_only=True, map_location="cpu")["state_dict"]


def made_up(n_layers: int = 2, width: int = 12, n_positions: int = 7) -> dict[str, torch.Tensor]:
    """A state dict of the published layout, small."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    tokens = draw(6, width)
    state = {
        "transformer.wte.weight": tokens,
        "lm_head.weight": tokens,
        "transformer.wpe.weight": draw(n_positions, width),
        "transformer.ln_f.weight": draw(width),
        "transformer.ln_f.bias": draw(width),
    }
    for layer in range(n_layers):
        block = f"transformer.h.{layer}"
        for name, shape in {
            "ln_1": (width,),
            "ln_2": (width,),
            "attn.c_attn": (width, 3 * width),
            "attn.c_proj": (width, width),
            "mlp.c_fc": (width, 4 * width),
            "mlp.c_proj": (4 * width, width),
        }.items():
            state[f"{block}.{name}.weight"] = draw(*shape) / width**0.5
            state[f"{block}.{name}.bias"] = draw(shape[-1])
        state[f"{block}.attn.bias"] = torch.tril(torch.ones(1, 1, n_positions, n_positions))
    return state


def gpt2(state: dict[str, torch.Tensor], stages: list[int], n_heads: int = 6) -> np.ndarray:
    """GPT-2 as its paper describes it, from the published state dict, in float64."""
    w = {name: tensor.double().numpy() for name, tensor in state.items()}

    def norm(x, name):
        z = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return z * w[f"{name}.weight"] + w[f"{name}.bias"]

    def conv(x, name):
        return x @ w[f"{name}.weight"] + w[f"{name}.bias"]

    n = len(stages)
    x = w["transformer.wte.weight"][stages] + w["transformer.wpe.weight"][:n]
    layers = 1 + max(int(k.split(".")[2]) for k in w if k.startswith("transformer.h."))
    for layer in range(layers):
        block = f"transformer.h.{layer}"
        q, k, v = np.split(conv(norm(x, f"{block}.ln_1"), f"{block}.attn.c_attn"), 3, axis=-1)
        heads = []
        for part in np.split(np.arange(q.shape[1]), n_heads):
            scores = q[:, part] @ k[:, part].T / math.sqrt(len(part))
            scores = np.where(np.tril(np.ones((n, n))) == 1, scores, -np.inf)
            odds = np.exp(scores - scores.max(-1, keepdims=True))
            heads.append(odds / odds.sum(-1, keepdims=True) @ v[:, part])
        x = x + conv(np.concatenate(heads, -1), f"{block}.attn.c_proj")
        h = conv(norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc")
        h = 0.5 * h * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
        x = x + conv(h, f"{block}.mlp.c_proj")
    return norm(x, "transformer.ln_f") @ w["lm_head.weight"].T


def sleepgpt(state: dict[str, torch.Tensor]) -> tuple[SleepGpt, float]:
    tensors, options = convert_sleepgpt(state)
    weight = options.pop("weight")
    network = SleepGpt(**options)
    network.load_state_dict(tensors)
    return network.eval(), weight


def test_a_converted_network_gives_the_logits_of_plain_gpt2():
    state = made_up()
    network, _ = sleepgpt(state)
    stages = [0, 1, 2, 2, 3, 4, 0]
    with torch.inference_mode():
        said = network(torch.tensor([stages]))[0].numpy()
    assert np.allclose(said, gpt2(state, stages), atol=1e-4)


@pytest.mark.data
@pytest.mark.parametrize("n_positions", [60, 90])
def test_the_published_networks_give_the_logits_of_plain_gpt2(n_positions):
    state = published(n_positions)
    network, _ = sleepgpt(state)
    stages = np.random.default_rng(0).integers(0, 5, n_positions).tolist()
    with torch.inference_mode():
        said = network(torch.tensor([stages]))[0].numpy()
    assert np.allclose(said, gpt2(state, stages), atol=1e-4)


@pytest.mark.data
@pytest.mark.parametrize("n_positions", [60, 90])
def test_published_networks_expect_a_long_stage_to_last(n_positions):
    network, weight = sleepgpt(published(n_positions))
    decoder = SleepGptDecoder(network, weight, CPU, "published", "0")
    for _ in range(2 * n_positions):
        decoder.step(N2)
    assert decoder.step(None).probs.argmax() == Stage.N2


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("transformer.h.1.mlp.c_fc.weight", lambda t: t.T),
        ("transformer.ln_f.bias", lambda t: t[:-1]),
        ("transformer.wte.weight", lambda t: t[:5]),
        ("lm_head.weight", lambda t: t + 1),
        ("transformer.h.0.attn.c_attn.bias", None),
        ("transformer.wpe.weight", None),
    ],
)
def test_a_state_dict_of_other_shapes_is_refused(name, change):
    state = made_up()
    if change is None:
        del state[name]
    else:
        state[name] = change(state[name])
    with pytest.raises(ModelError, match="SleepGPT"):
        convert_sleepgpt(state)


def test_something_else_altogether_is_refused():
    with pytest.raises(ModelError, match="GPT-2 state dict"):
        convert_sleepgpt({"conv.weight": torch.zeros(3)})


def test_sleepgpt_fuses_the_prediction_made_two_epochs_ago():
    network, weight = sleepgpt(made_up())
    decoder = SleepGptDecoder(network, weight, CPU, "x", "0")
    first, second = decoder.step(N2), decoder.step(N2)
    assert np.array_equal(first.probs, N2)
    assert np.array_equal(second.probs, N2)
    with torch.inference_mode():
        prior = network(torch.tensor([[2]]))[0, -1, :5].double().softmax(-1).numpy()
    fused = N2**0.8 * prior**0.2
    assert np.allclose(decoder.step(N2).probs, fused / fused.sum(), atol=1e-6)


def test_sleepgpt_peeks_without_a_trace_and_resets():
    network, weight = sleepgpt(made_up())
    a, b = (SleepGptDecoder(network, weight, CPU, "x", "0") for _ in range(2))
    rows = np.random.default_rng(0).dirichlet(np.ones(5), 30).astype(np.float32)
    for row in rows:
        b.peek(rows[0])
        b.peek(None)
        assert np.array_equal(a.step(row).probs, b.step(row).probs)
    b.reset()
    assert np.array_equal(b.step(rows[3]).probs, rows[3])


def test_no_decoder_passes_probabilities_through():
    decoder = NoDecoder()
    assert decoder.name == "none"
    assert len(decoder.sha256) == 64
    assert np.array_equal(decoder.step(N2).probs, N2)


def test_no_decoder_believes_in_transitions_while_it_sees_nothing():
    decoder = NoDecoder()
    assert np.allclose(decoder.peek(None).probs, stationary(transitions()), atol=1e-6)
    decoder.step(N2)
    decoder.step(None)
    expected = N2 @ np.linalg.matrix_power(transitions(), 2)
    assert np.allclose(decoder.step(None).probs, expected, atol=1e-6)


def gpt_decoder() -> GptDecoder:
    torch.manual_seed(0)
    shape = GptShape(n_inputs=context.N_INPUTS, width=16, n_layers=2, n_heads=2, window=50)
    return GptDecoder(Gpt(shape), CPU, "x", "0")


def test_the_gpt_answers_in_probabilities():
    decoder = gpt_decoder()
    for probs in (N2, None, N2):
        said = decoder.step(probs)
        assert said.probs.shape == (5,)
        assert said.forecast.shape == (20, 5)
        assert said.probs.sum() == pytest.approx(1, abs=1e-5)
        assert np.allclose(said.forecast.sum(axis=1), 1, atol=1e-5)
        assert not said.probs.flags.writeable
        assert said.forecast[:10, Stage.W].max() - 1e-6 <= said.p_wake_5min <= 1
        assert said.forecast[:10, Stage.REM].max() - 1e-6 <= said.p_rem_5min <= 1


def test_an_unscorable_epoch_moves_the_gpt_on():
    decoder, other = gpt_decoder(), gpt_decoder()
    decoder.step(N2)
    other.step(N2)
    decoder.step(None)
    assert not np.array_equal(decoder.step(N2).probs, other.step(N2).probs)


def test_a_cache_takes_one_epoch_of_one_night():
    shape = GptShape(n_inputs=3, width=8, n_layers=1, n_heads=2, window=4)
    gpt = Gpt(shape)
    with pytest.raises(ValueError, match="one epoch of one night"):
        gpt(torch.zeros(1, 2, 3), KVCache(shape, CPU))


def test_a_shape_states_its_cost():
    shape = GptShape(n_inputs=context.N_INPUTS)
    cache = KVCache(shape, CPU)
    assert shape.n_cache_bytes == cache._keys.nbytes + cache._values.nbytes
    assert 1e6 < shape.step_flops < 1e7


def saved(folder: Path, **changes) -> weights.ModelFiles:
    shape = {"width": 16, "n_layers": 1, "n_heads": 2, "window": 20}
    gpt = Gpt(GptShape(n_inputs=context.N_INPUTS, **shape))
    described = {"kind": "decoder", "arch": "gpt", "options": shape, **changes}
    tensors = {name: tensor.contiguous() for name, tensor in gpt.state_dict().items()}
    return weights.save_model(folder, tensors=tensors, card="# a test", **described)


def test_a_saved_gpt_is_loaded(tmp_path):
    model = saved(tmp_path / "mine")
    decoder = load_decoder(model, CPU)
    assert (decoder.name, decoder.sha256) == ("mine", model.fingerprint)
    assert decoder.step(N2).probs.shape == (5,)


def test_a_saved_sleepgpt_is_loaded(tmp_path):
    tensors, options = convert_sleepgpt(made_up())
    model = weights.save_model(
        tmp_path / "theirs",
        kind="decoder",
        arch="sleepgpt",
        tensors=tensors,
        options=options,
        card="# a test",
    )
    assert np.array_equal(load_decoder(model, CPU).step(N2).probs, N2)


@pytest.mark.parametrize(
    "changes",
    [
        {"arch": "lstm"},
        {"options": {"width": 32, "n_layers": 1, "n_heads": 2, "window": 20}},
        {"options": {"depth": 3}},
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, changes):
    with pytest.raises(ModelError, match="decoder"):
        load_decoder(saved(tmp_path / "odd", **changes), CPU)


@pytest.mark.parametrize(
    ("name", "kind"), [("none", NoDecoder), ("hmm", HmmDecoder), ("gpt-fusion", FusionDecoder)]
)
def test_decoders_without_weights_have_a_name_and_a_card(name, kind, tmp_path, monkeypatch):
    monkeypatch.setenv("SLEEPSTREAM_MODELS", str(tmp_path))
    model = weights.find(name, "decoder")
    assert model.sha256 == ""
    assert "research" in model.card
    decoder = load_decoder(model, CPU)
    assert isinstance(decoder, kind)
    assert decoder.name == name
