"""What old programs do with the client, as they wrote it."""

from __future__ import annotations

import logging
import queue as queues
import socket
from types import ModuleType
from typing import Any, Dict, List

import pytest

from amqplib.client.channel import Channel
from amqplib.client.connection import Connection
from amqplib.client.message import Message
from tests.conftest import Broker
from tests.live.conftest import Connect, Names
from tests.live.helpers import bodies, get, over, publish


@pytest.fixture
def old(amqp: ModuleType) -> ModuleType:
    """The client module, for what is true of client_0_8 only."""
    if amqp.__name__ != "amqplib.client_0_8":
        pytest.skip("only of interest to old programs")
    return amqp


@pytest.mark.parametrize(
    "unknown",
    [{"connection_timeout": 5}, {"port": 5672}, {"use_threading": True}, {"keepalive": 1, "hostname": "x"}],
)
def test_unknown_arguments(
    old: ModuleType, connect: Connect, unknown: Dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    conn = connect(**unknown)
    assert ", ".join(sorted(unknown)) in caplog.text
    assert {record.name for record in caplog.records} == {"amqplib"}
    assert conn.channel().is_open


def test_a_trailing_blank(connect: Connect, broker: Broker) -> None:
    assert connect(host=broker.host + " ").channel().is_open


def test_ssl_none(connect: Connect) -> None:
    assert connect(ssl=None).channel().is_open


def test_flags_of_other_types(ch: Channel, names: Names, queue: str) -> None:
    exchange: str = names.exchange()
    options: Dict[str, Any] = {"durable": 0, "auto_delete": 1, "passive": None, "arguments": None}
    ch.exchange_declare(exchange=exchange, type="direct", **options)
    ch.queue_declare(queue=names.queue(), exclusive=0, nowait=None, **options)  # type: ignore[call-overload]
    ch.queue_bind(queue=queue, exchange=exchange, routing_key="k", arguments=None)
    flags: Dict[str, Any] = {"mandatory": None, "immediate": 0}
    ch.basic_publish(Message("x"), exchange=exchange, routing_key="k", **flags)
    msg = ch.basic_get(queue, no_ack=0)  # type: ignore[arg-type]
    assert msg is not None
    ch.basic_ack(msg.delivery_tag, 0)  # type: ignore[arg-type]
    ch.basic_qos(prefetch_size=0, prefetch_count=10, a_global=0)  # type: ignore[arg-type]
    ch.basic_qos(0, 1, None)  # type: ignore[arg-type]


def test_errors_that_programs_catch(connect: Connect, amqp: ModuleType, names: Names) -> None:
    with pytest.raises(IOError, match="403"):
        connect(password="wrong")
    with pytest.raises(socket.error, match="127"):
        connect(host="127.0.0.1:1")
    conn = connect()
    ch = conn.channel()
    with pytest.raises(amqp.AMQPException) as caught:
        ch.basic_get(names.any())
    code, _, sig, name = caught.value.args
    assert (code, sig, name) == (404, (60, 70), "Channel.basic_get")
    with pytest.raises(AttributeError):
        ch.basic_get("x")
    conn.close()
    with pytest.raises((amqp.AMQPConnectionException, OSError)):
        ch.basic_get("x")


def test_attributes_on_messages(ch: Channel, queue: str) -> None:
    seen: List[Message] = []

    def callback(msg: Any) -> None:
        msg.isRetry = True
        msg.ack = lambda: msg.channel.basic_ack(msg.delivery_tag)
        msg.body = "changed"
        seen.append(msg)

    ch.basic_consume(queue, callback=callback)
    publish(ch, queue, "hello")
    ch.wait()
    (msg,) = seen
    assert msg.isRetry
    msg.ack()
    ch.basic_publish(msg, routing_key=queue)
    ch.wait()
    assert seen[1].body == "changed"
    assert ch.basic_get(queue) is None


def test_subclasses(amqp: ModuleType, broker: Broker, names: Names) -> None:
    """Attributes are set before __init__, and methods are overridden, with a second base class."""
    events: List[str] = []

    class Mixin:
        def hello(self) -> str:
            return "hello"

    class MyChannel(amqp.Channel, Mixin):  # type: ignore[name-defined,misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.mine = 7
            super().__init__(*args, **kwargs)

        def _do_close(self, *args: Any, **kwargs: Any) -> None:
            events.append("channel closed")
            super()._do_close(*args, **kwargs)

    class MyConnection(amqp.Connection):  # type: ignore[name-defined,misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.closed = False
            super().__init__(*args, **kwargs)

        def channel(self, channel_id: Any = None) -> Any:
            known = self.channels.get(channel_id)
            return known or MyChannel(self, channel_id)

        def _do_close(self, *args: Any, **kwargs: Any) -> None:
            events.append("connection closed")
            super()._do_close(*args, **kwargs)

    class MyMessage(amqp.Message):  # type: ignore[name-defined,misc]
        def __init__(self, text: str, **properties: Any) -> None:
            super().__init__(text.upper(), **properties)

    with MyConnection(**broker.login) as conn:
        ch = conn.channel()
        assert isinstance(ch, MyChannel)
        assert conn.channel(1) is ch
        assert (ch.mine, ch.hello()) == (7, "hello")
        queue = names.queue()
        ch.queue_declare(queue)
        ch.basic_publish(MyMessage("hello", priority=1), routing_key=queue)
        assert get(ch, queue).body == "HELLO"
        ch.close()
        assert events == ["channel closed"]
        conn.channel()
    assert events == ["channel closed", "connection closed", "channel closed"]


def test_after_close(conn: Connection, names: Names) -> None:
    ch = conn.channel()
    ch.basic_publish(Message("astray"), routing_key=names.any(), mandatory=True)
    ch.basic_consume(names.keep(ch.queue_declare()[0]))
    conn.close()
    assert over(conn)
    assert over(ch)
    assert ch.callbacks == {}
    assert ch.returned_messages.get_nowait()[4].body == "astray"
    with pytest.raises(queues.Empty):
        ch.returned_messages.get_nowait()


def test_a_log_handler_that_publishes(ch: Channel, queue: str) -> None:
    """It filters the logger 'amqplib': nothing may log under another name, else it would never end."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name != "amqplib":
                publish(ch, queue, "%s: %s" % (record.name, record.getMessage()))

    root, handler = logging.getLogger(), Handler(logging.DEBUG)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        logging.getLogger("the program").info("hello")
        assert ch.connection
        ch.connection.channel().close()
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert bodies(ch, queue) == ["the program: hello"]


def test_a_loop_over_methods(old: ModuleType, conn: Any, queue: str) -> None:
    """conn.method_reader and dispatch_method, for programs with a loop of their own."""
    seen: List[Message] = []
    channels = [conn.channel(), conn.channel()]
    for ch in channels:
        ch.basic_consume(queue, no_ack=True, callback=seen.append)
    publish(channels[0], queue, *map(str, range(10)))
    while len(seen) < 10:
        number, method_sig, args, content = conn.method_reader.read_method()
        conn.channels[number].dispatch_method(method_sig, args, content)
    assert sorted(str(msg.body) for msg in seen) == [str(n) for n in range(10)]
    assert {msg.channel for msg in seen} == set(channels)


def test_writing_methods(old: ModuleType, conn: Any, ch: Channel, queue: str) -> None:
    conn.method_writer.write_method(1, (60, 40), (0, "", queue, False, False), Message("by hand"))
    assert get(ch, queue).body == "by hand"


def test_the_other_protocol_header(old: ModuleType, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """AMQP 1 1 8 0 means the same as 1 1 9 1."""
    monkeypatch.setattr("amqplib.client_0_8.transport.AMQP_PROTOCOL_HEADER", b"AMQP\x01\x01\x08\x00")
    assert connect().channel().is_open


def test_patched_connecting(old: ModuleType, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def create_transport(*args: Any, **kwargs: Any) -> Any:
        made.append(old.transport.create_transport(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr("amqplib.client_0_8.connection.create_transport", create_transport)
    conn = connect()
    assert conn.transport is made[0]
    assert isinstance(conn.transport, old.transport.TCPTransport)


@pytest.mark.parametrize("requeue", [1, True])
def test_recover_returns_at_once(ch: Channel, requeue: Any) -> None:
    ch.basic_recover(requeue)
    ch.basic_recover(requeue=requeue)
    ch.queue_declare(exclusive=True)
