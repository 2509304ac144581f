"""Proves that what is published leaves once and in the order of publishing, however the sending of it goes."""

from __future__ import annotations

import itertools
import sys
import threading
from types import FrameType
from typing import Any, List, Optional

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from amqplib.client import driver
from amqplib.client.sending import Sending
from amqplib.client.timeouts import Timeouts
from tests.rest import await_rest
from tests.waits import waits

from .full import full
from .peer import PATIENCE, Peer
from .test_confirmed_publishing import expect_publish, select
from .threads import Threads


def publish(ch: amqp.Channel, body: bytes) -> Optional[int]:
    return ch.basic_publish(amqp.Message(body), routing_key="q")


def expect_publishes(peer: Peer, *bodies: bytes) -> None:
    for body in bodies:
        expect_publish(peer, "q", body)
    peer.wait()


# --- batch()


@pytest.mark.parametrize("confirms", [False, True])
def test_a_large_body_between_small_ones(newer_peer: Peer, newer: amqp.Channel, confirms: bool) -> None:
    """It is not gathered, and yet does not overtake what is."""
    if confirms:
        select(newer_peer, newer)
    bodies = [b"1", b"x" * 300000, b"2", b"3", b"y" * 300000, b"4"]
    with newer.batch():
        for body in bodies:
            publish(newer, body)
    expect_publishes(newer_peer, *bodies)


@pytest.mark.parametrize("confirms", [False, True])
def test_what_could_not_be_sent_keeps_its_place(
    newer_peer: Peer, newer_conn: amqp.Connection, newer: amqp.Channel, confirms: bool
) -> None:
    if confirms:
        select(newer_peer, newer)
    with newer.batch():
        for number in range(5):
            publish(newer, b"%d" % number)
        with full(newer_peer, newer_conn), waits(0.19, 0.21), pytest.raises(amqp.AMQPTimeoutError):
            newer.wait(timeout=0.2)
        publish(newer, b"5")
    expect_publishes(newer_peer, *(b"%d" % number for number in range(6)))


def test_a_confirm_select_that_could_not_be_sent(newer_peer: Peer, timeouts: List[Timeouts]) -> None:
    """Nothing that had been gathered is lost by it, or counted."""
    newer_peer.welcome()
    newer_peer.open_channel()
    conn = amqp.Connection(newer_peer.address, heartbeat=0)
    ch = conn.channel()
    timeouts[-1].reply_timeout = 0.2
    with ch.batch():
        for number in range(3):
            publish(ch, b"%d" % number)
        with full(newer_peer, conn), pytest.raises(amqp.AMQPTimeoutError):
            ch.confirm_select()
        timeouts[-1].reply_timeout = None
        assert publish(ch, b"3") is None
    assert publish(ch, b"4") is None
    expect_publishes(newer_peer, b"0", b"1", b"2", b"3", b"4")
    select(newer_peer, ch)
    assert publish(ch, b"5") == 1
    expect_publishes(newer_peer, b"5")
    newer_peer.part()
    conn.close()


def test_a_message_at_the_end_of_a_batch_that_waits(
    newer_peer: Peer, newer_conn: amqp.Connection, newer: amqp.Channel, threads: Threads
) -> None:
    """What another thread publishes while the end of the block cannot go on comes behind it."""
    with full(newer_peer, newer_conn):

        def batch() -> None:
            with newer.batch():
                publish(newer, b"1")

        threads.start(batch)
        await_rest()
        threads.start(publish, newer, b"2")
        await_rest()
    threads.results()
    expect_publishes(newer_peer, b"1", b"2")


def test_a_batch_begins_as_one_inside_another_ends(
    newer_peer: Peer, newer: amqp.Channel, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What that has gathered is none of the other's business."""
    begun, end, begun_anew, end_anew = (threading.Event() for _ in range(4))
    flush = Sending.flush

    def flush_and_then(sending: Sending, *args: Any) -> None:
        flush(sending, *args)
        if not end.is_set():
            end.set()
            assert begun_anew.wait(PATIENCE)

    def other() -> None:
        with newer.batch():
            begun.set()
            assert end.wait(PATIENCE)
        with newer.batch():
            publish(newer, b"2")
            begun_anew.set()
            assert end_anew.wait(PATIENCE)

    threads.start(other)
    assert begun.wait(PATIENCE)
    monkeypatch.setattr(Sending, "flush", flush_and_then)
    with newer.batch():
        publish(newer, b"1")
    end_anew.set()
    threads.results()
    expect_publishes(newer_peer, b"1", b"2")


def test_batches_that_threads_begin_at_once(
    newer_peer: Peer, newer: amqp.Channel, threads: Threads, hurried: None
) -> None:
    """Each message leaves once, and those of one thread in their order."""
    count, at_once = 300, 4
    start = threading.Barrier(at_once)

    def work(name: bytes) -> None:
        for number in range(count):
            start.wait(PATIENCE)
            with newer.batch():
                publish(newer, b"%s %d" % (name, number))

    for name in range(at_once):
        threads.start(work, b"%d" % name)
    threads.results()
    bodies: List[bytes] = []
    newer_peer.do(lambda: bodies.extend(newer_peer.bodies(count * at_once)))
    newer_peer.wait()
    seen = [body.split() for body in bodies]
    for name in range(at_once):
        assert [n for who, n in seen if who == b"%d" % name] == [b"%d" % number for number in range(count)]


# --- Ctrl-C


class Interruption(BaseException):
    """As KeyboardInterrupt, which pytest would take for its own."""


class Interrupter:
    """Raises Interruption at the n-th place in the library where Python looks for signals: as a function begins, and as
    one of the system's, or of Python's own, is done."""

    def __init__(self, after: int) -> None:
        self.left = after

    def profile(self, frame: FrameType, event: str, arg: Any) -> None:
        if event in ("call", "c_return") and "/amqplib/client/" in frame.f_code.co_filename:
            self.left -= 1
            if not self.left:
                sys.setprofile(None)
                raise Interruption


def batch_interrupted(ch: amqp.Channel, after: int) -> bool:
    """A batch of three, interrupted at its end; False when it was over before."""
    interrupter = Interrupter(after)
    before = sys.getprofile()
    try:
        with ch.batch():
            for _ in range(3):
                publish(ch, b"x")
            sys.setprofile(interrupter.profile)
    except Interruption:
        return True
    finally:
        sys.setprofile(before)
    return interrupter.left <= 0


@pytest.mark.parametrize("looks", [False, True])
def test_ctrl_c_at_the_end_of_a_batch(monkeypatch: pytest.MonkeyPatch, looks: bool) -> None:
    """Wherever it comes: all of the batch has gone and the broker's tags are the channel's, or it is over. Also where
    it is time to look whether the broker has said something."""
    monkeypatch.setattr(driver, "LOOK_EVERY", 0.0 if looks else 3600.0)
    with Broker() as broker, amqp.Connection(broker.address, reply_timeout=PATIENCE) as admin:
        declarer = admin.channel()
        declarer.queue_declare("q", auto_delete=False)
        intact = 0
        for after in itertools.count(1):
            declarer.queue_purge("q")
            with amqp.Connection(broker.address, reply_timeout=PATIENCE) as conn:
                ch = conn.channel()
                ch.confirm_select()
                interrupted = batch_interrupted(ch, after)
                try:
                    tag = ch.basic_publish_confirm(amqp.Message(b"next"), routing_key="q", timeout=PATIENCE)
                except amqp.ConfirmTimeoutError:
                    raise  # each side counts for itself
                except amqp.AMQPException:
                    assert interrupted
                    continue
                intact += 1
                assert tag == 4
                assert list(ch.unconfirmed) == []
                assert declarer.queue_declare("q", passive=True)[1] == 4
                if not interrupted:
                    break
        assert intact < after  # some of them were interrupted in the middle
        assert after > 10


# --- the end


def test_a_publish_behind_another_threads_close_of_the_connection(newer_peer: Peer, threads: Threads) -> None:
    """It is refused at once, though the answer to the close is not there yet, and no byte of it goes."""
    newer_peer.welcome()
    newer_peer.open_channel()
    conn = amqp.Connection(newer_peer.address, heartbeat=0)
    ch = conn.channel()
    closing, refused = threading.Event(), threading.Event()
    newer_peer.expect("connection.close", channel=0)
    newer_peer.do(closing.set)
    newer_peer.do(lambda: None if refused.wait(PATIENCE) else pytest.fail("the publish was not refused"))
    newer_peer.send("connection.close_ok", channel=0)
    newer_peer.expect_end()
    threads.start(conn.close)
    assert closing.wait(PATIENCE)
    with pytest.raises((amqp.ConnectionLostError, amqp.ChannelClosedError)):
        publish(ch, b"x")
    with pytest.raises((amqp.ConnectionLostError, amqp.ChannelClosedError)), ch.batch():
        publish(ch, b"x")
    refused.set()
    assert threads.results() == [None]
    newer_peer.wait()


def test_a_close_that_another_threads_call_overtakes(
    newer_peer: Peer, threads: Threads, timeouts: List[Timeouts]
) -> None:
    """That call got no answer, so that nobody knows what became of the channel: close() does not say that all is well.

    It waits for the call to end, which takes as long as the reply_timeout.
    """
    newer_peer.welcome()
    newer_peer.open_channel()
    conn = amqp.Connection(newer_peer.address, heartbeat=0)
    ch = conn.channel()
    timeouts[-1].reply_timeout = 1.0
    called = threading.Event()
    newer_peer.expect("queue.purge")
    newer_peer.do(called.set)
    newer_peer.drain()
    threads.start(ch.queue_purge, "q")
    assert called.wait(PATIENCE)
    with pytest.raises(amqp.ChannelClosedError, match=r"Channel\.queue_purge_ok"):
        ch.close(timeout=PATIENCE)
    (outcome,) = threads.outcomes()
    assert isinstance(outcome, amqp.AMQPTimeoutError), outcome
    with pytest.raises(amqp.AMQPTimeoutError):
        conn.close(timeout=0.1)
