"""The GPT over the night: a small causal transformer and its key-value cache.

In come input vectors, one per epoch (see `sleepstream.stager.context` and
`sleepstream.stager.spectral`); out go logits of the stage now, of the stages one to twenty epochs
ahead, and of wake or REM in the next five minutes. Attention sees the last `window` epochs and no
further, with a penalty that grows with distance, so a position is only ever a distance and a ring
of keys serves a night of any length. The mask of training, of a full recompute and of the ring is
the same.

References
----------
Press, Smith & Lewis (2022). Train Short, Test Long: Attention with Linear Biases Enables Input
Length Extrapolation. ICLR.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sleepstream.messages import N_HORIZONS, N_STAGES

N_OUTPUTS = N_STAGES * (1 + N_HORIZONS) + 2
"""Stage now, stage at each horizon, wake soon, REM soon."""


LARGEST_SIZE, MOST_LAYERS, MOST_WEIGHTS = 1 << 15, 256, 1 << 28
"""No network that reads a night is larger. A description may come from anywhere, and a network is
built, and takes its memory, before it is held against its weights."""


def check_sizes(*, width: int, n_layers: int, **others: int) -> None:
    """Refuse sizes that are none, or that this computer may not be able to hold.

    Raises
    ------
    ValueError
        One of them is not a whole number from 1 up, or they make a network that is too large.
    """
    for name, size in {"width": width, "n_layers": n_layers, **others}.items():
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= LARGEST_SIZE:
            raise ValueError(f"{name} is {size!r}, not a number from 1 to {LARGEST_SIZE}")
    if n_layers > MOST_LAYERS or 12 * n_layers * width**2 > MOST_WEIGHTS:
        raise ValueError(f"{n_layers} layers of width {width} are too large a network")


@dataclass(frozen=True, slots=True)
class GptShape:
    """Sizes of the network.

    Attributes
    ----------
    n_inputs : int
        Length of the part of an epoch's input vector that is the context.
    n_spectral : int
        Length of the part behind it, that of the spectrum; 0 for none.
    width, n_layers, n_heads : int
        Of the transformer.
    window : int
        How many epochs attention sees, the present one included.
    """

    n_inputs: int
    n_spectral: int = 0
    width: int = 64
    n_layers: int = 3
    n_heads: int = 4
    window: int = 2880

    def __post_init__(self) -> None:
        others = {"n_inputs": self.n_inputs, "n_heads": self.n_heads, "window": self.window}
        check_sizes(width=self.width, n_layers=self.n_layers, **others)
        if not 0 <= self.n_spectral <= LARGEST_SIZE:
            raise ValueError(f"n_spectral is {self.n_spectral!r}")

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.n_heads

    @property
    def n_cache_bytes(self) -> int:
        """Bytes of a cache, keys and values together."""
        return 2 * 4 * self.n_layers * self.window * self.width

    @property
    def step_flops(self) -> int:
        """Floating-point operations of one cached step over a full window."""
        spectral = self.width * (self.n_spectral + self.width) if self.n_spectral else 0
        blocks = 12 * self.width * self.n_layers
        weights = self.width * (self.n_inputs + N_OUTPUTS + blocks) + spectral
        return 2 * (weights + 2 * self.n_layers * self.window * self.width)


class KVCache:
    """Keys and values of the last `window` epochs of one night, as a ring.

    Epoch number `n` lies in slot ``n % window``, so writing can never run past the end. An epoch
    that was written and not followed by `advance` has left no trace: the next one takes its slot,
    and no epoch in between reads it.

    Parameters
    ----------
    shape : GptShape
        Sizes of the network.
    device : torch.device
        Where the network runs.
    """

    def __init__(self, shape: GptShape, device: torch.device) -> None:
        size = (shape.n_layers, 1, shape.n_heads, shape.window, shape.head_width)
        self._window = shape.window
        self._keys = torch.zeros(size, device=device)
        self._values = torch.zeros(size, device=device)
        self._slots = torch.arange(shape.window, device=device)
        self.n_epochs = 0

    @property
    def slot(self) -> int:
        """Where the epoch being computed is written."""
        return self.n_epochs % self._window

    @property
    def n_seen(self) -> int:
        """How many epochs attention sees, the one being computed included."""
        return min(self.n_epochs + 1, self._window)

    def ages(self) -> Tensor:
        """Return how many epochs ago each slot in sight was written, shape (n_seen,)."""
        return torch.remainder(self.slot - self._slots[: self.n_seen], self._window)

    def write(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Put one epoch's key and value in its slot and return all that are in sight.

        Parameters
        ----------
        layer : int
            Which layer's.
        key, value : Tensor, shape (1, n_heads, 1, head_width)
            Of the present epoch.

        Returns
        -------
        keys, values : Tensor, shape (1, n_heads, n_seen, head_width)
            In the order of the slots, which is not the order of time once the ring is full.
        """
        slot, n_seen = self.slot, self.n_seen
        self._keys[layer, :, :, slot] = key[:, :, 0]
        self._values[layer, :, :, slot] = value[:, :, 0]
        return self._keys[layer, :, :, :n_seen], self._values[layer, :, :, :n_seen]

    def advance(self) -> None:
        """Keep the epoch that was just written."""
        self.n_epochs += 1

    def reset(self) -> None:
        """Forget the night. Slots need no clearing: none is read before it is written."""
        self.n_epochs = 0


class Block(nn.Module):
    """One pre-norm transformer block.

    Parameters
    ----------
    shape : GptShape
        Sizes of the network.
    """

    def __init__(self, shape: GptShape) -> None:
        super().__init__()
        self.shape = shape
        self.norm_attention = nn.LayerNorm(shape.width)
        self.qkv = nn.Linear(shape.width, 3 * shape.width)
        self.merge = nn.Linear(shape.width, shape.width)
        self.norm_mlp = nn.LayerNorm(shape.width)
        self.widen = nn.Linear(shape.width, 4 * shape.width)
        self.narrow = nn.Linear(4 * shape.width, shape.width)

    def forward(self, x: Tensor, bias: Tensor, layer: int, cache: KVCache | None) -> Tensor:
        """Return ``x`` after attention and the network behind it, shape (n, n_epochs, width)."""
        n, n_epochs, width = x.shape
        heads = self.qkv(self.norm_attention(x)).view(
            n, n_epochs, 3, self.shape.n_heads, self.shape.head_width
        )
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        if cache is not None:
            key, value = cache.write(layer, key, value)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        x = x + self.merge(seen.transpose(1, 2).reshape(n, n_epochs, width))
        output: Tensor = x + self.narrow(F.gelu(self.widen(self.norm_mlp(x))))
        return output


class Gpt(nn.Module):
    """The network.

    Parameters
    ----------
    shape : GptShape
        Sizes.
    """

    slopes: Tensor

    def __init__(self, shape: GptShape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Linear(shape.n_inputs, shape.width)
        self.embed_spectrum = (
            nn.Sequential(
                nn.Linear(shape.n_spectral, shape.width),
                nn.GELU(),
                nn.Linear(shape.width, shape.width),
            )
            if shape.n_spectral
            else None
        )
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.n_layers))
        self.norm = nn.LayerNorm(shape.width)
        self.head = nn.Linear(shape.width, N_OUTPUTS)
        powers = torch.arange(1, shape.n_heads + 1) * (8.0 / shape.n_heads)
        self.register_buffer("slopes", (2.0**-powers)[None, :, None, None], persistent=False)

    def forward(self, inputs: Tensor, cache: KVCache | None = None) -> Tensor:
        """Run whole nights, or one epoch on top of a cache.

        Parameters
        ----------
        inputs : Tensor, shape (n_nights, n_epochs, n_inputs + n_spectral)
            The context, then the spectrum. With a cache: one night, one epoch.
        cache : KVCache, optional
            The night so far. The epoch is written into it; `KVCache.advance` keeps it there.

        Returns
        -------
        Tensor, shape (n_nights, n_epochs, N_OUTPUTS)
            Logits for `split`.

        Raises
        ------
        ValueError
            More than one epoch of one night came with a cache.
        """
        if cache is not None and inputs.shape[:2] != (1, 1):
            raise ValueError(f"a cache takes one epoch of one night, not {tuple(inputs.shape[:2])}")
        bias = self.bias(inputs.shape[1]) if cache is None else -self.slopes * cache.ages()
        x = self.embed(inputs[..., : self.shape.n_inputs])
        if self.embed_spectrum is not None:
            x = x + self.embed_spectrum(inputs[..., self.shape.n_inputs :])
        for layer, block in enumerate(self.blocks):
            x = block(x, bias, layer, cache)
        logits: Tensor = self.head(self.norm(x))
        return logits

    def bias(self, n_epochs: int) -> Tensor:
        """Return what is added to the attention scores, shape (1, n_heads, n_epochs, n_epochs)."""
        steps = torch.arange(n_epochs, device=self.slopes.device)
        ages = steps[:, None] - steps
        hidden = (ages < 0) | (ages >= self.shape.window)
        return (-self.slopes * ages).masked_fill(hidden, float("-inf"))


def split(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Take the network's output apart.

    Parameters
    ----------
    logits : Tensor, shape (..., N_OUTPUTS)
        From `Gpt.forward`.

    Returns
    -------
    now : Tensor, shape (..., 5)
        Logits of the present stage.
    ahead : Tensor, shape (..., 20, 5)
        Logits of the stages 1 … 20 epochs ahead.
    soon : Tensor, shape (..., 2)
        Logits of wake, and of REM, in any of the next ten epochs.
    """
    now, ahead, soon = torch.split(logits, [N_STAGES, N_STAGES * N_HORIZONS, 2], dim=-1)
    return now, ahead.reshape(*ahead.shape[:-1], N_HORIZONS, N_STAGES), soon
