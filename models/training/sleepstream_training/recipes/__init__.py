"""Recipes: TOML files that say what to train, on what and how; typed where they are read.

Enters: the name of a recipe that ships (a file in ``recipes/encoder``, ``recipes/decoder`` or
``recipes/disorder``) or a file of the user's, and changes from the command line. Leaves: a frozen
struct. A key that does not exist is refused with the nearest one that does.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import Struct

from sleepstream.errors import SettingsError

FOLDER = Path(__file__).parent
SUFFIX = ".toml"

Recipe = TypeVar("Recipe", bound=Struct)


def names(model: str) -> list[str]:
    """Return the recipes that ship for ``"encoder"``, ``"decoder"`` or ``"disorder"``."""
    return sorted(path.stem for path in (FOLDER / model).glob(f"*{SUFFIX}"))


def load(
    model: str, recipe: str, kind: type[Recipe], changes: Mapping[str, Any] | None = None
) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    model : str
        ``"encoder"``, ``"decoder"`` or ``"disorder"``.
    recipe : str
        A name that `names` has, or the path of a TOML file.
    kind : type of Struct
        What a recipe of this model holds; its tables are structs too.
    changes : mapping, optional
        Values by dotted key (``"training.steps"``) that take the place of the file's.

    Returns
    -------
    Struct
        Of type `kind`.

    Raises
    ------
    SettingsError
        No such recipe, no TOML, a key that is unknown, or a value that does not fit.
    """
    path = _path(model, recipe)
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # tomllib lets more than its own through
        raise SettingsError(
            f"a recipe in TOML in {path}", str(error), "mend that line, or copy a recipe that ships"
        ) from error
    where = f"{path.name} and the command line" if changes else path.name
    for key, value in (changes or {}).items():
        _change(tree, key, value)
    _check_names(tree, kind, sorted(_keys(tree, kind)), where)
    try:
        return msgspec.convert(tree, kind)
    except msgspec.ValidationError as error:
        raise SettingsError(
            f"values that fit in {where}", str(error), "mend that value; docs/training.md lists all"
        ) from error


def parse_changes(assignments: Sequence[str]) -> dict[str, Any]:
    """Read ``key=value`` as TOML does; a value that is none is taken as text.

    >>> parse_changes(["training.steps=500", "data.channels=['C4-M1']", "model.arch=deepsleepnet"])
    {'training.steps': 500, 'data.channels': ['C4-M1'], 'model.arch': 'deepsleepnet'}

    Raises
    ------
    SettingsError
        No ``=``, or no key before it.
    """
    changes: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise SettingsError(
                "--set table.key=value", repr(assignment), "say for example --set training.batch=32"
            )
        try:
            changes[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            changes[key.strip()] = text.strip()
    return changes


def _path(model: str, recipe: str) -> Path:
    if recipe.endswith(SUFFIX):
        return Path(recipe)
    known = names(model)
    if recipe not in known:
        near = difflib.get_close_matches(recipe, known, n=1, cutoff=0.0)
        raise SettingsError(
            f"a recipe for the {model}: {', '.join(known)}, or a file that ends in {SUFFIX}",
            repr(recipe),
            f"the nearest one is {near[0]}" if near else "name a file",
        )
    return FOLDER / model / f"{recipe}{SUFFIX}"


def _change(tree: dict[str, Any], key: str, value: Any) -> None:
    table, _, name = key.rpartition(".")
    for part in table.split(".") if table else ():
        inner = tree.setdefault(part, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"a table {part!r} for {key!r}", repr(inner), "say only the key")
        tree = inner
    tree[name] = value


def _check_names(
    tree: Mapping[str, Any], kind: type[Struct], known: Sequence[str], where: str, prefix: str = ""
) -> None:
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    for name, value in tree.items():
        if name == kind.__struct_config__.tag_field:
            continue
        if name not in fields:
            inner = f".{next(iter(value))}" if isinstance(value, dict) and value else ""
            raise _unknown(f"{prefix}{name}{inner}", known, where)
        if isinstance(value, dict):
            for struct in _structs(fields[name], value):
                _check_names(value, struct, known, where, f"{prefix}{name}.")


def _keys(tree: Mapping[str, Any], kind: type[Struct], prefix: str = "") -> Iterator[str]:
    """Yield the keys that a recipe may have; its ``[data]`` says by `source` which those are."""
    for field in msgspec.structs.fields(kind):
        inner = tree.get(field.encode_name, {})
        structs = _structs(field.type, inner if isinstance(inner, dict) else {})
        if not structs:
            yield f"{prefix}{field.encode_name}"
        for struct in structs:
            yield from _keys(inner, struct, f"{prefix}{field.encode_name}.")


def _structs(annotation: Any, tree: Mapping[str, Any]) -> list[type[Struct]]:
    """Return the structs that a field may hold, less those that its tag rules out."""
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        config = annotation.__struct_config__
        tag = tree.get(config.tag_field, config.tag) if config.tag_field else config.tag
        return [annotation] if tag == config.tag else []
    return [struct for part in get_args(annotation) for struct in _structs(part, tree)]


def _unknown(found: str, known: Sequence[str], where: str) -> SettingsError:
    names = {key.rpartition(".")[2]: key for key in known} | {key: key for key in known}
    near = difflib.get_close_matches(found, names, n=1, cutoff=0.0)
    return SettingsError(
        "a key of a recipe (docs/training.md lists them)",
        f"{found!r} in {where}",
        f"the nearest valid key is {names[near[0]]}",
    )
