"""What the broker refuses: AMQP's reply codes, and RabbitMQ's words for them.

A ChannelRefusal costs the client its channel, a ConnectionRefusal the connection.
"""

from __future__ import annotations

from ..wire.spec import REPLIES

__all__ = ["ChannelRefusal", "ConnectionRefusal", "Refusal", "shortened"]

_LONGEST = 255


def shortened(text: str) -> str:
    """The text, as far as it fits a short string."""
    data = text.encode("utf-8", "surrogateescape")
    if len(data) <= _LONGEST:
        return text
    return data[: _LONGEST - 3].decode("utf-8", "ignore") + "..."


class Refusal(Exception):
    """A method that is not carried out."""

    def __init__(self, reply_code: int, text: str = "") -> None:
        name = REPLIES[reply_code].name
        self.reply_code = reply_code
        self.reply_text = shortened("%s - %s" % (name, text) if text else name)
        super().__init__(self.reply_text)


class ChannelRefusal(Refusal):
    """The channel closes."""


class ConnectionRefusal(Refusal):
    """The connection closes."""

    def __init__(self, reply_code: int, text: str = "", names_method: bool = True) -> None:
        super().__init__(reply_code, text)
        #: The close says which method it was. RabbitMQ's does not where it refuses a login, or fails.
        self.names_method = names_method and reply_code not in (403, 541)
