"""How long a call of the client's means to wait: what it asks the system for, not how late the system comes back.

    with waits(0.2, 0.3):
        call()              # waits for 0.2 s at least, and asks for no more than 0.3 s altogether

Only the lower bound is by the clock. Load makes a call take longer, but not ask for more: each wait is for what the
deadline has left. So the upper bound can be near, and tells one deadline from two.
"""

from __future__ import annotations

import contextlib
import threading
import time
from types import TracebackType
from typing import Any, Callable, Iterator, Optional, Type

import pytest

from amqplib.client.net.transport import Transport

__all__ = ["Asked", "waits"]


class Asked:
    """As a with-statement: counts for how many seconds each thread asks the system to wait, as far as it does wait."""

    def __init__(self) -> None:
        self._own = threading.local()
        self._patch = pytest.MonkeyPatch()

    @property
    def seconds(self) -> float:
        """Of the calling thread, altogether."""
        return float(getattr(self._own, "seconds", 0.0))

    def __enter__(self) -> Asked:
        for owner, name in ((Transport, "readable"), (Transport, "ready"), (threading.Condition, "wait")):
            self._patch.setattr(owner, name, self._counted(getattr(owner, name)))
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._patch.undo()

    def _counted(self, wait: Callable[..., Any]) -> Callable[..., Any]:
        def counted(waiting: Any, seconds: Any = None, **more: Any) -> Any:
            own = waiting.sock.gettimeout() if isinstance(waiting, Transport) else None
            began = time.monotonic()
            try:
                return wait(waiting, seconds, **more)
            finally:
                took = time.monotonic() - began
                self._own.seconds = self.seconds + min(each for each in (seconds, own, took) if each is not None)

        return counted


@contextlib.contextmanager
def waits(at_least: float, at_most: float, since: Optional[float] = None) -> Iterator[None]:
    """What this thread does in here takes so many seconds at least, and asks to wait for so many at most.

    since: when the time for it had begun by time.monotonic(), if that was earlier.
    """
    began = time.monotonic() if since is None else since
    with Asked() as asked:
        yield
    took = time.monotonic() - began
    assert took >= at_least, "it took %.3f s only" % took
    assert asked.seconds <= at_most, "it has asked to wait for %.3f s" % asked.seconds
