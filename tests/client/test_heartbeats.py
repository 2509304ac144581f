"""Proves that heartbeats are sent while the program does something else, and that a silent peer is noticed by all."""

from __future__ import annotations

import errno
import gc
import threading
import time
from typing import Any, Collection, Iterator, List, Set

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from amqplib.client import heartbeat
from tests.waits import waits

from .ends import give_up
from .peer import PATIENCE, Peer
from .threads import Threads

HEARTBEAT = b"\x08\0\0\0\0\0\0\xce"
SILENT = r"the peer has been silent for \d+\.\d s, with a heartbeat of 1 s agreed on"


@pytest.fixture
def conn(newer_peer: Peer) -> Iterator[amqp.Connection]:
    newer_peer.welcome(heartbeat=1)
    connection = amqp.Connection(newer_peer.address)
    yield connection
    give_up(connection)


@pytest.fixture
def ch(newer_peer: Peer, conn: amqp.Connection) -> amqp.Channel:
    newer_peer.open_channel()
    channel = conn.channel()
    newer_peer.drain()
    return channel


def noticed(call: Any, match: str = SILENT) -> str:
    """The peer's silence is noticed in 2 heartbeats, and not much more."""
    with waits(0, 3.01), pytest.raises(amqp.ConnectionLostError, match=match) as caught:
        call()
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


def test_a_peer_that_closed_while_the_program_was_away(newer_peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    # as if their thread had not had its turn: a heartbeat would have noticed before
    monkeypatch.setattr(heartbeat, "watch", lambda driver, interval: None)
    newer_peer.welcome(heartbeat=1)
    conn = amqp.Connection(newer_peer.address)
    newer_peer.open_channel()
    channel = conn.channel()
    newer_peer.reset()
    time.sleep(1.5)
    with pytest.raises(amqp.ConnectionLostError, match=r"busy elsewhere for \d+\.\d s, with a heartbeat of 1 s"):
        channel.wait()


def test_they_are_sent_while_the_program_does_something_else(newer_peer: Peer, conn: amqp.Connection) -> None:
    newer_peer.expect_bytes(HEARTBEAT * 3)
    newer_peer.wait()
    newer_peer.drain()


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
    give_up(conn)
    newer_peer.wait()
    data = newer_peer.received[newer_peer.taken :]
    assert data.count(b"x") == 8000000
    offset = 0
    while offset < len(data):  # whole frames from end to end
        offset += int.from_bytes(data[offset + 3 : offset + 7], "big") + 8
        assert data[offset - 1] == 0xCE


def shut(conn: amqp.Connection) -> threading.Event:
    """Is set once the client has ended the network connection."""
    over, transport = threading.Event(), conn.transport
    assert transport is not None
    end = transport.shut

    def shut() -> None:
        end()
        over.set()

    transport.shut = shut  # type: ignore[method-assign]
    return over


def test_a_heartbeat_that_meets_the_close_of_the_server(newer_peer: Peer) -> None:
    """Its thread has nobody to tell, and ends in silence; who waits next hears the server's words."""
    newer_peer.welcome(heartbeat=1)
    conn = amqp.Connection(newer_peer.address)
    over = shut(conn)
    newer_peer.send("connection.close", 320, "CONNECTION_FORCED - bye", 0, 0, channel=0)
    newer_peer.reset()
    assert over.wait(PATIENCE)
    with pytest.raises(amqp.AMQPConnectionException, match="bye") as caught:
        conn.channel()
    assert caught.value.amqp_reply_code == 320


def test_a_heartbeat_that_meets_a_block(newer_peer: Peer) -> None:
    """Its thread reads what the server has said before the end, and calls no function of the program."""
    newer_peer.welcome(heartbeat=1)
    told: List[str] = []
    conn = amqp.Connection(newer_peer.address, on_blocked=told.append)
    over = shut(conn)
    newer_peer.send("connection.blocked", "low on memory", channel=0)
    newer_peer.reset()
    assert over.wait(PATIENCE)
    assert conn.blocked == "low on memory"
    assert told == []


def test_no_thread_to_send_them(newer_peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with Python 3.12 when the interpreter is about to exit: none are agreed on, and the name is looked up all
    the same."""

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    afresh()
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


# --- the one thread ----------------------------------------------------------------------------------------


@pytest.fixture
def box() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


def started_since(before: Collection[threading.Thread]) -> List[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread not in before]


def at_its_end(thread: threading.Thread) -> bool:
    """Does it end, long before a beat of a minute is due?"""
    thread.join(PATIENCE / 3)
    return not thread.is_alive()


def afresh() -> Set[threading.Thread]:
    """As at the start of a process, whatever other tests' connections have left; the threads that there are."""
    heartbeat.forked()
    return set(threading.enumerate())


def await_beats(connections: Collection[amqp.Connection]) -> None:
    """Each of them sends two more."""
    counts = [conn.stats().frames_out for conn in connections]
    end = time.monotonic() + PATIENCE
    while not all(conn.stats().frames_out >= count + 2 for conn, count in zip(connections, counts)):
        assert time.monotonic() < end, "not all of them send heartbeats"
        time.sleep(0.05)


def test_many_connections_have_one_thread(box: Broker) -> None:
    before = afresh()
    connections = [amqp.Connection(box.address, heartbeat=1) for _ in range(50)]
    try:
        (thread,) = started_since(before)
        await_beats(connections)
        assert started_since(before) == [thread]
        for conn in connections[1:]:
            conn.close()
        await_beats(connections[:1])
    finally:
        for conn in connections:
            conn.close()
    assert at_its_end(thread)
    assert started_since(before) == []


@pytest.mark.parametrize("how", ["closed", "dropped", "lost"])
def test_the_thread_ends_with_the_last_connection(box: Broker, how: str) -> None:
    """And there is another one for the next."""
    for _ in range(2):
        before = afresh()
        conn = amqp.Connection(box.address, heartbeat=1)
        (thread,) = started_since(before)
        if how == "closed":
            conn.close()
        elif how == "dropped":
            assert conn.transport is not None
            sock = conn.transport.sock
            del conn
            gc.collect()
            sock.close()
        else:
            box.faults.close_connections()
            with pytest.raises(amqp.AMQPConnectionException):
                conn.wait(timeout=PATIENCE)
        assert at_its_end(thread)


def test_the_thread_ends_while_a_long_beat_is_not_due(box: Broker) -> None:
    """Closing the last connection is enough: it does not stay for the rest of the interval."""
    before = afresh()
    conn = amqp.Connection(box.address, heartbeat=60)
    (thread,) = started_since(before)
    conn.close()
    assert at_its_end(thread)


def test_a_short_beat_does_not_wait_for_a_long_one(box: Broker) -> None:
    afresh()
    with amqp.Connection(box.address, heartbeat=60), amqp.Connection(box.address, heartbeat=1) as conn:
        await_beats([conn])


def test_connections_one_after_another_have_one_thread(box: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays for a while, and ends at once before a fork."""
    monkeypatch.setattr(heartbeat, "STAYS", 10 * PATIENCE)
    before = afresh()
    with amqp.Connection(box.address, heartbeat=60):
        (thread,) = started_since(before)
    for _ in range(20):
        amqp.Connection(box.address, heartbeat=60).close()
        assert started_since(before) == [thread]
    heartbeat.forking()
    assert at_its_end(thread)


@pytest.mark.parametrize("heartbeats", [1, 60])
def test_a_fork_leaves_the_thread_of_open_connections_alone(box: Broker, heartbeats: int) -> None:
    before = afresh()
    with amqp.Connection(box.address, heartbeat=heartbeats), amqp.Connection(box.address, heartbeat=1) as conn:
        (thread,) = started_since(before)
        heartbeat.forking()
        await_beats([conn])
        assert started_since(before) == [thread]
    assert at_its_end(thread)
