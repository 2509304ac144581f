"""Proves what the receiver makes of bytes, and the sender of methods.

Each wire case is a row of literal bytes and the events that they are, run whole, byte by byte, in random pieces,
followed by the beginning of another frame, and written back. Each error is a row as well: its reply code, its
text, and that it is the last thing that a receiver says. Generated streams, sound and unsound, prove that events
and errors do not depend on how the bytes were cut up.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqplib.wire.errors import LocalError, PeerError, ProtocolHeaderReceived
from amqplib.wire.protocol import DEFAULT_MAX_BODY, Receiver, Sender
from amqplib.wire.spec import AMQP_0_8, AMQP_0_9_1, Dialect
from amqplib.wire.tables import UndecodedField

from .helpers import Content, Seen, arguments, cut_up, examples, feed, frame, octets, one_by_one, receiver, split_frames

HEARTBEAT = "08 0000 00000000 CE"

DELIVER = "01 0001 00000011 003C 003C 01't' 0000000000000007 00 00 00 CE"
DELIVER_ARGS = ("t", 7, False, "", "")
GET_EMPTY = "01 0001 00000005 003C 0048 00 CE"
EMPTY_SEEN: Seen = (1, "basic.get_empty", ("",), None)


def delivery(channel: int, body: bytes, **properties: Any) -> Seen:
    return channel, "basic.deliver", DELIVER_ARGS, Content(properties, body)


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
    assert one.reading.undecoded == [("key", b"z\x01"), ("h", b"?")]


# --- errors -----------------------------------------------------------------------------------------------


class Wrong(NamedTuple):
    wire: str
    code: int
    text: str
    options: Dict[str, Any] = {}  # noqa: RUF012
    sig: Tuple[int, int] = (0, 0)


HEADER_OF_3 = "02 0001 0000000E 003C 0000 0000000000000003 0000 CE"
GET = "01 0001 00000009 003C 0046 0000 01'q' 00 CE"

WRONG: Dict[str, Wrong] = {
    "HTTP": Wrong("'HTTP/1.1 400 Bad'", 501, "not an AMQP frame: 48 54 54 50 2f 31 2e 31 20 34 30 30 20 42 61 64"),
    "TLS": Wrong("15 03 03 00 02 02 46", 501, "not an AMQP frame: 15 03 03 00 02 02 46"),
    "frame type 0": Wrong("00", 501, "not an AMQP frame: 00"),
    "a frame type of AMQP 0-8 that nobody uses": Wrong(
        "04 0001 00000000 CE", 501, "not an AMQP frame: 04 00 01 00 00 00 00 ce"
    ),
    "a long one is shortened": Wrong("FF" + 40 * "00", 501, "not an AMQP frame: ff" + 31 * " 00" + " ... (41 bytes)"),
    "an end octet": Wrong(
        "01 0001 00000004 0032 0015 CF", 501, "the frame's end octet is 0xcf: 01 00 01 00 00 00 04 00 32 00 15 cf"
    ),
    "a heartbeat's end octet": Wrong(
        "08 0000 00000000 00", 501, "the frame's end octet is 0x00: 08 00 00 00 00 00 00 00"
    ),
    "a frame over the limit": Wrong(
        "01 0001 00000039 00", 501, "a frame of 65 octets; 64 were agreed on: 01 00 01 00 00 00 39", {"frame_max": 64}
    ),
    "a frame of 4 GB": Wrong(
        "03 0001 FFFFFFFF 00",
        501,
        "a frame of 4294967303 octets; 4096 were agreed on: 03 00 01 ff ff ff ff",
        {"frame_max": 4096},
    ),
    "a heartbeat on a channel": Wrong("08 0001 00000000 CE", 501, "a heartbeat on channel 1 with 0 octets"),
    "a heartbeat with a payload": Wrong("08 0000 00000001 00 CE", 501, "a heartbeat on channel 0 with 1 octets"),
    "a content of another class": Wrong(
        DELIVER + "02 0001 0000000E 0046 0000 0000000000000000 0000 CE",
        501,
        "a content header of class 70 where class 60 is due",
    ),
    "a body over the limit": Wrong(
        DELIVER + HEADER_OF_3, 501, "a body of 3 octets is announced; the limit is 2", {"max_body": 2}
    ),
    "a body over the default limit": Wrong(
        DELIVER + "02 0001 0000000E 003C 0000 0000000008000001 0000 CE",
        501,
        "a body of 134217729 octets is announced; the limit is 134217728",
    ),
    "a body of 16 EB": Wrong(
        DELIVER + "02 0001 0000000E 003C 0000 FFFFFFFFFFFFFFFF 0000 CE",
        501,
        "a body of 18446744073709551615 octets is announced; the limit is 134217728",
    ),
    "more body than announced": Wrong(
        DELIVER + HEADER_OF_3 + "03 0001 00000004 'abcd' CE", 501, "a body frame of 4 octets where 3 were due"
    ),
    "more body than announced, in two frames": Wrong(
        DELIVER + HEADER_OF_3 + "03 0001 00000002 'ab' CE 03 0001 00000002 'cd' CE",
        501,
        "a body frame of 2 octets where 1 were due",
    ),
    "arguments cut short": Wrong(
        "01 0001 00000006 003C 0048 0561 CE",
        502,
        "basic.get_empty: malformed arguments: 05 61",
        sig=(60, 72),
    ),
    "no arguments": Wrong(
        "01 0001 00000004 003C 0048 CE",
        502,
        "basic.get_empty: malformed arguments: none",
        sig=(60, 72),
    ),
    "a content header cut short": Wrong(
        DELIVER + "02 0001 00000004 003C 0000 CE", 502, "malformed content header: 00 3c 00 00"
    ),
    "properties cut short": Wrong(
        DELIVER + "02 0001 00000010 003C 0000 0000000000000000 8000 0561 CE",
        502,
        "malformed properties: 80 00 05 61",
    ),
    "a property without a name": Wrong(
        DELIVER + "02 0001 0000000E 003C 0000 0000000000000000 0002 CE", 502, "malformed properties: 00 02"
    ),
    "an unknown method": Wrong(
        "01 0001 00000005 003C 00FF 07 CE", 503, "an unknown method on channel 1: 00 3c 00 ff 07"
    ),
    "half an id": Wrong("01 0001 00000002 003C CE", 503, "an unknown method on channel 1: 00 3c"),
    "an id without its first octet, a number all the same": Wrong(
        "01 0001 00000003 0A0033 CE", 503, "an unknown method on channel 1: 0a 00 33"
    ),
    "a method frame without a method": Wrong("01 0001 00000000 CE", 503, "an unknown method on channel 1: "),
    "a method of the other dialect": Wrong(
        "01 0001 0000000D 003C 0078 0000000000000001 00 CE",
        503,
        "an unknown method on channel 1: 00 3c 00 78 00 00 00 00 00 00 00 01 00",
        {"dialect": AMQP_0_8},
    ),
    "a method of the connection on another channel": Wrong(
        "01 0001 00000004 000A 0033 CE", 503, "connection.close_ok on channel 1", sig=(10, 61)
    ),
    "a method of a channel on channel 0": Wrong(
        "01 0000 00000005 0014 0014 01 CE", 503, "channel.flow on channel 0", sig=(20, 20)
    ),
    "a channel that is not open": Wrong(
        "01 0009 00000004 0032 0015 CE", 504, "a method frame for channel 9, which is not open"
    ),
    "a heartbeat on a channel that is not open": Wrong(
        "08 0009 00000000 CE", 504, "a heartbeat frame for channel 9, which is not open"
    ),
    "a header without a method": Wrong(HEADER_OF_3, 505, "a content header frame on channel 1 without a method"),
    "a body without a method": Wrong("03 0001 00000001 'x' CE", 505, "a body frame on channel 1 without a method"),
    "a header behind a method without content": Wrong(
        GET + HEADER_OF_3, 505, "a content header frame on channel 1 without a method"
    ),
    "a body behind a whole content": Wrong(
        DELIVER + HEADER_OF_3 + "03 0001 00000003 'abc' CE 03 0001 00000000 CE",
        505,
        "a body frame on channel 1 without a method",
    ),
    "a method instead of a header": Wrong(
        DELIVER + GET, 505, "a method frame on channel 1 where a content header frame was due", sig=(60, 60)
    ),
    "a body instead of a header": Wrong(
        DELIVER + "03 0001 00000003 'abc' CE",
        505,
        "a body frame on channel 1 where a content header frame was due",
        sig=(60, 60),
    ),
    "a method instead of a body": Wrong(
        DELIVER + HEADER_OF_3 + GET, 505, "a method frame on channel 1 where a body frame was due", sig=(60, 60)
    ),
    "another header": Wrong(
        DELIVER + HEADER_OF_3 + "03 0001 00000001 'a' CE" + HEADER_OF_3,
        505,
        "a content header frame on channel 1 where a body frame was due",
        sig=(60, 60),
    ),
}

each_wrong = pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)


def receiver_for(wrong: Wrong) -> Receiver:
    options = dict(wrong.options)
    frame_max = options.pop("frame_max", 0)
    one = receiver(**options)
    one.frame_max = frame_max
    return one


def blame(one: Receiver) -> int:
    """The error's code, or 0."""
    return one.error.reply_code if one.error else 0


def outcome(one: Receiver, pieces: List[bytes]) -> Tuple[str, int]:
    """The events, as text (a NaN equals itself there), and what is wrong behind them."""
    return repr(feed(one, pieces)), blame(one)


def assert_says(error: PeerError, wrong: Wrong) -> None:
    """The error has the text, and behind it the bytes that are wrong, in hexadecimal."""
    text = str(error)
    assert text.startswith(wrong.text)
    shown, cut, _ = text.rpartition(": ")[2].partition(" ... (")
    assert shown in octets(wrong.wire).hex(" ") or shown == "none"
    assert len(shown) == 95 or not cut


@each_wrong
def test_error(wrong: Wrong) -> None:
    one = receiver_for(wrong)
    before = [EMPTY_SEEN, EMPTY_SEEN]
    expected = feed(receiver_for(wrong), [octets(wrong.wire)])
    assert feed(one, [octets(2 * GET_EMPTY + wrong.wire)]) == before + expected
    assert isinstance(one.error, PeerError)
    assert (one.error.reply_code, one.error.sig) == (wrong.code, wrong.sig)
    assert_says(one.error, wrong)


@each_wrong
def test_an_error_does_not_depend_on_what_came_before(wrong: Wrong) -> None:
    one = receiver_for(wrong)
    feed(one, [octets(GET_EMPTY), octets(HEARTBEAT + wrong.wire)])
    assert one.error is not None
    assert one.error.reply_code == wrong.code
    assert_says(one.error, wrong)


@each_wrong
def test_nothing_comes_after_an_error(wrong: Wrong) -> None:
    one = receiver_for(wrong)
    one.receive(octets(wrong.wire) + octets(GET_EMPTY))
    error = one.error
    assert error is not None
    assert one.receive(octets(GET_EMPTY)) == []
    assert one.error is error
    assert error.__traceback__ is None


@each_wrong
def test_an_error_byte_by_byte(wrong: Wrong) -> None:
    """It comes with the byte that is wrong, not with a later one, and not earlier than if all had come at once."""
    one, whole = receiver_for(wrong), octets(GET_EMPTY + wrong.wire)
    expected = outcome(receiver_for(wrong), [whole])
    for count, byte in enumerate(one_by_one(whole), start=1):
        one.receive(byte)
        at_once = receiver_for(wrong)
        at_once.receive(whole[:count])
        assert blame(one) == blame(at_once)
    assert outcome(receiver_for(wrong), list(one_by_one(whole))) == expected


@each_wrong
@examples(15)
@given(data=st.data())
def test_an_error_in_random_pieces(wrong: Wrong, data: st.DataObject) -> None:
    whole = octets(wrong.wire)
    expected = outcome(receiver_for(wrong), [whole])
    assert outcome(receiver_for(wrong), data.draw(cut_up(whole))) == expected == (expected[0], wrong.code)


# --- limits -----------------------------------------------------------------------------------------------


def test_frame_max() -> None:
    """A frame of just the size agreed on passes."""
    one = receiver()
    one.frame_max = 16
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
    one = receiver(max_body=1000)
    header = octets("02 0001 0000000E 003C 0000 00000000000003E9 0000 CE")
    one.receive(octets(DELIVER) + header[:-1])
    assert blame(one) == 0
    one.receive(header[-1:])
    assert blame(one) == 501


def test_bodies_up_to_the_limit() -> None:
    assert DEFAULT_MAX_BODY == 128 * 1024 * 1024
    for wire in (HEADER_OF_3, HEADER_OF_3.replace("03 0000 CE", "00 0000 CE")):
        one = receiver(max_body=3)
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
        one = receiver(dialect, (1, 2), max_body=1000)
        one.frame_max = frame_max
        found.append((outcome(one, pieces), one.reading.undecoded))
        assert blame(one) in (0, 501, 502, 503, 504, 505)
    assert found[0] == found[1] == found[2]


@examples(200)
@given(data=st.data(), stream=st.binary(max_size=200))
def test_arbitrary_bytes(data: st.DataObject, stream: bytes) -> None:
    pieces = data.draw(cut_up(stream))
    assert outcome(receiver(), pieces) == outcome(receiver(), [stream])


# --- sending ----------------------------------------------------------------------------------------------

PUBLISH = AMQP_0_9_1["basic.publish"]


def test_a_content_is_one_piece() -> None:
    wire = Sender(AMQP_0_9_1).content(1, PUBLISH, (0, "x", "k", True, False), {"priority": 1}, b"hello")
    assert wire == octets(
        "01 0001 0000000B 003C 0028 0000 01'x' 01'k' 01 CE"
        "02 0001 0000000F 003C 0000 0000000000000005 0800 01 CE"
        "03 0001 00000005 'hello' CE"
    )


def test_only_bodies_are_split() -> None:
    sender = Sender(AMQP_0_9_1)
    sender.frame_max = 64
    publish = (0, "x", "k", False, False)
    fits = {"type": 41 * "t"}
    assert len(split_frames(sender.content(1, PUBLISH, publish, fits, b""))[1].payload) == 56
    with pytest.raises(LocalError) as caught:
        sender.content(1, PUBLISH, publish, {"type": 42 * "t"}, b"")
    assert str(caught.value) == (
        "the properties: 57 octets, and a frame holds at most 56 (frame_max 64): only bodies are split"
    )
    get = AMQP_0_9_1["basic.get"]
    assert len(sender.method(1, get, (0, 48 * "q", False))) == 64
    with pytest.raises(LocalError, match=r"^basic.get: 57 octets, and a frame holds at most 56 "):
        sender.method(1, get, (0, 49 * "q", False))
    with pytest.raises(LocalError, match=r"^basic.publish: 57 octets, and a frame holds at most 56 "):
        sender.content(1, PUBLISH, (0, 48 * "x", "", False, False), {}, b"")


def test_misfits() -> None:
    sender = Sender(AMQP_0_9_1)
    assert sender.dialect is AMQP_0_9_1
    with pytest.raises(LocalError, match=r"^basic.get: queue: None is not a string$"):
        sender.method(1, AMQP_0_9_1["basic.get"], (0, None, False))
    with pytest.raises(LocalError, match=r"^basic.publish: ticket: "):
        sender.content(1, PUBLISH, (-1, "", "", False, False), {}, b"")
    with pytest.raises(LocalError, match=r"^priority: 256 is not a number from 0 to 255$"):
        sender.content(1, PUBLISH, (0, "", "", False, False), {"priority": 256}, b"")
