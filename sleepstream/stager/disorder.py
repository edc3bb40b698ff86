"""The overnight disorder score: what the architecture of the night so far looks like.

In come final stages, one per epoch; out goes a probability with its interval, or the reason why
there is none. The score compares shares, shifts and bout lengths since sleep onset with those of
two groups of one database; which groups these are, and from which hour on they could be told apart,
stands in the model's description. It is a research score and no diagnosis.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from sleepstream.errors import ModelError
from sleepstream.messages import EPOCH_S, N_STAGES, DisorderScore, Float64Array, Stage
from sleepstream.stager import weights
from sleepstream.stager.weights import ModelFiles

EPOCHS_PER_H = int(3600 / EPOCH_S)
"""Epochs in an hour."""

MAX_UNSCORABLE = 0.3
"""It abstains when a greater share of the epochs since sleep onset was unscorable."""

MIN_ASLEEP = 0.3
"""It abstains when a smaller share of the scored epochs since onset is sleep: that is no night."""

ONSET_EPOCHS = 6
"""Sleep onset is the first of this many epochs of sleep in a row (three minutes)."""

FARTHEST = 4.0
"""A number farther from the training nights' mean, in standard deviations, counts as this far."""

ARCH = "architecture-logistic"
"""Name of this kind of model in `model.toml`."""

NO_SCORE = "none"
"""Name of the score that is none."""

N_FEATURES = 27
"""How many numbers describe the night so far."""

Stages = npt.NDArray[np.integer[Any]]
"""Stages as numbers, one per epoch, -1 where unscorable."""

_SHIFTS = ((1, 0), (1, 2), (2, 0), (2, 1), (2, 3), (3, 2), (3, 1), (4, 0), (4, 1), (0, 2))
_NONE = -1


class Meaning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a score speaks of: the ``[options]`` of its description.

    Attributes
    ----------
    speaks_of : str
        The score's name for people.
    resembles, rather_than : str
        The two groups that it was fitted on, as the statement calls them.
    caution : str
        A sentence that ends every statement.
    first_hour : int
        Hours after sleep onset from which it speaks: before, the groups could not be told apart
        well enough.
    by_hand : tuple of float
        Slope and intercept for the logits of hypnograms that a person scored. They tell more than
        those of a decoder, for which the weights are calibrated.
    """

    speaks_of: str
    resembles: str
    rather_than: str
    caution: str
    first_hour: Annotated[int, msgspec.Meta(ge=1)] = 1
    by_hand: tuple[float, float] = (1.0, 0.0)


class Scorer(Protocol):
    """What the stager asks of a disorder score. One scorer serves one night.

    Attributes
    ----------
    sha256 : str
        Fingerprint of the model.
    score : DisorderScore
        As of the last epoch.
    """

    sha256: str
    score: DisorderScore

    def step(self, stage: Stage | None) -> DisorderScore:
        """Take in the final stage of one epoch, None where it was unscorable."""
        ...

    def reset(self) -> None:
        """Forget the night."""
        ...


class NoScorer:
    """The score of those who want none: it says so at every epoch."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256(NO_SCORE.encode()).hexdigest()
        self.score = DisorderScore(NO_SCORE, None, None, "No score: none was asked for.")

    def step(self, stage: Stage | None) -> DisorderScore:  # noqa: ARG002
        """Say that there is none."""
        return self.score

    def reset(self) -> None:
        """Nothing is remembered."""


class DisorderScorer:
    """The score of one night, fed with its final stages.

    Parameters
    ----------
    meaning : Meaning
        What the score speaks of, and from when on.
    sha256 : str
        Fingerprint of the model.
    tensors : mapping of str to ndarray
        One model for each hour since sleep onset, from the first, the last for all hours after:
        ``mean`` and ``scale`` (n_hours, N_FEATURES), ``coefficients`` (n_hours, n_replicates,
        N_FEATURES + 1): the intercept comes last, the fit first, its bootstrap replicates behind
        it.
    by_hand : bool, optional
        The stages will be those that a person scored, and not a decoder's.

    Attributes
    ----------
    score : DisorderScore
        As of the last epoch.
    """

    def __init__(
        self,
        meaning: Meaning,
        sha256: str,
        tensors: Mapping[str, npt.NDArray[Any]],
        *,
        by_hand: bool = False,
    ) -> None:
        self.meaning = meaning
        self.sha256 = sha256
        self._mean = tensors["mean"].astype(np.float64)
        self._scale = tensors["scale"].astype(np.float64)
        self._coefficients = tensors["coefficients"].astype(np.float64)
        if by_hand:
            slope, intercept = meaning.by_hand
            self._coefficients *= slope
            self._coefficients[..., -1] += intercept
        self._stages = array("b")
        self._onset: int | None = None
        self.score = self._judge()

    @classmethod
    def load(cls, model: ModelFiles, *, by_hand: bool = False) -> DisorderScorer:
        """Read the weights of `model`.

        Parameters
        ----------
        model : ModelFiles
            A model of kind ``"disorder"``.
        by_hand : bool, optional
            As for the class.

        Raises
        ------
        ModelError
            It is of another architecture, or its weights or options do not fit.
        """
        try:
            tensors = load_file(model.weights)
            meaning = msgspec.convert(model.options, Meaning)
            found = f"arch {model.arch!r}, coefficients {tensors['coefficients'].shape}"
            fits = model.arch == ARCH and _fits(tensors)
        except (OSError, SafetensorError, KeyError, msgspec.ValidationError) as error:
            fits, found = False, f"{type(error).__name__}: {error}"
        if not fits:
            raise ModelError(
                f"a disorder score of arch {ARCH!r} over {N_FEATURES} features in {model.folder}",
                found,
                "name another model, or install it again",
            )
        return cls(meaning, model.fingerprint, tensors, by_hand=by_hand)

    def step(self, stage: Stage | None) -> DisorderScore:
        """Take in the final stage of one epoch, None where it was unscorable."""
        self._stages.append(_NONE if stage is None else int(stage))
        if self._onset is None:
            self._onset = sleep_onset(self._stages[-ONSET_EPOCHS:])
            if self._onset is not None:
                self._onset += len(self._stages) - ONSET_EPOCHS
        self.score = self._judge()
        return self.score

    def reset(self) -> None:
        """Forget the night."""
        self._stages = array("b")
        self._onset = None
        self.score = self._judge()

    def _judge(self) -> DisorderScore:
        first = self.meaning.first_hour
        if self._onset is None:
            return self._abstain(f"no sleep yet; it speaks from {first} h after sleep onset")
        # in one piece: after days of it a loop over its epochs would cost as much as the networks
        night = np.array(self._stages[self._onset :])
        hours = len(night) / EPOCHS_PER_H
        if hours < first:
            return self._abstain(
                f"it speaks from {first} h after sleep onset, which was "
                f"{int(len(night) * EPOCH_S / 60)} min ago"
            )
        n_unscorable = int(np.sum(night == _NONE))
        unscorable = n_unscorable / len(night)
        if unscorable > MAX_UNSCORABLE:
            return self._abstain(
                f"{unscorable:.0%} of the epochs since sleep onset were unscorable; it speaks "
                f"when {MAX_UNSCORABLE:.0%} or fewer are"
            )
        asleep = 1.0 - int(np.sum(night == Stage.W)) / (len(night) - n_unscorable)
        if asleep < MIN_ASLEEP:
            return self._abstain(
                f"only {asleep:.0%} of the time since sleep onset is sleep; it speaks from "
                f"{MIN_ASLEEP:.0%} on"
            )
        probability, interval = self._probability(night, hours)
        statement = _statement(self.meaning, probability, hours)
        return DisorderScore(self.meaning.speaks_of, probability, interval, statement)

    def _probability(self, night: Stages, hours: float) -> tuple[float, tuple[float, float]]:
        row = min(int(hours), len(self._mean)) - 1
        z = standardised(architecture(night), self._mean[row], self._scale[row])
        logits = self._coefficients[row] @ np.append(z, 1.0)
        probs = 1.0 / (1.0 + np.exp(-logits))
        fit = float(probs[0])
        low, high = (float(bound) for bound in np.quantile(probs, [0.025, 0.975]))
        return fit, (min(low, fit), max(high, fit))

    def _abstain(self, reason: str) -> DisorderScore:
        return DisorderScore(self.meaning.speaks_of, None, None, f"No score: {reason}.")


def load_scorer(name: str) -> Scorer:
    """Return the score called `name` at the start of a night.

    Parameters
    ----------
    name : str
        A model's name or folder, as `sleepstream.stager.weights.find` takes it, or ``"none"``.

    Raises
    ------
    ModelError
        No such model, or it is damaged or of another kind.
    """
    if name == NO_SCORE:
        return NoScorer()
    return DisorderScorer.load(weights.find(name, "disorder"))


def _fits(tensors: Mapping[str, npt.NDArray[Any]]) -> bool:
    mean, scale, coefficients = (tensors[name] for name in ("mean", "scale", "coefficients"))
    n_hours = len(mean)
    return (
        n_hours > 0
        and mean.shape == scale.shape == (n_hours, N_FEATURES)
        and coefficients.ndim == 3
        and coefficients.shape[::2] == (n_hours, N_FEATURES + 1)
        and coefficients.shape[1] > 0
        and bool((scale > 0).all())
        and all(bool(np.isfinite(part).all()) for part in (mean, scale, coefficients))
    )


def _statement(meaning: Meaning, probability: float, hours: float) -> str:
    return (
        f"Research score, not a diagnosis: {hours:.1f} h after sleep onset the stages resemble "
        f"those of {meaning.resembles} rather than {meaning.rather_than}, with probability "
        f"{probability:.0%} if both were equally common. {meaning.caution}"
    )


def standardised(
    features: npt.NDArray[Any], mean: Float64Array, scale: Float64Array
) -> Float64Array:
    """Return features in standard deviations from the mean, none beyond `FARTHEST`.

    What no training night was like cannot then carry the score away.
    """
    z: Float64Array = np.clip((features - mean) / scale, -FARTHEST, FARTHEST)
    return z


def sleep_onset(stages: Sequence[int]) -> int | None:
    """Return the epoch at which sleep began, None before it.

    Parameters
    ----------
    stages : sequence of int
        Stages so far, -1 where unscorable.
    """
    run = 0
    for index, stage in enumerate(stages):
        run = run + 1 if stage > Stage.W else 0
        if run == ONSET_EPOCHS:
            return index - ONSET_EPOCHS + 1
    return None


def architecture(stages: npt.ArrayLike) -> Float64Array:
    """Describe the night since sleep onset.

    Parameters
    ----------
    stages : array_like of int, shape (n_epochs,)
        Stages since sleep onset, -1 where unscorable; at least one is scored.

    Returns
    -------
    ndarray of float64, shape (N_FEATURES,)
        Hours since onset, share of each stage, shifts, awakenings, arousals to N1 and REM
        interruptions per hour, mean bout length of each stage and of sleep (log epochs), latency to
        N3 and to REM (log epochs), and how often a stage gives way to which.
    """
    night = np.asarray(stages)
    scored = night[night != _NONE]
    hours = len(scored) / EPOCHS_PER_H
    n = np.bincount(scored, minlength=N_STAGES)
    # how often each stage came behind each: all of it that takes long, done in one go
    pairs = scored[:-1].astype(np.int64) * N_STAGES + scored[1:]
    moves = np.bincount(pairs, minlength=N_STAGES**2).reshape(N_STAGES, N_STAGES)
    # one imaginary epoch in each stage keeps a rare stage's odds finite
    leaves = moves.sum(axis=1) + 1.0
    np.fill_diagonal(moves, 0)
    into, out_of = moves.sum(axis=0), moves.sum(axis=1)
    rates = np.array([moves.sum(), into[Stage.W], into[Stage.N1], out_of[Stage.REM]])
    began = np.arange(N_STAGES) == scored[0]
    bouts = [_bout(n[stage], began[stage] + into[stage]) for stage in Stage]
    bouts.append(_bout(n[1:].sum(), began[1:].sum() + out_of[Stage.W]))
    latencies = [_latency(scored, Stage.N3), _latency(scored, Stage.REM)]
    odds = [moves[a, b] / leaves[a] for a, b in _SHIFTS]
    # the shares add up to one, so the last can be left out
    shares = n[:-1] / len(scored)
    return np.concatenate(
        [[len(night) / EPOCHS_PER_H], shares, rates / hours, bouts, latencies, odds]
    )


def _bout(n_epochs: int, n_bouts: int) -> float:
    """Return the log of the mean length of a stage's bouts, 0 where there is none."""
    return float(np.log1p(n_epochs / n_bouts)) if n_bouts else 0.0


def _latency(scored: Stages, stage: Stage) -> float:
    found = np.flatnonzero(scored == stage)
    return float(np.log1p(found[0] if len(found) else len(scored)))
