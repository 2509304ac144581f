"""A connection that comes back: the same objects go on, with all that was declared; who waits, and who is told."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterator, List

import pytest

import amqplib.client_0_8 as amqp08
import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from amqplib.client.driver import Driver
from amqplib.client.recovery import line
from amqplib.client.sending import Sending

#: Bounds a hang.
LONG = 30


@pytest.fixture
def conn(broker: Broker) -> Iterator[amqp.Connection]:
    connection = amqp.Connection(broker.address, recover=True, reply_timeout=LONG)
    yield connection
    try:
        connection.close()
    except amqp.ConnectionLostError:
        pass  # the test has lost it in the end


@pytest.fixture
def ch(conn: amqp.Connection) -> amqp.Channel:
    return conn.channel()


def eventually(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


class Threads:
    """Run functions at the same time as a with-block, and raise what they raise."""

    def __init__(self, *functions: Callable[[], Any]) -> None:
        self._functions = functions

    def __enter__(self) -> None:
        self._pool = ThreadPoolExecutor(len(self._functions))
        self._running = [self._pool.submit(function) for function in self._functions]

    def __exit__(self, *exc: Any) -> None:
        self._pool.shutdown()
        for running in self._running:
            running.result(LONG)


def at_rest() -> None:
    """Wait until no connection is being brought back."""
    for thread in threading.enumerate():
        if thread.name == "amqplib-recovery":
            thread.join(LONG)
            assert not thread.is_alive()


def lose(broker: Broker, durable: bool = True) -> None:
    broker.restart(durable=durable, crash=True)


def receive(ch: amqp.Channel, found: List[Any], count: int = 1) -> List[Any]:
    """Wait for so many more messages; the bodies of all."""
    wanted = len(found) + count
    while len(found) < wanted:
        ch.wait(timeout=LONG)
    return [msg.body for msg in found]


# --- what comes back


@pytest.mark.parametrize("how", ["reset", "end", "320", "restart", "restart without anything", "crash"])
@pytest.mark.parametrize("module", [amqp08, amqp])
def test_the_same_objects_go_on(broker: Broker, how: str, module: Any) -> None:
    conn = module.Connection(broker.address, recover=True, reply_timeout=LONG)
    ch, other = conn.channel(), conn.channel(7)
    found: List[Any] = []
    ch.queue_declare("q", auto_delete=False)
    ch.exchange_declare("e", "fanout", auto_delete=False)
    ch.queue_bind("q", "e")
    ch.basic_consume("q", "tag", callback=found.append)
    if how == "reset":
        broker.faults.drop(reset=True)
    elif how == "end":
        broker.faults.drop()
    elif how == "320":
        broker.faults.close_connections()
    else:
        broker.restart(durable="without" not in how, crash=how == "crash")
    other.queue_declare("q", auto_delete=False)  # a publish would just be lost, without confirms
    other.basic_publish(amqp.Message("again"), "e")
    assert receive(ch, found) == ["again"]
    found[0].ack()
    assert (ch.channel_id, other.channel_id, list(ch.callbacks)) == (1, 7, ["tag"])
    assert conn.stats().recoveries == 1
    assert conn.transport is not None
    assert other.queue_declare("q", passive=True)[1:] == (0, 1)
    conn.close()
    assert not ch.is_open


def test_again_and_again(broker: Broker, conn: amqp.Connection, ch: amqp.Channel) -> None:
    found: List[Any] = []
    ch.queue_declare("q")
    ch.basic_consume("q", callback=found.append)
    for number in range(10):
        lose(broker, durable=False)
        ch.basic_publish(amqp.Message("%d" % number), routing_key="q")
        receive(ch, found)
        found[-1].ack()
    assert [msg.body for msg in found] == ["%d" % number for number in range(10)]
    assert [msg.delivery_tag for msg in found] == list(range(1, 11))
    assert conn.stats().recoveries == 10
    assert conn.stats().messages_in == 10


def test_a_queue_with_a_name_of_the_server_s(broker: Broker) -> None:
    renamed: List[Any] = []
    conn = amqp.Connection(broker.address, recover=amqp.Recovery(on_renamed=lambda *names: renamed.append(names)))
    ch = conn.channel()
    found: List[Any] = []
    ch.exchange_declare("e", "topic", auto_delete=False)
    first = ch.queue_declare(exclusive=True)[0]
    ch.queue_bind("", "e", "a.*")
    ch.basic_consume(callback=found.append)
    for _ in "12":
        lose(broker)
        ch.basic_publish(amqp.Message("x"), "e", "a.b")
        receive(ch, found)
    assert renamed[0][0] == first
    assert renamed[0][1] == renamed[1][0]
    (now,) = broker.queues()
    assert now == renamed[1][1] != first
    # calls mean it by the name that the program knows, by the present one, and by none
    for name in (first, now, ""):
        ch.queue_bind(name, "e", "b.*")
        assert ch.queue_purge(name) == 0
    assert ch.queue_declare(first, passive=True)[0] == now
    ch.queue_delete(first)
    assert broker.queues() == {}
    lose(broker)
    ch.exchange_declare("e", passive=True)
    assert broker.queues() == {}
    conn.close()


def test_what_was_undone_stays_gone(broker: Broker, conn: amqp.Connection, ch: amqp.Channel) -> None:
    found: List[Any] = []
    for name in ("deleted", "kept", "auto"):
        ch.queue_declare(name, auto_delete=name == "auto")
        ch.basic_consume(name, name, callback=found.append)
    ch.basic_consume("kept", "cancelled", callback=found.append)
    ch.exchange_declare("e", "direct", auto_delete=False)
    ch.exchange_declare("deleted", "direct", auto_delete=False)
    ch.queue_bind("kept", "e", "bound")
    ch.queue_bind("kept", "e", "unbound")
    closed = conn.channel()
    closed.basic_consume("kept", "closed")
    closed.close()
    ch.basic_cancel("cancelled")
    ch.basic_cancel("auto")
    ch.queue_unbind("kept", "e", "unbound")
    ch.queue_delete("deleted")
    ch.exchange_delete("deleted")
    lose(broker, durable=False)
    ch.queue_declare("kept", passive=True)
    assert set(broker.queues()) == {"kept"}
    assert broker.queues()["kept"].consumers == 1
    assert {name for name in broker.exchanges() if not name.startswith("amq.")} == {"", "e"}
    assert broker.exchanges()["e"].bindings == 1


def test_a_consumer_that_the_server_has_cancelled_stays_gone(broker: Broker, ch: amqp.Channel) -> None:
    """Also when the program has not handled that by the time of the loss."""
    ended: List[str] = []
    ch.queue_declare("q", auto_delete=False)
    ch.basic_consume("q", "tag", on_cancel=ended.append)
    ch.queue_declare("other", auto_delete=False)
    broker.faults.cancel_consumers("q")
    ch.queue_purge("other")  # reads what has come
    lose(broker, durable=False)
    ch.queue_declare("other", auto_delete=False)
    assert broker.queues()["q"].consumers == 0
    while ch.callbacks:
        ch.wait(timeout=LONG)
    assert ended == ["tag"]


def test_one_that_it_has_cancelled_and_the_program_knows_of(broker: Broker, ch: amqp.Channel) -> None:
    ch.queue_declare("q", auto_delete=False)
    ch.basic_consume("q", "tag")
    broker.faults.cancel_consumers("q")
    while ch.callbacks:
        ch.wait(timeout=LONG)
    lose(broker, durable=False)
    ch.queue_declare("q", auto_delete=False)
    assert broker.queues()["q"].consumers == 0


def test_limits_come_back(broker: Broker, ch: amqp.Channel) -> None:
    ch.queue_declare("q", auto_delete=False)
    ch.basic_qos(prefetch_count=2)
    found: List[Any] = []
    ch.basic_consume("q", callback=found.append)
    lose(broker, durable=False)
    for number in range(5):
        ch.basic_publish(amqp.Message("%d" % number), routing_key="q")
    receive(ch, found, 2)
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.wait(timeout=0.2)
    found[-1].ack(multiple=True)
    receive(ch, found, 2)
    assert [msg.body for msg in found] == ["0", "1", "2", "3"]


def test_settings_of_the_socket_come_back(broker: Broker, conn: amqp.Connection, ch: amqp.Channel) -> None:
    before = conn.transport
    assert before is not None
    before.sock.settimeout(17.0)
    lose(broker)
    ch.queue_declare("q")
    assert conn.transport is not before
    assert conn.transport is not None
    assert conn.transport.sock.gettimeout() == 17.0


def test_another_host(broker: Broker) -> None:
    with Broker() as other:
        with amqp.Connection(broker.address, recover=amqp.Recovery(hosts=other.address, shuffle=False)) as conn:
            ch = conn.channel()
            ch.queue_declare("q")
            broker.down(crash=True)
            ch.basic_publish(amqp.Message("x"), routing_key="q")
            assert ch.basic_get("q", no_ack=True) is not None
            assert set(other.queues()) == {"q"}
        broker.up()


def test_credentials_are_asked_anew(broker: Broker) -> None:
    asked: List[str] = []

    def credentials() -> Any:
        asked.append("")
        return "guest", "guest"

    with amqp.Connection(broker.address, credentials=credentials, recover=True) as conn:
        ch = conn.channel()
        lose(broker)
        ch.queue_declare("q")
    assert len(asked) == 2


# --- deliveries


def test_deliveries_of_a_connection_that_is_gone(broker: Broker, ch: amqp.Channel) -> None:
    """They cannot be settled, come again, and never settle others, several at once included."""
    found: List[Any] = []
    ch.queue_declare("q", durable=True, auto_delete=False)
    for number in range(3):
        ch.basic_publish(amqp.Message("%d" % number, delivery_mode=2), routing_key="q")
    ch.basic_consume("q", callback=found.append)
    receive(ch, found, 3)
    lose(broker)
    receive(ch, found, 3)
    assert [msg.delivery_tag for msg in found] == [1, 2, 3, 4, 5, 6]
    assert [msg.redelivered for msg in found] == [False] * 3 + [True] * 3
    old, new = found[:3], found[3:]
    old[0].ack()
    old[1].reject()
    old[1].nack(requeue=False)
    old[2].ack(multiple=True)
    old[2].nack(multiple=True)
    ch.queue_declare("q", passive=True)
    assert broker.queues()["q"].unacknowledged == 3
    new[0].ack()
    new[1].ack(multiple=True)
    ch.queue_declare("q", passive=True)
    assert broker.queues()["q"].unacknowledged == 1
    ch.basic_ack(0, multiple=True)  # all that the program was given
    ch.queue_declare("q", passive=True)
    assert (broker.queues()["q"].messages, broker.queues()["q"].unacknowledged) == (0, 0)


def test_a_loop_that_was_left_without_an_answer_is_not_begun_again(broker: Broker) -> None:
    """Its queue, which goes with its last consumer, is not there either."""
    with amqp.Connection(broker.address, recover=True, close_timeout=0.2, reply_timeout=LONG) as conn:
        ch = conn.channel()
        ch.queue_declare("q", auto_delete=True)
        messages = ch.consume("q")
        broker.faults.stall()
        messages.close()
        assert ch.is_open
        assert not ch.callbacks
        broker.faults.clear()
        lose(broker)
        ch.basic_qos(0, 1, False)
        assert conn.stats().recoveries == 1
        assert broker.queues() == {}


@pytest.mark.parametrize(
    "settle",
    [
        lambda ch, tag: ch.basic_ack(tag),
        lambda ch, tag: ch.basic_ack(tag, True),
        lambda ch, tag: ch.basic_reject(tag),
        lambda ch, tag: ch.basic_nack(tag, True, False),
    ],
    ids=["ack", "ack-multiple", "reject", "nack-multiple"],
)
def test_what_is_handed_over_while_the_program_waits(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, settle: Callable[[amqp.Channel, int], None]
) -> None:
    """A message that the new connection has brought is settled over that one, at whatever moment it is taken."""
    moving, taken = threading.Event(), threading.Event()
    held: List[amqp.Channel] = []

    class Slow(Sending):
        """Of the channel, it lets the program take its message, if it can, before it is in its place."""

        def succeed(self, other: Sending) -> None:
            super().succeed(other)
            if self.port.number:
                moving.set()
                taken.wait(0.3)

    def delivered(what: Any) -> None:
        if what.name == "tag":  # what comes behind its answer is read with that of the next consumer
            eventually(lambda: broker.queues()["q"].unacknowledged == 1)

    def settled(msg: amqp.Message) -> None:
        settle(held[0], msg.delivery_tag)
        taken.set()

    monkeypatch.setattr(line, "Sending", Slow)
    with amqp.Connection(broker.address, recover=amqp.Recovery(after=delivered)) as conn, conn.channel() as ch:
        held.append(ch)
        for name, tag in (("q", "tag"), ("other", "last")):
            ch.queue_declare(name, durable=True, auto_delete=False)
            ch.basic_consume(name, tag, callback=settled)
        broker.faults.close_connections()
        with amqp.Connection(broker.address) as other, other.channel() as away:
            away.basic_publish_confirm(amqp.Message("one"), routing_key="q")
        with contextlib.suppress(amqp.AMQPTimeoutError):
            ch.wait(timeout=0)  # which notices the loss
        assert moving.wait(LONG)
        ch.wait(timeout=LONG)
        assert taken.is_set()
        eventually(lambda: broker.queues()["q"].unacknowledged == 0)


def test_acknowledgements_while_there_is_no_connection(broker: Broker, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """They are for what comes again, so nobody waits for the connection."""
    found: List[Any] = []
    ch.queue_declare("q", durable=True, auto_delete=False)
    ch.basic_publish(amqp.Message("x", delivery_mode=2), routing_key="q")
    ch.basic_consume("q", callback=found.append)
    receive(ch, found)
    broker.down(crash=True)
    for settle in (found[0].ack, found[0].nack, found[0].reject, lambda: found[0].ack(multiple=True)):
        settle()
    assert conn.stats().recoveries == 0
    broker.up()
    receive(ch, found)
    assert broker.queues()["q"].unacknowledged == 1


@pytest.mark.parametrize("down", [True, False])
def test_acknowledgements_that_raise(broker: Broker, down: bool) -> None:
    conn = amqp.Connection(broker.address, recover=amqp.Recovery(stale_acks="raise"))
    ch = conn.channel()
    found: List[Any] = []
    ch.queue_declare("q", durable=True, auto_delete=False)
    ch.basic_publish(amqp.Message("x", delivery_mode=2), routing_key="q")
    ch.basic_consume("q", callback=found.append)
    receive(ch, found)
    broker.down(crash=True)
    if not down:
        broker.up()
        receive(ch, found)
    for settle in (found[0].ack, found[0].nack, found[0].reject, lambda: found[0].ack(multiple=True)):
        with pytest.raises(amqp.StaleDeliveryError, match="again"):
            settle()
    if down:
        broker.up()
        receive(ch, found)
    found[-1].ack()
    ch.queue_declare("q", passive=True)
    assert broker.queues()["q"].unacknowledged == 0
    conn.close()


def test_what_was_read_and_not_handled(broker: Broker, ch: amqp.Channel) -> None:
    """What the broker delivers again is not handled twice; what it has forgotten is not lost."""
    kept, forgotten = [], []  # type: List[Any], List[Any]
    ch.queue_declare("acks", durable=True, auto_delete=False)
    ch.queue_declare("none", durable=True, auto_delete=False)
    for queue in ("acks", "none"):
        ch.basic_publish(amqp.Message("x", delivery_mode=2), routing_key=queue)
    ch.basic_consume("acks", callback=kept.append)
    ch.basic_consume("none", no_ack=True, callback=forgotten.append)
    ch.queue_declare("acks", passive=True)  # reads both deliveries
    assert ch.pending() == 2
    lose(broker)
    ch.queue_declare("acks", passive=True)
    while not (kept and forgotten):
        ch.wait(timeout=LONG)
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.wait(timeout=0.1)
    assert (len(kept), len(forgotten)) == (1, 1)
    assert kept[0].redelivered


def test_a_loop_over_messages_goes_on(broker: Broker, ch: amqp.Channel) -> None:
    ch.queue_declare("q", durable=True, auto_delete=False)
    found = []
    for number in range(4):
        ch.basic_publish(amqp.Message("%d" % number, delivery_mode=2), routing_key="q")
    with contextlib.closing(ch.consume("q", timeout=LONG)) as messages:  # not all Pythons end it with the loop
        for msg in messages:
            found.append(msg.body)
            if len(found) == 2:
                lose(broker)
            msg.ack()
            if found[-1] == "3":
                break
    assert found in (["0", "1", "1", "2", "3"], ["0", "1", "2", "3"])
    assert ch.callbacks == {}
    ch.queue_declare("q", passive=True)
    assert broker.queues()["q"].consumers == 0


def test_drain_events_goes_on(broker: Broker, conn: amqp.Connection, ch: amqp.Channel) -> None:
    found: List[Any] = []
    ch.queue_declare("q", auto_delete=False)
    ch.basic_consume("q", callback=found.append)
    lose(broker, durable=False)
    other = conn.channel()
    other.basic_publish(amqp.Message("x"), routing_key="q")
    while not found:
        conn.drain_events(timeout=LONG)


def test_cancelled_while_there_is_no_connection(broker: Broker, ch: amqp.Channel) -> None:
    """At once: the consumer has gone with the connection, and is not begun again."""
    ch.queue_declare("q", durable=True, auto_delete=False)
    ch.basic_consume("q", "tag")
    broker.down(crash=True)
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.wait(timeout=0.05)
    ch.basic_cancel("tag")
    assert ch.callbacks == {}
    broker.up()
    ch.queue_declare("q", passive=True)
    assert broker.queues()["q"].consumers == 0


def test_what_was_answered_is_restored_though_the_call_raises(
    broker: Broker, ch: amqp.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when Ctrl-C comes behind the answer, or a function of the program's that is due then raises."""

    def raises(driver: Driver) -> None:
        raise KeyboardInterrupt

    found: List[Any] = []
    line = ch._amqplib
    for call in (
        lambda: ch.queue_declare("q", durable=True, auto_delete=False),
        lambda: ch.basic_consume("q", "tag", callback=found.append),
    ):
        line.driver.notices.warn("something to tell")
        monkeypatch.setattr(Driver, "tell", raises)
        with pytest.raises(KeyboardInterrupt):
            call()
        monkeypatch.undo()
    lose(broker)
    ch.basic_publish(amqp.Message("x"), routing_key="q")
    assert receive(ch, found) == ["x"]


@pytest.mark.parametrize("how", ["wait", "drain_events", "consume"])
@pytest.mark.parametrize("ends", ["stop_consuming", "basic_cancel"])
def test_a_loop_is_ended_while_there_is_no_connection(broker: Broker, ch: amqp.Channel, how: str, ends: str) -> None:
    """By another thread, which need not wait for a broker that may never come back; and then it does."""
    ch.queue_declare("q", durable=True, auto_delete=False)
    conn = ch.connection
    assert conn is not None
    if how == "consume":
        messages = ch.consume("q")
    else:
        ch.basic_consume("q", "tag", callback=lambda msg: None)

    def loop() -> None:
        if how == "consume":
            assert list(messages) == []
            return
        while ch.callbacks:
            ch.wait() if how == "wait" else conn.drain_events()

    pool = ThreadPoolExecutor(1)
    running = pool.submit(loop)
    broker.down(crash=True)
    at_it = time.monotonic() + LONG
    while not any(thread.name == "amqplib-recovery" for thread in threading.enumerate()):
        assert time.monotonic() < at_it
    [tag] = ch.callbacks
    ch.stop_consuming() if ends == "stop_consuming" else ch.basic_cancel(tag)
    running.result(LONG)
    pool.shutdown()
    broker.up()
    ch.queue_declare("q", passive=True)
    assert broker.queues()["q"].consumers == 0


@pytest.mark.parametrize("what", ["consumer", "channel"])
def test_ended_while_it_is_being_restored(broker: Broker, what: str) -> None:
    """The new connection has it already, and nobody knows that yet."""
    reached, go_on = threading.Event(), threading.Event()

    def after(declaration: Any) -> None:
        if declaration.kind == "consumer":
            reached.set()
            go_on.wait(LONG)

    conn = amqp.Connection(broker.address, recover=amqp.Recovery(after=after), reply_timeout=LONG)
    ch, other = conn.channel(), conn.channel()
    ch.queue_declare("q", durable=True, auto_delete=False)
    ch.basic_consume("q", "tag")
    lose(broker)
    with Threads(lambda: other.queue_declare("q", passive=True)):
        assert reached.wait(LONG)
        if what == "consumer":
            ch.basic_cancel("tag")
        else:
            with pytest.raises(KeyError), ch:
                raise KeyError
            assert not ch.is_open
        go_on.set()
    other.queue_declare("q", passive=True)
    deadline = time.monotonic() + LONG
    while broker.queues()["q"].consumers:
        assert time.monotonic() < deadline
        other.queue_declare("q", passive=True)
    assert conn.channel(1).channel_id == 1
    conn.close()


def test_leaving_with_an_exception_waits_for_no_broker(broker: Broker) -> None:
    """Such as SystemExit in a handler of SIGTERM, in the middle of a loop over messages."""
    began = time.monotonic()
    with pytest.raises(SystemExit):
        leave(broker)
    assert time.monotonic() - began < LONG
    broker.up()


def leave(broker: Broker) -> None:
    with amqp.Connection(broker.address, recover=True, reply_timeout=3 * LONG) as conn, conn.channel() as ch:
        ch.queue_declare("q", durable=True, auto_delete=False)
        ch.basic_publish(amqp.Message("x"), routing_key="q")
        for _ in ch.consume("q"):
            broker.down(crash=True)
            with pytest.raises(amqp.AMQPTimeoutError):
                conn.drain_events(timeout=0.05)
            raise SystemExit


@pytest.mark.parametrize("down", [True, False])
def test_a_loop_that_is_idle(broker: Broker, ch: amqp.Channel, down: bool) -> None:
    """Nothing coming for want of a connection is not the same as nothing coming."""
    ch.queue_declare("q", durable=True, auto_delete=False)
    messages = ch.consume("q", timeout=0.2)
    if not down:
        assert list(messages) == []
        return
    broker.down(crash=True)
    with pytest.raises(amqp.AMQPTimeoutError, match="the connection was lost"):
        next(messages)
    assert ch.is_open
    broker.up()
    assert list(ch.consume("q", timeout=0.2)) == []


# --- deadlines


def test_who_waits_for_a_short_time_gets_the_connection_back(broker: Broker, ch: amqp.Channel) -> None:
    """Each wait is too short for it, all together are not."""
    found: List[Any] = []
    ch.queue_declare("q", durable=True, auto_delete=False)
    ch.basic_publish(amqp.Message("x", delivery_mode=2), routing_key="q")
    lose(broker)
    ch.basic_consume("q", callback=found.append)
    lose(broker)
    deadline = time.monotonic() + LONG
    while len(found) < 1 and time.monotonic() < deadline:
        try:
            ch.wait(timeout=0.0001)
        except amqp.AMQPTimeoutError:
            pass
    assert found


@pytest.mark.parametrize("what", ["wait", "drain", "call", "confirm", "consume"])
def test_deadlines_hold(broker: Broker, what: str) -> None:
    conn = amqp.Connection(broker.address, recover=True, reply_timeout=0.3)
    ch = conn.channel()
    ch.queue_declare("q")
    ch.confirm_select()
    broker.down(crash=True)
    calls: Dict[str, Callable[[], Any]] = {
        "wait": lambda: ch.wait(timeout=0.3),
        "drain": lambda: conn.drain_events(timeout=0.3),
        "call": lambda: ch.queue_declare("q"),
        "confirm": lambda: ch.basic_publish_confirm(amqp.Message("x"), routing_key="q", timeout=0.3),
        "consume": lambda: list(ch.consume("q", timeout=0.3)),
    }
    began = time.monotonic()
    with pytest.raises(amqp.AMQPTimeoutError):
        calls[what]()
    assert 0.2 < time.monotonic() - began < LONG
    broker.up()
    ch.wait_for_confirms(LONG) if what == "confirm" else None
    while conn.stats().recoveries == 0:
        try:
            ch.queue_declare("q")
        except amqp.AMQPTimeoutError:
            pass
    conn.close()


def test_a_timeout_says_why(broker: Broker) -> None:
    conn = amqp.Connection(broker.address, recover=True)
    ch = conn.channel()
    broker.down(crash=True)
    with pytest.raises(
        amqp.AMQPTimeoutError, match=r"the connection was lost \(.*reset.*\), and is not back within 0\.\d+ s"
    ):
        ch.wait(timeout=0.5)
    broker.up()
    ch.queue_declare("q")
    conn.close()


# --- for good


@pytest.mark.parametrize(
    ("values", "attempts"), [({"attempts": 3, "delay": 0.01}, True), ({"time": 0.3, "delay": 0.01}, False)]
)
def test_it_is_given_up_at_the_limit(broker: Broker, values: Any, attempts: bool) -> None:
    heard: List[Any] = []
    conn = amqp.Connection(broker.address, recover=amqp.Recovery(on_given_up=heard.append, **values))
    ch = conn.channel()
    broker.down(crash=True)
    text = "refused.*the connection had been lost.*did not come back"
    with pytest.raises(amqp.ConnectionLostError, match=text):
        ch.wait(timeout=LONG)
    at_rest()
    broker.up()
    for call in (ch.wait, lambda: ch.queue_declare("q"), lambda: ch.basic_publish(amqp.Message("x")), conn.channel):
        with pytest.raises((amqp.ConnectionLostError, amqp.ChannelClosedError)):
            call()
    assert [type(each) for each in heard] == [amqp.ConnectionLostError]
    assert conn.transport is None
    conn.close()


def test_a_login_that_is_refused_now(broker: Broker) -> None:
    conn = amqp.Connection(broker.address, recover=True)
    ch = conn.channel()
    broker.faults.refuse_logins()
    broker.faults.drop()
    with pytest.raises(amqp.AuthenticationError, match=r"ACCESS_REFUSED.*did not come back"):
        ch.queue_declare("q")
    with pytest.raises(amqp.AMQPException):
        conn.channel()


def test_a_vhost_that_is_gone(broker: Broker) -> None:
    broker.add_vhost("v")
    conn = amqp.Connection(broker.address, virtual_host="v", recover=True)
    ch = conn.channel()
    broker.delete_vhost("v")
    with pytest.raises(amqp.AMQPConnectionException, match="530"):
        ch.queue_declare("q")


def test_what_the_program_has_done_wrong(broker: Broker) -> None:
    """A close that another connection would only meet again."""
    conn = amqp.Connection(broker.address, recover=True)
    ch = conn.channel()
    with pytest.raises(amqp.AMQPConnectionException, match="540"):
        ch.basic_qos(prefetch_size=7, prefetch_count=1)
    assert conn.transport is None


def test_the_program_s_own_close(broker: Broker, conn: amqp.Connection, ch: amqp.Channel) -> None:
    conn.close()
    broker.restart(crash=True)
    with pytest.raises(amqp.ConnectionLostError, match="closed by this program"):
        ch.queue_declare("q")
    assert broker.connections() == []


def test_a_channel_that_the_server_closed_stays_closed(broker: Broker, conn: amqp.Connection) -> None:
    ch, other = conn.channel(), conn.channel()
    with pytest.raises(amqp.AMQPChannelException, match="404"):
        ch.queue_declare("missing", passive=True)
    lose(broker)
    other.queue_declare("q")
    assert not ch.is_open
    with pytest.raises(amqp.ChannelClosedError):
        ch.queue_declare("q")
    assert conn.channel().channel_id == 1


@pytest.mark.parametrize("phase", ["refused", "half made"])
def test_close_while_it_is_brought_back(broker: Broker, phase: str) -> None:
    """Those who wait are told, and nothing comes back afterwards."""
    conn = amqp.Connection(broker.address, recover=True)
    ch = conn.channel()
    ch.queue_declare("q")
    if phase == "refused":
        broker.down(crash=True)
    else:
        broker.faults.drop()
        broker.faults.stall()
    told: List[BaseException] = []

    def wait() -> None:
        try:
            ch.wait(timeout=LONG)
        except Exception as exc:
            told.append(exc)

    with Threads(wait):
        while not any(thread.name == "amqplib-recovery" for thread in threading.enumerate()):
            time.sleep(0.001)
        with pytest.raises(amqp.ConnectionLostError):
            conn.close()
    assert [type(exc) for exc in told] == [amqp.ConnectionLostError]
    assert conn.transport is None
    broker.faults.clear()
    broker.up()
    at_rest()
    assert broker.connections() == []
    conn.close()


# --- functions of the program


def test_functions_are_called_in_this_order(broker: Broker) -> None:
    heard: List[str] = []
    held: List[amqp.Connection] = []
    done = threading.Event()

    def recovered() -> None:
        heard.append("recovered")
        held[0].channel().close()  # it is there
        done.set()

    policy = amqp.Recovery(
        on_lost=lambda exc: heard.append("lost: %s" % type(exc).__name__),
        before=lambda what: heard.append("before " + str(what)),
        after=lambda what: heard.append("after " + str(what)),
        on_recovered=recovered,
        wanted=lambda what: what.name != "unwanted",
    )
    with amqp.Connection(broker.address, recover=policy) as conn:
        held.append(conn)
        ch = conn.channel()
        ch.queue_declare("q")
        ch.queue_declare("unwanted")
        ch.basic_consume("q", "tag")
        lose(broker, durable=False)
        ch.queue_declare("q")
        assert done.wait(LONG)
        assert heard == [
            "lost: ConnectionLostError",
            "before queue 'q'",
            "after queue 'q'",
            "before consumer 'tag' of queue 'q' on channel 1",
            "after consumer 'tag' of queue 'q' on channel 1",
            "recovered",
        ]
        assert set(broker.queues()) == {"q"}


def test_one_that_raises_changes_nothing(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*args: Any) -> None:
        raise KeyError("a mistake")

    policy = amqp.Recovery(on_lost=fail, before=fail, after=fail, on_recovered=fail)
    with amqp.Connection(broker.address, recover=policy) as conn:
        ch = conn.channel()
        ch.queue_declare("q")
        lose(broker, durable=False)
        ch.queue_declare("q")
        assert set(broker.queues()) == {"q"}
    assert "a function for recovery, raised" in caplog.text


def test_the_log(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with amqp.Connection(broker.address, recover=True) as conn:
        ch = conn.channel()
        ch.queue_declare("q")
        ch.confirm_select()
        lose(broker)
        ch.queue_declare("q")
        at_rest()
    assert [record.getMessage().partition(": ")[2] for record in caplog.records[:1]] == [
        "the connection was lost, and will be made again: the connection to %s was lost: Connection reset by peer"
        % broker.address
    ]
    assert "the connection is back after" in caplog.text
    assert "at attempt 1, at %s, with 1 queues, 1 channels" % broker.address in caplog.text


def test_the_log_of_a_program_that_ends_while_the_connection_is_away(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """Its channel cannot be closed in good order then, which is no news."""
    away = threading.Event()
    channels: List[amqp.Channel] = []
    caplog.set_level(logging.WARNING)

    def program() -> None:
        policy = amqp.Recovery(on_lost=lambda exc: away.set())
        with amqp.Connection(broker.address, recover=policy) as conn, conn.channel() as ch:
            channels.append(ch)
            broker.down()
            while not away.is_set():
                with contextlib.suppress(amqp.AMQPTimeoutError):
                    ch.wait(timeout=0.1)
            caplog.clear()
            sys.exit(0)

    with pytest.raises(SystemExit):
        program()
    assert not channels[0].is_open
    assert caplog.messages == []


def test_what_cannot_be_declared_again(broker: Broker) -> None:
    """An error names it, for the function and for whoever waits; the rest is there."""
    failed: List[Any] = []
    conn = amqp.Connection(broker.address, recover=amqp.Recovery(on_failed=failed.append))
    ch, other = conn.channel(), conn.channel()
    ended: List[str] = []
    found: List[Any] = []
    ch.queue_declare("changed", auto_delete=False)
    ch.queue_declare("q", auto_delete=False)
    ch.exchange_declare("gone", "direct", auto_delete=False)
    ch.queue_bind("q", "gone")
    ch.basic_consume("q", "good", callback=found.append)
    other.basic_consume("changed", "bad", on_cancel=ended.append)
    broker.down(durable=False, crash=True)
    broker.up()
    with amqp.Connection(broker.address) as operator:
        operator.channel().queue_declare("changed", durable=True, auto_delete=False)
        operator.channel().queue_declare("changed", passive=True)
        ch.basic_publish(amqp.Message("x"), routing_key="q")
        with pytest.raises(amqp.RecoveryError, match="but not queue 'changed': 406") as caught:
            ch.wait(timeout=LONG)
        assert caught.value.amqp_reply_code == 406
        assert caught.value.declaration.name == "changed"
        receive(ch, found)
    assert [str(each.declaration) for each in failed] == ["queue 'changed'"]
    assert list(other.callbacks) == ["bad"]
    conn.close()


def test_a_consumer_that_cannot_be_had_again(broker: Broker) -> None:
    conn = amqp.Connection(broker.address, recover=amqp.Recovery(wanted=lambda what: what.name != "gone"))
    ch = conn.channel()
    ended: List[str] = []
    found: List[Any] = []
    ch.queue_declare("gone", auto_delete=False)
    ch.queue_declare("q", auto_delete=False)
    ch.basic_consume("gone", "bad", on_cancel=ended.append)
    ch.basic_consume("q", "good", callback=found.append)
    lose(broker, durable=False)
    with pytest.raises(amqp.RecoveryError, match="but not consumer 'bad' of queue 'gone' on channel 1: 404"):
        ch.wait(timeout=LONG)
    ch.basic_publish(amqp.Message("x"), routing_key="q")
    receive(ch, found)
    assert ended == ["bad"]
    assert list(ch.callbacks) == ["good"]
    conn.close()


def test_a_queue_that_the_broker_still_holds_for_the_old_connection(broker: Broker) -> None:
    """RabbitMQ notices late that a client has gone. Here another connection has the queue for a while."""
    failed: List[Any] = []
    tried = threading.Event()

    def before(what: Any) -> None:
        if what.kind == "queue":
            tries.append(what)
            if len(tries) == 3:
                tried.set()

    tries: List[Any] = []
    policy = amqp.Recovery(before=before, on_failed=failed.append)
    with amqp.Connection(broker.address, recover=policy, reply_timeout=LONG) as conn:
        ch = conn.channel()
        ch.queue_declare("q", exclusive=True)
        broker.down(crash=True)
        broker.up()
        other = amqp.Connection(broker.address)
        other.channel().queue_declare("q", exclusive=True)

        def let_go() -> None:
            tried.wait(LONG)
            other.close()

        with Threads(let_go):
            ch.queue_declare("q", exclusive=True)
    assert len(tries) > 2
    assert failed == []


def test_one_that_it_holds_for_too_long(broker: Broker) -> None:
    policy = amqp.Recovery(locked=0.2)
    conn = amqp.Connection(broker.address, recover=policy)
    ch = conn.channel()
    ch.queue_declare("q", exclusive=True)
    broker.restart(crash=True)
    with amqp.Connection(broker.address) as other:
        other.channel().queue_declare("q", exclusive=True)
        with pytest.raises(amqp.RecoveryError, match="queue 'q': 405 RESOURCE_LOCKED"):
            ch.wait(timeout=LONG)
    conn.close()


# --- threads, signals, child processes


def test_threads_share_one_recovery(broker: Broker, conn: amqp.Connection) -> None:
    channels = [conn.channel() for _ in range(8)]
    counts: List[int] = []

    def work(ch: amqp.Channel) -> Callable[[], None]:
        def run() -> None:
            ch.confirm_select()
            queue = ch.queue_declare(exclusive=True)[0]
            found: List[Any] = []
            ch.basic_consume(queue, callback=found.append)
            ch.exchange_declare("x.%d" % (ch.channel_id or 0), "fanout", auto_delete=False)
            ch.queue_bind(queue, "x.%d" % (ch.channel_id or 0))
            for number in range(50):
                ch.basic_publish(amqp.Message("%d" % number), "x.%d" % (ch.channel_id or 0))
                if number % 10 == 9:
                    ch.wait_for_confirms(LONG)
            counts.append(ch.channel_id or 0)

        return run

    def interfere() -> None:
        for _ in range(4):
            broker.faults.drop(reset=True)
            time.sleep(0.02)

    with Threads(*(work(ch) for ch in channels), interfere):
        pass
    assert sorted(counts) == list(range(1, 9))


def test_a_signal_handler_closes(broker: Broker) -> None:
    """While the main thread waits for the connection to come back."""
    conn = amqp.Connection(broker.address, recover=True)
    ch = conn.channel()
    broker.down(crash=True)
    closed: List[str] = []

    def handler(*args: Any) -> None:
        with pytest.raises(amqp.ConnectionLostError):
            conn.close()
        closed.append("")

    def kick() -> None:
        while not any(thread.name == "amqplib-recovery" for thread in threading.enumerate()):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with Threads(kick), pytest.raises((amqp.ConnectionLostError, amqp.ChannelClosedError)):
            ch.wait(timeout=LONG)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert closed == [""]
    broker.up()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("down", [True, False])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_process_has_no_part_in_it(broker: Broker, conn: amqp.Connection, ch: amqp.Channel, down: bool) -> None:
    if down:
        broker.down(crash=True)
        with pytest.raises(amqp.AMQPTimeoutError):
            ch.wait(timeout=0.05)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            ch.queue_declare("q")
        except amqp.AMQPException as exc:
            if "belongs to process" in str(exc) and conn.transport is None:
                code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    if down:
        broker.up()
    ch.queue_declare("q")


def test_a_connection_that_is_dropped_is_left_alone(broker: Broker) -> None:
    """Nothing keeps it, and nothing goes on after it."""
    import gc
    import weakref

    conn = amqp.Connection(broker.address, recover=True)
    ch = conn.channel()
    broker.down(crash=True)
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.wait(timeout=0.05)
    gone = weakref.ref(conn)
    del conn, ch
    gc.collect()
    deadline = time.monotonic() + LONG
    while gone() is not None:  # an attempt may be on its way
        gc.collect()
        assert time.monotonic() < deadline
    at_rest()
    broker.up()


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="nothing dies by reference count here")
def test_a_closed_connection_goes_by_its_references(broker: Broker) -> None:
    import gc
    import weakref

    gc.collect()
    gc.disable()
    try:
        conn = amqp.Connection(broker.address, recover=True)
        ch = conn.channel()
        ch.queue_declare("q")
        lose(broker)
        ch.queue_declare("q")
        at_rest()
        lines: List[Any] = [
            weakref.ref(ch),
            weakref.ref(conn),
            weakref.ref(ch._amqplib),
            weakref.ref(conn._amqplib.driver),
        ]
        conn.close()
        del ch, conn
        assert [ref() for ref in lines] == [None] * 4
    finally:
        gc.enable()
