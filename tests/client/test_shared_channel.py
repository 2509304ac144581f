"""Proves that threads, and signal handlers, that use one channel get what is theirs: every publish arrives and has the
tag that the broker gives it, nobody is told that another's refused message is safe, no message waits unseen."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any, Callable, Iterator, List, Optional

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from amqplib.client.net.transport import Data
from tests.rest import await_rest
from tests.waits import waits

from .full import await_full
from .moments import moments
from .peer import PATIENCE
from .threads import Threads

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


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end
        time.sleep(0.001)


def in_the_middle_of_the_next_write(ch: amqp.Channel, what: Callable[[], Any]) -> None:
    assert ch.connection
    transport = ch.connection.transport
    assert transport
    send = transport.send

    def interrupted(data: Data) -> int:
        transport.send = send  # type: ignore[method-assign]
        what()
        return send(data)

    transport.send = interrupted  # type: ignore[method-assign]


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
    count = 5000

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
    """What a signal handler publishes while the last is sent does not overtake that: it is gathered behind it."""
    ch.confirm_select()
    tags: List[Optional[int]] = []

    def handler() -> None:
        tags.append(publish(ch))
        with ch.batch():
            tags.append(publish(ch))

    in_the_middle_of_the_next_write(ch, handler)
    with ch.batch():
        tags.append(publish(ch))
    assert tags == [2, 3, 1] or tags == [1, 2, 3]
    check_books(broker, ch, 3)


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
    for _ in range(200):
        lost = (amqp.UnconfirmedError, amqp.ConnectionLostError, amqp.AMQPTimeoutError)
        with waits(0.09, 0.11), pytest.raises(lost), ch.batch():
            ch.basic_publish_confirm(amqp.Message(LARGE), routing_key="q", timeout=0.1)
        if not ch.is_open:
            break
    assert not ch.is_open  # for in the end a part of one has gone


def test_a_deadline_while_another_thread_sends_a_batch(broker: Broker, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """That thread cannot go on, and this one has added to what it sends."""
    assert conn.transport
    conn.transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    broker.faults.stall()

    def batch() -> None:
        with suppress(amqp.AMQPConnectionException, amqp.AMQPTimeoutError), ch.batch():
            for _ in range(200):
                publish(ch, LARGE)

    thread = started(batch, 0)
    await_full(conn)
    publish(ch)
    with waits(0.19, 0.21), pytest.raises(amqp.AMQPTimeoutError):
        ch.wait(timeout=0.2)
    with waits(0.19, 0.21), pytest.raises(amqp.AMQPTimeoutError):
        conn.drain_events(timeout=0.2)
    broker.faults.resume()
    thread.join(PATIENCE)


# --- confirm_select()


class Slow(amqp.Message):
    """A message at which something else happens before its body can be had."""

    def __init__(self, meanwhile: Callable[[], Any]) -> None:
        super().__init__()
        self.meanwhile = meanwhile

    @property
    def body(self) -> bytes:
        self.meanwhile()
        return b"x"

    @body.setter
    def body(self, value: bytes) -> None:
        """There is none to be set."""


@pytest.mark.parametrize("batch", [False, True])
def test_confirm_select_overtakes_another_threads_publish(broker: Broker, ch: amqp.Channel, batch: bool) -> None:
    """Then that is counted."""
    publish(ch)
    slow = Slow(lambda: started(ch.confirm_select))
    with ch.batch() if batch else nullcontext():
        assert ch.basic_publish(slow, routing_key="q") == 1
    assert publish(ch) == 2
    ch.wait_for_confirms(timeout=PATIENCE)
    assert broker.queues()["q"].messages == 3


def test_confirm_select_overtakes_a_mandatory_publish(broker: Broker, conn: amqp.Connection) -> None:
    """At whatever moment that is: a message that comes back is never called safe."""
    for moment in moments("client/channel.py", "client/driver.py", "client/sending.py"):
        ch = conn.channel()
        others: List[threading.Thread] = []

        def overtake(ch: amqp.Channel = ch, others: List[threading.Thread] = others) -> None:
            others.append(started(ch.confirm_select, 0.02))  # it may have to wait for the lock

        with moment(overtake):
            tag = ch.basic_publish(amqp.Message(b"x"), routing_key="nobody", mandatory=True)
        for thread in others:
            thread.join(PATIENCE)
        ch.confirm_select()
        if tag is None:
            ch.wait_for_confirms(timeout=PATIENCE)
            assert ch.returned_messages.get_nowait()[4].body == b"x"
        else:
            with pytest.raises(amqp.UnconfirmedError) as caught:
                ch.wait_for_confirms(timeout=PATIENCE)
            assert list(caught.value.returned) == [tag]
        assert ch.returned_messages.empty()
        ch.close()


@pytest.mark.parametrize("batch", [False, True])
def test_confirm_select_among_publishes(broker: Broker, conn: amqp.Connection, batch: bool, hurried: None) -> None:
    broker.faults.nack_every(1)
    for _ in range(10):
        ch = conn.channel()
        tags: List[Optional[int]] = []
        over = threading.Event()

        def publishes(ch: amqp.Channel = ch, over: threading.Event = over, tags: List[Any] = tags) -> None:
            while not over.is_set():
                with ch.batch() if batch else nullcontext():
                    tags.extend([publish(ch) for _ in range(7)])

        thread = started(publishes, 0)
        until(lambda tags=tags: len(tags) >= 7)  # type: ignore[misc]
        ch.confirm_select()
        uncounted = len(tags)
        until(lambda tags=tags, more=uncounted + 14: len(tags) >= more)  # type: ignore[misc]
        over.set()
        thread.join(PATIENCE)
        assert tags.count(None) >= 7
        assert tags[-1]
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
    ch.confirm_select()

    def told(call: Callable[[], Any]) -> List[int]:
        with pytest.raises(amqp.UnconfirmedError) as caught:
            call()
        return list(caught.value.nacked)

    for tag in range(1, 11):
        threads = Threads()
        broker.faults.stall()  # until all wait
        publish(ch)
        for _ in range(2):
            threads.start(told, lambda: ch.wait_for_confirms(timeout=PATIENCE))
        threads.start(told, partial(ch.basic_publish_confirm, amqp.Message(b"x"), routing_key="q", timeout=PATIENCE))
        await_rest()
        broker.faults.resume()
        first, second, single = threads.results()
        assert single == [2 * tag]
        assert {*first, *second} == {2 * tag - 1, 2 * tag}
    ch.wait_for_confirms(timeout=PATIENCE)  # all has been reported


def test_one_begins_to_wait_as_another_ends(broker: Broker, conn: amqp.Connection) -> None:
    """At whatever moment that is, a refused message is reported to the one that waits for it."""

    def told(call: Callable[[], Any]) -> List[int]:
        try:
            call()
        except amqp.UnconfirmedError as exc:
            return list(exc.nacked)
        return []

    for moment in moments("protocol/confirms.py", functions=("begin_to_wait", "wait_no_more")):
        ch = conn.channel()
        ch.confirm_select()
        broker.faults.stall()
        publish(ch)
        threads = Threads()
        begun: List[bool] = []
        threads.start(
            told, partial(ch.wait_for_confirms, timeout=PATIENCE)
        )  # and reads, and so is the first to collect
        await_rest()

        def begin(ch: amqp.Channel = ch, threads: Threads = threads, begun: List[bool] = begun) -> None:
            begun.append(True)
            threads.start(told, partial(ch.basic_publish_confirm, amqp.Message(b"x"), routing_key="q"))
            await_rest()

        with moment(begin), suppress(amqp.ConfirmTimeoutError):
            ch.wait_for_confirms(timeout=0)
        until(lambda ch=ch, begun=begun: len(ch.unconfirmed) == 1 + len(begun))  # type: ignore[misc]
        await_rest()
        broker.faults.nack_every(1)
        broker.faults.resume()
        assert threads.results() == ([[1, 2], [2]] if begun else [[1]])
        broker.faults.clear()
        ch.close()


# --- receiving


@pytest.mark.parametrize("timeout", [None, PATIENCE])
def test_two_threads_iterate_on_one_channel(
    broker: Broker, ch: amqp.Channel, woken: None, timeout: Optional[float]
) -> None:
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
        threads = [started(lambda queue=queue: iterate(queue), 0) for queue in ("q", "q2")]  # type: ignore[misc]
        await_rest()
        sent: List[str] = []
        for queue in ("q2", "q2", "q", "q", "q2", "q"):
            publisher.basic_publish(amqp.Message("quit" if len(sent) > 3 else "x"), routing_key=queue)
            sent.append(queue)
            until(lambda: seen == sent)
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_another_thread_hears_that_the_consumer_is_ended(broker: Broker, ch: amqp.Channel) -> None:
    """The iteration ends all the same."""
    thread = started(lambda: list(ch.consume("q")), 0)
    await_rest()
    over = threading.Event()

    def wait() -> None:
        while not over.is_set():
            with suppress(amqp.AMQPTimeoutError):
                ch.wait(timeout=0.1)

    other = started(wait, 0.1)
    broker.faults.cancel_consumers()
    thread.join(PATIENCE)
    over.set()
    other.join(PATIENCE)
    assert not thread.is_alive()


def test_batches_that_begin_and_end_while_another_thread_publishes(ch: amqp.Channel, hurried: None) -> None:
    """Nothing is left in a batch that has ended, were it empty until just then."""
    over = threading.Event()

    def batches() -> None:
        while not over.is_set():
            with ch.batch():
                pass

    thread = started(batches, 0)
    try:
        for _ in range(3000):
            publish(ch)
    finally:
        over.set()
    thread.join(PATIENCE)
    assert ch.queue_declare("q", passive=True)[1] == 3000


@pytest.mark.parametrize("same_thread", [False, True])
def test_a_publish_at_every_moment_of_the_end_of_a_batch(conn: amqp.Connection, same_thread: bool) -> None:
    """Of another thread, or of a signal handler: it goes with the batch or behind it, and is not left anywhere."""
    number = 0
    for number, moment in enumerate(
        moments("client/driver.py", "client/sending.py", "protocol/gates.py", "client/output.py")
    ):
        ch = conn.channel()
        queue = "q%d" % number
        ch.queue_declare(queue)
        published: List[bool] = []

        def another(ch: amqp.Channel = ch, queue: str = queue, published: List[bool] = published) -> None:
            try:
                ch.basic_publish(amqp.Message(b"another"), routing_key=queue)
            except amqp.NestedCallError:
                published.append(False)
            else:
                published.append(True)

        batch = ch.batch()
        batch.__enter__()
        ch.basic_publish(amqp.Message(b"x"), routing_key=queue)
        others: List[threading.Thread] = []
        with moment(another if same_thread else lambda: others.append(started(another, 0.01))):  # noqa: B023
            batch.__exit__(None, None, None)
        for thread in others:
            thread.join(PATIENCE)
        assert ch.is_open
        assert same_thread or published == [True] * len(others)
        assert ch.queue_declare(queue, passive=True)[1] == 1 + sum(published), "one is left"
        ch.close()
    assert number > 50
