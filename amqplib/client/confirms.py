"""Publisher confirms: the books of what was published and what the server said of it.

Every publish on a channel in confirm mode has a tag, counted from 1 in the order of sending
(https://www.rabbitmq.com/docs/confirms). The server acknowledges or refuses tags in any order, one at a time or all up
to one, and a mandatory message that no queue took comes back before its tag is acknowledged.

A tag is in one place at a time, so the books always balance:

    sent = acknowledged + refused (`nacked`) + returned + still unconfirmed

No I/O here. `_books` guards the dictionaries: publishing threads and the reading one meet in them.
"""

from __future__ import annotations

import threading
from typing import Dict, List, Optional, Set, Tuple

from .message import GenericContent

__all__ = ["Confirms", "Settled", "Unsafe"]

#: Delivery tag and message.
Settled = Tuple[int, GenericContent]

#: Refused, returned, not confirmed: delivery tag -> message each.
Unsafe = Tuple[Dict[int, GenericContent], Dict[int, GenericContent], Dict[int, GenericContent]]


class Confirms:
    """The books of one channel; `window` is the number of unconfirmed publishes at which publishing has to wait."""

    def __init__(self, window: Optional[int] = None) -> None:
        self.window = window
        self._books = threading.Lock()
        self._next_tag = 1
        #: Publishes that the server has said nothing of yet: tag -> message, in the order of sending.
        self.unconfirmed: Dict[int, GenericContent] = {}
        #: Publishes that were refused, and mandatory ones that came back, since these were last collected.
        self.nacked: Dict[int, GenericContent] = {}
        self.returned: Dict[int, GenericContent] = {}
        # returned ones that the server has not acknowledged yet, as it will: they are accounted for already
        self._came_back: Set[int] = set()
        # where unconfirmed mandatory publishes went, to know one when it comes back: that has no tag
        self._mandatory: Dict[int, Tuple[str, str, bytes]] = {}

    def full(self) -> bool:
        """Has publishing to wait?"""
        return self.window is not None and len(self.unconfirmed) >= self.window

    def sent(self, msg: GenericContent, mandatory: Optional[Tuple[str, str, bytes]] = None) -> int:
        """Enter a publish, just before it is sent; its tag. `mandatory`: exchange, routing key and body of one."""
        with self._books:
            tag = self._next_tag
            self._next_tag += 1
            self.unconfirmed[tag] = msg
            if mandatory:
                self._mandatory[tag] = mandatory
            return tag

    def take_back(self, tag: int) -> None:
        """The publish that was entered last was not sent after all."""
        with self._books:
            self.unconfirmed.pop(tag, None)
            self._mandatory.pop(tag, None)
            self._next_tag = tag

    def settle(self, tag: int, multiple: bool, ack: bool) -> List[Settled]:
        """The server acknowledges (or refuses) a tag, or all unsettled ones up to it; those whose fate that is.

        Tags that are not outstanding, and so were never sent or are settled already, are passed over. A message that
        came back is acknowledged as well, but its fate is that no queue took it. Tag 0, which would stand for all, is
        for none: it cannot vouch for what was on its way when the server said it. RabbitMQ never does.
        """
        with self._books:
            if not multiple:
                tags = [tag] if tag in self.unconfirmed else []
            else:
                tags = []
                for outstanding in self.unconfirmed:
                    if outstanding > tag:
                        break
                    tags.append(outstanding)
            settled = []
            for each in tags:
                msg = self.unconfirmed.pop(each)
                self._mandatory.pop(each, None)
                if each in self._came_back:
                    self._came_back.discard(each)
                    continue
                if not ack:
                    self.nacked[each] = msg
                settled.append((each, msg))
            return settled

    def came_back(self, exchange: str, routing_key: str, body: bytes) -> Optional[int]:
        """A mandatory message was returned; the tag it was sent with, None when it is none of ours.

        The return names no tag. Returns come in the order of publishing, so it is the oldest one outstanding that went
        the same way with the same body, and has not come back yet.
        """
        with self._books:
            for tag, sent in self._mandatory.items():
                if sent == (exchange, routing_key, body):
                    del self._mandatory[tag]
                    self._came_back.add(tag)
                    self.returned[tag] = self.unconfirmed[tag]
                    return tag
            return None

    def collect(self) -> Unsafe:
        """What is not safe: refused and returned since the last time, and unconfirmed but never returned."""
        with self._books:
            nacked, returned, self.nacked, self.returned = self.nacked, self.returned, {}, {}
            unconfirmed = {tag: msg for tag, msg in self.unconfirmed.items() if tag not in self._came_back}
            return nacked, returned, unconfirmed

    def collect_one(self, tag: int) -> Unsafe:
        """The same for one tag: each is {tag: message} or {}."""
        with self._books:
            nacked = {tag: self.nacked.pop(tag)} if tag in self.nacked else {}
            returned = {tag: self.returned.pop(tag)} if tag in self.returned else {}
            waits = tag in self.unconfirmed and tag not in self._came_back
            return nacked, returned, {tag: self.unconfirmed[tag]} if waits else {}
