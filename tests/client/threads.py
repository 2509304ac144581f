"""Threads for tests: each is waited for, for a limited time, and what it returned or raised is looked at."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any, Callable, Dict, Iterator, List

from tests.rest import await_rest

from .peer import PATIENCE

__all__ = ["Threads", "waiting"]


class Threads:
    """Threads of a test: what they return or raise, by the order of their start."""

    def __init__(self) -> None:
        self._threads: List[threading.Thread] = []
        self._outcomes: Dict[int, Any] = {}

    def start(self, function: Callable[..., Any], *args: Any) -> None:
        number = len(self._threads)

        def run() -> None:
            try:
                self._outcomes[number] = function(*args)
            except BaseException as exc:
                self._outcomes[number] = exc.with_traceback(None)

        self._threads.append(threading.Thread(target=run, daemon=True))
        self._threads[-1].start()

    def outcomes(self, within: float = PATIENCE) -> List[Any]:
        end = time.monotonic() + within
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        hanging = [number for number, thread in enumerate(self._threads) if thread.is_alive()]
        assert not hanging, "threads %s are still waiting" % hanging
        return [self._outcomes[number] for number in range(len(self._threads))]

    def results(self) -> List[Any]:
        """As outcomes(), when nothing was raised."""
        found = self.outcomes()
        for outcome in found:
            if isinstance(outcome, BaseException):
                raise outcome
        return found


@contextlib.contextmanager
def waiting(threads: Threads, function: Callable[..., Any], *args: Any) -> Iterator[None]:
    """Another thread is in wait() meanwhile."""
    threads.start(function, *args)
    await_rest()
    yield
