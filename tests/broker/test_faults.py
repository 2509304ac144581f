"""Faults on order: what clients meet, and that it is over when it is called off."""

from __future__ import annotations

import errno
import time
from typing import Any, List

import pytest

import amqplib.client_0_8 as amqp08
import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from amqplib.broker.orders import Cut
from amqplib.client.exceptions import (
    AMQPConnectionException,
    AMQPTimeoutError,
    AuthenticationError,
    ConnectionLostError,
)
from tests.broker.test_malformed import OPEN, Raw
from tests.rest import await_rest

Connection = amqp.Connection
Channel = amqp.Channel

MESSAGE = amqp.Message("x")


def declared(ch: Channel) -> str:
    return str(ch.queue_declare(exclusive=True)[0])


# --- the network --------------------------------------------------------------------------------------------


def test_drop_now(broker: Broker, conn: Connection) -> None:
    ch = conn.channel()
    broker.faults.drop()
    with pytest.raises(ConnectionLostError):
        ch.queue_declare(exclusive=True)
    with Connection(broker.address) as again:
        assert again.channel().is_open


@pytest.mark.parametrize("reset", [False, True])
def test_drop_after_frames(broker: Broker, conn: Connection, reset: bool) -> None:
    """Two answers, and no third."""
    ch = conn.channel()
    broker.faults.drop(after_frames=2, reset=reset)
    queue = declared(ch)
    ch.queue_declare(queue, passive=True)
    with pytest.raises(ConnectionLostError) as caught:
        ch.queue_declare(queue, passive=True)
    assert not reset or caught.value.errno == errno.ECONNRESET
    # of a new connection: start and tune come, open-ok does not
    with pytest.raises(ConnectionLostError):
        Connection(broker.address)
    broker.faults.clear()
    with Connection(broker.address) as again:
        assert again.channel().is_open


@pytest.mark.parametrize("octets", [1, 7, 8, 100, 400, 500])
def test_drop_after_octets(broker: Broker, octets: int) -> None:
    """In the middle of a frame, too."""
    broker.faults.drop(after_octets=octets)

    def declare_on() -> None:
        ch = Connection(broker.address).channel()
        while True:
            declared(ch)

    with pytest.raises(ConnectionLostError):
        declare_on()


def test_drop_after_what_was_received(broker: Broker, conn: Connection) -> None:
    """Two publishes, of three frames each, are carried out; the third is not."""
    ch, queue = conn.channel(), "kept"
    ch.queue_declare(queue, auto_delete=False)
    broker.faults.drop(after_frames=6, received=True)

    def publish_on() -> None:
        for _ in range(20_000):
            ch.basic_publish(MESSAGE, routing_key=queue)
            time.sleep(0.001)

    with pytest.raises(ConnectionLostError):
        publish_on()
    assert broker.queues()[queue].messages == 2


@pytest.mark.parametrize("cut", [Cut(0, None, False, False), Cut(None, 0, False, False)])
def test_a_cut_before_anything(cut: Cut) -> None:
    assert cut.take(OPEN) == (b"", True)


def test_a_cut_counts_a_stream_in_any_pieces() -> None:
    stream = b"AMQP\x00\x00\x09\x01" + OPEN + OPEN + OPEN
    for size in (1, 2, 5, 100):
        cut = Cut(2, None, True, False)
        passed, over = b"", False
        for place in range(0, len(stream), size):
            data, over = cut.take(stream[place : place + size])
            passed += data
            if over:
                break
        assert over
        assert passed == stream[: 8 + 2 * len(OPEN)]


def test_stall_and_resume(broker: Broker, conn: Connection) -> None:
    ch = conn.channel()
    queue = declared(ch)
    ch.basic_consume(queue, no_ack=True, callback=lambda msg: seen.append(msg.body))
    seen: List[Any] = []
    broker.faults.stall()
    ch.basic_publish(MESSAGE, routing_key=queue)
    with pytest.raises(AMQPTimeoutError):
        ch.wait(timeout=0.2)
    with pytest.raises(AMQPTimeoutError):
        Connection(broker.address, connect_timeout=0.2)
    broker.faults.resume()
    ch.wait(timeout=20)
    assert seen == ["x"]


def test_split(broker: Broker) -> None:
    broker.faults.split(7, pause=0)
    with Connection(broker.address) as conn, conn.channel() as ch:
        queue = declared(ch)
        ch.basic_publish(amqp.Message("x" * 500), routing_key=queue)
        msg = ch.basic_get(queue, no_ack=True)
        assert msg is not None
        assert msg.body == "x" * 500
    with pytest.raises(ValueError, match="octets"):
        broker.faults.split(0)


def test_coalesce(broker: Broker, conn: Connection) -> None:
    """What comes within the time is in one read."""
    ch = conn.channel()
    queue = declared(ch)
    ch.basic_consume(queue, no_ack=True)
    broker.faults.coalesce(1.0)
    for _ in range(5):
        ch.basic_publish(MESSAGE, routing_key=queue)
        await_rest()  # each comes by itself
    ch.wait(timeout=20)
    assert ch.pending() == 4


def test_garbage(broker: Broker, conn: Connection) -> None:
    ch = conn.channel()
    broker.faults.garbage(b"no frame at all")
    with pytest.raises(AMQPConnectionException, match="not an AMQP frame"):
        ch.wait(timeout=20)


# --- the connection -----------------------------------------------------------------------------------------


def test_refuse_logins(broker: Broker) -> None:
    broker.faults.refuse_logins("not today")
    with pytest.raises(AuthenticationError, match="ACCESS_REFUSED - not today"):
        Connection(broker.address)
    broker.faults.clear()
    Connection(broker.address).close()


@pytest.mark.parametrize("reset", [False, True])
def test_lost_in_the_middle_of_the_login(broker: Broker, reset: bool) -> None:
    """A refusal would have been told, so this is none: the next host may do better."""
    broker.faults.drop(after_frames=1, reset=reset)
    with pytest.raises(ConnectionLostError, match="in the middle of the login") as caught:
        Connection(broker.address)
    assert not isinstance(caught.value, AuthenticationError)
    with Broker() as other, Connection("%s,%s" % (broker.address, other.address)):
        assert len(other.connections()) == 1


def test_redirect(broker: Broker) -> None:
    with Broker() as other:
        broker.faults.redirect(other.address)
        with amqp08.Connection(broker.address) as conn:
            assert conn.transport
            assert conn.transport.sock.getpeername()[1] == other.port
        with Connection(broker.address) as conn:  # 0-9-1 has no redirect
            assert conn.transport
            assert conn.transport.sock.getpeername()[1] == broker.port


def test_ask_secure(broker: Broker) -> None:
    broker.faults.ask_secure("who goes there?")
    with Raw(broker) as raw:
        raw.log_in()
        assert raw.expect("connection.secure") == ("who goes there?",)
        raw.method("connection.secure_ok", "a friend")
        raw.expect("connection.tune")
        raw.method("connection.tune_ok", 2047, 131072, 0)
        raw.method("connection.open", "/", "", False)
        raw.expect("connection.open_ok")


def test_block_and_unblock(broker: Broker) -> None:
    """Of two connections, the one that publishes is blocked; what it says meanwhile waits."""
    said: List[str] = []
    with Connection(broker.address, on_blocked=said.append, on_unblocked=lambda: said.append("again")) as conn:
        ch = conn.channel()
        queue = declared(ch)
        broker.faults.block("low on patience")
        ch.queue_declare(queue, passive=True)
        ch.basic_publish(MESSAGE, routing_key=queue)
        ch.basic_publish(MESSAGE, routing_key=queue)
        await_rest()
        with pytest.raises(AMQPTimeoutError):
            conn.drain_events(timeout=0.1)
        assert said == ["low on patience"]
        with Connection(broker.address) as other:
            other.channel().queue_declare(exclusive=True)
        assert broker.queues()[queue].messages == 1
        broker.faults.unblock()
        for _ in range(2):
            assert ch.queue_declare(queue, passive=True)[1] == 2
        assert said == ["low on patience", "again"]


def test_close_connections(broker: Broker, conn: Connection) -> None:
    ch = conn.channel()
    broker.faults.close_connections("a test says so")
    with pytest.raises(AMQPConnectionException, match="CONNECTION_FORCED - a test says so") as caught:
        ch.wait(timeout=20)
    assert caught.value.amqp_reply_code == 320


# --- channels -----------------------------------------------------------------------------------------------


def test_nack_every(broker: Broker, ch: Channel) -> None:
    queue = declared(ch)
    ch.confirm_select()
    broker.faults.nack_every(3)
    tags = [ch.basic_publish(MESSAGE, routing_key=queue) for _ in range(7)]
    with pytest.raises(amqp.UnconfirmedError) as caught:
        ch.wait_for_confirms(timeout=20)
    assert sorted(caught.value.nacked) == [tags[2], tags[5]]
    assert broker.queues()[queue].messages == 5
    broker.faults.nack_every(0)
    ch.basic_publish_confirm(MESSAGE, routing_key=queue, timeout=20)


def test_delay_confirms(broker: Broker, ch: Channel) -> None:
    queue = declared(ch)
    ch.confirm_select()
    broker.faults.delay_confirms(1.0)
    with pytest.raises(amqp.ConfirmTimeoutError):
        ch.basic_publish_confirm(MESSAGE, routing_key=queue, timeout=0.05)
    ch.basic_publish(MESSAGE, routing_key=queue)
    ch.wait_for_confirms(timeout=20)
    assert ch.unconfirmed == {}


def test_confirms_that_are_late_for_their_channel(broker: Broker, conn: Connection) -> None:
    broker.faults.delay_confirms(0.1)
    ch = conn.channel()
    ch.confirm_select()
    ch.basic_publish(MESSAGE, "amq.fanout")
    with pytest.raises(amqp.AMQPChannelException):
        ch.queue_declare("no such queue", passive=True)
    time.sleep(0.2)
    assert conn.channel().is_open


def test_cancel_consumers(broker: Broker, ch: Channel) -> None:
    ended: List[str] = []
    queues = [declared(ch), declared(ch)]
    tags = [ch.basic_consume(queue, on_cancel=ended.append) for queue in queues]
    assert broker.faults.cancel_consumers(queues[0]) == 1
    ch.wait(timeout=20)
    assert ended == tags[:1]
    assert broker.faults.cancel_consumers() == 1
    ch.wait(timeout=20)
    assert ended == tags
    assert ch.callbacks == {}


def test_flow(broker: Broker, ch: Channel) -> None:
    for active in (False, True):
        broker.faults.flow(active)
        ch.wait(timeout=20)
        assert ch.active == active


def test_flow_holds_for_new_channels_and_clear_ends_it(broker: Broker, conn: Connection) -> None:
    broker.faults.flow(False)
    ch = conn.channel()
    ch.wait(timeout=20)
    assert not ch.active
    broker.faults.clear()
    ch.wait(timeout=20)
    assert ch.active


def test_orders_that_cannot_be(broker: Broker, conn: Connection) -> None:
    """They are refused where they are given, and the broker serves on."""
    wrong: Any = "text"
    with pytest.raises(TypeError):
        broker.faults.garbage(wrong)
    with pytest.raises(ValueError, match="after_frames: -1"):
        broker.faults.drop(after_frames=-1)
    with pytest.raises(ValueError, match="number: -1"):
        broker.faults.nack_every(-1)
    with pytest.raises(TypeError):
        broker.faults.nack_every(wrong)
    assert conn.channel().is_open


def test_clear(broker: Broker, conn: Connection) -> None:
    ch = conn.channel()
    queue = declared(ch)
    broker.faults.block()
    ch.basic_publish(MESSAGE, routing_key=queue)
    broker.faults.stall()
    broker.faults.drop(after_octets=1)
    broker.faults.refuse_logins()
    broker.faults.clear()
    assert ch.queue_declare(queue, passive=True)[1] == 1
    Connection(broker.address).close()
