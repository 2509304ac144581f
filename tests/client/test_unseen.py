"""Proves that messages which had come, and which the program was not given, are not lost: when their consumer ends they
go back, and no acknowledgement of several settles them."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import Any, Callable, Dict, Iterator, List

import pytest

import amqplib.client_0_8
import amqplib.client_0_9_1
from amqplib.broker import Broker
from amqplib.client.channel import Channel

from .peer import PATIENCE, Peer, content
from .test_newer_calls import deliver
from .threads import Threads

BODIES = [b"1", b"2", b"3", b"4", b"5"]


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@pytest.fixture(params=[amqplib.client_0_8, amqplib.client_0_9_1], ids=["0_8", "0_9_1"])
def amqp(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def channel(broker: Broker, amqp: Any) -> Iterator[Channel]:
    """A channel that has declared the queues 'q', with five messages, and 'r', with one."""
    with amqp.Connection(broker.address, heartbeat=0, reply_timeout=PATIENCE) as conn:
        ch = conn.channel()
        for name in "qr":
            ch.queue_declare(name, auto_delete=False)
        for body in BODIES:
            ch.basic_publish(amqp.Message(body), routing_key="q")
        ch.basic_publish(amqp.Message(b"r"), routing_key="r")
        yield ch


def until_pending(ch: Channel, count: int) -> None:
    """Calls, until so many deliveries have come and wait to be handled."""
    until = time.monotonic() + PATIENCE
    while ch.pending() < count:
        assert time.monotonic() < until
        ch.queue_declare("q", passive=True)


def left(broker: Broker, ch: Channel, queue: str = "q") -> List[bytes]:
    """What the queue has once the channel is closed, in its order."""
    connection = ch.connection
    assert connection is not None
    ch.close()
    other = connection.channel()
    bodies = [msg.body for msg in iter(lambda: other.basic_get(queue, no_ack=True), None)]
    other.close()
    return bodies


def get(ch: Channel, queue: str) -> Any:
    msg = ch.basic_get(queue)
    assert msg is not None
    return msg


# --- the end of a consumer


@pytest.mark.parametrize("nowait", [False, True])
@pytest.mark.parametrize("settle", ["ack one before", "ack all", "nack", "nothing"])
def test_what_was_not_handled_goes_back(broker: Broker, channel: Channel, nowait: bool, settle: str) -> None:
    """As a worker stops: it ends its consumer, and acknowledges what it has done in one go."""
    if settle == "nack" and channel.connection and channel.connection.protocol == "0-8":
        pytest.skip("0-8 has no nack")
    seen: List[Any] = []
    tag = channel.basic_consume("q", callback=seen.append)
    until_pending(channel, 5)
    channel.wait()
    last = get(channel, "r")
    channel.basic_cancel(tag, nowait)
    assert channel.pending() == 0
    if settle == "ack one before":
        last.ack(multiple=True)
    elif settle == "ack all":
        channel.basic_ack(0, multiple=True)
    elif settle == "nack":
        last.nack(multiple=True, requeue=False)
    assert [msg.body for msg in seen] == [b"1"]
    assert left(broker, channel) == (BODIES if settle == "nothing" else BODIES[1:])


def test_cancelled_inside_its_callback(broker: Broker, channel: Channel, amqp: Any) -> None:
    seen: List[bytes] = []

    def callback(msg: Any) -> None:
        seen.append(msg.body)
        channel.basic_cancel(msg.consumer_tag)
        msg.ack()

    channel.basic_consume("q", callback=callback)
    until_pending(channel, 5)
    while channel.callbacks:
        channel.wait()
    other = get(channel, "r")
    other.ack(multiple=True)
    assert (seen, left(broker, channel)) == ([b"1"], BODIES[1:])


def test_what_comes_after_a_cancel_that_nothing_answers(peer: Peer, ch: Channel) -> None:
    """It is given back as it is met; not what was sent without asking for an acknowledgement, or nobody asked for."""
    for no_ack in (False, True):
        peer.expect("basic.consume")
        ch.basic_consume("q", "late%d" % no_ack, no_ack=no_ack, nowait=True)
        peer.expect("basic.cancel")
        ch.basic_cancel("late%d" % no_ack, nowait=True)
    for number, tag in enumerate(["late0", "late1", "who?", "late0"], 1):
        peer.send_bytes(content("basic.deliver", tag, number, False, "x", "k", message=({}, b"")))
    peer.answer("tx.select", "tx.select_ok")
    for number in (1, 4):
        peer.expect("basic.reject", number, True)
    ch.tx_select()
    assert ch.pending() == 4
    while ch.pending():
        ch.wait(timeout=PATIENCE)
    peer.wait()


def test_a_consumer_that_needs_no_acknowledgements(
    channel: Channel, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    tag = channel.basic_consume("q", "mine", no_ack=True)
    until_pending(channel, 5)
    channel.wait()
    with caplog.at_level(logging.WARNING, "amqplib"):
        channel.basic_cancel(tag)
        channel.basic_cancel("nobody")
    (record,) = caplog.records
    assert "4 messages are lost" in record.getMessage()
    assert "'mine'" in record.getMessage()
    assert channel.pending() == 0
    assert left(broker, channel) == []


def test_a_loop_that_needs_no_acknowledgements(
    channel: Channel, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    # closing(): not all Pythons end a loop's generator as soon as it is left
    loop = contextlib.closing(channel.consume("q", no_ack=True, timeout=PATIENCE))
    with caplog.at_level(logging.WARNING, "amqplib"), loop as messages:
        for _ in messages:
            until_pending(channel, 4)
            break
    assert ["4 messages are lost" in record.getMessage() for record in caplog.records] == [True]


def test_other_consumers_keep_theirs(channel: Channel, broker: Broker) -> None:
    seen: List[bytes] = []
    channel.basic_consume("q", "q", callback=lambda msg: seen.append(msg.body))
    channel.basic_consume("r", "r", callback=lambda msg: seen.append(msg.body))
    until_pending(channel, 6)
    channel.basic_cancel("q")
    assert channel.pending() == 1
    channel.wait()
    assert seen == [b"r"]
    assert left(broker, channel) == BODIES


def test_the_same_tag_again(channel: Channel, broker: Broker) -> None:
    """What had come for the first consumer comes again, for the second."""
    first: List[bytes] = []
    second: List[bytes] = []
    channel.basic_consume("q", "mine", callback=lambda msg: first.append(msg.body))
    until_pending(channel, 5)
    channel.basic_cancel("mine")
    channel.basic_consume("q", "mine", callback=lambda msg: second.append(msg.body))
    for _ in BODIES:
        channel.wait(timeout=PATIENCE)
    assert (first, sorted(second)) == ([], BODIES)


def test_a_handler_of_the_programs_own_gets_all(peer: Peer, conn: Any) -> None:
    """An old program's class handles deliveries by itself, whether or not a consumer is known."""
    seen: List[int] = []

    class Own(amqplib.client_0_8.Channel):
        def basic_deliver(self, args: Any, msg: Any) -> None:
            seen.append(args[1])

    Own._METHOD_MAP = {**Own._METHOD_MAP, (60, 60): Own.basic_deliver}
    peer.open_channel()
    ch = Own(conn)
    peer.answer("basic.consume", "basic.consume_ok", "tag")
    ch.basic_consume("q", "tag")
    peer.expect("basic.cancel")
    peer.send_content("basic.deliver", "tag", 1, False, "x", "k")
    peer.send("basic.cancel_ok", "tag")
    ch.basic_cancel("tag")
    ch.wait(timeout=PATIENCE)
    assert seen == [1]


# --- acknowledging several


SETTLE: List[Callable[[Any, Channel], None]] = [
    lambda msg, ch: msg.ack(multiple=True),
    lambda msg, ch: ch.basic_ack(0, multiple=True),
]


@pytest.mark.parametrize("settle", SETTLE, ids=["up to it", "all"])
def test_acks_do_not_reach_what_waits_for_its_callback(
    broker: Broker, channel: Channel, settle: Callable[[Any, Channel], None]
) -> None:
    """A message that basic_get() fetched came later than deliveries that no wait() has handled yet."""
    seen: List[Any] = []
    channel.basic_consume("q", callback=seen.append)
    until_pending(channel, 5)
    channel.wait()
    settle(get(channel, "r"), channel)
    until = time.monotonic() + PATIENCE
    while len(seen) < 5 and time.monotonic() < until:
        channel.wait(timeout=PATIENCE)
    assert [(msg.body, msg.redelivered) for msg in seen] == [(body, False) for body in BODIES]
    seen[-1].ack(multiple=True)  # and is held to be what it is by both sides
    assert left(broker, channel) == []


@pytest.mark.parametrize("settle", SETTLE, ids=["up to it", "all"])
def test_acks_do_not_reach_what_another_loop_has_not_seen(
    broker: Broker, channel: Channel, settle: Callable[[Any, Channel], None]
) -> None:
    first = channel.consume("q", timeout=PATIENCE)
    assert next(first).body == b"1"
    until_pending(channel, 4)
    second = channel.consume("r", timeout=PATIENCE)
    msg = next(second)  # takes in, for the other loop, what came before it
    assert msg.body == b"r"
    settle(msg, channel)
    assert sorted(next(first).body for _ in range(4)) == BODIES[1:]
    first.close()
    second.close()
    assert sorted(left(broker, channel)) == BODIES[1:]


@pytest.mark.parametrize("settle", SETTLE, ids=["up to it", "all"])
def test_though_their_queue_is_gone_meanwhile(
    channel: Channel, amqp: Any, settle: Callable[[Any, Channel], None]
) -> None:
    """They could not go back, and would be lost; the program has them here."""
    seen: List[bytes] = []
    channel.basic_consume("q", callback=lambda msg: seen.append(msg.body))
    until_pending(channel, 5)
    last = get(channel, "r")
    channel.queue_delete("q")
    settle(last, channel)
    while channel.callbacks:
        channel.wait(timeout=PATIENCE)
    assert seen == BODIES


def test_what_was_given_is_acknowledged_one_by_one_behind_what_was_not(peer: Peer, ch: Channel) -> None:
    """And together before it. Nothing is sent for what was settled already, nor for what was not given."""
    for tag in "ab":
        peer.answer("basic.consume", "basic.consume_ok", tag)
        ch.basic_consume("q", tag, callback=lambda msg: None)
    for number in (1, 2, 3):
        peer.send_bytes(content("basic.deliver", "a", number, False, "x", "k"))
        ch.wait(timeout=PATIENCE)
    peer.send_bytes(content("basic.deliver", "b", 4, False, "x", "k"))
    for number in (5, 6, 7):
        peer.answer("basic.get", "basic.get_ok", number, False, "x", "k", 0)
        peer.send_bytes(b"\x02\0\1\0\0\0\x0e\0\x3c\0\0\0\0\0\0\0\0\0\0\0\0\xce")
        ch.basic_get("q")
    peer.expect("basic.ack", 6, False)
    ch.basic_ack(6)
    peer.expect("basic.ack", 3, True)
    peer.expect("basic.ack", 5, False)
    peer.expect("basic.ack", 7, False)
    ch.basic_ack(7, multiple=True)
    peer.expect("basic.ack", 7, False)  # again: it is the server who says that this is wrong
    ch.basic_ack(7, multiple=True)
    ch.wait(timeout=PATIENCE)
    peer.expect("basic.ack", 4, True)
    ch.basic_ack(0, multiple=True)
    peer.wait()


def test_acks_in_order_are_sent_as_they_are(peer: Peer, ch: Channel) -> None:
    """Deliveries that came later, and those that need no acknowledgement, stay where they are."""
    for tag, no_ack in (("a", False), ("b", True)):
        peer.answer("basic.consume", "basic.consume_ok", tag)
        ch.basic_consume("q", tag, no_ack=no_ack, callback=lambda msg: None)
    peer.send_bytes(
        b"".join(content("basic.deliver", tag, n, False, "x", "k") for n, tag in enumerate(["a", "b", "a"], 1))
    )
    ch.wait()
    peer.expect("basic.ack", 2, True)
    ch.basic_ack(2, multiple=True)
    peer.wait()
    assert ch.pending() == 2


def test_all_is_what_was_given(peer: Peer, ch: Channel) -> None:
    """And not what is on its way when the program says so; nor what nobody knows of."""
    peer.answer("basic.consume", "basic.consume_ok", "a")
    ch.basic_consume("q", "a", callback=lambda msg: None)
    ch.basic_ack(0, multiple=True)  # nothing was given
    for number in (1, 2, 3):
        peer.send_bytes(content("basic.deliver", "a", number, False, "x", "k"))
        ch.wait(timeout=PATIENCE)
    peer.expect("basic.ack", 3, False)
    ch.basic_ack(3)
    peer.send_bytes(content("basic.deliver", "a", 4, False, "x", "k"))
    peer.wait()
    peer.expect("basic.ack", 2, True)
    ch.basic_ack(0, multiple=True)
    ch.basic_ack(0, multiple=True)
    ch.wait(timeout=PATIENCE)
    peer.expect("basic.reject", 4, True)
    ch.basic_reject(4, True)
    peer.wait()


def test_all_where_acknowledgements_may_be_taken_back(peer: Peer, ch: Channel) -> None:
    """Only the server knows what all is after a tx_rollback(), and after what an own loop has handled."""
    peer.answer("basic.consume", "basic.consume_ok", "a")
    ch.basic_consume("q", "a", callback=lambda msg: None)
    peer.answer("tx.select", "tx.select_ok")
    ch.tx_select()
    peer.expect("basic.ack", 0, True)
    ch.basic_ack(0, multiple=True)
    peer.wait()


def test_what_cannot_be_sent_gives_nothing_back(peer: Peer, ch: Channel) -> None:
    peer.answer("basic.consume", "basic.consume_ok", "a")
    ch.basic_consume("q", "a", callback=lambda msg: None)
    peer.send_bytes(content("basic.deliver", "a", 1, False, "x", "k") + b"\x01\0\1\0\0\0\4\0\x5a\0\x0b\xce")
    peer.expect("tx.select")
    ch.tx_select()
    with pytest.raises(ValueError, match="delivery_tag"):
        ch.basic_ack(-1, multiple=True)
    assert ch.pending() == 1


def test_what_cannot_be_asked_for_again_stays(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    """basic_recover() leaves out what comes again, but not if that was not sent."""
    seen: List[Any] = []
    channel.basic_consume("q", callback=lambda msg: seen.append(msg.delivery_tag))
    until_pending(channel, 5)
    channel.wait(timeout=PATIENCE)

    def full(self: object, name: str, *args: object) -> None:
        assert name == "basic.recover_async"
        raise amqplib.client_0_8.AMQPTimeoutError("the system takes nothing")

    with monkeypatch.context() as patched:
        patched.setattr("amqplib.client.line.Line.send", full)
        with pytest.raises(amqplib.client_0_8.AMQPTimeoutError):
            channel.basic_recover(True)
    assert channel.pending() == 4
    while len(seen) < 5:
        channel.wait(timeout=PATIENCE)
    channel.basic_ack(0, multiple=True)
    channel.close()
    assert seen == [1, 2, 3, 4, 5]


def test_a_stream_is_given_nothing_back(newer_peer: Peer, newer: Channel) -> None:
    """Neither by an acknowledgement of several nor at its end; an acknowledgement is credit there."""
    seen: List[int] = []
    newer_peer.answer("basic.consume", "basic.consume_ok", "s")
    offset = {"x-stream-offset": "first"}
    newer.basic_consume("s", "s", arguments=offset, callback=lambda msg: seen.append(msg.delivery_tag))
    deliver(newer_peer, 1, 2, 3, ctag="s")
    newer.wait(timeout=PATIENCE)
    newer_peer.expect("basic.ack", 3, True)
    newer.basic_ack(3, multiple=True)
    newer.wait(timeout=PATIENCE)
    newer_peer.answer("basic.cancel", "basic.cancel_ok", "s")
    newer.basic_cancel("s")
    newer_peer.wait()
    assert seen == [1, 2]


class Meanwhile(Dict[str, Any]):
    """The callbacks of a channel; as one is taken out, a function is called, before the rest is done."""

    do: Callable[[], None]

    def pop(self, *args: Any) -> Any:
        found = super().pop(*args)
        self.do()
        return found


def test_what_is_handled_as_its_consumer_ends_goes_back(channel: Channel, amqp: Any, threads: Threads) -> None:
    """The callback is gone, and the cancelling thread has yet to do the rest, when another one handles a message."""
    ch = channel.connection.channel()  # type: ignore[union-attr]
    ch.callbacks = callbacks = Meanwhile()
    tag = ch.basic_consume("q", callback=print)
    until_pending(ch, len(BODIES))

    def meanwhile() -> None:
        threads.start(ch.wait)
        time.sleep(0.1)  # it has handled it, or wants the lock that is held here

    callbacks.do = meanwhile
    ch.basic_cancel(tag)
    threads.results()
    kept = [msg.body for msg in iter(lambda: channel.basic_get("q", no_ack=True), None)]
    assert sorted(kept) == BODIES


def test_what_is_handled_as_its_loop_ends_goes_back(channel: Channel, amqp: Any, threads: Threads) -> None:
    """Another thread has the callback of a loop in hand when that is left."""
    ch = channel.connection.channel()  # type: ignore[union-attr]
    messages = ch.consume("q")
    until_pending(ch, len(BODIES))
    [tag] = ch.callbacks
    arrive: Any = ch.callbacks[tag]
    handles, left = threading.Event(), threading.Event()

    def late(msg: Any) -> None:
        handles.set()
        assert left.wait(PATIENCE)
        arrive(msg)

    ch.callbacks[tag] = late
    threads.start(ch.wait)
    assert handles.wait(PATIENCE)
    messages.close()
    left.set()
    threads.results()
    kept = [msg.body for msg in iter(lambda: channel.basic_get("q", no_ack=True), None)]
    assert sorted(kept) == BODIES


def test_a_thread_cancels_while_another_one_loops(
    broker: Broker, channel: Channel, amqp: Any, threads: Threads, hurried: None
) -> None:
    """Each message is seen by the loop or goes back, and none is both."""
    for _ in range(20):
        ch = channel.connection.channel()  # type: ignore[union-attr]
        seen: List[bytes] = []

        def loop(ch: Channel = ch, seen: List[bytes] = seen) -> None:
            for msg in ch.consume("q", timeout=PATIENCE):
                seen.append(msg.body)
                ch.basic_ack(msg.delivery_tag)
                ch.basic_publish(amqp.Message(msg.body), routing_key="again")

        channel.queue_declare("again", auto_delete=False)
        threads.start(loop)
        until = time.monotonic() + PATIENCE
        while not ch.callbacks and time.monotonic() < until:
            time.sleep(0)
        for tag in list(ch.callbacks):
            ch.basic_cancel(tag)
        threads.results()
        kept = [msg.body for msg in iter(lambda: channel.basic_get("q", no_ack=True), None)]
        again = [msg.body for msg in iter(lambda: channel.basic_get("again", no_ack=True), None)]
        ch.close()
        assert again == seen
        assert sorted(kept + again) == BODIES
        for body in BODIES:
            channel.basic_publish(amqp.Message(body), routing_key="q")


def test_all_that_was_given_behind_the_end_of_the_only_consumer(
    newer_peer: Peer, newer: amqplib.client_0_9_1.Channel
) -> None:
    """More may be on its way to it, which 0 would settle as well."""
    newer_peer.answer("basic.consume", "basic.consume_ok", "tag")
    newer.basic_consume("q", "tag", callback=lambda msg: None)
    newer_peer.send_content("basic.deliver", "tag", 1, False, "", "q")
    newer.wait(timeout=PATIENCE)
    newer_peer.expect("basic.cancel")
    newer.basic_cancel("tag", nowait=True)
    newer_peer.expect("basic.ack", 1, True)
    newer.basic_ack(0, multiple=True)
    newer_peer.wait()
