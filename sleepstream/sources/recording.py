"""A recording on disk as a source of chunks, and the stages that somebody scored in it.

Enters: any file that MNE can read. Leaves: `Chunk` in microvolts, stamped in seconds since the
first sample, and one reference stage per epoch. MNE is imported when a file is opened; it takes a
second. Also here: stretches of time become one value per epoch, whoever scored them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from sleepstream.errors import RecordingError
from sleepstream.hypnogram import is_stage_annotation, parse_stage
from sleepstream.messages import EPOCH_S, Chunk, Stage
from sleepstream.plain import printable

PIECE_S = 30.0
"""How much of the file is read at a time."""

HIGHEST_SFREQ = 1e6
"""In hertz; what claims more is no recording of a person."""

RATE_PER_CHANNEL = (".edf", ".bdf")
"""Formats in which every channel has a rate of its own."""

DISCONTINUOUS = (b"EDF+D", b"BDF+D")

Label = TypeVar("Label")


def by_epoch(
    stretches: Iterable[tuple[float, float, Label]],
    n_epochs: int,
    blank: Label,
    start_s: float = 0.0,
) -> list[Label]:
    """Return one label per epoch: that of the stretch of time that covers the epoch's middle.

    Parameters
    ----------
    stretches : iterable of (float, float, label)
        Onset and duration in seconds, and what is said of it. Without a duration (0) it stands
        for one epoch. Of two that overlap, the later in the list counts.
    n_epochs : int
        Length of the result.
    blank : label
        For epochs that no stretch covers.
    start_s : float, optional
        Where the first epoch begins.

    Returns
    -------
    list of label, length n_epochs
    """
    labels = [blank] * n_epochs
    for onset_s, duration_s, label in stretches:
        from_s = onset_s - start_s - EPOCH_S / 2
        first = max(0, int(np.ceil(from_s / EPOCH_S)))
        last = min(n_epochs, int(np.ceil((from_s + (duration_s or EPOCH_S)) / EPOCH_S)))
        labels[first:last] = [label] * max(0, last - first)
    return labels


class Recording:
    """One file, opened.

    Parameters
    ----------
    path : Path
        EDF, BDF, BrainVision, FIF, or whatever else MNE reads.
    include : sequence of str, optional
        Labels of the channels to open, in EDF and BDF; by default all.

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
    note : str
        What the user should know about the file; empty if nothing.

    Raises
    ------
    RecordingError
        No such file, none that MNE can read as a recording, or one with holes in it.
    """

    def __init__(self, path: Path, include: Sequence[str] = ()) -> None:
        self.path = path
        self._raw = _read(path, {"include": list(include)} if include else {})
        self.labels = tuple(map(printable, self._raw.ch_names))
        self.units = ("V",) * len(self.labels)
        self.sfreq = float(self._raw.info["sfreq"])
        if not 0 < self.sfreq < HIGHEST_SFREQ:
            raise RecordingError(
                f"a sampling rate in {path.name}",
                f"{self.sfreq:g} Hz",
                "copy the file again, or convert it to EDF",
            )
        self.duration_s = self._raw.n_times / self.sfreq
        self.note = _cut_short(path, self.duration_s)
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
                with warnings.catch_warnings(), np.errstate(over="ignore", invalid="ignore"):
                    warnings.simplefilter("ignore")
                    volts = self._raw.get_data(picks=list(picks), start=start, stop=stop)
                    # absurd values become missing ones
                    samples = (volts * factors).astype(np.float32)
            except Exception as error:  # parsers of foreign bytes raise whatever they like
                raise RecordingError(
                    f"{self.duration_s:.0f} s of samples in {self.path.name}",
                    f"an end or damage at {start / self.sfreq:.0f} s ({error})",
                    "copy the file again; what was read up to there has been staged",
                ) from error
            yield Chunk(np.arange(start, stop) / self.sfreq, samples)

    def stage_notes(self) -> list[tuple[float, float, str]]:
        """Return the annotations that speak of stages.

        Returns
        -------
        list of (float, float, str)
            Onset since the first sample and duration, in seconds, and the text.
        """
        return [
            (float(note["onset"]) - float(self._raw.first_time), float(note["duration"]), text)
            for note in self._raw.annotations
            if is_stage_annotation(text := str(note["description"]))
        ]

    def only(self, picks: Sequence[int]) -> Recording:
        """Return the same file with some of its channels, at the highest rate among those.

        MNE brings all open channels to the highest rate with a filter that looks ahead; a channel
        that is opened without faster ones keeps its own.

        Parameters
        ----------
        picks : sequence of int
            Which channels.

        Returns
        -------
        Recording
            This one where nothing would change.
        """
        labels = {self._raw.ch_names[pick] for pick in picks}
        if self.path.suffix.lower() not in RATE_PER_CHANNEL:
            return self
        part = Recording(self.path, include=sorted(labels))
        # labels that stand twice were renamed when the file was opened, and are not found again
        return part if set(part._raw.ch_names) == labels else self

    def reference(self) -> list[Stage | None] | None:
        """Return the scored stage of each whole epoch.

        An epoch has the stage of the annotation that covers its middle: matched by time, not by
        order.

        Returns
        -------
        list of (Stage or None), or None
            None where the file has no scored stages.
        """
        notes = self.stage_notes()
        if not notes:
            return None
        read = [(onset_s, duration_s, parse_stage(text)) for onset_s, duration_s, text in notes]
        return by_epoch(read, int(self.duration_s // EPOCH_S), None)


def _edf_header(path: Path) -> tuple[bytes, float]:
    """Return what kind of EDF or BDF a file is, and how many seconds its header promises.

    References
    ----------
    Kemp B, Olivan J. European data format 'plus' (EDF+). Clinical Neurophysiology 114 (2003),
    1755-1761.
    """
    if path.suffix.lower() not in RATE_PER_CHANNEL:
        return b"", 0.0
    with path.open("rb") as file:
        header = file.read(252)
    try:
        promised_s = max(0.0, float(header[236:244]) * float(header[244:252]))
    except ValueError:
        promised_s = 0.0
    return header[192:197], promised_s


def _cut_short(path: Path, duration_s: float) -> str:
    _, promised_s = _edf_header(path)
    if duration_s >= promised_s - 1.0:
        return ""
    return (
        f"{path.name} is cut short: its header promises {promised_s:.0f} s, and "
        f"{duration_s:.0f} s are there"
    )


def _read(path: Path, options: dict[str, Any]) -> Any:
    import mne  # noqa: PLC0415 - a second of import that only files need

    if not path.is_file():
        raise RecordingError(
            f"a recording at {path}",
            "a folder" if path.is_dir() else "no such file",
            "check the path",
        )
    try:
        discontinuous = _edf_header(path)[0] in DISCONTINUOUS
    except OSError as error:
        raise RecordingError(
            f"a recording at {path}",
            f"{type(error).__name__}: {error.strerror}",
            "check that you may read it",
        ) from error
    if discontinuous:
        raise RecordingError(
            f"a recording without holes in {path.name}",
            "a discontinuous one (EDF+D), whose pieces MNE would join as if no time had passed",
            "export it as a continuous EDF+ (EDF+C), or stage its pieces one by one",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on headers, of no use to our user
            return mne.io.read_raw(path, verbose="error", **options)
    except Exception as error:  # parsers of foreign bytes raise whatever they like
        first_line = (str(error).strip().splitlines() or [""])[0]
        raise RecordingError(
            f"an EEG recording that MNE can read (EDF, BDF, BrainVision, FIF, …) in {path.name}",
            f"{type(error).__name__}: {first_line}",
            "check that it is the recording and not, say, its scoring; convert it to EDF if needed",
        ) from error
