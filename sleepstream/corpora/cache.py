"""Caches of scored epochs: ``.npz`` with the keys of SleepGPT's and TinySleepNet's scripts.

Enters: a `Scored`, or a cache that these projects' scripts or this one wrote. Leaves: a cache, or a
`Scored`. Keys: ``x`` (n, 3000) in microvolts, ``y`` (n,) with 0-4 for W, N1, N2, N3, REM, 5 for
movement and 6 for unscored, ``fs`` 100. This project adds who and what it was; a cache without that
is high-passed when it is read, and its file's name says whose it is.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt

from sleepstream.corpora.names import ANY_EDF, Origin, identify
from sleepstream.corpora.scored import Scored
from sleepstream.corpora.scoring import MOVEMENT, UNSCORED, Codes
from sleepstream.errors import RecordingError
from sleepstream.messages import EPOCH_N_SAMPLES, N_STAGES, SFREQ, Chunk, Float32Array, frozen
from sleepstream.signal.epocher import Epocher
from sleepstream.signal.montage import Montage

LARGEST_BYTES = 4 << 30
"""Hours by the hundred fit in; what unpacks to more is no night."""

MOVE_Y, UNKNOWN_Y = N_STAGES, N_STAGES + 1
FRONT_END = "causal high-pass 0.3 Hz"
"""What the key ``front_end`` says of a signal that has been through the live path."""


def write_npz(path: Path, scored: Scored) -> None:
    """Write a cache.

    Raises
    ------
    RecordingError
        The file cannot be written.
    """
    y = scored.codes.astype(np.int64)
    y[scored.codes == MOVEMENT] = MOVE_Y
    y[scored.codes == UNSCORED] = UNKNOWN_Y
    origin = scored.origin
    try:
        np.savez_compressed(
            path,
            x=scored.epochs,
            y=y,
            fs=SFREQ,
            corpus=origin.corpus,
            subject=origin.subject,
            record=origin.record,
            diagnosis=origin.diagnosis,
            channel=scored.channel,
            onset_s=scored.onset_s,
            started=scored.started.isoformat() if scored.started else "",
            front_end=FRONT_END,
        )
    except OSError as error:
        raise RecordingError(
            f"to write the cache {path}",
            f"{type(error).__name__}: {error.strerror}",
            "name a file in a folder that is there and can be written to",
        ) from error


def read_npz(path: Path) -> Scored:
    """Read a cache, ours or another's.

    Parameters
    ----------
    path : Path
        Keys ``x``, ``y`` and ``fs`` at least.

    Returns
    -------
    Scored
        Of another's cache, the epochs are taken as one stretch of time: what its script cut out is
        unknown.

    Raises
    ------
    RecordingError
        Not such a file, or of another rate, shape or coding.
    UnitError
        Amplitudes that are not microvolts.
    """
    held = _load(path)
    if missing := [key for key in ("x", "y", "fs") if key not in held]:
        raise _refused(path, f"no key {', '.join(missing)}")
    x, y, fs = (np.asarray(held[key]) for key in ("x", "y", "fs"))
    if fs.size != 1 or fs.dtype.kind not in "iuf" or float(fs.ravel()[0]) != SFREQ:
        raise _refused(path, f"fs = {fs}")
    if x.dtype.kind not in "iuf" or not x.size or x.size != y.size * EPOCH_N_SAMPLES:
        raise _refused(path, f"x of shape {x.shape} and y of shape {y.shape}")
    signal, codes = frozen(x.reshape(1, -1)), _codes(path, y.ravel())
    if str(held.get("front_end", "")) != FRONT_END:
        return Scored(_origin(path.stem), "", _conditioned(signal), codes)
    try:
        started = str(held["started"])
        return Scored(
            Origin(*(str(held[key]) for key in ("corpus", "subject", "record", "diagnosis"))),
            str(held["channel"]),
            signal,
            codes,
            float(held["onset_s"]),
            datetime.fromisoformat(started) if started else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _refused(path, f"{type(error).__name__}: {error}") from error


def _load(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    wanted = {
        *("x", "y", "fs", "corpus", "subject", "record", "diagnosis"),
        *("channel", "onset_s", "started", "front_end"),
    }
    try:
        with ZipFile(path) as whole:
            n_bytes = sum(part.file_size for part in whole.infolist())
        if n_bytes > LARGEST_BYTES:
            raise _refused(path, f"{n_bytes / 1e9:.1f} GB")
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in wanted & set(file.files)}
    except RecordingError:
        raise
    except Exception as error:  # parsers of foreign bytes raise whatever they like
        raise _refused(path, f"{type(error).__name__}: {error}") from error


def _codes(path: Path, y: npt.NDArray[np.generic]) -> Codes:
    if y.dtype.kind not in "iu":
        raise _refused(path, f"codes in y that are {y.dtype}")
    known = np.isin(y, np.arange(-1, UNKNOWN_Y + 1))
    if not known.all():
        raise _refused(path, f"codes in y such as {y[~known][:1]} ({y.dtype})")
    codes = y.astype(np.int8)
    codes[y == MOVE_Y] = MOVEMENT
    codes[y == UNKNOWN_Y] = UNSCORED
    codes.setflags(write=False)
    return codes


def _origin(stem: str) -> Origin:
    return identify(stem) or Origin(ANY_EDF, stem, stem)


def _conditioned(signal: Float32Array) -> Float32Array:
    """Run the live path over epochs that have not been through it."""
    epocher = Epocher(SFREQ, Montage("", (0,), 0, (1.0,), "uV"))
    chunk = Chunk(np.arange(signal.size) / SFREQ, signal)
    return frozen(np.concatenate([epoch.data for epoch in epocher.push(chunk)], axis=1))


def _refused(path: Path, found: str) -> RecordingError:
    return RecordingError(
        f"scored epochs in {path.name}: x (n, {EPOCH_N_SAMPLES}) in microvolts, y (n,) with 0 to "
        f"{UNKNOWN_Y}, fs {SFREQ:g}",
        found,
        "write the cache anew from its recording",
    )
