"""Where batches come from, as the fitting sees it: one small protocol, and what it is made of.

A source of training data gives batches on request, holds out sets to choose by, and writes its part
of the model card. What it reads and how it makes batches is its own business: `scored` and
`mixture` are such sources.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from sleepstream.messages import N_STAGES, Float32Array
from sleepstream.stager.front_end import LIMIT
from sleepstream.stager.weights import ModelFiles

IntArray = npt.NDArray[np.int64]

Batch = tuple[Float32Array, Float32Array]
"""Signals, shape (n, n_epochs, 3000), as the front end scales them, and targets, shape
(n, n_epochs, 5): probabilities, or zeros where an epoch has no part in the loss."""


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """A set that is not learned from: to choose the weights by, and to calibrate.

    Attributes
    ----------
    signals : ndarray of float32, shape (n, n_epochs, 3000)
        As the front end scales them.
    labels : ndarray of int, shape (n, n_epochs)
        Stages, below 0 where there is none.
    weight : float
        How much the set counts beside the others.
    measure : str
        What counts: ``kappa``, or ``recall``, the mean over the stages that occur.
    """

    signals: Float32Array
    labels: IntArray
    weight: float = 1.0
    measure: Literal["kappa", "recall"] = "kappa"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that was read: its name, its SHA-256, and what it is (corpus, split, licence)."""

    name: str
    sha256: str
    what: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a source found out about the finished model.

    Attributes
    ----------
    text : str
        Markdown for the card, from ``## How good it is`` on.
    figures : dict
        For the description of the model (``model.toml``).
    """

    text: str
    figures: dict[str, Any] = field(default_factory=dict)


class TrainingData(Protocol):
    """Where batches come from.

    Attributes
    ----------
    held_out : mapping
        Sets to choose by, by name. Empty: the last weights are taken as they are.
    shares : ndarray of float32, shape (5,)
        Shares of the stages in whole nights.
    bias : tuple of float or None
        What takes back that stages were drawn more often than nights have them, to be added to the
        logits; None: to be fitted.
    files : sequence of SourceFile
        What was read.
    learned_from : str
        Markdown for the card: what the batches are made of, and how they are split.
    limits : sequence of str
        What a model that learned from this cannot do.
    """

    held_out: Mapping[str, HeldOut]
    shares: Float32Array
    bias: tuple[float, ...] | None
    files: Sequence[SourceFile]
    learned_from: str
    limits: Sequence[str]

    def batch(self, rng: np.random.Generator, n: int, done: float) -> Batch:
        """Draw `n` items; the same generator gives the same ones. May run in another thread.

        Parameters
        ----------
        rng : numpy.random.Generator
            The only source of chance.
        n : int
            How many.
        done : float
            How far the training is, 0 to 1, for those who change what they give.
        """
        ...

    def report(self, model: ModelFiles) -> Report:
        """Measure the finished model through the serving path."""
        ...


def scaled(signals: Float32Array, log_gains: Float32Array) -> Float32Array:
    """Return signals, shape (..., 3000), as the front end gives them to the network.

    Parameters
    ----------
    signals : ndarray of float32, shape (..., 3000)
        Microvolts.
    log_gains : ndarray of float32, shape (...)
        What `RunningGain` has at each epoch.
    """
    factors = np.exp(-log_gains)[..., np.newaxis]
    return np.asarray(np.clip(signals * factors, -LIMIT, LIMIT), dtype=np.float32)


def soft_targets(labels: npt.NDArray[np.integer[Any]], smoothing: float) -> Float32Array:
    """Return targets, shape (..., 5), of labels; zeros where a label is below 0."""
    hot = np.eye(N_STAGES, dtype=np.float32)[np.maximum(labels, 0)]
    targets = hot * np.float32(1 - smoothing) + np.float32(smoothing / N_STAGES)
    return np.asarray(targets * (labels >= 0)[..., np.newaxis], dtype=np.float32)


def sha256_of(path: Path) -> str:
    """Return the hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
