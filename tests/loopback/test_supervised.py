"""A stream that fails on the real wire: senders in another process leave, return, and are mistaken.

The sender does what it is told and says when it is done, so nothing here waits for a guess.
"""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest

from sleepstream.commands.run import run
from sleepstream.config import Night, Output, Settings, Stream
from sleepstream.lsl_quiet import quiet_liblsl
from sleepstream.messages import StreamState
from sleepstream.sources.description import Query
from sleepstream.sources.live import LiveStream
from sleepstream.sources.lsl import LslSource
from sleepstream.sources.network import find
from sleepstream.sources.supervisor import Patience
from sleepstream.store.nights import NightStore

pytestmark = pytest.mark.loopback

DEADLINE_S = 60.0

SENDER = """
import json, sys, pylsl
outlets = {}
for line in sys.stdin:
    todo = json.loads(line)
    key = todo["key"]
    if todo["do"] == "open":
        labels = todo["labels"]
        info = pylsl.StreamInfo(
            todo["name"], "EEG", len(labels), todo["sfreq"], "float32", todo["source_id"]
        )
        info.set_channel_labels(labels)
        info.set_channel_units("microvolts")
        outlets[key] = pylsl.StreamOutlet(info)
    elif todo["do"] == "push":
        assert outlets[key].wait_for_consumers(60)
        outlets[key].push_chunk([[1.0, 2.0]] * 100, todo["last_s"])
    else:
        del outlets[key]
    print("done", flush=True)
"""


class Sender:
    """A process that opens, feeds and closes streams of one name."""

    def __init__(self, process: subprocess.Popen[str], name: str) -> None:
        self._process = process
        self.name = name

    def open(
        self,
        key: str,
        source_id: str = "amp1",
        sfreq: float = 100.0,
        labels: tuple[str, str] = ("C4-M1", "EOG"),
    ) -> None:
        if source_id:
            source_id = f"{source_id}-{self.name}"
        self._do(do="open", key=key, source_id=source_id, sfreq=sfreq, labels=labels)

    def push(self, key: str, last_s: float) -> None:
        """Send a second of signal that ends at `last_s`."""
        self._do(do="push", key=key, last_s=last_s)

    def close(self, key: str) -> None:
        self._do(do="close", key=key)

    def _do(self, **todo: Any) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"name": self.name, **todo}) + "\n")
        self._process.stdin.flush()
        assert any(line == "done\n" for line in self._process.stdout), "the sender died"


@pytest.fixture
def sender() -> Iterator[Sender]:
    process = subprocess.Popen(
        [sys.executable, "-c", SENDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield Sender(process, f"t{uuid.uuid4().hex[:12]}")
    finally:
        process.kill()
        process.communicate()


class Listener:
    """Polls a live stream as the pipeline does, and keeps what came."""

    def __init__(self, live: LiveStream) -> None:
        self.live = live
        self.stamps: list[float] = []
        self.told: list[str] = []

    def until(self, enough: Callable[[], object]) -> None:
        deadline = monotonic() + DEADLINE_S
        while not enough():
            assert monotonic() < deadline, (self.live.state, self.told, len(self.stamps))
            chunk = self.live.poll(0.05, 1000)
            if chunk is not None:
                self.stamps += chunk.stamps_s.tolist()
            self.told += [event.text for event in self.live.take_events()]

    def until_heard(self, n_samples: int) -> None:
        self.until(lambda: len(self.stamps) >= n_samples)

    def until_told(self, *words: str) -> None:
        self.until(lambda: any(all(word in text for word in words) for text in self.told))

    @property
    def first_words(self) -> list[str]:
        return [text.partition(":")[0] for text in self.told]


@contextmanager
def listening(sender: Sender, key: str, grace_s: float = 600.0) -> Iterator[Listener]:
    """Connect to the one stream there is, and hear its first second."""
    quiet_liblsl()
    info = find(Query.parse(f"name={sender.name}"), DEADLINE_S, print, lambda: False)
    assert info is not None
    with LslSource(info) as source:
        source.start([0], [1.0])
        listener = Listener(LiveStream(source, source.description, Patience(0.5, grace_s)))
        sender.push(key, 1000.99)
        listener.until_heard(100)
        yield listener


def test_a_sender_that_leaves_and_returns_is_found_again(sender: Sender) -> None:
    sender.open("a")
    with listening(sender, "a") as listener:
        sender.close("a")
        listener.until_told("lost")
        sender.open("b")
        listener.until_told("reconnected")
        assert listener.live.state is StreamState.RECONNECTED
        sender.push("b", 1011.99)
        listener.until_heard(200)
        listener.until_told("samples are coming again")
    assert listener.first_words == ["lost", "reconnected", "connected"]
    expected = np.concatenate((1000 + np.arange(100) / 100, 1011 + np.arange(100) / 100))
    np.testing.assert_allclose(listener.stamps, expected, atol=1e-6)


def test_one_without_a_source_id_is_found_by_its_name_once_it_has_left(sender: Sender) -> None:
    sender.open("a", source_id="")
    with listening(sender, "a") as listener:
        sender.close("a")
        sender.open("b", source_id="")
        listener.until_told("reconnected")
        sender.push("b", 1011.99)
        listener.until_heard(200)


def test_nobody_else_of_that_name_is_taken_and_the_right_one_goes_on(sender: Sender) -> None:
    sender.open("a")
    with listening(sender, "a") as listener:
        sender.close("a")
        sender.open("stranger", source_id="amp2")
        listener.until_told("refused", "source_id 'amp2-", "instead of 'amp1-")
        sender.open("changed", sfreq=128.0, labels=("C3-M2", "EOG"))
        listener.until_told("128 Hz instead of 100 Hz; channels 'C3-M2' instead of 'C4-M1'")
        sender.close("changed")
        sender.open("b")
        listener.until_told("reconnected")
        sender.push("b", 1011.99)
        listener.until_heard(200)
    assert listener.first_words.count("refused") == 2
    assert len(listener.stamps) == 200


def test_two_that_claim_to_be_ours_are_both_refused_until_one_is_left(sender: Sender) -> None:
    sender.open("a")
    with listening(sender, "a") as listener:
        sender.open("b")
        sender.open("c")
        sender.close("a")
        listener.until_told("2 streams claim to be ours")
        sender.close("b")
        listener.until_told("reconnected")
        sender.push("c", 1011.99)
        listener.until_heard(200)


def test_a_night_ends_when_nobody_returns(sender: Sender) -> None:
    sender.open("a")
    with listening(sender, "a", grace_s=4.0) as listener:
        sender.close("a")
        listener.until(lambda: listener.live.ended)
    assert listener.live.ended == "the stream left and did not return within 4 s"


def test_the_senders_clock_is_measured(sender: Sender) -> None:
    sender.open("a")
    with listening(sender, "a") as listener:
        listener.until(listener.live.clock_offset)
        offset = listener.live.clock_offset()
    assert offset is not None
    assert offset.at_s == pytest.approx(1000.99)
    assert abs(offset.offset_s) < 0.1  # one machine, one clock
    assert 0 <= offset.uncertainty_s < 0.1


FAULTS = """
[[fault]]
kind = "disconnect"
start_s = 70
length_s = 20
wall_s = 3
"""


def test_a_night_with_an_outage_is_recorded_as_it_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name = f"t{uuid.uuid4().hex[:12]}"
    (tmp_path / "faults.toml").write_text(FAULTS, encoding="utf-8")
    arguments = ["--synthetic", "0.05", "--stream-name", name, "--source-id", name]
    arguments += ["--speed", "60", "--faults", str(tmp_path / "faults.toml")]
    settings = Settings(
        stream=Stream(lsl_stream=name, timeout=60.0, stale=1.0, channel="EEG Fpz-Cz"),
        night=Night(bed=name, store=str(tmp_path / "nights.sqlite")),
        output=Output(json=True, lsl_out=False),
    )
    player = subprocess.Popen([sys.executable, "-m", "sleepstream_replay", *arguments])
    try:
        assert run(settings) == 0
    finally:
        player.terminate()
        player.wait()
    with NightStore(tmp_path / "nights.sqlite") as store:
        estimates = list(store.estimates("last"))
        events = list(store.events("last"))
        clock = list(store.clock("last"))
        ended = store.nights()[0].ended
    assert [e.epoch for e in estimates] == list(range(6))
    assert [round(e.valid, 2) for e in estimates] == [1.0, 1.0, 0.33, 1.0, 1.0, 1.0]
    assert [e.stage is None for e in estimates] == [False, False, True, False, False, False]
    said = [e.text.partition(":")[0] for e in events if e.kind == "stream"]
    assert said[:3] == ["lost", "reconnected", "connected"]
    assert [e.text for e in events if e.kind == "gap"] == ["nothing came for 20.0 s"]
    assert ended == "the recording that was played is over"
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith('{"kind"')]
    assert [json.loads(line) for line in lines] == [e.as_json() for e in events[:-1]]
    assert clock
