"""The network of the fuzzed client: a server that says what the input says, and the transport that stands for the wire.

There are no sockets: Wire gives octets and takes them, and time passes where it would wait.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections import deque
from typing import Any, Callable, Deque, Dict, Optional, Tuple

from amqplib.client.connect.address import Address
from amqplib.client.exceptions import ConnectionLostError
from amqplib.client.net.transport import Data, Transport
from amqplib.wire import frames
from amqplib.wire.protocol import Sender
from amqplib.wire.spec import AMQP_0_8, AMQP_0_9_1, Dialect, Method

__all__ = ["DIALECTS", "SAYINGS", "Bytes", "Clock", "Server", "Wire"]

DIALECTS = (AMQP_0_8, AMQP_0_9_1)
TYPES = (frames.METHOD, frames.HEADER, frames.BODY, frames.HEARTBEAT)
METHODS = {dialect.name: sorted(dialect.by_key) for dialect in DIALECTS}

#: Octets that may be held of what nobody has asked for: SECURITY.txt.
HELD = 1_000_000

#: Octets of a flood at most.
FLOOD = 100_000

#: Octets that are read at a time at most.
PIECE = 16384

#: What strange servers say of themselves and of others.
TEXTS = (
    "", "q", "tag", "other", "a,b", "a\0b", "x" * 255, "\u00b2", "9" * 250, "4.3.0", "RabbitMQ", "127.0.0.1:5673",
    "[::1]", "::1", "h:0", "@", "\r\n", "\x1b[2J", "\u202e", "vhost  not found", "INTERNAL_ERROR - ",
    "unknown delivery tag", "%s%d", "idna", "hex", "utf-7", "PLAIN", "AMQPLAIN",
)  # fmt: skip
CODES = (0, 200, 311, 312, 313, 320, 402, 403, 404, 405, 406, 501, 502, 503, 504, 505, 506, 530, 540, 541, 65535)
NUMBERS = (0, 1, 2, 3, 255, 4095, 4096, 65535)
TABLES: Tuple[Dict[str, Any], ...] = (
    {},
    {"product": "RabbitMQ", "version": "4.3.0"},
    {"product": "RabbitMQ", "version": "\u00b2.\u00b2"},
    {"product": "RabbitMQ", "version": "9" * 5000},
    {"product": "RabbitMQ", "version": {"4": [3]}},
    {"capabilities": {"authentication_failure_close": True, "publisher_confirms": True}},
    {"capabilities": "none"},
    {"a": [None, True, 2.5, {"b": b"\xff"}]},
)

#: What a server may say at any time.
SAYINGS = (
    "basic.deliver", "basic.return", "basic.ack", "basic.nack", "basic.cancel", "basic.get_ok", "basic.get_empty",
    "basic.consume_ok", "basic.cancel_ok", "connection.blocked", "connection.unblocked", "connection.close",
    "connection.close_ok", "connection.start", "connection.secure", "connection.tune", "connection.open_ok",
    "connection.redirect", "channel.close", "channel.close_ok", "channel.flow", "channel.flow_ok", "channel.alert",
    "channel.open_ok", "queue.declare_ok", "confirm.select_ok", "tx.select_ok", "basic.publish",
)  # fmt: skip


class Clock:
    """What the client takes for time."""

    def __init__(self) -> None:
        self.waited = 0.0
        #: How often the client has read, since the call began.
        self.reads = 0

    def __call__(self) -> float:
        return self.waited + time.thread_time()


class Bytes:
    """The input, octet by octet."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def octet(self) -> int:
        """The next one; 0 behind the end."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def take(self, size: int) -> bytes:
        self._at += size
        return self._data[self._at - size : self._at]

    def pick(self, what: Any) -> Any:
        return what[self.octet() % len(what)]


class Server:
    """The other end of one network connection."""

    def __init__(self, dialect: Dialect, given: Bytes, heartbeat: int) -> None:
        self.dialect = dialect
        self.sender = Sender(dialect)
        self._given = given
        self._heartbeat = heartbeat
        self._heard = b""
        self._started = False
        #: Answers that are due, in order.
        self.due: Deque[bytes] = deque()
        #: What has been said last, and whether that is what the program has asked for.
        self._last = b""
        self._confirms = 0
        #: The connection ends, once what was said has been read: as it should, or by a reset.
        self.end: Optional[int] = None
        self.flooded = False

    # --- what it hears

    def hear(self, data: bytes) -> None:
        self._heard += data
        if not self._started:
            if len(self._heard) < 8:
                return
            header, self._heard, self._started = self._heard[:8], self._heard[8:], True
            if header != self.dialect.header:
                self.due.append(self.dialect.header)
                self.due.append(b"")
                return
            version = (8, 0) if self.dialect is AMQP_0_8 else (0, 9)
            properties = {"product": "Fuzzed", "version": "1.0", "capabilities": {"publisher_confirms": True}}
            self._answer(0, "connection.start", *version, properties, b"PLAIN AMQPLAIN", b"en_US")
        while len(self._heard) >= 8:
            size = int.from_bytes(self._heard[3:7], "big") + 8
            if len(self._heard) < size:
                break
            frame, self._heard = self._heard[:size], self._heard[size:]
            if frame[0] == frames.METHOD:
                self._hear_method(int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[7:11], "big"))

    def _hear_method(self, channel: int, key: int) -> None:
        method = self.dialect.by_key.get(key)
        if method is None:
            return  # of the other dialect, to a server whose header was not awaited
        name = method.name
        if name == "connection.start_ok":
            self._answer(0, "connection.tune", 2047, 131072, self._heartbeat)
        elif name == "basic.get":
            self.due.append(self._content(channel, "basic.get_ok", (1, False, "", "q", 0), {}, b"got"))
        elif name == "basic.publish" and self._confirms:
            self._answer(channel, "basic.ack", self._confirms, True)
            self._confirms += 1
        elif name == "basic.consume":
            self._answer(channel, "basic.consume_ok", "tag")
        else:
            if name == "confirm.select":
                self._confirms = 1
            replies = [m for m in self.dialect.by_key.values() if m.sig in self.dialect[name].replies]
            if replies:
                self._answer(channel, replies[0].name, *(_PLAIN[kind] for _, kind in replies[0].fields))
            if name == "connection.close":
                self.due.append(b"")

    def _answer(self, channel: int, name: str, *args: Any) -> None:
        self.due.append(self.sender.method(channel, self.dialect[name], args))

    def _content(
        self, channel: int, name: str, args: Tuple[Any, ...], properties: Dict[str, Any], body: bytes
    ) -> bytes:
        return self.sender.content(channel, self.dialect[name], args, properties, body)

    # --- what it says

    def speak(self) -> Optional[bytes]:
        """What comes next; None for silence, b"" for the end."""
        given = self._given
        if not given:
            return self._answer_due()
        act = given.octet()
        kind = act & 7
        if kind <= 1:
            return self._answer_due()
        if kind == 2:
            return self._say(self._frame())
        if kind == 3:
            return self._say(given.take(act >> 3))
        if kind == 4:
            return None
        if kind == 5:
            if act & 0x80:
                self.end = 104 if act & 0x40 else 0
                return b""
            if self.due and act & 0x40:
                self.due.popleft()  # it is never said
            return self._answer_due()
        if kind == 6:
            return self._say(self._saying())
        return self._flood(given.octet())

    def _answer_due(self) -> Optional[bytes]:
        if not self.due:
            return None
        said = self.due.popleft()
        if not said:
            self.end = 0
        return said

    def _say(self, said: bytes) -> Optional[bytes]:
        self._last = said
        return said or None

    def _flood(self, times: int) -> Optional[bytes]:
        """What was said last, over and over."""
        count = min(times * times, FLOOD // max(1, len(self._last)))
        # deliveries to the consumer that the program has are what it has asked for
        self.flooded = count > 1 and b"\x03tag" not in self._last
        return self._last * count or None

    def _frame(self) -> bytes:
        """A frame that is whole, and whose method there is."""
        given = self._given
        kind, size = given.octet(), given.octet()
        payload, frame_type = given.take(size), TYPES[kind & 3]
        if frame_type == frames.METHOD and payload:
            keys = METHODS[self.dialect.name]
            payload = keys[payload[0] % len(keys)].to_bytes(4, "big") + payload[1:]
        return frames.encode_frame(frame_type, kind >> 2 & 3, payload)

    def _saying(self) -> bytes:
        """A method that a server may send, at whatever time."""
        given = self._given
        method: Optional[Method] = self.dialect.by_name.get(given.pick(SAYINGS))
        if method is None:  # not in this dialect
            return b""
        settings = given.octet()
        args = tuple(self._value(name, kind) for name, kind in method.fields)
        channel = 0 if method.name.startswith("connection.") else 1 + (settings & 1)
        if not method.has_content:
            return self.sender.method(channel, method, args)
        properties: Dict[str, Any] = {"application_headers": given.pick(TABLES)} if settings & 2 else {}
        if settings & 4:
            properties["content_encoding"] = given.pick(TEXTS)
        return self.sender.content(channel, method, args, properties, b"x" * (settings >> 3))

    def _value(self, name: str, kind: str) -> Any:
        given = self._given
        if kind == "shortstr":
            return given.pick(TEXTS)
        if kind == "longstr":
            return given.pick(TEXTS).encode()
        if kind == "table":
            return given.pick(TABLES)
        if kind == "bit":
            return bool(given.octet() & 1)
        return given.pick(CODES if name == "reply_code" else NUMBERS) & (255 if kind == "octet" else 65535)


#: Arguments of an answer as it should be.
_PLAIN: Dict[str, Any] = {
    "bit": True, "octet": 0, "short": 0, "long": 0, "longlong": 1, "shortstr": "", "longstr": b"", "table": {},
    "timestamp": 0,
}  # fmt: skip


class _Socket:
    """What the client asks of a socket."""

    def gettimeout(self) -> None:
        return None

    def getsockname(self) -> Any:
        raise OSError("there is none")


class Wire(Transport):
    """The network connection: gives what the server says, and lets time pass where it says nothing."""

    def __init__(self, address: Address, server: Server, clock: Clock, room: int) -> None:
        unreal: Any = _Socket()
        super().__init__(unreal, address)
        self._server = server
        self._clock = clock
        #: Octets that it takes; then none until something has been said.
        self._room = room
        self._coming = b""
        self._over = False
        self.watch: Callable[[], None] = lambda: None

    def readable(self, seconds: float) -> bool:
        return self.ready(seconds, reading=True)[0]

    def ready(self, seconds: float, reading: bool = False, writing: bool = False) -> Tuple[bool, bool]:
        writable = writing and (self._room > 0 or self._over)
        if not reading:
            self._clock.waited += 0 if writable else seconds
            return False, writable
        if not self._coming and not self._over and self._server.end is None:
            self.watch()
            said = self._server.speak()
            if said:
                self._coming = said
                self._room += 4096
                if self._server.flooded:
                    self.flood()
        ended = self._over or self._server.end is not None
        if not (self._coming or ended or writable):
            self._clock.waited += seconds
        return bool(self._coming) or ended, writable

    def flood(self) -> None:
        """From here on memory is counted, until all of it has been read."""
        self._server.flooded = False
        gc.collect()
        tracemalloc.start()

        def measure() -> None:
            held = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
            self.watch = lambda: None
            assert held <= HELD, "%d octets are held of a flood" % held

        self.watch = measure

    def receive(self) -> bytes:
        self._clock.reads += 1
        data, self._coming = self._coming[:PIECE], self._coming[PIECE:]
        if not data and (self._over or self._server.end is not None):
            raise ConnectionLostError(0, "the server has gone", errno=self._server.end or 104)
        return data

    def send(self, data: Data) -> int:
        if self._over:
            raise ConnectionLostError(0, "the server has gone", errno=32)
        whole = bytes(data) if isinstance(data, (bytes, memoryview)) else b"".join(data)
        taken = whole[: max(0, self._room)]
        self._room -= len(taken)
        self._server.hear(taken)
        return len(taken)

    def be_woken(self) -> None:
        """Nobody else is there."""

    def wake(self) -> None:
        """Nobody else is there."""

    def shut(self) -> None:
        self._over = True
        if tracemalloc.is_tracing():
            tracemalloc.stop()

    def close(self) -> None:
        self.shut()

    def leave(self) -> None:
        self.shut()
