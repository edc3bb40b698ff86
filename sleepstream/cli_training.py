"""The command line of training: names, flags and help of ``sleepstream train``.

Nothing heavy is imported before a command is chosen; what it does is in `sleepstream.commands`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sleepstream.cli_settings import PATH


@click.group()
def train() -> None:
    """Train models on your own data, or make those that ship anew (docs/training.md)."""


@train.command("encoder")
@click.option(
    "--recipe",
    default="scored",
    show_default=True,
    metavar="NAME|FILE",
    help="scored, sleep-edf, made-up, shipped-tinysleepnet, shipped-deepsleepnet, or a .toml.",
)
@click.option(
    "--data", multiple=True, type=PATH, metavar="PATH", help="Recordings; may be given again."
)
@click.option("--out", type=PATH, help="The model folder to write; by default one of your models.")
@click.option("--arch", help="Another network.  [model.arch]")
@click.option(
    "--channel", multiple=True, help="Derivation to learn from; may be given again. [data.channels]"
)
@click.option("--steps", type=click.IntRange(1), help="How many batches.  [training.steps]")
@click.option("--minutes", type=click.FloatRange(0.01), help="About how long.  [training.minutes]")
@click.option("--seed", type=click.IntRange(0), help="Of all that is drawn.  [training.seed]")
@click.option(
    "--device",
    type=click.Choice(("auto", "cpu", "cuda")),
    default="auto",
    show_default=True,
    help="Where to compute.",
)
@click.option("--work", type=PATH, help="Where to keep the state and what is made of the data.")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any key of the recipe."
)
@click.pass_context
def train_encoder(  # noqa: PLR0917 - click passes by name
    context: click.Context,
    recipe: str,
    data: tuple[Path, ...],
    out: Path | None,
    arch: str | None,
    channel: tuple[str, ...],
    steps: int | None,
    minutes: float | None,
    seed: int | None,
    device: str,
    work: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Train an encoder: from raw EEG to stage probabilities.

    What was cut off goes on with the same command. Several processes: torchrun --nproc-per-node K
    -m sleepstream train encoder ...
    """
    if steps and minutes:
        raise click.UsageError("say --steps or --minutes, not both")
    given: dict[str, Any] = {
        "data.paths": [str(path) for path in data] or None,
        "data.channels": list(channel) or None,
        "model.arch": arch,
        "training.steps": 0 if minutes else steps,
        "training.minutes": 0.0 if steps else minutes,
        "training.seed": seed,
    }
    from sleepstream.commands import train as do  # noqa: PLC0415

    context.exit(
        do.encoder(
            recipe,
            changes={key: value for key, value in given.items() if value is not None},
            assignments=assignments,
            out=out,
            work=work,
            device=device,
        )
    )


@train.command("decoder")
@click.option(
    "--recipe",
    default="shipped",
    show_default=True,
    metavar="NAME|FILE",
    help="shipped, or a .toml.",
)
@click.option(
    "--data",
    type=PATH,
    required=True,
    help="Folder with hypnograms/nights.jsonl, or any hypnograms, and spectral features.",
)
@click.option("--out", type=PATH, help="The model folder to write; by default one of your models.")
@click.option("--steps", type=click.IntRange(1), help="Batches of all phases together.")
@click.option("--minutes", type=click.FloatRange(0.01), help="About how long.")
@click.option("--seed", type=click.IntRange(0), help="Of all that is drawn.  [training.seed]")
@click.option("--work", type=PATH, help="Where to keep the state and what is made of the data.")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any key of the recipe."
)
@click.pass_context
def train_decoder(  # noqa: PLR0917 - click passes by name
    context: click.Context,
    recipe: str,
    data: Path,
    out: Path | None,
    steps: int | None,
    minutes: float | None,
    seed: int | None,
    work: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Train a decoder: from the night so far to better stages and a forecast.

    What was cut off goes on with the same command.
    """
    if steps and minutes:
        raise click.UsageError("say --steps or --minutes, not both")
    from sleepstream.commands import train as do  # noqa: PLC0415

    context.exit(
        do.decoder(
            recipe,
            data,
            changes={} if seed is None else {"training.seed": seed},
            assignments=assignments,
            steps=steps,
            minutes=minutes,
            out=out,
            work=work,
        )
    )


@train.command("disorder")
@click.option(
    "--recipe",
    required=True,
    metavar="NAME|FILE",
    help="apnoea, cap, or a .toml.",
)
@click.option(
    "--data",
    type=PATH,
    required=True,
    help="Folder with hypnograms/nights.jsonl, or any hypnograms, and spectral features.",
)
@click.option("--out", type=PATH, help="The model folder to write; by default one of your models.")
@click.option("--seed", type=click.IntRange(0), help="Of all that is drawn.  [training.seed]")
@click.option("--work", type=PATH, help="Where to keep what was read and judged.")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any key of the recipe."
)
@click.pass_context
def train_disorder(  # noqa: PLR0917 - click passes by name
    context: click.Context,
    recipe: str,
    data: Path,
    out: Path | None,
    seed: int | None,
    work: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Fit a disorder score: from the stages of a night so far to a resemblance.

    Judges it by nested cross-validation beside another architecture, and writes that on its card.
    What was cut off goes on with the same command.
    """
    from sleepstream.commands import train as do  # noqa: PLC0415

    context.exit(
        do.disorder(
            recipe,
            data,
            changes={} if seed is None else {"training.seed": seed},
            assignments=assignments,
            out=out,
            work=work,
        )
    )
