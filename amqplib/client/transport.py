"""The network: connecting, reading and writing bytes, and nothing about AMQP.

This is the one edge where the system's errors become ours: everything raised here is a ConnectionLostError with
the system's errno, or an AMQPTimeoutError.

The socket belongs to the program as well: it may set a timeout on it, peek and select. A timeout of the socket
ends a read without harm, since nothing has been taken from the socket by then.
"""

from __future__ import annotations

import _socket
import errno
import math
import select
import socket
import threading
import time
import weakref
from collections import deque
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple, Union

from .address import Address
from .deadline import NEVER, Deadline
from .exceptions import AMQPTimeoutError, ConnectionLostError

__all__ = ["Transport", "open_socket", "open_transport"]

#: Octets asked of the system at a time, and while that much comes. Memory for the smaller number is to be had without
#: asking the system for it (benchmarks/experiments/reading.py).
_CHUNK, _LARGE_CHUNK = 65536, 262144

#: Pieces handed to the system at a time; Linux takes 1024.
_PIECES = 1000

#: Bytes, or a view of some: both have a length in octets.
Piece = Union[bytes, memoryview]

#: What is written at one go.
Data = Union[bytes, Sequence[Piece]]

#: What a writer calls when the system takes no more for now; it raises AMQPTimeoutError when there is no more time.
Wait = Callable[[], None]

#: Seconds of a single wait: what systems count in milliseconds has an end.
_LONGEST = 3600.0

#: Not on Windows, where writing waits by itself.
_DONT_WAIT: int = getattr(socket, "MSG_DONTWAIT", 0)


def open_socket(address: Address, deadline: Deadline = NEVER) -> socket.socket:
    """A TCP connection to the first of the host's addresses that accepts one; else the last one's error.

    The addresses share the time: each gets as much of what is left as those behind it.
    """
    found = _look_up(address, deadline)
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


def _look_up(address: Address, deadline: Deadline) -> List[Any]:
    """The host's addresses. Systems look names up for as long as they like; with a deadline, a thread waits for it."""
    answer: List[Any] = []

    def ask() -> None:
        try:
            answer.append(socket.getaddrinfo(address.host, address.port, 0, socket.SOCK_STREAM, socket.IPPROTO_TCP))
        except (OSError, UnicodeError) as exc:
            answer.append(exc.with_traceback(None))
        answered.set()

    answered = threading.Event()
    if deadline.remaining() is None or _is_literal(address.host):
        ask()
    else:
        try:
            threading.Thread(target=ask, name="amqplib-lookup", daemon=True).start()
        except RuntimeError:  # there are too many; or Python 3.12 is about to exit
            ask()
        if not answered.wait(deadline.remaining()):
            text = "%s: the host name was not looked up within %.3g s" % (address, deadline.seconds or 0)
            raise AMQPTimeoutError(text)
    found = answer[0]
    if isinstance(found, Exception):
        text = "the host name %r could not be resolved: %s" % (address.host, found)
        raise ConnectionLostError(0, text, where=str(address), errno=getattr(found, "errno", None)) from found
    return list(found)


def _is_literal(host: str) -> bool:
    """Is it an address, which needs no looking up?"""
    return ":" in host or host.replace(".", "").isdigit()


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


class Transport:
    """Bytes to and from one peer over a connected socket.

    One thread may read while another writes; neither reading nor writing may be done by two at a time (see `link`).
    Waiting is apart from reading, so that an exception from outside (Ctrl-C) that ends the wait costs no bytes.
    """

    #: Is it secret, what goes over it?
    encrypted = False

    #: Where programs of the days of ssl.wrap_socket() look first for the socket to set a timeout on.
    sslobj: Any = None

    def __init__(self, sock: socket.socket, address: Address) -> None:
        self.sock = sock
        self.address = address
        # Sockets of gevent and eventlet do their own waiting: it must not be done behind their back.
        self._cooperative = not isinstance(sock, _socket.socket)
        self._room = _CHUNK
        #: When the system last took a part of something that it had not taken at once.
        self.took_at = 0.0
        self._reader: Tuple[int, Any] = -1, None  # descriptor, and the object that waits for something to be read

    # --- in

    def await_bytes(self, deadline: Deadline) -> None:
        """Wait until receive() has something. AMQPTimeoutError at the deadline, or at the socket's own timeout."""
        began = time.monotonic()
        while not self.readable(deadline.within(_LONGEST)):
            own = self.sock.gettimeout()
            if deadline.expired() or (own is not None and time.monotonic() - began >= own):
                within = deadline.seconds if deadline.expired() else own
                raise AMQPTimeoutError("nothing came from %s within %.3g s" % (self.address, within or 0))

    def readable(self, seconds: float) -> bool:
        """Wait until receive() has something; False after so many seconds, or at the socket's own timeout."""
        try:
            return self._peek(seconds) if self._cooperative else self._poll(seconds)
        except OSError as exc:
            raise self._lost(exc) from exc

    def receive(self) -> bytes:
        """Whatever has arrived; b"" if that is nothing that can be used yet. Does not wait."""
        try:
            waits = self._cooperative or self.sock.gettimeout() is not None  # whatever the flags say
            if waits and not self._ready(0, reading=True)[0]:
                return b""
            data = self.sock.recv(self._room, _DONT_WAIT)
        except (socket.timeout, BlockingIOError):
            return b""
        except OSError as exc:
            raise self._lost(exc) from exc
        if not data:
            text = "%s closed the connection without a word" % str(self.address)
            raise ConnectionLostError(0, text, errno=errno.ECONNRESET)
        self._room = _CHUNK if len(data) < _CHUNK else _LARGE_CHUNK
        return data

    def _poll(self, seconds: float) -> bool:
        number = self.sock.fileno()
        kept, poller = self._reader
        if kept != number or number < 0 or not hasattr(select, "poll"):
            ready = self._ready(seconds, reading=True)[0]
            if hasattr(select, "poll"):
                poller = select.poll()
                poller.register(number, select.POLLIN)
                self._reader = number, poller
            return ready
        own = self.sock.gettimeout()
        if own is not None and own < seconds:
            seconds = own
        self._reader = -1, None  # a signal handler that comes meanwhile may have to wait, too
        try:
            return bool(poller.poll(math.ceil(seconds * 1000)))
        finally:
            self._reader = kept, poller

    def _peek(self, seconds: float) -> bool:
        own = self.sock.gettimeout()
        self.sock.settimeout(seconds if own is None else min(seconds, own))
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except (socket.timeout, BlockingIOError):
            return False
        finally:
            self.sock.settimeout(own)
        return True

    # --- out

    def write(self, data: Data, wait: Wait) -> int:
        """Hand all of `data` to the system, without copying it; how many octets that was. `wait()` is called when the
        system takes no more for now.

        AMQPTimeoutError means that not a byte of it went and all is usable. After any other exception part of it
        may have gone, so the connection has to be given up.
        """
        if not isinstance(data, bytes):
            return self._write_pieces(data, wait)
        try:
            sent = self._at_once(data) if self._cooperative else self.sock.send(data, _DONT_WAIT)
        except OSError as exc:
            sent = self._none_sent(exc, 0)
        size = len(data)
        if sent < size:
            self._write_rest(deque([memoryview(data)[sent:]]), sent, wait)
        return size

    def _write_pieces(self, pieces: Sequence[Piece], wait: Wait) -> int:
        if not hasattr(self.sock, "sendmsg") and not self._cooperative:  # not every system's sockets have it
            return self.write(b"".join(pieces), wait)
        self._write_rest(deque(pieces), 0, wait)
        return sum(map(len, pieces))

    def _write_rest(self, left: Deque[Piece], sent: int, wait: Wait) -> None:
        stalled = False
        while left:
            if stalled:
                try:
                    wait()
                except AMQPTimeoutError as exc:
                    raise self._not_written(str(exc), sent) from exc
            try:
                taken = self._send_some(left)
            except OSError as exc:
                taken = self._none_sent(exc, sent)
            stalled = not taken
            if taken:
                self.took_at = time.monotonic()
            sent += taken
            while left and taken >= len(left[0]):
                taken -= len(left.popleft())
            if taken:
                left[0] = memoryview(left[0])[taken:]

    def _send_some(self, left: Deque[Piece]) -> int:
        if self._cooperative:
            return self._at_once(left[0])
        if self.sock.gettimeout() is not None and not self._ready(0, writing=True)[1]:
            return 0  # the system would wait, whatever the flags say, and nobody would read meanwhile
        if len(left) == 1:
            return self.sock.send(left[0], _DONT_WAIT)
        return self.sock.sendmsg(list(islice(left, _PIECES)), [], _DONT_WAIT)

    def _at_once(self, data: Piece) -> int:
        """Send without the waiting of a cooperative socket: waiting to write is done in one place."""
        own = self.sock.gettimeout()
        if own is None:
            self.sock.settimeout(0)
        try:
            return self.sock.send(data)
        finally:
            self.sock.settimeout(own)

    def _none_sent(self, exc: OSError, sent: int) -> int:
        """0 when the system takes no more for now; any other reason is raised."""
        if isinstance(exc, BlockingIOError) and self.sock.gettimeout() != 0:
            return 0
        if isinstance(exc, (socket.timeout, BlockingIOError)):
            text = "%s took no data within the socket's timeout of %s s" % (self.address, self.sock.gettimeout())
            raise self._not_written(text, sent) from exc
        raise self._lost(exc) from exc

    @staticmethod
    def _not_written(text: str, sent: int) -> OSError:
        if not sent:
            return AMQPTimeoutError(text)
        text += ", after %d bytes of a message" % sent
        return ConnectionLostError(0, text, errno=errno.ETIMEDOUT)

    def await_room(self, deadline: Deadline, reading: bool) -> Tuple[bool, bool]:
        """Wait until something can be read, if `reading`, or written: (readable, writable), both False in the end."""
        try:
            return self._ready(deadline.within(_LONGEST), reading=reading, writing=True)
        except OSError as exc:
            raise self._lost(exc) from exc

    # --- both

    def _ready(self, seconds: float, reading: bool = False, writing: bool = False) -> Tuple[bool, bool]:
        if self.sock.fileno() < 0:
            raise OSError(errno.EBADF, "the program has closed the socket")
        own = self.sock.gettimeout()
        if own is not None and own < seconds:
            seconds = own
        if hasattr(select, "poll"):
            poller = select.poll()
            poller.register(self.sock, (select.POLLIN if reading else 0) | (select.POLLOUT if writing else 0))
            found = dict(poller.poll(math.ceil(seconds * 1000)))
            bits = found.get(self.sock.fileno(), 0)
            over = bits & ~(select.POLLIN | select.POLLOUT)  # an error: reading or writing will tell which
            return bool(reading and (bits & select.POLLIN or over)), bool(writing and (bits & select.POLLOUT or over))
        # Windows; and eventlet's patched select has no poll
        read, write, _ = select.select([self.sock] * reading, [self.sock] * writing, [], seconds)
        return bool(read), bool(write)

    def shut(self) -> None:
        """End the network connection, which wakes a thread that is reading. The socket stays a socket: a program that
        puts its timeout back in a `finally` must not get another error there instead of the one that tells why."""
        with suppress(OSError):  # the peer was faster
            self.sock.shutdown(socket.SHUT_RDWR)
        # It goes with the last that knows of it; without a warning, also when it is garbage collection that finds out.
        # Not by weakref.finalize(), which imports something: this may be a __del__ at the exit of the interpreter.
        _shut[id(self)] = weakref.ref(self, partial(_let_go, id(self), self.sock))

    def leave(self) -> None:
        """Let go of this process's hold of the socket, and leave the network connection as it is."""
        self.sock.close()

    def close(self) -> None:
        """Let go of the socket as well; not while a thread is reading from it."""
        self.shut()
        self.sock.close()

    def _lost(self, exc: OSError) -> ConnectionLostError:
        reason = exc.strerror or str(exc) or type(exc).__name__
        return ConnectionLostError(0, "the connection to %s was lost: %s" % (self.address, reason), errno=exc.errno)


#: Transports whose sockets are to be closed when they go, by id().
_shut: Dict[int, weakref.ref[Transport]] = {}


def _let_go(number: int, sock: socket.socket, ref: weakref.ref[Transport]) -> None:
    _shut.pop(number, None)
    sock.close()


def open_transport(address: Address, ssl: Any, deadline: Deadline) -> Transport:
    """Connect to `address`, and start TLS where `ssl` (see `tls_options.make_context`) asks for it."""
    if not ssl:
        return Transport(open_socket(address, deadline), address)
    from . import tls, tls_options  # not before they are needed: ssl takes longer to import than all the rest

    context, server_hostname = tls_options.make_context(ssl)
    sock = open_socket(address, deadline)
    try:
        return tls.TLSTransport(sock, address, context, server_hostname or address.host, deadline)
    except BaseException:
        sock.close()
        raise
