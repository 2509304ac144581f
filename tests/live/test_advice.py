"""Refusals of RabbitMQ's whose way out is known: the error says which rule it is, since when, and what to write."""

from __future__ import annotations

from types import ModuleType
from typing import Any, List

import pytest

from amqplib.client.channel import Channel
from amqplib.client.exceptions import AMQPChannelException, AMQPConnectionException
from amqplib.client.message import Message
from tests.brokers import Node
from tests.conftest import Broker, Peer
from tests.live.conftest import Connect, Names
from tests.live.helpers import PATIENCE, declare


@pytest.mark.parametrize(
    ("call", "rule", "version", "instead"),
    [
        (lambda ch: ch.basic_qos(5, 0, False), "prefetch_size", "no version", "basic_qos(0, prefetch_count, False)"),
        (lambda ch: ch.flow(False), "channel.flow", "RabbitMQ 3.3", "basic_qos(0, prefetch_count, False)"),
        (
            lambda ch: ch.basic_publish(Message("x"), immediate=True) or ch.wait(timeout=PATIENCE),
            "immediate",
            "RabbitMQ 3.0",
            "mandatory=True",
        ),
    ],
    ids=["prefetch_size", "flow", "immediate"],
)
def test_not_implemented(connect: Connect, call: Any, rule: str, version: str, instead: str) -> None:
    conn = connect()
    with pytest.raises(AMQPConnectionException) as caught:
        call(conn.channel())
    assert caught.value.amqp_reply_code == 540
    for part in (rule, version, instead):
        assert part in str(caught.value)


def test_declared_differently(connect: Connect) -> None:
    with pytest.raises(AMQPChannelException, match=r"406 .*inequivalent arg.*passive=True"):
        connect().channel().exchange_declare("amq.topic", "topic", durable=False, auto_delete=False)


@pytest.mark.only(since=(3, 9), reason="streams came with 3.9; the broker in the box has none")
def test_a_stream_without_a_limit(modern: Channel, names: Names) -> None:
    queue = declare(modern, names, queue_type="stream")
    with pytest.raises(AMQPChannelException, match=r"406 .*prefetch count is not set.*; .*basic_qos\(0, 100, False\)"):
        modern.basic_consume(queue)


@pytest.mark.only(since=(3, 9), reason="streams came with 3.9; the broker in the box has none")
def test_a_stream_that_is_to_take_something_back(modern: Channel, names: Names) -> None:
    """RabbitMQ 4 overlooks it."""
    queue = declare(modern, names, queue_type="stream")
    conn = modern.connection
    assert conn
    modern.basic_qos(0, 10, False)
    modern.basic_publish(Message("x"), routing_key=queue)
    for msg in modern.consume(queue, arguments={"x-stream-offset": "first"}, timeout=PATIENCE):
        msg.reject(requeue=True)
        break
    if conn.server_properties["version"].startswith("3."):
        with pytest.raises(AMQPConnectionException, match=r"540 .*; a stream takes nothing back: .*basic_ack\(\)"):
            conn.channel().queue_declare(exclusive=True)
    else:
        conn.channel().queue_declare(exclusive=True)


@pytest.mark.only(rabbitmq=True, reason="the broker in the box takes any frame_max")
def test_frames_that_are_too_small(broker: Broker, connect: Connect) -> None:
    if not broker.is_rabbitmq(4, 1):
        assert connect(frame_max=4096).frame_max == 4096
        return
    with pytest.raises(
        ValueError, match=r"RabbitMQ 4\.1 .* under 8192: 4096 was asked for; connect with frame_max=8192"
    ):
        connect(frame_max=4096)
    assert connect(frame_max=8192).frame_max == 8192


@pytest.mark.timeout(120)  # a node is started
@pytest.mark.thorough
@pytest.mark.only(since=(4, 0), reason="older ones cannot be told to refuse it")
def test_a_transient_queue_that_is_refused(strict: Node, amqp: ModuleType) -> None:
    conn = amqp.Connection(strict.host)
    with pytest.raises(AMQPConnectionException) as caught:
        conn.channel().queue_declare("transient")
    assert caught.value.amqp_reply_code == 541
    for part in ("RabbitMQ 4.3", "neither durable nor exclusive", "durable=True", "exclusive=True"):
        assert part in str(caught.value)
    with amqp.Connection(strict.host) as conn, conn.channel() as ch:
        assert ch.queue_declare("what.was.advised", durable=True)[1:] == (0, 0)
        assert ch.queue_declare(exclusive=True)[1:] == (0, 0)
        ch.queue_delete("what.was.advised")


@pytest.mark.timeout(120)
@pytest.mark.thorough
@pytest.mark.only(since=(3, 10), reason="consumer_timeout came with 3.8.15")
def test_a_message_that_is_not_acknowledged_in_time(peer: Peer, strict: Node, amqp: ModuleType) -> None:
    """The channel is closed; RabbitMQ 4.3 ends the consumer, and does so for quorum queues only."""
    with amqp.Connection(strict.host) as conn:
        ch = conn.channel()
        ended: List[str] = []
        ends_consumer = peer.series == "4.3"
        arguments = {"x-queue-type": "quorum"} if ends_consumer else {}
        queue = ch.queue_declare(Names.any(), durable=True, auto_delete=False, arguments=arguments)[0]
        tag = ch.basic_consume(queue, callback=lambda msg: None, on_cancel=ended.append)
        ch.basic_publish(Message("slow"), routing_key=queue)
        ch.wait(timeout=PATIENCE)
        if ends_consumer:
            ch.wait(timeout=PATIENCE)
            assert (ended, ch.callbacks) == ([tag], {})
            return
        with pytest.raises(AMQPChannelException) as caught:
            ch.wait(timeout=PATIENCE)
        assert (caught.value.amqp_reply_code, ended, ch.callbacks) == (406, [], {})
        for part in ("consumer_timeout", "30 minutes", "3.8.15", "acknowledge sooner", "3.12", "x-consumer-timeout"):
            assert part in str(caught.value)
