"""What a person is told at three in the morning, and what is done about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from sleepstream.messages import StreamState
from sleepstream.sources.description import StreamDescription
from sleepstream.sources.notes import BURST, EVERY_S, in_words
from sleepstream.sources.supervisor import (
    Action,
    Patience,
    Supervisor,
    differences,
)

OURS = StreamDescription(
    "EEG", "EEG", "amp1", "lab-2", "u1", 2, 256.0, ("C4-M1", "EOG"), ("uV", "uV")
)


class Night:
    """A supervisor with a clock that goes when it is told to; it is 03:00:00 at the start."""

    def __init__(self, ours: StreamDescription = OURS) -> None:
        self.now_s = 0.0
        self.supervisor = Supervisor(ours, Patience(3.0, 600.0), lambda: self.now_s, self.wall)
        self.supervisor.opened(ours)

    def wall(self) -> datetime:
        return datetime.fromtimestamp(datetime(2026, 1, 2, 3).timestamp() + self.now_s)

    def wait(
        self, seconds: float, *around: StreamDescription, broken: bool = False, looks: bool = True
    ) -> Action:
        """Let time pass, and look twice: the second look knows for how long it has been silent."""
        self.supervisor.waited(broken, around if looks else None)
        self.now_s += seconds
        return self.supervisor.waited(broken, around if looks else None)

    @property
    def told(self) -> list[str]:
        return self.supervisor.take_notes()


def test_a_silent_stream_is_stalled_and_searched_for() -> None:
    night = Night()
    night.supervisor.heard()
    assert night.wait(2.9, looks=False) is Action.WAIT
    assert night.wait(0.2, looks=False) is Action.SEARCH
    assert night.supervisor.state is StreamState.STALLED
    assert night.told == [
        "stalled: no sample since 03:00:00, though the connection stands. Check the device, its "
        "battery and the sender; what is not sent will be missing"
    ]
    night.now_s = 42.0
    night.supervisor.heard()
    assert night.supervisor.state is StreamState.CONNECTED
    assert night.told == [
        "connected: samples are coming again, after 42 s; what was not sent meanwhile is listed as "
        "a gap"
    ]


def test_one_that_never_sent_is_said_so() -> None:
    night = Night()
    night.wait(3.0, looks=False)
    (text,) = night.told
    assert text.endswith("no sample has come since 03:00:00. Has the sender been started?")


def test_a_broken_connection_is_a_loss_at_once_and_says_until_when() -> None:
    night = Night()
    night.supervisor.heard()
    assert night.wait(5.0, broken=True, looks=False) is Action.SEARCH
    assert night.told == [
        "lost: the stream has left the network; last sample at 03:00:00. Start the sender again: "
        "sleepstream searches for it until 03:10:00, then the night ends"
    ]


@pytest.mark.parametrize("broken", [True, False])
def test_the_grace_time_ends_the_night(broken: bool) -> None:
    night = Night()
    night.wait(599.9, broken=broken)
    assert night.supervisor.state is not StreamState.ENDED
    assert night.wait(0.1, broken=broken) is Action.END
    words = "the stream left and did not return within 10 min", "no sample for 10 min"
    assert night.supervisor.ended == words[not broken]
    night.supervisor.heard()
    night.supervisor.opened(OURS)
    assert night.supervisor.state is StreamState.ENDED


def test_a_connection_that_broke_is_opened_again_to_the_same_outlet() -> None:
    night = Night()
    assert night.wait(0.1, OURS, broken=True) is Action.REOPEN
    assert night.supervisor.candidate == OURS


def test_an_outlet_that_is_silent_for_long_is_subscribed_to_anew_without_a_word() -> None:
    night = Night()
    night.supervisor.heard()
    assert night.wait(29.9, OURS) is Action.SEARCH
    assert night.wait(0.2, OURS) is Action.REOPEN
    assert len(night.told) == 1
    night.supervisor.opened(OURS)
    assert night.supervisor.state is StreamState.STALLED
    assert night.wait(29.0, OURS) is Action.SEARCH
    assert night.told == []


def test_a_device_that_was_started_again_is_taken_although_its_zombie_is_announced() -> None:
    night = Night()
    again = replace(OURS, uid="u2")
    night.wait(3.0, OURS, again)
    night.wait(1.0, OURS, again)
    assert night.supervisor.candidate == again


def test_a_stranger_of_that_name_is_refused_in_words() -> None:
    night = Night()
    stranger = replace(OURS, uid="u2", source_id="amp2", host="lab-3")
    night.wait(3.0, stranger, broken=True)
    assert night.told[1:] == [
        "refused: there is a stream 'EEG', but not ours: source_id 'amp2' instead of 'amp1'; host "
        "'lab-3' instead of 'lab-2'. The search goes on. If it is the right one, end sleepstream "
        "and start it with --resume"
    ]
    assert night.wait(3.0, stranger, broken=True) is Action.SEARCH
    assert night.told == []


def test_another_bed_of_that_name_is_no_news_while_ours_is_there() -> None:
    night = Night()
    night.wait(20.0, OURS, replace(OURS, uid="u2", source_id="amp2"))
    assert [text.partition(":")[0] for text in night.told] == ["stalled"]


def test_one_that_is_back_with_other_channels_is_refused_in_words_and_not_asked_again() -> None:
    night = Night()
    changed = replace(OURS, uid="u2", sfreq=128.0, labels=("C3-M2", "EOG"))
    assert night.wait(3.0, changed, broken=True) is Action.REOPEN
    assert not night.supervisor.accepts(changed)
    assert night.told[1:] == [
        "refused: 'EEG' is back, but not as it was: 128 Hz instead of 256 Hz; channels 'C3-M2' "
        "instead of 'C4-M1'. The search goes on. Set the sender as it was; or end sleepstream and "
        "start it again, which begins a new night"
    ]
    assert night.wait(3.0, changed, broken=True) is Action.SEARCH


def test_one_that_does_not_answer_is_said_once() -> None:
    night = Night()
    again = replace(OURS, uid="u2")
    for _ in range(4):
        assert night.wait(3.0, again, broken=True) is Action.REOPEN
    assert [text for text in night.told if "does not answer" in text] == [
        "no answer: 'EEG' is announced, but does not answer; sleepstream keeps asking. Restart the "
        "sender if it stays so"
    ]


def test_a_link_that_comes_and_goes_all_night_fills_no_record() -> None:
    night, told = Night(), list[str]()
    for _ in range(3600):
        night.wait(0.9, broken=True, looks=False)
        night.now_s += 0.1
        night.supervisor.heard()
        told += night.told
    assert BURST < len(told) <= BURST + 3600 / EVERY_S + 1
    assert "messages before this one were left out" in told[-1]
    night.now_s += 2 * EVERY_S
    told += night.told
    assert told[-1].startswith("connected: "), "the last word is how things are"


def test_between_two_silent_ones_that_are_both_ours_there_is_no_to_and_fro() -> None:
    night, twin = Night(), replace(OURS, uid="u2")
    night.supervisor.heard()
    night.wait(3.0, OURS, twin)
    assert night.wait(1.0, OURS, twin) is Action.REOPEN
    assert night.supervisor.candidate == twin
    night.supervisor.opened(twin)
    for _ in range(5):
        assert night.wait(5.0, OURS, twin) is Action.SEARCH
    assert night.wait(5.0, OURS, twin) is Action.REOPEN
    assert night.supervisor.candidate == OURS, "half a minute later it may be the other's turn"


def test_a_stream_whose_replacement_has_left_is_taken_at_once_though_it_was_silent() -> None:
    night, twin = Night(), replace(OURS, uid="u2")
    night.supervisor.heard()
    night.wait(3.0, OURS, twin)
    night.wait(1.0, OURS, twin)
    night.supervisor.opened(twin)
    night.supervisor.heard()
    assert night.wait(2.0, OURS, broken=True) is Action.REOPEN
    assert night.supervisor.candidate == OURS


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, []),
        ({"sfreq": 128.0}, ["128 Hz instead of 256 Hz"]),
        ({"n_channels": 3, "labels": ("a", "b", "c")}, ["3 channels instead of 2"]),
        ({"units": ("V", "")}, ["units 'V' instead of 'uV', 'none' instead of 'uV'"]),
        ({"numeric": False}, ["text instead of numbers"]),
    ],
)
def test_differences_in_words(change: dict[str, object], words: list[str]) -> None:
    assert differences(OURS, replace(OURS, **change)) == words


def test_many_different_labels_are_not_all_listed() -> None:
    many = [
        replace(
            OURS, n_channels=64, labels=tuple(f"{letter}{k}" for k in range(64)), units=("",) * 64
        )
        for letter in "AB"
    ]
    (text,) = differences(*many)
    assert text.endswith("'B2' instead of 'A2' and 61 more")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.5, "0.5 s"),
        (42.4, "42 s"),
        (59.9, "60 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (3900, "1 h 5 min"),
    ],
)
def test_lengths_of_time_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
