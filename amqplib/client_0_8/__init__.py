"""AMQP 0-8 for Python programs: the module that programs import.

    import amqplib.client_0_8 as amqp

    with amqp.Connection("localhost") as conn, conn.channel() as ch:
        ch.queue_declare("greetings")
        ch.basic_publish(amqp.Message("hello world"), routing_key="greetings")

The names, arguments and defaults are those of amqplib 1.0.
"""

from typing import TYPE_CHECKING, Any

from ..client.stats import Stats
from . import exceptions
from .basic_message import Message
from .channel import Channel
from .connection import Connection
from .exceptions import (
    AMQPChannelException,
    AMQPConnectionException,
    AMQPException,
    AMQPTimeoutError,
    AuthenticationError,
    ChannelClosedError,
    ConnectionBlockedError,
    ConnectionLostError,
    DialectError,
    InterruptedCallError,
    NestedCallError,
    ProtocolVersionError,
    RecoveryError,
    StaleDeliveryError,
    TLSError,
    TransactionLostError,
)

__all__ = [
    "AMQPChannelException",
    "AMQPConnectionException",
    "AMQPException",
    "AMQPTimeoutError",
    "AuthenticationError",
    "Channel",
    "ChannelClosedError",
    "ConfirmTimeoutError",
    "Connection",
    "ConnectionBlockedError",
    "ConnectionLostError",
    "DialectError",
    "InterruptedCallError",
    "Message",
    "NestedCallError",
    "ProtocolVersionError",
    "Recovery",
    "RecoveryError",
    "StaleDeliveryError",
    "Stats",
    "TLSError",
    "TransactionLostError",
    "UnconfirmedChannelError",
    "UnconfirmedClosedError",
    "UnconfirmedConnectionError",
    "UnconfirmedError",
    "UnconfirmedLostError",
    "UnconfirmedTLSError",
]

if TYPE_CHECKING:
    from ..client.recovery.policy import Recovery
    from ..client.trace import TraceRecord as TraceRecord

    # the same classes, with this module's Message

    class UnconfirmedError(exceptions.UnconfirmedError[Message]): ...

    class ConfirmTimeoutError(UnconfirmedError, exceptions.ConfirmTimeoutError[Message]): ...

    class UnconfirmedChannelError(UnconfirmedError, exceptions.UnconfirmedChannelError[Message]): ...

    class UnconfirmedClosedError(UnconfirmedChannelError, exceptions.UnconfirmedClosedError[Message]): ...

    class UnconfirmedConnectionError(UnconfirmedError, exceptions.UnconfirmedConnectionError[Message]): ...

    class UnconfirmedLostError(UnconfirmedConnectionError, exceptions.UnconfirmedLostError[Message]): ...

    class UnconfirmedTLSError(UnconfirmedLostError, exceptions.UnconfirmedTLSError[Message]): ...

else:
    UnconfirmedError = exceptions.UnconfirmedError
    ConfirmTimeoutError = exceptions.ConfirmTimeoutError
    UnconfirmedChannelError = exceptions.UnconfirmedChannelError
    UnconfirmedClosedError = exceptions.UnconfirmedClosedError
    UnconfirmedConnectionError = exceptions.UnconfirmedConnectionError
    UnconfirmedLostError = exceptions.UnconfirmedLostError
    UnconfirmedTLSError = exceptions.UnconfirmedTLSError

    def __getattr__(name: str) -> Any:
        """What few programs have a use for is imported when it is asked for."""
        found: Any
        if name == "Recovery":
            from ..client.recovery.policy import Recovery as found
        elif name == "TraceRecord":
            from ..client.trace import TraceRecord as found
        else:
            raise AttributeError("module %r has no attribute %r" % (__name__, name))
        globals()[name] = found
        return found


# Not in __all__: old programs `import *`, and these would take the place of names that they have from elsewhere.
AccessRefused = exceptions.AccessRefused
ChannelError = exceptions.ChannelError
CommandInvalid = exceptions.CommandInvalid
ConnectionForced = exceptions.ConnectionForced
ContentTooLarge = exceptions.ContentTooLarge
FrameError = exceptions.FrameError
FrameSyntaxError = exceptions.FrameSyntaxError
InternalError = exceptions.InternalError
InvalidPath = exceptions.InvalidPath
NotAllowed = exceptions.NotAllowed
NotFound = exceptions.NotFound
NotImplementedByServer = exceptions.NotImplementedByServer
PreconditionFailed = exceptions.PreconditionFailed
ResourceError = exceptions.ResourceError
ResourceLocked = exceptions.ResourceLocked
UnexpectedFrame = exceptions.UnexpectedFrame
