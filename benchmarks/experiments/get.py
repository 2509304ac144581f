"""Verdict: the frame of basic.get is remembered, and its answer is read by the short way.

A program that polls asks for the same thing again and again, and each answer is one small message. On Python 3.11,
microseconds of CPU for one:

    request made      0.65
    remembered        0.09

    answer, plain     3.6
    short             2.1

With a layer of calls less that took basic_get() from 0.81 of py-amqp's time to 0.67 (benchmarks/run compare).
"""

from __future__ import annotations

from typing import Callable

from amqplib.client_0_9_1 import Message
from amqplib.wire.protocol import Receiver, Sender
from amqplib.wire.spec import AMQP_0_9_1
from amqplib.wire.tables import utc_time
from benchmarks.experiments.harness import in_turn, timed

COUNT = 20000
GET, GET_OK = AMQP_0_9_1["basic.get"], AMQP_0_9_1["basic.get_ok"]
ARGUMENTS = (0, "queue", False)


def asking(remembered: bool) -> Callable[[], float]:
    sender = Sender(AMQP_0_9_1)

    def make() -> None:
        for _ in range(COUNT):
            if remembered:
                sender.get(1, ARGUMENTS)
            else:
                sender.method(1, GET, ARGUMENTS)

    return lambda: timed(make)


def answer(short: bool) -> Callable[[], float]:
    data = Sender(AMQP_0_9_1).content(1, GET_OK, (1, False, "", "queue", 5), {}, b"x" * 100)
    receiver = Receiver(AMQP_0_9_1, Message._amqplib_received, utc_time)
    receiver.channels.add(1)
    if not short:
        receiver._runs = {}

    def read() -> None:
        for _ in range(COUNT):
            receiver.receive(data)

    return lambda: timed(read)


if __name__ == "__main__":
    in_turn({"request made": asking(False), "remembered": asking(True)}, per=COUNT)
    in_turn({"answer, plain": answer(False), "short": answer(True)}, per=COUNT)
