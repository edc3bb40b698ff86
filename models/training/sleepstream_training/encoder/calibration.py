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
from torch.nn import functional as F

from sleepstream.messages import N_STAGES, Float32Array
from sleepstream_training.evaluation import metrics
from sleepstream_training.evaluation.intervals import Figure, resampled

TOLERANCE = 0.01
"""By how much (nats) a bias may make any one source worse."""

TEMPERATURES = (0.1, 10.0)
"""A network that has learned nothing yet would be divided by no end of it."""

COVERAGES = (0.25, 0.5, 0.75, 1.0)
"""Shares of the surest epochs of which the accuracy is told."""

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


def figures(probs: Float32Array, labels: IntArray) -> dict[str, str]:
    """Return how well probabilities, shape (n, 5), fit the labels, shape (n,), for a table."""
    counts = resampled(["all"], [metrics.count(labels, probs)]).whole
    single = {
        "accuracy": metrics.accuracy(counts),
        "kappa": metrics.kappa(counts),
        "macro_f1": metrics.macro_f1(counts),
        "ece": metrics.ece(counts),
        "log_loss": metrics.nll(counts),
    }
    several = {
        "recall": metrics.recall(counts),
        "stage_errors": metrics.ece_by_stage(counts),
        "selective": metrics.accuracy_at(counts, COVERAGES),
    }
    return (
        {"n": str(len(labels)), "confidence": f"{probs.max(axis=1).mean():.3f}"}
        | {name: Figure(float(value[0])).text() for name, value in single.items()}
        | {
            name: " ".join(Figure(float(value)).text(2) for value in values[0])
            for name, values in several.items()
        }
    )
