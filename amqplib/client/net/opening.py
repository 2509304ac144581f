"""Making a network connection: TCP to the addresses of a name, and TLS where it is asked for."""

from __future__ import annotations

import errno
import socket
from typing import Any, Callable, Optional, Tuple

from ..connect.address import Address
from ..deadline import NEVER, Deadline
from ..exceptions import AMQPTimeoutError, ConnectionLostError
from .looking_up import look_up
from .transport import Transport

__all__ = ["open_socket", "open_transport"]


def open_socket(address: Address, deadline: Deadline = NEVER) -> socket.socket:
    """A TCP connection to the first of the host's addresses that accepts one; else the last one's error.

    The addresses share the time: each gets as much of what is left as those behind it.
    """
    found = look_up(address, deadline)
    failure: Optional[Tuple[Optional[int], str]] = None
    for number, (family, kind, proto, _, sockaddr) in enumerate(found):
        left = deadline.remaining()
        try:
            return _open_one(family, kind, proto, sockaddr, None if left is None else left / (len(found) - number))
        except OSError as exc:
            if deadline.expired():
                raise AMQPTimeoutError("%s: no connection within %.3g s" % (address, deadline.seconds or 0)) from exc
            failure = exc.errno or errno.ETIMEDOUT, exc.strerror or str(exc)
    code, reason = failure or (None, "the name has no addresses")
    hint = "; is a broker listening there?" if code == errno.ECONNREFUSED else ""
    text = "no connection to %s: %s%s" % (address, reason, hint)
    raise ConnectionLostError(0, text, errno=code)


def _open_one(
    family: int, kind: int, proto: int, sockaddr: Tuple[object, ...], seconds: Optional[float]
) -> socket.socket:
    sock = socket.socket(family, kind, proto)
    try:
        sock.settimeout(seconds)
        sock.connect(sockaddr)
        sock.settimeout(None)
        # methods are small and every one of them is waited for
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # there may be no heartbeats: let the system find out about a peer that is gone
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def open_transport(
    address: Address, ssl: Any, deadline: Deadline, plain: Callable[[socket.socket, Address], Transport] = Transport
) -> Transport:
    """Connect to `address`, and start TLS where `ssl` (see `tls_options.make_context`) asks for it.

    plain: makes the transport where nothing is encrypted.
    """
    if not ssl:
        return plain(open_socket(address, deadline), address)
    from . import tls, tls_options  # not before they are needed: ssl takes longer to import than all the rest

    context, server_hostname = tls_options.make_context(ssl)
    sock = open_socket(address, deadline)
    try:
        return tls.TLSTransport(sock, address, context, server_hostname or address.host, deadline)
    except BaseException:
        sock.close()
        raise
