"""Proves what a Message is on its own: properties, attributes, equality, pickling, subclasses."""

from __future__ import annotations

import copy
import pickle
from datetime import datetime
from typing import Any, Dict, List, cast

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91
from amqplib.broker import Broker

from .peer import Peer, content

PROPERTIES: Dict[str, Any] = {
    "content_type": "text/plain",
    "content_encoding": "UTF-8",
    "application_headers": {"foo": 7, "nested": {"bar": "baz"}},
    "delivery_mode": 2,
    "priority": 3,
    "correlation_id": "c",
    "reply_to": "r",
    "expiration": "60000",
    "message_id": "m",
    "timestamp": datetime(2009, 2, 13),
    "type": "t",
    "user_id": "u",
    "app_id": "a",
    "cluster_id": "k",
}


class Order(amqp.Message):
    """As programs make them: attributes first, and arguments of its own."""

    def __init__(self, number: int, **properties: Any) -> None:
        self.number = number
        super().__init__("order %d" % number, **properties)


def test_defaults() -> None:
    msg: Any = amqp.Message()
    assert (msg.body, msg.properties, msg.delivery_info) == ("", {}, {})


def test_arguments() -> None:
    assert amqp.Message("body", "children", content_type="x").properties == {"content_type": "x"}
    msg = amqp.Message(body=b"body", children=[1], **PROPERTIES)
    assert (msg.body, msg.properties) == (b"body", PROPERTIES)


def test_properties_are_in_the_wires_order() -> None:
    assert [name for name, _ in amqp.Message.PROPERTIES] == list(PROPERTIES)
    assert isinstance(amqp.Message.PROPERTIES, list)  # which subclasses add to


def test_unknown_properties_are_dropped() -> None:
    msg = amqp.Message("x", colour="red", delivery_mode=2, delivery_tag=5)
    assert msg.properties == {"delivery_mode": 2}
    assert not hasattr(msg, "colour")
    assert not hasattr(msg, "delivery_tag")


def test_properties_and_delivery_info_are_attributes() -> None:
    msg = amqp.Message("x", **PROPERTIES)
    for name, value in PROPERTIES.items():
        assert getattr(msg, name) == value
    msg.properties["priority"] = 9
    assert msg.priority == 9
    del msg.properties["priority"]
    assert not hasattr(msg, "priority")
    msg.delivery_info["delivery_tag"] = 5
    assert msg.delivery_tag == 5


@pytest.mark.parametrize("name", ["priority", "delivery_tag", "channel", "__fspath__", "nonsense"])
def test_an_absent_attribute(name: str) -> None:
    with pytest.raises(AttributeError, match=name):
        getattr(amqp.Message("x"), name)
    assert getattr(amqp.Message("x"), name, "default") == "default"


def test_attributes_that_are_set_win() -> None:
    msg: Any = amqp.Message("x", priority=1)
    msg.delivery_info = {"delivery_tag": 5}
    msg.priority = "set"
    msg.delivery_tag = "set"
    msg.ack = print
    msg.isRetry = True
    msg.body = "other"
    assert (msg.priority, msg.delivery_tag, msg.ack, msg.isRetry, msg.body) == ("set", "set", print, True, "other")
    assert msg.properties == {"priority": 1}
    del msg.priority
    assert msg.priority == 1


def test_each_message_has_a_dict_of_its_own() -> None:
    one, two = amqp.Message("x"), cast(Any, amqp.Message("x"))
    one.properties["priority"] = 1
    one.delivery_info["delivery_tag"] = 1
    assert (two.properties, two.delivery_info) == ({}, {})


def test_equality() -> None:
    msg = amqp.Message("x", priority=1)
    same: Any = amqp.Message("x", priority=1)
    same.delivery_info = {"delivery_tag": 5}
    assert msg == same
    assert (msg != same) is False
    for other in (
        amqp.Message("y", priority=1),
        amqp.Message(b"x", priority=1),
        amqp.Message("x"),
        amqp.Message("x", priority=2),
        amqp.Message("x", priority=1, type="t"),
        None,
        "x",
        5,
        object(),
        {"priority": 1},
    ):
        assert msg != other
        assert (msg == other) is False
        assert other != msg


def test_equality_with_a_subclass() -> None:
    assert Order(5) == amqp.Message("order 5")
    assert amqp.Message("order 5") == Order(5)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("body", ["", "Grüße", b"\0\xff", "x" * (2 << 20), b"\xff" * (2 << 20)], ids=range(5))
def test_pickling(protocol: int, body: Any) -> None:
    msg: Any = amqp.Message(body, **PROPERTIES)
    msg.mine = [1]
    again = pickle.loads(pickle.dumps(msg, protocol))
    assert type(again) is amqp.Message
    assert again == msg
    assert (again.body, again.properties, again.mine) == (body, PROPERTIES, [1])
    assert again.content_type == "text/plain"


def test_pickling_a_received_message(peer: Peer, ch: amqp.Channel) -> None:
    """Everything but the channel."""
    got: List[amqp.Message] = []
    ch.callbacks["tag"] = got.append
    message = {"application_headers": {"foo": [1, None]}}, b"body"
    peer.send_bytes(content("basic.deliver", "tag", 5, True, "x", "key", message=message))
    ch.wait()
    again = pickle.loads(pickle.dumps(got[0]))
    assert again == got[0]
    assert (again.delivery_tag, again.consumer_tag, again.redelivered) == (5, "tag", True)
    assert not hasattr(again, "channel")
    assert got[0].channel is ch


def test_pickling_a_subclass() -> None:
    again = pickle.loads(pickle.dumps(Order(5, priority=1)))
    assert (type(again), again.number, again.body, again.priority) == (Order, 5, "order 5", 1)


def test_copies() -> None:
    msg = amqp.Message("x", application_headers={"a": 1})
    for again in (copy.copy(msg), copy.deepcopy(msg)):
        assert again == msg
        assert again is not msg
    assert copy.deepcopy(msg).properties["application_headers"] is not msg.properties["application_headers"]


def test_a_copy_of_a_received_message(peer: Peer, ch: amqp.Channel) -> None:
    """It can be acknowledged like the message."""
    got: List[amqp.Message] = []
    ch.callbacks["tag"] = got.append
    peer.send_content("basic.deliver", "tag", 7, False, "x", "k", message=({}, b"x"))
    ch.wait()
    again = copy.copy(got[0])
    assert again.delivery_info == got[0].delivery_info
    assert again.channel is ch
    peer.expect("basic.ack", 7, False)
    again.channel.basic_ack(again.delivery_tag)


def test_a_copy_of_a_subclass() -> None:
    again = copy.copy(Order(5, priority=1))
    assert (type(again), again.number, again.body, again.priority) == (Order, 5, "order 5", 1)


def test_repr_shows_the_beginning() -> None:
    assert repr(amqp.Message("hello", priority=1)) == "<Message 'hello' {'priority': 1}>"
    assert len(repr(amqp.Message("x" * 1000))) < 100


def test_publishing_a_subclass(peer: Peer, ch: amqp.Channel) -> None:
    message = {"priority": 1, "content_encoding": "UTF-8"}, b"order 5"
    peer.expect_content("basic.publish", 0, "", "q", False, False, message=message)
    ch.basic_publish(Order(5, priority=1), routing_key="q")


def test_a_set_body_is_what_is_sent(peer: Peer, ch: amqp.Channel) -> None:
    msg = amqp.Message("one")
    for body in ("one", "two", b"three"):
        msg.body = body
        sent = body.encode() if isinstance(body, str) else body
        peer.expect_content("basic.publish", 0, "", "", False, False, message=({"content_encoding": "UTF-8"}, sent))
        ch.basic_publish(msg)


@pytest.mark.parametrize("name", ["_channel", "_received", "_known", "_names", "_to_send", "_to_time", "_got_on"])
@pytest.mark.parametrize("module", [amqp, amqp91])
def test_attributes_of_a_programs_own_disturb_nothing(broker: Broker, module: Any, name: str) -> None:
    """Programs keep on messages what they like, also under names that begin with an underscore."""

    class Connection(module.Connection):  # type: ignore[misc]
        message_class = type("Message", (module.Message,), {name: "its own"})

    with Connection(broker.address) as conn, conn.channel() as ch:
        ch.queue_declare("q", auto_delete=False)
        for body in (b"one", b"two"):
            msg = Connection.message_class(body, message_id="1")
            setattr(msg, name, "its own")
            ch.basic_publish(msg, routing_key="q")
        first, second = ch.basic_get("q"), ch.basic_get("q")
        setattr(first, name, "its own")
        assert pickle.loads(pickle.dumps(module.Message(first.body))).body == b"one"
        first.ack()
        second.reject(requeue=False)
    with Connection(broker.address) as conn, conn.channel() as ch:
        assert ch.queue_declare("q", passive=True)[1] == 0
