"""Proves that a call with a timeout ends in time, whatever the peer does: silent, busy with other things, or deaf.

Upper bounds are generous, because machines are slow at times; what hangs, hangs for PATIENCE.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any, Callable, Iterator, List

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91
from amqplib.client.deadline import Deadline

from .peer import PATIENCE, Peer, content
from .test_threads import Threads

SECONDS = 0.2

HEARTBEAT = b"\x08\0\0\0\0\0\0\xce"


@contextlib.contextmanager
def in_time(match: str = ".") -> Iterator[None]:
    """What is done in here raises AMQPTimeoutError, not before its time and not long after it."""
    begun = time.monotonic()
    with pytest.raises(amqp.AMQPTimeoutError, match=match) as caught:
        yield
    assert SECONDS * 0.9 <= time.monotonic() - begun < PATIENCE
    assert isinstance(caught.value, socket.timeout)
    assert isinstance(caught.value, TimeoutError)


@pytest.fixture
def threads() -> Threads:
    return Threads()


def chatter(peer: Peer, stop: threading.Event, data: bytes) -> None:
    """The peer says something all the time, as fast as it can."""

    def talk() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                peer._connected().sendall(data)

    peer.do(talk)


WAITS = {
    "wait": lambda conn, ch: ch.wait(timeout=SECONDS, allowed_methods=[(50, 11)]),
    "connection.wait": lambda conn, ch: conn.wait(timeout=SECONDS),
    "wait_for_confirms": lambda conn, ch: ch._wait_until(lambda: False, Deadline(SECONDS)),
}


@pytest.mark.parametrize("name", WAITS)
@pytest.mark.parametrize("data", [HEARTBEAT, content("basic.deliver", "tag", 1, False, "", "")])
def test_other_traffic_does_not_put_it_off(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, name: str, data: bytes
) -> None:
    stop = threading.Event()
    chatter(peer, stop, data)
    try:
        with in_time():
            WAITS[name](conn, ch)
    finally:
        stop.set()
    assert ch.is_open


def test_drain_events_beside_heartbeats(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    stop = threading.Event()
    chatter(peer, stop, HEARTBEAT)
    try:
        with in_time():
            conn.drain_events(timeout=SECONDS)
    finally:
        stop.set()


def test_followers_keep_their_time(peer: Peer, ch: amqp.Channel, threads: Threads) -> None:
    """While another thread reads, and tells them again and again that something has come."""
    stop, reading = threading.Event(), threading.Event()
    ch.callbacks["tag"] = lambda msg: reading.set()

    def read() -> None:
        while not stop.is_set():
            with contextlib.suppress(amqp.AMQPTimeoutError):  # the peer may stop first
                ch.wait(timeout=SECONDS)

    threads.start(read)
    chatter(peer, stop, content("basic.deliver", "tag", 1, False, "", ""))
    assert reading.wait(PATIENCE)
    try:
        with in_time():
            ch._wait_until(lambda: False, Deadline(SECONDS))
    finally:
        stop.set()
    threads.results()


@pytest.mark.parametrize("busy", [False, True])
def test_an_expired_reply_ends_the_channel(newer_peer: Peer, busy: bool) -> None:
    """And the connection is usable; what was late answers nobody."""
    stop = threading.Event()
    newer_peer.welcome()
    conn = amqp91.Connection(newer_peer.address, heartbeat=0, reply_timeout=SECONDS)
    newer_peer.open_channel()
    ch = conn.channel()
    newer_peer.expect("queue.purge")
    if busy:
        chatter(newer_peer, stop, HEARTBEAT)
    with in_time():
        ch.queue_purge("q")
    stop.set()
    assert not ch.is_open
    newer_peer.expect("channel.close")
    newer_peer.send("queue.purge_ok", 99)
    newer_peer.send("channel.close_ok")
    newer_peer.open_channel(2)
    other = conn.channel()
    newer_peer.answer("queue.purge", "queue.purge_ok", 3, channel=2)
    assert other.queue_purge("q") == 3
    newer_peer.part()
    conn.close()


def test_what_was_not_answered_is_said(peer: Peer, ch: amqp.Channel) -> None:
    peer.expect("queue.purge")
    peer.expect("channel.close")
    with in_time(r"channel 1 of 127\.0\.0\.1.*no Channel\.queue_purge_ok within 0\.2"):
        ch._call("queue.purge", 0, "q", False, timeout=SECONDS)


# --- closing -----------------------------------------------------------------------------------------------


def test_closing_a_channel(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    peer.expect("channel.close")
    with in_time():
        ch.close(timeout=SECONDS)
    assert not ch.is_open
    peer.open_channel(2)
    assert conn.channel().channel_id == 2


def test_closing_the_connection(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    peer.expect("connection.close", channel=0)
    peer.expect_end()
    with in_time():
        conn.close(timeout=SECONDS)
    assert (conn.transport, ch.is_open) == (None, False)


@pytest.fixture
def deaf() -> Iterator[Peer]:
    """A peer that reads no more after opening a channel, until it is told to."""
    with Peer() as scripted:
        scripted.welcome()
        scripted.open_channel()
        yield scripted


def fill(ch: amqp.Channel) -> None:
    """Publish until the system takes no more; the peer reads nothing."""
    with contextlib.suppress(amqp.AMQPException, amqp.AMQPTimeoutError):
        while True:
            ch.basic_publish(amqp.Message(b"x" * 10000000))


def test_publishing_to_a_deaf_peer(deaf: Peer) -> None:
    """Part of a message is out, so nothing can follow it: the connection is over, and says why."""
    conn = amqp.Connection(deaf.address, write_timeout=SECONDS)
    ch = conn.channel()
    begun = time.monotonic()
    with pytest.raises(amqp.ConnectionLostError, match=r"taken no data for 0\.2.* after \d+ bytes of a message"):
        ch.basic_publish(amqp.Message(b"x" * 100000000))
    assert time.monotonic() - begun < PATIENCE
    assert conn.transport is None
    with pytest.raises(amqp.ConnectionLostError, match="taken no data"):
        ch.basic_publish(amqp.Message(b"x"))
    deaf.drain()


def test_publishing_to_a_slow_peer(peer: Peer) -> None:
    """A large body takes as long as it takes, while the peer goes on reading."""
    body = b"x" * 3000000
    peer.welcome()
    peer.open_channel()
    conn = amqp.Connection(peer.address, write_timeout=2 * SECONDS)
    ch = conn.channel()
    assert conn.transport
    conn.transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    def read_slowly() -> None:
        for _ in range(20):
            peer._take(len(body) // 25, "a part of the body")
            time.sleep(SECONDS / 2)

    peer.do(read_slowly)
    peer.drain()
    begun = time.monotonic()
    ch.basic_publish(amqp.Message(body))
    assert time.monotonic() - begun > 3 * SECONDS
    with in_time():
        conn.close(timeout=SECONDS)  # nobody answers


@pytest.mark.parametrize(
    "call",
    [
        lambda conn, ch: conn.close(timeout=SECONDS),
        lambda conn, ch: ch.close(timeout=SECONDS),
        lambda conn, ch: ch._call("queue.purge", 0, "q", False, timeout=SECONDS),
    ],
    ids=["connection.close", "channel.close", "a call"],
)
def test_while_another_thread_cannot_send_on(deaf: Peer, threads: Threads, call: Callable[..., Any]) -> None:
    """No write_timeout is set, so that one waits for ever; this one does not."""
    conn = amqp.Connection(deaf.address)
    ch = conn.channel()
    threads.start(fill, ch)
    while conn._link._stall is None:
        time.sleep(0.01)
    with in_time():
        call(conn, ch)
    if conn.transport is not None:
        with in_time():
            conn.close(timeout=SECONDS)
    deaf.drain()
    threads.results()


def test_while_another_threads_call_has_no_answer(peer: Peer, ch: amqp.Channel, threads: Threads) -> None:
    called = threading.Event()
    peer.expect("queue.purge")
    peer.do(called.set)
    threads.start(ch.queue_purge, "q")
    assert called.wait(PATIENCE)
    with in_time():
        ch._call("queue.purge", 0, "q", False, timeout=SECONDS)
    assert ch.is_open  # nothing was sent
    peer.send("queue.purge_ok", 4)
    assert threads.results() == [4]


def test_a_close_that_could_not_be_sent_goes_before_the_next_write(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, threads: Threads
) -> None:
    """It must not be waited for, and must not be forgotten either."""
    peer.open_channel(2)
    other = conn.channel()
    with conn._link._writing:  # as if this thread were in the middle of sending
        threads.start(ch._abandon, "a test")
        threads.results()
    assert not ch.is_open
    peer.expect("channel.close", 0, "a test", 0, 0)
    peer.send("channel.close_ok")
    peer.answer("queue.purge", "queue.purge_ok", 5, channel=2)
    assert other.queue_purge("q") == 5


# --- connecting --------------------------------------------------------------------------------------------


@pytest.fixture
def slow_lookup(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Names are not looked up until the test is over."""
    over = threading.Event()

    def getaddrinfo(*args: Any) -> List[Any]:
        assert over.wait(2 * PATIENCE)
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield
    over.set()
    for thread in threading.enumerate():
        if thread.name == "amqplib-lookup":
            thread.join(PATIENCE)


def test_looking_up_a_name(slow_lookup: None) -> None:
    with in_time():
        amqp.Connection("rabbit.example.org", connect_timeout=SECONDS)


@pytest.mark.parametrize("timeout", [None, PATIENCE])
def test_a_name_that_is_none(monkeypatch: pytest.MonkeyPatch, timeout: Any) -> None:
    def getaddrinfo(*args: Any) -> List[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(amqp.ConnectionLostError, match=r"'rabbit\.example\.org' could not be resolved") as caught:
        amqp.Connection("rabbit.example.org", connect_timeout=timeout)
    assert caught.value.errno == socket.EAI_NONAME


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port where nobody accepts, and whose queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_one_address_does_not_use_up_the_time_of_the_others(
    peer: Peer, black_hole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in (black_hole, peer.port)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: found)
    peer.welcome()
    conn = amqp.Connection("rabbit.example.org", connect_timeout=2)
    peer.part()
    conn.close()


def test_the_last_address_that_was_tried_is_reported(black_hole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", black_hole))] * 2
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: found)
    with in_time(r"rabbit\.example\.org:5672: no connection within 0\.2 s"):
        amqp.Connection("rabbit.example.org", connect_timeout=SECONDS)


# --- what makes no sense -----------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", ["1", float("nan"), [1]])
def test_no_number(ch: amqp.Channel, timeout: Any) -> None:
    with pytest.raises(ValueError, match="a timeout is a number of seconds or None"):
        ch.wait(timeout=timeout)


@pytest.mark.parametrize("timeout", [1e9, float("inf"), 3e6])
def test_very_long(peer: Peer, ch: amqp.Channel, timeout: float) -> None:
    ch.callbacks["tag"] = lambda msg: None
    peer.send_content("basic.deliver", "tag", 1, False, "", "")
    ch.wait(timeout=timeout)


@pytest.mark.parametrize("timeout", [0, -1])
def test_what_is_there_already_is_had_without_any_time(peer: Peer, ch: amqp.Channel, timeout: float) -> None:
    got: List[int] = []
    ch.callbacks["tag"] = lambda msg: got.append(msg.delivery_tag)
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.wait(timeout=timeout)
    peer.send_content("basic.deliver", "tag", 1, False, "", "")
    peer.send_content("basic.deliver", "tag", 2, False, "", "")
    peer.wait()
    time.sleep(0.05)
    ch.wait(timeout=timeout)
    ch.wait(timeout=timeout)
    assert got == [1, 2]
