"""What a recipe for a decoder says: the network's sizes, and three phases of training.

Each field is a key of the recipe's TOML (`sleepstream_training.recipes` reads it).
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from sleepstream.stager import spectral

Count = Annotated[int, Meta(ge=0)]
Some = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]


class Model(Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes of the network (`sleepstream.stager.gpt.GptShape`); `n_spectral` 0 leaves that out.

    One that is not `causal` sees the whole night and cannot serve (`decoder.both_ways`).
    """

    width: Some = 64
    n_layers: Some = 3
    n_heads: Some = 4
    window: Some = 2880
    n_spectral: Count = spectral.N_INPUTS
    causal: bool = True


class Phase(Struct, frozen=True, forbid_unknown_fields=True):
    """One phase of training.

    Attributes
    ----------
    steps : int
        Batches; 0 leaves the phase out.
    learning_rate : float
        At its highest, after a short warm-up; it falls along a cosine.
    batch : int
        Nights in a batch.
    language, simulated, paired, encoded : float
        Shares of the nights that are hypnograms as scored; hypnograms with simulated errors of an
        encoder; spectra of a night beside such errors; and its out-of-fold probabilities and
        spectra (`sleepstream_training.decoder.batches`).
    """

    steps: Count = 0
    learning_rate: Positive = 1e-3
    language: Share = 0.0
    simulated: Share = 0.0
    paired: Share = 0.0
    encoded: Share = 0.0
    batch: Some = 8


class Training(Struct, frozen=True, forbid_unknown_fields=True):
    """What all phases have in common.

    Attributes
    ----------
    seed : int
        Of everything that is drawn.
    weight_decay, clip : float
        Of AdamW, and the largest norm of the gradient.
    warmup : int
        Steps at the start of a phase over which the rate rises.
    average : float
        The weights that are kept are a running average; so much of it stays at each step.
    now_weight : float
        Weight of the stage now against the forecasts.
    short_epochs, short_share : int, float
        That share of the batches are nights cut to so many epochs, which are quicker.
    """

    seed: Count = 2026
    weight_decay: Annotated[float, Meta(ge=0)] = 0.05
    clip: Positive = 1.0
    warmup: Some = 50
    average: Share = 0.99
    now_weight: Positive = 1.5
    short_epochs: Some = 480
    short_share: Share = 0.75


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """A recipe for a decoder.

    Attributes
    ----------
    about : str
        One sentence for people: what comes out.
    language_model, simulated_errors, out_of_fold : Phase
        In this order.
    model : Model
        The network.
    start : str
        Name or folder of the decoder to begin with; empty to begin with random weights.
    training : Training
        What the phases share.
    """

    about: str
    language_model: Phase = Phase()
    simulated_errors: Phase = Phase()
    out_of_fold: Phase = Phase()
    model: Model = Model()
    start: str = ""
    training: Training = Training()

    @property
    def phases(self) -> dict[str, Phase]:
        """The phases by name, in the order in which they are run."""
        return {
            "language model": self.language_model,
            "simulated errors": self.simulated_errors,
            "out-of-fold": self.out_of_fold,
        }

    @property
    def n_steps(self) -> int:
        """Steps of all phases together."""
        return sum(phase.steps for phase in self.phases.values())

    def with_steps(self, total: int) -> Recipe:
        """Return the recipe with its phases stretched to so many steps together."""
        stretched = [
            msgspec.structs.replace(phase, steps=round(total * phase.steps / max(self.n_steps, 1)))
            for phase in self.phases.values()
        ]
        return msgspec.structs.replace(
            self,
            language_model=stretched[0],
            simulated_errors=stretched[1],
            out_of_fold=stretched[2],
        )

    def as_json(self) -> dict[str, Any]:
        """Return all of it as what JSON can hold."""
        tree: dict[str, Any] = msgspec.to_builtins(self)
        return tree
