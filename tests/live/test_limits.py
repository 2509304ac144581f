"""Limits that a client runs into: the same on RabbitMQ 3.10, on 4.0 and on the broker in the box."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Callable, Dict, List

import pytest

from amqplib.client.channel import Channel
from amqplib.client.connection import Connection
from amqplib.client.exceptions import AMQPChannelException, AMQPTimeoutError
from amqplib.client.message import Message
from amqplib.wire import frames
from amqplib.wire.content import encode_header
from amqplib.wire.protocol import Sender
from amqplib.wire.spec import AMQP_0_9_1
from tests.conftest import Broker
from tests.live.conftest import Connect, Names
from tests.live.helpers import eventually, get, holds, publish
from tests.live.raw import Raw

START_OK = AMQP_0_9_1["connection.start_ok"]

# --- numbers and sizes on the wire ---------------------------------------------------------------------------


def open_channel(raw: Raw, number: int) -> None:
    raw.method("channel.open", "", channel=number)
    assert raw.next()[:2] == (number, "channel.open_ok")


def test_channel_max_counts_channels(broker: Broker) -> None:
    """Their numbers may be any."""
    with Raw(broker) as raw:
        raw.log_in(channel_max=3)
        for number in (65535, 4, 1):
            open_channel(raw, number)
        raw.method("channel.close", 200, "", 0, 0, channel=4)
        raw.expect("channel.close_ok")
        open_channel(raw, 2)
        raw.method("channel.open", "", channel=3)
        text = "NOT_ALLOWED - number of channels opened (3) has reached the negotiated channel_max (3)"
        assert raw.next()[:3] == (0, "connection.close", (530, text, 0, 0))


def body_frame(raw: Raw, queue: str, size: int) -> None:
    """Publish a body of this size in one frame."""
    head = Sender(AMQP_0_9_1).method(1, AMQP_0_9_1["basic.publish"], (0, "", queue, False, False))
    header = frames.encode_frame(frames.HEADER, 1, encode_header(bytes(2), size))
    raw.send(head + header + frames.encode_frame(frames.BODY, 1, b"x" * size))


@pytest.mark.parametrize("frame_max", [4096, 131072])
@pytest.mark.parametrize("more", [-8, -7, 0])
def test_a_payload_of_frame_max(broker: Broker, frame_max: int, more: int) -> None:
    """There are clients that do not count the eight octets of a frame that are no payload."""
    with Raw(broker) as raw:
        raw.log_in(frame_max=frame_max)
        open_channel(raw, 1)
        raw.method("queue.declare", 0, "", False, False, True, False, False, {}, channel=1)
        queue = raw.expect("queue.declare_ok")[0]
        raw.method("confirm.select", False, channel=1)
        raw.expect("confirm.select_ok")
        body_frame(raw, queue, frame_max + more)
        raw.expect("basic.ack")
        raw.method("basic.get", 0, queue, True, channel=1)
        assert raw.next()[3] == b"x" * (frame_max + more)


def test_a_payload_over_frame_max(broker: Broker) -> None:
    with Raw(broker) as raw:
        raw.log_in()
        open_channel(raw, 1)
        body_frame(raw, "nowhere", 131073)
        assert raw.expect("connection.close")[0] == 501


def start_ok(payload: int) -> bytes:
    """The frame of a start-ok with a payload of this size and a password that is wrong."""

    def made(fill: int) -> bytes:
        table = {"fill": "x" * fill, "capabilities": {"authentication_failure_close": True}}
        return Sender(AMQP_0_9_1).method(0, START_OK, (table, "PLAIN", "\0guest\0wrong", "en_US"))

    frame = made(payload - (len(made(0)) - 8))
    assert len(frame) == payload + 8
    return frame


def test_a_start_ok_of_4096_octets(broker: Broker) -> None:
    with Raw(broker) as raw:
        raw.start()
        raw.send(start_ok(4096))
        assert raw.expect("connection.close")[0] == 403


@pytest.mark.parametrize("payload", [4097, 140_000])
def test_a_start_ok_that_is_larger(broker: Broker, payload: int) -> None:
    """Nothing else has been agreed on yet, and this is no time for words."""
    with Raw(broker) as raw:
        raw.start()
        with suppress(OSError):  # it may be reset before all is sent
            raw.send(start_ok(payload))
        with pytest.raises(ConnectionResetError):
            raw.next()


# --- names ---------------------------------------------------------------------------------------------------


def test_line_ends_in_names(connect: Connect, names: Names) -> None:
    """They are taken out where names are declared, bound or deleted, and nowhere else."""
    conn = connect(protocol="0-9-1")
    ch = conn.channel()
    queue, exchange = names.queue(), names.exchange()
    assert ch.queue_declare("\r\n%s\r%s\n" % (queue[:9], queue[9:]), auto_delete=False)[0] == queue
    assert ch.queue_declare(queue + "\n", passive=True)[0] == queue
    ch.exchange_declare(exchange + "\r", "fanout", auto_delete=False)
    ch.exchange_declare("\n" + exchange, "fanout", passive=True)
    ch.queue_bind(queue + "\r\n", exchange + "\n")
    ch.exchange_bind(exchange + "\n", "amq.\nfanout")
    ch.basic_publish(Message("x"), exchange)
    holds(ch, queue, 1)
    ch.exchange_unbind(exchange + "\n", "amq.\nfanout")
    ch.queue_unbind(queue + "\r\n", exchange + "\n")
    steps: List[Callable[[Channel], Any]] = [
        lambda ch: ch.basic_get(queue + "\n"),
        lambda ch: ch.queue_purge(queue + "\n"),
        lambda ch: ch.basic_consume(queue + "\n"),
    ]
    for step in steps:
        with pytest.raises(AMQPChannelException) as caught:
            step(conn.channel())
        assert caught.value.args[:2] == (404, "NOT_FOUND - no queue '%s\n' in vhost '/'" % queue)
    other = conn.channel()
    other.basic_publish(Message("x"), exchange + "\n")
    with pytest.raises(AMQPChannelException, match="no exchange"):
        other.queue_declare(exclusive=True)
    assert ch.queue_delete(queue + "\n") == 1
    ch.exchange_delete(exchange + "\r")
    with pytest.raises(AMQPChannelException, match="no exchange"):
        conn.channel().exchange_declare(exchange, "fanout", passive=True)
    with pytest.raises(AMQPChannelException, match="no queue"):
        conn.channel().queue_declare(queue, passive=True)


@pytest.mark.parametrize("name", ["\r\n", "a\nmq.x"])
def test_what_is_left_of_a_name_counts(conn: Connection, name: str) -> None:
    if name == "\r\n":
        assert conn.channel().queue_declare(name, exclusive=True)[0].startswith("amq.gen-")
    with pytest.raises(AMQPChannelException) as caught:
        conn.channel().exchange_declare(name, "direct")
    assert caught.value.args[0] == 403


# --- prefetch of a channel -----------------------------------------------------------------------------------


def test_a_channels_prefetch_starves_no_queue(ch: Channel, names: Names) -> None:
    """Of 60 messages that come one by one from three queues, each queue gives some; RabbitMQ draws lots."""
    queues = [names.queue() for _ in range(3)]
    for queue in queues:
        ch.queue_declare(queue, auto_delete=False)
        publish(ch, queue, *[queue] * 60)
        holds(ch, queue, 60)
    ch.basic_qos(0, 1, True)
    seen: List[Message] = []
    for queue in queues:
        ch.basic_consume(queue, callback=seen.append)
    for n in range(60):
        while len(seen) <= n:
            ch.wait(timeout=20)
        seen[n].ack()
    shares: Dict[Any, int] = {queue: sum(msg.body == queue for msg in seen[:60]) for queue in queues}
    assert min(shares.values()) >= 3, shares  # of 20; with lots drawn, less comes once in a million runs


def test_what_an_acknowledgement_of_several_makes_room_for_is_shared(ch: Channel, names: Names) -> None:
    queues = [names.queue() for _ in range(3)]
    ch.basic_qos(0, 30, True)
    seen: List[Any] = []
    for queue in queues:
        ch.queue_declare(queue, auto_delete=False)
        ch.basic_consume(queue, callback=lambda msg: seen.append((msg.body, msg.delivery_tag)))
    publish(ch, queues[0], *[queues[0]] * 30)
    while len(seen) < 30:
        ch.wait(timeout=20)
    for queue in queues:
        publish(ch, queue, *[queue] * 30)
        holds(ch, queue, 30)
    ch.basic_ack(seen[29][1], multiple=True)
    while len(seen) < 60:
        ch.wait(timeout=20)
    shares = {queue: sum(body == queue for body, _ in seen[30:60]) for queue in queues}
    assert min(shares.values()) >= 3, shares  # of 10


def test_a_channels_prefetch_holds_back_who_does_not_acknowledge(ch: Channel, names: Names) -> None:
    """Though what they get does not count."""
    held, free = names.queue(), names.queue()
    for queue in (held, free):
        ch.queue_declare(queue, auto_delete=False)
    ch.basic_qos(0, 1, True)
    seen: List[Message] = []
    ch.basic_consume(held, callback=seen.append)
    publish(ch, held, "held")
    ch.wait(timeout=20)
    ch.basic_consume(free, no_ack=True, callback=seen.append)
    publish(ch, free, "a", "b")
    holds(ch, free, 2)
    with pytest.raises(AMQPTimeoutError):
        ch.wait(timeout=0.2)
    seen[0].ack()
    while len(seen) < 3:
        ch.wait(timeout=20)
    assert [msg.body for msg in seen] == ["held", "a", "b"]
    publish(ch, free, "c")
    eventually(lambda: ch.queue_declare(free, passive=True)[1] == 0)


@pytest.mark.only(before=(4, 0), reason="RabbitMQ 4 takes no x-death from clients")
def test_a_count_of_deaths_that_cannot_grow(ch: Channel, names: Names) -> None:
    """It goes on from the lowest number."""
    dead, dying = names.queue(), names.queue()
    ch.queue_declare(dead, auto_delete=False)
    arguments = {"x-message-ttl": 1, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    ch.queue_declare(dying, auto_delete=False, arguments=arguments)
    death = {"queue": dying, "reason": "expired", "count": 2**63 - 1, "exchange": "", "routing-keys": [dying]}
    ch.basic_publish(Message("x", application_headers={"x-death": [death]}), routing_key=dying)
    assert get(ch, dead).application_headers["x-death"][0]["count"] == -(2**63)
