"""Settings: one list of keys for the file, the flags and the template."""

from __future__ import annotations

import contextlib
import tomllib
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepstream import config
from sleepstream.cli import cli
from sleepstream.errors import SettingsError

ROOT = Path(__file__).parents[2]


def written(folder: Path, text: str) -> Path:
    path = folder / "sleepstream.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_flag_of_run_is_a_key_and_the_other_way_round() -> None:
    options = [o for o in cli.commands["run"].params if isinstance(o, click.Option)]
    flags = {o.opts[0] for o in options} - {"--config"}
    assert flags == {config.flag(key.name) for key in config.all_keys()}


def test_the_shipped_file_is_complete_commented_and_holds_the_defaults() -> None:
    text = (ROOT / "sleepstream.toml").read_text(encoding="utf-8")
    assert text == config.template()
    tree = tomllib.loads(text)
    assert [(s, n) for s, table in tree.items() for n in table] == [
        (key.section, key.name) for key in config.all_keys()
    ]
    assert config.load(ROOT / "sleepstream.toml", {}).settings == config.Settings()
    assert all(key.help for key in config.all_keys())


def test_a_flag_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    path = written(tmp_path, '[stream]\ngrace = 5\nchannel = "C4-M1"\n')
    in_force = config.load(path, {"stream.channel": "Fpz-Cz"})
    stream = in_force.settings.stream
    assert (stream.channel, stream.grace, stream.timeout) == ("Fpz-Cz", 5.0, 0.0)
    assert in_force.origin["stream.channel"] == "--channel"
    assert in_force.origin["stream.grace"] == str(path)
    assert in_force.origin["stream.timeout"] == "default"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[stream]\nlsl_strem = "x"\n', ["'stream.lsl_strem'", "stream.lsl_stream"]),
        ("[stream]\nprovisional = 5\n", ["'stream.provisional'", "staging.provisional"]),
        ("grace = 1\n", ["'grace'", "stream.grace"]),
        ("[streem]\n", ["'streem'", "[stream]"]),
        ('[stream]\ngrace = "x"\n', ["stream.grace", "'x'", "expected `float`", "600.0"]),
        ("[stream]\ngrace = 0.1\n", ["stream.grace", "0.1", ">= 1.0"]),
        ("[output]\nlsl_out = 1\n", ["output.lsl_out", "expected `bool`"]),
        ('[night]\nbed = "../x"\n', ["night.bed", "'../x'"]),
        ('[models]\ndevice = "tpu"\n', ["models.device", "'tpu'"]),
        ("[stream\n", ["TOML", "line 1"]),
    ],
)
def test_a_broken_file_is_told_by_its_key(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        config.load(written(tmp_path, text), {})
    for word in words:
        assert word in str(caught.value)


def test_several_channels_come_from_the_file_or_from_the_flag(tmp_path: Path) -> None:
    listed = '[[channels]]\nderivation = "C4-M1"\n[[channels]]\nderivation = "C3-M2"\n'
    path = written(tmp_path, listed)
    found = config.load(path, {})
    assert found.settings.derivations() == ("C4-M1", "C3-M2")
    assert found.origin["channels"] == str(path)
    flagged = config.load(path, {"stream.channel": "Fpz-Cz, O2-M1"})
    assert flagged.settings.derivations() == ("Fpz-Cz", "O2-M1")
    assert flagged.origin["channels"] == "default"
    assert config.load(None, {}).settings.derivations() == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[channels]]\n", ["derivation", "missing required field"]),
        ('[[channels]]\nderivation = ""\n', ["[[channels]]", "length >= 1"]),
        ('[[channels]]\nderivation = "a"\nunit = "V"\n', ["unknown field `unit`"]),
        ('channels = "C4-M1"\n', ["[[channels]]", "expected `array`"]),
        (
            '[stream]\nchannel = "a"\n[[channels]]\nderivation = "b"\n',
            ["one answer", "both [[channels]] and stream.channel"],
        ),
    ],
)
def test_channels_that_cannot_be_understood_are_refused(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        config.load(written(tmp_path, text), {})
    for word in words:
        assert word in str(caught.value)


@given(text=st.text(max_size=200))
def test_any_text_is_read_or_refused_with_words(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("settings") / "x.toml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with contextlib.suppress(SettingsError):
        config.load(path, {})


def test_a_file_that_was_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such file"):
        config.find_file(tmp_path / "none.toml")


def test_the_nearest_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert config.find_file(None) is None
    (tmp_path / "xdg" / "sleepstream").mkdir(parents=True)
    users = tmp_path / "xdg" / "sleepstream" / "config.toml"
    users.write_text("")
    assert config.find_file(None) == users
    written(tmp_path, "")
    assert config.find_file(None) == Path("sleepstream.toml")
