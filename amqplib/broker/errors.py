"""What the broker refuses: AMQP's reply codes, and RabbitMQ's words for them.

A ChannelRefusal costs the client its channel, a ConnectionRefusal the connection.
"""

from __future__ import annotations

from typing import Dict

__all__ = ["REPLY_NAMES", "ChannelRefusal", "ConnectionRefusal", "Refusal", "shortened"]

#: 0-9-1, section "constants". RabbitMQ's reply texts begin with these.
REPLY_NAMES: Dict[int, str] = {
    320: "CONNECTION_FORCED",
    403: "ACCESS_REFUSED",
    404: "NOT_FOUND",
    405: "RESOURCE_LOCKED",
    406: "PRECONDITION_FAILED",
    501: "FRAME_ERROR",
    502: "SYNTAX_ERROR",
    503: "COMMAND_INVALID",
    504: "CHANNEL_ERROR",
    505: "UNEXPECTED_FRAME",
    530: "NOT_ALLOWED",
    540: "NOT_IMPLEMENTED",
    541: "INTERNAL_ERROR",
}

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
        name = REPLY_NAMES[reply_code]
        self.reply_code = reply_code
        self.reply_text = shortened("%s - %s" % (name, text) if text else name)
        super().__init__(self.reply_text)


class ChannelRefusal(Refusal):
    """The channel closes."""


class ConnectionRefusal(Refusal):
    """The connection closes."""
