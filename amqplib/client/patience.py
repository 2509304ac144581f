"""How long a connection waits for what, and what does not count: the time in which the broker has blocked it.

RabbitMQ that is short of memory or disk says connection.blocked at the first publish and then reads nothing more from
the connection, so that no call behind that publish is answered (https://www.rabbitmq.com/docs/connection-blocked).
"""

from __future__ import annotations

import time
from typing import Optional, Tuple

from .deadline import Deadline
from .exceptions import printable

__all__ = ["Patience"]


class Patience:
    """The timeouts of one connection, in seconds, None for ever; and whether it is blocked."""

    def __init__(
        self,
        reply_timeout: Optional[float] = None,
        write_timeout: Optional[float] = None,
        blocked_timeout: Optional[float] = None,
    ) -> None:
        for name, seconds in (
            ("reply_timeout", reply_timeout),
            ("write_timeout", write_timeout),
            ("blocked_timeout", blocked_timeout),
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
        #: The broker's reason, while the connection is blocked.
        self.blocked: Optional[str] = None
        self._began = 0.0  # the latest block
        # how many seconds earlier blocks have lasted, and when the present one began; two threads may look at it
        self._blocks: Tuple[float, Optional[float]] = (0.0, None)

    def block(self, reason: str) -> None:
        """The broker has blocked the connection."""
        if self.blocked is None:
            self._began = time.monotonic()
            self._blocks = self._blocks[0], self._began
        self.blocked = reason

    def unblock(self) -> None:
        """It takes publishes again."""
        self._blocks = self._blocked_for(), None
        self.blocked = None

    def answering(self) -> Deadline:
        """For the answer to a call."""
        return self._patient(self.reply_timeout)

    def writing(self) -> Deadline:
        """For the system to take what is written."""
        return self._patient(self.write_timeout)

    def _patient(self, seconds: Optional[float]) -> Deadline:
        deadline = Deadline(seconds, patient=True)
        deadline.blocked_before = self._blocked_for()
        return deadline

    def _blocked_for(self) -> float:
        """Seconds for which the connection has been blocked until now, altogether."""
        earlier, since = self._blocks
        return earlier if since is None else earlier + time.monotonic() - since

    def unblocking(self) -> Deadline:
        """For the end of the present block."""
        deadline = Deadline(self.blocked_timeout)
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
        pause = time.monotonic() - self._began
        text = "; the broker has blocked the connection for %.3g s, for this reason: %s"
        return text % (pause, printable(self.blocked))
