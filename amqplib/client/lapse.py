"""The last consumer of a channel has ended: what `while ch.callbacks: ch.wait()` must not wait behind.

The loop tests `callbacks`, and waits; another thread, or a signal handler, may end the last consumer before, in between
or after that. So it is noted, until somebody consumes again, and told once to each thread that waits.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, List, Set

from ..protocol.port import Port

if TYPE_CHECKING:
    from .line import Line

__all__ = ["Lapse", "is_known", "lapses"]


class Lapse:
    """Who ended it, and who knows."""

    __slots__ = ("_by", "_knows", "_sent", "port")

    def __init__(self, port: Port, by: int, sent: int) -> None:
        self.port = port
        self._by = by
        self._sent = sent
        self._knows: Set[int] = set()

    def is_all(self, sent: int) -> None:
        """All that has been sent until now was part of ending it, by the thread that has: see is_news()."""
        if self._by == threading.get_ident():
            self._sent = sent

    def is_known(self) -> None:
        """The calling thread has handled something since, and tests whatever it tests again."""
        self._knows.add(threading.get_ident())

    def is_news(self, sent: int) -> bool:
        """Has the calling thread to be told? It is told by that.

        sent: a number that grows with all that is sent. A thread that has ended the consumer itself knows that, unless
        it was a signal handler between its test and its wait: then nothing has been sent since.
        """
        me = threading.get_ident()
        if me in self._knows:
            return False
        self._knows.add(me)
        return me != self._by or (sent == self._sent and me == threading.main_thread().ident)


def lapses(line: Line) -> List[Lapse]:
    """The end of the last consumer, if that is what came last: one for wait(), and one for drain_events()."""
    both = line.consumers.lapse, line.driver.parting.lapse
    return [lapse for lapse in both if lapse is not None and lapse.port is line.port]


def is_known(line: Line) -> None:
    """This thread knows that the last consumer has ended, if it has: neither wait() nor drain_events() tells it."""
    for lapse in lapses(line):
        lapse.is_known()
