"""The server's end of the wire: runs and single frames give the same; channels open and close in order."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqplib.wire import content, frames
from amqplib.wire.protocol import Sender
from amqplib.wire.server import Properties, PublishReader, ServerReceiver, content_frames
from amqplib.wire.spec import AMQP_0_8, AMQP_0_9_1
from amqplib.wire.tables import UndecodedField
from tests.wire.helpers import cut_up, examples, frame, octets, one_by_one, shortstrs, split_frames, tables, utc_times

PUBLISH = AMQP_0_9_1["basic.publish"]

#: channel, method's name, arguments, (properties' bytes, their values, body)
Seen = Tuple[int, str, Tuple[Any, ...], Any]


def receiver(hot: bool = True, channels: Tuple[int, ...] = (1, 2), **options: Any) -> ServerReceiver:
    made = ServerReceiver(AMQP_0_9_1, lambda properties, body: (properties.raw, properties.values, body), **options)
    made.channels.update(channels)
    if not hot:
        made._runs = {}
    return made


def feed(to: ServerReceiver, *pieces: bytes) -> List[Seen]:
    events = [event for piece in pieces for event in to.receive(piece)]
    return [(channel, method.name, args, whole) for channel, method, args, whole in events]


def published(
    channel: int, args: Tuple[Any, ...], properties: Dict[str, Any], body: bytes, frame_max: int = 0
) -> bytes:
    """A publish by the plain codecs, one frame after the other."""
    header = content.encode_header(content.BASIC.encode(properties), len(body))
    pieces = [
        frames.encode_frame(frames.METHOD, channel, PUBLISH.encode(*args)),
        frames.encode_frame(frames.HEADER, channel, header),
        *frames.encode_body(channel, body, frame_max),
    ]
    return b"".join(pieces)


def method(name: str, *args: Any, channel: int = 1) -> bytes:
    return Sender(AMQP_0_9_1).method(channel, AMQP_0_9_1[name], args)


publishes = st.tuples(
    st.sampled_from([1, 2]),
    st.tuples(st.just(0), shortstrs, shortstrs, st.booleans(), st.booleans()),
    st.fixed_dictionaries(
        {}, optional={"content_type": shortstrs, "priority": st.integers(0, 255), "timestamp": utc_times}
    )
    | st.fixed_dictionaries({"application_headers": tables}),
    st.binary(max_size=40),
)


@examples(200)
@given(st.data(), st.lists(publishes, min_size=1, max_size=5), st.sampled_from([0, 16, 32]))
def test_runs_and_single_frames_give_the_same(
    data: st.DataObject, given_: List[Tuple[Any, ...]], frame_max: int
) -> None:
    wire = b"".join(published(channel, args, properties, body, frame_max) for channel, args, properties, body in given_)
    expected = [
        (channel, "basic.publish", args, (content.BASIC.encode(properties), properties, body))
        for channel, args, properties, body in given_
    ]
    assert feed(receiver(), wire) == expected
    assert feed(receiver(hot=False), wire) == expected
    assert feed(receiver(), *data.draw(cut_up(wire))) == expected


def test_byte_by_byte_and_what_is_left() -> None:
    wire = published(1, (0, "e", "k", True, False), {"priority": 3}, b"body")
    expected = [(1, "basic.publish", (0, "e", "k", True, False), (octets("08 00 03"), {"priority": 3}, b"body"))]
    assert feed(receiver(), *one_by_one(wire)) == expected
    one = receiver()
    assert feed(one, wire + wire[:-1]) == expected
    assert feed(one, wire[-1:]) == expected
    assert one.error is None


def test_every_octet_changed() -> None:
    """The run reader never takes what the plain way refuses, nor reads it differently."""
    sound = published(1, (0, "ex", "key", False, False), {"priority": 3}, b"body") * 2
    for place in range(len(sound)):
        for value in (0, 1, 2, 3, 255, sound[place] ^ 1):
            wire = sound[:place] + bytes([value]) + sound[place + 1 :]
            hot, plain = receiver(), receiver(hot=False)
            assert feed(hot, wire) == feed(plain, wire)
            assert (hot.error and hot.error.reply_code) == (plain.error and plain.error.reply_code)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 100])
def test_limits_hold_in_runs(size: int) -> None:
    """A frame over the limit is refused, and a body over it."""
    wire = published(1, (0, "", "k", False, False), {}, b"x" * size)
    one = receiver()
    one.frame_max = 32
    assert len(feed(one, wire)) == (size <= 32)
    assert (one.error and one.error.reply_code) == (None if size <= 32 else 501)
    small = receiver(body_max=32)
    assert len(feed(small, wire)) == (size <= 32)
    assert (small.error and small.error.reply_code) == (None if size <= 32 else 501)


def test_memories_are_bounded() -> None:
    one = receiver()
    for n in range(1200):
        wire = published(1, (0, "", "key %d" % n, False, False), {"message_id": str(n)}, b"")
        ((_, _, args, (_, values, _)),) = feed(one, wire)
        assert (args[2], values) == ("key %d" % n, {"message_id": str(n)})
    (reader,) = one._runs.values()
    assert isinstance(reader, PublishReader)
    assert 0 < len(reader._args) <= 512
    assert 0 < len(reader._properties) <= 512


def test_properties_with_fields_that_cannot_be_read() -> None:
    undecoded = UndecodedField(b"?\x01")
    wire = published(1, (0, "", "k", False, False), {"application_headers": {"odd": undecoded}}, b"x")
    for hot in (True, False):
        one = ServerReceiver(AMQP_0_9_1, lambda properties, body: properties)
        one.channels.add(1)
        if not hot:
            one._runs = {}
        ((_, _, _, properties),) = one.receive(wire)
        assert properties.undecoded == (("odd", undecoded, 1),)
        assert one.reading.undecoded == []


def test_properties_of_values() -> None:
    made = Properties.of({"priority": 3})
    assert (made.raw, made.values, made.undecoded) == (octets("08 00 03"), {"priority": 3}, ())


# --- channels ----------------------------------------------------------------------------------------------


def test_channels_open_and_close_in_the_order_of_the_stream() -> None:
    one = receiver(channels=())
    publish = published(1, (0, "", "k", False, False), {}, b"x")
    start = published(1, (0, "", "k", False, False), {}, b"xyz")[:-4]
    wire = b"".join(
        (
            method("channel.open", ""),
            publish,
            start,  # the content is not finished, and never will be
        )
    )
    assert [name for _, name, _, _ in feed(one, wire)] == ["channel.open", "basic.publish"]
    again = receiver(channels=())
    wire = method("channel.open", "") + method("channel.close", 200, "", 0, 0) + method("channel.open", "") + publish
    assert [name for _, name, _, _ in feed(again, wire)] == [
        "channel.open",
        "channel.close",
        "channel.open",
        "basic.publish",
    ]
    assert again.channels == {0, 1}


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (method("queue.purge", 0, "q", False, channel=3), 504),
        (published(3, (0, "", "k", False, False), {}, b"x"), 504),
        (frame(3, 3, b"x"), 504),
        (frame(1, 3, b"\x00"), 504),
        (method("channel.open", "", channel=5), None),
        (method("channel.close_ok", channel=3), None),  # it crossed with a close
        (frame(1, 1, octets("00 63 00 01")), 503),
        (frame(1, 1, octets("00 3C 00 28 00 00 05 'ab'")), 502),
        (frame(2, 1, b""), 505),
        (b"GET / HTTP/1.1\r\n", 501),
        (frame(8, 0, b""), None),
    ],
)
def test_what_is_wrong(wire: bytes, code: Optional[int]) -> None:
    one = receiver()
    feed(one, wire)
    assert (one.error and one.error.reply_code) == code


def test_any_number() -> None:
    one = receiver()
    assert feed(one, method("channel.open", "", channel=65535)) == [(65535, "channel.open", ("",), None)]


def test_a_close_ok_closes() -> None:
    one = receiver()
    assert feed(one, method("channel.close_ok")) == [(1, "channel.close_ok", (), None)]
    assert one.channels == {0, 2}


def test_0_8_too() -> None:
    one = ServerReceiver(AMQP_0_8, lambda properties, body: body)
    events = one.receive(Sender(AMQP_0_8).method(1, AMQP_0_8["channel.open"], ("",)))
    assert [(channel, name.name) for channel, name, _, _ in events] == [(1, "channel.open")]


# --- contents to be sent -----------------------------------------------------------------------------------


@examples(100)
@given(st.dictionaries(st.sampled_from(["priority", "delivery_mode"]), st.integers(0, 255)), st.integers(0, 300))
@pytest.mark.parametrize("frame_max", [0, 64, 108, 4096])
def test_content_frames(frame_max: int, properties: Dict[str, Any], size: int) -> None:
    body = bytes(n % 256 for n in range(size))
    deliver = AMQP_0_9_1["basic.deliver"]
    payload = deliver.encode("tag", 7, False, "e", "k")
    made = content_frames(3, payload, content.BASIC.encode(properties), body, frame_max)
    header = content.encode_header(content.BASIC.encode(properties), len(body))
    parts = split_frames(made)
    assert [(kind, channel) for kind, channel, _ in parts[:2]] == [(1, 3), (2, 3)]
    assert [parts[0].payload, parts[1].payload] == [payload, header]
    assert b"".join(part.payload for part in parts[2:]) == body
    assert all(part.type == 3 and (not frame_max or len(part.payload) + 8 <= frame_max) for part in parts[2:])
    assert len(parts[2:]) == (-(-len(body) // (frame_max - 8)) if frame_max else bool(body))
