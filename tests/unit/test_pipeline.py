"""The loop, with a source, a clock and a stager in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from sleepstream.messages import (
    SFREQ,
    Chunk,
    ClockOffset,
    DisorderScore,
    Epoch,
    Event,
    Float32Array,
    Stage,
    StageEstimate,
    frozen,
)
from sleepstream.outputs.dashboard import StreamHealth
from sleepstream.outputs.sink import Collected
from sleepstream.pipeline import Bed, LiveWatch, stage_live, stage_recording
from sleepstream.signal.clocks import SleepWatch
from sleepstream.signal.epocher import Epocher
from sleepstream.signal.montage import Montage
from sleepstream.sources.description import StreamDescription
from sleepstream.sources.live import LiveStream, MemoryLink
from sleepstream.sources.supervisor import Patience


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def pass_on(self, seconds: float) -> None:
        self.now_s += seconds


class Plain:
    """An estimator that says wake to everything and takes 7 ms for it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def step(self, epoch: Epoch) -> StageEstimate:
        self.clock.now_s += 0.007
        return StageEstimate(
            bed="b",
            epoch=epoch.index,
            onset_s=epoch.onset_s,
            end_s=epoch.end_s,
            stage=Stage.W,
            probs=frozen([1, 0, 0, 0, 0]),
            encoder_probs=None,
            confidence=1.0,
            quality=epoch.quality,
            valid=epoch.valid,
            forecast=frozen(np.full((20, 5), 0.2)),
            p_wake_5min=1.0,
            p_rem_5min=0.0,
            disorder=DisorderScore("x", None, None, "none"),
            final=epoch.final,
            model="0",
        )

    peek = step


class Seen:
    """A monitor that keeps what it was told."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self.signals: list[Float32Array] = []

    def stream(self, health: StreamHealth) -> None:
        self.states.append(health.state)

    def signal(self, recent: Float32Array) -> None:
        self.signals.append(recent)


def chunks(seconds: float, size_s: float, start_s: float = 0.0) -> list[Chunk | None]:
    n, size = int(seconds * SFREQ), int(size_s * SFREQ)
    data = (np.random.default_rng(0).normal(size=(1, n)) * 20).astype(np.float32)
    stamps = start_s + np.arange(n) / SFREQ
    return [Chunk(stamps[k : k + size], data[:, k : k + size]) for k in range(0, n, size)]


def apart(sent: list[Chunk | None]) -> list[Chunk | None]:
    """Put a moment of nothing behind each chunk, as on a live stream."""
    return [item for chunk in sent for item in (chunk, None)]


def timed(sent: list[Chunk | None]) -> list[Chunk | None]:
    """The same, with a tenth of a second from chunk to chunk."""
    return [item for chunk in sent for item in (chunk, None, None)]


OURS = StreamDescription("EEG", "EEG", "amp1", "lab", "u1", 1, SFREQ, ("Cz",), ("uV",))

Script = Sequence[Chunk | Callable[[MemoryLink], None] | None]


class Night:
    def __init__(
        self,
        script: Script,
        ours: StreamDescription = OURS,
        duration_s: float = 0.0,
        grace_s: float = 60.0,
        slept: Callable[[], float] = lambda: 0.0,
        unix_s: float = 1.7e9,
    ) -> None:
        clock = Clock()
        self.bed = Bed(
            Epocher(SFREQ, Montage("Cz", (0,), 0, (1.0,), "uV")), Plain(clock), 5.0, clock
        )
        self.collected, self.events, self.seen = Collected(), list[Event](), Seen()
        self.link = MemoryLink(ours, clock.pass_on, script)
        self.source = LiveStream(
            self.link, ours, Patience(3.0, grace_s), clock, lambda: datetime(2026, 1, 2, 3, 4, 5)
        )
        health = StreamHealth(source="s", channel="Cz", unit="uV", sfreq_nominal=SFREQ)
        self.offsets = list[ClockOffset]()
        self.watch = LiveWatch(
            [self.seen],
            health,
            self.offsets.append,
            every_s=1.0,
            sleep=SleepWatch(slept),
            unix_now=lambda: unix_s,
        )
        self.duration_s = duration_s

    def run(self, stop: Callable[[], bool] = lambda: False) -> str:
        return stage_live(
            self.source,
            self.bed,
            [self.collected],
            self.events.append,
            self.watch,
            duration_s=self.duration_s,
            stop=stop,
        )

    def told(self, kind: str) -> list[str]:
        return [event.text for event in self.events if event.kind == kind]


def test_a_night_ends_after_the_grace_time_with_every_epoch_said_once() -> None:
    night = Night(apart(chunks(95, 1)))
    assert night.run() == "no sample for 1 min"
    assert [e.epoch for e in night.collected.final] == [0, 1, 2]
    assert night.seen.states[-1] == "stalled"
    assert "connected" in night.seen.states
    assert night.seen.signals[-1].shape == (3000,)


def test_a_process_that_stood_still_has_not_waited_for_the_sender() -> None:
    first, then = chunks(95, 1)[:40], chunks(95, 1)[40:]
    clocks: list[Clock] = []

    def stand_still(_link: MemoryLink) -> None:
        clocks[0].pass_on(1200.0)

    night = Night([*apart(first), stand_still, None, *apart(then)], grace_s=60.0)
    clocks.append(night.bed.clock)
    assert night.run() == "no sample for 1 min"
    assert [e.epoch for e in night.collected.final] == [0, 1, 2]
    assert [text.partition(":")[0] for text in night.told("stream")] == ["stalled"]


def test_provisional_estimates_come_between_epochs_and_not_at_their_ends() -> None:
    night = Night(apart(chunks(95, 1)))
    night.run()
    provisional = [round(e.end_s, 3) for e in night.collected.estimates if not e.final]
    assert provisional == [35, 40, 45, 50, 55, 65, 70, 75, 80, 85, 95]


def test_behind_in_time_only_the_newest_is_said_between_epochs() -> None:
    night = Night(chunks(95, 1))
    night.run()
    assert [e.epoch for e in night.collected.final] == [0, 1, 2]
    assert [e.end_s for e in night.collected.estimates if not e.final] == [pytest.approx(95)]


def test_latency_counts_from_the_arrival_of_the_last_sample() -> None:
    night = Night(apart(chunks(65, 1)))
    night.run()
    assert [e.latency_ms for e in night.collected.final] == pytest.approx([7.0, 7.0])


def test_a_stream_that_stalls_and_comes_back_is_told_of_both_ways() -> None:
    nothing = [None] * 50  # five seconds
    night = Night([*apart(chunks(10, 1)), *nothing, *apart(chunks(10, 1, start_s=15.0))])
    night.run()
    assert [(e.kind, e.text.partition(":")[0]) for e in night.events] == [
        ("stream", "stalled"),
        ("stream", "connected"),
        ("gap", "nothing came for 5.0 s"),
        ("stream", "stalled"),
    ]
    assert [round(e.at_s, 2) for e in night.events] == [9.99, 15.99, 10.0, 24.99]


def test_a_stream_that_leaves_and_returns_goes_on_with_a_gap() -> None:
    back = replace(OURS, uid="u2")

    def leave(link: MemoryLink) -> None:
        link.leave("u1")

    def come_back(link: MemoryLink) -> None:
        link.network["u2"] = back

    script = [*apart(chunks(40, 1)), leave, *[None] * 100, come_back, *[None] * 10]
    night = Night([*script, *apart(chunks(60, 1, start_s=51.0))])
    assert night.run() == "no sample for 1 min"
    assert [text.partition(":")[0] for text in night.told("stream")] == [
        "lost",
        "reconnected",
        "connected",
        "stalled",
    ]
    assert night.told("gap") == ["nothing came for 11.0 s"]
    assert [round(e.valid, 2) for e in night.collected.final] == [1.0, 0.63, 1.0]
    assert not night.link.listening or night.seen.states[-1] == "stalled"


def test_a_replay_that_has_left_ends_the_night_without_the_grace_time() -> None:
    night = Night([*apart(chunks(35, 1)), lambda link: link.leave("u1")], replace(OURS, ends=True))
    assert night.run() == "the recording that was played is over"


def test_this_computers_sleep_and_unix_time_are_told_once() -> None:
    asleep = [0.0, 0.0, 0.0, 312.4]
    night = Night(
        apart(chunks(10, 1, start_s=1.7e9)),
        slept=lambda: asleep.pop(0) if len(asleep) > 1 else asleep[0],
    )
    night.run()
    unix, slept = night.told("clock")
    assert unix.startswith("the sender stamps in Unix time")
    assert slept.startswith("this computer slept for 312 s")


def test_a_clock_that_is_set_ahead_is_told_from_silence() -> None:
    night = Night(timed(chunks(60, 0.1) + chunks(35, 0.1, start_s=3660.0)))
    night.run()
    (text,) = night.told("gap")
    assert "jumped ahead by 3600.0 s while samples kept coming" in text


def test_clocks_set_back_or_far_ahead_lose_nothing() -> None:
    night = Night(apart([*chunks(35, 1, 1e5), *chunks(35, 1), *chunks(35, 1, 9e5)]))
    night.run()
    assert not night.told("gap")
    assert ["jumped back" in text for text in night.told("clock")] == [True, False]
    assert [round(e.valid, 2) for e in night.collected.final] == [1.0, 1.0, 1.0]


def test_the_senders_clock_is_measured_each_minute() -> None:
    night = Night(timed(chunks(1500, 1)))  # 150 s, and a minute of silence
    night.run()
    assert len(night.offsets) == 4
    assert night.offsets[0] == ClockOffset(night.offsets[0].at_s, 0.0, 0.0)


def test_a_night_ends_after_the_duration_asked_for() -> None:
    night = Night(apart(chunks(300, 1)), duration_s=60.0)
    assert night.run() == "60 s of signal, as asked for"
    assert [e.epoch for e in night.collected.final] == [0, 1]


def test_a_night_ends_when_somebody_says_so() -> None:
    night = Night(apart(chunks(300, 1)))
    assert night.run(stop=lambda: len(night.collected.final) == 3) == "stopped by the user"


def test_a_gap_is_an_event_and_what_it_left_is_unscorable() -> None:
    night = Night(apart(chunks(35, 1) + chunks(60, 1, start_s=65.0)))
    night.run()
    assert [e.kind for e in night.events] == ["gap", "stream"]
    assert night.told("gap") == ["nothing came for 30.0 s"]
    assert [round(e.valid, 2) for e in night.collected.final] == [1.0, 0.17, 0.83, 1.0]


def test_a_recording_is_staged_the_same_as_a_stream() -> None:
    night, progress = Night(apart(chunks(95, 1))), list[float]()
    night.run()
    again = Night([])
    stage_recording(
        [c for c in chunks(95, 30) if c],
        again.bed,
        [again.collected],
        again.events.append,
        progress.append,
    )
    assert [e.quality for e in again.collected.estimates] == [
        e.quality for e in night.collected.final
    ]
    assert progress == [30.0, 60.0, 90.0, 95.0]
