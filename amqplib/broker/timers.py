"""What is to happen later: a heap of moments. It is driven by whoever knows the time."""

from __future__ import annotations

import heapq
from itertools import count
from typing import Callable, List, Optional, Tuple

__all__ = ["Timer", "Timers"]

#: Seconds. Systems do not take any number of them.
_LONG = 3600.0


class Timer:
    """One of them; cancel() calls it off."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None]) -> None:
        #: None once it has happened, or never will.
        self.action: Optional[Callable[[], None]] = action

    def cancel(self) -> None:
        """It will not happen."""
        self.action = None


def _give_up(error: Exception) -> None:
    raise error


class Timers:
    """All of them. Times are in seconds, of the clock that is given."""

    def __init__(self, clock: Callable[[], float], failed: Callable[[Exception], None] = _give_up) -> None:
        self.clock = clock
        self._failed = failed  # is told what a timer's action raises; the others happen all the same
        self._heap: List[Tuple[float, int, Timer]] = []
        self._number = count()

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Have something done."""
        timer = Timer(action)
        heapq.heappush(self._heap, (self.clock() + seconds, next(self._number), timer))
        return timer

    def next(self) -> Optional[float]:
        """Seconds until something is due, or until it is worth asking again; None when nothing is."""
        heap = self._heap
        while heap and heap[0][2].action is None:
            heapq.heappop(heap)
        return min(max(0.0, heap[0][0] - self.clock()), _LONG) if heap else None

    def run(self) -> None:
        """Do what is due; what that asks for has to wait for the next time."""
        now = self.clock()
        last = next(self._number)
        heap = self._heap
        while heap and heap[0][:2] < (now, last):
            timer = heapq.heappop(heap)[2]
            action, timer.action = timer.action, None
            if action is not None:
                try:
                    action()
                except Exception as exc:
                    self._failed(exc)
