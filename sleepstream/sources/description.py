"""Which stream is meant, and what it says about itself; knows nothing of the wire.

Enters: what a stream announces, and what a user wrote. Leaves: `StreamDescription` and `Query`,
which is all that the rest of the daemon knows of a stream.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sleepstream.errors import StreamError

_KEYS = ("name", "type", "source_id", "host", "uid")

_SEPARATORS = {",", "="}


@dataclass(frozen=True, slots=True)
class StreamDescription:
    """What a stream says about itself.

    Attributes
    ----------
    name, type, source_id, host, uid : str
        As announced, made printable.
    n_channels : int
        Number of channels.
    sfreq : float
        Nominal rate in hertz; 0 where it is irregular.
    labels, units : tuple of str
        Per channel; empty strings where nothing was declared. Empty tuples when the stream was
        announced but does not answer.
    synthetic : bool
        Whether it says of itself that its signal was made up.
    ends : bool
        Whether it says of itself that it is over once it has left the network, as a recording is
        that is played.
    numeric : bool
        Whether it carries numbers; markers are text.
    """

    name: str
    type: str
    source_id: str
    host: str
    uid: str
    n_channels: int
    sfreq: float
    labels: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    synthetic: bool = False
    ends: bool = False
    numeric: bool = True

    @property
    def selector(self) -> str:
        """A query that finds this stream and, where it has a source_id, no other."""
        keys = {"name": self.name, "source_id": self.source_id, "host": self.host}
        words = {key: value for key, value in keys.items() if value}
        if any(_SEPARATORS & set(value) or value != value.strip() for value in words.values()):
            words = {"uid": self.uid}  # these values would be taken apart
        return ",".join(f"{key}={value}" for key, value in words.items())

    def as_json(self) -> dict[str, Any]:
        """Return the description as a JSON object."""
        return {name: getattr(self, name) for name in self.__slots__} | {"selector": self.selector}


@dataclass(frozen=True, slots=True)
class Query:
    """Which stream is meant.

    Attributes
    ----------
    text : str
        As the user wrote it.
    wanted : tuple of (str, str)
        Properties that have to match; empty for a plain word.
    """

    text: str
    wanted: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Query:
        """Read ``EEG`` or ``name=EEG,host=lab-2`` (keys: name, type, source_id, host, uid).

        Raises
        ------
        StreamError
            A key that streams do not have.
        """
        if "=" not in text:
            return cls(text)
        pairs = [part.partition("=") for part in text.split(",")]
        wanted = tuple((key.strip().lower(), value.strip()) for key, _, value in pairs)
        unknown = [key for key, _ in wanted if key not in _KEYS]
        if unknown:
            raise StreamError(
                "a stream name, or properties such as name=EEG,host=lab-2",
                f"the key {unknown[0]!r} in {text!r}",
                f"use the keys {', '.join(_KEYS)}",
            )
        return cls(text, wanted)

    def among(self, streams: Iterable[StreamDescription]) -> list[StreamDescription]:
        """Return the streams that fit. A plain word is a name, else a type, else a source_id."""
        streams = list(streams)
        if self.wanted:
            return [s for s in streams if all(getattr(s, k) == v for k, v in self.wanted)]
        for key in ("name", "type", "source_id"):
            fitting = [s for s in streams if getattr(s, key).casefold() == self.text.casefold()]
            if fitting:
                return fitting
        return []
