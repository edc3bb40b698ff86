"""``sleepstream train``: recipes and data in, model folders out; `sleepstream_training` does it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from sleepstream.commands.setup import console, stop_on_signals
from sleepstream.errors import SettingsError
from sleepstream.stager.weights import user_folder

EXTRA = ("sklearn",)
"""What training needs beside what the daemon needs: the extra ``train``."""

INTERRUPTED = 130


def require_extra(modules: Sequence[str] = EXTRA) -> None:
    """Raise SettingsError unless the libraries of training are installed."""
    if absent := [name for name in modules if find_spec(name) is None]:
        raise SettingsError(
            "the libraries that training needs",
            f"no module {', '.join(absent)}",
            "pip install 'sleepstream[train]'",
        )


def encoder(
    recipe: str,
    *,
    changes: dict[str, Any],
    assignments: Sequence[str],
    out: Path | None,
    work: Path | None,
    device: str,
) -> int:
    """Train an encoder.

    Parameters
    ----------
    recipe : str
        Name of a recipe, or its file.
    changes : dict
        What the flags say, by the recipe's dotted keys.
    assignments : sequence of str
        What ``--set`` says: ``key=value``.
    out : Path or None
        The model folder; by default one of the user's models, called like the recipe.
    work : Path or None
        Where state and caches are kept.
    device : str
        ``auto``, ``cpu`` or ``cuda``.

    Returns
    -------
    int
        0, or 130 where it was stopped by the user; the same command then goes on.

    Raises
    ------
    SleepstreamError
        Anything that keeps the training from being done.
    """
    from sleepstream_training import recipes, runs  # noqa: PLC0415 - imports torch
    from sleepstream_training.encoder.fitting import Stopped  # noqa: PLC0415
    from sleepstream_training.encoder.recipe import Recipe  # noqa: PLC0415
    from sleepstream_training.encoder.train import Order, train  # noqa: PLC0415

    order = Order(
        recipe=recipes.load(
            "encoder", recipe, Recipe, recipes.parse_changes(assignments) | changes
        ),
        out=out or user_folder() / Path(recipe).stem,
        work=work or runs.default_work(),
        command=_as_given(),
    )
    with runs.processes(device) as processes, stop_on_signals() as stop:
        say = console()
        with runs.Reporter(say, silent=not processes.first) as reporter:
            reporter.say(f"training {order.out.name} ({recipe}) on {processes.place}")
            try:
                model = train(order, processes, reporter, stop.is_set)
            except Stopped as stopped:
                reporter.say(f"stopped at {stopped}; the same command goes on from there")
                return INTERRUPTED
    if model:
        _show(say, model.folder, "--encoder")
    return 0


def decoder(
    recipe: str,
    data: Path,
    *,
    changes: dict[str, Any],
    assignments: Sequence[str],
    steps: int | None,
    minutes: float | None,
    out: Path | None,
    work: Path | None,
) -> int:
    """Train a decoder.

    Parameters
    ----------
    recipe : str
        Name of a recipe, or its file.
    data : Path
        Folder of hypnograms and spectral features.
    changes, assignments, out, work
        As for `encoder`.
    steps, minutes : int or None, float or None
        Stretch the recipe to so many batches, or to about so long.

    Returns
    -------
    int
        0, or 130 where it was stopped by the user; the same command then goes on.

    Raises
    ------
    SleepstreamError
        Anything that keeps the training from being done.
    """
    require_extra()
    from sleepstream_training import recipes, runs  # noqa: PLC0415 - imports torch
    from sleepstream_training.decoder.fit import Stopped, train  # noqa: PLC0415
    from sleepstream_training.decoder.recipe import Recipe  # noqa: PLC0415

    wanted = recipes.load("decoder", recipe, Recipe, recipes.parse_changes(assignments) | changes)
    say = console()
    with runs.Reporter(say) as reporter, stop_on_signals() as stop:
        try:
            model = train(
                wanted.with_steps(steps) if steps else wanted,
                data,
                out or user_folder() / Path(recipe).stem,
                work=work or runs.default_work(),
                minutes=minutes or 0.0,
                command=shlex.join(_as_given()),
                reporter=reporter,
                stop=stop.is_set,
            )
        except Stopped:
            reporter.say("stopped; the same command goes on from there")
            return INTERRUPTED
    _show(say, model.folder, "--decoder")
    return 0


def disorder(
    recipe: str,
    data: Path,
    *,
    changes: dict[str, Any],
    assignments: Sequence[str],
    out: Path | None,
    work: Path | None,
) -> int:
    """Fit a disorder score.

    Parameters
    ----------
    recipe : str
        Name of a recipe, or its file.
    data : Path
        Folder of hypnograms and spectral features.
    changes, assignments, out, work
        As for `encoder`.

    Returns
    -------
    int
        0, or 130 where it was stopped by the user; the same command then goes on.

    Raises
    ------
    SleepstreamError
        Anything that keeps the score from being fitted, or from being any good.
    """
    require_extra()
    from sleepstream_training import recipes, runs  # noqa: PLC0415 - imports torch
    from sleepstream_training.disorder.nested import Stopped  # noqa: PLC0415
    from sleepstream_training.disorder.recipe import Recipe  # noqa: PLC0415
    from sleepstream_training.disorder.train import Order, train  # noqa: PLC0415

    order = Order(
        recipe=recipes.load(
            "disorder", recipe, Recipe, recipes.parse_changes(assignments) | changes
        ),
        data=data,
        out=out or user_folder() / Path(recipe).stem,
        work=work or runs.default_work(),
        command=shlex.join(_as_given()),
    )
    say = console()
    with runs.Reporter(say) as reporter, stop_on_signals() as stop:
        try:
            model = train(order, reporter, stop.is_set)
        except Stopped:
            reporter.say("stopped; the same command goes on from there")
            return INTERRUPTED
    _show(say, model.folder, "--disorder")
    return 0


def _show(say: Console, folder: Path, flag: str) -> None:
    """Say where the model lies, and how to use it."""
    sys.stdout.write(f"{folder}\n")
    say.print(f"its card: {folder / 'CARD.md'}")
    say.print(f"use it with: sleepstream run {flag} {folder}")


def _as_given() -> list[str]:
    """Return the command line as it can be said again."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    start = ["torchrun", "--nproc-per-node", str(size), "-m"] if size > 1 else []
    return [*start, "sleepstream", *sys.argv[1:]]
