"""Colours, shapes and letters of the dashboard.

Colour never stands alone: each stage also has a row, a fill and a letter, so that the picture reads
without colour too. The colours are of middle lightness, so that they stand out on a dark and on a
light background alike; no background is ever set, emphasis is bold or reverse.
"""

from __future__ import annotations

from sleepstream.hypnogram import STAGE_LETTERS
from sleepstream.messages import UNSCORABLE, Stage

STAGE_ROWS: tuple[Stage, ...] = (Stage.W, Stage.REM, Stage.N1, Stage.N2, Stage.N3)
"""Stages from top to bottom, as hypnograms are drawn."""

STAGE_COLOURS: dict[Stage, str] = {
    Stage.W: "#b8751c",
    Stage.REM: "#d84a78",
    Stage.N1: "#1f9494",
    Stage.N2: "#3f83d6",
    Stage.N3: "#9a58cc",
}

FILLS: dict[Stage, str] = {
    Stage.W: "·",
    Stage.REM: "█",
    Stage.N1: "░",
    Stage.N2: "▒",
    Stage.N3: "▓",
}
"""Fill of a stage in a stacked chart: the deeper the denser, REM solid."""

GOOD = "#2f9a3f"
WARN = "#b8751c"
BAD = "#e0443e"
QUIET = "dim"
LOUD = "bold reverse"

SHADES = "▁▂▃▄▅▆▇█"
"""Levels from next to nothing to all."""


def colour(stage: Stage | None) -> str:
    """Return the style of a stage; that of something quiet where there is none."""
    return QUIET if stage is None else STAGE_COLOURS[stage]


def emphasis(stage: Stage | None) -> str:
    """Return the style of a stage in a line or text: REM is bold."""
    return f"bold {colour(stage)}" if stage is Stage.REM else colour(stage)


def letter(stage: Stage | None) -> str:
    """Return the letter of a stage."""
    return UNSCORABLE if stage is None else STAGE_LETTERS[stage]


# Everything we draw beyond ASCII, one for one, for a terminal that can show no more.
_ASCII = str.maketrans(
    {
        **dict.fromkeys("─┈", "-"),
        **dict.fromkeys("━", "="),
        **dict.fromkeys("│", "|"),
        **dict.fromkeys("┌┐└┘┑┙", "+"),
        **dict.fromkeys("█▀▄", "#"),
        "▓": "%",
        "▒": "=",
        "░": "-",
        "·": ".",
        **dict.fromkeys("▁▂", "."),
        **dict.fromkeys("▃▄", ":"),
        **dict.fromkeys("▅▆", "+"),
        "▇": "#",
        **dict.fromkeys("●○", "o"),
        "▲": "!",
        "■": "#",
        "—": "-",
        "–": "-",
        "µ": "u",
        "±": "~",
        "×": "x",
        "…": ".",
        "→": ">",
        **{chr(0x2800 + dots): "*" for dots in range(1, 256)},
        "⠀": " ",
    }
)


def to_ascii(text: str) -> str:
    """Return `text` in ASCII, as long as before."""
    return text.translate(_ASCII).encode("ascii", "replace").decode("ascii")
