"""Which night goes on, which does not, and what is said about it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace as changed
from rich.console import Console

from sleepstream.commands.record import model_hashes
from sleepstream.commands.resume import Past, Resumption, identity, look_back
from sleepstream.config import Models, Settings
from sleepstream.errors import StoreError
from sleepstream.messages import (
    DisorderScore,
    Epoch,
    Event,
    Quality,
    Stage,
    StageEstimate,
    frozen,
)
from sleepstream.signal.epocher import Epocher
from sleepstream.signal.montage import choose
from sleepstream.sources.description import StreamDescription
from sleepstream.store.nights import NightStore

STREAM = StreamDescription(
    name="EEG", type="EEG", source_id="amp-1", host="lab", uid="u1", n_channels=1, sfreq=256.0,
    labels=("Cz",), units=("uV",),
)  # fmt: skip


class Counting:
    """An estimator that says how many epochs it has seen."""

    def __init__(self) -> None:
        self.n = 0

    def step(self, epoch: Epoch) -> StageEstimate:
        self.n += 1
        return StageEstimate(
            bed="bed1",
            epoch=epoch.index,
            onset_s=epoch.onset_s,
            end_s=epoch.end_s,
            stage=Stage.W,
            probs=frozen([self.n / 100, 0, 0, 0, 0]),
            encoder_probs=None,
            confidence=1.0,
            quality=epoch.quality,
            valid=epoch.valid,
            forecast=frozen(np.full((20, 5), 0.2)),
            p_wake_5min=1.0,
            p_rem_5min=0.0,
            disorder=DisorderScore("x", None, None, "none"),
            final=True,
            model="0",
            latency_ms=float(np.random.default_rng().random()),
        )

    peek = step

    def reset(self) -> None:
        self.n = 0


def an_epoch(index: int) -> Epoch:
    data = frozen(np.full((1, 3000), index))
    return Epoch(index, 1000.0 + 30 * index, 1030.0 + 30 * index, data, 1.0, Quality(1.0))


class Bench:
    """A record with one live night of three epochs that nobody ended."""

    def __init__(self, path: Path) -> None:
        self.store = NightStore(path)
        self.settings = Settings()
        self.stager = Counting()
        self.said = io.StringIO()
        self.events: list[Event] = []
        self.gone_on: list[str] = []
        self.night = self.begin(identity(STREAM))
        state = Epocher(256.0, choose(["Cz"], ["uV"])).state(an_epoch(2))
        self.past_state = state
        for index in range(3):
            epoch = an_epoch(index)
            self.night.append(
                self.stager.step(epoch), epoch.data, msgspec.json.encode(state).decode()
            )
        self.stager.reset()

    def begin(self, stream: str):
        return self.store.begin(
            "bed1",
            source="EEG",
            sfreq=256.0,
            channel="Cz",
            started_s=1000.0,
            started_utc="2026-11-22T22:00:00+00:00",
            models=model_hashes(self.settings),
            settings_json="{}",
            stream=stream,
        )

    def set(self, **night: Any) -> None:
        self.settings = changed(self.settings, night=changed(self.settings.night, **night))

    def look_back(self, stream: StreamDescription = STREAM, channel: str = "Cz") -> Past | None:
        self.stager.reset()
        return look_back(
            self.store,
            self.settings,
            stream=identity(stream),
            channel=channel,
            stager=self.stager,
            say=Console(file=self.said, width=1000),
            stop=lambda: False,
        )

    def decide(self, first_s: float) -> bool:
        """Whether the night goes on if the first sample comes at `first_s`."""
        past = self.look_back()
        assert past is not None

        def go_on(past: Past) -> None:
            self.gone_on.append(past.night.id)

        tell = self.events.append
        resumption = Resumption(past, self.settings, stager=self.stager, go_on=go_on, tell=tell)
        state = resumption.decide(first_s)
        assert state in {None, past.state}
        assert self.gone_on == ([] if state is None else [self.night.id])
        return state is not None


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "nights.sqlite")
    yield bench
    bench.store.close()


def test_a_night_that_was_cut_off_goes_on_behind_its_last_epoch(bench: Bench) -> None:
    past = bench.look_back()
    assert past is not None
    assert [e.epoch for e in past.estimates] == [0, 1, 2]
    assert past.state == bench.past_state
    assert bench.stager.n == 3
    assert bench.decide(1100.0)
    assert [(e.kind, e.at_s) for e in bench.events] == [("resumed", 1100.0)]
    assert "behind its 3 epochs: 10.0 s are missing" in bench.events[0].text


def test_another_outlet_of_the_same_device_is_the_same_stream(bench: Bench) -> None:
    assert bench.look_back(replace(STREAM, uid="u2", host="other")) is not None


def test_a_night_that_was_ended_goes_on_only_if_asked(bench: Bench) -> None:
    bench.night.end("stopped by the user")
    assert bench.look_back() is None
    assert bench.said.getvalue() == ""
    bench.set(resume="last")
    assert bench.look_back() is not None


def test_never_means_never(bench: Bench) -> None:
    bench.set(resume="never")
    assert bench.look_back() is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sfreq": 512.0}, "sfreq was 256.0, now 512.0"),
        ({"labels": ("Cz", "Fz")}, "labels was ['Cz'], now ['Cz', 'Fz']"),
    ],
)
def test_another_stream_is_another_night(bench: Bench, change: dict[str, Any], words: str) -> None:
    assert bench.look_back(replace(STREAM, **change)) is None
    assert words in bench.said.getvalue()
    bench.set(resume="last")
    with pytest.raises(StoreError, match="another stream"):
        bench.look_back(replace(STREAM, **change))


def test_another_source_id_is_another_device_unless_somebody_says_it_is_not(bench: Bench) -> None:
    renamed = replace(STREAM, source_id="amp-2")
    assert bench.look_back(renamed) is None
    assert "source_id was 'amp-1', now 'amp-2'. If it is the same device" in bench.said.getvalue()
    bench.set(resume="last")
    assert bench.look_back(renamed) is not None


def test_the_record_says_which_source_id_the_night_went_on_with(bench: Bench) -> None:
    renamed = identity(replace(STREAM, source_id="amp-2"))
    bench.store.go_on(bench.night.id, "bed1", renamed)
    live = bench.store.last_live("bed1")
    assert live is not None
    assert live.stream == renamed


def other_models(bench: Bench) -> None:
    bench.settings = changed(bench.settings, models=Models(decoder="none"))


def other_words(bench: Bench) -> None:
    bench.store._db.execute("UPDATE epoch SET confidence = 0.5 WHERE epoch = 1")


def no_signal(bench: Bench) -> None:
    bench.store._db.execute("DELETE FROM signal WHERE epoch = 1")


def no_epoch(bench: Bench) -> None:
    bench.store._db.execute("DELETE FROM signal WHERE epoch = 1")
    bench.store._db.execute("DELETE FROM epoch WHERE epoch = 1")


def no_state(bench: Bench) -> None:
    bench.store._db.execute("UPDATE epoch SET state = NULL")


def another_shape(bench: Bench) -> None:
    bench.store._db.execute("""UPDATE epoch SET state = '{"n_epochs": "many"}'""")


def too_few(bench: Bench) -> None:
    bench.store._db.execute("UPDATE epoch SET state = json_set(state, '$.n_epochs', 2)")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (other_models, "another models: decoder was"),
        (other_words, "epoch 1 comes out different"),
        (no_signal, "without the signal"),
        (no_epoch, "epoch 1 is not on record"),
        (no_state, "does not say how to go on"),
        (another_shape, "does not say how to go on"),
        (too_few, "contradicts itself"),
    ],
)
def test_what_cannot_go_on_begins_anew_and_says_why(
    bench: Bench, spoil: Callable[[Bench], None], words: str
) -> None:
    spoil(bench)
    assert bench.look_back() is None
    assert f"night {bench.night.id} was cut off, and a new one begins" in bench.said.getvalue()
    assert words in bench.said.getvalue()
    assert bench.stager.n == 0
    bench.set(resume="last")
    with pytest.raises(StoreError, match="leave --resume out") as caught:
        bench.look_back()
    assert words in str(caught.value)


def test_to_go_on_with_nothing_is_an_error_only_if_asked(bench: Bench) -> None:
    bench.set(bed="other")
    assert bench.look_back() is None
    bench.set(resume="last")
    with pytest.raises(StoreError, match="a night of bed 'other'"):
        bench.look_back()


def test_another_derivation_is_another_night(bench: Bench) -> None:
    assert bench.look_back(channel="Fz") is None
    assert "channel was 'Cz', now 'Fz'" in bench.said.getvalue()


@pytest.mark.parametrize(
    ("first_s", "words"),
    [(1090.0 + 3600, "60 min are missing"), (500.0, "clock began anew"), (1e9, "min are missing")],
)
def test_a_stream_that_is_back_too_late_begins_a_new_night(
    bench: Bench, first_s: float, words: str
) -> None:
    assert not bench.decide(first_s)
    assert bench.stager.n == 0
    (event,) = bench.events
    assert event.kind == "warning"
    assert words in event.text


def test_within_is_a_setting_and_zero_is_never(bench: Bench) -> None:
    bench.set(resume_within=7200.0)
    assert bench.decide(1090.0 + 3600)
    bench.gone_on.clear()
    bench.set(resume_within=0.0)
    assert not bench.decide(1090.1)


def test_who_asks_gets_a_night_whose_clock_began_anew_and_none_of_yesterday(bench: Bench) -> None:
    bench.set(resume="last")
    assert bench.decide(500.0)
    assert "how much is missing is not known" in bench.events[0].text
    bench.gone_on.clear()
    with pytest.raises(StoreError, match="stopped 27 h ago"):
        bench.decide(1e5)


def test_the_last_night_of_the_bed_counts_and_no_other(bench: Bench) -> None:
    newer = bench.begin(identity(STREAM))
    newer.append(Counting().step(an_epoch(0)))
    newer.end("the stream ended")
    assert bench.look_back() is None
