"""The loop, with a source, a clock and a stager in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
import pytest

from sleepstream.messages import (
    SFREQ,
    Chunk,
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
from sleepstream.signal.epocher import Epocher
from sleepstream.signal.montage import Montage


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Sent:
    """A source that delivers what was put in, and lets time pass while nothing comes."""

    def __init__(self, chunks: list[Chunk | None], clock: Clock) -> None:
        self.left = deque(chunks)
        self.clock = clock

    def poll(self, timeout_s: float, max_samples: int) -> Chunk | None:  # noqa: ARG002
        chunk = self.left.popleft() if self.left else None
        if chunk is None:
            self.clock.now_s += timeout_s
        return chunk


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


class Night:
    def __init__(self, sent: list[Chunk | None], **limits: float) -> None:
        clock = Clock()
        self.bed = Bed(
            Epocher(SFREQ, Montage("Cz", (0,), 0, (1.0,), "uV")), Plain(clock), 5.0, clock
        )
        self.collected, self.events, self.seen = Collected(), list[Event](), Seen()
        self.source = Sent(sent, clock)
        health = StreamHealth(source="s", channel="Cz", unit="uV", sfreq_nominal=SFREQ)
        self.watch = LiveWatch(self.seen, health, every_s=1.0)
        self.limits = {"grace_s": 60.0, "duration_s": 0.0} | limits

    def run(self, stop: Callable[[], bool] = lambda: False) -> str:
        return stage_live(
            self.source,
            self.bed,
            [self.collected],
            self.events.append,
            self.watch,
            stop=stop,
            **self.limits,
        )


def test_a_night_ends_after_the_grace_time_with_every_epoch_said_once() -> None:
    night = Night(apart(chunks(95, 1)))
    assert night.run() == "no sample for 60 s"
    assert [e.epoch for e in night.collected.final] == [0, 1, 2]
    assert night.seen.states[-1] == "stalled"
    assert "live" in night.seen.states
    assert night.seen.signals[-1].shape == (3000,)


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
    nothing: list[Chunk | None] = [None] * 50  # five seconds
    night = Night([*apart(chunks(10, 1)), *nothing, *apart(chunks(10, 1, start_s=15.0))])
    night.run()
    assert [e.text for e in night.events] == [
        "no sample for 3 s",
        "nothing came for 5.0 s",
        "samples are coming again",
        "no sample for 3 s",
    ]


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
    assert [e.text for e in night.events] == ["nothing came for 30.0 s", "no sample for 3 s"]
    assert [e.kind for e in night.events] == ["gap", "warning"]
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
