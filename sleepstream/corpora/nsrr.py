"""Scorings in the XML of the National Sleep Research Resource.

Enters: an ``-nsrr.xml`` as it lies beside SHHS's recordings. Leaves: `Bout`. The file is from
outside: its size is bounded (`tables.read_text`), and one that declares entities is refused unread.

References
----------
Zhang GQ, et al. The National Sleep Research Resource: towards a sleep data commons. J Am Med
Inform Assoc 25 (2018), 1351-1358.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from sleepstream.corpora.scoring import Bout, code_of
from sleepstream.corpora.tables import LONGEST_S, read_text
from sleepstream.errors import RecordingError
from sleepstream.plain import printable

STAGES = "Stages"
"""What the type of an event that is a stage begins with (``Stages|Stages``)."""


def read_nsrr(path: Path) -> list[Bout]:
    """Read the stages of an NSRR annotation file.

    Parameters
    ----------
    path : Path
        XML with ``<ScoredEvent>``: ``<EventType>Stages|Stages``, ``<EventConcept>Stage 2 sleep|2``,
        ``<Start>`` and ``<Duration>`` in seconds since the recording's first sample.

    Returns
    -------
    list of Bout

    Raises
    ------
    RecordingError
        Not well-formed, with a document type, or with a stage that cannot be read.
    """
    text = read_text(path)
    if re.search(r"<!\s*(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise _refused(path, "a document type, which may make the reader do anything")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - without a document type no entities
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise _refused(path, f"XML that is not well-formed ({error})") from error
    bouts = []
    for event in root.iter("ScoredEvent"):
        if not (event.findtext("EventType") or "").strip().startswith(STAGES):
            continue
        concept = (event.findtext("EventConcept") or "").strip()
        code = code_of(concept)
        if code is None:
            raise _refused(path, f"a stage {concept!r}")
        bouts.append(Bout(_seconds(path, event, "Start"), _seconds(path, event, "Duration"), code))
    return bouts


def _seconds(path: Path, event: ElementTree.Element, name: str) -> float:
    text = event.findtext(name) or ""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < LONGEST_S:
        raise _refused(path, f"a stage with {name} {text!r}")
    return value


def _refused(path: Path, found: str) -> RecordingError:
    return RecordingError(
        f"sleep stages as the NSRR writes them in {path.name}",
        printable(found),
        "take the file from annotations-events-nsrr that belongs to the recording",
    )
