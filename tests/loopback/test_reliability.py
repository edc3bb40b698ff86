"""The table of faults cannot rot: a row of it is made here, and its oracle is shown broken nights.

All rows are made by ``make faults``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from reliability.__main__ import main
from reliability.cases import Case, all_cases
from reliability.house import LABEL, Observed, a_recording
from reliability.oracle import Oracle
from sleepstream_replay.faults import Faults
from sleepstream_replay.faults_file import check
from sleepstream_replay.player import Player, Settings
from sleepstream_replay.recording import read_recording
from sleepstream_replay.wire import MemoryOutlet, SimulatedClock

from sleepstream.messages import Event

pytestmark = pytest.mark.loopback


def test_every_row_has_a_name_of_its_own_and_faults_that_can_be_had() -> None:
    cases = all_cases()
    assert len({case.name for case in cases}) == len(cases)
    kinds = {fault.kind for case in cases for fault in case.faults}
    assert len(kinds) == 14, "every kind of fault that there is"
    for case in cases:
        assert case.played_s < 900.0
        for fault in case.faults:
            check(fault, case.name)


def test_the_command_makes_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    try:
        assert main(["--only", "disconnect, same source_id 1 s"]) == 0
    finally:
        torch.set_num_threads(before)
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| disc")]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[1:8] == ["1 s", "6", "6", "0", "0", "0", "0"]
    assert cells[-1] == "lost, reconnected, connected, gap"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, Observed, Oracle]:
    """A night that has the record that it has to have, made without a wire and a daemon."""
    recording = a_recording(tmp_path_factory.mktemp("house"))
    (case,) = [case for case in all_cases() if case.name == "chunks late, overtaken 10 s"]
    before = torch.get_num_threads()
    oracle = Oracle(recording)
    sent = Player(
        read_recording(recording, (LABEL,)),
        Settings(duration_s=case.played_s, faults=Faults(case.faults)),
        MemoryOutlet(),
        SimulatedClock(1000.0),
    )
    night = Observed(sent_as=case.faults, injected=list(sent.play().injected), n_nights=1)
    night.estimates = oracle.staged(case, night, 1000.0)
    night.announced = [estimate.epoch for estimate in night.estimates]
    night.events = [Event("gap", 1100.0, f"{words} …") for words in case.told]
    torch.set_num_threads(before)
    return case, night, oracle


def test_a_night_as_it_has_to_be_has_no_problem(seen: tuple[Case, Observed, Oracle]) -> None:
    case, observed, oracle = seen
    row = oracle.judge(case, observed)
    assert row.problems == ()
    assert (row.expected, row.final, row.unscorable, row.lost, row.doubled) == (6, 6, 1, 0, 0)
    assert row.different == 0


def an_epoch_is_missing(night: Observed) -> Observed:
    return replace(night, estimates=night.estimates[:-1])


def one_was_not_announced(night: Observed) -> Observed:
    return replace(night, announced=night.announced[1:])


def one_was_announced_twice(night: Observed) -> Observed:
    return replace(night, announced=[*night.announced, 2])


def one_says_something_else(night: Observed) -> Observed:
    first = replace(night.estimates[0], confidence=0.5)
    return replace(night, estimates=[first, *night.estimates[1:]])


def a_hole_was_glued(night: Observed) -> Observed:
    glued = [replace(estimate, valid=1.0) for estimate in night.estimates]
    return replace(night, estimates=glued)


def nothing_was_told(night: Observed) -> Observed:
    return replace(night, events=[])


def a_second_night_began(night: Observed) -> Observed:
    return replace(night, n_nights=2)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (an_epoch_is_missing, "1 lost"),
        (one_was_not_announced, "1 lost"),
        (one_was_announced_twice, "1 doubled"),
        (one_says_something_else, "1 different"),
        (a_hole_was_glued, "is real"),
        (nothing_was_told, "not recorded: 'nothing came for'"),
        (a_second_night_began, "2 nights"),
    ],
)
def test_the_oracle_sees(
    spoil: Callable[[Observed], Observed], words: str, seen: tuple[Case, Observed, Oracle]
) -> None:
    case, observed, oracle = seen
    problems = oracle.judge(case, spoil(observed)).problems
    assert any(words in problem for problem in problems), problems
