"""Proves that heartbeats are sent while the program does something else, and that a silent peer is noticed by all."""

from __future__ import annotations

import errno
import threading
import time
from typing import Any, Iterator, List

import pytest

import amqplib.client_0_9_1 as amqp

from .peer import PATIENCE, Peer
from .test_threads import Threads

HEARTBEAT = b"\x08\0\0\0\0\0\0\xce"
SILENT = r"the peer has been silent for \d+\.\d s, with a heartbeat of 1 s agreed on"


@pytest.fixture
def conn(newer_peer: Peer) -> Iterator[amqp.Connection]:
    newer_peer.welcome(heartbeat=1)
    connection = amqp.Connection(newer_peer.address)
    yield connection
    connection._end("the test is over")


@pytest.fixture
def ch(newer_peer: Peer, conn: amqp.Connection) -> amqp.Channel:
    newer_peer.open_channel()
    channel = conn.channel()
    newer_peer.drain()
    return channel


def noticed(call: Any, match: str = SILENT) -> str:
    """The peer's silence is noticed in 2 heartbeats, and not much more."""
    begun = time.monotonic()
    with pytest.raises(amqp.ConnectionLostError, match=match) as caught:
        call()
    assert time.monotonic() - begun < PATIENCE
    assert caught.value.errno == errno.ETIMEDOUT
    return str(caught.value)


def test_by_a_wait(ch: amqp.Channel) -> None:
    """A program that has waited all the time was not away."""
    said = noticed(ch.wait)
    assert "busy elsewhere" not in said


def test_by_a_call(ch: amqp.Channel) -> None:
    noticed(lambda: ch.queue_purge("q"))


def publish_for_ever(ch: amqp.Channel) -> None:
    while True:
        ch.basic_publish(amqp.Message("x"))
        time.sleep(0.02)


def test_by_a_program_that_only_publishes(ch: amqp.Channel) -> None:
    noticed(lambda: publish_for_ever(ch))


def test_by_a_write_that_cannot_go_on(newer_peer: Peer, conn: amqp.Connection) -> None:
    """The peer neither reads nor says anything."""
    newer_peer.open_channel()
    channel = conn.channel()
    noticed(lambda: channel.basic_publish(amqp.Message(b"x" * 100000000)))
    newer_peer.drain()


def test_by_all_who_wait(conn: amqp.Connection, ch: amqp.Channel) -> None:
    threads = Threads()
    for call in (ch.wait, ch.wait, conn.wait, conn.drain_events):
        threads.start(call)
    for outcome in threads.outcomes():
        assert isinstance(outcome, amqp.ConnectionLostError)
        assert "silent" in str(outcome)


def test_a_program_that_was_away(ch: amqp.Channel) -> None:
    """The error says so, because that may be the reason."""
    time.sleep(2.5)
    said = noticed(ch.wait)
    assert "this program had been busy elsewhere for " in said


def test_a_peer_that_closed_while_the_program_was_away(newer_peer: Peer, conn: amqp.Connection) -> None:
    newer_peer.open_channel()
    channel = conn.channel()
    assert conn._link._beats is not None
    conn._link._beats.stop()  # as if it had not had its turn: a heartbeat would have noticed before
    newer_peer.reset()
    time.sleep(1.5)
    with pytest.raises(amqp.ConnectionLostError, match=r"busy elsewhere for \d+\.\d s, with a heartbeat of 1 s"):
        channel.wait()


def test_they_are_sent_while_the_program_does_something_else(newer_peer: Peer, conn: amqp.Connection) -> None:
    newer_peer.expect_bytes(HEARTBEAT * 3)
    newer_peer.drain()
    time.sleep(2.5)


def test_a_program_that_was_away_finds_what_came_meanwhile(newer_peer: Peer, conn: amqp.Connection) -> None:
    newer_peer.open_channel()
    channel = conn.channel()
    got: List[Any] = []
    channel.callbacks["tag"] = got.append
    newer_peer.send_content("basic.deliver", "tag", 1, False, "", "")
    newer_peer.drain()
    time.sleep(2.5)
    channel.wait(timeout=PATIENCE)
    assert len(got) == 1


def test_none_is_sent_in_the_middle_of_a_message(newer_peer: Peer, conn: amqp.Connection) -> None:
    """The peer takes half of it, then nothing for a while: it goes on where it was."""
    newer_peer.open_channel()
    channel = conn.channel()

    def slowly() -> None:
        for _ in range(15):
            time.sleep(0.1)
            newer_peer._connected().sendall(HEARTBEAT)

    newer_peer.do(slowly)
    newer_peer.drain()
    channel.basic_publish(amqp.Message(b"x" * 8000000))
    conn._end("enough")
    newer_peer.wait()
    data = newer_peer.received[newer_peer._taken :]
    assert data.count(b"x") == 8000000
    offset = 0
    while offset < len(data):  # whole frames from end to end
        offset += int.from_bytes(data[offset + 3 : offset + 7], "big") + 8
        assert data[offset - 1] == 0xCE


def test_a_heartbeat_that_meets_the_close_of_the_server(newer_peer: Peer) -> None:
    """Its thread has nobody to tell, and ends in silence; who waits next hears the server's words."""
    newer_peer.welcome(heartbeat=1)
    conn = amqp.Connection(newer_peer.address)
    newer_peer.send("connection.close", 320, "CONNECTION_FORCED - bye", 0, 0, channel=0)
    newer_peer.reset()
    newer_peer.wait()
    end = time.monotonic() + PATIENCE
    while conn.transport is not None and time.monotonic() < end:
        time.sleep(0.01)
    with pytest.raises(amqp.AMQPConnectionException, match="bye") as caught:
        conn.channel()
    assert caught.value.amqp_reply_code == 320


def test_a_heartbeat_that_meets_a_block(newer_peer: Peer) -> None:
    """Its thread reads what the server has said before the end, and calls no function of the program."""
    newer_peer.welcome(heartbeat=1)
    told: List[str] = []
    conn = amqp.Connection(newer_peer.address, on_blocked=told.append)
    newer_peer.send("connection.blocked", "low on memory", channel=0)
    newer_peer.reset()
    newer_peer.wait()
    end = time.monotonic() + PATIENCE
    while conn.transport is not None and time.monotonic() < end:
        time.sleep(0.01)
    assert conn.blocked == "low on memory"
    assert told == []


def test_no_thread_to_send_them(newer_peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with Python 3.12 when the interpreter is about to exit: none are agreed on, and the name is looked up all
    the same."""

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    newer_peer.greet()
    newer_peer.expect("connection.start_ok", channel=0)
    newer_peer.send("connection.tune", 2047, 131072, 60, channel=0)
    newer_peer.expect("connection.tune_ok", 2047, 131072, 0, channel=0)
    newer_peer.open_host()
    newer_peer.part()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        conn = amqp.Connection("localhost:%d" % newer_peer.port)
    assert conn.heartbeat == 0
    conn.close()
