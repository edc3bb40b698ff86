"""A recording as an array with labels, units and scored stages.

In goes any file that MNE can read; out comes a `Recording`, whose samples are exactly what MNE
gives: volts for EEG, EOG, EMG and their like, the file's own unit for everything else. What is sent
in which unit is decided in `player`. MNE is imported when a file is opened, not before (it takes
seconds).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sleepstream_replay.errors import ReplayError

Float64Array = npt.NDArray[np.float64]
Reader = Callable[[int, int], Float64Array]

EPOCH_S = 30.0
"""Length of a scored epoch in seconds."""

WHOLE_UP_TO_BYTES = 1 << 30
"""Up to this size the samples are read at once. MNE interpolates the slower channels of a file with
several rates, and gives other values at the seams when it is asked for pieces."""

_RATE_PER_CHANNEL = (".edf", ".bdf")
_VOLTAGE_TYPES = frozenset({"eeg", "eog", "emg", "ecg", "bio", "seeg", "ecog", "dbs"})
_VOLTAGE_UNITS = frozenset({"v", "mv", "uv", "µv", "μv", "nv"})

_STAGE = re.compile(
    r"(?:(?P<prefix>sleep[ _-]*stage|stage|sleep)[ :_-]*)?"
    r"(?P<word>[a-z]*[0-9]?|\?|movement time)",
    re.IGNORECASE,
)
_STAGE_WORDS = {
    "w": "W", "wake": "W", "s0": "W",
    "n1": "N1", "s1": "N1", "n2": "N2", "s2": "N2",
    "n3": "N3", "s3": "N3", "n4": "N3", "s4": "N3",
    "r": "REM", "rem": "REM",
    "m": "?", "mt": "?", "movement time": "?", "?": "?",
}  # fmt: skip
_STAGE_DIGITS = {"0": "W", "1": "N1", "2": "N2", "3": "N3", "4": "N3", "5": "REM"}
_NEEDS_PREFIX = frozenset({"m", "mt", "?", "r", "w", *_STAGE_DIGITS})


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of a recording.

    Attributes
    ----------
    label : str
        As the file writes it.
    kind : str
        What it measures, in capitals: ``EEG``, ``EOG``, ``EMG``, ``ECG``, ``MISC``, ``STIM`` …
    unit : str
        ``"V"``, or the file's own unit where the channel is not a voltage.
    """

    label: str
    kind: str
    unit: str


@dataclass(frozen=True, slots=True)
class ScoredStage:
    """A stage that somebody scored.

    Attributes
    ----------
    onset_s : float
        Seconds since the first sample of the recording.
    duration_s : float
        Length of the stretch.
    label : str
        ``W``, ``N1``, ``N2``, ``N3``, ``REM`` or ``?``.
    """

    onset_s: float
    duration_s: float
    label: str


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Samples with labels, units and stages.

    Attributes
    ----------
    name : str
        Where it comes from; for a file, its name.
    channels : tuple of Channel
        Label, kind and unit of each row.
    sfreq : float
        Samples per second.
    n_samples : int
        Length of each row.
    stages : tuple of ScoredStage
        Scored epochs in time order; empty when the file has none.
    read : callable
        ``read(start, stop)`` returns float64, shape ``(n_channels, stop - start)``, in the units of
        the channels.
    synthetic : bool
        True when nobody was recorded.
    """

    name: str
    channels: tuple[Channel, ...]
    sfreq: float
    n_samples: int
    stages: tuple[ScoredStage, ...]
    read: Reader
    synthetic: bool = False

    @classmethod
    def from_array(
        cls,
        name: str,
        channels: tuple[Channel, ...],
        sfreq: float,
        data: Float64Array,
        *,
        stages: tuple[ScoredStage, ...] = (),
        synthetic: bool = False,
    ) -> Recording:
        """Make a recording of an array, shape ``(n_channels, n_samples)``; it is not copied."""
        return cls(
            name, channels, sfreq, data.shape[1], stages, lambda a, b: data[:, a:b], synthetic
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the channels."""
        return tuple(channel.label for channel in self.channels)

    @property
    def units(self) -> tuple[str, ...]:
        """Units of the channels."""
        return tuple(channel.unit for channel in self.channels)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sfreq

    def pick(self, labels: tuple[str, ...]) -> Recording:
        """Keep the named channels, in the order of the names.

        Parameters
        ----------
        labels : tuple of str
            Labels, upper or lower case. Empty: all channels stay.

        Raises
        ------
        ReplayError
            When a label is unknown, given twice, or two channels have it.
        """
        if not labels:
            return self
        rows = [_row(self.labels, label) for label in labels]
        if len(set(rows)) < len(rows):
            raise ReplayError(
                f"Sought each channel once, in {', '.join(labels)!r}.",
                "a channel that is named twice",
                "Name each channel once.",
            )
        read = self.read
        return replace(
            self,
            channels=tuple(self.channels[row] for row in rows),
            read=lambda start, stop: read(start, stop)[rows],
        )


def read_recording(path: Path, channels: tuple[str, ...] = ()) -> Recording:
    """Open a recording with MNE.

    Parameters
    ----------
    path : Path
        Any file that `mne.io.read_raw` reads: EDF, BDF, FIF, BrainVision, EEGLAB …
    channels : tuple of str
        Labels of the channels to play; empty for all.

    Returns
    -------
    Recording
        With the stages that the file's annotations hold.

    Raises
    ------
    ReplayError
        When there is no such file, MNE cannot read it, or it has no such channel.
    """
    raw = _open(path)
    if channels and path.suffix.lower() in _RATE_PER_CHANNEL:
        raw = _at_their_own_rate(path, raw, channels)
    orig_units = getattr(raw, "_orig_units", None) or {}
    kinds = raw.get_channel_types()
    described = tuple(
        _channel(label, kind, orig_units.get(label, "V"))
        for label, kind in zip(raw.ch_names, kinds, strict=True)
    )
    rows = [_row(raw.ch_names, label) for label in channels] or list(range(len(described)))
    whole = Recording(
        path.name,
        described,
        float(raw.info["sfreq"]),
        int(raw.n_times),
        _stages(raw),
        _reader(path, raw, list(range(len(described)))),
    )
    picked = whole.pick(channels)
    return replace(picked, read=_reader(path, raw, rows))


def _at_their_own_rate(path: Path, raw: Any, channels: tuple[str, ...]) -> Any:
    """Open a file without the channels that are not played.

    MNE brings all open channels to the highest rate among them, with a filter that looks ahead.
    """
    names = {raw.ch_names[_row(raw.ch_names, label)] for label in channels}
    part = _open(path, include=sorted(names))
    # labels that stand twice were renamed when the file was opened, and are not found again
    return part if set(part.ch_names) == names else raw


def _open(path: Path, **options: Any) -> Any:
    if not path.exists():
        raise ReplayError(
            f"Sought the recording {path}.", "no such file", "Check the path; see `ls`."
        )
    import mne  # noqa: PLC0415  # takes seconds: not at import

    try:
        with warnings.catch_warnings(), mne.use_log_level("ERROR"):
            warnings.simplefilter("ignore")  # remarks on headers
            return mne.io.read_raw(path, preload=False, **options)
    except Exception as error:  # readers of foreign bytes raise whatever they like
        raise ReplayError(
            f"Sought a recording that MNE can read in {path}.",
            f"{type(error).__name__}: {_first_line(error)}",
            "Give an EDF, BDF, FIF, BrainVision or EEGLAB file, or whatever else "
            "mne.io.read_raw accepts.",
        ) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no explanation"


def _channel(label: str, kind: str, orig_unit: str) -> Channel:
    """Describe a channel: MNE calls every channel of an EDF "eeg", so the file's unit is asked."""
    if kind not in _VOLTAGE_TYPES:
        return Channel(label, kind.upper(), "none")
    if orig_unit.lower() not in _VOLTAGE_UNITS:
        return Channel(label, "MISC", "none" if orig_unit in {"", "n/a"} else orig_unit)
    said = label.split(maxsplit=1)[0].upper() if label.strip() else ""
    return Channel(label, said if said in {"EEG", "EOG", "EMG", "ECG"} else kind.upper(), "V")


def _reader(path: Path, raw: Any, rows: list[int]) -> Reader:
    def pieces(start: int, stop: int | None) -> Float64Array:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return np.asarray(raw.get_data(picks=rows, start=start, stop=stop))
        except Exception as error:  # readers of foreign bytes raise whatever they like
            raise ReplayError(
                f"Sought the samples of {path}.",
                f"{type(error).__name__}: {_first_line(error)}",
                "Copy the file again: it is damaged or not whole.",
            ) from error

    if len(rows) * raw.n_times * 8 > WHOLE_UP_TO_BYTES:
        return pieces
    cache: list[Float64Array] = []

    def read(start: int, stop: int) -> Float64Array:
        if not cache:
            cache.append(pieces(0, None))
        return cache[0][:, start:stop]

    return read


def _row(labels: Sequence[str], wanted: str) -> int:
    """Find a label: exactly as written or, failing that, in any case."""
    exact = [row for row, label in enumerate(labels) if label == wanted]
    found = exact or [row for row, label in enumerate(labels) if label.lower() == wanted.lower()]
    if len(found) != 1:
        raise ReplayError(
            f"Sought the channel {wanted!r}.",
            f"{len(found) or 'no'} channels of that name among: {', '.join(labels)}",
            "Name one of these with --channels, or leave it out to play them all.",
        )
    return found[0]


def _stages(raw: Any) -> tuple[ScoredStage, ...]:
    """Return the scored stages, cut into epochs of 30 s."""
    epochs: list[ScoredStage] = []
    for annotation in raw.annotations:
        label = stage_of(str(annotation["description"]))
        if label is None:
            continue
        onset_s = float(annotation["onset"]) - float(raw.first_time)
        duration_s = float(annotation["duration"])
        n_epochs = max(1, round(duration_s / EPOCH_S))
        epochs.extend(ScoredStage(onset_s + i * EPOCH_S, EPOCH_S, label) for i in range(n_epochs))
    return tuple(
        sorted(
            (epoch for epoch in epochs if 0.0 <= epoch.onset_s < raw.n_times / raw.info["sfreq"]),
            key=lambda epoch: epoch.onset_s,
        )
    )


def stage_of(description: str) -> str | None:
    """Read a sleep stage out of an annotation.

    Parameters
    ----------
    description : str
        Such as ``Sleep stage R``, ``SLEEP-S2``, ``Stage N1`` or ``N3``; S4 counts as N3, movement
        and unscored time as ``?``.

    Returns
    -------
    str or None
        ``W``, ``N1``, ``N2``, ``N3``, ``REM`` or ``?``; None when it is not a stage.
    """
    match = _STAGE.fullmatch(description.strip())
    if match is None:
        return None
    word = match["word"].lower()
    if match["prefix"] is None and word in _NEEDS_PREFIX:
        return None
    return _STAGE_WORDS.get(word) or _STAGE_DIGITS.get(word)
