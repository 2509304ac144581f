"""Messages as lines of JSON: what is written can be read, and is the same message."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, Dict

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import amqplib.client_0_9_1 as amqp
from amqplib.tool.records import made, read, written
from amqplib.wire.tables import RawTimestamp, UndecodedField

TIMES = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.just(timezone.utc))
#: Names that look as if no header's name stood there.
MARKS = ["$bytes", "$decimal", "$timestamp", "$float", "$undecoded", "$table"]
NAMES = st.text(min_size=2, max_size=20) | st.sampled_from(MARKS)
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        st.text(),
        st.binary(),
        st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=0, max_value=1000),
        TIMES.map(lambda time: time.replace(microsecond=0)),
        st.integers(2**60, 2**63).map(RawTimestamp),
        st.binary(min_size=1).map(UndecodedField),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(st.binary(), st.dictionaries(st.text(max_size=1) | NAMES, VALUES, max_size=4), st.text(max_size=20))
@example(b"", {"$timestamp": False}, "")
@example(b"", {"outer": {"$decimal": "1.50"}}, "")
@example(b"", {"$table": {"$table": {"$table": {}}}}, "")
def test_there_and_back(body: bytes, headers: Dict[str, Any], key: str) -> None:
    msg: Any = amqp.Message(body, content_type="text/plain", timestamp=datetime(2026, 1, 2, tzinfo=timezone.utc))
    if headers:
        msg.properties["application_headers"] = headers
    msg.delivery_info = {"exchange": "", "routing_key": key, "redelivered": True, "consumer_tag": "x"}
    line = written(msg)
    assert b"\n" not in line
    again, exchange, routing_key = read(line)
    assert (exchange, routing_key) == ("", key)
    assert again.body == body
    assert again.properties == msg.properties
    assert (
        written(again) == json.dumps({name: value for name, value in json.loads(line).items() if name in KEPT}).encode()
    )


#: What is of the message, and not of its delivery.
KEPT = ("body", "body_base64", "properties", "headers")


def test_how_it_looks() -> None:
    msg = amqp.Message(b"hi", priority=5, application_headers={"price": Decimal("1.50"), "raw": b"\0"})
    msg.delivery_info = {"exchange": "shop", "routing_key": "sold", "redelivered": False, "delivery_tag": 7}
    assert json.loads(written(msg)) == {
        "body": "hi",
        "properties": {"priority": 5},
        "headers": {"price": {"$decimal": "1.50"}, "raw": {"$bytes": "AA=="}},
        "exchange": "shop",
        "routing_key": "sold",
        "redelivered": False,
    }


def test_bodies_are_bytes_whatever_their_encoding_says() -> None:
    msg, _, _ = read('{"body": "é", "properties": {"content_encoding": "latin-1"}}'.encode())
    assert msg.body == "é".encode()


def test_a_body_that_is_no_text() -> None:
    assert json.loads(written(amqp.Message(b"\xff"))) == {"body_base64": "/w=="}
    assert read(b'{"body_base64": "/w=="}')[0].body == b"\xff"


def test_names_that_are_no_utf_8() -> None:
    msg: Any = amqp.Message(b"")
    msg.delivery_info = {"routing_key": "\udcff"}
    assert read(written(msg))[2] == "\udcff"


def test_times_may_be_numbers() -> None:
    assert made(b"", {"timestamp": 0}, {}).timestamp == datetime(1970, 1, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "no JSON: "),
        (b"\xff", "no JSON: "),
        (b"[]", "no JSON object"),
        (b'{"payload": ""}', "'payload': there are body, "),
        (b'{"body": "", "body_base64": ""}', "give one of them"),
        (b'{"body": {}}', "body: a string"),
        (b'{"body_base64": "?"}', r"\$bytes: '\?' is none"),
        (b'{"body_base64": 7}', r"\$bytes: 7 is none"),
        (b'{"headers": []}', "headers: an object"),
        (b'{"headers": {"a": {"$decimal": "x"}}}', r"\$decimal: 'x' is none"),
        (b'{"headers": {"a": {"$table": 5}}}', r"\$table: 5 is none"),
        (b'{"headers": {"a": {"$table": {"$float": {"$float": "x"}}}}}', r"\$float: 'x' is none"),
        (b'{"headers": {"a": [{"$timestamp": "x"}]}}', r"\$timestamp: 'x' is none"),
        (b'{"properties": {"colour": 1}}', "Message has no property 'colour'"),
        (b'{"routing_key": 7}', "routing_key: a string"),
    ],
)
def test_lines_that_are_none(line: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read(line)
