"""The models and the baselines, in one form: nights as tokens in, their predictions out.

In come model folders and the training nights that baselines are fitted on; out go methods. A GPT is
run over whole nights, several side by side, which gives what the cached steps of serving give
(``tests/property/test_cache.py``); every other decoder is stepped as it is when serving.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file

from sleepstream.messages import N_HORIZONS, N_STAGES, Stage
from sleepstream.stager import context, forecast
from sleepstream.stager.decoders import load_decoder
from sleepstream.stager.gpt import Gpt, GptShape, split
from sleepstream.stager.weights import ModelFiles
from sleepstream_training.decoder import both_ways
from sleepstream_training.decoder.batches import Tokens, batch, coming, filled, following
from sleepstream_training.evaluation.forecasts import Predictions
from sleepstream_training.nights import Night, period

BOUTS = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96])
"""Bout lengths, in epochs, up to which a row of the run-length table reaches."""

_SOON = (Stage.W, Stage.REM)

Array = npt.NDArray[Any]
Method = Callable[[Sequence[Tokens]], list[Predictions]]


def each(one: Callable[[Tokens], Predictions]) -> Method:
    """Return the method that takes its nights one by one."""
    return lambda nights: [one(tokens) for tokens in nights]


def hard(night: Night) -> Tokens:
    """Return the night as it was scored: sleep period and 30 minutes to either side."""
    stages = night.stages[period(night.stages)]
    return Tokens(np.eye(N_STAGES)[np.maximum(stages, 0)], stages >= 0, stages, soft=False)


def soft(night: Night) -> Tokens:
    """Return the night as an encoder saw it, over the same epochs."""
    part = period(night.stages)
    stages = night.stages[part]
    return Tokens(
        np.asarray(night.probs)[part],
        np.ones(len(stages), bool),
        stages,
        soft=True,
        spectrum=None if night.spectrum is None else night.spectrum[part],
    )


def of_model(model: ModelFiles) -> Method:
    """Return the method of a decoder on disk.

    Raises
    ------
    ModelError
        It is no decoder, or its weights do not fit.
    """
    if model.arch == both_ways.ARCH:
        network = load_gpt(model)
        # side by side it would see what pads the shorter ones
        return each(lambda tokens: run_gpt(network, tokens))
    decoder = load_decoder(model, torch.device("cpu"))
    if model.arch == "gpt":
        network = load_gpt(model)
        return lambda nights: run_together(network, nights)

    def run(tokens: Tokens) -> Predictions:
        decoder.reset()
        spectra = _rows(tokens.spectrum, len(tokens.stages))
        epochs = zip(tokens.probs.astype(np.float32), spectra, tokens.scorable, strict=True)
        said = [decoder.step(p, x) if scorable else decoder.step(None) for p, x, scorable in epochs]
        return Predictions(
            np.stack([s.probs for s in said]),
            np.stack([s.forecast for s in said]),
            np.array([(s.p_wake_5min, s.p_rem_5min) for s in said]),
        )

    return each(run)


def _rows(spectrum: Array | None, n_epochs: int) -> list[Array | None]:
    return [None] * n_epochs if spectrum is None else list(spectrum.astype(np.float32))


def load_gpt(model: ModelFiles) -> Gpt:
    """Return the network of a decoder of arch ``"gpt"``, which `load_decoder` accepts.

    One that sees the future, which no `Decoder` can, is `both_ways.BothWays`.
    """
    kind = both_ways.BothWays if model.arch == both_ways.ARCH else Gpt
    gpt = kind(GptShape(n_inputs=context.N_INPUTS, **model.options))
    gpt.load_state_dict(load_file(model.weights))
    return gpt.eval()


def run_gpt(gpt: Gpt, tokens: Tokens) -> Predictions:
    """Run the network over one night."""
    return run_together(gpt, [tokens])[0]


@torch.inference_mode()
def run_together(gpt: Gpt, nights: Sequence[Tokens]) -> list[Predictions]:
    """Run the network over nights side by side; what pads them lies behind all that counts."""
    logits = gpt(torch.from_numpy(batch(list(nights)).inputs))
    out = []
    for row, tokens in enumerate(nights):
        now, ahead, soon = (part.double() for part in split(logits[row, : len(tokens.stages)]))
        rows = ahead.softmax(-1).numpy()
        floor = rows[:, : forecast.SOON_EPOCHS].max(axis=1)[:, _SOON]
        events = np.maximum(soon.sigmoid().numpy(), floor)
        out.append(Predictions(now.softmax(-1).numpy(), rows, events))
    return out


class Markov:
    """What stage follows which, and nothing else.

    Parameters
    ----------
    matrix : ndarray, shape (5, 5)
        Transition probabilities; by default those that ship (`sleepstream.stager.forecast`).
    """

    def __init__(self, matrix: Array | None = None) -> None:
        self.matrix = forecast.transitions() if matrix is None else matrix
        steps = range(1, N_HORIZONS + 1)
        self._powers = np.stack([np.linalg.matrix_power(self.matrix, k) for k in steps])
        self._soon = np.array(
            [[forecast.reaches(row, self.matrix, s) for s in _SOON] for row in np.eye(N_STAGES)]
        )

    @classmethod
    def fitted(cls, nights: Sequence[Array]) -> Markov:
        """Count the transitions of these nights, one imaginary one of each kind added."""
        counts = np.ones((N_STAGES, N_STAGES))
        for stages in nights:
            before, after = stages[:-1].astype(int), stages[1:].astype(int)
            known = (before >= 0) & (after >= 0)
            np.add.at(counts, (before[known], after[known]), 1)
        return cls(counts / counts.sum(axis=1, keepdims=True))

    def __call__(self, tokens: Tokens) -> Predictions:
        """Move every epoch's probabilities along the chain."""
        ahead = np.einsum("ts,ksr->tkr", tokens.probs, self._powers)
        return Predictions(tokens.probs, ahead, tokens.probs @ self._soon)


class Persistence:
    """What is, stays; how surely, depends on the horizon alone.

    Parameters
    ----------
    stay : ndarray, shape (20,)
        Share of epochs whose stage is the same so many epochs later.
    soon : ndarray, shape (2,)
        How often wake, and REM, come within ten epochs where they are not there.
    """

    def __init__(self, stay: Array, soon: Array) -> None:
        eye = np.eye(N_STAGES)
        self._ahead = stay[:, None, None] * eye + ((1 - stay) / (N_STAGES - 1))[:, None, None] * (
            1 - eye
        )
        self._soon = soon

    @classmethod
    def fitted(cls, nights: Sequence[Array]) -> Persistence:
        """Count how often these nights stay as they are."""
        same, known, came, asked = (np.zeros(n) for n in (N_HORIZONS, N_HORIZONS, 2, 2))
        for stages in nights:
            ahead = following(stages.astype(int))
            soon = coming(ahead)
            valid = (stages >= 0)[:, None] & (ahead >= 0)
            known += valid.sum(axis=0)
            same += (valid & (ahead == stages[:, None])).sum(axis=0)
            for event, stage in enumerate(_SOON):
                open_ = (stages >= 0) & (stages != stage) & (soon[:, event] >= 0)
                asked[event] += open_.sum()
                came[event] += soon[open_, event].sum()
        return cls((same + 1) / (known + N_STAGES), (came + 1) / (asked + 2))

    @classmethod
    def of_chain(cls, matrix: Array) -> Persistence:
        """Return what a Markov chain that has settled would have counted."""
        settled, eye = forecast.stationary(matrix), np.eye(N_STAGES)
        steps = range(1, N_HORIZONS + 1)
        stay = [float(settled @ np.diag(np.linalg.matrix_power(matrix, k))) for k in steps]
        others = [np.where(eye[stage] > 0, 0.0, settled) for stage in _SOON]
        pairs = zip(others, _SOON, strict=True)
        soon = [forecast.reaches(other / other.sum(), matrix, stage) for other, stage in pairs]
        return cls(np.array(stay), np.array(soon))

    def __call__(self, tokens: Tokens) -> Predictions:
        """Keep every epoch's probabilities, ever less surely."""
        ahead = np.einsum("ts,ksr->tkr", tokens.probs, self._ahead)
        there = tokens.probs[:, _SOON]
        return Predictions(tokens.probs, ahead, there + (1 - there) * self._soon)


class RunLengths:
    """A table by stage, stage before and bout length, smoothed towards the stage's own row.

    Parameters
    ----------
    nights : sequence of ndarray of int
        Training nights, -1 where unscored.
    """

    def __init__(self, nights: Sequence[Array]) -> None:
        size = N_STAGES * (N_STAGES + 1) * (len(BOUTS) + 1)
        ahead_counts = np.zeros((size, N_HORIZONS, N_STAGES))
        soon_counts = np.zeros((size, 2, 2))
        for stages in nights:
            keys, ahead = _cells(stages), following(stages.astype(int))
            soon = coming(ahead)
            for k in range(N_HORIZONS):
                known = ahead[:, k] >= 0
                np.add.at(ahead_counts[:, k], (keys[known], ahead[known, k]), 1.0)
            for event in range(2):
                known = soon[:, event] >= 0
                np.add.at(soon_counts[:, event], (keys[known], soon[known, event].astype(int)), 1.0)
        self._ahead, self._soon = _smoothed(ahead_counts), _smoothed(soon_counts)

    def __call__(self, tokens: Tokens) -> Predictions:
        """Look every epoch's most probable stage up."""
        keys = _cells(np.where(tokens.scorable, tokens.probs.argmax(axis=1), -1))
        return Predictions(tokens.probs, self._ahead[keys], self._soon[keys, :, 1])


def _smoothed(counts: Array) -> Array:
    by_stage = counts.reshape(N_STAGES, -1, *counts.shape[1:])
    whole = by_stage.sum(axis=1, keepdims=True) + 0.1
    backed = by_stage + 20.0 * whole / whole.sum(axis=-1, keepdims=True)
    rates: Array = (backed / backed.sum(axis=-1, keepdims=True)).reshape(counts.shape)
    return rates


def _cells(stages: Array) -> Array:
    """Return the cell of the table that each epoch falls in."""
    keys, before, run, last = [], N_STAGES, 0, -1
    for stage in filled(stages).tolist():
        if stage != last:
            before, run, last = (N_STAGES if last < 0 else last), 0, stage
        run += 1
        bout = int(np.searchsorted(BOUTS, run))
        keys.append((stage * (N_STAGES + 1) + before) * (len(BOUTS) + 1) + bout)
    return np.array(keys)


def baselines(training: Sequence[Night]) -> dict[str, Method]:
    """Return the baselines, fitted on the training nights.

    Parameters
    ----------
    training : sequence of Night
        Where it is empty, persistence and Markov are those of the transitions that ship, and there
        is no run-length table.
    """
    if not training:
        chain = Markov()
        stays = Persistence.of_chain(chain.matrix)
        return {"persistence": each(stays), "Markov": each(chain)}
    nights = [night.stages[period(night.stages)] for night in training]
    return {
        "persistence": each(Persistence.fitted(nights)),
        "Markov": each(Markov.fitted(nights)),
        "run lengths": each(RunLengths(nights)),
    }
