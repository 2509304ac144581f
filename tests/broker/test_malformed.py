"""Bytes that break the protocol end the connection that sent them, with the right code, and nothing else."""

from __future__ import annotations

import socket
from typing import Any, Dict, Iterator, List, Tuple

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from amqplib.wire.protocol import Receiver, Sender
from amqplib.wire.spec import AMQP_0_8, AMQP_0_9_1, Dialect
from amqplib.wire.tables import utc_time
from tests.wire.helpers import frame, octets

PATIENCE = 20


class Raw:
    """A client that says whatever it is told to."""

    def __init__(self, broker: Broker, dialect: Dialect = AMQP_0_9_1) -> None:
        self.dialect = dialect
        self._sock = socket.create_connection((broker.host, broker.port), PATIENCE)
        self._receiver = Receiver(dialect, lambda properties, body: body, utc_time)
        self._receiver.channels.update(range(1, 20))
        self._events: List[Any] = []

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *exc: object) -> None:
        self._sock.close()

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def method(self, name: str, *args: Any, channel: int = 0) -> None:
        self.send(Sender(self.dialect).method(channel, self.dialect[name], args))

    def next_is(self, name: str) -> bool:
        """Is this the next method? It is not taken."""
        while not self._events:
            data = self._sock.recv(65536)
            if not data:
                return name == ""
            self._events += self._receiver.receive(data)
            assert not self._receiver.error
        return bool(self._events[0][1].name == name)

    def expect(self, name: str) -> Tuple[Any, ...]:
        """The arguments of the next method, which must be this one."""
        assert self.next_is(name), self._events
        args: Tuple[Any, ...] = self._events.pop(0)[2]
        return args

    def log_in(self, **changes: Tuple[Any, ...]) -> None:
        """Up to connection.open-ok, or to whatever else comes; a change is a method's arguments, by its short name."""
        capabilities = {"authentication_failure_close": True, "connection.blocked": True}
        steps: Dict[str, Tuple[Any, ...]] = {
            "start_ok": ({"capabilities": capabilities}, "PLAIN", "\0guest\0guest", "en_US"),
            "tune_ok": (2047, 131072, 0),
            "open": ("/", "", False),
            **changes,
        }
        self.send(self.dialect.header)
        self.expect("connection.start")
        self.method("connection.start_ok", *steps["start_ok"])
        if self.next_is("connection.tune"):
            self.expect("connection.tune")
            self.method("connection.tune_ok", *steps["tune_ok"])
            self.method("connection.open", *steps["open"])
        if self.next_is("connection.open_ok"):
            self.expect("connection.open_ok")

    def closed(self, code: int, text: str = "", ids: Tuple[int, int] = (0, 0)) -> None:
        """The broker closes the connection for this reason, and is done with it once that is agreed to."""
        args = self.expect("connection.close")
        assert (args[0], args[2:]) == (code, ids)
        assert text in args[1]
        self.method("connection.close_ok")
        assert self.next_is("")


@pytest.fixture
def bystander(broker: Broker) -> Iterator[amqp.Channel]:
    """Somebody else, whom it must not harm."""
    with amqp.Connection(broker.address) as conn, conn.channel() as ch:
        queue = ch.queue_declare(exclusive=True)[0]
        yield ch
        ch.basic_publish(amqp.Message("unharmed"), routing_key=queue)
        msg = ch.basic_get(queue, no_ack=True)
        assert msg is not None


OPEN = frame(1, 1, octets("00 14 00 0A 00"))
PUBLISH = frame(1, 1, octets("00 3C 00 28 00 00 00 01 'k' 00"))


@pytest.mark.parametrize(
    ("wire", "code", "text", "ids"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 501, "FRAME_ERROR - not an AMQP frame: 47 45 54", (0, 0)),
        (frame(1, 0, b"")[:-1] + b"\x00", 501, "end octet", (0, 0)),
        (octets("01 00 01 00 02 00 01 00"), 501, "a frame of 131081 octets; 131072 were agreed on", (0, 0)),
        (frame(8, 0, b"x"), 501, "heartbeat", (0, 0)),
        (frame(1, 0, octets("00 63 00 01")), 503, "COMMAND_INVALID - an unknown method", (0, 0)),
        (frame(1, 1, octets("00 14")), 504, "CHANNEL_ERROR", (0, 0)),
        (frame(1, 5, octets("00 3C 00 14 00 00 00 00 00 00 00 00 00")), 504, "which is not open", (0, 0)),
        (frame(2, 5, b""), 504, "which is not open", (0, 0)),
        (OPEN + frame(1, 1, octets("00 32 00 0A 00")), 502, "SYNTAX_ERROR - queue.declare: malformed", (50, 10)),
        (OPEN + frame(3, 1, b"x"), 505, "UNEXPECTED_FRAME - a body frame", (0, 0)),
        (OPEN + PUBLISH + PUBLISH, 505, "where a content header frame was due", (60, 40)),
        (OPEN + PUBLISH + frame(2, 1, octets("00 3C 00 00 FF FF FF FF FF FF FF FF 00 00")), 501, "the limit", (0, 0)),
        (OPEN + PUBLISH + frame(2, 1, octets("00 3C 00 00 00 00 00 00 00 00 00 01 FF FF")), 502, "malformed", (0, 0)),
        (OPEN + PUBLISH + frame(2, 1, octets("00 0A 00 00 00 00 00 00 00 00 00 01 00 00")), 501, "class 10", (0, 0)),
        (OPEN + OPEN, 504, "CHANNEL_ERROR - second 'channel.open' seen", (20, 10)),
        (OPEN + frame(1, 1, octets("00 32 00 0B 00 00 00 00 00 00 00 00 00")), 503, "queue.declare_ok", (50, 11)),
        (frame(1, 0, octets("00 0A 00 28 01 '/' 00 00")), 503, "connection.open where", (10, 40)),
        (frame(1, 0, octets("00 32 00 0A") + bytes(20)), 503, "queue.declare on channel 0", (50, 10)),
        (frame(1, 0, octets("00 0A 00 1F 00 00 00 00 10 00 00 00")), 503, "connection.tune_ok where", (10, 31)),
    ],
)
def test_after_the_login(
    broker: Broker, bystander: amqp.Channel, wire: bytes, code: int, text: str, ids: Tuple[int, int]
) -> None:
    with Raw(broker) as raw:
        raw.log_in()
        raw.send(wire)
        if raw.next_is("channel.open_ok"):
            raw.expect("channel.open_ok")
        raw.closed(code, text, ids)


@pytest.mark.parametrize(
    "header", [b"AMQP\x00\x01\x00\x00", b"AMQP\x03\x01\x00\x00", b"HTTP/1.1", b"\x16\x03\x01\x02\x00\x01\x00\x01"]
)
def test_other_protocols(broker: Broker, bystander: amqp.Channel, header: bytes) -> None:
    """The header of what is spoken here is the answer (0-9-1, section 4.2.2)."""
    with socket.create_connection((broker.host, broker.port), PATIENCE) as sock:
        sock.sendall(header)
        assert sock.recv(100) == AMQP_0_9_1.header
        assert sock.recv(100) == b""


def test_a_header_in_pieces(broker: Broker) -> None:
    with Raw(broker) as raw:
        for octet in AMQP_0_9_1.header:
            raw.send(bytes([octet]))
        assert raw.expect("connection.start")[:2] == (0, 9)


@pytest.mark.parametrize("header", [AMQP_0_8.header, b"AMQP\x01\x01\x08\x00"])
def test_both_headers_of_0_8(broker: Broker, header: bytes) -> None:
    with Raw(broker, AMQP_0_8) as raw:
        raw.send(header)
        major, minor, properties, mechanisms, locales = raw.expect("connection.start")
        assert (major, minor, properties["capabilities"]) == (8, 0, {})
        assert (mechanisms.split(), locales) == (["PLAIN", "AMQPLAIN"], "en_US")


@pytest.mark.parametrize(
    ("changes", "code", "text", "ids"),
    [
        ({"start_ok": ({}, "MAGIC", "", "en_US")}, 503, "unknown authentication mechanism 'MAGIC'", (10, 11)),
        ({"tune_ok": (0, 131072, 0)}, 530, "channel_max = 0", (10, 31)),
        ({"tune_ok": (2047, 0, 0)}, 530, "frame_max = 0", (10, 31)),
        ({"tune_ok": (2048, 131072, 0)}, 530, "higher than the maximum allowed value (2047)", (10, 31)),
        ({"tune_ok": (2047, 131073, 0)}, 530, "higher than the maximum allowed value (131072)", (10, 31)),
        ({"tune_ok": (2047, 4095, 0)}, 530, "lower than the minimum allowed value (4096)", (10, 31)),
        ({"open": ("nowhere", "", False)}, 530, "NOT_ALLOWED - vhost nowhere not found", (10, 40)),
    ],
)
def test_during_the_login(
    broker: Broker, bystander: amqp.Channel, changes: Dict[str, Any], code: int, text: str, ids: Tuple[int, int]
) -> None:
    with Raw(broker) as raw:
        raw.log_in(**changes)
        raw.closed(code, text, ids)


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("PLAIN", "\0guest\0wrong"),
        ("PLAIN", "guest"),
        ("PLAIN", "\0nobody\0"),
        ("AMQPLAIN", "\xff"),
        ("AMQPLAIN", "\x05LOGINI\0\0\0\0"),
        ("AMQPLAIN", ""),
    ],
)
def test_logins_that_are_none(broker: Broker, mechanism: str, response: str) -> None:
    """Only clients that announce it are told why; for others the specification has no words."""
    with Raw(broker) as raw:
        raw.log_in(start_ok=({"capabilities": {"authentication_failure_close": True}}, mechanism, response, "en_US"))
        raw.closed(403, "ACCESS_REFUSED - Login was refused using authentication mechanism " + mechanism)
    with Raw(broker) as raw:
        raw.log_in(start_ok=({}, mechanism, response, "en_US"))
        assert raw.next_is("")


def test_a_client_that_gives_up(broker: Broker) -> None:
    """It may close at any time."""
    with Raw(broker) as raw:
        raw.send(raw.dialect.header)
        raw.expect("connection.start")
        raw.method("connection.close", 200, "never mind", 0, 0)
        raw.expect("connection.close_ok")
        assert raw.next_is("")


def test_what_a_client_says_after_its_end_is_dropped(broker: Broker) -> None:
    with Raw(broker) as raw:
        raw.log_in()
        raw.method("channel.open", "", channel=1)
        raw.expect("channel.open_ok")
        raw.send(b"nonsense")
        raw.method("queue.purge", 0, "q", False, channel=1)
        raw.closed(501)
    with Raw(broker) as raw:
        raw.log_in()
        raw.method("connection.open", "/", "", False)
        raw.method("channel.open", "", channel=1)
        raw.closed(503, ids=(10, 40))


def test_channels_that_close_on_both_sides_at_once(broker: Broker) -> None:
    with Raw(broker) as raw:
        raw.log_in()
        raw.method("channel.open", "", channel=1)
        raw.method("queue.purge", 0, "no such queue", False, channel=1)
        raw.method("channel.close", 200, "", 0, 0, channel=1)
        raw.method("channel.close_ok", channel=1)
        raw.method("channel.open", "", channel=1)
        raw.expect("channel.open_ok")
        assert raw.expect("channel.close")[0] == 404
        raw.expect("channel.close_ok")
        raw.expect("channel.open_ok")


def test_nothing_else_on_a_channel_that_closes(broker: Broker) -> None:
    """Until the client agrees, what it says on the channel is passed over."""
    with Raw(broker) as raw:
        raw.log_in()
        raw.method("channel.open", "", channel=1)
        raw.expect("channel.open_ok")
        raw.method("queue.purge", 0, "no such queue", False, channel=1)
        raw.method("queue.declare", 0, "q", False, False, False, True, False, {}, channel=1)
        assert raw.expect("channel.close")[2:] == (50, 30)
        raw.method("channel.close_ok", channel=1)
        raw.method("channel.open", "", channel=1)
        raw.expect("channel.open_ok")
        assert broker.queues() == {}


def test_channels_before_the_connection_is_open(broker: Broker) -> None:
    with Raw(broker) as raw:
        raw.send(raw.dialect.header)
        raw.expect("connection.start")
        raw.method("channel.open", "", channel=1)
        raw.closed(503, "before the connection is open", (20, 10))


def test_a_frame_before_the_login_that_has_no_end(broker: Broker, bystander: amqp.Channel) -> None:
    """Nobody has agreed to a size of frames yet; memory is not taken for any."""
    with Raw(broker) as raw:
        raw.send(AMQP_0_9_1.header)
        raw.expect("connection.start")
        raw.send(octets("01 00 00 3F FF FF FF 00"))
        with pytest.raises(ConnectionResetError):
            raw.next_is("")


def test_a_message_over_the_limit() -> None:
    with Broker(body_max=1000) as broker, Raw(broker) as raw:
        raw.log_in()
        raw.send(OPEN + PUBLISH + frame(2, 1, octets("00 3C 00 00 00 00 00 00 00 00 03 E9 00 00")))
        raw.expect("channel.open_ok")
        raw.closed(501, "a body of 1001 octets is announced; the limit is 1000")


def test_a_fault_in_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs the connection, and stop() tells of it."""
    broker = Broker()
    broker.start()
    monkeypatch.setattr("amqplib.broker.vhost.VHost.delete_exchange", lambda *args: 1 / 0)
    with Raw(broker) as raw:
        raw.log_in()
        raw.send(OPEN)
        raw.expect("channel.open_ok")
        raw.method("exchange.delete", 0, "e", False, False, channel=1)
        raw.closed(541, "INTERNAL_ERROR - ZeroDivisionError", (40, 20))
    with pytest.raises(RuntimeError, match="a fault of its own") as caught:
        broker.stop()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
