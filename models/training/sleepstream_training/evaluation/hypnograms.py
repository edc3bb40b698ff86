"""A decoder on hypnograms as they were scored: how well it knows what nights look like.

In come nights, the decoder and the nights that baselines are fitted on; out go forecast tables, of
all nights and of each database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sleepstream_training.evaluation import forecasting, forecasts
from sleepstream_training.evaluation.forecasts import ForecastCounts
from sleepstream_training.evaluation.intervals import figures, resampled
from sleepstream_training.evaluation.methods import Method, hard
from sleepstream_training.evaluation.tables import Cell, Column, Table
from sleepstream_training.nights import Night

ABOUT = "from scored hypnograms"
SIDE_BY_SIDE = 8
"""Nights that a network reads at the same time."""


def tables(
    nights: Sequence[Night],
    methods: Mapping[str, Method],
    ours: str,
    on_night: Callable[[], None] = lambda: None,
) -> list[Table]:
    """Return the forecast tables.

    Parameters
    ----------
    nights : sequence of Night
        Of subjects that no method has learned from.
    methods : mapping of str to Method
        Baselines first.
    ours : str
        Which of them is judged.
    on_night : callable, optional
        Called after each night.
    """
    nights = sorted(nights, key=lambda night: len(hard(night).stages))  # little padding
    counts: dict[str, list[ForecastCounts]] = {name: [] for name in methods}
    for first in range(0, len(nights), SIDE_BY_SIDE):
        tokens = [hard(night) for night in nights[first : first + SIDE_BY_SIDE]]
        for name, method in methods.items():
            pairs = zip(tokens, method(tokens), strict=True)
            counts[name] += [forecasts.count(its.stages, said) for its, said in pairs]
        for _ in tokens:
            on_night()
    everyone = forecasting.grouped(_subjects(nights), counts)
    out = [_by_dataset(nights, counts), *forecasting.whole("hypnograms", ABOUT, everyone, ours)]
    datasets = sorted({night.dataset for night in nights})
    for dataset in datasets if len(datasets) > 1 else []:
        rows = [row for row, night in enumerate(nights) if night.dataset == dataset]
        some = [nights[row] for row in rows]
        part = {name: [each[row] for row in rows] for name, each in counts.items()}
        groups = forecasting.grouped(_subjects(some), part)
        out += forecasting.whole(f"hypnograms-{dataset}", f"{ABOUT}, {dataset}", groups, ours)
    return out


def _subjects(nights: Sequence[Night]) -> list[str]:
    return [f"{night.dataset}/{night.subject}" for night in nights]


def _by_dataset(nights: Sequence[Night], counts: Mapping[str, Sequence[ForecastCounts]]) -> Table:
    """Return the log-loss of the next stage by each method, a row for each database."""
    columns = [
        Column("database"),
        Column("nights"),
        Column("subjects"),
        *(Column(name, 4, interval=True) for name in counts),
    ]
    datasets = sorted({night.dataset for night in nights})
    rows: list[list[Cell]] = []
    for dataset in ["all", *datasets] if len(datasets) > 1 else datasets:
        chosen = [row for row, n in enumerate(nights) if dataset in {"all", n.dataset}]
        subjects = _subjects([nights[row] for row in chosen])
        found = [
            figures(forecasts.log_loss, resampled(subjects, [each[row] for row in chosen]))[0]
            for each in counts.values()
        ]
        rows.append([dataset, len(chosen), len(set(subjects)), *found])
    return Table("hypnograms-next", f"Next stage {ABOUT}", columns, rows, forecasting.LOSS_NOTE)
