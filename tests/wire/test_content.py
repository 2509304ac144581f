"""Proves how property lists are written and read, and how a content is put together from its frames.

Errors of contents as a receiver meets them are in test_protocol_errors.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Dict, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqplib.wire import frames
from amqplib.wire.content import BASIC, Assembly, PropertyCodec, encode_header
from amqplib.wire.errors import LocalError, PeerError, UnknownPropertyError
from amqplib.wire.spec import AMQP_0_8
from amqplib.wire.tables import UndecodedField

from .helpers import FIELD_VALUES, MISFITS, examples, octets, utc_reading

NOON = datetime(2024, 2, 29, 12, 0, tzinfo=timezone.utc)

ALL: Dict[str, Any] = {
    "content_type": "a",
    "content_encoding": "b",
    "application_headers": {"h": None},
    "delivery_mode": 2,
    "priority": 9,
    "correlation_id": "c",
    "reply_to": "d",
    "expiration": "e",
    "message_id": "f",
    "timestamp": NOON,
    "type": "g",
    "user_id": "h",
    "app_id": "i",
    "cluster_id": "j",
}

ALL_BYTES = "FFFC 01'a' 01'b' 00000003 01'h' 56 02 09 01'c' 01'd' 01'e' 01'f' 0000000065E071C0 01'g' 01'h' 01'i' 01'j'"

ROWS: List[Tuple[Dict[str, Any], str]] = [
    ({}, "0000"),
    ({"content_type": "text/plain"}, "8000 0A 'text/plain'"),
    ({"content_encoding": "UTF-8"}, "4000 05 'UTF-8'"),
    ({"application_headers": {}}, "2000 00000000"),
    ({"application_headers": {"foo": 7}}, "2000 00000009 03 'foo' 49 00000007"),
    ({"delivery_mode": 2}, "1000 02"),
    ({"priority": 0}, "0800 00"),
    ({"correlation_id": "x"}, "0400 01 'x'"),
    ({"reply_to": "x"}, "0200 01 'x'"),
    ({"expiration": "60000"}, "0100 05 '60000'"),
    ({"message_id": ""}, "0080 00"),
    ({"timestamp": NOON}, "0040 0000000065E071C0"),
    ({"type": "x"}, "0020 01 'x'"),
    ({"user_id": "guest"}, "0010 05 'guest'"),
    ({"app_id": "x"}, "0008 01 'x'"),
    ({"cluster_id": "x"}, "0004 01 'x'"),
    ({"content_type": "a", "delivery_mode": 1, "cluster_id": "z"}, "9004 01 'a' 01 01 'z'"),
    (ALL, ALL_BYTES),
]

each_row = pytest.mark.parametrize(("properties", "data"), ROWS, ids=[row[1][:4] for row in ROWS])


def decode(codec: PropertyCodec, data: bytes) -> Dict[str, Any]:
    """The list in `data`, with other bytes on both sides of it."""
    return codec.decode(b"\xff" + data + b"\xce\xff\xff\xff\xff", 1, len(data) + 1, utc_reading())


def decode_malformed(codec: PropertyCodec, data: bytes) -> str:
    """What is said about a list that makes no sense, whether the buffer ends with it or not."""
    said = []
    for buffer in (data, data + b"\xce" + bytes(300)):
        with pytest.raises(PeerError, match=r"^malformed properties: ") as caught:
            codec.decode(buffer, 0, len(data), utc_reading())
        assert caught.value.reply_code == 502
        said.append(str(caught.value))
    assert said[0] == said[1]
    return said[0]


@each_row
def test_written(properties: Dict[str, Any], data: str) -> None:
    assert BASIC.encode(properties) == octets(data)


@each_row
def test_read(properties: Dict[str, Any], data: str) -> None:
    found = decode(BASIC, octets(data))
    assert found == properties
    assert list(found) == list(properties)


@each_row
def test_cut_short(properties: Dict[str, Any], data: str) -> None:
    wire = octets(data)
    for end in range(len(wire)):
        decode_malformed(BASIC, wire[:end])


def test_bytes_behind_the_list_are_passed_over() -> None:
    assert decode(BASIC, octets("8000 01'a' FF")) == {"content_type": "a"}


def test_the_order_of_the_dict_does_not_matter() -> None:
    assert BASIC.encode(dict(reversed(list(ALL.items())))) == octets(ALL_BYTES)


def test_none_is_left_out() -> None:
    assert BASIC.encode({"priority": None, "type": "x"}) == octets("0020 01'x'")


@pytest.mark.parametrize("value", [1, None, object()])
def test_names_that_there_are_not(value: Any) -> None:
    """However often; whoever encodes knows what to do about them."""
    for _ in range(2):
        with pytest.raises(UnknownPropertyError, match=r"^no properties: 'delivery_tag', 'headers'$"):
            BASIC.encode({"delivery_tag": value, "priority": None, "headers": {}, "type": "x"})


def test_a_header_that_cannot_be_read_costs_itself_only() -> None:
    reading = utc_reading()
    wire = octets("A000 01'a' 00000005 01'h' 3F'zz'")
    found = BASIC.decode(wire, 0, len(wire), reading)
    assert found == {"content_type": "a", "application_headers": {"h": b"?zz"}}
    assert reading.undecoded == [("h", UndecodedField(b"?zz"), 1)]
    assert BASIC.encode(found) == wire


MALFORMED = [
    "",
    "80",
    "0002",  # the 15th flag has no name
    "0001",  # another word is announced, and there is none
    "000100",
    "0001 8000",
    "8001 8000 01'a'",
    "2000 000000FF",  # a table longer than the header
    "1000",
]


@pytest.mark.parametrize("data", MALFORMED)
def test_malformed(data: str) -> None:
    decode_malformed(BASIC, octets(data))


def test_the_error_shows_the_list() -> None:
    assert decode_malformed(BASIC, octets("8000 05'ab'")) == "malformed properties: 80 00 05 61 62"


@pytest.mark.timeout(20)
def test_flag_words_without_end() -> None:
    """The first flag without a name ends it: a megabyte of them would keep us busy for minutes."""
    decode_malformed(BASIC, b"\xff\xff" * (1 << 19))
    decode_malformed(BASIC, b"\x00\x01" * (1 << 17))


@pytest.mark.parametrize(("name", "kind"), BASIC.fields)
def test_a_misfit_is_named(name: str, kind: str) -> None:
    for misfit in filter(lambda value: value is not None, MISFITS[kind]):
        with pytest.raises(LocalError) as caught:
            BASIC.encode({"content_type": "x", name: misfit})
        assert str(caught.value).startswith(name + ": ")


properties_of_basic = st.fixed_dictionaries({}, optional={name: FIELD_VALUES[kind] for name, kind in BASIC.fields})


@examples(150)
@given(properties=properties_of_basic, data=st.data())
def test_what_is_written_is_read_back(properties: Dict[str, Any], data: st.DataObject) -> None:
    wire = BASIC.encode(properties)
    assert decode(BASIC, wire) == properties
    decode_malformed(BASIC, wire[: data.draw(st.integers(0, len(wire) - 1))])


@examples(200)
@given(wire=st.binary(max_size=60), flags=st.integers(0, 0x7FFF))
def test_arbitrary_bytes_are_properties_or_a_syntax_error(wire: bytes, flags: int) -> None:
    for data in (wire, (flags << 1).to_bytes(2, "big") + wire):
        blame = 0
        try:
            found = decode(BASIC, data)
            BASIC.encode(found)
        except PeerError as exc:
            blame = exc.reply_code
        assert blame in (0, 502)


# --- more than 15 properties: a further word of flags -----------------------------------------------------


def octet_codec(count: int) -> PropertyCodec:
    return PropertyCodec([("p%d" % number, "octet") for number in range(count)])


WORDS: List[Tuple[int, Dict[str, Any], str]] = [
    (15, {"p14": 7}, "0002 07"),
    (16, {}, "0000"),
    (16, {"p0": 7}, "8000 07"),
    (16, {"p15": 7}, "0001 8000 07"),
    (16, {"p0": 1, "p14": 2, "p15": 3}, "8003 8000 01 02 03"),
    (30, {"p29": 7}, "0001 0002 07"),
    (31, {"p30": 7}, "0001 0001 8000 07"),
    (31, {"p0": 1, "p15": 2, "p30": 3}, "8001 8001 8000 01 02 03"),
    (60, {"p1": 1, "p59": 9}, "4001 0001 0001 0002 01 09"),
]


@pytest.mark.parametrize(("count", "properties", "data"), WORDS)
def test_flag_words(count: int, properties: Dict[str, Any], data: str) -> None:
    codec, wire = octet_codec(count), octets(data)
    assert codec.encode(properties) == wire
    assert decode(codec, wire) == properties
    for end in range(len(wire)):
        decode_malformed(codec, wire[:end])


@pytest.mark.parametrize("data", ["8001 0000 07", "8001 0001 0000 07"])
def test_words_without_flags(data: str) -> None:
    assert decode(octet_codec(16), octets(data)) == {"p0": 7}


@pytest.mark.parametrize("data", ["0001 4000 07", "0001 0001 8000 07", "0001 8001"])
def test_flags_without_a_name(data: str) -> None:
    decode_malformed(octet_codec(16), octets(data))


@examples(100)
@given(data=st.data(), kinds=st.lists(st.sampled_from(sorted(set(FIELD_VALUES) - {"bit"})), max_size=50))
def test_random_classes(data: st.DataObject, kinds: List[str]) -> None:
    fields = [("f%d" % number, kind) for number, kind in enumerate(kinds)]
    codec = PropertyCodec(fields)
    present = data.draw(st.sets(st.sampled_from(fields))) if fields else set()
    properties = {name: data.draw(FIELD_VALUES[kind]) for name, kind in fields if (name, kind) in present}
    assert decode(codec, codec.encode(properties)) == properties


# --- header and body --------------------------------------------------------------------------------------

HEADER = octets("003C 0000 0000000000000005 8000 01'a'")


def assembly() -> Assembly:
    return Assembly(AMQP_0_8["basic.deliver"], ("tag", 1, False, "", "q"))


def take_header(one: Assembly, payload: bytes, body_max: int = 100) -> bool:
    return one.header(b"\xff" + payload + b"\xce\xff", 1, len(payload) + 1, body_max, utc_reading())


def take_body(one: Assembly, payload: bytes) -> bool:
    return one.body(b"\xff" + payload + b"\xce\xff", 1, len(payload) + 1)


def test_header() -> None:
    assert encode_header(octets("8000 01'a'"), 5) == HEADER
    assert encode_header(b"\x00\x00", (1 << 64) - 1) == octets("003C 0000 FFFFFFFFFFFFFFFF 0000")


def test_header_then_body() -> None:
    one = assembly()
    assert (one.expects, one.method.name, one.args) == (frames.HEADER, "basic.deliver", ("tag", 1, False, "", "q"))
    assert not take_header(one, HEADER)
    assert (one.expects, one.missing, one.properties) == (frames.BODY, 5, {"content_type": "a"})
    assert take_body(one, b"hello")
    assert (one.missing, one.whole_body()) == (0, b"hello")


def test_no_body() -> None:
    one = assembly()
    assert take_header(one, octets("003C 0000 0000000000000000 0000"))
    assert (one.properties, one.whole_body()) == ({}, b"")


def test_a_body_in_pieces() -> None:
    one = assembly()
    take_header(one, HEADER)
    assert [take_body(one, piece) for piece in (b"", b"he", b"", b"llo")] == [False, False, False, True]
    assert one.whole_body() == b"hello"


def test_too_much_body() -> None:
    one = assembly()
    take_header(one, HEADER)
    take_body(one, b"hell")
    with pytest.raises(PeerError, match=r"^a body frame of 2 octets where 1 were due: 6f 21$") as caught:
        take_body(one, b"o!")
    assert caught.value.reply_code == 501


def test_the_limit_of_a_body() -> None:
    assert not take_header(assembly(), HEADER, body_max=5)
    with pytest.raises(
        PeerError, match=r"^a body of 5 octets is announced; the limit is 4 \(body_max\): 00 3c"
    ) as caught:
        take_header(assembly(), HEADER, body_max=4)
    assert caught.value.reply_code == 501


def test_another_class() -> None:
    with pytest.raises(PeerError, match=r"^a content header of class 90 where class 60 is due: 00 5a .*$") as caught:
        take_header(assembly(), b"\x00\x5a" + HEADER[2:])
    assert caught.value.reply_code == 501


def test_a_header_cut_short() -> None:
    for end in range(len(HEADER)):
        with pytest.raises(PeerError, match=r"^malformed (content header|properties): ") as caught:
            take_header(assembly(), HEADER[:end])
        assert caught.value.reply_code == 502
