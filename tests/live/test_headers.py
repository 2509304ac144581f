"""application_headers and arguments: every type of field, and what RabbitMQ makes of each.

RabbitMQ passes the headers of a message on as they came. A dead-letter exchange makes it read them, add x-death and
write all of them anew: so these tests see its own reading and its own bytes.
"""

from __future__ import annotations

import struct
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Dict

import pytest

from amqplib.client.channel import Channel
from amqplib.client.connection import Connection
from amqplib.client.exceptions import AMQPConnectionException
from amqplib.client.message import Message
from amqplib.wire.tables import RawTimestamp, UndecodedField
from tests.live.conftest import Names
from tests.live.helpers import bodies, get, over, publish

DEEP: Dict[str, Any] = {"bottom": True}
for level in range(60):
    DEEP = {"level": level, "below": DEEP}

VALUES: Dict[str, Any] = {
    "string": "baz",
    "empty string": "",
    "other letters": "Grüße, 日本, 🐇",
    "long string": "x" * 70_000,
    "zero": 0,
    "int": 7,
    "negative": -7,
    "32 bits": 2**31 - 1,
    "negative 32 bits": -(2**31),
    "33 bits": 2**31,
    "negative 33 bits": -(2**31) - 1,
    "64 bits": 2**63 - 1,
    "negative 64 bits": -(2**63),
    "true": True,
    "false": False,
    "float": 1.5,
    "small": 5e-324,
    "third": 1 / 3,
    "decimal": Decimal("3.14"),
    "negative decimal": Decimal("-0.00001"),
    "whole decimal": Decimal(42),
    "large decimal": Decimal("21474836.47"),
    "datetime": datetime(2026, 11, 23, 12, 30, 15),
    "epoch": datetime(1970, 1, 3),
    "none": None,
    "bytes": bytes(range(256)),
    "no bytes": b"",
    "table": {"foo": 7, "bar": {"baz": "deeper", "when": datetime(2001, 2, 3, 4, 5, 6)}},
    "empty table": {},
    "deep table": DEEP,
    "list": [1, "two", 3.0, None, True, {"four": [5]}, []],
    "empty list": [],
    "list of tables": [{"n": n} for n in range(20)],
}


def there_and_back(ch: Channel, queue: str, headers: Dict[str, Any]) -> Any:
    """The headers as they come back."""
    ch.basic_publish(Message(b"", application_headers=headers), routing_key=queue)
    return get(ch, queue).application_headers


@pytest.fixture
def dead_letters(ch: Channel, queue: str, names: Names) -> str:
    """A queue, of which everything goes to `queue` by way of a dead-letter exchange, at once."""
    name = names.queue()
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue, "x-message-ttl": 0}
    ch.queue_declare(name, auto_delete=False, arguments=arguments)
    return name


def read_by_rabbitmq(ch: Channel, queue: str, dead_letters: str, headers: Dict[str, Any]) -> Any:
    """The headers as RabbitMQ writes them after it has read them."""
    ch.basic_publish(Message(b"", application_headers=headers), routing_key=dead_letters)
    back = dict(get(ch, queue).application_headers)
    for name in [name for name in back if name.startswith("x-")]:
        del back[name]
    return back


def same(headers: Dict[str, Any], others: Dict[str, Any]) -> bool:
    """Equal, and of equal types throughout; RabbitMQ sorts headers that it has read."""
    return repr(sorted(headers.items())) == repr(sorted(others.items()))


@pytest.mark.only(client="client_0_8", reason="naive local time; see test_times for client_0_9_1")
@pytest.mark.parametrize("name", sorted(VALUES))
def test_each_type(ch: Channel, queue: str, name: str) -> None:
    back = there_and_back(ch, queue, {"field": VALUES[name]})
    assert same(back, {"field": VALUES[name]})


@pytest.mark.only(client="client_0_8", reason="naive local time; see test_times for client_0_9_1")
@pytest.mark.parametrize("name", sorted(VALUES))
def test_each_type_read_by_rabbitmq(ch: Channel, queue: str, dead_letters: str, name: str) -> None:
    back = read_by_rabbitmq(ch, queue, dead_letters, {"field": VALUES[name]})
    assert same(back, {"field": VALUES[name]})


@pytest.mark.only(client="client_0_8", reason="naive local time; see test_times for client_0_9_1")
def test_all_of_them(ch: Channel, queue: str, dead_letters: str) -> None:
    assert same(there_and_back(ch, queue, VALUES), VALUES)
    assert same(read_by_rabbitmq(ch, queue, dead_letters, VALUES), VALUES)


def test_as_in_the_notes(ch: Channel, queue: str) -> None:
    ch.basic_publish(Message("fancy", application_headers={"foo": 7, "bar": "baz"}), routing_key=queue)
    msg = get(ch, queue)
    assert msg.body == "fancy"
    assert msg.application_headers == {"foo": 7, "bar": "baz"}


def test_tuples_come_back_as_lists(ch: Channel, queue: str) -> None:
    assert there_and_back(ch, queue, {"t": (1, (2, 3), "x")}) == {"t": [1, [2, 3], "x"]}


@pytest.mark.only(client="client_0_8", reason="naive local time; see test_times for client_0_9_1")
def test_aware_datetimes(ch: Channel, queue: str) -> None:
    """The same moment, in local time; without microseconds."""
    moment = datetime(2026, 11, 23, 12, 30, 15, 999_999, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    expected = moment.astimezone().replace(tzinfo=None, microsecond=0)
    assert there_and_back(ch, queue, {"t": moment}) == {"t": expected}


def test_timestamps_beyond_the_calendar(ch: Channel, queue: str, dead_letters: str) -> None:
    headers = {"t": RawTimestamp(2**63)}
    for back in (there_and_back(ch, queue, headers), read_by_rabbitmq(ch, queue, dead_letters, headers)):
        assert back == headers
        assert type(back["t"]) is RawTimestamp


def test_keys(ch: Channel, queue: str, dead_letters: str) -> None:
    headers = {"": "empty", "k" * 255: "long", "ü" * 127: "letters", "with space\n": "odd", "x": "y"}
    assert there_and_back(ch, queue, headers) == headers
    assert read_by_rabbitmq(ch, queue, dead_letters, headers) == headers


@pytest.mark.only(before=(4, 0), reason="RabbitMQ 4 sorts headers by their names")
def test_order_is_kept(ch: Channel, queue: str) -> None:
    headers = {str(n): n for n in range(200, 0, -1)}
    assert list(there_and_back(ch, queue, headers)) == list(headers)


#: Fields as other clients write them, and what they mean to RabbitMQ: type octet and value.
FOREIGN = [
    (b"b\x80", -128),
    (b"b\x7f", 127),
    (b"B\xff", 255),
    (b"s\xff\xfe", -2),
    (b"u\xff\xfe", 65534),
    (b"I\xff\xff\xff\xfe", -2),
    (b"i\xff\xff\xff\xfe", 2**32 - 2),
    (b"l" + b"\xff" * 7 + b"\xfe", -2),
    (b"L" + b"\xff" * 7 + b"\xfe", -2),
    (b"f" + struct.pack(">f", -1.5), -1.5),
    (b"d" + struct.pack(">d", 1 / 3), 1 / 3),
    (b"D\x02\x00\x00\x01\x3a", Decimal("3.14")),
    (b"D\x02\xff\xff\xfe\xc6", Decimal("-3.14")),
    (b"S\x00\x00\x00\x02\xc3\xbc", "ü"),
    (b"S\x00\x00\x00\x02\xff\x00", b"\xff\x00"),
    (b"x\x00\x00\x00\x02\xff\x00", b"\xff\x00"),
    (b"t\x01", True),
    (b"t\x00", False),
    (b"V", None),
    (b"T\x00\x00\x00\x00\x00\x02\xa3\x00", datetime.fromtimestamp(0x2A300)),
    (b"A\x00\x00\x00\x05b\x01B\x02V", [1, 2, None]),
    (b"F\x00\x00\x00\x05\x01as\x00\x07", {"a": 7}),
]


@pytest.mark.only(client="client_0_8", reason="naive local time; see test_times for client_0_9_1")
@pytest.mark.parametrize(("raw", "value"), FOREIGN, ids=[str(raw)[2:3] + str(n) for n, (raw, _) in enumerate(FOREIGN)])
def test_fields_of_other_clients(ch: Channel, queue: str, dead_letters: str, raw: bytes, value: Any) -> None:
    headers = {"before": 1, "field": UndecodedField(raw)}
    assert same(there_and_back(ch, queue, headers), {"before": 1, "field": value})
    assert same(read_by_rabbitmq(ch, queue, dead_letters, headers), {"before": 1, "field": value})


@pytest.mark.parametrize(
    "value",
    [UndecodedField(raw) for raw in (b"?\x01\x02", b"Z", b"S\x00\x00\x00\x09short", b"A\x00\x00\x00\x02I\x00")]
    + [UndecodedField(b"d" + struct.pack(">d", float(number))) for number in ("inf", "-inf", "nan")],
    ids=repr,
)
def test_what_rabbitmq_cannot_read(conn: Connection, queue: str, value: Any) -> None:
    """RabbitMQ ends the connection over it, and says no more than that: Erlang has no such floats."""
    ch = conn.channel()
    ch.basic_publish(Message("x", application_headers={"field": value}), routing_key=queue)
    with pytest.raises(AMQPConnectionException, match="INTERNAL_ERROR") as caught:
        ch.queue_declare(queue, passive=True)
    assert caught.value.amqp_reply_code == 541
    assert over(conn)
    assert over(ch)


@pytest.mark.only(before=(4, 0), reason="RabbitMQ 4 counts deaths differently; see test_times")
@pytest.mark.only(client="client_0_8", reason="naive local time; see test_times for client_0_9_1")
def test_death(ch: Channel, queue: str, dead_letters: str) -> None:
    """x-death is an array of tables."""
    before = datetime.now().replace(microsecond=0) - timedelta(seconds=1)
    ch.basic_publish(Message("dead", application_headers={"foo": 7}), routing_key=dead_letters)
    msg = get(ch, queue)
    assert msg.body == "dead"
    assert msg.application_headers["foo"] == 7
    (death,) = msg.application_headers["x-death"]
    assert death["reason"] == "expired"
    assert death["queue"] == dead_letters
    assert death["exchange"] == ""
    assert death["routing-keys"] == [dead_letters]
    assert death["count"] == 1
    assert before <= death["time"] <= datetime.now()

    ch.basic_publish(msg, routing_key=dead_letters)
    (death,) = get(ch, queue).application_headers["x-death"]
    assert death["count"] == 2


def test_headers_exchange(ch: Channel, queue: str, names: Names) -> None:
    """RabbitMQ compares headers with the arguments of a binding."""
    exchange = names.exchange()
    ch.exchange_declare(exchange, "headers", auto_delete=False)
    ch.queue_bind(queue, exchange, arguments={"x-match": "all", "n": 7, "s": "text", "t": True, "big": 2**40})
    match = {"n": 7, "s": "text", "t": True, "big": 2**40}
    for body, headers in (("yes", match), ("no", {**match, "n": 8}), ("yes", {**match, "more": 1}), ("no", {})):
        ch.basic_publish(Message(body, application_headers=headers), exchange)
    assert bodies(ch, queue) == ["yes", "yes"]


@pytest.mark.parametrize(
    "wrong",
    [
        object(),
        2**63,
        -(2**63) - 1,
        Decimal("1e10"),
        Decimal("nan"),
        float("nan"),
        float("-inf"),
        {1: "key"},
        {"k" * 256: 1},
        "\ud800",
        {1, 2},
        1j,
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: {"in": [value]}], ids=["bare", "nested"])
def test_what_cannot_be_sent(ch: Channel, queue: str, wrong: Any, wrap: Any) -> None:
    with pytest.raises(ValueError, match="the field"):
        ch.basic_publish(Message("x" * 300_000, application_headers={"the field": wrap(wrong)}), routing_key=queue)
    publish(ch, queue, "next")
    assert bodies(ch, queue) == ["next"]


def test_tables_inside_themselves(ch: Channel, queue: str) -> None:
    headers: Dict[str, Any] = {}
    headers["again"] = headers
    with pytest.raises(ValueError, match="deep"):
        ch.basic_publish(Message("x", application_headers=headers), routing_key=queue)
    publish(ch, queue, "next")
    assert bodies(ch, queue) == ["next"]


def test_server_properties_are_a_table(ch: Channel) -> None:
    assert ch.connection
    capabilities = ch.connection.server_properties["capabilities"]
    assert all(isinstance(value, bool) for value in capabilities.values())
