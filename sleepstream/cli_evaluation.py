"""The command line of evaluation: names, flags and help of ``sleepstream evaluate``.

Nothing heavy is imported before a command is chosen; what it does is in `sleepstream.commands`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from sleepstream.cli_settings import JSON, PATH, Command, in_force, settings_flags

NIGHTS = click.argument("nights", nargs=-1, type=PATH)
FILES = click.argument("files", nargs=-1, type=PATH, required=True)
TRAIN = click.option(
    "--train",
    "training",
    multiple=True,
    type=PATH,
    metavar="NIGHTS",
    help="Hypnograms to fit baselines on; may be given again.",
)
EVERYONE = click.option(
    "--all",
    "everyone",
    is_flag=True,
    help="Judge on subjects that the model knows, too.",
)
NOT_MODELS = (
    *("stream.lsl_stream", "stream.timeout", "stream.stale", "stream.grace", "stream.duration"),
    *("staging.provisional", "staging.budget_ms"),
)


def recordings(command: Command) -> Command:
    """Give a command the flags of scored recordings and of what is done to their signal."""
    options: tuple[Callable[[Command], Command], ...] = (
        click.option(
            "--corpus",
            type=click.Choice(("sleep-edf-sc", "sleep-edf-st", "cap", "mass", "shhs", "edf")),
            help="Which corpus it is; by default the names of the files say.",
        ),
        click.option(
            "--gain",
            type=click.FloatRange(0, min_open=True),
            default=1.0,
            help="Make the signal so many times as large first.",
        ),
        click.option(
            "--resample",
            type=click.FloatRange(20, 10000),
            metavar="HZ",
            help="Bring the signal to another rate first.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def evaluate() -> None:
    """Measure models on scored nights (docs/evaluation.md)."""


@evaluate.command("decoder")
@NIGHTS
@click.option("--decoder", default="gpt", show_default=True, help="Who is judged: name or folder.")
@click.option(
    "--beside", multiple=True, help="Another decoder in the same tables; may be given again."
)
@TRAIN
@EVERYONE
@click.option(
    "--features",
    type=PATH,
    metavar="FILE",
    help="Spectral features, .npz: judge it behind an encoder that sees these only.",
)
@JSON
@click.pass_context
def evaluate_decoder(  # noqa: PLR0917 - click passes by name
    context: click.Context,
    nights: tuple[Path, ...],
    decoder: str,
    beside: tuple[str, ...],
    training: tuple[Path, ...],
    everyone: bool,
    features: Path | None,
    as_json: bool,
) -> None:
    """Judge a decoder on hypnograms: what it knows of nights, and what it foresees.

    NIGHTS are .csv, .jsonl, EDF+ annotations, or folders of them.
    """
    if not nights and not features:
        raise click.UsageError("name hypnograms, or --features FILE")
    from sleepstream.commands import evaluate as do  # noqa: PLC0415

    context.exit(
        do.decoder(
            nights,
            decoder,
            beside=beside,
            training=training,
            everyone=everyone,
            features=features,
            as_json=as_json,
        )
    )


@evaluate.command("stager")
@FILES
@recordings
@TRAIN
@JSON
@settings_flags("stream", "models", "staging", leave_out=NOT_MODELS)
@click.pass_context
def evaluate_stager(  # noqa: PLR0917 - click passes by name
    context: click.Context,
    files: tuple[Path, ...],
    corpus: str | None,
    gain: float,
    resample: float | None,
    training: tuple[Path, ...],
    as_json: bool,
    config_file: Path | None,
) -> None:
    """Judge encoder and decoder on scored recordings, along the path that serves.

    FILES are recordings whose scoring is found as `sleepstream data list` finds it, or folders.
    """
    settings = in_force(context, config_file).settings
    from sleepstream.commands import evaluate as do  # noqa: PLC0415

    context.exit(
        do.stager(
            settings,
            files,
            corpus=corpus,
            gain=gain,
            sfreq=resample or 0.0,
            training=training,
            as_json=as_json,
        )
    )


@evaluate.command("encoder")
@click.argument("model")
@FILES
@recordings
@JSON
@settings_flags(
    "stream",
    "models",
    "staging",
    leave_out=(
        *NOT_MODELS,
        "models.encoder",
        "models.decoder",
        "models.disorder",
        "models.familiarity",
    ),
)
@click.pass_context
def evaluate_encoder(  # noqa: PLR0917 - click passes by name
    context: click.Context,
    model: str,
    files: tuple[Path, ...],
    corpus: str | None,
    gain: float,
    resample: float | None,
    as_json: bool,
    config_file: Path | None,
) -> None:
    """Judge an encoder alone on scored recordings: MODEL is its name or folder."""
    alone = {"models.encoder": model, "models.decoder": "none", "models.familiarity": "none"}
    context.ensure_object(dict).update(alone)
    settings = in_force(context, config_file).settings
    from sleepstream.commands import evaluate as do  # noqa: PLC0415

    context.exit(
        do.stager(
            settings,
            files,
            corpus=corpus,
            gain=gain,
            sfreq=resample or 0.0,
            alone=True,
            as_json=as_json,
        )
    )


@evaluate.command("disorder")
@click.argument("nights", nargs=-1, type=PATH, required=True)
@click.option("--disorder", default="apnoea", show_default=True, help="Who is judged.")
@EVERYONE
@JSON
@click.pass_context
def evaluate_disorder(
    context: click.Context, nights: tuple[Path, ...], disorder: str, everyone: bool, as_json: bool
) -> None:
    """Judge the overnight score on nights with a diagnosis, database by database.

    NIGHTS are .jsonl with "ahi" or "diagnosis" in their lines.
    """
    from sleepstream.commands import evaluate as do  # noqa: PLC0415

    context.exit(do.disorder(nights, disorder, everyone=everyone, as_json=as_json))


@evaluate.command("all")
@click.option(
    "--data",
    type=PATH,
    required=True,
    help="Folder with hypnograms, sleep_edf_features and raw_eeg in it.",
)
@click.option(
    "--both-ways",
    type=PATH,
    metavar="FOLDER",
    help="A decoder trained with model.causal=false, to show what it costs to be causal.",
)
@click.option("--figures", type=PATH, metavar="FOLDER", help="Write them there as JSON, too.")
@click.option(
    "--write",
    "documents",
    multiple=True,
    type=PATH,
    metavar="FILE",
    help="Put them between the markers of this Markdown file; may be given again.",
)
@click.pass_context
def evaluate_all(
    context: click.Context,
    data: Path,
    both_ways: Path | None,
    figures: Path | None,
    documents: tuple[Path, ...],
) -> None:
    """Make every figure of the shipped models anew."""
    from sleepstream.commands import evaluate as do  # noqa: PLC0415

    context.exit(do.everything(data, both_ways=both_ways, figures=figures, documents=documents))
