"""Training an encoder from recipe to model folder: the parts put together.

In come a recipe and where things are, out goes a model folder that `sleepstream run --encoder`
accepts. With several processes each learns from its part of every batch, and the first one writes.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sleepstream.corpora.catalogue import find
from sleepstream.errors import ModelError, SettingsError
from sleepstream.stager.device import single_thread
from sleepstream.stager.encoder import ARCHITECTURES
from sleepstream.stager.sequences import SequenceNetwork
from sleepstream.stager.weights import DESCRIPTION_FILE, ModelFiles, save_model
from sleepstream_training.encoder.calibration import Calibration, Source, calibrate, figures, fit
from sleepstream_training.encoder.card import Story, card
from sleepstream_training.encoder.fitting import Fitted, Fitting, Stopped, predict
from sleepstream_training.encoder.prepared import LAYOUT, Prepared, made_up, prepare
from sleepstream_training.encoder.recipe import MadeUpData, MixtureData, Recipe, ScoredData
from sleepstream_training.encoder.scored import ScoredSource
from sleepstream_training.encoder.sources import TrainingData
from sleepstream_training.runs import Processes, Reporter, Run

FIRST_MADE_UP = 5000
"""Seed of the first made-up night; the demo plays small ones."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be trained, and where things go.

    Attributes
    ----------
    recipe : Recipe
        With all changes.
    out : Path
        The model folder to write; its last part is the model's name.
    work : Path
        Where state and caches are kept.
    command : sequence of str
        As it was given, for the card.
    """

    recipe: Recipe
    out: Path
    work: Path
    command: Sequence[str]

    @property
    def cache(self) -> Path:
        """Folder of what is made of the data."""
        return self.work / "cache"


def train(
    order: Order, processes: Processes, reporter: Reporter, stop: Callable[[], bool]
) -> ModelFiles | None:
    """Train an encoder, or go on where the same order was left.

    Parameters
    ----------
    order : Order
        What, and where to.
    processes : Processes
        Which process this is.
    reporter : Reporter
        Who tells a person.
    stop : callable
        Asked now and then whether to stop.

    Returns
    -------
    ModelFiles or None
        The model; None in all processes but the first.

    Raises
    ------
    Stopped
        `stop` said so.
    SleepstreamError
        The data, the recipe or the folders are not what they have to be.
    """
    recipe = order.recipe
    network = _network(recipe)
    _check_free(order.out)
    n_epochs = network.n_epochs if isinstance(network, SequenceNetwork) else 1
    data = _data(order, n_epochs, processes, reporter, stop)
    run = Run(
        order.work, order.out.name, _identity(recipe, data, processes), writes=processes.first
    )
    network = network.to(processes.device)
    fitted = Fitting(network, data, recipe.training, run, processes, reporter, stop).fit()
    if not processes.first:
        return None
    network.load_state_dict(fitted.weights)
    return _written(
        order, network, data, run=run, fitted=fitted, processes=processes, reporter=reporter
    )


def _network(recipe: Recipe) -> torch.nn.Module:
    arch = recipe.model.arch
    if arch not in ARCHITECTURES:
        near = difflib.get_close_matches(arch, ARCHITECTURES, n=1, cutoff=0.0)
        raise SettingsError(
            f"an architecture: {', '.join(ARCHITECTURES)}", repr(arch), f"the nearest is {near[0]}"
        )
    single_thread()
    torch.set_num_threads(recipe.training.threads)
    torch.manual_seed(recipe.training.seed)
    return ARCHITECTURES[arch]()


def _check_free(out: Path) -> None:
    if out.exists() and not (out / DESCRIPTION_FILE).is_file():
        raise ModelError(
            f"a place for the model {out.name!r}",
            f"{out} exists and is no model",
            "choose another one with --out, or move it away",
        )


def _data(
    order: Order,
    n_epochs: int,
    processes: Processes,
    reporter: Reporter,
    stop: Callable[[], bool],
) -> TrainingData:
    """Make the source that the recipe names."""
    recipe, data = order.recipe, order.recipe.data
    if isinstance(data, MixtureData):
        return _mixture(order, n_epochs, processes, reporter)
    if isinstance(data, MadeUpData):
        nights = []
        for night in range(data.nights):
            reporter.at("making nights up", night, data.nights)
            nights.append(made_up(FIRST_MADE_UP + night, data.hours))
        reporter.at("making nights up", data.nights, data.nights)
        return ScoredSource(nights, recipe, n_epochs)
    recordings = _recordings(data, order.cache, processes, reporter, stop)
    return ScoredSource(recordings, recipe, n_epochs)


def _mixture(order: Order, n_epochs: int, processes: Processes, reporter: Reporter) -> TrainingData:
    from sleepstream_training.encoder.mixture import MixtureSource  # noqa: PLC0415 - for those few

    paths = order.recipe.data.paths if isinstance(order.recipe.data, MixtureData) else []
    if len(paths) != 1:
        raise SettingsError(
            "one folder with the data of the shipped encoders",
            f"{len(paths)} folders",
            "name it with --data FOLDER",
        )
    # the first one makes the pools, the others read them
    if not processes.first:
        processes.wait()
    source = MixtureSource(Path(paths[0]), order.recipe, order.cache, n_epochs, reporter.say)
    if processes.first:
        processes.wait()
    return source


def _recordings(
    data: ScoredData,
    cache: Path,
    processes: Processes,
    reporter: Reporter,
    stop: Callable[[], bool],
) -> list[Prepared]:
    """Find and prepare the recordings; of several processes, each reads its share first."""
    if not data.paths:
        raise SettingsError(
            "scored recordings to learn from",
            "no folder",
            "name one with --data FOLDER (`sleepstream data list FOLDER` shows what is in it)",
        )
    found = [one for path in data.paths for one in find(Path(path), data.corpus or None)]
    wanted = [(one, channel) for one in found for channel in data.channels or [""]]
    own = wanted[processes.rank :: processes.size]
    for n, (one, channel) in enumerate(own):
        reporter.at("reading recordings", n, len(own))
        prepare(one, channel, data.unit, cache)
        if stop():
            raise Stopped(f"{n + 1} of {len(own)} recordings read")
    reporter.at("reading recordings", len(own), len(own))
    processes.wait()
    return [prepare(one, channel, data.unit, cache) for one, channel in wanted]


def _identity(recipe: Recipe, data: TrainingData, processes: Processes) -> dict[str, Any]:
    """Return all that decides how the training goes: not where the files are, but what they are."""
    tree = recipe.as_json()
    tree["data"].pop("paths", None)
    for words in ("about", "license"):
        tree.pop(words)
    return {
        "recipe": tree,
        "files": sorted((f.name, f.sha256) for f in data.files),
        "layout": LAYOUT,
        "processes": [processes.size, processes.device.type],
    }


def _calibrated(sources: dict[str, Source], data: TrainingData) -> Calibration:
    if not sources:
        return Calibration(bias=data.bias) if data.bias else Calibration()
    return fit(sources, data.shares, data.bias) if data.bias else calibrate(sources, data.shares)


def _written(
    order: Order,
    network: torch.nn.Module,
    data: TrainingData,
    *,
    run: Run,
    fitted: Fitted,
    processes: Processes,
    reporter: Reporter,
) -> ModelFiles:
    """Calibrate, measure and write the model; it appears under its name when it is complete."""
    sources = {
        name: Source(
            *predict(network, part, processes.device),
            weight=part.weight,
            by_stage=part.measure == "recall",
        )
        for name, part in data.held_out.items()
    }
    calibration = _calibrated(sources, data)
    content = _content(order.recipe, fitted, calibration)
    reporter.say("measuring the model on what was held out to test it")
    found = data.report(save_model(run.folder / "unmeasured", card="", **content))
    story = Story(
        name=order.out.name,
        recipe=order.recipe,
        command=order.command,
        processes=processes,
        progress=fitted.progress,
        curves=run.curves(),
        calibration=calibration,
        validation={
            name: figures(calibration.log_probs(s.logits).exp().numpy(), s.labels)
            for name, s in sources.items()
        },
    )
    text = card(story, data, found)
    return save_model(order.out, card=text, **content, figures=found.figures)


def _content(recipe: Recipe, fitted: Fitted, calibration: Calibration) -> dict[str, Any]:
    """Return the weights and the description of the model."""
    return {
        "kind": "encoder",
        "arch": recipe.model.arch,
        # the counters of batch norms serve nobody
        "tensors": {k: v for k, v in fitted.weights.items() if not k.endswith("batches_tracked")},
        "options": {
            "front_end": "running-gain",
            "gain_memory": recipe.model.gain_memory,
            "logit_bias": list(calibration.bias),
            "temperature": calibration.temperature,
        },
        "seed": recipe.training.seed,
        "steps": fitted.progress.step,
        "license": recipe.license,
    }
