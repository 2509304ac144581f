"""Proves that a header longer than header_max costs its message, and nothing else, and that nothing of it is held."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqplib.wire.content import Oversize
from amqplib.wire.protocol import DEFAULT_HEADER_MAX, Receiver, Sender
from amqplib.wire.spec import AMQP_0_9_1

from .helpers import blame, cut_up, examples, feed, one_by_one, receiver

GET_EMPTY = Sender(AMQP_0_9_1).method(1, AMQP_0_9_1["basic.get_empty"], ("",))
DELIVERED = ("tag", 7, True, "ex", "key")
GOT = (7, False, "ex", "key", 0)


def message(name: str, args: Tuple[Any, ...], size: int, body: bytes = b"", frame_max: int = 64) -> bytes:
    """A message whose properties have `size` octets."""
    properties = {"application_headers": {"h": b"x" * (size - 13)}}
    pieces = Sender(AMQP_0_9_1).content_pieces(1, AMQP_0_9_1[name], args, properties, body)
    return bytes(pieces[0]) + b"".join(
        b"\x03\0\x01" + len(part).to_bytes(4, "big") + part + b"\xce"
        for part in (body[start : start + frame_max] for start in range(0, len(body), frame_max))
    )


def limited(header_max: int = 100, frame_max: int = 64) -> Receiver:
    one = receiver(header_max=header_max)
    one.frame_max = frame_max
    return one


def events(one: Receiver, *pieces: bytes) -> List[Any]:
    return [event for piece in pieces for event in one.receive(piece)]


def left_out(one: Receiver) -> List[Tuple[int, Tuple[Any, ...], str]]:
    return [(channel, args, str(why)) for channel, args, why in one.left_out]


def test_the_default() -> None:
    assert DEFAULT_HEADER_MAX == 1024 * 1024
    one = receiver()
    one.frame_max = 4096
    fits = message("basic.deliver", DELIVERED, DEFAULT_HEADER_MAX - 12, b"body")
    over = message("basic.deliver", DELIVERED, DEFAULT_HEADER_MAX - 11, b"body")
    assert [whole.body for *_, whole in events(one, fits)] == [b"body"]
    assert feed(one, [over]) == []
    assert left_out(one) == [
        (1, DELIVERED, "a content header frame of 1048577 octets; the limit is 1048576 (header_max)")
    ]
    assert blame(one) == 0


@pytest.mark.parametrize("body", [b"", b"x", b"x" * 64, b"x" * 65, b"x" * 1000], ids=lambda body: str(len(body)))
def test_one_over_frame_max_is_a_message_like_others(body: bytes) -> None:
    wire = message("basic.deliver", DELIVERED, 88, body)
    for pieces in ([wire + GET_EMPTY], one_by_one(wire + GET_EMPTY)):
        one = limited()
        (_, method, _, whole), (_, after, _, _) = events(one, *pieces)
        assert (method.name, after.name) == ("basic.deliver", "basic.get_empty")
        assert (whole.body, whole.properties["application_headers"]) == (body, {"h": b"x" * 75})


@pytest.mark.parametrize("body", [b"", b"x", b"x" * 64, b"x" * 65, b"x" * 1000], ids=lambda body: str(len(body)))
def test_one_over_header_max_is_left_out(body: bytes) -> None:
    wire = message("basic.deliver", DELIVERED, 89, body)
    for pieces in ([wire + GET_EMPTY], one_by_one(wire + GET_EMPTY), [wire, GET_EMPTY]):
        one = limited()
        assert [each[1] for each in feed(one, pieces)] == ["basic.get_empty"]
        assert left_out(one) == [(1, DELIVERED, "a content header frame of 101 octets; the limit is 100 (header_max)")]
        assert (blame(one), one.contents) == (0, 0)
        assert one.frames == 3 + -(-len(body) // 64)


def test_who_waits_for_it_is_told() -> None:
    one = limited()
    ((_, method, args, why),) = events(one, message("basic.get_ok", GOT, 89, b"x"))
    assert (method.name, args, one.left_out) == ("basic.get_ok", GOT, [])
    assert isinstance(why, Oversize)
    assert (why.size, why.limit, why.option) == (101, 100, "header_max")


def test_a_body_frame_over_frame_max() -> None:
    wire = message("basic.deliver", DELIVERED, 50, b"x" * 100, frame_max=65)
    for pieces in ([wire + GET_EMPTY], one_by_one(wire + GET_EMPTY)):
        one = limited()
        assert [each[1] for each in feed(one, pieces)] == ["basic.get_empty"]
        assert left_out(one) == [(1, DELIVERED, "a body frame of 65 octets; the limit is 64 (frame_max)")]


REFUSED: Dict[str, Tuple[bytes, int, str]] = {
    "a method": (
        b"\x01\0\x01\0\0\0\x65" + b"x" * 25,
        501,
        "a frame of 109 octets, a method; the limit is 100 (header_max, which Connection() takes): 01 00 01",
    ),
    "a returned message": (
        message("basic.return", (312, "NO_ROUTE", "", "q"), 89),
        501,
        "a frame of 109 octets, a content header of basic.return; the limit is 100",
    ),
    "a header without a method": (b"\x02\0\x01\0\0\0\x65" + b"x" * 25, 501, "a frame of 109 octets, a content header;"),
    "a body without a method": (b"\x03\0\x01\0\0\0\x65" + b"x" * 25, 501, "a frame of 109 octets; 64 were agreed on"),
    "a heartbeat": (b"\x08\0\0\0\0\0\x65" + b"x" * 25, 501, "a frame of 109 octets; 64 were agreed on"),
    "more body than announced": (
        message("basic.deliver", DELIVERED, 50, b"x" * 60)[:-68] + b"\x03\0\x01\0\0\0\x65" + b"x" * 101,
        501,
        "a frame of 109 octets; 64 were agreed on",
    ),
    "a header of another class": (
        message("basic.deliver", DELIVERED, 89).replace(b"\0\0\x65\0\x3c\0\0", b"\0\0\x65\0\x46\0\0"),
        501,
        "a content header of class 70 where class 60 is due",
    ),
    "a wrong end": (message("basic.deliver", DELIVERED, 89)[:-1] + b"x", 501, "the frame's end octet is 0x78"),
    "no body": (message("basic.deliver", DELIVERED, 89, b"xy")[:-10] + GET_EMPTY, 505, "a method frame on channel 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_costs_the_connection(name: str) -> None:
    wire, code, words = REFUSED[name]
    for pieces in ([wire], one_by_one(wire)):
        one = limited()
        assert feed(one, pieces) == []
        assert blame(one) == code
        assert str(one.error).startswith(words)


def test_a_channel_that_is_closed_in_the_middle_of_it() -> None:
    wire = message("basic.deliver", DELIVERED, 89, b"xy")
    one = limited()
    feed(one, [wire[:100]])
    one.forget(1)
    feed(one, [wire[100:]])
    assert blame(one) == 504


def test_nothing_of_it_is_held() -> None:
    """A header of 4 GB: what comes of it is counted, and a body of 16 EB behind it, too."""
    header = b"\x02\0\x01\xff\xff\xff\xff" + b"\0\x3c\0\0" + b"\xff" * 8
    one = limited(header_max=4096, frame_max=4096)
    wire = message("basic.deliver", DELIVERED, 20)
    feed(one, [wire[: wire.index(b"\xce") + 1], header])
    for _ in range(100):
        feed(one, [b"x" * 65536])
    assert (one._held, one.error, one.left_out) == (0, None, [])


@examples(100)
@given(
    data=st.data(),
    parts=st.lists(
        st.builds(
            message,
            st.just("basic.deliver"),
            st.just(DELIVERED),
            st.integers(80, 100),
            st.binary(max_size=200),
            frame_max=st.integers(60, 68),
        ),
        max_size=4,
    ),
)
def test_however_it_is_cut(data: st.DataObject, parts: List[bytes]) -> None:
    stream, found = b"".join(parts), []
    for pieces in ([stream], list(one_by_one(stream)), data.draw(cut_up(stream))):
        one = limited()
        found.append((feed(one, pieces), left_out(one), one.frames, one.contents))
        assert blame(one) == 0
    assert found[0] == found[1] == found[2]
    assert len(found[0][0]) + len(found[0][1]) == len(parts)


def test_a_long_header_and_then_a_long_body_frame() -> None:
    """The first reason is the one that is told."""
    one = limited()
    wire = message("basic.deliver", DELIVERED, 200, b"y" * 100, frame_max=100)
    assert events(one, wire + GET_EMPTY)[-1][1].name == "basic.get_empty"
    ((channel, args, why),) = left_out(one)
    assert (channel, args) == (1, DELIVERED)
    assert "header_max" in why
