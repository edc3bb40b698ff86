"""kill -9 at any moment: what is on record in the end is what an uninterrupted night has.

How is in ``tests/reliability/crashes.py``; ``make faults`` kills 200 times in a night of eight
hours, here it is done on a smaller scale.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from reliability.crashes import Crashes, Sender, a_stager, differences, killed_night, stage

from sleepstream.stager.stager import Stager
from sleepstream.store.nights import NightStore

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork, nor kill -9")

N_KILLS = 12


@pytest.fixture(scope="module")
def stager() -> Iterator[Stager]:
    before = torch.get_num_threads()
    yield a_stager()
    torch.set_num_threads(before)


def test_kill_9_at_random_moments_costs_what_was_missed_and_nothing_else(
    tmp_path: Path, stager: Stager
) -> None:
    how = killed_night(tmp_path, N_KILLS, stager)
    assert how.n_kills > N_KILLS / 2
    assert how.n_epochs > N_KILLS
    assert how.different == []


class Trap:
    """Kills the process just before the n-th statement of its record."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __call__(self, store: NightStore) -> None:
        store._db.set_trace_callback(self.count)

    def count(self, _statement: str) -> None:
        self.n -= 1
        if self.n == 0:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("n_before", [0, 9])
def test_a_crash_before_any_statement_of_the_record_costs_no_epoch(
    n_before: int, tmp_path: Path, stager: Stager
) -> None:
    """With `n_before`, of a night that goes on after a crash at that statement."""
    sender, n, at_the_end = Sender(4), 0, False
    whole: dict[str, Path] = {}  # by what was missed, which is often the same
    while not at_the_end:
        n += 3 if n_before else 1
        night = Crashes(tmp_path / f"{n}.sqlite", sender, stager)
        if n_before:
            assert not night.live(before=Trap(n_before))
            night.go_away(700)
        if not (at_the_end := night.live(before=Trap(n))):
            night.go_away(700)
            night.live()
        if (missed := str(night.holes)) not in whole:
            whole[missed] = tmp_path / f"{n}-whole.sqlite"
            stage(whole[missed], sender, stager, night.keep())
        assert differences(night.path, whole[missed]) == []
    assert n > 10
