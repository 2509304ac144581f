"""Acknowledgements that are held back for a moment, so that many leave together: Connection(gather_acks=True).

They are lost with the connection, and then the broker delivers again what they were for, which acknowledging at least
once allows for anyway. A publish is never held back.
"""

from __future__ import annotations

from typing import Dict, List, Set

from ..wire.spec import AMQP_0_9_1

__all__ = ["HELD", "Acks"]

#: Seconds that one is held back at most, while the program does something else.
HELD = 0.001

#: Instead of a tag, behind which none comes.
_NEVER = 1 << 64

#: So many settled messages are remembered beyond one that is not.
_ABOVE = 10_000

#: So many are sent at once, some 10 KB.
_MOST = 500

#: Where a frame has the class and method id, the delivery tag, and the octet with the bits.
_IDS, _TAG, _BITS = slice(7, 11), slice(11, 19), 19

#: What settles messages, in any dialect: the ids, and the bit that says that it settles all up to its tag.
_SETTLING = {
    AMQP_0_9_1[name].key.to_bytes(4, "big"): bit
    for name, bit in (("basic.ack", 1), ("basic.nack", 1), ("basic.reject", 0))
}


def _tag(frame: bytes) -> int:
    return int.from_bytes(frame[_TAG], "big")


class _Channel:
    """What is held back for a channel, and what of its messages is settled."""

    __slots__ = ("_above", "_up_to", "frames")

    def __init__(self) -> None:
        self.frames: List[bytes] = []
        #: All messages up to this one are settled, and these beyond it.
        self._up_to = 0
        self._above: Set[int] = set()

    def settle(self, tag: int, multiple: bool) -> None:
        """A message has been settled, or all up to it; nothing is said of those that had been settled before."""
        if multiple:
            self._up_to = max(self._up_to, tag)
            self._above = {above for above in self._above if above > tag}
        else:
            self._above.add(tag)
        while self._up_to + 1 in self._above:
            self._up_to += 1
            self._above.discard(self._up_to)
        if len(self._above) > _ABOVE:
            self.count_no_more()

    def count_no_more(self) -> None:
        """It is not known any more, and from now on each message is acknowledged by itself."""
        self._up_to, self._above = _NEVER, set()

    def take(self) -> List[bytes]:
        """The frames to send: one for all that can be said by one, and the others as they are."""
        frames, self.frames = self.frames, []
        if self._up_to == _NEVER:
            return frames
        new: Dict[int, bytes] = {}
        alone: List[bytes] = []
        before = self._up_to
        for frame in frames:
            tag = _tag(frame)
            if tag <= before or tag in self._above or tag in new:
                alone.append(frame)  # acknowledged twice, which the broker is to object to
            else:
                new[tag] = frame
        for tag in new:
            self.settle(tag, False)
        together = [tag for tag in new if before < tag <= self._up_to] if self._up_to < _NEVER else []
        if len(together) > 1:
            last = max(together)
            for tag in together:
                del new[tag]
            # what else there is up to the last one had been settled
            new[last] = frames[0][: _TAG.start] + last.to_bytes(8, "big") + b"\1" + frames[0][_BITS + 1 :]
        return [*new.values(), *alone]


class Acks:
    """The frames of all channels of a connection that acknowledge one message each.

    Where all that a channel has been sent up to some message is settled, one frame says so. This is known by counting:
    delivery tags are 1, 2, 3, ... (0-9-1, section 1.1). Beyond a message that is not settled here, or need not be
    (no_ack), each is acknowledged by itself.
    """

    __slots__ = ("_channels", "_count", "since", "waiting", "watched")

    def __init__(self) -> None:
        self._channels: Dict[int, _Channel] = {}
        self._count = 0
        #: Numbers of the channels that have any.
        self.waiting: Set[int] = set()
        #: When the first of them came.
        self.since = 0.0
        #: Is there somebody who sends what is held back too long?
        self.watched = False

    def _channel(self, number: int) -> _Channel:
        channel = self._channels.get(number)
        if channel is None:
            channel = self._channels[number] = _Channel()
        return channel

    def add(self, number: int, frame: bytes, now: float) -> bool:
        """Hold one back; True when it is time to send them."""
        if not self.waiting:
            self.since, self._count = now, 0
        self._channel(number).frames.append(frame)
        self.waiting.add(number)
        self._count += 1
        return self._count >= _MOST or now - self.since >= HELD

    def sent(self, number: int, frame: bytes) -> None:
        """Another frame of this channel has been sent; perhaps it settles something."""
        bit = _SETTLING.get(frame[_IDS])
        if bit is not None:
            self._channel(number).settle(_tag(frame), bool(frame[_BITS] & bit))

    def unsent(self, number: int, frame: bytes) -> None:
        """It was not, after all."""
        if frame[_IDS] in _SETTLING:
            self._channel(number).count_no_more()

    def take(self) -> List[bytes]:
        """What to send; it is not here any more."""
        frames: List[bytes] = []
        while self.waiting:
            frames += self._channel(self.waiting.pop()).take()
        return frames

    def forget(self, number: int) -> None:
        """There is another channel of this number."""
        self._channels.pop(number, None)
        self.waiting.discard(number)
