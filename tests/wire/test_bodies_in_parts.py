"""Body frames that come in parts give what whole ones give."""

from __future__ import annotations

from typing import Any, List, Tuple

import pytest

from amqplib.wire import content
from amqplib.wire.protocol import Receiver
from amqplib.wire.spec import AMQP_0_9_1
from amqplib.wire.tables import utc_time

from .helpers import frame, octets

BODIES = bytes(range(60)), bytes(range(100, 140)), b"end"
TAIL = octets("01 0001 00000005 003C 0048 00 CE")  # basic.get_empty


def stream() -> bytes:
    """A delivery whose body comes in three frames, and another method."""
    size = sum(map(len, BODIES))
    return b"".join(
        (
            frame(1, 1, AMQP_0_9_1["basic.deliver"].encode("tag", 1, False, "", "q")),
            frame(2, 1, content.encode_header(b"\x00\x00", size)),
            *(frame(3, 1, body) for body in BODIES),
            TAIL,
        )
    )


def receiver() -> Receiver:
    one = Receiver(AMQP_0_9_1, lambda properties, body: (properties, body), utc_time)
    one.channels.add(1)
    return one


def outcome(*pieces: bytes) -> Tuple[List[Any], Any, int, int]:
    one = receiver()
    events = [
        (channel, method.name, args, made) for piece in pieces for channel, method, args, made in one.receive(piece)
    ]
    return events, one.error and (one.error.reply_code, one.error.sig), one.frames, one.contents


@pytest.mark.parametrize("ahead", [1, 3, 1000])
def test_cut_anywhere(monkeypatch: pytest.MonkeyPatch, ahead: int) -> None:
    monkeypatch.setattr(content, "_AHEAD", ahead)
    wire = stream()
    expected = outcome(wire)
    assert [event[3] for event in expected[0]] == [({}, b"".join(BODIES)), None]
    for place in range(len(wire)):
        assert outcome(wire[:place], wire[place:]) == expected
        assert outcome(wire[:place], wire[place : place + 1], wire[place + 1 :]) == expected
        assert outcome(wire[:place], wire[place : place + 50], wire[place + 50 :]) == expected


def test_cut_anywhere_and_an_octet_changed() -> None:
    wire = stream()
    first = wire.index(BODIES[0])
    for place in range(first - 8, len(wire)):
        wrong = wire[:place] + bytes((wire[place] ^ 0x55,)) + wire[place + 1 :]
        expected = outcome(wrong)
        for cut in range(first + 20, len(wire), 7):
            assert outcome(wrong[:cut], wrong[cut:]) == expected


def test_the_channel_is_closed_meanwhile() -> None:
    wire = stream()
    cut = wire.index(BODIES[0]) + 50
    one = receiver()
    assert one.receive(wire[:cut]) == []
    one.forget(1)
    assert one.receive(wire[cut:]) == []
    assert one.error
    assert one.error.reply_code == 504
