"""Verdict: what grows with the deliveries that wait is Python's garbage collector, not amqplib: leave it.

A delivery that waits to be handled is a message, its properties, and the tuples around them. The collector walks over
all such objects again and again while they become more. Nothing but fewer objects would help, or gc.freeze(), which is
the program's to call. Reading and keeping a delivery, Python 3.11, November 2026, microseconds of CPU:

                    1000 waiting    10,000      100,000
    collector on    1.13            1.54        3.35
    collector off   1.03            1.27        1.52
"""

from __future__ import annotations

import gc
import time
from collections import deque
from typing import Any, Callable, Deque

from amqplib.client_0_9_1 import Message
from amqplib.wire.protocol import Receiver, Sender
from amqplib.wire.spec import AMQP_0_9_1
from amqplib.wire.tables import utc_time
from benchmarks.experiments.harness import in_turn

PIECE = 340


def stream() -> bytes:
    """PIECE deliveries."""
    sender, deliver = Sender(AMQP_0_9_1), AMQP_0_9_1["basic.deliver"]
    return b"".join(
        sender.content(1, deliver, ("consumer", number, False, "", "queue"), {}, b"." * 100) for number in range(PIECE)
    )


def keep(waiting: int, collect: bool) -> Callable[[], float]:
    data = stream()

    def run() -> float:
        receiver = Receiver(AMQP_0_9_1, Message._amqplib_received, utc_time)
        receiver.channels.add(1)
        kept: Deque[Any] = deque()
        gc.collect()
        if not collect:
            gc.disable()
        start = time.process_time()
        for _ in range(waiting // PIECE):
            kept.extend(receiver.receive(data))
        while kept:
            kept.popleft()
        seconds = time.process_time() - start
        gc.enable()
        return seconds * 1000 / waiting

    return run


def main() -> None:
    in_turn(
        {
            "%d waiting, %s" % (waiting, "collector on" if collect else "collector off"): keep(waiting, collect)
            for collect in (True, False)
            for waiting in (1000, 10_000, 100_000)
        },
        per=1000,
        rounds=5,
    )


if __name__ == "__main__":
    main()
