"""Dead letters that make more dead letters: how much is done for them, and that all others are served meanwhile.

Work is counted, not timed: in dead letters, and in turns of the broker.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, List

import pytest

import amqplib.broker.vhost as vhosts
from amqplib.broker.hub import Hub, Limits
from amqplib.broker.memory import Memory
from amqplib.broker.message import Content, Message, dead_letter
from amqplib.broker.queue import Queue
from amqplib.broker.routing import Binding
from amqplib.broker.timers import Timers
from amqplib.broker.vhost import AT_ONCE, VHost
from amqplib.wire.content import PropertyCodec
from amqplib.wire.protocol import Sender
from amqplib.wire.server import Properties
from amqplib.wire.spec import AMQP_0_9_1
from tests.broker.test_without_io import Client, Clock

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)

#: Messages of a turn on the clock below: a turn takes 2 ms.
TURN = 21


class Ticking(Clock):
    """A tenth of a millisecond passes with each look at it."""

    def __call__(self) -> float:
        self.now += 0.0001
        return self.now


@pytest.fixture
def died(monkeypatch: pytest.MonkeyPatch) -> List[str]:
    """The queues in which messages have died that go on elsewhere."""
    queues: List[str] = []
    plain = dead_letter

    def counted(message: Message, queue: str, *rest: Any) -> Message:
        queues.append(queue)
        return plain(message, queue, *rest)

    monkeypatch.setattr(vhosts, "dead_letter", counted)
    return queues


def declare(where: VHost, name: str, **arguments: Any) -> Queue:
    given = {name.replace("_", "-"): value for name, value in arguments.items()}
    return where.declare_queue(name, False, False, False, given, None)


def full_ring(where: VHost, length: int) -> List[Queue]:
    """Queues of one message each, which pass what they have no room for on to the next."""
    queues = []
    for n in range(length):
        to = "q%d" % ((n + 1) % length)
        queue = declare(where, "q%d" % n, x_max_length=1, x_dead_letter_exchange="", x_dead_letter_routing_key=to)
        queue.publish(message(b"%d" % n))
        queues.append(queue)
    return queues


def message(body: bytes) -> Message:
    return Message("", "k", Properties.of({}), body)


def everywhere(where: VHost, count: int, **arguments: Any) -> List[Queue]:
    """Queues each of which passes what dies in it on to all."""
    where.declare_exchange("all", "fanout", False, False, False, {})
    queues = []
    for n in range(count):
        queues.append(declare(where, "q%d" % n, x_dead_letter_exchange="all", **arguments))
        where.bind("all", Binding("queue", "q%d" % n, "", {}), None)
    return queues


def test_full_queues(monkeypatch: pytest.MonkeyPatch, died: List[str]) -> None:
    """One message too many goes around until some message has been everywhere: 100 rounds, as in RabbitMQ. Nothing is
    encoded on the way, and in between others are served, whoever published it."""
    clock = Ticking()
    hub = Hub(clock, {"guest": "guest"}, ["/"])
    queues = full_ring(hub.vhosts["/"], 100)
    publisher, other = Client(hub, clock), Client(hub, clock)
    encoded: List[object] = []
    plain = PropertyCodec.encode
    for client in (publisher, other):
        client.log_in(0)
    sender = Sender(AMQP_0_9_1)
    one_too_many = sender.content(1, AMQP_0_9_1["basic.publish"], (0, "", "q0", False, False), {}, b"x")

    def encode(codec: PropertyCodec, values: Any) -> bytes:
        encoded.append(values)
        return plain(codec, values)

    monkeypatch.setattr(PropertyCodec, "encode", encode)

    publisher.session.receive(one_too_many)
    assert AT_ONCE <= len(died) <= AT_ONCE + TURN
    most = turns = 0
    while hub.timers.next() is not None:
        before = len(died)
        clock.now += 0.001
        hub.timers.run()
        most = max(most, len(died) - before)
        turns += 1
        if turns % 100 == 1:
            for client in (publisher, other):
                client.send("queue.declare", 0, "q0", True, False, False, False, False, {}, channel=1)
                assert client.names() == ["queue.declare_ok"]
    assert 0 < most <= TURN
    assert len(died) == 100 * 100
    assert len(encoded) <= 1
    assert [queue.message_count for queue in queues] == [1] * 100
    publisher.session.receive(one_too_many)
    assert len(died) == 100 * 100 + 1  # the next one stops at once: what it pushes out has been everywhere


def test_300_full_queues_hold_nobody_up(died: List[str]) -> None:
    """Each turn is as short as that of a small ring, whatever is still to come."""
    clock = Ticking()
    hub = Hub(clock, {"guest": "guest"}, ["/"])
    full_ring(hub.vhosts["/"], 300)
    other = Client(hub, clock)
    other.log_in(0)
    hub.vhosts["/"].publish("", "q0", Content(Properties.of({}), b"x"))
    assert AT_ONCE <= len(died) <= AT_ONCE + TURN
    for _ in range(50):
        before = len(died)
        clock.now += 0.001
        hub.timers.run()
        assert 0 < len(died) - before <= TURN
        other.send("queue.declare", 0, "q0", True, False, False, False, False, {}, channel=1)
        assert other.names() == ["queue.declare_ok"]


def test_a_ring_that_was_refused_before(died: List[str]) -> None:
    """A stranger's history says that a message was rejected: that counts only until it has gone around again."""
    where = VHost("/", Timers(Clock()), lambda: NOW)
    full_ring(where, 30)
    refused = {"queue": "q5", "reason": "rejected", "count": 7, "exchange": "", "routing-keys": ["q5"]}
    properties = Properties.of({"application_headers": {"x-death": [refused] * 3}})
    where.publish("", "q0", Content(properties, b"x"))
    assert len(died) <= 30 * 31


def test_who_passes_on_to_all(monkeypatch: pytest.MonkeyPatch, died: List[str]) -> None:
    """One message would be 12! of them."""
    monkeypatch.setattr(vhosts, "MOST_DEAD", 500)
    memory, said, clock = Memory(), [], Ticking()  # type: ignore[var-annotated]
    timers = Timers(clock)
    where = VHost("/", timers, lambda: NOW, memory, said.append)
    queues = everywhere(where, 12, x_max_length=1)
    where.publish("all", "", Content(Properties.of({}), b"x"))
    where.publish("", "q0", Content(Properties.of({}), b"x"))
    most = 0
    while timers.next() is not None:
        clock.now += 0.001
        timers.run()
        most = max(most, memory.octets)
    assert len(died) <= 13 * 12 * 500
    assert most < 500 * 20_000
    assert said == ["vhost /: too many dead letters: some are dropped"]
    assert sum(queue.purge() for queue in queues) == 12
    assert memory.octets == 0


def test_who_passes_on_to_all_what_expires() -> None:
    """It fills the memory twice at most, where publishers are stopped when it is filled once."""
    memory, clock = Memory(1_000_000), Clock()
    timers = Timers(clock)
    where = VHost("/", timers, lambda: NOW, memory)
    queues = everywhere(where, 10, x_message_ttl=1)
    where.publish("all", "", Content(Properties.of({}), b"x"))
    most = 0
    for _ in range(12):
        clock.now += 0.002
        timers.run()
        most = max(most, memory.octets)
    assert 2_000_000 < most < 2_200_000
    assert not any(queue.message_count for queue in queues)
    assert memory.octets == 0


def test_an_alarm_costs_no_dead_letters() -> None:
    memory = Memory(1000)
    where = VHost("/", Timers(Clock()), lambda: NOW, memory)
    last = declare(where, "last")
    first = declare(where, "first", x_dead_letter_exchange="", x_dead_letter_routing_key="last")
    first.publish(message(b"x" * 1000))
    entry = first.get()
    assert entry
    assert memory.look()
    first.reject(entry)
    assert last.message_count == 1


def test_those_on_their_way_end_with_the_broker(died: List[str]) -> None:
    memory, clock = Memory(), Ticking()
    timers = Timers(clock)
    where = VHost("/", timers, lambda: NOW, memory)
    full_ring(where, 50)
    where.publish("", "q0", Content(Properties.of({}), b"x"))
    assert memory.octets
    where.restart(durable=True)
    assert memory.octets == 0
    number = len(died)
    while timers.next() is not None:
        clock.now += 1
        timers.run()
    assert len(died) == number
    full_ring(where, 3)
    where.publish("", "q0", Content(Properties.of({}), b"x"))
    assert len(died) == number + 9  # it has begun anew


def test_a_virtual_host_that_is_deleted_gives_its_memory_back() -> None:
    clock = Clock()
    hub = Hub(clock, {"guest": "guest"}, ["/", "other"], Limits(memory_max=100_000))
    queue = declare(hub.vhosts["other"], "q", x_message_ttl=1000)
    queue.publish(message(b"x" * 200_000))
    hub.look_at_memory()
    assert hub.why_blocked()
    hub.delete_vhost("other")
    hub.look_at_memory()
    assert not hub.why_blocked()
    assert hub.memory.octets == 0


def test_a_timer_that_asks_for_another_one_now() -> None:
    """It is for the next time: the others, and what is no timer, come first."""
    clock = Clock()
    timers = Timers(clock)
    done: List[int] = []

    def again() -> None:
        done.append(1)
        timers.after(0, again)

    timers.after(0, again)
    for number in (1, 2, 3):
        timers.run()
        assert len(done) == number
