"""Connection with the defaults and the leniency of amqplib 1.0."""

from __future__ import annotations

import warnings
from typing import List

from ..client import connection
from ..client.address import Address
from ..client.deadline import Deadline
from ..client.transport import Transport
from ..wire.spec import AMQP_0_8
from . import transport
from .method_framing import MethodReader, MethodWriter
from .transport import create_transport

__all__ = ["Connection"]


class Connection(connection.Connection):
    __doc__ = connection.Connection.__doc__

    def _unknown_arguments(self, names: List[str]) -> None:
        # 1.0 took them without a word, and programs do pass what was never there
        warnings.warn("Connection has no argument %s: ignored" % ", ".join(names), stacklevel=3)

    def _open_transport(self, address: Address, deadline: Deadline) -> Transport:
        return create_transport(address, self._ssl, deadline)

    def _protocol_header(self) -> bytes:
        if self.protocol == AMQP_0_8.name:
            return transport.AMQP_PROTOCOL_HEADER
        return super()._protocol_header()

    @property
    def method_reader(self) -> MethodReader:
        """Reads methods of any channel."""
        return MethodReader(self)

    @property
    def method_writer(self) -> MethodWriter:
        """Writes methods of any channel."""
        return MethodWriter(self)
