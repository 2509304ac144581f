"""Proves how frames are written: their layout, and how a body is split into frames that frame_max allows."""

from __future__ import annotations

from typing import List, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqplib.wire.frames import BODY, END, HEADER, HEARTBEAT, METHOD, OVERHEAD, TYPES, encode_body, encode_frame

from .helpers import RawFrame, examples, octets, split_frames


def test_constants() -> None:
    """AMQP 0-9-1, section 1.2 (constants). 0-8 also had frame types 4 to 7, which no broker uses."""
    assert (METHOD, HEADER, BODY, HEARTBEAT, END) == (1, 2, 3, 8, 206)
    assert set(TYPES) == {1, 2, 3, 8}


@pytest.mark.parametrize(
    ("kind", "channel", "payload", "data"),
    [
        (HEARTBEAT, 0, b"", "08 0000 00000000 CE"),
        (METHOD, 1, b"\x00\x0a\x00\x29\x00", "01 0001 00000005 000A002900 CE"),
        (HEADER, 256, b"x", "02 0100 00000001 78 CE"),
        (BODY, 65535, 258 * b"x", "03 FFFF 00000102" + 258 * "78" + "CE"),
    ],
)
def test_frame(kind: int, channel: int, payload: bytes, data: str) -> None:
    assert encode_frame(kind, channel, payload) == octets(data)
    assert len(octets(data)) == len(payload) + OVERHEAD


def test_body() -> None:
    one = octets("03 0007 00000003 'abc' CE")
    two = octets("03 0007 00000002 'de' CE")
    assert b"".join(encode_body(7, b"abcde", 11)) == one + two
    assert b"".join(encode_body(7, b"abc", 11)) == one
    assert b"".join(encode_body(7, b"abcde", 0)) == octets("03 0007 00000005 'abcde' CE")
    assert encode_body(7, b"", 11) == encode_body(7, b"", 0) == []


def bodies(pieces: List[Union[bytes, memoryview]]) -> List[RawFrame]:
    return split_frames(b"".join(pieces))


@pytest.mark.parametrize("frame_max", [9, 16, 64, 4096])
def test_sizes_around_frame_max(frame_max: int) -> None:
    room = frame_max - 8
    for count in range(4):
        for size in range(max(0, count * room - 2), count * room + 3):
            body = bytes(i % 251 for i in range(size))
            found = bodies(encode_body(1, body, frame_max))
            assert [len(one.payload) for one in found] == [room] * (size // room) + [size % room] * bool(size % room)
            assert b"".join(one.payload for one in found) == body


@examples(150)
@given(channel=st.integers(0, 65535), body=st.binary(max_size=300), frame_max=st.just(0) | st.integers(9, 320))
def test_frames_make_up_the_body(channel: int, body: bytes, frame_max: int) -> None:
    found = bodies(encode_body(channel, body, frame_max))
    assert b"".join(one.payload for one in found) == body
    assert {(one.type, one.channel) for one in found} <= {(BODY, channel)}
    assert all(one.payload for one in found)
    assert not frame_max or all(len(one.payload) + 8 <= frame_max for one in found)
