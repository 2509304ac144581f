"""What goes out: frames are handed to the system whole, one behind the other, and what it does not take is the rest.

Every method is called with the driver's lock held, and none waits: who has to wait for room does so in the driver.
"""

from __future__ import annotations

from collections import deque
from typing import Deque, Optional

from ..protocol.acks import Acks
from ..protocol.gates import Data
from .net.transport import Piece, Transport

__all__ = ["Output", "Rest"]


class Rest:
    """What the system has not taken yet of something that was sent. Nothing else goes before it."""

    __slots__ = ("gone", "moved", "pieces")

    def __init__(self, data: Data, gone: int) -> None:
        self.pieces: Deque[Piece] = deque((data,) if isinstance(data, bytes) else data)
        #: Octets that have gone: while there are none, all of it can be taken back.
        self.gone = 0
        #: Has some of it gone since whoever waits looked here?
        self.moved = False
        self.advance(gone)

    def advance(self, sent: int) -> None:
        """So many octets more have gone."""
        self.gone += sent
        self.moved = sent > 0
        pieces = self.pieces
        while pieces and sent >= len(pieces[0]):
            sent -= len(pieces.popleft())
        if sent:
            pieces[0] = memoryview(pieces[0])[sent:]


class Output:
    """The sending side of one network connection."""

    __slots__ = ("_owed", "acks", "clear", "frames", "holding", "messages", "octets", "rest", "transport")

    def __init__(self, transport: Transport, owed: Deque[bytes]) -> None:
        self.transport = transport
        self._owed = owed
        # Of the next three one is set at most; while none is, somebody is in the middle of sending: `busy`.
        #: Is nothing on its way and nothing held back, and may anybody send?
        self.clear = True
        #: What the system has not taken yet.
        self.rest: Optional[Rest] = None
        #: Is something held back or owed, which has to go before anything else, and may anybody send it?
        self.holding = False
        #: Where the program wants acknowledgements gathered.
        self.acks: Optional[Acks] = None
        #: For stats(): octets; frames but for those of messages; messages, each taken to have three frames.
        self.octets = self.frames = self.messages = 0

    @property
    def busy(self) -> bool:
        """Is somebody in the middle of sending?"""
        return self.rest is None and not (self.clear or self.holding)

    def push(self, data: Data) -> bool:
        """Send, while `clear`. True when all of it has gone, and `clear` holds again; otherwise there is a rest.

        After any exception it is not known what has gone, and the connection has to be given up.
        """
        self.clear = False
        sent = self.transport.send(data)
        size = len(data) if isinstance(data, bytes) else sum(len(piece) for piece in data)
        self.octets += size
        if sent == size:
            self.clear = True
            return True
        self.rest = Rest(data, sent)
        return False

    def drain(self) -> bool:
        """Send what is left, held back and owed, as far as the system takes it; True when all of it has gone."""
        acks = self.acks
        while True:
            self.clear = self.holding = False
            rest, self.rest = self.rest, None  # so that this is `busy`, and it is not sent twice
            if rest is None:
                if acks is not None and acks.waiting:  # first: what is owed may be the end of their channel
                    frames = acks.take()
                elif self._owed:
                    frames = [self._owed.popleft()]
                else:
                    self.clear = True
                    return True
                data = b"".join(frames)
                rest = Rest(data, 0)
                self.frames += len(frames)
                self.octets += len(data)
            pieces = rest.pieces
            while pieces:
                sent = self.transport.send(pieces if len(pieces) > 1 else pieces[0])
                if not sent:
                    self.rest = rest
                    return False
                rest.advance(sent)

    def take_back(self, rest: Rest) -> bool:
        """Forget a rest of which nothing has gone; False when it is too late for that."""
        if rest is not self.rest or rest.gone:
            return False
        self.rest = None
        self.holding = bool(self._owed) or (self.acks is not None and bool(self.acks.waiting))
        self.clear = not self.holding
        self.octets -= sum(len(piece) for piece in rest.pieces)
        return True
