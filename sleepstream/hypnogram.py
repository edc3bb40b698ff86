"""The growing record of one night, and what is said about it in AASM words.

In come final stages, one per epoch, `None` where the epoch is unscorable; out go sleep statistics
and, where somebody else has staged the same night, the agreement. Also here: reading the stage out
of an annotation. The dashboard, `score` and the summary at the end of a night share these words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sleepstream.messages import EPOCH_S, N_STAGES, STAGES, Stage

EPOCH_MIN = EPOCH_S / 60.0
"""Length of an epoch in minutes."""

SLEEP_STAGES: tuple[Stage, ...] = (Stage.N1, Stage.N2, Stage.N3, Stage.REM)
"""The stages in which a person sleeps."""

STAGE_LETTERS = "W123R"
"""One letter for each stage, in the order of `Stage`, where there is room for no more."""

_NO_STAGE = -1

Row = tuple[str, str, str]
"""One line of a table: the abbreviation, what it means, its value with the unit."""


@dataclass(frozen=True, slots=True)
class SleepStatistics:
    """A night, or as much of it as there is, in numbers.

    All of it speaks of the record from lights off to its last epoch. A value is None where it is
    undefined: there is no REM latency before there was REM.

    Attributes
    ----------
    trt_min : float
        Total recording time: from lights off to the end of the record so far.
    tst_min : float
        Total sleep time: minutes in N1, N2, N3 and REM.
    se_percent : float or None
        Sleep efficiency: TST in per cent of TRT. None while TRT is zero.
    sol_min : float or None
        Sleep onset latency: from lights off to the first epoch of any sleep.
    waso_min : float or None
        Wake after sleep onset: minutes of W from sleep onset to the end of the record, the final
        awakening included. Where every epoch is scored this is TRT - SOL - TST.
    rem_latency_min : float or None
        From sleep onset to the first epoch of REM.
    spt_min : float or None
        Sleep period time: from sleep onset to the end of the last epoch of sleep.
    minutes : tuple of float, length 5
        Minutes in each stage, in the order of `Stage`.
    unscorable_min : float
        Minutes that could not be staged. They count in TRT and in no stage.
    n_awakenings : int
        Changes from sleep to W, across unscorable epochs too.

    References
    ----------
    Troester MM, Quan SF, Berry RB, et al. The AASM Manual for the Scoring of Sleep and Associated
    Events: Rules, Terminology and Technical Specifications, version 3. American Academy of Sleep
    Medicine, 2023. Chapter "Parameters to be reported for polysomnography".
    """

    trt_min: float
    tst_min: float
    se_percent: float | None
    sol_min: float | None
    waso_min: float | None
    rem_latency_min: float | None
    spt_min: float | None
    minutes: tuple[float, ...]
    unscorable_min: float
    n_awakenings: int

    def percent_of_tst(self, stage: Stage) -> float | None:
        """Return the minutes in a sleep stage in per cent of TST; None for W and without sleep."""
        if stage not in SLEEP_STAGES or self.tst_min == 0:
            return None
        return 100.0 * self.minutes[stage] / self.tst_min

    def as_json(self) -> dict[str, Any]:
        """Return the statistics as a JSON object, null where a value is undefined."""
        return {
            "trt_min": self.trt_min,
            "tst_min": self.tst_min,
            "se_percent": self.se_percent,
            "sol_min": self.sol_min,
            "waso_min": self.waso_min,
            "rem_latency_min": self.rem_latency_min,
            "spt_min": self.spt_min,
            "minutes": {stage.name: self.minutes[stage] for stage in STAGES},
            "percent_of_tst": {stage.name: self.percent_of_tst(stage) for stage in SLEEP_STAGES},
            "unscorable_min": self.unscorable_min,
            "n_awakenings": self.n_awakenings,
        }

    def rows(self) -> list[Row]:
        """Return the statistics as rows of a table for a person."""
        rows = [
            ("TRT", "total recording time", _minutes(self.trt_min)),
            ("TST", "total sleep time", _minutes(self.tst_min)),
            ("SE", "sleep efficiency", _percent(self.se_percent)),
            ("SOL", "sleep onset latency", _minutes(self.sol_min)),
            ("WASO", "wake after sleep onset", _minutes(self.waso_min)),
            ("REM L", "REM latency from sleep onset", _minutes(self.rem_latency_min)),
            ("SPT", "sleep period time", _minutes(self.spt_min)),
            ("Awak.", "awakenings", str(self.n_awakenings)),
        ]
        for stage in SLEEP_STAGES:
            share = self.percent_of_tst(stage)
            value = _minutes(self.minutes[stage])
            rows.append(
                (
                    stage.name,
                    f"time in {stage.name}",
                    value if share is None else f"{value}, {share:.0f} % of TST",
                )
            )
        rows.append(("?", "unscorable", _minutes(self.unscorable_min)))
        return rows


def _minutes(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} min"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} %"


class Hypnogram:
    """The stages of one night so far, one per epoch, in order.

    Parameters
    ----------
    stages : iterable of Stage or None, optional
        What is known already.
    lights_off : int, optional
        Number of the epoch in which the lights went off; by default the record begins with it.
    """

    def __init__(self, stages: Iterable[Stage | None] = (), lights_off: int = 0) -> None:
        self.lights_off = lights_off
        self._stages: list[Stage | None] = list(stages)

    def __len__(self) -> int:
        """Return the number of epochs."""
        return len(self._stages)

    def append(self, stage: Stage | None) -> None:
        """Add the stage of the next epoch, None where it is unscorable."""
        self._stages.append(stage)

    @property
    def stages(self) -> tuple[Stage | None, ...]:
        """All stages so far."""
        return tuple(self._stages)

    def statistics(self) -> SleepStatistics:
        """Return the sleep statistics of the night so far.

        Returns
        -------
        SleepStatistics
            Every definition stands there.
        """
        codes = _codes(self._stages[self.lights_off :])
        sleep = np.flatnonzero(codes > Stage.W)
        rem = np.flatnonzero(codes == Stage.REM)
        onset = int(sleep[0]) if sleep.size else None
        scored = codes[codes != _NO_STAGE]
        asleep = scored > Stage.W
        counts = np.bincount(scored, minlength=N_STAGES)
        trt, tst = codes.size * EPOCH_MIN, sleep.size * EPOCH_MIN
        return SleepStatistics(
            trt_min=trt,
            tst_min=tst,
            se_percent=100.0 * tst / trt if trt else None,
            sol_min=None if onset is None else onset * EPOCH_MIN,
            waso_min=None if onset is None else _count(codes[onset:] == Stage.W) * EPOCH_MIN,
            rem_latency_min=None
            if onset is None or not rem.size
            else (int(rem[0]) - onset) * EPOCH_MIN,
            spt_min=None if onset is None else (int(sleep[-1]) + 1 - onset) * EPOCH_MIN,
            minutes=tuple(int(count) * EPOCH_MIN for count in counts),
            unscorable_min=(codes.size - scored.size) * EPOCH_MIN,
            n_awakenings=_count(asleep[:-1] & ~asleep[1:]),
        )


def _codes(stages: Iterable[Stage | None]) -> npt.NDArray[np.int64]:
    return np.array([_NO_STAGE if s is None else int(s) for s in stages], dtype=np.int64)


def _count(mask: npt.NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(mask))


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """How far two scorings of the same night say the same.

    Only epochs to which both give a stage count. A value is None where it is undefined: F1 of a
    stage that neither names, kappa where both name one and the same stage throughout.

    Attributes
    ----------
    n : int
        Epochs compared.
    accuracy : float or None
        Fraction of them on which both agree.
    kappa : float or None
        Cohen's kappa: agreement beyond what the two stage distributions give by chance.
    macro_f1 : float or None
        Mean F1 of the stages that at least one of the two names.
    f1, recall : tuple of float or None, length 5
        Per stage, in the order of `Stage`. Recall is None where the reference lacks the stage.
    support : tuple of int, length 5
        Epochs of each stage in the reference.
    confusion : ndarray of int64, shape (5, 5)
        Epochs by stage in the reference (rows) and in the estimate (columns).

    References
    ----------
    Cohen J. A coefficient of agreement for nominal scales. Educational and Psychological
    Measurement 20 (1960), 37-46.
    """

    n: int
    accuracy: float | None
    kappa: float | None
    macro_f1: float | None
    f1: tuple[float | None, ...]
    recall: tuple[float | None, ...]
    support: tuple[int, ...]
    confusion: npt.NDArray[np.int64]

    def as_json(self) -> dict[str, Any]:
        """Return the agreement as a JSON object, null where a value is undefined."""
        return {
            "n": self.n,
            "accuracy": self.accuracy,
            "kappa": self.kappa,
            "macro_f1": self.macro_f1,
            "per_stage": {
                stage.name: {
                    "f1": self.f1[stage],
                    "recall": self.recall[stage],
                    "support": self.support[stage],
                }
                for stage in STAGES
            },
            "confusion": self.confusion.tolist(),
        }


def agreement(reference: Sequence[Stage | None], estimated: Sequence[Stage | None]) -> Agreement:
    """Compare two scorings of the same epochs.

    Parameters
    ----------
    reference, estimated : sequence of Stage or None
        One stage per epoch, None where there is none. Equally long.

    Returns
    -------
    Agreement
        Over the epochs where both have a stage.

    Raises
    ------
    ValueError
        The two are not equally long.
    """
    if len(reference) != len(estimated):
        raise ValueError(f"{len(reference)} reference epochs, {len(estimated)} estimated ones")
    true, said = _codes(reference), _codes(estimated)
    both = (true != _NO_STAGE) & (said != _NO_STAGE)
    confusion = np.zeros((N_STAGES, N_STAGES), dtype=np.int64)
    np.add.at(confusion, (true[both], said[both]), 1)
    confusion.setflags(write=False)
    n = int(confusion.sum())
    hits, rows, columns = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    accuracy = _ratio(hits.sum(), n)
    chance = _ratio((rows * columns).sum(), n * n)
    f1 = tuple(_ratio(2 * h, r + c) for h, r, c in zip(hits, rows, columns, strict=True))
    named = [value for value in f1 if value is not None]
    return Agreement(
        n=n,
        accuracy=accuracy,
        kappa=None
        if accuracy is None or chance is None
        else _ratio(accuracy - chance, 1.0 - chance),
        macro_f1=_ratio(sum(named), len(named)),
        f1=f1,
        recall=tuple(_ratio(h, r) for h, r in zip(hits, rows, strict=True)),
        support=tuple(int(r) for r in rows),
        confusion=confusion,
    )


def _ratio(part: float, whole: float) -> float | None:
    return float(part) / float(whole) if whole else None


# EDF+ ("Sleep stage 3"), AASM ("N3"), CAP ("SLEEP-S3") and NSRR ("Stage 3 sleep|3") spellings. A
# bare digit or "S1" is not a stage: triggers of stimulation programs look just like that.
_ANNOTATION = re.compile(
    r"(?P<prefix>sleep[\s_-]*stages?[\s_:-]+|stage[\s_:-]+|sleep[_-]+)?"
    r"(?P<code>[a-z0-9?]+(?: time)?)"
    r"(?: sleep)?(?:\|\d+)?",
    re.IGNORECASE,
)
_ANYWHERE: dict[str, Stage | None] = {
    "W": Stage.W,
    "WAKE": Stage.W,
    "N1": Stage.N1,
    "N2": Stage.N2,
    "N3": Stage.N3,
    "N4": Stage.N3,
    "NREM1": Stage.N1,
    "NREM2": Stage.N2,
    "NREM3": Stage.N3,
    "R": Stage.REM,
    "REM": Stage.REM,
    "?": None,
    "UNSCORED": None,
    "UNKNOWN": None,
    "MOVEMENT TIME": None,
}
_AFTER_PREFIX: dict[str, Stage | None] = {
    "MT": None,
    "UNDEFINED": None,
    "AWAKE": Stage.W,
    "0": Stage.W,
    "1": Stage.N1,
    "2": Stage.N2,
    "3": Stage.N3,
    "4": Stage.N3,
    "S0": Stage.W,
    "S1": Stage.N1,
    "S2": Stage.N2,
    "S3": Stage.N3,
    "S4": Stage.N3,
}


def is_stage_annotation(text: str) -> bool:
    """Return whether an annotation speaks of a sleep stage, be it only to say that there is none.

    ``"Sleep stage 2"`` and ``"Sleep stage ?"`` do, ``"Lights off"`` and ``"1"`` do not.
    """
    match = _ANNOTATION.fullmatch(text.strip())
    if match is None:
        return False
    prefix, code = match["prefix"], match["code"].upper()
    if code in _ANYWHERE:
        return True
    # "Sleep stage X" is a stage that we cannot read; "sleep-onset" is an event.
    return prefix is not None and (
        code in _AFTER_PREFIX or prefix.lower().startswith("sleep stage")
    )


def parse_stage(text: str) -> Stage | None:
    """Return the stage that an annotation names.

    Parameters
    ----------
    text : str
        Description of an annotation: ``"Sleep stage W"``, ``"N2"``, ``"SLEEP-S4"``, … Stages 3
        and 4 of Rechtschaffen and Kales are both N3, as in the AASM manual.

    Returns
    -------
    Stage or None
        None where it says unscored, unknown or movement, and where it is no stage annotation at
        all; `is_stage_annotation` tells these two apart.
    """
    match = _ANNOTATION.fullmatch(text.strip())
    if match is None:
        return None
    code = match["code"].upper()
    stage = _ANYWHERE.get(code)
    if stage is None and match["prefix"] is not None:
        stage = _AFTER_PREFIX.get(code)
    return stage
