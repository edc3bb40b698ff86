"""The one error that a user of the replay can meet.

::

    ReplayError     exit 4   a file, channel or section that cannot be played

It says what was sought, what was found and what to do about it, in the form of the daemon's errors,
but shares no code with them: the two meet only on the wire.
"""

from __future__ import annotations


class ReplayError(Exception):
    """A recording that cannot be played as asked.

    Parameters
    ----------
    sought : str
        What was expected or looked for.
    found : str
        What was there instead.
    remedy : str
        What to do about it.
    """

    exit_code = 4

    def __init__(self, sought: str, found: str, remedy: str) -> None:
        super().__init__(sought, found, remedy)
        self.sought = sought
        self.found = found
        self.remedy = remedy

    def __str__(self) -> str:
        return printable(f"{self.sought}\n  found: {self.found}\n  do:    {self.remedy}")


def printable(text: str) -> str:
    """Return `text` without what would steer a terminal: labels come out of foreign files."""
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)
