"""The decoder's network with the future in sight: a yardstick for what it costs to be causal.

It is trained with the same recipe and judged on the same nights. It foresees nothing, since it
sees what comes, and it cannot serve: `sleepstream.stager.decoders` does not know it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sleepstream.stager.gpt import Gpt

ARCH = "gpt-both-ways"


class BothWays(Gpt):
    """The network of `Gpt`, attending to what lies ahead as to what lies behind."""

    def bias(self, n_epochs: int) -> Tensor:
        """Return what is added to the attention scores, shape (1, n_heads, n_epochs, n_epochs)."""
        steps = torch.arange(n_epochs, device=self.slopes.device)
        distances = (steps[:, None] - steps).abs()
        return (-self.slopes * distances).masked_fill(distances >= self.shape.window, float("-inf"))
