"""Proves what a program gets that sets a timeout on the socket, or selects on it: an exception, and no byte lost."""

from __future__ import annotations

import select
import socket
import time
from typing import Any, Callable, Dict, List

import pytest

import amqplib.client_0_8 as amqp
from amqplib.client import driver

from .peer import PATIENCE, Content, Peer, content, method

SHORT = 0.005

HEADERS = {"content_type": "text/plain", "application_headers": {"foo": 7}}


def delivery(number: int, message: Content = (HEADERS, b"some body")) -> bytes:
    return content("basic.deliver", "tag", number, False, "x", "key", message=message)


def sock_of(conn: amqp.Connection) -> socket.socket:
    assert conn.transport is not None
    return conn.transport.sock


def consume(ch: amqp.Channel) -> List[amqp.Message]:
    got: List[amqp.Message] = []
    ch.callbacks["tag"] = got.append
    return got


def assert_usable(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    sock_of(conn).settimeout(PATIENCE)
    peer.answer("queue.purge", "queue.purge_ok", 3)
    assert ch.queue_purge("q") == 3


def test_wait_times_out(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    sock_of(conn).settimeout(0.05)
    begin = time.monotonic()
    for kind in (socket.timeout, amqp.AMQPTimeoutError, TimeoutError, OSError):
        with pytest.raises(kind):
            ch.wait()
    assert time.monotonic() - begin > 0.15
    assert_usable(peer, conn, ch)
    sock_of(conn).settimeout(SHORT)
    with pytest.raises(amqp.AMQPTimeoutError, match=r"127\.0\.0\.1"):
        ch.wait()


def test_a_timeout_that_is_longer_than_a_look(
    conn: amqp.Connection, ch: amqp.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits looks again from time to time; that nothing came by then is not the end of the timeout."""
    monkeypatch.setattr(driver, "LOOK_AGAIN", 0.01)
    sock_of(conn).settimeout(0.2)
    begin = time.monotonic()
    with pytest.raises(socket.timeout):
        ch.wait()
    assert time.monotonic() - begin >= 0.2
    sock_of(conn).settimeout(PATIENCE)


@pytest.mark.parametrize("timeout", [0.0, SHORT])
def test_nothing_to_read(peer: Peer, conn: amqp.Connection, ch: amqp.Channel, timeout: float) -> None:
    sock_of(conn).settimeout(timeout)
    with pytest.raises(socket.timeout):
        ch.wait()
    with pytest.raises(socket.timeout):
        conn.wait()
    assert_usable(peer, conn, ch)


def test_a_timeout_at_every_byte(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """wait() gives up after each byte of a message; the message is there with the last one."""
    got = consume(ch)
    sock_of(conn).settimeout(SHORT)
    data = delivery(1)
    for i in range(len(data) - 1):
        peer.send_bytes(data[i : i + 1])
        with pytest.raises(socket.timeout):
            ch.wait()
        assert got == []
    peer.send_bytes(data[-1:] + delivery(2))
    sock_of(conn).settimeout(PATIENCE)
    ch.wait()
    ch.wait()
    assert [(msg.delivery_tag, msg.body, msg.properties) for msg in got] == [
        (1, b"some body", HEADERS),
        (2, b"some body", HEADERS),
    ]
    assert_usable(peer, conn, ch)


def test_a_timeout_at_any_one_byte(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """A message in two parts, cut at every place in turn."""
    got = consume(ch)
    size = len(delivery(1))
    for cut in range(1, size):
        data = delivery(cut)
        peer.send_bytes(data[:cut])
        sock_of(conn).settimeout(SHORT)
        with pytest.raises(socket.timeout):
            ch.wait()
        peer.send_bytes(data[cut:])
        sock_of(conn).settimeout(PATIENCE)
        ch.wait()
    assert [msg.delivery_tag for msg in got] == list(range(1, size))
    assert {msg.body for msg in got} == {b"some body"}


def test_other_calls_between_the_parts(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """Half a message for one channel, and a program that goes on with another channel."""
    got = consume(ch)
    peer.open_channel(2)
    other = conn.channel()
    sock_of(conn).settimeout(SHORT)
    data = delivery(1)
    cut = data.index(b"\xce") + 1  # behind the method; its header and body are to come
    peer.send_bytes(data[:cut])
    with pytest.raises(socket.timeout):
        ch.wait()
    sock_of(conn).settimeout(PATIENCE)
    peer.answer("tx.select", "tx.select_ok", channel=2)
    other.tx_select()
    peer.expect("basic.ack", 1, False, channel=2)
    other.basic_ack(1)
    peer.send_bytes(data[cut:])
    ch.wait()
    assert [msg.body for msg in got] == [b"some body"]


# --- calls that are not answered in time -------------------------------------------------------------------

SILENT: Dict[str, Callable[[amqp.Channel], Any]] = {
    "queue.declare": lambda ch: ch.queue_declare("q"),
    "queue.purge": lambda ch: ch.queue_purge("q"),
    "basic.get": lambda ch: ch.basic_get("q"),
    "basic.consume": lambda ch: ch.basic_consume("q", "tag", callback=print),
    "basic.cancel": lambda ch: ch.basic_cancel("tag"),
    "tx.commit": lambda ch: ch.tx_commit(),
}


@pytest.mark.parametrize("request_name", SILENT)
def test_a_call_times_out(peer: Peer, conn: amqp.Connection, ch: amqp.Channel, request_name: str) -> None:
    """The channel is closed, since the reply may still come; the connection and its other channels go on."""
    peer.open_channel(2)
    other = conn.channel()
    sock_of(conn).settimeout(0.05)
    peer.expect(request_name)
    peer.expect("channel.close")
    with pytest.raises(socket.timeout):
        SILENT[request_name](ch)
    assert (ch.is_open, ch.connection, ch.callbacks) == (False, None, {})
    with pytest.raises(amqp.ChannelClosedError, match="channel 1 is closed"):
        ch.queue_declare("q")

    sock_of(conn).settimeout(PATIENCE)
    peer.expect("queue.purge", channel=2)
    late = method("queue.declare_ok", "late", 1, 1) + content("basic.get_ok", 1, False, "", "", 0, message=({}, b"x"))
    late += method("queue.purge_ok", 99) + delivery(1)
    peer.send_bytes(late + method("channel.close_ok") + method("queue.purge_ok", 3, channel=2))
    assert other.queue_purge("q") == 3

    peer.open_channel(1)
    again = conn.channel()
    assert again.channel_id == 1
    peer.answer("queue.purge", "queue.purge_ok", 4)
    assert again.queue_purge("q") == 4
    assert again.pending() == 0


def test_the_number_is_kept_until_the_close_is_answered(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    sock_of(conn).settimeout(0.05)
    peer.expect("tx.commit")
    peer.expect("channel.close")
    with pytest.raises(socket.timeout):
        ch.tx_commit()
    sock_of(conn).settimeout(PATIENCE)
    peer.open_channel(2)
    assert conn.channel().channel_id == 2
    with pytest.raises(ValueError, match=r"channel 1 of .* is in use"):
        conn.channel(1)


def test_closing_a_channel_times_out(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """It was said once and is not said again: a second close would be for a channel that is none."""
    sock_of(conn).settimeout(0.05)
    peer.expect("channel.close")
    with pytest.raises(socket.timeout):
        ch.close()
    assert not ch.is_open
    sock_of(conn).settimeout(PATIENCE)
    peer.send("channel.close_ok")
    peer.open_channel(2)
    second = conn.channel()
    assert second.channel_id == 2
    peer.open_channel(1)
    assert conn.channel().channel_id == 1


def test_opening_a_channel_times_out(peer: Peer, conn: amqp.Connection) -> None:
    """A channel that opens later all the same is closed and never mixed up with another."""
    sock_of(conn).settimeout(0.05)
    peer.expect("channel.open")
    peer.expect("channel.close")
    with pytest.raises(socket.timeout):
        conn.channel()
    sock_of(conn).settimeout(PATIENCE)
    peer.send("channel.open_ok")
    peer.send("channel.close_ok")
    peer.open_channel(2)
    assert conn.channel().channel_id == 2
    peer.open_channel(1)
    assert conn.channel().channel_id == 1


def test_closing_the_connection_times_out(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    sock_of(conn).settimeout(0.05)
    peer.expect("connection.close", channel=0)
    peer.expect_end()
    with pytest.raises(socket.timeout):
        conn.close()
    assert (conn.transport, conn.channels, ch.is_open) == (None, None, False)


def publish_without_end(ch: amqp.Channel) -> None:
    for _ in range(100):
        ch.basic_publish(amqp.Message(b"x" * 1000000))


def test_a_peer_that_takes_nothing(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """Once half a message is out nothing can follow it: the connection is over, and says so."""
    sock_of(conn).settimeout(0.1)
    with pytest.raises(OSError, match=r"127\.0\.0\.1") as caught:
        publish_without_end(ch)
    if isinstance(caught.value, amqp.ConnectionLostError):
        assert (conn.transport, ch.is_open) == (None, False)
        with pytest.raises(amqp.ConnectionLostError, match="stopped taking data"):
            ch.basic_publish(amqp.Message(b"x"))
    else:
        assert isinstance(caught.value, amqp.AMQPTimeoutError)  # between two messages, by chance
        conn.transport.sock.close()  # type: ignore[union-attr]
        with pytest.raises(amqp.ConnectionLostError):
            ch.wait()
    peer.drain()


# --- select() ----------------------------------------------------------------------------------------------


def test_select_and_pending(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """Read until pending() is 0: what has been read does not make the socket readable again."""
    got = consume(ch)
    assert (ch.pending(), conn.pending()) == (0, 0)
    assert select.select([sock_of(conn)], [], [], 0)[0] == []
    peer.send_bytes(b"".join(delivery(number) for number in range(1, 6)))
    while len(got) < 5:
        assert select.select([sock_of(conn)], [], [], PATIENCE)[0], "nothing more came"
        ch.wait()
        while ch.pending():
            assert conn.pending() == ch.pending()
            ch.wait()
    assert [msg.delivery_tag for msg in got] == [1, 2, 3, 4, 5]
    assert select.select([sock_of(conn)], [], [], 0)[0] == []


def test_pending_on_several_channels(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    peer.open_channel(2)
    other = conn.channel()
    peer.expect("tx.select", channel=2)
    theirs = content("basic.deliver", "tag", 1, False, "", "", channel=2)
    peer.send_bytes(delivery(1) + delivery(2) + theirs + method("tx.select_ok", channel=2))
    other.tx_select()
    assert (ch.pending(), other.pending(), conn.pending()) == (2, 1, 3)
    ch.wait()
    assert (ch.pending(), other.pending(), conn.pending()) == (1, 1, 2)


def test_what_programs_do_with_the_socket(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    sock = sock_of(conn)
    assert isinstance(sock, socket.socket)
    assert conn.transport
    assert (conn.transport.sslobj or conn.transport.sock) is sock
    assert sock.fileno() >= 0
    assert sock.gettimeout() is None
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    got = consume(ch)
    peer.send_bytes(delivery(1))
    assert sock.recv(1, socket.MSG_PEEK) == b"\x01"
    ch.wait()
    assert len(got) == 1
    sock.settimeout(PATIENCE)
    assert sock.gettimeout() == PATIENCE
    assert_usable(peer, conn, ch)


def test_every_write_has_left_when_the_call_returns(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """Programs publish or acknowledge, and are killed then."""
    ch.basic_publish(amqp.Message(b"last words"))
    ch.basic_ack(7)
    sock_of(conn).close()  # as the system does, with nothing flushed
    peer.expect_content("basic.publish", 0, "", "", False, False, message=({}, b"last words"))
    peer.expect("basic.ack", 7, False)
    peer.expect_end()
    peer.wait()
    with pytest.raises(OSError, match=r"127\.0\.0\.1"):
        conn.close()
