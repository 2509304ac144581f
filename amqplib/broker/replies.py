"""Direct reply-to: answers that go to who asked without a queue (https://www.rabbitmq.com/docs/direct-reply-to).

A channel that consumes from REPLY_TO gets a name of its own, which takes the place of REPLY_TO in the reply_to of what
it publishes. What is published to that name by the default exchange is delivered to the channel; if the channel has
ended, it is dropped.
"""

from __future__ import annotations

from typing import Callable, Dict, Iterable

from .message import Message
from .names import unique_name

__all__ = ["REPLY_TO", "Replies"]

#: The queue that is none.
REPLY_TO = "amq.rabbitmq.reply-to"


class Replies:
    """Who waits for replies in a virtual host."""

    def __init__(self) -> None:
        #: What hands a message on, by name.
        self.waiting: Dict[str, Callable[[Message], None]] = {}

    def __contains__(self, name: object) -> bool:
        return name == REPLY_TO or name in self.waiting

    def expect(self, deliver: Callable[[Message], None]) -> str:
        """A new name, for replies that are handed to deliver()."""
        name = unique_name(REPLY_TO + ".")
        self.waiting[name] = deliver
        return name

    def forget(self, name: str) -> None:
        """Nobody waits there any more."""
        del self.waiting[name]

    def deliver(self, message: Message, keys: Iterable[str]) -> None:
        """Hand a message of the default exchange to those of its routing keys that somebody waits at."""
        for key in dict.fromkeys(keys):
            deliver = self.waiting.get(key)
            if deliver is not None:
                deliver(message)
