"""The transport under its old path, and the hooks that programs have put their own things into.

`AMQP_PROTOCOL_HEADER` is read for each connection, so that a program may set another one here.
"""

from ..client.transport import Transport, open_transport
from ..wire.spec import AMQP_0_8

__all__ = ["AMQP_PROTOCOL_HEADER", "TCPTransport", "create_transport"]

AMQP_PROTOCOL_HEADER = AMQP_0_8.header

TCPTransport = Transport
create_transport = open_transport
