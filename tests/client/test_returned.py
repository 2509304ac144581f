"""Proves that a message which comes back is reported in one way, and that nothing keeps it then."""

from __future__ import annotations

import queue
from typing import Any, Callable, Iterator, List

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker

from .peer import PATIENCE, Peer, method
from .test_confirmed_publishing import NO_ROUTE, expect_publish, select


@pytest.fixture
def ch() -> Iterator[amqp.Channel]:
    """A channel of a broker in the box."""
    with Broker() as broker, amqp.Connection(broker.address, heartbeat=0) as conn:
        yield conn.channel()


def astray(ch: amqp.Channel, body: bytes) -> None:
    ch.basic_publish(amqp.Message(body), routing_key="nowhere", mandatory=True)


def bodies_in_queue(ch: amqp.Channel) -> List[Any]:
    return [
        item[4].body
        for item in iter(lambda: None if ch.returned_messages.empty() else ch.returned_messages.get(), None)
    ]


# --- without a function


def test_the_error_has_it_and_the_queue_does_not(ch: amqp.Channel) -> None:
    ch.confirm_select()
    astray(ch, b"1")
    astray(ch, b"2")
    with pytest.raises(amqp.UnconfirmedError) as caught:
        ch.wait_for_confirms(timeout=PATIENCE)
    assert list(caught.value.returned) == [1, 2]
    with pytest.raises(amqp.UnconfirmedError) as caught:
        ch.basic_publish_confirm(amqp.Message(b"3"), routing_key="nowhere", mandatory=True, timeout=PATIENCE)
    assert list(caught.value.returned) == [3]
    assert bodies_in_queue(ch) == []


def test_the_error_says_where_it_was_to_go(ch: amqp.Channel) -> None:
    with pytest.raises(amqp.UnconfirmedError, match=r"\]; no queue is named 'nowhere': queue_declare\(\) makes it$"):
        ch.basic_publish_confirm(amqp.Message(b"1"), routing_key="nowhere", mandatory=True, timeout=PATIENCE)
    for key in "k\n", "second":
        ch.basic_publish(amqp.Message(key), "amq.topic", key, mandatory=True)
    said = (
        r"; of the first that came back: no queue is bound to exchange 'amq.topic' for routing key 'k\\n': queue_bind"
    )
    with pytest.raises(amqp.UnconfirmedError, match=said):
        ch.wait_for_confirms(timeout=PATIENCE)


def test_nothing_is_said_of_the_way_where_the_reason_is_another(newer_peer: Peer, newer: amqp.Channel) -> None:
    """No consumer at that moment, say: there may be a queue."""
    select(newer_peer, newer)
    newer.basic_publish(amqp.Message(b"x"), routing_key="q", mandatory=True)
    expect_publish(newer_peer, "q", b"x", True)
    newer_peer.send_content("basic.return", 313, "NO_CONSUMERS", "", "q", message=({}, b"x"))
    newer_peer.send("basic.ack", 1, False)
    with pytest.raises(amqp.UnconfirmedError, match=r"1 returned as unroutable.*\]$"):
        newer.wait_for_confirms(timeout=PATIENCE)


def test_the_queue_has_it_until_somebody_waits(ch: amqp.Channel) -> None:
    """A publish that is waited for takes out its own only."""
    ch.confirm_select()
    astray(ch, b"1")
    while ch.unconfirmed:
        ch.wait(timeout=PATIENCE)
    with pytest.raises(amqp.UnconfirmedError):
        ch.basic_publish_confirm(amqp.Message(b"2"), routing_key="nowhere", mandatory=True, timeout=PATIENCE)
    assert [item[4].body for item in list(ch.returned_messages.queue)] == [b"1"]
    with pytest.raises(amqp.UnconfirmedError) as caught:
        ch.wait_for_confirms(timeout=PATIENCE)
    assert list(caught.value.returned) == [1]
    assert bodies_in_queue(ch) == []


def test_what_was_taken_out_of_the_queue_is_no_error(ch: amqp.Channel) -> None:
    ch.confirm_select()
    astray(ch, b"1")
    astray(ch, b"2")
    while ch.unconfirmed:
        ch.wait(timeout=PATIENCE)
    assert type(ch.returned_messages.get_nowait()) is tuple
    with pytest.raises(amqp.UnconfirmedError) as caught:
        ch.wait_for_confirms(timeout=PATIENCE)
    assert list(caught.value.returned) == [2]
    ch.wait_for_confirms(timeout=PATIENCE)
    with pytest.raises(queue.Empty):
        ch.returned_messages.get_nowait()


def test_taken_out_before_its_tag_is_known(newer_peer: Peer, newer: amqp.Channel) -> None:
    """Of two that look the same, one comes back; which one shows when they are confirmed."""
    select(newer_peer, newer)
    for _ in range(2):
        expect_publish(newer_peer, "q", b"x", True)
        newer.basic_publish(amqp.Message(b"x"), routing_key="q", mandatory=True)
    newer_peer.send_content("basic.return", *NO_ROUTE, "", "q", message=({}, b"x"))
    newer.wait(timeout=PATIENCE)
    assert newer.returned_messages.get_nowait()[:2] == NO_ROUTE
    newer_peer.send("basic.ack", 2, True)
    newer.wait_for_confirms(timeout=PATIENCE)


def test_without_confirms_the_queue_has_it(ch: amqp.Channel) -> None:
    astray(ch, b"1")
    ch.wait(timeout=PATIENCE)
    astray(ch, b"2")
    ch.confirm_select()
    assert bodies_in_queue(ch) == [b"1", b"2"]
    ch.wait_for_confirms()


def test_two_that_look_the_same(ch: amqp.Channel) -> None:
    """The queue keeps as many as the error does not have."""
    ch.confirm_select()
    for _ in range(3):
        astray(ch, b"x")
    with pytest.raises(amqp.UnconfirmedError) as caught:
        ch.wait_for_confirms(timeout=PATIENCE)
    assert len(caught.value.returned) == 3
    assert bodies_in_queue(ch) == []


# --- with a function


WAITS: List[Callable[[amqp.Channel], Any]] = [
    lambda ch: [ch.wait(timeout=PATIENCE) for _ in range(2)],
    lambda ch: [ch.connection and ch.connection.drain_events(timeout=PATIENCE) for _ in range(2)],
    lambda ch: ch.wait_for_confirms(timeout=PATIENCE),
    lambda ch: ch.basic_publish_confirm(amqp.Message(b"kept"), "amq.fanout", timeout=PATIENCE),
]


@pytest.mark.parametrize("wait", WAITS, ids=["wait", "drain_events", "wait_for_confirms", "basic_publish_confirm"])
def test_the_function_is_called_and_nothing_else_has_it(ch: amqp.Channel, wait: Callable[[amqp.Channel], Any]) -> None:
    said: List[Any] = []
    ch.on_return = lambda *args: said.append((*args[:4], args[4].body))
    ch.confirm_select()
    for body in (b"1", b"2"):
        astray(ch, body)
    wait(ch)
    assert said == [(*NO_ROUTE, "", "nowhere", body) for body in (b"1", b"2")]
    ch.wait_for_confirms(timeout=PATIENCE)
    assert len(said) == 2
    assert bodies_in_queue(ch) == []


def test_a_publish_that_is_waited_for(ch: amqp.Channel) -> None:
    """The function has heard of it when the call returns."""
    said: List[Any] = []
    ch.on_return = lambda *args: said.append(args[4].body)
    for number in (1, 2):
        msg = amqp.Message(b"%d" % number)
        assert ch.basic_publish_confirm(msg, routing_key="nowhere", mandatory=True, timeout=PATIENCE) == number
    assert said == [b"1", b"2"]


def test_a_function_that_raises_is_called_for_the_others_later(ch: amqp.Channel) -> None:
    said: List[bytes] = []

    def on_return(*args: Any) -> None:
        said.append(args[4].body)
        raise KeyError("the program's own")

    ch.on_return = on_return
    ch.confirm_select()
    for body in (b"1", b"2"):
        astray(ch, body)
    for _ in range(2):
        with pytest.raises(KeyError):
            ch.wait_for_confirms(timeout=PATIENCE)
    ch.wait_for_confirms(timeout=PATIENCE)
    assert said == [b"1", b"2"]


def test_a_function_that_was_taken_away_meanwhile(newer_peer: Peer, newer: amqp.Channel) -> None:
    newer.on_return = lambda *args: None
    newer_peer.send_content("basic.return", *NO_ROUTE, "", "q", message=({}, b"x"))
    newer_peer.answer("tx.select", "tx.select_ok")
    newer.tx_select()
    newer.on_return = None
    newer.wait(timeout=PATIENCE)
    assert newer.returned_messages.get_nowait()[4].body == b"x"


def test_a_function_that_was_not_called_before_the_end(newer_peer: Peer, newer: amqp.Channel) -> None:
    """The queue outlives the channel, and has what nobody was told of."""
    newer.on_return = lambda *args: None
    newer_peer.expect("channel.close")
    newer_peer.send_content("basic.return", *NO_ROUTE, "", "q", message=({}, b"x"))
    newer_peer.send("channel.close_ok")
    newer.close()
    assert bodies_in_queue(newer) == [b"x"]


# --- refused ones


def refuse(peer: Peer, ch: amqp.Channel, tag: int) -> None:
    expect_publish(peer, "q", b"x")
    ch.basic_publish(amqp.Message(b"x"), routing_key="q")
    peer.send("basic.nack", tag, False, False)


def test_a_refused_one_is_not_told_again(newer_peer: Peer, newer: amqp.Channel) -> None:
    """Where on_nack was called for it in wait(); a wait for confirms raises all the same for what it meets."""
    refused: List[int] = []
    select(newer_peer, newer, on_nack=lambda tag, msg: refused.append(tag))
    refuse(newer_peer, newer, 1)
    newer.wait(timeout=PATIENCE)
    newer.wait_for_confirms(timeout=PATIENCE)
    refuse(newer_peer, newer, 2)
    with pytest.raises(amqp.UnconfirmedError, match="1 nacked"):
        newer.wait_for_confirms(timeout=PATIENCE)
    assert refused == [1, 2]


def test_alerts_that_nobody_takes_out(peer: Peer, conn: Any) -> None:
    peer.open_channel()
    old = conn.channel()
    for numbers in (range(550), range(550, 1100)):
        peer.send_bytes(b"".join(map(content_of_alert, numbers)))
        for _ in numbers:
            old.wait(timeout=PATIENCE)
    assert old.alerts.qsize() == 1000
    assert old.alerts.get_nowait()[0] == 100


def content_of_alert(number: int) -> bytes:
    return method("channel.alert", number, "", {})
