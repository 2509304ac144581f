"""Exchanges: the default ones, declared ones, and how their types route."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Callable, Dict, List

import pytest

from amqplib import client_0_8
from amqplib.client.channel import Channel
from amqplib.client.connection import Connection
from amqplib.client.exceptions import AMQPConnectionException
from amqplib.client.message import Message
from tests.live.conftest import Names
from tests.live.helpers import bodies, get, over, refused


@pytest.fixture
def exchange(ch: Channel, names: Names) -> str:
    """A direct exchange."""
    name = names.exchange()
    ch.exchange_declare(name, "direct", auto_delete=False)
    return name


@pytest.mark.parametrize("name", ["amq.direct", "amq.topic", "amq.fanout", "amq.headers", "amq.match"])
def test_default_exchanges(ch: Channel, queue: str, name: str) -> None:
    ch.queue_bind(queue, name, queue)
    ch.basic_publish(Message("hello"), name, queue)
    msg = get(ch, queue)
    assert msg.body == "hello"
    assert msg.exchange == name
    assert msg.routing_key == queue


def test_the_exchange_without_a_name(ch: Channel, queue: str) -> None:
    ch.basic_publish(Message("one"), "", queue)
    ch.basic_publish(Message("two"), routing_key=queue)
    assert bodies(ch, queue) == ["one", "two"]


def test_as_in_the_notes(ch: Channel, names: Names) -> None:
    myfan, myqueue = names.exchange(), names.queue()
    ch.exchange_declare(myfan, type="fanout")
    ch.basic_publish(Message("to nobody"), myfan)
    ch.queue_declare(myqueue)
    ch.queue_bind(myqueue, "amq.fanout")
    ch.queue_bind(myqueue, myfan)
    ch.basic_publish(Message("to somebody"), myfan)
    assert get(ch, myqueue).body == "to somebody"


#: type -> binding key -> the routing keys that reach it
ROUTES: Dict[str, Dict[str, List[str]]] = {
    "direct": {"a.b": ["a.b"], "a": ["a"], "*": []},
    "fanout": {"": ["a", "a.b", "b.b", ""]},
    "topic": {"a.*": ["a.b"], "#.b": ["a.b", "b.b"], "#": ["a", "a.b", "b.b", ""], "c": []},
}


@pytest.mark.parametrize("type_", sorted(ROUTES))
def test_types(ch: Channel, names: Names, type_: str) -> None:
    exchange = names.exchange()
    ch.exchange_declare(exchange, type_, auto_delete=False)
    queues = {}
    for key in ROUTES[type_]:
        queues[key] = names.queue()
        ch.queue_declare(queues[key], auto_delete=False)
        ch.queue_bind(queues[key], exchange, key)
    for key in ("a", "a.b", "b.b", ""):
        ch.basic_publish(Message(key), exchange, key)
    for key, expected in ROUTES[type_].items():
        assert bodies(ch, queues[key]) == expected


def test_passive(conn: Connection, names: Names, exchange: str) -> None:
    conn.channel().exchange_declare(exchange, "direct", passive=True)
    exc = refused(conn, 404, lambda ch: ch.exchange_declare(names.any(), "direct", passive=True))
    assert exc.amqp_method_sig == (40, 10)


def test_the_same_again(ch: Channel, exchange: str) -> None:
    ch.exchange_declare(exchange, "direct", auto_delete=False)


@pytest.mark.parametrize(
    "other", [{"type": "fanout"}, {"durable": True}, {"auto_delete": True}, {"arguments": {"alternate-exchange": "x"}}]
)
def test_the_same_with_other_arguments(conn: Connection, exchange: str, other: Dict[str, Any]) -> None:
    arguments = {"type": "direct", "auto_delete": False, **other}
    refused(conn, 406, lambda ch: ch.exchange_declare(exchange, **arguments))


def test_durable(ch: Channel, names: Names, ctl: Callable[..., str]) -> None:
    exchange = names.exchange()
    ch.exchange_declare(exchange, "direct", durable=True, auto_delete=False)
    rows = [
        line.split("\t") for line in ctl("list_exchanges", "name", "durable", "auto_delete", "internal").splitlines()
    ]
    assert [exchange, "true", "false", "false"] in rows


@pytest.mark.parametrize("given", [{}, {"auto_delete": True}, {"auto_delete": False}], ids=str)
def test_auto_delete(conn: Connection, queue: str, names: Names, amqp: ModuleType, given: Dict[str, Any]) -> None:
    """The old module's default is True, the newer one's False."""
    ch = conn.channel()
    exchange = names.exchange()
    ch.exchange_declare(exchange, "direct", **given)
    ch.exchange_declare(exchange, "direct", passive=True)
    ch.queue_bind(queue, exchange, "key")
    ch.queue_unbind(queue, exchange, "key")
    if given.get("auto_delete", amqp is client_0_8):
        refused(conn, 404, lambda ch: ch.exchange_declare(exchange, "direct", passive=True))
    else:
        ch.exchange_declare(exchange, "direct", passive=True)


def test_internal(conn: Connection, names: Names) -> None:
    exchange = names.exchange()
    conn.channel().exchange_declare(exchange, "fanout", auto_delete=False, internal=True)

    def step(ch: Channel) -> None:
        ch.basic_publish(Message("x"), exchange)
        ch.queue_declare(exclusive=True)

    refused(conn, 403, step)


def test_nowait(ch: Channel, names: Names) -> None:
    exchange = names.exchange()
    ch.exchange_declare(exchange, "direct", auto_delete=False, nowait=True)
    ch.exchange_declare(exchange, "direct", passive=True)
    ch.exchange_delete(exchange, nowait=True)
    ch.exchange_declare(exchange, "fanout", auto_delete=False)


def test_arguments(ch: Channel, names: Names, queue: str) -> None:
    """An alternate exchange gets what cannot be routed."""
    exchange, alternate = names.exchange(), names.exchange()
    ch.exchange_declare(alternate, "fanout", auto_delete=False)
    ch.queue_bind(queue, alternate)
    ch.exchange_declare(exchange, "direct", auto_delete=False, arguments={"alternate-exchange": alternate})
    ch.basic_publish(Message("astray"), exchange, "nowhere")
    assert bodies(ch, queue) == ["astray"]


@pytest.mark.parametrize("arguments", [None, {}])
def test_no_arguments(ch: Channel, names: Names, arguments: Any) -> None:
    ch.exchange_declare(names.exchange(), "direct", arguments=arguments)


def test_positions(ch: Channel, names: Names, queue: str) -> None:
    exchange = names.exchange()
    ch.exchange_declare(exchange, "topic", False, False, False, False, False, {}, 0)
    ch.queue_bind(queue, exchange, "a.#", False, {}, 0)
    ch.basic_publish(Message("x"), exchange, "a.b", False, False, 0)
    assert bodies(ch, queue) == ["x"]
    ch.queue_unbind(queue, exchange, "a.#", False, {}, 0)
    ch.exchange_delete(exchange, False, False, 0)


def test_delete(conn: Connection, exchange: str) -> None:
    conn.channel().exchange_delete(exchange)
    refused(conn, 404, lambda ch: ch.exchange_declare(exchange, "direct", passive=True))


def test_delete_if_unused(conn: Connection, exchange: str, queue: str) -> None:
    ch = conn.channel()
    ch.queue_bind(queue, exchange, "key")
    refused(conn, 406, lambda ch: ch.exchange_delete(exchange, if_unused=True))
    ch.queue_unbind(queue, exchange, "key")
    ch.exchange_delete(exchange, if_unused=True)


def test_names_that_are_too_long(ch: Channel, queue: str) -> None:
    with pytest.raises(ValueError, match="exchange"):
        ch.exchange_declare("e" * 256, "direct")
    with pytest.raises(ValueError, match="routing_key"):
        ch.basic_publish(Message("x"), routing_key="r" * 256)
    ch.basic_publish(Message("next"), routing_key=queue)
    assert bodies(ch, queue) == ["next"]


@pytest.mark.only(before=(4, 0), reason="RabbitMQ 4 closes the channel only, with 406")
def test_unknown_type(conn: Connection, names: Names) -> None:
    """This one costs the connection."""
    ch = conn.channel()
    with pytest.raises(AMQPConnectionException, match="unknown exchange type 'carrier pigeon'") as caught:
        ch.exchange_declare(names.any(), "carrier pigeon")
    assert caught.value.amqp_reply_code == 503
    assert over(conn)
