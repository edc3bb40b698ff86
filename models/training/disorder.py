"""Fit the overnight disorder score: hypnogram architecture against apnoea severity.

    python models/training/disorder.py --data ../shared/data --decoder gpt \
        --out models/sleepstream_models/apnoea

PhysioNet 2018 alone (one clinic): AHI of 30 or more against below 5. One logistic regression per
hour since sleep onset, on snapshots of the night; grouped cross-validation by subject, beside
controls that see only length, age or sex. Half of the snapshots come from the hypnogram as it was
scored, half from what the decoder makes of it behind a simulated encoder, which is smoother: the
score has to be right about the latter.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sleepstream_training.decoder.batches import Donors, Tokens, distort, filled
from sleepstream_training.decoder.data import SEED, load_encoded, load_hypnograms, sha256
from sleepstream_training.evaluation.methods import run_gpt
from sleepstream_training.nights import Night

from sleepstream.stager import context, weights
from sleepstream.stager.disorder import (
    ARCH,
    EPOCHS_PER_H,
    FIRST_HOUR,
    ONSET_EPOCHS,
    architecture,
    sleep_onset,
)
from sleepstream.stager.gpt import Gpt, GptShape

HOURS = (1, 2, 3, 4, 5, 6)
STEP_EPOCHS = 20
SEVERE, NONE = 30.0, 5.0
N_REPLICATES = 100
N_REPEATS = 5
C = 0.02

Array = npt.NDArray[Any]


def labelled(nights: list[Night]) -> list[Night]:
    """Return the nights of the contrast."""
    return [
        night
        for night in nights
        if night.dataset == "physionet2018"
        and night.ahi is not None
        and (night.ahi >= SEVERE or night.ahi < NONE)
    ]


def decoded(nights: list[Night], donors: Donors, gpt: Gpt) -> list[Array]:
    """Return what the decoder makes of each night behind a simulated encoder."""
    rng = np.random.default_rng(SEED)
    out = []
    for night in nights:
        probs = distort(donors.walk(filled(night.stages), rng), rng)
        scorable = np.ones(len(probs), dtype=bool)
        now = run_gpt(gpt, Tokens(probs, scorable, night.stages, soft=True)).now
        out.append(now.argmax(1).astype(np.int8))
    return out


def snapshots(stages: Array) -> Iterator[tuple[int, Array]]:
    """Yield the hour and the features of the night, every ten minutes from the first hour on."""
    onset = sleep_onset(stages.tolist())
    if onset is None:
        return
    night = stages[onset:].tolist()
    for end in range(FIRST_HOUR * EPOCHS_PER_H, len(night) + 1, STEP_EPOCHS):
        yield min(end // EPOCHS_PER_H, HOURS[-1]), architecture(night[:end])


class Table:
    """Snapshots of many nights.

    Parameters
    ----------
    hypnograms : list of ndarray
        One night each.
    """

    def __init__(self, hypnograms: list[Array]) -> None:
        rows = [
            (night, hour, features)
            for night, stages in enumerate(hypnograms)
            for hour, features in snapshots(stages)
        ]
        self.night = np.array([row[0] for row in rows])
        self.hour = np.array([row[1] for row in rows])
        self.x = np.stack([row[2] for row in rows])

    def first_of(self, hour: int) -> Array:
        """Return each night's first snapshot of that hour."""
        rows = np.flatnonzero(self.hour == hour)
        _, firsts = np.unique(self.night[rows], return_index=True)
        return rows[firsts]


def fit(x: Array, y: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Fit one regularised logistic regression; return mean, scale and coefficients."""
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    model = LogisticRegression(C=C, max_iter=500, class_weight="balanced")
    model.fit((x - mean) / scale, y, sample_weight=weight)
    return mean, scale, np.append(model.coef_[0], model.intercept_)


def predict(fitted: tuple[Array, Array, Array], x: Array) -> Array:
    """Return the probabilities of the severe class."""
    mean, scale, coefficients = fitted
    logits = ((x - mean) / scale) @ coefficients[:-1] + coefficients[-1]
    return 1.0 / (1.0 + np.exp(-logits))


def fit_hour(tables: list[Table], y: Array, nights: Array, hour: int) -> tuple[Array, Array, Array]:
    """Fit one hour's model on the snapshots of `nights` (repeated ones count as often)."""
    times = np.bincount(nights, minlength=len(y))
    x, labels, weight = [], [], []
    for table in tables:
        rows = np.flatnonzero((table.hour == hour) & (times[table.night] > 0))
        x.append(table.x[rows])
        labels.append(y[table.night[rows]])
        # a night counts once, however many snapshots it has
        each = np.bincount(table.night[rows], minlength=len(y))
        weight.append(times[table.night[rows]] / each[table.night[rows]])
    return fit(np.concatenate(x), np.concatenate(labels), np.concatenate(weight))


def cross_validate(tables: list[Table], y: Array, hour: int) -> list[Array]:
    """Return out-of-fold probabilities of each table's nights at that hour, NaN where too short."""
    out = np.full((len(tables), N_REPEATS, len(y)), np.nan)
    for repeat in range(N_REPEATS):
        folds = StratifiedKFold(5, shuffle=True, random_state=SEED + repeat)
        for train, test in folds.split(y, y):
            fitted = fit_hour(tables, y, train, hour)
            for t, table in enumerate(tables):
                rows = table.first_of(hour)
                rows = rows[np.isin(table.night[rows], test)]
                out[t, repeat, table.night[rows]] = predict(fitted, table.x[rows])
    return [table.mean(axis=0) for table in out]


def control(x: Array, y: Array) -> float:
    """Return the cross-validated AUC of a logistic regression on these columns alone."""
    probs = np.zeros((N_REPEATS, len(y)))
    for repeat in range(N_REPEATS):
        folds = StratifiedKFold(5, shuffle=True, random_state=SEED + repeat)
        for train, test in folds.split(y, y):
            probs[repeat, test] = predict(fit(x[train], y[train], np.ones(len(train))), x[test])
    return float(roc_auc_score(y, probs.mean(axis=0)))


def alone(x: Array, y: Array) -> float:
    """Return the AUC of one number as it is, in the direction that suits it best."""
    auc = float(roc_auc_score(y, x[:, 0]))
    return max(auc, 1.0 - auc)


def auc_with_interval(y: Array, score: Array) -> str:
    """Return the AUC and its 95 % interval by bootstrap over nights."""
    known = np.isfinite(score)
    y, score = y[known], score[known]
    rng, drawn = np.random.default_rng(SEED), []
    while len(drawn) < 1000:
        rows = rng.integers(len(y), size=len(y))
        if 0 < y[rows].sum() < len(y):
            drawn.append(roc_auc_score(y[rows], score[rows]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{roc_auc_score(y, score):.2f} [{low:.2f}, {high:.2f}]"


def evaluate(tables: list[Table], nights: list[Night], y: Array) -> str:
    """Return the table of the card."""
    rows = [
        "| h after onset | nights | scored hypnogram, AUC | decoded hypnogram, AUC "
        "| calibration slope (decoded) |",
        "|---|---|---|---|---|",
    ]
    for hour in HOURS:
        scored, machine = cross_validate(tables, y, hour)
        known = np.isfinite(machine)
        logits = np.log(machine[known] / (1 - machine[known]))[:, None]
        slope = LogisticRegression(C=1e6).fit(logits, y[known]).coef_[0, 0]
        rows.append(
            f"| {hour} | {known.sum()} | {auc_with_interval(y, scored)} "
            f"| {auc_with_interval(y, machine)} | {slope:.2f} |"
        )
    length = np.array([[len(night.stages)] for night in nights], dtype=float)
    onset = np.array([[sleep_onset(night.stages.tolist()) or 0] for night in nights], dtype=float)
    age = np.array([[night.age or np.nan] for night in nights], dtype=float)
    sex = np.array([[float(night.sex == "M")] for night in nights])
    with_age = np.isfinite(age[:, 0])
    rows += ["", "| control | AUC |", "|---|---|"]
    rows.append(f"| recording length only | {alone(length, y):.2f} |")
    rows.append(f"| sleep onset latency only | {alone(onset, y):.2f} |")
    rows.append(f"| age only | {alone(age[with_age], y[with_age]):.2f} |")
    rows.append(f"| sex only | {alone(sex, y):.2f} |")
    both = np.concatenate([age, sex], axis=1)[with_age]
    rows.append(f"| age and sex | {control(both, y[with_age]):.2f} |")
    scored, _ = cross_validate(tables, y, 4)
    known = np.isfinite(scored) & with_age
    logit = np.log(scored[known] / (1 - scored[known]))[:, None]
    joined = np.concatenate([age[known], sex[known], logit], axis=1)
    rows.append(f"| age and sex, same nights | {control(joined[:, :2], y[known]):.2f} |")
    rows.append(f"| age, sex and the 4 h score | {control(joined, y[known]):.2f} |")
    return "\n".join(rows)


def final_weights(tables: list[Table], y: Array) -> dict[str, torch.Tensor]:
    """Fit every hour on all nights, and again on bootstrap samples of them."""
    rng = np.random.default_rng(SEED)
    everyone = np.arange(len(y))
    means, scales, coefficients = [], [], []
    for hour in HOURS:
        mean, scale, first = fit_hour(tables, y, everyone, hour)
        replicates = [first]
        for _ in range(N_REPLICATES):
            drawn = rng.integers(len(y), size=len(y))
            its_mean, its_scale, its = fit_hour(tables, y, drawn, hour)
            # in the units of the first fit, so that one mean and scale serve all
            slopes = its[:-1] * scale / its_scale
            shift = its[-1] + ((mean - its_mean) / its_scale) @ its[:-1]
            replicates.append(np.append(slopes, shift))
        means.append(mean)
        scales.append(scale)
        coefficients.append(np.stack(replicates))
    arrays = {"mean": means, "scale": scales, "coefficients": coefficients}
    return {name: torch.from_numpy(np.stack(part)).float() for name, part in arrays.items()}


def main() -> None:
    """Fit, evaluate, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data")
    parser.add_argument("--decoder", default="gpt", help="decoder that smooths the hypnograms")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.add_argument("--work", type=Path, default=Path(".work/decoder"), help="state")
    options = parser.parse_args()
    torch.set_num_threads(1)
    nights = labelled(load_hypnograms(options.data))
    y = np.array([float(night.ahi or 0) >= SEVERE for night in nights]).astype(int)
    model = weights.find(options.decoder, "decoder")
    gpt = Gpt(GptShape(n_inputs=context.N_INPUTS, **model.options)).eval()
    gpt.load_state_dict(load_file(model.weights))
    donors = Donors([n for n in load_encoded(options.data, options.work) if not n.held_out])
    tables = [
        Table([night.stages for night in nights]),
        Table(decoded(nights, donors, gpt)),
    ]
    report = evaluate(tables, nights, y)
    print(report)
    card = (Path(__file__).parent / "disorder_card.md").read_text(encoding="utf-8")
    facts = {
        "command": "python " + " ".join(sys.argv),
        "seed": SEED,
        "date": datetime.now(UTC).date().isoformat(),
        "versions": f"Python {platform.python_version()}, scikit-learn {sklearn.__version__}",
        "machine": f"{platform.machine()}, one thread",
        "nights": sha256(options.data / "hypnograms" / "nights.jsonl"),
        "decoder": f"{model.name} {model.sha256[:12]}",
        "severe": int(y.sum()),
        "none": int((1 - y).sum()),
        "onset_minutes": ONSET_EPOCHS // 2,
        "tables": report,
    }
    for key, value in facts.items():
        card = card.replace("{" + key + "}", str(value))
    weights.save_model(
        options.out,
        kind="disorder",
        arch=ARCH,
        tensors=final_weights(tables, y),
        options={"speaks_of": "apnoea-like sleep architecture", "hours": list(HOURS)},
        card=card,
    )


if __name__ == "__main__":
    main()
