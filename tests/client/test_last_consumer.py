"""Proves that a loop over a channel's consumers ends when the last one does, whoever ends it, and at once.

And that it does not end as if all were done when a callback has kept to itself that the channel or connection is over.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import Any, Callable, Dict, List

import pytest

import amqplib.client_0_9_1 as amqp
from tests.rest import await_rest

from .peer import PATIENCE, Peer
from .test_signals import handling
from .test_wakeups import Waiter
from .threads import Threads

pytestmark = pytest.mark.usefixtures("woken")


def by_wait(ch: amqp.Channel) -> None:
    while ch.callbacks:
        assert ch.wait() is None


def by_wait_for_deliveries(ch: amqp.Channel) -> None:
    while ch.callbacks:
        ch.wait([(60, 60)])


def by_drain_events(ch: amqp.Channel) -> None:
    conn = ch.connection
    assert conn is not None
    while ch.callbacks:
        assert conn.drain_events() is None


LOOPS: Dict[str, Callable[[amqp.Channel], None]] = {
    "wait": by_wait,
    "wait for deliveries": by_wait_for_deliveries,
    "drain_events": by_drain_events,
}

each_loop = pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)


def consume(peer: Peer, ch: amqp.Channel, tag: str = "tag", callback: Any = lambda msg: None) -> None:
    peer.answer("basic.consume", "basic.consume_ok", tag, channel=ch.channel_id or 0)
    ch.basic_consume("q", tag, callback=callback)


def cancel(peer: Peer, ch: amqp.Channel, nowait: bool) -> None:
    peer.expect("basic.cancel", "tag", nowait)
    if not nowait:
        peer.send("basic.cancel_ok", "tag")
    ch.basic_cancel("tag", nowait)


def deliver(peer: Peer, number: int = 1, channel: int = 1) -> None:
    peer.send_content("basic.deliver", "tag", number, False, "", "", channel=channel)


# --- another thread


@each_loop
@pytest.mark.parametrize("nowait", [False, True])
def test_cancelled_by_another_thread(newer_peer: Peer, newer: amqp.Channel, loop: Any, nowait: bool) -> None:
    consume(newer_peer, newer)
    waiters = [Waiter(lambda: loop(newer)) for _ in range(2)]
    cancel(newer_peer, newer, nowait)
    for waiter in waiters:
        waiter.woken()
        assert waiter.outcome is None


@pytest.mark.parametrize("nowait", [False, True])
def test_consume_ends_at_once(newer_peer: Peer, newer: amqp.Channel, nowait: bool) -> None:
    newer_peer.answer("basic.consume", "basic.consume_ok", "tag")
    waiter = Waiter(lambda: list(newer.consume("q")))
    cancel(newer_peer, newer, nowait)
    waiter.woken()
    assert waiter.outcome == []


@each_loop
def test_cancelled_between_the_test_and_the_wait(
    newer_peer: Peer, newer: amqp.Channel, loop: Any, threads: Threads
) -> None:
    consume(newer_peer, newer)

    class Callbacks(Dict[str, Any]):
        """The first test of it is followed by another thread's cancel."""

        def __bool__(self) -> bool:
            if len(self):
                threads.start(cancel, newer_peer, newer, True)
                assert threads.results() == [None]
                return True
            return False

    newer.callbacks = Callbacks(newer.callbacks)
    loop(newer)


def test_the_server_ends_it_and_another_thread_handles_that(newer_peer: Peer, newer: amqp.Channel) -> None:
    consume(newer_peer, newer)
    waiters = [Waiter(lambda: by_wait(newer)) for _ in range(3)]
    newer_peer.send("basic.cancel", "tag", True)
    for waiter in waiters:
        waiter.woken()


def test_not_the_last_one(newer_peer: Peer, newer: amqp.Channel) -> None:
    consume(newer_peer, newer)
    consume(newer_peer, newer, "other")
    waiter = Waiter(newer.wait)
    cancel(newer_peer, newer, True)
    assert waiter.waits()
    newer_peer.send_content("basic.deliver", "other", 1, False, "", "")
    waiter.woken()


def test_a_thread_is_told_once(newer_peer: Peer, newer: amqp.Channel, threads: Threads) -> None:
    consume(newer_peer, newer)
    threads.start(cancel, newer_peer, newer, False)
    threads.results()
    assert newer.wait(timeout=PATIENCE) is None
    with pytest.raises(amqp.AMQPTimeoutError):
        newer.wait(timeout=0.05)


def test_a_new_consumer_is_waited_for(newer_peer: Peer, newer: amqp.Channel, threads: Threads) -> None:
    got: List[Any] = []
    consume(newer_peer, newer)
    threads.start(cancel, newer_peer, newer, False)
    threads.results()
    consume(newer_peer, newer, callback=got.append)
    deliver(newer_peer)
    newer.wait(timeout=PATIENCE)
    assert len(got) == 1


def test_a_thread_that_has_cancelled_waits_for_something_else(newer_peer: Peer, newer: amqp.Channel) -> None:
    consume(newer_peer, newer)
    cancel(newer_peer, newer, False)
    newer_peer.expect_content("basic.publish", message=({}, b"x"))
    newer_peer.do(await_rest)
    newer_peer.send_content("basic.return", 312, "NO_ROUTE", "", "k", message=({}, b"x"))
    newer.basic_publish(amqp.Message(b"x"), routing_key="k", mandatory=True)
    newer.wait(timeout=PATIENCE)
    assert newer.returned_messages.get_nowait()[1] == "NO_ROUTE"


def test_a_callback_that_cancels_its_consumer(newer_peer: Peer, newer: amqp.Channel) -> None:
    """The loop knows that; a wait() after it is for something else."""
    consume(newer_peer, newer, callback=lambda msg: cancel(newer_peer, newer, False))
    deliver(newer_peer)
    by_wait(newer)
    with pytest.raises(amqp.AMQPTimeoutError):
        newer.wait(timeout=0.05)


def test_a_consume_that_is_left(newer_peer: Peer, newer_conn: amqp.Connection, newer: amqp.Channel) -> None:
    """It has ended its consumer itself: what is waited for after it is something else."""
    newer_peer.answer("basic.consume", "basic.consume_ok", "tag")
    messages = newer.consume("q", timeout=0.01)
    newer_peer.answer("basic.cancel", "basic.cancel_ok", "tag")
    assert list(messages) == []
    with pytest.raises(amqp.AMQPTimeoutError):
        newer_conn.drain_events(timeout=0.05)
    with pytest.raises(amqp.AMQPTimeoutError):
        newer.wait(timeout=0.05)


# --- a signal handler


@each_loop
@pytest.mark.parametrize("nowait", [False, True])
def test_cancelled_by_a_signal_handler(newer_peer: Peer, newer: amqp.Channel, loop: Any, nowait: bool) -> None:
    consume(newer_peer, newer)

    def send() -> None:
        await_rest()  # it waits
        signal.pthread_kill(main, signal.SIGUSR1)

    main = threading.main_thread().ident or 0
    with handling(lambda: cancel(newer_peer, newer, nowait)):
        thread = threading.Thread(target=send)
        thread.start()
        loop(newer)
        thread.join(PATIENCE)


@each_loop
def test_a_signal_just_before_the_wait(newer_peer: Peer, newer: amqp.Channel, loop: Any) -> None:
    consume(newer_peer, newer)

    class Callbacks(Dict[str, Any]):
        def __bool__(self) -> bool:
            if len(self):
                cancel(newer_peer, newer, False)  # as a handler would, in this thread
                return True
            return False

    newer.callbacks = Callbacks(newer.callbacks)
    loop(newer)


# --- an end that a callback has kept to itself


def lost(peer: Peer) -> None:
    peer.reset()


def server_closes(peer: Peer) -> None:
    peer.send("connection.close", 320, "bye", 0, 0, channel=0)
    peer.drain()


def channel_closes(peer: Peer) -> None:
    peer.send("channel.close", 404, "gone", 50, 30)
    peer.expect("channel.close_ok")


ENDS: Dict[str, Any] = {
    "lost": (lost, amqp.ConnectionLostError),
    "connection.close": (server_closes, amqp.AMQPConnectionException),
    "channel.close": (channel_closes, amqp.AMQPChannelException),
}


@each_loop
@pytest.mark.parametrize("how", ENDS)
def test_a_callback_that_keeps_it_to_itself(newer_peer: Peer, newer: amqp.Channel, loop: Any, how: str) -> None:
    end, kind = ENDS[how]

    def keep(msg: amqp.Message) -> None:
        newer_peer.expect("queue.purge")
        end(newer_peer)
        with contextlib.suppress(amqp.AMQPException, OSError):
            newer.queue_purge("q")
        assert not newer.is_open

    consume(newer_peer, newer, callback=keep)
    deliver(newer_peer)
    with pytest.raises(kind):
        loop(newer)
    assert not newer.callbacks


@pytest.mark.parametrize("how", ["channel", "connection"])
def test_a_callback_that_closes_it_ends_the_loop(
    newer_peer: Peer, newer_conn: amqp.Connection, newer: amqp.Channel, how: str
) -> None:
    consume(newer_peer, newer, callback=lambda msg: newer.close() if how == "channel" else newer_conn.close())
    deliver(newer_peer)
    if how == "channel":
        newer_peer.answer("channel.close", "channel.close_ok")
    else:
        newer_peer.part()
    by_wait(newer)


def test_another_channels_thread_is_told_first(newer_peer: Peer, newer_conn: amqp.Connection) -> None:
    """A loop that does something else just then tests an empty dict otherwise."""
    newer_peer.open_channel(1)
    newer_peer.open_channel(2)
    one, two = newer_conn.channel(), newer_conn.channel()
    consume(newer_peer, one)
    newer_peer.reset()
    with pytest.raises(amqp.ConnectionLostError):
        two.wait()
    assert list(one.callbacks) == ["tag"]
    with pytest.raises(amqp.ConnectionLostError):
        by_wait(one)
    assert not one.callbacks


def test_drain_events_finds_another_channel_closed(newer_peer: Peer, newer_conn: amqp.Connection) -> None:
    """A callback of one channel has kept the end of another to itself."""
    newer_peer.open_channel(1)
    newer_peer.open_channel(2)
    one, two = newer_conn.channel(), newer_conn.channel()
    consume(newer_peer, one)

    def keep(msg: amqp.Message) -> None:
        newer_peer.expect("queue.purge", channel=1)
        channel_closes(newer_peer)
        with contextlib.suppress(amqp.AMQPChannelException):
            one.queue_purge("q")

    consume(newer_peer, two, callback=keep)
    deliver(newer_peer, channel=2)
    with pytest.raises(amqp.AMQPChannelException, match="404 gone"):
        by_drain_events(one)


def test_a_loop_that_logs_and_goes_on_comes_to_an_end(newer_peer: Peer, newer: amqp.Channel) -> None:
    """It is told once, and then there is nothing to wait for."""
    consume(newer_peer, newer)
    newer_peer.reset()
    errors: List[Exception] = []
    while newer.callbacks:
        try:
            assert newer.connection is not None
            newer.connection.drain_events()
        except amqp.AMQPConnectionException as exc:
            errors.append(exc)
    assert len(errors) == 1


# --- descriptors


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts descriptors in /proc")
def test_nothing_is_left_open(newer_peer: Peer) -> None:
    """What wakes a reader goes with its connection."""
    newer_peer.welcome()
    conn = amqp.Connection(newer_peer.address, heartbeat=0)
    newer_peer.wait()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(amqp.AMQPTimeoutError):
        conn.drain_events(timeout=0.01)
    assert len(os.listdir("/proc/self/fd")) > before
    newer_peer.part()
    conn.close()
    newer_peer.wait()
    assert len(os.listdir("/proc/self/fd")) <= before


@each_loop
def test_without_eventfd(newer_peer: Peer, loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older Pythons and other systems have none."""
    monkeypatch.delattr(os, "eventfd", raising=False)
    newer_peer.welcome()
    newer_peer.open_channel()
    conn = amqp.Connection(newer_peer.address, heartbeat=0)
    ch = conn.channel()
    consume(newer_peer, ch)
    waiter = Waiter(lambda: loop(ch))
    cancel(newer_peer, ch, True)
    waiter.woken()
    newer_peer.part()
    conn.close()
