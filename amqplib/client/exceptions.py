"""What can go wrong, as programs see it.

    AMQPException                    what the protocol reports: code, text, method
      AMQPConnectionException          the connection is over: the server closed it
        ConnectionLostError              ... or it was lost, refused or never made; a ConnectionError too, with errno
          ProtocolVersionError             ... because the server speaks another version of AMQP
          TLSError                         ... because TLS failed: a certificate, a version
          AuthenticationError              ... because the login was refused (403)
      AMQPChannelException             the channel is over: the server closed it
        ChannelClosedError               ... or it was closed before this call
      DialectError                     what was asked for does not exist in the AMQP version that is spoken
      NestedCallError                  a call out of the middle of another: by a signal handler, at a wrong moment
      UnconfirmedError                 the server did not confirm messages; it holds them
        ConfirmTimeoutError              ... in time; an AMQPTimeoutError as well
    AMQPTimeoutError                 time is up; a TimeoutError and a socket.timeout
      ConnectionBlockedError           ... because the broker takes no publishes for the time being
    ValueError                       what was asked for cannot be sent; nothing was, and all stays usable

`except (AMQPConnectionException, OSError)` therefore holds for every way in which a connection ends.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple, Type

from ..wire.spec import AMQP_0_8, AMQP_0_9_1, Sig
from . import advice

if TYPE_CHECKING:
    from .message import GenericContent

__all__ = [
    "METHOD_NAME_MAP",
    "AMQPChannelException",
    "AMQPConnectionException",
    "AMQPException",
    "AMQPTimeoutError",
    "AuthenticationError",
    "ChannelClosedError",
    "ConfirmTimeoutError",
    "ConnectionBlockedError",
    "ConnectionLostError",
    "DialectError",
    "NestedCallError",
    "ProtocolVersionError",
    "TLSError",
    "UnconfirmedError",
    "method_name",
]


def _api_name(name: str) -> str:
    """connection.start -> Connection.start, basic.publish -> Channel.basic_publish."""
    class_name, _, method = name.partition(".")
    if class_name in ("connection", "channel"):
        return "%s.%s" % (class_name.capitalize(), method)
    return "Channel.%s_%s" % (class_name, method)


#: (class id, method id) -> the name under which programs know the method. Always the 0-8 ids.
METHOD_NAME_MAP: Dict[Sig, str] = {
    method.sig: _api_name(method.name) for dialect in (AMQP_0_9_1, AMQP_0_8) for method in dialect.by_name.values()
}
# 0-8 itself calls it recover; RabbitMQ gave that name to a later method that is answered
METHOD_NAME_MAP[AMQP_0_8["basic.recover_async"].sig] = "Channel.basic_recover"


def method_name(sig: Sig) -> str:
    """The name of a method, '' when there is none."""
    return METHOD_NAME_MAP.get(sig, "")


def printable(text: str) -> str:
    """The text with bytes that were not UTF-8 spelled out: as it came, it could not be printed or written to a file."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class AMQPException(Exception):
    """Something that AMQP reports with a reply code.

    `args` is (reply code, reply text, (class id, method id), method name), as it has always been; str() says the
    same in words, and where it happened.
    """

    def __init__(self, reply_code: int, reply_text: str, method_sig: Sig, where: str = "") -> None:
        super().__init__()
        self.amqp_reply_code = reply_code
        self.amqp_reply_text = reply_text
        self.amqp_method_sig = method_sig
        self._where = where
        self.args = (reply_code, reply_text, method_sig, method_name(method_sig))

    def __str__(self) -> str:
        text = printable(str(self.amqp_reply_text)) or "no reason was given"
        if self.amqp_reply_code:
            text = "%s %s" % (self.amqp_reply_code, text)
        name = method_name(self.amqp_method_sig)
        if name:
            text += " (after %s)" % name
        if self._where:
            text += " [%s]" % self._where
        hint = advice.on(self.amqp_reply_code, str(self.amqp_reply_text))
        return "%s; %s" % (text, hint) if hint else text

    def __reduce__(self) -> Tuple[Type[AMQPException], Tuple[Any, ...], Dict[str, Any]]:
        return type(self), (self.amqp_reply_code, self.amqp_reply_text, self.amqp_method_sig), self.__dict__


class AMQPConnectionException(AMQPException):
    """The connection is over, and all its channels with it."""


class AMQPChannelException(AMQPException):
    """The channel is over; the connection and its other channels are not."""


class ConnectionLostError(AMQPConnectionException, ConnectionError):
    """The connection could not be made, was lost, or is closed already. `errno` is the system's, if there is one."""

    def __init__(
        self,
        reply_code: int,
        reply_text: str,
        method_sig: Sig = (0, 0),
        where: str = "",
        errno: Optional[int] = None,
    ) -> None:
        super().__init__(reply_code, reply_text, method_sig, where)
        self.strerror = reply_text
        self._set_errno(errno)

    def _set_errno(self, errno: Optional[int]) -> None:
        self.errno = errno
        if errno and not self.amqp_reply_code:
            # where an OSError has it, and where there is no code of AMQP to be had
            self.args = (errno, *self.args[1:])

    def __reduce__(self) -> Tuple[Type[AMQPException], Tuple[Any, ...], Dict[str, Any]]:
        cls, args, state = super().__reduce__()
        return cls, (*args, self._where, self.errno), state


class ProtocolVersionError(ConnectionLostError):
    """The server does not speak the AMQP version that was offered."""


class TLSError(ConnectionLostError):
    """TLS failed: a certificate was not accepted, on this side or the other, or there is nothing in common.

    `errno` is EPROTO, unless the connection was lost over it. The ssl.SSLError of a handshake is the `__cause__`.
    """


class AuthenticationError(ConnectionLostError):
    """The server refused the login: reply code 403, and its own words where it had any."""


class ChannelClosedError(AMQPChannelException, AttributeError):
    """The channel was closed before this call.

    An AttributeError too: amqplib 1.x fell over its own None here, and programs came to catch that.
    """


class AMQPTimeoutError(socket.timeout, *(() if socket.timeout is TimeoutError else (TimeoutError,))):  # type: ignore[misc]
    """Time is up."""


class ConnectionBlockedError(AMQPTimeoutError):
    """The broker takes no publishes for the time being (connection.blocked), and this one was not sent."""


class DialectError(AMQPException, NotImplementedError):
    """The AMQP version that is spoken on this connection has no such method or argument. Nothing was sent."""


class NestedCallError(AMQPException, RuntimeError):
    """A call in the middle of another one of the same thread, by a signal handler or a __del__. It did nothing.

    Such a call works while the other one waits. While it is sending or taking in bytes, or on the same channel, it
    cannot, and waiting for the other one to end would take for ever.
    """


class UnconfirmedError(AMQPException):
    """The server did not take responsibility for messages.

    Each of these has publishes by their delivery tag: `nacked`, which the server refused; `returned`, mandatory ones
    that no queue took; `unconfirmed`, of which nothing is known yet and which stay in the channel's `unconfirmed`. A
    message is in one of them only. `messages` has all of them, in the order of their publishing. When the channel or
    the connection has ended, so that nothing more will be known, the exception that says why is the `__cause__`.
    """

    def __init__(
        self,
        nacked: Dict[int, GenericContent],
        returned: Dict[int, GenericContent],
        unconfirmed: Dict[int, GenericContent],
        where: str = "",
        ended: str = "",
        excuse: str = "",
    ) -> None:
        self.nacked = nacked
        self.returned = returned
        self.unconfirmed = unconfirmed
        self._ended, self._excuse = ended, excuse
        counts = "%d nacked, %d returned as unroutable, %d not confirmed"
        text = "messages are not safe: " + counts % (len(nacked), len(returned), len(unconfirmed))
        text += " before the end (%s)" % ended if ended else " yet" + excuse if unconfirmed else ""
        super().__init__(0, text, AMQP_0_8["basic.publish"].sig, where)

    @property
    def messages(self) -> List[GenericContent]:
        """All messages, in the order of their publishing."""
        every = {**self.nacked, **self.returned, **self.unconfirmed}
        return [every[tag] for tag in sorted(every)]

    def __reduce__(self) -> Tuple[Type[AMQPException], Tuple[Any, ...], Dict[str, Any]]:
        return type(self), (self.nacked, self.returned, self.unconfirmed, self._where, self._ended, self._excuse), {}


class ConfirmTimeoutError(UnconfirmedError, AMQPTimeoutError):
    """... and the time to wait for it is up."""
