"""The architecture that the score is compared with: a transformer over segments of the night.

In come the decoder's states, averaged over segments of ten minutes; out go logits, and how much
attention each segment got. The decoder stays as it is; a layer of attention between segments, then
attention pooling, then one number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sleepstream_training.disorder.cohort import SCORED, SEGMENTS_PER_H, Cohort
from sleepstream_training.disorder.linear import END, TIMES
from sleepstream_training.disorder.recipe import Segments

MAX_SEGMENTS = 60
"""Ten hours: what comes later is not looked at."""

BATCH = 32
FAMILY = "decoder states, transformer"

Array = npt.NDArray[Any]


class SegmentTransformer(nn.Module):
    """The network.

    Parameters
    ----------
    n_inputs : int
        Width of the decoder's states.
    settings : Segments
        Sizes and dropout.
    """

    def __init__(self, n_inputs: int, settings: Segments) -> None:
        super().__init__()
        width = settings.width
        self.embed = nn.Linear(n_inputs, width)
        self.drop = nn.Dropout(settings.dropout)
        self.place = nn.Parameter(torch.randn(1, MAX_SEGMENTS, width) * 0.02)
        self.mix = nn.TransformerEncoderLayer(
            width,
            settings.n_heads,
            2 * width,
            settings.dropout,
            batch_first=True,
            norm_first=True,
        )
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, 1)
        self.head = nn.Linear(width, 1)

    def forward(self, states: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Judge nights.

        Parameters
        ----------
        states : Tensor, shape (n, n_segments, n_inputs)
            Standardised; anything where a night has ended.
        there : Tensor of bool, shape (n, n_segments)
            Where it has not.

        Returns
        -------
        logits : Tensor, shape (n,)
            Of the group with the disorder.
        attention : Tensor, shape (n, n_segments)
            Adds up to one over the segments that are there.
        """
        hidden = self.drop(self.embed(states)) + self.place[:, : states.shape[1]]
        hidden = self.norm(self.mix(hidden, src_key_padding_mask=~there))
        scores = self.query(hidden)[..., 0].masked_fill(~there, float("-inf"))
        attention = scores.softmax(dim=1)
        pooled = (attention[..., None] * hidden).sum(dim=1)
        return self.head(pooled)[:, 0], attention


@dataclass(frozen=True, slots=True)
class SegmentCandidate:
    """One way to train it: so many passes over the nights."""

    passes: int

    @property
    def family(self) -> str:
        """Which architecture it is."""
        return FAMILY

    @property
    def name(self) -> str:
        """What distinguishes it, for people."""
        return f"{self.passes} passes"


@dataclass(frozen=True, slots=True, eq=False)
class FittedSegments:
    """A trained network, and how its inputs are standardised."""

    network: SegmentTransformer
    mean: Array
    scale: Array


class SegmentLearner:
    """Trains candidates on some nights and applies them to all.

    Parameters
    ----------
    cohort : Cohort
        The nights.
    settings : Segments
        Sizes, and how to train.
    seed : int
        Of the weights and batches.
    """

    def __init__(self, cohort: Cohort, settings: Segments, seed: int) -> None:
        self._states = [
            [reading.states[:MAX_SEGMENTS] for reading in readings] for readings in cohort.readings
        ]
        self._cases = cohort.cases
        self._settings = settings
        self._seed = seed

    def fit(self, candidate: SegmentCandidate, nights: Array) -> FittedSegments:
        """Train on `nights`, each batch half of each group, each night cut off somewhere."""
        rows = np.concatenate([states[n] for states in self._states for n in nights])
        mean, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-5
        torch.manual_seed(self._seed)
        network = SegmentTransformer(rows.shape[1], self._settings)
        optimizer = torch.optim.AdamW(
            network.parameters(),
            lr=self._settings.learning_rate,
            weight_decay=self._settings.weight_decay,
        )
        n_steps = max(2, candidate.passes * len(nights) // BATCH)
        rate = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self._settings.learning_rate, total_steps=n_steps
        )
        rng = np.random.default_rng(self._seed)
        groups = [nights[self._cases[nights] == group] for group in (0.0, 1.0)]
        for _ in range(n_steps):
            drawn = np.concatenate([rng.choice(group, BATCH // 2) for group in groups])
            states, there = self._padded([self._drawn(n, rng) for n in drawn], mean, scale)
            logits, _ = network(states, there)
            truth = torch.from_numpy(self._cases[drawn].astype(np.float32))
            loss = F.binary_cross_entropy_with_logits(logits, truth)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            rate.step()
        return FittedSegments(network.eval(), mean, scale)

    def predict(self, fitted: FittedSegments, reading: int) -> Array:
        """Return logits at each of `TIMES` of every night, shape (7, n_nights); NaN for none."""
        nights = self._states[reading]
        found = np.full((len(TIMES), len(nights)), np.nan)
        for number, time in enumerate(TIMES):
            n_segments = MAX_SEGMENTS if time == END else int(time) * SEGMENTS_PER_H
            least = SEGMENTS_PER_H if time == END else n_segments
            rows = [n for n, states in enumerate(nights) if len(states) >= least]
            if rows:
                cut = [nights[n][:n_segments] for n in rows]
                found[number, rows] = self._judge(fitted, cut)[0]
        return found

    def attention(self, fitted: FittedSegments, nights: Array, hours: int) -> tuple[Array, Array]:
        """Look where attention goes, on hypnograms as scored.

        Parameters
        ----------
        fitted : FittedSegments
            The network.
        nights : ndarray of int
            Numbers of nights; shorter ones are left out.
        hours : int
            Hours after sleep onset at which it judges.

        Returns
        -------
        nights : ndarray of int, shape (n,)
            Those that are long enough.
        shares : ndarray, shape (n, n_segments)
            Each segment's share of attention.
        """
        n_segments = hours * SEGMENTS_PER_H
        long = np.array([n for n in nights if len(self._states[SCORED][n]) >= n_segments])
        cut = [self._states[SCORED][n][:n_segments] for n in long]
        return long, self._judge(fitted, cut)[1]

    @torch.inference_mode()
    def _judge(self, fitted: FittedSegments, nights: list[Array]) -> tuple[Array, Array]:
        logits, attention = fitted.network(*self._padded(nights, fitted.mean, fitted.scale))
        return logits.numpy(), attention.numpy()

    def _drawn(self, night: int, rng: np.random.Generator) -> Array:
        """Return one reading of a night, cut off after an hour or later."""
        decoded = 1 + int(rng.integers(len(self._states) - 1))
        states = self._states[decoded if rng.random() < 0.5 else SCORED][night]
        least = min(SEGMENTS_PER_H, len(states))
        return states[: int(rng.integers(least, len(states) + 1))]

    @staticmethod
    def _padded(nights: list[Array], mean: Array, scale: Array) -> tuple[Tensor, Tensor]:
        size = len(nights), max(1, *(len(states) for states in nights))
        states = np.zeros((*size, len(mean)), dtype=np.float32)
        there = np.zeros(size, dtype=bool)
        there[:, 0] = True  # a night without sleep is a segment of nothing
        for row, its in enumerate(nights):
            states[row, : len(its)] = (its - mean) / scale
            there[row, : len(its)] = True
        return torch.from_numpy(states), torch.from_numpy(there)
