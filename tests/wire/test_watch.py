"""What goes by, found in octets by somebody who only looks on."""

from __future__ import annotations

from typing import Any, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqplib.wire.protocol import Sender
from amqplib.wire.spec import AMQP_0_8, AMQP_0_9_1, Dialect
from amqplib.wire.watch import HIDDEN, Passage, Watcher, read

from .helpers import examples, frame, octets

#: Octets of a body that are kept.
SHOWN = 4

HEADER = b"AMQP\x00\x00\x09\x01"
HEARTBEAT = octets("08 00 00 00 00 00 00 ce")
#: channel.open on channel 1: class 20, method 10, an empty short string.
OPEN = octets("01 00 01 00 00 00 05 00 14 00 0a 00 ce")
#: basic.publish on channel 1 to the exchange 'x' with the key 'k'; its header, content type 't', a body of 6 octets.
PUBLISH = octets("01 00 01 00 00 00 0b 00 3c 00 28 00 00 01 78 01 6b 00 ce")
PROPERTIES = octets("02 00 01 00 00 00 10 00 3c 00 00 00 00 00 00 00 00 00 06 80 00 01 74 ce")
NOTHING = octets("02 00 01 00 00 00 0e 00 3c 00 00 00 00 00 00 00 00 00 00 00 00 ce")
BODY = octets("03 00 01 00 00 00 02 61 62 ce"), octets("03 00 01 00 00 00 04 63 64 65 66 ce")
CLOSE_OK = octets("01 00 01 00 00 00 04 00 14 00 29 ce")

PUBLISHED = {"ticket": 0, "exchange": "x", "routing_key": "k", "mandatory": False, "immediate": False}

#: The name, channel, arguments, properties, size, body, octets that are missing.
Told = Tuple[str, int, Any, Any, Any, bytes, int]


def told(dialect: Dialect, found: List[Passage]) -> List[Told]:
    every = []
    for passage in found:
        name, arguments, properties = read(dialect, passage)
        every.append(
            (name, passage.channel, arguments, properties, passage.size, passage.body, passage.missing),
        )
    return every


def method(name: str, channel: int = 1, **arguments: Any) -> Told:
    return name, channel, arguments, {}, None, b"", 0


def other(what: str, channel: int, shown: bytes = b"") -> Told:
    return what, channel, {"octets": shown} if shown else {}, {}, None, b"", 0


def publish(size: int, body: bytes, missing: int = 0, **properties: Any) -> Told:
    return "basic.publish", 1, PUBLISHED, properties, size, body, missing


CASES: List[Tuple[bytes, List[Told]]] = [
    (HEADER, [other("protocol header", 0, HEADER)]),
    (HEADER + HEARTBEAT, [other("protocol header", 0, HEADER), other("heartbeat", 0)]),
    (OPEN, [method("channel.open", out_of_band="")]),
    (PUBLISH + NOTHING, [publish(0, b"")]),
    (PUBLISH + PROPERTIES + BODY[0] + BODY[1] + OPEN,
     [publish(6, b"abcd", content_type="t"), method("channel.open", out_of_band="")]),
    (PUBLISH + PROPERTIES + HEARTBEAT + BODY[0] + CLOSE_OK,  # cut by a close
     [other("heartbeat", 0), publish(6, b"ab", 4, content_type="t"), method("channel.close_ok")]),
    (PUBLISH + CLOSE_OK, [publish(0, b""), method("channel.close_ok")]),
    (BODY[1], [other("body", 1, b"cdef")]),
    (PROPERTIES, [other("content header", 1, b"\x00\x3c\x00\x00")]),
    (frame(1, 1, b"\x00\x63\x00\x01more"), [other("unknown method", 1, b"\x00\x63\x00\x01more")]),
    (frame(1, 1, b"\x00"), [other("unknown method", 1, b"\x00")]),
    (frame(1, 1, b"\x00\x14\x00\x0a\x05ab"), [method("channel.open", unreadable=b"\x05ab")]),
    (PUBLISH + frame(2, 1, b"\x00\x3c" + bytes(10) + b"\x80\x00\x09"), [publish(0, b"", unreadable=b"\x80\x00\x09")]),
    (b"HTTP/1.1 400 Bad Request", [other("no AMQP", 0, b"HTTP")]),
    (b"ABCDEFGH", [other("no AMQP", 0, b"ABCD")]),
    (OPEN[:-1] + b"\x00" + OPEN, [other("no AMQP", 0, OPEN[7:11])]),
]  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), CASES)
def test_what_goes_by(data: bytes, expected: List[Told]) -> None:
    watcher = Watcher(AMQP_0_9_1, SHOWN)
    assert told(AMQP_0_9_1, watcher.feed(data)) == expected
    assert watcher.lost == (expected[-1][0] == "no AMQP")


@pytest.mark.parametrize(("data", "expected"), CASES)
def test_octet_by_octet(data: bytes, expected: List[Told]) -> None:
    watcher, found = Watcher(AMQP_0_9_1, SHOWN), []
    for position in range(len(data)):
        found += watcher.feed(memoryview(data)[position : position + 1])
    names = [each[0] for each in told(AMQP_0_9_1, found)]
    assert names == [each[0] for each in expected]
    if not watcher.lost:
        assert told(AMQP_0_9_1, found) == expected


def test_nothing_is_found_behind_what_is_no_amqp() -> None:
    watcher = Watcher(AMQP_0_9_1, SHOWN)
    assert len(watcher.feed(b"SSH-2.0-OpenSSH\r\n")) == 1
    assert watcher.feed(OPEN) == []


def test_channels_do_not_mix() -> None:
    second = PUBLISH.replace(b"\x01\x00\x01", b"\x01\x00\x02", 1) + NOTHING.replace(b"\x02\x00\x01", b"\x02\x00\x02", 1)
    found = Watcher(AMQP_0_9_1, SHOWN).feed(PUBLISH + PROPERTIES + BODY[0] + second + BODY[1])
    assert [(passage.channel, passage.body) for passage in found] == [(2, b""), (1, b"abcd")]


def test_what_is_long_is_kept_in_part() -> None:
    head = frame(1, 1, b"\x00\x14\x00\x0a" + b"x" * 100_000)
    (passage,) = Watcher(AMQP_0_9_1, SHOWN).feed(head)
    assert len(passage.method) == 65536
    assert passage.channel == 1


SECRETS: List[Tuple[str, Tuple[Any, ...], str]] = [
    ("connection.start_ok", ({}, "PLAIN", "hidden", "en_US"), "response"),
    ("connection.secure", ("hidden",), "challenge"),
    ("connection.secure_ok", ("hidden",), "response"),
    ("connection.update_secret", ("hidden", "because"), "new_secret"),
]


@pytest.mark.parametrize("dialect", [AMQP_0_8, AMQP_0_9_1], ids=["0-8", "0-9-1"])
@pytest.mark.parametrize(("name", "arguments", "field"), SECRETS)
def test_secrets(dialect: Dialect, name: str, arguments: Tuple[Any, ...], field: str) -> None:
    if name not in dialect:
        return
    data = Sender(dialect).method(0, dialect[name], arguments)
    assert b"hidden" in data
    (passage,) = Watcher(dialect, SHOWN).feed(data)
    found, shown, properties = read(dialect, passage)
    assert (found, properties) == (name, {})
    before = [each for each, _ in dialect[name].fields]
    assert list(shown) == before[: before.index(field) + 1]
    assert shown[field] == HIDDEN
    assert "hidden" not in repr(shown) + repr(passage) + repr(passage[2][:100])
    # nor where it was cut short
    for size in range(4, len(data) - 8):
        (passage,) = Watcher(dialect, SHOWN).feed(frame(1, 0, data[7 : 7 + size]))
        found, shown, _ = read(dialect, passage)
        assert (found, shown[field]) == (name, HIDDEN)
        assert "hidden" not in repr(shown) + repr(passage)


def test_the_ids_of_each_dialect() -> None:
    close = octets("01 00 00 00 00 00 04 00 0a 00 3d ce")
    for dialect, name in (AMQP_0_8, "connection.close_ok"), (AMQP_0_9_1, "connection.unblocked"):
        assert told(dialect, Watcher(dialect, SHOWN).feed(close)) == [method(name, 0)]


@examples(300)
@given(st.lists(st.binary(max_size=40) | st.sampled_from([data for data, _ in CASES])))
def test_any_octets(pieces: List[bytes]) -> None:
    """Whatever it is, looking on ends in nothing, and does not depend on how it was cut up."""
    watcher, other_one = Watcher(AMQP_0_9_1, SHOWN), Watcher(AMQP_0_9_1, SHOWN)
    cut = [passage for piece in pieces for passage in watcher.feed(piece)]
    whole = other_one.feed(b"".join(pieces))
    assert watcher.lost == other_one.lost
    assert cut[: len(cut) - watcher.lost] == whole[: len(whole) - other_one.lost]
    for passage in whole:
        read(AMQP_0_9_1, passage)
