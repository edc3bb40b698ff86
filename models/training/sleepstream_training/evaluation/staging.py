"""Tables of how well stages are told: one row per method, whatever made the probabilities.

In come counts per night (`metrics.count`); out go tables with their intervals over subjects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sleepstream.messages import STAGES
from sleepstream_training.evaluation import metrics
from sleepstream_training.evaluation.intervals import (
    Figure,
    Resampled,
    figure,
    figures,
    ratio,
    resampled,
)
from sleepstream_training.evaluation.metrics import StageCounts
from sleepstream_training.evaluation.tables import Cell, Column, Table

Groups = Mapping[str, Resampled[StageCounts]]


def grouped(subjects: Sequence[str], counts: Mapping[str, Sequence[StageCounts]]) -> Groups:
    """Add up each method's counts over subjects, with draws.

    Parameters
    ----------
    subjects : sequence of str
        Whose each night is.
    counts : mapping of str to sequence of StageCounts
        Of each method, night by night.
    """
    return {name: resampled(subjects, nights) for name, nights in counts.items()}


def agreement(name: str, title: str, groups: Groups, note: str = "") -> Table:
    """Return accuracy, kappa and F1 of each method, and its gain over the first one."""
    columns = [
        Column("method"),
        Column("epochs"),
        Column("accuracy", interval=True),
        Column("kappa", interval=True),
        Column("macro-F1", interval=True),
        *(Column(f"F1 {stage.name}", 2) for stage in STAGES),
        Column("gain, points", 1, interval=True, sign=True),
    ]
    first = next(iter(groups.values()))
    rows = [
        [method, *summary(group), *figures(metrics.f1, group), figure(_gain, group, first)]
        for method, group in groups.items()
    ]
    return Table(name, title, columns, rows, note)


def summary(group: Resampled[StageCounts]) -> list[Cell]:
    """Return the number of epochs, accuracy, kappa and macro-F1."""
    n = int(metrics.n_epochs(group.whole)[0])
    return [n, *(figure(f, group) for f in (metrics.accuracy, metrics.kappa, metrics.macro_f1))]


def _gain(ours: StageCounts, first: StageCounts) -> metrics.Array:
    return 100.0 * (metrics.accuracy(ours) - metrics.accuracy(first))


def uncertainty(name: str, title: str, groups: Groups, note: str = "") -> Table:
    """Return how far the probabilities of each method can be believed."""
    columns = [
        Column("method"),
        Column("NLL", interval=True),
        Column("Brier", interval=True),
        Column("ECE", interval=True),
        *(Column(f"ECE {stage.name}") for stage in STAGES),
    ]
    rows: list[list[Cell]] = []
    for method, group in groups.items():
        whole = [figure(f, group) for f in (metrics.nll, metrics.brier, metrics.ece)]
        rows.append([method, *whole, *figures(metrics.ece_by_stage, group)])
    return Table(name, title, columns, rows, note)


def selective(name: str, title: str, groups: Groups, note: str = "") -> Table:
    """Return the accuracy over the surest share of epochs."""
    columns = [
        Column("method"),
        *(Column(f"surest {share:.0%}", interval=True) for share in metrics.COVERAGES),
    ]
    rows: list[list[Cell]] = [
        [method, *figures(metrics.accuracy_at, group)] for method, group in groups.items()
    ]
    return Table(name, title, columns, rows, note)


def confusion(name: str, title: str, group: Resampled[StageCounts]) -> Table:
    """Return epochs by scored and named stage, with the share of each scored stage found."""
    columns = [
        Column("scored"),
        *(Column(stage.name) for stage in STAGES),
        Column("recall", interval=True),
    ]
    found = figures(metrics.recall, group)
    rows: list[list[Cell]] = [
        [stage.name, *(int(n) for n in group.whole.confusion[0, stage]), found[stage]]
        for stage in STAGES
    ]
    return Table(name, title, columns, rows)


def reliability(name: str, title: str, group: Resampled[StageCounts]) -> Table:
    """Return, in bins of confidence, how sure the method was and how often it was right."""
    columns = [
        Column("confidence from"),
        Column("epochs"),
        Column("mean confidence"),
        Column("right", interval=True),
    ]
    right = figures(lambda c: ratio(c.top[..., 2], c.top[..., 0]), group)
    rows: list[list[Cell]] = []
    for row, (n, confidence, _) in enumerate(group.whole.top[0]):
        if n:
            rows.append([f"{row / metrics.N_BINS:.2f}", int(n), Figure(confidence / n), right[row]])
    return Table(name, title, columns, rows)


def whole(name: str, about: str, groups: Groups, best: str) -> list[Table]:
    """Return every table about staging; confusion and reliability are those of method `best`."""
    return [
        agreement(f"{name}-agreement", f"Staging {about}", groups),
        uncertainty(f"{name}-uncertainty", f"Probabilities {about}", groups),
        selective(f"{name}-selective", f"Accuracy {about} where the method is surest", groups),
        confusion(f"{name}-confusion", f"Epochs {about}, {best}", groups[best]),
        reliability(f"{name}-reliability", f"Confidence {about}, {best}", groups[best]),
    ]
