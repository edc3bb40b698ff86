"""What an output is: somebody who is shown each estimate once it is on record.

A sink reads estimates and nothing else. It must not hold up the night, and what goes wrong in it
is its own affair.
"""

from __future__ import annotations

from typing import Protocol

from sleepstream.messages import StageEstimate


class Sink(Protocol):
    """Takes estimates, final and provisional ones, in the order in which they were made."""

    def show(self, estimate: StageEstimate) -> None:
        """Take one estimate; return soon."""


class Collected:
    """The sink in memory: keeps what it was shown.

    Attributes
    ----------
    estimates : list of StageEstimate
        Everything so far.
    """

    def __init__(self) -> None:
        self.estimates: list[StageEstimate] = []

    @property
    def final(self) -> list[StageEstimate]:
        """The final estimates among them."""
        return [estimate for estimate in self.estimates if estimate.final]

    def show(self, estimate: StageEstimate) -> None:
        """Keep one estimate."""
        self.estimates.append(estimate)
