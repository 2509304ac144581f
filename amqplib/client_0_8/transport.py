"""The transport under its old path, and the hooks that programs have put their own things into.

`AMQP_PROTOCOL_HEADER` is read for each connection, so that a program may set another one here.
"""

from __future__ import annotations

from typing import Any, Optional

from ..client.connect.address import DEFAULT_PORT
from ..client.connect.secret import hide, hide_in
from ..client.net.transport import Transport
from ..wire.spec import AMQP_0_8

__all__ = ["AMQP_PORT", "AMQP_PROTOCOL_HEADER", "TCPTransport", "create_transport"]

AMQP_PORT = DEFAULT_PORT
AMQP_PROTOCOL_HEADER = AMQP_0_8.header

TCPTransport = _AbstractTransport = Transport


def create_transport(host: str, connect_timeout: Optional[float] = None, ssl: Any = False) -> Transport:
    """Connect to 'name:port', or as far as a URL says where; with TLS where `ssl` asks for it."""
    from ..client.connect.url import parse_target  # not before they are needed: importing amqplib stays cheap
    from ..client.deadline import Deadline
    from ..client.net.opening import open_transport

    host, ssl = hide(host), hide_in(ssl)
    target = parse_target(host, bool(ssl))
    if len(target.addresses) > 1:
        raise ValueError("host: create_transport() takes one host, not %d" % len(target.addresses))
    # TCPTransport as it is called now: programs put their own there
    return open_transport(target.addresses[0], target.ssl(ssl), Deadline(connect_timeout), TCPTransport)


def __getattr__(name: str) -> Any:
    if name == "SSLTransport":  # not before it is asked for: it imports ssl
        from ..client.net.tls import TLSTransport

        return TLSTransport
    raise AttributeError("module %r has no attribute %r" % (__name__, name))
