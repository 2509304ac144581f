"""Publisher confirms: what the broker vouches for, what it refuses, and what comes back."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any, Callable, List

import pytest

from amqplib.client.channel import Channel
from amqplib.client.exceptions import AMQPTimeoutError, ConfirmTimeoutError, UnconfirmedError
from amqplib.client.message import Message
from tests.brokers import Node
from tests.live.conftest import Connect, Names
from tests.live.helpers import declare, eventually, holds, together


def test_confirms(modern: Channel, queue: str) -> None:
    acked: List[int] = []
    modern.confirm_select(window=10, on_ack=lambda tag, msg: acked.append(tag))
    tags = [modern.basic_publish(Message(str(n)), routing_key=queue) for n in range(200)]
    assert tags == list(range(1, 201))
    assert len(modern.unconfirmed) <= 10
    modern.wait_for_confirms(timeout=20)
    assert modern.unconfirmed == {}
    assert acked == tags
    assert modern.basic_publish_confirm(Message("one"), routing_key=queue, timeout=20) == 201


def test_a_returned_message_is_not_safe(modern: Channel, queue: str, names: Names) -> None:
    modern.confirm_select()
    lost = Message("lost")
    modern.basic_publish(Message("kept"), routing_key=queue, mandatory=True)
    tag = modern.basic_publish(lost, routing_key=names.any(), mandatory=True)
    with pytest.raises(UnconfirmedError) as caught:
        modern.wait_for_confirms(timeout=20)
    assert caught.value.returned == {tag: lost}
    assert caught.value.messages == [lost]
    modern.wait_for_confirms(timeout=20)  # it is told once
    with pytest.raises(UnconfirmedError, match="1 returned"):
        modern.basic_publish_confirm(lost, routing_key=names.any(), mandatory=True, timeout=20)
    assert modern.returned_messages.empty()


def test_a_refused_message_is_not_safe(modern: Channel, names: Names) -> None:
    queue = declare(modern, names, max_length=1, overflow="reject-publish")
    refused: List[int] = []
    modern.confirm_select(on_nack=lambda tag, msg: refused.append(tag))
    for n in range(3):
        modern.basic_publish(Message(str(n)), routing_key=queue)
    with pytest.raises(UnconfirmedError) as caught:
        modern.wait_for_confirms(timeout=20)
    assert sorted(caught.value.nacked) == refused
    assert refused
    with pytest.raises(UnconfirmedError, match="1 nacked"):
        modern.basic_publish_confirm(Message("x"), routing_key=queue, timeout=20)


@pytest.mark.thorough
def test_no_confirm_in_time(mortal: Node, amqp: Any) -> None:
    with amqp.Connection(mortal.host, protocol="0-9-1", heartbeat=0, reply_timeout=None) as conn:
        ch = conn.channel()
        queue = ch.queue_declare(exclusive=True)[0]
        ch.confirm_select(window=3)
        mortal.freeze()
        try:
            with pytest.raises(ConfirmTimeoutError) as caught:
                ch.basic_publish_confirm(Message("0"), routing_key=queue, timeout=0.2)
            assert isinstance(caught.value, (AMQPTimeoutError, TimeoutError))
            ch.basic_publish(Message("1"), routing_key=queue)
            with pytest.raises(ConfirmTimeoutError) as caught:
                ch.wait_for_confirms(timeout=0.2)
            assert [msg.body for msg in caught.value.messages if isinstance(msg, Message)] == ["0", "1"]
        finally:
            mortal.thaw()
        ch.wait_for_confirms(timeout=20)
        assert ch.unconfirmed == {}


def test_a_hundred_that_come_back_among_others(modern: Channel, queue: str, names: Names) -> None:
    """Each by its tag, though they all look the same but for where they went."""
    nowhere = names.any()
    modern.confirm_select(window=40)
    msgs = [Message("same", message_id=str(n % 3), application_headers={"b": 1, "a": n % 2}) for n in range(200)]
    for n, msg in enumerate(msgs):
        modern.basic_publish(msg, routing_key=queue if n % 2 else nowhere, mandatory=True)
    with pytest.raises(UnconfirmedError) as caught:
        modern.wait_for_confirms(timeout=20)
    assert list(caught.value.returned) == list(range(1, 200, 2))
    assert all(msgs[tag - 1] is msg for tag, msg in caught.value.returned.items())
    assert caught.value.nacked == caught.value.unconfirmed == modern.unconfirmed == {}
    assert modern.returned_messages.empty()
    holds(modern, queue, 100)


@pytest.mark.parametrize(
    "body",
    ["Gr\u00fc\u00dfe" * 100_000, b"\xff\x00" * 500_000, "", b"", "plain"],
    ids=["str", "bytes", "", "b", "small"],
)
@pytest.mark.parametrize("properties", [{}, {"content_encoding": "utf-16", "application_headers": {"z": [1], "a": {}}}])
def test_what_comes_back_is_tied_to_its_tag(modern: Channel, names: Names, body: Any, properties: Any) -> None:
    if properties and isinstance(body, bytes):
        properties = {"content_type": "application/octet-stream", "priority": 3}
    modern.confirm_select()
    for tag in (1, 2):
        msg = Message(body, **properties)
        with pytest.raises(UnconfirmedError) as caught:
            modern.basic_publish_confirm(msg, routing_key=names.any(), mandatory=True, timeout=20)
        assert list(caught.value.returned) == [tag]
        assert caught.value.returned[tag] is msg
        assert modern.returned_messages.empty()


def test_the_same_again_when_its_queue_has_gone(modern: Channel, connect: Connect, names: Names) -> None:
    """The first one is safe, and the second is not, though they look the same."""
    other = connect().channel()
    queue = names.queue()
    for _ in range(5):
        ch = connect().channel()
        ch.confirm_select()
        other.queue_declare(queue, durable=True, auto_delete=False)
        ch.basic_publish(Message("same"), routing_key=queue, mandatory=True)
        holds(other, queue, 1)
        other.queue_delete(queue)
        ch.basic_publish(Message("same"), routing_key=queue, mandatory=True)
        with pytest.raises(UnconfirmedError) as caught:
            ch.wait_for_confirms(timeout=20)
        assert (list(caught.value.returned), caught.value.unconfirmed) == ([2], {})


def test_what_was_not_confirmed_survives_the_channel(modern: Channel, names: Names) -> None:
    modern.confirm_select()
    msgs = [Message("lost"), Message("never looked at")]
    for msg in msgs:
        modern.basic_publish(msg, exchange=names.any())  # there is no such exchange
    with pytest.raises(UnconfirmedError, match="404 NOT_FOUND") as caught:
        modern.wait_for_confirms(timeout=20)
    assert caught.value.messages == msgs
    assert list(modern.unconfirmed.values()) == msgs
    assert not modern.is_open


def test_functions_for_confirms_and_returns(modern: Channel, queue: str, names: Names) -> None:
    said: List[Any] = []
    modern.on_return = lambda code, text, exchange, routing_key, msg: said.append((code, msg.body))
    modern.confirm_select(on_ack=lambda tag, msg: said.append((tag, msg.body)))
    modern.basic_publish(Message("kept"), routing_key=queue, mandatory=True)
    modern.basic_publish(Message("lost"), routing_key=names.any(), mandatory=True)
    eventually(lambda: modern.wait(timeout=20) or len(said) == 2)
    assert sorted(said) == [(1, "kept"), (312, "lost")]


def test_all_ways_of_waiting_at_once(modern: Channel, queue: str) -> None:
    """On one channel: nothing is lost, nothing is told twice, and nobody is in another's way."""
    conn, number = modern.connection, 1500
    assert conn
    got: List[Any] = []
    acked: List[int] = []
    modern.basic_consume(queue, callback=lambda msg: got.append(msg.body), no_ack=True)
    modern.confirm_select(window=200, on_ack=lambda tag, msg: acked.append(tag))

    def until_all_have_come(wait: Callable[[], Any]) -> None:
        while len(got) < number:
            with suppress(AMQPTimeoutError):
                wait()

    def publish() -> None:
        for n in range(number):
            modern.basic_publish(Message(str(n)), routing_key=queue)
            if n % 500 == 0:
                modern.wait_for_confirms(timeout=20)
        modern.wait_for_confirms(timeout=20)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        together(
            publish,
            lambda: until_all_have_come(lambda: conn.drain_events(timeout=0.1)),
            lambda: until_all_have_come(lambda: modern.wait([(60, 60)], timeout=0.1)),
            lambda: until_all_have_come(lambda: modern.wait(timeout=0.1)),
        )
    finally:
        sys.setswitchinterval(interval)
    while modern.pending():
        modern.wait(timeout=0)
    assert sorted(got, key=int) == [str(n) for n in range(number)]
    assert sorted(acked) == list(range(1, number + 1))
