"""Scored nights without their signal: what the decoder and the disorder score learn from.

In come hypnograms as CSV, as EDF+ annotations, as lines of JSON with ``id`` and ``stages``, or
folders of these; out go nights as arrays, with what is known of the sleeper.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from sleepstream.corpora.names import identify
from sleepstream.corpora.scoring import UNSCORED, Bout, codes_on_grid, edf_start, read_edf
from sleepstream.corpora.tables import read_csv
from sleepstream.errors import RecordingError
from sleepstream.messages import EPOCH_S, N_STAGES, UNSCORABLE, Stage

MARGIN_EPOCHS = 60
"""Wake kept on either side of the sleep period: 30 minutes."""

OWN = "own"
"""The database of a night whose name belongs to none that we know."""

SUFFIXES = (".jsonl", ".csv", ".edf", ".bdf")
"""Files that may hold hypnograms; of two that hold the same night, the earlier kind counts."""

_SCORINGS = ("-hypnogram", "_hypnogram", ".hypnogram")
_CODES = {UNSCORABLE: UNSCORED} | {str(int(stage)): int(stage) for stage in Stage}

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Night:
    """One scored night.

    Attributes
    ----------
    name, subject, dataset : str
        Which night, whose, and from which database. Nights of unknown people are people.
    stages : ndarray of int8, shape (n_epochs,)
        Scored stages, -1 where there is none.
    held_out : bool
        Whether the night is kept from training.
    ahi : float or None
        Apnoea-hypopnoea index, events per hour.
    age, sex : float or None, str or None
        Of the subject: years; ``"F"`` or ``"M"``.
    diagnosis, license, note : str
        Empty where there is none.
    probs : ndarray of float32, shape (n_epochs, 5), or None
        What an encoder that has not learned from this subject says.
    spectrum : ndarray of float32, shape (n_epochs, 17), or None
        The numbers of `sleepstream.stager.spectral.describe`.
    """

    name: str
    subject: str
    dataset: str
    stages: Array
    held_out: bool = False
    ahi: float | None = None
    age: float | None = None
    sex: str | None = None
    diagnosis: str = ""
    license: str = ""
    note: str = ""
    probs: Array | None = None
    spectrum: Array | None = None


class Split(NamedTuple):
    """Nights of subjects that a model has learned from, and nights of others."""

    known: list[Night]
    unseen: list[Night]


class _Line(msgspec.Struct):
    id: str
    stages: str
    subject: str | None = None
    dataset: str = OWN
    ahi: float | None = None
    age: float | None = None
    sex: str | None = None
    diagnosis: str | None = None
    license: str | None = None
    note: str | None = None


def period(stages: Array, margin: int = MARGIN_EPOCHS) -> slice:
    """Return the sleep period and `margin` epochs on either side."""
    asleep = np.flatnonzero(stages > 0)
    if not len(asleep):
        return slice(0, len(stages))
    return slice(max(0, int(asleep[0]) - margin), int(asleep[-1]) + margin + 1)


def subjects_by_dataset(nights: Iterable[Night]) -> dict[str, list[str]]:
    """Return whose nights these are, for ``[trained_on]`` in a model's description."""
    found: dict[str, set[str]] = {}
    for night in nights:
        found.setdefault(night.dataset, set()).add(night.subject)
    return {dataset: sorted(found[dataset]) for dataset in sorted(found)}


def split(nights: Iterable[Night], trained_on: Mapping[str, Sequence[str]]) -> Split:
    """Part nights into those of subjects that a model has learned from, and the others."""
    learned = {(dataset, subject) for dataset, names in trained_on.items() for subject in names}
    known: list[Night] = []
    unseen: list[Night] = []
    for night in nights:
        (known if (night.dataset, night.subject) in learned else unseen).append(night)
    return Split(known, unseen)


def read_nights(paths: Iterable[Path]) -> list[Night]:
    """Read the hypnograms in files and folders.

    Parameters
    ----------
    paths : iterable of Path
        ``.jsonl``, ``.csv`` (columns as in ``docs/data.md``), ``.edf`` or ``.bdf`` with
        annotations, and folders of them. In a folder, recordings without stages are passed over.

    Returns
    -------
    list of Night
        In the order of the paths; of a night that is there twice, the first.

    Raises
    ------
    RecordingError
        Nothing there, or a file that is no hypnogram.
    """
    found: dict[tuple[str, str], Night] = {}
    for path in paths:
        for night in _folder(path) if path.is_dir() else _file(path):
            found.setdefault((night.dataset, night.name), night)
    return list(found.values())


def _folder(folder: Path) -> Iterator[Night]:
    files = [file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES]
    n_nights = 0
    for file in sorted(files, key=lambda f: (SUFFIXES.index(f.suffix.lower()), f)):
        for night in _file(file, stages_needed=False):
            n_nights += 1
            yield night
    if not n_nights:
        raise RecordingError(
            f"hypnograms ({', '.join(SUFFIXES)}) in {folder}",
            f"none in {len(files)} such files",
            "name a folder with scorings; docs/evaluation.md says what they may look like",
        )


def _file(path: Path, *, stages_needed: bool = True) -> Iterator[Night]:
    if not path.is_file():
        raise RecordingError(f"a hypnogram at {path}", "no such file", "check the path")
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        yield from _lines(path)
        return
    if suffix not in SUFFIXES:
        raise RecordingError(
            f"a hypnogram ({', '.join(SUFFIXES)})", path.name, "convert it to one of these"
        )
    bouts = read_csv(path) if suffix == ".csv" else read_edf(path, edf_start(path))
    if any(bout.code >= 0 for bout in bouts):
        yield _night(path, bouts)
    elif stages_needed:
        raise RecordingError(
            f"scored sleep stages in {path.name}", "none", "name the file with the scoring"
        )


def _night(path: Path, bouts: Sequence[Bout]) -> Night:
    stem = path.stem
    for ending in _SCORINGS:
        stem = stem[: -len(ending)] if stem.lower().endswith(ending) else stem
    start_s = min(bout.onset_s for bout in bouts if bout.code >= 0)
    end_s = max(bout.onset_s + (bout.duration_s or EPOCH_S) for bout in bouts)
    codes = codes_on_grid(bouts, round((end_s - start_s) / EPOCH_S), start_s)
    origin = identify(stem)
    return Night(
        name=origin.record if origin else stem,
        subject=origin.subject if origin else stem,
        dataset=origin.corpus if origin else OWN,
        stages=np.maximum(codes, UNSCORED),
        diagnosis=origin.diagnosis if origin else "",
    )


def _lines(path: Path) -> Iterator[Night]:
    text = path.read_text(encoding="utf-8", errors="replace")
    for number, text_line in enumerate(text.splitlines(), 1):
        if not text_line.strip():
            continue
        try:
            line = msgspec.json.decode(text_line, type=_Line)
        except msgspec.DecodeError as error:
            raise _refused(path, number, str(error)) from error
        if unknown := set(line.stages) - _CODES.keys():
            raise _refused(path, number, f"stages with {''.join(sorted(unknown))!r}")
        yield Night(
            name=line.id,
            subject=line.subject or line.id,
            dataset=line.dataset,
            stages=np.array([_CODES[code] for code in line.stages], dtype=np.int8),
            ahi=line.ahi,
            age=line.age,
            sex=line.sex,
            diagnosis=line.diagnosis or "",
            license=line.license or "",
            note=line.note or "",
        )


def _refused(path: Path, number: int, found: str) -> RecordingError:
    return RecordingError(
        f'a night in line {number} of {path.name}, such as {{"id": "a", "stages": "00012?3"}} '
        f"(0 W, 1 N1, 2 N2, 3 N3, {N_STAGES - 1} REM, ? unscored)",
        found,
        "correct that line",
    )
