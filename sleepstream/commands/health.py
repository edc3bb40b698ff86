"""``sleepstream health``: how the daemon of a bed is, for a person or a supervisor."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from sleepstream.outputs.health import find, judge
from sleepstream.plain import printable, printable_json


def health(store: Path, bed: str, *, as_json: bool) -> int:
    """Print one sentence, or one JSON object, about the daemon of a bed.

    Parameters
    ----------
    store : Path
        The file of its record.
    bed : str
        Which bed.
    as_json : bool
        Print JSON.

    Returns
    -------
    int
        Exit code: 0 it is well, 1 something is not as it should be, 2 nobody stages this bed.

    Raises
    ------
    StoreError
        The signs of life are there and may not be read.
    """
    found = find(store, bed)
    verdict = judge(found, datetime.now(UTC))
    if as_json:
        document = {
            "bed": bed,
            "condition": verdict.condition.name.lower(),
            "sentence": verdict.sentence,
            "staged": found.staged,
            "age_s": found.age_s,
            "health": found.health,
        }
        click.echo(printable_json(msgspec.json.encode(document).decode()))
    else:
        click.echo(printable(f"{bed}: {verdict.condition.name.lower()}: {verdict.sentence}"))
    return int(verdict.condition)
