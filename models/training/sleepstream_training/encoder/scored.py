"""Batches from scored recordings, of people or made up.

In come prepared recordings and the recipe, out go batches of one epoch or of several in a row,
drawn by stage, and what is held out, by subject. Epochs without a stage have no part in the loss,
but a sequence runs on through them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sleepstream.corpora.scoring import UNSCORED
from sleepstream.errors import RecordingError, SettingsError
from sleepstream.messages import (
    EPOCH_N_SAMPLES,
    EPOCH_S,
    N_STAGES,
    STAGES,
    Float32Array,
    Float64Array,
)
from sleepstream.stager.front_end import RunningGain
from sleepstream.stager.weights import ModelFiles
from sleepstream_training.encoder.augment import augment, gain_errors
from sleepstream_training.encoder.prepared import Prepared
from sleepstream_training.encoder.recipe import MadeUpData, Recipe, ScoredData
from sleepstream_training.encoder.scored_report import Tested, report
from sleepstream_training.encoder.sources import (
    Batch,
    HeldOut,
    IntArray,
    Report,
    SourceFile,
    scaled,
    soft_targets,
)

N_VALIDATION = 4000
"""So many epochs, evenly spread, are looked at to choose the weights."""

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """The part of a recording that is used, with what the front end has at each epoch.

    Attributes
    ----------
    recording : Prepared
        All of it.
    kept : slice
        Which epochs.
    signals, codes : ndarray
        Of the epochs that are used.
    log_gains, own : ndarray of float32, shape (n,)
        What the running gain has after all of the recording before; the epoch's own log amplitude.
    """

    recording: Prepared
    kept: slice
    signals: Float32Array
    codes: npt.NDArray[np.int8]
    log_gains: Float32Array
    own: Float32Array

    @classmethod
    def of(cls, recording: Prepared, margin: int, memory: int) -> Stretch:
        """Cut a long wake off, after the running gain has seen it."""
        gains = RunningGain(memory).follow(recording.log_amps)
        own = np.where(np.isnan(recording.log_amps), gains, recording.log_amps)
        kept = recording.kept(margin)
        return cls(
            recording, kept, recording.signals[kept], recording.codes[kept], gains[kept], own[kept]
        )


class ScoredSource:
    """Training data from scored recordings: a `sources.TrainingData`.

    Parameters
    ----------
    recordings : sequence of Prepared
        All of them.
    recipe : Recipe
        How to split, draw and change them.
    n_epochs : int
        Consecutive epochs in one item of a batch.

    Raises
    ------
    RecordingError
        Too little to learn from.
    SettingsError
        A subject that is to be held out is not there.
    """

    def __init__(self, recordings: Sequence[Prepared], recipe: Recipe, n_epochs: int = 1) -> None:
        data = recipe.data
        if not isinstance(data, ScoredData | MadeUpData):
            raise TypeError(f"no recipe for scored recordings: {type(data).__name__}")
        margin, memory = round(data.margin_min * 60 / EPOCH_S), recipe.model.gain_memory
        self._recipe, self._n_epochs = recipe, n_epochs
        self._margin = margin
        part_of = split(
            (r.about.subject for r in recordings),
            data.validation,
            data.test,
            recipe.training.seed,
        )
        self.parts = {
            part: [r for r in recordings if part_of[r.about.subject] == part] for part in PARTS
        }
        learned = [Stretch.of(r, margin, memory) for r in self.parts["train"]]
        self._stretches = [s for s in learned if len(s.codes) >= n_epochs]
        self._places, stages = _labelled(self._stretches)
        if not stages.size:
            raise RecordingError(
                f"recordings with {n_epochs} scored epochs to learn from",
                f"none among those of {len(self.parts['train'])} recordings",
                "name more data, or hold out fewer subjects",
            )
        counts = np.bincount(stages, minlength=N_STAGES)
        self.shares = (counts / counts.sum()).astype(np.float32)
        weights = _balanced(counts, data.balance)[stages]
        self._until = np.cumsum(weights / weights.sum())
        self.bias: tuple[float, ...] | None = self._taken_back()
        self.held_out: Mapping[str, HeldOut] = self._validation(memory)
        self.files: Sequence[SourceFile] = [f for r in recordings for f in r.about.files]
        self.learned_from = self._learned_from()
        self.limits: Sequence[str] = _limits(self.parts, self.shares)

    def batch(self, rng: np.random.Generator, n: int, done: float) -> Batch:  # noqa: ARG002
        """Draw `n` items: see `sources.TrainingData`."""
        how = self._recipe.augmentation
        windows = self._draw(rng, n)
        shape = (n, self._n_epochs)
        signals = np.empty((*shape, EPOCH_N_SAMPLES), dtype=np.float32)
        gains, codes = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.int64)
        own, errors = gain_errors(n, how, rng)
        for i, (k, at) in enumerate(windows):
            stretch, window = self._stretches[k], slice(at, at + self._n_epochs)
            signals[i], codes[i] = stretch.signals[window], stretch.codes[window]
            gains[i] = own[i] * stretch.own[at] + (1 - own[i]) * stretch.log_gains[window]
        changed = augment(scaled(signals, gains + errors[:, np.newaxis]), how, rng)
        return changed, soft_targets(codes, self._recipe.training.smoothing)

    def report(self, model: ModelFiles) -> Report:
        """Measure the model on the subjects held out for that: see `sources.TrainingData`."""
        tested = [Tested(r, r.kept(self._margin)) for r in self.parts["test"]]
        return report(model, tested)

    def _draw(self, rng: np.random.Generator, n: int) -> list[tuple[int, int]]:
        """Draw `n` items (stretch, first epoch), each by the stage of one of its epochs."""
        rows = np.searchsorted(self._until, rng.random(n), side="right")
        places = self._places[np.minimum(rows, len(self._places) - 1)]
        before = rng.integers(self._n_epochs, size=n)
        return [
            (k, max(0, min(at - back, len(self._stretches[k].codes) - self._n_epochs)))
            for (k, at), back in zip(places.tolist(), before.tolist(), strict=True)
        ]

    def _taken_back(self) -> tuple[float, ...]:
        """Return the bias that makes up for drawing rare stages more often.

        Counted, not calculated: of a sequence, the neighbours come along as they are.
        """
        rng = np.random.default_rng(0)
        drawn = np.zeros(N_STAGES)
        for k, at in self._draw(rng, 4000):
            codes = self._stretches[k].codes[at : at + self._n_epochs]
            drawn += np.bincount(codes[codes >= 0], minlength=N_STAGES)
        seen = (self.shares > 0) & (drawn > 0)
        ratio = np.zeros(N_STAGES)
        ratio[seen] = np.log(self.shares[seen] / (drawn[seen] / drawn.sum()))
        return tuple(round(float(value), 3) + 0.0 for value in ratio)

    def _validation(self, memory: int) -> dict[str, HeldOut]:
        stretches = [Stretch.of(r, self._margin, memory) for r in self.parts["validation"]]
        windows = [
            (stretch, slice(last + 1 - self._n_epochs, last + 1))
            for stretch in stretches
            for last in np.flatnonzero(stretch.codes >= 0).tolist()
            if last + 1 >= self._n_epochs
        ]
        if not windows:
            return {}
        some = windows[:: -(-len(windows) * self._n_epochs // N_VALIDATION)]
        signals = np.stack([scaled(s.signals[w], s.log_gains[w]) for s, w in some])
        # of a sequence the last epoch counts, as when serving: a network may look ahead within it
        labels = np.full(signals.shape[:2], UNSCORED, dtype=np.int64)
        labels[:, -1] = [s.codes[w][-1] for s, w in some]
        return {"validation": HeldOut(signals, labels)}

    def _learned_from(self) -> str:
        rows = "\n".join(
            f"| {part} | {_n(rs)} | {len(rs)} | {_counts(rs, self._margin)} | {_names(rs)} |"
            for part, rs in self.parts.items()
        )
        recordings = [r for part in self.parts.values() for r in part]
        channels = ", ".join(sorted({r.about.channel for r in recordings}))
        corpora = ", ".join(sorted({r.about.corpus for r in recordings}))
        names = ", ".join(stage.name for stage in STAGES)
        return f"""Recordings of {corpora}; derivation {channels}. Split by subject.

| part | subjects | recordings | epochs {names} | who |
|---|---|---|---|---|
{rows}

Epochs from {self._margin / 2:g} minutes before the first sleep to as long after the last; movement
and unscored ones have no part in the loss. The signal is conditioned by the code that serves
(`sleepstream.signal`), and the running gain has seen all of each recording before."""


def split(
    subjects: Iterable[str],
    validation: float | list[str],
    test: float | list[str],
    seed: int,
) -> dict[str, str]:
    """Return for each subject which of `PARTS` it is in.

    Parameters
    ----------
    subjects : iterable of str
        In any order, and as often as may be.
    validation, test : float or list of str
        A share of the subjects (of two or more at least one, if it is not 0 and one is left to
        learn from), or which.
    seed : int
        Decides the order in which shares are taken.

    Raises
    ------
    SettingsError
        A named subject is not there, or nobody is left.
    """
    everybody = sorted(set(subjects))
    part_of = dict.fromkeys(everybody, "train")
    order = [everybody[i] for i in np.random.default_rng(seed).permutation(len(everybody))]
    for part, wanted in (("test", test), ("validation", validation)):
        free = [subject for subject in order if part_of[subject] == "train"]
        if isinstance(wanted, list):
            chosen = wanted
        else:
            share = max(1, round(wanted * len(everybody))) if wanted else 0
            chosen = free[: min(share, len(free) - 1)]
        for subject in chosen:
            if subject not in free:
                raise SettingsError(
                    f"a subject {subject!r} for {part}",
                    f"these: {', '.join(free)}",
                    "`sleepstream data list FOLDER` shows who is there",
                )
            part_of[subject] = part
    if "train" not in part_of.values():
        raise SettingsError("somebody to learn from", "every subject is held out", "hold out fewer")
    return part_of


def _labelled(stretches: Sequence[Stretch]) -> tuple[IntArray, IntArray]:
    """Return which epochs (stretch, place), shape (n, 2), have a stage, and which stage."""
    places, stages = [np.empty((0, 2), np.int64)], [np.empty(0, np.int64)]
    for k, stretch in enumerate(stretches):
        at = np.flatnonzero(stretch.codes >= 0)
        places.append(np.stack((np.full(at.size, k), at), axis=1))
        stages.append(stretch.codes[at].astype(np.int64))
    return np.concatenate(places), np.concatenate(stages)


def _balanced(counts: IntArray, balance: float) -> Float64Array:
    """Return the weight of an epoch of each stage: from 1 (as they are) to 1 / how many."""
    return np.asarray(np.maximum(counts, 1) ** -float(balance), dtype=np.float64)


def _counts(recordings: Sequence[Prepared], margin: int) -> str:
    codes = [r.codes[r.kept(margin)] for r in recordings]
    total = sum((np.bincount(c[c >= 0], minlength=N_STAGES) for c in codes), np.zeros(N_STAGES))
    return " ".join(f"{n:.0f}" for n in total)


def _n(recordings: Sequence[Prepared]) -> int:
    return len({r.about.subject for r in recordings})


def _names(recordings: Sequence[Prepared]) -> str:
    return ", ".join(sorted({r.about.subject for r in recordings})) or "–"


def _limits(parts: dict[str, list[Prepared]], shares: Float32Array) -> list[str]:
    learned = sorted({r.about.channel for r in parts["train"]})
    limits = [
        f"It learned from {_n(parts['train'])} people, from {', '.join(learned)}. Other "
        "derivations, recorders, ages and conditions are untried unless the tables show them.",
        "It looks at single epochs or short sequences; what the night says is the decoder's task.",
        "Artefacts are not a class: a bad lead gets a stage too. Heed the signal quality.",
    ]
    absent = [s.name for s, share in zip(STAGES, shares, strict=True) if share == 0]
    if absent:
        limits.insert(0, f"It has never seen {', '.join(absent)}.")
    if not parts["test"]:
        limits.insert(0, "Nobody was held out to test it: how good it is, is unknown.")
    return limits
