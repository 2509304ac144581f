"""Proves that arguments which mean nothing are not taken in silence."""

from __future__ import annotations

import copy
import logging
import pickle
import time
import uuid
from datetime import datetime, timezone
from typing import Any, Callable, Dict, List, Tuple

import pytest

import amqplib.client_0_8
import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker

from .exposed import exposed
from .peer import Peer

# --- properties

MISTAKEN = {
    "headers": "application_headers",
    "Headers": "application_headers",
    "deliverymode": "delivery_mode",
    "deliveryMode": "delivery_mode",
    "delivery_mod": "delivery_mode",
    "content-type": "content_type",
    "contenttype": "content_type",
    "correlationid": "correlation_id",
    "replyto": "reply_to",
    "prioritty": "priority",
    "time_stamp": "timestamp",
    "application_header": "application_headers",
    "persistent": "delivery_mode=2",
}


@pytest.mark.parametrize("name", MISTAKEN)
def test_a_property_that_there_is_not(name: str) -> None:
    properties: Dict[str, Any] = {name: 2, "priority": 1}
    with pytest.raises(TypeError, match="no property '%s': write %s$" % (name, MISTAKEN[name])):
        amqp.Message("x", **properties)


@pytest.mark.parametrize("name", ["colour", "delivery_tag", "x", "body_"])
def test_a_property_that_is_like_no_other(name: str) -> None:
    properties: Dict[str, Any] = {name: 2}
    with pytest.raises(TypeError, match="no property '%s'$" % name):
        amqp.Message("x", **properties)


def test_a_class_with_properties_of_its_own() -> None:
    class Own(amqp.Message):
        PROPERTIES = [*amqp.Message.PROPERTIES, ("colour", "shortstr")]  # noqa: RUF012

    own: Any = Own  # which type checkers know no colour of
    msg = own("x", colour="red")
    msg.colour = "blue"
    assert msg.properties == {"colour": "blue"}
    with pytest.raises(TypeError, match="Own has no property 'color': write colour"):
        own("x", color="red")


def test_the_older_module_warns_once_a_name(caplog: pytest.LogCaptureFixture) -> None:
    name = "p" + uuid.uuid4().hex
    with caplog.at_level(logging.WARNING, "amqplib"):
        for _ in range(3):
            properties: Dict[str, Any] = {name: 1, "delivery_mode": 2}
            assert amqplib.client_0_8.Message("x", **properties).properties == {"delivery_mode": 2}
    (record,) = caplog.records
    assert record.getMessage() == "Message has no property %r: dropped" % name


@pytest.mark.parametrize("mandatory", [False, True])
def test_a_property_put_into_the_dict(newer_peer: Peer, newer: amqp.Channel, mandatory: bool) -> None:
    """When the message is sent, before anything is."""
    msg = amqp.Message(b"x", priority=1)
    msg.properties["delivery_mod"] = 2
    for _ in range(2):
        with pytest.raises(TypeError, match=r"no property 'delivery_mod': write delivery_mode$"):
            newer.basic_publish(msg, routing_key="q", mandatory=mandatory)
    del msg.properties["delivery_mod"]
    newer_peer.expect_content("basic.publish", 0, "", "q", False, False, message=({"priority": 1}, b"x"))
    newer.basic_publish(msg, routing_key="q")
    newer_peer.wait()


def test_a_property_put_into_the_dict_in_the_older_module(
    peer: Peer, ch: amqplib.client_0_8.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    """It is dropped, with one warning, and the rest is sent."""
    name = "p" + uuid.uuid4().hex
    msg = amqplib.client_0_8.Message(b"x", priority=1)
    msg.properties[name] = 2
    with caplog.at_level(logging.WARNING, "amqplib"):
        for mandatory in (False, True, False):
            peer.expect_content("basic.publish", 0, "", "q", mandatory, False, message=({"priority": 1}, b"x"))
            ch.basic_publish(msg, routing_key="q", mandatory=mandatory)
        assert msg._serialize_properties() == amqplib.client_0_8.Message(priority=1)._serialize_properties()
    peer.wait()
    assert [record.getMessage() for record in caplog.records] == ["Message has no property %r: dropped" % name]
    assert msg.properties == {"priority": 1, name: 2}


def test_what_only_a_programs_class_has_is_not_sent(newer_peer: Peer, newer: amqp.Channel) -> None:
    class Own(amqp.Message):
        PROPERTIES = [*amqp.Message.PROPERTIES, ("colour", "shortstr")]  # noqa: RUF012

    newer_peer.expect_content("basic.publish", 0, "", "q", False, False, message=({"priority": 1}, b"x"))
    newer.basic_publish(Own(b"x", colour="red", priority=1), routing_key="q")  # type: ignore[call-arg]
    newer_peer.wait()


# --- attributes


def test_an_attribute_that_is_a_property() -> None:
    msg: Any = amqp.Message("x", priority=1)
    msg.priority = 5
    msg.delivery_mode = 2
    msg.type = "t"
    assert msg.properties == {"priority": 5, "delivery_mode": 2, "type": "t"}
    assert (msg.priority, msg.type) == (5, "t")
    del msg.priority
    assert msg.priority is None
    with pytest.raises(AttributeError, match="priority"):
        del msg.priority
    msg.own = 1  # any other is the program's
    assert msg.properties == {"delivery_mode": 2, "type": "t"}


def test_it_is_sent(newer_peer: Peer, newer: amqp.Channel) -> None:
    msg = amqp.Message(b"x")
    msg.delivery_mode = 2
    msg.application_headers = {"a": 1}
    properties = {"delivery_mode": 2, "application_headers": {"a": 1}}
    newer_peer.expect_content("basic.publish", 0, "", "q", False, False, message=(properties, b"x"))
    newer.basic_publish(msg, routing_key="q")
    newer_peer.wait()


def test_of_a_message_that_was_received(newer_peer: Peer, newer: amqp.Channel) -> None:
    newer_peer.expect("basic.get")
    newer_peer.send_content("basic.get_ok", 5, False, "x", "k", 0, message=({"priority": 1}, b"x"))
    msg: Any = newer.basic_get("q")
    msg.priority = 2
    assert (msg.properties, msg.exchange, msg.delivery_tag) == ({"priority": 2}, "x", 5)
    again = copy.copy(msg)
    assert (again.priority, pickle.loads(pickle.dumps(msg)).priority) == (2, 2)


def test_names_that_a_programs_class_has_taken() -> None:
    class Own(amqp.Message):
        type = "mine"

        def priority(self) -> int:  # type: ignore[override]
            return 5

    msg = Own("x", delivery_mode=2)
    msg.type = "other"
    assert (msg.type, msg.priority(), msg.properties) == ("other", 5, {"delivery_mode": 2})


def test_the_older_module_is_as_it_was() -> None:
    msg: Any = amqplib.client_0_8.Message("x", priority=1)
    msg.priority = "set"
    assert (msg.priority, msg.properties) == ("set", {"priority": 1})


# --- Connection

ARGUMENTS = {
    "port": "host='name:port'",
    "hostname": "host='name:port'",
    "user": "userid",
    "username": "userid",
    "user_name": "userid",
    "vhost": "virtual_host",
    "virtualhost": "virtual_host",
    "pasword": "password",
    "passwd": "password",
    "timeout": "connect_timeout",
    "heart_beat": "heartbeat",
    "ssl_context": "ssl",
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_argument_that_connection_does_not_have(name: str) -> None:
    unknown: Dict[str, Any] = {name: "s3cr3t"}
    with pytest.raises(
        TypeError, match="^Connection has no argument %s: write %s$" % (name, ARGUMENTS[name])
    ) as caught:
        amqp.Connection("localhost:1", **unknown)
    assert "s3cr3t" not in exposed(caught.value)


def test_several_arguments_at_once() -> None:
    unknown: Dict[str, Any] = {"port": 5672, "zzz": 1, "user": "me"}
    with pytest.raises(TypeError, match=r"argument port: write host='name:port'; nor user: write userid; nor zzz$"):
        amqp.Connection("localhost:1", **unknown)


# --- timeouts


def close_connection(ch: amqp.Channel) -> None:
    assert ch.connection
    ch.connection.close(timeout=-1)


def wait_for_confirms(ch: amqp.Channel) -> None:
    ch.confirm_select()
    ch.wait_for_confirms(timeout=-1)


TIMEOUTS: Dict[str, Callable[[amqp.Channel], Any]] = {
    "wait": lambda ch: ch.wait(timeout=-1),
    "wait, a little": lambda ch: ch.wait(timeout=-1e-9),
    "wait, much": lambda ch: ch.wait(timeout=float("-inf")),
    "drain_events": lambda ch: ch.connection and ch.connection.drain_events(timeout=-1),
    "connection.wait": lambda ch: ch.connection and ch.connection.wait(timeout=-1),
    "consume": lambda ch: ch.consume("q", timeout=-1),
    "wait_for_confirms": wait_for_confirms,
    "basic_publish_confirm": lambda ch: ch.basic_publish_confirm(amqp.Message("x"), timeout=-1),
    "close": lambda ch: ch.close(timeout=-1),
    "connection.close": close_connection,
}


@pytest.mark.parametrize("name", TIMEOUTS)
def test_a_negative_timeout(name: str) -> None:
    """Nothing was done, and all stays usable."""
    with Broker() as broker, amqp.Connection(broker.address, heartbeat=0) as conn:
        ch = conn.channel()
        ch.queue_declare("q", auto_delete=False)
        with pytest.raises(ValueError, match=r"0 or more, or None, not -"):
            TIMEOUTS[name](ch)
        assert ch.queue_declare("q", passive=True) == ("q", 0, 0)
        assert ch.callbacks == {}


@pytest.mark.parametrize("name", ["connect_timeout", "reply_timeout", "write_timeout", "blocked_timeout"])
def test_a_negative_timeout_of_a_connection(name: str) -> None:
    options: Dict[str, Any] = {name: -1}
    with pytest.raises(ValueError, match="%s: a timeout is a number of seconds, 0 or more" % name):
        amqp.Connection("localhost:1", **options)


# --- offsets of streams


@pytest.mark.parametrize("unit", [1, 1000])
def test_a_number_that_was_meant_as_a_time(
    newer_peer: Peer, newer: amqp.Channel, caplog: pytest.LogCaptureFixture, unit: int
) -> None:
    now = int(time.time())
    newer_peer.expect("basic.consume")
    newer.basic_consume("q", "tag", nowait=True, arguments={"x-stream-offset": now * unit})
    assert "%d is the number of a message; for a time write datetime.fromtimestamp(%d)" % (now * unit, now) in (
        caplog.text
    )
    newer_peer.wait()


@pytest.mark.parametrize("offset", [0, 10**6, 10**15, "first", datetime(2026, 1, 1, tzinfo=timezone.utc)], ids=str)
def test_an_offset_as_it_is_meant(
    newer_peer: Peer, newer: amqp.Channel, caplog: pytest.LogCaptureFixture, offset: Any
) -> None:
    newer_peer.expect("basic.consume")
    newer.basic_consume("q", "tag", nowait=True, arguments={"x-stream-offset": offset})
    newer_peer.wait()
    assert not caplog.records


# --- functions

FUNCTIONS: List[Tuple[str, Callable[[amqp.Channel], Any]]] = [
    ("callback", lambda ch: ch.basic_consume("q", callback="foo")),  # type: ignore[arg-type]
    ("callback", lambda ch: ch.basic_consume("q", "tag", nowait=True, callback=5)),  # type: ignore[arg-type]
    ("on_cancel", lambda ch: ch.basic_consume("q", on_cancel="foo")),  # type: ignore[arg-type]
    ("on_ack", lambda ch: ch.confirm_select(on_ack="foo")),  # type: ignore[arg-type]
    ("on_nack", lambda ch: ch.confirm_select(on_nack=["foo"])),  # type: ignore[arg-type]
    ("on_return", lambda ch: setattr(ch, "on_return", "foo")),
]


@pytest.mark.parametrize(("name", "give"), FUNCTIONS)
def test_what_cannot_be_called(newer_peer: Peer, newer: amqp.Channel, name: str, give: Any) -> None:
    for kind in (ValueError, TypeError):
        with pytest.raises(kind, match="%s: .* cannot be called" % name):
            give(newer)
    assert newer.callbacks == {}
    newer_peer.answer("tx.select", "tx.select_ok")
    newer.tx_select()


@pytest.mark.parametrize("name", ["on_blocked", "on_unblocked", "credentials"])
def test_what_a_connection_cannot_call(name: str) -> None:
    options: Dict[str, Any] = {name: "foo"}
    with pytest.raises(ValueError, match=name):
        amqp.Connection("localhost:1", **options)


def test_a_callback_in_the_older_module(peer: Peer, ch: amqplib.client_0_8.Channel) -> None:
    """As it was: it fails when it is called."""
    peer.answer("basic.consume", "basic.consume_ok", "tag")
    ch.basic_consume("q", "tag", callback="foo")  # type: ignore[arg-type]
    peer.send_content("basic.deliver", "tag", 1, False, "x", "k")
    with pytest.raises(TypeError, match="not callable"):
        ch.wait(timeout=10)
