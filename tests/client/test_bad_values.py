"""Proves that a value that cannot be sent raises ValueError, names its place, and harms nothing.

No byte of the call leaves: the peer would see it before the next call.
"""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, Callable, Dict, Tuple

import pytest

import amqplib.client_0_8 as amqp

from .peer import HEADER, Peer

LONG = 256 * "x"
WIDE = 128 * "ä"  # 128 characters, 256 bytes
LONE = "\ud800"  # half of a surrogate pair has no UTF-8


def publish(**properties: Any) -> Callable[[amqp.Channel], Any]:
    return lambda ch: ch.basic_publish(amqp.Message(b"x", **properties))


def headers(value: Any) -> Callable[[amqp.Channel], Any]:
    return publish(application_headers={"outer": {"inner": value}})


def loop() -> Dict[str, Any]:
    table: Dict[str, Any] = {}
    table["self"] = table
    return table


#: Calls, and what their errors have to mention.
CALLS: Dict[str, Tuple[Callable[[Any], Any], str]] = {
    "queue too long": (lambda ch: ch.queue_declare(LONG), "queue"),
    "queue too long in UTF-8": (lambda ch: ch.queue_declare(WIDE), "queue"),
    "queue without UTF-8": (lambda ch: ch.queue_declare(LONE), "queue"),
    "queue None": (lambda ch: ch.queue_declare(None), "queue"),
    "queue a number": (lambda ch: ch.queue_declare(5, nowait=True), "queue"),
    "arguments no table": (lambda ch: ch.queue_declare("q", arguments=[1]), "arguments"),
    "arguments with an object": (lambda ch: ch.queue_declare("q", arguments={"x-max": object()}), "x-max"),
    "arguments with no number": (lambda ch: ch.queue_declare("q", arguments={"x-n": float("nan")}), "x-n"),
    "ticket too large": (lambda ch: ch.queue_declare("q", ticket=65536), "ticket"),
    "ticket negative": (lambda ch: ch.queue_purge("q", ticket=-1), "ticket"),
    "exchange too long": (lambda ch: ch.exchange_declare(LONG, "fanout"), "exchange"),
    "type None": (lambda ch: ch.exchange_declare("x", None), "type"),
    "routing key too long": (lambda ch: ch.queue_bind("q", "x", LONG), "routing_key"),
    "unbind": (lambda ch: ch.queue_unbind("q", "x", "", arguments={1: 2}), "arguments"),
    "delete": (lambda ch: ch.queue_delete(LONG, nowait=True), "queue"),
    "realm": (lambda ch: ch.access_request(LONG), "realm"),
    "qos": (lambda ch: ch.basic_qos(0, 65536, False), "prefetch_count"),
    "qos size": (lambda ch: ch.basic_qos(-1, 0, False), "prefetch_size"),
    "tag": (lambda ch: ch.basic_consume("q", LONG), "consumer_tag"),
    "a function for a tag": (lambda ch: ch.basic_consume("q", print), "is a function: write callback="),
    "tag, nowait": (lambda ch: ch.basic_consume("q", LONG, nowait=True, callback=print), "consumer_tag"),
    "cancel": (lambda ch: ch.basic_cancel(LONG), "consumer_tag"),
    "cancel, nowait": (lambda ch: ch.basic_cancel(LONG, True), "consumer_tag"),
    "get": (lambda ch: ch.basic_get(LONG), "queue"),
    "ack": (lambda ch: ch.basic_ack(2**64), "delivery_tag"),
    "ack of a message": (lambda ch: ch.basic_ack(amqp.Message()), "delivery_tag"),
    "ack of None": (lambda ch: ch.basic_ack(None), "delivery_tag"),
    "reject": (lambda ch: ch.basic_reject("1", True), "delivery_tag"),
    "publish to an exchange too long": (lambda ch: ch.basic_publish(amqp.Message(b"x"), LONG), "exchange"),
    "publish with a key too long": (lambda ch: ch.basic_publish(amqp.Message(b"x"), "", LONG), "routing_key"),
    "publish with a key of another type": (lambda ch: ch.basic_publish(amqp.Message(b"x"), "", 7), "routing_key"),
    "publish what is no message": (lambda ch: ch.basic_publish("x"), r"msg: 'str' .*basic_publish\(Message\(body\),"),
    "publish None": (lambda ch: ch.basic_publish(None), "msg"),
    "body None": (lambda ch: ch.basic_publish(amqp.Message(None)), "body"),  # type: ignore[arg-type]
    "body a list": (lambda ch: ch.basic_publish(amqp.Message(["x"])), "body: 'list' .*json.dumps"),  # type: ignore[arg-type]
    "body a number": (lambda ch: ch.basic_publish(amqp.Message(5)), "body"),  # type: ignore[arg-type]
    "body without UTF-8": (lambda ch: ch.basic_publish(amqp.Message(LONE)), "surrogates"),
    "body not in its encoding": (lambda ch: ch.basic_publish(amqp.Message("ä", content_encoding="ascii")), "ascii"),
    "body in no encoding": (lambda ch: ch.basic_publish(amqp.Message("x", content_encoding="gzip")), "gzip"),
    "body in an encoding not of text": (lambda ch: ch.basic_publish(amqp.Message("x", content_encoding="hex")), "hex"),
    "encoding no name": (lambda ch: ch.basic_publish(amqp.Message("x", content_encoding=5)), "content_encoding"),
    "content_type too long": (publish(content_type=LONG), "content_type"),
    "content_encoding a number": (publish(content_encoding=5), "content_encoding"),
    "delivery_mode too large": (publish(delivery_mode=256), "delivery_mode"),
    "delivery_mode no number": (publish(delivery_mode="2"), "delivery_mode"),
    "priority negative": (publish(priority=-1), "priority"),
    "priority a fraction": (publish(priority=1.5), "priority"),
    "correlation_id a number": (publish(correlation_id=5), "correlation_id"),
    "reply_to too long": (publish(reply_to=WIDE), "reply_to"),
    "expiration a number": (publish(expiration=60000), "expiration"),
    "message_id without UTF-8": (publish(message_id=LONE), "message_id"),
    "timestamp before 1970": (publish(timestamp=datetime(1969, 1, 1, tzinfo=timezone.utc)), "timestamp"),
    "timestamp a fraction": (publish(timestamp=1.5), "timestamp"),
    "timestamp a string": (publish(timestamp="now"), "timestamp"),
    "headers no table": (publish(application_headers=[("a", 1)]), "application_headers"),
    "header of an unknown type": (headers(object()), "inner"),
    "header a set": (headers({1}), "inner"),
    "header a complex number": (headers(1j), "inner"),
    "header over 64 bits": (headers(2**63), "inner"),
    "header a decimal too wide": (headers(Decimal(2**31)), "inner"),
    "header a decimal without end": (headers(Decimal("NaN")), "inner"),
    "header no number": (headers(float("nan")), "inner"),
    "header without end": (headers(float("-inf")), "inner"),
    "header without UTF-8": (headers(LONE), "inner"),
    "header in a list": (headers([1, {"deep": object()}]), "deep"),
    "header name a number": (publish(application_headers={5: "x"}), "5"),
    "header name too long": (publish(application_headers={LONG: "x"}), "255"),
    "headers inside themselves": (publish(application_headers=loop()), "application_headers"),
}


@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_sent_and_all_stays_usable(peer: Peer, ch: amqp.Channel, name: str) -> None:
    call, subject = CALLS[name]
    for _ in range(2):
        with pytest.raises(ValueError, match=subject):
            call(ch)
    assert ch.callbacks == {}
    peer.expect_content("basic.publish", 0, "", "q", False, False, message=({"priority": 1}, b"fine"))
    ch.basic_publish(amqp.Message(b"fine", priority=1), "", "q")
    peer.answer("queue.purge", "queue.purge_ok", 3)
    assert ch.queue_purge("q") == 3


def test_headers_larger_than_a_frame(peer: Peer) -> None:
    """Only bodies can be split."""
    peer.welcome(frame_max=4096)
    with amqp.Connection(peer.address) as conn:
        peer.open_channel()
        ch = conn.channel()
        for call in (
            lambda: ch.basic_publish(amqp.Message(b"x", application_headers={"large": "x" * 4096})),
            lambda: ch.queue_declare("q", arguments={"large": "x" * 4096}),
        ):
            with pytest.raises(ValueError, match="frame_max 4096"):
                call()
        peer.answer("queue.purge", "queue.purge_ok", 3)
        assert ch.queue_purge("q") == 3
        peer.part()


CONNECTIONS: Dict[str, Tuple[Dict[str, Any], str]] = {
    "userid": ({"userid": LONE}, "userid|LOGIN"),
    "virtual_host too long": ({"virtual_host": LONG}, "virtual_host"),
    "virtual_host None": ({"virtual_host": None}, "virtual_host"),
    "locale too long": ({"locale": LONG}, "locale"),
    "client_properties": ({"client_properties": {"a": object()}}, "client_properties"),
    "client_properties no number": ({"client_properties": {"a": float("inf")}}, "client_properties"),
    "login_method": ({"login_method": LONG, "login_response": b""}, "mechanism"),
    "login_response": ({"login_response": 5}, "login_response"),
    "channel_max": ({"channel_max": 0}, "channel_max"),
}


@pytest.mark.parametrize("name", CONNECTIONS)
def test_connections(peer: Peer, name: str) -> None:
    """Nothing stays open, however far it has come."""
    keywords, subject = CONNECTIONS[name]
    if name.startswith(("virtual_host", "locale", "client_properties")):
        peer.greet()
    if name.startswith("virtual_host"):  # tune-ok would have gone with it
        peer.expect("connection.start_ok", channel=0)
        peer.send("connection.tune", 2047, 131072, 60, channel=0)
    with pytest.raises(ValueError, match=subject):
        amqp.Connection(peer.address, **keywords)


def test_a_password_that_cannot_be_sent_is_not_shown(peer: Peer) -> None:
    for mechanism in ("AMQPLAIN", "PLAIN"):
        for password in ("hunter2" + LONE, ["hunter2"], {"hunter2"}, None):
            with pytest.raises(ValueError, match=r"(?i)password") as caught:
                amqp.Connection(peer.address, "bob", password, mechanism)  # type: ignore[arg-type]
            assert "hunter2" not in str(caught.value)
            assert "hunter2" not in repr(caught.value)
            assert "hunter2" not in repr(caught.value.__context__)


def test_header_is_sent_once(peer: Peer) -> None:
    """A constructor that fails late has still said who it is only once."""
    peer.accept()
    peer.expect_bytes(HEADER)
    peer.send("connection.start", 8, 0, {}, "AMQPLAIN", "en_US", channel=0)
    peer.expect_end()
    with pytest.raises(ValueError, match="locale"):
        amqp.Connection(peer.address, locale=LONG)
