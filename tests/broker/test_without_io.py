"""Sessions and queues without sockets, on a clock of the tests' own."""

from __future__ import annotations

import time
from typing import Any, List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqplib.broker.hub import Hub
from amqplib.broker.message import Message
from amqplib.broker.queue import Consumer, Entry, Queue
from amqplib.broker.routing import topic_matches
from amqplib.broker.session import Session
from amqplib.broker.timers import Timers
from amqplib.wire.protocol import Receiver, Sender
from amqplib.wire.server import Properties
from amqplib.wire.spec import AMQP_0_9_1
from amqplib.wire.tables import utc_time
from tests.wire.helpers import examples


class Clock:
    """Seconds, which pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


# --- sessions -----------------------------------------------------------------------------------------------


class Client:
    """A session's other end."""

    def __init__(self, hub: Hub, clock: Clock) -> None:
        self.session = Session(hub, "the client")
        self._hub = hub
        self._clock = clock
        self._receiver = Receiver(AMQP_0_9_1, lambda properties, body: body, utc_time)
        self._receiver.channels.add(1)

    def send(self, name: str, *args: Any, channel: int = 0) -> None:
        self.session.receive(Sender(AMQP_0_9_1).method(channel, AMQP_0_9_1[name], args))

    def names(self) -> List[str]:
        """The methods that it has been sent since."""
        data = b"".join(self.session.outgoing)
        self.session.outgoing.clear()
        self.session.sent(len(data))
        return [method.name for _, method, _, _ in self._receiver.receive(data)]

    def log_in(self, heartbeat: int) -> None:
        self.session.receive(AMQP_0_9_1.header)
        self.send("connection.start_ok", {}, "PLAIN", "\0guest\0guest", "en_US")
        self.send("connection.tune_ok", 2047, 131072, heartbeat)
        self.send("connection.open", "/", "", False)
        self.send("channel.open", "", channel=1)
        assert self.names()[-2:] == ["connection.open_ok", "channel.open_ok"]

    def pass_time(self, seconds: float) -> bytes:
        """What it is sent meanwhile."""
        self._clock.now += seconds
        self._hub.timers.run()
        data = b"".join(self.session.outgoing)
        self.session.outgoing.clear()
        return data


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hub(clock: Clock) -> Hub:
    return Hub(clock, {"guest": "guest"}, ["/"])


@pytest.fixture
def client(hub: Hub, clock: Clock) -> Client:
    return Client(hub, clock)


HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"


def test_heartbeats(client: Client) -> None:
    """One each half interval; and a client that owes two intervals of them is given up."""
    client.log_in(10)
    for _ in range(6):
        assert client.pass_time(5) == HEARTBEAT
        client.session.receive(HEARTBEAT)
    assert [client.pass_time(5) for _ in range(4)] == [HEARTBEAT] * 4
    assert client.pass_time(5) == b""
    assert client.session.over
    assert len(client.session._timers) <= 1


def test_none_before_the_connection_is_open(client: Client) -> None:
    """rabbitpy takes nothing but open-ok for an answer to open."""
    client.session.receive(AMQP_0_9_1.header)
    client.send("connection.start_ok", {}, "PLAIN", "\0guest\0guest", "en_US")
    client.send("connection.tune_ok", 2047, 131072, 10)
    client.send("connection.open", "/", "", False)
    assert HEARTBEAT not in b"".join(client.session.outgoing)
    assert client.names()[-1] == "connection.open_ok"


def test_no_heartbeats(client: Client, hub: Hub) -> None:
    client.log_in(0)
    assert client.pass_time(100_000) == b""
    assert not client.session.over
    assert hub.timers.next() is None


def test_a_client_that_does_not_answer_a_close(client: Client) -> None:
    client.log_in(0)
    client.send("queue.declare", 0, "q", False, False, True, False, False, {}, channel=1)
    client.session.close(320, "a test says so")
    assert client.names() == ["queue.declare_ok", "connection.close"]
    assert client.session.vhost
    assert client.session.vhost.queues == {}
    client.send("queue.declare", 0, "q", False, False, True, False, False, {}, channel=1)
    client.session.close(320, "once more")
    assert client.pass_time(9) == b""
    assert not client.session.over
    client.pass_time(2)
    assert client.session.over


def test_a_client_that_closes_has_time_to_close_the_socket(client: Client) -> None:
    client.log_in(0)
    client.send("connection.close", 200, "", 0, 0)
    assert client.names() == ["connection.close_ok"]
    assert (client.session.finished, client.session.over) == (True, False)
    client.pass_time(2)
    assert client.session.over
    client.send("channel.open", "", channel=2)
    assert client.names() == []


def test_a_virtual_host_that_goes(client: Client, hub: Hub) -> None:
    client.log_in(0)
    hub.delete_vhost("/")
    assert client.names() == ["connection.close"]
    assert hub.vhosts == {}


def test_basic_recover_is_answered_and_recover_async_is_not(client: Client) -> None:
    client.log_in(0)
    client.send("basic.recover", True, channel=1)
    client.send("basic.recover_async", True, channel=1)
    assert client.names() == ["basic.recover_ok"]


# --- timers -------------------------------------------------------------------------------------------------


def test_timers(clock: Clock) -> None:
    timers = Timers(clock)
    done: List[str] = []
    assert timers.next() is None
    late = timers.after(5, lambda: done.append("late"))
    timers.after(1, lambda: done.append("early"))
    never = timers.after(0.5, lambda: done.append("never"))
    never.cancel()
    assert timers.next() == 1
    clock.now += 1
    timers.run()
    assert done == ["early"]
    late.cancel()
    assert timers.next() is None
    timers.after(1e9, lambda: None)
    assert timers.next() == 3600  # systems do not wait for any time


# --- queues -------------------------------------------------------------------------------------------------


def message(body: bytes) -> Message:
    return Message("", "k", Properties.of({}), body)


class Taker(Consumer):
    """Takes so many, and holds them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held: List[Entry] = []

    def ready(self) -> bool:
        return len(self.held) < self.limit

    def deliver(self, entry: Entry) -> None:
        self.held.append(entry)

    def cancelled(self) -> None:
        raise AssertionError


Step = Tuple[str, int]
steps = st.lists(
    st.tuples(st.sampled_from(["publish", "get", "acknowledge", "give back", "give back all"]), st.integers(0, 5)),
    max_size=40,
)


@examples(200)
@given(steps, st.sampled_from([0, 3]))
def test_nothing_is_lost_and_order_is_kept(given_: List[Step], priorities: int) -> None:
    """Whatever is taken and given back: what is ready goes out by priority, then by age; all is accounted for."""
    queue = Queue("q", Timers(Clock()), arguments={"x-max-priority": priorities} if priorities else {})
    ready: List[Tuple[int, int]] = []  # (-priority, number), what the queue should hold
    out: List[Tuple[Tuple[int, int], Entry]] = []
    number = 0
    for step, choice in given_:
        if step == "publish":
            number += 1
            queue.publish(message(b"%d" % number), priority=choice)
            ready.append((-min(choice, priorities), number))
        elif step == "get":
            entry = queue.get()
            expected: Optional[Tuple[int, int]] = min(ready, default=None)
            assert (entry is None) == (expected is None)
            if entry and expected:
                assert entry.message.body == b"%d" % expected[1]
                ready.remove(expected)
                out.append((expected, entry))
        elif out and step == "acknowledge":
            queue.settle(out.pop(choice % len(out))[1])
        elif out and step == "give back":
            key, entry = out.pop(choice % len(out))
            queue.requeue([entry])
            ready.append(key)
        elif step == "give back all":
            queue.requeue([entry for _, entry in out])
            ready += [key for key, _ in out]
            out = []
        assert (queue.message_count, queue.unacknowledged) == (len(ready), len(out))
    rest = [queue.get() for _ in ready]
    assert [entry and entry.message.body for entry in rest] == [b"%d" % n for _, n in sorted(ready)]


def test_much_that_comes_back() -> None:
    """All of it at once costs no more for each than one does."""
    many = 20_000
    queue = Queue("q", Timers(Clock()))
    for n in range(many):
        queue.publish(message(b"%d" % n))
    entries = [entry for entry in (queue.get() for _ in range(many)) if entry]
    before = time.process_time()
    queue.requeue(entries[1::2])
    queue.requeue(entries[::2])
    assert time.process_time() - before < 1  # it was 10 s when each was sought for
    assert [entry and entry.sequence for entry in (queue.get() for _ in range(many))] == list(range(1, many + 1))


def test_a_delivery_limit() -> None:
    """The message that comes back once too often is dead."""
    queue = Queue("q", Timers(Clock()), arguments={"x-delivery-limit": 2})
    dead: List[str] = []
    queue.on_dead = lambda queue, message, reason: dead.append(reason)
    queue.publish(message(b"x"))
    for _ in range(3):
        entry = queue.get()
        assert entry
        queue.requeue([entry])
    assert queue.get() is None
    assert dead == ["delivery_limit"]


def test_no_delivery_limit() -> None:
    queue = Queue("q", Timers(Clock()), arguments={"x-delivery-limit": -1})
    queue.publish(message(b"x"))
    for _ in range(30):
        entry = queue.get()
        assert entry
        queue.requeue([entry])


def test_what_comes_back_to_a_deleted_queue_is_dropped() -> None:
    queue = Queue("q", Timers(Clock()))
    queue.on_dead = lambda queue, message, reason: pytest.fail("nobody is to hear of it")
    for _ in range(2):
        queue.publish(message(b"x"))
    entries = [entry for entry in (queue.get(), queue.get()) if entry]
    assert queue.delete() == 0
    queue.requeue(entries[:1])
    queue.reject(entries[1])
    assert (queue.message_count, queue.unacknowledged) == (0, 0)


def test_consumers_with_limits_share() -> None:
    queue = Queue("q", Timers(Clock()))
    takers = [Taker(1), Taker(3)]
    for taker in takers:
        queue.add_consumer(taker)
    for n in range(6):
        queue.publish(message(b"%d" % n))
    assert [[entry.message.body for entry in taker.held] for taker in takers] == [[b"0"], [b"1", b"2", b"3"]]
    assert queue.message_count == 2


def test_expiry_by_the_clock() -> None:
    clock = Clock()
    timers = Timers(clock)
    queue = Queue("q", timers, arguments={"x-message-ttl": 1000})
    dead: List[bytes] = []
    queue.on_dead = lambda queue, message, reason: dead.append(message.body)
    queue.publish(message(b"a"))
    clock.now += 0.5
    queue.publish(message(b"b"))
    queue.publish(message(b"c"), ttl=0.1)  # behind others it does not expire before them
    clock.now += 0.4
    timers.run()
    assert dead == []
    clock.now += 0.2
    timers.run()
    assert dead == [b"a"]
    clock.now += 0.5
    timers.run()
    assert dead == [b"a", b"b", b"c"]
    assert timers.next() is None


@pytest.mark.parametrize("how", ["get", "purge", "drop"])
def test_what_was_behind_the_head_expires_in_time(how: str) -> None:
    """Also when the head, which had longer to live, has gone before."""
    clock = Clock()
    timers = Timers(clock)
    queue = Queue("q", timers, arguments={"x-max-length": 2})
    dead: List[bytes] = []
    queue.on_dead = lambda queue, message, reason: dead.append(message.body)
    queue.publish(message(b"long"), ttl=100)
    if how == "purge":
        assert queue.purge() == 1
    queue.publish(message(b"short"), ttl=1)
    if how == "get":
        assert queue.get()
    if how == "drop":
        queue.publish(message(b"for ever"))
    dead.clear()
    clock.now += 2
    timers.run()
    assert dead == [b"short"]


def test_nothing_expires_behind_a_higher_priority() -> None:
    """https://www.rabbitmq.com/docs/priority#interaction-with-ttl"""
    clock = Clock()
    timers = Timers(clock)
    queue = Queue("q", timers, arguments={"x-max-priority": 1})
    dead: List[bytes] = []
    queue.on_dead = lambda queue, message, reason: dead.append(message.body)
    queue.publish(message(b"low"), ttl=1)
    queue.publish(message(b"high"), priority=1)
    clock.now += 2
    timers.run()
    assert dead == []
    assert queue.get()
    assert dead == [b"low"]


def test_a_queue_that_nobody_uses() -> None:
    clock = Clock()
    timers = Timers(clock)
    queue = Queue("q", timers, arguments={"x-expires": 10_000})
    gone: List[Queue] = []
    queue.on_expired = gone.append

    def pass_time(seconds: float) -> bool:
        clock.now += seconds
        timers.run()
        return bool(gone)

    assert not pass_time(9)
    queue.get()
    assert not pass_time(9)
    taker = Taker(1)
    queue.add_consumer(taker)
    assert not pass_time(100)
    queue.remove_consumer(taker)
    assert not pass_time(9.5)
    for _ in range(100):
        queue.used()
    assert len(timers._heap) == 1
    assert not pass_time(9.5)
    assert pass_time(1)


# --- topics -------------------------------------------------------------------------------------------------

words = st.lists(st.sampled_from(["a", "b", ""]), max_size=5)
patterns = st.lists(st.sampled_from(["a", "b", "*", "#"]), max_size=5)


def plainly(pattern: List[str], key: List[str]) -> bool:
    """Topic matching as one would explain it."""
    if not pattern:
        return not key
    if pattern[0] == "#":
        return any(plainly(pattern[1:], key[n:]) for n in range(len(key) + 1))
    return bool(key) and pattern[0] in ("*", key[0]) and plainly(pattern[1:], key[1:])


@examples(300)
@given(patterns, words)
def test_topics(pattern: List[str], key: List[str]) -> None:
    joined = ".".join(key)
    assert topic_matches(".".join(pattern), joined) == plainly(pattern, joined.split(".") if joined else [])
