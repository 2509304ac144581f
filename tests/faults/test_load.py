"""Many threads, many channels, many messages on one connection: nothing is lost, mixed up or left over."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Dict, List

import pytest

from .conftest import Rabbit
from .harness import LONG

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600 if LONG else 300)]

THREADS = 24
PUBLISHES = 5000 if LONG else 500
ACKS = 100000 if LONG else 10000
OPENS = 2500 if LONG else 500
CHANNELS = 2047


def in_threads(number: int, work: Callable[[int], Any]) -> None:
    """Do it in so many threads at once; raises what one of them raised."""
    errors: List[BaseException] = []

    def run(which: int) -> None:
        try:
            work(which)
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(which,), daemon=True) for which in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(pytestmark[1].args[0])
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


@pytest.mark.parametrize("shared", [False, True], ids=["a channel each", "a channel for all"])
def test_publishing_threads(rabbit: Rabbit, shared: bool) -> None:
    """All that they publish arrives, whole, and each thread's in order."""
    amqp, broker = rabbit
    with amqp.Connection(**broker.login) as conn, conn.channel() as ch:
        qname = ch.queue_declare(exclusive=True, auto_delete=False)[0]
        channels = [conn.channel() for _ in range(1 if shared else THREADS)]
        if conn.protocol == "0-9-1":
            for each in channels:
                each.confirm_select(window=1000)

        def publish(which: int) -> None:
            mine = channels[0 if shared else which]
            for number in range(PUBLISHES):
                body = b"%d %d %s" % (which, number, b"x" * (which * number % 2000))
                mine.basic_publish(amqp.Message(body), routing_key=qname)

        seen: Dict[int, int] = dict.fromkeys(range(THREADS), 0)

        def got(msg: Any) -> None:
            which, number, rest = msg.body.split(b" ", 2)
            assert int(number) == seen[int(which)]
            assert len(rest) == int(which) * int(number) % 2000
            seen[int(which)] += 1

        publishing = threading.Thread(target=in_threads, args=(THREADS, publish), daemon=True)
        publishing.start()
        with conn.channel() as receiver:
            receiver.basic_consume(qname, callback=got, no_ack=True)
            while sum(seen.values()) < THREADS * PUBLISHES:
                receiver.wait(timeout=60)
        publishing.join(60)
        if conn.protocol == "0-9-1":
            for each in channels:
                each.wait_for_confirms(timeout=60)
        assert set(seen.values()) == {PUBLISHES}
        assert ch.queue_declare(qname, passive=True)[1] == 0


def test_acknowledgements(rabbit: Rabbit) -> None:
    """One by one; then the queue is empty, and nothing comes back when the channel is closed."""
    amqp, broker = rabbit
    with amqp.Connection(**broker.login) as conn, conn.channel() as ch:
        qname = ch.queue_declare(exclusive=True, auto_delete=False)[0]
        with ch.batch():
            for number in range(ACKS):
                ch.basic_publish(amqp.Message(b"%d" % number), routing_key=qname)
        got: List[int] = []

        def on_message(msg: Any) -> None:
            assert not msg.redelivered
            got.append(int(msg.body))
            msg.channel.basic_ack(msg.delivery_tag)

        with conn.channel() as receiver:
            receiver.basic_qos(0, 1000, False)
            receiver.basic_consume(qname, callback=on_message)
            while len(got) < ACKS:
                receiver.wait(timeout=60)
        assert got == list(range(ACKS))
        deadline = time.monotonic() + 10
        while ch.queue_declare(qname, passive=True)[1] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert ch.basic_get(qname) is None


def test_opening_and_closing(rabbit: Rabbit) -> None:
    """Channels, from ten threads at once, each used for a call that says which it was."""
    amqp, broker = rabbit
    with amqp.Connection(**broker.login) as conn:
        names = [conn.channel().queue_declare(exclusive=True, auto_delete=False)[0] for _ in range(10)]

        def work(which: int) -> None:
            for _ in range(OPENS // 10):
                with conn.channel() as ch:
                    assert ch.queue_declare(names[which], passive=True)[0] == names[which]

        in_threads(10, work)
        assert len(conn.channels) == 11


def test_all_channels(rabbit: Rabbit) -> None:
    """As many as RabbitMQ lets a connection have, all in use."""
    amqp, broker = rabbit
    with amqp.Connection(**broker.login) as conn:
        assert conn.channel_max == CHANNELS
        channels = [conn.channel() for _ in range(CHANNELS)]
        assert [ch.channel_id for ch in channels] == list(range(1, CHANNELS + 1))
        with pytest.raises(ValueError, match="in use"):
            conn.channel()
        qname = channels[0].queue_declare(exclusive=True, auto_delete=False)[0]
        for number, ch in enumerate(channels):
            ch.basic_publish(amqp.Message(b"%d" % number), routing_key=qname)
        for number, ch in enumerate(channels):
            ch.basic_qos(0, 1, False)  # answered when what was sent before has been read
            msg = ch.basic_get(qname, no_ack=True)
            assert msg is not None, number
        for ch in channels:
            ch.close()
        assert len(conn.channels) == 1
