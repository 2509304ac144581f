"""AMQP 0-9-1 for Python programs: for new ones, and for those that change one import.

    import amqplib.client_0_9_1 as amqp

    with amqp.Connection('localhost') as conn, conn.channel() as ch:
        ch.queue_declare('letters', durable=True)
        ch.basic_publish_confirm(amqp.Message('hello', delivery_mode=2), routing_key='letters', mandatory=True)
        for msg in ch.consume('letters', timeout=5):
            print(msg.text)
            msg.ack()

help(amqp.Connection), help(amqp.Channel) and help(amqp.Message) have the arguments, units, defaults and errors;
`python3 -m amqplib docs` says where the documents are.

Classes, methods and arguments are those of amqplib.client_0_8. What differs is how a connection is made: 0-9-1 only,
PLAIN login, finite timeouts, the heartbeat that the server proposes, timestamps received as aware UTC datetimes; that
queues and exchanges stay until they are deleted (auto_delete=False); and that what means nothing is a TypeError, and
what has one sensible value may be left out.
"""

from typing import TYPE_CHECKING, Any

from ..client import exceptions
from ..client.channel_methods import DeclaredQueue
from ..client.exceptions import (
    AccessRefused,
    AMQPChannelException,
    AMQPConnectionException,
    AMQPException,
    AMQPTimeoutError,
    AuthenticationError,
    ChannelClosedError,
    ChannelError,
    CommandInvalid,
    ConnectionBlockedError,
    ConnectionForced,
    ConnectionLostError,
    ContentTooLarge,
    DialectError,
    FrameError,
    FrameSyntaxError,
    InternalError,
    InterruptedCallError,
    InvalidPath,
    NestedCallError,
    NotAllowed,
    NotFound,
    NotImplementedByServer,
    PreconditionFailed,
    ProtocolVersionError,
    RecoveryError,
    ResourceError,
    ResourceLocked,
    StaleDeliveryError,
    TLSError,
    TransactionLostError,
    UnexpectedFrame,
)
from ..client.message import DeliveryInfo
from ..client.stats import Stats
from .connection import Channel, Connection
from .message import Message

__all__ = [
    "AMQPChannelException",
    "AMQPConnectionException",
    "AMQPException",
    "AMQPTimeoutError",
    "AccessRefused",
    "AuthenticationError",
    "Channel",
    "ChannelClosedError",
    "ChannelError",
    "CommandInvalid",
    "ConfirmTimeoutError",
    "Connection",
    "ConnectionBlockedError",
    "ConnectionForced",
    "ConnectionLostError",
    "ContentTooLarge",
    "DeclaredQueue",
    "DeliveryInfo",
    "DialectError",
    "FrameError",
    "FrameSyntaxError",
    "InternalError",
    "InterruptedCallError",
    "InvalidPath",
    "Message",
    "NestedCallError",
    "NotAllowed",
    "NotFound",
    "NotImplementedByServer",
    "PreconditionFailed",
    "ProtocolVersionError",
    "Recovery",
    "RecoveryError",
    "ResourceError",
    "ResourceLocked",
    "StaleDeliveryError",
    "Stats",
    "TLSError",
    "TraceRecord",
    "TransactionLostError",
    "UnconfirmedChannelError",
    "UnconfirmedClosedError",
    "UnconfirmedConnectionError",
    "UnconfirmedError",
    "UnconfirmedLostError",
    "UnconfirmedTLSError",
    "UnexpectedFrame",
]

if TYPE_CHECKING:
    from ..client.recovery.policy import Recovery
    from ..client.trace import TraceRecord

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
