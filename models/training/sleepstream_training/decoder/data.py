"""What the decoder learns from, and who is kept out.

In come ``hypnograms/nights.jsonl`` and ``sleep_edf_features/fpzcz_34.npz`` (or, for the former, any
folder of hypnograms); out go nights, split by subject, and out-of-fold probabilities of an encoder
that sees spectral features only. No subject of the held-out part is in any stage of training,
whichever file the night came from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import GroupKFold

from sleepstream.errors import RecordingError
from sleepstream.messages import N_STAGES
from sleepstream_training.nights import Night, period, read_nights
from sleepstream_training.spectra import numbers_of

SEED = 2026
N_FOLDS = 5
N_COLUMNS = 34
"""Spectral features of one epoch in a file of them."""

N_HELD_OUT_SLEEP_EDF = 20
HELD_OUT_SHARE = 0.2

HYPNOGRAMS = Path("hypnograms") / "nights.jsonl"
FEATURES = Path("sleep_edf_features") / "fpzcz_34.npz"

Array = npt.NDArray[Any]

# nights of one person, or one night twice, under two names: they stay on the training side
_TIED = ("cap-nfle-19", "contains cap-nfle-19", "identical to cap-rbd-02", "cap-rbd-02")


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Spectral features of many nights, epoch by epoch, in time order within a record.

    Attributes
    ----------
    x : ndarray, shape (n_epochs, 34)
        The features, as the file has them.
    stages : ndarray of int, shape (n_epochs,)
        Scored stages, -1 where there is none.
    record, subject : ndarray of str, shape (n_epochs,)
        Which night, and whose.
    """

    x: Array
    stages: Array
    record: Array
    subject: Array


def sha256(path: Path) -> str:
    """Return the hash of a data file, for the card."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_hypnograms(data: Path) -> list[Night]:
    """Read the hypnograms of a data folder and hold some subjects out.

    Parameters
    ----------
    data : Path
        A folder with `HYPNOGRAMS` in it, or with any hypnograms.

    Raises
    ------
    RecordingError
        None there, or one that cannot be read.
    """
    lines = data / HYPNOGRAMS
    nights = read_nights([lines if lines.is_file() else data])
    held_out = held_out_subjects(nights)
    return [replace(night, held_out=night.subject in held_out) for night in nights]


def held_out_subjects(nights: Iterable[Night]) -> set[str]:
    """Return the subjects that no training may see: 20 of Sleep-EDF, a fifth elsewhere."""
    rng = np.random.default_rng(SEED)
    by_dataset: dict[str, set[str]] = {}
    for night in nights:
        tied = any(mark in night.name or mark in night.note for mark in _TIED)
        group = "sleep-edf" if night.dataset.startswith("sleep-edf") else night.dataset
        if not tied:
            by_dataset.setdefault(group, set()).add(night.subject)
    chosen: set[str] = set()
    for dataset in sorted(by_dataset):
        subjects = sorted(by_dataset[dataset])
        n = round(HELD_OUT_SHARE * len(subjects))
        if dataset == "sleep-edf":
            n = min(N_HELD_OUT_SLEEP_EDF, max(n, len(subjects) // 4))
        chosen |= set(rng.choice(subjects, n, replace=False).tolist())
    return chosen


def read_features(path: Path) -> Features:
    """Read a file of spectral features.

    Parameters
    ----------
    path : Path
        ``.npz`` with ``x`` (n, 34), ``y``, ``record`` and ``subject``.

    Raises
    ------
    RecordingError
        No such file, or another kind of file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            x, y, record, subject = (file[key] for key in ("x", "y", "record", "subject"))
        if x.shape != (len(y), N_COLUMNS) or not len(y) == len(record) == len(subject):
            raise ValueError(f"x of shape {x.shape}, y of shape {y.shape}")
    except (OSError, KeyError, ValueError, BadZipFile, AttributeError) as error:
        raise RecordingError(
            f"spectral features (x, y, record, subject) in {path}",
            f"{type(error).__name__}: {error}",
            "name a file such as sleep_edf_features/fpzcz_34.npz",
        ) from error
    return Features(x, y, record, np.array([_sleep_edf_subject(name) for name in subject]))


def encoded(features: Features, held_out: Collection[str], kept: Path | None = None) -> list[Night]:
    """Return the nights with probabilities of features-only encoders that never saw the subject.

    Parameters
    ----------
    features : Features
        Of all subjects.
    held_out : collection of str
        Subjects staged by one encoder of all others; these are staged in five folds.
    kept : Path, optional
        ``.npz`` in which the probabilities are kept, and found the next time.
    """
    out = np.isin(features.subject, sorted(held_out))
    rest = np.flatnonzero(~out)

    def stage() -> Array:
        x = causal(features)
        probs = np.zeros((len(out), N_STAGES), dtype=np.float32)
        for train, test in GroupKFold(N_FOLDS).split(rest, groups=features.subject[rest]):
            probs[rest[test]] = _staged(x, features.stages, rest[train], rest[test])
        if out.any():
            probs[out] = _staged(x, features.stages, rest, np.flatnonzero(out))
        return probs

    return _nights(features, out, _kept(kept, stage))


def behind(features: Features, learned: Collection[str], kept: Path | None = None) -> list[Night]:
    """Return the nights of other subjects, staged by an encoder that has learned from `learned`.

    Parameters
    ----------
    features : Features
        Of all subjects.
    learned : collection of str
        Subjects to learn from.
    kept : Path, optional
        As for `encoded`.

    Raises
    ------
    RecordingError
        There are no other subjects, or none to learn from.
    """
    out = ~np.isin(features.subject, sorted(learned))
    if out.all() or not out.any():
        raise RecordingError(
            "features of subjects to learn from, and of others to be judged on",
            f"{len(set(features.subject[~out]))} of {len(set(features.subject))} subjects among "
            "those that the decoder has learned from",
            "name a decoder whose model.toml says what it was trained on, or another file",
        )

    def stage() -> Array:
        probs = np.zeros((len(out), N_STAGES), dtype=np.float32)
        rows = np.flatnonzero(~out), np.flatnonzero(out)
        probs[out] = _staged(causal(features), features.stages, *rows)
        return probs

    return [night for night in _nights(features, out, _kept(kept, stage)) if night.held_out]


def _kept(path: Path | None, make: Callable[[], Array]) -> Array:
    if path is not None and path.is_file():
        with np.load(path) as file:
            found: Array = file["probs"]
            return found
    probs = make()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, probs=probs)
    return probs


def _nights(features: Features, held_out: Array, probs: Array) -> list[Night]:
    return [
        replace(
            night,
            held_out=bool(held_out[rows[0]]),
            probs=probs[rows],
            spectrum=numbers_of(features.x[rows]),
        )
        for night, rows in _records(features)
    ]


def load_encoded(data: Path, work: Path) -> list[Night]:
    """Return the nights with features in a data folder, staged by encoders that never saw them.

    Parameters
    ----------
    data : Path
        A folder with `HYPNOGRAMS`, which settle who is held out, and `FEATURES` in it.
    work : Path
        Where the probabilities are kept.
    """
    features, held_out = (
        read_features(data / FEATURES),
        held_out_subjects(read_nights([data / HYPNOGRAMS])),
    )
    settled = hashlib.sha256(repr(sorted(held_out)).encode() + (data / FEATURES).read_bytes())
    return encoded(features, held_out, work / f"features-only-{settled.hexdigest()[:10]}.npz")


def transition_counts(nights: list[Night]) -> Array:
    """Count the training nights' transitions for `sleepstream.stager.forecast`, shape (5, 5)."""
    counts = np.zeros((5, 5), dtype=int)
    for night in nights:
        stages = night.stages[period(night.stages)].astype(int)
        before, after = stages[:-1], stages[1:]
        known = (before >= 0) & (after >= 0) & (not night.held_out)
        np.add.at(counts, (before[known], after[known]), 1)
    return counts


def causal(features: Features) -> Array:
    """Return logarithms of the positive features, and their distance from the mean so far."""
    x = features.x
    positive = (x > 0).all(axis=0)
    logs = np.where(positive, np.log(np.where(positive, x, 1.0) + 1e-12), x)
    centred = np.empty_like(logs)
    for _, rows in _records(features):
        total = np.cumsum(logs[rows], axis=0)
        centred[rows] = logs[rows] - total / np.arange(1, len(rows) + 1)[:, None]
    return np.concatenate([logs, centred], axis=1)


def _records(features: Features) -> list[tuple[Night, Array]]:
    """Return each record as a night, and its rows in the order of time."""
    found = []
    for name in dict.fromkeys(features.record.tolist()):
        rows = np.flatnonzero(features.record == name)
        night = Night(
            name=name,
            subject=str(features.subject[rows[0]]),
            dataset=f"sleep-edf-{name[:2].lower()}",
            stages=features.stages[rows],
        )
        found.append((night, rows))
    return found


def _sleep_edf_subject(name: str) -> str:
    """Name a subject as the readers of recordings do: SC401 is sleepedf-SC-01."""
    return f"sleepedf-{name[:2]}-{name[3:]}"


def _staged(x: Array, stages: Array, learn: Array, stage: Array) -> Array:
    """Fit the features-only encoder on some epochs and stage others."""
    scored = learn[stages[learn] >= 0]
    model = HistGradientBoostingClassifier(
        learning_rate=0.15,
        max_iter=60,
        max_leaf_nodes=31,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=SEED,
    )
    probs: Array = model.fit(x[scored], stages[scored]).predict_proba(x[stage])
    return probs
