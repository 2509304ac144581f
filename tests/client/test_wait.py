"""Proves what wait() does: one method each, in order, for its own channel; and what calls do with the others."""

from __future__ import annotations

import time
from typing import Any, List

import pytest

import amqplib.client_0_8 as amqp

from .peer import Peer, content, method

DELIVER, RETURN, FLOW, CANCEL, CLOSE = (60, 60), (60, 50), (20, 20), (60, 30), (20, 40)


def delivery(number: int, channel: int = 1, tag: str = "tag") -> bytes:
    body = b"%d" % number
    return content("basic.deliver", tag, number, False, "x", "key", message=({}, body), channel=channel)


def returned(text: str, channel: int = 1) -> bytes:
    return content("basic.return", 312, text, "x", "key", message=({}, b"lost"), channel=channel)


def consume(peer: Peer, ch: amqp.Channel, tag: str = "tag") -> List[amqp.Message]:
    """Consume; the list that messages are put in."""
    assert ch.channel_id
    peer.answer("basic.consume", "basic.consume_ok", tag, channel=ch.channel_id)
    got: List[amqp.Message] = []
    ch.basic_consume("q", tag, callback=got.append)
    return got


def tags(messages: List[amqp.Message]) -> List[Any]:
    return [msg.delivery_tag for msg in messages]


def returns(ch: amqp.Channel) -> List[str]:
    """The texts of all returned messages."""
    texts = []
    while not ch.returned_messages.empty():
        texts.append(ch.returned_messages.get_nowait()[1])
    return texts


@pytest.fixture
def other(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> amqp.Channel:
    """Channel 2."""
    peer.open_channel(2)
    return conn.channel()


def test_one_method_each(peer: Peer, ch: amqp.Channel) -> None:
    got = consume(peer, ch)
    peer.send_bytes(b"".join(map(delivery, (1, 2, 3))))
    for expected in ([1], [1, 2], [1, 2, 3]):
        assert ch.wait() is None
        assert tags(got) == expected


def test_in_the_order_of_arrival_whatever_it_is(peer: Peer, ch: amqp.Channel) -> None:
    seen: List[Any] = []
    peer.answer("basic.consume", "basic.consume_ok", "tag")
    ch.basic_consume("q", callback=lambda msg: seen.append((msg.delivery_tag, ch.active, ch.alerts.qsize())))
    flow_off, flow_on = method("channel.flow", False), method("channel.flow", True)
    alert = method("channel.alert", 311, "big", {})
    peer.send_bytes(delivery(1) + flow_off + delivery(2) + alert + delivery(3) + flow_on + delivery(4))
    peer.expect("channel.flow_ok", False)
    peer.expect("channel.flow_ok", True)
    for _ in range(7):
        ch.wait()
    assert seen == [(1, True, 0), (2, False, 0), (3, False, 1), (4, True, 1)]


def test_allowed_methods(peer: Peer, ch: amqp.Channel) -> None:
    """What is not allowed stays, in order, for a later wait()."""
    got = consume(peer, ch)
    cancel, flow = method("basic.cancel", "other", True), method("channel.flow", False)
    peer.send_bytes(delivery(1) + cancel + flow + delivery(2))
    ch.callbacks["other"] = None
    peer.expect("channel.flow_ok", False)
    ch.wait([FLOW])
    assert (ch.active, tags(got), "other" in ch.callbacks) == (False, [], True)
    ch.wait(allowed_methods=[CANCEL, FLOW])
    assert (tags(got), "other" in ch.callbacks) == ([], False)
    ch.wait([DELIVER])
    assert tags(got) == [1]
    peer.send_bytes(delivery(3))
    ch.wait([DELIVER])
    ch.wait()
    assert tags(got) == [1, 2, 3]


def test_channel_close_is_always_allowed(peer: Peer, ch: amqp.Channel) -> None:
    peer.send("channel.close", 404, "gone", 60, 40)
    peer.expect("channel.close_ok")
    with pytest.raises(amqp.AMQPChannelException, match="404 gone"):
        ch.wait([DELIVER])


@pytest.mark.parametrize("allowed", [[DELIVER], {DELIVER}, (DELIVER,), {DELIVER: 1}, frozenset([DELIVER])])
def test_allowed_methods_of_any_kind(peer: Peer, ch: amqp.Channel, allowed: Any) -> None:
    got = consume(peer, ch)
    peer.send_bytes(method("basic.cancel", "x", True) + delivery(1))
    ch.wait(allowed)
    assert tags(got) == [1]


def test_methods_for_other_channels_are_kept(peer: Peer, ch: amqp.Channel, other: amqp.Channel) -> None:
    mine, theirs = consume(peer, ch), consume(peer, other)
    peer.send_bytes(delivery(1, 2) + delivery(2, 2) + delivery(3, 1) + delivery(4, 2) + delivery(5, 1))
    ch.wait()
    assert (tags(mine), tags(theirs)) == ([3], [])
    for _ in range(3):
        other.wait()
    assert (tags(mine), tags(theirs)) == ([3], [1, 2, 4])
    ch.wait()
    assert (tags(mine), tags(theirs)) == ([3, 5], [1, 2, 4])


def test_interleaved_contents(peer: Peer, ch: amqp.Channel, other: amqp.Channel) -> None:
    """Frames of two messages, for two channels, in turns."""
    mine, theirs = consume(peer, ch), consume(peer, other)
    one, two = delivery(1, 1), delivery(2, 2)
    cut = one.index(b"\xce") + 1
    assert cut == two.index(b"\xce") + 1
    peer.send_bytes(one[:cut] + two[:cut] + one[cut:] + two[cut:])
    other.wait()
    ch.wait()
    assert [(msg.channel, msg.body) for msg in mine + theirs] == [(ch, b"1"), (other, b"2")]


# --- synchronous calls among deliveries --------------------------------------------------------------------


def test_a_call_keeps_deliveries_and_runs_no_callback(peer: Peer, ch: amqp.Channel, other: amqp.Channel) -> None:
    mine, theirs = consume(peer, ch), consume(peer, other)
    peer.expect("queue.purge")
    peer.send_bytes(delivery(1) + delivery(2, 2) + method("queue.purge_ok", 7) + delivery(3) + delivery(4, 2))
    assert ch.queue_purge() == 7
    assert (tags(mine), tags(theirs)) == ([], [])
    peer.expect("tx.select", channel=2)
    peer.send_bytes(delivery(5) + method("tx.select_ok", channel=2))
    other.tx_select()
    for channel in (ch, ch, ch, other, other):
        channel.wait()
    assert (tags(mine), tags(theirs)) == ([1, 3, 5], [2, 4])


def test_a_get_among_deliveries_gets_its_own(peer: Peer, ch: amqp.Channel) -> None:
    got = consume(peer, ch)
    peer.expect("basic.get")
    reply = content("basic.get_ok", 8, True, "x", "k", 2, message=({}, b"mine"))
    peer.send_bytes(delivery(1) + reply + delivery(2))
    msg = ch.basic_get("q")
    assert msg is not None
    assert (msg.body, msg.delivery_tag) == (b"mine", 8)
    ch.wait()
    ch.wait()
    assert tags(got) == [1, 2]


def test_deliveries_before_the_consume_ok(peer: Peer, ch: amqp.Channel) -> None:
    """RabbitMQ does not, but other brokers may send the first before the answer."""
    got: List[amqp.Message] = []
    peer.expect("basic.consume")
    peer.send_bytes(delivery(1) + method("basic.consume_ok", "tag") + delivery(2))
    ch.basic_consume("q", "tag", callback=got.append)
    ch.wait()
    ch.wait()
    assert tags(got) == [1, 2]


# --- returned messages -------------------------------------------------------------------------------------


def test_a_waiting_wait_counts_a_returned_message(peer: Peer, ch: amqp.Channel) -> None:
    got = consume(peer, ch)
    peer.send_bytes(returned("NO_ROUTE") + delivery(1))
    ch.wait()
    assert tags(got) == []
    reply_code, reply_text, exchange, routing_key, msg = ch.returned_messages.get_nowait()
    assert (reply_code, reply_text, exchange, routing_key) == (312, "NO_ROUTE", "x", "key")
    assert msg == amqp.Message(b"lost")
    ch.wait()
    assert tags(got) == [1]


def test_each_returned_message_counts(peer: Peer, ch: amqp.Channel) -> None:
    """Also where one read brings several."""
    peer.send_bytes(returned("a") + returned("b") + returned("c"))
    for _ in range(3):
        ch.wait([RETURN], timeout=10)
    assert returns(ch) == ["a", "b", "c"]
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.wait(timeout=0.01)


def test_returned_messages_met_by_a_publish_count(peer: Peer, ch: amqp.Channel) -> None:
    """Programs publish, and wait for what comes back: that it has been taken in by then makes no difference."""
    got = consume(peer, ch)
    peer.send_bytes(returned("a") + returned("b"))
    while ch.returned_messages.qsize() < 2:
        peer.expect_content("basic.publish", 0, "", "k", False, False, message=({}, b""))
        ch.basic_publish(amqp.Message(b""), routing_key="k")
        time.sleep(0.01)
    peer.send_bytes(delivery(1))
    ch.wait([DELIVER])
    assert tags(got) == [1]
    ch.wait([RETURN], timeout=10)
    assert ch.returned_messages.get_nowait()[1] == "a"
    ch.wait(timeout=10)
    assert ch.returned_messages.get_nowait()[1] == "b"
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.wait(timeout=0.01)


def test_returned_messages_that_the_program_has_had_do_not_count(peer: Peer, ch: amqp.Channel) -> None:
    peer.send_bytes(returned("a"))
    while ch.returned_messages.empty():
        peer.expect_content("basic.publish", 0, "", "k", False, False, message=({}, b""))
        ch.basic_publish(amqp.Message(b""), routing_key="k")
        time.sleep(0.01)
    assert returns(ch) == ["a"]
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.wait(timeout=0.01)


def test_a_call_leaves_no_returned_message_to_count(peer: Peer, ch: amqp.Channel) -> None:
    peer.send_bytes(returned("a") + returned("b") + returned("c"))
    ch.wait(timeout=10)
    peer.answer("tx.select", "tx.select_ok")
    ch.tx_select()
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.wait(timeout=0.01)
    assert returns(ch) == ["a", "b", "c"]


def test_returned_messages_met_by_a_call(peer: Peer, ch: amqp.Channel, other: amqp.Channel) -> None:
    """They are there when the call returns, on whatever channel."""
    peer.expect("tx.select")
    peer.send_bytes(returned("a") + returned("b", 2) + returned("c") + method("tx.select_ok"))
    ch.tx_select()
    assert returns(ch) == ["a", "c"]
    assert returns(other) == ["b"]


def test_returned_messages_for_another_channel(peer: Peer, ch: amqp.Channel, other: amqp.Channel) -> None:
    got = consume(peer, ch)
    peer.send_bytes(returned("b", 2) + delivery(1))
    ch.wait()
    assert tags(got) == [1]
    assert returns(other) == ["b"]


def test_returned_messages_keep_their_order(peer: Peer, ch: amqp.Channel) -> None:
    peer.send_bytes(returned("a") + returned("b") + returned("c"))
    ch.wait()
    peer.answer("tx.select", "tx.select_ok")
    ch.tx_select()
    while ch.pending():
        ch.wait()
    assert returns(ch) == ["a", "b", "c"]


def test_a_returned_message_that_is_not_allowed_is_dispatched_all_the_same(peer: Peer, ch: amqp.Channel) -> None:
    """wait() for deliveries passes it on, and goes on waiting."""
    got = consume(peer, ch)
    peer.send_bytes(returned("a") + returned("b") + delivery(1))
    ch.wait([DELIVER])
    assert tags(got) == [1]
    assert returns(ch) == ["a", "b"]


def test_returned_messages_survive_the_channel(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    peer.expect("channel.close")
    peer.send_bytes(returned("a") + delivery(1) + returned("b") + method("channel.close_ok"))
    ch.close()
    assert ch.connection is None
    assert returns(ch) == ["a", "b"]


def test_returned_messages_survive_the_connection(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    peer.expect("connection.close", channel=0)
    peer.send_bytes(returned("a") + method("connection.close_ok", channel=0))
    conn.close()
    assert returns(ch) == ["a"]


# --- other methods -----------------------------------------------------------------------------------------


def test_flow(peer: Peer, ch: amqp.Channel) -> None:
    for active in (False, True):
        peer.send("channel.flow", active)
        peer.expect("channel.flow_ok", active)
        ch.wait()
        assert ch.active is active


def test_alert(peer: Peer, ch: amqp.Channel) -> None:
    peer.send("channel.alert", 311, "content too large", {"size": 7})
    ch.wait()
    assert ch.alerts.get_nowait() == (311, "content too large", {"size": 7})


def test_a_consumer_that_the_server_cancels(peer: Peer, ch: amqp.Channel) -> None:
    consume(peer, ch)
    peer.send("basic.cancel", "tag", True)
    while ch.callbacks:
        ch.wait()


def test_a_method_that_is_not_for_clients(peer: Peer, ch: amqp.Channel, caplog: pytest.LogCaptureFixture) -> None:
    got = consume(peer, ch)
    peer.send_bytes(method("basic.ack", 1, False) + delivery(1))
    while not got:
        ch.wait()
    assert "basic_ack" in caplog.text
