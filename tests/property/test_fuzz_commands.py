"""The command line, given words that a script took from a stranger."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzzing import NASTY, fuzzed, survived
from hypothesis import example, given
from hypothesis import strategies as st

from sleepstream import cli, config

Out = pytest.CaptureFixture[str]
Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, capfd: Out, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command as the shell does, and return its exit code."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for kind in ("DATA", "CONFIG", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["sleepstream", *arguments])
        with survived(tmp_path, capfd), pytest.raises(SystemExit) as left:
            cli.main()
        assert not list(tmp_path.rglob("error-*.txt")), "a mistake of ours"
        code = left.value.code or 0
        assert isinstance(code, int)
        return code

    return run


WORDS = st.text(max_size=20).filter(lambda word: "\0" not in word) | st.sampled_from(
    (
        *(word.decode("latin-1").replace("\0", "") for word in NASTY),
        "../x",
        "../../../../tmp/x",
        "/etc/x",
        "..",
        ".",
        "a/b",
        "a\\b",
        "~root",
        "C4-M1,C3-M2",
        "-M1",
        "--",
        "--help",
        "\x9b31m",
        "\u202e",
    )
)
FLAGS = st.sampled_from(tuple(f"--{key.name.replace('_', '-')}" for key in config.all_keys()))


@fuzzed(100)
@given(FLAGS, WORDS)
@example("--bed", "../x")
@example("--channel", "../x")
def test_flags(run: Run, flag: str, word: str) -> None:
    assert run("config", f"{flag}={word}") in {0, 2}
    assert run("config", "--json", f"{flag}={word}") in {0, 2}


@fuzzed(60)
@given(WORDS)
@example("../x")
@example("..")
def test_beds(run: Run, tmp_path: Path, word: str) -> None:
    store = ("--store", str(tmp_path / "nights.sqlite"))
    assert run("health", f"--bed={word}", *store) in {0, 2}
    assert run("run", f"--bed={word}/", *store) == 2
    assert {path.parent for path in tmp_path.rglob("*")} <= {tmp_path}


COMMANDS = st.sampled_from(
    (
        ("nights",),
        ("nights", "--json"),
        ("models", "show"),
        ("data", "list"),
        ("data", "list", "--corpus"),
        ("export", "--signal", "x.npz"),
        ("rescore", "--device", "cpu"),
        ("score", "--no-store"),
        ("decode", "--decoder", "none"),
        ("replay",),
        ("replay", "--faults"),
        ("replay", "--synthetic"),
        (),
    )
)


@fuzzed(60)
@given(COMMANDS, WORDS)
@example(("models", "show"), "\x9b31m")
@example((), "\u202e")
def test_words(run: Run, command: tuple[str, ...], word: str) -> None:
    if not command and not word.startswith("-") and word in cli.cli.commands:
        return  # a command by chance
    assert run(*command, word) in range(8)
