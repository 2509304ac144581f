"""Proves what becomes of what two threads do at the same moment, and of a logging handler that uses the connection."""

from __future__ import annotations

import logging
import sys
import threading
import time
from typing import Any, Iterator, List

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91

from .answering import AnsweringPeer
from .peer import PATIENCE, Peer, content
from .test_threads import Threads


@pytest.fixture
def threads() -> Threads:
    return Threads()


@pytest.fixture
def connection() -> Iterator[amqp.Connection]:
    with AnsweringPeer() as peer:
        peer.welcome(frame_max=4096)
        peer.answer_all()
        with amqp.Connection(peer.address) as conn:
            yield conn


@pytest.mark.parametrize("whole", [True, False], ids=["connection", "channel"])
def test_two_threads_close_at_the_same_time(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, threads: Threads, whole: bool
) -> None:
    """The second one has nothing to do, and waits until the first one is done."""
    name, number = ("connection", 0) if whole else ("channel", 1)
    peer.expect(name + ".close", channel=number)
    for _ in range(2):
        threads.start((conn if whole else ch).close)
    peer.do(lambda: time.sleep(0.3))
    peer.send(name + ".close_ok", channel=number)
    assert threads.outcomes() == [None, None]
    if whole:
        peer.expect_end()


def test_statistics_while_channels_come_and_go(
    connection: amqp.Connection, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            assert connection.stats().pending == connection.pending() == 0

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads.start(watch)
        kept = [connection.channel() for _ in range(20)]
        for _ in range(100):
            connection.channel().close()
        over.set()
        threads.results()
    finally:
        over.set()
        sys.setswitchinterval(before)
    assert len(kept) == 20


def test_what_came_for_a_channel_that_another_thread_has_closed(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not for the next channel of the same number, which may have a consumer of the same name."""
    got: List[Any] = []
    wait_for = conn._link.wait_for

    def overtaken(*args: Any, **options: Any) -> Any:
        found = wait_for(*args, **options)
        monkeypatch.undo()
        peer.answer("channel.close", "channel.close_ok")
        ch.close()
        peer.open_channel()
        conn.channel(1).callbacks["tag"] = got.append
        return found

    monkeypatch.setattr(conn._link, "wait_for", overtaken)
    peer.send_content("basic.deliver", "tag", 1, False, "", "")
    conn.drain_events(timeout=PATIENCE)
    assert got == []


def test_a_logging_handler_that_publishes(
    newer_peer: Peer, newer_conn: amqp91.Connection, newer: amqp91.Channel, threads: Threads
) -> None:
    """No lock of the connection's is held while something is logged, for handlers have locks of their own."""
    newer_peer.open_channel(2)
    log = newer_conn.channel()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log.basic_publish(amqp91.Message(record.getMessage()))

    handler, link = Handler(), newer_conn._link
    logging.getLogger("amqplib").addHandler(handler)
    try:
        with handler.lock:  # type: ignore[union-attr]  # as if it were about to publish something else
            threads.start(newer.basic_publish, amqp91.Message(b"x" * 20_000_000))
            end = time.monotonic() + PATIENCE
            while link._stall is None:
                assert time.monotonic() < end
                time.sleep(0.01)
            before = link.receiver.contents
            delivery = content(
                "basic.deliver", "tag", 1, False, "", "", message=({"application_headers": {"a": b""}}, b"")
            )
            newer_peer.send_bytes(delivery.replace(b"\x01ax", b"\x01a?"))
            while link.receiver.contents == before:
                assert time.monotonic() < end
                time.sleep(0.01)
            newer_peer.drain()
            threads.results()
        assert link.remarks
        newer_conn.drain_events(timeout=PATIENCE)
        assert not link.remarks
    finally:
        logging.getLogger("amqplib").removeHandler(handler)
        newer_conn._end("the test is over")
