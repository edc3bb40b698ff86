"""What a recipe for a disorder score says.

Each field is a key of the recipe's TOML (`sleepstream_training.recipes` reads it).
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

Count = Annotated[int, Meta(ge=0)]
Some = Annotated[int, Meta(ge=1)]
Several = Annotated[int, Meta(ge=2)]
Positive = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, lt=1)]


class ByAhi(Struct, frozen=True, forbid_unknown_fields=True, tag_field="by", tag="ahi"):
    """Groups by the apnoea-hypopnoea index.

    Attributes
    ----------
    dataset : str
        The one database that both come from.
    severe, none : float
        Events per hour: from here on, and below here. Who is between is ranked and not learned
        from.
    leave_out : tuple of str
        Names of nights that are not used.
    """

    dataset: str
    severe: Positive = 30.0
    none: Positive = 5.0
    leave_out: tuple[str, ...] = ()


class ByDiagnosis(Struct, frozen=True, forbid_unknown_fields=True, tag_field="by", tag="diagnosis"):
    """Groups by diagnosis: `none` names those of the healthy, every other one is a disorder.

    Attributes
    ----------
    dataset, leave_out
        As for `ByAhi`.
    none : tuple of str
        Diagnoses of people without a disorder.
    """

    dataset: str
    none: tuple[str, ...]
    leave_out: tuple[str, ...] = ()


class Words(Struct, frozen=True, forbid_unknown_fields=True):
    """What the score says of itself (`sleepstream.stager.disorder.Meaning`)."""

    speaks_of: str
    resembles: str
    rather_than: str
    caution: str


class Reading(Struct, frozen=True, forbid_unknown_fields=True):
    """What the score reads while it learns.

    Attributes
    ----------
    decoder : str
        Whose hypnograms: a decoder of arch ``"gpt"``, by name or folder.
    decoded : int
        How often each night is decoded, each time behind another simulated encoder. The first one
        is judged on.
    """

    decoder: str = "gpt"
    decoded: Some = 3


class Model(Struct, frozen=True, forbid_unknown_fields=True):
    """The score that ships: what the inner cross-validation chooses from, and its replicates.

    Attributes
    ----------
    strengths : tuple of float
        Weights of the squared coefficients against the mean loss.
    replicates : int
        Fits on nights drawn again, for the interval of the probability.
    """

    strengths: tuple[Positive, ...] = (0.1, 0.3, 1.0, 3.0)
    replicates: Some = 100


class Segments(Struct, frozen=True, forbid_unknown_fields=True):
    """The transformer over segments of decoder states that the score is compared with.

    Attributes
    ----------
    compare : bool
        Whether it is; most of the time goes there.
    passes : tuple of int
        Passes over the training nights that the inner cross-validation chooses from.
    width, n_heads : int
        Of the transformer.
    dropout, weight_decay, learning_rate : float
        Of its training.
    """

    compare: bool = True
    passes: tuple[Some, ...] = (20, 40)
    width: Some = 16
    n_heads: Some = 4
    dropout: Share = 0.3
    weight_decay: Annotated[float, Meta(ge=0)] = 0.05
    learning_rate: Positive = 3e-3


class Validation(Struct, frozen=True, forbid_unknown_fields=True):
    """How it is judged.

    Attributes
    ----------
    repeats, folds, inner_folds : int
        Of the nested cross-validation, by subject.
    level : float
        The score speaks from the hour on at which the lower end of the AUC's interval, on decoded
        hypnograms, has passed this level for good.
    """

    repeats: Some = 3
    folds: Several = 5
    inner_folds: Several = 3
    level: Annotated[float, Meta(ge=0, le=1)] = 0.67


class Training(Struct, frozen=True, forbid_unknown_fields=True):
    """What the rest does not say.

    Attributes
    ----------
    seed : int
        Of everything that is drawn.
    """

    seed: Count = 2026


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """A recipe for a disorder score.

    Attributes
    ----------
    about : str
        One sentence for the card.
    groups : ByAhi or ByDiagnosis
        Who is compared with whom.
    words : Words
        What the score says of itself.
    license : str
        Of the weights.
    reading, model, segments, validation, training
        See there.
    """

    about: str
    groups: ByAhi | ByDiagnosis
    words: Words
    license: str = "BSD-3-Clause"
    reading: Reading = Reading()
    model: Model = Model()
    segments: Segments = Segments()
    validation: Validation = Validation()
    training: Training = Training()

    def decisive(self) -> dict[str, Any]:
        """Return all that decides what the cross-validation finds, as what JSON can hold."""
        tree: dict[str, Any] = msgspec.to_builtins(self)
        for words in ("about", "words", "license"):
            tree.pop(words)
        tree["model"].pop("replicates")
        tree["validation"].pop("level")
        return tree
