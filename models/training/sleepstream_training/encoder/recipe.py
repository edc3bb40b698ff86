"""What a recipe for an encoder says: which network, which data, how it is trained.

Each field is a key of the recipe's TOML (`sleepstream_training.recipes` reads it). Where the
batches come from is one of several tables ``[data]``, told apart by ``source``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

Count = Annotated[int, Meta(ge=0)]
Some = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(ge=0)]


class Model(Struct, frozen=True, forbid_unknown_fields=True):
    """The network and what stands before it.

    Attributes
    ----------
    arch : str
        One of `sleepstream.stager.encoder.ARCHITECTURES`.
    gain_memory : int
        Epochs after which the front end's running gain forgets.
    """

    arch: str = "tinysleepnet"
    gain_memory: Some = 240


class Augmentation(Struct, frozen=True, forbid_unknown_fields=True):
    """How far an epoch is changed into what another amplifier or room might have given.

    Attributes
    ----------
    tilt : float
        Standard deviation of a smooth tilt of the spectrum (natural log of the amplitude).
    lean : float
        Its mean above 6 Hz against below.
    gain : float
        Standard deviation of the error of the gain (natural log).
    night_start : float
        Share of epochs shown as if the night had begun at or little before them.
    low_pass, high_pass : float
        Shares of epochs that go through another filter.
    noise, noise_size : float
        Share of epochs with white noise, and its largest size.
    hum, missing : float
        Shares of epochs with mains (or its alias), and with a hole.
    flip : bool
        Whether the polarity is drawn by lot.
    """

    tilt: Positive = 0.3
    lean: float = 0.0
    gain: Positive = 0.2
    night_start: Share = 0.3
    low_pass: Share = 0.3
    high_pass: Share = 0.25
    noise: Share = 0.35
    noise_size: Positive = 0.35
    hum: Share = 0.1
    missing: Share = 0.08
    flip: bool = True


class ScoredData(Struct, frozen=True, forbid_unknown_fields=True, tag_field="source", tag="scored"):
    """Scored recordings, read by `sleepstream.corpora`.

    Attributes
    ----------
    paths : list of str
        Folders or recordings (``--data``).
    corpus : str
        Which corpus, where the names of the files would say something else.
    channels : list of str
        Derivations to learn from, each recording once through each; empty: the corpus' usual one.
    unit : str
        Overrides the unit in the files.
    margin_min : float
        Minutes kept before the first and after the last sleep; the rest of a long wake is only
        seen by the running gain.
    validation, test : float or list of str
        Subjects to choose by and to report on: a share of them, or by name.
    balance : float
        0: epochs are drawn as the nights have the stages; 1: each stage equally often.
    """

    paths: list[str] = field(default_factory=list)
    corpus: str = ""
    channels: list[str] = field(default_factory=list)
    unit: str = ""
    margin_min: Positive = 30.0
    validation: Share | list[str] = 0.1
    test: Share | list[str] = 0.2
    balance: Share = 0.3


class MadeUpData(
    Struct, frozen=True, forbid_unknown_fields=True, tag_field="source", tag="made-up"
):
    """Nights that nobody slept (`sleepstream_replay.synthetic`): to try the command, not to stage.

    Attributes
    ----------
    nights : int
        How many, each of a made-up subject.
    hours : float
        Length of each.
    validation, test, balance, margin_min
        As of scored recordings.
    """

    nights: Annotated[int, Meta(ge=1, le=1000)] = 10
    hours: Annotated[float, Meta(ge=0.1, le=12)] = 8.0
    margin_min: Positive = 30.0
    validation: Share = 0.2
    test: Share = 0.2
    balance: Share = 0.3


class MixtureData(
    Struct, frozen=True, forbid_unknown_fields=True, tag_field="source", tag="mixture"
):
    """The mixture behind the shipped encoders, from a folder of several kinds of data.

    Attributes
    ----------
    paths : list of str
        The folder, with ``raw_eeg``, ``sleep_edf_features`` and ``third_party_weights`` in it.
    synthetic, real, edited, made_up : int
        How many epochs of each kind are made.
    early, late : list of int
        How the kinds share a batch (synthetic, real, edited, made up, no EEG) before and after
        `turn`.
    turn : float
        Share of the steps after which batches are made up like `late`.
    """

    paths: list[str] = field(default_factory=list)
    synthetic: Some = 30_000
    real: Some = 5_000
    edited: Some = 9_000
    made_up: Some = 12_000
    early: Annotated[list[Count], Meta(min_length=5, max_length=5)] = field(
        default_factory=lambda: [32, 6, 16, 8, 2]
    )
    late: Annotated[list[Count], Meta(min_length=5, max_length=5)] = field(
        default_factory=lambda: [34, 14, 11, 3, 2]
    )
    turn: Share = 0.4


Data = ScoredData | MadeUpData | MixtureData


class Training(Struct, frozen=True, forbid_unknown_fields=True):
    """How the network is fitted.

    Attributes
    ----------
    steps : int
        Batches to learn from; 0: as many as fit into `minutes`.
    minutes : float
        About how long; the number of steps is settled from the speed of the first ones.
    batch : int
        Epochs (or sequences of them) in a batch, over all processes.
    learning_rate, weight_decay, clip : float
        Of AdamW: the highest rate, and the largest norm of the gradient.
    warmup : float
        Share of the steps over which the rate rises.
    schedule : str
        How the rate goes down after that.
    smoothing : float
        Share of each label that is spread over all stages.
    average : float
        Memory of the running average of the weights, which is what is kept.
    evaluate_every : int
        Steps between two looks at what was held out.
    seed : int
        Of everything that is drawn.
    threads, workers : int
        Threads of torch on the CPU, and threads that make batches ahead.
    """

    steps: Count = 0
    minutes: Positive = 0.0
    batch: Some = 64
    learning_rate: Annotated[float, Meta(gt=0)] = 1.5e-3
    weight_decay: Positive = 1e-2
    clip: Annotated[float, Meta(gt=0)] = 1.0
    warmup: Share = 0.03
    schedule: Literal["cosine", "constant"] = "cosine"
    smoothing: Share = 0.05
    average: Annotated[float, Meta(ge=0, lt=1)] = 0.997
    evaluate_every: Some = 250
    seed: Count = 7
    threads: Some = 1
    workers: Count = 0

    def __post_init__(self) -> None:
        if (self.steps > 0) == (self.minutes > 0):
            raise ValueError("training wants either steps or minutes (--steps N or --minutes M)")


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """A recipe for an encoder.

    Attributes
    ----------
    about : str
        One sentence for people: what comes out.
    license : str
        Of the weights, for their description.
    data, training, model, augmentation
        The tables.
    """

    about: str
    data: Data
    training: Training
    license: str = "none given"
    model: Model = Model()
    augmentation: Augmentation = Augmentation()

    def as_json(self) -> dict[str, Any]:
        """Return all of it as what JSON can hold."""
        tree: dict[str, Any] = msgspec.to_builtins(self)
        return tree
