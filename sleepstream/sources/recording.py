"""A recording on disk as a source of chunks, and the stages that somebody scored in it.

Enters: any file that MNE can read. Leaves: `Chunk` in microvolts, stamped in seconds since the
first sample, and one reference stage per epoch. MNE is imported when a file is opened; it takes a
second.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from sleepstream.errors import RecordingError
from sleepstream.hypnogram import is_stage_annotation, parse_stage
from sleepstream.messages import EPOCH_S, Chunk, Stage

PIECE_S = 30.0
"""How much of the file is read at a time."""


class Recording:
    """One file, opened.

    Parameters
    ----------
    path : Path
        EDF, BDF, BrainVision, FIF, or whatever else MNE reads.

    Attributes
    ----------
    labels, units : tuple of str
        Per channel. MNE brings every voltage to volts.
    sfreq : float
        In hertz.
    duration_s : float
        In seconds.
    started_utc : datetime or None
        When the file says that it was recorded.

    Raises
    ------
    RecordingError
        No such file, or none that MNE can read as a recording.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._raw = _read(path)
        self.labels = tuple(self._raw.ch_names)
        self.units = ("V",) * len(self.labels)
        self.sfreq = float(self._raw.info["sfreq"])
        self.duration_s = self._raw.n_times / self.sfreq
        self.started_utc: datetime | None = self._raw.info["meas_date"]

    def chunks(
        self, picks: Sequence[int], scales: Sequence[float], n_samples: int = 0
    ) -> Iterator[Chunk]:
        """Read channels from beginning to end.

        Parameters
        ----------
        picks : sequence of int
            Which channels.
        scales : sequence of float
            How many microvolts the unit of each is.
        n_samples : int, optional
            Samples per chunk; 30 s of them by default.

        Yields
        ------
        Chunk

        Raises
        ------
        RecordingError
            The file ends before its header says so, or is damaged.
        """
        step = n_samples or max(1, round(PIECE_S * self.sfreq))
        factors = np.array(scales)[:, np.newaxis]
        for start in range(0, self._raw.n_times, step):
            stop = min(start + step, self._raw.n_times)
            try:
                volts = self._raw.get_data(picks=list(picks), start=start, stop=stop)
            except (OSError, ValueError, RuntimeError) as error:
                raise RecordingError(
                    f"{self.duration_s:.0f} s of samples in {self.path.name}",
                    f"an end or damage at {start / self.sfreq:.0f} s ({error})",
                    "copy the file again; what was read up to there has been staged",
                ) from error
            yield Chunk(np.arange(start, stop) / self.sfreq, (volts * factors).astype(np.float32))

    def reference(self) -> list[Stage | None] | None:
        """Return the scored stage of each whole epoch.

        An epoch has the stage of the annotation that covers its middle: matched by time, not by
        order.

        Returns
        -------
        list of (Stage or None), or None
            None where the file has no scored stages.
        """
        notes = [
            (float(note["onset"]) - float(self._raw.first_time), float(note["duration"]), text)
            for note in self._raw.annotations
            if is_stage_annotation(text := str(note["description"]))
        ]
        if not notes:
            return None
        stages: list[Stage | None] = [None] * int(self.duration_s // EPOCH_S)
        for onset_s, duration_s, text in notes:
            # an annotation without a length stands for one epoch
            until_s = onset_s + (duration_s or EPOCH_S)
            first = max(0, int(np.ceil((onset_s - EPOCH_S / 2) / EPOCH_S)))
            last = min(len(stages), int(np.ceil((until_s - EPOCH_S / 2) / EPOCH_S)))
            stages[first:last] = [parse_stage(text)] * max(0, last - first)
        return stages


def _read(path: Path) -> Any:
    import mne  # noqa: PLC0415 - a second of import that only files need

    if not path.is_file():
        raise RecordingError(
            f"a recording at {path}",
            "a folder" if path.is_dir() else "no such file",
            "check the path",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on headers, of no use to our user
            return mne.io.read_raw(path, verbose="error")
    except Exception as error:  # parsers of foreign bytes raise whatever they like
        first_line = (str(error).strip().splitlines() or [""])[0]
        raise RecordingError(
            f"an EEG recording that MNE can read (EDF, BDF, BrainVision, FIF, …) in {path.name}",
            f"{type(error).__name__}: {first_line}",
            "check that it is the recording and not, say, its scoring; convert it to EDF if needed",
        ) from error
