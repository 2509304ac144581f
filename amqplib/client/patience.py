"""How long a connection waits for what, and what does not count: the time in which the broker has blocked it.

RabbitMQ that is short of memory or disk says connection.blocked at the first publish and then reads nothing more from
the connection, so that no call behind that publish is answered (https://www.rabbitmq.com/docs/connection-blocked).
"""

from __future__ import annotations

import time
from typing import Optional

from .deadline import Deadline

__all__ = ["Patience"]


class Patience:
    """The timeouts of one connection, in seconds, None for ever; and whether it is blocked."""

    def __init__(
        self,
        reply_timeout: Optional[float] = None,
        write_timeout: Optional[float] = None,
        blocked_timeout: Optional[float] = None,
    ) -> None:
        #: For the answer to a call.
        self.reply_timeout = reply_timeout
        #: For the system to take what is written, which it does not while the peer reads nothing.
        self.write_timeout = write_timeout
        #: For the end of a block; calls and writes are put off for no longer, either.
        self.blocked_timeout = blocked_timeout
        #: The broker's reason, while the connection is blocked.
        self.blocked: Optional[str] = None
        self._began = self._ended = 0.0  # of the latest block

    def block(self, reason: str) -> None:
        """The broker has blocked the connection."""
        if self.blocked is None:
            self._began = time.monotonic()
        self.blocked = reason

    def unblock(self) -> None:
        """It takes publishes again."""
        self._ended = time.monotonic()
        self.blocked = None

    def answering(self) -> Deadline:
        """For the answer to a call."""
        return Deadline(self.reply_timeout, patient=True)

    def writing(self) -> Deadline:
        """For the system to take what is written."""
        return Deadline(self.write_timeout, patient=True)

    def unblocking(self) -> Deadline:
        """For the end of the present block."""
        deadline = Deadline(self.blocked_timeout)
        return deadline.later(self._began - deadline.began)

    def put_off(self, deadline: Deadline) -> Deadline:
        """The deadline; a patient one later by as much of the latest block as falls behind its beginning."""
        if not deadline.patient:
            return deadline
        end = self._ended if self.blocked is None else time.monotonic()
        pause = end - max(self._began, deadline.began)
        if pause <= 0:
            return deadline
        if self.blocked_timeout is not None:
            pause = min(pause, self.blocked_timeout)
        return deadline.later(pause)

    def excuse(self) -> str:
        """What to add to the message of an expired deadline."""
        if self.blocked is None:
            return ""
        pause = time.monotonic() - self._began
        return "; the broker has blocked the connection for %.3g s, for this reason: %s" % (pause, self.blocked)
