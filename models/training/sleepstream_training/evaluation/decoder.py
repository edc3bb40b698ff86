"""How good a decoder is: as a language model of nights, and behind an encoder that errs.

In come a network and held-out nights; out go the tables of the card, each with its baselines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import roc_auc_score

from sleepstream.messages import N_HORIZONS, N_STAGES, Stage
from sleepstream.stager import forecast
from sleepstream.stager.decoder import SleepGptDecoder
from sleepstream.stager.gpt import Gpt, split
from sleepstream.stager.sleepgpt import SleepGpt, convert_sleepgpt
from sleepstream_training.decoder.batches import (
    Donors,
    Tokens,
    batch,
    coming,
    distort,
    filled,
    following,
)
from sleepstream_training.decoder.data import SEED, Night, period

Array = npt.NDArray[Any]
SHOWN_HORIZONS = (1, 2, 4, 10, 20)
BOUTS = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96])


class Predictions:
    """What a method says at every epoch of one night.

    Parameters
    ----------
    now : ndarray, shape (n_epochs, 5)
        The stage.
    ahead : ndarray, shape (n_epochs, 20, 5)
        The stages that follow.
    soon : ndarray, shape (n_epochs, 2)
        Wake, and REM, within ten epochs.
    """

    def __init__(self, now: Array, ahead: Array, soon: Array) -> None:
        self.now, self.ahead, self.soon = now, ahead, soon


@torch.inference_mode()
def run_gpt(gpt: Gpt, tokens: Tokens) -> Predictions:
    """Run the network over one night."""
    inputs = torch.from_numpy(batch([tokens]).inputs)
    now, ahead, soon = (part[0].double() for part in split(gpt(inputs)))
    rows = ahead.softmax(-1).numpy()
    floor = rows[:, : forecast.SOON_EPOCHS].max(axis=1)[:, [Stage.W, Stage.REM]]
    return Predictions(now.softmax(-1).numpy(), rows, np.maximum(soon.sigmoid().numpy(), floor))


def run_markov(tokens: Tokens) -> Predictions:
    """Forecast by stage transitions from the tokens as they are."""
    matrix = forecast.transitions()
    powers = np.stack([np.linalg.matrix_power(matrix, k + 1) for k in range(N_HORIZONS)])
    eye = np.eye(N_STAGES)
    soon = np.array(
        [[forecast.reaches(row, matrix, s) for s in (Stage.W, Stage.REM)] for row in eye]
    )
    ahead = np.einsum("ts,ksr->tkr", tokens.probs, powers)
    return Predictions(tokens.probs, ahead, tokens.probs @ soon)


def run_persistence(tokens: Tokens, changes: float) -> Predictions:
    """Say that everything stays, but for one rate of change."""
    stay = np.where(np.eye(N_STAGES, dtype=bool), 1 - changes, changes / (N_STAGES - 1))
    ahead = np.repeat((tokens.probs @ stay)[:, None], N_HORIZONS, axis=1)
    return Predictions(tokens.probs, ahead, tokens.probs[:, [Stage.W, Stage.REM]])


class RunLengths:
    """A table by stage, stage before and bout length, smoothed towards the stage's own row."""

    def __init__(self, nights: Iterable[Array]) -> None:
        size = N_STAGES * (N_STAGES + 1) * (len(BOUTS) + 1)
        self._ahead = np.zeros((size, N_HORIZONS, N_STAGES))
        self._soon = np.zeros((size, 2, 2))
        for stages in nights:
            keys, ahead = self.keys(stages), following(stages)
            soon = coming(ahead)
            for k in range(N_HORIZONS):
                known = ahead[:, k] >= 0
                np.add.at(self._ahead[:, k], (keys[known], ahead[known, k]), 1.0)
            for event in range(2):
                known = soon[:, event] >= 0
                np.add.at(self._soon[:, event], (keys[known], soon[known, event].astype(int)), 1.0)
        self._ahead, self._soon = self._smoothed(self._ahead), self._smoothed(self._soon)

    @staticmethod
    def _smoothed(counts: Array) -> Array:
        by_stage = counts.reshape(N_STAGES, -1, *counts.shape[1:])
        whole = by_stage.sum(axis=1, keepdims=True) + 0.1
        backed = by_stage + 20.0 * whole / whole.sum(axis=-1, keepdims=True)
        rates: Array = (backed / backed.sum(axis=-1, keepdims=True)).reshape(counts.shape)
        return rates

    @staticmethod
    def keys(stages: Array) -> Array:
        """Return the cell of the table that each epoch falls in."""
        keys, before, run, last = [], N_STAGES, 0, -1
        for stage in filled(stages).tolist():
            if stage != last:
                before, run, last = (N_STAGES if last < 0 else last), 0, stage
            run += 1
            bout = int(np.searchsorted(BOUTS, run))
            keys.append((stage * (N_STAGES + 1) + before) * (len(BOUTS) + 1) + bout)
        return np.array(keys)

    def run(self, tokens: Tokens) -> Predictions:
        """Look every epoch up."""
        keys = self.keys(np.where(tokens.scorable, tokens.probs.argmax(1), -1))
        return Predictions(tokens.probs, self._ahead[keys], self._soon[keys, :, 1])


def run_hmm(tokens: Tokens, prior: Array) -> Predictions:
    """Filter the encoder's probabilities by the stage transitions."""
    matrix, rows = forecast.transitions(), []
    belief = forecast.stationary(matrix)
    for probs, scorable in zip(tokens.probs, tokens.scorable, strict=True):
        belief = belief @ matrix
        if scorable:
            belief = belief * probs / prior
            belief = belief / belief.sum()
        rows.append(belief)
    return run_markov(Tokens(np.array(rows), tokens.scorable, tokens.stages, soft=True))


def published_sleepgpt(checkpoint: Path) -> Callable[[Tokens], Predictions]:
    """Return the published SleepGPT with its authors' fusion, as a yardstick."""
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")["state_dict"]
    tensors, options = convert_sleepgpt(state)
    weight = options.pop("weight")
    network = SleepGpt(**options)
    network.load_state_dict(tensors)

    def run(tokens: Tokens) -> Predictions:
        decoder = SleepGptDecoder(network, weight, torch.device("cpu"), checkpoint.name, "")
        said = [decoder.step(row) for row in tokens.probs]
        return run_markov(
            Tokens(np.stack([s.probs for s in said]), tokens.scorable, tokens.stages, soft=True)
        )

    return run


def hard(night: Night, margin: int = 60) -> Tokens:
    """Return the scored hypnogram as tokens, sleep period and 30 minutes to either side."""
    stages = night.stages[period(night.stages, margin)]
    return Tokens(np.eye(N_STAGES)[np.maximum(stages, 0)], stages >= 0, stages, soft=False)


def encoded(night: Night) -> Tokens:
    """Return the night as the features-only encoder saw it."""
    part = period(night.stages)
    stages = night.stages[part]
    return Tokens(np.asarray(night.probs)[part], np.ones(len(stages), bool), stages, soft=True)


def ece(confidence: Array, right: Array, n_bins: int = 15) -> float:
    """Return the expected calibration error."""
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    gaps = [
        np.sum(bins == b) * abs(confidence[bins == b].mean() - right[bins == b].mean())
        for b in np.unique(bins)
    ]
    return float(sum(gaps) / len(confidence))


def forecast_scores(nights: list[Tokens], predictions: list[Predictions]) -> dict[str, Any]:
    """Score forecasts: log-loss per horizon, AUC of change and of both events, ECE of t+1."""
    losses: list[list[Array]] = [[] for _ in range(N_HORIZONS)]
    change, events, next_one = [], ([], []), []  # type: ignore[var-annotated]
    for tokens, said in zip(nights, predictions, strict=True):
        ahead = following(tokens.stages)
        soon, here = coming(ahead), tokens.stages >= 0
        for k in range(N_HORIZONS):
            ok = here & (ahead[:, k] >= 0)
            chosen = said.ahead[ok, k, :][np.arange(ok.sum()), ahead[ok, k]]
            losses[k].append(-np.log(np.maximum(chosen, 1e-9)))
        ok = here & (ahead[:, 0] >= 0)
        stay = said.ahead[ok, 0][np.arange(ok.sum()), tokens.stages[ok]]
        change.append((ahead[ok, 0] != tokens.stages[ok], 1 - stay))
        top = said.ahead[ok, 0]
        next_one.append((top.max(1), top.argmax(1) == ahead[ok, 0]))
        for event, stage in enumerate((Stage.W, Stage.REM)):
            # whether it comes is only a question while it is not there
            ok = here & (tokens.stages != stage) & (soon[:, event] >= 0)
            events[event].append((soon[ok, event], said.soon[ok, event]))
    return {
        "loss": [float(np.concatenate(loss).mean()) for loss in losses],
        "change": _auc(change),
        "wake": _auc(events[0]),
        "rem": _auc(events[1]),
        "ece": ece(
            np.concatenate([confidence for confidence, _ in next_one]),
            np.concatenate([right for _, right in next_one]),
        ),
    }


def _auc(pairs: list[tuple[Array, Array]]) -> float:
    truth, score = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return float(roc_auc_score(truth, score))


def confusion(said: Array, truth: Array) -> Array:
    """Count scored epochs by truth (row) and by what was said (column)."""
    known = truth >= 0
    table = np.zeros((N_STAGES, N_STAGES))
    np.add.at(table, (truth[known].astype(int), said[known]), 1)
    return table


def agreement(table: Array) -> tuple[float, float, float, Array]:
    """Return accuracy, kappa, macro-F1 and the F1 of each stage."""
    n = table.sum()
    accuracy = float(np.trace(table) / n)
    chance = float(table.sum(0) @ table.sum(1) / n**2)
    f1 = 2 * np.diag(table) / np.maximum(table.sum(0) + table.sum(1), 1)
    return accuracy, (accuracy - chance) / (1 - chance), float(f1.mean()), f1


def staging_row(
    name: str,
    nights: list[Tokens],
    subjects: list[str],
    method: Callable[[Tokens], Predictions],
) -> str:
    """Return one row of the staging table, its gain over raw argmax by bootstrap over subjects."""
    tables: dict[str, list[Array]] = {}
    confidence, right = [], []
    for tokens, subject in zip(nights, subjects, strict=True):
        now = method(tokens).now
        pair = np.stack([confusion(p.argmax(1), tokens.stages) for p in (now, tokens.probs)])
        tables.setdefault(subject, []).append(pair)
        known = tokens.stages >= 0
        confidence.append(now[known].max(1))
        right.append(now[known].argmax(1) == tokens.stages[known])
    each = np.stack([np.sum(tables[subject], axis=0) for subject in sorted(tables)])
    accuracy, kappa, macro, f1 = agreement(each[:, 0].sum(0))
    rng = np.random.default_rng(SEED)
    gains = []
    for _ in range(1000):
        drawn = each[rng.integers(len(each), size=len(each))].sum(0)
        gains.append(100 * (agreement(drawn[0])[0] - agreement(drawn[1])[0]))
    whole = each.sum(0)
    gain = 100 * (agreement(whole[0])[0] - agreement(whole[1])[0])
    low, high = np.quantile(gains, [0.025, 0.975])
    shown = " ".join(f"{value:.2f}" for value in f1)
    calibration = ece(np.concatenate(confidence), np.concatenate(right))
    return (
        f"| {name} | {accuracy:.3f} / {kappa:.3f} / {macro:.3f} | {shown} | {calibration:.3f} "
        f"| {gain:+.1f} [{low:.1f}, {high:.1f}] |"
    )


def _forecast_rows(
    nights: list[Tokens], methods: dict[str, Callable[[Tokens], Predictions]], groups: list[str]
) -> list[str]:
    head = "| method | " + " | ".join(f"+{k}" for k in SHOWN_HORIZONS)
    rows = [
        head + " | +1 cap | +1 sleep-edf-sc | change AUC | REM ≤ 5 AUC | wake ≤ 5 AUC | ECE +1 |",
        "|" + "---|" * (7 + len(SHOWN_HORIZONS)),
    ]
    for name, method in methods.items():
        predictions = [method(tokens) for tokens in nights]
        whole = forecast_scores(nights, predictions)
        cells = [f"{whole['loss'][k - 1]:.4f}" for k in SHOWN_HORIZONS]
        for group in ("cap", "sleep-edf-sc"):
            rows_of = [row for row, its in enumerate(groups) if its == group]
            some = [nights[row] for row in rows_of], [predictions[row] for row in rows_of]
            cells.append(f"{forecast_scores(*some)['loss'][0]:.4f}" if rows_of else "–")
        cells += [f"{whole[key]:.3f}" for key in ("change", "rem", "wake", "ece")]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return rows


def language_table(networks: dict[str, Gpt], nights: list[Night]) -> str:
    """Return the table of forecasts from scored hypnograms, on held-out nights."""
    learned = [hard(night).stages for night in nights if not night.held_out]
    pairs = [(a[:-1], a[1:]) for a in learned]
    changes = float(np.concatenate([(a != b)[(a >= 0) & (b >= 0)] for a, b in pairs]).mean())
    table = RunLengths(learned)
    methods: dict[str, Callable[[Tokens], Predictions]] = {
        "persistence": lambda tokens: run_persistence(tokens, changes),
        "Markov": run_markov,
        "run-length table": table.run,
    }
    for name, gpt in networks.items():
        methods[name] = lambda tokens, gpt=gpt: run_gpt(gpt, tokens)  # type: ignore[misc]
    unseen = [night for night in nights if night.held_out]
    return "\n".join(
        _forecast_rows([hard(n) for n in unseen], methods, [n.dataset for n in unseen])
    )


def staging_table(gpt: Gpt, nights: list[Night], yardstick: Path) -> tuple[str, str]:
    """Return staging and forecasts behind the features-only encoder, on unseen subjects."""
    unseen = [night for night in nights if night.held_out]
    tokens, subjects = [encoded(night) for night in unseen], [night.subject for night in unseen]
    learned = np.concatenate([night.stages for night in nights if not night.held_out])
    prior = np.bincount(learned[learned >= 0], minlength=N_STAGES) / np.sum(learned >= 0)
    rng = np.random.default_rng(SEED)
    worse = [
        Tokens(distort(t.probs, rng), t.scorable, t.stages, soft=True)
        for t in tokens
        for _ in range(3)
    ]
    thrice = [subject for subject in subjects for _ in range(3)]
    rows = [
        "| decoder | acc / kappa / macro-F1 | F1 W N1 N2 N3 REM | ECE | gain, points |",
        "|---|---|---|---|---|",
        staging_row("raw argmax", tokens, subjects, run_markov),
        staging_row("HMM filter", tokens, subjects, lambda t: run_hmm(t, prior)),
        staging_row("**GPT**", tokens, subjects, lambda t: run_gpt(gpt, t)),
        staging_row("distorted encoder, raw argmax", worse, thrice, run_markov),
        staging_row("distorted encoder, HMM filter", worse, thrice, lambda t: run_hmm(t, prior)),
        staging_row("distorted encoder, **GPT**", worse, thrice, lambda t: run_gpt(gpt, t)),
    ]
    if yardstick.is_file():
        run = published_sleepgpt(yardstick)
        rows.insert(3, staging_row("published SleepGPT, weight 0.2", tokens, subjects, run))
    served = {
        "Markov on raw probabilities": run_markov,
        "HMM filter": lambda t: run_hmm(t, prior),
        "**GPT**": lambda t: run_gpt(gpt, t),
    }
    groups = [night.dataset for night in unseen]
    return "\n".join(rows), "\n".join(_forecast_rows(tokens, served, groups))


def long_wake_table(gpt: Gpt, hypnograms: list[Night], nights: list[Night]) -> str:
    """Return staging of the sleep period when the recording began half a day before it."""
    donors = Donors([night for night in nights if night.held_out])
    rng = np.random.default_rng(SEED)
    long, short, subjects = [], [], []
    for night in hypnograms:
        part = period(night.stages)
        if not night.held_out or part.start < 240 or len(night.stages) > 2880:
            continue
        probs = donors.walk(filled(night.stages), rng)
        now = run_gpt(gpt, _soft(probs, night.stages)).now
        long.append(confusion(now[part].argmax(1), night.stages[part]))
        now = run_gpt(gpt, _soft(probs[part], night.stages[part])).now
        short.append(confusion(now.argmax(1), night.stages[part]))
        subjects.append(confusion(probs[part].argmax(1), night.stages[part]))
    rows = ["| sleep period of the same nights | acc / kappa / macro-F1 |", "|---|---|"]
    names = ("raw argmax", "GPT, from 30 min before", "GPT, from hours before")
    for name, tables in zip(names, (subjects, short, long), strict=True):
        accuracy, kappa, macro, _ = agreement(np.sum(tables, axis=0))
        rows.append(f"| {name} | {accuracy:.3f} / {kappa:.3f} / {macro:.3f} |")
    return "\n".join(rows)


def _soft(probs: Array, stages: Array) -> Tokens:
    return Tokens(probs, np.ones(len(stages), bool), stages, soft=True)


def evaluate(
    networks: dict[str, Gpt], hypnograms: list[Night], nights: list[Night], yardstick: Path
) -> dict[str, str]:
    """Return every table by name; the last network is the one that ships."""
    shipped = list(networks.values())[-1]
    staging, served = staging_table(shipped, nights, yardstick)
    return {
        "language_table": language_table(networks, hypnograms),
        "staging_table": staging,
        "served_table": served,
        "long_wake_table": long_wake_table(shipped, hypnograms, nights),
    }
