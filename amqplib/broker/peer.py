"""A connection as channels, the hub and faults see it: who it is, and what is written to it.

`Session` is the whole. What is here knows neither channels nor the hub, so that they can know it.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from ..wire.frames import METHOD, encode_frame
from ..wire.server import content_frames
from ..wire.spec import AMQP_0_9_1
from .memory import Memory
from .orders import Orders
from .vhost import VHost

__all__ = ["Peer"]

#: Octets on their way to a client from which on it gets no more deliveries, until they are gone.
_HIGH_WATER = 1 << 20

#: Octets on their way to a client from which on it is not listened to: it asks, and does not read the answers.
_TOO_MUCH = 1 << 26


class Peer:
    """The part of a session that others use."""

    def __init__(self, name: str, orders: Orders, memory: Memory, dirty: List[Peer]) -> None:
        #: Who it is, for the log.
        self.name = name
        self.orders = orders
        self.memory = memory
        self.dialect = AMQP_0_9_1
        self.client_properties: Dict[str, Any] = {}
        self.user = ""
        #: Set once it is open.
        self.vhost: Optional[VHost] = None
        #: The client has said that it wants to know of consumers that end without its doing.
        self.tells_of_cancelled_consumers = False
        #: Bytes to be sent, in order. Whoever sends them says so with sent().
        self.outgoing: List[bytes] = []
        #: Deliveries may be written: not too much is on its way already.
        self.writable = True
        #: It has not read so much that nothing more of what it says is to be answered.
        self.clogged = False
        self._dirty = dirty  # of those who have written something, which the server has not looked at
        self._frame_max = 0
        self._pending = 0  # octets written and not sent

    # --- writing

    def send(self, channel: int, name: str, *args: object) -> None:
        """A method."""
        self.write(encode_frame(METHOD, channel, self.dialect[name].encode(*args)))

    def write_content(self, channel: int, payload: bytes, properties: bytes, body: bytes) -> None:
        """A method, given as its payload, and a content."""
        self.write(content_frames(channel, payload, properties, body, self._frame_max))

    def write(self, data: bytes) -> None:
        """Bytes that must not be parted by others."""
        if not self.outgoing:
            self._dirty.append(self)
        self.outgoing.append(data)
        octets = len(data)
        self.memory.octets += octets
        self._pending += octets
        if self._pending > _HIGH_WATER:
            self.writable = False
            self.clogged = self._pending > _TOO_MUCH

    def sent(self, octets: int) -> None:
        """So many of those written are with the system."""
        self._pending -= octets
        self.memory.octets -= octets
        self.clogged = self._pending > _TOO_MUCH
        if not self.writable and self._pending < _HIGH_WATER // 2:
            self.writable = True
            self.pump()

    def forget_outgoing(self) -> None:
        """Nobody will be sent what is not gone yet."""
        self.memory.octets -= self._pending
        self._pending = 0
        self.outgoing.clear()

    # --- what a session does besides

    @property
    def channel_count(self) -> int:
        """How many channels are open."""
        raise NotImplementedError

    def pump(self) -> None:
        """Deliveries may be written again."""
        raise NotImplementedError

    def unblock(self) -> None:
        """It may go on."""
        raise NotImplementedError

    def flow(self, active: bool) -> None:
        """Ask the client to pause, or to go on, with publishing."""
        raise NotImplementedError

    def cancel_consumers(self, queue: Optional[str]) -> int:
        """Have consumers of this queue, or of any, end; how many."""
        raise NotImplementedError

    def close(self, reply_code: int, text: str) -> None:
        """The broker closes the connection, for a reason that is not the client's."""
        raise NotImplementedError
