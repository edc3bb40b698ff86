"""Fitting the judge of familiarity: what sleep EEG looks like, and where it ends.

In come the spectral features of Sleep-EDF, the raw epochs of UCDDB and made-up nights; out goes a
model folder for `sleepstream.stager.familiarity`. No stage and no stranger enters: the mixture
learns what spectra of sleep EEG look like behind any amplifier, and the limits are set by how
seldom the nights that it has learned from pass them.

    python -m sleepstream_training.familiarity --data FOLDER --out FOLDER
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np
import numpy.typing as npt
import torch
from sklearn.mixture import GaussianMixture

from sleepstream.stager.familiarity import (
    ARCH,
    SPECTRUM_EPOCHS,
    Familiarity,
    Limits,
    Mean,
    level,
    shape,
)
from sleepstream.stager.spectral import describe
from sleepstream.stager.weights import ModelFiles, save_model
from sleepstream_training.decoder.data import (
    FEATURES,
    HYPNOGRAMS,
    held_out_subjects,
    read_features,
)
from sleepstream_training.encoder.data import load_raw, made_up_nights
from sleepstream_training.familiarity_card import card
from sleepstream_training.nights import period, read_nights
from sleepstream_training.spectra import bend, low_pass, numbers_of

SEED = 2026
N_COMPONENTS = 8

PER_RECORDING = 300
"""Epochs drawn of each recording, so that no night counts much more than another."""

RAW_COUNTS, MADE_UP_COUNTS = 4, 2
"""How often these count beside a night of Sleep-EDF, of which there are far more."""

MADE_UP, MADE_UP_UNSEEN, MADE_UP_H = range(40), range(40, 60), 2.0
"""Seeds of made-up nights to learn from, and to ask about, and their length in hours: many sleepers
and much of the time before they fall asleep."""

LEAST_LEVEL = 5.0
"""Of an EEG; below, a lead is off. In all of Sleep-EDF one epoch in a thousand is."""

RARE = (0.998, 0.9995)
"""Shares of the running means within which a spectrum is familiar, and past which it is strange."""

GAIN_OF_AMPLIFIERS = float(np.log(10.0**2))
"""Beyond the amplitudes that nights have, another factor of ten is any amplifier's."""

STEADY = (1.6, 1.3)
"""White and pink noise stay below the second. In Sleep-EDF one epoch in a thousand is below 2.2, in
UCDDB, where wake is quietest, below 1.4."""

USUAL_CHANGE = 4.0
"""What two epochs in a row differ by in Sleep-EDF, UCDDB and made-up nights; see `change`."""

MOST_SURPRISE = 20.0
"""Above the usual, in nats: one movement must not cost minutes."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Nights:
    """Spectral numbers, each shape (n, 17), by what they are of.

    Attributes
    ----------
    sleep_edf, raw, made_up : list of ndarray
        Learned from: of Sleep-EDF, of UCDDB subjects (W and N3 alone), and made up.
    unseen : dict of str to list of ndarray
        Kept from it, by what is said of them on the card.
    """

    sleep_edf: list[Array]
    raw: list[Array]
    made_up: list[Array]
    unseen: dict[str, list[Array]]


def read(data: Path) -> Nights:
    """Read a data folder and make up some nights; development recordings are left out."""
    features = read_features(data / FEATURES)
    away = held_out_subjects(read_nights([data / HYPNOGRAMS]))
    parts: dict[bool, list[Array]] = {False: [], True: []}
    for name in dict.fromkeys(features.record.tolist()):
        rows = np.flatnonzero(features.record == name)
        rows = rows[period(features.stages[rows])]
        parts[features.subject[rows[0]] in away].append(numbers_of(features.x[rows]))
    raw = load_raw(data)
    unseen = {
        "Sleep-EDF, 20 other subjects": _on_a_head(parts[True]),
        "UCDDB, 4 other subjects": _on_a_head(_described(raw["held_out"])),
        "made up": _described(made_up_nights(MADE_UP_UNSEEN, MADE_UP_H)),
    }
    return Nights(
        _on_a_head(parts[False]),
        _on_a_head(_described(raw["train"])),
        _described(made_up_nights(MADE_UP, MADE_UP_H)),
        unseen,
    )


def _described(recordings: Iterable[Any]) -> list[Array]:
    epochs = (np.concatenate(recording.runs) for recording in recordings)
    return [np.stack([describe(epoch[np.newaxis]) for epoch in each]) for each in epochs]


def _on_a_head(nights: Sequence[Array]) -> list[Array]:
    return [night[[level(row) > LEAST_LEVEL for row in night]] for night in nights]


def fit(nights: Nights) -> tuple[dict[str, Array], Limits]:
    """Fit the mixture and set the limits.

    Returns
    -------
    tensors : dict of ndarray
        As `Familiarity` takes them.
    limits : Limits
        Likewise.
    """
    rng = np.random.default_rng(SEED)
    plain = np.concatenate([shape(night) for night in nights.sleep_edf])
    center, scale = plain.mean(axis=0), plain.std(axis=0)
    drawn = [
        shape(rng.permutation(seen)[:PER_RECORDING])
        for night in nights.sleep_edf + RAW_COUNTS * nights.raw + MADE_UP_COUNTS * nights.made_up
        for seen in (night, bend(night, rng), low_pass(bend(night, rng), rng))
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
    return tensors, _limits(nights, tensors, rng)


def _limits(nights: Nights, tensors: dict[str, Array], rng: np.random.Generator) -> Limits:
    levels = np.concatenate([[level(row) for row in night] for night in nights.sleep_edf])
    low, high = np.quantile(levels, [0.001, 0.999])
    small, large = low - GAIN_OF_AMPLIFIERS, high + GAIN_OF_AMPLIFIERS
    anything = Limits(*[(0.0, 1.0)] * 4, *[1.0] * 3)  # type: ignore[arg-type]
    surprise = Familiarity("", tensors, anything).surprise
    usual = float(np.median(np.concatenate([surprise(night) for night in nights.sleep_edf])))
    most = usual + MOST_SURPRISE
    real = nights.sleep_edf + nights.raw
    every = real + nights.made_up + [low_pass(night, rng) for night in real]
    means = [running_mean(np.minimum(surprise(night), most), usual) for night in every]
    return Limits(
        too_small=_pair((small, small - 1.0)),
        too_large=_pair((large, large + 1.0)),
        odd=_pair(np.quantile(np.concatenate(means), RARE)),
        steady=STEADY,
        usual_surprise=round(usual, 2),
        usual_change=USUAL_CHANGE,
        most_surprise=round(most, 2),
    )


def _pair(values: Iterable[float]) -> tuple[float, float]:
    first, second = (round(float(value), 2) for value in values)
    return first, second


def running_mean(surprises: Array, usual: float) -> Array:
    """Return the causal mean that `Familiarity` keeps, shape (n,)."""
    mean, means = Mean(usual), []
    for surprise in surprises.tolist():
        mean = mean.after(surprise, SPECTRUM_EPOCHS)
        means.append(mean.value)
    return np.array(means)


def judged(model: ModelFiles, night: Array) -> Array:
    """Return the familiarity, shape (n,), of consecutive epochs, shape (n, 17)."""
    judge = Familiarity.load(model)
    return np.array([judge.step(row).familiarity for row in night])


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of the data.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Model folder.")
def main(data: Path, out: Path) -> None:
    """Fit the judge of familiarity and write its model folder."""
    nights = read(data)
    tensors, limits = fit(nights)

    def write(text: str) -> ModelFiles:
        return save_model(
            out,
            kind="familiarity",
            arch=ARCH,
            tensors={name: torch.from_numpy(part) for name, part in tensors.items()},
            options=msgspec.to_builtins(limits),
            card=text,
            seed=SEED,
            license="BSD-3-Clause",
        )

    model = write("")
    write(card(data, {name: [judged(model, n) for n in of] for name, of in nights.unseen.items()}))
    click.echo(f"wrote {out}")


if __name__ == "__main__":
    main()
