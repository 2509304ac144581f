"""Proves that the tests' own codec says what the protocol has: it is the measure of the library's, so nothing of the
library's is used here."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, Dict, Tuple

import pytest

from tests.octets import frame, octets

from .frozen import AMQP_0_8, AMQP_0_9_1, Frozen, read_properties, write_properties

METHODS: Dict[str, Tuple[Frozen, str, Tuple[Any, ...], str]] = {
    "no fields": (AMQP_0_8, "connection.close_ok", (), "000A 003D"),
    "no fields, 0-9-1": (AMQP_0_9_1, "connection.close_ok", (), "000A 0033"),
    "short strings": (AMQP_0_8, "basic.publish", (1, "x", "key", True, False), "003C 0028 0001 01'x' 03'key' 01"),
    "the second bit": (AMQP_0_8, "basic.publish", (1, "x", "", False, True), "003C 0028 0001 01'x' 00 02"),
    "five bits": (
        AMQP_0_8,
        "queue.declare",
        (0, "q", True, False, True, False, True, {}),
        "0032 000A 0000 01'q' 15 00000000",
    ),
    "a bit between others": (
        AMQP_0_9_1,
        "basic.deliver",
        ("t", 258, True, "e", "k"),
        "003C 003C 01't' 0000000000000102 01 01'e' 01'k'",
    ),
    "numbers": (AMQP_0_8, "connection.tune", (1, 65536, 60), "000A 001E 0001 00010000 003C"),
    "a long string": (AMQP_0_8, "connection.secure", ("ab",), "000A 0014 00000002 'ab'"),
    "ids that differ": (AMQP_0_9_1, "connection.blocked", ("low",), "000A 003C 03'low'"),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods(name: str) -> None:
    dialect, method, args, payload = METHODS[name]
    assert dialect.method(5, method, args) == frame(1, 5, octets(payload))
    assert dialect.read_method(octets(payload)) == (method, args)


VALUES = {
    "74 01": True,
    "49 FFFFFFFF": -1,
    "6C 0000000100000000": 1 << 32,
    "64 3FF8000000000000": 1.5,
    "44 02 0000007B": Decimal("1.23"),
    "53 00000002 'ab'": "ab",
    "78 00000002 FFFE": b"\xff\xfe",
    "54 00000000653DA788": datetime(2023, 10, 29, 0, 30, tzinfo=timezone.utc),
    "46 00000007 01'a' 49 00000007": {"a": 7},
    "41 00000003 56 74 00": [None, False],
}


@pytest.mark.parametrize("wire", VALUES)
def test_values_of_tables(wire: str) -> None:
    field = octets("03'key'" + wire)
    properties = {"application_headers": {"key": VALUES[wire]}}
    data = octets("2000") + len(field).to_bytes(4, "big") + field
    assert write_properties(properties) == data
    assert read_properties(data, 0) == properties


def test_contents() -> None:
    wire = AMQP_0_8.content(3, "basic.return", (312, "no", "", "k"), {"message_id": "7", "delivery_mode": 2}, b"body")
    assert wire == octets(
        "01 0003 0000000C 003C 0032 0138 02'no' 00 01'k' CE"
        + "02 0003 00000011 003C 0000 0000000000000004 1080 02 01'7' CE"
        + "03 0003 00000004 'body' CE"
    )
    assert read_properties(octets("003C 0000 0000000000000004 1080 02 01'7'")) == {
        "message_id": "7",
        "delivery_mode": 2,
    }
    long = AMQP_0_8.content(1, "basic.return", (312, "no", "", "k"), {}, b"x" * 131065)
    assert long.endswith(frame(3, 1, b"x" * 131064) + frame(3, 1, b"x"))


@pytest.mark.parametrize("payload", ["003C 0050 0000000000000001 00 00", "003C 0050 00000001", "003C 0999", "00"])
def test_what_is_no_method(payload: str) -> None:
    """Too long, too short, unknown."""
    with pytest.raises(AssertionError):
        AMQP_0_8.read_method(octets(payload))
