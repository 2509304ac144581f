"""Proves that a call with a timeout ends in time, whatever the peer does: silent, busy with other things, or deaf."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any, Callable, Iterator, List, Optional

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91
from amqplib.client.connect.address import Address
from amqplib.client.driver import Driver
from amqplib.client.line import Line
from amqplib.client.net.transport import Transport
from amqplib.client.timeouts import Timeouts
from amqplib.protocol.session import Session
from amqplib.protocol.states import OPEN
from amqplib.wire.protocol import Receiver, Sender
from amqplib.wire.spec import AMQP_0_8
from amqplib.wire.tables import utc_time
from tests.waits import waits

from .frozen import AMQP_0_9_1
from .full import await_full, full
from .peer import PATIENCE, Peer, content
from .threads import Threads

SECONDS = 0.2

HEARTBEAT = b"\x08\0\0\0\0\0\0\xce"


@contextlib.contextmanager
def in_time(match: str = ".") -> Iterator[None]:
    """What is done in here raises AMQPTimeoutError, not before its time, and does not mean to wait for longer."""
    with waits(SECONDS * 0.9, SECONDS * 1.01), pytest.raises(amqp.AMQPTimeoutError, match=match) as caught:
        yield
    assert isinstance(caught.value, socket.timeout)
    assert isinstance(caught.value, TimeoutError)


def chatter(peer: Peer, stop: threading.Event, data: bytes) -> None:
    """The peer says something all the time, as fast as it can."""

    def talk() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                peer.says(data)

    peer.do(talk)


def publish_unconfirmed(peer: Peer, ch: amqp91.Channel) -> None:
    """One publish, of which the peer says nothing."""
    peer.answer("confirm.select", "confirm.select_ok")
    ch.confirm_select()
    peer.expect_content("basic.publish", message=({}, b"x"))
    ch.basic_publish(amqp91.Message(b"x"))


DELIVERY = content("basic.deliver", "tag", 1, False, "", "", dialect=AMQP_0_9_1)

WAITS = {
    "wait": lambda conn, ch: ch.wait(timeout=SECONDS, allowed_methods=[(50, 11)]),
    "connection.wait": lambda conn, ch: conn.wait(timeout=SECONDS),
    "wait_for_confirms": lambda conn, ch: ch.wait_for_confirms(SECONDS),
}


@pytest.mark.parametrize("name", WAITS)
@pytest.mark.parametrize("data", [HEARTBEAT, DELIVERY])
def test_other_traffic_does_not_put_it_off(
    newer_peer: Peer, newer_conn: amqp91.Connection, newer: amqp91.Channel, name: str, data: bytes
) -> None:
    publish_unconfirmed(newer_peer, newer)
    stop = threading.Event()
    chatter(newer_peer, stop, data)
    try:
        with in_time():
            WAITS[name](newer_conn, newer)
    finally:
        stop.set()
    assert newer.is_open


def test_drain_events_beside_heartbeats(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    stop = threading.Event()
    chatter(peer, stop, HEARTBEAT)
    try:
        with in_time():
            conn.drain_events(timeout=SECONDS)
    finally:
        stop.set()


def test_followers_keep_their_time(newer_peer: Peer, newer: amqp91.Channel, threads: Threads) -> None:
    """While another thread reads, and tells them again and again that something has come."""
    publish_unconfirmed(newer_peer, newer)
    stop, reading = threading.Event(), threading.Event()
    newer.callbacks["tag"] = lambda msg: reading.set()

    def read() -> None:
        while not stop.is_set():
            with contextlib.suppress(amqp.AMQPTimeoutError):  # the peer may stop first
                newer.wait(timeout=SECONDS)

    threads.start(read)
    chatter(newer_peer, stop, DELIVERY)
    assert reading.wait(PATIENCE)
    try:
        with in_time():
            newer.wait_for_confirms(SECONDS)
    finally:
        stop.set()
    threads.results()


@pytest.mark.parametrize("busy", [False, True])
def test_an_expired_reply_ends_the_channel(newer_peer: Peer, timeouts: List[Timeouts], busy: bool) -> None:
    """And the connection is usable; what was late answers nobody."""
    stop = threading.Event()
    newer_peer.welcome()
    conn = amqp91.Connection(newer_peer.address, heartbeat=0)
    newer_peer.open_channel()
    ch = conn.channel()
    timeouts[-1].reply_timeout = SECONDS
    newer_peer.expect("queue.purge")
    if busy:
        chatter(newer_peer, stop, HEARTBEAT)
    with in_time():
        ch.queue_purge("q")
    stop.set()
    timeouts[-1].reply_timeout = None
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


def test_what_was_not_answered_is_said(peer: Peer, timeouts: List[Timeouts]) -> None:
    peer.welcome()
    peer.open_channel()
    conn = amqp.Connection(peer.address)
    ch = conn.channel()
    timeouts[-1].reply_timeout = SECONDS
    peer.expect("queue.purge")
    peer.expect("channel.close")
    with in_time(r"channel 1 of 127\.0\.0\.1.*no Channel\.queue_purge_ok within 0\.2"):
        ch.queue_purge("q")
    timeouts[-1].reply_timeout = None
    peer.part()
    conn.close()


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
    with pytest.raises(amqp.ConnectionLostError, match=r"taken no data for [0-9.]+ s, after \d+ bytes of a message"):
        ch.basic_publish(amqp.Message(b"x" * 100000000))
    assert conn.transport is None
    with pytest.raises(amqp.ConnectionLostError, match="taken no data"):
        ch.basic_publish(amqp.Message(b"x"))
    deaf.drain()


def test_publishing_to_a_slow_peer(peer: Peer) -> None:
    """A large body takes as long as it takes, while the peer goes on reading."""
    body = b"x" * 3000000
    peer.welcome()
    peer.open_channel()
    conn = amqp.Connection(peer.address, write_timeout=1.0)
    ch = conn.channel()
    assert conn.transport
    conn.transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    def read_slowly() -> None:
        for _ in range(20):
            peer.take(len(body) // 25, "a part of the body")
            time.sleep(0.1)

    peer.do(read_slowly)
    peer.drain()
    begun = time.monotonic()
    ch.basic_publish(amqp.Message(body))
    assert time.monotonic() - begun > 1.0
    with in_time():
        conn.close(timeout=SECONDS)  # nobody answers


@pytest.mark.parametrize(
    "call",
    [
        lambda conn, ch: conn.close(timeout=SECONDS),
        lambda conn, ch: ch.close(timeout=SECONDS),
        lambda conn, ch: ch.queue_purge("q"),
    ],
    ids=["connection.close", "channel.close", "a call"],
)
def test_while_another_thread_cannot_send_on(
    deaf: Peer, threads: Threads, timeouts: List[Timeouts], call: Callable[..., Any]
) -> None:
    """No write_timeout is set, so that one waits for ever; this one does not."""
    conn = amqp.Connection(deaf.address)
    ch = conn.channel()
    timeouts[-1].reply_timeout = SECONDS
    threads.start(fill, ch)
    await_full(conn)
    with in_time():
        call(conn, ch)
    if conn.transport is not None:
        with in_time():
            conn.close(timeout=SECONDS)
    deaf.drain()
    threads.results()


def test_while_another_threads_call_has_no_answer(threads: Threads) -> None:
    """Nothing is sent, so the channel goes on."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(PATIENCE)
        session = Session(Receiver(AMQP_0_8, amqp.Message, utc_time), Sender(AMQP_0_8))
        session.control.happen("opened", session)
        port = session.allot(None, 10)
        assert port is not None
        port.happen("opened", session)
        driver = Driver(session, Transport(ours, Address("127.0.0.1", 5672)), Timeouts(), "here")
        purge = session.sender.method(port.number, AMQP_0_8["queue.purge"], (0, "q", False))
        purge_ok = session.sender.method(port.number, AMQP_0_8["queue.purge_ok"], (4,))
        line = Line(driver, port, lambda: None)

        def call(seconds: Optional[float]) -> Any:
            return line.call("queue.purge", 0, "q", False, timeout=seconds)[1]

        threads.start(call, None)
        assert theirs.recv(100) == purge
        with in_time("queue.purge: another thread's call had no answer within 0.2"):
            call(SECONDS)
        assert (port.state, port.ending) == (OPEN, None)
        theirs.sendall(purge_ok)
        assert threads.results() == [(4,)]
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(100)


def test_a_close_that_could_not_be_sent_goes_before_the_next_write(
    peer: Peer, threads: Threads, timeouts: List[Timeouts]
) -> None:
    """It must not be waited for, and must not be forgotten either."""
    peer.welcome()
    conn = amqp.Connection(peer.address)
    peer.open_channel()
    ch = conn.channel()
    peer.open_channel(2)
    other = conn.channel()
    called = threading.Event()
    peer.expect("queue.purge")
    peer.do(called.set)
    timeouts[-1].reply_timeout = 5 * SECONDS
    threads.start(ch.queue_purge, "q")
    assert called.wait(PATIENCE)
    with full(peer, conn):
        (outcome,) = threads.outcomes()
    timeouts[-1].reply_timeout = None
    assert isinstance(outcome, amqp.AMQPTimeoutError), outcome
    assert not ch.is_open
    peer.expect("channel.close", 0, "AMQPTimeoutError came while Channel.queue_purge_ok was awaited", 0, 0)
    peer.send("channel.close_ok")
    peer.answer("queue.purge", "queue.purge_ok", 5, channel=2)
    assert other.queue_purge("q") == 5
    peer.part()
    conn.close()


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
    conn = amqp.Connection("rabbit.example.org", connect_timeout=4)
    peer.part()
    conn.close()


def test_the_last_address_that_was_tried_is_reported(black_hole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", black_hole))] * 2
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: found)
    with in_time(r"rabbit\.example\.org:5672: no connection within 0\.(2|1\d*) s"):
        amqp.Connection("rabbit.example.org", connect_timeout=SECONDS)


# --- what makes no sense -----------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", ["1", float("nan"), [1]])
def test_no_number(ch: amqp.Channel, timeout: Any) -> None:
    with pytest.raises(ValueError, match="a timeout is a number of seconds, 0 or more, or None"):
        ch.wait(timeout=timeout)


@pytest.mark.parametrize("timeout", [1e9, float("inf"), 3e6])
def test_very_long(peer: Peer, ch: amqp.Channel, timeout: float) -> None:
    ch.callbacks["tag"] = lambda msg: None
    peer.send_content("basic.deliver", "tag", 1, False, "", "")
    ch.wait(timeout=timeout)


def test_what_is_there_already_is_had_without_any_time(peer: Peer, ch: amqp.Channel) -> None:
    timeout = 0
    got: List[int] = []
    ch.callbacks["tag"] = lambda msg: got.append(msg.delivery_tag)
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.wait(timeout=timeout)
    peer.send_content("basic.deliver", "tag", 1, False, "", "")
    peer.send_content("basic.deliver", "tag", 2, False, "", "")
    peer.wait()
    ch.wait(timeout=timeout)
    ch.wait(timeout=timeout)
    assert got == [1, 2]
