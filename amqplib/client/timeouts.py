"""How long a connection waits for what, and what does not count: the time in which the broker has blocked it.

RabbitMQ that is short of memory or disk says connection.blocked at the first publish and then reads nothing more from
the connection, so that no call behind that publish is answered (https://www.rabbitmq.com/docs/connection-blocked).
"""

from __future__ import annotations

import time
from typing import Callable, Optional, Tuple

from ..wire.text import printable
from .deadline import Deadline

__all__ = ["Timeouts"]


class Timeouts:
    """The timeouts of one connection, in seconds, None for ever; and whether it is blocked."""

    def __init__(
        self,
        reply_timeout: Optional[float] = None,
        write_timeout: Optional[float] = None,
        blocked_timeout: Optional[float] = None,
        close_timeout: Optional[float] = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        for name, seconds in (
            ("reply_timeout", reply_timeout),
            ("write_timeout", write_timeout),
            ("blocked_timeout", blocked_timeout),
            ("close_timeout", close_timeout),
        ):
            try:
                Deadline(seconds)
            except ValueError as exc:  # here, and not from whatever call comes to need it
                raise ValueError("%s: %s" % (name, exc)) from None
        #: For the answer to a call.
        self.reply_timeout = reply_timeout
        #: For the system to take what is written, which it does not while the peer reads nothing.
        self.write_timeout = write_timeout
        #: For the end of a block; calls and writes are put off for no longer, either.
        self.blocked_timeout = blocked_timeout
        #: For all closes at the end of with-statements that an exception leaves; None for as long as others wait.
        self.close_timeout = close_timeout
        #: The broker's reason, while the connection is blocked.
        self.blocked: Optional[str] = None
        self._began = 0.0  # the latest block
        # how many seconds earlier blocks have lasted, and when the present one began; two threads may look at it
        self._blocks: Tuple[float, Optional[float]] = (0.0, None)

    def block(self, reason: str) -> None:
        """The broker has blocked the connection."""
        if self.blocked is None:
            self._began = self._clock()
            self._blocks = self._blocks[0], self._began
        self.blocked = reason

    def unblock(self) -> None:
        """It takes publishes again."""
        self._blocks = self._blocked_for(), None
        self.blocked = None

    def deadline(self, seconds: Optional[float]) -> Deadline:
        """For what the caller has set a time for; None waits for ever."""
        return Deadline(seconds, clock=self._clock)

    def answering(self) -> Deadline:
        """For the answer to a call."""
        earlier, since = self._blocks  # as in _patient(), without a call: every call has one
        return Deadline(self.reply_timeout, True, self._clock, earlier if since is None else self._blocked_for())

    def leaving(self, with_exception: bool) -> Deadline:
        """For the answers to all the closes with which nested with-statements are left."""
        if with_exception and self.close_timeout is not None:
            reply_timeout = self.close_timeout if self.reply_timeout is None else self.reply_timeout
            return self.deadline(min(self.close_timeout, reply_timeout))
        return self.answering()

    def writing(self) -> Deadline:
        """For the system to take what is written."""
        return self._patient(self.write_timeout)

    def _patient(self, seconds: Optional[float]) -> Deadline:
        return Deadline(seconds, True, self._clock, self._blocked_for())

    def _blocked_for(self) -> float:
        """Seconds for which the connection has been blocked until now, altogether."""
        earlier, since = self._blocks
        return earlier if since is None else earlier + self._clock() - since

    def unblocking(self) -> Deadline:
        """For the end of the present block."""
        deadline = self.deadline(self.blocked_timeout)
        return deadline.later(self._began - deadline.began)

    def put_off(self, deadline: Deadline) -> Deadline:
        """The deadline; a patient one later by the time for which the connection has been blocked since it began."""
        if not deadline.patient:
            return deadline
        pause = self._blocked_for() - deadline.blocked_before
        if pause <= 0:
            return deadline
        if self.blocked_timeout is not None:
            pause = min(pause, self.blocked_timeout)
        return deadline.later(pause)

    def excuse(self) -> str:
        """What to add to the message of an expired deadline."""
        if self.blocked is None:
            return ""
        pause = self._clock() - self._began
        text = "; the broker has blocked the connection for %.3g s, for this reason: %s"
        return text % (pause, printable(self.blocked))
