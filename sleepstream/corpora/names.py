"""What a file's name says: which corpus, which subject, which night, which diagnosis.

Enters: the name of a recording. Leaves: an `Origin`. Each corpus has its own naming rule; the
subject that comes out is what data have to be split by, so that nobody is in two parts.

References
----------
Kemp B, et al. Analysis of a sleep-dependent neuronal feedback loop: the slow-wave
microcontinuity of the EEG. IEEE Trans Biomed Eng 47 (2000), 1185-1194 (Sleep-EDF).
Terzano MG, et al. Atlas, rules, and recording techniques for the scoring of cyclic alternating
pattern (CAP) in human sleep. Sleep Medicine 2 (2001), 537-553 (CAP).
O'Reilly C, et al. Montreal Archive of Sleep Studies. J Sleep Res 23 (2014), 628-635 (MASS).
Quan SF, et al. The Sleep Heart Health Study: design, rationale, and methods. Sleep 20 (1997),
1077-1085 (SHHS).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

ANY_EDF = "edf"
"""The corpus of a recording whose name follows no rule: its stages are its own business."""

CAP_DIAGNOSES = {
    "n": "normal",
    "brux": "bruxism",
    "ins": "insomnia",
    "narco": "narcolepsy",
    "nfle": "nfle",
    "plm": "plm",
    "rbd": "rbd",
    "sdb": "sdb",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a recording comes from.

    Attributes
    ----------
    corpus : str
        ``sleep-edf-sc``, ``sleep-edf-st``, ``cap``, ``mass``, ``shhs`` or ``edf``.
    subject : str
        The person, the same in all of that person's nights.
    record : str
        The night, as the corpus calls it.
    diagnosis : str
        Empty where the corpus does not say.
    """

    corpus: str
    subject: str
    record: str
    diagnosis: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """How one corpus names its files.

    Attributes
    ----------
    pattern : re.Pattern
        Of a recording's name without its suffix.
    origin : callable
        From the match to the `Origin`.
    scoring : callable
        From the match to the pattern of the full name of the file with the scoring.
    alias : callable
        From a label in the file to the label that it stands for.
    """

    pattern: re.Pattern[str]
    origin: Callable[[re.Match[str]], Origin]
    scoring: Callable[[re.Match[str]], str]
    alias: Callable[[str], str] = str


def _sleep_edf(corpus: str, study: str, diagnosis: str) -> Rule:
    """SC4ssNE0 and ST7ssNJ0: subject ss, night N. Of the hypnogram, the last letter differs."""
    return Rule(
        re.compile(rf"({study}\d(\d\d)\d)[A-Z]\w-PSG"),
        lambda m: Origin(corpus, f"sleepedf-{study}-{m[2]}", m[1], diagnosis),
        lambda m: rf"{m[1]}[A-Z]\w-Hypnogram\.edf",
    )


def _shhs_label(label: str) -> str:
    """Return the derivation behind SHHS's names: EEG is C4-A1, the secondary EEG is C3-A2."""
    folded = re.sub(r"[\s()]+", "", label).casefold()
    return {"eeg": "C4-A1", "eegsec": "C3-A2", "eeg2": "C3-A2"}.get(folded, label)


RULES: dict[str, Rule] = {
    "sleep-edf-sc": _sleep_edf("sleep-edf-sc", "SC", "healthy"),
    "sleep-edf-st": _sleep_edf("sleep-edf-st", "ST", "mild-insomnia"),
    "cap": Rule(
        re.compile(rf"({'|'.join(CAP_DIAGNOSES)})(\d{{1,2}})"),
        lambda m: Origin("cap", f"cap-{m[0]}", m[0], CAP_DIAGNOSES[m[1]]),
        lambda m: rf"{m[0]}\.txt",
    ),
    "mass": Rule(
        re.compile(r"(\d\d-\d\d-\d{4})[ _]PSG"),
        lambda m: Origin("mass", f"mass-{m[1]}", m[1]),
        lambda m: rf"{m[1]}[ _](Base|Annotations)\.edf",
        # CLE and LER name the linked-ear reference that all electrodes share, A2 among them
        lambda label: re.sub(r"-(CLE|LER)$", "", label, flags=re.IGNORECASE),
    ),
    "shhs": Rule(
        re.compile(r"(shhs[12])-(\d{6})"),
        lambda m: Origin("shhs", f"shhs-{m[2]}", m[0]),
        lambda m: rf"{m[0]}-nsrr\.xml",
        _shhs_label,
    ),
}

CORPORA = (*RULES, ANY_EDF)
"""Every corpus that can be named."""

_SCORING_EDF = re.compile(
    r".*-Hypnogram"
    r"|\d\d-\d\d-\d{4}[ _](Base|Annotations|Spindles|KComplexes|MicroArousals|Apneas?)(_.*)?"
)


def is_scoring(stem: str) -> bool:
    """Return whether an EDF of this name (without its suffix) holds a scoring and no signal."""
    return _SCORING_EDF.fullmatch(stem) is not None


def identify(stem: str) -> Origin | None:
    """Return what the name of a recording, or of a cache of it, says; None where no rule fits."""
    for name in (stem, f"{stem}-PSG", f"{stem} PSG"):
        for rule in RULES.values():
            if match := rule.pattern.fullmatch(name):
                return rule.origin(match)
    return None
