"""What a session writes: methods and contents to bytes, and how much of them is on its way."""

from __future__ import annotations

from typing import List

from ..wire.frames import METHOD, encode_frame
from ..wire.server import content_frames
from ..wire.spec import AMQP_0_9_1
from .hub import Hub

__all__ = ["Output"]

#: Octets on their way to a client from which on it gets no more deliveries, until they are gone.
_HIGH_WATER = 1 << 20


class Output:
    """The part of a session that writes."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.dialect = AMQP_0_9_1
        #: Bytes to be sent, in order. Whoever sends them says so with sent().
        self.outgoing: List[bytes] = []
        #: Deliveries may be written: not too much is on its way already.
        self.writable = True
        self._frame_max = 0
        self._pending = 0  # octets written and not sent

    def send(self, channel: int, name: str, *args: object) -> None:
        """A method."""
        self.write(encode_frame(METHOD, channel, self.dialect[name].encode(*args)))

    def write_content(self, channel: int, payload: bytes, properties: bytes, body: bytes) -> None:
        """A method, given as its payload, and a content."""
        self.write(content_frames(channel, payload, properties, body, self._frame_max))

    def write(self, data: bytes) -> None:
        """Bytes that must not be parted by others."""
        if not self.outgoing:
            self.hub.dirty.append(self)
        self.outgoing.append(data)
        self._pending += len(data)
        if self._pending > _HIGH_WATER:
            self.writable = False

    def sent(self, octets: int) -> None:
        """So many of those written are with the system."""
        self._pending -= octets
        if not self.writable and self._pending < _HIGH_WATER // 2:
            self.writable = True
            self.pump()

    def pump(self) -> None:
        """Deliveries may be written again."""
        raise NotImplementedError
