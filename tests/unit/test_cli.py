"""The command line as a user meets it: quick help, messages without tracebacks, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from sleepstream import config
from sleepstream.cli import cli, main


@dataclass
class Done:
    code: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def sleepstream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Run:
    """Run a command in this process, in an empty folder, with an empty home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["sleepstream", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capfd.readouterr()
        return Done(int(left.value.code or 0), captured.out, captured.err)

    return run


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, sleepstream.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "mne", "mne_lsl", "scipy", "pylsl", "numpy", "rich", "matplotlib"}
    assert not heavy & set(done.stdout.split())


def test_the_module_is_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sleepstream", "score", "none.edf"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("sleepstream: ")


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
        else:
            found.append((*path, name))
    return found


@pytest.mark.parametrize("command", commands(cli), ids=" ".join)
def test_every_command_has_help_and_every_option_too(command: tuple[str, ...]) -> None:
    found: click.Command = cli
    for name in command:
        assert isinstance(found, click.Group)
        found = found.commands[name]
    assert found.help
    assert all(o.help for o in found.params if isinstance(o, click.Option))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run", "--grace", "x"), 2, "'x' is not a valid float"),
        (("run", "--grace", "0"), 2, "stream.grace"),
        (("run", "--lsl-stream", "nmae=EEG"), 3, "the key 'nmae'"),
        (("run", "--encoder", "nothing"), 5, "a model called 'nothing'"),
        (("run", "--decoder", "tinysleepnet"), 5, "a model of kind 'decoder'"),
        (("config", "--config", "none.toml"), 2, "no such file"),
        (("score", "none.edf"), 4, "no such file"),
        (("score", "."), 4, "a folder"),
        (("score", "not.edf"), 4, "an EEG recording that MNE can read"),
        (("score", "notes.txt"), 4, "an EEG recording that MNE can read"),
        (("score", "not.edf", "--out", "x.xlsx"), 2, ".csv or .jsonl"),
        (("models", "show", "nothing"), 5, "these models:"),
        (("models", "import", "not.edf"), 5, "checkpoint"),
        (("models", "import", "not.edf", "--name", "gpt"), 5, "a new name"),
        (("streams", "--wait", "-1"), 2, "not in the range"),
        (("run", "--lsl-stream", ""), 2, "stream.lsl_stream"),
        (("nights", "none"), 6, "one night called 'none'"),
        (("nights", "--store", "not.edf"), 6, "not.edf"),
        (("replay", "none.edf"), 4, "none.edf"),
        (("replay",), 2, "--synthetic"),
        (("frobnicate",), 2, "No such command"),
    ],
)
def test_what_goes_wrong_is_a_message_and_an_exit_code(
    arguments: tuple[str, ...],
    code: int,
    words: str,
    tmp_path: Path,
    sleepstream: Run,
) -> None:
    (tmp_path / "not.edf").write_bytes(b"this is no recording" * 100)
    (tmp_path / "notes.txt").write_text("dear diary")
    done = sleepstream(*arguments)
    assert done.code == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_config_says_what_is_in_force_and_where_from(tmp_path: Path, sleepstream: Run) -> None:
    (tmp_path / "sleepstream.toml").write_text("[stream]\ngrace = 5\n")
    done = sleepstream("config", "--json", "--bed", "b7")
    found = json.loads(done.stdout)
    assert found["stream.grace"] == {"value": 5.0, "from": "sleepstream.toml"}
    assert found["night.bed"] == {"value": "b7", "from": "--bed"}
    assert found["models.device"] == {"value": "auto", "from": "default"}
    table = sleepstream("config").stdout
    assert "stream.grace" in table


def test_the_template_is_a_settings_file(tmp_path: Path, sleepstream: Run) -> None:
    (tmp_path / "mine.toml").write_text(sleepstream("config", "--template").stdout)
    assert sleepstream("config", "--config", "mine.toml").code == 0


def test_models_are_listed_and_shown(sleepstream: Run) -> None:
    listed = json.loads(sleepstream("models", "list", "--json").stdout)
    assert {"tinysleepnet", "deepsleepnet", "gpt", "apnoea"} <= {m["name"] for m in listed}
    for model in listed:
        card = sleepstream("models", "show", model["name"]).stdout
        assert "research" in card.lower()


def test_a_mistake_of_ours_is_kept_for_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sleepstream: Run
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(config, "load", broken)
    done = sleepstream("config")
    assert (done.code, "Traceback" in done.stderr) == (1, False)
    assert "a mistake of ours: ZeroDivisionError: oh" in done.stderr
    (kept,) = (tmp_path / "state").rglob("error-*.txt")
    assert "Traceback" in kept.read_text()
