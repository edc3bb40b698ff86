"""Whatever happens on the network: only our own stream is taken, and each change is told once."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from itertools import count, pairwise
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepstream.messages import Chunk, StreamState
from sleepstream.sources.description import StreamDescription
from sleepstream.sources.live import LiveStream, MemoryLink
from sleepstream.sources.supervisor import LEFT_S, TRANSITIONS, Patience

POLL_S = 0.1
PATIENCE = Patience(stale_s=1.0, grace_s=60.0)
SAMPLE = Chunk(np.array([1.0]), np.zeros((1, 1), np.float32))
OURS = StreamDescription(
    "EEG", "EEG", "amp1", "lab", "u0", 2, 256.0, ("C4-M1", "EOG"), ("uV", "uV")
)
LEGAL = {(before, after) for (before, _), after in TRANSITIONS.items()}

APPEARING: dict[str, dict[str, Any]] = {
    "the same": {},
    "another device": {"source_id": "amp2"},
    "on another host": {"host": "lab-2"},
    "another rate": {"sfreq": 128.0},
    "another label": {"labels": ("C3-M2", "EOG")},
    "another unit": {"units": ("V", "uV")},
    "text": {"numeric": False},
}


class World:
    """A network, a clock, and a live stream over both."""

    def __init__(self, ours: StreamDescription) -> None:
        self.ours = ours
        self.wanted = replace(ours, uid="")
        self.now_s = self.heard_s = 0.0
        self._numbers = count(1)
        self.link = MemoryLink(ours, self.pass_time)
        self.live = LiveStream(
            self.link, ours, PATIENCE, lambda: self.now_s, lambda: datetime(2026, 1, 2)
        )
        self.told: list[str] = []

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds

    def poll(self, n: int, sent: bool) -> None:
        for _ in range(n):
            before, n_told = self.live.state, len(self.told)
            self.link.script.append(SAMPLE if sent else None)
            if self.live.poll(POLL_S, 100):
                self.heard_s = self.now_s
                self.now_s += POLL_S
            self.told += [event.text for event in self.live.take_events()]
            self.check(before, self.told[n_told:])

    def check(self, before: StreamState, told: list[str]) -> None:
        after = self.live.state
        changed = after is not before
        # a state may be passed through within one poll, and then it is told too
        words = [StreamState(w) for t in told if (w := t.partition(":")[0]) in set(StreamState)]
        ended = [StreamState.ENDED] if after is StreamState.ENDED else []
        assert all(
            step in LEGAL for step in pairwise([before, *words, *(ended if changed else [])])
        )
        assert not changed or after in {*words, *ended}
        assert replace(self.link.subscribed[-1], uid="") == self.wanted
        if changed and ended and not self.ours.ends:
            assert self.now_s - self.heard_s >= PATIENCE.grace_s

    def appear(self, what: str) -> str:
        uid = f"u{next(self._numbers)}"
        self.link.network[uid] = replace(self.ours, uid=uid, **APPEARING[what])
        return uid

    def disappear(self, uid: str) -> None:
        self.link.network.pop(uid)
        self.link.broken |= uid == self.link.subscribed[-1].uid


def steps(appearing: list[str], first: int) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    """Something happens on the network, and then samples come for a while, or do not."""
    happens = st.one_of(
        st.tuples(st.just("appear"), st.sampled_from(appearing)),
        st.tuples(st.sampled_from(["disappear", "mute"]), st.integers(first, first + 3)),
        st.tuples(st.just("break"), st.just(0)),
    )
    step = st.tuples(happens, st.integers(1, 40), st.booleans())
    return st.lists(step, min_size=3, max_size=12)


def take(world: World, step: tuple[Any, ...]) -> None:
    (what, which), n_polls, sent = step
    uids = sorted(world.link.network)
    if what == "appear":
        world.appear(which)
    elif what == "break":
        world.link.broken = True
    elif which < len(uids) and what == "mute":
        world.link.mute ^= {uids[which]}
    elif which < len(uids):
        world.disappear(uids[which])
    world.poll(n_polls, sent)


@given(steps(sorted(APPEARING), 0), st.sampled_from(["amp1", ""]), st.booleans())
@settings(max_examples=80, deadline=None)
def test_only_ours_is_taken_and_it_is_found_again(
    happened: list[tuple[Any, ...]], source_id: str, ends: bool
) -> None:
    world = World(replace(OURS, source_id=source_id, ends=ends))
    for step in happened:
        take(world, step)
    for uid in sorted(world.link.network):
        world.disappear(uid)
    back = world.appear("the same")
    world.poll(25, sent=False)  # the time it takes to be sure that nobody else is there
    if world.live.state is not StreamState.ENDED:
        assert world.link.subscribed[-1].uid == back
        world.poll(1, sent=True)
        assert world.live.state is StreamState.CONNECTED
        assert not world.link.listening
    refusals = [text for text in world.told if text.startswith("refused")]
    assert len(refusals) <= 2 * len(happened)


@given(steps(["the same"], 1))  # u0 is ours, and stays
@settings(max_examples=50, deadline=None)
def test_two_of_one_name_without_a_source_id_are_never_mixed_up(
    happened: list[tuple[Any, ...]],
) -> None:
    """Ours is announced all the time: nobody else is taken, whoever else comes and goes."""
    world = World(replace(OURS, source_id=""))
    for step in happened:
        take(world, step)
    assert {stream.uid for stream in world.link.subscribed} == {"u0"}
    world.poll(25, sent=False)
    assert not world.link.broken or world.live.ended


def test_the_table_leads_from_every_state_to_the_end_and_from_nowhere_back() -> None:
    states = {before for before, _ in TRANSITIONS}
    assert states == set(StreamState) - {StreamState.ENDED}
    assert StreamState.SEARCHING not in TRANSITIONS.values()
    assert 0 < LEFT_S < Patience().grace_s
