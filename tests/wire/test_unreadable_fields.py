"""Proves that reading a field table never fails for the sake of one field, and that it is written back as it came."""

from __future__ import annotations

import contextlib
import pprint
from datetime import timezone
from typing import Any, Dict, List, NamedTuple, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqplib.wire.errors import LocalError
from amqplib.wire.tables import (
    UndecodedField,
    encode_table,
)

from .helpers import decode_leniently, examples, octets, tables, with_length

UTC = timezone.utc


class Nonsense(NamedTuple):
    content: str
    table: Dict[str, Any]
    undecoded: List[Tuple[str, bytes, int]]
    #: What is written for the table, where it is not the same content.
    written: str = ""


Raw = UndecodedField

NONSENSE = {
    "an unknown type": Nonsense("01'a' 3F", {"a": Raw(b"?")}, [("a", b"?", 1)]),
    "... costs the rest of its table": Nonsense(
        "01'a' 49 00000001 01'b' 3F'zz' 01'c' 56",
        {"a": 1, "b": Raw(b"?zz\x01cV")},
        [("b", b"?zz\x01cV", 1)],
    ),
    "... but not of the table around it": Nonsense(
        "01'a' 46 00000007 01'x' 3F'z' 01'y' 56 01'b' 74 01",
        {"a": {"x": Raw(b"?z\x01yV")}, "b": True},
        [("x", b"?z\x01yV", 1)],
    ),
    "... nor of the array around it": Nonsense(
        "01'a' 41 0000000A 41 00000003 56 3F'z' 74 01 01'b' 74 01",
        {"a": [[None, Raw(b"?z")], True], "b": True},
        [("[1]", b"?z", 1)],
    ),
    "one in each of two tables": Nonsense(
        "01'a' 46 00000003 01'x' 3F 01'b' 46 00000003 01'y' 21",
        {"a": {"x": Raw(b"?")}, "b": {"y": Raw(b"!")}},
        [("x", b"?", 2)],
    ),
    "a string longer than its table": Nonsense(
        "01'a' 53 FFFFFFFF 'zz'", {"a": Raw(b"S\xff\xff\xff\xffzz")}, [("a", b"S\xff\xff\xff\xffzz", 1)]
    ),
    "a table longer than the one around it": Nonsense(
        "01'a' 46 00000004 01'b' 56", {"a": Raw(b"F\0\0\0\x04\x01bV")}, [("a", b"F\0\0\0\x04\x01bV", 1)]
    ),
    "an array longer than its table": Nonsense(
        "01'a' 41 00000003 56 56", {"a": Raw(b"A\0\0\0\x03VV")}, [("a", b"A\0\0\0\x03VV", 1)]
    ),
    "an item longer than its array": Nonsense(
        "01'a' 41 00000003 49 0000 01'b' 56", {"a": [Raw(b"I\0\0")], "b": None}, [("[0]", b"I\0\0", 1)]
    ),
    "a string whose length is cut short by the end of its table": Nonsense(
        "01'a' 46 00000006 01'x' 53 000000 01'b' 56", {"a": {"x": Raw(b"S\0\0\0")}, "b": None}, [("x", b"S\0\0\0", 1)]
    ),
    "a number longer than its table": Nonsense(
        "01'a' 46 00000006 01'x' 49 000000 01'b' 56", {"a": {"x": Raw(b"I\0\0\0")}, "b": None}, [("x", b"I\0\0\0", 1)]
    ),
    "a name without a value": Nonsense("02'ab'", {"ab": Raw(b"")}, [("ab", b"", 1)]),
    "a name longer than its table": Nonsense("05'ab'", {"ab": Raw(b"")}, [("ab", b"", 1)], "02'ab'"),
    "the length of a name": Nonsense("05", {"": Raw(b"")}, [("", b"", 1)], "00"),
    "two fields of one name, the last of them unreadable": Nonsense(
        "01'a' 56 01'b' 56 01'a' 3F'zz'", {"a": Raw(b"?zz"), "b": None}, [("a", b"?zz", 1)], "01'b' 56 01'a' 3F'zz'"
    ),
}


@pytest.mark.parametrize("row", NONSENSE.values(), ids=NONSENSE)
def test_nonsense(row: Nonsense) -> None:
    table, undecoded = decode_leniently(with_length(octets(row.content)))
    assert (table, undecoded) == (row.table, row.undecoded)
    assert pprint.pformat(table) == pprint.pformat(row.table)
    assert encode_table(table) == with_length(octets(row.written or row.content))


def test_a_field_added_to_such_a_table_does_not_end_up_in_the_raw_bytes() -> None:
    table, _ = decode_leniently(octets("00000005 01'a' 3F'zz'"))
    table["b"] = None
    assert encode_table(table) == octets("00000008 01'b' 56 01'a' 3F'zz'")


def test_undecoded_field() -> None:
    assert repr(UndecodedField(b"?z")) == "UndecodedField(b'?z')"
    assert UndecodedField(b"?z") == b"?z"


SCRAPS = [
    b"\x01a",
    b"\x00",
    b"\x01a\x49\x00\x00\x00\x01",
    b"V",
    b"t\x02",
    b"b\xff",
    b"f\x7f\xc0\x00\x00",
    b"D\x02\x80\x00\x00\x00",
    b"S\x00\x00\x00\x02\xff\xfe",
    b"T\x00\x00\x00\x00\xff\xff\xff\xff",
    b"T\x00\x00\x00\x3a\xff\xf4\x41\x7f",
    b"T\xff\xff\xff\xff\xff\xff\xff\xff",
    b"F\x00\x00\x00\x09",
    b"A\x00\x00\x00\x06",
    b"F\x00\x00\x00\x00",
]

scraps = st.lists(st.sampled_from(SCRAPS) | st.binary(max_size=5), max_size=25).map(b"".join)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The content of a table with an octet changed, or cut short."""
    content = encode_table(draw(tables))[4:]
    place = draw(st.integers(0, len(content)))
    return content[:place] + draw(st.binary(max_size=1)) + content[place + 1 : draw(st.integers(0, len(content) + 1))]


@examples(400)
@given(content=scraps | damaged() | st.binary(max_size=80))
def test_reading_never_fails_and_what_was_read_can_be_written(content: bytes) -> None:
    table, undecoded = decode_leniently(with_length(content))
    assert all(type(raw) is UndecodedField and content.find(raw) >= 0 for _, raw, _ in undecoded)
    if "nan" in pprint.pformat(table) or "inf" in pprint.pformat(table):
        with contextlib.suppress(LocalError):  # RabbitMQ lets no such number through
            encode_table(table)
        return
    written = encode_table(table)
    again, _ = decode_leniently(written)
    assert pprint.pformat(again) == pprint.pformat(table)
    assert encode_table(again) == written
