"""The soak: a daemon through half a day of faults and an hour of peace, and a week of epochs.

``make soak`` runs it as it is meant, in an hour and a half, and puts the tables into
docs/reliability.md; ``make test`` runs a short one, which judges counts and leaves the rest open.
It leaves with exit code 1 if anything grew, was lost or was doubled.
"""

from __future__ import annotations

import sys
import uuid
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import msgspec
from rich.console import Console
from sleepstream_training.evaluation.documents import write
from soak.live import SoakError, live
from soak.plan import plan
from soak.report import report
from soak.week import week

from sleepstream.errors import SleepstreamError


@click.command()
@click.option(
    "--hours",
    default=12.0,
    show_default=True,
    type=click.FloatRange(0.2, 23.0),
    help="Data time with faults.",
)
@click.option(
    "--speed",
    default=100.0,
    show_default=True,
    type=click.FloatRange(10.0),
    help="How many times faster it is played.",
)
@click.option(
    "--real-minutes",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0.2, 600.0),
    help="Real time without faults behind it.",
)
@click.option(
    "--week-hours",
    default=168.0,
    show_default=True,
    type=click.FloatRange(0.2),
    help="Data time through the loop alone.",
)
@click.option("--seed", default=20261122, show_default=True, help="Which faults, which nights.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep records, logs and all that was measured here.",
)
@click.option(
    "--write",
    "document",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Put the tables between the markers of this document.",
)
def main(
    hours: float,
    speed: float,
    real_minutes: float,
    week_hours: float,
    seed: int,
    folder: Path | None,
    document: Path | None,
) -> None:
    """Watch a daemon from outside, and say whether anything grows."""
    say = Console(stderr=True, highlight=False)
    real_s = 60.0 * real_minutes
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="soak-")))
        folder.mkdir(parents=True, exist_ok=True)
        try:
            say.print(f"{hours:g} h at {speed:g} times their pace, then {real_minutes:g} min …")
            stream = f"soak-{uuid.uuid4().hex[:12]}"
            lived = live(folder, stream, plan(seed, hours, real_s), speed, real_s)
            say.print(f"{week_hours:g} h through the loop alone …")
            alone = week(folder, seed, week_hours)
        except (SoakError, SleepstreamError) as error:
            say.print(str(error), markup=False)
            sys.exit(1)
        (folder / "seen.json").write_bytes(msgspec.json.encode((lived, alone)))
    parts = (f"{hours:g} h at {speed:g}x", f"{real_minutes:g} min at 1x", f"{week_hours:g} h alone")
    found = report(lived, alone, parts)
    for table in found.tables:
        table.show()
        click.echo()
    if document is not None:
        write(document, {table.name: table for table in found.tables})
    click.echo("\n".join(("NOT HELD", *found.failures)) if found.failures else "held")
    sys.exit(bool(found.failures))


if __name__ == "__main__":
    main()
