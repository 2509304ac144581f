"""What can go wrong, as programs see it.

    AMQPException                    what the protocol reports: code, text, method
      AMQPConnectionException          the connection is over: the server closed it
        ConnectionForced (320), NotAllowed (530), NotImplementedByServer (540), InternalError (541), ...
        ConnectionLostError              ... or it was lost, refused or never made; a ConnectionError too, with errno
          ProtocolVersionError             ... because the server speaks another version of AMQP
          TLSError                         ... because TLS failed: a certificate, a version
          AuthenticationError              ... because the login was refused (403)
          InterruptedCallError             ... in the middle of a call; it is back, and the call was not repeated
            TransactionLostError             ... or of a transaction, which is void
      AMQPChannelException             the channel is over: the server closed it
        AccessRefused (403), NotFound (404), ResourceLocked (405), PreconditionFailed (406), ...
        ChannelClosedError               ... or it was closed before this call
      DialectError                     what was asked for does not exist in the AMQP version that is spoken
      NestedCallError                  a call out of the middle of another: by a signal handler, at a wrong moment
      RecoveryError                    something could not be declared again on a connection that has come back
      StaleDeliveryError               an acknowledgement of what a connection that was lost had delivered
      UnconfirmedError                 the server did not confirm messages; it holds them
        ConfirmTimeoutError              ... in time; an AMQPTimeoutError as well
        UnconfirmedChannelError          ... before the channel ended; an AMQPChannelException as well, and NotFound
                                             and the like by its code
          UnconfirmedClosedError           ... a ChannelClosedError as well
        UnconfirmedConnectionError       ... before the connection ended; an AMQPConnectionException as well
          UnconfirmedLostError             ... a ConnectionLostError as well
            UnconfirmedTLSError              ... a TLSError as well
    AMQPTimeoutError                 time is up; a TimeoutError and a socket.timeout
      ConnectionBlockedError           ... because the broker takes no publishes for the time being
    ValueError                       what was asked for cannot be sent; nothing was, and all stays usable

`except (AMQPConnectionException, OSError)` therefore holds for every way in which a connection ends.

There is a class for each reply code with which the specification has a server close something (wire/spec.py). A server
that closes the other thing with it raises the class above: a refused login, which is a 403 for the connection, is an
AuthenticationError, and no AccessRefused.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, ClassVar, Dict, Generic, List, NamedTuple, Optional, Tuple, Type, TypeVar

from ..wire.spec import AMQP_0_8, Sig, reply_of
from ..wire.text import printable
from .method_names import METHOD_NAME_MAP, api_name, method_name

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault  # which type checkers know without installing it

    from .message import GenericContent

    ContentT = TypeVarWithDefault("ContentT", bound=GenericContent, default=Any)
else:
    ContentT = TypeVar("ContentT")

__all__ = [
    "METHOD_NAME_MAP",
    "AMQPChannelException",
    "AMQPConnectionException",
    "AMQPException",
    "AMQPTimeoutError",
    "AccessRefused",
    "AuthenticationError",
    "ChannelClosedError",
    "ChannelError",
    "CommandInvalid",
    "ConfirmTimeoutError",
    "ConnectionBlockedError",
    "ConnectionForced",
    "ConnectionLostError",
    "ContentTooLarge",
    "DialectError",
    "End",
    "FrameError",
    "FrameSyntaxError",
    "InternalError",
    "InterruptedCallError",
    "InvalidPath",
    "NestedCallError",
    "NotAllowed",
    "NotFound",
    "NotImplementedByServer",
    "PreconditionFailed",
    "ProtocolVersionError",
    "RecoveryError",
    "ResourceError",
    "ResourceLocked",
    "StaleDeliveryError",
    "TLSError",
    "TransactionLostError",
    "UnconfirmedChannelError",
    "UnconfirmedClosedError",
    "UnconfirmedConnectionError",
    "UnconfirmedError",
    "UnconfirmedLostError",
    "UnconfirmedTLSError",
    "UnexpectedFrame",
    "method_name",
    "unconfirmed_at_the_end",
]


ErrorT = TypeVar("ErrorT", bound="AMQPException")


#: Reply code -> the class for it.
_BY_CODE: Dict[int, Type[AMQPException]] = {}


def of_code(kind: Type[ErrorT], reply_code: int) -> Type[ErrorT]:
    """The subclass of `kind` for a reply code; `kind` itself where there is none."""
    found = _BY_CODE.get(reply_code)
    return found if found is not None and issubclass(found, kind) else kind


class AMQPException(Exception):
    """Something that AMQP reports with a reply code.

    `args` is (reply code, reply text, (class id, method id), method name), as it has always been; str() says the
    same in words, and where it happened. The server's text is as it came in `args` and `amqp_reply_text`; in str() it
    is on one line, and what cannot be printed is spelled out.
    """

    #: The call that was waiting for its answer, where the server names no method.
    _waiting = ""

    def __init_subclass__(cls, reply: str = "", **options: Any) -> None:
        """`reply`: the name of the reply code that the class is for, in wire/spec.py."""
        super().__init_subclass__(**options)
        if reply:
            _BY_CODE[reply_of(reply).code] = cls

    def __init__(self, reply_code: int, reply_text: str, method_sig: Sig, where: str = "") -> None:
        super().__init__()
        self.amqp_reply_code = reply_code
        self.amqp_reply_text = reply_text
        self.amqp_method_sig = method_sig
        self._where = where
        self.args = (reply_code, reply_text, method_sig, method_name(method_sig))

    def __str__(self) -> str:
        text, hint = self._said(), self._hint()
        if self._where:
            text += " [%s]" % self._where
        return printable("%s; %s" % (text, hint) if hint else text)

    def _said(self) -> str:
        """What was wrong, and of which method."""
        text = str(self.amqp_reply_text) or "no reason was given"
        if self.amqp_reply_code:
            text = "%s %s" % (self.amqp_reply_code, text)
        name = method_name(self.amqp_method_sig)
        if name:
            return "%s (after %s)" % (text, name)
        return "%s (while %s was waiting)" % (text, self._waiting) if self._waiting else text

    def _hint(self) -> str:
        from .connect import hints  # not before something goes wrong

        return hints.on(self.amqp_reply_code, str(self.amqp_reply_text))

    def __reduce__(self) -> Tuple[Type[AMQPException], Tuple[Any, ...], Dict[str, Any]]:
        return type(self), (self.amqp_reply_code, self.amqp_reply_text, self.amqp_method_sig), self.__dict__


def waited(exc: AMQPException, method: str) -> None:
    """This call was waiting for its answer: an error that names no method says so."""
    exc._waiting = api_name(method)


class AMQPConnectionException(AMQPException):
    """The connection is over, and all its channels with it."""


class AMQPChannelException(AMQPException):
    """The channel is over; the connection and its other channels are not."""


# --- what a server closed it for: one class a reply code


class AccessRefused(AMQPChannelException, reply="ACCESS_REFUSED"):
    """The user may not do that; or the name is the broker's own (amq.*)."""


class ContentTooLarge(AMQPChannelException, reply="CONTENT_TOO_LARGE"):
    """The message is larger than the broker takes."""


class NotFound(AMQPChannelException, reply="NOT_FOUND"):
    """There is no such queue or exchange."""


class PreconditionFailed(AMQPChannelException, reply="PRECONDITION_FAILED"):
    """It is there and is different, in use or not empty; an unknown delivery tag."""


class ResourceLocked(AMQPChannelException, reply="RESOURCE_LOCKED"):
    """The queue is another connection's alone (exclusive)."""


class ChannelError(AMQPConnectionException, reply="CHANNEL_ERROR"):
    """A method came on a channel that was not open."""


class CommandInvalid(AMQPConnectionException, reply="COMMAND_INVALID"):
    """A method came where it cannot; RabbitMQ: also an exchange type that it does not have."""


class ConnectionForced(AMQPConnectionException, reply="CONNECTION_FORCED"):
    """An operator closed it, or the broker is being shut down: connect again, later."""


class FrameError(AMQPConnectionException, reply="FRAME_ERROR"):
    """A frame that the broker could not read."""


class InternalError(AMQPConnectionException, reply="INTERNAL_ERROR"):
    """The broker could not do it; its log says why."""


class InvalidPath(AMQPConnectionException, reply="INVALID_PATH"):
    """There is no such virtual host."""


class NotAllowed(AMQPConnectionException, reply="NOT_ALLOWED"):
    """What must not be: a vhost that is not there or not for this user, a consumer tag that is in use."""


class NotImplementedByServer(AMQPConnectionException, reply="NOT_IMPLEMENTED"):
    """The broker does not have that."""


class ResourceError(AMQPConnectionException, reply="RESOURCE_ERROR"):
    """The broker is short of something."""


class FrameSyntaxError(AMQPConnectionException, reply="SYNTAX_ERROR"):
    """A frame with a value in it that cannot be."""


class UnexpectedFrame(AMQPConnectionException, reply="UNEXPECTED_FRAME"):
    """A frame out of order."""


# --- the other ways in which it ends


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


def reworded(exc: ConnectionLostError, text: str) -> ConnectionLostError:
    """The same error with another text."""
    return type(exc)(exc.amqp_reply_code, text, exc.amqp_method_sig, exc._where, exc.errno)


class ProtocolVersionError(ConnectionLostError):
    """The server does not speak the AMQP version that was offered."""


class TLSError(ConnectionLostError):
    """TLS failed: a certificate was not accepted, on this side or the other, or there is nothing in common.

    `errno` is EPROTO, unless the connection was lost over it. The ssl.SSLError of a handshake is the `__cause__`.
    """


class AuthenticationError(ConnectionLostError):
    """The server refused the login: reply code 403, and its own words where it had any."""


class InterruptedCallError(ConnectionLostError):
    """The connection was lost in the middle of a call, and is back: see Connection's `recover`.

    Whether the broker has carried it out is not known, and it would not be harmless to do it twice.
    """


class TransactionLostError(InterruptedCallError):
    """The connection was lost in the middle of a transaction (tx), and is back. Nothing of it has taken effect."""


class ChannelClosedError(AMQPChannelException, AttributeError):
    """The channel was closed before this call.

    An AttributeError too: amqplib 1.x fell over its own None here, and programs came to catch that.
    """

    def _hint(self) -> str:
        return "open another one: conn.channel()"


class AMQPTimeoutError(socket.timeout, *(() if socket.timeout is TimeoutError else (TimeoutError,))):  # type: ignore[misc]
    """Time is up."""

    def __str__(self) -> str:
        return printable(super().__str__())  # it may hold the server's words, or the host that it redirected to


class ConnectionBlockedError(AMQPTimeoutError):
    """The broker takes no publishes for the time being (connection.blocked), and this one was not sent."""


class DialectError(AMQPException, NotImplementedError):
    """The AMQP version that is spoken on this connection has no such method or argument. Nothing was sent."""


class RecoveryError(AMQPException):
    """The connection is back, but this could not be declared again; its `__cause__` is why.

    declaration: what it is: see Recovery.
    """

    def __init__(self, reply_code: int, reply_text: str, method_sig: Sig, where: str = "", declaration: Any = None):
        super().__init__(reply_code, reply_text, method_sig, where)
        self.declaration = declaration


class StaleDeliveryError(AMQPException):
    """A message was delivered by a connection that was lost, so it cannot be acknowledged: it is delivered again.

    Nothing was sent, and the channel stays usable.
    """


class NestedCallError(AMQPException, RuntimeError):
    """A call in the middle of another one of the same thread, by a signal handler or a __del__. It did nothing.

    Such a call works while the other one waits. While it is sending or taking in bytes, or on the same channel, it
    cannot, and waiting for the other one to end would take for ever.
    """


_PUBLISH = AMQP_0_8["basic.publish"].sig


class End(NamedTuple):
    """Why nothing more will be known of messages: what the exception for it has."""

    reply_code: int
    reply_text: str
    method_sig: Sig = (0, 0)
    errno: Optional[int] = None


class UnconfirmedError(AMQPException, Generic[ContentT]):
    """The server did not take responsibility for messages.

    Each of these has publishes by their delivery tag: `nacked`, which the server refused; `returned`, mandatory ones
    that no queue took; `unconfirmed`, of which nothing is known yet and which stay in the channel's `unconfirmed`. A
    message is in one of them only. `messages` has all of them, in the order of their publishing.

    When the channel or the connection has ended, so that nothing more will be known, the exception is of one of the
    classes below: it is an UnconfirmedError and what the end is, with its reply code and text, method and errno. So
    whoever catches lost connections catches it, and so does whoever catches UnconfirmedError. The exception for the end
    alone is the `__cause__`.
    """

    #: The two classes that _as_well() has made this one of, if it has.
    _made_of: ClassVar[Tuple[Any, Any]] = (None, None)

    def __init__(
        self,
        nacked: Dict[int, ContentT],
        returned: Dict[int, ContentT],
        unconfirmed: Dict[int, ContentT],
        where: str = "",
        ended: str = "",
        excuse: str = "",
        end: Optional[End] = None,
        advice: str = "",
    ) -> None:
        self.nacked = nacked
        self.returned = returned
        self.unconfirmed = unconfirmed
        self._ended, self._excuse, self._end, self._advice = ended, excuse, end, advice
        text = "messages are not safe: %d nacked, %d returned as unroutable, %d not confirmed"
        text %= len(nacked), len(returned), len(unconfirmed)
        if ended:
            text = "%s: %s" % (ended, text)
        elif unconfirmed:
            text += " yet" + excuse
        self._summary = text
        if end is None:
            super().__init__(0, text, _PUBLISH, where)
        else:
            super().__init__(end.reply_code, end.reply_text, end.method_sig, where)
            if isinstance(self, ConnectionLostError):
                self._set_errno(end.errno)

    def _said(self) -> str:
        # what ended it names a method, if it knows one
        return self._summary if self._ended else "%s (after %s)" % (self._summary, method_name(_PUBLISH))

    def _hint(self) -> str:
        return self._advice

    @property
    def messages(self) -> List[ContentT]:
        """All messages, in the order of their publishing."""
        every = {**self.nacked, **self.returned, **self.unconfirmed}
        return [every[tag] for tag in sorted(every)]

    def __reduce__(self) -> Tuple[Any, ...]:
        found = self.nacked, self.returned, self.unconfirmed
        args = *found, self._where, self._ended, self._excuse, self._end, self._advice
        kind, by_code = self._made_of
        return (_again, (kind, by_code, args), {}) if by_code else (type(self), args, {})


class ConfirmTimeoutError(UnconfirmedError[ContentT], AMQPTimeoutError):
    """... and the time to wait for it is up."""


class UnconfirmedChannelError(UnconfirmedError[ContentT], AMQPChannelException):
    """... before the server closed the channel."""


class UnconfirmedClosedError(UnconfirmedChannelError[ContentT], ChannelClosedError):
    """... before the channel was closed, as was told before."""


class UnconfirmedConnectionError(UnconfirmedError[ContentT], AMQPConnectionException):
    """... before the server closed the connection."""


class UnconfirmedLostError(UnconfirmedConnectionError[ContentT], ConnectionLostError):
    """... before the connection was lost."""


class UnconfirmedTLSError(UnconfirmedLostError[ContentT], TLSError):
    """... because of TLS."""


#: What the end is -> what it is with messages that are not confirmed.
_ENDS: Dict[Type[AMQPException], Type[UnconfirmedError[Any]]] = {
    AMQPChannelException: UnconfirmedChannelError,
    ChannelClosedError: UnconfirmedClosedError,
    AMQPConnectionException: UnconfirmedConnectionError,
    ConnectionLostError: UnconfirmedLostError,
    TLSError: UnconfirmedTLSError,
}


def unconfirmed_at_the_end(
    cause: AMQPException,
    nacked: Dict[int, GenericContent],
    returned: Dict[int, GenericContent],
    unconfirmed: Dict[int, GenericContent],
    where: str,
) -> UnconfirmedError:
    """The exception for messages that are not safe because a channel or a connection has ended."""
    kind: Type[UnconfirmedError[Any]] = next(
        (_ENDS[each] for each in type(cause).__mro__ if each in _ENDS), UnconfirmedError
    )
    errno = cause.errno if isinstance(cause, ConnectionLostError) else None
    end = End(cause.amqp_reply_code, cause.amqp_reply_text, cause.amqp_method_sig, errno)
    by_code = next((each for each in type(cause).__mro__ if each in _BY_CODE.values()), None)
    if by_code is not None:
        kind = _as_well(kind, by_code)
    return kind(nacked, returned, unconfirmed, where, cause._said(), end=end, advice=cause._hint())


#: Those that were made so far: each is one class for the life of the process.
_made: Dict[Tuple[Any, Any], Type[UnconfirmedError]] = {}


def _as_well(kind: Type[UnconfirmedError], by_code: Type[AMQPException]) -> Type[UnconfirmedError]:
    """A class that is both, and goes by the name of the first."""
    both = kind, by_code
    if both not in _made:
        made = type(kind.__name__, both, {"__doc__": kind.__doc__, "__module__": kind.__module__, "_made_of": both})
        return _made.setdefault(both, made)
    return _made[both]


def _again(kind: Type[UnconfirmedError], by_code: Type[AMQPException], args: Tuple[Any, ...]) -> UnconfirmedError:
    """For pickling: a class that was made on the way cannot be found by its name."""
    return _as_well(kind, by_code)(*args)
