"""What the connections of one broker share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Set

from ..wire import frames
from ..wire.protocol import DEFAULT_BODY_MAX
from ..wire.text import printable
from .memory import DEFAULT_MEMORY_MAX, Memory
from .orders import Orders
from .peer import Peer
from .timers import Timers
from .vhost import VHost

__all__ = ["Hub", "Limits"]


@dataclass(frozen=True)
class Limits:
    """What is offered in connection.tune, and more."""

    #: Seconds.
    heartbeat: int = 60
    #: Octets of a frame.
    frame_max: int = 131072
    #: Channels of a connection.
    channel_max: int = 2047
    #: Octets of a message's body.
    body_max: int = DEFAULT_BODY_MAX
    #: Octets of all messages.
    memory_max: int = DEFAULT_MEMORY_MAX
    #: Seconds from the beginning of a connection until it is open.
    handshake_timeout: float = 10.0
    #: Connections that are not open yet.
    handshakes_max: int = 256

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("heartbeat", self.heartbeat, 0, 65535),
            ("frame_max", self.frame_max, frames.MIN_SIZE, (1 << 32) - 1),
            ("channel_max", self.channel_max, 0, 65535),
        ):
            if not isinstance(value, int) or (value and not least <= value <= most) or value < 0:
                raise ValueError("%s: %r is neither 0 nor an int from %d to %d" % (name, value, least or 1, most))
        if not isinstance(self.memory_max, int) or self.memory_max < 0:
            raise ValueError("memory_max: %r is no number of octets" % (self.memory_max,))


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


class Hub:
    """Virtual hosts, users, sessions and the time. It does no I/O; the clock is given."""

    def __init__(
        self,
        clock: Callable[[], float],
        users: Mapping[str, str],
        vhosts: Sequence[str],
        limits: Limits = Limits(),
        now: Callable[[], datetime] = _utc_now,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        #: What went wrong in the broker itself.
        self.failures: List[BaseException] = []
        self.timers = Timers(clock, self.failures.append)
        self.users: Dict[str, str] = dict(users)
        self.limits = limits
        self.log: Callable[[str], None] = lambda line: log(printable(line))  # what clients say may hold anything
        self.orders = Orders()
        self.sessions: Set[Peer] = set()
        #: Sessions that have written since the server last looked.
        self.dirty: List[Peer] = []
        #: Those that are not open yet.
        self.handshakes: Set[Peer] = set()
        self.memory = Memory(limits.memory_max)
        self._short = False  # of memory, when it was looked at last
        self._now = now
        self.vhosts: Dict[str, VHost] = {}
        for name in vhosts:
            self.add_vhost(name)

    def add_vhost(self, name: str) -> None:
        """One more, empty; one that is there stays as it is."""
        if name not in self.vhosts:
            self.vhosts[name] = VHost(name, self.timers, self._now, self.memory, self.log)

    def why_blocked(self) -> Optional[str]:
        """Why nothing is to be read from who publishes; None when there is no reason."""
        if self.orders.blocked is not None:
            return self.orders.blocked
        return "low on memory" if self.memory.alarm else None

    def unblock(self) -> None:
        """A reason to block has gone: if there is no other, connections go on."""
        if self.why_blocked() is None:
            for session in list(self.sessions):
                session.unblock()

    def look_at_memory(self) -> None:
        """Something may have been taken, or given back."""
        if self.memory.look() != self._short:
            self._short = not self._short
            self.log("low on memory: publishers are blocked" if self._short else "no longer low on memory")
            if not self._short:
                self.unblock()

    def delete_vhost(self, name: str) -> None:
        """It is gone, and connections to it are closed."""
        vhost = self.vhosts.pop(name)
        for session in [session for session in self.sessions if session.vhost is vhost]:
            session.close(320, "vhost '%s' is deleted" % name)
        vhost.clear()
