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

No I/O here. `_books` guards the dictionaries: publishing threads and the reading one meet in them. A signal handler may
come in the middle of an entry, and its thread cannot make another one then: `_entry` refuses that, and busy() tells
before. Nothing takes longer the more is outstanding, but for handing it out.
"""

from __future__ import annotations

import threading
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set, Tuple, TypeVar

from .exceptions import NestedCallError
from .message import GenericContent

__all__ = ["Confirms", "Sent", "Settled", "Told", "Unsafe"]

#: Delivery tag and message.
Settled = Tuple[int, GenericContent]

#: Refused, returned, not confirmed: delivery tag -> message each.
Unsafe = Tuple[Dict[int, GenericContent], Dict[int, GenericContent], Dict[int, GenericContent]]

#: What others have collected while somebody waited: refused, returned.
Told = Tuple[Dict[int, GenericContent], Dict[int, GenericContent]]

T = TypeVar("T")


class Sent(NamedTuple):
    """All that is to be seen of a message when it comes back."""

    exchange: str
    routing_key: str
    body: bytes
    properties: bytes  # as they are sent


class _Alike:
    """Outstanding mandatory publishes that cannot be told apart when one comes back."""

    __slots__ = ("among", "last", "newest", "owed", "sent", "tags")

    def __init__(self, sent: Sent) -> None:
        self.sent = sent
        self.tags: Set[int] = set()
        self.newest = 0
        # so many of the `among` tags up to `last` have come back, and nobody knows which
        self.owed = self.among = self.last = 0

    def add(self, tag: int) -> None:
        """One more; tags are given in ascending order."""
        self.tags.add(tag)
        self.newest = tag

    def take_back(self, tag: int) -> None:
        """The newest was not sent; its tag will be given again."""
        self.settle(tag, False)
        self.newest = tag - 1
        self.last = min(self.last, tag - 1)

    def came_back(self) -> None:
        """One of those that are outstanding now did."""
        self.owed = min(self.owed + 1, len(self.tags))
        self.among = len(self.tags)
        self.last = self.newest

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
    """The books of one channel."""

    def __init__(self) -> None:
        #: The number of unconfirmed publishes at which publishing has to wait; None for no limit.
        self.window: Optional[int] = None
        self._books = threading.RLock()
        self._keeper: Optional[int] = None  # the thread that is in the middle of an entry, by threading.get_ident()
        self._next_tag = 1
        self._oldest = 1  # no lower tag is outstanding
        #: Publishes that the server has said nothing of yet: tag -> message, in the order of sending.
        self.unconfirmed: Dict[int, GenericContent] = {}
        #: Publishes that were refused, and mandatory ones that came back, since these were last collected.
        self.nacked: Dict[int, GenericContent] = {}
        self.returned: Dict[int, GenericContent] = {}
        # those who wait, each with what others have collected meanwhile
        self._waiting: List[Told] = []
        # returned ones that the server has not acknowledged yet, as it will: they are accounted for already
        self._came_back: Set[int] = set()
        # unconfirmed mandatory ones that may still come back
        self._mandatory: Dict[int, _Alike] = {}
        self._alike: Dict[Sent, _Alike] = {}

    def forked(self) -> None:
        """This is a child process now: the lock may be held by a thread that is not there any more."""
        self._books = threading.RLock()
        self._keeper = None

    def busy(self) -> bool:
        """Is this thread in the middle of an entry? Then this is a signal handler's call, or a __del__'s."""
        return self._keeper == threading.get_ident()

    def _entry(self, make: Callable[..., T], *args: Any) -> T:
        with self._books:
            if self._keeper is not None:
                raise NestedCallError(0, "an entry in the books of confirms in the middle of another", (0, 0))
            try:
                self._keeper = threading.get_ident()
                return make(*args)
            finally:
                self._keeper = None

    def full(self) -> bool:
        """Has publishing to wait?"""
        return self.window is not None and len(self.unconfirmed) >= self.window

    def sent(self, msg: GenericContent, mandatory: Optional[Sent] = None) -> int:
        """Enter a publish, just before it is sent; its tag. `mandatory`: how it would look if it came back."""
        tag = self._next_tag
        if mandatory:
            self._entry(self._sent_mandatory, tag, msg, mandatory)
        else:  # one line in the books, and one thread publishes at a time: there is nothing to guard
            self.unconfirmed[tag] = msg
        self._next_tag = tag + 1
        return tag

    def _sent_mandatory(self, tag: int, msg: GenericContent, sent: Sent) -> None:
        alike = self._alike.get(sent)
        if alike is None:
            alike = self._alike[sent] = _Alike(sent)
        alike.add(tag)
        self._mandatory[tag] = alike
        self.unconfirmed[tag] = msg

    def take_back(self, tag: int) -> None:
        """The publish that was entered last was not sent after all."""
        self._entry(self._take_back, tag)

    def _take_back(self, tag: int) -> None:
        self.unconfirmed.pop(tag, None)
        alike = self._mandatory.pop(tag, None)
        if alike:
            alike.take_back(tag)
            self._sort_out(alike)
        self._next_tag = tag
        self._oldest = min(self._oldest, tag)

    def settle(self, tag: int, multiple: bool, ack: bool) -> List[Settled]:
        """The server acknowledges (or refuses) a tag, or all unsettled ones up to it; those whose fate that is.

        Tags that are not outstanding, and so were never sent or are settled already, are passed over. A message that
        came back is acknowledged as well, but its fate is that no queue took it. Tag 0, which would stand for all, is
        for none: it cannot vouch for what was on its way when the server said it. RabbitMQ never does.
        """
        return self._entry(self._settle, tag, multiple, ack)

    def _settle(self, tag: int, multiple: bool, ack: bool) -> List[Settled]:
        tags = range(tag, tag + 1)
        if multiple:
            tags = range(self._oldest, min(tag + 1, self._next_tag))
            self._oldest = max(self._oldest, tags.stop)
        settled: List[Settled] = []
        for each in tags:
            msg = self.unconfirmed.pop(each, None)
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
                    self.returned[each] = msg
                    continue
            if not ack:
                self.nacked[each] = msg
            settled.append((each, msg))
        return settled

    def _sort_out(self, alike: _Alike) -> None:
        for tag in alike.certain():
            del self._mandatory[tag]
            self._came_back.add(tag)
            self.returned[tag] = self.unconfirmed[tag]
        if not alike.tags:
            del self._alike[alike.sent]

    def came_back(self, sent: Sent) -> None:
        """A mandatory message was returned."""
        self._entry(self._came_back_like, sent)

    def _came_back_like(self, sent: Sent) -> None:
        alike = self._alike.get(sent) or self._roughly_alike(sent)
        if alike:
            alike.came_back()
            self._sort_out(alike)

    def _roughly_alike(self, sent: Sent) -> Optional[_Alike]:
        """All that went the same way with the same body, put together.

        For brokers that add to the headers, as RabbitMQ's message interceptors do.
        """
        rough = [alike for alike in self._alike.values() if alike.sent[:3] == sent[:3]]
        if not rough:
            return None
        first = rough[0]
        for other in rough[1:]:
            del self._alike[other.sent]
            first.tags |= other.tags
            first.owed += other.owed
            first.newest = max(first.newest, other.newest)
            self._mandatory.update(dict.fromkeys(other.tags, first))
        return first

    def begin_to_wait(self) -> Told:
        """What anybody collects from now on is noted for the caller as well, to be collected with what this returns."""
        told: Told = {}, {}
        self._entry(self._waiting.append, told)
        return told

    def wait_no_more(self, told: Told) -> None:
        """Note nothing more there."""
        self._entry(self._forget, told)

    def _forget(self, told: Told) -> None:
        self._waiting[:] = [each for each in self._waiting if each is not told]

    def collect(self, told: Optional[Told] = None) -> Unsafe:
        """What is not safe: refused and returned since the last time, and unconfirmed but never returned; by tag."""
        return self._entry(self._collect, told)

    def _collect(self, told: Optional[Told]) -> Unsafe:
        nacked, returned = self._pass_on(self.nacked, self.returned, told)
        self.nacked, self.returned = {}, {}
        # a copy is made in one step: another thread may publish meanwhile
        unconfirmed = {tag: msg for tag, msg in self.unconfirmed.copy().items() if tag not in self._came_back}
        return dict(sorted(nacked.items())), dict(sorted(returned.items())), unconfirmed

    def collect_one(self, tag: int, told: Optional[Told] = None) -> Unsafe:
        """The same for one tag: each is {tag: message} or {}."""
        return self._entry(self._collect_one, tag, told)

    def _collect_one(self, tag: int, told: Optional[Told]) -> Unsafe:
        nacked = {tag: self.nacked.pop(tag)} if tag in self.nacked else {}
        returned = {tag: self.returned.pop(tag)} if tag in self.returned else {}
        nacked, returned = (_only(tag, each) for each in self._pass_on(nacked, returned, told))
        waits = tag in self.unconfirmed and tag not in self._came_back
        return nacked, returned, {tag: self.unconfirmed[tag]} if waits else {}

    def _pass_on(
        self, nacked: Dict[int, GenericContent], returned: Dict[int, GenericContent], told: Optional[Told]
    ) -> Told:
        """Note what is collected for the others that wait; the same, with what has been noted in `told`."""
        for each in self._waiting:
            if each is not told:
                each[0].update(nacked)
                each[1].update(returned)
        return ({**told[0], **nacked}, {**told[1], **returned}) if told else (nacked, returned)


def _only(tag: int, messages: Dict[int, GenericContent]) -> Dict[int, GenericContent]:
    return {tag: messages[tag]} if tag in messages else {}
