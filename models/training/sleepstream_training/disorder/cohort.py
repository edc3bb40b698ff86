"""Who is compared with whom, and what of their nights the score reads.

In come scored nights of one database, a decoder, and nights with an encoder's probabilities; out
goes a `Cohort`: each night as it was scored, and as the decoder writes it behind simulated
encoders, since that is what the score reads when it serves. Everything begins at sleep onset.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sleepstream.errors import ModelError, RecordingError
from sleepstream.messages import N_STAGES
from sleepstream.stager.disorder import EPOCHS_PER_H, sleep_onset
from sleepstream.stager.gpt import Gpt, split
from sleepstream.stager.weights import ModelFiles
from sleepstream_training.decoder.batches import Donors, Tokens, batch, distort, filled
from sleepstream_training.disorder.recipe import ByAhi, ByDiagnosis
from sleepstream_training.evaluation.methods import load_gpt
from sleepstream_training.nights import Night

SEGMENT_EPOCHS = 20
"""Epochs in a segment: ten minutes."""

SEGMENTS_PER_H = EPOCHS_PER_H // SEGMENT_EPOCHS

TOGETHER = 4
"""Nights that are read side by side."""

SCORED, DECODED = 0, 1
"""Readings that are judged on: the hypnogram as scored, and as first decoded."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """One way in which one night is read, from sleep onset on.

    Attributes
    ----------
    stages : ndarray of int8, shape (n_epochs,)
        -1 where unscored. Empty for a night without sleep.
    states : ndarray of float32, shape (n_epochs // 20, width)
        The decoder's state, averaged over segments.
    """

    stages: Array
    states: Array


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """Nights of one database, one for each subject.

    Attributes
    ----------
    nights : list of Night
        All of them.
    cases : ndarray of float64, shape (n_nights,)
        1 and 0 for the two groups; NaN for who is in neither.
    readings : list of list of Reading
        By reading (`SCORED`, `DECODED`, more decoded ones), then by night.
    """

    nights: list[Night]
    cases: Array
    readings: list[list[Reading]]

    @property
    def grouped(self) -> Array:
        """Numbers of the nights in either group."""
        return np.flatnonzero(np.isfinite(self.cases))


def choose(nights: Sequence[Night], groups: ByAhi | ByDiagnosis) -> tuple[list[Night], Array]:
    """Return the nights of the groups' database, and which group each is in.

    Raises
    ------
    RecordingError
        No such nights, or a subject with several: intervals are over subjects.
    """
    chosen = [
        night
        for night in nights
        if night.dataset == groups.dataset
        and night.name not in groups.leave_out
        and (night.ahi is not None if isinstance(groups, ByAhi) else night.diagnosis)
    ]
    cases = np.array([_case(night, groups) for night in chosen])
    n_cases, n_controls = int(np.sum(cases == 1)), int(np.sum(cases == 0))
    if min(n_cases, n_controls) < 2:
        raise RecordingError(
            f"nights of {groups.dataset} with and without, told by {groups.__struct_config__.tag}",
            f"{n_cases} with and {n_controls} without",
            "give hypnograms with ahi or diagnosis (docs/training.md)",
        )
    if len({night.subject for night in chosen}) < len(chosen):
        raise RecordingError(
            "one night of each subject", "subjects with several", "leave the others out"
        )
    return chosen, cases


def _case(night: Night, groups: ByAhi | ByDiagnosis) -> float:
    if isinstance(groups, ByDiagnosis):
        return float(night.diagnosis not in groups.none)
    ahi = night.ahi or 0.0
    return 1.0 if ahi >= groups.severe else 0.0 if ahi < groups.none else np.nan


class Reader:
    """Reads nights through a decoder.

    Parameters
    ----------
    decoder : ModelFiles
        Of arch ``"gpt"``.
    donors : sequence of Night
        Nights with an encoder's probabilities, which the simulated encoders are made of.
    seed : int
        Of the simulation.

    Raises
    ------
    ModelError
        Another decoder: it has no states.
    """

    def __init__(self, decoder: ModelFiles, donors: Sequence[Night], seed: int) -> None:
        if decoder.arch != "gpt":
            raise ModelError(
                "a decoder of arch 'gpt' to read through", f"arch {decoder.arch!r}", "name one"
            )
        self._gpt = load_gpt(decoder)
        self._donors = Donors(list(donors))
        self._seed = seed

    def read(self, nights: Sequence[Night], n_decoded: Sequence[int]) -> list[list[Reading]]:
        """Return each night as scored, and as decoded so many times.

        What is drawn depends on the seed and the night alone.
        """
        tokens = [self._tokens(*pair) for pair in zip(nights, n_decoded, strict=True)]
        said, states = _run(self._gpt, [token for its in tokens for token in its])
        found, at = [], 0
        for night, its in zip(nights, tokens, strict=True):
            n_epochs, after = len(night.stages), at + len(its)
            hypnograms = [night.stages, *(stages[:n_epochs] for stages in said[at + 1 : after])]
            pairs = zip(hypnograms, states[at:after], strict=True)
            found.append([_since_onset(stages, its_states) for stages, its_states in pairs])
            at = after
        return found

    def _tokens(self, night: Night, n_decoded: int) -> list[Tokens]:
        stages = night.stages
        rng = np.random.default_rng([self._seed, *night.name.encode()])
        as_scored = np.eye(N_STAGES)[np.maximum(stages, 0)]
        tokens = [Tokens(as_scored, stages >= 0, stages, soft=False)]
        for _ in range(n_decoded):
            probs = distort(self._donors.walk(filled(stages), rng), rng)
            tokens.append(Tokens(probs, np.ones(len(stages), dtype=bool), stages, soft=True))
        return tokens


@torch.inference_mode()
def _run(gpt: Gpt, tokens: list[Tokens]) -> tuple[list[Array], list[Array]]:
    """Return the decoder's stages, and its states (what its last layer hands to the heads)."""
    kept: list[torch.Tensor] = []
    hook = gpt.norm.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    try:
        now, _, _ = split(gpt(torch.from_numpy(batch(tokens).inputs)))
    finally:
        hook.remove()
    return list(now.argmax(-1).numpy().astype(np.int8)), list(kept[0].numpy())


def _since_onset(stages: Array, states: Array) -> Reading:
    onset = sleep_onset(stages.tolist())
    begin = len(stages) if onset is None else onset
    n_segments = (len(stages) - begin) // SEGMENT_EPOCHS
    rows = states[begin : begin + n_segments * SEGMENT_EPOCHS]
    means = rows.reshape(n_segments, SEGMENT_EPOCHS, -1).mean(axis=1)
    return Reading(stages[begin:].astype(np.int8), means.astype(np.float32))


def assemble(
    nights: list[Night],
    cases: Array,
    reader: Reader,
    n_decoded: int,
    *,
    kept: Path,
    on_night: Callable[[int], None],
) -> Cohort:
    """Read every night, or find what was read before.

    Parameters
    ----------
    nights, cases
        From `choose`. Nights in neither group are decoded once: nothing learns from them.
    reader : Reader
        Who reads.
    n_decoded : int
        How often each night is decoded.
    kept : Path
        A folder for what was read; its name stands for all that decides it.
    on_night : callable
        Told how many nights are done.
    """
    kept.mkdir(parents=True, exist_ok=True)
    by_night: list[list[Reading]] = []
    for begin in range(0, len(nights), TOGETHER):
        path, some = kept / f"{begin:05d}.npz", slice(begin, begin + TOGETHER)
        if not path.is_file():
            times = [n_decoded if np.isfinite(case) else 1 for case in cases[some]]
            _keep(path, reader.read(nights[some], times))
        by_night += _kept(path)
        on_night(len(by_night))
    nothing = Reading(np.zeros(0, np.int8), np.zeros((0, by_night[0][0].states.shape[1])))
    readings = [
        [its[number] if number < len(its) else nothing for its in by_night]
        for number in range(1 + n_decoded)
    ]
    return Cohort(nights, cases, readings)


def _keep(path: Path, nights: list[list[Reading]]) -> None:
    arrays: dict[str, Any] = {}
    for number, readings in enumerate(nights):
        for which, reading in enumerate(readings):
            arrays[f"stages {number} {which}"] = reading.stages
            arrays[f"states {number} {which}"] = reading.states
    new = path.with_suffix(".new.npz")
    np.savez(new, **arrays)
    new.replace(path)


def _kept(path: Path) -> list[list[Reading]]:
    nights: dict[str, list[Reading]] = {}
    with np.load(path) as file:
        for name in file.files:
            kind, number, which = name.split()
            if kind == "stages":
                states = file[f"states {number} {which}"]
                nights.setdefault(number, []).append(Reading(file[name], states))
    return list(nights.values())


def agreement(cohort: Cohort) -> float:
    """Return Cohen's kappa between the scored and the decoded nights, over all epochs."""
    table = np.zeros((N_STAGES, N_STAGES))
    for truth, said in zip(cohort.readings[SCORED], cohort.readings[DECODED], strict=True):
        # both end with the recording, and may begin at different epochs
        n = min(len(truth.stages), len(said.stages))
        pair = truth.stages[len(truth.stages) - n :], said.stages[len(said.stages) - n :]
        known = pair[0] >= 0
        np.add.at(table, (pair[0][known], pair[1][known]), 1)
    chance = float(table.sum(0) @ table.sum(1)) / table.sum() ** 2
    return float((np.trace(table) / table.sum() - chance) / (1 - chance))
