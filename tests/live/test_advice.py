"""Refusals of RabbitMQ's whose way out is known: the error says which rule it is, since when, and what to write."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Dict, List, Tuple

import pytest

from amqplib.client.channel import Channel
from amqplib.client.connection import Connection
from amqplib.client.exceptions import AMQPChannelException, AMQPConnectionException, UnconfirmedError
from amqplib.client.message import Message
from amqplib.wire.tables import UndecodedField
from tests.brokers import Node
from tests.conftest import Broker, Peer
from tests.live.conftest import Connect, Names
from tests.live.helpers import PATIENCE, declare
from tests.live.test_refusals import Step, exchange, publish, queue, steps, then_ask


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


REFUSED: List[Tuple[str, Step, str]] = [
    (
        "a consumer tag twice",
        steps(
            lambda ch, name: ch.queue_declare(name, exclusive=True),
            lambda ch, name: [ch.basic_consume(name, "tag") for _ in range(2)],
        ),
        "530 .*reuse consumer tag 'tag'.*; .*leave consumer_tag out",
    ),
    ("an expiration that is none", publish(expiration="1.5"), r"406 .*invalid expiration.*; .*expiration='60000'"),
    ("somebody else's name", publish(user_id="nobody"), "406 .*user_id property.*; .*leave it out"),
    ("a number as a string", queue(x_message_ttl="60"), r"406 .*expected integer, got longstr.*; .* is an int"),
    (
        "acknowledged twice",
        steps(
            lambda ch, name: ch.queue_declare(name, exclusive=True),
            lambda ch, name: ch.basic_publish(Message("x"), routing_key=name),
            lambda ch, name: ch.basic_get(name),
            lambda ch, name: ch.basic_ack(1),
            then_ask(lambda ch, name: ch.basic_ack(1)),
        ),
        r"unknown delivery tag 1 .*; a message is acknowledged or given back once, on the channel that it came on",
    ),
    (
        "no such queue",
        then_ask(lambda ch, name: ch.queue_bind(name, "amq.direct")),
        r"404 .*; declare it .*queue_declare",
    ),
    ("no such exchange", publish("no such"), r"404 .*; declare it .*exchange_declare"),
    (
        "acknowledged, and had with no_ack",
        steps(
            lambda ch, name: ch.queue_declare(name, exclusive=True),
            lambda ch, name: ch.basic_publish(Message("x"), routing_key=name),
            lambda ch, name: ch.basic_get(name, no_ack=True),
            then_ask(lambda ch, name: ch.basic_ack(1)),
        ),
        "unknown delivery tag 1 .*or it came with no_ack, or on another channel",
    ),
    ("exchange type", exchange("x-delayed-message"), "unknown exchange type.*rabbitmq-plugins enable NAME"),
    ("recover", then_ask(lambda ch, name: ch.basic_recover()), r"540 .*requeue=false.*basic_recover\(True\) only"),
    ("quorum, auto_delete", queue(x_queue_type="quorum", auto_delete=True), "durable=True, auto_delete=False"),
    ("quorum, not durable", queue(x_queue_type="quorum", durable=False), "durable=True, auto_delete=False"),
    ("quorum, exclusive", queue(x_queue_type="quorum", exclusive=True), "exclusive=False"),
    (
        "a declaration without arguments",
        steps(queue(exclusive=True, x_max_length=5), lambda ch, name: ch.queue_declare(name, exclusive=True)),
        "406 .*durable is False unless given, and so is auto_delete, which is True in client_0_8",
    ),
    (
        "a request without a consumer of replies",
        publish(reply_to="amq.rabbitmq.reply-to"),
        r"406 .*fast reply consumer.*; .*basic_consume\('amq.rabbitmq.reply-to', no_ack=True, callback=...\) there",
    ),
    (
        "replies that are to be acknowledged",
        lambda ch, name: ch.basic_consume("amq.rabbitmq.reply-to"),
        "406 .*; replies are not acknowledged",
    ),
    (
        "two consumers of a queue, one of which is exclusive",
        lambda ch, name: [
            ch.queue_declare(name, exclusive=True),
            ch.basic_consume(name, exclusive=True),
            ch.basic_consume(name),
        ],
        "403 .*in exclusive use.*; its consumer was made with exclusive=True.*x-single-active-consumer",
    ),
    (
        "a name of the broker's",
        lambda ch, name: ch.queue_declare("amq." + name),
        "403 .*; names that begin with amq. are",
    ),
    (
        "two consumers of replies",
        lambda ch, name: [ch.basic_consume("amq.rabbitmq.reply-to", no_ack=True) for _ in range(2)],
        "406 .*; a channel has one consumer",
    ),
]


@pytest.mark.parametrize(("step", "said"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_the_way_out(connect: Connect, names: Names, step: Step, said: str) -> None:
    with pytest.raises((AMQPChannelException, AMQPConnectionException), match=said):
        step(connect().channel(), names.any())


@pytest.mark.only(since=(3, 9), reason="streams came with 3.9; the broker in the box has none")
@pytest.mark.parametrize("wrong", [{"auto_delete": True}, {"durable": False}, {"exclusive": True}], ids=str)
def test_a_stream_that_does_not_stay(connect: Connect, names: Names, wrong: Dict[str, bool]) -> None:
    with pytest.raises(AMQPChannelException, match=r"406 .*; a quorum queue or stream is for all connections"):
        queue(x_queue_type="stream", **wrong)(connect().channel(), names.any())


def test_a_queue_of_a_connection_that_is_there_still(connect: Connect, names: Names) -> None:
    """What is advised works: when the other one is gone, and with a name that the broker makes up."""
    name, other, ch = names.any(), connect(), connect().channel()
    other.channel().queue_declare(name, exclusive=True)
    with pytest.raises(AMQPChannelException, match=r"405 .*that the broker has not given up yet.*two heartbeats"):
        ch.queue_declare(name, exclusive=True)
    other.close()
    ch = connect().channel()
    assert ch.queue_declare(name, exclusive=True)[0] == name
    assert ch.queue_declare("", exclusive=True)[1:] == (0, 0)


@pytest.mark.only(rabbitmq=True, reason="the broker in the box passes on what it cannot read")
def test_an_error_that_names_no_method(conn: Connection, names: Names) -> None:
    ch = conn.channel()
    name = declare(ch, names)
    ch.basic_publish(Message("x", application_headers={"field": UndecodedField(b"Z")}), routing_key=name)
    said = (
        r"541 INTERNAL_ERROR \(while Channel.queue_declare was waiting\) .*its log says why; .*or a publish before it"
    )
    with pytest.raises(AMQPConnectionException, match=said) as caught:
        ch.queue_declare(name, passive=True)
    assert caught.value.args == (541, "INTERNAL_ERROR", (0, 0), "")


def test_a_confirmed_publish_to_nowhere(modern: Channel, names: Names) -> None:
    """What is wrong comes first, and where it was once."""
    name = names.any()
    with pytest.raises(UnconfirmedError) as caught:
        modern.basic_publish_confirm(Message("x"), name, "key")
    said = str(caught.value)
    assert said.startswith(
        "404 NOT_FOUND - no exchange '%s' in vhost '/' (after Channel.basic_publish): messages are not safe: "
        "0 nacked, 0 returned as unroutable, 1 not confirmed [channel 1 of 127.0.0.1:" % name
    )
    assert (said.count("["), said.count("404 "), said.count("basic_publish")) == (1, 1, 1)


def test_confirms_and_transactions(modern: Channel) -> None:
    modern.tx_select()
    with pytest.raises(AMQPChannelException, match=r"406 .*cannot switch from tx.*; a channel has either confirms or"):
        modern.confirm_select()


def test_confirms_of_what_was_refused(modern: Channel) -> None:
    """The way out stands at the end, once."""
    modern.confirm_select()
    modern.basic_publish(Message("x", reply_to="amq.rabbitmq.reply-to"), routing_key="nobody")
    said = r"^406 .*fast reply consumer does not exist \(after Channel.basic_publish\): messages are .*\]; replies to '"
    with pytest.raises(UnconfirmedError, match=said):
        modern.wait_for_confirms()


@pytest.mark.only(since=(3, 8), reason="the broker in the box has no quorum queues to speak of")
def test_a_limit_for_the_channel_on_a_quorum_queue(connect: Connect, names: Names) -> None:
    ch, name = connect().channel(), names.queue()
    ch.queue_declare(name, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
    ch.basic_qos(0, 10, True)
    with pytest.raises(AMQPConnectionException, match=r"540 .*global qos.*; .*basic_qos\(0, prefetch_count, False\)"):
        ch.basic_consume(name)


STREAM_REFUSALS: List[Tuple[Any, str]] = [
    (lambda ch, name: ch.basic_get(name), r"basic.get not .*; a stream is read with a consumer"),
    (lambda ch, name: ch.basic_consume(name, no_ack=True), r"automatic ack.*; consume from a stream without no_ack"),
    (lambda ch, name: ch.queue_purge(name), r"queue.purge not .*; .*x-max-age"),
]


@pytest.mark.only(since=(3, 9), reason="streams came with 3.9; the broker in the box has none")
@pytest.mark.parametrize(("call", "said"), STREAM_REFUSALS)
def test_what_a_stream_does_not_have(connect: Connect, names: Names, call: Any, said: str) -> None:
    ch, name = connect().channel(), names.queue()
    ch.queue_declare(name, durable=True, auto_delete=False, arguments={"x-queue-type": "stream"})
    ch.basic_qos(0, 10, False)
    with pytest.raises(AMQPConnectionException, match="540 .*" + said):
        call(ch, name)


@pytest.mark.thorough
@pytest.mark.only(since=(4, 0), reason="earlier ones take 128 MB; the broker in the box has no such limit")
def test_a_message_that_is_too_large(modern: Channel, names: Names) -> None:
    modern.basic_publish(Message(bytes(17 * 1024 * 1024)), routing_key=names.any())
    with pytest.raises(AMQPChannelException, match=r"406 .*configured max size.*; .*max_message_size"):
        modern.wait(timeout=PATIENCE)


def test_declared_differently(connect: Connect) -> None:
    with pytest.raises(AMQPChannelException, match=r"406 .*inequivalent arg.*passive=True"):
        connect().channel().exchange_declare("amq.topic", "topic", durable=False, auto_delete=False)


@pytest.mark.only(since=(3, 9), reason="streams came with 3.9; the broker in the box has none")
def test_a_stream_without_a_limit(modern: Channel, names: Names) -> None:
    stream = declare(modern, names, queue_type="stream")
    with pytest.raises(AMQPChannelException, match=r"406 .*prefetch count is not set.*; .*basic_qos\(0, 100, False\)"):
        modern.basic_consume(stream)


@pytest.mark.only(since=(3, 9), reason="streams came with 3.9; the broker in the box has none")
def test_a_stream_that_is_to_take_something_back(modern: Channel, names: Names) -> None:
    """RabbitMQ 4 overlooks it."""
    stream = declare(modern, names, queue_type="stream")
    conn = modern.connection
    assert conn
    modern.basic_qos(0, 10, False)
    modern.basic_publish(Message("x"), routing_key=stream)
    for msg in modern.consume(stream, arguments={"x-stream-offset": "first"}, timeout=PATIENCE):
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
        slow = ch.queue_declare(Names.any(), durable=True, auto_delete=False, arguments=arguments)[0]
        tag = ch.basic_consume(slow, callback=lambda msg: None, on_cancel=ended.append)
        ch.basic_publish(Message("slow"), routing_key=slow)
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
