"""The two kinds of wire error: ours and theirs.

`LocalError` is the caller's: a value that AMQP cannot carry. It is raised before a byte is made, and
nothing has happened. `PeerError` is the other end's: bytes that break the protocol. After one, the
object that raised it is finished, and the connection has to be closed with the error's reply code.
"""

from __future__ import annotations

from typing import Tuple

__all__ = ["LocalError", "PeerError", "ProtocolHeaderReceived", "UnknownPropertyError", "quote"]

_QUOTED = 32


def quote(data: bytes) -> str:
    """The first bytes of `data`, as text that fits an error message."""
    shown = data[:_QUOTED].hex()
    pairs = " ".join(shown[i : i + 2] for i in range(0, len(shown), 2))
    return pairs + (" ... (%d bytes)" % len(data) if len(data) > _QUOTED else "")


class LocalError(ValueError):
    """A value that cannot be serialised. The text names the value's place and says what fits there."""


class UnknownPropertyError(LocalError):
    """Properties of messages that AMQP does not have."""


class PeerError(Exception):
    """The peer broke the protocol.

    `reply_code` is the AMQP code to close the connection with (0-8 and 0-9-1, section "constants"):
    501 frame error, 502 syntax error, 503 command invalid, 504 channel error, 505 unexpected frame.
    """

    def __init__(self, reply_code: int, text: str, sig: Tuple[int, int] = (0, 0)) -> None:
        super().__init__(text)
        self.reply_code = reply_code
        self.sig = sig


class ProtocolHeaderReceived(PeerError):
    """The peer answered with a protocol header: it refuses our version and names one that it speaks."""

    def __init__(self, header: bytes) -> None:
        self.header = header
        super().__init__(501, "the peer answered with the protocol header %r" % header)
