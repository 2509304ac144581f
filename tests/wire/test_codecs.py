"""Proves the field types one by one, and that rows are compiled rightly whatever their shape.

The table has no method with more than 8 bits in a row, or with bits parted by other fields: made-up rows do.
"""

from __future__ import annotations

from array import array
from datetime import datetime, timezone
from typing import Any, Dict, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqplib.wire.codecs import BROKEN, FIELD_CODECS, compile_decoder, compile_encoder
from amqplib.wire.errors import LocalError, PeerError
from amqplib.wire.tables import RawTimestamp, local_time

from .helpers import FIELD_VALUES, MISFITS, examples, octets, utc_reading

NOON = datetime(2024, 2, 29, 12, 0, tzinfo=timezone.utc)

ROWS: List[Tuple[str, Any, str]] = [
    ("octet", 0, "00"),
    ("octet", 255, "FF"),
    ("short", 258, "0102"),
    ("short", 65535, "FFFF"),
    ("long", 0x01020304, "01020304"),
    ("long", 4294967295, "FFFFFFFF"),
    ("longlong", 0x0102030405060708, "0102030405060708"),
    ("longlong", 18446744073709551615, "FFFFFFFFFFFFFFFF"),
    ("shortstr", "", "00"),
    ("shortstr", "foo", "03 'foo'"),
    ("shortstr", "\xe4\u20ac", "05 C3A4 E282AC"),
    ("shortstr", "\udcff", "01 FF"),
    ("shortstr", 255 * "x", "FF" + 255 * " 78"),
    ("longstr", "", "00000000"),
    ("longstr", "foo", "00000003 'foo'"),
    ("longstr", "\udcff\xe4", "00000003 FF C3A4"),
    ("longstr", 256 * "x", "00000100" + 256 * " 78"),
    ("table", {}, "00000000"),
    ("table", {"foo": 7}, "00000009 03 'foo' 49 00000007"),
    ("timestamp", NOON, "0000000065E071C0"),
    ("timestamp", RawTimestamp(1 << 63), "8000000000000000"),
]


@pytest.mark.parametrize(("kind", "value", "data"), ROWS)
def test_both_ways(kind: str, value: Any, data: str) -> None:
    codec, wire = FIELD_CODECS[kind], octets(data)
    assert codec.encode(value) == wire
    found, offset = codec.decode(b"\xaa" + wire + b"\xbb", 1, len(wire) + 1, utc_reading())
    assert (type(found), found, offset) == (type(value), value, len(wire) + 1)


@pytest.mark.parametrize(("kind", "value", "data"), ROWS)
def test_cut_short(kind: str, value: Any, data: str) -> None:
    """A decoder says so with an offset beyond the end, or by raising one of BROKEN; nothing else."""
    wire = octets(data)
    for end in range(len(wire)):
        try:
            _, offset = FIELD_CODECS[kind].decode(wire[:end], 0, end, utc_reading())
        except BROKEN:
            continue
        assert offset > end


#: Values that are written, but read back as something else.
ONE_WAY: List[Tuple[str, Any, str]] = [
    ("octet", True, "01"),
    ("shortstr", b"\xff", "01 FF"),
    ("shortstr", bytearray(b"foo"), "03 'foo'"),
    ("shortstr", array("H", [0x6161, 0x6262]), "04 'aabb'"),
    ("longstr", b"\xff\x00", "00000002 FF00"),
    ("longstr", bytearray(b"foo"), "00000003 'foo'"),
    ("longstr", memoryview(array("H", [0x6161, 0x6262])), "00000004 'aabb'"),
    ("table", None, "00000000"),
    ("timestamp", 7, "0000000000000007"),
]


@pytest.mark.parametrize(("kind", "value", "data"), ONE_WAY)
def test_written(kind: str, value: Any, data: str) -> None:
    assert FIELD_CODECS[kind].encode(value) == octets(data)


@pytest.mark.parametrize(
    ("kind", "value"), [(kind, value) for kind, values in MISFITS.items() for value in values], ids=lambda _: ""
)
def test_a_misfit_is_a_value_error(kind: str, value: Any) -> None:
    with pytest.raises(LocalError):
        FIELD_CODECS[kind].encode(value)
    assert issubclass(LocalError, ValueError)


def test_timestamps_are_read_as_the_connection_asks() -> None:
    reading = utc_reading()
    reading.to_time = local_time
    found, _ = FIELD_CODECS["timestamp"].decode(octets("0000000065E071C0"), 0, 8, reading)
    assert found == NOON.astimezone().replace(tzinfo=None)


# --- whole rows -------------------------------------------------------------------------------------------


def bits(*numbers: int) -> List[Tuple[str, str]]:
    return [("b%d" % number, "bit") for number in numbers]


SHAPES: Dict[str, Tuple[List[Tuple[str, str]], Tuple[Any, ...], str]] = {
    "8 bits": (bits(*range(8)), (True, *[False] * 6, True), "00010002 81"),
    "9 bits": (bits(*range(9)), (False, True, *[False] * 6, True), "00010002 02 01"),
    "17 bits": (bits(*range(17)), (*[True] * 8, *[False] * 8, True), "00010002 FF 00 01"),
    "bits parted by an octet": ([*bits(0, 1), ("n", "octet"), *bits(2, 3)], (0, 1, 7, 1, 0), "00010002 02 07 01"),
    "bits parted by a string": ([*bits(0), ("s", "shortstr"), *bits(1)], (1, "x", 1), "00010002 01 01 'x' 01"),
    "strings only": ([("s", "shortstr"), ("l", "longstr")], ("a", "b"), "00010002 01 'a' 00000001 'b'"),
    "a table between numbers": (
        [("a", "octet"), ("t", "table"), ("z", "longlong")],
        (1, {}, 2),
        "00010002 01 00000000 0000000000000002",
    ),
    "numbers of all sizes": (
        [("a", "octet"), ("b", "short"), ("c", "long"), ("d", "longlong")],
        (1, 2, 3, 4),
        "00010002 01 0002 00000003 0000000000000004",
    ),
}


@pytest.mark.parametrize(("fields", "args", "data"), SHAPES.values(), ids=SHAPES)
def test_rows_of_any_shape(fields: List[Tuple[str, str]], args: Tuple[Any, ...], data: str) -> None:
    wire = octets(data)
    assert compile_encoder(0x00010002, fields)(*args) == wire
    decode = compile_decoder(fields)
    assert decode(wire, 4, len(wire), utc_reading()) == args
    for end in range(4, len(wire)):
        with pytest.raises(PeerError):
            decode(wire, 4, end, utc_reading())


@examples(150)
@given(data=st.data())
def test_random_rows(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(sorted(set(FIELD_VALUES) - {"timestamp"})), max_size=20))
    fields = [("f%d" % number, kind) for number, kind in enumerate(kinds)]
    args = data.draw(st.tuples(*(FIELD_VALUES[kind] for kind in kinds)))
    wire = compile_encoder(1, fields)(*args)
    assert compile_decoder(fields)(wire, 4, len(wire), utc_reading()) == args
