"""What is told of a night without reading it: a line of the list, and whether it can go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

NightState = Literal["running", "interrupted", "ended"]


@dataclass(frozen=True, slots=True)
class NightSummary:
    """One line of the list of nights.

    Attributes
    ----------
    id : str
        Names the night.
    bed : str
        Whose night it was.
    source, channel : str
        The stream or file, and the derivation that was staged.
    started_utc : str
        When it began, ISO 8601.
    sfreq : float
        Rate of the source, in hertz.
    synthetic : bool
        Whether the signal was made up.
    n_epochs : int
        Epochs on record.
    hours : float
        From the night's start to the end of its last epoch.
    tst_min : float
        Total sleep time: minutes staged as anything but W.
    ended : str or None
        Why it ended; None while it runs, or if it was cut off.
    state : str
        ``running``, ``ended``, or ``interrupted``: it was cut off and never gone on with.
    """

    id: str
    bed: str
    source: str
    channel: str
    started_utc: str
    sfreq: float
    synthetic: bool
    n_epochs: int
    hours: float
    tst_min: float
    ended: str | None
    state: NightState

    def as_json(self) -> dict[str, Any]:
        """Return the summary as the documented JSON object (see ``docs/outputs.md``)."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class LiveNight:
    """The last night that a bed had of a stream, as it has to be known to go on with it.

    Attributes
    ----------
    id : str
        Names the night.
    channel : str
        The derivation that was staged.
    started_utc : str
        When it began, ISO 8601.
    ended : str or None
        Why it ended; None if it was cut off.
    stream : str
        Which stream it was, as JSON.
    models : str
        Which models did what, as JSON.
    n_epochs : int
        Number of its last epoch, plus one.
    end_s : float
        Sender's time of the end of its last epoch.
    state : str or None
        What was known when that epoch closed, as JSON.
    """

    id: str
    channel: str
    started_utc: str
    ended: str | None
    stream: str
    models: str
    n_epochs: int
    end_s: float
    state: str | None
