"""Verdict: a message without properties has its header frame and the head of its body frame from one struct.

Ways to put the frames of a publish together, the method frame being known. On Python 3.11, microseconds of CPU:

    two structs       0.22
    one               0.19

That is 3 % of a publish in batch(), which takes 0.92 (benchmarks/run compare). With properties in between it takes two.
"""

from __future__ import annotations

import struct
from typing import Callable

from amqplib.wire.protocol import Sender
from amqplib.wire.spec import AMQP_0_9_1
from benchmarks.experiments.harness import in_turn, timed

COUNT = 100000
ARGUMENTS = (0, "", "queue", False, False)
BODY = b"x" * 100
METHOD = Sender(AMQP_0_9_1).method(1, AMQP_0_9_1["basic.publish"], ARGUMENTS)
HEADER, NEXT, BOTH = struct.Struct(">BHLHHQ"), struct.Struct(">BBHL"), struct.Struct(">BHLHHQHBBHL")


def two_structs(channel: int, body: bytes, properties: bytes) -> bytes:
    size = len(body)
    header = HEADER.pack(2, channel, 12 + len(properties), 60, 0, size)
    return b"".join((METHOD, header, properties, NEXT.pack(206, 3, channel, size), body, b"\xce"))


def one(channel: int, body: bytes, properties: bytes) -> bytes:
    size = len(body)
    middle = BOTH.pack(2, channel, 14, 60, 0, size, 0, 206, 3, channel, size)
    return b"".join((METHOD, middle, body, b"\xce"))


def variant(make: Callable[[int, bytes, bytes], bytes]) -> Callable[[], float]:
    assert make(1, BODY, b"\0\0") == Sender(AMQP_0_9_1).publish((1, *ARGUMENTS), {}, BODY)

    def work() -> None:
        for _ in range(COUNT):
            make(1, BODY, b"\0\0")

    return lambda: timed(work)


if __name__ == "__main__":
    in_turn({"two structs": variant(two_structs), "one": variant(one)}, per=COUNT)
