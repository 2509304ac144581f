"""Proves what the receiver makes of bytes.

Each wire case is a row of literal bytes and the events that they are, run whole, byte by byte, in random pieces,
followed by the beginning of another frame, and written back. Generated streams, sound and unsound, prove that events
and errors do not depend on how the bytes were cut up. What is wrong, and how that is said, is in test_protocol_errors.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqplib.wire.errors import PeerError, ProtocolHeaderReceived
from amqplib.wire.protocol import DEFAULT_BODY_MAX, Receiver, Sender
from amqplib.wire.spec import AMQP_0_8, AMQP_0_9_1, Dialect
from amqplib.wire.tables import UndecodedField

from .helpers import (
    DELIVER,
    EMPTY_SEEN,
    GET_EMPTY,
    HEADER_OF_3,
    HEARTBEAT,
    Content,
    Seen,
    arguments,
    blame,
    cut_up,
    delivery,
    examples,
    feed,
    frame,
    octets,
    one_by_one,
    outcome,
    receiver,
    split_frames,
)


class Case(NamedTuple):
    wire: str
    events: List[Seen]
    #: With this frame_max the events are written as the very same bytes; None: they are not.
    frame_max: Optional[int] = 0
    dialect: Dialect = AMQP_0_9_1


CASES: Dict[str, Case] = {
    "nothing": Case("", []),
    "a method": Case(GET_EMPTY, [EMPTY_SEEN]),
    "a method without arguments": Case("01 0000 00000004 000A 0033 CE", [(0, "connection.close_ok", (), None)]),
    "an id of the other dialect": Case(
        "01 0000 00000004 000A 003D CE", [(0, "connection.unblocked", (), None)], dialect=AMQP_0_9_1
    ),
    "the same id here": Case("01 0000 00000004 000A 003D CE", [(0, "connection.close_ok", (), None)], dialect=AMQP_0_8),
    "the first frame of a connection": Case(
        "01 0000 0000002A 000A 000A 08 00 0000000E 01'a' 46 00000007 01'b' 49 00000001"
        "00000005 'PLAIN' 00000005 'en_US' CE",
        [(0, "connection.start", (8, 0, {"a": {"b": 1}}, "PLAIN", "en_US"), None)],
        dialect=AMQP_0_8,
    ),
    "an end octet within a payload": Case(
        "01 0001 00000008 0014 000B 00000000 CE 01 0001 00000009 0014 000B 00000001 'x' CE",
        [(1, "channel.open_ok", ("",), None), (1, "channel.open_ok", ("x",), None)],
    ),
    "methods of three channels": Case(
        "01 0003 00000004 0032 0015 CE 01 0001 00000004 005A 000B CE 01 0000 00000007 000A 003C 02'hi' CE",
        [
            (3, "queue.bind_ok", (), None),
            (1, "tx.select_ok", (), None),
            (0, "connection.blocked", ("hi",), None),
        ],
    ),
    "an empty body": Case(
        DELIVER + "02 0001 0000000E 003C 0000 0000000000000000 0000 CE" + GET_EMPTY,
        [delivery(1, b""), EMPTY_SEEN],
    ),
    "a body of one frame": Case(
        DELIVER + "02 0001 0000000F 003C 0000 0000000000000005 1000 02 CE" + "03 0001 00000005 'hello' CE" + GET_EMPTY,
        [delivery(1, b"hello", delivery_mode=2), EMPTY_SEEN],
    ),
    "a body of three frames": Case(
        DELIVER + "02 0001 0000000E 003C 0000 0000000000000025 0000 CE"
        "03 0001 00000011 '0123456789abcdefg' CE 03 0001 00000011 'ABCDEFGHIJKLMNOPQ' CE 03 0001 00000003 'xyz' CE",
        [delivery(1, b"0123456789abcdefgABCDEFGHIJKLMNOPQxyz")],
        frame_max=25,
    ),
    "end octets in a body": Case(
        DELIVER + "02 0001 0000000E 003C 0000 0000000000000003 0000 CE 03 0001 00000003 CECECE CE",
        [delivery(1, b"\xce\xce\xce")],
    ),
    "body frames smaller than they could be, and empty ones": Case(
        DELIVER + "02 0001 0000000E 003C 0000 0000000000000003 0000 CE"
        "03 0001 00000000 CE 03 0001 00000001 'a' CE 03 0001 00000000 CE 03 0001 00000002 'bc' CE",
        [delivery(1, b"abc")],
        frame_max=None,
    ),
    "get_ok": Case(
        "01 0002 00000013 003C 0047 0000000000000001 01 00 00 00000009 CE"
        "02 0002 0000000E 003C 0000 0000000000000001 0000 CE 03 0002 00000001 'x' CE",
        [(2, "basic.get_ok", (1, True, "", "", 9), Content({}, b"x"))],
    ),
    "return": Case(
        "01 0001 00000012 003C 0032 0138 08'NO_ROUTE' 00 01'k' CE"
        "02 0001 0000000E 003C 0000 0000000000000001 0000 CE 03 0001 00000001 'x' CE",
        [(1, "basic.return", (312, "NO_ROUTE", "", "k"), Content({}, b"x"))],
    ),
    "publish, as a broker gets it": Case(
        "01 0001 0000000B 003C 0028 0000 01'x' 01'k' 01 CE"
        + "02 0001 0000000E 003C 0000 0000000000000001 0000 CE 03 0001 00000001 'x' CE",
        [(1, "basic.publish", (0, "x", "k", True, False), Content({}, b"x"))],
    ),
    "only heartbeats": Case(HEARTBEAT * 3, [], frame_max=None),
    "heartbeats between any two frames": Case(
        HEARTBEAT
        + DELIVER
        + HEARTBEAT
        + "02 0001 0000000E 003C 0000 0000000000000002 0000 CE"
        + HEARTBEAT
        + "03 0001 00000001 'a' CE"
        + HEARTBEAT
        + "03 0001 00000001 'b' CE"
        + HEARTBEAT
        + GET_EMPTY
        + HEARTBEAT,
        [delivery(1, b"ab"), EMPTY_SEEN],
        frame_max=None,
    ),
    "contents of two channels, interleaved": Case(
        DELIVER
        + DELIVER.replace("01 0001", "01 0002", 1)
        + "02 0002 0000000E 003C 0000 0000000000000002 0000 CE 03 0002 00000001 'A' CE"
        "02 0001 0000000E 003C 0000 0000000000000002 0000 CE 03 0001 00000001 'a' CE"
        + "01 0000 00000004 000A 003D CE 01 0003 00000004 0032 0015 CE"
        "03 0002 00000001 'B' CE 03 0001 00000001 'b' CE",
        [
            (0, "connection.unblocked", (), None),
            (3, "queue.bind_ok", (), None),
            delivery(2, b"AB"),
            delivery(1, b"ab"),
        ],
        frame_max=None,
    ),
    "fields of a later version": Case("01 0001 00000007 0032 0015 010203 CE", [(1, "queue.bind_ok", (), None)], None),
}

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@each_case
def test_whole(case: Case) -> None:
    one = receiver(case.dialect)
    assert feed(one, [octets(case.wire)]) == case.events
    assert one.error is None
    assert one.reading.undecoded == []


@each_case
def test_byte_by_byte(case: Case) -> None:
    """Every event comes with the last byte of its frame."""
    one, whole = receiver(case.dialect), octets(case.wire)
    seen: List[Seen] = []
    for count, byte in enumerate(one_by_one(whole), start=1):
        seen += feed(one, [byte])
        assert seen == feed(receiver(case.dialect), [whole[:count]])
    assert (seen, one.error) == (case.events, None)


@each_case
@examples(20)
@given(data=st.data())
def test_in_random_pieces(case: Case, data: st.DataObject) -> None:
    one = receiver(case.dialect)
    assert feed(one, data.draw(cut_up(octets(case.wire)))) == case.events
    assert one.error is None


@each_case
def test_trailing_bytes_wait(case: Case) -> None:
    whole, behind = octets(case.wire), octets(GET_EMPTY)
    for count in range(len(behind)):
        one = receiver(case.dialect)
        assert feed(one, [whole + behind[:count]]) == case.events
        assert feed(one, [behind[count:]]) == [EMPTY_SEEN]


@each_case
def test_written_back(case: Case) -> None:
    sender = Sender(case.dialect)
    assert sender.frame_max == 0
    sender.frame_max = case.frame_max or 0
    written = b""
    for channel, name, args, content in case.events:
        if content:
            written += sender.content(channel, case.dialect[name], args, *content)
        else:
            written += sender.method(channel, case.dialect[name], args)
    if case.frame_max is not None:
        assert written == octets(case.wire)
    assert feed(receiver(case.dialect), [written]) == case.events


def test_contents_are_made_by_the_callers_function() -> None:
    one = Receiver(AMQP_0_9_1, lambda properties, body: (body, properties), lambda seconds: seconds)  # type: ignore
    one.channels.add(1)
    wire = DELIVER + "02 0001 00000016 003C 0000 0000000000000001 0040 0000000000000009 CE 03 0001 00000001 'x' CE"
    ((_, method, _, content),) = one.receive(octets(wire))
    assert method is AMQP_0_9_1["basic.deliver"]
    assert content == (b"x", {"timestamp": 9})


def test_fields_that_cannot_be_read_are_collected() -> None:
    one = receiver()
    wire = DELIVER + "02 0001 00000015 003C 0000 0000000000000000 2000 00000003 01'h' 3F CE"
    start = "01 0000 0000001A 000A 000A 00 09 00000006 03'key' 7A 01 00000001 'P' 00000001 'e' CE"
    events = feed(one, [octets(start + wire)])
    assert one.error is None
    assert events[0][2] == (0, 9, {"key": b"z\x01"}, "P", "e")
    assert events[1] == delivery(1, b"", application_headers={"h": UndecodedField(b"?")})
    assert one.reading.undecoded == [("key", b"z\x01", 1), ("h", b"?", 1)]


# --- limits -----------------------------------------------------------------------------------------------


def test_the_longest_method() -> None:
    """One whose payload is of just that size passes: the overhead is not counted."""
    one = receiver(header_max=8)
    assert feed(one, [octets("01 0001 00000008 0014 000B 00000000 CE")]) == [(1, "channel.open_ok", ("",), None)]
    one.receive(octets("01 0001 00000009 0014 000B 00000001 'x' CE"))
    assert blame(one) == 501


def test_a_frame_over_the_limit_is_refused_before_its_payload_comes() -> None:
    one = receiver()
    one.frame_max = 4096
    prefix = octets("03 0001 40000000")
    assert feed(one, one_by_one(prefix)) == []
    assert blame(one) == 0
    one.receive(b"x")
    assert blame(one) == 501


def test_a_body_over_the_limit_is_refused_before_it_comes() -> None:
    one = receiver(body_max=1000)
    header = octets("02 0001 0000000E 003C 0000 00000000000003E9 0000 CE")
    one.receive(octets(DELIVER) + header[:-1])
    assert blame(one) == 0
    one.receive(header[-1:])
    assert blame(one) == 501


def test_bodies_up_to_the_limit() -> None:
    assert DEFAULT_BODY_MAX == 128 * 1024 * 1024
    for wire in (HEADER_OF_3, HEADER_OF_3.replace("03 0000 CE", "00 0000 CE")):
        one = receiver(body_max=3)
        one.receive(octets(DELIVER + wire))
        assert one.error is None


# --- channels ---------------------------------------------------------------------------------------------


def test_channels_are_opened_by_the_caller() -> None:
    one = Receiver(AMQP_0_9_1, Content, lambda seconds: seconds)  # type: ignore
    assert one.channels == {0}
    one.channels.add(1)
    assert feed(one, [octets(GET_EMPTY)]) == [EMPTY_SEEN]


def test_forget() -> None:
    """A channel opened again under its number has nothing to do with the content that was on its way."""
    one = receiver()
    one.receive(octets(DELIVER + HEADER_OF_3))
    one.forget(1)
    one.forget(9)
    assert one.channels == {0, 2, 3}
    one.channels.add(1)
    assert feed(one, [octets(GET_EMPTY)]) == [EMPTY_SEEN]
    one.forget(1)
    one.receive(octets(GET_EMPTY))
    assert one.error is not None
    assert (one.error.reply_code, str(one.error)) == (
        504,
        "a method frame for channel 1, which is not open: 01 00 01 00 00 00 05 00 3c 00 48 00 ce",
    )


# --- a protocol header instead of the first frame ---------------------------------------------------------

HEADERS = [AMQP_0_8.header, AMQP_0_9_1.header, b"AMQP\x03\x01\x00\x00", b"AMQP\x00\x01\x00\x00"]


@pytest.mark.parametrize("header", HEADERS)
def test_protocol_header(header: bytes) -> None:
    pieces = [[header[:cut], header[cut:]] for cut in range(9)]
    for chunks in [*pieces, list(one_by_one(header)), [header + b"and more"], [header[:3], header[3:] + header]]:
        one = receiver()
        assert feed(one, chunks) == []
        assert isinstance(one.error, ProtocolHeaderReceived)
        assert one.error.header == header
        assert one.error.reply_code == 501


def test_part_of_a_protocol_header_is_no_error_yet() -> None:
    for count in range(8):
        one = receiver()
        assert feed(one, [AMQP_0_8.header[:count]]) == []
        assert one.error is None


@pytest.mark.parametrize("wire", [b"AB", b"AMQ ", b"AMP", b"A\x00"])
def test_what_only_begins_like_one(wire: bytes) -> None:
    for chunks in ([wire], list(one_by_one(wire))):
        one = receiver()
        one.receive(b"")
        assert feed(one, chunks) == []
        assert one.error is not None
        assert str(one.error).startswith("not an AMQP frame: 41")
        assert not isinstance(one.error, ProtocolHeaderReceived)


def test_a_protocol_header_later_is_no_frame() -> None:
    one = receiver()
    assert feed(one, [octets(GET_EMPTY), AMQP_0_8.header]) == [EMPTY_SEEN]
    assert isinstance(one.error, PeerError)
    assert not isinstance(one.error, ProtocolHeaderReceived)


# --- generated streams ------------------------------------------------------------------------------------

dialects = st.sampled_from([AMQP_0_8, AMQP_0_9_1])

PROPERTIES: List[Dict[str, Any]] = [{}, {"delivery_mode": 2}, {"application_headers": {"x": [1, None]}, "type": "t"}]


@st.composite
def sound_frames(draw: st.DrawFn, dialect: Dialect, channel: int) -> Tuple[List[bytes], List[Seen]]:
    """What one channel receives: frames, and the events that they are. Bodies come in frames of any size."""
    sent: List[bytes] = []
    seen: List[Seen] = []
    sender = Sender(dialect)
    names = [name for name in dialect.by_name if name.startswith("connection.") == (channel == 0)]
    names += ["basic.deliver", "basic.get_ok"] if channel else []
    for name in draw(st.lists(st.sampled_from(names), max_size=4)):
        method = dialect[name]
        args = draw(arguments(method))
        if not method.has_content:
            sent.append(sender.method(channel, method, args))
            seen.append((channel, name, args, None))
            continue
        content = Content(draw(st.sampled_from(PROPERTIES)), draw(st.binary(max_size=40)))
        wire = sender.content(channel, method, args, *content)
        sent += [frame(*part) for part in split_frames(wire)[:2]]
        step = draw(st.integers(1, 40))
        sent += [frame(3, channel, content.body[i : i + step]) for i in range(0, len(content.body), step)]
        seen.append((channel, name, args, content))
    return sent, seen


@examples(150)
@given(data=st.data(), dialect=dialects)
def test_interleaved_channels_get_their_own(data: st.DataObject, dialect: Dialect) -> None:
    """Frames of several channels and heartbeats, shuffled, with each channel's own order kept."""
    channels = [0, 1, 2, 65535]
    made = {channel: data.draw(sound_frames(dialect, channel)) for channel in channels}
    left = {channel: list(sent) for channel, (sent, _) in made.items()}
    order = data.draw(st.permutations([channel for channel in channels for _ in left[channel]]))
    stream = b""
    for channel in order:
        stream += left[channel].pop(0) + octets(HEARTBEAT) * data.draw(st.integers(0, 1))
    one = receiver(dialect, channels)
    events = feed(one, data.draw(cut_up(stream)))
    assert one.error is None
    assert one.reading.undecoded == []
    for channel, (_, seen) in made.items():
        assert [event for event in events if event[0] == channel] == seen


@pytest.mark.parametrize("frame_max", [0, 64, 65, 100])
def test_bodies_of_all_sizes(frame_max: int) -> None:
    sender, one = Sender(AMQP_0_9_1), receiver()
    sender.frame_max = one.frame_max = frame_max
    publish = AMQP_0_9_1["basic.publish"]
    for size in range(210):
        body = bytes(range(size))
        wire = sender.content(1, publish, (0, "x", "k", False, False), {"delivery_mode": 2}, body)
        parts = split_frames(wire)
        assert [part.type for part in parts[:2]] == [1, 2]
        assert not frame_max or all(len(part.payload) <= frame_max - 8 for part in parts)
        pieces = [wire] if size % 2 else [wire[:-1], wire[-1:]]
        assert feed(one, pieces) == [
            (1, "basic.publish", (0, "x", "k", False, False), Content({"delivery_mode": 2}, body))
        ]
    assert one.error is None


METHOD_PAYLOADS = [
    "003C 003C 01't' 0000000000000007 00 00 00",
    "003C 0048 00",
    "003C 0047 0000000000000001 00 00 00 00000001",
    "0014 0028 0000 00 0000 0000",
    "000A 000A 00 09 00000004 01'a' 3F 00000000 00000000",
    "000A 003D",
    "FFFF FFFF",
]
HEADER_PAYLOADS = [
    "003C 0000 0000000000000000 0000",
    "003C 0000 0000000000000003 1000 02",
    "003C 0000 0000000000000003 2000 00000005 01'a' 3F 01'b'",
    "003C 0000 FFFFFFFFFFFFFFFF 0000",
    "003C 0000 0000000000000000 FFFF",
    "005A 0000 0000000000000000 0000",
]

numbers = st.sampled_from([0, 1, 1, 1, 2, 9])
unsound_frames = st.one_of(
    st.builds(frame, st.just(1), numbers, st.sampled_from(METHOD_PAYLOADS).map(octets)),
    st.builds(frame, st.just(2), numbers, st.sampled_from(HEADER_PAYLOADS).map(octets)),
    st.builds(frame, st.just(3), numbers, st.binary(max_size=4)),
    st.builds(frame, st.sampled_from([1, 2, 3, 8]), numbers, st.binary(max_size=20)),
    st.just(octets(HEARTBEAT)),
    st.sampled_from([octets(DELIVER), octets(DELIVER + HEADER_OF_3), octets(GET_EMPTY)]),
    st.binary(max_size=9),
    st.just(b"AMQP\x00\x00"),
)


@examples(500)
@given(
    data=st.data(), dialect=dialects, parts=st.lists(unsound_frames, max_size=10), frame_max=st.sampled_from([0, 32])
)
def test_any_bytes_give_the_same_however_they_are_cut(
    data: st.DataObject, dialect: Dialect, parts: List[bytes], frame_max: int
) -> None:
    """No exception, and no other error than the five."""
    stream = b"".join(parts)
    found = []
    for pieces in ([stream], list(one_by_one(stream)), data.draw(cut_up(stream))):
        one = receiver(dialect, (1, 2), body_max=1000)
        one.frame_max = frame_max
        found.append((outcome(one, pieces), one.reading.undecoded))
        assert blame(one) in (0, 501, 502, 503, 504, 505)
    assert found[0] == found[1] == found[2]


@examples(200)
@given(data=st.data(), stream=st.binary(max_size=200))
def test_arbitrary_bytes(data: st.DataObject, stream: bytes) -> None:
    pieces = data.draw(cut_up(stream))
    assert outcome(receiver(), pieces) == outcome(receiver(), [stream])
