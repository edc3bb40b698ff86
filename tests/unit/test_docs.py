"""What the documentation says about commands, settings and events is what the program says."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click

from sleepstream.cli import cli

ROOT = Path(__file__).parents[2]
COMMANDS = ROOT / "docs" / "commands.md"


def helps(command: click.Command, words: tuple[str, ...]) -> list[str]:
    context = click.Context(command, info_name=" ".join(words), **cli.context_settings)
    context.terminal_width = 100
    text = f"## {' '.join(words)}\n\n```text\n{command.get_help(context)}\n```\n"
    subcommands = command.commands.items() if isinstance(command, click.Group) else ()
    return [text, *(h for name, sub in subcommands for h in helps(sub, (*words, name)))]


def test_commands_md_is_the_help_of_the_commands() -> None:
    text = "# Commands\n\n" + "\n".join(helps(cli, ("sleepstream",)))
    if os.environ.get("SLEEPSTREAM_UPDATE_GOLDEN"):
        COMMANDS.write_text(text, encoding="utf-8")
    assert COMMANDS.read_text(encoding="utf-8") == text


def test_every_link_between_documents_leads_somewhere() -> None:
    for document in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_flag_named_in_the_documents_exists() -> None:
    known = {
        flag for text in helps(cli, ("sleepstream",)) for flag in re.findall(r"--[a-z-]+", text)
    }
    for document in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", document.read_text(encoding="utf-8")))
        assert named <= known, document.name
