"""Proves that stop_consuming() ends the loops on a channel after the message in hand, whoever calls it; none is lost.

Another thread and a callback are served at once. A signal handler may come in the middle of anything: it is called at
each moment of a loop, and the loop ends all the same.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from tests.rest import await_rest

from .moments import moments
from .peer import PATIENCE
from .threads import Threads

# whoever waits is woken
pytestmark = pytest.mark.usefixtures("woken")

#: Messages in the queue.
MANY = 6

Work = Callable[[amqp.Message], None]


def by_wait(ch: amqp.Channel, work: Work) -> None:
    ch.basic_consume("q", callback=work)
    while ch.callbacks:
        ch.wait(timeout=PATIENCE)


def by_drain_events(ch: amqp.Channel, work: Work) -> None:
    ch.basic_consume("q", callback=work)
    assert ch.connection
    while ch.callbacks:
        ch.connection.drain_events(timeout=PATIENCE)


def by_consume(ch: amqp.Channel, work: Work) -> None:
    for msg in ch.consume("q", timeout=PATIENCE):
        work(msg)


LOOPS: Dict[str, Callable[[amqp.Channel, Work], None]] = {
    "wait": by_wait,
    "drain_events": by_drain_events,
    "consume": by_consume,
}

each_loop = pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)


class Place(NamedTuple):
    """A broker with a queue, a channel on it, and another one to look at it."""

    broker: Broker
    ch: amqp.Channel
    other: amqp.Channel

    def left(self) -> int:
        """How many messages are in the queue, none of them on its way to anybody."""
        assert self.broker.queues()["q"].unacknowledged == 0
        return self.other.queue_declare("q", passive=True).message_count

    def fill(self, many: int = MANY) -> None:
        for number in range(many):
            self.other.basic_publish(amqp.Message(b"%d" % number), routing_key="q")


@pytest.fixture
def place() -> Iterator[Place]:
    with Broker() as broker, amqp.Connection(broker.address, heartbeat=0, reply_timeout=PATIENCE) as conn:
        looking = amqp.Connection(broker.address, heartbeat=0)
        found = Place(broker, conn.channel(), looking.channel())
        found.other.queue_declare("q")
        yield found
        looking.close()


def begin(threads: Threads, loop: Any, ch: amqp.Channel, work: Any) -> None:
    """Have a thread be in the loop, which waits, or works."""
    threads.start(loop, ch, work)
    deadline = time.monotonic() + PATIENCE
    while not ch.callbacks:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    await_rest()


def settled(ch: amqp.Channel) -> None:
    """What the channel has sent has been dealt with by the broker."""
    ch.queue_declare("q", passive=True)


# --- by a callback, and by another thread


@each_loop
def test_the_message_in_hand_is_the_last_one(place: Place, loop: Any) -> None:
    done: List[bytes] = []

    def work(msg: amqp.Message) -> None:
        place.ch.stop_consuming()
        assert not place.ch.callbacks
        done.append(msg.body)  # type: ignore[arg-type]
        msg.ack()

    place.fill()
    loop(place.ch, work)
    settled(place.ch)
    assert done == [b"0"]
    assert place.left() == MANY - 1
    assert place.ch.is_open


@each_loop
def test_another_thread_while_the_loop_waits(place: Place, threads: Threads, loop: Any) -> None:
    done: List[Any] = []
    begin(threads, loop, place.ch, done.append)
    place.ch.stop_consuming()
    threads.results()
    assert not done


@each_loop
def test_another_thread_while_a_message_is_in_hand(place: Place, threads: Threads, loop: Any) -> None:
    """Also with others delivered already: nobody reads meanwhile but who calls this."""
    begun, stopped, done = threading.Event(), threading.Event(), []

    def work(msg: amqp.Message) -> None:
        begun.set()
        assert stopped.wait(PATIENCE)
        done.append(msg.body)
        msg.ack()

    place.fill()
    threads.start(loop, place.ch, work)
    assert begun.wait(PATIENCE)
    place.ch.stop_consuming()
    stopped.set()
    threads.results()
    settled(place.ch)
    assert done == [b"0"]
    assert place.left() == MANY - 1


@each_loop
def test_all_consumers_of_this_channel_and_of_no_other(place: Place, loop: Any) -> None:
    assert place.ch.connection
    beside = place.ch.connection.channel()
    beside.basic_consume("q", "beside", callback=lambda msg: None)
    beside.basic_cancel("beside")
    beside.callbacks["beside"] = lambda msg: None
    place.other.queue_declare("r")
    for tag in "one", "two":
        place.ch.basic_consume("r", tag, callback=lambda msg: None)
    place.fill(1)
    loop(place.ch, lambda msg: place.ch.stop_consuming())
    assert not place.ch.callbacks
    assert list(beside.callbacks) == ["beside"]
    assert place.broker.queues()["r"].consumers == 0


def test_what_cannot_go_back_is_told_of(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.fill()
    seen: List[Any] = []
    place.ch.basic_consume("q", callback=seen.append, no_ack=True)
    while place.ch.pending() < MANY:
        settled(place.ch)
    with caplog.at_level(logging.WARNING, "amqplib"):
        place.ch.stop_consuming()
    assert "%d messages are lost" % MANY in caplog.text
    assert not seen


def test_consumers_that_are_made_later(place: Place) -> None:
    place.ch.stop_consuming()  # there are none
    place.fill()
    done: List[bytes] = []

    def work(msg: amqp.Message) -> None:
        done.append(msg.body)  # type: ignore[arg-type]
        msg.ack()
        if len(done) % 3 == 0:
            place.ch.stop_consuming()

    by_wait(place.ch, work)
    assert len(done) == 3
    by_consume(place.ch, work)
    assert done == [b"%d" % number for number in range(MANY)]


def test_what_is_over_is_left_alone(place: Place) -> None:
    conn = place.ch.connection
    assert conn
    other = conn.channel()
    place.ch.close()
    place.ch.stop_consuming()
    conn.close()
    other.stop_consuming()


# --- by a signal handler


FILES = {
    "channel": ("client/channel.py",),
    "consuming": ("client/consuming.py", "client/handlers.py"),
    "message": ("client/message.py", "client/channel_methods.py"),
    "sending": ("client/sending.py", "client/output.py"),
    "driver": ("client/driver.py",),
    "calling": ("client/calling.py",),
    "connection": ("client/connection.py", "protocol/session.py", "protocol/port.py"),
}


@pytest.mark.timeout(300)
@each_loop
@pytest.mark.parametrize("files", FILES.values(), ids=FILES)
def test_at_every_moment_of_a_loop(loop: Any, files: Any) -> None:
    """It is served then, or the loop ends before it handles another message; and what was not handled is there."""
    with Broker() as broker, amqp.Connection(broker.address, heartbeat=0, reply_timeout=PATIENCE) as conn:
        look = amqp.Connection(broker.address, heartbeat=0)
        place = Place(broker, conn.channel(), look.channel())
        place.other.queue_declare("q")
        for moment in moments(*files):
            ch = conn.channel()
            place.other.queue_purge("q")
            place.fill(3)
            done: List[bytes] = []
            at: List[int] = []

            def stop(ch: amqp.Channel = ch, done: List[bytes] = done, at: List[int] = at) -> None:
                if ch.callbacks:
                    at.append(len(done))
                ch.stop_consuming()

            def work(msg: amqp.Message, ch: amqp.Channel = ch, done: List[bytes] = done) -> None:
                msg.ack()
                done.append(msg.body)  # type: ignore[arg-type]
                if len(done) == 3:
                    ch.stop_consuming()

            with moment(stop):
                loop(ch, work)
            ch.queue_declare("q", passive=True)  # what is on its way to the broker has come there
            assert ch.is_open
            assert not ch.callbacks
            assert not at or len(done) <= at[0] + 1
            assert place.left() == 3 - len(done)
            assert done == [b"%d" % number for number in range(len(done))]
            ch.close()
        look.close()


#: Where a thread is on its way into the system's wait for something to come.
WAITING = ("client/line.py", "client/driver.py", "client/net/transport.py", "client/net/waker.py")


@each_loop
def test_at_every_moment_before_a_loop_rests(place: Place, loop: Any) -> None:
    """Nothing comes that would wake it: it is served then, or does not sit down to wait."""
    for moment in moments(*WAITING, functions={"wait_for_method"}):
        assert place.ch.connection
        ch, threads, over = place.ch.connection.channel(), Threads(), threading.Event()
        at: List[bool] = []
        rested: List[bool] = []

        def stop(ch: amqp.Channel = ch, at: List[bool] = at) -> None:
            at.append(True)
            ch.stop_consuming()

        def end(over: threading.Event = over, at: List[bool] = at, rested: List[bool] = rested) -> None:
            if over.wait(0.1):  # the usual case, and a rest is not waited for
                return
            await_rest()
            if not at:
                rested.append(True)
                place.fill(1)

        def work(msg: amqp.Message, ch: amqp.Channel = ch) -> None:
            msg.ack()
            ch.stop_consuming()

        threads.start(end)
        with moment(stop):
            loop(ch, work)
        over.set()
        threads.results()
        assert ch.is_open
        ch.close()
        if rested:
            return
    pytest.fail("it never rests")


@each_loop
def test_in_the_middle_of_sending_beside_a_loop(place: Place, loop: Any) -> None:
    """Where the main thread sends and another one has the loop, that one is woken."""
    assert place.ch.connection
    publisher = place.ch.connection.channel()
    for moment in moments("client/sending.py", "client/net/transport.py"):
        threads = Threads()
        begin(threads, loop, place.ch, lambda msg: None)
        with moment(place.ch.stop_consuming):
            publisher.basic_publish(amqp.Message(b"x"), routing_key="nowhere")
        place.ch.stop_consuming()  # at the last round nothing was interrupted
        threads.results()
        assert not place.ch.callbacks
