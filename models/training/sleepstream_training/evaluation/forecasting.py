"""Tables of how well it is told what comes next: one row per method.

In come counts per night (`forecasts.count`); out go tables with their intervals over subjects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sleepstream_training.evaluation import forecasts
from sleepstream_training.evaluation.forecasts import EVENTS, HORIZONS, ForecastCounts
from sleepstream_training.evaluation.intervals import Resampled, figure, figures, resampled
from sleepstream_training.evaluation.metrics import Array
from sleepstream_training.evaluation.tables import Cell, Column, Table

Groups = Mapping[str, Resampled[ForecastCounts]]

LOSS_NOTE = "Log-loss in nats, so many epochs ahead; lower is better."
EVENT_NOTE = (
    "change: another stage in the next epoch; wake, REM: within 5 min, asked where it is not there."
)
SKILL_NOTE = "Share of the baseline's log-loss that is saved; 0 is no better."


def grouped(subjects: Sequence[str], counts: Mapping[str, Sequence[ForecastCounts]]) -> Groups:
    """Add up each method's counts over subjects, with draws."""
    return {name: resampled(subjects, nights) for name, nights in counts.items()}


def losses(name: str, title: str, groups: Groups) -> Table:
    """Return log-losses at each of `HORIZONS`, and the calibration error of the next stage."""
    columns = [
        Column("method"),
        Column("epochs"),
        *(Column(f"+{k}", 4 if k == 1 else 3, interval=k == 1) for k in HORIZONS),
        Column("ECE +1", interval=True),
    ]
    rows: list[list[Cell]] = []
    for method, group in groups.items():
        each = figures(_shown_loss, group)
        n = int(group.whole.n[0, 0])
        rows.append([method, n, *each, figure(forecasts.next_ece, group)])
    return Table(name, title, columns, rows, LOSS_NOTE)


def _shown_loss(counts: ForecastCounts) -> Array:
    return forecasts.log_loss(counts)[:, [k - 1 for k in HORIZONS]]


def skills(name: str, title: str, groups: Groups, ours: str) -> Table:
    """Return the skill of the method `ours` over each other one."""
    columns = [Column("over"), *(Column(f"+{k}", interval=True) for k in HORIZONS)]

    def shown(counts: ForecastCounts, baseline: ForecastCounts) -> Array:
        return forecasts.skill(counts, baseline)[:, [k - 1 for k in HORIZONS]]

    rows: list[list[Cell]] = [
        [method, *figures(shown, groups[ours], group)]
        for method, group in groups.items()
        if method != ours
    ]
    return Table(name, title, columns, rows, SKILL_NOTE)


def events(name: str, title: str, groups: Groups) -> Table:
    """Return how well changes, wake and REM are seen coming."""
    columns = [
        Column("method"),
        *(Column(f"{event} AUC", interval=True) for event in EVENTS),
        *(Column(f"{event} Brier") for event in EVENTS),
        *(Column(f"{event} ECE") for event in EVENTS),
    ]
    parts = (forecasts.auc, forecasts.event_brier, forecasts.event_ece)
    rows: list[list[Cell]] = [
        [method, *(each for part in parts for each in figures(part, group))]
        for method, group in groups.items()
    ]
    rates = figures(forecasts.event_rate, next(iter(groups.values())))
    pairs = zip(EVENTS, rates, strict=True)
    how_often = ", ".join(f"{event} {rate.text(3, interval=False)}" for event, rate in pairs)
    return Table(name, title, columns, rows, f"{EVENT_NOTE} How often: {how_often}.")


def whole(name: str, about: str, groups: Groups, ours: str) -> list[Table]:
    """Return every table about forecasts."""
    return [
        losses(f"{name}-loss", f"Forecasts {about}", groups),
        skills(f"{name}-skill", f"Skill of {ours} {about}", groups, ours),
        events(f"{name}-events", f"Events {about}", groups),
    ]
