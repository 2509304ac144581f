"""What the server refuses: the channel ends with its code, its text and the method; everything else goes on."""

from __future__ import annotations

import gc
import select
import time
import weakref
from contextlib import suppress
from types import ModuleType
from typing import Callable, List

import pytest

from amqplib.client.channel import Channel
from amqplib.client.connection import Connection
from amqplib.client.exceptions import (
    AMQPChannelException,
    AMQPConnectionException,
    ChannelClosedError,
    ConnectionLostError,
)
from amqplib.client.message import Message
from tests.conftest import Broker
from tests.live.conftest import Connect, Names
from tests.live.helpers import PATIENCE, Worker, bodies, over, publish, refused


def test_what_the_exception_says(conn: Connection, names: Names) -> None:
    queue = names.any()
    exc = refused(conn, 404, lambda ch: ch.queue_declare(queue, passive=True))
    text = "NOT_FOUND - no queue '%s' in vhost '/'" % queue
    assert exc.amqp_reply_code == 404
    assert exc.amqp_reply_text == text
    assert exc.amqp_method_sig == (50, 10)
    assert exc.args == (404, text, (50, 10), "Channel.queue_declare")
    for part in ("404", text, "Channel.queue_declare", "channel 1", "127.0.0.1"):
        assert part in str(exc)


@pytest.mark.parametrize(
    ("code", "name", "step"),
    [
        (404, "Channel.basic_get", lambda ch, name: ch.basic_get(name)),
        (404, "Channel.basic_consume", lambda ch, name: ch.basic_consume(name)),
        (404, "Channel.queue_purge", lambda ch, name: ch.queue_purge(name)),
        (404, "Channel.queue_bind", lambda ch, name: ch.queue_bind(name, "amq.fanout")),
        (404, "Channel.exchange_declare", lambda ch, name: ch.exchange_declare(name, "direct", passive=True)),
        (403, "Channel.queue_declare", lambda ch, name: ch.queue_declare("amq." + name)),
        (403, "Channel.exchange_declare", lambda ch, name: ch.exchange_declare("amq." + name, "direct")),
        (403, "Channel.exchange_delete", lambda ch, name: ch.exchange_delete("amq.fanout")),
        (
            403,
            "Channel.queue_bind",
            lambda ch, name: ch.queue_declare(name, exclusive=True) and ch.queue_bind(name, ""),
        ),
        (406, "Channel.exchange_declare", lambda ch, name: ch.exchange_declare("amq.fanout", "direct")),
        (406, "Channel.tx_commit", lambda ch, name: ch.tx_commit()),
    ],
)
def test_refusals(conn: Connection, names: Names, code: int, name: str, step: Callable[[Channel, str], object]) -> None:
    exc = refused(conn, code, lambda ch: step(ch, names.any()))
    assert exc.args[3] == name


def test_calls_afterwards_say_why(conn: Connection, names: Names) -> None:
    ch = conn.channel()
    with pytest.raises(AMQPChannelException):
        ch.basic_get(names.any())
    for step in (ch.wait, ch.queue_declare, ch.tx_select, lambda: ch.basic_publish(Message("x"))):
        with pytest.raises(ChannelClosedError, match="404 NOT_FOUND"):
            step()
    ch.close()


def test_the_number_is_free_again(conn: Connection, names: Names) -> None:
    for _ in range(20):
        ch = conn.channel()
        assert ch.channel_id == 1
        with pytest.raises(AMQPChannelException):
            ch.basic_get(names.any())
    assert conn.channels == {0: conn}


def test_publish_to_a_missing_exchange(conn: Connection, names: Names) -> None:
    """Nothing answers a publish: the error comes with the next call."""

    def step(ch: Channel) -> None:
        ch.basic_publish(Message("x"), names.any())
        ch.queue_declare(exclusive=True)

    assert refused(conn, 404, step).args[3] == "Channel.basic_publish"


def test_publish_to_a_missing_exchange_then_wait(conn: Connection, names: Names) -> None:
    def step(ch: Channel) -> None:
        ch.basic_publish(Message("x"), names.any())
        ch.wait()

    assert refused(conn, 404, step).args[3] == "Channel.basic_publish"


def test_publish_to_a_missing_exchange_then_wait_for_deliveries(conn: Connection, names: Names) -> None:
    def step(ch: Channel) -> None:
        ch.basic_publish(Message("x"), names.any())
        ch.wait([(60, 60)])

    assert refused(conn, 404, step).args[3] == "Channel.basic_publish"


def test_publish_to_a_missing_exchange_then_close(conn: Connection, names: Names) -> None:
    """Close is the last occasion to hear of it."""

    def step(ch: Channel) -> None:
        ch.basic_publish(Message("x"), names.any())
        ch.close()

    refused(conn, 404, step)


def test_publish_to_a_missing_exchange_many_times(conn: Connection, names: Names) -> None:
    """What is sent after the one that failed is lost, and harms nobody."""

    def step(ch: Channel) -> None:
        for _ in range(2000):
            ch.basic_publish(Message("x" * 1000), names.any())
        ch.queue_declare(exclusive=True)

    refused(conn, 404, step)


def test_an_error_waits_for_its_own_channel(conn: Connection, names: Names, queue: str) -> None:
    broken, sound = conn.channel(), conn.channel()
    broken.basic_publish(Message("x"), names.any())
    for n in range(20):
        publish(sound, queue, str(n))
        assert bodies(sound, queue) == [str(n)]
    assert broken.is_open
    with pytest.raises(AMQPChannelException, match="404"):
        broken.wait()
    assert over(broken)
    assert not over(sound)


def test_deliveries_come_before_the_error(conn: Connection, queue: str, names: Names) -> None:
    seen: List[Message] = []
    ch = conn.channel()
    ch.basic_consume(queue, callback=seen.append)
    publish(ch, queue, "one", "two")
    while ch.pending() < 2:
        ch.queue_declare(queue, passive=True)
    ch.basic_publish(Message("x"), names.any())
    while ch.pending() < 3:
        conn.channel().close()
    ch.wait()
    ch.wait()
    assert [msg.body for msg in seen] == ["one", "two"]
    with pytest.raises(AMQPChannelException, match="404"):
        ch.wait()


def test_an_error_that_nobody_waits_for(connect: Connect, names: Names) -> None:
    """Closing the connection says so, once everything is closed."""
    conn = connect()
    conn.channel().basic_publish(Message("x"), names.any())
    conn.channel().close()
    with pytest.raises(AMQPChannelException, match="404"):
        conn.close()
    assert conn.transport is None
    conn.close()


def test_an_error_inside_a_callback(conn: Connection, queue: str, names: Names) -> None:
    ch, other = conn.channel(), conn.channel()
    ch.basic_consume(queue, no_ack=True, callback=lambda msg: other.basic_get(names.any()))
    publish(ch, queue, "one")
    with pytest.raises(AMQPChannelException, match="404"):
        ch.wait()
    assert over(other)
    publish(ch, queue, "two")
    with pytest.raises(ChannelClosedError):
        ch.wait()


def test_errors_in_with_statements(connect: Connect, names: Names) -> None:
    with pytest.raises(AMQPChannelException, match="404"), connect() as conn, conn.channel() as ch:
        ch.basic_get(names.any())
    assert over(conn)


def test_a_value_that_cannot_be_sent(ch: Channel, queue: str) -> None:
    """Nothing of it is sent, and the channel stays usable."""
    calls: List[Callable[[], object]] = [
        lambda: ch.basic_publish(Message("x" * 300_000, application_headers={"o": object()}), routing_key=queue),
        lambda: ch.basic_publish(Message("x", timestamp="now"), routing_key=queue),
        lambda: ch.basic_publish("no message", routing_key=queue),
        lambda: ch.queue_declare(7),  # type: ignore[call-overload]
        lambda: ch.queue_declare(queue, arguments={"o": object()}),
        lambda: ch.queue_bind(queue, "e" * 256),
        lambda: ch.basic_qos(0, 65536, False),
        lambda: ch.basic_ack("1"),  # type: ignore[arg-type]
        lambda: ch.basic_get(queue, ticket=-1),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"."):
            call()
        publish(ch, queue, "next")
        assert bodies(ch, queue) == ["next"]


# --- the connection -----------------------------------------------------------------------------------------


@pytest.fixture
def forced(connect: Connect, ctl: Callable[..., str]) -> Callable[[], Connection]:
    """A connection that the server has just closed, which it has not yet read."""

    def forced() -> Connection:
        conn = connect()
        assert conn.transport
        ctl("close_all_connections", "a test says so")
        assert select.select([conn.transport.sock], [], [], PATIENCE)[0]
        return conn

    return forced


def test_the_server_closes_while_we_wait(connect: Connect, ctl: Callable[..., str]) -> None:
    conn = connect()
    ch, other = conn.channel(), conn.channel()
    closing = Worker(lambda: ctl("close_all_connections", "a test says so"), delay=0.2)
    with closing, pytest.raises(AMQPConnectionException, match="a test says so") as caught:
        ch.wait()
    assert caught.value.amqp_reply_code == 320
    assert caught.value.args[:3] == (320, caught.value.amqp_reply_text, (0, 0))
    assert over(conn)
    assert over(ch)
    assert over(other)
    for step in (ch.wait, other.queue_declare, conn.channel, conn.wait):
        with pytest.raises(AMQPConnectionException, match="a test says so"):
            step()
    conn.close()
    ch.close()


def test_the_server_closes_in_between(forced: Callable[[], Connection]) -> None:
    conn = forced()
    with pytest.raises(AMQPConnectionException, match="a test says so"):
        conn.channel()
    assert over(conn)


def test_close_after_the_server_has(forced: Callable[[], Connection]) -> None:
    conn = forced()
    with pytest.raises(AMQPConnectionException, match="a test says so"):
        conn.close()
    assert over(conn)
    conn.close()


def test_the_server_closes_while_we_publish(connect: Connect, ctl: Callable[..., str]) -> None:
    """It is heard now and then, not half a minute later, from a reset, which costs all that was published meanwhile."""
    conn = connect()
    ch = conn.channel()
    queue = ch.queue_declare(exclusive=True)[0]

    def publish_on() -> None:
        for _ in range(20_000):
            publish(ch, queue, "to nobody")
            time.sleep(0.001)

    try:
        ctl("close_all_connections", "a test says so")
        with pytest.raises(AMQPConnectionException, match="a test says so"):
            publish_on()
    finally:
        with suppress(AMQPConnectionException):
            conn.close()


def test_the_socket_is_gone(connect: Connect) -> None:
    conn = connect()
    ch = conn.channel()
    assert conn.transport
    conn.transport.sock.shutdown(2)
    with pytest.raises(ConnectionLostError) as caught:
        ch.wait()
    assert isinstance(caught.value, OSError)
    assert caught.value.errno
    assert over(conn)


def test_all_dies_by_reference_count(amqp: ModuleType, broker: Broker, names: Names) -> None:
    """A closed connection and its channels are in no cycle, and no exception holds on to them."""
    gc.collect()
    gc.disable()
    try:
        conn = amqp.Connection(**broker.login)
        ch = conn.channel()
        with pytest.raises(AMQPChannelException) as caught:
            ch.basic_get(names.any())
        channel = conn.channel()
        refs = [weakref.ref(conn), weakref.ref(ch), weakref.ref(channel)]
        conn.close()
        error = caught.value.with_traceback(None)
        del conn, ch, channel, caught
        assert error.amqp_reply_code == 404
        assert [ref() for ref in refs] == [None, None, None]
    finally:
        gc.enable()
