"""Proves that a deadline holds while the peer takes nothing and another thread is in the way; that neither a heartbeat
nor a word of farewell blocks then; and that the socket is let go of in time."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any, Callable, Dict, Iterator, List

import pytest

import amqplib.client_0_9_1 as amqp
from tests.rest import await_rest
from tests.waits import waits

from .full import await_full, full
from .peer import PATIENCE, Peer
from .test_confirmed_publishing import expect_publish, select
from .threads import Threads

SECONDS = 0.2

#: More than any system takes without somebody who reads.
LARGE = b"x" * 20_000_000


@contextlib.contextmanager
def in_time(*kinds: Any) -> Iterator[None]:
    """What is done in here raises one of these, not before its time, and does not mean to wait for longer."""
    with waits(SECONDS * 0.9, SECONDS * 1.01), pytest.raises(kinds or amqp.AMQPTimeoutError):
        yield


def publish(ch: amqp.Channel, body: bytes) -> None:
    ch.basic_publish(amqp.Message(body), routing_key="q")


CALLS: Dict[str, Callable[[amqp.Connection, amqp.Channel], Any]] = {
    "basic_publish_confirm": lambda conn, ch: ch.basic_publish_confirm(amqp.Message(b"y"), timeout=SECONDS),
    "close": lambda conn, ch: ch.close(timeout=SECONDS),
    "close of the connection": lambda conn, ch: conn.close(timeout=SECONDS),
    "wait": lambda conn, ch: ch.wait(timeout=SECONDS),
    "wait_for_confirms": lambda conn, ch: ch.wait_for_confirms(timeout=SECONDS),
    "drain_events": lambda conn, ch: conn.drain_events(timeout=SECONDS),
}


@pytest.mark.parametrize("same", [True, False], ids=["same channel", "another channel"])
@pytest.mark.parametrize("name", CALLS)
def test_behind_another_threads_publish(
    newer_peer: Peer, newer_conn: amqp.Connection, newer: amqp.Channel, threads: Threads, name: str, same: bool
) -> None:
    """That cannot go on, as nobody reads it."""
    newer_peer.open_channel(2)
    other = newer_conn.channel()
    select(newer_peer, newer)
    expect_publish(newer_peer, "q", b"1")
    publish(newer, b"1")
    newer_peer.wait()
    threads.start(publish, newer if same else other, LARGE)
    await_full(newer_conn)
    with in_time():
        CALLS[name](newer_conn, newer)
    newer_peer.reset()
    (outcome,) = threads.outcomes()
    assert isinstance(outcome, (amqp.ConnectionLostError, amqp.ChannelClosedError)), outcome


@pytest.mark.parametrize("batch", [True, False])
def test_a_large_body_that_nobody_reads(
    newer_peer: Peer, newer_conn: amqp.Connection, newer: amqp.Channel, batch: bool
) -> None:
    """A part of it went, so the connection is over. Inside batch() its own deadline holds as well."""
    select(newer_peer, newer)
    newer_peer.wait()
    with in_time(amqp.AMQPException, OSError), newer.batch() if batch else contextlib.nullcontext():
        newer.basic_publish_confirm(amqp.Message(LARGE), timeout=SECONDS)
    assert newer_conn.transport is None
    newer_peer.drain()


def test_what_is_gathered_behind_another_threads_publish(
    newer_peer: Peer, newer_conn: amqp.Connection, newer: amqp.Channel, threads: Threads
) -> None:
    """A wait sends it first, and its deadline is for that, too."""
    newer_peer.open_channel(2)
    other = newer_conn.channel()
    newer_peer.wait()

    def gather() -> None:
        with newer.batch():
            publish(newer, b"1")
            with in_time():
                newer.wait(timeout=SECONDS)
            newer_peer.reset()

    threads.start(publish, other, LARGE)
    await_full(newer_conn)
    with pytest.raises(amqp.ConnectionLostError):
        gather()
    threads.outcomes()


# --- heartbeats


def test_a_heartbeat_that_cannot_go(newer_peer: Peer, threads: Threads) -> None:
    """It is left out: it does not stand in the way of what the program sends, and it does not read, either."""
    newer_peer.welcome(heartbeat=1)
    newer_peer.open_channel()
    conn = amqp.Connection(newer_peer.address, heartbeat=1)
    ch = conn.channel()
    assert conn.transport
    sock = conn.transport.sock
    with full(newer_peer, conn):
        seen = conn.stats().bytes_in
        newer_peer.send_bytes(b"\x08\0\0\0\0\0\0\xce")
        time.sleep(1.2)  # two of them have been due
        assert conn.stats().bytes_in == seen
        sock.settimeout(SECONDS)

        def in_vain() -> None:
            with in_time():
                publish(ch, b"x")

        threads.start(in_vain)
        threads.results()
        sock.settimeout(None)
        newer_peer.send_bytes(b"\x08\0\0\0\0\0\0\xce")
    newer_peer.expect("connection.close", channel=0)
    newer_peer.send("connection.close_ok", channel=0)
    newer_peer.expect_end()
    conn.close(timeout=PATIENCE)


# --- the end


GARBAGE = b"\x09garbage!"


@pytest.mark.parametrize(
    ("name", "then"),
    [
        *[(name, "takes nothing") for name in ("wait", "drain_events", "queue_purge")],
        *[(name, then) for name in ("wait", "drain_events") for then in ("reset", "close")],
    ],
)
def test_garbage_from_a_peer_that_cannot_be_told(
    newer_peer: Peer, newer_conn: amqp.Connection, newer: amqp.Channel, name: str, then: str
) -> None:
    """For it takes nothing, or has gone. The program is told, all the same, and soon."""
    calls: Dict[str, Callable[[], Any]] = {
        "wait": newer.wait,
        "drain_events": newer_conn.drain_events,
        "queue_purge": lambda: newer.queue_purge("q"),
    }
    with full(newer_peer, newer_conn) if then == "takes nothing" else contextlib.nullcontext():
        newer_peer.send_bytes(GARBAGE)
        if then != "takes nothing":
            getattr(newer_peer, then)()
        newer_peer.wait()
        with waits(0, 5), pytest.raises(amqp.ConnectionLostError, match="the peer broke the protocol"):
            calls[name]()
    if then == "takes nothing":
        newer_peer.expect_end()
    with pytest.raises(amqp.ConnectionLostError, match="the peer broke the protocol"):
        newer.wait()


def closed(sock: socket.socket) -> bool:
    """Is it, when the thread that waits has been woken?"""
    end = time.monotonic() + PATIENCE
    while sock.fileno() != -1 and time.monotonic() < end:
        time.sleep(0.01)
    return sock.fileno() == -1


@pytest.mark.parametrize("answered", [True, False])
def test_the_socket_of_a_connection_that_is_closed_while_a_thread_waits(
    newer_peer: Peer, threads: Threads, woken: None, answered: bool
) -> None:
    """It is closed as well, though the program still has it."""
    socks: List[socket.socket] = []
    for _ in range(3):
        newer_peer.welcome()
        newer_peer.open_channel()
        conn = amqp.Connection(newer_peer.address, heartbeat=0)
        ch = conn.channel()
        transport = conn.transport
        assert transport
        socks.append(transport.sock)
        threads.start(ch.wait)
        await_rest()
        if answered:
            newer_peer.part()
            conn.close()
        else:
            newer_peer.expect("connection.close", channel=0)
            newer_peer.expect_end()
            with in_time():
                conn.close(timeout=SECONDS)
        assert closed(socks[-1])
        assert transport.sock is socks[-1]
    for outcome in threads.outcomes():
        assert isinstance(outcome, amqp.ConnectionLostError), outcome
