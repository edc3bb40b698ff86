"""What to do to an encoder's logits so that its probabilities can be taken at their word.

In come logits and labels of held-out subjects, by source, out go a temperature and as much of a
bias for each stage as holds up. The development recordings have no part in it.

References
----------
Guo C, Pleiss G, Sun Y, Weinberger KQ. On calibration of modern neural networks. ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score
from torch.nn import functional as F

from sleepstream.messages import N_STAGES, Float32Array

TOLERANCE = 0.01
"""By how much (nats) a bias may make any one source worse."""

TEMPERATURES = (0.1, 10.0)
"""A network that has learned nothing yet would be divided by no end of it."""

N_BINS = 15

NO_BIAS = (0.0,) * N_STAGES

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What a network says of one held-out source.

    Attributes
    ----------
    logits : Tensor, shape (n, 5)
        Of each epoch.
    labels : ndarray of int, shape (n,)
        Its stage.
    weight : float
        How much the source counts.
    by_stage : bool
        Whether each stage counts the same, instead of each epoch.
    """

    logits: torch.Tensor
    labels: IntArray
    weight: float = 1.0
    by_stage: bool = False

    def half(self, start: int) -> Source:
        """Return every other epoch."""
        return replace(self, logits=self.logits[start::2], labels=self.labels[start::2])


@dataclass(frozen=True, slots=True)
class Calibration:
    """A temperature and what is added to the logits before it (W, N1, N2, N3, REM)."""

    temperature: float = 1.0
    bias: tuple[float, ...] = NO_BIAS

    def log_probs(self, logits: torch.Tensor) -> torch.Tensor:
        """Return log probabilities, shape (n, 5)."""
        return ((logits + torch.tensor(self.bias)) / self.temperature).log_softmax(1)


def calibrate(sources: dict[str, Source], shares: Float32Array) -> Calibration:
    """Return what makes the held-out labels likeliest, and no source's much less likely.

    A bias for each stage is fitted on one half of the epochs. Of it as much is taken as makes the
    other half likeliest, among the parts that make no single source worse than the temperature
    alone does by more than `TOLERANCE`. That may be nothing.

    Parameters
    ----------
    sources : dict of Source
        By name.
    shares : ndarray, shape (5,)
        Shares of the stages in whole nights, to which the epochs are weighted.
    """
    fitted = {name: source.half(0) for name, source in sources.items()}
    judged = {name: source.half(1) for name, source in sources.items()}
    plain = fit(fitted, shares, NO_BIAS)
    whole = fit(fitted, shares, None).bias
    best, taken = 0.0, 0.0
    for part in np.linspace(0.1, 1.0, 10):
        some = fit(fitted, shares, scaled(whole, part))
        rise = {name: _loss(some, s) - _loss(plain, s) for name, s in judged.items()}
        overall = sum(sources[name].weight * value for name, value in rise.items())
        if overall < best and max(rise.values()) < TOLERANCE:
            best, taken = overall, float(part)
    return fit(sources, shares, scaled(fit(sources, shares, None).bias, taken))


def scaled(bias: tuple[float, ...], part: float) -> tuple[float, ...]:
    """Return a part of a bias."""
    return tuple(round(part * b, 3) for b in bias)


def fit(
    sources: dict[str, Source], shares: Float32Array, given: tuple[float, ...] | None
) -> Calibration:
    """Fit the temperature to a given bias, or both."""
    logits = torch.cat([source.logits for source in sources.values()])
    labels = np.concatenate([source.labels for source in sources.values()])
    weights = np.concatenate(
        [source.weight * balanced(source.labels, source.by_stage) for source in sources.values()]
    )
    mass = np.bincount(labels, weights, minlength=N_STAGES)
    weight = torch.from_numpy(weights * shares[labels] / mass[labels]).float()
    target = torch.from_numpy(labels)
    log_t = torch.zeros(1, requires_grad=True)
    bias = torch.tensor(given or NO_BIAS, requires_grad=given is None)
    free = [log_t, bias] if given is None else [log_t]
    optimizer = torch.optim.LBFGS(free, max_iter=200)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        losses = F.cross_entropy((logits + bias) / log_t.exp(), target, reduction="none")
        loss = (weight * losses).sum() / weight.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    centred = (bias - bias.mean()).tolist() if given is None else given
    return Calibration(
        # 0.0 +: no -0.0 in the description
        round(log_t.exp().clamp(*TEMPERATURES).item(), 3),
        tuple(0.0 + round(b, 3) for b in centred),
    )


def balanced(labels: IntArray, by_stage: bool) -> npt.NDArray[np.float64]:
    """Return weights of sum 1, equal for each epoch or, if `by_stage`, for each stage."""
    weight = (
        1 / np.bincount(labels, minlength=N_STAGES)[labels] if by_stage else np.ones(len(labels))
    )
    return np.asarray(weight / weight.sum())


def _loss(calibration: Calibration, source: Source) -> float:
    losses = F.nll_loss(calibration.log_probs(source.logits), torch.from_numpy(source.labels))
    return float(losses)


def expected_calibration_error(probs: Float32Array, labels: IntArray) -> float:
    """Return the mean distance of confidence and accuracy over `N_BINS` bins of confidence."""
    confidence = probs.max(axis=1)
    right = (probs.argmax(axis=1) == labels).astype(float)
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    gap = np.bincount(bins, confidence - right, minlength=N_BINS)
    return float(np.abs(gap).sum() / len(labels))


def figures(probs: Float32Array, labels: IntArray) -> dict[str, float | str]:
    """Return how well probabilities, shape (n, 5), fit the labels, shape (n,)."""
    said = probs.argmax(axis=1)
    found = {
        "accuracy": accuracy_score(labels, said),
        "kappa": cohen_kappa_score(labels, said),
        "macro_f1": f1_score(labels, said, average="macro"),
        "confidence": probs.max(axis=1).mean(),
        "ece": expected_calibration_error(probs, labels),
        "log_loss": -np.log(probs[np.arange(len(labels)), labels] + 1e-9).mean(),
    }
    rounded: dict[str, float | str] = {n: round(float(v), 3) for n, v in found.items()}
    return rounded | {
        "stage_errors": stage_errors(probs, labels),
        "selective": selective_accuracy(probs, labels),
    }


def stage_errors(probs: Float32Array, labels: IntArray) -> str:
    """Return the calibration error of each stage's probability, one against the rest."""
    out = []
    for stage in range(N_STAGES):
        bins = np.minimum((probs[:, stage] * N_BINS).astype(int), N_BINS - 1)
        gap = np.bincount(bins, probs[:, stage] - (labels == stage), minlength=N_BINS)
        out.append(float(np.abs(gap).sum() / len(labels)))
    return " ".join(f"{error:.3f}" for error in out)


def selective_accuracy(probs: Float32Array, labels: IntArray) -> str:
    """Return the accuracy among the surest 25, 50, 75 and 100 % of the epochs."""
    right = (probs.argmax(axis=1) == labels)[np.argsort(-probs.max(axis=1), kind="stable")]
    return " ".join(f"{right[: round(c * len(right))].mean():.2f}" for c in (0.25, 0.5, 0.75, 1.0))
