"""A broker for one test: it plays a script over a socket, and fails the test when the client does not play along.

    peer.expect("queue.purge", 0, "q", False)
    peer.send("queue.purge_ok", 7)
    assert channel.queue_purge("q") == 7

The test writes down steps; a thread of the peer's own does them, in order, as the client gives cause. A step that
cannot be done within PATIENCE seconds, or that meets other bytes than it expects, ends the script: the connection is
reset, so that the client does not wait for ever, and `finish()` raises what went wrong. It raises as well when the
client has said anything that the script does not have, or has left its socket open.

What is expected as a method is compared after decoding, by the tests' own codec (`frozen`); tests of bytes use
expect_bytes() with literal ones.
"""

from __future__ import annotations

import errno
import queue
import select
import socket
import struct
import threading
import time
from types import TracebackType
from typing import Any, Callable, Dict, List, Optional, Tuple, Type, TypeVar

from amqplib.client.connect.address import Address
from amqplib.client.connect.connecting import SPOKEN

from .frozen import AMQP_0_8, AMQP_0_9_1, Frozen, read_properties

__all__ = ["HEADER", "HEADER_0_9_1", "PATIENCE", "Content", "Peer", "content", "method"]

#: Seconds until a peer, or a test that waits for one of its own threads, gives up.
PATIENCE = 30.0

HEADER, HEADER_0_9_1 = AMQP_0_8.header, AMQP_0_9_1.header
SERVER_PROPERTIES = {"product": "Scripted", "version": "1.0"}

#: Properties and body of a message.
Content = Tuple[Dict[str, Any], bytes]

PeerT = TypeVar("PeerT", bound="Peer")


def method(name: str, *args: Any, channel: int = 1, dialect: Frozen = AMQP_0_8) -> bytes:
    """The frame of a method."""
    return dialect.method(channel, name, args)


def content(name: str, *args: Any, message: Content = ({}, b""), channel: int = 1, dialect: Frozen = AMQP_0_8) -> bytes:
    """The frames of a method and its content."""
    return dialect.content(channel, name, args, *message)


class Peer:
    """Listens on `address`; every step can be called from the test at any time, and returns at once."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        family: socket.AddressFamily = socket.AF_INET,
        dialect: Frozen = AMQP_0_8,
    ) -> None:
        self.dialect = dialect
        self._listener = socket.create_server((host, 0), family=family)
        self._listener.settimeout(PATIENCE)
        self.port: int = self._listener.getsockname()[1]
        self.address = "%s:%d" % ("[%s]" % host if ":" in host else host, self.port)
        SPOKEN.pop(Address(host, self.port), None)  # of another one, which had the port before
        #: All that the client has sent over its current connection, as far as steps have read it.
        self.received = bytearray()
        #: Why the script has ended early.
        self.failure: Optional[str] = None
        #: So many of them steps have dealt with.
        self.taken = 0
        self._client: Optional[socket.socket] = None
        self._steps: queue.Queue[Optional[Callable[[], None]]] = queue.Queue()
        self._thread = threading.Thread(target=self._play, name="peer", daemon=True)
        self._thread.start()

    def __enter__(self: PeerT) -> PeerT:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        try:
            self.finish()
        except AssertionError:
            if kind is None:
                raise

    # --- steps

    def accept(self) -> None:
        """Take the next connection; the one before must be over."""
        self._steps.put(self._accept)

    def expect_bytes(self, data: bytes) -> None:
        """The client sends exactly these bytes next."""
        self._steps.put(lambda: self._expect_bytes(data))

    def expect(self, name: str, *args: Any, channel: int = 1) -> None:
        """The client sends this method next, with these arguments, or with any where none are given."""
        self._steps.put(lambda: self._expect(name, args, channel))

    def expect_content(self, name: str, *args: Any, message: Content, channel: int = 1) -> None:
        """The client sends this method next, and this message with it."""
        self._steps.put(lambda: self._expect_content(name, args, channel, message))

    def expect_end(self) -> None:
        """The client ends its connection, without another word."""
        self._steps.put(self._expect_end)

    def drain(self) -> None:
        """Whatever the client says, and its end."""
        self._steps.put(self._drain)

    def send(self, name: str, *args: Any, channel: int = 1) -> None:
        """Send a method."""
        self.send_bytes(method(name, *args, channel=channel, dialect=self.dialect))

    def send_content(self, name: str, *args: Any, message: Content = ({}, b""), channel: int = 1) -> None:
        """Send a method and a message with it."""
        self.send_bytes(content(name, *args, message=message, channel=channel, dialect=self.dialect))

    def send_bytes(self, data: bytes) -> None:
        """Send bytes, in one piece."""
        self._steps.put(lambda: self._connected().sendall(data))

    def trickle(self, data: bytes, seconds: float) -> None:
        """Send bytes one by one, with a pause after each, until the client goes."""
        self._steps.put(lambda: self._trickle(data, seconds))

    def close(self) -> None:
        """End the connection from this side."""
        self._steps.put(self._close)

    def reset(self) -> None:
        """Break the connection: the client gets ECONNRESET."""
        self._steps.put(self._reset)

    def do(self, step: Callable[[], None]) -> None:
        """Do something else when the script has come this far; an AssertionError fails the test."""
        self._steps.put(step)

    # --- steps that mostly come together

    def greet(self, properties: Optional[Dict[str, Any]] = None, mechanisms: str = "PLAIN AMQPLAIN") -> None:
        """Take a connection, up to connection.start."""
        self.accept()
        newer = self.dialect is AMQP_0_9_1
        self.expect_bytes(self.dialect.header)
        version = (0, 9) if newer else (8, 0)
        self.send("connection.start", *version, properties or SERVER_PROPERTIES, mechanisms, "en_US", channel=0)

    def let_in(self, channel_max: int = 2047, frame_max: int = 131072, heartbeat: int = 60) -> None:
        """Take any login, up to connection.tune-ok."""
        self.expect("connection.start_ok", channel=0)
        self.send("connection.tune", channel_max, frame_max, heartbeat, channel=0)
        self.expect("connection.tune_ok", channel=0)

    def open_host(self) -> None:
        """Open any virtual host."""
        self.expect("connection.open", channel=0)
        self.send("connection.open_ok", "", channel=0)

    def welcome(self, **tune: int) -> None:
        """All of a handshake."""
        self.greet()
        self.let_in(**tune)
        self.open_host()

    def open_channel(self, channel: int = 1) -> None:
        """Answer the opening of a channel."""
        reserved = [""] * len(self.dialect.fields("channel.open_ok"))  # one, in 0-9-1
        self.answer("channel.open", "channel.open_ok", *reserved, channel=channel)

    def answer(self, request: str, reply: str, *args: Any, channel: int = 1) -> None:
        """Answer a method, whatever its arguments are, with a reply and its arguments."""
        self.expect(request, channel=channel)
        self.send(reply, *args, channel=channel)

    def part(self) -> None:
        """Answer the closing of the connection."""
        self.answer("connection.close", "connection.close_ok", channel=0)
        self.expect_end()

    # --- the end of the script

    def wait(self) -> None:
        """Wait until all steps so far are done; AssertionError says why they cannot be."""
        done = threading.Event()
        self._steps.put(done.set)
        end = time.monotonic() + 2 * PATIENCE
        while not done.wait(0.05):
            self._check()
            assert time.monotonic() < end, "the peer is stuck"
        self._check()

    def finish(self) -> None:
        """All steps have to be done by now; then nothing more may come from the client."""
        if self._thread.is_alive():
            self._steps.put(self._finish)
            self._steps.put(None)
            self._thread.join(3 * PATIENCE)
            assert not self._thread.is_alive(), "the peer is stuck"
        self._check()

    def _check(self) -> None:
        if self.failure is not None:
            raise AssertionError("the peer's script failed: %s" % self.failure)

    # --- in the peer's thread

    def _play(self) -> None:
        try:
            while True:
                step = self._steps.get()
                if step is None:
                    break
                step()
        except (AssertionError, OSError) as exc:
            self.failure = "%s: %s" % (type(exc).__name__, exc)
        except BaseException as exc:
            self.failure = repr(exc)
            raise
        finally:
            if self._client is not None:
                self._reset()
            self._listener.close()

    def _finish(self) -> None:
        if self._client is not None:
            self._expect_end()

    def _connected(self) -> socket.socket:
        assert self._client is not None, "no client is connected"
        return self._client

    def _accept(self) -> None:
        self._finish()
        self._client, _ = self._listener.accept()
        self._client.settimeout(PATIENCE)
        self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received, self.taken = bytearray(), 0

    def read(self) -> bool:
        """In a step of do(): read more; False at the end."""
        try:
            data = self._connected().recv(262144)
        except OSError as exc:
            if exc.errno == errno.ECONNRESET:
                return False
            raise
        self.received += data
        return bool(data)

    def take(self, size: int, what: str) -> bytes:
        """In a step of do(): the octets that the client sends next; `what` they are, for an error."""
        end = self.taken + size
        while len(self.received) < end:
            try:
                more = self.read()
            except socket.timeout:
                raise AssertionError("%s was expected; only %r came" % (what, self._rest())) from None
            assert more, "%s was expected; the end came after %r" % (what, self._rest())
        with memoryview(self.received) as received:
            data = bytes(received[self.taken : end])
        self.taken = end
        return data

    def _rest(self) -> bytes:
        return bytes(self.received[self.taken :])

    def frame(self, what: str) -> Tuple[int, int, bytes]:
        """In a step of do(): the frame that the client sends next: its type, channel and payload."""
        kind, channel, size = struct.unpack(">BHL", self.take(7, what))
        payload = self.take(size + 1, what)
        assert payload[-1:] == b"\xce", "%s: a frame without an end octet: %r" % (what, payload[-20:])
        return kind, channel, payload[:-1]

    def _expect_bytes(self, data: bytes) -> None:
        got = self.take(len(data), "%r" % data[:200])
        assert got == data, "bytes differ\n  expected: %s\n  got:      %s" % (data.hex(), got.hex())

    def _expect(self, name: str, args: Tuple[Any, ...], channel: int) -> None:
        kind, number, payload = self.frame(name)
        assert kind == 1, "%s was expected; a frame of type %d came: %r" % (name, kind, payload[:200])
        got, values = self.dialect.read_method(payload)
        assert (number, got) == (channel, name), "%s on channel %d was expected; %s%r on channel %d came" % (
            (name, channel, got, values, number)
        )
        assert not args or values == args, "%s%r was expected; %r came" % (name, args, values)

    def _expect_content(self, name: str, args: Tuple[Any, ...], channel: int, message: Content) -> None:
        self._expect(name, args, channel)
        kind, number, payload = self.frame("a content header")
        assert (kind, number, payload[:4]) == (2, channel, b"\0\x3c\0\0"), "no content header: %r" % payload
        (size,) = struct.unpack_from(">Q", payload, 4)
        properties = read_properties(payload)
        pieces: List[bytes] = []
        while sum(map(len, pieces)) < size:
            kind, number, piece = self.frame("a body")
            assert (kind, number) == (3, channel), "a frame of type %d on channel %d in a body" % (kind, number)
            pieces.append(piece)
        assert (properties, b"".join(pieces)) == message

    def says(self, data: bytes) -> None:
        """In a step of do(): send bytes now."""
        self._connected().sendall(data)

    def hears(self, seconds: float) -> bool:
        """In a step of do(): does the client say something within so many seconds?"""
        return bool(select.select([self._connected()], [], [], seconds)[0])

    def payload(self) -> bytes:
        """In a step of do(): the payload of the frame that the client sends next."""
        return self.frame("a frame")[2]

    def bodies(self, count: int) -> List[bytes]:
        """In a step of do(): the bodies of so many contents that the client sends next, whatever else they are."""
        found: List[bytes] = []
        while len(found) < count:
            kind, _, payload = self.frame("a message")
            if kind == 2:
                body, (size,) = bytearray(), struct.unpack_from(">Q", payload, 4)
                while len(body) < size:
                    kind, _, piece = self.frame("a body")
                    assert kind == 3, "a frame of type %d in a body" % kind
                    body += piece
                found.append(bytes(body))
        return found

    def _expect_end(self) -> None:
        try:
            while self.read():
                pass
        except socket.timeout:
            raise AssertionError("the client has not closed its socket; it said %r" % self._rest()) from None
        assert not self._rest(), "nothing was expected; the client said %r" % self._rest()
        self._close()

    def _drain(self) -> None:
        while self.read():
            pass
        self._close()

    def _trickle(self, data: bytes, seconds: float) -> None:
        for i in range(len(data)):
            try:
                self._connected().sendall(data[i : i + 1])
            except OSError:
                return
            time.sleep(seconds)

    def _close(self) -> None:
        self._connected().close()
        self._client = None

    def _reset(self) -> None:
        # linger 0: close() sends RST
        self._connected().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._close()
