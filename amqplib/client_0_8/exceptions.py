"""The exceptions under their old path."""

from ..client.exceptions import (
    METHOD_NAME_MAP,
    AMQPChannelException,
    AMQPConnectionException,
    AMQPException,
    AMQPTimeoutError,
    AuthenticationError,
    ChannelClosedError,
    ConfirmTimeoutError,
    ConnectionLostError,
    DialectError,
    ProtocolVersionError,
    UnconfirmedError,
)

__all__ = [
    "METHOD_NAME_MAP",
    "AMQPChannelException",
    "AMQPConnectionException",
    "AMQPException",
    "AMQPTimeoutError",
    "AuthenticationError",
    "ChannelClosedError",
    "ConfirmTimeoutError",
    "ConnectionLostError",
    "DialectError",
    "ProtocolVersionError",
    "UnconfirmedError",
]
