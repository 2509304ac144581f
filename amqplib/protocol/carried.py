"""Tags that go on counting when a lost session is replaced by another, in which the peer counts from 1 again.

Publishes: the books of confirms are carried from one session to the next. What is unconfirmed at the loss is sent again
first, in its order, and what is published later has greater tags on both sides. So the n-th publish of a session is the
n-th of those sent again, and from there on a constant is between the two. The order stays, so that "all up to one"
means the same on both sides.

What the peer refuses may be sent again in the same session, behind all that was sent by then, under another tag of the
peer's. From there on the constant is smaller by one, and "all up to one" has to be looked up.

Deliveries: a tag of the program's is the peer's and as much as there was delivered in earlier sessions. What is not
above that was delivered by a session that is gone, and nothing is to be told to the present one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional

from ..wire import frames as wire
from ..wire.protocol import Event, Receiver, Sender
from ..wire.spec import sig_of
from .confirms import Confirms, Sent, Settled
from .gates import Data, Entered
from .port import DELIVER
from .session import Session

__all__ = ["CarriedBooks", "CarriedSession", "LaterSession", "cut_to"]

_GET_OK = sig_of("basic.get_ok")


if TYPE_CHECKING:
    from typing import Protocol

    class Keeper(Protocol):
        """What knows of time, which this does not."""

        def is_kept(self, tag: int) -> bool:
            """The peer has refused a publish: is it sent again? Then it is among the `kept` from now on."""


class CarriedBooks(Confirms):
    """The books of confirms of a channel that outlives its session. Its tags are the program's."""

    __slots__ = ("_again", "_ahead", "_peers", "_sent_again", "_steps", "_tags", "frames", "keeper", "kept")

    #: So many publishes that were refused and sent again are remembered before those that are settled are forgotten.
    REMEMBERED = 1000

    def __init__(self) -> None:
        super().__init__()
        #: The frames of what is unconfirmed, by tag: to be sent again.
        self.frames: Dict[int, Data] = {}
        # tags of what is sent again in this session, in order; how many of these have been sent by now
        self._again: List[int] = []
        self._sent_again = 0
        # what a tag of the peer's lacks to the program's, behind those
        self._ahead = 0
        #: Says which of those that the peer refuses are sent again, and sends them; None where none is.
        self.keeper: Optional[Keeper] = None
        #: Tags of those that are, and have yet to be, in this order.
        self.kept: Dict[int, None] = {}
        # of those that were, in this session: the peer's tags, ascending; the program's tag for each; and the other way
        # round, 0 while it has yet to be sent, until it is settled
        self._steps: List[int] = []
        self._tags: Dict[int, int] = {}
        self._peers: Dict[int, int] = {}

    # --- in a session

    def enter(self, frames: Data, msg: Any, key: Optional[Sent]) -> Optional[Entered]:
        """As in Confirms; the frames are kept."""
        entered = super().enter(frames, msg, key)
        if entered is not None and entered[0] is not None:
            self.frames[entered[0]] = frames
        return entered

    def count(self, msg: Any, frames: Data) -> int:
        """As in Confirms; the frames are kept."""
        if self.window is not None and len(self.unconfirmed) >= self.window:
            return 0
        tag = self.next_tag
        self.unconfirmed[tag] = msg
        self.frames[tag] = frames
        self.next_tag = tag + 1
        return tag

    def take_back(self, tag: int) -> bool:
        """As in Confirms."""
        if self._steps and self._steps[-1] == self._latest():
            return False  # something was sent again, and has been counted behind it
        taken = super().take_back(tag)
        if taken:
            self.frames.pop(tag, None)
        return taken

    def settle(self, tag: int, multiple: bool, ack: bool) -> List[Settled]:
        """As in Confirms, with a tag of the peer's."""
        if multiple and self._sent_again < len(self._again):
            tag = min(tag, self._sent_again)
        if self._steps or (self.keeper is not None and not ack) or self.kept:
            return self._settle_each(tag, multiple, ack)
        tag = self.tag_of(tag)
        if not tag:
            return []
        settled = super().settle(tag, multiple, ack)
        kept, unconfirmed = self.frames, self.unconfirmed
        if not unconfirmed:
            kept.clear()
            return settled
        for each, _ in settled:
            kept.pop(each, None)
        if len(kept) > len(unconfirmed):  # some came back
            for each in [each for each in kept if each not in unconfirmed]:
                del kept[each]
        return settled

    def tag_of(self, tag: int) -> int:
        """The program's tag for one of the peer's; 0 for what has not been sent in this session."""
        again = self._again
        if 0 < tag <= self._sent_again:
            return again[tag - 1]
        if not tag > len(again) == self._sent_again:
            return 0
        steps = self._steps
        return self._tags.get(tag) or tag + self._ahead - bisect_left(steps, tag) if steps else tag + self._ahead

    # --- what the peer refuses

    def _latest(self) -> int:
        """The peer's tag of what was sent last."""
        return self.next_tag - 1 - self._ahead + len(self._steps)

    def send_refused(self, tag: int) -> None:
        """One of the `kept` is about to be sent, or gathered."""
        del self.kept[tag]
        peer = self._latest() + 1
        self._steps.append(peer)
        self._tags[peer], self._peers[tag] = tag, peer
        if len(self._steps) > self.REMEMBERED:
            self._fold()

    def _settle_each(self, peer: int, multiple: bool, ack: bool) -> List[Settled]:
        """settle() where what was sent again is not in the order of the program's tags, or is about to be."""
        settled: List[Settled] = []
        for tag in self._meant(peer, multiple):
            if not ack and self.keeper is not None and tag not in self._came_back and self.keeper.is_kept(tag):
                self.kept[tag], self._peers[tag] = None, 0
                continue
            settled += super().settle(tag, False, ack)
            self._peers.pop(tag, None)
            self.frames.pop(tag, None)
        return settled

    def _meant(self, peer: int, multiple: bool) -> List[int]:
        """The program's tags for what the peer says of one of its own, or of all up to one."""
        again, peers = self._again, self._peers
        if not multiple:
            tag = self.tag_of(peer)
            return [tag] if tag in self.unconfirmed and peers.get(tag, peer) == peer else []
        if peer <= 0:
            return []
        last = again[peer - 1] if peer <= len(again) else peer + self._ahead - bisect_right(self._steps, peer)
        found = [tag for tag in takewhile(lambda tag: tag <= last, self.unconfirmed) if tag not in peers]
        return found + sorted(tag for tag, its in peers.items() if 0 < its <= peer)

    def _fold(self) -> None:
        """Forget what was sent again and settled, before all that is outstanding."""
        lowest = min((its for its in self._peers.values() if its), default=self._latest())
        for tag in self.unconfirmed:
            if tag not in self._peers:
                if tag <= self._ahead + len(self._again):
                    return  # it was on its way when the session began
                lowest = min(lowest, tag - self._ahead)  # or greater by the steps before it
                break
        done = bisect_left(self._steps, lowest)
        for its in self._steps[:done]:
            del self._tags[its]
        del self._steps[:done]
        self._ahead -= done

    # --- from one session to the next

    def lose(self, report: bool) -> int:
        """The session is lost: what is unconfirmed is to be sent again, or counted as refused; how many those are.

        A message that came back is neither: no queue took it, which the program is told. Of several that look alike,
        some of which have come back, all are: it is not known which.
        """
        for tag in self._came_back:
            self.unconfirmed.pop(tag, None)
            self.frames.pop(tag, None)
        self._came_back.clear()
        for alike in self._alike.values():
            alike.forget()
        self.kept.clear()
        self._steps.clear()
        self._tags.clear()
        self._peers.clear()
        count = len(self.unconfirmed)
        if report:
            refused = list(self.unconfirmed.items())
            self.nacked.update(refused)
            self.unconfirmed.clear()
            self.frames.clear()
            self._mandatory.clear()
            self._alike.clear()
            self._rough.clear()
            if self.on_nack is not None and refused:
                self.reports.append((self.on_nack, deque(refused)))
        return count

    def begin(self) -> List[int]:
        """A session begins: the tags of what has to be sent before anything else, in this order."""
        self._again, self._sent_again = list(self.unconfirmed), 0
        self._ahead = self.next_tag - 1 - len(self._again)
        return list(self._again)

    def sent_again(self) -> None:
        """The next of them has been handed over to be sent."""
        self._sent_again += 1


def _new_books(number: int) -> Confirms:
    return CarriedBooks()


class CarriedSession(Session):
    """The first session of a connection that comes back."""

    __slots__ = ("_make_books",)

    #: What was delivered before.
    base = 0

    def __init__(self, receiver: Receiver, sender: Sender, make_books: Callable[[int], Confirms] = _new_books) -> None:
        super().__init__(receiver, sender)
        self._make_books = make_books

    def new_books(self, number: int) -> Confirms:
        """As in Session."""
        return self._make_books(number)

    def dead(self, tag: int) -> bool:
        """Was this delivered, to the program under this tag, by a session that is gone?"""
        return False

    def ack(self, number: int, tag: int, multiple: bool) -> bytes:
        """The frame of basic.ack, for a tag of the program's."""
        return self.sender.ack(number, tag, multiple)

    def delivered(self) -> int:
        """No tag of the program's is above this by now."""
        return self.base + self.receiver.contents + self.receiver.oversize


class LaterSession(CarriedSession):
    """Another, in which tags of deliveries are the peer's and a base."""

    __slots__ = ("base",)

    def __init__(
        self,
        receiver: Receiver,
        sender: Sender,
        base: int,
        make_books: Callable[[int], Confirms] = _new_books,
    ) -> None:
        super().__init__(receiver, sender, make_books)
        self.base: int = base

    def take(self, events: List[Event]) -> None:
        """As in Session."""
        base = self.base
        for position, (number, method, args, content) in enumerate(events):
            sig = method.sig
            if sig is DELIVER:
                consumer, tag, redelivered, exchange, routing_key = args
                events[position] = number, method, (consumer, tag + base, redelivered, exchange, routing_key), content
            elif sig is _GET_OK:
                events[position] = number, method, (args[0] + base, *args[1:]), content
        left_out = self.receiver.left_out
        for position, (number, args, why) in enumerate(left_out):
            left_out[position] = number, (args[0], args[1] + base, *args[2:]), why
        super().take(events)

    def dead(self, tag: int) -> bool:
        """As in CarriedSession. 0, which stands for all of the present session, is not."""
        return isinstance(tag, int) and 0 < tag <= self.base

    def ack(self, number: int, tag: int, multiple: bool) -> bytes:
        """As in CarriedSession."""
        return self.sender.ack(number, self.of_peer(tag), multiple)

    def of_peer(self, tag: int) -> int:
        """The peer's tag for one of the program's; what is none stays, for the encoder to refuse."""
        return tag - self.base if isinstance(tag, int) and tag > self.base else tag


def cut_to(frame_max: int, data: Data) -> Data:
    """The frames of a message, none longer than frame_max: another broker may agree to less than the last."""
    pieces = (data,) if isinstance(data, bytes) else data
    whole = b"".join(pieces)
    offset, longest = 0, 0
    bodies: List[bytes] = []
    head: List[bytes] = []
    while offset < len(whole):
        kind, channel, size = wire.PREFIX.unpack_from(whole, offset)
        end = offset + wire.PREFIX.size + size + 1
        longest = max(longest, size + wire.OVERHEAD)
        if kind == wire.BODY:
            bodies.append(whole[offset + wire.PREFIX.size : end - 1])
        else:
            head.append(whole[offset:end])
        offset = end
    if longest <= frame_max:
        return data
    return [*head, *wire.encode_body(channel, b"".join(bodies), frame_max)]
