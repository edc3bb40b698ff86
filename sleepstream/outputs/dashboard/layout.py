"""Which part of the dashboard sits where, at every size of the terminal.

A size is dealt out greedily: everything begins with the least that makes sense, and a list of
wishes, the most important first, takes what is left. Two shapes: parts on top of each other, and on
a large terminal charts on the left with figures on the right.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from sleepstream.outputs.dashboard import drawing, sections
from sleepstream.outputs.dashboard.view import View

Wish = tuple[str, int]
"""A part and the number of lines that it would like, all in all."""

WIDE, TALL = 110, 32
"""From this size on there are two columns."""

# Lines of a hypnogram are 4 k + 1, so that its five rows are evenly spaced. A part with a heading
# counts it.
_STACK: tuple[Wish, ...] = (
    ("footer", 1),
    ("now", 1),
    ("header", 1),
    ("hypnogram", 1),
    ("axis", 1),
    ("hypnogram", 5),
    ("now", 2),
    ("now", 4),
    ("title", 1),
    ("signal", 3),
    ("facts", 3),
    ("density", 3),
    ("facts", 5),
    ("signal", 4),
    ("density", 4),
    ("hypnogram", 9),
    ("facts", 7),
    ("signal", 6),
    ("density", 6),
    ("hypnogram", 13),
    ("facts", 10),
    ("signal", 8),
    ("hypnogram", 17),
    ("density", 8),
    ("signal", 99),
)
_LEFT: tuple[Wish, ...] = (
    ("axis", 1),
    ("title", 1),
    ("hypnogram", 9),
    ("density", 5),
    ("signal", 6),
    ("hypnogram", 13),
    ("density", 7),
    ("signal", 9),
    ("hypnogram", 17),
    ("density", 9),
    ("signal", 12),
    ("gaps", 2),
    ("density", 12),
    ("hypnogram", 21),
    ("density", 15),
    ("signal", 99),
)
_RIGHT: tuple[Wish, ...] = (
    ("now", 5),
    ("forecast", 5),
    ("sleep", 6),
    ("stream", 3),
    ("disorder", 3),
    ("notices", 2),
    ("now", 10),
    ("stream", 5),
    ("disorder", 4),
    ("forecast", 9),
    ("notices", 3),
    ("sleep", 12),
    ("forecast", 11),
    ("notices", 5),
    ("sleep", 14),
    ("disorder", 6),
)


def allot(lines: int, wishes: Sequence[Wish]) -> dict[str, int]:
    """Deal out lines: each wish that still fits is granted, in order.

    A wish for 99 lines takes whatever is left.
    """
    given = {name: 0 for name, _ in wishes}
    for name, wanted in wishes:
        extra = wanted - given[name]
        if wanted == _THE_REST:
            given[name] += lines
            lines = 0
        elif 0 < extra <= lines:
            given[name] = wanted
            lines -= extra
    return given


_THE_REST = 99


def compose(view: View, width: int, height: int) -> list[Text]:
    """Draw the whole dashboard.

    Parameters
    ----------
    view : View
        What there is to draw.
    width, height : int
        Size of the terminal.

    Returns
    -------
    list of Text
        `height` lines of at most `width` cells.
    """
    wide = width >= WIDE and height >= TALL
    lines = _two_columns(view, width, height) if wide else _stacked(view, width, height)
    lines = lines[:height]
    blank = [Text("")] * (height - len(lines))
    return [drawing.fit(line, width) for line in [*lines[:-1], *blank, *lines[-1:]]]


def _stacked(view: View, width: int, height: int) -> list[Text]:
    n = allot(height, _STACK)
    lines = sections.header(view, width) * n["header"]
    lines += _band(view, width, n["now"])
    lines += _charts(view, width, n)
    lines += _signal(view, width, n["signal"])
    lines += _facts(view, width, n["facts"])
    return lines + sections.footer(view, width) * n["footer"]


def _band(view: View, width: int, height: int) -> list[Text]:
    """Draw the present and, where there is room beside or below it, the future."""
    if height < 4 or width < 78:
        ahead = sections.forecast(view, width, height - 2) if height > 2 else []
        return _padded([*sections.now(view, width, 1), *ahead, *sections.chances(view)], height)
    half = width - max(34, min(width * 2 // 5, 72)) - 2
    present = sections.now(view, half, height)
    future = sections.forecast(view, width - half - 2, height)
    return drawing.beside([(present, half), (future, width - half - 2)], height)


def _charts(view: View, width: int, n: dict[str, int]) -> list[Text]:
    lines: list[Text] = []
    if n["title"]:
        note = sections.legend() if n["density"] else None
        lines.append(drawing.heading("hypnogram", width, note))
    if n["hypnogram"]:
        lines += sections.hypnogram(view, width, n["hypnogram"])
    if n["density"]:
        lines += sections.hypnodensity(view, width, n["density"])
    if n["axis"]:
        lines += sections.time_axis(view, width)
    return lines


def _signal(view: View, width: int, height: int) -> list[Text]:
    if height < 2:
        return []
    title = "signal, last 30 s in µV" if width >= 72 else "signal"
    head = drawing.heading(title, width, sections.signal_note(view))
    return [head, *_padded(sections.signal(view, width, height - 1), height - 1)]


def _facts(view: View, width: int, height: int) -> list[Text]:
    if height < 2:
        return []
    room = height - 1
    if width < 72:
        left = [drawing.heading("sleep so far", width), *sections.sleep(view, width, min(room, 3))]
        right = _around(view, width, room - 3)
        return _padded([*left, *right], height)
    half = (width - 2) // 2
    left = [drawing.heading("sleep so far", half), *sections.sleep(view, half, room)]
    rest = width - half - 2
    right = [drawing.heading("stream", rest), *_around(view, rest, room)]
    return drawing.beside([(left, half), (right, rest)], height)


def _around(view: View, width: int, room: int) -> list[Text]:
    """Draw stream, disorder score and notices closely packed."""
    if room < 1:
        return []
    warnings = min(len(view.notices), max(1, room - 4)) if room > 1 else 0
    stream = sections.stream(view, width, min(2, room - warnings))
    score = sections.disorder(view, width, room - len(stream) - warnings)
    return [*stream, *score, *sections.notices(view, width, warnings)]


def _two_columns(view: View, width: int, height: int) -> list[Text]:
    right = max(40, min(width * 3 // 10, 58))
    left = width - right - 3
    air = [Text("")] * (height >= 44)
    body = height - 2 - 2 * len(air)
    columns = [(_left(view, left, body), left), (_right(view, right, body), right)]
    return [
        *sections.header(view, width),
        *air,
        *drawing.beside(columns, body, gap=3),
        *air,
        *sections.footer(view, width),
    ]


def _left(view: View, width: int, height: int) -> list[Text]:
    n = allot(height, _LEFT)
    lines = [drawing.heading("hypnogram", width)]
    lines += sections.hypnogram(view, width, n["hypnogram"])
    gap = [Text("")] * (n["gaps"] // 2)
    lines += [*sections.time_axis(view, width), *gap]
    lines.append(drawing.heading("hypnodensity", width, sections.legend()))
    lines += [*sections.hypnodensity(view, width, n["density"] - 1), *gap]
    return lines + _signal(view, width, n["signal"])


def _right(view: View, width: int, height: int) -> list[Text]:
    n = allot(height, _RIGHT)
    spare = height - sum(n.values())
    draw = {
        "now": sections.now,
        "forecast": sections.forecast,
        "sleep": sections.sleep,
        "disorder": sections.disorder,
        "stream": sections.stream,
        "notices": sections.notices,
    }
    titles = {"now": "now", "forecast": "next 10 min", "sleep": "sleep so far"}
    titles |= {"disorder": "disorder score", "stream": "stream", "notices": "notices"}
    lines: list[Text] = []
    for i, (name, section) in enumerate(draw.items()):
        if n[name] < 2:
            continue
        lines.append(drawing.heading(titles[name], width))
        lines += _padded(section(view, width, n[name] - 1), n[name] - 1)
        if spare > 0 and i < len(draw) - 1:
            lines.append(Text(""))
            spare -= 1
    return lines


def _padded(lines: list[Text], height: int) -> list[Text]:
    return [*lines[:height], *[Text("")] * (height - len(lines))]
