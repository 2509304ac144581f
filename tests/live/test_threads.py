"""Several threads on one connection."""

from __future__ import annotations

import threading
from typing import Callable, Dict, List, Tuple

import pytest

from amqplib.client.channel import Channel
from amqplib.client.connection import Connection
from amqplib.client.message import Message
from tests.live.conftest import Names
from tests.live.helpers import bodies, get, publish, together

THREADS = 8
EACH = 200


def publishers(channel_of: Callable[[int], Channel], queue: str) -> None:
    """Each of the threads publishes its numbers, with bodies that take from none to three frames."""

    def publish_all(thread: int) -> Callable[[], None]:
        def work() -> None:
            ch = channel_of(thread)
            for n in range(EACH):
                headers = {"thread": thread, "n": n}
                body = b"%d" % thread * (n * 2000 if n % 50 == 0 else n)
                ch.basic_publish(Message(body, application_headers=headers), routing_key=queue)

        return work

    together(*map(publish_all, range(THREADS)))


def check(ch: Channel, queue: str) -> None:
    """Everything has come, whole, and in order for each thread."""
    seen: Dict[int, List[int]] = {thread: [] for thread in range(THREADS)}
    for _ in range(THREADS * EACH):
        msg = get(ch, queue)
        thread, n = msg.application_headers["thread"], msg.application_headers["n"]
        assert msg.body == b"%d" % thread * (n * 2000 if n % 50 == 0 else n)
        seen[thread].append(n)
    assert all(numbers == list(range(EACH)) for numbers in seen.values())
    assert ch.basic_get(queue) is None


def test_publishing_on_channels_of_their_own(conn: Connection, ch: Channel, queue: str) -> None:
    publishers(lambda thread: conn.channel(), queue)
    check(ch, queue)


def test_publishing_on_one_channel(conn: Connection, ch: Channel, queue: str) -> None:
    shared = conn.channel()
    publishers(lambda thread: shared, queue)
    check(ch, queue)


def test_large_bodies(conn: Connection, queue: str) -> None:
    """With a timeout on the socket the system takes them in pieces, which must not mix."""
    assert conn.transport
    conn.transport.sock.settimeout(20)
    size, each = 3_000_000, 4

    def work(thread: int) -> Callable[[], None]:
        def run() -> None:
            with conn.channel() as ch:
                publish(ch, queue, *[b"%d" % thread * size] * each)

        return run

    together(*map(work, range(4)))
    ch = conn.channel()
    found = sorted(get(ch, queue).body for _ in range(4 * each))
    assert found == sorted(b"%d" % thread * size for thread in range(4) for _ in range(each))


def test_consuming_on_one_channel(ch: Channel, queue: str) -> None:
    """Every tag gets the callback that it was given."""

    def work() -> None:
        for _ in range(50):

            def callback(msg: Message) -> None:
                raise AssertionError("there are no messages")

            tag = ch.basic_consume(queue, callback=callback)
            assert ch.callbacks[tag] is callback

    together(*[work] * THREADS)
    assert len(ch.callbacks) == THREADS * 50


def test_calls_on_channels_of_their_own(conn: Connection, names: Names) -> None:
    def work(queue: str) -> Callable[[], None]:
        def run() -> None:
            with conn.channel() as ch:
                ch.queue_declare(queue, auto_delete=False)
                for n in range(50):
                    publish(ch, queue, "%s %d" % (queue, n))
                    assert get(ch, queue).body == "%s %d" % (queue, n)
                    assert ch.queue_declare(queue, auto_delete=False)[0] == queue

        return run

    together(*(work(names.queue()) for _ in range(THREADS)))
    assert conn.channels == {0: conn}


def test_calls_on_one_channel(ch: Channel, names: Names) -> None:
    """Every caller gets the answer to its own question."""

    def work(queue: str) -> Callable[[], None]:
        def run() -> None:
            ch.queue_declare(queue, auto_delete=False)
            for n in range(50):
                publish(ch, queue, "%s %d" % (queue, n))
                assert get(ch, queue).body == "%s %d" % (queue, n)
                assert ch.queue_declare(queue, passive=True)[0] == queue

        return run

    together(*(work(names.queue()) for _ in range(THREADS)))


@pytest.mark.parametrize("channels", [1, 2])
def test_a_consumer_and_a_publisher(conn: Connection, queue: str, channels: int) -> None:
    """One thread waits while another publishes, over the same connection, and on the same channel."""
    consuming = conn.channel()
    publishing = consuming if channels == 1 else conn.channel()
    consuming.basic_qos(0, 10, False)
    seen: List[Tuple[object, str]] = []

    def callback(msg: Message) -> None:
        seen.append((msg.body, threading.current_thread().name))
        msg.channel.basic_ack(msg.delivery_tag)
        if msg.body == "quit":
            msg.channel.basic_cancel(msg.consumer_tag)

    consuming.basic_consume(queue, callback=callback)

    def consume() -> None:
        threading.current_thread().name = "the consumer"
        while consuming.callbacks:
            consuming.wait()

    together(consume, lambda: publish(publishing, queue, *map(str, range(1000)), "quit"))
    assert seen == [(body, "the consumer") for body in [*map(str, range(1000)), "quit"]]


def test_calls_while_another_thread_waits(conn: Connection, queue: str, names: Names) -> None:
    """The one that waits reads the answers of the others, and passes them on."""
    waiting = conn.channel()
    seen: List[Message] = []
    waiting.basic_consume(queue, no_ack=True, callback=seen.append)

    def call() -> None:
        with conn.channel() as ch:
            for _ in range(100):
                ch.queue_declare(queue, passive=True)
            publish(ch, queue, "go on")

    together(waiting.wait, call)
    assert [msg.body for msg in seen] == ["go on"]


def test_consumers_on_channels_of_their_own(conn: Connection, names: Names) -> None:
    """Each of the threads waits on its channel, and runs the callbacks of that one only."""
    queues = [names.queue() for _ in range(THREADS)]
    ch = conn.channel()
    for queue in queues:
        ch.queue_declare(queue, auto_delete=False)
    seen: Dict[str, List[Tuple[object, int]]] = {queue: [] for queue in queues}

    def consume(queue: str) -> Callable[[], None]:
        def run() -> None:
            with conn.channel() as ch:

                def callback(msg: Message) -> None:
                    seen[queue].append((msg.body, threading.get_ident()))
                    if msg.body == "quit":
                        ch.basic_cancel(msg.consumer_tag)

                ch.basic_consume(queue, no_ack=True, callback=callback)
                while ch.callbacks:
                    ch.wait()

        return run

    def produce() -> None:
        for n in [*map(str, range(100)), "quit"]:
            for queue in queues:
                publish(ch, queue, n)

    together(*map(consume, queues), produce)
    for queue in queues:
        assert [body for body, _ in seen[queue]] == [*map(str, range(100)), "quit"]
        assert len({thread for _, thread in seen[queue]}) == 1
        assert bodies(ch, queue) == []
    assert len({thread for events in seen.values() for _, thread in events}) == THREADS


def test_channels_opened_and_closed(conn: Connection) -> None:
    def run() -> None:
        for _ in range(50):
            with conn.channel() as ch:
                ch.queue_declare(exclusive=True)

    together(*[run] * THREADS)
    assert conn.channels == {0: conn}


def test_close_wakes_who_waits(conn: Connection) -> None:
    """Closing the connection from another thread ends a wait()."""
    waiting = [conn.channel() for _ in range(3)]

    def wait(ch: Channel) -> Callable[[], None]:
        def run() -> None:
            with pytest.raises(OSError, match="closed by this program"):
                ch.wait()

        return run

    timer = threading.Timer(0.2, conn.close)
    timer.start()
    together(*map(wait, waiting))
    timer.join()
