"""What systemd is told: that we are up, how it goes, that we still live, and that we leave.

Enters: the environment of a service. Leaves: datagrams on the socket that it names; where it names
none, nothing at all. Nobody waits for the service manager, and what goes wrong with it is no
concern of the night.

References
----------
sd_notify(3), https://www.freedesktop.org/software/systemd/man/sd_notify.html
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

from sleepstream.plain import printable

SOCKET, WATCHDOG, WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"


class ServiceManager:
    """Whoever started us and wants to know how we are.

    Parameters
    ----------
    environment : mapping of str to str
        ``NOTIFY_SOCKET`` (a path, or ``@`` and a name), and ``WATCHDOG_USEC`` if it kills who is
        silent for so long.

    Attributes
    ----------
    watchdog_s : float or None
        How often it has to hear that we live, in seconds; None if it does not ask.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        name = environment.get(SOCKET, "")
        # an abstract name is written with @ and begins with a zero byte
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self.watchdog_s: float | None = None
        usec, pid = environment.get(WATCHDOG, ""), environment.get(WATCHDOG_PID, "")
        if name and usec.isdecimal() and int(usec) > 0 and pid in {"", str(os.getpid())}:
            self.watchdog_s = int(usec) / 1e6

    def ready(self) -> None:
        """Say that we are up."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Say in a sentence how it goes."""
        self._send(f"STATUS={printable(text)}")

    def alive(self) -> None:
        """Say that we live."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that we leave."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out,
        ):
            out.setblocking(False)
            out.sendto(message.encode(), self._address)
