"""Sockets that nobody but this computer can reach."""

from __future__ import annotations

import select
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from sleepstream.lsl_local import keep_local, sockets

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux filters sockets")

ELSEWHERE = [name for _, name in socket.if_nameindex() if name != "lo"]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def opened(stack: ExitStack) -> socket.socket:
    one = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    one.bind(("", 0))
    return one


def hears(one: socket.socket, control: socket.socket) -> bool:
    """Send to both from this computer; the second is not filtered, and says when all has come."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for to in (one, control):
            out.sendto(b"?", ("127.0.0.1", to.getsockname()[1]))
    assert select.select([control], [], [], 20)[0]
    return bool(select.select([one], [], [], 0)[0])


def test_what_comes_from_this_computer_is_heard(stack: ExitStack) -> None:
    before = sockets()
    one = opened(stack)
    assert keep_local(sockets() - before)
    assert hears(one, opened(stack))


@pytest.mark.skipif(not ELSEWHERE, reason="this computer has no other network device")
def test_what_comes_by_another_device_is_not(stack: ExitStack) -> None:
    before = sockets()
    one = opened(stack)
    # the tables turned: as if this computer's own device were the network
    assert keep_local(sockets() - before, device=ELSEWHERE[0])
    assert not hears(one, opened(stack))


def test_only_new_sockets_are_touched(stack: ExitStack) -> None:
    old = opened(stack)
    before = sockets()
    new = opened(stack)
    assert {fd for fd, _ in sockets() - before} == {new.fileno()}
    assert old.fileno() in {fd for fd, _ in before}


def test_where_it_cannot_be_had_it_is_not_claimed(stack: ExitStack) -> None:
    assert not keep_local([])
    before = sockets()
    opened(stack)
    assert not keep_local(sockets() - before, device="no-such-device")
