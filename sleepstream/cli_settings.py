"""What the commands share on the command line: flags that are settings, and ``--json``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click

from sleepstream import config

PATH = click.Path(path_type=Path)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

Command = TypeVar("Command", bound=Callable[..., None])


def settings_flags(*sections: str, leave_out: Sequence[str] = ()) -> Callable[[Command], Command]:
    """Give a command ``--config`` and a flag for each key of these sections.

    The values given are kept in the context for `in_force`; what was not given is left to the file.
    """

    def decorate(command: Command) -> Command:
        where = click.option(
            "--config", "config_file", type=PATH, help="Settings file instead of the usual one."
        )
        for key in reversed(config.all_keys()):
            if key.section in sections and key.dotted not in leave_out:
                command = _flag(key)(command)
        return where(command)

    return decorate


def _flag(key: config.Key) -> Callable[[Command], Command]:
    def keep(context: click.Context, _: click.Parameter, value: Any) -> None:
        if value is not None:
            context.ensure_object(dict)[key.dotted] = value

    annotated = get_args(key.type)[0]
    name = config.flag(key.name)
    kind: click.ParamType[Any] | None = None
    metavar: str | None = key.name.upper()
    if isinstance(key.default, bool):
        name, metavar = f"{name}/--no-{name[2:]}", None
    elif get_origin(annotated) is Literal:
        choices = get_args(annotated)
        kind, metavar = click.Choice(choices), "|".join(filter(None, choices))
        metavar = f"[{metavar}]" if key.bare else metavar
    elif isinstance(key.default, int | float):
        kind = click.INT if isinstance(key.default, int) else click.FLOAT
        metavar = "NUMBER"
    bare: dict[str, Any] = {"is_flag": False, "flag_value": key.bare} if key.bare else {}
    return click.option(
        name,
        type=kind,
        default=None,
        metavar=metavar,
        expose_value=False,
        callback=keep,
        help=f"{key.help}.  [{key.dotted} = {config.toml_value(key.default)}]",
        **bare,
    )


def in_force(context: click.Context, config_file: Path | None) -> config.InForce:
    """Return the settings in force: flags over the file over defaults."""
    return config.load(config.find_file(config_file), context.ensure_object(dict))
