"""Proves what the sender makes of methods and contents, and what it refuses before a byte is made."""

from __future__ import annotations

import pytest

from amqplib.wire.errors import LocalError
from amqplib.wire.protocol import Sender
from amqplib.wire.spec import AMQP_0_9_1

from .helpers import octets, split_frames

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
