"""Why a channel or a connection is over, as a value.

A value and no exception: an exception holds the frames that it went through, and with them the connection. The client
makes a fresh exception of it for everybody who has to be told.
"""

from __future__ import annotations

from typing import Any, Optional

from ..wire.spec import Sig
from ..wire.text import printable

__all__ = ["BY_PEER", "BY_PROGRAM", "CHANNEL_PARTED", "CONNECTION_PARTED", "LOST", "SHORT", "Ending", "Over"]

#: The peer closed it, and said why.
BY_PEER = "by the peer"
#: This program closed it, or gave it up.
BY_PROGRAM = "by this program"
#: The network, TLS, or a breach of the protocol ended it.
LOST = "lost"

#: Characters of a reason that a close is sure to have room for.
SHORT = 120


class Ending:
    """Who ended it, and the words for it."""

    __slots__ = ("by", "errno", "error", "final", "method_sig", "reply_code", "reply_text")

    def __init__(
        self,
        by: str,
        reply_code: int = 0,
        reply_text: str = "",
        method_sig: Sig = (0, 0),
        errno: Optional[int] = None,
        error: Any = None,
        final: bool = False,
    ) -> None:
        self.by = by
        self.reply_code = reply_code
        self.reply_text = reply_text
        #: The 0-8 (class id, method id) of the method that the peer objected to.
        self.method_sig = method_sig
        #: The system's error number, where the network was the reason.
        self.errno = errno
        #: The client's class of exception for it, where it is not the usual one.
        self.error = error
        #: Is it for good, however the client would go about it?
        self.final = final

    @property
    def words(self) -> str:
        """Who it was and why, for an error about a later call."""
        text = printable(self.reply_text)
        return "by the server: %s %s" % (self.reply_code, text) if self.by is BY_PEER else text


#: The ends that the program's close() makes, of a channel and of a connection.
CHANNEL_PARTED = Ending(BY_PROGRAM, 0, "by this program")
CONNECTION_PARTED = Ending(BY_PROGRAM, 0, "the connection was closed by this program")


class Over(Exception):
    """What was asked for cannot be done any more; the port's or the session's ending says why.

    tag: the delivery tag of a publish that had been entered in the books of confirms by then.
    """

    def __init__(self, tag: Optional[int] = None) -> None:
        super().__init__()
        self.tag = tag
