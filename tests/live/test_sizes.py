"""Bodies from nothing to several megabytes, and around every multiple of what a frame holds."""

from __future__ import annotations

import random
from typing import List

import pytest

from amqplib.client.channel import Channel
from amqplib.client.connection import Connection
from amqplib.client.message import Message
from tests.live.helpers import bodies, get, publish

#: Octets of body in a frame at RabbitMQ's frame_max of 131072.
HOLDS = 131072 - 8


def noise(size: int) -> bytes:
    """Octets whose order shows, and which the same size always gives."""
    return random.Random(size).getrandbits(8 * size).to_bytes(size, "big") if size else b""


@pytest.mark.parametrize(
    "size",
    [0, 1, 7, 8, 4095, 4096]
    + [frames * HOLDS + more for frames in (1, 2, 3, 16) for more in (-9, -8, -1, 0, 1, 8)]
    + [131071, 131072, 131073, 5_000_000],
)
def test_one(ch: Channel, queue: str, size: int) -> None:
    assert ch.connection
    assert ch.connection.frame_max - 8 == HOLDS
    body = noise(size)
    publish(ch, queue, body)
    assert get(ch, queue).body == body


@pytest.mark.only(before=(4, 0), reason="RabbitMQ 4 takes 16 MB unless it is told otherwise")
@pytest.mark.thorough
def test_twenty_megabytes(ch: Channel, queue: str) -> None:
    body = noise(1_000_000) * 20
    publish(ch, queue, body)
    assert get(ch, queue).body == body


def test_all_at_once(ch: Channel, queue: str) -> None:
    """Large and small ones behind each other, as deliveries."""
    sizes = [0, 300_000, 1, HOLDS, 0, HOLDS + 1, 17, 2 * HOLDS, 1_000_000, 2]
    seen: List[object] = []
    ch.basic_consume(queue, no_ack=True, callback=lambda msg: seen.append(msg.body))
    publish(ch, queue, *map(noise, sizes))
    while len(seen) < len(sizes):
        ch.wait()
    assert seen == [noise(size) for size in sizes]


def test_large_ones_on_two_channels(conn: Connection, queue: str) -> None:
    """Their frames may mix on the way."""
    seen: List[Message] = []
    channels = [conn.channel(), conn.channel()]
    for ch in channels:
        ch.basic_qos(0, 1, False)
        ch.basic_consume(queue, callback=seen.append)
    for size in (700_001, 700_002, 700_003, 700_004):
        publish(channels[0], queue, noise(size))
    found: List[bytes] = []
    while len(found) < 4:
        for ch in channels:
            ch.wait()
            msg = seen.pop()
            assert isinstance(msg.body, bytes)
            found.append(msg.body)
            ch.basic_ack(msg.delivery_tag)
    assert sorted(map(len, found)) == [700_001, 700_002, 700_003, 700_004]
    assert all(body == noise(len(body)) for body in found)


def test_a_large_str(ch: Channel, queue: str) -> None:
    body = "日本" * 200_000
    publish(ch, queue, body)
    assert get(ch, queue).body == body


def test_headers_that_fill_a_frame(ch: Channel, queue: str) -> None:
    """Properties are not split over frames."""
    fits = {"long": "x" * (HOLDS - 100)}
    ch.basic_publish(Message(b"body", application_headers=fits), routing_key=queue)
    assert get(ch, queue).application_headers == fits
    with pytest.raises(ValueError, match="frame"):
        ch.basic_publish(Message(b"body", application_headers={"long": "x" * HOLDS}), routing_key=queue)
    publish(ch, queue, "next")
    assert bodies(ch, queue) == ["next"]


def test_arguments_that_do_not_fit_a_frame(ch: Channel, queue: str) -> None:
    with pytest.raises(ValueError, match="frame"):
        ch.queue_declare(queue, auto_delete=False, arguments={"x-long": "x" * HOLDS})
    publish(ch, queue, "next")
    assert bodies(ch, queue) == ["next"]
