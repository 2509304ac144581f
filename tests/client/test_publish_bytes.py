"""Proves that basic_publish() sends the bytes that AMQP 0-8 has for a message: method, header, body frames."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, Dict, Tuple

import pytest

import amqplib.client_0_8 as amqp
from tests.octets import frame, octets

from .peer import Peer

FRAME_MAX = 4096
ROOM = FRAME_MAX - 8

#: (arguments, keywords) -> payload of the method frame
METHOD_ROWS: Dict[str, Tuple[Tuple[Any, ...], Dict[str, Any], str]] = {
    "defaults": ((), {}, "003C 0028 0000 00 00 00"),
    "positions": (("x", "a.b", True, True, 5), {}, "003C 0028 0005 01 'x' 03 'a.b' 03"),
    "names": (
        (),
        {"exchange": "amq.fanout", "routing_key": "ö", "mandatory": True, "immediate": False, "ticket": 1},
        "003C 0028 0001 0A 'amq.fanout' 02 C3 B6 01",
    ),
    "immediate": (("", "q"), {"immediate": 1}, "003C 0028 0000 00 01 'q' 02"),
    "no flags": (("", "q"), {"immediate": 0, "mandatory": None}, "003C 0028 0000 00 01 'q' 00"),
}

#: properties -> flags and values in the content header
PROPERTY_ROWS: Dict[str, Tuple[Dict[str, Any], str]] = {
    "none": ({}, "0000"),
    "content_type": ({"content_type": "text/plain"}, "8000 0A 'text/plain'"),
    "content_encoding": ({"content_encoding": "gzip"}, "4000 04 'gzip'"),
    "application_headers": (
        {"application_headers": {"foo": 7, "bar": "baz"}},
        "2000 0000 0015 03 'foo' 49 0000 0007 03 'bar' 53 0000 0003 'baz'",
    ),
    "application_headers, nested": (
        {
            "application_headers": {
                "t": {"d": Decimal("-1.5")},
                "w": datetime(2009, 2, 13, 23, 31, 30, tzinfo=timezone.utc),
            }
        },
        "2000 0000 001A 01 't' 46 0000 0008 01 'd' 44 01 FFFFFFF1 01 'w' 54 00000000 499602D2",
    ),
    "application_headers, empty": ({"application_headers": {}}, "2000 0000 0000"),
    "delivery_mode": ({"delivery_mode": 2}, "1000 02"),
    "priority": ({"priority": 9}, "0800 09"),
    "correlation_id": ({"correlation_id": "c"}, "0400 01 'c'"),
    "reply_to": ({"reply_to": "r"}, "0200 01 'r'"),
    "expiration": ({"expiration": "60000"}, "0100 05 '60000'"),
    "message_id": ({"message_id": "m"}, "0080 01 'm'"),
    "timestamp": ({"timestamp": datetime.fromtimestamp(1234567890)}, "0040 00000000 499602D2"),
    "type": ({"type": "t"}, "0020 01 't'"),
    "user_id": ({"user_id": "guest"}, "0010 05 'guest'"),
    "app_id": ({"app_id": "a"}, "0008 01 'a'"),
    "cluster_id": ({"cluster_id": ""}, "0004 00"),
    "all, in the wire's order": (
        {
            "cluster_id": "k",
            "app_id": "a",
            "user_id": "u",
            "type": "t",
            "timestamp": 1,
            "message_id": "m",
            "expiration": "1",
            "reply_to": "r",
            "correlation_id": "c",
            "priority": 0,
            "delivery_mode": 1,
            "application_headers": {},
            "content_encoding": "e",
            "content_type": "y",
        },
        "FFFC 01 'y' 01 'e' 00000000 01 00 01 'c' 01 'r' 01 '1' 01 'm' 0000000000000001 01 't' 01 'u' 01 'a' 01 'k'",
    ),
    "None is not sent": ({"content_type": None, "priority": 0, "application_headers": None}, "0800 00"),
    "unknown names are not sent": ({"colour": "red", "delivery_mode": 2, "delivery_tag": 1}, "1000 02"),
}


def header(size: int, properties: bytes) -> bytes:
    """A content header frame on channel 1: class 60, weight 0, size of the body, properties."""
    return frame(2, 1, b"\0\x3c\0\0" + size.to_bytes(8, "big") + properties)


def expect(peer: Peer, properties: str, *bodies: bytes) -> None:
    """A message, published to the default exchange with the key 'q'."""
    data = frame(1, 1, octets("003C 0028 0000 00 01 'q' 00"))
    data += header(sum(map(len, bodies)), octets(properties))
    peer.expect_bytes(data + b"".join(frame(3, 1, body) for body in bodies))


@pytest.mark.parametrize("name", METHOD_ROWS)
def test_method(peer: Peer, ch: amqp.Channel, name: str) -> None:
    args, keywords, payload = METHOD_ROWS[name]
    peer.expect_bytes(frame(1, 1, octets(payload)) + header(2, b"\0\0") + frame(3, 1, b"hi"))
    ch.basic_publish(amqp.Message(b"hi"), *args, **keywords)


def test_the_message_by_name_and_the_default_ticket(peer: Peer, ch: amqp.Channel) -> None:
    peer.answer("access.request", "access.request_ok", 258)
    ch.access_request("/data")
    peer.expect_bytes(frame(1, 1, octets("003C 0028 0102 00 00 00")) + header(1, b"\0\0") + frame(3, 1, b"x"))
    ch.basic_publish(msg=amqp.Message(b"x"))


@pytest.mark.parametrize("name", PROPERTY_ROWS)
def test_properties(peer: Peer, ch: amqp.Channel, name: str) -> None:
    properties, expected = PROPERTY_ROWS[name]
    expect(peer, expected, b"body")
    ch.basic_publish(amqp.Message(b"body", **properties), routing_key="q")


@pytest.mark.parametrize("name", PROPERTY_ROWS)
def test_properties_put_in_the_dict(peer: Peer, ch: amqp.Channel, name: str) -> None:
    properties, expected = PROPERTY_ROWS[name]
    msg = amqp.Message(b"body")
    msg.properties.update(properties)
    expect(peer, expected, b"body")
    ch.basic_publish(msg, routing_key="q")


@pytest.mark.parametrize(
    ("body", "properties", "sent", "expected"),
    [
        ("Grüße", {}, "Grüße".encode(), "4000 05 'UTF-8'"),
        ("Grüße", {"content_encoding": "latin-1"}, b"Gr\xfc\xdfe", "4000 07 'latin-1'"),
        ("Grüße", {"content_encoding": "utf-16-be"}, "Grüße".encode("utf-16-be"), "4000 09 'utf-16-be'"),
        (b"Gr\xfc\xdfe", {}, b"Gr\xfc\xdfe", "0000"),
        (b"\0\xce", {"content_encoding": "deflate"}, b"\0\xce", "4000 07 'deflate'"),
        (bytearray(b"abc"), {}, b"abc", "0000"),
        (memoryview(b"abc"), {}, b"abc", "0000"),
    ],
)
def test_bodies(
    peer: Peer, ch: amqp.Channel, body: Any, properties: Dict[str, Any], sent: bytes, expected: str
) -> None:
    msg = amqp.Message(body, **properties)
    for _ in range(2):  # the same message may be published many times
        expect(peer, expected, sent)
        ch.basic_publish(msg, routing_key="q")
    assert msg.body is body
    if isinstance(body, str) and not properties:
        assert msg.properties == {"content_encoding": "UTF-8"}
        assert msg.content_encoding == "UTF-8"


@pytest.mark.parametrize("body", [b"", "", bytearray()])
def test_an_empty_body_has_no_frame(peer: Peer, ch: amqp.Channel, body: Any) -> None:
    expect(peer, "4000 05 'UTF-8'" if body == "" else "0000")
    ch.basic_publish(amqp.Message(body), routing_key="q")
    peer.expect_bytes(frame(1, 1, octets("005A 000A")))
    peer.send("tx.select_ok")
    ch.tx_select()


@pytest.mark.parametrize("size", [1, ROOM - 1, ROOM, ROOM + 1, 2 * ROOM, 2 * ROOM + 1, 3 * ROOM - 1])
def test_a_body_is_split_to_fit_frame_max(peer: Peer, size: int) -> None:
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    peer.welcome(frame_max=FRAME_MAX)
    with amqp.Connection(peer.address) as conn:
        peer.open_channel()
        ch = conn.channel()
        expect(peer, "0000", *(body[start : start + ROOM] for start in range(0, size, ROOM)))
        ch.basic_publish(amqp.Message(body), routing_key="q")
        peer.part()


def test_a_body_of_many_megabytes(peer: Peer, ch: amqp.Channel) -> None:
    """More than the system takes at a time: what is left over has to follow in order."""
    body = bytes(range(256)) * (12 << 12)
    peer.expect_content("basic.publish", 0, "", "q", False, False, message=({}, body))
    ch.basic_publish(amqp.Message(body), routing_key="q")
