"""A teacher that has read the true stages of many people's nights, in seventeen numbers an epoch.

In come the spectral features of Sleep-EDF with their stages; out goes an opinion on any epoch of
any recorder: boosted trees on the row that the decoder reads (`sleepstream.stager.spectral`),
fitted under bent spectra, so that another montage is no surprise. The published networks know what
spindles look like; this one knows N1 and REM of people whom they have not met.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from sleepstream.messages import Float32Array, Stage
from sleepstream.stager import spectral
from sleepstream_training.encoder.data import FEATURES, Recording, held_out_subjects
from sleepstream_training.nights import Array, period
from sleepstream_training.spectra import bend, numbers_of

EVERY = 3
"""Of the epochs of a bent night, one in so many is learned from: neighbours are alike."""

N_BASELINE = 200.0
"""For how many epochs a recording's own mean counts."""


class SpectralTeacher:
    """Boosted trees on spectral rows.

    Parameters
    ----------
    folder : Path
        With ``sleep_edf_features`` in it.
    seed : int
        Of the split by subject, and of how spectra are bent.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        rows, stages = _lessons(folder, seed)
        self._trees = HistGradientBoostingClassifier(
            learning_rate=0.1,
            max_iter=80,
            max_leaf_nodes=31,
            l2_regularization=1.0,
            early_stopping=False,
            random_state=seed,
        ).fit(rows, stages)

    def opinion(self, signals: Float32Array, usual: spectral.Baseline) -> Float32Array:
        """Return probabilities, shape (n, 5), of epochs, shape (n, 3000), in microvolts.

        Parameters
        ----------
        signals : ndarray of float32, shape (n, 3000)
            High-passed.
        usual : Baseline
            Of the recording that they are from.
        """
        numbers = np.stack([spectral.describe(x[np.newaxis]) for x in signals])
        many = spectral.Baseline(
            n_epochs=np.repeat(usual.n_epochs, len(numbers)),
            gain=np.repeat(usual.gain, len(numbers)),
            mean=np.repeat(usual.mean, len(numbers), axis=0),
        )
        _, rows = spectral.advance(many, numbers, np.ones(len(numbers), dtype=bool))
        return np.asarray(self._trees.predict_proba(rows), dtype=np.float32)


def usual(recording: Recording) -> spectral.Baseline:
    """Return what a recording mostly looks like, from its W and N3: half-way between them.

    All that is known of a night whose other epochs are not in the set.
    """
    epochs, stages = np.concatenate(recording.runs), np.concatenate(recording.labels)
    numbers = np.stack([spectral.describe(x[np.newaxis]) for x in epochs]).astype(np.float64)
    there = [s for s in (Stage.W, Stage.N3) if np.any(stages == s)]
    middle = np.mean([numbers[stages == s].mean(axis=0) for s in there], axis=0)
    before, _ = spectral.advance(spectral.start(), middle[np.newaxis], [True])
    centred = middle.copy()
    centred[: spectral.N_WAVELET_BANDS] -= before.gain[0]
    return spectral.Baseline(np.array([N_BASELINE]), before.gain, centred[np.newaxis])


def _lessons(folder: Path, seed: int) -> tuple[Array, Array]:
    """Return rows and stages of the training subjects, each night as it is and bent once."""
    with np.load(folder / FEATURES) as z:
        features, stages = z["x"], z["y"].astype(np.int64)
        record, subject = z["record"], z["subject"]
    out = held_out_subjects(subject, seed)
    rng = np.random.default_rng(seed)
    rows, labels = [], []
    for name in dict.fromkeys(record[~np.isin(subject, out)].tolist()):
        night = np.flatnonzero(record == name)
        night = night[period(stages[night])]
        plain = numbers_of(features[night])
        for numbers in (plain, bend(plain, rng)):
            chosen = np.flatnonzero(stages[night] >= 0)[int(rng.integers(EVERY)) :: EVERY]
            rows.append(_in_context(numbers)[chosen])
            labels.append(stages[night][chosen])
    return np.concatenate(rows), np.concatenate(labels)


def _in_context(numbers: Array) -> Array:
    """Return the decoder's rows of one recording from its beginning, shape (n, N_INPUTS)."""
    so_far, rows = spectral.start(), []
    for epoch in numbers:
        so_far, row = spectral.advance(so_far, epoch[np.newaxis], [True])
        rows.append(row[0])
    return np.stack(rows)
