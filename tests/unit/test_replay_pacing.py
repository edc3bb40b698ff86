"""The player on a simulated clock: exact stamps, no drift, a clean stop; and the command line."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from click.testing import CliRunner
from sleepstream_replay.cli import replay
from sleepstream_replay.errors import ReplayError
from sleepstream_replay.player import (
    MAX_SPEED,
    Player,
    Settings,
    chunk_samples,
    describe,
    describe_stages,
)
from sleepstream_replay.recording import Channel, Recording, ScoredStage
from sleepstream_replay.wire import MemoryOutlet, SimulatedClock

SFREQ = 100.0
N_SAMPLES = 12_345
DATA = np.random.default_rng(0).normal(0.0, 3e-5, (2, N_SAMPLES))
STAGES = tuple(ScoredStage(30.0 * i, 30.0, label) for i, label in enumerate(["W", "N1", "N2", "?"]))
RECORDING = Recording.from_array(
    "Erika Mustermann.edf",
    (Channel("EEG Cz", "EEG", "V"), Channel("Temp", "MISC", "DegC")),
    SFREQ,
    DATA,
    stages=STAGES,
)


@dataclass
class TimedOutlet(MemoryOutlet):
    """Also keeps when each chunk came, and takes its time over each."""

    clock: SimulatedClock = field(default_factory=SimulatedClock)
    takes_s: dict[int, float] = field(default_factory=dict)
    pushed_at_s: list[float] = field(default_factory=list)

    def push(self, rows, stamps_s):
        self.pushed_at_s.append(self.clock.now())
        super().push(rows, stamps_s)
        self.clock.wait(self.takes_s.get(len(self.chunks), 0.0))


def play(*, start_at_s=1000.0, stop_at_s=float("inf"), takes_s=None, markers=False, **settings):
    clock = SimulatedClock(start_at_s, stop_at_s)
    outlet = TimedOutlet(clock=clock, takes_s=takes_s or {})
    player = Player(RECORDING, Settings(**settings), outlet, clock, outlet if markers else None)
    return player.play(), outlet


def rows(outlet):
    return np.concatenate([chunk for chunk, _ in outlet.chunks])


def stamps(outlet):
    return np.concatenate([stamps_s for _, stamps_s in outlet.chunks])


@pytest.mark.parametrize("chunk", [None, 1, 7, 100, 4096, 20_000])
@pytest.mark.parametrize("speed", [1.0, 33.3, MAX_SPEED])
def test_every_sample_once_with_an_exact_stamp(chunk, speed):
    played, outlet = play(chunk=chunk, speed=speed)
    np.testing.assert_array_equal(rows(outlet)[:, 0], (DATA[0] * 1e6).astype(np.float32))
    assert stamps(outlet).tolist() == [1000.0 + i / SFREQ for i in range(N_SAMPLES)]
    assert (played.n_samples, played.stopped) == (N_SAMPLES, False)


@pytest.mark.parametrize("speed", [0.5, 1.0, 60.0])
def test_a_chunk_leaves_when_its_last_sample_is_over(speed):
    _, outlet = play(chunk=7, speed=speed)
    n_sent = np.minimum(7 * np.arange(1, len(outlet.chunks) + 1), N_SAMPLES)
    np.testing.assert_allclose(outlet.pushed_at_s, 1000.0 + n_sent / SFREQ / speed, atol=1e-9)


def test_a_late_chunk_delays_none_but_those_due_meanwhile():
    _, outlet = play(chunk=100, takes_s={3: 2.5})
    due = 1000.0 + np.minimum(100 * np.arange(1, 125), N_SAMPLES) / SFREQ
    late = np.array(outlet.pushed_at_s) - due
    np.testing.assert_allclose(late[:3], 0.0, atol=1e-9)
    np.testing.assert_allclose(late[3:5], [1.5, 0.5], atol=1e-9)
    np.testing.assert_allclose(late[5:], 0.0, atol=1e-9)


def test_the_maximum_speed_waits_for_nothing():
    _, outlet = play(speed=MAX_SPEED)
    assert set(outlet.pushed_at_s) == {1000.0}


@pytest.mark.parametrize(
    ("units", "factor", "dtype"),
    [("uV", 1e6, "float32"), ("mV", 1e3, "float32"), ("V", 1, "float64")],
)
def test_voltages_are_scaled_and_other_channels_are_not(units, factor, dtype):
    _, outlet = play(units=units, speed=MAX_SPEED)
    sent = rows(outlet)
    assert sent.dtype == dtype
    np.testing.assert_array_equal(sent[:, 0], (DATA[0] * factor).astype(dtype))
    np.testing.assert_array_equal(sent[:, 1], DATA[1].astype(dtype))


def test_start_and_duration_cut_out_a_section():
    _, outlet = play(start_s=12.5, duration_s=20.0, speed=MAX_SPEED, units="V")
    np.testing.assert_array_equal(rows(outlet), DATA[:, 1250:3250].T)
    assert stamps(outlet)[0] == 1000.0


@pytest.mark.parametrize("wrong", [{"start_s": 200.0}, {"duration_s": 0.0}])
def test_nothing_to_play_is_an_error(wrong):
    with pytest.raises(ReplayError, match=r"123\.45 s"):
        play(**wrong)


def test_a_stop_ends_between_two_chunks():
    played, outlet = play(chunk=100, stop_at_s=1005.5)
    assert played.stopped
    assert played.n_samples == len(rows(outlet)) == 500


def test_a_stop_ends_the_wait_for_a_consumer():
    clock = SimulatedClock(stop_at_s=0.0)
    outlet = MemoryOutlet(consumer=False)
    assert Player(RECORDING, Settings(), outlet, clock).play().stopped
    assert outlet.chunks == []


def test_it_need_not_wait_for_a_consumer():
    outlet = MemoryOutlet(consumer=False)
    played = Player(RECORDING, Settings(wait=False), outlet, SimulatedClock()).play()
    assert played.n_samples == N_SAMPLES


@pytest.mark.parametrize(("consumer", "lingers_s"), [(True, 5.0), (False, 0.0)])
def test_the_stream_lingers_while_somebody_listens(consumer, lingers_s):
    clock = SimulatedClock()
    settings = Settings(wait=False, speed=MAX_SPEED)
    Player(RECORDING, settings, MemoryOutlet(consumer=consumer), clock).play()
    assert clock.now() == pytest.approx(lingers_s)


def test_a_loop_goes_on_in_time():
    played, outlet = play(
        loop=True, start_s=100.0, chunk=1000, stop_at_s=1070.0, markers=True, units="V"
    )
    sent = rows(outlet)
    assert played.stopped
    assert len(sent) > 2 * 2345
    np.testing.assert_array_equal(sent[2345:4690], sent[:2345])
    assert stamps(outlet).tolist() == [1000.0 + i / SFREQ for i in range(len(sent))]


def test_stages_are_stamped_at_their_onsets_in_data_time():
    _, outlet = play(speed=50.0, markers=True)
    assert outlet.marks == [("W", 1000.0), ("N1", 1030.0), ("N2", 1060.0), ("?", 1090.0)]


def test_stages_of_a_section_count_from_its_start_and_come_again_in_a_loop():
    _, outlet = play(
        start_s=20.0, duration_s=50.0, loop=True, stop_at_s=1100.0, chunk=10, markers=True
    )
    assert outlet.marks == [("N1", 1010.0), ("N2", 1040.0), ("N1", 1060.0), ("N2", 1090.0)]


def test_a_stage_is_sent_when_its_onset_has_passed():
    _, outlet = play(chunk=10, markers=True, stop_at_s=1029.95)
    assert outlet.marks == [("W", 1000.0)]


def test_progress_counts_up_to_all_samples():
    clock = SimulatedClock()
    seen = []
    Player(RECORDING, Settings(chunk=1000), MemoryOutlet(), clock).play(seen.append)
    assert seen == [*range(1000, 12_001, 1000), N_SAMPLES]


def test_by_default_a_chunk_is_50_ms_of_wall_clock_time():
    assert chunk_samples(Settings(), 100.0) == 5
    assert chunk_samples(Settings(speed=200.0), 100.0) == 1000
    assert chunk_samples(Settings(), 10.0) == 1
    assert chunk_samples(Settings(speed=MAX_SPEED), 100.0) == 4096


def test_the_stream_describes_itself_without_the_name_of_the_file():
    said = describe(RECORDING, Settings(start_s=30.0))
    assert [(c.label, c.unit, c.kind) for c in said.channels] == [
        ("EEG Cz", "microvolts", "EEG"),
        ("Temp", "DegC", "MISC"),
    ]
    assert said.source_id.startswith("replay-")
    assert said.source_id.endswith("-30")
    assert "Mustermann" not in repr(said)
    assert said == describe(RECORDING, Settings(start_s=30.0))
    assert said.source_id != describe(RECORDING, Settings(stream_name="bed-2")).source_id


def test_the_stages_have_a_stream_of_their_own():
    said = describe_stages(RECORDING, Settings(stream_name="bed-2", source_id="mine"))
    assert (said.name, said.kind, said.dtype) == ("bed-2-scored", "Markers", "string")
    assert (said.sfreq, said.source_id) == (0.0, "mine-scored")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "either a FILE or --synthetic"),
        (["x.edf", "--synthetic", "1"], 2, "either a FILE or --synthetic"),
        (["none.edf"], 4, "no such file"),
        (["x.edf", "--speed", "fast"], 2, "'fast' is neither a number above zero nor 'max'"),
        (["x.edf", "--speed", "0"], 2, "'0' is neither"),
        (["x.edf", "--start", "1:2"], 2, "'1:2' is neither seconds nor HH:MM:SS"),
        (["x.edf", "--chunk", "0"], 2, "--chunk"),
        (["x.edf", "--units", "nV"], 2, "'nV'"),
        (["--synthetic", "0.01", "--channels", "Oz"], 4, "EEG Fpz-Cz, EEG C4-M1, EOG horizontal"),
        (["--synthetic", "0.01", "--start", "00:02:00"], 4, "from 120 s on"),
    ],
)
def test_what_cannot_be_played_is_said_without_a_traceback(arguments, code, words):
    result = CliRunner().invoke(replay, arguments)
    assert result.exit_code == code
    assert words in result.output
    assert "Traceback" not in result.output
