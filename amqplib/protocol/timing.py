"""How long the server takes to confirm publishes: what the books of confirms note where a program asks for it.

Books that are asked get another class, which looks at a clock that is given; nothing is tested in those that are not.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, Type

from .carried import CarriedBooks
from .confirms import Confirms, Sent, Settled
from .gates import Data, Entered

__all__ = ["ConfirmTime", "Times", "time_confirms"]

#: Times that are kept for the program to ask for: the latest.
_MOST = 10_000


class ConfirmTime(NamedTuple):
    """How long the server took to confirm, or to refuse, one publish."""

    seconds: float
    acknowledged: bool


class Times:
    """What timed books have noted."""

    __slots__ = ("begun", "clock", "taken")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        #: When each publish of which nothing has been said was entered, by tag.
        self.begun: Dict[int, float] = {}
        #: For the program to take, from any thread.
        self.taken: Deque[ConfirmTime] = deque(maxlen=_MOST)

    def take(self) -> List[ConfirmTime]:
        """What has been noted since the last time."""
        found: List[ConfirmTime] = []
        while self.taken:
            try:
                found.append(self.taken.popleft())
            except IndexError:
                break  # another thread has it
        return found


class _Timed(Confirms):
    """Books that note times."""

    __slots__ = ()

    times: Times

    def enter(self, frames: Data, msg: Any, key: Optional[Sent]) -> Optional[Entered]:
        """As in Confirms."""
        entered = super().enter(frames, msg, key)
        tag = entered[0] if entered else None
        if tag:
            self.times.begun[tag] = self.times.clock()
        return entered

    def count(self, msg: Any, frames: Data) -> int:
        """As in Confirms."""
        tag = super().count(msg, frames)
        if tag:
            self.times.begun[tag] = self.times.clock()
        return tag

    def take_back(self, tag: int) -> bool:
        """As in Confirms."""
        taken = super().take_back(tag)
        if taken:
            self.times.begun.pop(tag, None)
        return taken

    def settle(self, tag: int, multiple: bool, ack: bool) -> List[Settled]:
        """As in Confirms."""
        settled = super().settle(tag, multiple, ack)
        begun, now = self.times.begun, self.times.clock()
        for each, _ in settled:
            if each in begun:
                self.times.taken.append(ConfirmTime(now - begun.pop(each), ack))
        if len(begun) > len(self.unconfirmed):  # some came back, or were given up
            for each in [each for each in begun if each not in self.unconfirmed]:
                del begun[each]
        return settled


class _TimedCarriedBooks(_Timed, CarriedBooks):
    __slots__ = ()


_TIMED: Dict[Type[Confirms], Type[Confirms]] = {Confirms: _Timed, CarriedBooks: _TimedCarriedBooks}


def time_confirms(books: Confirms, clock: Callable[[], float]) -> None:
    """Have the books note times from now on, unless they do."""
    if books.times is None:
        books.times = Times(clock)
        books.__class__ = _TIMED[type(books)]
