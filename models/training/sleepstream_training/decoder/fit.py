"""Fitting the decoder: a recipe and the nights come in, a model folder goes out.

Three phases: a language model of hypnograms; the same with simulated errors of an encoder; and
out-of-fold probabilities of a real one. Every batch is drawn from a generator made of the seed and
the step alone, so that a training that was cut off and goes on makes the same steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sleepstream.errors import ModelError
from sleepstream.stager import context, weights
from sleepstream.stager.device import single_thread
from sleepstream.stager.gpt import Gpt, GptShape, split
from sleepstream.stager.weights import DESCRIPTION_FILE, ModelFiles
from sleepstream_training.decoder.batches import (
    Batch,
    Donors,
    Tokens,
    as_encoded,
    as_language,
    as_paired,
    as_simulated,
    batch,
    shortened,
)
from sleepstream_training.decoder.both_ways import BothWays
from sleepstream_training.decoder.card import save
from sleepstream_training.decoder.data import load_encoded, load_hypnograms
from sleepstream_training.decoder.recipe import Phase, Recipe, Training
from sleepstream_training.nights import Night
from sleepstream_training.runs import Reporter, Run

SAVE_EVERY_S = 60.0
CURVE_EVERY = 10
MEASURED_STEPS = 5
"""Steps of each phase that are timed where a training goes by the clock."""


class Stopped(Exception):  # noqa: N818 - no error: somebody asked for it
    """The training was asked to stop, and has kept its state."""


@dataclass(slots=True)
class _Progress:
    """Which phase is running, and how many of its steps are done."""

    phase: int = 0
    step: int = 0
    elapsed_s: float = 0.0


def loss_of(gpt: Gpt, nights: Batch, now_weight: float) -> Tensor:
    """Return the loss of one batch: the stage now, the next stage, all horizons, both events.

    A network that sees what is ahead learns the stage now alone.
    """
    now, ahead, soon = split(gpt(torch.from_numpy(nights.inputs)))
    loss = now_weight * _entropy(now, torch.from_numpy(nights.now))
    if isinstance(gpt, BothWays):
        return loss
    targets = torch.from_numpy(nights.ahead)
    loss = loss + _entropy(ahead, targets) + _entropy(ahead[:, :, 0], targets[:, :, 0])
    events = torch.from_numpy(nights.soon)
    known = events >= 0
    return loss + 0.5 * F.binary_cross_entropy_with_logits(soon[known], events[known])


def _entropy(logits: Tensor, targets: Tensor) -> Tensor:
    n_known = (targets >= 0).sum().clamp(min=1)
    rows = logits.flatten(0, -2), targets.flatten()
    return F.cross_entropy(*rows, ignore_index=-1, reduction="sum") / n_known


class Sampler:
    """Draws batches of training nights.

    Parameters
    ----------
    hypnograms, encoded : list of Night
        Those that are held out are left out.
    how : Training
        Of the recipe.
    """

    def __init__(self, hypnograms: list[Night], encoded: list[Night], how: Training) -> None:
        self.hypnograms = [night for night in hypnograms if not night.held_out]
        self.encoded = [night for night in encoded if not night.held_out]
        self._donors = Donors(self.encoded)
        self._how = how

    def draw(self, phase: Phase, rng: np.random.Generator) -> Batch:
        """Draw one batch of the phase's mixture."""
        kinds = {
            self._language: phase.language,
            self._simulated: phase.simulated,
            self._paired: phase.paired,
            self._encoded: phase.encoded,
        }
        shares = np.array(list(kinds.values()))
        chosen = rng.choice(len(kinds), size=phase.batch, p=shares / shares.sum())
        nights = [list(kinds)[kind](rng) for kind in chosen]
        if rng.random() < self._how.short_share:
            nights = [shortened(night, self._how.short_epochs, rng) for night in nights]
        return batch(nights)

    def _language(self, rng: np.random.Generator) -> Tokens:
        return as_language(_one_of(self.hypnograms, rng), rng)

    def _simulated(self, rng: np.random.Generator) -> Tokens:
        return as_simulated(_one_of(self.hypnograms, rng), self._donors, rng)

    def _paired(self, rng: np.random.Generator) -> Tokens:
        return as_paired(_one_of(self.encoded, rng), self._donors, rng)

    def _encoded(self, rng: np.random.Generator) -> Tokens:
        return as_encoded(_one_of(self.encoded, rng), rng)


def _one_of(nights: list[Night], rng: np.random.Generator) -> Night:
    return nights[rng.integers(len(nights))]


class Fitting:
    """A training in progress.

    Parameters
    ----------
    recipe : Recipe
        What to do.
    sampler : Sampler
        Where batches come from.
    run : Run
        Where the state is kept; a training that is there is gone on with.
    reporter : Reporter
        Who tells a person.
    """

    def __init__(self, recipe: Recipe, sampler: Sampler, run: Run, reporter: Reporter) -> None:
        self.recipe = recipe
        self._learner = _network(recipe)
        remember = get_ema_multi_avg_fn(recipe.training.average)  # type: ignore[no-untyped-call]
        self._average = AveragedModel(self._learner, multi_avg_fn=remember)
        self._phases = list(recipe.phases.items())
        self._sampler, self._run, self._reporter = sampler, run, reporter
        self._progress = _Progress()
        self._optimizer = self._new_optimizer()
        state = run.load() or {}
        if "gpt" in state:
            self._progress = _Progress(**state["progress"])
            self._learner.load_state_dict(state["gpt"])
            self._average.load_state_dict(state["average"])
            self._optimizer.load_state_dict(state["optimizer"])

    @property
    def gpt(self) -> Gpt:
        """The network with its averaged weights."""
        network = self._average.module
        if not isinstance(network, Gpt):
            raise TypeError(f"a Gpt was averaged, not a {type(network).__name__}")
        return network

    def fit(self, stop: Callable[[], bool]) -> float:
        """Train to the end; return the seconds that it took.

        Raises
        ------
        Stopped
            `stop` said so; the same command goes on.
        """
        saved = time.monotonic()
        while self._progress.phase < len(self._phases):
            name, phase = self._phases[self._progress.phase]
            while self._progress.step < phase.steps:
                began = time.monotonic()
                loss = self.step(self._progress.phase, self._progress.step)
                self._progress.step += 1
                self._progress.elapsed_s += time.monotonic() - began
                self._tell(name, phase, loss)
                if stop():
                    self._save()
                    raise Stopped
                if time.monotonic() - saved > SAVE_EVERY_S:
                    saved = time.monotonic()
                    self._save()
            self._progress.phase, self._progress.step = self._progress.phase + 1, 0
            self._optimizer = self._new_optimizer()
            self._save()
        return self._progress.elapsed_s

    def step(self, number: int, at: int) -> float:
        """Make step `at` of phase `number`; return its loss."""
        training, phase = self.recipe.training, self._phases[number][1]
        rng = np.random.default_rng([training.seed, number, at])
        warm = min(1.0, (at + 1) / training.warmup)
        fall = 0.5 * (1 + math.cos(math.pi * at / max(phase.steps, 1)))
        for group in self._optimizer.param_groups:
            group["lr"] = phase.learning_rate * warm * fall + 1e-6
        batch = self._sampler.draw(phase, rng)
        loss = loss_of(self._learner, batch, training.now_weight)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._learner.parameters(), training.clip)
        self._optimizer.step()
        self._average.update_parameters(self._learner)
        return loss.item()

    def _tell(self, name: str, phase: Phase, loss: float) -> None:
        self._reporter.at(name, self._progress.step, phase.steps)
        if self._progress.step % CURVE_EVERY == 0 or self._progress.step == phase.steps:
            before = sum(phase.steps for _, phase in self._phases[: self._progress.phase])
            self._run.note({"step": before + self._progress.step, "phase": name, "loss": loss})

    def _new_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            self._learner.parameters(),
            lr=1e-3,
            betas=(0.9, 0.95),
            weight_decay=self.recipe.training.weight_decay,
        )

    def _save(self) -> None:
        self._run.save(
            {
                "n_steps": self.recipe.n_steps,
                "progress": asdict(self._progress),
                "gpt": self._learner.state_dict(),
                "average": self._average.state_dict(),
                "optimizer": self._optimizer.state_dict(),
            }
        )


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    work: Path,
    minutes: float = 0.0,
    command: str,
    reporter: Reporter,
    stop: Callable[[], bool],
) -> ModelFiles:
    """Train a decoder and write its model folder.

    Parameters
    ----------
    recipe : Recipe
        What to do.
    data : Path
        A folder with hypnograms and spectral features (`decoder.data`).
    out : Path
        The model folder.
    work : Path
        Where trainings are kept.
    minutes : float, optional
        Stretch the recipe to about so long on this machine.
    command : str
        What was typed, for the card.
    reporter : Reporter
        Who tells a person.
    stop : callable
        Asked after each step whether to stop.

    Returns
    -------
    ModelFiles
        The model, read back.

    Raises
    ------
    RecordingError
        Data that the recipe asks for are missing.
    Stopped
        `stop` said so; the same command goes on.
    """
    if out.exists() and not (out / DESCRIPTION_FILE).is_file():
        raise ModelError(
            f"a place for the model {out.name!r}",
            f"{out} exists and is no model",
            "choose another one with --out, or move it away",
        )
    hypnograms = load_hypnograms(data)
    phases = [phase for phase in recipe.phases.values() if phase.steps]
    needed = any(phase.simulated or phase.paired or phase.encoded for phase in phases)
    reporter.say(f"{len(hypnograms)} nights; {sum(n.held_out for n in hypnograms)} are held out")
    if needed:
        reporter.say("staging the nights that have spectral features (kept for the next time)")
    encoded = load_encoded(data, work) if needed else []
    sampler = Sampler(hypnograms, encoded, recipe.training)
    run = Run(work, out.name, [recipe.as_json(), str(data.resolve()), minutes])
    state = run.load()
    if minutes and state is None:
        total = round(recipe.n_steps * 60.0 * minutes / seconds_of(recipe, sampler))
        run.save({"n_steps": max(1, total)})
    if minutes:
        recipe = recipe.with_steps((run.load() or {})["n_steps"])
        reporter.say(f"{recipe.n_steps} steps; --steps {recipe.n_steps} repeats this training")
    fitting = Fitting(recipe, sampler, run, reporter)
    seconds = fitting.fit(stop)
    nights = [*sampler.hypnograms, *sampler.encoded]
    return save(fitting.gpt, recipe, nights, out, data=data, seconds=seconds, command=command)


def seconds_of(recipe: Recipe, sampler: Sampler) -> float:
    """Return about how long the recipe takes on this machine."""
    gpt, seconds = _network(recipe), 0.0
    for number, phase in enumerate(recipe.phases.values()):
        began = time.monotonic()
        for at in range(MEASURED_STEPS if phase.steps else 0):
            rng = np.random.default_rng([recipe.training.seed, number, at])
            loss = loss_of(gpt, sampler.draw(phase, rng), recipe.training.now_weight)
            loss.backward()  # type: ignore[no-untyped-call]
        seconds += phase.steps * (time.monotonic() - began) / MEASURED_STEPS
    return seconds


def _network(recipe: Recipe) -> Gpt:
    single_thread()
    torch.manual_seed(recipe.training.seed)
    sizes = msgspec.to_builtins(recipe.model)
    kind = Gpt if sizes.pop("causal") else BothWays
    gpt = kind(GptShape(n_inputs=context.N_INPUTS, **sizes))
    if recipe.start:
        _begin_with(gpt, weights.find(recipe.start, "decoder"))
    return gpt


def _begin_with(gpt: Gpt, model: ModelFiles) -> None:
    try:
        gpt.load_state_dict(load_file(model.weights))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"weights of a network of the recipe's sizes in {model.folder}",
            str(error).splitlines()[0],
            "train the model that the recipe starts from, with the same sizes, first",
        ) from error
