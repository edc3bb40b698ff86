"""The published SleepGPT: a GPT-2 over stages, for users who import the authors' weights.

In come stages as tokens; out go logits of the stage *after the next*: the published training
shifted its labels by one and the model it used shifted them by one again. Positions are learned
and absolute, and the context was cropped to its last epochs, so every step recomputes the whole
context: a sliding cache of keys over these weights would be another function.

References
----------
Yu et al. SleepGPT: A Language Model Built on Sleep Stage Sequences Enables Efficient Sleep
Assessment. https://github.com/yuty2009/sleepgpt
Radford et al. (2019). Language Models are Unsupervised Multitask Learners.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sleepstream.errors import ModelError
from sleepstream.messages import N_STAGES, Float64Array

N_TOKENS = N_STAGES + 1
"""The five stages, and 5, which the authors' training used as padding and end. It is never fed."""

STAGES_AHEAD = 2
"""The last position's logits speak of the stage this many epochs later."""

N_HEADS = 6
"""Attention heads of the published networks. A checkpoint does not say; the published settings do
(``num_heads=6``; in a checkpoint's name the numbers are context, width, layers, heads)."""

_TINY = 1e-12

_LAYER_SHAPES = {
    "ln_1.weight": (1,),
    "ln_1.bias": (1,),
    "attn.c_attn.weight": (1, 3),
    "attn.c_attn.bias": (3,),
    "attn.c_proj.weight": (1, 1),
    "attn.c_proj.bias": (1,),
    "ln_2.weight": (1,),
    "ln_2.bias": (1,),
    "mlp.c_fc.weight": (1, 4),
    "mlp.c_fc.bias": (4,),
    "mlp.c_proj.weight": (4, 1),
    "mlp.c_proj.bias": (1,),
}
_REMEDY = "import a SleepGPT checkpoint such as gpt_shhs_60_48_3_6.pth.tar"


class SleepGptBlock(nn.Module):
    """One GPT-2 block: pre-norm, biased projections, tanh-approximated GELU.

    Parameters
    ----------
    width, n_heads : int
        Sizes.
    """

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.ln_1 = nn.LayerNorm(width)
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)
        self.ln_2 = nn.LayerNorm(width)
        self.c_fc = nn.Linear(width, 4 * width)
        self.mlp_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, shape (n, n_epochs, width)."""
        n, n_epochs, width = x.shape
        heads = self.c_attn(self.ln_1(x)).view(n, n_epochs, 3, self.n_heads, -1)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.c_proj(seen.transpose(1, 2).reshape(n, n_epochs, width))
        hidden = F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh")
        output: Tensor = x + self.mlp_proj(hidden)
        return output


class SleepGpt(nn.Module):
    """The network.

    Parameters
    ----------
    context, width, n_layers, n_heads : int
        Sizes; `context` is the number of learned positions.
    """

    def __init__(self, context: int, width: int, n_layers: int, n_heads: int) -> None:
        super().__init__()
        self.context = context
        self.tokens = nn.Embedding(N_TOKENS, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(SleepGptBlock(width, n_heads) for _ in range(n_layers))
        self.ln_f = nn.LayerNorm(width)

    def forward(self, stages: Tensor) -> Tensor:
        """Return logits of the stage two epochs on.

        Parameters
        ----------
        stages : Tensor of int, shape (n, n_epochs)
            Stages in order, at most `context` of them.

        Returns
        -------
        Tensor, shape (n, n_epochs, 6)
            The sixth is the padding token.
        """
        positions = torch.arange(stages.shape[1], device=stages.device)
        x = self.tokens(stages) + self.positions(positions)
        for block in self.blocks:
            x = block(x)
        return F.linear(self.ln_f(x), self.tokens.weight)


def fuse(probs: npt.ArrayLike, prior: npt.ArrayLike, weight: float) -> Float64Array:
    """Average two opinions in the logarithm: shallow fusion.

    Parameters
    ----------
    probs : array-like, shape (5,)
        The encoder's probabilities.
    prior : array-like, shape (5,)
        The language model's for the same epoch.
    weight : float
        Share of the language model, 0 to 1.

    Returns
    -------
    ndarray of float64, shape (5,)
        Probabilities.
    """
    logs = [np.log(np.asarray(each, dtype=np.float64) + _TINY) for each in (probs, prior)]
    fused = (1.0 - weight) * logs[0] + weight * logs[1]
    odds = np.exp(fused - fused.max())
    probabilities: Float64Array = odds / odds.sum()
    return probabilities


def convert_sleepgpt(state_dict: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Turn a published SleepGPT state dict into tensors and options of arch ``"sleepgpt"``.

    Parameters
    ----------
    state_dict : mapping of str to Tensor
        The checkpoint's ``state_dict``.

    Returns
    -------
    tensors : dict of str to Tensor
        For `SleepGpt.load_state_dict`.
    options : dict
        ``context``, ``width``, ``n_layers``, ``n_heads`` and the fusion's ``weight``.

    Raises
    ------
    ModelError
        A tensor is missing or has another shape.
    """
    layers = {int(m[1]) for key in state_dict if (m := re.match(r"transformer\.h\.(\d+)\.", key))}
    embedding = state_dict.get("transformer.wte.weight")
    positions = state_dict.get("transformer.wpe.weight")
    if not layers or embedding is None or positions is None:
        found = ", ".join(list(state_dict)[:3]) or "nothing"
        raise ModelError("a GPT-2 state dict (transformer.wte, .wpe, .h.0 …)", found, _REMEDY)
    width, n_layers, context = embedding.shape[1], len(layers), positions.shape[0]
    expected = _expected(n_layers, width, context)
    _check(state_dict, expected)
    tensors = {
        "tokens.weight": embedding,
        "positions.weight": positions,
        "ln_f.weight": state_dict["transformer.ln_f.weight"],
        "ln_f.bias": state_dict["transformer.ln_f.bias"],
    }
    for layer in range(n_layers):
        for name in _LAYER_SHAPES:
            tensor = state_dict[f"transformer.h.{layer}.{name}"]
            # the published projections hold (in, out), ours (out, in)
            tensors[f"blocks.{layer}.{_ours(name)}"] = tensor.T if tensor.ndim == 2 else tensor
    options = {
        "context": context,
        "width": width,
        "n_layers": n_layers,
        "n_heads": N_HEADS,
        "weight": 0.2,
    }
    return {name: tensor.float().contiguous() for name, tensor in tensors.items()}, options


def _ours(name: str) -> str:
    return name.removeprefix("attn.").replace("mlp.c_proj", "mlp_proj").removeprefix("mlp.")


def _expected(n_layers: int, width: int, context: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.wte.weight": (N_TOKENS, width),
        "transformer.wpe.weight": (context, width),
        "transformer.ln_f.weight": (width,),
        "transformer.ln_f.bias": (width,),
        "lm_head.weight": (N_TOKENS, width),
    }
    for layer in range(n_layers):
        for name, times in _LAYER_SHAPES.items():
            shapes[f"transformer.h.{layer}.{name}"] = tuple(factor * width for factor in times)
    return shapes


def _check(state_dict: Mapping[str, Tensor], expected: dict[str, tuple[int, ...]]) -> None:
    for name, shape in expected.items():
        tensor = state_dict.get(name)
        found = None if tensor is None else tuple(tensor.shape)
        if found != shape:
            raise ModelError(
                f"a tensor {name!r} of shape {shape} in a SleepGPT checkpoint",
                "none of that name" if found is None else f"shape {found}",
                _REMEDY,
            )
    if not torch.equal(state_dict["lm_head.weight"], state_dict["transformer.wte.weight"]):
        raise ModelError(
            "a SleepGPT checkpoint whose output layer is its token embedding",
            "two different tensors",
            _REMEDY,
        )
    width = expected["transformer.ln_f.weight"][0]
    if width % N_HEADS:
        raise ModelError(f"a width that {N_HEADS} heads can share", f"width {width}", _REMEDY)
