"""What outlives a broker that ends and comes back: the same on RabbitMQ and, by down() and up(), in the box."""

from __future__ import annotations

import time
from types import ModuleType
from typing import Any, Iterator

import pytest

from amqplib.client.channel import Channel
from amqplib.client.exceptions import AMQPChannelException, AMQPConnectionException, ConnectionLostError
from amqplib.client.message import Message
from tests.brokers import Node
from tests.live.helpers import eventually, get, holds, publish

pytestmark = [pytest.mark.timeout(180), pytest.mark.thorough(box=True)]


@pytest.fixture
def prefix(mortal: Node, amqp: ModuleType) -> Iterator[str]:
    """Of names; what has them is deleted in the end."""
    prefix = "amqplib-test-%x-" % time.monotonic_ns()
    yield prefix
    if not mortal.running():
        mortal.run()
        mortal.wait_ready()
    with amqp.Connection(mortal.host) as conn, conn.channel() as ch:
        for name in ("durable", "transient", "quorum", "auto"):
            ch.queue_delete(prefix + name)
        for name in ("kept", "lost", "inner"):
            ch.exchange_delete(prefix + name)


def there(conn: Any, kind: str, name: str) -> bool:
    ch = conn.channel()
    try:
        if kind == "queue":
            ch.queue_declare(name, passive=True)
        else:
            ch.exchange_declare(name, "direct", passive=True)
    except AMQPChannelException as exc:
        if exc.args[0] != 404:
            raise
        return False
    return True


def persistent(body: str) -> Message:
    return Message(body, delivery_mode=2)


def declare_all(ch: Channel, prefix: str) -> None:
    ch.exchange_declare(prefix + "kept", "direct", durable=True, auto_delete=False)
    ch.exchange_declare(prefix + "lost", "direct", durable=False, auto_delete=False)
    ch.queue_declare(prefix + "durable", durable=True, auto_delete=False)
    ch.queue_declare(prefix + "transient", durable=False, auto_delete=False)
    ch.queue_declare(prefix + "quorum", durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
    for queue in ("durable", "transient"):
        ch.queue_bind(prefix + queue, prefix + "kept", "k")
        ch.queue_bind(prefix + queue, "amq.direct", prefix + "k")


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_what_is_durable(mortal: Node, amqp: ModuleType, prefix: str, how: str) -> None:
    conn = amqp.Connection(mortal.host)
    ch = conn.channel()
    declare_all(ch, prefix)
    publish(ch, prefix + "durable", "transient")
    safe = conn.channel()
    safe.tx_select()
    for body in ("out", "one", "two"):
        safe.basic_publish(persistent(body), routing_key=prefix + "durable")
    safe.tx_commit()  # RabbitMQ has written them then
    ch.basic_publish(persistent("lost with its queue"), routing_key=prefix + "transient")
    ch.basic_publish(Message("all are persistent here"), routing_key=prefix + "quorum")
    holds(ch, prefix + "durable", 4)
    assert ch.basic_get(prefix + "durable", no_ack=True).body == "transient"
    assert ch.basic_get(prefix + "durable").body == "out"
    publish(ch, prefix + "durable", "transient")
    holds(ch, prefix + "durable", 3)
    if how == "stop":  # killed right after its declaration, a quorum queue loses what it has
        holds(ch, prefix + "quorum", 1)
    getattr(mortal, how)()
    with pytest.raises((ConnectionLostError, AMQPConnectionException)):
        conn.channel()
    conn.close()
    with pytest.raises(OSError, match=mortal.host):
        amqp.Connection(mortal.host)
    mortal.run()
    mortal.wait_ready()
    with amqp.Connection(mortal.host) as conn, conn.channel() as ch:
        assert there(conn, "exchange", prefix + "kept")
        assert not there(conn, "exchange", prefix + "lost")
        assert not there(conn, "queue", prefix + "transient")
        found = [get(ch, prefix + "durable") for _ in range(3)]
        assert [(msg.body, msg.delivery_mode) for msg in found] == [("out", 2), ("one", 2), ("two", 2)]
        assert ch.basic_get(prefix + "durable") is None
        assert there(conn, "queue", prefix + "quorum")
        if how == "stop":
            assert get(ch, prefix + "quorum").body == "all are persistent here"
        ch.basic_publish(Message("by the binding"), prefix + "kept", "k")
        ch.basic_publish(Message("by the other one"), "amq.direct", prefix + "k")
        assert [get(ch, prefix + "durable").body for _ in "12"] == ["by the binding", "by the other one"]


def test_what_ends_with_its_connection(mortal: Node, amqp: ModuleType, prefix: str) -> None:
    """A queue that is exclusive, and one that loses its last consumer."""
    conn = amqp.Connection(mortal.host)
    ch = conn.channel()
    exclusive = ch.queue_declare(durable=True, exclusive=True, auto_delete=False)[0]
    ch.queue_declare(prefix + "auto", durable=True, auto_delete=True)
    ch.basic_consume(prefix + "auto")
    mortal.stop()
    with pytest.raises(AMQPConnectionException, match="CONNECTION_FORCED - broker forced connection closure"):
        conn.wait(timeout=30)
    mortal.run()
    mortal.wait_ready()
    with amqp.Connection(mortal.host) as conn:
        eventually(lambda: not there(conn, "queue", exclusive))
        eventually(lambda: not there(conn, "queue", prefix + "auto"))


def test_exchanges_that_are_bound_to_each_other(mortal: Node, amqp: ModuleType, prefix: str) -> None:
    with amqp.Connection(mortal.host, protocol="0-9-1") as conn, conn.channel() as ch:
        declare_all(ch, prefix)
        ch.exchange_declare(prefix + "inner", "fanout", durable=True, auto_delete=False)
        ch.exchange_bind(prefix + "inner", prefix + "kept", "in")
        ch.exchange_bind(prefix + "inner", prefix + "lost", "in")
        ch.queue_bind(prefix + "durable", prefix + "inner")
    mortal.stop()
    mortal.run()
    mortal.wait_ready()
    with amqp.Connection(mortal.host) as conn, conn.channel() as ch:
        ch.exchange_declare(prefix + "lost", "direct", auto_delete=False)
        ch.basic_publish(Message("no way"), prefix + "lost", "in")
        ch.basic_publish(Message("through both"), prefix + "kept", "in")
        assert get(ch, prefix + "durable").body == "through both"
