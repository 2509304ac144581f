"""Is the peer still there? When it was last heard of, and when this program last had an eye on the connection.

A peer that has been silent for two heartbeat intervals is lost (0-9-1, section 4.2.7).
"""

from __future__ import annotations

from typing import Callable

from ..wire.frames import HEARTBEAT, encode_frame

__all__ = ["HEARTBEAT_FRAME", "Liveness"]

HEARTBEAT_FRAME = encode_frame(HEARTBEAT, 0, b"")

#: Octets that tell what answered.
_OPENING = 64


class Liveness:
    """The clock of one connection."""

    __slots__ = ("_clock", "attended", "heard_at", "interval", "octets", "opening")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        #: When something last came, and when the program last looked.
        self.heard_at = self.attended = clock()
        #: Seconds between heartbeats, 0 for none.
        self.interval = 0
        #: Octets received; the first of them, to tell what sent them.
        self.octets = 0
        self.opening = b""

    def begin(self, interval: int) -> None:
        """Expect heartbeats from now on, unless the interval is 0."""
        self.heard_at = self.attended = self._clock()
        self.interval = interval

    def heard(self, data: bytes) -> None:
        """Something came."""
        if not self.octets:
            self.opening = data[:_OPENING]
        self.octets += len(data)
        self.heard_at = self._clock()

    def attend(self) -> None:
        """The program waits, or has just looked."""
        self.attended = self._clock()

    def away(self) -> float:
        """Seconds for which the program has not looked."""
        return self._clock() - self.attended

    def silence(self) -> float:
        """Seconds since something last came."""
        return self._clock() - self.heard_at

    def too_long(self, silent: float) -> bool:
        """Is a peer that has been silent for so long lost?"""
        return self.interval > 0 and silent >= 2 * self.interval

    def at_most(self, seconds: float) -> float:
        """How long to wait at most, of `seconds`, until silence is too long."""
        if not self.interval:
            return seconds
        return max(0.0, min(seconds, self.heard_at + 2 * self.interval - self._clock()))

    def excuse(self, away: float) -> str:
        """What to add to the reason of a loss: a program that was away may be the reason itself."""
        if not self.interval or away <= self.interval:
            return ""
        return "; this program had been busy elsewhere for %.1f s, with a heartbeat of %d s" % (away, self.interval)
