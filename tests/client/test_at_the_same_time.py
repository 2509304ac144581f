"""Proves what becomes of what two threads do at the same moment, and of a logging handler that uses the connection."""

from __future__ import annotations

import logging
import sys
import threading
import time
from typing import Any, Dict, Iterator, List

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91
from tests.rest import await_rest

from .answering import AnsweringPeer
from .ends import give_up
from .full import await_full
from .peer import PATIENCE, Peer, content
from .threads import Threads


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
    done: List[int] = []

    def close() -> None:
        (conn if whole else ch).close()
        done.append(1)

    for _ in range(2):
        threads.start(close)
    peer.wait()
    await_rest()
    assert done == []
    peer.send(name + ".close_ok", channel=number)
    assert threads.outcomes(0.5) == [None, None]
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
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel
) -> None:
    """It is not for the next channel of the same number, which may have a consumer of the same name."""
    got: List[Any] = []

    class Overtaken(Dict[int, Any]):
        """What drain_events() looks up the channel in, once it has the delivery."""

        late = False

        def get(self, number: int, default: Any = None) -> Any:
            if not self.late:
                self.late = True
                peer.answer("channel.close", "channel.close_ok")
                ch.close()
                peer.open_channel()
                conn.channel(1).callbacks["tag"] = got.append
            return super().get(number, default)

    assert conn.channels is not None
    channels = Overtaken(conn.channels)
    conn.channels = channels
    peer.send_content("basic.deliver", "tag", 1, False, "", "")
    conn.drain_events(timeout=PATIENCE)
    assert channels.late
    assert got == []
    peer.send_content("basic.deliver", "tag", 2, False, "", "")
    conn.drain_events(timeout=PATIENCE)
    assert [msg.delivery_tag for msg in got] == [2]


def test_a_logging_handler_that_publishes(
    newer_peer: Peer, newer_conn: amqp91.Connection, newer: amqp91.Channel, threads: Threads
) -> None:
    """No lock of the connection's is held while something is logged, for handlers have locks of their own."""
    newer_peer.open_channel(2)
    log = newer_conn.channel()

    logged: List[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append(record.getMessage())
            log.basic_publish(amqp91.Message(record.getMessage()))

    handler = Handler(logging.WARNING)
    logging.getLogger("amqplib").addHandler(handler)
    try:
        with handler.lock:  # type: ignore[union-attr]  # as if it were about to publish something else
            threads.start(newer.basic_publish, amqp91.Message(b"x" * 20_000_000))
            await_full(newer_conn)
            before = newer_conn.stats().messages_in
            delivery = content(
                "basic.deliver", "tag", 1, False, "", "", message=({"application_headers": {"a": b""}}, b"")
            )
            newer_peer.send_bytes(delivery.replace(b"\x01ax", b"\x01a?"))
            end = time.monotonic() + PATIENCE
            while newer_conn.stats().messages_in == before:
                assert time.monotonic() < end
                time.sleep(0.01)
            newer_peer.drain()
            threads.results()
        newer_conn.drain_events(timeout=PATIENCE)
        (text,) = logged
        assert "could not be read and is left as it came" in text
    finally:
        logging.getLogger("amqplib").removeHandler(handler)
        give_up(newer_conn)
