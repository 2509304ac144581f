"""Messages there and back: bodies and their encodings, and every property."""

from __future__ import annotations

import pickle
from datetime import datetime
from types import ModuleType
from typing import Any, Dict, List

import pytest

from amqplib.client.channel import Channel
from amqplib.client.connection import Connection
from amqplib.client.message import Message
from tests.conftest import Broker
from tests.live.helpers import bodies, get, publish

PROPERTIES: Dict[str, Any] = {
    "content_type": "text/plain",
    "content_encoding": "latin-1",
    "application_headers": {"foo": 7, "bar": "baz"},
    "delivery_mode": 2,
    "priority": 3,
    "correlation_id": "the correlation",
    "reply_to": "the queue for answers",
    "expiration": "60000",
    "message_id": "the message",
    "timestamp": datetime(2026, 11, 23, 12, 30, 15),
    "type": "the type",
    "user_id": "the user",  # has to be who has logged in
    "app_id": "the app",
    "cluster_id": "the cluster",
}


@pytest.fixture
def properties(broker: Broker) -> Dict[str, Any]:
    return {**PROPERTIES, "user_id": broker.userid}


def sent(ch: Channel, queue: str, msg: Message) -> Message:
    """The message as it comes back."""
    ch.basic_publish(msg, routing_key=queue)
    return get(ch, queue)


@pytest.mark.parametrize("body", ["", "hello world", "Grüße, 日本, 🐇", "\0", "line\r\nline"])
def test_str(ch: Channel, queue: str, body: str) -> None:
    msg = Message(body)
    assert msg.properties == {}
    back = sent(ch, queue, msg)
    assert back.body == body
    assert isinstance(back.body, str)
    assert back.properties == {"content_encoding": "UTF-8"}
    assert msg.content_encoding == "UTF-8"


@pytest.mark.parametrize("body", [b"", b"bytes", bytes(range(256)), "Grüße".encode()])
def test_bytes(ch: Channel, queue: str, body: bytes) -> None:
    back = sent(ch, queue, Message(body))
    assert back.body == body
    assert isinstance(back.body, bytes)
    assert back.properties == {}


@pytest.mark.parametrize("body", [bytearray(b"buffer"), memoryview(b"buffer")])
def test_buffers(ch: Channel, queue: str, body: Any) -> None:
    assert sent(ch, queue, Message(body)).body == b"buffer"


def test_these_two_messages_are_equivalent(ch: Channel, queue: str) -> None:
    msg1 = Message("Unicode hello ü")
    msg2 = Message("Unicode hello ü".encode(), content_encoding="UTF-8")
    assert sent(ch, queue, msg1) == sent(ch, queue, msg2)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252", "UTF8", "ascii"])
def test_encodings(ch: Channel, queue: str, encoding: str) -> None:
    body = "Gruss" if encoding == "ascii" else "Grüße"
    ch.auto_decode = False
    back = sent(ch, queue, Message(body, content_encoding=encoding))
    assert back.body == body.encode(encoding)
    ch.auto_decode = True
    assert sent(ch, queue, back) == Message(body, content_encoding=encoding)


@pytest.mark.parametrize(
    ("encoding", "body"), [("deflate", b"x"), ("binary", b"y"), ("utf-8", b"\xff"), ("base64", b"eA=="), ("", b"z")]
)
def test_bodies_that_cannot_be_decoded_stay_bytes(ch: Channel, queue: str, encoding: str, body: bytes) -> None:
    msg = Message(body, content_encoding=encoding)
    assert sent(ch, queue, msg) == msg
    seen: List[Message] = []
    ch.basic_consume(queue, callback=seen.append, no_ack=True)
    ch.basic_publish(msg, routing_key=queue)
    ch.wait()
    assert seen == [msg]


@pytest.mark.parametrize("encoding", ["no such thing", "ascii", "base64"])
def test_bodies_that_cannot_be_encoded(ch: Channel, queue: str, encoding: str) -> None:
    with pytest.raises(ValueError, match="ncod"):
        ch.basic_publish(Message("ü", content_encoding=encoding), routing_key=queue)
    publish(ch, queue, "next")
    assert bodies(ch, queue) == ["next"]


@pytest.mark.parametrize("body", [None, 7, ["a"], {"a": 1}])
def test_bodies_of_other_types(ch: Channel, queue: str, body: Any) -> None:
    with pytest.raises(ValueError, match="body"):
        ch.basic_publish(Message(body), routing_key=queue)
    publish(ch, queue, "next")
    assert bodies(ch, queue) == ["next"]


@pytest.mark.only(client="client_0_8", reason="naive local time; see test_times for client_0_9_1")
def test_every_property(ch: Channel, queue: str, properties: Dict[str, Any]) -> None:
    back = sent(ch, queue, Message("Grüße", **properties))
    assert back == Message("Grüße", **properties)
    for name, value in properties.items():
        assert getattr(back, name) == value


@pytest.mark.only(client="client_0_8", reason="naive local time; see test_times for client_0_9_1")
@pytest.mark.parametrize("name", sorted(PROPERTIES))
def test_each_property(ch: Channel, queue: str, properties: Dict[str, Any], name: str) -> None:
    back = sent(ch, queue, Message(b"x", **{name: properties[name]}))
    assert back.properties == {name: properties[name]}


@pytest.mark.parametrize("size", [0, 1, 254, 255])
def test_short_strings(ch: Channel, queue: str, size: int) -> None:
    assert sent(ch, queue, Message(b"", correlation_id="c" * size)).correlation_id == "c" * size


@pytest.mark.parametrize(
    "wrong",
    [
        {"correlation_id": "c" * 256},
        {"reply_to": "ü" * 128},
        {"message_id": 7},
        {"priority": 256},
        {"delivery_mode": -1},
        {"timestamp": "today"},
        {"application_headers": ["a"]},
    ],
)
def test_properties_that_cannot_be_sent(ch: Channel, queue: str, wrong: Dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ch.basic_publish(Message("x" * 200_000, **wrong), routing_key=queue)
    publish(ch, queue, "next")
    assert bodies(ch, queue) == ["next"]


def test_properties_set_afterwards(ch: Channel, queue: str) -> None:
    msg = Message("x")
    msg.properties["delivery_mode"] = 2
    msg.properties["no such property"] = "dropped"
    msg.properties["reply_to"] = None
    assert sent(ch, queue, msg).properties == {"delivery_mode": 2, "content_encoding": "UTF-8"}


def test_unknown_properties_are_dropped(ch: Channel, queue: str) -> None:
    assert sent(ch, queue, Message(b"x", delivery="fast", mandatory=True, priority=None)).properties == {}


def test_a_body_set_afterwards(ch: Channel, queue: str) -> None:
    msg = Message("before")
    msg.body = "after"
    assert sent(ch, queue, msg).body == "after"


def test_the_same_message_many_times(ch: Channel, queue: str) -> None:
    msg = Message("again, ü", application_headers={"n": 1}, priority=1)
    for _ in range(100):
        ch.basic_publish(msg, routing_key=queue)
    for _ in range(100):
        assert get(ch, queue) == msg
    assert ch.basic_get(queue) is None


def test_a_received_message_published_again(ch: Channel, queue: str, properties: Dict[str, Any]) -> None:
    first = sent(ch, queue, Message("Grüße", **properties))
    second = sent(ch, queue, first)
    assert second == first
    assert second.delivery_tag == first.delivery_tag + 1


def test_published_again_inside_the_callback(ch: Channel, queue: str) -> None:
    seen: List[Message] = []

    def callback(msg: Message) -> None:
        seen.append(msg)
        msg.channel.basic_ack(msg.delivery_tag)
        if len(seen) < 5:
            msg.properties["application_headers"] = {"hop": len(seen)}
            msg.channel.basic_publish(msg, routing_key=queue)

    ch.basic_consume(queue, callback=callback)
    publish(ch, queue, b"hop")
    while len(seen) < 5:
        ch.wait()
    assert seen[4].application_headers == {"hop": 4}


def test_auto_decode(conn: Connection, queue: str) -> None:
    ch = conn.channel()
    assert ch.auto_decode
    ch.auto_decode = False
    back = sent(ch, queue, Message("Grüße"))
    assert back.body == "Grüße".encode()
    assert back.content_encoding == "UTF-8"
    ch.auto_decode = True
    assert sent(ch, queue, back).body == "Grüße"


def test_what_a_message_knows_after_a_get(ch: Channel, queue: str) -> None:
    publish(ch, queue, "one", "two", "three")
    msg = get(ch, queue)
    assert msg.delivery_info == {
        "delivery_tag": 1,
        "redelivered": False,
        "exchange": "",
        "routing_key": queue,
        "message_count": 2,
    }
    assert (msg.delivery_tag, msg.routing_key, msg.message_count) == (1, queue, 2)
    for absent in ("channel", "consumer_tag", "priority", "anything"):
        assert getattr(msg, absent, None) is None  # an AttributeError, or None with the newer module


def test_what_a_message_knows_after_a_delivery(ch: Channel, queue: str) -> None:
    seen: List[Message] = []
    tag = ch.basic_consume(queue, callback=seen.append)
    publish(ch, queue, "one")
    ch.wait()
    (msg,) = seen
    assert msg.delivery_info == {
        "channel": ch,
        "consumer_tag": tag,
        "delivery_tag": 1,
        "redelivered": False,
        "exchange": "",
        "routing_key": queue,
    }
    assert msg.channel is ch
    assert msg.consumer_tag == tag
    assert not hasattr(msg, "message_count")
    ch.basic_ack(msg.delivery_tag)


def test_pickled(ch: Channel, queue: str, properties: Dict[str, Any]) -> None:
    seen: List[Message] = []
    ch.basic_consume(queue, callback=seen.append, no_ack=True)
    ch.basic_publish(Message("ü" * 1_000_000, **{**properties, "content_encoding": "UTF-8"}), routing_key=queue)
    ch.wait()
    again = pickle.loads(pickle.dumps(seen[0]))
    assert again == seen[0]
    assert again.delivery_tag == 1
    assert sent_and_awaited(ch, queue, again, seen) == again


def sent_and_awaited(ch: Channel, queue: str, msg: Message, seen: List[Message]) -> Message:
    ch.basic_publish(msg, routing_key=queue)
    ch.wait()
    return seen[-1]


def test_the_class_of_the_client_module(amqp: ModuleType, ch: Channel, queue: str) -> None:
    back = sent(ch, queue, amqp.Message("hello"))
    assert type(back) is amqp.Message
