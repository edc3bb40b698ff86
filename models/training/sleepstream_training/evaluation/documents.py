"""Figures in the documentation: between markers, so that one command writes them anew.

In come tables; out go Markdown files whose marked parts are replaced, and a JSON file per topic::

    <!-- figures: hypnograms-next -->
    … the table of that name …
    <!-- end of figures -->
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sleepstream.errors import StoreError
from sleepstream_training.evaluation.tables import Table

_MARKED = re.compile(r"(<!-- figures: ([\w.-]+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def marked(text: str) -> list[str]:
    """Return the names of the tables that a document asks for."""
    return [match[2] for match in _MARKED.finditer(text)]


def filled(text: str, tables: Mapping[str, Table]) -> str:
    """Return a document with its marked parts replaced; those of unknown tables stay."""

    def part(match: re.Match[str]) -> str:
        table = tables.get(match[2])
        return f"{match[1]}{table.markdown()}\n{match[3]}" if table else match[0]

    return _MARKED.sub(part, text)


def write(document: Path, tables: Mapping[str, Table]) -> list[str]:
    """Replace the marked parts of a document; return the names that no table had.

    Raises
    ------
    StoreError
        It cannot be read or written.
    """
    try:
        text = document.read_text(encoding="utf-8")
        document.write_text(filled(text, tables), encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(
            f"to put figures into {document}",
            f"{type(error).__name__}: {error}",
            "name a Markdown file that is there and can be written to",
        ) from error
    return [name for name in marked(text) if name not in tables]


def write_json(path: Path, facts: Mapping[str, Any], tables: Sequence[Table]) -> None:
    """Write tables for programs, and for whoever wants to see what changed.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    tree = dict(facts) | {"tables": [_rounded(table.as_json()) for table in tables]}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(tree, indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"to write figures to {path}",
            f"{type(error).__name__}: {error.strerror}",
            "name a folder that can be written to",
        ) from error


def _rounded(tree: Any) -> Any:
    """Round to six digits: the last bits differ between machines and say nothing."""
    if isinstance(tree, float):
        return round(tree, 6)
    if isinstance(tree, dict):
        return {key: _rounded(value) for key, value in tree.items()}
    return [_rounded(value) for value in tree] if isinstance(tree, list) else tree
