"""Proves what a receiver says of bytes that break the protocol.

Each is a row: its reply code, its text, and that it is the last thing that a receiver says, however the bytes are cut
up, and whatever came before.
"""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqplib.wire.errors import PeerError
from amqplib.wire.protocol import Receiver
from amqplib.wire.spec import AMQP_0_8

from .helpers import (
    DELIVER,
    EMPTY_SEEN,
    GET_EMPTY,
    HEADER_OF_3,
    HEARTBEAT,
    blame,
    cut_up,
    examples,
    feed,
    octets,
    one_by_one,
    outcome,
    receiver,
)


class Wrong(NamedTuple):
    wire: str
    code: int
    text: str
    options: Dict[str, Any] = {}  # noqa: RUF012
    sig: Tuple[int, int] = (0, 0)


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
        "03 0001 00000041 00", 501, "a frame of 73 octets; 64 were agreed on: 03 00 01 00 00 00 41", {"frame_max": 64}
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
        DELIVER + HEADER_OF_3, 501, "a body of 3 octets is announced; the limit is 2", {"body_max": 2}
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
