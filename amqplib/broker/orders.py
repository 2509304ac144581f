"""The faults that are in force: what sessions and the server look at. `faults` is how a test orders them."""

from __future__ import annotations

from typing import Callable, Optional, Tuple

__all__ = ["Cut", "Orders"]

_FRAME_HEADER = 7
_PROTOCOL_HEADER = 8


class Cut:
    """Counts frames or octets of a stream, and says where it is to be cut."""

    def __init__(self, frames: Optional[int], octets: Optional[int], received: bool, reset: bool) -> None:
        #: The stream is what the client sends; otherwise what it is sent.
        self.received = received
        #: The connection is reset, not closed.
        self.reset = reset
        self._frames = frames
        self._octets = octets
        self._skip = 0  # octets to the end of a frame that has begun
        self._head = b""

    def take(self, data: bytes) -> Tuple[bytes, bool]:
        """As much of the next octets of the stream as is let through; and whether it ends there."""
        if self._octets is not None:
            data = data[: self._octets]
            self._octets -= len(data)
            if not self._octets:
                return data, True
        if self._frames is None:
            return data, False
        place = 0
        while place < len(data):
            if self._frames <= 0:
                return data[:place], True
            if self._skip:
                step = min(self._skip, len(data) - place)
                self._skip -= step
                place += step
                if not self._skip:
                    self._frames -= 1
            else:
                step = min(_FRAME_HEADER - len(self._head), len(data) - place)
                self._head += data[place : place + step]
                place += step
                if self._head[:4] == b"AMQP":  # a protocol header is no frame
                    self._skip, self._frames, self._head = _PROTOCOL_HEADER - len(self._head), self._frames + 1, b""
                elif len(self._head) == _FRAME_HEADER:
                    self._skip, self._head = int.from_bytes(self._head[3:], "big") + 1, b""
        return data[:place], self._frames <= 0


class Orders:
    """The faults in force. What looks at them may keep the object: it stays the same one."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """No faults."""
        self.login_refusal: Optional[str] = None
        self.redirect_to: Optional[str] = None
        self.challenge: Optional[str] = None
        self.blocked: Optional[str] = None
        self.stalled = False
        self.nack_every = 0
        #: Publishes with confirms since nack_every was set.
        self.published = 0
        #: Seconds.
        self.confirm_delay = 0.0
        #: Publishers may go on.
        self.flow = True
        #: Octets of a piece, and seconds between pieces.
        self.split: Optional[Tuple[int, float]] = None
        #: Seconds for which what is to be sent is gathered.
        self.coalesce = 0.0
        #: Makes the Cut of a new connection.
        self.cut: Callable[[], Optional[Cut]] = lambda: None

    def nacks_this_publish(self) -> bool:
        """Is it, of those with confirms, one that is to be nacked?"""
        if not self.nack_every:
            return False
        self.published += 1
        return self.published % self.nack_every == 0
