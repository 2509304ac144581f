"""Text from strangers - a peer's, a URL's - made fit to be shown."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    """The text on one line, with everything that is no character to be seen spelled out as in a Python literal.

    As it came, it could end a line of a log and forge the next one, command a terminal (ESC, the C1 controls), turn
    the direction of what follows (U+202E), or, with octets in it that were no UTF-8, not be written at all.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
