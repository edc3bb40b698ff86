"""Whether what is staged is anything like the sleep EEG that the models have learned from.

In come an epoch and its spectral numbers; out goes a familiarity from 0 to 1 and, where it is low,
the reason in words. A network that was taught to tell five stages apart finds one in a heart, in a
hum and in a mouse, and is often sure of it; whoever composes it has to ask somebody else. Four
questions are asked, and the worst answer counts:

- Could an amplifier make this *amplitude* of an EEG? Only what no gain explains is strange.
- Is the *shape of the spectrum* one that sleep EEG has, in this epoch and in the last minutes?
- Is there the *beat* of a heart or of steps in it?
- Does it *wax and wane*? Sleep EEG does in seconds, noise of whatever colour does not.

What any amplifier, montage or filter does to an EEG does not make it strange. The state is a value,
so that looking ahead from it leaves no trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file
from scipy import special

from sleepstream.errors import ModelError
from sleepstream.messages import N_STAGES, Float32Array, Float64Array, frozen
from sleepstream.stager import weights
from sleepstream.stager.evidence import N_SHAPE, Evidence, beat, level, liveliness, shape
from sleepstream.stager.weights import ModelFiles

ARCH = "gaussian-mixture"
"""Name of this kind of model in `model.toml`."""

SHIPPED = "sleep-eeg"
"""The judge that ships."""

NO_JUDGE = "none"
"""How nobody is named."""

UNFAMILIAR = 0.5
"""Below this familiarity, the reason is said and the epoch is not counted as sleep EEG."""

LEAST = 0.02
"""Of what a network says so much is always left: the most probable stage stays it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is made of one epoch.

    Attributes
    ----------
    familiarity : float
        From 0 (nothing that the models know) to 1 (sleep EEG, as far as can be told).
    reason : str
        Sentence fragment for a person; empty from `UNFAMILIAR` on.
    """

    familiarity: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ramp:
    """A soft limit: 1 as far as `familiar`, 0 from `strange` on."""

    familiar: float
    strange: float

    def __call__(self, value: float) -> float:
        """Return the familiarity of a value."""
        share = (value - self.strange) / (self.familiar - self.strange)
        return min(1.0, max(0.0, share))


@dataclass(frozen=True, slots=True)
class Limits:
    """Where familiarity ends; the pairs are those of a `Ramp`.

    Attributes
    ----------
    too_small, too_large : tuple of float
        Of `Evidence.level`.
    odd, odd_for_minutes : tuple of float
        Of the surprise in one epoch, and of its running mean.
    beating : tuple of float
        Of `Evidence.beat`.
    steady : tuple of float
        Of the running mean of the liveliness.
    usual_surprise, usual_liveliness : float
        What is expected before the first epoch has spoken.
    most_surprise : float
        An epoch counts as no more than that in the mean, so that a night recovers from one.
    memory_epochs : float
        Epochs after which the means forget.
    """

    too_small: tuple[float, float]
    too_large: tuple[float, float]
    odd: tuple[float, float]
    odd_for_minutes: tuple[float, float]
    beating: tuple[float, float]
    steady: tuple[float, float]
    usual_surprise: float
    usual_liveliness: float
    most_surprise: float
    memory_epochs: float


PRIOR_EPOCHS = 2.0
"""How many epochs the usual counts for at the start of a recording."""


@dataclass(frozen=True, slots=True)
class Minutes:
    """The last minutes: epochs behind the means, and the means."""

    n_epochs: float
    surprise: float
    liveliness: float


def begin(limits: Limits) -> Minutes:
    """Return what is believed before the first epoch."""
    return Minutes(PRIOR_EPOCHS, limits.usual_surprise, limits.usual_liveliness)


def advance(minutes: Minutes, evidence: Evidence, limits: Limits) -> Minutes:
    """Return the last minutes with one more epoch in them."""
    n = min(minutes.n_epochs + 1.0, limits.memory_epochs)
    surprise = min(evidence.surprise, limits.most_surprise)
    return Minutes(
        n,
        minutes.surprise + (surprise - minutes.surprise) / n,
        minutes.liveliness + (evidence.liveliness - minutes.liveliness) / n,
    )


def judge(evidence: Evidence, minutes: Minutes, limits: Limits) -> Verdict:
    """Return the verdict on an epoch and on the minutes that end with it."""
    answers = (
        (Ramp(*limits.too_small)(evidence.level), "far too small for any EEG"),
        (Ramp(*limits.too_large)(evidence.level), "far too large for any EEG"),
        (Ramp(*limits.beating)(evidence.beat), "unlike sleep EEG: a regular beat"),
        (Ramp(*limits.odd)(evidence.surprise), "unlike sleep EEG: its spectrum"),
        (Ramp(*limits.odd_for_minutes)(minutes.surprise), "unlike sleep EEG: its spectrum"),
        (Ramp(*limits.steady)(minutes.liveliness), "unlike sleep EEG: steady as noise"),
    )
    familiarity, reason = min(answers, key=lambda answer: answer[0])
    return Verdict(familiarity, reason if familiarity < UNFAMILIAR else "")


def soften(probs: Float32Array, familiarity: float) -> Float32Array:
    """Mix probabilities, shape (5,), with "any stage" by how unfamiliar the signal is."""
    if familiarity >= 1.0:
        return probs
    share = max(familiarity, LEAST)
    return frozen(share * probs.astype(np.float64) + (1.0 - share) / N_STAGES)


class Judge(Protocol):
    """What the stager asks of a judge. One judge serves one night."""

    name: str
    sha256: str

    def step(self, data: Float32Array, numbers: Float32Array) -> Verdict:
        """Judge one epoch and remember what it says.

        Parameters
        ----------
        data : ndarray of float32, shape (1, 3000)
            `Epoch.data`: high-passed microvolts at 100 Hz, zero where samples are missing.
        numbers : ndarray of float32, shape (17,)
            `sleepstream.stager.spectral.describe` of it.

        Returns
        -------
        Verdict
            On the epoch, in the light of the last minutes.
        """
        ...

    def peek(self, data: Float32Array, numbers: Float32Array) -> Verdict:
        """Say what `step` would say, and leave no trace."""
        ...

    def reset(self) -> None:
        """Forget the recording."""
        ...


class AllFamiliar:
    """Takes everything for sleep EEG."""

    name = NO_JUDGE
    sha256 = ""

    def step(self, data: Float32Array, numbers: Float32Array) -> Verdict:  # noqa: ARG002
        """Find it familiar."""
        return Verdict(1.0)

    def peek(self, data: Float32Array, numbers: Float32Array) -> Verdict:  # noqa: ARG002
        """Find it familiar."""
        return Verdict(1.0)

    def reset(self) -> None:
        """Nothing to forget."""


def load_judge(name: str) -> Judge:
    """Return the judge called `name` at the start of a night.

    Parameters
    ----------
    name : str
        A model's name or folder, as `sleepstream.stager.weights.find` takes it, or ``"none"``.

    Raises
    ------
    ModelError
        No such model, or it is damaged or of another kind.
    """
    if name == NO_JUDGE:
        return AllFamiliar()
    return Familiarity.load(weights.find(name, "familiarity"))


class Familiarity:
    """A mixture of Gaussians over the shapes of spectra, and the limits, for one bed.

    Parameters
    ----------
    name, sha256 : str
        Name and fingerprint of the model.
    tensors : dict of ndarray
        ``center`` and ``scale`` (16,) of the shapes; ``weights`` (k,), ``means`` (k, 16) and
        ``whitening`` (k, 16, 16) of the components: the inverse Cholesky factors of their
        covariances, transposed.
    limits : Limits
        Where familiarity ends.
    """

    def __init__(
        self, name: str, sha256: str, tensors: dict[str, npt.NDArray[Any]], limits: Limits
    ) -> None:
        self.name = name
        self.sha256 = sha256
        self._parts = {key: part.astype(np.float64) for key, part in tensors.items()}
        self._constants = np.log(self._parts["weights"]) + np.log(
            np.diagonal(self._parts["whitening"], axis1=1, axis2=2)
        ).sum(axis=1)
        self.limits = limits
        self._minutes = begin(limits)

    @classmethod
    def load(cls, model: ModelFiles) -> Familiarity:
        """Read `model`.

        Raises
        ------
        ModelError
            It is of another architecture, or its weights and options do not fit.
        """
        try:
            if model.arch != ARCH:
                raise ValueError(f"arch {model.arch!r}")
            tensors = load_file(model.weights)
            k = len(tensors["weights"])
            shapes = {"center": (N_SHAPE,), "scale": (N_SHAPE,), "means": (k, N_SHAPE)}
            for key, shape in (shapes | {"whitening": (k, N_SHAPE, N_SHAPE)}).items():
                if tensors[key].shape != shape:
                    raise ValueError(f"{key} of shape {tensors[key].shape}")
            limits = Limits(**model.options)
            return cls(model.name, model.fingerprint, tensors, limits)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"a judge of familiarity of arch {ARCH!r} in {model.folder}",
                f"{type(error).__name__}: {error}",
                "name another model, none, or install it again",
            ) from error

    def step(self, data: Float32Array, numbers: Float32Array) -> Verdict:
        """Judge one epoch and remember what it says."""
        self._minutes, verdict = self._judged(data, numbers)
        return verdict

    def peek(self, data: Float32Array, numbers: Float32Array) -> Verdict:
        """Say what `step` would say, and leave no trace."""
        return self._judged(data, numbers)[1]

    def reset(self) -> None:
        """Forget the recording."""
        self._minutes = begin(self.limits)

    def surprise(self, shapes: Float64Array) -> Float64Array:
        """Return the negative log-likelihood, in nats, of shapes (n, 16) of spectra."""
        z = (shapes - self._parts["center"]) / self._parts["scale"]
        away = z[:, None, :] - self._parts["means"]
        white = np.einsum("nki,kij->nkj", away, self._parts["whitening"])
        logs = self._constants - 0.5 * (white**2).sum(axis=2)
        surprises: Float64Array = 0.5 * N_SHAPE * np.log(2.0 * np.pi) - special.logsumexp(
            logs, axis=1
        )
        return surprises

    def _judged(self, data: Float32Array, numbers: Float32Array) -> tuple[Minutes, Verdict]:
        surprise = float(self.surprise(shape(numbers[np.newaxis]))[0])
        evidence = Evidence(level(numbers), surprise, beat(data[0]), liveliness(data[0]))
        minutes = advance(self._minutes, evidence, self.limits)
        return minutes, judge(evidence, minutes, self.limits)
