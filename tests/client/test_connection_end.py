"""Proves how a connection ends: closed by the program, by the server, or lost; and what every call says then."""

from __future__ import annotations

import errno
from typing import Any, Callable, Dict, List

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91
from tests.octets import frame, octets

from .peer import Peer, content, method

FORCED = (320, "CONNECTION_FORCED - bye", 0, 0)
CLOSE = method("connection.close", *FORCED, channel=0)

#: Calls that read, as (call, what the server has answered to them before it closes).
READERS: Dict[str, Callable[[amqp.Channel], Any]] = {
    "a synchronous call": lambda ch: ch.tx_select(),
    "opening a channel": lambda ch: ch.connection.channel(),  # type: ignore[union-attr]
    "Channel.wait": lambda ch: ch.wait(),
    "Channel.wait for a method": lambda ch: ch.wait([(60, 60)]),
    "Connection.wait": lambda ch: ch.connection.wait(),  # type: ignore[union-attr]
    "Connection.wait for a method": lambda ch: ch.connection.wait([(10, 41)]),  # type: ignore[union-attr]
    "Connection.close": lambda ch: ch.connection.close(),  # type: ignore[union-attr]
    "Channel.close": lambda ch: ch.close(),
    "read_method": lambda ch: ch.connection.method_reader.read_method(),  # type: ignore
}

SENDS_FIRST = {
    "a synchronous call": "tx.select",
    "opening a channel": "channel.open",
    "Connection.close": "connection.close",
    "Channel.close": "channel.close",
}

#: Every call after the end; all raise the same.
CALLS: Dict[str, Callable[[amqp.Channel], Any]] = {
    "sync": lambda ch: ch.queue_declare("q"),
    "nowait": lambda ch: ch.queue_declare("q", nowait=True),
    "publish": lambda ch: ch.basic_publish(amqp.Message(b"x")),
    "ack": lambda ch: ch.basic_ack(1),
    "consume": lambda ch: ch.basic_consume("q", "tag", nowait=True),
    "wait": lambda ch: ch.wait(),
    "wait for a method": lambda ch: ch.wait([(60, 60)]),
}


def assert_closed(conn: amqp.Connection) -> None:
    assert (conn.transport, conn.connection, conn.channels) == (None, None, None)


def assert_over(conn: amqp.Connection, ch: amqp.Channel) -> None:
    assert_closed(conn)
    assert (ch.connection, ch.callbacks, ch.is_open) == (None, {}, False)


@pytest.mark.parametrize("name", READERS)
def test_closed_by_the_server(peer: Peer, conn: amqp.Connection, ch: amqp.Channel, name: str) -> None:
    ch.callbacks["tag"] = None
    if name in SENDS_FIRST:
        peer.expect(SENDS_FIRST[name], channel={"opening a channel": 2, "Connection.close": 0}.get(name, 1))
    peer.send_bytes(CLOSE)
    peer.expect_bytes(method("connection.close_ok", channel=0))
    peer.expect_end()
    with pytest.raises(amqp.AMQPConnectionException) as caught:
        READERS[name](ch)
    assert caught.value.args == (320, "CONNECTION_FORCED - bye", (0, 0), "")
    assert "320 CONNECTION_FORCED - bye" in str(caught.value)
    assert_over(conn, ch)
    conn.close()
    ch.close()


@pytest.mark.parametrize("name", SENDS_FIRST)
def test_closed_by_the_server_when_a_call_cannot_be_sent(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What it said before it went is why."""

    def send(data: Any) -> int:
        raise amqp.ConnectionLostError(0, "reset", errno=errno.ECONNRESET)

    peer.send_bytes(CLOSE)
    peer.wait()
    peer.drain()
    monkeypatch.setattr(conn.transport, "send", send)
    with pytest.raises(amqp.AMQPConnectionException) as caught:
        READERS[name](ch)
    assert caught.value.args == (320, "CONNECTION_FORCED - bye", (0, 0), "")
    assert_over(conn, ch)
    conn.close()


def test_a_close_that_is_not_answered_gives_the_descriptor_back(peer: Peer, conn: amqp.Connection) -> None:
    assert conn.transport is not None
    sock = conn.transport.sock
    peer.expect("connection.close", channel=0)
    peer.expect_end()
    with pytest.raises(amqp.AMQPTimeoutError):
        conn.close(timeout=0.05)
    assert sock.fileno() == -1


@pytest.mark.parametrize("name", CALLS)
def test_calls_after_a_close_by_the_server_say_why(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, name: str
) -> None:
    peer.send_bytes(CLOSE)
    peer.expect("connection.close_ok", channel=0)
    with pytest.raises(amqp.AMQPConnectionException):
        ch.wait()
    for call in (CALLS[name], lambda _: conn.channel(), lambda _: conn.wait()):
        with pytest.raises(amqp.AMQPConnectionException, match="320 CONNECTION_FORCED"):
            call(ch)


@pytest.mark.parametrize("name", CALLS)
def test_calls_after_our_own_close(peer: Peer, conn: amqp.Connection, ch: amqp.Channel, name: str) -> None:
    peer.part()
    conn.close()
    assert_over(conn, ch)
    for call in (CALLS[name], lambda _: conn.channel(), lambda _: conn.channel(1), lambda _: conn.wait()):
        with pytest.raises(amqp.ConnectionLostError, match="closed by this program"):
            call(ch)


def test_closing_twice(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    peer.part()
    for _ in range(3):
        conn.close()
        ch.close()


def test_what_close_sends(peer: Peer, conn: amqp.Connection) -> None:
    peer.expect_bytes(frame(1, 0, octets("000A 003C 00C8 03 'bye' 003C 0050")))
    peer.send("connection.close_ok", channel=0)
    peer.expect_end()
    conn.close(200, "bye", (60, 80))


def test_what_close_sends_by_name(peer: Peer, conn: amqp.Connection) -> None:
    peer.expect_bytes(frame(1, 0, octets("000A 003C 0140 00 0000 0000")))
    peer.send("connection.close_ok", channel=0)
    peer.expect_end()
    conn.close(reply_code=320)


def test_a_close_that_cannot_be_sent_changes_nothing(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    with pytest.raises(ValueError, match="reply_text"):
        conn.close(reply_text="x" * 256)
    peer.answer("tx.select", "tx.select_ok")
    ch.tx_select()


def test_deliveries_before_the_close_ok_are_passed_over(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    peer.expect("connection.close", channel=0)
    peer.send_content("basic.deliver", "tag", 1, False, "", "q", message=({}, b"late"))
    peer.send("connection.close_ok", channel=0)
    conn.close()


def test_deliveries_before_the_servers_close_are_handled_first(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel
) -> None:
    got: List[amqp.Message] = []
    peer.answer("basic.consume", "basic.consume_ok", "tag")
    ch.basic_consume("q", callback=got.append)
    peer.send_bytes(content("basic.deliver", "tag", 1, False, "", "q", message=({}, b"x")) + CLOSE)
    peer.expect("connection.close_ok", channel=0)
    ch.wait()
    with pytest.raises(amqp.AMQPConnectionException, match="320"):
        ch.wait()
    assert [msg.body for msg in got] == [b"x"]


def test_a_reply_before_the_servers_close_counts(peer: Peer, ch: amqp.Channel) -> None:
    """The close that came with it is found by the next call, though that one only publishes."""
    peer.expect("queue.purge")
    peer.send_bytes(method("queue.purge_ok", 3) + CLOSE)
    assert ch.queue_purge("q") == 3
    peer.expect("connection.close_ok", channel=0)
    peer.expect_end()
    with pytest.raises(amqp.AMQPConnectionException, match="320"):
        ch.basic_publish(amqp.Message(b"x"))


def test_both_sides_close_at_once(peer: Peer, conn: amqp.Connection) -> None:
    peer.expect("connection.close", channel=0)
    peer.send_bytes(CLOSE + method("connection.close_ok", channel=0))
    peer.expect("connection.close_ok", channel=0)
    with pytest.raises(amqp.AMQPConnectionException, match="320"):
        conn.close()
    assert conn.transport is None


def test_the_server_closes_and_is_gone(peer: Peer, ch: amqp.Channel) -> None:
    """Its words are reported, and not that nobody was there to hear the answer."""
    peer.expect("tx.select")
    peer.send_bytes(CLOSE)
    peer.close()
    with pytest.raises(amqp.AMQPConnectionException) as caught:
        ch.tx_select()
    assert caught.value.amqp_reply_code == 320


# --- lost --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["close", "reset"])
@pytest.mark.parametrize("name", READERS)
def test_lost(peer: Peer, conn: amqp.Connection, ch: amqp.Channel, name: str, ending: str) -> None:
    if name in SENDS_FIRST:
        peer.expect(SENDS_FIRST[name], channel={"opening a channel": 2, "Connection.close": 0}.get(name, 1))
    getattr(peer, ending)()
    with pytest.raises(amqp.ConnectionLostError) as caught:
        READERS[name](ch)
    assert caught.value.errno == errno.ECONNRESET
    assert "127.0.0.1:%d" % peer.port in str(caught.value)
    assert_over(conn, ch)


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_lost_within_a_frame(peer: Peer, conn: amqp.Connection, ch: amqp.Channel, ending: str) -> None:
    data = content("basic.deliver", "tag", 1, False, "", "q", message=({}, b"body"))
    peer.send_bytes(data[:-3])
    getattr(peer, ending)()
    with pytest.raises(amqp.ConnectionLostError):
        ch.wait()
    assert_over(conn, ch)


def publish_without_end(ch: amqp.Channel) -> None:
    for _ in range(1000):
        ch.basic_publish(amqp.Message(b"x" * 10000))


def test_lost_while_publishing(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    peer.reset()
    peer.wait()
    with pytest.raises(amqp.ConnectionLostError) as caught:
        publish_without_end(ch)
    assert caught.value.errno in (errno.ECONNRESET, errno.EPIPE)
    assert_over(conn, ch)
    with pytest.raises(amqp.ConnectionLostError):
        ch.basic_publish(amqp.Message(b"x"))


def test_a_program_that_closes_the_socket_itself(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    assert conn.transport is not None
    conn.transport.sock.close()
    with pytest.raises(OSError, match=r"127\.0\.0\.1") as caught:
        ch.wait()
    assert isinstance(caught.value, amqp.AMQPConnectionException)
    assert_over(conn, ch)


# --- a server that breaks the protocol ---------------------------------------------------------------------

BREACHES = {
    "rubbish": (b"rubbish!", 501),
    "an unknown method": (frame(1, 1, octets("00FF 0001")), 503),
    "a channel nobody opened": (method("tx.select_ok", channel=9), 504),
    "a body without a method": (frame(3, 1, b"x"), 505),
    "arguments cut short": (frame(1, 1, octets("003C 0015 05 'ab'")), 502),
    "a body frame over frame_max": (b"\x03\0\x01\x00\x02\x00\x01" + b"x" * 100, 501),
    "a method frame over header_max": (b"\x01\0\x01\x00\x10\x00\x01" + b"x" * 100, 501),
}


@pytest.mark.parametrize("name", BREACHES)
def test_breach(peer: Peer, conn: amqp.Connection, ch: amqp.Channel, name: str) -> None:
    """The server is told, with AMQP's code for it, and the connection is over."""
    data, code = BREACHES[name]

    peer.send_bytes(data)
    peer.expect("connection.close", channel=0)
    peer.expect_end()
    with pytest.raises(amqp.ConnectionLostError, match="broke the protocol") as caught:
        ch.wait()
    assert caught.value.amqp_reply_code == code
    assert_over(conn, ch)


def test_what_came_before_a_breach_is_handled(peer: Peer, ch: amqp.Channel) -> None:
    peer.expect("queue.purge")
    peer.send_bytes(method("queue.purge_ok", 3) + b"rubbish!")
    assert ch.queue_purge("q") == 3
    peer.expect("connection.close", channel=0)
    with pytest.raises(amqp.ConnectionLostError, match="broke the protocol"):
        ch.wait()


# --- with --------------------------------------------------------------------------------------------------


def test_with(peer: Peer) -> None:
    peer.welcome()
    with amqp.Connection(peer.address) as conn:
        peer.open_channel()
        with conn.channel() as ch:
            peer.answer("channel.close", "channel.close_ok")
        assert not ch.is_open
        peer.part()
    assert_over(conn, ch)


def test_with_something_closed_already(peer: Peer) -> None:
    peer.welcome()
    with amqp.Connection(peer.address) as conn:
        peer.open_channel()
        with conn.channel():
            peer.part()
            conn.close()


def test_an_exception_in_a_with_block_comes_out(peer: Peer) -> None:
    peer.welcome()
    conn = amqp.Connection(peer.address)
    peer.open_channel()
    peer.answer("channel.close", "channel.close_ok")
    peer.part()
    with pytest.raises(KeyError, match="mine"), conn, conn.channel():
        raise KeyError("mine")
    assert_closed(conn)


def test_an_exception_in_a_with_block_is_not_masked(peer: Peer) -> None:
    """Not by what closing then meets, either."""
    peer.welcome()
    conn = amqp.Connection(peer.address)
    peer.open_channel()
    peer.expect("channel.close")
    peer.reset()
    with pytest.raises(KeyError, match="mine"), conn, conn.channel():
        raise KeyError("mine")
    assert_closed(conn)


@pytest.mark.parametrize(("method_id", "name"), [(60, "connection.blocked"), (50, "connection.close")])
def test_a_broken_method_is_named_by_its_ids_on_the_wire(
    newer_peer: Peer, newer_conn: amqp91.Connection, method_id: int, name: str
) -> None:
    """Programs know these methods by other ids, (10, -60) and (10, 60), and the broker does not."""
    seen: List[bytes] = []
    newer_peer.send_bytes(frame(1, 0, bytes((0, 10, 0, method_id))))
    newer_peer.do(lambda: seen.append(newer_peer.frame("connection.close")[2]))
    newer_peer.expect_end()
    with pytest.raises(amqp91.ConnectionLostError, match=name) as caught:
        newer_conn.drain_events(timeout=10)
    assert caught.value.amqp_reply_code == 502
    newer_peer.finish()
    assert seen[0].startswith(bytes((0, 10, 0, 50, 502 >> 8, 502 & 0xFF)))
    assert seen[0].endswith(bytes((0, 10, 0, method_id)))
