"""The transport under its old path, and the hooks that programs have put their own things into.

`AMQP_PROTOCOL_HEADER` is read for each connection, so that a program may set another one here.
"""

from __future__ import annotations

from typing import Any, Optional

from ..client.address import DEFAULT_PORT, DEFAULT_TLS_PORT, parse_host
from ..client.deadline import Deadline
from ..client.transport import Transport, open_transport
from ..wire.spec import AMQP_0_8

__all__ = ["AMQP_PORT", "AMQP_PROTOCOL_HEADER", "TCPTransport", "create_transport"]

AMQP_PORT = DEFAULT_PORT
AMQP_PROTOCOL_HEADER = AMQP_0_8.header

TCPTransport = _AbstractTransport = Transport


def create_transport(host: str, connect_timeout: Optional[float] = None, ssl: Any = False) -> Transport:
    """Connect to 'name:port'; with TLS where `ssl` asks for it."""
    return open_transport(parse_host(host, DEFAULT_TLS_PORT if ssl else DEFAULT_PORT), ssl, Deadline(connect_timeout))


def __getattr__(name: str) -> Any:
    if name == "SSLTransport":  # not before it is asked for: it imports ssl
        from ..client.tls import TLSTransport

        return TLSTransport
    raise AttributeError("module %r has no attribute %r" % (__name__, name))
