"""What becomes of messages: acknowledged, rejected, recovered, limited; transactions, returns and flow."""

from __future__ import annotations

from typing import List

import pytest

from amqplib.client.channel import Channel
from amqplib.client.connection import Connection
from amqplib.client.exceptions import AMQPChannelException, AMQPConnectionException
from amqplib.client.message import Message
from tests.conftest import Broker
from tests.live.conftest import Names
from tests.live.helpers import bodies, eventually, get, over, publish, refused


@pytest.fixture
def three(conn: Connection, queue: str) -> Channel:
    """A channel that holds three messages, tags 1 to 3, of the queue."""
    ch = conn.channel()
    publish(ch, queue, "one", "two", "three")
    assert [get(ch, queue, no_ack=False).delivery_tag for _ in range(3)] == [1, 2, 3]
    return ch


def left(conn: Connection, three: Channel, queue: str) -> List[object]:
    """What is in the queue once the channel is gone, and with it the claim to all that it did not acknowledge."""
    three.close()
    return bodies(conn.channel(), queue)


def test_ack(conn: Connection, three: Channel, queue: str) -> None:
    three.basic_ack(2)
    assert left(conn, three, queue) == ["one", "three"]


def test_ack_multiple(conn: Connection, three: Channel, queue: str) -> None:
    three.basic_ack(2, multiple=True)
    assert left(conn, three, queue) == ["three"]


def test_ack_all(conn: Connection, three: Channel, queue: str) -> None:
    three.basic_ack(0, True)
    assert left(conn, three, queue) == []


def test_no_ack(conn: Connection, three: Channel, queue: str) -> None:
    assert left(conn, three, queue) == ["one", "two", "three"]


@pytest.mark.parametrize("tag", [4, 2**63 - 1])
def test_ack_of_an_unknown_tag(conn: Connection, queue: str, tag: int) -> None:
    """Nothing answers an ack: the error comes with the next call."""

    def step(ch: Channel) -> None:
        ch.basic_ack(tag)
        ch.queue_declare(queue, passive=True)

    exc = refused(conn, 406, step)
    assert exc.amqp_method_sig == (60, 80)
    assert exc.args[3] == "Channel.basic_ack"


@pytest.mark.parametrize("tag", [-1, 2**64, "1", None])
def test_ack_of_what_is_no_tag(ch: Channel, queue: str, tag: int) -> None:
    with pytest.raises(ValueError, match="delivery_tag"):
        ch.basic_ack(tag)
    publish(ch, queue, "next")
    assert bodies(ch, queue) == ["next"]


def test_reject(conn: Connection, three: Channel, queue: str) -> None:
    three.basic_reject(1, requeue=False)
    three.basic_reject(2, True)
    again = get(three, queue)
    assert again.body == "two"
    assert again.redelivered
    assert left(conn, three, queue) == ["three"]


def test_reject_to_a_dead_letter_exchange(ch: Channel, queue: str, names: Names) -> None:
    source = names.queue()
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}
    ch.queue_declare(source, auto_delete=False, arguments=arguments)
    publish(ch, source, "unwanted")
    ch.basic_reject(get(ch, source, no_ack=False).delivery_tag, requeue=False)
    msg = get(ch, queue)
    assert msg.body == "unwanted"
    assert msg.application_headers["x-death"][0]["reason"] == "rejected"


def test_recover(ch: Channel, queue: str) -> None:
    """All that is not acknowledged comes again."""
    seen: List[Message] = []
    ch.basic_consume(queue, callback=seen.append)
    publish(ch, queue, "one", "two", "three")
    while len(seen) < 3:
        ch.wait()
    ch.basic_ack(seen[1].delivery_tag)
    assert not any(msg.redelivered for msg in seen)
    ch.basic_recover(requeue=True)
    while len(seen) < 5:
        ch.wait()
    assert [(msg.body, msg.redelivered) for msg in seen[3:]] == [("one", True), ("three", True)]
    ch.basic_recover(True)
    while len(seen) < 7:
        ch.wait()
    ch.basic_ack(0, multiple=True)


@pytest.mark.parametrize("loop", [False, True])
def test_recover_before_all_was_given(ch: Channel, queue: str, loop: bool) -> None:
    """What had come and was not given yet is given once, under the tag that the broker knows."""
    publish(ch, queue, "one", "two", "three")
    seen: List[Message] = []
    messages = ch.consume(queue) if loop else None
    if not loop:
        ch.basic_consume(queue, callback=seen.append)
    eventually(lambda: ch.queue_declare(queue, passive=True)[1] == 0)
    assert ch.pending() == 3

    def one() -> None:
        if messages is not None:
            seen.append(next(messages))
        else:
            ch.wait()

    one()
    ch.basic_recover(requeue=True)
    while len(seen) < 4:
        one()
    assert [(msg.body, msg.redelivered) for msg in seen[1:]] == [("one", True), ("two", True), ("three", True)]
    ch.basic_ack(seen[2].delivery_tag, multiple=True)
    ch.basic_ack(seen[3].delivery_tag)
    ch.close()


def test_recover_what_was_fetched(ch: Channel, queue: str) -> None:
    publish(ch, queue, "one")
    assert get(ch, queue, no_ack=False).delivery_tag == 1
    assert ch.basic_get(queue) is None
    ch.basic_recover(requeue=True)
    assert get(ch, queue).redelivered


def test_recover_without_requeue(conn: Connection) -> None:
    """RabbitMQ does not know it, and ends the connection."""
    ch = conn.channel()
    ch.basic_recover()
    with pytest.raises(AMQPConnectionException, match="NOT_IMPLEMENTED") as caught:
        ch.queue_declare(exclusive=True)
    assert caught.value.amqp_reply_code == 540
    assert over(conn)


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("limit", [1, 3])
def test_qos(ch: Channel, queue: str, by_name: bool, limit: int) -> None:
    """No more than so many come before one is acknowledged."""
    if by_name:
        ch.basic_qos(prefetch_size=0, prefetch_count=limit, a_global=False)
    else:
        ch.basic_qos(0, limit, False)
    seen: List[Message] = []
    ch.basic_consume(queue, callback=seen.append)
    publish(ch, queue, *map(str, range(18)))
    while len(seen) < 18:
        for _ in range(limit):
            ch.wait()
        for _ in range(2):  # whatever else had been sent would be here now
            ch.queue_declare(queue, passive=True)
        assert ch.pending() == 0
        ch.basic_ack(seen[-1].delivery_tag, multiple=True)
    assert [msg.body for msg in seen] == [str(n) for n in range(18)]


def test_qos_for_the_whole_channel(broker: Broker, ch: Channel, queue: str, caplog: pytest.LogCaptureFixture) -> None:
    """RabbitMQ 4.3 takes it and does nothing, of which the program is told."""
    ch.basic_qos(0, 2, True)
    works = not broker.is_rabbitmq(4, 3)
    assert ("RabbitMQ %s ignores" % broker.version in caplog.text) != works
    seen: List[Message] = []
    for _ in range(3):
        ch.basic_consume(queue, callback=seen.append)
    publish(ch, queue, *map(str, range(6)))
    ch.wait()
    ch.wait()
    for _ in range(3):
        ch.queue_declare(queue, passive=True)
    assert ch.pending() == (0 if works else 4)
    ch.basic_ack(0, multiple=True)
    ch.wait()
    ch.wait()
    assert len(seen) == 4


def test_qos_by_bytes(conn: Connection) -> None:
    """RabbitMQ does not know it, and ends the connection."""
    with pytest.raises(AMQPConnectionException, match="prefetch_size") as caught:
        conn.channel().basic_qos(1000, 1, False)
    assert caught.value.amqp_reply_code == 540
    assert over(conn)


# --- transactions -------------------------------------------------------------------------------------------


def test_commit(conn: Connection, ch: Channel, queue: str) -> None:
    ch.tx_select()
    publish(ch, queue, "one", "two")
    assert bodies(conn.channel(), queue) == []
    ch.tx_commit()
    assert bodies(conn.channel(), queue) == ["one", "two"]


def test_rollback(conn: Connection, ch: Channel, queue: str) -> None:
    ch.tx_select()
    publish(ch, queue, "one")
    ch.tx_rollback()
    publish(ch, queue, "two")
    ch.tx_commit()
    assert bodies(conn.channel(), queue) == ["two"]


def test_acks_in_a_transaction(conn: Connection, three: Channel, queue: str) -> None:
    three.tx_select()
    three.basic_ack(1)
    three.tx_commit()
    three.basic_ack(2)
    three.tx_rollback()
    three.basic_ack(3)
    assert left(conn, three, queue) == ["two", "three"]


def test_commit_without_select(conn: Connection) -> None:
    assert refused(conn, 406, lambda ch: ch.tx_commit()).amqp_method_sig == (90, 20)
    assert refused(conn, 406, lambda ch: ch.tx_rollback()).amqp_method_sig == (90, 30)


def test_a_commit_that_fails(conn: Connection, names: Names) -> None:
    def step(ch: Channel) -> None:
        ch.tx_select()
        ch.basic_publish(Message("x"), names.any())
        ch.tx_commit()

    refused(conn, 404, step)


# --- returned messages --------------------------------------------------------------------------------------


def test_returned(ch: Channel, names: Names) -> None:
    """What no queue takes comes back, in the course of any call."""
    nowhere = names.any()
    msg = Message("Grüße", application_headers={"n": 1}, priority=2)
    ch.basic_publish(msg, "amq.direct", nowhere, mandatory=True)
    ch.queue_declare(exclusive=True)
    code, text, exchange, routing_key, back = ch.returned_messages.get(timeout=5)
    assert (code, text, exchange, routing_key) == (312, "NO_ROUTE", "amq.direct", nowhere)
    assert back == msg
    assert ch.returned_messages.empty()


def test_returned_to_wait(ch: Channel, names: Names) -> None:
    ch.basic_publish(Message("astray"), routing_key=names.any(), mandatory=True)
    assert ch.wait() is None
    assert ch.returned_messages.get(timeout=5)[4].body == "astray"


def test_returned_is_not_what_was_routed(ch: Channel, queue: str, names: Names) -> None:
    for n in range(10):
        ch.basic_publish(Message(str(n)), routing_key=queue if n % 2 else names.any(), mandatory=True)
    assert bodies(ch, queue) == ["1", "3", "5", "7", "9"]
    assert [ch.returned_messages.get(timeout=5)[4].body for _ in range(5)] == ["0", "2", "4", "6", "8"]
    assert ch.returned_messages.empty()


def test_returned_outlives_the_channel(ch: Channel, names: Names) -> None:
    for _ in range(3):
        ch.basic_publish(Message("x"), routing_key=names.any(), mandatory=True)
    ch.close()
    assert ch.returned_messages.qsize() == 3


def test_returned_on_its_own_channel(conn: Connection, names: Names) -> None:
    channels = [conn.channel() for _ in range(3)]
    channels[1].basic_publish(Message("x"), routing_key=names.any(), mandatory=True)
    eventually(lambda: channels[0].queue_declare(exclusive=True) and channels[1].returned_messages.qsize())
    assert channels[0].returned_messages.empty()
    assert channels[2].returned_messages.empty()


def test_a_large_message_returned(ch: Channel, names: Names) -> None:
    ch.basic_publish(Message("x" * 1_000_000), routing_key=names.any(), mandatory=True)
    ch.wait()
    assert ch.returned_messages.get(timeout=5)[4].body == "x" * 1_000_000


def test_immediate(conn: Connection, queue: str) -> None:
    """RabbitMQ has given it up, and ends the connection."""
    ch = conn.channel()
    ch.basic_publish(Message("x"), routing_key=queue, immediate=True)
    with pytest.raises(AMQPConnectionException, match="immediate=true") as caught:
        ch.queue_declare(queue, passive=True)
    assert caught.value.amqp_reply_code == 540
    assert caught.value.amqp_method_sig == (60, 40)
    assert over(conn)


# --- flow ---------------------------------------------------------------------------------------------------


def test_flow(ch: Channel) -> None:
    assert ch.active
    assert ch.flow(True) is True
    assert ch.active


def test_flow_off(conn: Connection) -> None:
    """RabbitMQ does not know it, and ends the connection."""
    ch = conn.channel()
    with pytest.raises((AMQPConnectionException, AMQPChannelException), match="NOT_IMPLEMENTED") as caught:
        ch.flow(False)
    assert caught.value.args[0] == 540
    assert over(conn)
