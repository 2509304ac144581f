"""Property lists that are compiled give what those give that are not: bytes, dicts, notes of fields and errors."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Dict, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqplib.wire import codecs
from amqplib.wire.content import BASIC, PropertyCodec
from amqplib.wire.errors import LocalError, PeerError
from tests.wire.helpers import FIELD_VALUES, examples, octets, utc_reading


class _Str(str):
    pass


#: One field at a time, always.
PLAIN = PropertyCodec(BASIC.fields, most_compiled=0)

#: Also what fits nowhere, what fits but is of another class, and what is left out.
anything = st.one_of(
    st.sampled_from(
        [None, True, False, -1, 256, 1.0, b"x", bytearray(b"x"), memoryview(b"x"), [], "ü", "\udcff", "\ud800"]
    ),
    st.sampled_from(
        ["x" * 255, "x" * 256, "ü" * 128, _Str("s"), {}, {"a": [1, {"b": None}]}, OrderedDict(a=1), {"a": object()}]
    ),
    st.sampled_from([datetime(2026, 11, 26), datetime(1969, 1, 1, tzinfo=timezone.utc), 1 << 64, 0]),
)
whatever = st.fixed_dictionaries({}, optional={name: FIELD_VALUES[kind] | anything for name, kind in BASIC.fields})
orders = st.permutations([name for name, _ in BASIC.fields])


def outcome(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except (LocalError, PeerError) as exc:
        return type(exc), str(exc)


@examples(400)
@given(given_properties=whatever, order=orders)
def test_writing(given_properties: Dict[str, Any], order: List[str]) -> None:
    properties = {name: given_properties[name] for name in order if name in given_properties}
    assert outcome(lambda: BASIC.encode(properties)) == outcome(lambda: PLAIN.encode(properties))


def read(codec: PropertyCodec, wire: bytes, end: int) -> Tuple[Any, Any]:
    reading = utc_reading()
    return outcome(lambda: codec.decode(b"?" + wire + b"\x01more", 1, 1 + end, reading)), reading.undecoded


@examples(400)
@given(
    properties=st.fixed_dictionaries({}, optional={name: FIELD_VALUES[kind] for name, kind in BASIC.fields}),
    data=st.data(),
)
def test_reading(properties: Dict[str, Any], data: st.DataObject) -> None:
    """Whole, with an octet changed, and cut short, with other octets behind the end."""
    wire = PLAIN.encode(properties)
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(wire) - 1))
        wire = wire[:place] + bytes((data.draw(st.integers(0, 255)),)) + wire[place + 1 :]
    end = data.draw(st.integers(0, len(wire)) | st.just(len(wire)))
    assert read(BASIC, wire, end) == read(PLAIN, wire, end)


def test_names_in_any_order() -> None:
    """What is known of orders is bounded, and the bytes are the same."""
    codec = PropertyCodec(BASIC.fields)
    names = ["content_type", "priority", "message_id", "type", "user_id", "app_id"]
    values = {name: 1 if name == "priority" else name for name in names}
    known = []
    for order in itertools.permutations(names):
        assert codec.encode({name: values[name] for name in order}) == PLAIN.encode(values)
        known.append(len(codec._by_names))
    assert max(known) == 512


def test_no_more_combinations_are_compiled_than_the_limit() -> None:
    codec = PropertyCodec(BASIC.fields, most_compiled=3)
    for round_number in range(2):
        for number in range(1, 12):
            properties = {
                name: "v%d" % round_number for name in ("type", "user_id", "app_id", "cluster_id") if number & len(name)
            }
            properties["message_id"] = "m" * number
            wire = codec.encode(properties)
            assert wire == PLAIN.encode(properties)
            assert codec.decode(wire, 0, len(wire), utc_reading()) == properties
    assert len(codec._by_flags) == len(codec._decoders) == 3


def test_a_combination_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: List[str] = []
    for name in ("compile_properties_encoder", "compile_properties_decoder"):

        def counted(*args: Any, name: str = name, before: Callable[..., Any] = getattr(codecs, name)) -> Any:
            made.append(name)
            return before(*args)

        monkeypatch.setattr(codecs, name, counted)
    codec = PropertyCodec(BASIC.fields)
    for priority in range(3):
        wire = codec.encode({"priority": priority, "type": "t"})
        assert codec.decode(wire, 0, len(wire), utc_reading()) == {"priority": priority, "type": "t"}
    assert made == ["compile_properties_encoder", "compile_properties_decoder"]


def test_names_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: List[Tuple[str, ...]] = []
    look = PropertyCodec._encoder

    def counted(codec: PropertyCodec, names: Tuple[str, ...]) -> Any:
        looked.append(names)
        return look(codec, names)

    monkeypatch.setattr(PropertyCodec, "_encoder", counted)
    codec = PropertyCodec(BASIC.fields)
    for priority in range(3):
        codec.encode({"priority": priority, "type": "t"})
    assert looked == [("priority", "type")]


def test_a_list_is_malformed_as_soon_as_it_is_read() -> None:
    """Also where only headers that nobody looks at are wrong in length, behind other properties that are right."""
    for wire in ("A000 01'a' 00000006 01'h' 3F'zz'", "2080 00000000 05'abc'", "2000 FFFFFFFF"):
        for codec in (BASIC, PLAIN):
            with pytest.raises(PeerError, match=r"^malformed properties: "):
                codec.decode(octets(wire), 0, len(octets(wire)), utc_reading())


@pytest.mark.parametrize("zone", [timezone.utc, timezone(timedelta(hours=-5)), timezone(timedelta(0), "Z"), None])
@pytest.mark.parametrize("year", [1971, 2026, 2241, 2243, 5000, 9998])
def test_a_timestamp_is_floored(year: int, zone: Any) -> None:
    """The last microsecond is no part of the next second, in any century."""
    whole = datetime(year, 11, 26, 12, 59, 59, tzinfo=zone)
    since = int(whole.timestamp()).to_bytes(8, "big")
    assert BASIC.encode({"timestamp": whole.replace(microsecond=999999)}) == b"\x00\x40" + since
