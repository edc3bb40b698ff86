"""A faults file: TOML in, `Faults` out, or an error that says which line of thought was wrong.

::

    seed = 1

    [[fault]]
    kind = "silence"
    start_s = 600
    length_s = 10
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from sleepstream_replay.errors import ReplayError
from sleepstream_replay.faults import KINDS, Fault, Faults

MOST_FAULTS = 5000
"""Each is held against each other one."""

_TOP = ("seed", "fault")


def read_faults(path: Path) -> Faults:
    """Read a faults file.

    Parameters
    ----------
    path : Path
        A TOML file with one table ``[[fault]]`` for each fault and, if wanted, a ``seed``.

    Raises
    ------
    ReplayError
        When it cannot be read, or says something that is no fault.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # tomllib lets more than its own through
        raise ReplayError(
            f"Sought faults in TOML in {path}.",
            str(error) or type(error).__name__,
            'Give a TOML file of [[fault]] tables, such as kind = "nan", start_s = 60, '
            "length_s = 10.",
        ) from error
    return parse_faults(tree, str(path))


def parse_faults(tree: dict[str, Any], where: str = "the faults") -> Faults:
    """Make faults of what a TOML file holds.

    Parameters
    ----------
    tree : dict
        ``{"seed": 1, "fault": [{"kind": "nan", "start_s": 60, "length_s": 10}]}``
    where : str
        What the errors call it.

    Raises
    ------
    ReplayError
        An unknown key or kind, a key that is missing, a value of the wrong type or size.
    """
    _no_unknown(tree, _TOP, where)
    tables, seed = tree.get("fault", []), tree.get("seed", 0)
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ReplayError(
            f"Sought a list of faults in {where}.",
            f"{tables!r:.60}",
            "Write each fault as a table headed [[fault]], in double brackets.",
        )
    if len(tables) > MOST_FAULTS:
        raise ReplayError(
            f"Sought at most {MOST_FAULTS} faults in {where}.",
            f"{len(tables)}",
            "Make several files of them, and play the recording once with each.",
        )
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ReplayError(
            f"Sought a seed in {where}.", f"{seed!r:.60}", "Give a whole number from 0 up."
        )
    faults = tuple(_fault(table, f"fault {n} in {where}") for n, table in enumerate(tables, 1))
    return Faults(faults, seed)


def check(fault: Fault, where: str) -> None:
    """Make sure that a fault that was made in Python could as well have come from a file.

    Raises
    ------
    ReplayError
        A value of the wrong type or size.
    """
    _converted(msgspec.to_builtins(fault), type(fault), where)


def _fault(table: dict[str, Any], where: str) -> Fault:
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        nearest = f"The nearest is {_nearest(kind, KINDS)!r}. " if isinstance(kind, str) else ""
        raise ReplayError(
            f"Sought the kind of {where}.",
            "no kind" if kind is None else f"{kind!r:.60}",
            f"{nearest}Kinds are: {', '.join(KINDS)}.",
        )
    wanted = KINDS[kind]
    _no_unknown(table, ("kind", *wanted.__struct_fields__), f"{where} ({kind})")
    return _converted(table, wanted, f"{where} ({kind})")


def _converted(table: dict[str, Any], wanted: type[Fault], where: str) -> Fault:
    try:
        return msgspec.convert(table, wanted)
    except msgspec.ValidationError as error:
        said, _, path = str(error).partition(" - at ")
        key = path.strip("`$.") or "its keys"
        value = f" ({table[key]!r:.60})" if key in table else ""
        raise ReplayError(
            f"Sought a valid value for {key} of {where}.",
            f"{said[:1].lower()}{said[1:]}{value}",
            f"Its keys are: {', '.join(wanted.__struct_fields__)}; see docs/replay.md.",
        ) from error


def _no_unknown(table: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            raise ReplayError(
                f"Sought the keys {', '.join(known)} in {where}.",
                f"the key {key!r:.60}",
                f"The nearest valid key is {_nearest(key, known)!r}.",
            )


def _nearest(word: str, known: Iterable[str]) -> str:
    return difflib.get_close_matches(word, list(known), n=1, cutoff=0.0)[0]
