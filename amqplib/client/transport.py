"""The network: connecting, reading and writing bytes, and nothing about AMQP.

This is the one edge where the system's errors become ours: everything raised here is a ConnectionLostError with
the system's errno, or an AMQPTimeoutError.

The socket belongs to the program as well: it may set a timeout on it, peek and select. A timeout of the socket
ends a read without harm, since nothing has been taken from the socket by then.
"""

from __future__ import annotations

import errno
import select
import socket
import weakref
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import Any, Optional, Sequence, Tuple, Union

from .address import Address
from .deadline import NEVER, Deadline
from .exceptions import AMQPTimeoutError, ConnectionLostError

__all__ = ["Transport", "open_socket", "open_transport"]

#: Octets asked of the system at a time: two frames of the usual frame_max.
_CHUNK = 262144

#: Pieces handed to the system at a time; Linux takes 1024.
_PIECES = 1000

#: Bytes, or a view of some: both have a length in octets.
Piece = Union[bytes, memoryview]


def open_socket(address: Address, deadline: Deadline = NEVER) -> socket.socket:
    """A TCP connection to the first of the host's addresses that accepts one; else the last one's error."""
    try:
        found = socket.getaddrinfo(address.host, address.port, 0, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except (OSError, UnicodeError) as exc:
        text = "the host name %r could not be resolved: %s" % (address.host, exc)
        raise ConnectionLostError(0, text, where=str(address), errno=getattr(exc, "errno", None)) from exc
    failure: Optional[Tuple[Optional[int], str]] = None
    for family, kind, proto, _, sockaddr in found:
        try:
            return _open_one(family, kind, proto, sockaddr, deadline)
        except OSError as exc:
            if deadline.expired():
                raise AMQPTimeoutError("%s: no connection within %.3g s" % (address, deadline.seconds or 0)) from exc
            failure = exc.errno, exc.strerror or str(exc)
    number, reason = failure or (None, "the name has no addresses")
    hint = "; is a broker listening there?" if number == errno.ECONNREFUSED else ""
    text = "no connection to %s: %s%s" % (address, reason, hint)
    raise ConnectionLostError(0, text, errno=number)


def _open_one(family: int, kind: int, proto: int, sockaddr: Tuple[object, ...], deadline: Deadline) -> socket.socket:
    sock = socket.socket(family, kind, proto)
    try:
        sock.settimeout(deadline.remaining())
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


class Transport:
    """Bytes to and from one peer over a connected socket.

    One thread may read while another writes; neither reading nor writing may be done by two at a time (see `link`).
    """

    def __init__(self, sock: socket.socket, address: Address) -> None:
        self.sock = sock
        self.address = address

    def read(self, deadline: Deadline) -> bytes:
        """Whatever has arrived, at least one byte. AMQPTimeoutError leaves everything as it was."""
        try:
            if deadline.seconds is not None and not _readable(self.sock, deadline):
                # the program's own timeout on the socket holds as well
                within = deadline.seconds if deadline.expired() else self.sock.gettimeout()
                raise AMQPTimeoutError("nothing came from %s within %.3g s" % (self.address, within or 0))
            data = self.sock.recv(_CHUNK)
        except AMQPTimeoutError:
            raise
        except (socket.timeout, BlockingIOError) as exc:
            text = "nothing came from %s within the socket's timeout of %s s" % (self.address, self.sock.gettimeout())
            raise AMQPTimeoutError(text) from exc
        except OSError as exc:
            raise self._lost(exc) from exc
        if not data:
            text = "%s closed the connection without a word" % str(self.address)
            raise ConnectionLostError(0, text, errno=errno.ECONNRESET)
        return data

    def write(self, data: bytes) -> None:
        """Hand all of `data` to the system.

        AMQPTimeoutError means that not a byte of it went and all is usable. After any other exception part of it
        may have gone, so the connection has to be given up.
        """
        sent = 0
        try:
            sent = self.sock.send(data)
            while sent < len(data):
                sent += self.sock.send(memoryview(data)[sent:])
        except OSError as exc:
            raise self._not_written(exc, sent) from exc

    def write_pieces(self, pieces: Sequence[Piece]) -> None:
        """The same for data in pieces, which are not copied."""
        if not hasattr(self.sock, "sendmsg"):  # not every system's sockets, nor every patched one, have it
            self.write(b"".join(pieces))
            return
        sent, left = 0, deque(pieces)
        try:
            while left:
                taken = self.sock.sendmsg(list(islice(left, _PIECES)))
                sent += taken
                while left and taken >= len(left[0]):
                    taken -= len(left.popleft())
                if taken:
                    left[0] = memoryview(left[0])[taken:]
        except OSError as exc:
            raise self._not_written(exc, sent) from exc

    def _not_written(self, exc: OSError, sent: int) -> OSError:
        if not isinstance(exc, (socket.timeout, BlockingIOError)):
            return self._lost(exc)
        within = "within the socket's timeout of %s s" % self.sock.gettimeout()
        if not sent:
            return AMQPTimeoutError("%s took no data %s" % (self.address, within))
        text = "%s took no more data %s, after %d bytes of a message" % (self.address, within, sent)
        return ConnectionLostError(0, text, errno=errno.ETIMEDOUT)

    def shut(self) -> None:
        """End the network connection, which wakes a thread that is reading. The socket stays a socket: a program that
        puts its timeout back in a `finally` must not get another error there instead of the one that tells why."""
        with suppress(OSError):  # the peer was faster
            self.sock.shutdown(socket.SHUT_RDWR)
        # It goes with the last that knows of it; without a warning, also when it is garbage collection that finds out.
        weakref.finalize(self, self.sock.close).atexit = False

    def close(self) -> None:
        """Let go of the socket as well; not while a thread is reading from it."""
        self.shut()
        self.sock.close()

    def _lost(self, exc: OSError) -> ConnectionLostError:
        reason = exc.strerror or str(exc) or type(exc).__name__
        return ConnectionLostError(0, "the connection to %s was lost: %s" % (self.address, reason), errno=exc.errno)


def open_transport(address: Address, ssl: Any, deadline: Deadline) -> Transport:
    """Connect to `address`, and start TLS where `ssl` (see `tls.make_context`) asks for it."""
    if not ssl:
        return Transport(open_socket(address, deadline), address)
    from . import tls  # not before it is needed: it takes longer to import than all the rest

    context, server_hostname = tls.make_context(ssl)
    sock = open_socket(address, deadline)
    try:
        return tls.TLSTransport(sock, address, context, server_hostname or address.host, deadline)
    except BaseException:
        sock.close()
        raise


def _readable(sock: socket.socket, deadline: Deadline) -> bool:
    """Wait until something can be read; False when the deadline comes first."""
    if sock.fileno() < 0:
        raise OSError(errno.EBADF, "the program has closed the socket")
    times = [seconds for seconds in (deadline.remaining(), sock.gettimeout()) if seconds is not None]
    remaining = min(times) if times else None
    if hasattr(select, "poll"):
        poller = select.poll()
        poller.register(sock, select.POLLIN)
        return bool(poller.poll(None if remaining is None else remaining * 1000))
    return bool(select.select([sock], [], [], remaining)[0])  # eventlet's patched select has no poll
