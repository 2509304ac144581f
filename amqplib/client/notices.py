"""What the program has to hear of a connection: warnings to log, and functions of its own to call.

They are kept until no lock is held, for the functions, and the program's handlers of logging, may do what they want.
"""

from __future__ import annotations

import weakref
from collections import deque
from functools import partial
from typing import Any, Callable, Deque, Optional, Tuple

from ..wire.text import printable
from .logger import LOGGER

__all__ = ["Notices"]


#: Warnings, and calls, that are kept: a peer may give cause to many more before any can be told.
_MOST = 100

#: Of these, warnings that the broker blocks the connection, or does so no more.
_FEW = 10


class Notices:
    """What is due."""

    __slots__ = ("_blocked", "_left_out", "_listener", "_of_blocks", "_warnings", "calls")

    def __init__(self) -> None:
        self._warnings: Deque[Tuple[Any, ...]] = deque()
        self._left_out = 0  # warnings that were one too many
        self._blocked: Optional[str] = None  # the reason that was told last
        self._of_blocks = 0  # warnings of that which wait
        #: Functions of the program; of too many the latest, which tell how things stand.
        self.calls: Deque[Callable[[], Any]] = deque(maxlen=_MOST)
        self._listener: Callable[[], Any] = lambda: None

    def listen(self, connection: Any) -> None:
        """Whose on_blocked and on_unblocked are to be called."""
        self._listener = weakref.ref(connection)

    def succeed(self, other: Notices) -> None:
        """Take over what others that are done with have not told."""
        self._blocked = self._blocked or other._blocked
        self._warnings.extendleft(reversed(other._warnings))
        self.calls.extendleft(reversed(other.calls))
        other._warnings.clear()
        other.calls.clear()

    def __bool__(self) -> bool:
        return bool(self._warnings or self.calls)

    def warn(self, text: str, *args: Any) -> None:
        """Have a warning logged, or counted where too many wait to be."""
        if len(self._warnings) < _MOST:
            self._warnings.append((text, *args))
        else:
            self._left_out += 1

    def blocked(self, where: str, reason: Optional[str]) -> None:
        """The broker takes no publishes, for this reason, or takes them again. Once more the same is no news."""
        if reason == self._blocked:
            return
        self._blocked = reason
        connection = self._listener()
        if reason is not None:
            self._warn_of_blocks("%s: the server takes no publishes: %s", where, printable(reason))
            if connection is not None and connection.on_blocked:
                self.calls.append(partial(connection.on_blocked, reason))
        else:
            self._warn_of_blocks("%s: the server takes publishes again", where)
            if connection is not None and connection.on_unblocked:
                self.calls.append(connection.on_unblocked)

    def _warn_of_blocks(self, text: str, *args: Any) -> None:
        self._of_blocks += 1
        if self._of_blocks <= _FEW:
            self.warn(text, *args)
        else:
            self._left_out += 1

    def log(self) -> None:
        """Log what there is to log."""
        self._of_blocks = 0
        while self._warnings:
            try:
                warning = self._warnings.popleft()
            except IndexError:
                return  # another thread does
            LOGGER.warning(*warning)
        if self._left_out:
            count, self._left_out = self._left_out, 0
            text = "%d more warnings were left out: %d are kept until they can be logged, and %d of connection.blocked"
            LOGGER.warning(text, count, _MOST, _FEW)

    def tell(self) -> None:
        """Log, and call the program's functions."""
        self.log()
        while self.calls:
            try:
                call = self.calls.popleft()
            except IndexError:
                return
            call()

    def clear(self) -> None:
        """Call nobody any more."""
        self.calls.clear()

    def forked(self) -> None:
        """This is a child process now: it is the parent that is told."""
        self.calls.clear()
        self._warnings.clear()
        self._left_out = 0
