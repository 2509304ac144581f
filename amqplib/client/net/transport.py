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
import time
import weakref
from contextlib import suppress
from functools import partial
from itertools import islice
from types import BuiltinFunctionType
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

from ..connect.address import Address
from ..deadline import Deadline
from ..exceptions import AMQPTimeoutError, ConnectionLostError
from .waker import Waker

__all__ = ["TLS", "Data", "Piece", "Transport"]

#: Octets asked of the system at a time, and while that much comes. Memory for the smaller number is to be had without
#: asking the system for it (benchmarks/experiments/reading.py).
_CHUNK, _LARGE_CHUNK = 65536, 262144

#: Pieces handed to the system at a time; Linux takes 1024.
_PIECES = 1000

#: Octets, or a view of some: both have a length in octets.
Piece = Union[bytes, memoryview]

#: What is sent at one go.
Data = Union[Piece, Sequence[Piece]]

#: Seconds of a single wait: what systems count in milliseconds has an end.
_LONGEST = 3600.0

#: Not on Windows, where writing waits by itself.
_DONT_WAIT: int = getattr(socket, "MSG_DONTWAIT", 0)


class TLS(NamedTuple):
    """What has been agreed on, and who the peer is: `conn.tls`."""

    #: 'TLSv1.3'
    version: str
    #: 'TLS_AES_256_GCM_SHA384'
    cipher: str
    #: The peer's certificate as ssl.SSLSocket.getpeercert() has it; empty where it was not verified.
    certificate: Dict[str, Any]
    #: The same as DER; None where there is none.
    certificate_der: Optional[bytes]


class Transport:
    """Bytes to and from one peer over a connected socket.

    One thread may read while another sends; neither may be done by two at a time (the driver sees to it). Waiting is
    apart from reading and sending, so that an exception from outside (Ctrl-C) that ends a wait costs no octets.
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
        self._plain = not self._cooperative and bool(_DONT_WAIT)
        self._room = _CHUNK
        self._reader: Tuple[int, Any] = -1, None  # descriptor, and the object that waits for something to be read
        self._waker: Optional[Waker] = None

    # --- in

    def tls(self) -> Optional[TLS]:
        """What TLS has agreed on; None where none is spoken."""
        return None

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
            if not self._cooperative:
                return self._poll(seconds)
            if self._waker is None or isinstance(select.select, BuiltinFunctionType):
                return self._peek(seconds)
            return self._ready(seconds, reading=True)[0]  # it lets others run, as the socket does
        except OSError as exc:
            raise self._lost(exc) from exc

    def receive(self) -> bytes:
        """Whatever has arrived; b"" if that is nothing that can be used yet. Does not wait."""
        sock = self.sock
        try:
            waits = self._cooperative or sock.gettimeout() is not None  # whatever the flags say
            if waits and not self._ready(0, reading=True)[0]:
                return b""
            data = sock.recv(self._room, _DONT_WAIT)
        except (socket.timeout, BlockingIOError):
            return b""
        except OSError as exc:
            raise self._lost(exc) from exc
        if not data:
            raise self._ended()
        self._room = _CHUNK if len(data) < _CHUNK else _LARGE_CHUNK
        return data

    def unread(self, most: int) -> int:
        """How many octets have come and were not received, up to so many; nothing is taken. Does not wait.

        ConnectionLostError when no more will come: the peer has ended the connection, or it was lost.
        """
        sock = self.sock
        try:
            if hasattr(select, "POLLRDHUP") and not self._cooperative and sock.fileno() >= 0:
                poller = select.poll()
                poller.register(sock.fileno(), select.POLLRDHUP)
                if poller.poll(0):  # whatever has come before that
                    raise self._ended()
            if not self._ready(0, reading=True)[0]:
                return 0
            found = len(sock.recv(most, socket.MSG_PEEK | _DONT_WAIT))
        except (socket.timeout, BlockingIOError):
            return 0
        except ConnectionLostError:
            raise
        except OSError as exc:
            raise self._lost(exc) from exc
        if not found:
            raise self._ended()
        return found

    def _ended(self) -> ConnectionLostError:
        text = "%s closed the connection without a word" % str(self.address)
        return ConnectionLostError(0, text, errno=errno.ECONNRESET)

    def _poll(self, seconds: float) -> bool:
        sock = self.sock
        number = sock.fileno()
        kept, poller = self._reader
        if kept != number or poller is None:
            ready = self._ready(seconds, reading=True)[0]
            if hasattr(select, "poll"):
                poller = select.poll()
                poller.register(number, select.POLLIN)
                if self._waker is not None:
                    poller.register(self._waker.number, select.POLLIN)
                self._reader = number, poller
            return ready
        own = sock.gettimeout()
        if own is not None and own < seconds:
            seconds = own
        self._reader = -1, None  # a signal handler that comes meanwhile may have to wait, too
        try:
            found = poller.poll(math.ceil(seconds * 1000))
        finally:
            self._reader = kept, poller
        if not found or (len(found) == 1 and found[0][0] == number):
            return bool(found)
        self._awake()
        return len(found) > 1

    def _awake(self) -> None:
        if self._waker is not None:
            self._waker.clear()

    # --- others wake who waits

    def be_woken(self) -> None:
        """From now on wake() ends a wait for something to be read."""
        if self._waker is None:
            self._waker = Waker()
            self._reader = -1, None

    def wake(self) -> None:
        """End a wait for something to be read, or the next one."""
        if self._waker is not None:
            self._waker.wake()

    def _sleep_on(self) -> None:
        waker, self._waker = self._waker, None
        if waker is not None:
            waker.close()

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

    def send(self, data: Data) -> int:
        """Hand over what the system takes at once; how many octets of `data` that was, 0 when it takes no more for now.

        Nothing is copied, and nothing waits: whoever has more to send waits in ready().
        """
        sock = self.sock
        try:
            if self._plain and type(data) is bytes and sock.timeout is None:
                return sock.send(data, _DONT_WAIT)  # by far the most frequent
            if not self._plain:
                return self._at_once(data)
            # with a timeout of its own the socket would wait, whatever the flags say
            if sock.gettimeout() is not None and not self._ready(0, writing=True)[1]:
                return 0
            if isinstance(data, (bytes, memoryview)):
                return sock.send(data, _DONT_WAIT)
            if not hasattr(sock, "sendmsg"):  # not every system's sockets have it
                return sock.send(data[0], _DONT_WAIT)
            return sock.sendmsg(list(islice(data, _PIECES)), [], _DONT_WAIT)
        except (BlockingIOError, socket.timeout):
            return 0
        except OSError as exc:
            raise self._lost(exc) from exc

    def _at_once(self, data: Data) -> int:
        """Send without the waiting of a cooperative socket: waiting to write is done in one place."""
        own = self.sock.gettimeout()
        self.sock.settimeout(0)
        try:
            return self.sock.send(data if isinstance(data, (bytes, memoryview)) else data[0])
        finally:
            self.sock.settimeout(own)

    def ready(self, seconds: float, reading: bool = False, writing: bool = False) -> Tuple[bool, bool]:
        """Wait until something can be read or written, for the one or the other: (readable, writable).

        Both are False after so many seconds, or at the socket's own timeout.
        """
        try:
            return self._ready(min(seconds, _LONGEST), reading=reading, writing=writing)
        except OSError as exc:
            raise self._lost(exc) from exc

    # --- both

    def _ready(self, seconds: float, reading: bool = False, writing: bool = False) -> Tuple[bool, bool]:
        if self.sock.fileno() < 0:
            raise OSError(errno.EBADF, "the program has closed the socket")
        own = self.sock.gettimeout()
        if own is not None and own < seconds:
            seconds = own
        waker: Any = self._waker
        wakes = waker is not None and reading and seconds > 0
        if hasattr(select, "poll"):
            poller = select.poll()
            poller.register(self.sock, (select.POLLIN if reading else 0) | (select.POLLOUT if writing else 0))
            if wakes:
                poller.register(waker.number, select.POLLIN)
            found = dict(poller.poll(math.ceil(seconds * 1000)))
            bits = found.get(self.sock.fileno(), 0)
            if wakes and waker.number in found:
                self._awake()
            over = bits & ~(select.POLLIN | select.POLLOUT)  # an error: reading or writing will tell which
            return bool(reading and (bits & select.POLLIN or over)), bool(writing and (bits & select.POLLOUT or over))
        # Windows; and eventlet's patched select has no poll
        waits: List[Any] = [self.sock] * reading
        if wakes:
            waits.append(waker.number)
        read, write, _ = select.select(waits, [self.sock] * writing, [], seconds)
        if wakes and waker.number in read:
            self._awake()
        return self.sock in read, bool(write)

    def shut(self) -> None:
        """End the network connection, which wakes a thread that is reading. The socket stays a socket: a program that
        puts its timeout back in a `finally` must not get another error there instead of the one that tells why."""
        if id(self) in _shut:
            return
        with suppress(OSError):  # the peer was faster
            self.sock.shutdown(socket.SHUT_RDWR)
        # It goes with the last that knows of it; without a warning, also when it is garbage collection that finds out.
        # Not by weakref.finalize(), which imports something: this may be a __del__ at the exit of the interpreter.
        _shut[id(self)] = weakref.ref(self, partial(_let_go, id(self), self.sock))

    def leave(self) -> None:
        """Let go of this process's hold of the socket, and leave the network connection as it is."""
        self._sleep_on()
        self.sock.close()

    def close(self) -> None:
        """Let go of the socket as well; not while a thread is reading from it."""
        self.shut()
        self._sleep_on()
        self.sock.close()

    def _lost(self, exc: OSError) -> ConnectionLostError:
        reason = exc.strerror or str(exc) or type(exc).__name__
        return ConnectionLostError(0, "the connection to %s was lost: %s" % (self.address, reason), errno=exc.errno)


#: Transports whose sockets are to be closed when they go, by id().
_shut: Dict[int, weakref.ref[Transport]] = {}


def _let_go(number: int, sock: socket.socket, ref: weakref.ref[Transport]) -> None:
    _shut.pop(number, None)
    sock.close()
