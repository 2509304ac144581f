"""What client_0_9_1 has beyond 1.0, byte by byte where it goes over the wire: consuming in a loop, notices, secrets."""

from __future__ import annotations

import gc
import inspect
import sys
import time
import weakref
from typing import Any, List

import pytest

import amqplib.client_0_8 as amqp08
import amqplib.client_0_9_1 as amqp
from tests.rest import await_rest
from tests.waits import waits

from .frozen import AMQP_0_9_1
from .peer import PATIENCE, Peer, content
from .test_heartbeats import afresh, started_since
from .threads import Threads


def expect_consume(peer: Peer, *, no_ack: bool = False, arguments: Any = None) -> None:
    peer.expect("basic.consume", 0, "q", "", False, no_ack, False, False, arguments or {})
    peer.send("basic.consume_ok", "ctag")


def deliver(peer: Peer, *tags: int, ctag: str = "ctag") -> None:
    for tag in tags:
        peer.send_content("basic.deliver", ctag, tag, False, "", "q", message=({}, b"%d" % tag))


def cancelled(peer: Peer) -> None:
    peer.expect("basic.cancel", "ctag", False)
    peer.send("basic.cancel_ok", "ctag")


def test_bytes_of_consume_with_arguments(newer_peer: Peer, newer: amqp.Channel) -> None:
    table = b"\nx-priorityI\x00\x00\x00\x05"
    payload = b"\0\x3c\0\x14\0\0\x01q\x00\x00" + len(table).to_bytes(4, "big") + table
    newer_peer.expect_bytes(b"\x01\0\x01" + len(payload).to_bytes(4, "big") + payload + b"\xce")
    newer_peer.send("basic.consume_ok", "made-up")
    assert newer.basic_consume("q", arguments={"x-priority": 5}) == "made-up"


def test_bytes_of_a_new_secret(newer_peer: Peer, newer_conn: amqp.Connection) -> None:
    payload = b"\0\x0a\0\x46" + b"\0\0\0\x06s3cr3t" + b"\x07expired"
    newer_peer.expect_bytes(b"\x01\0\0" + len(payload).to_bytes(4, "big") + payload + b"\xce")
    newer_peer.send("connection.update_secret_ok", channel=0)
    newer_conn.update_secret("s3cr3t", "expired")


def test_bytes_of_bindings_nack_and_confirm(newer_peer: Peer, newer: amqp.Channel) -> None:
    binding = b"\0\0\x01d\x01s\x01k\x00\0\0\0\0"
    for method_id, reply_id, call in ((30, 31, newer.exchange_bind), (40, 51, newer.exchange_unbind)):
        payload = b"\0\x28\0" + bytes([method_id]) + binding
        newer_peer.expect_bytes(b"\x01\0\x01" + len(payload).to_bytes(4, "big") + payload + b"\xce")
        newer_peer.send_bytes(b"\x01\0\x01\0\0\0\x04\0\x28\0" + bytes([reply_id]) + b"\xce")
        call("d", "s", "k")
    newer_peer.expect_bytes(b"\x01\0\x01\0\0\0\x0d\0\x3c\0\x78" + (7).to_bytes(8, "big") + b"\x03\xce")
    newer.basic_nack(7, multiple=True)
    newer_peer.expect_bytes(b"\x01\0\x01\0\0\0\x05\0\x55\0\x0a\x00\xce")
    newer_peer.send_bytes(b"\x01\0\x01\0\0\0\x04\0\x55\0\x0b\xce")
    newer.confirm_select()


def test_arguments_that_are_seldom_given(newer_peer: Peer, newer: amqp.Channel) -> None:
    for call in (newer.exchange_bind, newer.exchange_unbind):
        newer_peer.expect(call.__name__.replace("_", "."), 9, "d", "s", "k", True, {"a": 1})
        call("d", "s", "k", nowait=True, arguments={"a": 1}, ticket=9)
    newer_peer.answer("confirm.select", "confirm.select_ok")
    newer_peer.expect_content("basic.publish", 9, "x", "k", False, True, message=({}, b"m"))
    newer_peer.send("basic.ack", 1, False)
    assert newer.basic_publish_confirm(amqp.Message(b"m"), "x", "k", immediate=True, ticket=9) == 1
    newer_peer.expect("basic.consume", 0, "q", "", False, False, True, False, {})
    newer_peer.send("basic.consume_ok", "ctag")
    deliver(newer_peer, 1)
    newer_peer.expect("basic.nack", 1, True, True)
    cancelled(newer_peer)
    for msg in newer.consume("q", exclusive=True, timeout=PATIENCE):
        msg.nack(multiple=True)
        break
    gc.collect()


# --- consume()


def test_the_consumer_is_there_when_the_call_returns(newer_peer: Peer, newer: amqp.Channel) -> None:
    """As direct reply-to needs it, which takes no question before that."""
    expect_consume(newer_peer, no_ack=True)
    answers = newer.consume("q", no_ack=True, timeout=PATIENCE)
    assert list(newer.callbacks) == ["ctag"]
    newer_peer.expect("basic.publish")
    newer_peer.expect_bytes(b"\x02\0\x01\0\0\0\x0e\0\x3c" + b"\0" * 12 + b"\xce")
    newer.basic_publish(amqp.Message(b""), routing_key="asked")
    deliver(newer_peer, 1)
    assert next(answers).body == b"1"
    cancelled(newer_peer)
    answers.close()
    assert newer.callbacks == {}


def test_an_error_is_raised_by_the_call(newer_peer: Peer, newer: amqp.Channel) -> None:
    newer_peer.expect("basic.consume")
    newer_peer.send("channel.close", 404, "no queue", 60, 20)
    newer_peer.expect("channel.close_ok")
    with pytest.raises(amqp.AMQPChannelException, match="404 no queue"):
        newer.consume("q")


@pytest.mark.parametrize("arguments", [None, {"x-stream-offset": "first"}])
@pytest.mark.parametrize("close", [False, True])
def test_what_is_never_iterated_over(newer_peer: Peer, newer: amqp.Channel, close: bool, arguments: Any) -> None:
    """Closed or dropped, it ends its consumer, and gives back what has come."""
    expect_consume(newer_peer, arguments=arguments)
    deliver(newer_peer, 1)
    cancelled(newer_peer)
    if arguments is None:
        newer_peer.expect("basic.reject", 1, True)
    messages = newer.consume("q", arguments=arguments)
    if close:
        messages.close()
    del messages
    gc.collect()
    newer_peer.wait()
    assert newer.callbacks == {}


def test_dropped_in_the_middle_of_another_call(
    newer_peer: Peer, newer: amqp.Channel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by the garbage collector: what cannot be cancelled there is logged."""
    expect_consume(newer_peer)
    held = [newer.consume("q")]

    def drop(item: Any) -> None:
        """While octets are taken in."""
        held.clear()
        gc.collect()  # not all Pythons count references

    monkeypatch.setattr(newer.returned_messages, "put", drop)
    newer_peer.send_content("basic.return", 312, "NO_ROUTE", "", "q")
    newer.wait(timeout=PATIENCE)
    (record,) = caplog.records
    assert "consumer 'ctag' could not be cancelled" in record.getMessage()
    assert list(newer.callbacks) == ["ctag"]


def test_time_begins_when_the_loop_asks(newer_peer: Peer, newer: amqp.Channel) -> None:
    expect_consume(newer_peer)
    messages = newer.consume("q", timeout=1.0)
    time.sleep(1.0)
    newer_peer.do(await_rest)
    deliver(newer_peer, 1)
    cancelled(newer_peer)
    assert [msg.body for msg in messages] == [b"1"]
    newer_peer.wait()


def test_messages_in_a_loop(newer_peer: Peer, newer: amqp.Channel) -> None:
    expect_consume(newer_peer)
    deliver(newer_peer, 1, 2, 3)
    messages = newer.consume("q", timeout=0.3)
    newer_peer.wait()
    newer_peer.expect("basic.ack", 1, False)
    newer_peer.expect("basic.nack", 2, False, False)
    newer_peer.expect("basic.reject", 3, True)
    cancelled(newer_peer)
    bodies = []
    for msg in messages:
        bodies.append(msg.body)
        if msg.body == b"1":
            msg.ack()
        elif msg.body == b"2":
            msg.nack(requeue=False)
        else:
            msg.reject(requeue=True)
    assert bodies == [b"1", b"2", b"3"]
    assert newer.callbacks == {}


def test_leaving_the_loop_gives_back_what_it_has_not_seen(newer_peer: Peer, newer: amqp.Channel) -> None:
    expect_consume(newer_peer)
    deliver(newer_peer, 1, 2)
    newer_peer.expect("basic.cancel", "ctag", False)
    deliver(newer_peer, 3)  # was on its way
    newer_peer.send("basic.cancel_ok", "ctag")
    for tag in (2, 3):
        newer_peer.expect("basic.reject", tag, True)
    for msg in newer.consume("q", timeout=PATIENCE):
        assert msg.body == b"1"
        newer.wait(timeout=PATIENCE)  # so that 2 has been taken in, but not been given to the loop
        break
    gc.collect()
    assert newer.callbacks == {}


def test_leaving_the_loop_without_acks_gives_nothing_back(newer_peer: Peer, newer: amqp.Channel) -> None:
    expect_consume(newer_peer, no_ack=True)
    deliver(newer_peer, 1, 2)
    cancelled(newer_peer)
    for _ in newer.consume("q", no_ack=True, timeout=PATIENCE):
        break
    gc.collect()


def test_a_stream_takes_nothing_back(newer_peer: Peer, newer: amqp.Channel) -> None:
    expect_consume(newer_peer, arguments={"x-stream-offset": "first"})
    deliver(newer_peer, 1, 2)
    cancelled(newer_peer)
    for _ in newer.consume("q", arguments={"x-stream-offset": "first"}, timeout=PATIENCE):
        break
    gc.collect()


def test_the_loop_ends_with_its_queue(newer_peer: Peer, newer: amqp.Channel) -> None:
    expect_consume(newer_peer)
    deliver(newer_peer, 1)
    newer_peer.send("basic.cancel", "ctag", True)
    assert [msg.body for msg in newer.consume("q", timeout=PATIENCE)] == [b"1"]


def test_the_loop_raises_what_ends_the_channel(newer_peer: Peer, newer: amqp.Channel) -> None:
    expect_consume(newer_peer)
    deliver(newer_peer, 1)
    newer_peer.send("channel.close", 404, "gone", 60, 20)
    newer_peer.expect("channel.close_ok")
    messages = newer.consume("q", timeout=PATIENCE)
    assert next(messages).body == b"1"
    with pytest.raises(amqp.AMQPChannelException, match="gone"):
        next(messages)


def test_the_loop_does_not_end_quietly_when_its_body_has_met_the_end(newer_peer: Peer, newer: amqp.Channel) -> None:
    """As by one that goes on whatever a message's work raises: no consumer is left, and that is no success."""
    expect_consume(newer_peer)
    deliver(newer_peer, 1)
    newer_peer.send("channel.close", 404, "gone", 60, 20)
    newer_peer.expect("channel.close_ok")
    messages = newer.consume("q", timeout=PATIENCE)
    assert next(messages).body == b"1"
    with pytest.raises(amqp.AMQPChannelException, match="gone"):
        newer.wait(timeout=PATIENCE)
    with pytest.raises(amqp.ChannelClosedError, match="gone"):
        next(messages)


def test_the_idle_time_starts_anew_with_each_message(newer_peer: Peer, newer: amqp.Channel) -> None:
    expect_consume(newer_peer)
    for tag in (1, 2, 3, 4):
        deliver(newer_peer, tag)
        newer_peer.do(lambda: time.sleep(0.4))
    cancelled(newer_peer)
    assert [msg.body for msg in newer.consume("q", timeout=1.5)] == [b"1", b"2", b"3", b"4"]


def test_idle_whatever_comes_for_others(newer_peer: Peer, newer: amqp.Channel) -> None:
    """What comes for another consumer does not extend the time; a message that has come is not left behind."""
    others: List[Any] = []
    newer.callbacks["other"] = others.append
    expect_consume(newer_peer)
    deliver(newer_peer, 1)
    messages = newer.consume("q", timeout=0.2)
    newer_peer.wait()
    sent: List[int] = []

    def come_all_the_time() -> None:
        while not newer_peer.hears(0.03):
            assert len(sent) < 1000, "the client does not come to an end"
            sent.append(2 + len(sent))
            newer_peer.says(content("basic.deliver", "other", sent[-1], False, "", "q", dialect=AMQP_0_9_1))

    newer_peer.do(come_all_the_time)
    cancelled(newer_peer)
    with waits(0.2, 5):  # also for the end of the consumer to be answered
        assert [msg.body for msg in messages] == [b"1"]
    newer_peer.wait()

    def slow(msg: amqp.Message) -> None:
        time.sleep(0.3)

    newer.callbacks["other"] = slow
    while newer.pending() or len(others) < len(sent):
        newer.callbacks["other"] = others.append
        newer.wait(timeout=PATIENCE)
    newer.callbacks["other"] = slow
    expect_consume(newer_peer)
    both = [
        content("basic.deliver", ctag, 31, False, "", "q", message=({}, b"31")) for ctag in ("other", "ctag")
    ]  # at once, so that they have come together
    newer_peer.send_bytes(b"".join(both))
    messages = newer.consume("q", timeout=0.2)
    newer_peer.wait()
    cancelled(newer_peer)
    assert [msg.body for msg in messages] == [b"31"]


def test_two_loops_at_once(newer_peer: Peer, newer: amqp.Channel) -> None:
    """Each gets its own."""
    newer_peer.answer("basic.consume", "basic.consume_ok", "b")
    newer_peer.answer("basic.consume", "basic.consume_ok", "a")
    deliver(newer_peer, 1, ctag="a")
    deliver(newer_peer, 2, ctag="a")
    deliver(newer_peer, 3, ctag="b")
    second = newer.consume("r", timeout=0.3)
    first = newer.consume("q", timeout=0.3)
    newer_peer.wait()
    for ctag in "ba":
        newer_peer.answer("basic.cancel", "basic.cancel_ok", ctag)
    assert [(msg.body, [other.body for other in second]) for msg in first] == [
        (b"1", [b"3"]),
        (b"2", []),
    ]


def test_the_loop_is_woken_by_what_another_thread_handles(
    newer_peer: Peer, newer: amqp.Channel, threads: Threads, woken: None
) -> None:
    """Also when that thread has taken it in, and hands it over only once the loop's has looked and reads again."""
    expect_consume(newer_peer)
    messages = newer.consume("q")
    arrive = newer.callbacks["ctag"]
    assert arrive

    def handed_over(msg: amqp.Message) -> None:
        await_rest()
        arrive(msg)

    newer.callbacks["ctag"] = handed_over
    threads.start(newer.wait)
    await_rest()
    threads.start(lambda: next(messages).body)
    await_rest()
    deliver(newer_peer, 1)
    assert threads.results() == [None, b"1"]
    cancelled(newer_peer)
    messages.close()


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="the loop's iterator does not die with its last use")
def test_leaving_the_loop_by_an_exception(newer_peer: Peer, newer: amqp.Channel) -> None:
    expect_consume(newer_peer)
    deliver(newer_peer, 1)
    cancelled(newer_peer)

    def work() -> None:
        for _ in newer.consume("q", timeout=PATIENCE):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        work()
    assert newer.callbacks == {}


def test_leaving_the_loop_when_the_channel_is_closed(newer_peer: Peer, newer: amqp.Channel) -> None:
    """Nothing is raised where nobody could catch it; whoever uses the channel next is told."""
    expect_consume(newer_peer)
    deliver(newer_peer, 1)
    for msg in newer.consume("q", timeout=PATIENCE):
        newer_peer.expect("basic.ack", 1, False)
        newer_peer.expect("basic.ack", 1, False)
        newer_peer.send("channel.close", 406, "unknown delivery tag 1", 60, 80)
        msg.ack()
        msg.ack()
        newer_peer.expect("basic.cancel")
        newer_peer.expect("channel.close_ok")
        break
    gc.collect()
    with pytest.raises(amqp.AMQPChannelException, match="unknown delivery tag"):
        newer.wait(timeout=PATIENCE)


def test_leaving_the_loop_after_its_queue_has_gone(newer_peer: Peer, newer: amqp.Channel) -> None:
    """What was not looked at is given back all the same."""
    expect_consume(newer_peer)
    deliver(newer_peer, 1, 2)
    newer_peer.send("basic.cancel", "ctag", True)
    newer_peer.expect("basic.reject", 2, True)
    for _ in newer.consume("q", timeout=PATIENCE):
        while newer.callbacks:
            newer.wait(timeout=PATIENCE)
        break
    gc.collect()
    newer_peer.wait()


# --- notices


@pytest.mark.parametrize("nowait", [True, False])
def test_on_cancel(newer_peer: Peer, newer: amqp.Channel, nowait: bool) -> None:
    told: List[str] = []
    expect_consume(newer_peer)
    newer.basic_consume("q", callback=lambda msg: None, on_cancel=told.append)
    assert list(newer.callbacks) == ["ctag"]
    newer_peer.send("basic.cancel", "ctag", nowait)
    if not nowait:
        newer_peer.expect("basic.cancel_ok", "ctag")
    newer.wait(timeout=PATIENCE)
    assert told == ["ctag"]
    assert newer.callbacks == {}


def test_drain_events_is_one_event_on_any_channel(
    newer_peer: Peer, newer_conn: amqp.Connection, newer: amqp.Channel
) -> None:
    newer_peer.open_channel(2)
    other = newer_conn.channel()
    got: List[Any] = []
    for number, ch in ((1, newer), (2, other)):
        newer_peer.answer("basic.consume", "basic.consume_ok", "ctag", channel=number)
        ch.basic_consume("q", callback=got.append, no_ack=True)
    data = b"".join(
        content("basic.deliver", "ctag", tag, False, "", "q", message=({}, b"x"), channel=number, dialect=AMQP_0_9_1)
        for tag in (1, 2)
        for number in (1, 2)
    )
    newer_peer.send_bytes(data)
    for count in range(1, 5):
        newer_conn.drain_events(timeout=PATIENCE)
        assert len(got) == count
    assert [msg.delivery_info["channel"] for msg in got] == [newer, other] * 2
    with waits(0.09, 0.11), pytest.raises(amqp.AMQPTimeoutError):
        newer_conn.drain_events(timeout=0.1)


def test_drain_events_is_content_with_what_wait_is(
    newer_peer: Peer, newer_conn: amqp.Connection, newer: amqp.Channel
) -> None:
    """With confirms and returned messages, which nothing has to be done for any more."""
    newer_peer.answer("confirm.select", "confirm.select_ok")
    newer.confirm_select()
    newer.basic_publish(amqp.Message(b"x"), routing_key="nobody", mandatory=True)
    newer_peer.expect_content("basic.publish", 0, "", "nobody", True, False, message=({}, b"x"))
    newer_peer.send_bytes(
        content("basic.return", 312, "NO_ROUTE", "", "nobody", message=({}, b"x"), dialect=AMQP_0_9_1)
    )
    newer_conn.drain_events(timeout=PATIENCE)
    assert newer.returned_messages.get_nowait()[:2] == (312, "NO_ROUTE")
    newer_peer.send("basic.ack", 1, False)
    while newer.unconfirmed:
        newer_conn.drain_events(timeout=PATIENCE)
    with pytest.raises(amqp.AMQPTimeoutError):
        newer_conn.drain_events(timeout=0.1)


# --- defaults and lifetime


def test_signatures_differ_in_defaults_only() -> None:
    older = inspect.signature(amqp08.Connection).parameters
    newer = inspect.signature(amqp.Connection).parameters
    assert list(older) == list(newer)
    differ = {name: (older[name].default, newer[name].default) for name in newer}
    differ = {name: both for name, both in differ.items() if both[0] != both[1]}
    assert differ == {
        "login_method": ("AMQPLAIN", "PLAIN"),
        "connect_timeout": (None, 30),
        "reply_timeout": (None, 60),
        "write_timeout": (None, 60),
        "blocked_timeout": (None, 60),
        "close_timeout": (None, 5),
    }


def forget(held: List[amqp.Connection]) -> None:
    """Let go of connections that are open, and so hold themselves."""
    held.clear()
    gc.collect()


def test_heartbeats_do_not_keep_a_forgotten_connection(newer_peer: Peer) -> None:
    before = afresh()
    newer_peer.welcome(heartbeat=1)
    newer_peer.drain()
    held = [amqp.Connection(newer_peer.address)]
    gone = weakref.ref(held[0])
    (thread,) = started_since(before)
    with pytest.warns(ResourceWarning, match="unclosed"):
        forget(held)
    assert gone() is None
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_heartbeats_end_with_the_connection(newer_peer: Peer) -> None:
    before = afresh()
    newer_peer.welcome(heartbeat=1)
    conn = amqp.Connection(newer_peer.address)
    (thread,) = started_since(before)
    newer_peer.part()
    conn.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
