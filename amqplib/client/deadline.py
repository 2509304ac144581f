"""One deadline for a whole public call, however many reads and writes it takes."""

from __future__ import annotations

import time
from typing import Optional

__all__ = ["NEVER", "Deadline"]


class Deadline:
    """A moment on the monotonic clock; with None seconds it never comes."""

    __slots__ = ("_end", "began", "seconds")

    def __init__(self, seconds: Optional[float]) -> None:
        if not (seconds is None or isinstance(seconds, (int, float))):
            raise ValueError("a timeout is a number of seconds or None, not %r" % (seconds,))
        #: What was asked for, for error messages.
        self.seconds = seconds
        #: When that was, on time.monotonic().
        self.began = time.monotonic()
        self._end = None if seconds is None else self.began + seconds

    @classmethod
    def at(cls, moment: float) -> Deadline:
        """A moment on time.monotonic()."""
        deadline = cls(max(0.0, moment - time.monotonic()))
        deadline._end = moment
        return deadline

    def sooner(self, other: Deadline) -> Deadline:
        """The one of the two that comes first."""
        if self._end is None or (other._end is not None and other._end < self._end):
            return other
        return self

    def later(self, seconds: float) -> Deadline:
        """This one, put off."""
        deadline = Deadline(self.seconds)
        deadline.began = self.began
        deadline._end = None if self._end is None else self._end + seconds
        return deadline

    def remaining(self) -> Optional[float]:
        """Seconds left, never below 0; None for ever."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def expired(self) -> bool:
        """Has the moment come?"""
        return self._end is not None and time.monotonic() >= self._end


NEVER = Deadline(None)
