"""What is kept of methods that nobody waits for as a reply: for wait(), and not without end.

A peer may send as many as it likes while the program does something else. Deliveries to its consumers are what it has
asked for, and returned messages are counted against what it has published (see `port`); for all else there is room of
a limited size.
"""

from __future__ import annotations

from typing import Any, Callable, Deque

__all__ = ["Room", "weight"]


def weight(item: Any) -> int:
    """Octets of the texts in a method's arguments and its content, and one for each value: what it takes, roughly."""
    content = item[2]
    if content is None:
        return _weight(item[1])
    properties, body = getattr(content, "properties", None), getattr(content, "body", b"")  # it may have been left out
    return _weight(item[1]) + _weight(properties) + len(body)


def _weight(value: Any) -> int:
    if isinstance(value, (str, bytes)):
        return 1 + len(value)
    if isinstance(value, dict):
        return 1 + sum(1 + len(name) + _weight(each) for name, each in value.items())
    if isinstance(value, (tuple, list)):
        return 1 + sum(map(_weight, value))
    return 1


class Room:
    """The room for such methods in the inbox of one channel."""

    __slots__ = ("_full", "_methods", "_octets")

    #: So many are kept, and so many octets of them.
    METHODS, OCTETS = 1000, 32768

    def __init__(self) -> None:
        # what has been let in since the inbox was last empty, or gone through; some may have been taken out again
        self._methods = self._octets = 0
        #: How long the inbox was when it was last found to have no more room, else 0.
        self._full = 0

    def takes(self, inbox: Deque[Any], item: Any, counts: Callable[[Any], bool]) -> bool:
        """Is there room for one more in the inbox? counts: whether one that is in it takes some of the room."""
        octets = weight(item)
        if not inbox:
            self._methods = self._octets = self._full = 0
        elif not self._has(octets) and (not self._full or 2 * len(inbox) <= self._full):
            # whoever takes some out does not tell; it is looked at once for each half of it that goes
            there = [weight(each) for each in list(inbox) if counts(each)]
            self._methods, self._octets = len(there), sum(there)
            self._full = 0 if self._has(octets) else len(inbox)
        if not self._has(octets):
            return False
        self._methods += 1
        self._octets += octets
        return True

    def _has(self, octets: int) -> bool:
        return self._methods < self.METHODS and self._octets + octets <= self.OCTETS
