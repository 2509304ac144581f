"""Connections, channels and messages by the thousand leave nothing behind: no descriptor, no memory, no object.

The cyclic garbage collector is off all the while: whatever is closed has to go by its reference count.
"""

from __future__ import annotations

import gc
import time
from collections import Counter
from typing import Any, Callable, Dict, Iterator, List

import pytest

from .conftest import Rabbit
from .harness import LONG, open_files

pytestmark = [pytest.mark.soak, pytest.mark.timeout(4 * 3500 if LONG else 300)]

CONNECTIONS = 10000 if LONG else 500
MESSAGES = 1000000 if LONG else 40000

#: MB that the process may have grown by when it did the same thing so many times more.
GROWTH = 2.0

#: Messages that are published before they are fetched.
BATCH = 500


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()


def megabytes() -> float:
    """Memory that this process has in use, in MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


#: What a connection remembers of its deliveries; bounded, but not full after the first tenth (wire/hot.py).
REMEMBERED = ("_Head",)


def ours() -> Dict[str, int]:
    """Objects of the library that are alive, by the name of their class; without classes and functions."""
    found = Counter(type(each).__name__ for each in gc.get_objects() if type(each).__module__.startswith("amqplib."))
    return {name: number for name, number in found.items() if name not in REMEMBERED}


class State:
    def __init__(self) -> None:
        self.files = open_files()
        self.memory = megabytes()
        self.objects = ours()

    def assert_as_before(self, what: str) -> None:
        # the thread that sends heartbeats lets go of connections when it looks next, or is on its way out
        deadline = time.monotonic() + 30
        while (open_files() != self.files or self.more()) and time.monotonic() < deadline:
            time.sleep(0.01)
        grown = megabytes() - self.memory
        print("%s: %d descriptors, %+.2f MB" % (what, open_files() - self.files, grown))
        assert open_files() == self.files
        assert self.more() == {}
        assert grown < GROWTH

    def more(self) -> Dict[str, int]:
        """Objects there are more of."""
        left = {name: number - self.objects.get(name, 0) for name, number in ours().items()}
        return {name: number for name, number in left.items() if number > 0}


def often(number: int, step: Callable[[], Any]) -> State:
    """Do it so many times; the state after the first tenth, when all that is made once has been made."""
    for _ in range(number // 10):
        step()
    state = State()
    for _ in range(number - number // 10):
        step()
    return state


@pytest.fixture
def qname(rabbit: Rabbit) -> Iterator[str]:
    """A queue of another connection's."""
    with rabbit.amqp.Connection(heartbeat=0, **rabbit.broker.login) as conn, conn.channel() as ch:
        qname = "amqplib-test-leaks"
        ch.queue_declare(qname, durable=True, auto_delete=False)
        yield qname
        ch.queue_delete(qname)


def test_connections(rabbit: Rabbit, qname: str) -> None:
    amqp, broker = rabbit

    def step() -> None:
        with amqp.Connection(heartbeat=10, **broker.login) as conn, conn.channel() as ch:
            ch.basic_consume(qname, callback=lambda msg: ch.basic_ack(msg.delivery_tag))
            ch.basic_publish(amqp.Message("hello", application_headers={"a": 1}), routing_key=qname)
            ch.wait()

    often(CONNECTIONS, step).assert_as_before("%d connections to RabbitMQ %s" % (CONNECTIONS, broker.version))


def test_connections_that_are_refused(rabbit: Rabbit) -> None:
    amqp, broker = rabbit

    def step() -> None:
        with pytest.raises(amqp.AMQPConnectionException, match="530"):
            amqp.Connection(**{**broker.login, "virtual_host": "no-such-host"})

    number = CONNECTIONS // 10
    often(number, step).assert_as_before("%d refusals of RabbitMQ %s" % (number, broker.version))


def test_channels(rabbit: Rabbit, qname: str) -> None:
    amqp, broker = rabbit
    with amqp.Connection(**broker.login) as conn:

        def step() -> None:
            ch = conn.channel()
            tag = ch.basic_consume(qname, callback=lambda msg: ch.basic_ack(msg.delivery_tag))
            ch.basic_cancel(tag)
            ch.close()

        often(CONNECTIONS, step).assert_as_before("%d channels of RabbitMQ %s" % (CONNECTIONS, broker.version))


def test_messages(rabbit: Rabbit) -> None:
    amqp, broker = rabbit
    with amqp.Connection(**broker.login) as conn, conn.channel() as ch:
        if conn.protocol == "0-9-1":
            ch.confirm_select(window=BATCH)
        qname = ch.queue_declare(exclusive=True, auto_delete=False)[0]
        got: List[int] = [0]

        def on_message(msg: Any) -> None:
            got[0] += 1
            assert int(msg.body) == got[0]
            ch.basic_ack(msg.delivery_tag)

        ch.basic_consume(qname, callback=on_message)
        sent = [0]

        def step() -> None:
            for _ in range(BATCH):
                sent[0] += 1
                headers = {"number": sent[0], "list": [sent[0]]}
                ch.basic_publish(amqp.Message(str(sent[0]), application_headers=headers), routing_key=qname)
            while got[0] < sent[0]:
                ch.wait()
            if conn.protocol == "0-9-1":
                ch.wait_for_confirms(timeout=30)

        state = often(MESSAGES // BATCH, step)
        state.assert_as_before("%d messages through RabbitMQ %s" % (sent[0], broker.version))
        assert got[0] == sent[0] == MESSAGES // BATCH * BATCH
