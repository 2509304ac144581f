"""Receiving: basic_get, consumers and their tags, callbacks, wait()."""

from __future__ import annotations

from typing import Any, Dict, List

import pytest

from amqplib.client.channel import Channel
from amqplib.client.connection import Connection
from amqplib.client.message import Message
from tests.live.conftest import Names
from tests.live.helpers import bodies, get, over, publish, refused

DELIVER = (60, 60)
FLOW = (20, 20)


def test_polling(ch: Channel, names: Names) -> None:
    myqueue = names.queue()
    ch.queue_declare(myqueue)
    assert ch.basic_get(myqueue) is None
    publish(ch, myqueue, "hello")
    msg = ch.basic_get(myqueue)
    assert msg is not None
    assert msg.body == "hello"
    ch.basic_ack(msg.delivery_tag)
    assert ch.basic_get(myqueue) is None


def test_polling_with_positions(ch: Channel, queue: str) -> None:
    publish(ch, queue, "one")
    msg = ch.basic_get(queue, True, 0)
    assert msg is not None
    assert msg.body == "one"


def test_wait_and_a_callback(ch: Channel, queue: str) -> None:
    seen = []

    def mycallback(msg: Message) -> None:
        seen.append("received %s from channel #%d" % (msg.body, msg.channel.channel_id))

    ch.basic_consume(queue, callback=mycallback, no_ack=True)
    publish(ch, queue, "one", "two")
    ch.wait()
    assert seen == ["received one from channel #1"], "one message a wait()"
    ch.wait()
    assert seen == ["received one from channel #1", "received two from channel #1"]


def test_a_tag_of_our_own(ch: Channel, queue: str) -> None:
    seen: List[Message] = []
    assert ch.basic_consume(queue, callback=seen.append, consumer_tag="mytag", no_ack=True) == "mytag"
    assert ch.callbacks == {"mytag": seen.append}
    publish(ch, queue, "hello")
    ch.wait()
    assert seen[0].consumer_tag == "mytag"
    ch.basic_cancel("mytag")
    assert ch.callbacks == {}


def test_a_tag_by_the_server(ch: Channel, queue: str) -> None:
    seen: List[Message] = []
    tag = ch.basic_consume(queue, callback=seen.append, no_ack=True)
    other = ch.basic_consume(queue, callback=seen.append, no_ack=True)
    assert tag
    assert tag != other
    assert set(ch.callbacks) == {tag, other}
    publish(ch, queue, "one", "two")
    ch.wait()
    ch.wait()
    assert {msg.consumer_tag for msg in seen} == {tag, other}
    ch.basic_cancel(tag)
    assert set(ch.callbacks) == {other}
    ch.basic_cancel(other)
    publish(ch, queue, "three")
    assert bodies(ch, queue) == ["three"]


def test_the_same_tag_twice(conn: Connection, queue: str) -> None:
    ch = conn.channel()
    ch.basic_consume(queue, "mytag")
    with pytest.raises(Exception, match="NOT_ALLOWED") as caught:
        ch.basic_consume(queue, "mytag")
    assert caught.value.args[0] == 530
    assert over(conn)


def test_the_loop_of_programs(ch: Channel, queue: str) -> None:
    """Cancelled inside its callback, the last consumer ends the loop."""
    seen = []

    def callback(msg: Message) -> None:
        seen.append(msg.body)
        msg.channel.basic_ack(msg.delivery_tag)
        if msg.body == "quit":
            msg.channel.basic_cancel(msg.consumer_tag)

    ch.basic_consume(queue, callback=callback)
    publish(ch, queue, "one", "two", "quit")
    while ch.callbacks:
        ch.wait()
    assert seen == ["one", "two", "quit"]
    publish(ch, queue, "later")
    assert bodies(ch, queue) == ["later"]


def test_cancelled_in_the_callback_with_more_to_come(ch: Channel, queue: str) -> None:
    """What was delivered after the cancelled tag is no longer passed on, and goes back with the channel."""
    seen = []

    def callback(msg: Message) -> None:
        seen.append(msg.body)
        msg.channel.basic_cancel(msg.consumer_tag)

    publish(ch, queue, *map(str, range(10)))
    ch.basic_consume(queue, callback=callback)
    while ch.callbacks:
        ch.wait()
    assert seen == ["0"]
    assert ch.connection
    other = ch.connection.channel()
    ch.close()
    again = get(other, queue)
    assert again.body == "0"
    assert again.redelivered


def test_cancel_nowait(ch: Channel, queue: str) -> None:
    tag = ch.basic_consume(queue)
    ch.basic_cancel(tag, nowait=True)
    assert ch.callbacks == {}
    ch.basic_cancel(ch.basic_consume(queue), True)
    publish(ch, queue, "not for consumers")
    assert bodies(ch, queue) == ["not for consumers"]


def test_cancel_of_an_unknown_tag(ch: Channel) -> None:
    ch.basic_cancel("there is none of this")


def test_consume_nowait(ch: Channel, queue: str) -> None:
    seen: List[Message] = []
    assert ch.basic_consume(queue, "mytag", no_ack=True, nowait=True, callback=seen.append) == "mytag"
    assert set(ch.callbacks) == {"mytag"}
    publish(ch, queue, "hello")
    ch.wait()
    assert seen[0].body == "hello"


def test_consume_with_positions(ch: Channel, queue: str) -> None:
    seen: List[Message] = []
    assert ch.basic_consume(queue, "mytag", False, True, False, False, seen.append, 0) == "mytag"
    publish(ch, queue, "hello")
    ch.wait()
    assert seen[0].body == "hello"


def test_an_exclusive_consumer(conn: Connection, queue: str) -> None:
    conn.channel().basic_consume(queue, exclusive=True)
    exc = refused(conn, 403, lambda ch: ch.basic_consume(queue))
    assert exc.amqp_method_sig == (60, 20)


@pytest.mark.parametrize("no_local", [False, True])
def test_no_local(ch: Channel, queue: str, no_local: bool) -> None:
    """RabbitMQ does not know it."""
    seen: List[Message] = []
    ch.basic_consume(queue, no_local=no_local, no_ack=True, callback=seen.append)
    publish(ch, queue, "mine")
    ch.wait()
    assert seen[0].body == "mine"


def test_without_a_callback(ch: Channel, queue: str) -> None:
    tag = ch.basic_consume(queue, no_ack=True)
    assert ch.callbacks == {tag: None}
    publish(ch, queue, "dropped", "dropped too")
    ch.wait()
    ch.wait()
    ch.basic_cancel(tag)
    assert bodies(ch, queue) == []


def test_calls_keep_deliveries_for_later(ch: Channel, queue: str) -> None:
    """No callback runs inside a call, not even when its reply comes behind a thousand deliveries."""
    seen: List[Any] = []
    ch.basic_consume(queue, no_ack=True, callback=lambda msg: seen.append(msg.body))
    publish(ch, queue, *map(str, range(1000)))
    while ch.pending() < 1000:
        ch.queue_declare(queue, passive=True)
    assert seen == []
    for n in range(1000):
        ch.wait()
        assert seen[-1] == str(n)
    assert ch.pending() == 0
    assert len(seen) == 1000


def test_calls_inside_a_callback(ch: Channel, queue: str, names: Names) -> None:
    other = names.queue()
    nested: Dict[str, Any] = {}

    def callback(msg: Message) -> None:
        ch.queue_declare(other, auto_delete=False)
        publish(ch, other, msg.body)
        nested[str(msg.body)] = get(ch, other).body

    ch.basic_consume(queue, no_ack=True, callback=callback)
    publish(ch, queue, "one", "two", "three")
    for _ in range(3):
        ch.wait()
    assert nested == {"one": "one", "two": "two", "three": "three"}


def test_wait_inside_a_callback(ch: Channel, queue: str) -> None:
    seen = []

    def callback(msg: Message) -> None:
        seen.append(msg.body)
        if msg.body == "outer":
            ch.wait()
            seen.append("outer again")

    ch.basic_consume(queue, no_ack=True, callback=callback)
    publish(ch, queue, "outer", "inner")
    ch.wait()
    assert seen == ["outer", "inner", "outer again"]


def test_consume_inside_a_callback(ch: Channel, queue: str, names: Names) -> None:
    other = names.queue()
    ch.queue_declare(other, auto_delete=False)
    seen: List[Message] = []
    publish(ch, other, "from the other")

    def callback(msg: Message) -> None:
        ch.basic_cancel(msg.consumer_tag)
        ch.basic_consume(other, no_ack=True, callback=seen.append)

    ch.basic_consume(queue, no_ack=True, callback=callback)
    publish(ch, queue, "go")
    while not seen:
        ch.wait()
    assert seen[0].body == "from the other"


def test_an_error_in_a_callback(ch: Channel, queue: str) -> None:
    def callback(msg: Message) -> None:
        raise KeyError(msg.body)

    ch.basic_consume(queue, no_ack=True, callback=callback)
    publish(ch, queue, "one", "two")
    for body in ("one", "two"):
        with pytest.raises(KeyError, match=body):
            ch.wait()
    publish(ch, queue, "three")
    with pytest.raises(KeyError, match="three"):
        ch.wait()


def test_close_inside_a_callback(conn: Connection, queue: str) -> None:
    ch = conn.channel()
    ch.basic_consume(queue, callback=lambda msg: msg.channel.close())
    publish(ch, queue, "one")
    ch.wait()
    assert over(ch)
    ch = conn.channel()
    ch.basic_consume(queue, callback=lambda msg: conn.close())
    ch.wait()
    assert over(conn)
    assert over(ch)


def test_a_callback_that_is_changed(ch: Channel, queue: str) -> None:
    seen: List[Message] = []
    tag = ch.basic_consume(queue, no_ack=True)
    ch.callbacks[tag] = seen.append
    publish(ch, queue, "hello")
    ch.wait()
    assert seen[0].body == "hello"


def test_allowed_methods(ch: Channel, queue: str) -> None:
    seen: List[Message] = []
    ch.basic_consume(queue, no_ack=True, callback=seen.append)
    publish(ch, queue, "one", "two")
    assert ch.wait([DELIVER]) is None
    assert ch.wait(allowed_methods=[FLOW, DELIVER]) is None
    assert [msg.body for msg in seen] == ["one", "two"]


def test_the_queue_goes_away(conn: Connection, queue: str) -> None:
    """Without a word to 0-8 clients, as RabbitMQ sees it."""
    ch = conn.channel()
    ch.basic_consume(queue)
    conn.channel().queue_delete(queue)
    assert ch.queue_declare(queue, exclusive=True) == (queue, 0, 0)


def test_deliveries_after_a_get(ch: Channel, queue: str) -> None:
    seen: List[Message] = []
    publish(ch, queue, "one", "two")
    assert get(ch, queue).body == "one"
    ch.basic_consume(queue, no_ack=True, callback=seen.append)
    ch.wait()
    assert seen[0].body == "two"
