"""Connection with the defaults and the leniency of amqplib 1.0."""

from __future__ import annotations

from typing import Any, ClassVar, List, Optional, Type, Union, cast

from ..client import channel as channels
from ..client import connection
from ..client.computed import computed
from ..client.connect.address import Address
from ..client.connect.profile import Profile
from ..client.deadline import Deadline
from ..client.logger import LOGGER
from ..client.net.transport import Transport
from ..wire.spec import AMQP_0_8, AMQP_0_9_1, Dialect
from . import transport
from .abstract_channel import AbstractChannel
from .channel import Channel
from .exceptions import AMQPConnectionException, AMQPException
from .method_framing import MethodReader, MethodWriter
from .serialization import AMQPReader, AMQPWriter
from .transport import create_transport

# the other names were imported from here by programs
__all__ = [
    "AMQPConnectionException",
    "AMQPException",
    "AMQPReader",
    "AMQPWriter",
    "AbstractChannel",
    "Channel",
    "Connection",
    "MethodReader",
    "MethodWriter",
    "create_transport",
]


def _unknown_arguments(names: List[str]) -> None:
    # 1.0 took them without a word, and programs do pass what was never there. Not warnings.warn(): that may log
    # too, under another name than ours, and a log handler that publishes over AMQP filters only ours.
    LOGGER.warning("Connection has no argument %s: ignored", ", ".join(names))


def _open_transport(address: Address, ssl: Any, deadline: Deadline) -> Transport:
    return create_transport(str(address), deadline.remaining(), ssl)  # by its name here: programs may have set theirs


def _header(dialect: Dialect) -> bytes:
    if dialect is not AMQP_0_8:
        return dialect.header
    header: Union[bytes, str] = transport.AMQP_PROTOCOL_HEADER  # programs may have set theirs
    return header.encode("latin-1") if isinstance(header, str) else header


class Connection(connection.Connection, AbstractChannel):
    __doc__ = connection.Connection.__doc__

    channel_class: ClassVar[Type[channels.Channel[Any]]] = Channel
    _amqplib_profile: ClassVar[Profile] = Profile(
        (AMQP_0_8, AMQP_0_9_1), 0, _open_transport, _header, _unknown_arguments
    )

    def channel(self, channel_id: Optional[int] = None) -> Channel:
        return cast(Channel, super().channel(channel_id))

    channel.__doc__ = connection.Connection.channel.__doc__

    @computed
    def method_reader(self) -> MethodReader:
        """Reads methods of any channel."""
        return MethodReader(self)

    @computed
    def method_writer(self) -> MethodWriter:
        """Writes methods of any channel."""
        return MethodWriter(self)
