"""Fitting the judge of familiarity: what sleep EEG looks like, and where it ends.

In come the spectral features of Sleep-EDF and the raw epochs of UCDDB, out goes a model folder for
`sleepstream.stager.familiarity`. No stage and no stranger enters: the mixture learns what spectra
of sleep EEG look like under any amplifier and montage, and most limits are set by how seldom real
nights of the training subjects pass them.

    python -m sleepstream_training.familiarity --data FOLDER --out FOLDER
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch
from sklearn.mixture import GaussianMixture

from sleepstream.messages import Float32Array
from sleepstream.stager.evidence import liveliness, shape
from sleepstream.stager.familiarity import ARCH, PRIOR_EPOCHS, Familiarity, Limits
from sleepstream.stager.spectral import BANDS_HZ, GAIN, N_WAVELET_BANDS, describe
from sleepstream.stager.weights import ModelFiles, save_model
from sleepstream_training.decoder.data import (
    FEATURES,
    HYPNOGRAMS,
    held_out_subjects,
    read_features,
)
from sleepstream_training.encoder.data import DEVELOPMENT, HELD_OUT_RAW, load_recording
from sleepstream_training.familiarity_card import card
from sleepstream_training.nights import period, read_nights
from sleepstream_training.spectra import bend, numbers_of

SEED = 2026
N_COMPONENTS = 8
N_BENT = 2
"""How often each recording is bent as another amplifier and montage would."""

PER_RECORDING = 300
"""Epochs drawn of each, so that no night counts much more than another."""

RAW_COUNTS = 4
"""How often a raw recording counts beside one of Sleep-EDF, of which there are six times more."""

LEAST_LEVEL = 5.0
"""Of an EEG: a lead that is off, or a cable that is not in, is below."""

MOSTLY_HUM = 0.6
"""An epoch with a smaller share of its power below 45 Hz is mostly mains, and not learned from."""

MEMORY_EPOCHS = 10.0
"""Five minutes: seconds are too few to tell a mouse or noise, and a night should soon recover."""

RARE = (0.995, 0.9995)
"""Shares of the epochs of training nights within which a spectrum is familiar, and past which it
is strange altogether."""

RARE_FOR_MINUTES = (0.998, 0.9999)
"""The same of running means: what they find odd is doubted for minutes."""

GAIN_OF_AMPLIFIERS = float(np.log(10.0**2))
"""Beyond the amplitudes that training nights had, another factor of ten is any amplifier's."""

BEATING = (0.95, 1.15)
"""The heart that shows in a scalp EEG stays below the first, an electrocardiogram is beyond the
second."""

STEADY = (0.18, 0.08)
"""The quietest five minutes of wake in UCDDB are near the first; noise comes to 0 +- 0.06."""

MOST_SURPRISE = 30.0

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Recordings:
    """What is learned from.

    Attributes
    ----------
    spectra, unseen : list of ndarray, each shape (n, 17)
        Spectral numbers of Sleep-EDF nights: of training subjects, and of those held out.
    raw : list of ndarray, each shape (n, 17)
        The same of UCDDB subjects, W and N3 alone.
    liveliness : ndarray, shape (n,)
        Of the epochs of those.
    """

    spectra: list[Array]
    unseen: list[Array]
    raw: list[Array]
    liveliness: Array


def read(data: Path) -> Recordings:
    """Read a data folder; development recordings and held-out UCDDB subjects are left out."""
    features = read_features(data / FEATURES)
    away = held_out_subjects(read_nights([data / HYPNOGRAMS]))
    parts: dict[bool, list[Array]] = {False: [], True: []}
    for name in dict.fromkeys(features.record.tolist()):
        rows = np.flatnonzero(features.record == name)
        rows = rows[period(features.stages[rows])]
        parts[features.subject[rows[0]] in away].append(_usable(numbers_of(features.x[rows])))
    raw, lively = [], []
    for path in sorted((data / "raw_eeg").glob("ucddb*.npz")):
        if path.stem not in DEVELOPMENT + HELD_OUT_RAW:
            epochs = np.concatenate(load_recording(path).runs)
            raw.append(_usable(np.stack([describe(epoch[np.newaxis]) for epoch in epochs])))
            lively += [liveliness(epoch) for epoch in epochs]
    return Recordings(parts[False], parts[True], raw, np.array(lively))


def _usable(numbers: Array) -> Array:
    """Return the epochs that are EEG: no dead lead, and not drowned by mains."""
    below_45_hz = np.exp(numbers[:, 2 * N_WAVELET_BANDS :][:, : len(BANDS_HZ)]).sum(axis=1)
    level = numbers[:, GAIN].mean(axis=1)
    kept: Array = numbers[(level > LEAST_LEVEL) & (below_45_hz > MOSTLY_HUM)]
    return kept


def fit(recordings: Recordings) -> tuple[dict[str, Array], Limits]:
    """Fit the mixture and set the limits.

    Returns
    -------
    tensors : dict of ndarray
        As `Familiarity` takes them.
    limits : Limits
        Likewise.
    """
    rng = np.random.default_rng(SEED)
    nights = recordings.spectra + RAW_COUNTS * recordings.raw
    plain = np.concatenate([shape(night) for night in recordings.spectra])
    center, scale = plain.mean(axis=0), plain.std(axis=0)
    drawn = [
        shape(rng.permutation(bent)[:PER_RECORDING])
        for night in nights
        for bent in (night, *(bend(night, rng) for _ in range(N_BENT)))
    ]
    rows = (np.concatenate(drawn) - center) / scale
    mixture = GaussianMixture(N_COMPONENTS, reg_covar=0.03, random_state=SEED, max_iter=100)
    mixture.fit(rows[(np.abs(rows) < 8).all(axis=1)])
    tensors = {
        "center": center,
        "scale": scale,
        "weights": mixture.weights_,
        "means": mixture.means_,
        "whitening": mixture.precisions_cholesky_,
    }
    return tensors, _limits(recordings, tensors)


def _limits(recordings: Recordings, tensors: dict[str, Array]) -> Limits:
    surprises = [surprise_of(tensors, night) for night in recordings.spectra]
    usual = float(np.minimum(np.concatenate(surprises), MOST_SURPRISE).mean())
    every = np.concatenate([*surprises, *(surprise_of(tensors, night) for night in recordings.raw)])
    # of the raw recordings there are pieces, too short for running means
    means = np.concatenate([running_mean(night, usual) for night in surprises])
    levels = np.concatenate([night[:, GAIN].mean(axis=1) for night in recordings.spectra])
    low, high = np.quantile(levels, [0.001, 0.999])
    small, large = low - GAIN_OF_AMPLIFIERS, high + GAIN_OF_AMPLIFIERS
    return Limits(
        too_small=_pair((small, small - 1.0)),
        too_large=_pair((large, large + 1.0)),
        odd=_pair(np.quantile(every, RARE)),
        odd_for_minutes=_pair(np.quantile(means, RARE_FOR_MINUTES)),
        beating=BEATING,
        steady=STEADY,
        usual_surprise=round(usual, 2),
        usual_liveliness=round(float(np.median(recordings.liveliness)), 2),
        most_surprise=MOST_SURPRISE,
        memory_epochs=MEMORY_EPOCHS,
    )


def _pair(values: Iterable[float]) -> tuple[float, float]:
    first, second = (round(float(value), 2) for value in values)
    return first, second


def surprise_of(tensors: dict[str, Array], numbers: Array) -> Array:
    """Return the surprise, shape (n,), at each epoch of a night, shape (n, 17)."""
    anything = Limits(*[(0.0, 1.0)] * 6, *[1.0] * 4)  # type: ignore[arg-type]
    return Familiarity("", "", tensors, anything).surprise(shape(numbers))


def running_mean(surprises: Array, usual: float) -> Array:
    """Return the causal mean that `sleepstream.stager.familiarity.advance` keeps, shape (n,)."""
    mean, n, means = usual, PRIOR_EPOCHS, []
    for surprise in np.minimum(surprises, MOST_SURPRISE):
        n = min(n + 1.0, MEMORY_EPOCHS)
        mean += (surprise - mean) / n
        means.append(mean)
    return np.array(means)


def false_alarms(tensors: dict[str, Array], limits: Limits, nights: Iterable[Array]) -> Array:
    """Return the share of epochs called unfamiliar by their spectrum, night by night.

    Parameters
    ----------
    tensors, limits : dict of ndarray, Limits
        From `fit`.
    nights : iterable of ndarray, each shape (n, 17)
        Spectral numbers; there is no signal, so beat and liveliness are left out.
    """
    odd, for_minutes = (np.mean(pair) for pair in (limits.odd, limits.odd_for_minutes))
    shares = []
    for night in nights:
        surprises = surprise_of(tensors, night)
        means = running_mean(surprises, limits.usual_surprise)
        shares.append(float(((surprises > odd) | (means > for_minutes)).mean()))
    return np.array(shares)


def judged(model: ModelFiles, epochs: Iterable[Float32Array]) -> Array:
    """Return the familiarity, shape (n,), of consecutive epochs, each shape (3000,)."""
    judge = Familiarity.load(model)
    rows = (epoch[np.newaxis] for epoch in epochs)
    return np.array([judge.step(row, describe(row)).familiarity for row in rows])


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of the data.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Model folder.")
def main(data: Path, out: Path) -> None:
    """Fit the judge of familiarity and write its model folder."""
    recordings = read(data)
    tensors, limits = fit(recordings)
    shares = {
        "Sleep-EDF, learned from": false_alarms(tensors, limits, recordings.spectra),
        "Sleep-EDF, 20 other subjects": false_alarms(tensors, limits, recordings.unseen),
    }

    def write(text: str) -> ModelFiles:
        return save_model(
            out,
            kind="familiarity",
            arch=ARCH,
            tensors={name: torch.from_numpy(part) for name, part in tensors.items()},
            options=asdict(limits),
            card=text,
            seed=SEED,
            license="BSD-3-Clause",
        )

    model = write("")
    signals = {
        name: np.concatenate(load_recording(data / "raw_eeg" / f"{name}.npz").runs)
        for name in (*HELD_OUT_RAW, *DEVELOPMENT)
    }
    by_recording = {name: judged(model, epochs) for name, epochs in signals.items()}
    command = shlex.join(["python", "-m", "sleepstream_training.familiarity", *sys.argv[1:]])
    write(card(data, command, shares, by_recording, lambda epochs: judged(model, epochs)))
    click.echo(f"wrote {out}")


if __name__ == "__main__":
    main()
