"""What brokers offer beyond AMQP 0-8: nack, exchange bindings, consumer arguments, notices, kinds of queues."""

from __future__ import annotations

import threading
import time
from datetime import datetime
from typing import Any, Dict, List

import pytest

from amqplib.client.timeouts import Timeouts
from amqplib.client_0_8 import (
    AMQPChannelException,
    AMQPConnectionException,
    AMQPTimeoutError,
    Channel,
    DialectError,
    Message,
)
from tests.brokers import Node
from tests.conftest import Broker
from tests.waits import waits

from .conftest import Connect, Names
from .helpers import declare, eventually, get, holds, refused


@pytest.mark.thorough
def test_a_reply_that_does_not_come(mortal: Node, amqp: Any, timeouts: List[Timeouts]) -> None:
    conn = amqp.Connection(mortal.host, heartbeat=0)
    ch, other = conn.channel(), conn.channel()
    timeouts[-1].reply_timeout = 0.3
    mortal.freeze()
    try:
        with pytest.raises(AMQPTimeoutError):
            ch.queue_declare(exclusive=True)
        assert not ch.is_open
    finally:
        mortal.thaw()
    timeouts[-1].reply_timeout = None
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
        with waits(0, 3.01), pytest.raises(AMQPConnectionException, match="silent for"):
            ch.wait()
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
    for msg in ch.consume(queue, no_ack=True, timeout=20):
        seen.append(msg.body)
        if len(seen) == 10:
            break
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


def test_quorum_queue(broker: Broker, ch: Channel, names: Names) -> None:
    queue = declare(ch, names, queue_type="quorum")
    assert ch.connection
    if ch.connection.protocol == "0-9-1":
        ch.basic_publish_confirm(Message("safe"), routing_key=queue, timeout=20)
    else:
        ch.basic_publish(Message("safe"), routing_key=queue)
    get(ch, queue, no_ack=False).reject(requeue=True)
    for msg in ch.consume(queue, timeout=20):
        assert (msg.body, msg.redelivered) == ("safe", True)
        if broker.product == "RabbitMQ":
            assert msg.application_headers["x-delivery-count"] == 1
        msg.ack()
        break
    assert ch.basic_get(queue) is None


def test_loops_on_a_quorum_queue_that_are_left_early(ch: Channel, names: Names) -> None:
    """RabbitMQ 4 drops what goes back for the twenty-first time: so nothing may be delivered ahead."""
    queue = declare(ch, names, queue_type="quorum")
    count = 25
    for number in range(count):
        ch.basic_publish(Message("%d" % number), routing_key=queue)
    ch.basic_qos(0, 1, False)
    seen = []
    for _ in range(count):
        for msg in ch.consume(queue, timeout=20):
            seen.append(int(msg.body))
            msg.ack()
            break
    assert sorted(seen) == list(range(count))


@pytest.mark.only(since=(3, 9), reason="streams came with 3.9; the broker in the box has none, and says so")
@pytest.mark.parametrize(
    ("offset", "first"),
    [
        *(("first", "0"), (3, "3"), ("last", None), (datetime(2026, 1, 1), "0"), ("next", "later")),
        *(("1h", "0"), ("2Y", "0"), (b"first", "0"), (-1, "0")),
    ],
)
def test_stream(modern: Channel, names: Names, offset: Any, first: Any) -> None:
    queue = declare(modern, names, queue_type="stream")
    modern.confirm_select()
    for n in range(5):
        modern.basic_publish(Message(str(n)), routing_key=queue)
    modern.wait_for_confirms(timeout=20)
    modern.basic_qos(0, 10, False)
    got: List[Message] = []
    modern.basic_consume(queue, callback=got.append, arguments={"x-stream-offset": offset})
    if offset == "next":
        modern.basic_publish(Message("later"), routing_key=queue)
    while not got:
        modern.wait(timeout=20)
    assert first in (None, got[0].body)
    assert got[0].application_headers["x-stream-offset"] == (5 if offset == "next" else int(got[0].body))
    got[0].ack()
    # a stream keeps what was consumed; and a loop over one ends without giving back anything
    for msg in modern.consume(queue, arguments={"x-stream-offset": "first"}, timeout=20):
        assert msg.body == "0"
        break
    assert modern.queue_declare(queue, passive=True, durable=True)[0] == queue


@pytest.mark.parametrize("offset", [None, True, 1.5, "", "junk", "-1", "1 h", "now", {"a": 1}, [1], b"first\0"])
def test_a_stream_offset_that_is_none(ch: Channel, names: Names, offset: Any) -> None:
    """RabbitMQ 3.10 and 4.0 end the connection over each of these, with INTERNAL_ERROR and no word of why."""
    assert ch.connection is not None
    if ch.connection.protocol == "0-8":
        with pytest.raises(DialectError):
            ch.basic_consume("q", callback=print, arguments={"x-stream-offset": offset})
        return
    with pytest.raises(ValueError, match=r"arguments: \['x-stream-offset'\]: .* is not an offset"):
        ch.basic_consume("q", callback=print, arguments={"x-stream-offset": offset})
    ch.queue_declare(names.queue(), exclusive=True)


def test_priorities(ch: Channel, names: Names) -> None:
    queue = declare(ch, names, max_priority=5)
    for priority in (1, 5, 3):
        ch.basic_publish(Message(str(priority), priority=priority), routing_key=queue)
    holds(ch, queue, 3)
    assert [get(ch, queue).body for _ in range(3)] == ["5", "3", "1"]


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
    assert (death["exchange"], death["routing-keys"], death["count"]) == ("", [dying], 1)
    assert isinstance(death["time"], datetime)
    ch.basic_publish(Message("bad"), routing_key=dying)
    get(ch, dying, no_ack=False).reject(requeue=False)
    msg = get(ch, queue)
    assert [(death["queue"], death["reason"]) for death in msg.application_headers["x-death"]] == [(dying, "rejected")]
    assert "expiration" not in msg.properties


def test_time_to_live_of_messages(ch: Channel, queue: str) -> None:
    """Each has its own, and a late one is never delivered."""
    ch.basic_publish(Message("short", expiration="1"), routing_key=queue)
    ch.basic_publish(Message("long", expiration="60000"), routing_key=queue)
    time.sleep(0.05)
    assert get(ch, queue).body == "long"
    assert ch.basic_get(queue) is None


def test_a_queue_of_this_connection_only(connect: Connect, names: Names) -> None:
    owner = connect()
    ch = owner.channel()
    name, messages, consumers = ch.queue_declare(exclusive=True, auto_delete=False)
    assert (name[:7], messages, consumers) == ("amq.gen", 0, 0)
    ch.basic_publish(Message("mine"), routing_key=name)
    assert get(ch, name).body == "mine"
    refused(connect(), 405, lambda other: other.basic_get(name))
    owner.close()
    other = connect()

    def is_gone() -> bool:
        try:
            other.channel().queue_declare(name, passive=True)
        except AMQPChannelException as exc:
            return exc.amqp_reply_code == 404
        return False

    eventually(is_gone)


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
        over = threading.Event()

        def publish() -> None:
            """A program that only publishes notices, waits, and goes on."""
            while not over.wait(0.06):
                ch.basic_publish(Message("x"), routing_key=queue)

        publisher = threading.Thread(target=publish, daemon=True)
        publisher.start()
        mortal.ctl("set_vm_memory_high_watermark", "0.0000001")
        try:
            eventually(lambda: bool(said))
            assert conn.blocked
            assert len(said) == 1
        finally:
            mortal.ctl("set_vm_memory_high_watermark", "0.4")
        eventually(lambda: len(said) > 1)
        over.set()
        publisher.join(20)
        assert not publisher.is_alive()
        assert not conn.blocked
        assert said[1:] == ["again"]
