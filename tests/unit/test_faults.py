"""Faults: what a file may say, what each kind does to samples, stamps and streams, and the log."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sleepstream_replay.cli import replay
from sleepstream_replay.errors import ReplayError
from sleepstream_replay.fault_log import Injected, read_fault_log
from sleepstream_replay.faults import (
    KINDS,
    Disconnect,
    Drift,
    Drop,
    Duplicate,
    Faults,
    Flat,
    Gain,
    Jump,
    Late,
    Mains,
    Nan,
    Rate,
    Saturation,
    SecondStream,
    Silence,
)
from sleepstream_replay.faults_file import parse_faults, read_faults
from sleepstream_replay.player import Player, Settings
from sleepstream_replay.recording import Channel, Recording, ScoredStage
from sleepstream_replay.wire import MemoryNetwork, MemoryOutlet, SimulatedClock

SFREQ = 100.0
SECONDS = 60
T0_S = 1000.0
DATA = np.random.default_rng(0).normal(0.0, 3e-5, (3, SECONDS * 100))
RECORDING = Recording.from_array(
    "night.edf",
    (Channel("Fpz-Cz", "EEG", "V"), Channel("C4-M1", "EEG", "V"), Channel("Temp", "MISC", "DegC")),
    SFREQ,
    DATA,
    stages=(ScoredStage(0.0, 30.0, "W"), ScoredStage(30.0, 30.0, "N1")),
)
SENT = np.stack([DATA[0] * 1e6, DATA[1] * 1e6, DATA[2]], axis=1).astype(np.float32)
STAMPS = T0_S + np.arange(SECONDS * 100) / SFREQ
DOCS = Path(__file__).parents[2] / "docs" / "replay.md"


class Replayed:
    """One replay in memory: what it said, and what was on the wire."""

    def __init__(self, *faults, stop_at_s=float("inf"), consumer=True, seed=0, **settings):
        self.clock = SimulatedClock(T0_S, stop_at_s)
        self.network = MemoryNetwork(consumer=consumer)
        self.first = MemoryOutlet()
        self.told = []
        chosen = Settings(source_id="mine", faults=Faults(faults, seed), **settings)
        player = Player(
            RECORDING, chosen, self.first, self.clock, self.first, open_outlet=self.network.open
        )
        self.played = player.play(on_fault=self.told.append)

    @property
    def rows(self):
        return np.concatenate([rows for rows, _ in self.first.chunks])

    @property
    def stamps(self):
        return np.concatenate([stamps_s for _, stamps_s in self.first.chunks])


def test_the_example_in_the_documentation_is_a_faults_file(tmp_path):
    (example,) = re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "faults.toml"
    path.write_text(example, encoding="utf-8")
    faults = read_faults(path)
    assert {fault.kind for fault in faults.faults} == set(KINDS)
    assert faults.seed == 1


def test_the_documentation_names_every_kind_with_its_keys():
    text = DOCS.read_text(encoding="utf-8")
    for name, kind in KINDS.items():
        (row,) = re.findall(rf"^\| `{name}` .*$", text, re.MULTILINE)
        own = set(kind.__struct_fields__) - {"start_s", "length_s", "channels"}
        assert own <= set(re.findall(r"`(\w+)`", row)), name


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"faults": []}, r"(?s)key 'faults'.*nearest valid key is 'fault'"),
        ({"fault": {"kind": "nan"}}, "in double brackets"),
        ({"fault": [1]}, "in double brackets"),
        ({"seed": "one"}, "whole number"),
        ({"seed": True}, "whole number"),
        ({"seed": -1}, "whole number"),
        ({"fault": [{}]}, r"(?s)kind of fault 1 in.*no kind.*Kinds are: nan, flat"),
        ({"fault": [{"kind": 3}]}, r"found: 3"),
        ({"fault": [{"kind": "dropp"}]}, "nearest is 'drop'"),
        ({"fault": [{"kind": "disconect"}]}, "nearest is 'disconnect'"),
        ({"fault": [{"kind": "nan", "start_s": 1}]}, "missing required field `length_s`"),
        (
            {"fault": [{"kind": "nan", "start": 1, "length_s": 1}]},
            r"(?s)key 'start'.*nearest valid key is 'start_s'",
        ),
        (
            {"fault": [{"kind": "nan", "start_s": "1", "length_s": 1}]},
            r"(?s)start_s of fault 1 .*expected `float`, got `str` \('1'\)",
        ),
        ({"fault": [{"kind": "nan", "start_s": -1, "length_s": 1}]}, ">= 0"),
        ({"fault": [{"kind": "nan", "start_s": float("nan"), "length_s": 1}]}, "start_s"),
        ({"fault": [{"kind": "nan", "start_s": 0, "length_s": float("inf")}]}, "length_s"),
        ({"fault": [{"kind": "nan", "start_s": 0, "length_s": 0}]}, "> 0"),
        ({"fault": [{"kind": "mains", "start_s": 0, "length_s": 1, "hz": 55}]}, "hz of fault 1"),
        (
            {"fault": [{"kind": "nan", "start_s": 0, "length_s": 1, "channels": "Cz"}]},
            "expected `array`",
        ),
    ],
)
def test_what_is_no_fault_is_refused_in_words(tree, words):
    with pytest.raises(ReplayError, match=words) as caught:
        parse_faults(tree)
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("content", [b"[[fault]\n", b"\xff\xfe", b"a = " + b"[" * 5000])
def test_a_file_that_is_no_toml_is_refused(tmp_path, content):
    path = tmp_path / "faults.toml"
    path.write_bytes(content)
    with pytest.raises(ReplayError, match="Sought faults in TOML"):
        read_faults(path)


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ((Nan(start_s="1", length_s=1),), r"(?s)start_s of fault 1 \(nan\).*got `str`"),
        ((Drop(start_s=55, length_s=6),), r"(?s)within the 60 s.*over at 61 s"),
        ((Late(start_s=50, length_s=6, delay_s=5),), "over at 61 s"),
        ((Jump(start_s=60, by_s=1),), "within the 60 s"),
        ((Disconnect(start_s=0, length_s=6),), "before it can leave"),
        ((Mains(start_s=0, length_s=6, hz=60),), r"(?s)Sought mains of 60 Hz.*100 Hz"),
        ((Nan(start_s=0, length_s=1, channels=("Temp",)),), r"(?s)'Temp'.*Fpz-Cz, C4-M1"),
        (
            (Drop(start_s=1, length_s=5), Silence(start_s=5, length_s=5)),
            r"(?s)fault 2 \(silence\) apart from fault 1 \(drop\).*from 5 s on",
        ),
        ((Late(start_s=1, length_s=1, delay_s=5), Drop(start_s=5, length_s=1)), "apart"),
        ((Rate(start_s=1, length_s=5, percent=1), Rate(start_s=5, length_s=5, percent=1)), "apart"),
        ((Nan(start_s=1, length_s=5), Gain(start_s=5, length_s=5, factor=2)), "apart"),
        ((Mains(start_s=1, length_s=5), Mains(start_s=5, length_s=5)), "different channels"),
        ((Jump(start_s=1, by_s=5), Jump(start_s=1, by_s=5)), "apart"),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_is_sent(faults, words):
    with pytest.raises(ReplayError, match=words):
        Replayed(*faults)


@pytest.mark.parametrize(
    "faults",
    [
        (Nan(start_s=1, length_s=5), Drop(start_s=1, length_s=5)),
        (Mains(start_s=1, length_s=5), Gain(start_s=1, length_s=5, factor=2)),
        (
            Nan(start_s=1, length_s=5, channels=("Fpz-Cz",)),
            Nan(start_s=1, length_s=5, channels=("C4-M1",)),
        ),
        (Rate(start_s=1, length_s=5, percent=1), Drift(start_s=1, length_s=5, ppm=1)),
        (Drop(start_s=1, length_s=5), Drop(start_s=6, length_s=54)),
        (SecondStream(start_s=0, length_s=60), Disconnect(start_s=6, length_s=5)),
    ],
)
def test_faults_that_go_together_are_had_together(faults):
    assert {record.fault for record in Replayed(*faults).played.injected} == {1, 2}


def test_a_fault_that_opens_a_stream_needs_somebody_to_open_it():
    settings = Settings(faults=Faults((Disconnect(start_s=1, length_s=1),)))
    with pytest.raises(ValueError, match="open_outlet"):
        Player(RECORDING, settings, MemoryOutlet(), SimulatedClock()).play()


WINDOW = {"start_s": 12.0, "length_s": 3.0}


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Nan(**WINDOW), np.full((300, 2), np.nan)),
        (Flat(**WINDOW, level_uv=-7.0), np.full((300, 2), -7.0)),
        (Gain(**WINDOW, factor=-2.0), -2.0 * SENT[1200:1500, :2]),
        (
            Saturation(**WINDOW, limit_uv=300.0, drive=20.0),
            np.clip(20.0 * SENT[1200:1500, :2], -300.0, 300.0),
        ),
        (
            Mains(**WINDOW, amplitude_uv=80.0),
            SENT[1200:1500, :2] + 80.0 * np.tile([1.0, -1.0], 150)[:, np.newaxis],
        ),
    ],
)
def test_a_signal_fault_changes_the_voltages_of_its_time_and_nothing_else(fault, expected):
    run = Replayed(fault)
    np.testing.assert_allclose(run.rows[1200:1500, :2], expected, rtol=1e-6)
    np.testing.assert_array_equal(run.rows[1200:1500, 2], SENT[1200:1500, 2])
    np.testing.assert_array_equal(np.delete(run.rows, np.s_[1200:1500], 0)[:, :2],
                                  np.delete(SENT, np.s_[1200:1500], 0)[:, :2])  # fmt: skip
    assert run.stamps.tolist() == STAMPS.tolist()
    (record,) = run.played.injected
    assert record == Injected(
        fault=1,
        kind=fault.kind,
        effect="changed",
        first=1200,
        last=1499,
        first_stamp_s=STAMPS[1200],
        last_stamp_s=STAMPS[1499],
        channels=("Fpz-Cz", "C4-M1"),
    )


def test_a_signal_fault_hits_the_channel_it_names_in_any_case_and_unit():
    run = Replayed(Flat(**WINDOW, level_uv=5.0, channels=("c4-m1",)), units="V")
    np.testing.assert_allclose(run.rows[1200:1500, 1], 5e-6, rtol=1e-12)
    np.testing.assert_array_equal(run.rows[:, 0], DATA[0])


@pytest.mark.parametrize(
    ("sfreq", "hz"), [(100.0, 50), (128.0, 60), (256.0, 50), (333.3, 50), (333.3, 60), (512.0, 60)]
)
def test_mains_have_their_frequency_and_amplitude_at_any_rate(sfreq, hz):
    n = int(20 * sfreq)
    quiet = Recording.from_array("q", (Channel("Cz", "EEG", "V"),), sfreq, np.zeros((1, n)))
    outlet, mains = MemoryOutlet(), Mains(start_s=0.0, length_s=20.0, hz=hz)
    settings = Settings(faults=Faults((mains,)))
    Player(quiet, settings, outlet, SimulatedClock()).play()
    sent = np.concatenate([rows for rows, _ in outlet.chunks])[:, 0]
    expected = 100.0 * np.cos(2 * np.pi * hz * np.arange(n) / sfreq)
    np.testing.assert_allclose(sent, expected, atol=1e-3)


@pytest.mark.parametrize("by_s", [3600.0, -25.0, 1.7e9])
def test_a_jump_moves_every_stamp_from_its_sample_on(by_s):
    run = Replayed(Jump(start_s=20.0, by_s=by_s), chunk=7)
    np.testing.assert_array_equal(run.rows, SENT)
    assert run.stamps[:2000].tolist() == STAMPS[:2000].tolist()
    np.testing.assert_allclose(run.stamps[2000:], STAMPS[2000:] + by_s, rtol=1e-15)
    (record,) = run.played.injected
    assert (record.effect, record.first, record.last) == ("restamped", 2000, 2000)
    assert (record.shift_s, record.first_stamp_s) == (by_s, run.stamps[2000])
    assert run.clock.now() == pytest.approx(T0_S + SECONDS + 5.0)


def test_a_clock_that_drifts_stamps_wrongly_but_sends_in_time():
    run = Replayed(Drift(start_s=10.0, length_s=20.0, ppm=500.0))
    np.testing.assert_allclose(np.diff(run.stamps[999:3000]), 0.01 * 1.0005, atol=1e-9)
    np.testing.assert_allclose(run.stamps[3000:] - STAMPS[3000:], 0.01, atol=1e-9)
    assert run.played.injected[0].shift_s == pytest.approx(0.01)
    assert run.clock.now() == pytest.approx(T0_S + SECONDS + 5.0)


@pytest.mark.parametrize("speed", [1.0, 10.0])
def test_another_rate_shows_in_the_stamps_and_in_the_pace(speed):
    run = Replayed(Rate(start_s=10.0, length_s=20.0, percent=-2.0), speed=speed)
    np.testing.assert_allclose(1.0 / np.diff(run.stamps[999:3000]), 98.0, rtol=1e-6)
    np.testing.assert_allclose(1.0 / np.diff(run.stamps[2999:]), 100.0, rtol=1e-6)
    longer_s = 20.0 / 0.98 - 20.0
    assert run.played.injected[0].shift_s == pytest.approx(longer_s)
    assert run.clock.now() == pytest.approx(T0_S + (SECONDS + longer_s) / speed + 5.0)


def test_stages_are_stamped_by_the_same_clock_as_samples():
    assert Replayed(Jump(start_s=20.0, by_s=100.0)).first.marks == [
        ("W", T0_S),
        ("N1", T0_S + 130.0),
    ]


@pytest.mark.parametrize("kind", [Drop, Silence])
def test_what_is_not_sent_is_a_hole_in_the_stamps(kind):
    run = Replayed(kind(**WINDOW), chunk=70)
    np.testing.assert_array_equal(run.rows, np.delete(SENT, np.s_[1200:1500], 0))
    assert run.stamps.tolist() == np.delete(STAMPS, np.s_[1200:1500]).tolist()
    left_out = [(r.first, r.last + 1) for r in run.played.injected if r.effect == "left out"]
    assert left_out[0][0] == 1200
    assert left_out[-1][1] == 1500
    assert all(one[1] == other[0] for one, other in pairwise(left_out))
    assert run.played.n_samples == 5700
    assert run.played.duration_s == 60.0


def test_chance_drops_pieces_and_the_same_ones_each_time():
    def dropped(seed, *more):
        fault = Drop(start_s=5.0, length_s=50.0, chunk_s=0.25, probability=0.3)
        return [r for r in Replayed(fault, *more, seed=seed).played.injected if r.fault == 1]

    assert dropped(1) == dropped(1)
    assert dropped(1) == dropped(1, Jump(start_s=59.0, by_s=1.0))
    assert dropped(1) != dropped(2)
    assert {r.last - r.first + 1 for r in dropped(1)} == {25}
    assert 30 <= len(dropped(1)) <= 90


def test_duplicates_come_again_with_the_same_stamps():
    run = Replayed(Duplicate(start_s=12.0, length_s=1.0, chunk_s=0.5), chunk=30)
    order = [*range(1250), *range(1200, 1250), *range(1250, 1300), *range(1250, 6000)]
    np.testing.assert_array_equal(run.rows, SENT[order])
    assert run.stamps.tolist() == STAMPS[order].tolist()
    assert [(r.effect, r.first, r.last) for r in run.played.injected] == [
        ("repeated", 1200, 1249),
        ("repeated", 1250, 1299),
    ]
    assert run.played.n_samples == 6100


@pytest.mark.parametrize("delay_s", [0.0, 2.0])
def test_late_samples_come_all_at_once_and_may_be_overtaken(delay_s):
    run = Replayed(Late(**WINDOW, delay_s=delay_s), chunk=100)
    then = 1500 + int(100 * delay_s)
    order = [*range(1200), *range(1500, then), *range(1200, 1500), *range(then, 6000)]
    np.testing.assert_array_equal(run.rows, SENT[order])
    assert run.stamps.tolist() == STAMPS[order].tolist()
    (record,) = run.played.injected
    assert (record.effect, record.first, record.last) == ("late", 1200, 1499)
    assert record.sent_before == then


@pytest.mark.parametrize(("source_id", "returns_as"), [("", "mine"), ("other", "other")])
def test_a_stream_leaves_and_returns(source_id, returns_as):
    run = Replayed(Disconnect(**WINDOW, source_id=source_id))
    ((said, second),) = run.network.opened
    assert (said.name, said.source_id, len(said.channels)) == ("EEG", returns_as, 3)
    assert run.first.closed
    assert run.stamps.tolist() == STAMPS[:1200].tolist()
    stamps = np.concatenate([stamps_s for _, stamps_s in second.chunks])
    assert stamps.tolist() == STAMPS[1500:].tolist()
    (record,) = run.played.injected
    assert (record.effect, record.first, record.last) == ("left out", 1200, 1499)
    assert record.source_id == source_id
    assert second.closed


def test_a_stream_that_is_away_to_the_end_does_not_return():
    run = Replayed(Disconnect(start_s=50.0, length_s=10.0))
    assert run.network.opened == []
    assert run.clock.now() == pytest.approx(T0_S + SECONDS)


@pytest.mark.parametrize("kind", [Silence, Disconnect, SecondStream])
def test_a_fault_can_last_a_while_on_the_wall_at_any_speed(kind):
    run = Replayed(kind(**WINDOW, wall_s=40.0), speed=float("inf"))
    assert 45.0 <= run.clock.now() - T0_S <= 45.5


def test_a_stream_that_nobody_returns_to_plays_on():
    run = Replayed(Disconnect(**WINDOW, wait_s=3.0), consumer=False)
    assert run.played.n_samples == 5700


def test_a_second_stream_of_the_same_name_is_there_for_its_time():
    run = Replayed(SecondStream(**WINDOW))
    ((said, second),) = run.network.opened
    assert (said.name, said.source_id) == ("EEG", "mine-second")
    np.testing.assert_array_equal(
        np.concatenate([rows for rows, _ in second.chunks]), -SENT[1200:1500]
    )
    np.testing.assert_array_equal(run.rows, SENT)
    assert second.closed
    assert run.played.injected[0].effect == "second stream"


def test_a_second_stream_from_the_start_is_there_before_anybody_listens():
    network = MemoryNetwork()
    settings = Settings(faults=Faults((SecondStream(start_s=0.0, length_s=5.0),)))
    clock = SimulatedClock(stop_at_s=0.0)
    outlet = MemoryOutlet(consumer=False)
    played = Player(RECORDING, settings, outlet, clock, open_outlet=network.open).play()
    assert played.stopped
    assert [outlet.closed for _, outlet in network.opened] == [True]


@pytest.mark.parametrize(
    ("fault", "logged"),
    [
        (Nan(**WINDOW), [("changed", 1200, 1299)]),
        (Drift(**WINDOW, ppm=100.0), [("restamped", 1200, 1299)]),
        (Silence(**WINDOW), [("left out", 1200, 1299)]),
        (Late(**WINDOW), [("left out", 1200, 1299)]),
        (Duplicate(**WINDOW, chunk_s=3.0), []),
        (Nan(start_s=30.0, length_s=1.0), []),
    ],
)
def test_a_stop_in_a_fault_is_logged_as_far_as_it_came(fault, logged):
    run = Replayed(fault, chunk=100, stop_at_s=T0_S + 13.5)
    assert run.played.stopped
    assert run.played.duration_s == 13.0
    assert [(r.effect, r.first, r.last) for r in run.played.injected] == logged
    assert run.told == list(run.played.injected)


def test_in_a_loop_data_time_goes_on():
    run = Replayed(Nan(start_s=65.0, length_s=1.0), loop=True, stop_at_s=T0_S + 130.0)
    assert np.flatnonzero(np.isnan(run.rows[:, 0])).tolist() == list(range(6500, 6600))


def test_the_log_can_be_read_back(tmp_path):
    injected = Replayed(Drop(**WINDOW), Jump(start_s=1.0, by_s=-3.0)).played.injected
    path = tmp_path / "log.jsonl"
    from msgspec import json

    path.write_bytes(b"".join(json.encode(record) + b"\n" for record in injected))
    assert read_fault_log(path) == injected


def test_the_line_of_the_log_in_the_documentation_can_be_read(tmp_path):
    (line,) = re.findall(r"```json\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "log.jsonl"
    path.write_text(line, encoding="utf-8")
    (record,) = read_fault_log(path)
    assert (record.kind, record.effect, record.last) == ("silence", "left out", 30999)


@pytest.mark.parametrize(
    ("content", "arguments", "code", "words"),
    [
        (None, ["--fault-log", "x"], 2, "--fault-log needs --faults"),
        (None, ["--faults", "none.toml"], 4, "No such file"),
        ('[[fault]]\nkind = "nn"', [], 4, "The nearest is 'nan'"),
        ("[[fault]]\nkind = 'jump'\nstart_s = 99\nby_s = 1", [], 4, "within the 30 s played"),
        ("", ["--fault-log", "no/such/folder"], 4, "log of faults"),
    ],
)
def test_the_command_says_what_is_wrong_with_faults(tmp_path, content, arguments, code, words):
    if content is not None:
        path = tmp_path / "faults.toml"
        path.write_text(content, encoding="utf-8")
        arguments = ["--faults", str(path), *arguments]
    result = CliRunner().invoke(replay, ["--synthetic", "0.01", *arguments])
    assert result.exit_code == code
    assert words in result.output
    assert "Traceback" not in result.output
