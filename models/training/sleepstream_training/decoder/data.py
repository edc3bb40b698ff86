"""The nights that the decoder and the disorder score learn from, and how they are split.

In come ``hypnograms/nights.jsonl`` and ``sleep_edf_features/fpzcz_34.npz`` (see the data's README);
out go nights as arrays, split by subject, and out-of-fold probabilities of a features-only encoder.
No subject of the held-out part is in any training stage, whichever file the night came from.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import GroupKFold

SEED = 2026
MARGIN_EPOCHS = 60
"""Wake kept on either side of the sleep period: 30 minutes."""

N_HELD_OUT_SLEEP_EDF = 20
HELD_OUT_SHARE = 0.2

Array = npt.NDArray[Any]

# nights of one person, or one night twice, under two names: they stay on the training side
_TIED = ("cap-nfle-19", "contains cap-nfle-19", "identical to cap-rbd-02", "cap-rbd-02")


@dataclass(frozen=True, slots=True, eq=False)
class Night:
    """One scored night.

    Attributes
    ----------
    name, subject, dataset : str
        Sleep-EDF subjects are named as PhysioNet names them (``SC401``).
    stages : ndarray of int8, shape (n_epochs,)
        Scored stages, -1 where there is none.
    held_out : bool
        Whether the night is kept from training.
    ahi : float or None
        Apnoea-hypopnoea index.
    age, sex : float or None, str or None
        Of the subject.
    probs : ndarray of float32, shape (n_epochs, 5), or None
        Out-of-fold probabilities of the features-only encoder.
    """

    name: str
    subject: str
    dataset: str
    stages: Array
    held_out: bool
    ahi: float | None = None
    age: float | None = None
    sex: str | None = None
    probs: Array | None = None


def sha256(path: Path) -> str:
    """Return the hash of a data file, for the card."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def period(stages: Array, margin: int = MARGIN_EPOCHS) -> slice:
    """Return the sleep period and `margin` epochs on either side."""
    asleep = np.flatnonzero(stages > 0)
    if not len(asleep):
        return slice(0, len(stages))
    return slice(max(0, int(asleep[0]) - margin), int(asleep[-1]) + margin + 1)


def held_out_subjects(data: Path) -> set[str]:
    """Return the subjects that no training stage may see: 20 of Sleep-EDF, a fifth elsewhere."""
    rng = np.random.default_rng(SEED)
    chosen: set[str] = set()
    by_dataset: dict[str, set[str]] = {}
    for line in _lines(data):
        tied = any(mark in line["id"] or mark in str(line.get("note")) for mark in _TIED)
        group = "sleep-edf" if line["dataset"].startswith("sleep-edf") else line["dataset"]
        if not tied:
            by_dataset.setdefault(group, set()).add(_subject(line))
    for dataset in sorted(by_dataset):
        subjects = sorted(by_dataset[dataset])
        share = round(HELD_OUT_SHARE * len(subjects))
        n = N_HELD_OUT_SLEEP_EDF if dataset == "sleep-edf" else share
        chosen |= set(rng.choice(subjects, n, replace=False).tolist())
    return chosen


def load_hypnograms(data: Path) -> list[Night]:
    """Read every hypnogram."""
    held_out = held_out_subjects(data)
    nights = []
    for line in _lines(data):
        subject = _subject(line)
        stages = np.array([-1 if c == "?" else int(c) for c in line["stages"]], dtype=np.int8)
        nights.append(
            Night(
                name=line["id"],
                subject=subject,
                dataset=line["dataset"],
                stages=stages,
                held_out=subject in held_out,
                ahi=line.get("ahi"),
                age=line.get("age"),
                sex=line.get("sex"),
            )
        )
    return nights


def load_encoded(data: Path, work: Path) -> list[Night]:
    """Return the Sleep-EDF nights with out-of-fold probabilities, made once and kept in `work`.

    Training subjects: five folds grouped by subject. Held-out subjects: one model of all training
    subjects.
    """
    kept = work / "oof.npz"
    with np.load(data / "sleep_edf_features" / "fpzcz_34.npz") as file:
        x, y, record, subject = (file[key] for key in ("x", "y", "record", "subject"))
    held_out = np.isin(subject, sorted(held_out_subjects(data)))
    if not kept.is_file():
        probs = _out_of_fold(_causal(x, record), y, subject, held_out)
        work.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(kept, probs=probs)
    with np.load(kept) as file:
        probs = file["probs"]
    nights = []
    for name in dict.fromkeys(record.tolist()):
        rows = record == name
        nights.append(
            Night(
                name=name,
                subject=str(subject[rows][0]),
                dataset=f"sleep-edf-{name[:2].lower()}",
                stages=y[rows],
                held_out=bool(held_out[rows][0]),
                probs=probs[rows],
            )
        )
    return nights


def transition_counts(nights: list[Night]) -> Array:
    """Count the training nights' transitions for `sleepstream.stager.forecast`, shape (5, 5)."""
    counts = np.zeros((5, 5), dtype=int)
    for night in nights:
        stages = night.stages[period(night.stages)].astype(int)
        before, after = stages[:-1], stages[1:]
        known = (before >= 0) & (after >= 0) & (not night.held_out)
        np.add.at(counts, (before[known], after[known]), 1)
    return counts


def _lines(data: Path) -> list[dict[str, Any]]:
    text = (data / "hypnograms" / "nights.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _subject(line: dict[str, Any]) -> str:
    """Name Sleep-EDF's subjects as the feature file does: sleepedf-SC-01 is SC401."""
    subject = str(line["subject"])
    if subject.startswith("sleepedf-"):
        _, group, number = subject.split("-")
        return f"{group}{'4' if group == 'SC' else '7'}{number}"
    return subject


def _causal(x: Array, record: Array) -> Array:
    """Logarithms of the positive features, and their distance from the record's mean so far."""
    positive = (x > 0).all(axis=0)
    logs = np.where(positive, np.log(np.where(positive, x, 1.0) + 1e-12), x)
    centred = np.empty_like(logs)
    for name in np.unique(record):
        rows = np.flatnonzero(record == name)
        total = np.cumsum(logs[rows], axis=0)
        centred[rows] = logs[rows] - total / np.arange(1, len(rows) + 1)[:, None]
    return np.concatenate([logs, centred], axis=1)


def _out_of_fold(x: Array, y: Array, subject: Array, held_out: Array) -> Array:
    probs = np.zeros((len(y), 5), dtype=np.float32)
    learn = np.flatnonzero(~held_out & (y >= 0))
    rest = np.flatnonzero(~held_out)
    for train, test in GroupKFold(5).split(rest, groups=subject[rest]):
        fold = rest[train][y[rest[train]] >= 0]
        probs[rest[test]] = _features_only(x[fold], y[fold]).predict_proba(x[rest[test]])
        print("fold done", flush=True)
    unseen = np.flatnonzero(held_out)
    probs[unseen] = _features_only(x[learn], y[learn]).predict_proba(x[unseen])
    return probs


def _features_only(x: Array, y: Array) -> HistGradientBoostingClassifier:
    model = HistGradientBoostingClassifier(
        learning_rate=0.15,
        max_iter=60,
        max_leaf_nodes=31,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=SEED,
    )
    return model.fit(x, y)
