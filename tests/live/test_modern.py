"""What brokers offer beyond AMQP 0-8: confirms, nack, exchange bindings, consumer arguments, kinds of queues."""

from __future__ import annotations

import time
from typing import Any, Dict, List

import pytest

from amqplib.client_0_8 import (
    AMQPConnectionException,
    AMQPTimeoutError,
    Channel,
    ConfirmTimeoutError,
    DialectError,
    Message,
    UnconfirmedError,
)
from tests.brokers import Node

from .conftest import Connect, Names
from .helpers import get


@pytest.fixture
def modern(ch: Channel) -> Channel:
    """A channel of a connection that speaks 0-9-1."""
    assert ch.connection
    if ch.connection.protocol == "0-8":
        with pytest.raises(DialectError, match="0-9-1"):
            ch.confirm_select()
        pytest.skip("AMQP 0-8 has none of this, and says so")
    return ch


def declare(ch: Channel, names: Names, **arguments: Any) -> str:
    queue: str = names.queue()
    given = {"x-" + name.replace("_", "-"): value for name, value in arguments.items()}
    ch.queue_declare(queue, durable=True, auto_delete=False, arguments=given)
    return queue


def test_confirms(modern: Channel, queue: str) -> None:
    acked: List[int] = []
    modern.confirm_select(window=10, on_ack=lambda tag, msg: acked.append(tag))
    tags = [modern.basic_publish(Message(str(n)), routing_key=queue) for n in range(200)]
    assert tags == list(range(1, 201))
    assert len(modern.unconfirmed) <= 10
    modern.wait_for_confirms(timeout=20)
    assert modern.unconfirmed == {}
    assert acked == tags
    assert modern.basic_publish_confirm(Message("one"), routing_key=queue, timeout=20) == 201


def test_a_returned_message_is_not_safe(modern: Channel, queue: str, names: Names) -> None:
    modern.confirm_select()
    lost = Message("lost")
    modern.basic_publish(Message("kept"), routing_key=queue, mandatory=True)
    tag = modern.basic_publish(lost, routing_key=names.any(), mandatory=True)
    with pytest.raises(UnconfirmedError) as caught:
        modern.wait_for_confirms(timeout=20)
    assert caught.value.returned == {tag: lost}
    assert caught.value.messages == [lost]
    modern.wait_for_confirms(timeout=20)  # it is told once
    with pytest.raises(UnconfirmedError, match="1 returned"):
        modern.basic_publish_confirm(lost, routing_key=names.any(), mandatory=True, timeout=20)
    assert modern.returned_messages.qsize() == 2


def test_a_refused_message_is_not_safe(modern: Channel, names: Names) -> None:
    queue = declare(modern, names, max_length=1, overflow="reject-publish")
    refused: List[int] = []
    modern.confirm_select(on_nack=lambda tag, msg: refused.append(tag))
    for n in range(3):
        modern.basic_publish(Message(str(n)), routing_key=queue)
    with pytest.raises(UnconfirmedError) as caught:
        modern.wait_for_confirms(timeout=20)
    assert sorted(caught.value.nacked) == refused
    assert refused
    with pytest.raises(UnconfirmedError, match="1 nacked"):
        modern.basic_publish_confirm(Message("x"), routing_key=queue, timeout=20)


@pytest.mark.thorough
def test_no_confirm_in_time(mortal: Node, amqp: Any) -> None:
    with amqp.Connection(mortal.host, protocol="0-9-1", heartbeat=0, reply_timeout=None) as conn:
        ch = conn.channel()
        queue = ch.queue_declare(exclusive=True)[0]
        ch.confirm_select(window=3)
        mortal.freeze()
        try:
            with pytest.raises(ConfirmTimeoutError) as caught:
                ch.basic_publish_confirm(Message("0"), routing_key=queue, timeout=0.2)
            assert isinstance(caught.value, (AMQPTimeoutError, TimeoutError))
            ch.basic_publish(Message("1"), routing_key=queue)
            with pytest.raises(ConfirmTimeoutError) as caught:
                ch.wait_for_confirms(timeout=0.2)
            assert [msg.body for msg in caught.value.messages if isinstance(msg, Message)] == ["0", "1"]
        finally:
            mortal.thaw()
        ch.wait_for_confirms(timeout=20)
        assert ch.unconfirmed == {}


@pytest.mark.thorough
def test_a_reply_that_does_not_come(mortal: Node, amqp: Any) -> None:
    conn = amqp.Connection(mortal.host, reply_timeout=0.3, heartbeat=0)
    ch, other = conn.channel(), conn.channel()
    mortal.freeze()
    try:
        with pytest.raises(AMQPTimeoutError):
            ch.queue_declare(exclusive=True)
        assert not ch.is_open
    finally:
        mortal.thaw()
    assert other.queue_declare(exclusive=True)[1] == 0
    conn.close()


@pytest.mark.thorough
def test_heartbeats(mortal: Node, amqp: Any) -> None:
    """They are sent while the program sleeps, and a broker that stops is noticed."""
    conn = amqp.Connection(mortal.host, heartbeat=1)
    ch = conn.channel()
    time.sleep(4)
    queue = ch.queue_declare(exclusive=True)[0]
    assert queue
    mortal.freeze()
    try:
        began = time.monotonic()
        with pytest.raises(AMQPConnectionException, match="silent for"):
            ch.wait()
        assert time.monotonic() - began < 4
    finally:
        mortal.thaw()


def test_nack(modern: Channel, queue: str) -> None:
    for n in range(3):
        modern.basic_publish(Message(str(n)), routing_key=queue)
    got = [get(modern, queue, no_ack=False) for _ in range(3)]
    modern.basic_nack(got[1].delivery_tag, multiple=True)
    got[2].nack(requeue=False)
    again = [get(modern, queue, no_ack=False) for _ in range(2)]
    assert [(msg.body, msg.redelivered) for msg in again] == [("0", True), ("1", True)]
    again[0].ack()
    again[1].reject()
    assert modern.basic_get(queue) is None


def test_exchange_bindings(modern: Channel, queue: str, names: Names) -> None:
    first, second = names.exchange(), names.exchange()
    modern.exchange_declare(first, "topic", auto_delete=False)
    modern.exchange_declare(second, "fanout", auto_delete=False)
    modern.exchange_bind(second, first, "a.#")
    modern.queue_bind(queue, second)
    modern.basic_publish(Message("in"), first, "a.b")
    modern.basic_publish(Message("out"), first, "b")
    assert get(modern, queue).body == "in"
    modern.exchange_unbind(second, first, "a.#")
    modern.basic_publish(Message("out"), first, "a.b")
    assert modern.basic_get(queue) is None


def test_consume(ch: Channel, queue: str) -> None:
    for n in range(10):
        ch.basic_publish(Message(str(n)), routing_key=queue)
    seen = []
    for msg in ch.consume(queue, timeout=5):
        seen.append(msg.body)
        msg.ack()
        if len(seen) == 4:
            break
    assert ch.callbacks == {}
    seen += [msg.body for msg in ch.consume(queue, no_ack=True, timeout=0.5)]
    assert seen == [str(n) for n in range(10)]


def test_a_consumer_that_the_server_ends(ch: Channel, names: Names) -> None:
    queue = names.queue()
    ch.queue_declare(queue, auto_delete=False)
    ended: List[str] = []
    tag = ch.basic_consume(queue, callback=print, on_cancel=ended.append)
    iterator = ch.consume(queue, timeout=20)
    assert ch.connection
    ch.connection.channel().queue_delete(queue)
    while ch.callbacks:
        ch.wait(timeout=20)
    assert ended == [tag]
    iterator.close() if hasattr(iterator, "close") else None


def test_drain_events(connect: Connect, names: Names) -> None:
    conn = connect()
    got: List[Any] = []
    for _ in range(3):
        ch = conn.channel()
        queue = ch.queue_declare(exclusive=True)[0]
        ch.basic_consume(queue, callback=got.append, no_ack=True)
        for n in range(4):
            ch.basic_publish(Message(str(n)), routing_key=queue)
    while len(got) < 12:
        conn.drain_events(timeout=20)
    assert sorted((msg.channel.channel_id, msg.body) for msg in got) == [
        (channel, str(n)) for channel in (1, 2, 3) for n in range(4)
    ]
    with pytest.raises(AMQPTimeoutError):
        conn.drain_events(timeout=0.05)
    with pytest.raises(AMQPTimeoutError):
        ch.wait(timeout=0.05)


def test_a_new_secret(modern: Channel) -> None:
    assert modern.connection
    modern.connection.update_secret("guest", "a test wants it")


def test_quorum_queue(modern: Channel, names: Names) -> None:
    queue = declare(modern, names, queue_type="quorum")
    modern.confirm_select()
    modern.basic_publish_confirm(Message("safe"), routing_key=queue, timeout=20)
    for msg in modern.consume(queue, timeout=20):
        assert msg.body == "safe"
        msg.ack()
        break


@pytest.mark.only(rabbitmq=True, reason="the broker in the box has no streams, and says so")
@pytest.mark.parametrize(("offset", "first"), [("first", "0"), (3, "3"), ("last", None)])
def test_stream(modern: Channel, names: Names, offset: Any, first: Any) -> None:
    queue = declare(modern, names, queue_type="stream")
    modern.confirm_select()
    for n in range(5):
        modern.basic_publish(Message(str(n)), routing_key=queue)
    modern.wait_for_confirms(timeout=20)
    modern.basic_qos(0, 10, False)
    for msg in modern.consume(queue, arguments={"x-stream-offset": offset}, timeout=20):
        assert first in (None, msg.body)
        assert msg.application_headers["x-stream-offset"] == int(msg.body)
        msg.ack()
        break
    else:
        pytest.fail("nothing came")


def test_priorities(modern: Channel, names: Names) -> None:
    queue = declare(modern, names, max_priority=5)
    for priority in (1, 5, 3):
        modern.basic_publish(Message(str(priority), priority=priority), routing_key=queue)
    time.sleep(0.1)
    assert [get(modern, queue).body for _ in range(3)] == ["5", "3", "1"]


def test_consumer_priorities(modern: Channel, queue: str) -> None:
    got: Dict[str, List[Any]] = {"low": [], "high": []}
    modern.basic_consume(queue, callback=got["low"].append, arguments={"x-priority": 1}, no_ack=True)
    modern.basic_consume(queue, callback=got["high"].append, arguments={"x-priority": 9}, no_ack=True)
    for _ in range(5):
        modern.basic_publish(Message("x"), routing_key=queue)
    for _ in range(5):
        modern.wait(timeout=20)
    assert [len(got["low"]), len(got["high"])] == [0, 5]


def test_time_to_live_and_dead_letters(ch: Channel, queue: str, names: Names) -> None:
    dying = names.queue()
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}
    ch.queue_declare(dying, durable=True, auto_delete=False, arguments=arguments)
    ch.basic_publish(Message("short", expiration="1"), routing_key=dying)
    (death,) = get(ch, queue).application_headers["x-death"]
    assert (death["queue"], death["reason"], death["original-expiration"]) == (dying, "expired", "1")


def test_alternate_exchange(ch: Channel, queue: str, names: Names) -> None:
    main, spare = names.exchange(), names.exchange()
    ch.exchange_declare(spare, "fanout", auto_delete=False)
    ch.exchange_declare(main, "direct", auto_delete=False, arguments={"alternate-exchange": spare})
    ch.queue_bind(queue, spare)
    ch.basic_publish(Message("stray"), main, "nobody wants this")
    assert get(ch, queue).body == "stray"


def test_a_ticket_and_recovery(ch: Channel, queue: str) -> None:
    assert isinstance(ch.access_request("/data", read=True), int)
    ch.basic_publish(Message("x"), routing_key=queue)
    get(ch, queue, no_ack=False)
    ch.basic_recover(requeue=True)
    assert get(ch, queue).redelivered


@pytest.mark.thorough
def test_blocked(mortal: Node, amqp: Any) -> None:
    said: List[str] = []
    with amqp.Connection(
        mortal.host, protocol="0-9-1", on_blocked=said.append, on_unblocked=lambda: said.append("again")
    ) as conn:
        ch = conn.channel()
        queue = ch.queue_declare(exclusive=True)[0]
        mortal.ctl("set_vm_memory_high_watermark", "0.0000001")
        try:
            deadline = time.monotonic() + 20
            while not said and time.monotonic() < deadline:
                ch.basic_publish(Message("x"), routing_key=queue)  # a program that only publishes notices
                time.sleep(0.06)
            assert conn.blocked
            assert len(said) == 1
        finally:
            mortal.ctl("set_vm_memory_high_watermark", "0.4")
        for _ in range(2):  # the notice may come in one read with the first answer, and is handled before the next
            ch.queue_declare(queue, passive=True)
        assert not conn.blocked
        assert said[1:] == ["again"]
