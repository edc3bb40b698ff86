"""What goes wrong in the soak: a seed enters, faults for the replay leave.

Each stretch of six minutes of data time has one fault of a random kind, so that no two meet; the
first half hour has none, and shows what the daemon takes when nothing is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from sleepstream_replay.fault_log import Injected
from sleepstream_replay.faults import (
    Disconnect,
    Drift,
    Drop,
    Duplicate,
    Fault,
    Flat,
    Gain,
    Jump,
    Late,
    Mains,
    Nan,
    Rate,
    Saturation,
    SecondStream,
    Silence,
)

from sleepstream.messages import EPOCH_S

STRETCH_S = 360.0
QUIET_S = 1800.0
TAIL_S = 60.0
"""The stream is away for so long at the end of the recording: it never comes back in it."""

Draw = Callable[[np.random.Generator, float], Fault]

_LONGEST_S = 120.0


def _s(rng: np.random.Generator, longest_s: float = _LONGEST_S) -> float:
    return round(float(rng.uniform(1.0, longest_s)), 2)


def _sign(rng: np.random.Generator) -> float:
    return float(rng.choice((-1.0, 1.0)))


DRAWS: tuple[Draw, ...] = (
    lambda rng, t: Nan(start_s=t, length_s=_s(rng)),
    lambda rng, t: Flat(start_s=t, length_s=_s(rng)),
    lambda rng, t: Saturation(start_s=t, length_s=_s(rng)),
    lambda rng, t: Mains(start_s=t, length_s=_s(rng)),
    lambda rng, t: Gain(start_s=t, length_s=_s(rng), factor=_s(rng, 5.0) * _sign(rng)),
    lambda rng, t: Rate(start_s=t, length_s=_s(rng, 200.0), percent=_s(rng, 3.0) * _sign(rng)),
    lambda rng, t: Drift(start_s=t, length_s=_s(rng, 200.0), ppm=_s(rng, 500.0) * _sign(rng)),
    lambda rng, t: Jump(start_s=t, by_s=40.0 + _s(rng, 300.0)),
    lambda rng, t: Jump(start_s=t, by_s=-40.0 - _s(rng, 7200.0)),
    lambda rng, t: Drop(start_s=t, length_s=_s(rng), probability=0.2),
    lambda rng, t: Silence(start_s=t, length_s=_s(rng), wall_s=_s(rng, 5.0)),
    lambda rng, t: Disconnect(start_s=t, length_s=_s(rng), wall_s=_s(rng, 5.0)),
    lambda rng, t: Late(start_s=t, length_s=_s(rng, 10.0), delay_s=_s(rng, 15.0)),
    lambda rng, t: Duplicate(start_s=t, length_s=_s(rng), probability=0.2),
    lambda rng, t: SecondStream(start_s=t, length_s=_s(rng), wall_s=_s(rng, 3.0)),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is played fast.

    Attributes
    ----------
    seed : int
        Where it comes from.
    faults : tuple of Fault
        What goes wrong; the last one is that the stream leaves for good.
    played_s : float
        Seconds of the recording that are played.
    """

    seed: int
    faults: tuple[Fault, ...]
    played_s: float

    def write(self, path: Path) -> None:
        """Write the faults as the replay reads them."""
        tables = [f"seed = {self.seed}"]
        for fault in self.faults:
            keys = msgspec.to_builtins(fault).items()
            # a number, a text or a list of texts is written in JSON as in TOML
            tables.append("\n".join(["[[fault]]", *(f"{k} = {json.dumps(v)}" for k, v in keys)]))
        path.write_text("\n\n".join(tables) + "\n", encoding="utf-8")


def plan(seed: int, hours: float, then_s: float) -> Plan:
    """Draw the faults of a night.

    Parameters
    ----------
    seed : int
        Where chance comes from.
    hours : float
        Length of the night in hours of data time.
    then_s : float
        Seconds of signal that are staged behind it. All together end in the middle of an epoch, so
        that the number of whole ones does not hang on a sample.
    """
    rng = np.random.default_rng(seed)
    whole_s = hours * 3600.0
    starts = np.arange(min(QUIET_S, whole_s / 4), whole_s - STRETCH_S, STRETCH_S)
    faults = [DRAWS[int(rng.integers(len(DRAWS)))](rng, float(start)) for start in starts]
    over = (whole_s + sum(map(_moved_s, faults)) + then_s) % EPOCH_S
    end_s = round(whole_s - over + EPOCH_S / 2, 2)
    leaves = Disconnect(start_s=end_s, length_s=TAIL_S)
    return Plan(seed, (*faults, leaves), end_s + TAIL_S)


def n_epochs(injected: Sequence[Injected], sfreq: float, then_s: float) -> int:
    """Return how many whole epochs a night has in which this went wrong.

    Parameters
    ----------
    injected : sequence of Injected
        The replay's own account.
    sfreq : float
        Its rate in hertz.
    then_s : float
        Seconds of signal behind it.
    """
    gone = max((line for line in injected if line.kind == "disconnect"), key=lambda line: line.last)
    shifts = sum(line.shift_s for line in injected if not _set_back(line.kind, line.shift_s))
    return int((gone.first / sfreq + shifts + then_s) // EPOCH_S)


def _moved_s(fault: Fault) -> float:
    """Return by how much a fault makes the night longer."""
    match fault:
        case Jump():
            return 0.0 if _set_back(fault.kind, fault.by_s) else fault.by_s
        case Drift():
            return fault.ppm * 1e-6 * fault.length_s
        case Rate():
            return (1.0 / (1.0 + fault.percent / 100.0) - 1.0) * fault.length_s
    return 0.0


def _set_back(kind: str, by_s: float) -> bool:
    """Return whether a clock was set back, which tells nothing of how much time passed."""
    return kind == "jump" and by_s < 0
