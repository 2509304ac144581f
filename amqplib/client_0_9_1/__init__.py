"""AMQP 0-9-1 for Python programs: for new ones, and for those that change one import.

    import amqplib.client_0_9_1 as amqp

Classes, methods and arguments are those of amqplib.client_0_8. What differs is how a connection is made: 0-9-1 only,
PLAIN login, finite timeouts, the heartbeat that the server proposes, timestamps received as aware UTC datetimes.
"""

from ..client.channel import Channel
from ..client.exceptions import (
    AMQPChannelException,
    AMQPConnectionException,
    AMQPException,
    AMQPTimeoutError,
    AuthenticationError,
    ChannelClosedError,
    ConfirmTimeoutError,
    ConnectionBlockedError,
    ConnectionLostError,
    DialectError,
    NestedCallError,
    ProtocolVersionError,
    TLSError,
    UnconfirmedError,
)
from ..client.stats import Stats
from .connection import Connection
from .message import Message

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
    "Message",
    "NestedCallError",
    "ProtocolVersionError",
    "Stats",
    "TLSError",
    "UnconfirmedError",
]
