"""Outlets that nobody but this computer can reach.

liblsl binds the sockets of an outlet to all networks, and no setting of its keeps it from doing so.
So each of them gets a filter, by which the kernel drops what comes from elsewhere before liblsl
sees any of it. Only Linux can be told so by an ordinary process.

Enters: what sockets there are, before and after an outlet was opened. Leaves: filters on the new
ones.

References
----------
Linux socket filtering, https://www.kernel.org/doc/html/latest/networking/filter.html
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

Sockets = frozenset[tuple[int, str]]

_FDS = Path("/proc/self/fd")
_ATTACH_FILTER = 26  # SO_ATTACH_FILTER, which Python has no name for

_ABOUT = 0xFFFFF000  # SKF_AD_OFF: what the kernel knows of a packet beside its bytes
_KIND, _DEVICE = _ABOUT + 4, _ABOUT + 8
_OUR_OWN = 5  # PACKET_LOOPBACK: a copy of a multicast that this computer sends
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALL, _NOTHING = 0xFFFFFFFF, 0


def sockets() -> Sockets:
    """Return the sockets of this process: descriptor and identity; none where nobody can say."""
    found = set()
    with contextlib.suppress(OSError):
        for entry in _FDS.iterdir():
            with contextlib.suppress(OSError):  # it was closed meanwhile
                found.add((int(entry.name), str(entry.readlink())))
    return frozenset(one for one in found if one[1].startswith("socket:"))


def keep_local(opened: Iterable[tuple[int, str]], device: str = "lo") -> bool:
    """Let sockets receive from this computer only.

    Parameters
    ----------
    opened : iterable of (int, str)
        Which, as `sockets` returned them.
    device : str
        The device by which this computer talks with itself.

    Returns
    -------
    bool
        False where that cannot be had: other computers may reach them.
    """
    opened = list(opened)
    try:
        program = _program(socket.if_nametoindex(device))
        for descriptor, _ in opened:
            with socket.socket(fileno=os.dup(descriptor)) as one:
                one.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, _packed(program))
    except OSError:
        return False
    return bool(opened)


def _program(loopback: int) -> ctypes.Array[ctypes.c_char]:
    """Return the filter: operation, jump if so, jump if not, operand."""
    steps = (
        (_LOAD, 0, 0, _DEVICE),
        (_JUMP_IF_EQUAL, 2, 0, loopback),
        (_LOAD, 0, 0, _KIND),
        (_JUMP_IF_EQUAL, 0, 1, _OUR_OWN),
        (_RETURN, 0, 0, _ALL),
        (_RETURN, 0, 0, _NOTHING),
    )
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    return ctypes.create_string_buffer(code, len(code))


def _packed(program: ctypes.Array[ctypes.c_char]) -> bytes:
    return struct.pack("HP", len(program) // 8, ctypes.addressof(program))
