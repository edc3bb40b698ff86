"""What the fuzzing tests share: how bytes are spoiled, and what must not happen whatever they are.

A parser of foreign bytes either understands them or raises one of the errors that a user can read.
It never raises anything else, never writes outside the folder that it was given, and never hands
control characters to a terminal. `make fuzz` runs the same tests with a hundred times as many
examples (``SLEEPSTREAM_FUZZ=100``), and other ones each time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

TIMES = int(os.environ.get("SLEEPSTREAM_FUZZ", "1"))
"""How many times as many examples as in `make test`."""

NASTY = (
    b"",
    b"\0",
    b"\xff\xfe",
    b"\x1b[31m\x1b]0;owned\x07",
    "\u202e\u2028\U000e0041".encode(),
    b"-1",
    b"1e999",
    b"-1e308",
    b"nan",
    b"9" * 40,
    b"9" * 5000,
    b"[" * 3000,
    b"{" * 3000,
    b"../../../etc/passwd",
    b"%s%n",
    b'"',
    b"\n",
    b"\r",
    b"\t,;=",
    b" " * 200,
)
"""What parsers have stumbled over."""


def fuzzed(examples: int) -> settings:
    """Return how often a test is to be tried: the same examples in each `make test`."""
    return settings(
        max_examples=examples * TIMES,
        derandomize=TIMES == 1,
        database=None,
        deadline=None,
        # to make an example small takes longer than to understand it, as it says what was done
        phases=(Phase.explicit, Phase.generate),
        report_multiple_bugs=False,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
        ],
    )


class Spoiled(bytes):
    """Bytes that say in a few words how they came about."""

    words = ""

    def __repr__(self) -> str:
        return f"Spoiled({len(self)} bytes: {self.words})"


@st.composite
def spoiled(draw: st.DrawFn, *wholes: bytes) -> Spoiled:
    """Return one of `wholes` after some edits: bytes changed, cut out, put in, doubled, cut off."""
    data = bytearray(draw(st.sampled_from(wholes)))
    words = []
    for _ in range(draw(st.integers(1, 4))):
        # a fraction finds every part of a file, however long it is; headers are of most interest
        share = draw(st.floats(0, 1)) ** draw(st.sampled_from((1, 1, 3)))
        at = int(share * len(data))
        length = draw(st.integers(0, 24))
        new = draw(st.one_of(st.sampled_from(NASTY), st.binary(max_size=12)))
        how = draw(st.sampled_from(("write", "put in", "cut out", "double", "cut off")))
        words.append(f"{how} {new[:24]!r} or {length} at {at}")
        match how:
            case "write":
                data[at : at + len(new)] = new
            case "put in":
                data[at:at] = new
            case "cut out":
                del data[at : at + length]
            case "double":
                data[at:at] = data[at : at + 50 * length]
            case "cut off":
                del data[at:]
    whole = Spoiled(data)
    whole.words = ", ".join(words)
    return whole


def harmless(text: str) -> bool:
    """Return whether a terminal only shows `text`, and obeys nothing in it."""
    return all(char.isprintable() or char == "\n" for char in text)


@contextmanager
def survived(
    folder: Path, out: pytest.CaptureFixture[Any], *refusals: type[Exception]
) -> Iterator[None]:
    """Check that what is done in this context is understood or refused, and does no harm.

    Parameters
    ----------
    folder : Path
        The only place that may be written to.
    out : fixture
        What reaches the terminal.
    *refusals : type of Exception
        The errors that a user can read.
    """
    out.readouterr()
    said = ""
    with watched() as written:
        try:
            yield
        except refusals as error:
            said = str(error)
    outside = [path for path in written if not path.is_relative_to(folder)]
    assert not outside, f"written outside: {outside}"
    captured = out.readouterr()
    assert harmless(said + captured.out + captured.err)


_watching: list[set[Path]] = []
_WRITES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate"}


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    if event == "open":
        name, _, flags = arguments
        if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
    elif event in {"os.remove", "os.rmdir"} and arguments[1] != -1:
        return  # a name within a folder that is open: shutil.rmtree, which began elsewhere
    elif event == "sqlite3.connect" or event in _WRITES:
        name = arguments[0]
    else:
        return
    if isinstance(name, str | bytes | os.PathLike):
        path = Path(os.path.abspath(os.fsdecode(name)))  # noqa: PTH100 - links are not followed
        if path != Path(os.devnull) and path.name != ":memory:":
            _watching[-1].add(path)


@contextmanager
def watched() -> Iterator[set[Path]]:
    """Collect the paths that Python writes to, or opens to write."""
    if not getattr(sys, "_sleepstream_watches", False):
        sys.addaudithook(_hook)  # it can never be taken away again
        sys._sleepstream_watches = True  # type: ignore[attr-defined]
    written: set[Path] = set()
    _watching.append(written)
    try:
        yield written
    finally:
        _watching.pop()
