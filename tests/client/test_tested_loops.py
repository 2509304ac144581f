"""Proves that a loop over what a channel or connection says ends, though another thread has read what it waits for.

Between its test and its wait, or while several wait: for `callbacks` see test_last_consumer.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from typing import Any, Callable, Dict, Iterator

import pytest

import amqplib.client_0_8
import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker

from .peer import PATIENCE
from .threads import Threads


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@pytest.fixture
def conn(broker: Broker) -> Iterator[amqp.Connection]:
    with amqp.Connection(broker.address, heartbeat=0, reply_timeout=PATIENCE) as conn:
        yield conn
        broker.faults.clear()


@pytest.fixture
def ch(conn: amqp.Connection) -> amqp.Channel:
    ch = conn.channel()
    ch.queue_declare("q", auto_delete=False)
    return ch


@pytest.fixture
def other(conn: amqp.Connection, ch: amqp.Channel) -> amqp.Channel:
    return conn.channel()


def by_wait(ch: amqp.Channel) -> Any:
    return ch.wait(timeout=PATIENCE)


def by_drain_events(ch: amqp.Channel) -> Any:
    assert ch.connection is not None
    return ch.connection.drain_events(timeout=PATIENCE)


def by_connection_wait(ch: amqp.Channel) -> Any:
    assert ch.connection is not None
    return ch.connection.wait(timeout=PATIENCE)


WAITS: Dict[str, Callable[[amqp.Channel], Any]] = {"wait": by_wait, "drain_events": by_drain_events}

each_wait = pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)


def another_thread_reads(other: amqp.Channel, threads: Threads, waits: Callable[[], Any]) -> None:
    """On another channel, for as long as its own test says so."""

    def read() -> None:
        until = time.monotonic() + PATIENCE
        while waits():
            assert time.monotonic() < until
            with contextlib.suppress(amqp.AMQPTimeoutError):
                other.wait(timeout=0.01)

    threads.start(read)
    threads.results()


def assert_told_once(ch: amqp.Channel) -> None:
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.wait(timeout=0.05)


# --- publishes that are not confirmed


@each_wait
def test_confirmed_between_the_test_and_the_wait(
    other: amqp.Channel, ch: amqp.Channel, threads: Threads, wait: Callable[[amqp.Channel], Any]
) -> None:
    ch.confirm_select()
    ch.basic_publish(amqp.Message(b"x"), routing_key="q")
    assert ch.unconfirmed
    another_thread_reads(other, threads, lambda: ch.unconfirmed)
    assert wait(ch) is None
    assert not ch.unconfirmed
    assert_told_once(ch)


def test_a_loop_for_some_of_them(other: amqp.Channel, ch: amqp.Channel, threads: Threads) -> None:
    """As a window of the program's own."""
    ch.confirm_select()
    for _ in range(3):
        ch.basic_publish(amqp.Message(b"x"), routing_key="q")
    assert len(ch.unconfirmed) > 2
    another_thread_reads(other, threads, lambda: len(ch.unconfirmed) > 2)
    ch.wait(timeout=PATIENCE)
    assert len(ch.unconfirmed) <= 2


@each_wait
def test_two_threads_that_wait_for_the_same(
    ch: amqp.Channel, threads: Threads, wait: Callable[[amqp.Channel], Any]
) -> None:
    ch.confirm_select()

    def loop() -> None:
        while ch.unconfirmed:
            wait(ch)

    for _ in range(20):
        ch.basic_publish(amqp.Message(b"x"), routing_key="q")
        threads.start(loop)
        threads.start(loop)
        assert set(threads.results()) == {None}


def test_who_has_not_tested_it_is_not_told(other: amqp.Channel, ch: amqp.Channel, threads: Threads) -> None:
    """A wait() is for something else then; nor who has seen that there is none, or another channel's."""
    ch.confirm_select()
    ch.basic_publish(amqp.Message(b"x"), routing_key="q")
    another_thread_reads(other, threads, lambda: ch.unconfirmed)
    assert_told_once(ch)
    ch.basic_publish(amqp.Message(b"x"), routing_key="q")
    assert ch.unconfirmed
    another_thread_reads(other, threads, lambda: ch.unconfirmed)
    assert_told_once(other)
    assert not ch.unconfirmed
    assert_told_once(ch)


# --- messages that come back


def by_empty(ch: amqp.Channel) -> bool:
    return ch.returned_messages.empty()


def by_size(ch: amqp.Channel) -> bool:
    return not ch.returned_messages.qsize()


def by_get(ch: amqp.Channel) -> bool:
    try:
        item = ch.returned_messages.get_nowait()
    except queue.Empty:
        return True
    ch.returned_messages.put(item)
    return False


@each_wait
@pytest.mark.parametrize("test", [by_empty, by_size, by_get])
@pytest.mark.parametrize("module", [amqplib.client_0_8, amqp])
def test_returned_between_the_test_and_the_wait(
    broker: Broker,
    threads: Threads,
    module: Any,
    test: Callable[[amqp.Channel], bool],
    wait: Callable[[amqp.Channel], Any],
) -> None:
    with module.Connection(broker.address, reply_timeout=PATIENCE) as conn:
        ch, other = conn.channel(), conn.channel()
        ch.basic_publish(module.Message(b"x"), routing_key="nowhere", mandatory=True)
        assert test(ch)
        another_thread_reads(other, threads, ch.returned_messages.empty)
        assert wait(ch) is None
        assert not test(ch)
        assert_told_once(ch)


# --- a broker that takes no publishes


@pytest.mark.parametrize("wait", [by_wait, by_drain_events, by_connection_wait])
def test_unblocked_between_the_test_and_the_wait(
    broker: Broker,
    conn: amqp.Connection,
    ch: amqp.Channel,
    other: amqp.Channel,
    threads: Threads,
    wait: Callable[[amqp.Channel], Any],
) -> None:
    broker.faults.block("low on memory")
    ch.basic_publish(amqp.Message(b"x"), routing_key="q")  # that is when it says so
    another_thread_reads(other, threads, lambda: not conn.blocked)
    assert conn.blocked
    broker.faults.unblock()
    another_thread_reads(other, threads, lambda: conn.blocked)
    wait(ch)
    assert not conn.blocked
    assert_told_once(ch)


@pytest.mark.parametrize("wait", [by_wait, by_drain_events, by_connection_wait])
def test_unblocked_during_the_wait(
    broker: Broker,
    conn: amqp.Connection,
    ch: amqp.Channel,
    other: amqp.Channel,
    threads: Threads,
    wait: Callable[[amqp.Channel], Any],
) -> None:
    broker.faults.block("low on memory")
    ch.basic_publish(amqp.Message(b"x"), routing_key="q")  # that is when it says so
    another_thread_reads(other, threads, lambda: not conn.blocked)
    timer = threading.Timer(0.1, broker.faults.unblock)
    timer.start()
    while conn.blocked:
        wait(ch)
    timer.join()
