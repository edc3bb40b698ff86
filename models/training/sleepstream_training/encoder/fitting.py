"""Fitting a network: batches in, the weights out that did best on what was held out.

Every step draws from a generator made of the seed, the step and the process, and nothing else: a
training that was cut off and goes on makes the same steps, bit for bit, as one that was not. A
training by the clock first measures how fast it is and settles the number of steps; from then on
it is like any other, and ``--steps`` repeats it.
"""

from __future__ import annotations

import copy
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from sleepstream.errors import SettingsError
from sleepstream.messages import Float32Array
from sleepstream_training.encoder.recipe import Training
from sleepstream_training.encoder.sources import Batch, HeldOut, IntArray, TrainingData
from sleepstream_training.evaluation import metrics
from sleepstream_training.runs import Processes, Reporter, Run

SAVE_EVERY_S = 60.0
N_WARM, MEASURED_S = 3, 3.0
"""A training by the clock measures steps for so long, after so many."""

MANY = 1_000_000

BATCH = 64
"""Items at a time when nothing is learned."""

Weights = dict[str, Tensor]


@dataclass(slots=True)
class Progress:
    """How far a training has come.

    Attributes
    ----------
    step, n_steps : int
        Steps made, and of how many.
    elapsed_s : float
        Seconds that they took.
    loss_sum, loss_n : float, int
        Since the last line of the curves.
    best, best_step : float, int
        The best score on what was held out, and when it was.
    """

    step: int = 0
    n_steps: int = 0
    elapsed_s: float = 0.0
    loss_sum: float = 0.0
    loss_n: int = 0
    best: float = -math.inf
    best_step: int = 0


@dataclass(frozen=True, slots=True)
class Fitted:
    """The weights that are kept, and how they came about."""

    weights: Weights
    progress: Progress


class Stopped(Exception):  # noqa: N818 - no error: somebody asked for it
    """The training was asked to stop, and has kept its state."""


@dataclass(slots=True, eq=False)
class Fitting:
    """A training in progress.

    Attributes
    ----------
    network : Module
        On the device, not yet trained; the same on all processes.
    data : TrainingData
        Where batches come from.
    how : Training
        Of the recipe.
    run : Run
        Where the state is kept.
    processes : Processes
        Which process this is.
    reporter : Reporter
        Who tells a person.
    stop : callable
        Asked after each step whether to stop.
    """

    network: nn.Module
    data: TrainingData
    how: Training
    run: Run
    processes: Processes
    reporter: Reporter
    stop: Callable[[], bool]
    progress: Progress = field(init=False, default_factory=Progress)
    _best: Weights = field(init=False, default_factory=dict)
    _average: AveragedModel = field(init=False)
    _optimizer: torch.optim.Optimizer = field(init=False)
    _learner: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        if self.how.batch % self.processes.size:
            raise SettingsError(
                f"a batch that {self.processes.size} processes can share",
                f"training.batch = {self.how.batch}",
                "choose a multiple with --set training.batch=…",
            )
        self._average = AveragedModel(self.network, multi_avg_fn=self._remember, use_buffers=True)
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=self.how.learning_rate,
            weight_decay=self.how.weight_decay,
        )
        self._learner = self.network
        if self.processes.size > 1:
            self._learner = DistributedDataParallel(self.network)

    def fit(self) -> Fitted:
        """Train to the end, from where it was left.

        Raises
        ------
        Stopped
            Somebody wanted it to; the same command goes on.
        """
        self._resume()
        started = saved = time.monotonic()
        before_s = self.progress.elapsed_s
        batches = self._batches(self.progress.step, self.progress.n_steps)
        for signals, targets in batches:
            self._step(signals, targets)
            self.reporter.at("training", self.progress.step, self.progress.n_steps)
            now = time.monotonic()
            self.progress.elapsed_s = before_s + now - started
            done = self.progress.step == self.progress.n_steps
            if done or self.progress.step % self.how.evaluate_every == 0:
                self._look()
                saved = self._save()
            elif now - saved > SAVE_EVERY_S:
                saved = self._save()
            if not done and self.processes.largest(float(self.stop())):
                self._save()
                raise Stopped(f"step {self.progress.step} of {self.progress.n_steps}")
        return Fitted(self._best, self.progress)

    def _resume(self) -> None:
        state = self.run.load()
        if state is None:
            self.progress.n_steps = self.how.steps or self._settled_steps()
            self.reporter.say(f"{self.progress.n_steps} steps; kept in {self.run.folder}")
            return
        self.network.load_state_dict(state["network"])
        self._average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._best, self.progress = state["best"], Progress(**state["progress"])
        self.reporter.say(
            f"going on after step {self.progress.step} of {self.progress.n_steps}, from "
            f"{self.run.folder}"
        )

    def _save(self) -> float:
        self.run.save(
            {
                "network": self.network.state_dict(),
                "average": self._average.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "best": self._best,
                "progress": asdict(self.progress),
            }
        )
        return time.monotonic()

    def _settled_steps(self) -> int:
        """Return how many steps fit into the minutes, measured on a copy that is thrown away."""
        self.reporter.say("measuring the speed")
        trial = replace(self, network=copy.deepcopy(self.network))
        trial.progress.n_steps = MANY
        started, n = 0.0, 0
        for n, (signals, targets) in enumerate(trial._batches(0, MANY), -N_WARM):
            if n == 0:
                started = time.monotonic()
            trial._step(signals, targets)
            spent = time.monotonic() - started if n >= 0 else 0.0
            if self.processes.largest(spent) > MEASURED_S:
                break
        step_s = self.processes.largest((time.monotonic() - started) / (n + 1))
        started = time.monotonic()
        trial._scores()
        look_s = self.processes.largest(time.monotonic() - started)
        return max(1, int(60 * self.how.minutes / (step_s + look_s / self.how.evaluate_every)))

    def _batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Make this process' part of each batch, some ahead if there are threads for it."""
        n = self.how.batch // self.processes.size

        def make(step: int) -> Batch:
            rng = np.random.default_rng((self.how.seed, step, self.processes.rank))
            return self.data.batch(rng, n, step / max(1, stop))

        if not self.how.workers:
            yield from map(make, range(start, stop))
            return
        ahead: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(self.how.workers) as threads:
            try:
                for step in range(start, stop):
                    ahead.append(threads.submit(make, step))
                    if len(ahead) > 2 * self.how.workers:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                threads.shutdown(cancel_futures=True)

    def _step(self, signals: Float32Array, targets: Float32Array) -> None:
        step, rank = self.progress.step, self.processes.rank
        for group in self._optimizer.param_groups:
            group["lr"] = rate(self.how, step, self.progress.n_steps)
        # dropout draws from torch's own generator
        seed = np.random.SeedSequence((self.how.seed, step, rank)).generate_state(1, np.uint64)
        torch.manual_seed(int(seed[0] >> np.uint64(1)))
        self._learner.train()
        device = self.processes.device
        logits = self._learner(torch.from_numpy(signals).to(device))
        loss = cross_entropy(logits, torch.from_numpy(targets).to(device))
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), self.how.clip)
        self._optimizer.step()
        self._average.update_parameters(self.network)
        self.progress.step += 1
        self.progress.loss_sum += float(loss.detach())
        self.progress.loss_n += 1

    def _remember(
        self, averages: Sequence[Tensor], values: Sequence[Tensor], _: Tensor | int
    ) -> None:
        """Move averages towards values; faster at first, or the first weights would linger."""
        n = self.progress.step
        share = 1 - min(self.how.average, (1 + n) / (10 + n))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value, share)
            else:
                average.copy_(value)

    def _look(self) -> None:
        """Measure the averaged weights on what was held out, and keep them if they are the best."""
        progress = self.progress
        found = self._scores()
        loss = progress.loss_sum / progress.loss_n
        progress.loss_sum, progress.loss_n = 0.0, 0
        # nothing held out: the last ones are taken
        score = found.get("score", float(progress.step))
        if score > progress.best:
            progress.best, progress.best_step = score, progress.step
            weights = self._average.module.state_dict()
            self._best = {name: value.detach().cpu().clone() for name, value in weights.items()}
        self.run.note(
            {
                "step": progress.step,
                "loss": round(loss, 4),
                "rate": float(f"{rate(self.how, progress.step - 1, progress.n_steps):.3g}"),
                "elapsed_s": round(progress.elapsed_s, 1),
                **found,
            }
        )
        figures = "  ".join(f"{name} {value:.3f}" for name, value in found.items())
        self.reporter.say(
            f"step {progress.step}/{progress.n_steps}  {progress.elapsed_s:.0f} s  "
            f"loss {loss:.3f}  {figures}".rstrip()
        )

    def _scores(self) -> dict[str, float]:
        if not self.processes.first:
            return {}
        return scores(self._average.module, self.data.held_out, self.processes.device)


def rate(how: Training, step: int, n_steps: int) -> float:
    """Return the learning rate of a step."""
    rising = min(1.0, (step + 1) / max(1.0, how.warmup * n_steps))
    falling = 0.5 * (1 + math.cos(math.pi * step / n_steps)) if how.schedule == "cosine" else 1.0
    return how.learning_rate * rising * falling


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy over the epochs that have a target.

    Parameters
    ----------
    logits : Tensor, shape (n, 5) or (n, n_epochs, 5)
        Of a network that says something of one epoch, or of each in a sequence.
    targets : Tensor, shape (n, n_epochs, 5)
        Probabilities; zeros where an epoch has no part.
    """
    targets = targets.reshape(-1, targets.shape[-1])
    log_probs = logits.reshape(targets.shape).log_softmax(1)
    return -(targets * log_probs).sum() / targets.sum().clamp(min=1.0)


@torch.inference_mode()
def predict(network: nn.Module, held_out: HeldOut, device: torch.device) -> tuple[Tensor, IntArray]:
    """Return logits, shape (n, 5), and labels, shape (n,), of the epochs that have a label."""
    network.eval()
    parts = [
        network(torch.from_numpy(held_out.signals[at : at + BATCH]).to(device)).cpu()
        for at in range(0, len(held_out.signals), BATCH)
    ]
    labels = held_out.labels.reshape(-1)
    logits = torch.cat(parts).reshape(len(labels), -1)
    known = labels >= 0
    return logits[torch.from_numpy(known)], labels[known]


def scores(
    network: nn.Module, held_out: Mapping[str, HeldOut], device: torch.device
) -> dict[str, float]:
    """Return how well a network does on each held-out set, and the weighted mean as ``score``."""
    found: dict[str, float] = {}
    for name, part in held_out.items():
        logits, labels = predict(network, part, device)
        counts = metrics.count(labels, logits.softmax(1).numpy())
        one = metrics.StageCounts(**{key: np.asarray(v)[None] for key, v in asdict(counts).items()})
        value = metrics.kappa(one) if part.measure == "kappa" else metrics.recall(one)
        known = value[np.isfinite(value)]
        found[f"{name}_{part.measure}"] = round(float(known.mean()), 4) if known.size else 0.0
    if found:
        weights = [part.weight for part in held_out.values()]
        found["score"] = round(float(np.average(list(found.values()), weights=weights)), 4)
    return found
