"""``sleepstream data``: what scored recordings there are, and fetching some."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from sleepstream.corpora.catalogue import Found, scan
from sleepstream.corpora.scoring import MOVEMENT, UNSCORED
from sleepstream.errors import ChannelError, RecordingError, SettingsError
from sleepstream.messages import STAGES
from sleepstream.plain import printable, printable_json, printable_lines

SLEEP_EDF_SUBJECTS = {
    "sleep-edf": [s for s in range(83) if s not in {39, 68, 69, 78, 79}],
    "sleep-edf-st": list(range(22)),
}
"""As MNE numbers them: those of the cassette study (two nights at home each), and those of the
telemetry study (the night with placebo; its files are numbered otherwise)."""

COLUMNS = ("corpus", "subject", "record", "hours", *(s.name for s in STAGES), "MT", "?")


def list_recordings(path: Path, corpus: str | None, *, as_json: bool) -> int:
    """Print the scored recordings in a folder, with the epochs of each stage.

    Parameters
    ----------
    path : Path
        A folder, or one recording.
    corpus : str or None
        Which corpus it is, where the names of the files do not say.
    as_json : bool
        Print a JSON list instead of a table.

    Returns
    -------
    int
        0, or the exit code of `RecordingError` where one of them cannot be read as scored.

    Raises
    ------
    RecordingError
        No recording there.
    """
    say = _console()
    found = scan(path, corpus)
    rows = [_row(one) for one in track(found, "reading", console=say, transient=True)]
    bad = [row for row in rows if row["error"]]
    if as_json:
        sys.stdout.write(printable_json(json.dumps(rows, ensure_ascii=False)) + "\n")
    else:
        _print_table(rows)
        subjects = {row["subject"] for row in rows}
        say.print(f"{len(rows)} recordings of {len(subjects)} subjects in {path}")
    for row in bad:
        say.print(printable_lines(f"sleepstream: {row['recording']}: {row['error']}"))
    return RecordingError.exit_code if bad else 0


def _console() -> Console:
    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def _row(found: Found) -> dict[str, Any]:
    origin = found.origin
    row: dict[str, Any] = {
        "corpus": origin.corpus,
        "subject": origin.subject,
        "record": origin.record,
        "diagnosis": origin.diagnosis,
        "recording": str(found.psg),
        "scoring": str(found.scoring) if found.scoring else None,
        "hours": None,
        "epochs": None,
        "error": None,
    }
    try:
        hours, codes = found.outline()
    except (RecordingError, ChannelError) as error:
        return row | {"error": str(error)}
    counts = {stage.name: int(np.count_nonzero(codes == stage)) for stage in STAGES}
    for name, code in (("movement", MOVEMENT), ("unscored", UNSCORED)):
        counts[name] = int(np.count_nonzero(codes == code))
    return row | {"hours": round(hours, 3), "epochs": counts}


def _print_table(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if i > 2 else "left", overflow="fold")
    for row in rows:
        cells = [row["corpus"], row["subject"], row["record"]]
        if row["error"] is None:
            cells += [f"{row['hours']:.2f}", *map(str, row["epochs"].values())]
        table.add_row(*(Text(printable(cell)) for cell in cells))
    Console().print(table)


def fetch(dataset: str, subjects: str, folder: Path | None) -> int:
    """Download Sleep-EDF with MNE and print where each file is.

    Parameters
    ----------
    dataset : str
        ``sleep-edf`` or ``sleep-edf-st``.
    subjects : str
        Numbers and ranges such as ``"0,1,5-9"``; empty for all.
    folder : Path or None
        Where to; by default MNE's data folder.

    Returns
    -------
    int
        Exit code 0.

    Raises
    ------
    SettingsError
        Subjects that are no numbers or did not take part.
    RecordingError
        The download failed.
    """
    wanted = _subjects(subjects, SLEEP_EDF_SUBJECTS[dataset])
    from mne.datasets.sleep_physionet import age, temazepam  # noqa: PLC0415 - a second of import

    say = _console()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"path": folder, "verbose": "error"}
    for subject in track(wanted, "fetching", console=say, transient=True):
        try:
            if dataset == "sleep-edf":
                # of some subjects one night was lost
                nights = age.fetch_data([subject], on_missing="ignore", **options)
            else:
                nights = temazepam.fetch_data([subject], **options)
        except (OSError, ValueError, RuntimeError) as error:
            raise RecordingError(
                f"subject {subject} of {dataset}, from physionet.org",
                f"{type(error).__name__}: {printable(str(error))}",
                "check the network and the space on disk, then say the same again: what is there "
                "already is not fetched twice",
            ) from error
        for files in nights:
            for file in files:
                sys.stdout.write(f"{file}\n")
    say.print("list them with: sleepstream data list FOLDER")
    return 0


def _subjects(text: str, known: Sequence[int]) -> list[int]:
    """Read ``"0,1,5-9"``."""
    wanted: list[int] = []
    for word in text.replace(",", " ").split():
        first, _, last = word.partition("-")
        if not (first.isdecimal() and (last or "0").isdecimal()):
            raise SettingsError("--subjects such as 0,1,5-9", repr(word), "give numbers and ranges")
        wanted += range(int(first), int(last or first) + 1)
    if unknown := sorted(set(wanted) - set(known)):
        raise SettingsError(
            f"subjects of {known[0]} to {known[-1]}",
            f"nobody with the number {', '.join(map(str, unknown[:8]))}",
            "leave them out; not every number was given to somebody",
        )
    return sorted(set(wanted)) or list(known)
