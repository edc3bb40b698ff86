"""The commands that print a table: streams, nights, models, settings. Each has its twin in JSON."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sleepstream import config
from sleepstream.errors import ModelError
from sleepstream.plain import printable, printable_json, printable_lines

if TYPE_CHECKING:
    from sleepstream.sources.description import StreamDescription
    from sleepstream.stager.weights import ModelFiles


def streams(wait_s: float, *, as_json: bool) -> int:
    """Print the LSL streams on the network."""
    from sleepstream.lsl_quiet import quiet_liblsl  # noqa: PLC0415 - liblsl only where it is needed
    from sleepstream.sources.network import describe, look_around  # noqa: PLC0415

    quiet_liblsl()
    found = [describe(info) for info in look_around(wait_s).values()]
    show_streams(found, as_json=as_json)
    if not (found or as_json):
        _say(
            f"no LSL stream answered within {wait_s:g} s. Start the sender, and see that the "
            "firewall lets LSL pass (UDP 16571, TCP 16572-16604)."
        )
    return 0


def show_streams(found: Iterable[StreamDescription], *, as_json: bool) -> int:
    """Print what streams say about themselves, and the words that select each."""
    found = sorted(found, key=lambda stream: stream.selector)
    if as_json:
        return _json([stream.as_json() for stream in found])
    out = Console(highlight=False, markup=False, soft_wrap=True)
    for stream in found:
        rate = f"{stream.sfreq:g} Hz" if stream.sfreq else "irregular rate"
        out.print(f"{stream.name}  type {stream.type or 'none'}, {rate}, on {stream.host}")
        out.print(f"    {_channels(stream.labels, stream.units, stream.n_channels)}")
        out.print(f"    --lsl-stream {shlex.quote(stream.selector)}")
    return 0


def _channels(labels: Sequence[str], units: Sequence[str], n: int) -> str:
    if not labels:
        return f"{n} channels; announced, but the stream does not answer"
    listed = [f"{la} ({u or 'no unit'})" for la, u in zip(labels, units, strict=True)]
    return ", ".join(listed[:12]) + (f" and {n - 12} more" if n > 12 else "")


def nights(store_path: Path, which: str | None, *, as_json: bool) -> int:
    """Print the nights on record, or one of them."""
    from sleepstream.hypnogram import Hypnogram  # noqa: PLC0415 - numpy only where it is needed
    from sleepstream.outputs.text import nights_table, statistics_table  # noqa: PLC0415
    from sleepstream.store.nights import NightStore  # noqa: PLC0415

    with NightStore(store_path) as store:
        if which is None:
            found = store.nights()
            if as_json:
                return _json([night.as_json() for night in found])
            Console().print(nights_table(found))
            _say(f"{len(found)} nights in {store_path}")
            return 0
        night = store.find(which)
        estimates = list(store.estimates(night.id))
        statistics = Hypnogram(estimate.stage for estimate in estimates).statistics()
        events = list(store.events(night.id))
        clock = list(store.clock(night.id))
    if as_json:
        return _json(
            night.as_json()
            | {
                "statistics": statistics.as_json(),
                "events": [event.as_json() for event in events],
                "clock": [offset.as_json() for offset in clock],
                "estimates": [estimate.as_json() for estimate in estimates],
            }
        )
    Console().print(nights_table([night]))
    Console().print(statistics_table(statistics))
    _table(("at (s)", "event", ""), [(f"{e.at_s:.1f}", e.kind, e.text) for e in events])
    return 0


def models(*, as_json: bool) -> int:
    """Print the models that can be named."""
    from sleepstream.stager import weights  # noqa: PLC0415

    found = weights.available()
    if as_json:
        return _json([_model(model) for model in found])
    rows = [(m.name, m.kind, m.arch, m.sha256[:12], _size(m)) for m in found]
    _table(("name", "kind", "network", "sha256", "size"), rows)
    return 0


def show_model(name: str, *, as_json: bool) -> int:
    """Print one model's description and card."""
    from sleepstream.stager import weights  # noqa: PLC0415

    model = weights.find(name)
    if as_json:
        return _json(_model(model) | {"description": model.description, "card": model.card})
    from rich.markdown import Markdown  # noqa: PLC0415

    Console().print(Markdown(printable_lines(model.card or "This model has no card.")))
    _say(f"{model.folder}  sha256 {model.sha256}")
    return 0


def import_model(path: Path, name: str | None, *, as_json: bool) -> int:
    """Convert a published checkpoint and keep it among the user's models."""
    from sleepstream.stager import weights  # noqa: PLC0415
    from sleepstream.stager.imports import import_checkpoint  # noqa: PLC0415

    wanted = name or path.name.split(".")[0]
    if any(model.name == wanted for model in weights.available()):
        raise ModelError(
            f"a new name for the imported model, not {wanted!r}",
            "a model of that name, which the import would hide",
            "choose another one with --name, or remove the old one first",
        )
    model = import_checkpoint(path, name, weights.user_folder())
    if as_json:
        return _json(_model(model))
    _say(f"imported the {model.kind} {model.name!r} into {model.folder}")
    _say(f"use it with: sleepstream run --{model.kind} {model.name}")
    return 0


def _size(model: ModelFiles) -> str:
    return f"{model.weights.stat().st_size / 1e6:.1f} MB" if model.sha256 else "no weights"


def _model(model: ModelFiles) -> dict[str, Any]:
    names = ("name", "kind", "arch", "sha256")
    return {name: getattr(model, name) for name in names} | {"folder": str(model.folder)}


def settings(in_force: config.InForce, *, as_json: bool) -> int:
    """Print the settings in force and where each came from."""
    values = {
        key.dotted: getattr(getattr(in_force.settings, key.section), key.name)
        for key in config.all_keys()
    } | {config.CHANNELS: [c.derivation for c in in_force.settings.channels]}
    if as_json:
        return _json({k: {"value": v, "from": in_force.origin[k]} for k, v in values.items()})
    _table(
        ("key", "value", "from"),
        [(k, json.dumps(v, ensure_ascii=False), in_force.origin[k]) for k, v in values.items()],
    )
    return 0


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; its cells are text from anywhere and never markup."""
    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console().print(table)


def _json(value: Any) -> int:
    sys.stdout.write(printable_json(json.dumps(value, ensure_ascii=False)) + "\n")
    return 0


def _say(text: str) -> None:
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(text)
