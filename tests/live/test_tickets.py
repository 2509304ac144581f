"""Access tickets: asked for, given to every method that takes one, or left to the channel."""

from __future__ import annotations

import pytest

from amqplib.client.channel import Channel
from amqplib.client.message import Message
from tests.live.conftest import Names
from tests.live.helpers import get


def test_a_ticket_is_a_number(ch: Channel) -> None:
    ticket = ch.access_request("/data", active=True, write=True, read=True)
    assert isinstance(ticket, int)
    assert ch.default_ticket == ticket


def test_the_newest_is_the_default(ch: Channel) -> None:
    for arguments in (("/data",), ("/data", True), ("/data", False, True, True, True, True), ("",)):
        assert ch.access_request(*arguments) == ch.default_ticket


def test_the_explicit_way(ch: Channel, names: Names) -> None:
    tkt = ch.access_request("/data", active=True, write=True, read=True)
    exchange, queue = names.exchange(), names.queue()
    ch.exchange_declare(exchange, "fanout", auto_delete=False, ticket=tkt)
    ch.queue_declare(queue, auto_delete=False, ticket=tkt)
    ch.queue_bind(queue, exchange, ticket=tkt)
    ch.basic_publish(Message("with a ticket"), exchange, ticket=tkt)
    msg = ch.basic_get(queue, ticket=tkt)
    assert msg is not None
    ch.basic_ack(msg.delivery_tag)
    tag = ch.basic_consume(queue, ticket=tkt)
    ch.basic_cancel(tag)
    ch.queue_purge(queue, ticket=tkt)
    ch.queue_unbind(queue, exchange, ticket=tkt)
    assert ch.queue_delete(queue, ticket=tkt) == 0
    ch.exchange_delete(exchange, ticket=tkt)


@pytest.mark.parametrize("ask", [True, False])
def test_the_simpler_way(ch: Channel, names: Names, ask: bool) -> None:
    if ask:
        ch.access_request("/data", active=True, write=True, read=True)
    exchange, queue = names.exchange(), names.queue()
    ch.exchange_declare(exchange, "fanout", auto_delete=True)
    ch.queue_declare(queue)
    ch.queue_bind(queue, exchange)
    ch.basic_publish(Message("without"), exchange)
    assert get(ch, queue).body == "without"


def test_realms_of_the_specification(ch: Channel) -> None:
    for realm in ("/admin", "/data", "/data/sub"):
        assert isinstance(ch.access_request(realm, read=True, passive=True), int)
