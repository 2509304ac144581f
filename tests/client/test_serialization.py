"""Proves what AMQPReader, AMQPWriter and GenericContent do on their own, as programs and their tests use them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from io import BytesIO
from typing import Any, Callable, ClassVar, List, Tuple

import pytest

from amqplib.client_0_8 import Message
from amqplib.client_0_8.serialization import AMQPReader, AMQPWriter, GenericContent
from tests.octets import octets

#: (name of the value's type, value, bytes)
VALUES: List[Tuple[str, Any, str]] = [
    ("octet", 0, "00"),
    ("octet", 255, "FF"),
    ("short", 0, "0000"),
    ("short", 65535, "FFFF"),
    ("short", 258, "0102"),
    ("long", 0, "00000000"),
    ("long", 4294967295, "FFFFFFFF"),
    ("long", 16909060, "01020304"),
    ("longlong", 0, "0000000000000000"),
    ("longlong", 2**64 - 1, "FFFFFFFFFFFFFFFF"),
    ("longlong", 72623859790382856, "0102030405060708"),
    ("shortstr", "", "00"),
    ("shortstr", "hello", "05 'hello'"),
    ("shortstr", "Grüße", "07 'Gr' C3 BC C3 9F 'e'"),
    ("longstr", "", "00000000"),
    ("longstr", "hello", "00000005 'hello'"),
    ("longstr", "ü", "00000002 C3 BC"),
    ("table", {}, "00000000"),
    ("table", {"foo": 7}, "00000009 03 'foo' 49 00000007"),
    ("table", {"foo": -1, "bar": "baz"}, "00000015 03 'foo' 49 FFFFFFFF 03 'bar' 53 00000003 'baz'"),
    ("table", {"d": Decimal("3.14")}, "00000008 01 'd' 44 02 0000013A"),
    ("table", {"w": datetime.fromtimestamp(1234567890)}, "0000000B 01 'w' 54 00000000499602D2"),
    ("table", {"t": {"foo": 7}}, "00000010 01 't' 46 00000009 03 'foo' 49 00000007"),
    ("timestamp", datetime.fromtimestamp(1234567890), "00000000499602D2"),
]
IDS = ["%s %r" % (kind, value) for kind, value, _ in VALUES]


@pytest.mark.parametrize(("kind", "value", "data"), VALUES, ids=IDS)
def test_written(kind: str, value: Any, data: str) -> None:
    writer = AMQPWriter()
    getattr(writer, "write_" + kind)(value)
    assert writer.getvalue() == octets(data)


@pytest.mark.parametrize("source", [bytes, bytearray, memoryview, BytesIO])
@pytest.mark.parametrize(("kind", "value", "data"), VALUES, ids=IDS)
def test_read(kind: str, value: Any, data: str, source: Callable[[bytes], Any]) -> None:
    reader = AMQPReader(source(octets(data) + b"rest"))
    got = getattr(reader, "read_" + kind)()
    assert got == value
    assert type(got) is type(value)
    assert reader.read(4) == b"rest"


@pytest.mark.parametrize(("kind", "value", "data"), VALUES, ids=IDS)
def test_cut_short(kind: str, value: Any, data: str) -> None:
    for size in range(len(octets(data))):
        with pytest.raises(EOFError):
            getattr(AMQPReader(octets(data)[:size]), "read_" + kind)()


@pytest.mark.parametrize(
    ("bits", "data"),
    [
        ([False], "00"),
        ([True], "01"),
        ([True, True, False, False, True], "13"),
        ([False] * 7 + [True], "80"),
        ([True] * 8, "FF"),
        ([True] * 9, "FF 01"),
        ([False] * 16 + [True], "00 00 01"),
    ],
)
def test_bits_share_an_octet(bits: List[bool], data: str) -> None:
    writer = AMQPWriter()
    for bit in bits:
        writer.write_bit(bit)
    assert writer.getvalue() == octets(data)
    reader = AMQPReader(octets(data))
    assert [reader.read_bit() for _ in bits] == bits


def test_anything_else_starts_a_new_octet() -> None:
    writer = AMQPWriter()
    writer.write_bit(True)
    writer.write_octet(10)
    writer.write_bit(1)
    writer.write_bit(0)
    writer.write_bit("yes")
    writer.write_shortstr("a")
    writer.write(b"raw")
    writer.write_bit(True)
    assert writer.getvalue() == octets("01 0A 05 01 'a' 'raw' 01")
    reader = AMQPReader(writer.getvalue())
    assert (reader.read_bit(), reader.read_octet()) == (True, 10)
    assert [reader.read_bit() for _ in range(3)] == [True, False, True]
    assert (reader.read_shortstr(), reader.read(3), reader.read_bit()) == ("a", b"raw", True)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("octet", -1),
        ("octet", 256),
        ("octet", "1"),
        ("short", -1),
        ("short", 65536),
        ("long", -1),
        ("long", 2**32),
        ("longlong", -1),
        ("longlong", 2**64),
        ("longlong", None),
        ("shortstr", "x" * 256),
        ("shortstr", "ü" * 128),
        ("shortstr", 5),
        ("longstr", 5),
        ("table", {"a": object()}),
        ("table", {"x" * 256: 1}),
        ("table", [("a", 1)]),
        ("timestamp", "now"),
    ],
)
def test_what_does_not_fit(kind: str, value: Any) -> None:
    writer = AMQPWriter()
    writer.write_octet(1)
    with pytest.raises(ValueError):  # noqa: PT011 - which one is the codecs' own matter
        getattr(writer, "write_" + kind)(value)
    writer.write_octet(2)
    assert writer.getvalue() == b"\1\2"


@pytest.mark.parametrize("source", ["text", None, 5, [1], object()])
def test_a_source_of_another_type(source: Any) -> None:
    with pytest.raises(ValueError, match="AMQPReader"):
        AMQPReader(source)


def test_a_writer_to_something() -> None:
    out = BytesIO()
    writer = AMQPWriter(out)
    writer.write_short(1)
    writer.write_bit(True)
    writer.flush()
    assert out.getvalue() == b"\0\1\1"
    writer.write_bit(True)
    assert writer.getvalue() == b"\0\1\1\1"
    writer.close()
    assert out.closed


def test_a_writer_to_something_that_gives_nothing_back(tmp_path: Any) -> None:
    with open(tmp_path / "out", "wb") as out:
        writer = AMQPWriter(out)
        writer.write_shortstr("hello")
        writer.flush()
        with pytest.raises(ValueError, match="AMQPWriter"):
            writer.getvalue()
        writer.close()
    assert (tmp_path / "out").read_bytes() == b"\5hello"


def test_a_reader_closes_its_source() -> None:
    source = BytesIO(b"\1")
    AMQPReader(source).close()
    assert source.closed


def test_an_unknown_field_is_kept() -> None:
    data = octets("0000000A 01 'a' 74 01 01 'z' 7A 01 02 03")
    table = AMQPReader(data).read_table()
    assert table == {"a": True, "z": b"z\1\2\3"}
    writer = AMQPWriter()
    writer.write_table(table)
    assert writer.getvalue() == data


# --- GenericContent ----------------------------------------------------------------------------------------


class Wide(GenericContent):
    """More properties than one word of flags has room for."""

    PROPERTIES: ClassVar = [("p%02d" % number, "octet") for number in range(20)]


def test_generic_content() -> None:
    assert GenericContent.PROPERTIES == [("dummy", "shortstr")]
    one: Any = GenericContent(dummy="x", other="dropped")
    assert one.properties == {"dummy": "x"}
    assert one.dummy == "x"
    assert one == GenericContent(dummy="x")
    assert one != GenericContent(dummy="y")
    assert one != "x"
    with pytest.raises(AttributeError, match="other"):
        getattr(one, "other")  # noqa: B009 - the type checker knows of no such attribute


@pytest.mark.parametrize(
    ("content", "data"),
    [
        (GenericContent(), "0000"),
        (GenericContent(dummy="x"), "8000 01 'x'"),
        (Message(), "0000"),
        (Message(content_type="x", priority=1), "8800 01 'x' 01"),
        (Message(cluster_id="k"), "0004 01 'k'"),
        (Wide(p00=1, p14=2), "8002 01 02"),
        (Wide(p15=3), "0001 8000 03"),
        (Wide(p00=1, p19=4), "8001 0800 01 04"),
    ],
)
def test_properties(content: GenericContent, data: str) -> None:
    assert content._serialize_properties() == octets(data)
    again = type(content)()
    again._load_properties(octets(data))
    assert again.properties == content.properties
    assert again == content
