"""What a scorer wrote, as stretches of time.

Enters: texts such as ``"Sleep stage 4"`` with onset and duration, and the annotations of an EDF+
file. Leaves: `Bout`, in seconds since the first sample of the recording that was scored; clocks
are compared, lines are never counted.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sleepstream.errors import RecordingError
from sleepstream.hypnogram import is_stage_annotation, parse_stage
from sleepstream.messages import EPOCH_S
from sleepstream.plain import printable
from sleepstream.sources.recording import by_epoch

UNSCORED = -1
"""Code of an epoch that nobody gave a stage."""

MOVEMENT = -2
"""Code of an epoch that was scored as movement time."""

Codes = npt.NDArray[np.int8]
"""One code per epoch: the number of a `Stage`, `UNSCORED` or `MOVEMENT`."""

LONGEST_OFFSET_S = 24 * 3600.0
_MOVEMENT = re.compile(
    r"(?:(?:sleep[\s_-]*)?(?:stage)?[\s_:-]+)?(?:MT|movement(?: time)?)(?:\|\d+)?", re.IGNORECASE
)
_CLOCK = slice(168, 184)  # of an EDF header: dd.mm.yyhh.mm.ss


@dataclass(frozen=True, slots=True)
class Bout:
    """A stretch of time with one score.

    Attributes
    ----------
    onset_s : float
        Seconds since the first sample of the recording; negative where scoring began earlier.
    duration_s : float
        Its length in seconds; 0 stands for one epoch.
    code : int
        Number of the `Stage`, `UNSCORED` or `MOVEMENT`.
    """

    onset_s: float
    duration_s: float
    code: int


def code_of(text: str) -> int | None:
    """Return the code of a scorer's word, None where it does not speak of stages."""
    if _MOVEMENT.fullmatch(text.strip()):
        return MOVEMENT
    if not is_stage_annotation(text):
        return None
    stage = parse_stage(text)
    return UNSCORED if stage is None else int(stage)


def from_notes(notes: Iterable[tuple[float, float, str]], shift_s: float = 0.0) -> list[Bout]:
    """Return the bouts among annotations (onset, duration, text), later by `shift_s`."""
    return [
        Bout(onset_s + shift_s, duration_s, code)
        for onset_s, duration_s, text in notes
        if is_stage_annotation(text) and (code := code_of(text)) is not None
    ]


def grid_start(bouts: Iterable[Bout], sfreq: float) -> float:
    """Return where the first whole epoch of the scorer's grid begins in the recording.

    Scoring that starts 10 s into the file has its epochs at 10 s, 40 s, …: the signal is cut there
    too, so that an epoch holds what the scorer saw.

    Parameters
    ----------
    bouts : iterable of Bout
        What was scored, at least one of them with a stage.
    sfreq : float
        The recording's rate in hertz.

    Returns
    -------
    float
        Seconds since the first sample, on a sample, from 0 to below 30.
    """
    first_s = min(bout.onset_s for bout in bouts if bout.code >= 0)
    return round(first_s * sfreq) % round(EPOCH_S * sfreq) / sfreq


def codes_on_grid(bouts: Iterable[Bout], n_epochs: int, start_s: float) -> Codes:
    """Return the code of each epoch of a grid, `UNSCORED` where no bout covers its middle."""
    stretches = [(bout.onset_s, bout.duration_s, bout.code) for bout in bouts]
    codes = np.array(by_epoch(stretches, n_epochs, UNSCORED, start_s), dtype=np.int8)
    codes.setflags(write=False)
    return codes


def edf_start(path: Path) -> datetime:
    """Return the start of recording in an EDF or BDF header, on the clock of the place.

    Raises
    ------
    RecordingError
        No such file, or no date and time where they have to be.
    """
    try:
        with path.open("rb") as file:
            clock = file.read(_CLOCK.stop)[_CLOCK].decode("ascii")
        return datetime.strptime(clock, "%d.%m.%y%H.%M.%S")
    except (OSError, ValueError) as error:
        raise RecordingError(
            f"date and time of the start in the header of {path.name}, to match signal and scoring",
            f"{type(error).__name__}: {printable(str(error))}",
            "check that it is an EDF file; copy it again",
        ) from error


def read_edf(path: Path, started: datetime) -> list[Bout]:
    """Read the stages in the annotations of an EDF+ file of its own.

    Parameters
    ----------
    path : Path
        A file with annotations: Sleep-EDF's ``-Hypnogram.edf``, MASS's ``Base.edf``.
    started : datetime
        Start of the recording that was scored. The file has a clock of its own.

    Returns
    -------
    list of Bout

    Raises
    ------
    RecordingError
        The file cannot be read, or starts more than a day before or after the recording.
    """
    import mne  # noqa: PLC0415 - a second of import that only files need

    shift_s = (edf_start(path) - started).total_seconds()
    if abs(shift_s) > LONGEST_OFFSET_S:
        raise RecordingError(
            f"a scoring of the recording that started {started:%d.%m.%y %H:%M:%S}",
            f"{path.name}, which starts {shift_s / 3600:+.1f} h from there",
            "put the recording and its own scoring side by side",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on headers, of no use to our user
            notes = mne.read_annotations(path)
    except Exception as error:  # parsers of foreign bytes raise whatever they like
        raise RecordingError(
            f"EDF+ annotations in {path.name}",
            f"{type(error).__name__}: {printable(str(error))}",
            "copy the file again",
        ) from error
    return from_notes(
        [(float(n["onset"]), float(n["duration"]), str(n["description"])) for n in notes], shift_s
    )
