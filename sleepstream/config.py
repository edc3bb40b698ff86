"""The settings: one typed tree, read from ``sleepstream.toml`` and from flags.

Every key of the tree is a flag of ``sleepstream run`` and the other way round: the flags are made
from the fields below, and so is the commented ``sleepstream.toml``. What wins: flag, file, default.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import platformdirs
from msgspec import Meta, Struct

from sleepstream.errors import SettingsError

FILE_NAME = "sleepstream.toml"
CHANNELS = "channels"

Seconds = Annotated[float, Meta(ge=0, le=7 * 86400)]
FilePath = Annotated[str, Meta(pattern=r"^[^\x00]*$")]  # what no system takes in a path


def _doc(text: str) -> Meta:
    return Meta(description=text)


class Stream(Struct, frozen=True, forbid_unknown_fields=True):
    """Which stream, which of its channels, and how long to wait for it."""

    lsl_stream: Annotated[
        Annotated[str, Meta(min_length=1)],
        _doc("LSL stream: a name, type or source_id, or properties: name=EEG,host=lab-2"),
    ] = "EEG"
    channel: Annotated[
        str,
        _doc("Channel to stage: a label, C4-M1, C4-mastoids; A,B: B if A fails; empty: the best"),
    ] = ""
    units: Annotated[
        Literal["", "V", "mV", "uV", "nV"],
        _doc("Unit of the samples, if the stream declares none or a wrong one; empty: as declared"),
    ] = ""
    timeout: Annotated[
        Seconds, _doc("Seconds to look for the stream before giving up; 0: wait for it")
    ] = 0.0
    stale: Annotated[
        Annotated[float, Meta(ge=0.5, le=60)],
        _doc("Seconds without a sample before you are told and the stream is searched for"),
    ] = 3.0
    grace: Annotated[
        Annotated[float, Meta(ge=1, le=86400)],
        _doc("Seconds without a sample before the night is over"),
    ] = 600.0
    duration: Annotated[
        Seconds, _doc("Seconds of signal after which the night ends; 0: when the stream ends")
    ] = 0.0


class Models(Struct, frozen=True, forbid_unknown_fields=True):
    """Who stages (`sleepstream models list`)."""

    encoder: Annotated[str, _doc("Encoder: a model's name, or a folder")] = "tinysleepnet"
    decoder: Annotated[str, _doc("Decoder: a model's name, a folder, or none")] = "gpt"
    disorder: Annotated[str, _doc("Disorder score: a model's name, a folder, or none")] = "apnoea"
    familiarity: Annotated[
        str, _doc("Judge of whether it looks like sleep EEG: a model's name, a folder, or none")
    ] = "sleep-eeg"
    device: Annotated[
        Literal["auto", "cpu", "cuda"], _doc("Where the networks run: auto, cpu or cuda")
    ] = "auto"


class Staging(Struct, frozen=True, forbid_unknown_fields=True):
    """How epochs are judged, and how often we speak between them."""

    min_valid: Annotated[
        Annotated[float, Meta(gt=0, le=1)],
        _doc("Fraction of an epoch that has to be real for it to be staged"),
    ] = 0.8
    give_up_after: Annotated[
        Annotated[int, Meta(ge=1, le=2880)],
        _doc("Bad epochs in a row after which the next good one of several channels is staged"),
    ] = 4
    take_back_after: Annotated[
        Annotated[int, Meta(ge=1, le=2880)],
        _doc("Good epochs in a row after which a channel that failed is staged again"),
    ] = 10
    provisional: Annotated[
        Annotated[float, Meta(ge=0, le=30)],
        _doc("Seconds between provisional estimates on the last 30 s; 0: none"),
    ] = 5.0
    budget_ms: Annotated[
        Annotated[float, Meta(gt=0, le=30000)],
        _doc("Latency budget in milliseconds, against which the dashboard shows the latency"),
    ] = 100.0


class Night(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose night it is, and where the record is kept."""

    bed: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$")],
        _doc("Name of the bed, used in outlets and records: letters and digits, no person's name"),
    ] = "bed1"
    store: Annotated[
        FilePath, _doc("File that keeps the nights; empty: nights.sqlite in the user's data folder")
    ] = ""
    keep_signal: Annotated[
        bool,
        _doc("Keep the signal, 1.6 MB an hour; a night without it cannot go on or be rescored"),
    ] = True
    resume: Annotated[
        Literal["auto", "last", "never"],
        _doc("Go on with a night: auto: one that was cut off; last, or no value: the last; never"),
        Meta(extra={"bare": "last"}),
    ] = "auto"
    resume_within: Annotated[
        Seconds, _doc("Seconds of signal that a night may miss and still go on by itself")
    ] = 1800.0


class Output(Struct, frozen=True, forbid_unknown_fields=True):
    """Who is told."""

    lsl_out: Annotated[bool, _doc("Send stages and probabilities as LSL streams")] = True
    lsl_network: Annotated[
        bool, _doc("Let other computers receive these streams, too (LSL asks for no password)")
    ] = False
    headless: Annotated[
        bool, _doc("No dashboard: one line per epoch (as ever where there is no terminal)")
    ] = False
    json: Annotated[bool, _doc("No dashboard: one JSON object per estimate on standard output")] = (
        False
    )
    picture: Annotated[
        FilePath,
        _doc("File for a picture of the dashboard when the night ends, .svg or .txt; empty: none"),
    ] = ""


class Channel(Struct, frozen=True, forbid_unknown_fields=True):
    """One of several derivations to choose from, the best first; their flag is ``--channel``."""

    derivation: Annotated[str, Meta(min_length=1)]


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be set; sections are the tables of ``sleepstream.toml``."""

    stream: Stream = Stream()
    models: Models = Models()
    staging: Staging = Staging()
    night: Night = Night()
    output: Output = Output()
    channels: tuple[Channel, ...] = ()

    def derivations(self) -> tuple[str, ...]:
        """Return what to stage, the best first; nothing for the best that is there."""
        if self.channels:
            return tuple(channel.derivation for channel in self.channels)
        return tuple(filter(None, (part.strip() for part in self.stream.channel.split(","))))

    def store_path(self) -> Path:
        """Return the file that keeps the nights.

        Raises
        ------
        SettingsError
            It is in the home of somebody who has none.
        """
        if self.night.store:
            try:
                return Path(self.night.store).expanduser()
            except RuntimeError as error:
                raise SettingsError(
                    "a file for the nights (night.store)", str(error), "write its path without ~"
                ) from error
        return platformdirs.user_data_path("sleepstream") / "nights.sqlite"


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the settings.

    Attributes
    ----------
    section, name : str
        ``stream`` and ``lsl_stream``.
    type : type
        Its annotated type.
    default : Any
        Its value where nobody says anything.
    help : str
        One line for people.
    bare : str or None
        What its flag means without a value; None where it needs one.
    """

    section: str
    name: str
    type: Any
    default: Any
    help: str
    bare: str | None = None

    @property
    def dotted(self) -> str:
        """``section.name``, as messages have it."""
        return f"{self.section}.{self.name}"


@dataclass(frozen=True, slots=True)
class InForce:
    """The settings in force, and where each came from.

    Attributes
    ----------
    settings : Settings
        The values.
    origin : mapping of str to str
        For each ``section.key``: ``default``, the file's path, or the flag.
    """

    settings: Settings
    origin: Mapping[str, str]


def all_keys() -> list[Key]:
    """Return every key in the order of the file."""
    found = []
    for section in _sections():
        for field in msgspec.structs.fields(section.type):
            kind = msgspec.inspect.type_info(field.type)
            text, bare = "", None
            if isinstance(kind, msgspec.inspect.Metadata):
                text = str((kind.extra_json_schema or {}).get("description", ""))
                bare = (kind.extra or {}).get("bare")
            found.append(Key(section.name, field.name, field.type, field.default, text, bare))
    return found


def _sections() -> list[Any]:
    """Return the fields of `Settings` that are tables of keys; each key of theirs is a flag."""
    return [field for field in msgspec.structs.fields(Settings) if field.name != CHANNELS]


def find_file(given: Path | None) -> Path | None:
    """Return the settings file: the one that was given, or the nearest that is there.

    Looked for in the working folder, then as ``config.toml`` in the user's configuration folder.

    Raises
    ------
    SettingsError
        A file was given and is not there.
    """
    if given is not None:
        if not given.is_file():
            raise SettingsError(f"settings in {given}", "no such file", "check --config")
        return given
    places = [Path(FILE_NAME), platformdirs.user_config_path("sleepstream") / "config.toml"]
    return next((place for place in places if place.is_file()), None)


def load(file: Path | None, flags: Mapping[str, Any]) -> InForce:
    """Put the settings together.

    Parameters
    ----------
    file : Path or None
        A TOML file.
    flags : mapping
        Values given on the command line, by ``section.key``.

    Returns
    -------
    InForce

    Raises
    ------
    SettingsError
        An unreadable file, an unknown key, a wrong type or a value out of range.
    """
    tree = _read(file) if file else {}
    origin = {key.dotted: "default" for key in all_keys()} | {CHANNELS: "default"}
    where = str(file)
    channels = _checked_channels(tree, where)
    if "stream.channel" in flags:
        channels = []
    elif channels:
        origin[CHANNELS] = where
    for section, name in _checked_names(tree, where):
        origin[f"{section}.{name}"] = where
    merged = {section: dict(table) for section, table in tree.items()}
    for dotted, value in flags.items():
        section, _, name = dotted.partition(".")
        merged.setdefault(section, {})[name] = value
        origin[dotted] = flag(name)
    for key in all_keys():
        if (value := merged.get(key.section, {}).get(key.name, key.default)) is not key.default:
            _check_value(key, value, origin[key.dotted])
    return InForce(msgspec.convert(merged | {CHANNELS: channels}, Settings), origin)


def flag(name: str) -> str:
    """Return the flag of a key: ``--lsl-stream`` for ``lsl_stream``."""
    return "--" + name.replace("_", "-")


def template() -> str:
    """Return a ``sleepstream.toml`` with every key, its meaning and its default."""
    lines = [
        "# Settings of sleepstream. Every key is also a flag of `sleepstream run`",
        "# (stream.lsl_stream is --lsl-stream), and a flag wins over this file.",
        "# Values here are the defaults; `sleepstream config` prints what is in force.",
    ]
    for section in _sections():
        lines += ["", f"# {section.type.__doc__}", f"[{section.name}]"]
        for key in all_keys():
            if key.section == section.name:
                lines += [f"# {key.help}", f"{key.name} = {toml_value(key.default)}"]
    return "\n".join([*lines, "", *_CHANNELS_EXAMPLE]) + "\n"


_CHANNELS_EXAMPLE = (
    "# Several derivations in place of stream.channel, the best first: if one fails, the next good",
    "# one is staged. The flag for the same list is --channel C4-M1,C3-M2.",
    "# [[channels]]",
    '# derivation = "C4-M1"',
    "# [[channels]]",
    '# derivation = "C3-M2"',
)


def toml_value(value: str | bool | float) -> str:
    """Return a value as TOML writes it."""
    # JSON's strings, numbers and booleans are TOML's too
    return msgspec.json.encode(value).decode()


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # tomllib lets more through than its own
        raise SettingsError(
            f"settings in TOML in {file}",
            str(error),
            "mend that line, or start anew from `sleepstream config --template`",
        ) from error


def _checked_channels(tree: dict[str, Any], where: str) -> list[Any]:
    """Take ``[[channels]]`` out of a file after making sure that it can be understood."""
    channels = tree.pop(CHANNELS, [])
    sought = 'for each [[channels]] one line: derivation = "C4-M1"'
    try:
        msgspec.convert(channels, tuple[Channel, ...])
    except msgspec.ValidationError as error:
        raise SettingsError(
            sought,
            f"{channels!r} in {where} ({_lower_first(str(error))})",
            "write it as in `sleepstream config --template`",
        ) from error
    stream = tree.get("stream", {})
    if channels and isinstance(stream, dict) and stream.get("channel"):
        raise SettingsError(
            "one answer to what is staged",
            f"both [[channels]] and stream.channel in {where}",
            "leave one of them out",
        )
    return list(channels)


def _checked_names(tree: Mapping[str, Any], where: str) -> list[tuple[str, str]]:
    """Return the keys of a file after making sure that each of them exists."""
    known = all_keys()
    sections = sorted({key.section for key in known})
    found = []
    for section, table in tree.items():
        if section not in sections or not isinstance(table, dict):
            everything = {key.name: key.dotted for key in known} | {s: f"[{s}]" for s in sections}
            raise _unknown(
                section, everything, where, f"a section of {where}: {', '.join(sections)}"
            )
        names = {key.name: key.dotted for key in known if key.section == section}
        elsewhere = {key.name: key.dotted for key in known} | names
        for name in table:
            if name not in names:
                raise _unknown(f"{section}.{name}", elsewhere, where, f"a key of [{section}]")
            found.append((section, name))
    return found


def _unknown(found: str, candidates: Mapping[str, str], where: str, sought: str) -> SettingsError:
    last = found.rpartition(".")[2]
    near = difflib.get_close_matches(last, candidates, n=1, cutoff=0.0)
    return SettingsError(
        sought, f"{found!r} in {where}", f"the nearest valid key is {candidates[near[0]]}"
    )


def _check_value(key: Key, value: Any, where: str) -> None:
    try:
        msgspec.convert(value, key.type)
    except msgspec.ValidationError as error:
        raise SettingsError(
            f"{key.dotted}: {key.help}",
            f"{value!r} from {where} ({_lower_first(str(error))})",
            f"give a value that fits; the default is {toml_value(key.default)}",
        ) from error


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
