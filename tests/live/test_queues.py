"""Queues: declared, bound, unbound, purged and deleted, with every argument."""

from __future__ import annotations

import time
from types import ModuleType
from typing import Any, Callable, Dict

import pytest

from amqplib import client_0_8
from amqplib.client.channel import Channel
from amqplib.client.connection import Connection
from amqplib.client.exceptions import AMQPChannelException
from amqplib.client.message import Message
from tests.live.conftest import Connect, Names
from tests.live.helpers import bodies, eventually, holds, publish, refused


def exists(conn: Connection, queue: str) -> None:
    """Raises when it does not."""
    with conn.channel() as ch:
        ch.queue_declare(queue, passive=True)


def there(conn: Connection, queue: str) -> bool:
    try:
        return bool(conn.channel().queue_declare(queue, passive=True))
    except AMQPChannelException as exc:
        if exc.amqp_reply_code != 404:
            raise
        return False


def gone(conn: Connection, queue: str) -> None:
    refused(conn, 404, lambda ch: ch.queue_declare(queue, passive=True))


def test_declare(ch: Channel, names: Names) -> None:
    myqueue = names.queue()
    assert ch.queue_declare(myqueue) == (myqueue, 0, 0)


def test_declare_counts(conn: Connection, ch: Channel, queue: str) -> None:
    publish(ch, queue, "one", "two", "three")
    eventually(lambda: ch.queue_declare(queue, auto_delete=False) == (queue, 3, 0))
    other = conn.channel()
    other.basic_qos(0, 1, False)
    other.basic_consume(queue, callback=print)
    eventually(lambda: ch.queue_declare(queue, auto_delete=False) == (queue, 2, 1))


def test_server_named(ch: Channel, names: Names) -> None:
    qname, messages, consumers = ch.queue_declare()
    names.keep(qname)
    other, _, _ = ch.queue_declare()
    names.keep(other)
    assert qname.startswith("amq.gen")
    assert other != qname
    assert (messages, consumers) == (0, 0)
    ch.queue_bind(qname, "amq.fanout")
    ch.basic_publish(Message("hello"), "amq.fanout")
    assert bodies(ch, qname) == ["hello"]


def test_the_empty_name_is_the_queue_declared_last(ch: Channel, names: Names) -> None:
    qname, _, _ = ch.queue_declare(exclusive=True)
    ch.queue_bind("", "amq.fanout")
    publish(ch, qname, "one", "two")
    msg = ch.basic_get()
    assert msg is not None
    assert msg.body == "one"
    assert ch.queue_purge() == 1
    tag = ch.basic_consume()
    ch.basic_cancel(tag)
    ch.queue_unbind("", "amq.fanout")
    assert ch.queue_delete() == 0


def test_the_empty_name_where_none_was_declared(conn: Connection) -> None:
    refused(conn, 404, lambda ch: ch.basic_get())
    refused(conn, 404, lambda ch: ch.basic_consume())
    refused(conn, 404, lambda ch: ch.queue_purge())


@pytest.mark.parametrize("again", [{"durable": True}, {"auto_delete": True}, {"arguments": {"x-max-length": 7}}])
def test_the_same_with_other_arguments(conn: Connection, queue: str, again: Dict[str, Any]) -> None:
    exc = refused(conn, 406, lambda ch: ch.queue_declare(queue, **{"auto_delete": False, **again}))
    assert exc.amqp_method_sig == (50, 10)
    assert queue in exc.amqp_reply_text


def test_passive(conn: Connection, queue: str, names: Names) -> None:
    exists(conn, queue)
    gone(conn, names.any())


def test_durable(ch: Channel, names: Names, ctl: Callable[..., str]) -> None:
    queue = names.queue()
    ch.queue_declare(queue, durable=True, auto_delete=False)
    rows = [line.split("\t") for line in ctl("list_queues", "name", "durable", "auto_delete").splitlines()]
    assert [queue, "true", "false"] in rows


@pytest.mark.parametrize("given", [{}, {"auto_delete": True}, {"auto_delete": False}], ids=str)
def test_auto_delete(conn: Connection, names: Names, amqp: ModuleType, given: Dict[str, Any]) -> None:
    """The old module's default is True, the newer one's False."""
    queue = names.queue()
    ch = conn.channel()
    ch.queue_declare(queue, **given)
    exists(conn, queue)
    tag = ch.basic_consume(queue)
    exists(conn, queue)
    ch.basic_cancel(tag)
    if given.get("auto_delete", amqp is client_0_8):
        gone(conn, queue)
    else:
        exists(conn, queue)


def test_exclusive(conn: Connection, connect: Connect, names: Names) -> None:
    queue = names.queue()
    owner = connect()
    ch = owner.channel()
    ch.queue_declare(queue, exclusive=True, auto_delete=False)
    publish(ch, queue, "mine")
    for step in (
        lambda ch: ch.queue_declare(queue, passive=True),
        lambda ch: ch.queue_declare(queue, exclusive=True, auto_delete=False),
        lambda ch: ch.basic_get(queue),
        lambda ch: ch.basic_consume(queue),
        lambda ch: ch.queue_bind(queue, "amq.fanout"),
        lambda ch: ch.queue_purge(queue),
        lambda ch: ch.queue_delete(queue),
    ):
        refused(conn, 405, step)
    assert bodies(owner.channel(), queue) == ["mine"]
    owner.close()

    def is_free() -> bool:
        """The server closes a connection before it deletes the queues that go with it."""
        try:
            return conn.channel().queue_declare(queue, exclusive=True) == (queue, 0, 0)
        except AMQPChannelException as exc:
            if exc.amqp_reply_code != 405:
                raise
            return False

    eventually(is_free)


@pytest.mark.parametrize("arguments", [None, {}])
def test_no_arguments(ch: Channel, names: Names, arguments: Any) -> None:
    queue = names.queue()
    assert ch.queue_declare(queue, arguments=arguments) == (queue, 0, 0)


def test_arguments(conn: Connection, ch: Channel, names: Names) -> None:
    short, brief, ranked = names.queue(), names.queue(), names.queue()
    ch.queue_declare(short, auto_delete=False, arguments={"x-max-length": 2})
    publish(ch, short, "one", "two", "three")
    assert bodies(ch, short) == ["two", "three"]

    ch.queue_declare(ranked, auto_delete=False, arguments={"x-max-priority": 5})
    for priority in (1, 5, 3):
        ch.basic_publish(Message(str(priority), priority=priority), routing_key=ranked)
    assert bodies(ch, ranked) == ["5", "3", "1"]

    ch.queue_declare(brief, auto_delete=False, arguments={"x-expires": 50})
    eventually(lambda: time.sleep(0.2) or not there(conn, brief))  # type: ignore[func-returns-value]  # asking is use


def test_expiration(ch: Channel, queue: str) -> None:
    ch.basic_publish(Message("soon gone", expiration="20"), routing_key=queue)
    ch.basic_publish(Message("stays"), routing_key=queue)
    time.sleep(0.2)
    assert bodies(ch, queue) == ["stays"]


def test_nowait(ch: Channel, names: Names) -> None:
    queue, exchange = names.queue(), names.exchange()
    ch.exchange_declare(exchange, "fanout", auto_delete=False)
    assert ch.queue_declare(queue, auto_delete=False, nowait=True) is None
    ch.queue_bind(queue, exchange, nowait=True)
    ch.basic_publish(Message("one"), exchange)
    assert bodies(ch, queue) == ["one"]
    ch.basic_publish(Message("two"), exchange)
    assert ch.queue_purge(queue, nowait=True) is None
    assert bodies(ch, queue) == []
    ch.queue_unbind(queue, exchange, nowait=True)
    ch.basic_publish(Message("three"), exchange)
    assert bodies(ch, queue) == []
    assert ch.queue_delete(queue, nowait=True) is None
    assert ch.queue_declare(queue, exclusive=True) == (queue, 0, 0)


def test_positions(ch: Channel, names: Names) -> None:
    queue = names.queue()
    assert ch.queue_declare(queue, False, False, False, False, False, {}, 0) == (queue, 0, 0)
    ch.queue_bind(queue, "amq.direct", queue, False, {}, 0)
    ch.basic_publish(Message("x"), "amq.direct", queue)
    ch.queue_unbind(queue, "amq.direct", queue, False, {}, 0)
    assert ch.queue_purge(queue, False, 0) == 1
    assert ch.queue_delete(queue, False, False, False, 0) == 0


def test_unbind(ch: Channel, names: Names, queue: str) -> None:
    ch.queue_bind(queue, "amq.direct", queue + "1")
    ch.queue_bind(queue, "amq.direct", queue + "2")
    ch.queue_unbind(queue, "amq.direct", queue + "1")
    ch.basic_publish(Message("one"), "amq.direct", queue + "1")
    ch.basic_publish(Message("two"), "amq.direct", queue + "2")
    assert bodies(ch, queue) == ["two"]


def test_bind_to_what_is_not_there(conn: Connection, names: Names, queue: str) -> None:
    refused(conn, 404, lambda ch: ch.queue_bind(queue, names.any()))
    refused(conn, 404, lambda ch: ch.queue_bind(names.any(), "amq.fanout"))


def test_purge(ch: Channel, queue: str) -> None:
    assert ch.queue_purge(queue) == 0
    publish(ch, queue, "one", "two", "three")
    assert ch.queue_purge(queue) == 3
    assert bodies(ch, queue) == []


def test_delete(conn: Connection, queue: str) -> None:
    ch = conn.channel()
    publish(ch, queue, "one", "two")
    holds(ch, queue, 2)  # a delete overtakes messages on their way into a queue that is busy
    assert ch.queue_delete(queue) == 2
    gone(conn, queue)
    assert ch.queue_delete(queue) == 0, "of one that is not there is no error"


def test_delete_if_empty(conn: Connection, queue: str) -> None:
    ch = conn.channel()
    publish(ch, queue, "one")
    holds(ch, queue, 1)
    refused(conn, 406, lambda ch: ch.queue_delete(queue, if_empty=True))
    ch.queue_purge(queue)
    assert ch.queue_delete(queue, if_empty=True) == 0


def test_delete_if_unused(conn: Connection, queue: str) -> None:
    ch = conn.channel()
    tag = ch.basic_consume(queue)
    refused(conn, 406, lambda ch: ch.queue_delete(queue, if_unused=True))
    ch.basic_cancel(tag)
    assert ch.queue_delete(queue, if_unused=True) == 0


@pytest.mark.parametrize("name", ["ü" * 127, "with space", "a/b", "x" * 255])
def test_names(ch: Channel, names: Names, name: str) -> None:
    names.keep(name)
    assert ch.queue_declare(name) == (name, 0, 0)


def test_names_that_are_too_long(ch: Channel, queue: str) -> None:
    with pytest.raises(ValueError, match="queue"):
        ch.queue_declare("q" * 256)
    with pytest.raises(ValueError, match="consumer_tag"):
        ch.basic_consume(queue, consumer_tag="t" * 256)
    assert ch.callbacks == {}
    publish(ch, queue, "next")
    assert bodies(ch, queue) == ["next"]


def test_names_that_belong_to_the_server(conn: Connection, names: Names) -> None:
    refused(conn, 403, lambda ch: ch.queue_declare("amq." + names.any()))
