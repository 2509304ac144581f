"""Publisher confirms: the books of what was published and what the server said of it.

Every publish on a channel in confirm mode has a tag, counted from 1 in the order of sending
(https://www.rabbitmq.com/docs/confirms). The server acknowledges or refuses tags in any order, one at a time or all up
to one, and a mandatory message that no queue took comes back before its tag is acknowledged.

A tag is in one place at a time, so the books always balance:

    sent = acknowledged + refused (`nacked`) + returned + still unconfirmed

A returned message names no tag. It is one of the outstanding mandatory ones that went the same way with the same body
and properties: mostly there is one. Of several that are alike, the one that is acknowledged next is taken to be it:
brokers acknowledge what they return at once, and an acknowledgement that may be for a returned message vouches for
nothing.

Nothing takes longer the more is outstanding, but for handing it out.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, Set, Tuple

from .gates import Data, Entered

__all__ = ["Back", "Confirms", "Mandatory", "Report", "Sent", "Settled", "Told", "Unsafe"]

#: Delivery tag and message.
Settled = Tuple[int, Any]

#: A mandatory publish on its way out: exchange, routing key, body, properties.
Mandatory = Tuple[str, str, bytes, Dict[str, Any]]

#: Refused, returned, not confirmed: delivery tag -> message each.
Unsafe = Tuple[Dict[int, Any], Dict[int, Any], Dict[int, Any]]

#: What others have collected while somebody waited: refused, returned.
Told = Tuple[Dict[int, Any], Dict[int, Any]]

#: A function of the program's, and all that it has to be called for.
Report = Tuple[Callable[..., Any], Deque[Settled]]


class Back(Tuple[Any, ...]):
    """What the program gets of a message that came back, which one way of telling it is enough for."""

    #: Has the program been told of it, or will it be, in another way than by the books?
    told = False
    #: Its delivery tag, once that is known.
    tag = 0

    def __eq__(self, other: object) -> bool:
        return self is other  # there may be others like it, of other tags

    __hash__ = None  # type: ignore[assignment]


class Sent(NamedTuple):
    """All that is to be seen of a message when it comes back."""

    exchange: str
    routing_key: str
    body: bytes
    properties: bytes  # as they are sent


#: The same without the properties.
Rough = Tuple[str, str, bytes]


class _Alike:
    """Outstanding mandatory publishes that cannot be told apart when one comes back."""

    __slots__ = ("among", "backs", "last", "newest", "owed", "sent", "tags")

    def __init__(self, sent: Sent) -> None:
        self.sent = sent
        self.tags: Set[int] = set()
        self.newest = 0
        # so many of the `among` tags up to `last` have come back, and nobody knows which
        self.owed = self.among = self.last = 0
        #: What the program gets of those, one for each that is owed.
        self.backs: Deque[Optional[Back]] = deque()

    def add(self, tag: int) -> None:
        """One more; tags are given in ascending order."""
        self.tags.add(tag)
        self.newest = tag

    def take_back(self, tag: int) -> None:
        """The newest was not sent; its tag will be given again."""
        self.settle(tag, False)
        self.newest = tag - 1
        self.last = min(self.last, tag - 1)

    def came_back(self, back: Optional[Back] = None) -> None:
        """One of those that are outstanding now did. (There are more than are owed, or certain() has them.)"""
        self.owed += 1
        self.backs.append(back)
        self.among = len(self.tags)
        self.last = self.newest

    def forget(self) -> None:
        """All are sent again: it is as if none had come back."""
        self.owed = self.among = self.last = 0
        self.backs.clear()

    def settle(self, tag: int, ack: bool) -> bool:
        """The server has acknowledged or refused a tag; is it taken to be one that came back?"""
        self.tags.discard(tag)
        if tag > self.last:
            return False
        self.among -= 1
        came_back = ack and self.owed > 0
        self.owed -= came_back
        return came_back

    def certain(self) -> List[int]:
        """The tags that have come back when that must be all there are up to `last`; they are not here any more."""
        if not self.owed or self.owed < self.among:
            return []
        tags = sorted(tag for tag in self.tags if tag <= self.last)
        self.tags.difference_update(tags)
        self.owed = self.among = self.last = 0
        return tags


class Confirms:
    """The books of one channel in confirm mode, and the gate that its publishes pass."""

    __slots__ = (
        "_alike",
        "_backs",
        "_came_back",
        "_mandatory",
        "_oldest",
        "_rough",
        "_waiting",
        "nacked",
        "next_tag",
        "on_ack",
        "on_nack",
        "reported",
        "reports",
        "returned",
        "times",
        "unconfirmed",
        "window",
    )

    #: As a gate: what is entered is sent.
    gathers, size = False, 0

    def __init__(self) -> None:
        #: The number of unconfirmed publishes at which publishing has to wait; None for no limit.
        self.window: Optional[int] = None
        #: The tag of the next publish.
        self.next_tag = 1
        self._oldest = 1  # no lower tag is outstanding
        #: Publishes that the server has said nothing of yet: tag -> message, in the order of sending.
        self.unconfirmed: Dict[int, Any] = {}
        #: Publishes that were refused, and mandatory ones that came back, since these were last collected.
        self.nacked: Dict[int, Any] = {}
        self.returned: Dict[int, Any] = {}
        # what the program gets of the latter, where it has not got it yet
        self._backs: Dict[int, Back] = {}
        #: Those of which it has been told by the books, and need not be in another way.
        self.reported: List[Back] = []
        #: What the program wants to be called for each acknowledgement, and for each refusal.
        self.on_ack: Optional[Callable[[int, Any], Any]] = None
        self.on_nack: Optional[Callable[[int, Any], Any]] = None
        #: How long the server took: see `timing`. None where nobody has asked.
        self.times: Any = None
        #: What it has yet to be called for.
        self.reports: Deque[Report] = deque()
        # those who wait, each with what others have collected meanwhile
        self._waiting: List[Told] = []
        # returned ones that the server has not acknowledged yet, as it will: they are accounted for already
        self._came_back: Set[int] = set()
        # unconfirmed mandatory ones that may still come back
        self._mandatory: Dict[int, _Alike] = {}
        self._alike: Dict[Sent, _Alike] = {}
        # the same by all but the properties, for brokers that change them
        self._rough: Dict[Rough, Dict[Sent, _Alike]] = {}

    def full(self) -> bool:
        """Has publishing to wait?"""
        return self.window is not None and len(self.unconfirmed) >= self.window

    def enter(self, frames: Data, msg: Any, key: Optional[Sent]) -> Optional[Entered]:
        """Enter a publish, just before it is sent; its tag, and what to send. None while the window is full.

        key: how it would look if it came back, of a mandatory one.
        """
        if self.window is not None and len(self.unconfirmed) >= self.window:
            return None
        tag = self.next_tag
        if key is not None:
            alike = self._alike.get(key)
            if alike is None:
                alike = self._alike[key] = _Alike(key)
                self._rough.setdefault(key[:3], {})[key] = alike
            alike.add(tag)
            self._mandatory[tag] = alike
        self.unconfirmed[tag] = msg
        self.next_tag = tag + 1
        return tag, frames

    def count(self, msg: Any, frames: Data) -> int:
        """Enter a publish that is not mandatory; its tag, 0 while the window is full."""
        if self.window is not None and len(self.unconfirmed) >= self.window:
            return 0
        tag = self.next_tag
        self.unconfirmed[tag] = msg
        self.next_tag = tag + 1
        return tag

    def take_back(self, tag: int) -> bool:
        """The publish of this tag was not sent after all. False, and nothing is done, if it was not the last one."""
        if tag != self.next_tag - 1:
            return False
        self.unconfirmed.pop(tag, None)
        alike = self._mandatory.pop(tag, None)
        if alike:
            alike.take_back(tag)
            self._sort_out(alike)
        self.next_tag = tag
        self._oldest = min(self._oldest, tag)
        return True

    def settle(self, tag: int, multiple: bool, ack: bool) -> List[Settled]:
        """The server acknowledges (or refuses) a tag, or all unsettled ones up to it; those whose fate that is.

        Tags that are not outstanding, and so were never sent or are settled already, are passed over. A message that
        came back is acknowledged as well, but its fate is that no queue took it. Tag 0, which would stand for all, is
        for none: it cannot vouch for what was on its way when the server said it. RabbitMQ never does.
        """
        tags = range(tag, tag + 1)
        if multiple:
            tags = range(self._oldest, min(tag + 1, self.next_tag))
            self._oldest = max(self._oldest, tags.stop)
        unconfirmed = self.unconfirmed
        settled: List[Settled]
        if not self._mandatory and not self._came_back:  # none can come back, or has: the most frequent by far
            settled = [(each, unconfirmed.pop(each)) for each in tags if each in unconfirmed]
            if not ack:
                self.nacked.update(settled)
        else:
            settled = []
            for each in tags:
                msg = unconfirmed.pop(each, None)
                if msg is None:
                    continue
                if each in self._came_back:
                    self._came_back.discard(each)
                    continue
                alike = self._mandatory.pop(each, None)
                if alike:
                    came_back = alike.settle(each, ack)
                    self._sort_out(alike)
                    if came_back:
                        self._returned(each, msg, alike)
                        continue
                if not ack:
                    self.nacked[each] = msg
                settled.append((each, msg))
        callback = self.on_ack if ack else self.on_nack
        if callback is not None and settled:
            self.reports.append((callback, deque(settled)))
        return settled

    def _sort_out(self, alike: _Alike) -> None:
        for tag in alike.certain():
            del self._mandatory[tag]
            self._came_back.add(tag)
            self._returned(tag, self.unconfirmed[tag], alike)
        if not alike.tags:
            self._forget(alike)

    def _forget(self, alike: _Alike) -> None:
        del self._alike[alike.sent]
        rough = self._rough[alike.sent[:3]]
        del rough[alike.sent]
        if not rough:
            del self._rough[alike.sent[:3]]

    def _returned(self, tag: int, msg: Any, alike: _Alike) -> None:
        back = alike.backs.popleft() if alike.backs else None
        if back is not None:
            if back.told:
                return
            back.tag = tag
            self._backs[tag] = back
        self.returned[tag] = msg

    def came_back(self, sent: Sent, back: Optional[Back] = None) -> None:
        """A mandatory message was returned. `back`: what the program gets of it."""
        alike = self._alike.get(sent) or self._roughly_alike(sent)
        if alike:
            alike.came_back(back)
            self._sort_out(alike)

    def tell(self, back: Back) -> None:
        """The program has got it, so the books do not tell it."""
        back.told = True
        if self._backs.pop(back.tag, None) is not None:
            self.returned.pop(back.tag, None)

    def refused(self, tag: int) -> None:
        """The program has been told that a message was refused: nobody has to be, who does not wait for that now."""
        if not self._waiting:
            self.nacked.pop(tag, None)

    def _roughly_alike(self, sent: Sent) -> Optional[_Alike]:
        """All that went the same way with the same body, put together.

        For brokers that add to the headers, as RabbitMQ's message interceptors do.
        """
        rough = self._rough.get(sent[:3])
        if not rough:
            return None
        first, *others = rough.values()
        for other in others:
            self._forget(other)
            first.tags |= other.tags
            first.owed += other.owed
            first.backs += other.backs
            first.newest = max(first.newest, other.newest)
            self._mandatory.update(dict.fromkeys(other.tags, first))
        return first

    def begin_to_wait(self) -> Told:
        """What anybody collects from now on is noted for the caller as well, to be collected with what this returns."""
        told: Told = {}, {}
        self._waiting.append(told)
        return told

    def wait_no_more(self, told: Told) -> None:
        """Note nothing more there."""
        self._waiting[:] = [each for each in self._waiting if each is not told]

    def collect(self, told: Optional[Told] = None) -> Unsafe:
        """What is not safe: refused and returned since the last time, and unconfirmed but never returned; by tag."""
        self._report(self.returned)
        nacked, returned = self._pass_on(self.nacked, self.returned, told)
        self.nacked, self.returned = {}, {}
        # a copy is made in one step: a signal handler may publish in the middle of this
        unconfirmed = {tag: msg for tag, msg in self.unconfirmed.copy().items() if tag not in self._came_back}
        return dict(sorted(nacked.items())), dict(sorted(returned.items())), unconfirmed

    def collect_one(self, tag: int, told: Optional[Told] = None) -> Unsafe:
        """The same for one tag: each is {tag: message} or {}."""
        nacked = {tag: self.nacked.pop(tag)} if tag in self.nacked else {}
        returned = {tag: self.returned.pop(tag)} if tag in self.returned else {}
        self._report(returned)
        nacked, returned = (_only(tag, each) for each in self._pass_on(nacked, returned, told))
        waits = tag in self.unconfirmed and tag not in self._came_back
        return nacked, returned, {tag: self.unconfirmed[tag]} if waits else {}

    def _report(self, returned: Dict[int, Any]) -> None:
        if self._backs:
            backs = [self._backs.pop(tag) for tag in returned if tag in self._backs]
            for back in backs:
                back.told = True
            self.reported += backs

    def _pass_on(self, nacked: Dict[int, Any], returned: Dict[int, Any], told: Optional[Told]) -> Told:
        """Note what is collected for the others that wait; the same, with what has been noted in `told`."""
        for each in self._waiting:
            if each is not told:
                each[0].update(nacked)
                each[1].update(returned)
        return ({**told[0], **nacked}, {**told[1], **returned}) if told else (nacked, returned)


def _only(tag: int, messages: Dict[int, Any]) -> Dict[int, Any]:
    return {tag: messages[tag]} if tag in messages else {}
