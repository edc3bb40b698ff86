"""The parts of the dashboard: each draws one matter into the lines it is given.

In come a `View` and a size, out go at most that many lines. Where a part sits and how large it may
be is decided in `layout`.
"""

from __future__ import annotations

import textwrap

import numpy as np
from rich.text import Text

from sleepstream.hypnogram import SLEEP_STAGES, Row
from sleepstream.messages import EPOCH_S, N_HORIZONS, STAGES, Stage, StreamState, stage_name
from sleepstream.outputs.dashboard import drawing
from sleepstream.outputs.dashboard.palette import (
    BAD,
    FILLS,
    GOOD,
    LOUD,
    QUIET,
    SHADES,
    STAGE_ROWS,
    WARN,
    colour,
    emphasis,
    letter,
)
from sleepstream.outputs.dashboard.view import StreamHealth, View

DISCLAIMER = "research use only — not a medical device"
GUTTER = 4
"""Columns left of a chart, for its labels."""

_STATE_SIGNS = {
    StreamState.SEARCHING: ("○ ", WARN),
    StreamState.CONNECTED: ("● ", GOOD),
    StreamState.STALLED: ("▲ ", LOUD),
    StreamState.LOST: ("▲ ", LOUD),
    StreamState.RECONNECTED: ("● ", WARN),
    StreamState.ENDED: ("■ ", ""),
}
_SILENT = (StreamState.STALLED, StreamState.LOST)


def header(view: View, width: int) -> list[Text]:
    """Draw whose night it is, how long it has lasted, the stream's state and the badge."""
    right = Text()
    if view.health is not None:
        right.append_text(_state(view.health))
    if view.synthetic:
        right.append_text(Text.assemble("  ", drawing.badge("SYNTHETIC SIGNAL")))
    left = Text.assemble(("sleepstream", "bold"), "  ", view.bed)
    if width >= 64:
        label = "night " if view.start is None else ""
        left.append_text(Text.assemble("  ", label, (view.at(view.elapsed_s), "bold")))
    room = width - right.cell_len - 2
    if room < 8:
        return [drawing.fit(right, width)]
    return [Text.assemble(drawing.fit(left, room), "  ", right)]


def _state(health: StreamHealth) -> Text:
    sign, style = _STATE_SIGNS[health.state]
    text = sign + health.state
    if health.state in _SILENT and health.since_last_s is not None:
        text += f" {health.since_last_s:.0f} s"
    return Text(text, style)


def footer(view: View, width: int) -> list[Text]:
    """Draw what this program is not, and how quick it was."""
    left = Text(DISCLAIMER, QUIET)
    for right in _latency(view):
        room = width - left.cell_len - right.cell_len
        if room > 0:
            return [Text.assemble(left, " " * room, right)]
    return [left]


def _latency(view: View) -> list[Text]:
    """Return the latency against its budget, in full and ever shorter."""
    latency = view.night.latency
    if latency is None:
        return []
    last, p50, p99, budget = (
        _ms(value) for value in (latency.last_ms, latency.p50_ms, latency.p99_ms, view.budget_ms)
    )
    late = latency.p99_ms > view.budget_ms
    label, style = (Text(" LATE ", LOUD), BAD) if late else (Text("latency"), "")
    forms = (
        f" last {last} ms · median {p50} ms · 99 % within {p99} ms · budget {budget} ms",
        f" {last} · p50 {p50} · p99 {p99} of {budget} ms",
        f" p99 {p99} of {budget} ms",
    )
    return [Text.assemble(label, (form, style)) for form in forms]


def _ms(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def now(view: View, width: int, height: int) -> list[Text]:
    """Draw the current stage, the bigger the more room there is, and the provisional one."""
    last = view.night.last
    if last is None:
        text = "waiting for the first epoch"
        return [Text(text, "bold"), *_provisional(view)][:height]
    name = stage_name(last.stage)
    said = _said(view, width)
    if height < 4:
        return [Text.assemble(said, "  ", *_provisional(view))]
    words = [
        said,
        *(_provisional(view) or [Text("")]),
        Text(_when(view)),
    ]
    if height >= 9 and width >= 36:
        big = drawing.big_letters(name, emphasis(last.stage), scale=2)
        bar = drawing.meter(last.confidence, width - 2, colour(last.stage))
        gap = [Text("")] * (height > 9)
        return [*big, *gap, words[0], bar, *words[1:]][:height]
    big = drawing.big_letters(name, emphasis(last.stage), scale=1)
    bar = drawing.meter(last.confidence, max(width - 18, 0), colour(last.stage))
    return drawing.beside([(big, 16), ([words[0], bar, *words[1:]], width - 17)], height, gap=1)


def _said(view: View, width: int) -> Text:
    last = view.night.last
    if last is None or last.stage is None:
        return Text("? unscorable", "bold")
    text = Text.assemble(
        (stage_name(last.stage), f"bold {colour(last.stage)}"), f" {_percent(last.confidence)}"
    )
    bout = f" · lasting {view.night.bout_min():g} min" if width >= 40 else ""
    return text.append(bout, QUIET)


def _provisional(view: View) -> list[Text]:
    estimate = view.provisional
    if estimate is None:
        return []
    if estimate.stage is None:
        return [Text("now ? (provisional)", QUIET)]
    sure = f" (provisional, {_percent(estimate.confidence)})"
    return [Text.assemble("now ", (f"~{estimate.stage.name}", colour(estimate.stage)), sure)]


def _when(view: View) -> str:
    last = view.night.last
    return "" if last is None else f"epoch {last.epoch} from {view.at(last.epoch * EPOCH_S)}"


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def forecast(view: View, width: int, height: int) -> list[Text]:
    """Draw what is likely in the next ten minutes."""
    estimate = view.newest
    if estimate is None:
        return [Text("no forecast yet", QUIET)][:height]
    meters = [
        _chance("P(wake in 5 min)", estimate.p_wake_5min, Stage.W, width),
        _chance("P(REM in 5 min) ", estimate.p_rem_5min, Stage.REM, width),
    ]
    label = "next 10 min " if width >= N_HORIZONS + 12 and height < 8 else ""
    repeat = max(1, min(3, (width - len(label)) // N_HORIZONS))
    probs = np.nan_to_num(estimate.forecast)
    best = probs.argmax(axis=1)
    letters = Text.assemble((label, QUIET))
    shades = Text.assemble(("probability "[: len(label)], QUIET))
    for stage, row in zip((STAGES[i] for i in best), probs, strict=True):
        shade = SHADES[min(int(row[stage] * len(SHADES)), len(SHADES) - 1)]
        letters.append(letter(stage).ljust(repeat), f"bold {colour(stage)}")
        shades.append(shade * repeat, colour(stage))
    if height < 8:
        return [letters, shades, *meters][:height]
    stack = drawing.stacked(probs, width, min(height - 5, 6), repeat).lines()
    marks = drawing.Canvas(width, 1)
    for minute in (0, 5):
        marks.put(minute * 2 * repeat, 0, f"+{minute}", QUIET)
    marks.put(20 * repeat - 7, 0, "+10 min", QUIET)
    return [letters, shades, *stack, *marks.lines(), *meters]


def chances(view: View) -> list[Text]:
    """Draw the chance of waking and of REM in one short line."""
    estimate = view.newest
    if estimate is None:
        return []
    wake, rem = _percent(estimate.p_wake_5min), _percent(estimate.p_rem_5min)
    return [
        Text.assemble(
            "in 5 min: ",
            (f"P(wake) {wake}", colour(Stage.W)),
            "  ",
            (f"P(REM) {rem}", colour(Stage.REM)),
        )
    ]


def _chance(label: str, value: float, stage: Stage, width: int) -> Text:
    text = f"{label} {_percent(value):>5} "
    room = max(0, min(width - len(text), 30))
    return Text.assemble(text, drawing.meter(value, room, colour(stage)))


def hypnogram(view: View, width: int, height: int) -> list[Text]:
    """Draw the step line of the whole night so far; as letters where there is no room for it."""
    room = width - GUTTER
    columns = drawing.stage_columns(view.night.codes, max(room, 1))
    if height < len(STAGE_ROWS):
        line = Text(" " * GUTTER)
        for stage in columns:
            line.append(letter(stage), colour(stage))
        return [line]
    chart = drawing.step_line(columns, room, height, view.now)
    labels = drawing.Canvas(GUTTER, height)
    for i, stage in enumerate(STAGE_ROWS):
        labels.put(0, i * (height - 1) // 4, stage.name, f"bold {colour(stage)}")
    return _side_by_side(labels, chart)


def hypnodensity(view: View, width: int, height: int) -> list[Text]:
    """Draw the stage probabilities of the whole night so far."""
    room, night = width - GUTTER, view.night
    known = night.probs * (night.codes >= 0)[:, None]
    columns = drawing.column_sums(known, max(room, 1))
    labels = drawing.Canvas(GUTTER, height)
    labels.put(0, 0, "p 1", QUIET)
    labels.put(2, height - 1, "0", QUIET)
    return _side_by_side(labels, drawing.stacked(columns, room, height))


def time_axis(view: View, width: int) -> list[Text]:
    """Draw the hours of the night, or the times of day where they are known."""
    axis = drawing.Canvas(width, 1)
    room = width - GUTTER
    for x, label in drawing.time_ticks(view.night.n, room, view.start):
        axis.put(GUTTER + x, 0, label, QUIET)
    for x, stage in enumerate(drawing.stage_columns(view.night.codes, max(room, 1))):
        if stage is None:
            axis.put(GUTTER + x, 0, "?", WARN)
    return axis.lines()


def legend() -> Text:
    """Return which fill stands for which stage."""
    return Text("  ").join(
        Text.assemble((FILLS[stage] * 2, colour(stage)), f" {stage.name}") for stage in STAGE_ROWS
    )


def _side_by_side(labels: drawing.Canvas, chart: drawing.Canvas) -> list[Text]:
    return [
        Text.assemble(label, line)
        for label, line in zip(labels.lines(), chart.lines(), strict=True)
    ]


def signal_note(view: View) -> Text:
    """Return the verdict on the signal, with its reasons."""
    estimate = view.newest
    if estimate is None:
        return Text("")
    score = estimate.quality.score
    word, style = _QUALITY[int(np.searchsorted((0.0, 0.5, 0.8), score, side="right")) - 1]
    if estimate.stage is None:
        word, style = "unusable", BAD
    reasons = ", ".join(drawing.plain(reason) for reason in estimate.quality.reasons)
    return Text.assemble(
        "quality ", (f"{word} {score:.2f}", style), f": {reasons}" if reasons else ""
    )


_QUALITY = (("poor", BAD), ("fair", WARN), ("good", GOOD))


def signal(view: View, width: int, height: int) -> list[Text]:
    """Draw the last half minute of the signal."""
    if view.signal is None:
        return [Text("no signal yet", QUIET)][:height]
    reach = drawing.half_range(view.signal)
    room = width - GUTTER - 2
    labels = drawing.Canvas(GUTTER + 2, height)
    labels.put(0, 0, f"+{reach:.0f}"[: GUTTER + 1], QUIET)
    labels.put(0, height - 1, f"-{reach:.0f}"[: GUTTER + 1] if height > 1 else "", QUIET)
    return _side_by_side(labels, drawing.trace(view.signal, room, height, reach))


def sleep(view: View, width: int, height: int) -> list[Text]:
    """Draw the sleep statistics so far: with their meaning, or closely packed."""
    rows = view.night.statistics.rows()
    if height >= len(rows) + 2:
        return [*(_long_row(row, width) for row in rows), Text(""), _shares(view, width)]
    if height >= len(rows):
        return [_long_row(row, width) for row in rows]
    pairs = [_pair(short, value) for short, _, value in rows[:8]]
    per_line = max(1, width // 17)
    packed = [
        Text("").join(drawing.fit(pair, width // per_line) for pair in pairs[i : i + per_line])
        for i in range(0, len(pairs), per_line)
    ]
    if len(packed) >= height:
        packed = packed[: max(height - 1, 1)]
    return [*packed, _percentages(view)][:height]


def _pair(short: str, value: str) -> Text:
    return Text.assemble((f"{short:<6}", QUIET), value)


def _long_row(row: Row, width: int) -> Text:
    short, meaning, value = row
    room = max(width - len(value) - 1, 0)
    meaning = "" if meaning.endswith(f"in {short}") else meaning
    text = Text.assemble((f"{short:<6}", "bold"), (meaning, QUIET))
    return Text.assemble(drawing.fit(text, room), " ", value)


def _percentages(view: View) -> Text:
    """Return the share of each sleep stage in TST, in one line."""
    line = Text()
    for stage in SLEEP_STAGES:
        share = view.night.statistics.percent_of_tst(stage)
        value = "–" if share is None else f"{share:.0f} %"
        line.append(f"{stage.name} ", colour(stage)).append(f"{value}  ")
    return line


def _shares(view: View, width: int) -> Text:
    """Draw the share of each stage in TRT as one bar."""
    minutes = np.array([view.night.statistics.minutes[stage] for stage in STAGE_ROWS])
    if not minutes.sum():
        return Text("")
    edges = np.rint(np.cumsum(minutes) / minutes.sum() * width).astype(int)
    line = Text()
    for stage, length in zip(STAGE_ROWS, np.diff(edges, prepend=0), strict=True):
        line.append(FILLS[stage] * int(length), colour(stage))
    return line


def disorder(view: View, width: int, height: int) -> list[Text]:
    """Draw the overnight disorder score with what it means, or why there is none."""
    estimate = view.newest
    if estimate is None or height < 1:
        return [Text("disorder score –", QUIET)][:height]
    score = estimate.disorder
    name = drawing.plain(score.name)
    # a number comes first: where there is no room it is the name that may be cut
    head = (
        Text.assemble((name, "bold"), " –")
        if score.probability is None
        else Text.assemble((_score(score.probability, score.interval), "bold"), " ", name)
    )
    statement = drawing.plain(score.statement)
    if height == 1:
        return [Text.assemble(head, " ", (statement, QUIET))]
    lines = textwrap.wrap(statement, max(width, 1), max_lines=height - 1, placeholder=" …")
    return [head, *(Text(line, QUIET) for line in lines)]


def _score(probability: float, interval: tuple[float, float] | None) -> str:
    bounds = "" if interval is None else f" ({interval[0]:.2f}–{interval[1]:.2f})"
    return f"{probability:.2f}{bounds}"


def stream(view: View, width: int, height: int) -> list[Text]:
    """Draw how the stream is doing."""
    health = view.health
    if health is None:
        return [Text("no stream yet", QUIET)][:height]
    sign, style = _STATE_SIGNS[health.state]
    rate = "–" if health.sfreq is None else f"{health.sfreq:.1f}"
    since = "–" if health.since_last_s is None else f"{health.since_last_s:.1f} s ago"
    clock = "–" if health.clock_s is None else f"{health.clock_s:.1f} s"
    lost = Text(f"gaps {health.n_gaps}, lost {health.n_lost}", WARN if health.n_gaps else "")
    channel = (view.newest and view.newest.derivation) or health.channel
    name = drawing.plain(f"{health.source} · {channel} · {health.unit}")
    rates = f"{rate}/{health.sfreq_nominal:g} Hz"
    if height >= 4:
        return [
            Text.assemble((sign, style), (name, "bold")),
            Text.assemble(("rate   ", QUIET), rates),
            Text.assemble(("last   ", QUIET), f"{since} · sender at {clock}"),
            Text.assemble(("loss   ", QUIET), lost, " samples"),
        ]
    first = Text.assemble((sign, style), (name, "bold"))
    first.truncate(max(width - len(since) - 2, 0), overflow="ellipsis")
    first.append(f"  {since}", QUIET)
    return [first, Text.assemble(rates, " · ", lost)][:height]


def notices(view: View, width: int, height: int) -> list[Text]:
    """Draw the last warnings, the newest last."""
    if not view.notices:
        return [Text("none", QUIET)][:height]
    lines = []
    for text, times in view.notices[-height:] if height else ():
        again = f" ×{times}" if times > 1 else ""
        lines.append(drawing.fit(Text.assemble(("! ", f"bold {WARN}"), text + again), width))
    return lines
