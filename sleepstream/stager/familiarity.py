"""Whether what is staged looks like the sleep EEG that the models have learned from.

In come the seventeen spectral numbers of each epoch (`sleepstream.stager.spectral`); out goes a
familiarity from 0 to 1 and, where it is low, the reason in words. A network that was taught to tell
five stages apart finds one in a heart and in a hum, too, and is often sure of it; somebody else has
to be asked. Three questions are, and the worst answer counts:

- Might an amplifier make this *amplitude* of an EEG? Any gain that one may have is none of ours.
- Do the *spectra* of the last minutes look like those of sleep EEG, under a mixture of Gaussians?
  Gain and mains are taken out: what an amplifier does to an EEG does not make it strange.
- Do they *change* from epoch to epoch? EEG does within any stage; noise of whatever colour does
  not, and by how little can be calculated.

No stranger was ever learned from. To doubt a night is worse than to believe a stranger for some
minutes, so each answer is given on running means.

References
----------
.. [1] Bishop CM. Novelty detection and neural network validation. IEE Proc Vis Image Signal
   Process 1994;141:217-222: no network is to be trusted where what it learned from is not dense.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file
from scipy import special

from sleepstream.errors import ModelError
from sleepstream.messages import DOUBT, N_STAGES, Float32Array, Float64Array, frozen
from sleepstream.stager import weights
from sleepstream.stager.spectral import BANDS_HZ, N_WAVELET_BANDS
from sleepstream.stager.weights import ModelFiles

ARCH = "gaussian-mixture"
"""Name of this kind of model in `model.toml`."""

SHIPPED = "sleep-eeg"
"""The judge that ships."""

NO_JUDGE = "none"
"""Name of the judge that is none."""

UNFAMILIAR = 0.5
"""Below this familiarity the reason is said, and the epoch does not count as sleep EEG."""

LEAST = 0.02
"""So much is always left of what a network says: the most probable stage stays it."""

N_SHAPE = 14
"""How many numbers are left of a spectrum without gain and mains."""

PRIOR_EPOCHS = 2.0
"""How many epochs the usual counts for at the start of a recording."""

SPECTRUM_EPOCHS = 10.0
CHANGE_EPOCHS = 20.0
"""Epochs after which the means forget: five minutes for spectra, and ten for their changes, which
differ more from one epoch to the next."""

_GAIN = slice(2, 4)  # the wavelet bands of 3 to 12 Hz tell it: they differ least between stages
_TOP = N_WAVELET_BANDS - 1  # the highest wavelet band is where mains is, and says nothing without
_ENTROPIES = slice(N_WAVELET_BANDS, N_WAVELET_BANDS + _TOP)
_SHARES = slice(2 * N_WAVELET_BANDS, 2 * N_WAVELET_BANDS + len(BANDS_HZ))
_LEAST_SHARE = -6.0  # below, a filter has taken it: that is the amplifier's doing
_CHANGING = slice(2, 5)  # bands with enough coefficients to be steady in noise, 3 to 25 Hz
_NOISE_VARIANCE = 4.0 / np.array([193.0, 380.0, 754.0])


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where familiarity ends: the ``[options]`` of a model's description.

    In each pair stands first the value up to which all is familiar, then that from which on nothing
    is.

    Attributes
    ----------
    too_small, too_large : tuple of float
        Of `level`.
    odd : tuple of float
        Of the running mean of the surprise, in nats.
    steady : tuple of float
        Of the running mean of the `change`.
    usual_surprise, usual_change : float
        What is believed before the first epoch has spoken. No epoch changes more than is usual.
    most_surprise : float
        An epoch counts as no more than that in the mean, so that a night recovers from one.
    """

    too_small: tuple[float, float]
    too_large: tuple[float, float]
    odd: tuple[float, float]
    steady: tuple[float, float]
    usual_surprise: float
    usual_change: float
    most_surprise: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is made of an epoch.

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
class Mean:
    """A running mean that forgets: `n` epochs are behind its `value`."""

    value: float
    n: float = PRIOR_EPOCHS

    def after(self, value: float, memory: float) -> Mean:
        """Return the mean with one more epoch in it."""
        n = min(self.n + 1.0, memory)
        return Mean(self.value + (value - self.value) / n, n)


def level(numbers: Float32Array) -> float:
    """Return the log energy in µV² that tells the gain, of spectral numbers, shape (17,)."""
    return float(numbers[_GAIN].mean(dtype=np.float64))


def shape(numbers: npt.NDArray[Any]) -> Float64Array:
    """Return what gain and mains leave of spectra.

    Parameters
    ----------
    numbers : ndarray, shape (n, 17)
        From `sleepstream.stager.spectral.describe`.

    Returns
    -------
    ndarray of float64, shape (n, 14)
        Log energies and entropies of the wavelet bands below 25 Hz, and the log share of each
        spectral band in all of them together.
    """
    rows = numbers.astype(np.float64)
    energies = rows[:, :_TOP] - rows[:, _GAIN].mean(axis=1, keepdims=True)
    # without their mean, the two bands that tell the gain differ in sign alone
    energies = np.delete(energies, _GAIN.start, axis=1)
    shares = rows[:, _SHARES] - special.logsumexp(rows[:, _SHARES], axis=1, keepdims=True)
    shares = np.maximum(shares, _LEAST_SHARE)
    return np.concatenate([energies, rows[:, _ENTROPIES], shares], axis=1)


def change(before: npt.NDArray[Any], numbers: npt.NDArray[Any]) -> float:
    """Return how much more two epochs differ than two of noise do, which come to 1 in the mean.

    The energy of `n` coefficients of noise is a chi-square with `n` degrees of freedom, so that the
    difference of two log energies has a variance of about ``4 / n``.
    """
    steps = numbers[_CHANGING].astype(np.float64) - before[_CHANGING].astype(np.float64)
    return float((steps**2 / _NOISE_VARIANCE).mean())


def ramp(value: float, limits: tuple[float, float]) -> float:
    """Return the familiarity of a value: 1 as far as the first limit, 0 from the second on."""
    familiar, strange = limits
    return min(1.0, max(0.0, (value - strange) / (familiar - strange)))


def soften(probs: Float32Array, familiarity: float) -> Float32Array:
    """Mix probabilities, shape (5,), with "any stage" by how unfamiliar the signal is."""
    if familiarity >= 1.0:
        return probs
    share = max(familiarity, LEAST)
    return frozen(share * probs.astype(np.float64) + (1.0 - share) / N_STAGES)


class Judge(Protocol):
    """What the stager asks of a judge. One judge serves one night.

    Attributes
    ----------
    sha256 : str
        Fingerprint of the model.
    """

    sha256: str

    def step(self, numbers: Float32Array) -> Verdict:
        """Judge an epoch by its spectral numbers, shape (17,), and remember them."""
        ...

    def peek(self, numbers: Float32Array) -> Verdict:
        """Judge a window between two epochs, and leave no trace."""
        ...

    def reset(self) -> None:
        """Forget the recording."""
        ...


class AllFamiliar:
    """The judge of those who want none: everything is sleep EEG."""

    sha256 = ""

    def step(self, numbers: Float32Array) -> Verdict:  # noqa: ARG002
        """Find it familiar."""
        return Verdict(1.0)

    def peek(self, numbers: Float32Array) -> Verdict:  # noqa: ARG002
        """Find it familiar."""
        return Verdict(1.0)

    def reset(self) -> None:
        """Nothing is remembered."""


class Familiarity:
    """A mixture of Gaussians over the shapes of spectra, and the limits, for one bed.

    Parameters
    ----------
    sha256 : str
        Fingerprint of the model.
    tensors : mapping of str to ndarray
        ``center`` and ``scale`` (14,) of the shapes; ``weights`` (k,), ``means`` (k, 14) and
        ``whitening`` (k, 14, 14) of the components: the transposed inverses of the Cholesky factors
        of their covariances.
    limits : Limits
        Where familiarity ends.
    """

    def __init__(
        self, sha256: str, tensors: Mapping[str, npt.NDArray[Any]], limits: Limits
    ) -> None:
        self.sha256 = sha256
        self.limits = limits
        self._parts = {key: part.astype(np.float64) for key, part in tensors.items()}
        self._constants = np.log(self._parts["weights"]) + np.log(
            np.diagonal(self._parts["whitening"], axis1=1, axis2=2)
        ).sum(axis=1)
        self._surprise = Mean(limits.usual_surprise)
        self._change = Mean(limits.usual_change)
        self._last: Float32Array | None = None

    @classmethod
    def load(cls, model: ModelFiles) -> Familiarity:
        """Read `model`.

        Raises
        ------
        ModelError
            It is of another architecture, or its weights or options do not fit.
        """
        try:
            tensors = load_file(model.weights)
            limits = msgspec.convert(model.options, Limits)
            found = f"arch {model.arch!r}, {sorted(tensors)}"
            fits = model.arch == ARCH and _fits(tensors, limits)
        except (OSError, SafetensorError, msgspec.ValidationError) as error:
            fits, found = False, f"{type(error).__name__}: {error}"
        if not fits:
            raise ModelError(
                f"a judge of familiarity of arch {ARCH!r} in {model.folder}",
                found,
                "name another model, or none, or install it again",
            )
        return cls(model.fingerprint, tensors, limits)

    def step(self, numbers: Float32Array) -> Verdict:
        """Judge an epoch by its spectral numbers, shape (17,), and remember them."""
        self._surprise = self._with(numbers)
        if self._last is not None:
            moved = min(change(self._last, numbers), self.limits.usual_change)
            self._change = self._change.after(moved, CHANGE_EPOCHS)
        self._last = numbers
        return self._verdict(numbers, self._surprise)

    def peek(self, numbers: Float32Array) -> Verdict:
        """Judge a window between two epochs, and leave no trace.

        It overlaps with the last epoch, so that it says nothing of changes.
        """
        return self._verdict(numbers, self._with(numbers))

    def reset(self) -> None:
        """Forget the recording."""
        self._surprise = Mean(self.limits.usual_surprise)
        self._change = Mean(self.limits.usual_change)
        self._last = None

    def surprise(self, numbers: npt.NDArray[Any]) -> Float64Array:
        """Return the negative log-likelihood, in nats, of spectra, shape (n, 17)."""
        z = (shape(numbers) - self._parts["center"]) / self._parts["scale"]
        away = z[:, None, :] - self._parts["means"]
        white = np.einsum("nki,kij->nkj", away, self._parts["whitening"])
        logs = self._constants - 0.5 * (white**2).sum(axis=2)
        nats: Float64Array = 0.5 * N_SHAPE * np.log(2.0 * np.pi) - special.logsumexp(logs, axis=1)
        return nats

    def _with(self, numbers: Float32Array) -> Mean:
        surprise = min(float(self.surprise(numbers[None])[0]), self.limits.most_surprise)
        return self._surprise.after(surprise, SPECTRUM_EPOCHS)

    def _verdict(self, numbers: Float32Array, surprise: Mean) -> Verdict:
        size, limits = level(numbers), self.limits
        familiarity, what = min(
            (ramp(size, limits.too_small), "far too small"),
            (ramp(size, limits.too_large), "far too large"),
            (ramp(surprise.value, limits.odd), "no stage has such spectra"),
            (ramp(self._change.value, limits.steady), "as steady as noise or a machine"),
            key=lambda answer: answer[0],
        )
        if familiarity >= UNFAMILIAR:
            return Verdict(familiarity)
        return Verdict(familiarity, f"{DOUBT}: {what}")


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


def _fits(tensors: Mapping[str, npt.NDArray[Any]], limits: Limits) -> bool:
    k = len(tensors.get("weights", ()))
    shapes = {
        "center": (N_SHAPE,),
        "scale": (N_SHAPE,),
        "weights": (k,),
        "means": (k, N_SHAPE),
        "whitening": (k, N_SHAPE, N_SHAPE),
    }
    pairs = (limits.too_small, limits.too_large, limits.odd, limits.steady)
    return (
        k > 0
        and {key: part.shape for key, part in tensors.items()} == shapes
        and all(bool(np.isfinite(part).all()) for part in tensors.values())
        and all(bool((tensors[key] > 0).all()) for key in ("scale", "weights"))
        and bool((np.diagonal(tensors["whitening"], axis1=1, axis2=2) > 0).all())
        and all(np.isfinite(pair).all() and pair[0] != pair[1] for pair in pairs)
        and bool(
            np.isfinite((limits.usual_surprise, limits.usual_change, limits.most_surprise)).all()
        )
    )
