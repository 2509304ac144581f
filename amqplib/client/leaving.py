"""With-statements that are left, and how long the closes at their ends wait.

All closes that follow upon each other have one deadline; and where one was not answered, the next does not wait. They
follow upon each other when the same thread makes them and nothing else has been sent in between.
"""

from __future__ import annotations

import threading
from typing import NamedTuple, Optional, Tuple

from .deadline import Deadline
from .timeouts import Timeouts

__all__ = ["Leaving"]


class _Close(NamedTuple):
    """A close of a channel or of the connection."""

    thread: int
    #: What had been sent when it was over: see Driver.sent.
    sent: int
    deadline: Deadline
    answered: bool


class Leaving:
    """Of one connection: who leaves a with-statement, and the latest close."""

    __slots__ = ("_latest", "by")

    def __init__(self) -> None:
        #: The thread that is leaving a with-statement, and whether an exception is.
        self.by: Tuple[int, bool] = 0, False
        self._latest: Optional[_Close] = None

    def _before(self, sent: int) -> Optional[_Close]:
        """The close that one of the calling thread follows upon now."""
        latest = self._latest
        if latest is not None and (latest.thread, latest.sent) != (threading.get_ident(), sent):
            return None  # something else came in between
        return latest

    def closing_until(self, timeouts: Timeouts, sent: int) -> Deadline:
        """The deadline of a close, wherever that is made."""
        before = self._before(sent)
        if before is not None and not before.answered:
            return timeouts.deadline(0)
        thread, with_exception = self.by
        if thread != threading.get_ident():
            return timeouts.answering()
        deadline = timeouts.leaving(with_exception)
        if before is None:
            return deadline
        return timeouts.put_off(before.deadline).sooner(deadline) if with_exception else before.deadline

    def cancelling_until(self, timeouts: Timeouts, sent: int) -> Deadline:
        """The deadline of the end of a loop of consume(), perhaps by an exception."""
        before = self._before(sent)
        deadline = timeouts.leaving(with_exception=True)
        return timeouts.deadline(0) if before is not None and not before.answered else deadline

    def closed(self, sent: int, deadline: Deadline, answered: bool) -> None:
        """A close has been made."""
        self._latest = _Close(threading.get_ident(), sent, deadline, answered)

    def closed_in_time(self) -> None:
        """One has, for which the program had set a time: that says nothing about the next."""
        self._latest = None

    def goes_on(self, sent: int) -> None:
        """What has been sent since belongs to the latest close."""
        if self._latest is not None:
            self._latest = self._latest._replace(sent=sent)
