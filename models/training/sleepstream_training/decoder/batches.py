"""Training batches for the decoder: nights as soft tokens, with the errors that encoders make.

In come nights; out go the decoder's inputs and its targets. Four kinds of night: a hypnogram as it
was scored (for the language model), a hypnogram filled with a donor's out-of-fold probabilities,
walked along the donor's night and then distorted (so that the decoder meets encoders that are too
sure, too shy or blind to a stage), a night with its own out-of-fold probabilities and spectrum, and
a night with its own spectrum beside a donor's probabilities: two opinions that err independently.
The encoder that the decoder serves behind lies between the last two: it sees the same signal, but
other things in it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sleepstream.messages import N_HORIZONS, N_STAGES, Stage
from sleepstream.stager import context, spectral
from sleepstream.stager.forecast import SOON_EPOCHS
from sleepstream_training.nights import MARGIN_EPOCHS, Night, period
from sleepstream_training.spectra import bend, low_pass

MAX_EPOCHS = 1280

BENT, LOW_PASSED, WITHOUT_SPECTRUM = 0.75, 0.6, 0.12
"""Share of nights whose spectrum is bent, of those whose top is cut off, and of those that go
without it."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """One night as the decoder meets it.

    Attributes
    ----------
    probs : ndarray, shape (n_epochs, 5)
        What the encoder says.
    scorable : ndarray of bool, shape (n_epochs,)
        Where it says anything.
    stages : ndarray of int, shape (n_epochs,)
        The truth, -1 where unknown.
    soft : bool
        Whether `probs` holds errors; the stage now is only learned where it does.
    spectrum : ndarray, shape (n_epochs, 17), or None
        The numbers of `spectral.describe`; None where they are not known.
    """

    probs: Array
    scorable: Array
    stages: Array
    soft: bool
    spectrum: Array | None = None

    def part(self, part: slice) -> Tokens:
        """Return some of the epochs, as a recording of their own."""
        return Tokens(
            self.probs[part],
            self.scorable[part],
            self.stages[part],
            self.soft,
            None if self.spectrum is None else self.spectrum[part],
        )


class Donors:
    """Nights with out-of-fold probabilities, to be walked along.

    Parameters
    ----------
    nights : list of Night
        Training nights only.
    """

    def __init__(self, nights: list[Night]) -> None:
        self._nights = nights
        self._pools = [_pools(night.stages) for night in nights]

    def walk(self, stages: Array, rng: np.random.Generator) -> Array:
        """Fill a hypnogram with one donor's probabilities, matched on stage and boundary.

        Parameters
        ----------
        stages : ndarray of int, shape (n_epochs,)
            Without unknowns.
        rng : Generator
            Chooses the donor and where to jump.

        Returns
        -------
        ndarray of float32, shape (n_epochs, 5)
            Consecutive donor epochs where the donor goes on as the hypnogram does.
        """
        donor = int(rng.integers(len(self._nights)))
        keys = _keys(stages)
        probs = np.zeros((len(stages), N_STAGES), dtype=np.float32)
        at, of = -2, donor
        for index, key in enumerate(keys):
            follows = of == donor and self._is(donor, at + 1, key)
            at, of = (at + 1, donor) if follows else self._jump(donor, key, rng)
            probs[index] = self._nights[of].probs[at]  # type: ignore[index]
        return probs

    def _is(self, donor: int, at: int, key: int) -> bool:
        keys = self._pools[donor].keys
        return 0 <= at < len(keys) and bool(keys[at] == key)

    def _jump(self, donor: int, key: int, rng: np.random.Generator) -> tuple[int, int]:
        """Take an epoch of the same kind from the donor, else of the same stage, else elsewhere."""
        while True:
            pools = self._pools[donor]
            for rows in (pools.by_key.get(key), pools.by_stage.get(key // 4)):
                if rows is not None:
                    return int(rows[rng.integers(len(rows))]), donor
            donor = int(rng.integers(len(self._nights)))


@dataclass(frozen=True, slots=True, eq=False)
class _Pools:
    keys: Array
    by_key: dict[int, Array]
    by_stage: dict[int, Array]


def _keys(stages: Array) -> Array:
    """Give each epoch the number of its stage and of which neighbours share it."""
    padded = np.concatenate([[-2], stages, [-2]])
    before, after = padded[:-2] == stages, padded[2:] == stages
    keys: Array = np.where(stages < 0, -1, 4 * stages.astype(int) + 2 * before + after)
    return keys


def _pools(stages: Array) -> _Pools:
    keys = _keys(stages)
    by_key: dict[int, list[int]] = defaultdict(list)
    by_stage: dict[int, list[int]] = defaultdict(list)
    for index, key in enumerate(keys.tolist()):
        if key >= 0:
            by_key[key].append(index)
            by_stage[key // 4].append(index)
    return _Pools(
        keys,
        {key: np.array(rows) for key, rows in by_key.items()},
        {key: np.array(rows) for key, rows in by_stage.items()},
    )


def distort(probs: Array, rng: np.random.Generator, strength: float = 1.0) -> Array:
    """Make another encoder of it: other temperature, biases, blind spots and noise."""
    logits = np.log(np.clip(probs, 1e-5, 1.0))
    logits = logits * np.exp(rng.uniform(-0.6, 0.9) * strength)
    logits = logits + rng.normal(0.0, 0.5 * strength, N_STAGES)
    if rng.random() < 0.3:
        logits[:, rng.integers(N_STAGES)] -= rng.exponential(1.5 * strength)
    if rng.random() < 0.4:
        logits = logits + rng.normal(0.0, rng.uniform(0, 0.8) * strength, logits.shape)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    out: Array = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
    return out


def filled(stages: Array) -> Array:
    """Carry the last known stage over unknown epochs, so that every epoch can be walked."""
    known = np.where(stages >= 0, np.arange(len(stages)), -1)
    last = np.maximum.accumulate(known)
    first = int(stages[stages >= 0][0]) if (stages >= 0).any() else int(Stage.W)
    return np.where(last >= 0, stages[np.maximum(last, 0)], first)


def crop(stages: Array, rng: np.random.Generator) -> slice:
    """Choose where a recording starts: mostly before sleep, at times hours before or amid it."""
    night = period(stages, 0)
    draw = rng.random()
    if draw < 0.65:
        begin = night.start - int(rng.integers(0, MARGIN_EPOCHS + 1))
    elif draw < 0.85:
        begin = night.start - int(rng.integers(0, 600))
    else:
        begin = int(rng.integers(night.start, max(night.start + 1, night.stop - 120)))
    begin = max(0, begin)
    return slice(begin, min(len(stages), begin + MAX_EPOCHS, night.stop + MARGIN_EPOCHS))


def as_language(night: Night, rng: np.random.Generator) -> Tokens:
    """Return the hypnogram itself, at times softened."""
    stages = night.stages[crop(night.stages, rng)]
    eps = rng.choice([0.0, rng.uniform(0.0, 0.2)])
    probs = np.eye(N_STAGES)[np.maximum(stages, 0)] * (1 - eps) + eps / N_STAGES
    return Tokens(probs, stages >= 0, stages, soft=False)


def as_simulated(night: Night, donors: Donors, rng: np.random.Generator) -> Tokens:
    """Return the hypnogram as a distorted encoder would see it."""
    stages = night.stages[crop(night.stages, rng)]
    probs = distort(donors.walk(filled(stages), rng), rng)
    return Tokens(probs, _holes(len(stages), rng), stages, soft=True)


def as_encoded(night: Night, rng: np.random.Generator) -> Tokens:
    """Return a night with its own out-of-fold probabilities, at times a little distorted."""
    part = crop(night.stages, rng)
    probs = np.asarray(night.probs)[part]
    if rng.random() < 0.5:
        probs = distort(probs, rng, strength=0.5)
    return _with_spectrum(night, part, probs, rng)


def as_paired(night: Night, donors: Donors, rng: np.random.Generator) -> Tokens:
    """Return a night's own spectrum beside what a distorted encoder says of other people's epochs.

    The epochs are of the same stages, so that the two opinions err independently.
    """
    part = crop(night.stages, rng)
    probs = distort(donors.walk(filled(night.stages[part]), rng), rng)
    return _with_spectrum(night, part, probs, rng)


def _with_spectrum(night: Night, part: slice, probs: Array, rng: np.random.Generator) -> Tokens:
    """Add the night's spectrum, mostly as another amplifier sees it, at times not at all."""
    spectrum = None if night.spectrum is None else night.spectrum[part]
    if spectrum is not None and rng.random() < BENT:
        spectrum = bend(spectrum, rng)
    if spectrum is not None and rng.random() < LOW_PASSED:
        spectrum = low_pass(spectrum, rng)
    if rng.random() < WITHOUT_SPECTRUM:
        spectrum = None
    return Tokens(probs, _holes(len(probs), rng), night.stages[part], soft=True, spectrum=spectrum)


def shortened(tokens: Tokens, n_epochs: int, rng: np.random.Generator) -> Tokens:
    """Return `n_epochs` in a row of a night, at times its first ones."""
    spare = len(tokens.stages) - n_epochs
    if spare <= 0:
        return tokens
    begin = 0 if rng.random() < 0.3 else int(rng.integers(spare + 1))
    return tokens.part(slice(begin, begin + n_epochs))


def _holes(n_epochs: int, rng: np.random.Generator) -> Array:
    """Make some epochs unscorable, in bursts, in every other night."""
    scorable = np.ones(n_epochs, dtype=bool)
    if rng.random() < 0.5:
        for _ in range(rng.poisson(4)):
            begin = int(rng.integers(n_epochs))
            scorable[begin : begin + int(rng.geometric(0.15))] = False
    return scorable


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Nights side by side, padded at the end.

    Attributes
    ----------
    inputs : ndarray of float32, shape (n, n_epochs, n_inputs)
        For `Gpt.forward`: the context, then the spectrum.
    now : ndarray of int64, shape (n, n_epochs)
        The stage, -1 where there is nothing to learn.
    ahead : ndarray of int64, shape (n, n_epochs, 20)
        The stages that follow, -1 likewise.
    soon : ndarray of float32, shape (n, n_epochs, 2)
        Whether wake, and REM, come within ten epochs; -1 where unknown.
    """

    inputs: Array
    now: Array
    ahead: Array
    soon: Array


def batch(nights: list[Tokens]) -> Batch:
    """Pad nights to one length and compute inputs and targets."""
    size = len(nights), max(len(night.stages) for night in nights)
    probs, numbers = np.zeros((*size, N_STAGES)), np.zeros((*size, spectral.N_NUMBERS))
    scorable, told = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    stages = np.full(size, -1, dtype=np.int64)
    for row, night in enumerate(nights):
        n = len(night.stages)
        probs[row, :n], scorable[row, :n], stages[row, :n] = (
            night.probs,
            night.scorable,
            night.stages,
        )
        if night.spectrum is not None:
            numbers[row, :n], told[row, :n] = night.spectrum, night.scorable
    ahead = following(stages)
    soft = np.array([night.soft for night in nights])
    now = np.where(soft[:, None], stages, -1)
    return Batch(_inputs(probs, scorable, numbers, told), now, ahead, coming(ahead))


def _inputs(probs: Array, scorable: Array, numbers: Array, told: Array) -> Array:
    """Walk through the nights side by side, as serving walks through one."""
    night, usual = context.start(len(probs)), spectral.start(len(probs))
    rows = []
    for t in range(probs.shape[1]):
        night, history = context.advance(night, probs[:, t], scorable[:, t])
        usual, spectrum = spectral.advance(usual, numbers[:, t], told[:, t])
        rows.append(np.concatenate([history, spectrum], axis=1))
    return np.stack(rows, axis=1)


def following(stages: Array) -> Array:
    """Return the next twenty stages of each epoch, shape (..., n_epochs, 20)."""
    n = stages.shape[-1]
    padding = np.full((*stages.shape[:-1], N_HORIZONS), -1, dtype=stages.dtype)
    padded = np.concatenate([stages, padding], axis=-1)
    return np.stack([padded[..., k : k + n] for k in range(1, N_HORIZONS + 1)], axis=-1)


def coming(ahead: Array) -> Array:
    """Return whether wake, and REM, are among the next ten; -1 where that is not known."""
    ten = ahead[..., :SOON_EPOCHS]
    known = np.all(ten >= 0, axis=-1, keepdims=True)
    seen = np.stack([(ten == stage).any(axis=-1) for stage in (Stage.W, Stage.REM)], axis=-1)
    return np.where(seen, 1.0, np.where(known, 0.0, -1.0)).astype(np.float32)
