"""Streams from strangers: what they say about themselves, and what they send."""

from __future__ import annotations

import ctypes
import io
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pylsl
import pytest
from fuzzing import NASTY, fuzzed, harmless, spoiled, survived
from hypothesis import example, given
from hypothesis import strategies as st
from pylsl.lib import lib as liblsl
from rich.console import Console

from sleepstream.commands.lists import show_streams
from sleepstream.errors import SleepstreamError
from sleepstream.lsl_quiet import quiet_liblsl
from sleepstream.messages import Chunk
from sleepstream.outputs.dashboard import Dashboard, StreamHealth
from sleepstream.signal.epocher import Epocher
from sleepstream.signal.montage import Choices, choose, choose_all
from sleepstream.sources.description import Query, StreamDescription
from sleepstream.sources.network import announced, described, receivable

Out = pytest.CaptureFixture[str]

quiet_liblsl()  # what it says of bytes that are no stream is its own affair


def heard(answer: bytes) -> pylsl.StreamInfo:
    """Return what liblsl makes of bytes from the network."""
    liblsl.lsl_streaminfo_from_xml.restype = ctypes.c_void_p
    return pylsl.StreamInfo(handle=liblsl.lsl_streaminfo_from_xml(ctypes.c_char_p(answer)))


def xml(
    name: str = "EEG",
    kind: str = "EEG",
    n_channels: str = "2",
    sfreq: str = "256",
    channels: Sequence[tuple[str, str]] = (("C4-M1", "uV"), ("C3-M2", "uV")),
    about: str = "",
) -> bytes:
    listed = "".join(
        f"<channel><label>{escape(label)}</label><unit>{escape(unit)}</unit></channel>"
        for label, unit in channels
    )
    return (
        f'<?xml version="1.0"?><info><name>{escape(name)}</name><type>{escape(kind)}</type>'
        f"<channel_count>{n_channels}</channel_count><channel_format>float32</channel_format>"
        f"<source_id>amp-1</source_id><nominal_srate>{sfreq}</nominal_srate>"
        "<version>1.1</version><created_at>5.0</created_at><uid>u1</uid>"
        "<session_id>default</session_id><hostname>lab</hostname>"
        "<v4data_port>16572</v4data_port><v4service_port>16572</v4service_port>"
        f"<v6data_port>0</v6data_port><v6service_port>0</v6service_port><desc>{about}"
        f"<channels>{listed}</channels></desc></info>"
    ).encode("utf-8", "surrogatepass")


def meet(answer: bytes) -> None:
    """Do all that is done with a stream before its first sample, and show it."""
    info = heard(answer)
    stream = announced(info)
    if receivable(stream):
        stream = described(stream, info)
    show_streams([stream], as_json=False)
    show_streams([stream], as_json=True)
    assert Query.parse(stream.selector).among([stream]) == [stream]
    if stream.labels and stream.sfreq > 0:
        choices = choose_all(stream.labels, stream.units)
        show(stream, choices)
        Epocher(stream.sfreq, choices)


def show(stream: StreamDescription, choices: Choices) -> None:
    """Draw the dashboard with a stream on it."""
    board = Dashboard(bed="left")
    board.stream(StreamHealth(stream.name, choices.label, choices.unit, stream.sfreq))
    board.notice(f"connected to {stream.name!r} on {stream.host}: {choices.label}; {choices.note}")
    screen = Console(file=io.StringIO(), width=80, height=24, force_terminal=False)
    screen.print(board)
    assert isinstance(screen.file, io.StringIO)
    assert harmless(screen.file.getvalue())


@fuzzed(150)
@given(spoiled(xml(), xml(about="<synthetic>true</synthetic><ends>true</ends>")))
@example(xml() * 2)
@example(b"<info>" * 50_000)
@example(xml().replace(b"<desc>", b"<desc>" * 5000))
@example(xml().replace(b"C4-M1", b"C4\xff\xfe"))
@example(xml(channels=[("x" * 1_000_000, "y" * 1_000_000)]))
@example(xml(channels=[("C4", "uV")] * 10_000))
@example(
    xml().replace(
        b"<info>",
        b'<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]><info>&c;',
    )
)
def test_announcements(tmp_path: Path, capfd: Out, data: bytes) -> None:
    with survived(tmp_path, capfd, SleepstreamError):
        meet(data)


WORDS = st.text(max_size=30) | st.sampled_from(
    (
        *(word.decode("latin-1") for word in NASTY),
        "[bold red]x[/]",
        "name=EEG,host=lab",
        "C4-M1",
        "EEG",
        "'; rm -rf ~ #",
        "ﷺ" * 300,
        "👨‍👩‍👧‍👦" * 80,
    )
)
COUNTS = st.integers(0, 40).map(str) | st.sampled_from(
    ("-1", "2048", "2049", "2147483647", "2147483648", "1e3", "nan", "")
)
RATES = st.sampled_from(
    ("0", "-0", "-256", "nan", "inf", "-inf", "1e308", "5e-324", "63.9", "64", "99.999999", "256",
     "4096", "1000000", "1000001", "3.14159265358979", "", "x", "9" * 400)
) | st.floats(60, 5000).map(repr)  # fmt: skip


@fuzzed(150)
@given(WORDS, WORDS, COUNTS, RATES, st.lists(st.tuples(WORDS, WORDS), max_size=5))
def test_odd_streams(
    tmp_path: Path,
    capfd: Out,
    name: str,
    kind: str,
    n_channels: str,
    sfreq: str,
    channels: list[tuple[str, str]],
) -> None:
    with survived(tmp_path, capfd, SleepstreamError):
        meet(xml(name, kind, n_channels, sfreq, channels))


@fuzzed(80)
@given(WORDS)
def test_what_is_looked_for(tmp_path: Path, capfd: Out, text: str) -> None:
    with survived(tmp_path, capfd, SleepstreamError):
        Query.parse(text).among([announced(heard(xml()))])


SFREQ = 128.0
SENT = st.sampled_from(
    (0.0, -0.0, 1.0, 40.0, -40.0, 1e5, 3e38, -3e38, 1e-40, np.nan, np.inf, -np.inf)
)
STEPS = st.sampled_from(
    (0.0, 1 / SFREQ, -1 / SFREQ, 0.01, 1.0, -1.0, 31.0, 3600.0, -3600.0, 1e5, 1.7e9, 1e17, -1e17)
)
STAMPS = st.sampled_from((np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324))


@st.composite
def sent(draw: st.DrawFn) -> Chunk:
    """Return up to a minute of samples with a few odd values, and stamps that break in places."""
    n = draw(st.integers(0, int(60 * SFREQ)))
    noise = np.random.default_rng(draw(st.integers(0, 9))).normal(size=(2, n)) * 20
    data = (noise * draw(st.sampled_from((0.0, 1.0, 1e-3, 1e6, 1e35)))).astype(np.float32)
    steps = np.full(n, 1 / SFREQ)
    odd = np.zeros(n)
    for _ in range(draw(st.integers(0, 6)) if n else 0):
        at, length = draw(st.integers(0, n - 1)), draw(st.integers(1, n))
        data[draw(st.integers(0, 1)), at : at + length] = draw(SENT)
        steps[draw(st.integers(0, n - 1))] = draw(STEPS)
        odd[draw(st.integers(0, n - 1)) :][: draw(st.integers(0, 5))] = draw(STAMPS)
    return Chunk(np.cumsum(steps) + odd, data)


@fuzzed(60)
@given(st.lists(sent(), min_size=1, max_size=5), st.floats(0, 1e6), st.booleans())
def test_samples(
    tmp_path: Path, capfd: Out, chunks: list[Chunk], start_s: float, in_turn: bool
) -> None:
    labels, units = ("C4-M1", "C3-M2"), ("uV", "uV")
    montage = choose_all(labels, units, labels) if in_turn else choose(labels, units, "C4-M1")
    epocher = Epocher(SFREQ, montage)
    index = 0
    with survived(tmp_path, capfd, SleepstreamError):
        for chunk in chunks:
            stamps_s = chunk.stamps_s + start_s
            data = chunk.data if in_turn else chunk.data[:1]
            for epoch in epocher.push(Chunk(stamps_s, data)):
                assert epoch.index == index
                index += 1
                assert np.isfinite(epoch.data).all()
                assert 0 <= epoch.valid <= 1
                assert 0 <= epoch.quality.score <= 1
                assert np.isfinite([epoch.onset_s, epoch.end_s, epoch.gain]).all()
            epocher.window()
            epocher.recent()
            epocher.take_notes()
