"""Finding scored recordings in a folder.

Enters: a folder as the corpus was downloaded, or one file. Leaves: `Found`, which knows the
corpus, the subject and where the scoring is, and reads the rest when asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sleepstream.corpora.names import ANY_EDF, CORPORA, RULES, Origin, is_scoring
from sleepstream.corpora.nsrr import read_nsrr
from sleepstream.corpora.scored import Opened, Scored, align, opened, scored_codes
from sleepstream.corpora.scoring import Bout, Codes, edf_start, from_notes, read_edf
from sleepstream.corpora.tables import read_cap, read_csv
from sleepstream.errors import RecordingError
from sleepstream.signal.montage import Montage, choose
from sleepstream.sources.recording import Recording

RECORDINGS = (".edf", ".bdf")
CSV_ENDINGS = (".csv", "-hypnogram.csv", "_hypnogram.csv", ".hypnogram.csv")
"""What may follow a recording's name in that of the CSV file that scores it."""


@dataclass(frozen=True, slots=True)
class Found:
    """A recording and its scoring, not yet read.

    Attributes
    ----------
    origin : Origin
        Corpus, subject, record and diagnosis.
    psg : Path
        The recording.
    scoring : Path or None
        Its scoring; None where that has to be in the recording itself, or is missing.
    """

    origin: Origin
    psg: Path
    scoring: Path | None

    @property
    def lacks_scoring(self) -> bool:
        """Whether the corpus has the scoring in a file of its own, which is not there."""
        return self.scoring is None and self.origin.corpus != ANY_EDF

    def read(self, channel: str = "", unit: str = "") -> Scored:
        """Read signal and scoring.

        Parameters
        ----------
        channel : str, optional
            As for `montage.choose`; by default the corpus' usual EEG derivation.
        unit : str, optional
            Overrides the unit in the file.

        Returns
        -------
        Scored

        Raises
        ------
        RecordingError
            A file cannot be read, or the scoring is missing or not of this recording.
        ChannelError
            No such channel.
        """
        return align(*self._parts(channel, unit), self.origin)

    def open(self, channel: str = "", unit: str = "") -> Opened:
        """Find where signal and scoring meet, and read neither's rest; else as `read`."""
        return opened(*self._parts(channel, unit), self.origin)

    def _parts(self, channel: str, unit: str) -> tuple[Recording, Montage, list[Bout]]:
        recording = Recording(self.psg)
        bouts = self._bouts(recording)
        rule = RULES.get(self.origin.corpus)
        alias = rule.alias if rule else str
        labels = [alias(label) for label in recording.labels]
        return recording, choose(labels, recording.units, alias(channel), unit), bouts

    def outline(self) -> tuple[float, Codes]:
        """Return the length of the recording in hours and its codes, without its signal."""
        recording = Recording(self.psg)
        return recording.duration_s / 3600, scored_codes(recording, self._bouts(recording))

    def _bouts(self, recording: Recording) -> list[Bout]:
        if self.lacks_scoring:
            raise _without_scoring([self])
        if self.scoring is None:
            return from_notes(recording.stage_notes())
        suffix = self.scoring.suffix.lower()
        if suffix == ".csv":
            return read_csv(self.scoring)
        if suffix == ".xml":
            return read_nsrr(self.scoring)
        started = edf_start(self.psg)
        read = read_cap if suffix == ".txt" else read_edf
        return read(self.scoring, started)


def find(path: Path, corpus: str | None = None) -> list[Found]:
    """Find the scored recordings in a folder and below, or one of them by its file.

    Parameters
    ----------
    path : Path
        A folder, or a recording whose scoring lies in the same folder.
    corpus : str, optional
        One of `names.CORPORA`, where the names of the files would say something else.

    Returns
    -------
    list of Found
        In the order of their paths; never empty.

    Raises
    ------
    RecordingError
        Nothing there, no recording, or one whose corpus keeps the scoring in a file that is
        missing.
    """
    found = scan(path, corpus)
    if missing := [one for one in found if one.lacks_scoring]:
        raise _without_scoring(missing)
    return found


def scan(path: Path, corpus: str | None = None) -> list[Found]:
    """Do as `find` does, but return recordings without their scoring too."""
    if corpus is not None and corpus not in CORPORA:
        raise RecordingError(f"a corpus called {corpus!r}", ", ".join(CORPORA), "name one of these")
    if not path.exists():
        raise RecordingError(f"recordings at {path}", "nothing there", "check the path")
    folder = path if path.is_dir() else path.parent
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    by_name: dict[str, list[Path]] = {}
    for file in files:
        by_name.setdefault(file.name, []).append(file)
    psgs = [f for f in files if f.suffix.lower() in RECORDINGS and not is_scoring(f.stem)]
    if path.is_file():
        psgs = [file for file in psgs if file == path]
    found = [one for psg in psgs if (one := _identify(psg, by_name, corpus))]
    if not found:
        raise RecordingError(
            f"recordings ({', '.join(RECORDINGS)})"
            + (f" named as those of {corpus}" if corpus else ""),
            f"none in {path}, among {len(files)} files",
            "name the folder with the recordings; --corpus edf takes any name",
        )
    return found


def _identify(psg: Path, by_name: Mapping[str, list[Path]], corpus: str | None) -> Found | None:
    """Return what a recording is, None where it is not of the corpus that was asked for."""
    if corpus != ANY_EDF:
        for name, rule in RULES.items():
            if corpus in {None, name} and (match := rule.pattern.fullmatch(psg.stem)):
                pattern = re.compile(rule.scoring(match), re.IGNORECASE)
                fitting = (p for n, paths in by_name.items() if pattern.fullmatch(n) for p in paths)
                return Found(rule.origin(match), psg, _nearest(psg, fitting))
    if corpus not in {None, ANY_EDF}:
        return None
    beside = (psg.with_name(psg.stem + ending) for ending in CSV_ENDINGS)
    csv = next((path for path in beside if path.is_file()), None)
    return Found(Origin(ANY_EDF, psg.stem, psg.stem), psg, csv)


def _nearest(psg: Path, fitting: Iterable[Path]) -> Path | None:
    """Return the scoring in the recording's folder, or the only one elsewhere."""
    paths = list(fitting)
    near = [path for path in paths if path.parent == psg.parent] or paths
    if len(near) > 1:
        raise RecordingError(
            f"one scoring of {psg.name}",
            f"{len(near)}: {', '.join(str(path) for path in near[:8])}",
            "keep the one that is meant in the recording's folder",
        )
    return near[0] if near else None


def _without_scoring(missing: Sequence[Found]) -> RecordingError:
    listed = ", ".join(one.psg.name for one in missing[:8])
    more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
    examples = {
        "cap": "n1.txt",
        "mass": "01-03-0001 Base.edf",
        "shhs": "shhs1-200001-nsrr.xml",
    }
    example = examples.get(missing[0].origin.corpus, "SC4001EC-Hypnogram.edf")
    return RecordingError(
        f"a scoring for each recording of {missing[0].origin.corpus} (a file such as {example!r})",
        f"none for {listed}{more}",
        "fetch the scorings into the folder, or move these recordings away; if they only happen "
        "to have such names, say --corpus edf",
    )
