"""The command line: names, flags and help. What a command does is in `sleepstream.commands`.

Nothing heavy is imported before a command is chosen, so that ``--help`` answers at once.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import click
import platformdirs
from sleepstream_replay.cli import replay

import sleepstream
from sleepstream import config
from sleepstream.cli_evaluation import evaluate
from sleepstream.cli_settings import JSON, PATH, in_force, settings_flags
from sleepstream.cli_training import train
from sleepstream.errors import SleepstreamError

INTERRUPTED = 130
STORE = settings_flags(
    "night",
    leave_out=("night.bed", "night.keep_signal", "night.resume", "night.resume_within"),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(sleepstream.__version__, prog_name="sleepstream")
def cli() -> None:
    """Stage sleep in real time: LSL in; stage, forecast and a live hypnogram out.

    A research tool, not a medical device.
    """


@cli.command()
@settings_flags("stream", "models", "staging", "night", "output")
@click.pass_context
def run(context: click.Context, config_file: Path | None) -> None:
    """Stage a live LSL stream until it ends."""
    settings = in_force(context, config_file).settings
    from sleepstream.commands.run import run as do  # noqa: PLC0415

    context.exit(do(settings))


@cli.command()
@click.argument("file", type=PATH)
@click.option("--no-store", is_flag=True, help="Do not put the night on record.")
@click.option("--out", type=PATH, help="Write the estimates to a file, .csv or .jsonl.")
@JSON
@settings_flags(
    "stream",
    "models",
    "staging",
    "night",
    leave_out=(
        "stream.lsl_stream",
        "stream.timeout",
        "stream.stale",
        "stream.grace",
        "stream.duration",
        "staging.provisional",
        "staging.budget_ms",
        "night.resume",
        "night.resume_within",
    ),
)
@click.pass_context
def score(  # noqa: PLR0917 - click passes by name
    context: click.Context,
    file: Path,
    no_store: bool,
    out: Path | None,
    as_json: bool,
    config_file: Path | None,
) -> None:
    """Stage a recording (EDF, BDF, BrainVision, FIF, …) with the engine that stages live."""
    settings = in_force(context, config_file).settings
    from sleepstream.commands.score import score as do  # noqa: PLC0415

    context.exit(do(settings, file, store=not no_store, out=out, as_json=as_json))


@cli.command()
@click.argument("probs", type=PATH)
@click.option("--out", type=PATH, help="Write the corrected epochs to a file, .csv.")
@JSON
@settings_flags("models", leave_out=("models.encoder", "models.disorder", "models.familiarity"))
@click.pass_context
def decode(
    context: click.Context,
    probs: Path,
    out: Path | None,
    as_json: bool,
    config_file: Path | None,
) -> None:
    """Correct another stager's night: PROBS is a CSV of its stage probabilities, or - for stdin."""
    settings = in_force(context, config_file).settings
    from sleepstream.commands.decode import decode as do  # noqa: PLC0415

    context.exit(do(settings, probs, out=out, as_json=as_json))


cli.add_command(replay)
cli.add_command(train)
cli.add_command(evaluate)


@cli.command()
@click.option(
    "--wait",
    type=click.FloatRange(0.1, 60),
    default=2.0,
    show_default=True,
    help="Seconds to listen.",
)
@JSON
@click.pass_context
def streams(context: click.Context, wait: float, as_json: bool) -> None:
    """List the LSL streams on the network, with labels, units and rates."""
    from sleepstream.commands import lists  # noqa: PLC0415

    context.exit(lists.streams(wait, as_json=as_json))


@cli.command()
@click.argument("night", required=False)
@JSON
@STORE
@click.pass_context
def nights(
    context: click.Context, night: str | None, as_json: bool, config_file: Path | None
) -> None:
    """List the nights on record, or show one (its id, or `last`)."""
    settings = in_force(context, config_file).settings
    from sleepstream.commands import lists  # noqa: PLC0415

    context.exit(lists.nights(settings.store_path(), night, as_json=as_json))


@cli.command()
@click.argument("night")
@JSON
@settings_flags("models", "night", leave_out=("night.bed", "night.resume", "night.resume_within"))
@click.pass_context
def rescore(context: click.Context, night: str, as_json: bool, config_file: Path | None) -> None:
    """Stage a night on record once more, with other models: NIGHT is its id, or `last`."""
    settings = in_force(context, config_file).settings
    from sleepstream.commands.nights import rescore as do  # noqa: PLC0415

    context.exit(do(settings, night, as_json=as_json))


@cli.command()
@click.argument("night")
@click.option(
    "--signal",
    type=PATH,
    required=True,
    help="Write the signal as it was staged: .edf with its stages, or .npz, exact to the bit.",
)
@STORE
@click.pass_context
def export(context: click.Context, night: str, signal: Path, config_file: Path | None) -> None:
    """Write a night on record to a file: NIGHT is its id, or `last`."""
    settings = in_force(context, config_file).settings
    from sleepstream.commands.nights import export as do  # noqa: PLC0415

    context.exit(do(settings.store_path(), night, signal))


@cli.command()
@JSON
@settings_flags("night", leave_out=("night.keep_signal", "night.resume", "night.resume_within"))
@click.pass_context
def health(context: click.Context, as_json: bool, config_file: Path | None) -> None:
    """Say how the daemon of a bed is; exit code 0: well, 1: not quite, 2: nobody stages.

    It asks no daemon and no network: it reads the signs of life that the daemon leaves beside its
    record, and tries the lock that ends with the process.
    """
    settings = in_force(context, config_file).settings
    from sleepstream.commands.health import health as do  # noqa: PLC0415

    context.exit(do(settings.store_path(), settings.night.bed, as_json=as_json))


@cli.group()
def models() -> None:
    """List, show and import models."""


@models.command("list")
@JSON
@click.pass_context
def models_list(context: click.Context, as_json: bool) -> None:
    """List the models that ship and your own."""
    from sleepstream.commands import lists  # noqa: PLC0415

    context.exit(lists.models(as_json=as_json))


@models.command("show")
@click.argument("name")
@JSON
@click.pass_context
def models_show(context: click.Context, name: str, as_json: bool) -> None:
    """Show a model's card: what it was trained on, how good it is, what it cannot do."""
    from sleepstream.commands import lists  # noqa: PLC0415

    context.exit(lists.show_model(name, as_json=as_json))


@models.command("import")
@click.argument("file", type=PATH)
@click.option("--name", help="What to call it; by default the file's name.")
@JSON
@click.pass_context
def models_import(context: click.Context, file: Path, name: str | None, as_json: bool) -> None:
    """Convert a published SleepGPT checkpoint (TinySleepNet or GPT) into a model of your own."""
    from sleepstream.commands import lists  # noqa: PLC0415

    context.exit(lists.import_model(file, name, as_json=as_json))


@cli.group()
def data() -> None:
    """List and fetch scored recordings."""


@data.command("list")
@click.argument("folder", type=PATH)
@click.option(
    "--corpus",
    type=click.Choice(("sleep-edf-sc", "sleep-edf-st", "cap", "mass", "shhs", "edf")),
    help="Which corpus it is; by default the names of the files say.",
)
@JSON
@click.pass_context
def data_list(context: click.Context, folder: Path, corpus: str | None, as_json: bool) -> None:
    """List the scored recordings in FOLDER: corpus, subject, record, hours, epochs per stage."""
    from sleepstream.commands import data as do  # noqa: PLC0415

    context.exit(do.list_recordings(folder, corpus, as_json=as_json))


@data.command("fetch")
@click.argument("dataset", type=click.Choice(("sleep-edf", "sleep-edf-st")))
@click.option(
    "--subjects", default="", metavar="0,1,5-9", help="Numbers of subjects; by default all."
)
@click.option("--folder", type=PATH, help="Where to; by default MNE's data folder.")
@click.pass_context
def data_fetch(context: click.Context, dataset: str, subjects: str, folder: Path | None) -> None:
    """Download Sleep-EDF from physionet.org with MNE's downloader: 100 MB a subject."""
    from sleepstream.commands import data as do  # noqa: PLC0415

    context.exit(do.fetch(dataset, subjects, folder))


@cli.command("config")
@click.option("--template", is_flag=True, help="Print a commented sleepstream.toml instead.")
@JSON
@settings_flags("stream", "models", "staging", "night", "output", leave_out=("output.json",))
@click.pass_context
def show_config(
    context: click.Context, template: bool, as_json: bool, config_file: Path | None
) -> None:
    """Print the settings in force and where each value came from."""
    if template:
        click.echo(config.template(), nl=False)
        return
    found = in_force(context, config_file)
    from sleepstream.commands import lists  # noqa: PLC0415

    context.exit(lists.settings(found, as_json=as_json))


@cli.command()
@click.option(
    "--hours",
    type=click.FloatRange(0.1, 12),
    default=8.0,
    show_default=True,
    help="Length of the made-up night.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Which made-up night.")
@click.option("--sleep-edf", type=int, metavar="N", help="A real night: subject N, downloaded.")
@click.option("--speed", type=click.FloatRange(1, 2000), help="By default it takes a minute.")
@click.option("--headless", is_flag=True, help="No dashboard: one line per epoch.")
@click.option("--picture", default="", metavar="FILE", help="Write a picture of it, .svg or .txt.")
@click.pass_context
def demo(  # noqa: PLR0917 - click passes by name
    context: click.Context,
    hours: float,
    seed: int,
    sleep_edf: int | None,
    speed: float | None,
    headless: bool,
    picture: str,
) -> None:
    """Play a made-up night over LSL into the daemon and watch. Needs no data and no network."""
    from sleepstream.commands.demo import demo as do  # noqa: PLC0415

    context.exit(
        do(
            hours=hours,
            seed=seed,
            sleep_edf=sleep_edf,
            speed=speed,
            headless=headless,
            picture=picture,
        )
    )


def process() -> NoReturn:
    """Be the process ``sleepstream``: run the command line and leave at once.

    To take an interpreter apart that has torch in it costs half a second of a whole core, which is
    three where the cores are busy: longer than anybody waits who asked us to leave. By now all
    files are closed.
    """
    code: object = 0
    try:
        main()
    except SystemExit as left:
        code = left.code
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # whoever read it may have gone
            stream.flush()
    os._exit(code if isinstance(code, int) else 0)


def main() -> None:
    """Run the command line; errors that a user can understand become a message and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without µ is no reason to stop
    try:
        sys.exit(cli.main(standalone_mode=False, prog_name="sleepstream"))
    except SleepstreamError as error:
        click.echo(f"sleepstream: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # whoever read our output has gone; Python would complain once more when it flushes
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        click.echo(f"sleepstream: {_refused(error)}", err=True)
        sys.exit(SleepstreamError.exit_code)
    except Exception as error:  # noqa: BLE001 - the last resort, for what we did not foresee
        click.echo(f"sleepstream: {_our_mistake(error)}", err=True)
        sys.exit(SleepstreamError.exit_code)


def _refused(error: OSError) -> SleepstreamError:
    """Return in our words what the system said about a file, where nobody else has found words."""
    named = f": {error.filename}" if error.filename else ""
    return SleepstreamError(
        "to do what you asked for",
        f"this computer refuses: {error.strerror or error}{named}",
        "check the files and folders that you named: their names, rights and room",
    )


def _our_mistake(error: Exception) -> SleepstreamError:
    """Keep the details of an error for its report, and say where they are."""
    details = "".join(traceback.format_exception(error))
    kept = platformdirs.user_log_path("sleepstream") / f"error-{os.getpid()}.txt"
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(details, encoding="utf-8")
        where = f"report it with {kept} (it holds no signal)"
    except OSError:
        where = f"report it with these lines:\n{details}"
    return SleepstreamError(
        "to do what you asked for",
        f"a mistake of ours: {type(error).__name__}: {error}",
        where,
    )
