"""Proves what arguments of methods are refused that RabbitMQ would end the connection over."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest

from amqplib.wire.content import BASIC
from amqplib.wire.errors import LocalError
from amqplib.wire.protocol import Sender
from amqplib.wire.spec import AMQP_0_9_1
from amqplib.wire.tables import RawTimestamp, UndecodedField

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def consume(offset: Any) -> bytes:
    arguments = {"x-priority": 5, "x-stream-offset": offset}
    consume = AMQP_0_9_1["basic.consume"]
    return Sender(AMQP_0_9_1).method(1, consume, (0, "q", "", False, False, False, False, arguments))


@pytest.mark.parametrize(
    "offset",
    [
        *("first", "last", "next", b"first", bytearray(b"next"), "7D", "1h", "30s", "2Y", "5m", "6M", "0s"),
        *(0, 5, -1, 2**63 - 1, NOW, RawTimestamp(2**40), UndecodedField(b"T" + bytes(8))),
    ],
)
def test_offsets_in_a_stream(offset: Any) -> None:
    assert b"\x0fx-stream-offset" in consume(offset)


@pytest.mark.parametrize(
    "offset",
    [
        *(None, True, False, 1.0, float("nan"), Decimal(5), {}, {"a": 1}, [], ["first"], ("first",)),
        *(
            "",
            "First",
            "junk",
            "-1",
            "1 h",
            " 1h",
            "h",
            "5",
            "1d",
            "1.5h",
            "\u0661h",
            "1h\0",
            b"",
            b"\xff",
            b"9h",
            "first ",
        ),
    ],
)
def test_what_is_no_offset(offset: Any) -> None:
    with pytest.raises(LocalError, match=r"^basic\.consume: arguments: \['x-stream-offset'\]: "):
        consume(offset)


def test_a_header_of_that_name_is_the_programs() -> None:
    """RabbitMQ puts it on messages out of streams, and passes on whatever others put there."""
    assert BASIC.encode({"application_headers": {"x-stream-offset": None}})
