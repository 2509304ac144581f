"""Connection with the defaults and the leniency of amqplib 1.0."""

from __future__ import annotations

from typing import List, Union

from ..client import connection
from ..client.address import Address
from ..client.computed import computed
from ..client.deadline import Deadline
from ..client.logger import LOGGER
from ..client.transport import Transport
from ..wire.spec import AMQP_0_8
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


class Connection(connection.Connection):
    __doc__ = connection.Connection.__doc__

    def _unknown_arguments(self, names: List[str]) -> None:
        # 1.0 took them without a word, and programs do pass what was never there. Not warnings.warn(): that may log
        # too, under another name than ours, and a log handler that publishes over AMQP filters only ours.
        LOGGER.warning("Connection has no argument %s: ignored", ", ".join(names))

    def _open_transport(self, address: Address, deadline: Deadline) -> Transport:
        return create_transport(str(address), deadline.remaining(), self._ssl)

    def _protocol_header(self) -> bytes:
        if self._link.dialect is AMQP_0_8:
            header: Union[bytes, str] = transport.AMQP_PROTOCOL_HEADER  # programs may have set theirs
            return header.encode("latin-1") if isinstance(header, str) else header
        return super()._protocol_header()

    @computed
    def method_reader(self) -> MethodReader:
        """Reads methods of any channel."""
        return MethodReader(self)

    @computed
    def method_writer(self) -> MethodWriter:
        """Writes methods of any channel."""
        return MethodWriter(self)
