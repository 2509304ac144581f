"""Proves how field tables are written and read: every type, its limits, and what happens to nonsense.

Rows of literal bytes say what a value looks like; properties say that nothing else can happen: values come back
equal, reading never fails, and a field that cannot be read is written back as it came.
"""

from __future__ import annotations

import contextlib
import decimal
import math
import pprint
import struct
import time
from collections import OrderedDict
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amqplib.wire.errors import LocalError
from amqplib.wire.tables import (
    MAX_DEPTH,
    RawTimestamp,
    TimeReader,
    UndecodedField,
    decode_table,
    encode_table,
    encode_timestamp,
    local_time,
    utc_time,
)

from .helpers import decode_leniently, examples, octets, seconds, tables, utc_reading, with_length

UTC = timezone.utc


def decode(data: bytes) -> Dict[str, Any]:
    """The table in `data`, which it must fill; every field must be readable."""
    table, undecoded = decode_leniently(data)
    assert undecoded == []
    return table


# --- one value of each type -------------------------------------------------------------------------------


class Row(NamedTuple):
    value: Any
    #: The type octet and the value.
    field: str


BOTH_WAYS = [
    Row(None, "56"),
    Row(True, "74 01"),
    Row(False, "74 00"),
    Row(0, "49 00000000"),
    Row(7, "49 00000007"),
    Row(-1, "49 FFFFFFFF"),
    Row(2147483647, "49 7FFFFFFF"),
    Row(-2147483648, "49 80000000"),
    Row(2147483648, "6C 0000000080000000"),
    Row(-2147483649, "6C FFFFFFFF7FFFFFFF"),
    Row(9223372036854775807, "6C 7FFFFFFFFFFFFFFF"),
    Row(-9223372036854775808, "6C 8000000000000000"),
    Row(1.5, "64 3FF8000000000000"),
    Row(-0.1, "64 BFB999999999999A"),
    Row(Decimal("0"), "44 00 00000000"),
    Row(Decimal("3.14"), "44 02 0000013A"),
    Row(Decimal("-3.14"), "44 02 FFFFFEC6"),
    Row(Decimal("2147483647"), "44 00 7FFFFFFF"),
    Row(Decimal("-2147483648"), "44 00 80000000"),
    Row(Decimal("1E-255"), "44 FF 00000001"),
    Row("", "53 00000000"),
    Row("foo", "53 00000003 'foo'"),
    Row("\xe4\u20ac\U0001f407", "53 00000009 C3A4 E282AC F09F9087"),
    Row("a\0b", "53 00000003 61 00 62"),
    Row(b"", "78 00000000"),
    Row(b"\x00\xff", "78 00000002 00FF"),
    Row(datetime(1970, 1, 1, tzinfo=UTC), "54 0000000000000000"),
    Row(datetime(2024, 2, 29, 12, 0, tzinfo=UTC), "54 0000000065E071C0"),
    Row(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), "54 0000003AFFF4417F"),
    Row(RawTimestamp(253402300800), "54 0000003AFFF44180"),
    Row(RawTimestamp(1709208000000), "54 0000018DF4BC5600"),
    Row(RawTimestamp(18446744073709551615), "54 FFFFFFFFFFFFFFFF"),
    Row([], "41 00000000"),
    Row([1, "x", None, [False]], "41 00000013 4900000001 5300000001 78 56 41 00000002 7400"),
    Row({}, "46 00000000"),
    Row({"a": {"b": 1}}, "46 0000000E 01 'a' 46 00000007 01 'b' 49 00000001"),
]

#: Fields that other programs send, and what we make of them.
READ_ONLY = [
    Row(True, "74 FF"),
    Row(127, "62 7F"),
    Row(-128, "62 80"),
    Row(128, "42 80"),
    Row(255, "42 FF"),
    Row(32767, "73 7FFF"),
    Row(-32768, "73 8000"),
    Row(-2, "55 FFFE"),
    Row(65534, "75 FFFE"),
    Row(2147483648, "69 80000000"),
    Row(4294967295, "69 FFFFFFFF"),
    Row(-1, "4C FFFFFFFFFFFFFFFF"),
    Row(-1, "6C FFFFFFFFFFFFFFFF"),
    Row(7, "6C 0000000000000007"),
    Row(1.5, "66 3FC00000"),
    Row(-math.inf, "66 FF800000"),
    # a long string need not be text
    Row(b"\xff\xfe", "53 00000002 FFFE"),
    Row(b"\xed\xa0\x80", "53 00000003 EDA080"),
    Row({"a": [{"b": 1}]}, "46 00000011 01 'a' 41 0000000A 46 00000005 01 'b' 73 0001"),
]


class Number(IntEnum):
    SEVEN = 7


class Text(str):
    pass


#: Values that are written, but come back as something else.
WRITE_ONLY = [
    Row((1, 2), "41 0000000A 4900000001 4900000002"),
    Row(bytearray(b"foo"), "78 00000003 'foo'"),
    Row(memoryview(b"foo"), "78 00000003 'foo'"),
    Row(Number.SEVEN, "49 00000007"),
    Row(Text("foo"), "53 00000003 'foo'"),
    Row(OrderedDict(a=None), "46 00000003 01 'a' 56"),
    Row(RawTimestamp(7), "54 0000000000000007"),
    Row(Decimal("1E+9"), "44 00 3B9ACA00"),
    Row(Decimal("-0"), "44 00 00000000"),
    Row(Decimal("0E+999999"), "44 00 00000000"),
    Row(UndecodedField(b"?what"), "3F 'what'"),
    # the odd microseconds are cut off, never rounded up
    Row(datetime(2024, 2, 29, 12, 0, 0, 999999, tzinfo=UTC), "54 0000000065E071C0"),
    Row(datetime(2024, 2, 29, 14, 0, tzinfo=timezone(timedelta(hours=2))), "54 0000000065E071C0"),
    Row(datetime(2024, 2, 29, 6, 30, tzinfo=timezone(timedelta(hours=-5, minutes=-30))), "54 0000000065E071C0"),
]


def row_ids(rows: List[Row]) -> List[str]:
    # without the address that the repr of a memoryview has: every run, and every process of one, has the same names
    return ["%s as %s" % (repr(row.value).partition(" at 0x")[0][:30], row.field[:2]) for row in rows]


@pytest.mark.parametrize("row", BOTH_WAYS + WRITE_ONLY, ids=row_ids(BOTH_WAYS + WRITE_ONLY))
def test_written(row: Row) -> None:
    assert encode_table({"key": row.value}) == with_length(b"\x03key" + octets(row.field))


@pytest.mark.parametrize("row", BOTH_WAYS + READ_ONLY, ids=row_ids(BOTH_WAYS + READ_ONLY))
def test_read(row: Row) -> None:
    field = octets(row.field)
    found = decode(with_length(b"\x03key" + field + b"\x04nextV"))
    assert found == {"key": row.value, "next": None}
    assert type(found["key"]) is type(row.value)
    assert decode(with_length(b"\x01aA" + with_length(field + b"V"))) == {"a": [row.value, None]}


@pytest.mark.parametrize("row", BOTH_WAYS + READ_ONLY, ids=row_ids(BOTH_WAYS + READ_ONLY))
def test_cut_short(row: Row) -> None:
    """A value cut short anywhere takes up the rest of its table, and nothing else goes wrong."""
    field = octets(row.field)
    for end in range(len(field)):
        cut = with_length(b"\x03key" + field[:end])
        assert decode_leniently(cut) == ({"key": field[:end]}, [("key", field[:end], 1)])
        assert encode_table(decode_leniently(cut)[0]) == cut


def test_the_known_table() -> None:
    known = octets("00000009 03 'foo' 49 00000007")
    assert encode_table({"foo": 7}) == known
    assert decode(known) == {"foo": 7}


class OddFloat(float):
    """A subclass, as other libraries have them."""


@pytest.mark.parametrize("value", [math.nan, -math.nan, math.inf, -math.inf, float("1e999"), OddFloat("nan")])
@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: {"in": [value]}], ids=["bare", "nested"])
def test_numbers_that_are_none(value: float, wrap: Any) -> None:
    """RabbitMQ ends the connection over them. They are read, for other brokers may pass them on."""
    with pytest.raises(LocalError, match=r"^\['n'\].* is not a finite number$"):
        encode_table({"n": wrap(value)})
    raw = struct.pack(">d", value)
    assert repr(decode(octets("0000000B 01 'n' 64") + raw)["n"]) == repr(float(value))


@pytest.mark.parametrize("value", [0.0, -0.0, 5e-324, 1.7976931348623157e308, -1.7976931348623157e308])
def test_numbers_at_the_end_of_the_scale(value: float) -> None:
    found = decode(encode_table({"n": value}))["n"]
    assert (found, math.copysign(1, found)) == (value, math.copysign(1, value))


@examples(200)
@given(table=tables)
def test_what_is_written_is_read_back(table: Dict[str, Any]) -> None:
    found = decode(encode_table(table))
    assert found == table
    assert pprint.pformat(found) == pprint.pformat(table)  # True is not 1, and 1.0 is not 1


@examples(100)
@given(number=st.integers(-(1 << 66), 1 << 66), near=st.sampled_from([0, 1 << 31, -(1 << 31), 1 << 63, -(1 << 63)]))
def test_integers_are_written_as_short_as_they_can_be(number: int, near: int) -> None:
    for value in (number, near + number % 7 - 3):
        try:
            length = len(encode_table({"": value})) - 6
        except LocalError:
            length = 0
        needed = (value if value >= 0 else ~value).bit_length() + 1
        assert length == (4 if needed <= 32 else 8 if needed <= 64 else 0)


# --- names ------------------------------------------------------------------------------------------------

NAMES: List[Tuple[Any, str]] = [
    ("", "00"),
    ("\xe4", "02 C3A4"),
    (255 * "k", "FF" + 255 * "6B"),
    (127 * "\xe4" + "k", "FF" + 127 * "C3A4" + "6B"),
    # a name that is no UTF-8 keeps its bytes
    ("\udcff\xe4", "03 FF C3A4"),
]


@pytest.mark.parametrize(("name", "data"), NAMES, ids=["empty", "UTF-8", "long", "long UTF-8", "no UTF-8"])
def test_names(name: str, data: str) -> None:
    wire = with_length(octets(data) + b"V")
    assert encode_table({name: None}) == wire
    assert decode(wire) == {name: None}


def test_names_may_be_bytes() -> None:
    assert encode_table({b"\xff": None}) == octets("00000003 01 FF 56")  # type: ignore[dict-item]


def test_of_two_fields_of_one_name_the_last_is_kept() -> None:
    assert decode(octets("0000000A 01'a' 56 01'b' 56 01'a' 74 00")) == {"a": False, "b": None}


# --- what cannot be written -------------------------------------------------------------------------------


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


NOT_A_TYPE = (
    "cannot be put in a field table: it takes None, bool, int, float, str, bytes, Decimal, datetime, dict, list and "
    "tuple"
)
NOT_64_BITS = "does not fit 64 bits"
NOT_A_DECIMAL = "does not fit an AMQP decimal (a 32-bit number and a scale up to 255)"
NOT_FINITE = "is not a finite number"
NOT_UTF8 = "cannot be encoded as UTF-8"
NOT_A_TIME = "does not fit an AMQP timestamp"

REFUSED: List[Tuple[Any, str]] = [
    (object, "<class 'object'> " + NOT_A_TYPE),
    ({1}, "{1} " + NOT_A_TYPE),
    (1j, "1j " + NOT_A_TYPE),
    (Broken(), "<Broken> " + NOT_A_TYPE),
    (range(10**60), "range(0, 1%s... %s" % (47 * "0", NOT_A_TYPE)),
    (1 << 63, "9223372036854775808 " + NOT_64_BITS),
    (-(1 << 63) - 1, "-9223372036854775809 " + NOT_64_BITS),
    (10**5000, NOT_64_BITS),
    (Decimal("NaN"), "Decimal('NaN') " + NOT_FINITE),
    (Decimal("sNaN7"), "Decimal('sNaN7') " + NOT_FINITE),
    (Decimal("-Infinity"), "Decimal('-Infinity') " + NOT_FINITE),
    (Decimal("2147483648"), "Decimal('2147483648') " + NOT_A_DECIMAL),
    (Decimal("-2147483649"), "Decimal('-2147483649') " + NOT_A_DECIMAL),
    (Decimal("1E-256"), "Decimal('1E-256') " + NOT_A_DECIMAL),
    (Decimal("1E+10"), "Decimal('1E+10') " + NOT_A_DECIMAL),
    (Decimal("1E+999999"), "Decimal('1E+999999') " + NOT_A_DECIMAL),
    (Decimal((0, 5000 * (1,), 0)), NOT_A_DECIMAL),
    (Decimal((0, (1, *20 * (0,)), -20)), NOT_A_DECIMAL),
    ("\ud800", r"'\ud800' " + NOT_UTF8),
    ("\udcff", r"'\udcff' " + NOT_UTF8),
    (datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), NOT_A_TIME),
    (datetime.min, NOT_A_TIME),
    (RawTimestamp(-1), "-1 " + NOT_A_TIME),
    (RawTimestamp(1 << 64), "18446744073709551616 " + NOT_A_TIME),
    ({256 * "k": 1}, "['%s']: '%s... takes 256 bytes; at most 255 fit" % (256 * "k", 56 * "k")),
    ({"\ud800": 1}, r"['\ud800']: '\ud800' cannot be encoded as UTF-8"),
    ({1: 2}, "the key 1 is not a string"),
    ({None: 2}, "the key None is not a string"),
]


@pytest.mark.parametrize(("value", "text"), REFUSED, ids=lambda _: "")
def test_refused(value: Any, text: str) -> None:
    """The error names the place and the value, whatever the value is."""
    with pytest.raises(LocalError) as caught:
        encode_table({"key": value})
    assert str(caught.value).startswith("['key']: ")
    assert text in str(caught.value)
    with pytest.raises(LocalError) as caught:
        encode_table({"a": [0, {"b": (value,)}]})
    assert str(caught.value).startswith("['a']: [1]: ['b']: [0]: ")
    assert text in str(caught.value)


# --- depth ------------------------------------------------------------------------------------------------


def nested(levels: int, wrap: Callable[[Any], Any]) -> Dict[str, Any]:
    """A table that holds `levels` - 1 further ones, each wrapped around the next."""
    value: Any = {} if wrap({}) == {"": {}} else []
    for _ in range(levels - 2):
        value = wrap(value)
    return {"": value}


def nested_bytes(levels: int, type_octet: bytes, name: bytes) -> bytes:
    field = type_octet + with_length(b"")
    for _ in range(levels - 2):
        field = type_octet + with_length(name + field)
    return with_length(b"\x00" + field)


SHAPES = [
    pytest.param(lambda inner: {"": inner}, b"F", b"\x00", id="tables"),
    pytest.param(lambda inner: [inner], b"A", b"", id="arrays"),
]


@pytest.mark.parametrize(("wrap", "type_octet", "name"), SHAPES)
def test_depth(wrap: Callable[[Any], Any], type_octet: bytes, name: bytes) -> None:
    deepest, wire = nested(MAX_DEPTH, wrap), nested_bytes(MAX_DEPTH, type_octet, name)
    assert MAX_DEPTH == 64
    assert encode_table(deepest) == wire
    assert decode(wire) == deepest
    with pytest.raises(LocalError, match=r"nested more than 64 deep \(or inside itself\)$"):
        encode_table(nested(MAX_DEPTH + 1, wrap))


@pytest.mark.parametrize(("wrap", "type_octet", "name"), SHAPES)
@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 1000])
def test_what_lies_deeper_is_kept_as_it_came(
    wrap: Callable[[Any], Any], type_octet: bytes, name: bytes, levels: int
) -> None:
    wire = nested_bytes(levels, type_octet, name)
    table, undecoded = decode_leniently(wire)
    ((_, raw, _),) = undecoded
    assert raw[:1] == type_octet
    innermost: Any = table
    for _ in range(MAX_DEPTH - 1):
        (innermost,) = innermost.values() if isinstance(innermost, dict) else innermost
    assert list(innermost.values() if isinstance(innermost, dict) else innermost) == [raw]
    assert encode_table(table) == wire


def inside_itself() -> Iterator[Tuple[str, Any]]:
    table: Dict[str, Any] = {"a": 1}
    table["me"] = table
    yield "table", table
    array: List[Any] = [1]
    array += [array, array]
    yield "array", {"": array}
    both: Dict[str, Any] = {}
    both["list"] = [both, both]
    yield "both", both


@pytest.mark.parametrize("table", [pytest.param(table, id=name) for name, table in inside_itself()])
def test_inside_itself(table: Dict[str, Any]) -> None:
    with pytest.raises(LocalError, match="inside itself"):
        encode_table(table)


# --- decimals ---------------------------------------------------------------------------------------------


def test_the_programs_decimal_context_does_not_matter() -> None:
    wire = octets("0000000B 01'a' 44 08 499602D2 01'b' 56")
    with decimal.localcontext() as context:
        context.prec = 2
        context.traps[decimal.Inexact] = context.traps[decimal.Rounded] = True
        table = decode(wire)
        assert encode_table(table) == wire
    assert str(table["a"]) == "12.34567890"


# --- time -------------------------------------------------------------------------------------------------

BERLIN = "CET-1CEST,M3.5.0,M10.5.0/3"
NEW_YORK = "EST5EDT,M3.2.0,M11.1.0"
ZONES = ["UTC0", BERLIN, NEW_YORK, "<+0545>-5:45", "<+14>-14", "<-12>12"]


@pytest.fixture
def in_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the time zone of this process, until the test is over."""

    def set_zone(name: str) -> None:
        patch.setenv("TZ", name)
        time.tzset()

    with monkeypatch.context() as patch:
        yield set_zone
    time.tzset()


#: Naive datetimes are local time.
LOCAL = [
    ("UTC0", datetime(2024, 7, 1, 12, 0), 1719835200),
    (BERLIN, datetime(2024, 7, 1, 14, 0), 1719835200),
    (BERLIN, datetime(2024, 1, 1, 1, 0), 1704067200),
    (NEW_YORK, datetime(2023, 12, 31, 19, 0), 1704067200),
    ("<+0545>-5:45", datetime(1970, 1, 1, 5, 45), 0),
    # 02:30 comes twice when summer time ends: fold tells which
    (BERLIN, datetime(2021, 10, 31, 2, 30), 1635640200),
    (BERLIN, datetime(2021, 10, 31, 2, 30, fold=1), 1635643800),
    (BERLIN, datetime(2021, 10, 31, 3, 30), 1635647400),
    (NEW_YORK, datetime(2021, 11, 7, 1, 30), 1636263000),
    (NEW_YORK, datetime(2021, 11, 7, 1, 30, fold=1), 1636266600),
    # the hour before and the hour after the gap
    (BERLIN, datetime(2021, 3, 28, 1, 59, 59), 1616893199),
    (BERLIN, datetime(2021, 3, 28, 3, 0), 1616893200),
]


@pytest.mark.parametrize(("zone", "local", "epoch"), LOCAL)
def test_local_time(in_zone: Callable[[str], None], zone: str, local: datetime, epoch: int) -> None:
    in_zone(zone)
    assert encode_timestamp(local) == epoch.to_bytes(8, "big")
    found = local_time(epoch)
    assert isinstance(found, datetime)
    assert (found, found.fold, found.tzinfo) == (local, local.fold, None)


def test_a_local_time_that_does_not_exist(in_zone: Callable[[str], None]) -> None:
    in_zone(BERLIN)
    assert encode_timestamp(datetime(2021, 3, 28, 2, 30)) == (1616895000).to_bytes(8, "big")


@pytest.mark.parametrize("zone", ZONES)
def test_aware_times_do_not_depend_on_the_zone(in_zone: Callable[[str], None], zone: str) -> None:
    in_zone(zone)
    for hours in (-12, 0, 1, 14):
        aware = datetime(2024, 7, 1, 12, 0, tzinfo=UTC).astimezone(timezone(timedelta(hours=hours)))
        assert encode_timestamp(aware) == (1719835200).to_bytes(8, "big")
    found = utc_time(1719835200)
    assert isinstance(found, datetime)
    assert (found, found.tzinfo) == (datetime(2024, 7, 1, 12, 0, tzinfo=UTC), UTC)


@pytest.mark.parametrize("zone", ZONES)
def test_every_second_comes_back(in_zone: Callable[[str], None], zone: str) -> None:
    in_zone(zone)
    clock_changes = st.integers(1635640200 - 9000, 1635640200 + 9000) | st.integers(
        1616893200 - 9000, 1616893200 + 9000
    )

    @examples(60)
    @given(epoch=seconds | clock_changes)
    @example(epoch=0)
    def check(epoch: int) -> None:
        for to_time in (local_time, utc_time):
            assert encode_timestamp(to_time(epoch)) == epoch.to_bytes(8, "big")

    check()


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("to_time", [local_time, utc_time])
def test_any_64_bits_are_a_time(in_zone: Callable[[str], None], zone: str, to_time: TimeReader) -> None:
    """What datetime cannot hold is a number; at the calendar's edge it may not be written again, and that is all."""
    in_zone(zone)
    edges = [253402300799 + hours * 3600 + second for hours in range(-15, 16) for second in (-1, 0, 1)]
    for epoch in [*edges, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]:
        table, undecoded = decode_leniently(with_length(b"\x01tT" + epoch.to_bytes(8, "big")), to_time)
        assert undecoded == []
        assert isinstance(table["t"], (datetime, RawTimestamp))
        if isinstance(table["t"], RawTimestamp):
            assert table["t"] == epoch
        with contextlib.suppress(LocalError):
            assert encode_table(table)[-8:] == epoch.to_bytes(8, "big")


@pytest.mark.parametrize("value", [1.5, "2024", None])
def test_not_a_time(value: Any) -> None:
    with pytest.raises(LocalError, match="is not a datetime"):
        encode_timestamp(value)


def test_a_reading_collects_until_it_is_emptied() -> None:
    reading = utc_reading()
    for _ in range(2):
        decode_table(octets("00000003 01'a' 3F"), 0, 7, reading)
    assert reading.undecoded == [("a", b"?", 1), ("a", b"?", 1)]
