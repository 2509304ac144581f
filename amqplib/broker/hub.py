"""What the connections of one broker share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Callable, Dict, List, Mapping, Sequence, Set

from ..wire import frames
from ..wire.protocol import DEFAULT_BODY_MAX
from .faults import Orders
from .timers import Timers
from .vhost import VHost

if TYPE_CHECKING:
    from .output import Output
    from .session import Session

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

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("heartbeat", self.heartbeat, 0, 65535),
            ("frame_max", self.frame_max, frames.MIN_SIZE, (1 << 32) - 1),
            ("channel_max", self.channel_max, 0, 65535),
        ):
            if not isinstance(value, int) or (value and not least <= value <= most) or value < 0:
                raise ValueError("%s: %r is neither 0 nor an int from %d to %d" % (name, value, least or 1, most))


def _on_one_line(text: str) -> str:
    """What clients say may hold anything."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


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
        self.timers = Timers(clock)
        self.users: Dict[str, str] = dict(users)
        self.limits = limits
        self.log: Callable[[str], None] = lambda line: log(_on_one_line(line))
        self.orders = Orders()
        self.sessions: Set[Session] = set()
        #: Sessions that have written since the server last looked.
        self.dirty: List[Output] = []
        #: What went wrong in the broker itself.
        self.failures: List[BaseException] = []
        self._now = now
        self.vhosts: Dict[str, VHost] = {}
        for name in vhosts:
            self.add_vhost(name)

    def add_vhost(self, name: str) -> None:
        """One more, empty; one that is there stays as it is."""
        if name not in self.vhosts:
            self.vhosts[name] = VHost(name, self.timers, self._now)

    def delete_vhost(self, name: str) -> None:
        """It is gone, and connections to it are closed."""
        vhost = self.vhosts.pop(name)
        for session in [session for session in self.sessions if session.vhost is vhost]:
            session.close(320, "vhost '%s' is deleted" % name)
