"""One deadline for a whole public call, however many reads and writes it takes."""

from __future__ import annotations

import time
from typing import Callable, Optional

__all__ = ["NEVER", "Deadline"]

#: More seconds than this are for ever: systems do not count that far.
_FOR_EVER = 1e8


class Deadline:
    """A moment on the clock; with None seconds it never comes.

    A `patient` one is for something that the broker owes, and is put off while it blocks the connection: see
    Timeouts.put_off(). Others hold whatever happens. ValueError for what is neither a number nor None.
    """

    __slots__ = ("_clock", "_end", "began", "blocked_before", "patient", "seconds")

    def __init__(
        self,
        seconds: Optional[float],
        patient: bool = False,
        clock: Callable[[], float] = time.monotonic,
        blocked_before: float = 0.0,
    ) -> None:
        if seconds is not None and not (isinstance(seconds, (int, float)) and seconds >= 0):  # nan is not, either
            raise ValueError("a timeout is a number of seconds, 0 or more, or None, not %r" % (seconds,))
        #: What was asked for, for error messages.
        self.seconds = seconds
        self.patient = patient
        #: Of a patient one: seconds for which the connection had been blocked before this began.
        self.blocked_before = blocked_before
        self._clock = clock
        #: When that was, by the clock.
        self.began = began = clock()
        self._end = None if seconds is None or seconds > _FOR_EVER else began + seconds

    def sooner(self, other: Deadline) -> Deadline:
        """The one of the two that comes first."""
        if self._end is None or (other._end is not None and other._end < self._end):
            return other
        return self

    def later(self, seconds: float) -> Deadline:
        """Another one, so much later than this; it is not patient any more, for it has been put off."""
        deadline = Deadline(self.seconds, clock=self._clock)
        deadline.began = self.began
        deadline._end = None if self._end is None else self._end + seconds
        return deadline

    def share(self, count: int) -> Deadline:
        """One that leaves as much time for each of `count` attempts, the first of which begins now."""
        remaining = self.remaining()
        return self if remaining is None or count == 1 else Deadline(remaining / count, clock=self._clock)

    def remaining(self) -> Optional[float]:
        """Seconds left, never below 0; None for ever."""
        return None if self._end is None else max(0.0, self._end - self._clock())

    def within(self, seconds: float) -> float:
        """The same, but `seconds` at most."""
        if self._end is None:
            return seconds
        left = self._end - self._clock()
        return seconds if left >= seconds else max(0.0, left)

    def expired(self) -> bool:
        """Has the moment come?"""
        return self._end is not None and self._clock() >= self._end


NEVER = Deadline(None)
