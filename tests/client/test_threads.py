"""Proves that one connection serves many threads: frames do not mix, replies find their callers, an end wakes all.

Every thread of a test is waited for, for a limited time.
"""

from __future__ import annotations

import threading
from typing import Any, Callable, Dict, Iterator, List

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91
from tests.rest import await_rest

from .answering import AnsweringPeer
from .peer import PATIENCE, Peer, content, method
from .threads import Threads, waiting

#: For what must not depend on a second look of those who wait.
at_once = pytest.mark.usefixtures("woken")

CLOSE = method("connection.close", 320, "bye", 0, 0, channel=0)


@pytest.fixture
def broker() -> Iterator[AnsweringPeer]:
    with AnsweringPeer() as peer:
        peer.welcome(frame_max=4096)
        peer.answer_all()
        yield peer


@pytest.fixture
def connection(broker: AnsweringPeer) -> Iterator[amqp.Connection]:
    with amqp.Connection(broker.address) as conn:
        yield conn


# --- many threads, much to do ------------------------------------------------------------------------------


def test_threads_on_channels_of_their_own(connection: amqp.Connection, threads: Threads) -> None:
    def work(number: int) -> None:
        with connection.channel() as ch:
            for i in range(40):
                name = "q-%d-%d" % (number, i)
                assert ch.queue_declare(name) == (name, ch.channel_id, len(name))
                msg = ch.basic_get(name)
                assert msg is not None
                assert msg.body == name.encode()
                ch.basic_publish(amqp.Message(b"x"))

    for number in range(8):
        threads.start(work, number)
    threads.results()


def test_threads_on_one_channel(connection: amqp.Connection, threads: Threads) -> None:
    ch = connection.channel()

    def work(number: int) -> None:
        for i in range(40):
            name = "q-%d-%d" % (number, i)
            assert ch.queue_declare(name) == (name, 1, len(name))

    for number in range(8):
        threads.start(work, number)
    threads.results()


@pytest.mark.parametrize("channels", [1, 4])
def test_publishers(connection: amqp.Connection, broker: AnsweringPeer, threads: Threads, channels: int) -> None:
    """Frames of messages never mix; those of one thread keep their order."""
    opened = [connection.channel() for _ in range(channels)]

    def publish(number: int) -> None:
        for i in range(40):
            body = b"%d " % number * 3000  # several frames
            opened[number % channels].basic_publish(amqp.Message(body, message_id="%d/%d" % (number, i)))

    for number in range(4):
        threads.start(publish, number)
    threads.results()
    opened[0].tx_select()  # answered when all before it has been read
    seen: Dict[str, List[int]] = {}
    for messages in broker.published.values():
        for message_id, body in messages:
            number, i = message_id.split("/")
            assert body == b"%s " % number.encode() * 3000
            seen.setdefault(number, []).append(int(i))
    assert seen == {str(number): list(range(40)) for number in range(4)}


def test_channels_are_opened_by_many_threads(connection: amqp.Connection, threads: Threads) -> None:
    for _ in range(8):
        threads.start(lambda: [connection.channel().channel_id for _ in range(10)])
    numbers = sorted(number for found in threads.results() for number in found)
    assert numbers == list(range(1, 81))


# --- one waits, one calls ----------------------------------------------------------------------------------


@pytest.mark.parametrize("same", [True, False])
def test_one_thread_waits_while_another_calls(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, threads: Threads, same: bool
) -> None:
    """On the same channel, and on another."""
    got: List[int] = []
    ch.callbacks["tag"] = lambda msg: got.append(msg.delivery_tag)
    number = 1
    caller = ch
    if not same:
        number = 2
        peer.open_channel(2)
        caller = conn.channel()

    def wait_for_all() -> None:
        while len(got) < 30:
            ch.wait()

    with waiting(threads, wait_for_all):
        for i in range(30):
            peer.expect("queue.purge", channel=number)
            delivery = content("basic.deliver", "tag", i, False, "", "")
            peer.send_bytes(delivery + method("queue.purge_ok", i, channel=number))
            assert caller.queue_purge("q") == i
    threads.results()
    assert got == list(range(30))


def test_two_threads_wait_on_two_channels(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, threads: Threads
) -> None:
    peer.open_channel(2)
    got: Dict[int, List[int]] = {1: [], 2: []}

    def wait_for_all(channel: amqp.Channel, number: int) -> None:
        channel.callbacks["tag"] = lambda msg: got[number].append(msg.delivery_tag)
        while len(got[number]) < 20:
            channel.wait()

    threads.start(wait_for_all, ch, 1)
    threads.start(wait_for_all, conn.channel(), 2)
    for i in range(20):
        for number in (2, 1):
            peer.send_content("basic.deliver", "tag", i, False, "", "", channel=number)
    threads.results()
    assert got == {1: list(range(20)), 2: list(range(20))}


def test_each_delivery_goes_to_one_of_several_waiting_threads(peer: Peer, ch: amqp.Channel, threads: Threads) -> None:
    got: List[int] = []
    ch.callbacks["tag"] = lambda msg: got.append(msg.delivery_tag)
    for _ in range(4):
        threads.start(lambda: [ch.wait() for _ in range(10)])
    for i in range(40):
        peer.send_content("basic.deliver", "tag", i, False, "", "")
    threads.results()
    assert sorted(got) == list(range(40))


# --- the end wakes everybody -------------------------------------------------------------------------------


def everybody(conn: amqp.Connection, channels: List[amqp.Channel], threads: Threads) -> None:
    """Threads that wait on every channel, two on the first, and one for the connection itself."""
    for channel in (channels[0], *channels):
        threads.start(channel.wait)
    threads.start(conn.wait)
    await_rest()


def open_channels(peer: Peer, conn: amqp.Connection) -> List[amqp.Channel]:
    channels = []
    for number in (1, 2, 3):
        peer.open_channel(number)
        channels.append(conn.channel())
    return channels


@at_once
def test_closing_the_connection_wakes_all(peer: Peer, conn: amqp.Connection, threads: Threads) -> None:
    everybody(conn, open_channels(peer, conn), threads)
    peer.part()
    conn.close()
    for outcome in threads.outcomes():
        assert isinstance(outcome, amqp.ConnectionLostError), outcome
        assert "closed by this program" in str(outcome)


@at_once
@pytest.mark.parametrize("ending", ["close", "reset"])
def test_the_end_right_behind_the_close_ok(peer: Peer, conn: amqp.Connection, threads: Threads, ending: str) -> None:
    """It is no news, whoever meets it first: close() has succeeded, and others are told of that."""
    everybody(conn, open_channels(peer, conn), threads)
    peer.answer("connection.close", "connection.close_ok", channel=0)
    getattr(peer, ending)()
    conn.close()
    for outcome in threads.outcomes():
        assert isinstance(outcome, amqp.ConnectionLostError), outcome
        assert "closed by this program" in str(outcome)


@at_once
@pytest.mark.parametrize("ending", ["close", "reset"])
def test_losing_the_connection_wakes_all(peer: Peer, conn: amqp.Connection, threads: Threads, ending: str) -> None:
    everybody(conn, open_channels(peer, conn), threads)
    getattr(peer, ending)()
    for outcome in threads.outcomes():
        assert isinstance(outcome, amqp.ConnectionLostError), outcome


@at_once
def test_the_servers_close_wakes_all(peer: Peer, conn: amqp.Connection, threads: Threads) -> None:
    everybody(conn, open_channels(peer, conn), threads)
    peer.send_bytes(CLOSE)
    peer.expect("connection.close_ok", channel=0)
    peer.expect_end()
    for outcome in threads.outcomes():
        assert isinstance(outcome, amqp.AMQPConnectionException), outcome
        assert outcome.amqp_reply_code == 320


@at_once
@pytest.mark.parametrize("publishes", [False, True])
@pytest.mark.parametrize("ending", ["close", "reset"])
def test_the_end_right_behind_the_servers_close(
    peer: Peer, conn: amqp.Connection, threads: Threads, ending: str, publishes: bool
) -> None:
    """All are told the server's words, also by a thread that meets the end before another has dealt with those."""
    channels = open_channels(peer, conn)
    everybody(conn, channels, threads)
    transport, met = conn.transport, threading.Event()
    assert transport is not None
    receive = transport.receive

    def slowly() -> bytes:
        data = receive()
        if CLOSE in data:
            met.wait(0.25)  # the other thread must not have to wait for this one
        return data

    def publish_until_the_end() -> None:
        try:
            while True:
                channels[1].basic_publish(amqp.Message(b"x" * 10000))
        finally:
            met.set()

    transport.receive = slowly  # type: ignore[method-assign]
    peer.send_bytes(CLOSE)
    getattr(peer, ending)()
    if publishes:
        peer.wait()
        threads.start(publish_until_the_end)
    for outcome in threads.outcomes():
        assert isinstance(outcome, amqp.AMQPConnectionException), outcome
        assert outcome.amqp_reply_code == 320, outcome


def wait_without_end(ch: amqp.Channel) -> None:
    while True:
        ch.wait()


def two_wait(peer: Peer, ch: amqp.Channel, threads: Threads) -> None:
    """Two threads wait, and have had what there was."""
    had = threading.Semaphore(0)
    ch.callbacks["tag"] = lambda msg: had.release()
    for _ in range(2):
        threads.start(wait_without_end, ch)
        peer.send_content("basic.deliver", "tag", 1, False, "", "")
    for _ in range(2):
        assert had.acquire(timeout=PATIENCE)


@at_once
def test_closing_a_channel_wakes_those_who_wait_on_it(peer: Peer, conn: amqp.Connection, threads: Threads) -> None:
    channels = open_channels(peer, conn)
    two_wait(peer, channels[0], threads)
    peer.answer("channel.close", "channel.close_ok")
    channels[0].close()
    for outcome in threads.outcomes():
        assert isinstance(outcome, amqp.ChannelClosedError), outcome


#: What publishers wait for, on a channel on which one publish is unconfirmed and no second one may be.
PUBLISHERS: Dict[str, Callable[[amqp91.Channel], Any]] = {
    "confirms": lambda ch: ch.wait_for_confirms(),
    "room in the window": lambda ch: ch.basic_publish(amqp91.Message(b"y"), "e"),
    "the end of a block": lambda ch: ch.basic_publish(amqp91.Message(b"y"), "e"),
}


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("name", PUBLISHERS)
def test_closing_a_channel_wakes_those_who_publish_on_it(
    request: pytest.FixtureRequest, newer_peer: Peer, threads: Threads, name: str, answered: bool
) -> None:
    """They would wait for ever."""
    if answered:
        request.getfixturevalue("woken")
    newer_peer.welcome()
    conn = amqp91.Connection(newer_peer.address, reply_timeout=None, blocked_timeout=None, heartbeat=0)
    newer_peer.open_channel()
    ch = conn.channel()
    newer_peer.answer("confirm.select", "confirm.select_ok")
    ch.confirm_select(window=1)
    newer_peer.expect_content("basic.publish", message=({}, b"x"))
    ch.basic_publish(amqp91.Message(b"x"), "e")
    if name == "the end of a block":
        newer_peer.send("connection.blocked", "low on memory", channel=0)
        newer_peer.wait()
        with pytest.raises(amqp91.AMQPTimeoutError):
            conn.drain_events(timeout=0.1)
    with waiting(threads, PUBLISHERS[name], ch):
        newer_peer.expect("channel.close")
        if answered:
            newer_peer.send("channel.close_ok")
            ch.close()
        else:
            with pytest.raises(amqp91.AMQPTimeoutError):
                ch.close(timeout=0.1)
    (outcome,) = threads.outcomes()
    expected = amqp91.UnconfirmedError if name == "confirms" else amqp91.ChannelClosedError
    assert isinstance(outcome, expected), outcome
    assert "channel 1 is closed" in str(outcome)
    assert list(ch.unconfirmed) == [1]
    newer_peer.part()
    conn.close()


def test_closing_a_channel_while_another_call_has_no_answer(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, threads: Threads
) -> None:
    """When the time for it is up the channel is over, and so is the call."""
    called = threading.Event()
    peer.expect("queue.purge")
    peer.do(called.set)
    threads.start(ch.queue_purge, "q")
    assert called.wait(PATIENCE)
    peer.expect("channel.close")
    with pytest.raises(amqp.AMQPTimeoutError, match="another thread's call had no answer within"):
        ch.close(timeout=0.1)
    (outcome,) = threads.outcomes()
    assert isinstance(outcome, amqp.ChannelClosedError), outcome
    assert "channel 1 is closed: by this program" in str(outcome)


@at_once
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("confirms", [False, True])
def test_publishes_that_another_threads_close_overtakes(
    newer_peer: Peer, threads: Threads, batch: bool, confirms: bool
) -> None:
    """They are not sent, and do the close no harm."""
    newer_peer.welcome()
    conn = amqp91.Connection(newer_peer.address, reply_timeout=PATIENCE, heartbeat=0)
    newer_peer.open_channel()
    ch = conn.channel()
    if confirms:
        newer_peer.answer("confirm.select", "confirm.select_ok")
        ch.confirm_select()
    closing, published = threading.Event(), threading.Event()
    newer_peer.expect("channel.close")
    newer_peer.do(closing.set)
    newer_peer.do(lambda: None if published.wait(PATIENCE) else pytest.fail("nothing was published"))
    newer_peer.send("channel.close_ok")

    seen: List[Exception] = []

    def gather() -> None:
        with ch.batch():
            threads.start(ch.close)
            assert closing.wait(PATIENCE)
            with pytest.raises(amqp91.ChannelClosedError):
                ch.basic_publish(amqp91.Message(b"x"), "e")
            try:
                conn.drain_events(timeout=0.01)
            except Exception as exc:  # which one is looked at below, for the end of the block raises
                seen.append(exc)
            published.set()
            ch.basic_publish(amqp91.Message(b"x"), "e")

    def publish() -> None:
        threads.start(ch.close)
        assert closing.wait(PATIENCE)
        ch.basic_publish(amqp91.Message(b"x"), "e")

    with pytest.raises(amqp91.ChannelClosedError):
        gather() if batch else publish()
    # not the error of a channel that it has nothing to do with
    assert [type(exc) for exc in seen] == [amqp91.AMQPTimeoutError] * batch
    assert batch or not ch.unconfirmed
    published.set()
    assert threads.results() == [None]
    newer_peer.part()
    conn.close()


@at_once
def test_closing_the_connection_of_a_silent_peer_wakes_all(peer: Peer, conn: amqp.Connection, threads: Threads) -> None:
    everybody(conn, open_channels(peer, conn), threads)
    peer.expect("connection.close", channel=0)
    peer.expect_end()
    with pytest.raises(amqp.AMQPTimeoutError):
        conn.close(timeout=0.1)
    for outcome in threads.outcomes():
        assert isinstance(outcome, amqp.ConnectionLostError), outcome
        assert "closed by this program: AMQPTimeoutError came while Connection.close_ok was awaited" in str(outcome)


@at_once
def test_the_servers_close_of_a_channel_wakes_those_who_wait_on_it(
    peer: Peer, conn: amqp.Connection, threads: Threads
) -> None:
    channels = open_channels(peer, conn)
    two_wait(peer, channels[0], threads)
    peer.send("channel.close", 404, "gone", 0, 0)
    peer.expect("channel.close_ok")
    outcomes = threads.outcomes()
    assert all(isinstance(outcome, amqp.AMQPChannelException) for outcome in outcomes), outcomes
    assert [outcome.amqp_reply_code for outcome in outcomes].count(404) >= 1


@at_once
def test_calls_that_another_threads_close_overtakes(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, threads: Threads
) -> None:
    """They are not sent on a channel that is none any more."""
    about_to_call = threading.Semaphore(0)
    closing = threading.Event()

    def call() -> None:
        about_to_call.release()
        ch.queue_purge("q")

    def all_about_to_call() -> None:
        for _ in range(8):
            assert about_to_call.acquire(timeout=PATIENCE)

    peer.expect("channel.close")
    peer.do(closing.set)
    peer.do(all_about_to_call)
    peer.send("channel.close_ok")
    threads.start(ch.close)
    assert closing.wait(PATIENCE)
    for _ in range(8):
        threads.start(call)
    first, *others = threads.outcomes()
    assert first is None
    for outcome in others:
        assert isinstance(outcome, amqp.ChannelClosedError), outcome


@at_once
def test_the_servers_close_of_a_channel_while_one_waits_and_one_calls(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, threads: Threads
) -> None:
    for _ in range(3):
        threads.start(ch.wait)
    peer.expect("queue.purge")
    peer.send("channel.close", 404, "gone", 50, 30)
    peer.expect("channel.close_ok")  # once: a second one would be for a channel that is none
    threads.start(ch.queue_purge, "q")
    outcomes = threads.outcomes()
    assert all(isinstance(outcome, amqp.AMQPChannelException) for outcome in outcomes), outcomes


@at_once
def test_the_connection_is_closed_by_a_callback(peer: Peer, conn: amqp.Connection, threads: Threads) -> None:
    channels = open_channels(peer, conn)
    channels[0].callbacks["tag"] = lambda msg: conn.close()
    for channel in channels:
        threads.start(channel.wait)
    peer.send_content("basic.deliver", "tag", 1, False, "", "")
    peer.part()
    first, *others = threads.outcomes()
    assert first is None
    for outcome in others:
        assert isinstance(outcome, amqp.ConnectionLostError), outcome
