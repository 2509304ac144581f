"""How much memory messages take, and when it is too much: RabbitMQ's alarm and its high watermark.

It is reckoned, not measured: bodies, properties and what Python needs around them. A message that is in many queues is
reckoned once.
"""

from __future__ import annotations

import math

from .message import Message

__all__ = ["DEFAULT_MEMORY_MAX", "Memory"]

DEFAULT_MEMORY_MAX = 512 * 1024 * 1024

#: Octets of a message's place in a queue.
_ENTRY = 100

#: The alarm ends when no more than this part of the limit is taken.
_LOW_WATER = 0.8

#: And this is where dead letters are dropped.
_FAR_TOO_MUCH = 2


class Memory:
    """What is taken, and the limit."""

    def __init__(self, limit: int = 0) -> None:
        #: Octets.
        self.limit = limit or math.inf
        #: Octets that are taken now. Whoever takes or gives back what is no message in a queue counts it here.
        self.octets = 0
        #: It is too much, and until look() finds that there is some room again.
        self.alarm = False

    def enter(self, message: Message) -> None:
        """The message is in one more queue."""
        if message.places:
            self.octets += _ENTRY
        else:
            self.octets += _ENTRY + message.size
        message.places += 1
        if self.octets > self.limit:
            self.alarm = True

    def leave(self, message: Message) -> None:
        """The message is in one queue less."""
        message.places -= 1
        self.octets -= _ENTRY if message.places else _ENTRY + message.size

    @property
    def exhausted(self) -> bool:
        """Is it far too much? Who publishes has been blocked long ago; what grows is the broker's own doing."""
        return self.octets > self.limit * _FAR_TOO_MUCH

    def look(self) -> bool:
        """Is it too much now?"""
        self.alarm = self.octets > (self.limit * _LOW_WATER if self.alarm else self.limit)
        return self.alarm
