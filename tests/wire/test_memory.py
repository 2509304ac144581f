"""Proves that a body takes memory as it comes, whatever its header announces."""

from __future__ import annotations

import struct
from typing import Any, Callable, Dict, List

import pytest

from amqplib.wire.protocol import Receiver, Sender
from amqplib.wire.spec import AMQP_0_9_1
from amqplib.wire.tables import utc_time

MEGABYTE = 1024 * 1024

#: Octets of memory for each that has come, and beside them: the objects of a content, a buffer.
TIMES, BESIDE = 18, 4096


def receiver(channels: int = 1) -> Receiver:
    made = Receiver(AMQP_0_9_1, lambda properties, body: body, utc_time)
    made.frame_max = 131072
    made.channels.update(range(1, channels + 1))
    return made


def announce(channel: int, size: int) -> bytes:
    """The frames of a delivery up to its body: 56 octets."""
    method = Sender(AMQP_0_9_1).method(channel, AMQP_0_9_1["basic.deliver"], ("t", 1, False, "", "q"))
    return method + struct.pack(">BHLHHQHB", 2, channel, 14, 60, 0, size, 0, 0xCE)


def frame(channel: int, data: bytes) -> bytes:
    return struct.pack(">BHL", 3, channel, len(data)) + data + b"\xce"


def taken(function: Callable[[], Any]) -> int:
    """The most memory that was taken meanwhile, in octets."""
    tracemalloc = pytest.importorskip("tracemalloc", reason="PyPy does not count what is allocated")
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = function()
        peak: int = tracemalloc.get_traced_memory()[1] - before
        del kept
        return peak
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [MEGABYTE, 16 * MEGABYTE, 128 * MEGABYTE])
def test_what_is_announced_takes_no_memory(size: int) -> None:
    """One octet of each body comes."""
    channels = range(1, 101)
    data = [announce(channel, size) + frame(channel, b"x") for channel in channels]
    receiving = receiver(len(data))
    receiving.receive(announce(1, 0))  # what is compiled and remembered once
    assert taken(lambda: [receiving.receive(each) for each in data]) < len(data) * BESIDE
    assert receiving.error is None


#: How a body comes: in pieces of so many octets, each in a frame of its own, or all in one frame.
WAYS: Dict[str, Callable[[int], List[bytes]]] = {
    "in small frames": lambda size: [frame(1, b"x")] * size,
    "in larger ones": lambda size: [frame(1, bytes(1000))] * (size // 1000),
    "in largest ones": lambda size: [frame(1, bytes(131064))] * (size // 131064),
    "in a frame that never ends": lambda size: [frame(1, bytes(131064))[: min(size, 131000)]],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("come", [32, 1000, 50_000, 500_000, 2 * MEGABYTE])
def test_memory_grows_with_what_has_come(way: str, come: int) -> None:
    come = min(come, 20_000) if way == "in small frames" else come
    data = WAYS[way](come)
    receiving = receiver()
    receiving.receive(announce(1, 16 * MEGABYTE))
    assert taken(lambda: [receiving.receive(each) for each in data]) < TIMES * sum(map(len, data)) + BESIDE
    assert receiving.error is None


def test_empty_frames_take_none() -> None:
    """As many as a peer likes may stand between the octets of a body."""
    receiving = receiver()
    data = (frame(1, b"") * 20 + frame(1, b"x")) * 1000
    receiving.receive(announce(1, 16 * MEGABYTE))
    assert taken(lambda: receiving.receive(data)) < 1000 * TIMES + BESIDE + len(data)
    assert receiving.error is None


@pytest.mark.parametrize("size", [1, 17, 4096, 100_000, 3_000_000])
@pytest.mark.parametrize("piece", [1, 7, 4000, 131064])
def test_the_body_is_what_came(size: int, piece: int) -> None:
    size = min(size, piece * 2000)
    body = bytes(i * 7 % 251 for i in range(size))
    receiving = receiver()
    receiving.receive(announce(1, size))
    events = [e for at in range(0, size, piece) for e in receiving.receive(frame(1, body[at : at + piece]))]
    assert [event[3] for event in events] == [body]


@pytest.mark.parametrize("come", [1, 100_000, 2 * MEGABYTE])
def test_what_had_come_goes_with_its_channel(come: int) -> None:
    """Channels that are closed in the middle of a body, one after the other: the numbers are used again."""

    def lives() -> None:
        for _ in range(20):
            receiving.channels.add(1)
            receiving.receive(announce(1, 16 * MEGABYTE))
            for at in range(0, come, 100_000):
                receiving.receive(frame(1, bytes(min(100_000, come - at))))
            receiving.forget(1)

    receiving = receiver()
    lives()
    assert taken(lives) < TIMES * come + BESIDE + 200_000
    assert receiving.error is None
