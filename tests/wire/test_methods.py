"""Proves that every method is written and read as the specification has it.

Each method is a row of literal bytes, derived by hand: class and method ids, then the arguments, bits packed
from the lowest up. Generated arguments prove the rest: what is written is read back, what is cut short is the
peer's fault, and what does not fit is the caller's.
"""

from __future__ import annotations

from typing import Any, Iterator, List, NamedTuple, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqplib.wire.errors import LocalError, PeerError
from amqplib.wire.spec import Method

from .helpers import DIALECTS, FITS, METHOD_IDS, METHODS, MISFITS, arguments, examples, octets, utc_reading

BOTH, V0_8, V0_9_1 = ("0-8", "0-9-1"), ("0-8",), ("0-9-1",)


class Row(NamedTuple):
    dialects: Tuple[str, ...]
    name: str
    args: Tuple[Any, ...]
    payload: str


ROWS = [
    Row(
        BOTH,
        "connection.start",
        (8, 9, {"product": "RabbitMQ"}, "PLAIN AMQPLAIN", "en_US"),
        "000A 000A 08 09 00000015 07 'product' 53 00000008 'RabbitMQ' 0000000E 'PLAIN AMQPLAIN' 00000005 'en_US'",
    ),
    Row(
        BOTH,
        "connection.start_ok",
        ({}, "AMQPLAIN", "\x05LOGIN", "en_US"),
        "000A 000B 00000000 08 'AMQPLAIN' 00000006 05 'LOGIN' 05 'en_US'",
    ),
    Row(BOTH, "connection.secure", ("who?",), "000A 0014 00000004 'who?'"),
    Row(BOTH, "connection.secure_ok", ("",), "000A 0015 00000000"),
    Row(BOTH, "connection.tune", (2047, 131072, 60), "000A 001E 07FF 00020000 003C"),
    Row(BOTH, "connection.tune_ok", (65535, 4294967295, 0), "000A 001F FFFF FFFFFFFF 0000"),
    Row(BOTH, "connection.open", ("/", "cap", True), "000A 0028 01 '/' 03 'cap' 01"),
    Row(BOTH, "connection.open_ok", ("h",), "000A 0029 01 'h'"),
    Row(V0_8, "connection.redirect", ("there:5672", "here"), "000A 0032 0A 'there:5672' 04 'here'"),
    Row(
        V0_8,
        "connection.close",
        (320, "CONNECTION_FORCED", 10, 40),
        "000A 003C 0140 11 'CONNECTION_FORCED' 000A 0028",
    ),
    Row(V0_8, "connection.close_ok", (), "000A 003D"),
    Row(V0_9_1, "connection.close", (200, "bye", 0, 0), "000A 0032 00C8 03 'bye' 0000 0000"),
    Row(V0_9_1, "connection.close_ok", (), "000A 0033"),
    Row(V0_9_1, "connection.blocked", ("low on memory",), "000A 003C 0D 'low on memory'"),
    Row(V0_9_1, "connection.unblocked", (), "000A 003D"),
    Row(V0_9_1, "connection.update_secret", ("token", "expiry"), "000A 0046 00000005 'token' 06 'expiry'"),
    Row(V0_9_1, "connection.update_secret_ok", (), "000A 0047"),
    Row(BOTH, "channel.open", ("",), "0014 000A 00"),
    Row(V0_8, "channel.open_ok", (), "0014 000B"),
    Row(V0_9_1, "channel.open_ok", ("id",), "0014 000B 00000002 'id'"),
    Row(BOTH, "channel.flow", (True,), "0014 0014 01"),
    Row(BOTH, "channel.flow_ok", (False,), "0014 0015 00"),
    Row(
        V0_8,
        "channel.alert",
        (311, "too large", {"n": True}),
        "0014 001E 0137 09 'too large' 00000004 01 'n' 74 01",
    ),
    Row(BOTH, "channel.close", (404, "no queue", 50, 20), "0014 0028 0194 08 'no queue' 0032 0014"),
    Row(BOTH, "channel.close_ok", (), "0014 0029"),
    # bits: exclusive 1, passive 2, active 4, write 8, read 16
    Row(BOTH, "access.request", ("/data", False, True, True, False, True), "001E 000A 05 '/data' 16"),
    Row(BOTH, "access.request_ok", (101,), "001E 000B 0065"),
    # bits: passive 1, durable 2, auto_delete 4, internal 8, nowait 16
    Row(
        BOTH,
        "exchange.declare",
        (1, "logs", "topic", False, True, False, True, True, {"a": None}),
        "0028 000A 0001 04 'logs' 05 'topic' 1A 00000003 01 'a' 56",
    ),
    Row(BOTH, "exchange.declare_ok", (), "0028 000B"),
    # bits: if_unused 1, nowait 2
    Row(BOTH, "exchange.delete", (0, "logs", True, False), "0028 0014 0000 04 'logs' 01"),
    Row(BOTH, "exchange.delete_ok", (), "0028 0015"),
    Row(
        V0_9_1,
        "exchange.bind",
        (0, "to", "from", "a.#", True, {"x": 1}),
        "0028 001E 0000 02 'to' 04 'from' 03 'a.#' 01 00000007 01 'x' 49 00000001",
    ),
    Row(V0_9_1, "exchange.bind_ok", (), "0028 001F"),
    Row(
        V0_9_1,
        "exchange.unbind",
        (0, "to", "from", "a.#", False, {}),
        "0028 0028 0000 02 'to' 04 'from' 03 'a.#' 00 00000000",
    ),
    Row(V0_9_1, "exchange.unbind_ok", (), "0028 0033"),
    # bits: passive 1, durable 2, exclusive 4, auto_delete 8, nowait 16
    Row(
        BOTH,
        "queue.declare",
        (1, "q", True, False, False, True, False, {}),
        "0032 000A 0001 01 'q' 09 00000000",
    ),
    Row(BOTH, "queue.declare_ok", ("amq.gen-1", 7, 256), "0032 000B 09 'amq.gen-1' 00000007 00000100"),
    Row(
        BOTH,
        "queue.bind",
        (1, "q", "x", "key", True, {}),
        "0032 0014 0001 01 'q' 01 'x' 03 'key' 01 00000000",
    ),
    Row(BOTH, "queue.bind_ok", (), "0032 0015"),
    Row(BOTH, "queue.purge", (1, "q", True), "0032 001E 0001 01 'q' 01"),
    Row(BOTH, "queue.purge_ok", (65536,), "0032 001F 00010000"),
    # bits: if_unused 1, if_empty 2, nowait 4
    Row(BOTH, "queue.delete", (1, "q", False, True, True), "0032 0028 0001 01 'q' 06"),
    Row(BOTH, "queue.delete_ok", (3,), "0032 0029 00000003"),
    Row(BOTH, "queue.unbind", (1, "q", "x", "", {}), "0032 0032 0001 01 'q' 01 'x' 00 00000000"),
    Row(BOTH, "queue.unbind_ok", (), "0032 0033"),
    Row(BOTH, "basic.qos", (0, 100, True), "003C 000A 00000000 0064 01"),
    Row(BOTH, "basic.qos_ok", (), "003C 000B"),
    # bits: no_local 1, no_ack 2, exclusive 4, nowait 8
    Row(
        V0_8,
        "basic.consume",
        (1, "q", "tag", False, True, False, True),
        "003C 0014 0001 01 'q' 03 'tag' 0A",
    ),
    Row(
        V0_9_1,
        "basic.consume",
        (0, "q", "", True, False, True, False, {"x-priority": 10}),
        "003C 0014 0000 01 'q' 00 05 00000010 0A 'x-priority' 49 0000000A",
    ),
    Row(BOTH, "basic.consume_ok", ("amq.ctag-1",), "003C 0015 0A 'amq.ctag-1'"),
    Row(BOTH, "basic.cancel", ("tag", True), "003C 001E 03 'tag' 01"),
    Row(BOTH, "basic.cancel_ok", ("tag",), "003C 001F 03 'tag'"),
    # bits: mandatory 1, immediate 2
    Row(BOTH, "basic.publish", (1, "x", "key", False, True), "003C 0028 0001 01 'x' 03 'key' 02"),
    Row(
        BOTH,
        "basic.return",
        (312, "NO_ROUTE", "x", "key"),
        "003C 0032 0138 08 'NO_ROUTE' 01 'x' 03 'key'",
    ),
    Row(
        BOTH,
        "basic.deliver",
        ("tag", 0x0102030405060708, True, "", "q"),
        "003C 003C 03 'tag' 0102030405060708 01 00 01 'q'",
    ),
    Row(BOTH, "basic.get", (1, "q", True), "003C 0046 0001 01 'q' 01"),
    Row(BOTH, "basic.get_ok", (1, False, "x", "key", 9), "003C 0047 0000000000000001 00 01 'x' 03 'key' 00000009"),
    Row(BOTH, "basic.get_empty", ("",), "003C 0048 00"),
    Row(BOTH, "basic.ack", (18446744073709551615, True), "003C 0050 FFFFFFFFFFFFFFFF 01"),
    Row(BOTH, "basic.reject", (5, True), "003C 005A 0000000000000005 01"),
    Row(BOTH, "basic.recover_async", (False,), "003C 0064 00"),
    Row(BOTH, "basic.recover", (True,), "003C 006E 01"),
    Row(BOTH, "basic.recover_ok", (), "003C 006F"),
    # bits: multiple 1, requeue 2
    Row(V0_9_1, "basic.nack", (6, False, True), "003C 0078 0000000000000006 02"),
    Row(V0_9_1, "confirm.select", (True,), "0055 000A 01"),
    Row(V0_9_1, "confirm.select_ok", (), "0055 000B"),
    Row(BOTH, "tx.select", (), "005A 000A"),
    Row(BOTH, "tx.select_ok", (), "005A 000B"),
    Row(BOTH, "tx.commit", (), "005A 0014"),
    Row(BOTH, "tx.commit_ok", (), "005A 0015"),
    Row(BOTH, "tx.rollback", (), "005A 001E"),
    Row(BOTH, "tx.rollback_ok", (), "005A 001F"),
]

CASES = [
    pytest.param(DIALECTS[dialect][row.name], row.args, octets(row.payload), id="%s %s" % (dialect, row.name))
    for row in ROWS
    for dialect in row.dialects
]

each_row = pytest.mark.parametrize(("method", "args", "payload"), CASES)
each_method = pytest.mark.parametrize("method", [method for _, method in METHODS], ids=METHOD_IDS)


def decode(method: Method, payload: bytes) -> Tuple[Any, ...]:
    return method.decode(payload, 4, len(payload), utc_reading())


def test_every_method_has_a_row() -> None:
    rows = [(dialect, row.name) for row in ROWS for dialect in row.dialects]
    assert sorted(rows) == sorted((dialect, method.name) for dialect, method in METHODS)


@each_row
def test_written(method: Method, args: Tuple[Any, ...], payload: bytes) -> None:
    assert method.encode(*args) == payload


@each_row
def test_read(method: Method, args: Tuple[Any, ...], payload: bytes) -> None:
    values = decode(method, payload)
    assert values == args
    assert list(map(type, values)) == list(map(type, args))


@each_row
def test_more_fields_than_we_know_are_passed_over(method: Method, args: Tuple[Any, ...], payload: bytes) -> None:
    assert decode(method, payload + b"\x00later") == args


@each_row
@pytest.mark.parametrize("behind", [b"", b"\xce\x01\x00\x01" + bytes(64)], ids=["end", "more frames"])
def test_cut_short_anywhere(method: Method, args: Tuple[Any, ...], payload: bytes, behind: bytes) -> None:
    """Whatever the buffer holds behind the frame's payload, it is not read as part of it."""
    for end in range(4, len(payload)):
        buffer = payload + behind if behind else payload[:end]
        with pytest.raises(PeerError, match=r"^malformed arguments: ") as caught:
            method.decode(buffer, 4, end, utc_reading())
        assert caught.value.reply_code == 502


def test_an_error_shows_the_arguments() -> None:
    with pytest.raises(PeerError) as caught:
        decode(DIALECTS["0-8"]["basic.get"], octets("003C 0046 0001 05 'q'"))
    assert str(caught.value) == "malformed arguments: 00 01 05 71"
    with pytest.raises(PeerError) as caught:
        decode(DIALECTS["0-8"]["basic.ack"], octets("003C 0050"))
    assert str(caught.value) == "malformed arguments: none"


@each_method
@examples(20)
@given(data=st.data())
def test_what_is_written_is_read_back(method: Method, data: st.DataObject) -> None:
    args = data.draw(arguments(method))
    payload = method.encode(*args)
    assert int.from_bytes(payload[:4], "big") == method.key
    reading = utc_reading()
    behind = data.draw(st.binary(max_size=4))
    assert method.decode(payload + behind, 4, len(payload), reading) == args
    assert reading.undecoded == []
    if len(payload) > 4:
        end = data.draw(st.integers(4, len(payload) - 1))
        with pytest.raises(PeerError):
            method.decode(payload[:end], 4, end, reading)


@each_method
@examples(20)
@given(payload=st.binary(max_size=60))
def test_arbitrary_bytes_are_arguments_or_a_syntax_error(method: Method, payload: bytes) -> None:
    blame = 0
    try:
        assert len(method.decode(payload, 0, len(payload), utc_reading())) == len(method.fields)
    except PeerError as exc:
        blame = exc.reply_code
    assert blame in (0, 502)


@each_method
def test_each_bit_has_its_own_place(method: Method) -> None:
    """Neighbouring bits share an octet from its lowest bit up, so one bit set alone is a power of two."""
    bits = [index for index, (_, kind) in enumerate(method.fields) if kind == "bit"]
    none_set = [FITS[kind] for _, kind in method.fields]
    base = int.from_bytes(method.encode(*none_set), "big")
    changes: List[int] = []
    for index in bits:
        args = list(none_set)
        args[index] = True
        changes.append(int.from_bytes(method.encode(*args), "big") - base)
    assert changes == [changes[0] << place for place in range(len(bits))]


def test_any_true_value_sets_a_bit() -> None:
    method = DIALECTS["0-8"]["basic.cancel"]
    for value, octet in (("yes", 1), (2, 1), ([], 0), (None, 0), (0, 0)):
        assert method.encode("tag", value)[-1] == octet


# --- what does not fit ------------------------------------------------------------------------------------


def misfits(method: Method) -> Iterator[Tuple[str, List[Any]]]:
    """The name of an argument, and arguments of which that one does not fit."""
    fitting = [FITS[kind] for _, kind in method.fields]
    for index, (name, kind) in enumerate(method.fields):
        for misfit in MISFITS.get(kind, []):
            yield name, [*fitting[:index], misfit, *fitting[index + 1 :]]


@each_method
def test_a_misfit_is_named(method: Method) -> None:
    for name, args in misfits(method):
        with pytest.raises(LocalError) as caught:
            method.encode(*args)
        text = str(caught.value)
        assert text.startswith("%s: %s: " % (method.name, name))
        assert len(text) < 400


@each_method
@pytest.mark.parametrize("difference", [-1, 1])
def test_a_wrong_number_of_arguments(method: Method, difference: int) -> None:
    args = [FITS[kind] for _, kind in method.fields]
    given_args = args[:-1] if difference < 0 else [*args, 0]
    if len(given_args) == len(args):
        return
    with pytest.raises(LocalError) as caught:
        method.encode(*given_args)
    assert str(caught.value) == "%s takes %d arguments, %d given" % (method.name, len(args), len(given_args))


MESSAGES: List[Tuple[str, Tuple[Any, ...], str]] = [
    ("basic.get", (-1, "q", False), "basic.get: ticket: -1 is not a number from 0 to 65535"),
    ("basic.get", (1, None, False), "basic.get: queue: None is not a string"),
    ("basic.get", (1, "\ud800", False), r"basic.get: queue: '\ud800' cannot be encoded as UTF-8"),
    ("basic.get", (1, 300 * "q", False), "basic.get: queue: '%s... takes 300 bytes; at most 255 fit" % (56 * "q")),
    ("connection.secure", (7,), "connection.secure: challenge: 7 is not a string"),
    ("connection.secure", ("\udfff",), r"connection.secure: challenge: '\udfff' cannot be encoded as UTF-8"),
    ("connection.start_ok", ([], "", "", ""), "connection.start_ok: client_properties: [] is not a dict"),
    (
        "connection.start_ok",
        ({"a": {"b": [1, {2}]}}, "", "", ""),
        "connection.start_ok: client_properties: ['a']: ['b']: [1]: {2} cannot be put in a field table: it takes "
        "None, bool, int, float, str, bytes, Decimal, datetime, dict, list and tuple",
    ),
]


@pytest.mark.parametrize(("name", "args", "text"), MESSAGES)
def test_the_error_says_what_fits(name: str, args: Tuple[Any, ...], text: str) -> None:
    with pytest.raises(LocalError) as caught:
        DIALECTS["0-9-1"][name].encode(*args)
    assert str(caught.value) == text


def test_a_truth_value_that_fails() -> None:
    class Neither:
        def __bool__(self) -> bool:
            raise TypeError("neither true nor false")

    with pytest.raises(LocalError, match=r"^basic.get: neither true nor false$"):
        DIALECTS["0-8"]["basic.get"].encode(1, "q", Neither())
