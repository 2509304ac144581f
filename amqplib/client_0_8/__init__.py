"""AMQP 0-8 for Python programs: the module that programs import.

    import amqplib.client_0_8 as amqp

    with amqp.Connection("localhost") as conn, conn.channel() as ch:
        ch.queue_declare("greetings")
        ch.basic_publish(amqp.Message("hello world"), routing_key="greetings")

The names, arguments and defaults are those of amqplib 1.0.
"""

from ..client.stats import Stats
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
    ConfirmTimeoutError,
    ConnectionBlockedError,
    ConnectionLostError,
    DialectError,
    NestedCallError,
    ProtocolVersionError,
    TLSError,
    UnconfirmedError,
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
    "Message",
    "NestedCallError",
    "ProtocolVersionError",
    "Stats",
    "TLSError",
    "UnconfirmedError",
]
