"""Proves that threads, and signal handlers, that use one channel get what is theirs: every publish arrives and has the
tag that the broker gives it, nobody is told that another's refused message is safe, no message waits unseen."""

from __future__ import annotations

import socket
import sys
import threading
import time
from contextlib import nullcontext, suppress
from typing import Any, Callable, Deque, Iterator, List, Optional

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from amqplib.client import batching
from amqplib.client.confirms import Confirms
from amqplib.client.transport import Data, Wait

from .peer import PATIENCE

#: A frame of it is longer than what batch() gathers.
LARGE = b"x" * 65500


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@pytest.fixture
def conn(broker: Broker) -> Iterator[amqp.Connection]:
    connection = amqp.Connection(broker.address, reply_timeout=PATIENCE, write_timeout=PATIENCE)
    yield connection
    broker.faults.clear()
    with suppress(amqp.AMQPConnectionException):
        connection.close()


@pytest.fixture
def ch(conn: amqp.Connection) -> amqp.Channel:
    """A channel that has declared the queue 'q'."""
    channel = conn.channel()
    channel.queue_declare("q", auto_delete=False)
    return channel


def publish(ch: amqp.Channel, body: bytes = b"x") -> Optional[int]:
    return ch.basic_publish(amqp.Message(body), routing_key="q")


def started(function: Callable[[], Any], wait: float = PATIENCE) -> threading.Thread:
    """A thread that does it, after `wait` seconds at most."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(wait)
    return thread


def in_the_middle_of_the_next_write(ch: amqp.Channel, what: Callable[[], Any]) -> None:
    transport = ch._link.transport
    write = transport.write

    def interrupted(data: Data, wait: Wait) -> int:
        transport.write = write  # type: ignore[method-assign]
        what()
        return write(data, wait)

    transport.write = interrupted  # type: ignore[method-assign]


def check_books(broker: Broker, ch: amqp.Channel, publishes: int) -> None:
    """All have arrived, and the broker's tags are the channel's."""
    ch.wait_for_confirms(timeout=PATIENCE)
    assert broker.queues()["q"].messages == publishes
    broker.faults.nack_every(1)
    with pytest.raises(amqp.UnconfirmedError) as caught:
        ch.basic_publish_confirm(amqp.Message(b"refused"), routing_key="q", timeout=PATIENCE)
    assert list(caught.value.nacked) == [publishes + 1]


# --- batch()


@pytest.mark.parametrize("confirms", [False, True])
def test_another_thread_publishes_while_the_last_of_a_batch_is_sent(
    broker: Broker, ch: amqp.Channel, confirms: bool
) -> None:
    if confirms:
        ch.confirm_select()
    threads: List[threading.Thread] = []
    in_the_middle_of_the_next_write(ch, lambda: threads.append(started(lambda: publish(ch), 0.1)))
    with ch.batch():
        publish(ch)
    threads[0].join(PATIENCE)
    if confirms:
        check_books(broker, ch, 2)
    else:
        ch.queue_declare("q", passive=True)
        assert broker.queues()["q"].messages == 2


def test_batches_and_publishes_of_two_threads(broker: Broker, ch: amqp.Channel) -> None:
    ch.confirm_select()
    count = 20000

    def batches() -> None:
        for _ in range(count // 10):
            with ch.batch():
                for _ in range(10):
                    publish(ch)

    thread = started(batches, 0)
    for _ in range(count):
        publish(ch)
    thread.join(PATIENCE)
    check_books(broker, ch, 2 * count)


def test_a_batch_within_another_threads(broker: Broker, ch: amqp.Channel) -> None:
    """Its end sends what is in it, and that of the other one what came later."""

    def within() -> None:
        with ch.batch():
            publish(ch)

    with ch.batch():
        started(within)
        with amqp.Connection(broker.address) as other:
            assert other.channel().queue_declare("q", passive=True)[1] == 1
        publish(ch)
    ch.queue_declare("q", passive=True)
    assert broker.queues()["q"].messages == 2


def test_a_signal_handler_fills_a_batch_in_the_middle_of_sending(
    broker: Broker, conn: amqp.Connection, ch: amqp.Channel
) -> None:
    """What cannot be sent then is kept, and is no error."""
    other = conn.channel()
    tags: List[Optional[int]] = []
    ch.confirm_select()
    with ch.batch():
        in_the_middle_of_the_next_write(ch, lambda: tags.extend(publish(ch, LARGE[:30000]) for _ in range(3)))
        other.basic_publish(amqp.Message(b"x"), routing_key="nobody")
        tags.append(publish(ch))
    assert tags == [1, 2, 3, 4]
    check_books(broker, ch, 4)


def test_a_signal_handler_publishes_at_the_end_of_a_batch(broker: Broker, ch: amqp.Channel) -> None:
    """What a signal handler publishes while the last is sent must not overtake that."""
    ch.confirm_select()

    def handler() -> None:
        with pytest.raises(amqp.NestedCallError):
            publish(ch)
        with pytest.raises(amqp.NestedCallError), ch.batch():
            publish(ch)

    in_the_middle_of_the_next_write(ch, handler)
    with ch.batch():
        publish(ch)
    check_books(broker, ch, 1)


def test_a_batch_that_cannot_be_sent(conn: amqp.Connection, ch: amqp.Channel) -> None:
    """Its publishes have been counted: no more can be on this channel."""
    ch.confirm_select()

    def handler() -> None:
        with pytest.raises(amqp.NestedCallError), ch.batch():
            publish(ch)

    in_the_middle_of_the_next_write(ch, handler)
    publish(conn.channel())
    with pytest.raises(amqp.ChannelClosedError, match="a batch could not be sent"):
        publish(ch)
    assert list(ch.unconfirmed) == [1]


def test_a_deadline_inside_a_batch(broker: Broker, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """It holds for what is sent because enough is gathered, too."""
    assert conn.transport
    conn.transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    ch.confirm_select()
    broker.faults.stall()
    began = time.monotonic()
    for _ in range(20):
        with suppress(amqp.UnconfirmedError, amqp.ConnectionLostError), ch.batch():
            ch.basic_publish_confirm(amqp.Message(LARGE), routing_key="q", timeout=0.05)
        if not ch.is_open:
            break
    assert time.monotonic() - began < PATIENCE / 2


def test_a_deadline_while_another_thread_sends_a_batch(broker: Broker, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """That thread cannot go on, and this one has added to what it sends."""
    assert conn.transport
    conn.transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    broker.faults.stall()

    def batch() -> None:
        with suppress(amqp.AMQPConnectionException, amqp.AMQPTimeoutError), ch.batch():
            for _ in range(200):
                publish(ch, LARGE)

    thread = started(batch, 0.5)
    publish(ch)
    began = time.monotonic()
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.wait(timeout=0.2)
    with pytest.raises(amqp.AMQPTimeoutError):
        conn.drain_events(timeout=0.2)
    assert time.monotonic() - began < PATIENCE / 2
    broker.faults.resume()
    thread.join(PATIENCE)


# --- confirm_select()


@pytest.mark.parametrize("batch", [False, True])
def test_confirm_select_overtakes_another_threads_publish(
    broker: Broker, ch: amqp.Channel, monkeypatch: pytest.MonkeyPatch, batch: bool
) -> None:
    """Then that is counted."""
    sender = ch._link.sender
    make = sender.publish

    def late(*args: Any) -> Any:
        monkeypatch.setattr(sender, "publish", make)
        started(ch.confirm_select)
        return make(*args)

    publish(ch)
    monkeypatch.setattr(sender, "publish", late)
    if batch:
        with ch.batch():
            assert publish(ch) == 1
    else:
        assert publish(ch) == 1
    assert publish(ch) == 2
    ch.wait_for_confirms(timeout=PATIENCE)
    assert broker.queues()["q"].messages == 3


@pytest.mark.parametrize("batch", [False, True])
def test_confirm_select_among_publishes(broker: Broker, conn: amqp.Connection, batch: bool) -> None:
    broker.faults.nack_every(1)
    for _ in range(10):
        ch = conn.channel()
        tags: List[Optional[int]] = []
        over = threading.Event()

        def publishes(ch: amqp.Channel = ch, over: threading.Event = over, tags: List[Any] = tags) -> None:
            while not over.is_set():
                with ch.batch() if batch else nullcontext():
                    tags.extend([publish(ch) for _ in range(7)])

        thread = started(publishes, 0.005)
        ch.confirm_select()
        time.sleep(0.005)
        over.set()
        thread.join(PATIENCE)
        assert [tag for tag in tags if tag] == list(range(1, len(tags) - tags.count(None) + 1))
        with pytest.raises(amqp.UnconfirmedError) as caught:
            ch.basic_publish_confirm(amqp.Message(b"last"), routing_key="q", timeout=PATIENCE)
        assert list(caught.value.nacked) == [len(tags) - tags.count(None) + 1]
        ch.close()


def test_a_signal_handler_publishes_while_confirm_select_is_sent(broker: Broker, ch: amqp.Channel) -> None:
    refused: List[amqp.NestedCallError] = []

    def handler() -> None:
        with pytest.raises(amqp.NestedCallError) as caught:
            publish(ch)
        refused.append(caught.value)

    in_the_middle_of_the_next_write(ch, handler)
    ch.confirm_select()
    assert len(refused) == 1
    publish(ch)
    check_books(broker, ch, 1)


def test_a_confirm_select_that_is_not_sent(broker: Broker, ch: amqp.Channel) -> None:
    """Nothing is counted then."""

    def handler() -> None:
        with pytest.raises(amqp.NestedCallError):
            ch.confirm_select()

    in_the_middle_of_the_next_write(ch, handler)
    assert publish(ch) is None
    assert publish(ch) is None
    ch.confirm_select()
    assert publish(ch) == 1


# --- who is told


def test_a_refused_message_is_reported_to_all_who_wait_for_it(broker: Broker, ch: amqp.Channel) -> None:
    broker.faults.nack_every(1)
    broker.faults.delay_confirms(0.05)
    ch.confirm_select()
    told: List[List[int]] = []

    def wait() -> None:
        try:
            ch.wait_for_confirms(timeout=PATIENCE)
        except amqp.UnconfirmedError as exc:
            told.append(list(exc.nacked))

    for tag in range(1, 11):
        del told[:]
        threads = [threading.Thread(target=wait) for _ in range(2)]
        publish(ch)
        for thread in threads:
            thread.start()
        with pytest.raises(amqp.UnconfirmedError) as caught:
            ch.basic_publish_confirm(amqp.Message(b"x"), routing_key="q", timeout=PATIENCE)
        for thread in threads:
            thread.join(PATIENCE)
        assert list(caught.value.nacked) == [2 * tag]
        assert len(told) == 2
        assert {number for numbers in told for number in numbers} == {2 * tag - 1, 2 * tag}
    ch.wait_for_confirms(timeout=PATIENCE)  # all has been reported


def test_the_books_for_several_who_wait() -> None:
    confirms = Confirms()
    messages = {confirms.sent(amqp.Message("%d" % number)): number for number in range(3)}
    first, second, third = (confirms.begin_to_wait() for _ in range(3))
    confirms.settle(1, False, False)
    confirms.settle(2, False, False)
    assert [list(found) for found in confirms.collect_one(2, first)] == [[2], [], []]
    confirms.wait_no_more(first)
    assert [list(found) for found in confirms.collect(second)] == [[1, 2], [], [3]]
    confirms.wait_no_more(second)
    assert [list(found) for found in confirms.collect_one(1, third)] == [[1], [], []]
    assert [list(found) for found in confirms.collect_one(3, third)] == [[], [], [3]]
    confirms.wait_no_more(third)
    assert [list(found) for found in confirms.collect()] == [[], [], [3]]
    assert vars(confirms)["_waiting"] == []
    assert len(messages) == 3


# --- receiving


@pytest.mark.parametrize("timeout", [None, PATIENCE])
def test_two_threads_iterate_on_one_channel(broker: Broker, ch: amqp.Channel, timeout: Optional[float]) -> None:
    """Whichever of them reads a message, the one that it is for gets it at once."""
    ch.queue_declare("q2", auto_delete=False)
    seen: List[str] = []

    def iterate(queue: str) -> None:
        for msg in ch.consume(queue, timeout=timeout):
            msg.ack()
            seen.append(queue)
            if msg.body == "quit":
                return

    with amqp.Connection(broker.address) as other, other.channel() as publisher:
        threads = [started(lambda queue=queue: iterate(queue), 0.1) for queue in ("q", "q2")]  # type: ignore[misc]
        sent: List[str] = []
        for queue in ("q2", "q2", "q", "q", "q2", "q"):
            publisher.basic_publish(amqp.Message("quit" if len(sent) > 3 else "x"), routing_key=queue)
            sent.append(queue)
            until = time.monotonic() + 3
            while seen != sent and time.monotonic() < until:
                time.sleep(0.01)
            assert seen == sent
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_another_thread_hears_that_the_consumer_is_ended(broker: Broker, ch: amqp.Channel) -> None:
    """The iteration ends all the same."""
    thread = started(lambda: list(ch.consume("q")), 0.1)
    over = threading.Event()

    def wait() -> None:
        while not over.is_set():
            with suppress(amqp.AMQPTimeoutError):
                ch.wait(timeout=0.1)

    other = started(wait, 0.1)
    broker.faults.cancel_consumers()
    thread.join(3)
    over.set()
    other.join(PATIENCE)
    assert not thread.is_alive()


def test_batches_that_begin_and_end_while_another_thread_publishes(ch: amqp.Channel) -> None:
    """Nothing is left in a batch that has ended, were it empty until just then."""
    over = threading.Event()

    def batches() -> None:
        while not over.is_set():
            with ch.batch():
                pass

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread = started(batches, 0)
        for _ in range(3000):
            publish(ch)
    finally:
        over.set()
        sys.setswitchinterval(before)
    thread.join(PATIENCE)
    assert ch.queue_declare("q", passive=True)[1] == 3000


def test_a_publish_that_comes_just_behind_the_end_of_a_batch(ch: amqp.Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    """All has been sent, and then another thread, which has seen the batch, adds to it: it will look itself."""

    class Late(Deque[bytes]):
        def __bool__(self) -> bool:
            found = len(self) > 0
            if not found and ch._gathered is batching._ENDING:
                self.append(b"late")
            return found

    monkeypatch.setattr(batching, "deque", Late)
    with ch.batch():
        publish(ch)
    assert ch.is_open
    publish(ch)
    assert ch.queue_declare("q", passive=True)[1] == 2
