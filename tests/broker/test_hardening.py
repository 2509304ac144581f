"""What would be too much: failures in timers, long chains, silence, memory, and clients that want more than others."""

from __future__ import annotations

import math
import socket
import time
from datetime import datetime, timezone
from typing import Any, Iterator, List

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from amqplib.broker.hub import Hub, Limits
from amqplib.broker.memory import Memory
from amqplib.broker.message import Content, Message, dead_letter
from amqplib.broker.queue import Queue
from amqplib.broker.routing import Binding
from amqplib.broker.timers import Timers
from amqplib.broker.vhost import VHost
from amqplib.client.exceptions import ConnectionLostError
from amqplib.wire.protocol import Sender
from amqplib.wire.server import Properties
from amqplib.wire.spec import AMQP_0_9_1
from tests.broker.test_malformed import Raw
from tests.broker.test_without_io import Client, Clock

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def vhost() -> VHost:
    return VHost("/", Timers(Clock()), lambda: NOW)


# --- failures ------------------------------------------------------------------------------------------------


def test_a_timer_that_fails(clock: Clock) -> None:
    """It is told of, and the others happen."""
    failed: List[Exception] = []
    done: List[str] = []
    timers = Timers(clock, failed.append)
    timers.after(1, lambda: done.append("before"))
    timers.after(1, lambda: done.append("%d" % (1 // 0)))
    timers.after(1, lambda: done.append("after"))
    clock.now += 1
    timers.run()
    assert done == ["before", "after"]
    assert [type(error) for error in failed] == [ZeroDivisionError]


def test_a_failure_in_a_timer_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """And stop() tells of it."""
    broker = Broker()
    broker.start()
    with amqp.Connection(broker.address) as conn, conn.channel() as ch:
        ch.queue_declare("q", auto_delete=False, arguments={"x-message-ttl": 1})
        monkeypatch.setattr("amqplib.broker.queue.Queue._expiry_due", lambda queue: 1 / 0)
        ch.basic_publish(amqp.Message("x"), routing_key="q")
        deadline = time.monotonic() + 20
        while not broker._hub.failures:
            assert time.monotonic() < deadline
            ch.queue_declare("q", passive=True)
    with pytest.raises(RuntimeError, match="a fault of its own"):
        broker.stop()


def test_a_failure_while_sending_costs_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker()
    broker.start()
    with amqp.Connection(broker.address) as bystander:
        conn = amqp.Connection(broker.address)
        with monkeypatch.context() as patch:
            patch.setattr("amqplib.broker.session.Session.sent", lambda session, octets: 1 / 0)
            with pytest.raises(ConnectionLostError):
                conn.channel().queue_declare(exclusive=True)
        assert bystander.channel().is_open
    with pytest.raises(RuntimeError, match="a fault of its own"):
        broker.stop()


def test_a_count_of_deaths_that_cannot_grow(broker: Broker, ch: amqp.Channel) -> None:
    """It goes on from the lowest number, as in RabbitMQ 3.10; and nobody else is harmed."""
    dead = ch.queue_declare(exclusive=True)[0]
    arguments = {"x-message-ttl": 1, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    dying = ch.queue_declare(exclusive=True, arguments=arguments)[0]
    death = {"queue": dying, "reason": "expired", "count": 2**63 - 1, "exchange": "", "routing-keys": [dying]}
    seen: List[Any] = []
    ch.basic_consume(dead, no_ack=True, callback=seen.append)
    ch.basic_publish(amqp.Message("x", application_headers={"x-death": [death]}), routing_key=dying)
    ch.wait(timeout=20)
    assert seen[0].application_headers["x-death"][0]["count"] == -(2**63)


@pytest.mark.parametrize(
    "death",
    [
        {"queue": 5, "reason": None, "count": "many"},
        {"reason": "expired", "count": -(2**63)},
        {"queue": [], "reason": {}, "exchange": {"a": 1}, "routing-keys": 7},
        "none",
        None,
        [[[]]],
    ],
    ids=repr,
)
def test_deaths_that_make_no_sense(broker: Broker, ch: amqp.Channel, death: Any) -> None:
    """A stranger's history of a message that dies: it dies all the same, and nobody else is harmed."""
    dead = ch.queue_declare(exclusive=True)[0]
    arguments = {"x-message-ttl": 1, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    dying = ch.queue_declare(exclusive=True, arguments=arguments)[0]
    seen: List[amqp.Message] = []
    ch.basic_consume(dead, no_ack=True, callback=seen.append)
    for headers in ({"x-death": [death, death]}, {"x-death": death, "x-first-death-queue": death}):
        ch.basic_publish(amqp.Message("x", application_headers=headers), routing_key=dying)
        ch.wait(timeout=20)
    assert [msg.body for msg in seen] == ["x", "x"]


def test_a_ring_of_300_alternate_exchanges(broker: Broker, ch: amqp.Channel) -> None:
    """What none of them routes goes once around, and comes back."""
    for number in range(300):
        arguments = {"alternate-exchange": "e%d" % ((number + 1) % 300)}
        ch.exchange_declare("e%d" % number, "fanout", auto_delete=False, arguments=arguments)
    ch.confirm_select()
    with pytest.raises(amqp.UnconfirmedError, match="1 returned"):
        ch.basic_publish_confirm(amqp.Message("x"), "e0", mandatory=True, timeout=20)


# --- chains --------------------------------------------------------------------------------------------------


def declare(where: VHost, name: str, to: str, **arguments: Any) -> Queue:
    given = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": to, **arguments}
    return where.declare_queue(name, False, False, False, given, None)


@pytest.mark.parametrize("how", [{"x-max-length": 0}, {"x-message-ttl": 0}])
@pytest.mark.parametrize("ring", [False, True])
def test_300_queues_that_pass_on_what_dies(how: Any, ring: bool) -> None:
    """Through all of them, and into the last queue; or, in a ring, once around."""
    where = vhost()
    for n in range(300):
        declare(where, "q%d" % n, "q0" if ring and n == 299 else "q%d" % (n + 1), **how)
    last = where.declare_queue("q300", False, False, False, {}, None)
    where.publish("", "q0", Content(Properties.of({}), b"x"))
    assert sum(queue.message_count for queue in where.queues.values()) == (0 if ring else 1)
    entry = last.get()
    assert (entry is None) == ring
    if entry:
        deaths = entry.message.headers["x-death"]
        assert [death["queue"] for death in deaths] == ["q%d" % n for n in reversed(range(300))]


def test_a_dead_letter_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one does not wait for the next one that dies."""
    where = vhost()
    where.declare_exchange("e", "fanout", False, False, False, {})
    declare(where, "first", "", **{"x-max-length": 0, "x-dead-letter-exchange": "e"})
    last = where.declare_queue("last", False, False, False, {}, None)
    for name in ("second", "third"):
        declare(where, name, "last", **{"x-max-length": 0})
        where.bind("e", Binding("queue", name, "", {}), None)

    def fail(message: Message, queue: str, *rest: Any) -> Message:
        if queue == "second":
            raise ZeroDivisionError
        return plain(message, queue, *rest)

    plain = dead_letter
    monkeypatch.setattr("amqplib.broker.vhost.dead_letter", fail)
    with pytest.raises(ZeroDivisionError):
        where.publish("", "first", Content(Properties.of({}), b"x"))
    entry = last.get()
    assert entry
    assert [death["queue"] for death in entry.message.headers["x-death"]] == ["third", "first"]


def test_1000_exchanges_that_end_with_each_other() -> None:
    where = vhost()
    where.declare_exchange("e0", "fanout", False, False, False, {})
    for n in range(1000):
        where.declare_exchange("e%d" % (n + 1), "fanout", False, True, False, {})
        where.bind("e%d" % (n + 1), Binding("exchange", "e%d" % n, "", {}), None)
    where.delete_exchange("e0", False)
    assert all(name == "" or name.startswith("amq.") for name in where.exchanges)


# --- silent clients ------------------------------------------------------------------------------------------


def test_time_for_a_handshake(clock: Clock) -> None:
    """Ten seconds, whatever is said meanwhile; unless it is the broker that hangs."""
    hub = Hub(clock, {"guest": "guest"}, ["/"])
    silent, slow, done = (Client(hub, clock) for _ in range(3))
    slow.session.receive(AMQP_0_9_1.header)
    done.log_in(0)
    assert hub.handshakes == {silent.session, slow.session}
    hub.orders.stalled = True
    slow.pass_time(10)
    hub.orders.stalled = False
    slow.send("connection.start_ok", {}, "PLAIN", "\0guest\0guest", "en_US")
    slow.pass_time(9.9)
    assert [client.session.over for client in (silent, slow, done)] == [False, False, False]
    slow.pass_time(0.2)
    assert [client.session.over for client in (silent, slow, done)] == [True, True, False]
    assert not hub.handshakes


def test_so_many_silent_clients() -> None:
    """While they say nothing, others wait; but not for ever."""
    said: List[str] = []
    with Broker(handshakes_max=2, handshake_timeout=2, log=said.append) as broker:
        silent = [socket.create_connection((broker.host, broker.port)) for _ in range(2)]
        with amqp.Connection(broker.address, connect_timeout=20) as conn:
            assert conn.channel().is_open
            for sock in silent:
                with sock:
                    assert sock.recv(100) == b""
    order = [
        said.index(next(line for line in said if text in line)) for text in ("no more connec", "no hand", "opened")
    ]
    assert order == sorted(order)
    assert "no more connections for now: 2 have not logged in" in said[0]
    assert sum("no handshake within 2 s" in line for line in said) == 2


def test_who_has_logged_in_does_not_count() -> None:
    with Broker(handshakes_max=1) as broker:
        connections = [amqp.Connection(broker.address) for _ in range(5)]
        assert len(broker.connections()) == 5
        for conn in connections:
            conn.close()


# --- memory --------------------------------------------------------------------------------------------------


def message(body: bytes) -> Message:
    return Message("", "k", Properties.of({}), body)


def test_what_is_shared_counts_once() -> None:
    memory = Memory()
    queues = [Queue("q", Timers(Clock()), memory=memory) for _ in range(10)]
    shared = message(b"x" * 100_000)
    for queue in queues:
        queue.publish(shared)
    assert 100_000 < memory.octets < 110_000
    for queue in queues[1:]:
        assert queue.purge() == 1
    assert memory.octets > 100_000
    entry = queues[0].get()
    assert entry
    assert memory.octets > 100_000
    queues[0].settle(entry)
    assert memory.octets == 0


def test_the_alarm() -> None:
    """It ends when a fifth is free again."""
    memory = Memory(1000)
    heard = []
    for octets in (1000, 1001, 801, 800, 1000, 1001, 0):
        memory.octets = octets
        heard.append(memory.look())
    assert heard == [False, True, True, False, False, True, False]
    endless = Memory()
    endless.octets = 1 << 50
    assert not endless.look()


def test_limits_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="memory_max"):
        Limits(memory_max=-1)


@pytest.fixture
def tight(clock: Clock) -> Hub:
    """With 100,000 octets."""
    return Hub(clock, {"guest": "guest"}, ["/"], Limits(memory_max=100_000))


def publish(client: Client, body: bytes, key: str = "q") -> None:
    sender = Sender(AMQP_0_9_1)
    client.session.receive(sender.content(1, AMQP_0_9_1["basic.publish"], (0, "", key, False, False), {}, body))


def test_publishers_are_blocked(tight: Hub, clock: Clock) -> None:
    """With words, if they know them; others go on, and what the publisher says meanwhile waits for its turn."""
    client, reader = Client(tight, clock), Client(tight, clock)
    client.log_in(0)
    client.session.client_properties = {"capabilities": {"connection.blocked": True}}
    reader.log_in(0)
    reader.send("queue.declare", 0, "q", False, False, False, False, False, {}, channel=1)
    for _ in range(2):
        publish(client, b"x" * 60_000)
    client.send("queue.declare", 0, "q", True, False, False, False, False, {}, channel=1)
    assert client.names() == ["connection.blocked"]
    assert client.session.blocked
    assert reader.names() == ["queue.declare_ok"]
    tight.look_at_memory()
    reader.send("basic.get", 0, "q", True, channel=1)
    tight.look_at_memory()
    assert client.session.blocked  # it is the same octets, on their way to the reader
    assert reader.names() == ["basic.get_ok"]
    tight.look_at_memory()
    assert client.names() == ["connection.unblocked"]
    assert client.session.backlog
    client.session.work()
    assert client.names() == ["queue.declare_ok"]
    client.session.lost()
    reader.send("queue.delete", 0, "q", False, False, True, channel=1)
    reader.session.lost()
    assert tight.memory.octets == 0


def test_two_reasons_to_block(tight: Hub, clock: Clock) -> None:
    """It is over when both are."""
    client = Client(tight, clock)
    client.log_in(0)
    client.send("queue.declare", 0, "q", False, False, False, False, False, {}, channel=1)
    tight.orders.blocked = "a test says so"
    publish(client, b"x" * 100_000)
    tight.look_at_memory()
    tight.orders.blocked = None
    tight.unblock()
    assert client.session.blocked
    tight.vhosts["/"].queues["q"].purge()
    client.names()
    tight.look_at_memory()
    assert not client.session.blocked


@pytest.mark.parametrize("end", ["tx.commit", "tx.rollback", "channel.close", ""])
def test_what_waits_for_a_commit_takes_memory(tight: Hub, clock: Clock, end: str) -> None:
    client = Client(tight, clock)
    client.log_in(0)
    client.send("tx.select", channel=1)
    publish(client, b"x" * 50_000, "nowhere")
    assert tight.memory.octets > 50_000
    if end:
        client.send(end, *((200, "", 0, 0) if end == "channel.close" else ()), channel=1)
        client.names()
    else:
        client.session.lost()
    assert tight.memory.octets == 0


def test_who_does_not_read_the_answers(clock: Clock) -> None:
    """Is not listened to from 64 MB on, until some are read."""
    hub = Hub(clock, {"guest": "guest"}, ["/"])
    client = Client(hub, clock)
    client.log_in(0)
    client.send("queue.declare", 0, "q", False, False, False, False, False, {}, channel=1)
    client.names()
    publish(client, b"x" * 100_000)
    ask = Sender(AMQP_0_9_1).method(1, AMQP_0_9_1["basic.get"], (0, "q", False))
    back = Sender(AMQP_0_9_1).method(1, AMQP_0_9_1["basic.recover_async"], (True,))
    client.session.receive((ask + back) * 1000)
    assert 1 << 26 < hub.memory.octets < (1 << 26) + (1 << 22)
    assert [client.session.listens, client.session.backlog] == [False, False]
    answers = 0
    while answers < 1000:
        answers += len(client.names())
        if client.session.backlog:
            client.session.work()
    assert client.session.listens


# --- turns ---------------------------------------------------------------------------------------------------


class Ticking(Clock):
    """Time that passes with each look at it."""

    def __call__(self) -> float:
        self.now += 1
        return self.now


def declares(number: int) -> bytes:
    return b"".join(
        Sender(AMQP_0_9_1).method(1, AMQP_0_9_1["queue.declare"], (0, "q%d" % n, *(False,) * 5, {}))
        for n in range(number)
    )


def names(client: Client) -> Iterator[str]:
    while True:
        yield from client.names()
        if not client.session.backlog:
            return
        client.session.work(client._clock.now + 5)


def test_the_rest_waits() -> None:
    """In its order, and nothing is lost; what breaks the protocol behind it comes last."""
    clock = Ticking()
    hub = Hub(clock, {"guest": "guest"}, ["/"])
    client = Client(hub, clock)
    client.log_in(0)
    client.session.receive(declares(50) + b"nonsense", clock.now + 10)
    assert 2 < len(hub.vhosts["/"].queues) < 11
    assert client.session.backlog
    client.session.receive(b"")
    assert list(names(client)) == ["queue.declare_ok"] * 50 + ["connection.close"]
    assert list(hub.vhosts["/"].queues) == ["q%d" % n for n in range(50)]


def test_who_is_gone_has_no_backlog() -> None:
    clock = Ticking()
    hub = Hub(clock, {"guest": "guest"}, ["/"])
    client = Client(hub, clock)
    client.log_in(0)
    client.session.receive(declares(50), clock.now + 10)
    client.session.lost()
    assert not client.session.backlog
    client.session.work(math.inf)
    assert len(hub.vhosts["/"].queues) < 11


def test_others_need_not_wait_for_a_flood(broker: Broker) -> None:
    """Of one client's publishes, each of which goes to 200 queues; they are all carried out, too."""
    number = 2000
    with amqp.Connection(broker.address) as conn, Raw(broker) as raw:
        ch = conn.channel()
        for _ in range(200):
            queue = ch.queue_declare(exclusive=True, arguments={"x-max-length": 1})[0]
            ch.queue_bind(queue, "amq.fanout")
        ch.queue_declare("all", exclusive=True)
        ch.queue_bind("all", "amq.fanout")
        raw.log_in()
        raw.method("channel.open", "", channel=1)
        raw.expect("channel.open_ok")
        one = Sender(AMQP_0_9_1).content(
            1, AMQP_0_9_1["basic.publish"], (0, "amq.fanout", "", False, False), {}, b"x" * 10
        )
        raw.send(one * number)
        # The first is answered in between. How many more are depends on how often this thread gets a processor.
        counts = [ch.queue_declare("all", passive=True)[1] for _ in range(5)]
        assert counts[0] < number
        assert counts == sorted(counts)
        deadline = time.monotonic() + 50
        while ch.queue_declare("all", passive=True)[1] < number:
            assert time.monotonic() < deadline
