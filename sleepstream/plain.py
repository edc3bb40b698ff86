"""Text from strangers, made harmless before anybody sees it.

Names of streams, labels and annotations come from the network or out of files. A terminal obeys
control characters, and some characters turn the writing direction.
"""

from __future__ import annotations


def printable(text: str) -> str:
    """Return `text` with each character that cannot be shown, or steers a terminal, as ``?``."""
    return "".join(char if char.isprintable() else "?" for char in text)


def printable_lines(text: str) -> str:
    """Do the same to a text of several lines, which stay lines."""
    return "\n".join(map(printable, text.split("\n")))


def printable_json(text: str) -> str:
    """Return JSON on one line as JSON that reads back the same and steers no terminal."""
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    code = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{code[k : k + 4]}" for k in range(0, len(code), 4))
