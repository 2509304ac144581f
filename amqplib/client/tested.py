"""What a loop of the program has tested before it waits: `while ch.unconfirmed: ch.wait()`, and the like.

Another thread, or a signal handler, may read what the loop waits for between its test and its wait, which would then go
on and on. So a test that makes a loop wait is noted for its thread, and that thread's wait() ends at once when the test
would say something else. `callbacks`, a plain dict, cannot note its tests: see `lapse`.
"""

from __future__ import annotations

import threading
from typing import Callable, Dict, Tuple

from ..protocol.port import Port

__all__ = ["Tested"]

#: The number of a channel, 0 for the connection, and what of it was tested.
_Key = Tuple[int, str]


class Tested:
    """The latest tests on one connection, by thread."""

    __slots__ = ("_tests",)

    def __init__(self) -> None:
        self._tests: Dict[int, Dict[_Key, Callable[[], bool]]] = {}

    def note(self, port: Port, name: str, waits: bool, still: Callable[[], bool]) -> None:
        """The calling thread has made a test, and most likely waits if that says so; `still`: would it say so again?

        `still` is called with the driver's lock held.
        """
        me = threading.get_ident()
        mine = self._tests.get(me)
        if waits:
            if mine is None:
                mine = self._tests[me] = {}
            mine[port.number, name] = still
        elif mine is not None:
            mine.pop((port.number, name), None)
            if not mine:
                self._tests.pop(me, None)

    def is_past(self, *ports: Port) -> bool:
        """Would a test of the calling thread say something else now? It is told by that. No ports: of any."""
        if not self._tests:
            return False
        me = threading.get_ident()
        mine, numbers = self._tests.get(me, {}), [port.number for port in ports]
        for (number, name), still in list(mine.items()):
            if (not numbers or number in numbers) and not still():
                mine.pop((number, name), None)
                if not mine:
                    self._tests.pop(me, None)
                return True
        return False

    def forget(self, port: Port) -> None:
        """The channel is over."""
        for mine in list(self._tests.values()):
            for key in [key for key in list(mine) if key[0] == port.number]:
                mine.pop(key, None)
