"""Programs that use conn.transport.sock: timeouts, select, peeking, options."""

from __future__ import annotations

import select
import socket
import time
from typing import List

import pytest

from amqplib.client.channel import Channel
from amqplib.client.connection import Connection
from amqplib.client.message import Message
from tests.live.conftest import Connect
from tests.live.helpers import PATIENCE, Worker, bodies, eventually, get, publish


def sock_of(conn: Connection) -> socket.socket:
    assert conn.transport
    return conn.transport.sock


def test_a_timeout_while_waiting(conn: Connection, ch: Channel, queue: str) -> None:
    seen: List[Message] = []
    ch.basic_consume(queue, no_ack=True, callback=seen.append)
    for n in range(3):
        sock_of(conn).settimeout(0.1)
        start = time.monotonic()
        with pytest.raises(socket.timeout) as caught:
            ch.wait()
        assert time.monotonic() - start > 0.05
        assert isinstance(caught.value, OSError)
        assert isinstance(caught.value, TimeoutError)
        sock_of(conn).settimeout(PATIENCE)
        publish(ch, queue, str(n))
        ch.wait()
        assert [msg.body for msg in seen] == [str(i) for i in range(n + 1)]
    sock_of(conn).settimeout(None)
    assert bodies(ch, queue) == []


def test_no_byte_is_lost(conn: Connection, connect: Connect, queue: str) -> None:
    """Timeouts that fall anywhere, also between the frames of a message."""
    ch, other = conn.channel(), connect().channel()
    sizes = [0, 10, 200_000, 5, 131_064, 300_001, 1] * 12
    seen: List[object] = []
    ch.basic_consume(queue, no_ack=True, callback=lambda msg: seen.append(msg.body))
    sock_of(conn).settimeout(0.0005)
    timeouts = 0

    def publish_slowly() -> None:
        for size in sizes:
            before = timeouts
            publish(other, queue, b"%d" % (size % 10) * size)
            eventually(lambda before=before: timeouts > before)  # type: ignore[misc]

    with Worker(publish_slowly) as worker:
        deadline = time.monotonic() + PATIENCE
        while len(seen) < len(sizes) or worker.is_alive():
            assert time.monotonic() < deadline
            try:
                ch.wait()
            except socket.timeout:
                timeouts += 1
    assert seen == [b"%d" % (size % 10) * size for size in sizes]
    assert timeouts >= len(sizes)
    sock_of(conn).settimeout(None)


def test_a_timeout_during_a_call_that_is_answered_in_time(conn: Connection, ch: Channel, queue: str) -> None:
    sock_of(conn).settimeout(5)
    publish(ch, queue, "one")
    assert bodies(ch, queue) == ["one"]
    assert sock_of(conn).gettimeout() == 5
    conn.close()


def test_a_timeout_and_a_large_message(conn: Connection, ch: Channel, queue: str) -> None:
    """The system takes it in pieces then; the timeout is for each of them."""
    sock_of(conn).settimeout(5)
    sock_of(conn).setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    body = bytes(range(256)) * 8_000
    publish(ch, queue, body)
    assert get(ch, queue).body == body


def test_select(conn: Connection, connect: Connect, queue: str) -> None:
    """What was read from the socket does not make it readable again: pending() says what is left."""
    ch, other = conn.channel(), connect().channel()
    seen: List[Message] = []
    ch.basic_consume(queue, no_ack=True, callback=seen.append)
    most = 0

    def publish_all() -> None:
        for n in range(50):
            publish(other, queue, *("%d.%d" % (n, i) for i in range(20)))
            time.sleep(0.001)

    with Worker(publish_all):
        deadline = time.monotonic() + PATIENCE
        while len(seen) < 1000:
            assert time.monotonic() < deadline
            readable, _, _ = select.select([sock_of(conn)], [], [], 1)
            if readable:
                ch.wait()
            most = max(most, conn.pending())
            assert conn.pending() == ch.pending()
            while conn.pending():
                ch.wait()
    assert [msg.body for msg in seen] == ["%d.%d" % (n, i) for n in range(50) for i in range(20)]
    assert most > 1, "every read gave one message, so this has tried nothing"


def test_select_with_what_a_call_has_read(conn: Connection, ch: Channel, queue: str) -> None:
    """The loop of docs/overview.txt. What came behind the answer to a call has been read with it."""
    publish(ch, queue, *map(str, range(5)))
    seen: List[Message] = []
    ch.basic_consume(queue, no_ack=True, callback=seen.append)
    eventually(lambda: ch.queue_declare(queue, passive=True) and ch.pending(), "a delivery read by a call")
    while len(seen) < 5:
        if not ch.pending():
            assert select.select([sock_of(conn)], [], [], PATIENCE)[0]
        ch.wait()
    assert [msg.body for msg in seen] == list("01234")


def test_select_times_out_when_all_is_done(conn: Connection, ch: Channel, queue: str) -> None:
    seen: List[Message] = []
    ch.basic_consume(queue, no_ack=True, callback=seen.append)
    publish(ch, queue, "one")
    assert select.select([sock_of(conn)], [], [], PATIENCE)[0]
    ch.wait()
    assert len(seen) == 1
    assert conn.pending() == 0
    assert select.select([sock_of(conn)], [], [], 0.1)[0] == []


def test_pending_counts_all_channels(conn: Connection, queue: str) -> None:
    channels = [conn.channel(), conn.channel()]
    for ch in channels:
        ch.basic_consume(queue, no_ack=True)
    publish(channels[0], queue, *map(str, range(10)))
    deadline = time.monotonic() + PATIENCE
    while conn.pending() < 10:
        assert time.monotonic() < deadline
        conn.channel().close()
    assert [ch.pending() for ch in channels] == [5, 5]
    channels[0].wait()
    assert conn.pending() == 9


def test_peeking(conn: Connection, ch: Channel, queue: str) -> None:
    seen: List[Message] = []
    ch.basic_consume(queue, no_ack=True, callback=seen.append)
    publish(ch, queue, "one")
    assert sock_of(conn).recv(1, socket.MSG_PEEK) == b"\x01"
    ch.wait()
    assert seen[0].body == "one"


def test_options(conn: Connection, ch: Channel) -> None:
    sock = sock_of(conn)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    assert sock.fileno() >= 0
    ch.queue_declare(exclusive=True)
