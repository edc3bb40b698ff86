"""Batches of the mixture behind the shipped encoders.

In comes a folder with raw recordings of W and N3, spectral features of whole nights and the weights
of published networks; out go batches that are part synthetic, part real, part edited, part made up
and part no EEG at all, and sets of each kind that are held out by subject.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from sleepstream.errors import RecordingError, SettingsError
from sleepstream.messages import EPOCH_N_SAMPLES, N_STAGES
from sleepstream.stager.weights import ModelFiles
from sleepstream_training.encoder.augment import augment, gain_errors
from sleepstream_training.encoder.data import (
    DEVELOPMENT,
    FEATURES,
    load_features,
    load_raw,
    made_up_nights,
    night_shares,
)
from sleepstream_training.encoder.mixture_report import learned_from, report
from sleepstream_training.encoder.pools import (
    STAGE_SHARES,
    Pool,
    make_pool,
    night_pool,
    one_hot,
    synthetic_pool,
)
from sleepstream_training.encoder.recipe import MixtureData, Recipe
from sleepstream_training.encoder.sources import (
    Batch,
    HeldOut,
    Report,
    SourceFile,
    scaled,
    sha256_of,
)
from sleepstream_training.encoder.spectral_teacher import SpectralTeacher
from sleepstream_training.encoder.strange import strange
from sleepstream_training.encoder.teachers import TEACHERS, Panel, load_teachers, real_pools

LEANS = (0.15, -0.1, -0.1, 0.1)
"""Mean tilt of each kind (synthetic, real, edited, made up) when it is changed.

Synthetic epochs are of a frontal lead: other montages have more above 6 Hz.
"""

HELD_OUT_NIGHTS, TRAINING_NIGHTS = range(2000, 2003), range(1000, 1014)
"""Seeds of the made-up nights to choose by, and to learn from."""

N_HELD_OUT_SYNTHETIC, N_HELD_OUT_MADE_UP = 3000, 1500

WEIGHTS = {"synthetic": 0.5, "real": 0.3, "made_up": 0.2}
"""How much each held-out set counts. Only the first has all stages of many subjects."""

LIMITS = (
    "It never learned from a real N1, N2 or REM epoch with a human label, only synthetic ones.",
    "Its probabilities were calibrated on held-out synthetic epochs for the most part. On another "
    "recorder they are as good as the tables show, and no better known.",
    "Trained on adults (healthy, or with suspected apnoea), frontal and central derivations. "
    "Untried: children, neurological disease, drugs that change the EEG, other electrodes.",
    "N1 is hardly ever said. Without the neighbours, N1, REM and quiet wake look alike.",
    "Artefacts are not a class: a bad lead gets a stage too. Heed the signal quality.",
)


class MixtureSource:
    """Training data of several kinds: a `sources.TrainingData`.

    Parameters
    ----------
    folder : Path
        With ``raw_eeg``, ``sleep_edf_features`` and ``third_party_weights`` in it.
    recipe : Recipe
        How much of each, and how it is changed.
    cache : Path
        Where pools are kept once they are made.
    n_epochs : int
        Consecutive epochs that the network wants.
    say : callable
        Told what is being made.

    Raises
    ------
    RecordingError
        The folder is not laid out so.
    SettingsError
        The network wants sequences, which the mixture does not have.
    """

    def __init__(
        self, folder: Path, recipe: Recipe, cache: Path, n_epochs: int, say: Callable[[str], None]
    ) -> None:
        if not isinstance(recipe.data, MixtureData):
            raise TypeError(f"no recipe for the mixture: {type(recipe.data).__name__}")
        if n_epochs > 1:
            raise SettingsError(
                "a network that looks at one epoch",
                f"{recipe.model.arch} reads {n_epochs} in a row, and the mixture has no nights",
                "choose another --arch, or a recipe for scored recordings",
            )
        self._data, self._how, self._folder = recipe.data, recipe.augmentation, folder
        self.files: Sequence[SourceFile] = _files(folder)
        self._pools, held_out = _pools(folder, recipe.data, recipe.training.seed, cache, say)
        self.held_out: Mapping[str, HeldOut] = {
            name: HeldOut(
                scaled(pool.signals, pool.log_gains)[:, np.newaxis],
                pool.targets.argmax(axis=1)[:, np.newaxis],
                WEIGHTS[name],
                "recall" if name == "real" else "kappa",
            )
            for name, pool in held_out.items()
        }
        self.shares = night_shares(folder, recipe.training.seed)
        self.bias: tuple[float, ...] | None = None
        self.learned_from = learned_from(recipe.data)
        self.limits: Sequence[str] = LIMITS

    def batch(self, rng: np.random.Generator, n: int, done: float) -> Batch:
        """Draw `n` items: see `sources.TrainingData`."""
        mix = self._data.early if done < self._data.turn else self._data.late
        *sizes, n_strange = _portions(mix, n)
        signals, targets = [], []
        for k, (pool, size) in enumerate(zip(self._pools, sizes, strict=True)):
            rows = rng.integers(len(pool), size=size)
            own, errors = gain_errors(size, self._how, rng)
            gains = own * pool.own[rows] + (1 - own) * pool.log_gains[rows] + errors
            x = pool.signals[rows]
            if k == 0:  # synthetic epochs have no beginning
                x = np.roll(x, int(rng.integers(EPOCH_N_SAMPLES)), axis=1)
            how = msgspec.structs.replace(self._how, lean=self._how.lean + LEANS[k])
            signals.append(augment(scaled(x, gains)[:, np.newaxis], how, rng))
            targets.append(pool.targets[rows])
        if n_strange:
            signals.append(strange(n_strange, rng)[:, np.newaxis])
            targets.append(np.full((n_strange, N_STAGES), 1 / N_STAGES, dtype=np.float32))
        return np.concatenate(signals), np.concatenate(targets)[:, np.newaxis]

    def report(self, model: ModelFiles) -> Report:
        """Measure the model on the development recordings: see `sources.TrainingData`."""
        return report(model, self._folder)


def _portions(mix: list[int], n: int) -> list[int]:
    """Share `n` out as `mix` says; what rounding leaves goes to the first."""
    sizes = [n * part // sum(mix) for part in mix]
    return [sizes[0] + n - sum(sizes), *sizes[1:]]


def _pools(
    folder: Path, data: MixtureData, seed: int, cache: Path, say: Callable[[str], None]
) -> tuple[list[Pool], dict[str, Pool]]:
    """Make the pools to learn from and to choose by, or read back those made before."""
    raw, features = load_raw(folder), load_features(folder, seed)
    pieces = {part: np.concatenate([r for x in raw[part] for r in x.runs]) for part in raw}

    def synthetic() -> list[Pool]:
        train, out = features["train"], features["held_out"]
        return [
            synthetic_pool(train, pieces["train"], data.synthetic, STAGE_SHARES, seed),
            synthetic_pool(out, pieces["held_out"], N_HELD_OUT_SYNTHETIC, None, seed + 1),
        ]

    def real() -> list[Pool]:
        panel = Panel(load_teachers(folder), SpectralTeacher(folder, seed))
        return list(real_pools(raw["train"], panel, (data.real, data.edited), seed))

    def made_up() -> list[Pool]:
        return [
            night_pool(made_up_nights(TRAINING_NIGHTS), data.made_up, seed),
            night_pool(made_up_nights(HELD_OUT_NIGHTS), N_HELD_OUT_MADE_UP, seed),
        ]

    made = _kept(cache / f"pool-synthetic-{seed}-{data.synthetic}.npz", synthetic, say)
    windows = _kept(cache / f"pool-taught-{seed}-{data.real}-{data.edited}.npz", real, say)
    nights = _kept(cache / f"pool-made-up-{seed}-{data.made_up}.npz", made_up, say)
    out = raw["held_out"]
    labelled = make_pool(
        pieces["held_out"],
        one_hot(np.concatenate([y for r in out for y in r.labels])),
        np.concatenate([g for r in out for g in r.log_gains]),
    )
    return [made[0], *windows, nights[0]], {
        "synthetic": made[1],
        "real": labelled,
        "made_up": nights[1],
    }


def _kept(path: Path, make: Callable[[], list[Pool]], say: Callable[[str], None]) -> list[Pool]:
    """Return pools read from `path`, or make them and keep them there."""
    if not path.exists():
        say(f"making {path.stem}")
        path.parent.mkdir(parents=True, exist_ok=True)
        made = make()
        fields = {f"{k}.{f}": getattr(p, f) for k, p in enumerate(made) for f in Pool.__slots__}
        np.savez(path.with_suffix(".new.npz"), **fields)
        path.with_suffix(".new.npz").replace(path)
    with np.load(path) as z:
        n = len(z.files) // len(Pool.__slots__)
        return [Pool(**{f: z[f"{k}.{f}"] for f in Pool.__slots__}) for k in range(n)]


def _files(folder: Path) -> list[SourceFile]:
    """Return what is read, with hashes.

    Raises
    ------
    RecordingError
        Some of it is not there.
    """
    raw = [p for p in sorted((folder / "raw_eeg").glob("ucddb*.npz")) if p.stem not in DEVELOPMENT]
    teachers = sorted((folder / TEACHERS).glob("tinysleepnet_fold*.tar"))
    features = folder / FEATURES
    absent = [
        what
        for what, there in (
            ("raw_eeg/ucddb*.npz", raw),
            (f"{TEACHERS}/tinysleepnet_fold*.tar", teachers),
            (str(FEATURES), features.is_file()),
        )
        if not there
    ]
    if absent:
        raise RecordingError(
            f"the data of the shipped encoders in {folder}",
            f"no {', no '.join(absent)}",
            "name the folder with --data; for recordings of your own, use the recipe `scored`",
        )
    kinds = [
        (features, "ODC-By (Sleep-EDF Expanded, PhysioNet)"),
        *((path, "ODC-By (UCDDB, PhysioNet)") for path in raw),
        *((path, "Apache-2.0 (SleepGPT; teacher only)") for path in teachers),
    ]
    return [SourceFile(str(p.relative_to(folder)), sha256_of(p), what) for p, what in kinds]
