"""Verdict: recv(262144) while large bodies come. A megabyte at a time costs half as much again.

Fewer calls of the system are not worth it: memory of a megabyte is new to the process each time, and is filled page by
page, while that of 256 KB is used again and stays in the processor's cache. Bodies of 1 MB in frames of 128 KB, read
from a socket of this machine and put together; CPU microseconds a body, medians of 15, run twice:

    128 KB     218    187
    256 KB     188    188
    512 KB     214    185
    1024 KB    279    279
"""

from __future__ import annotations

import os
import select
import socket
from multiprocessing import get_context
from typing import Callable

from amqplib.client.message import Message
from amqplib.wire.protocol import Receiver, Sender
from amqplib.wire.spec import AMQP_0_9_1
from amqplib.wire.tables import local_time
from benchmarks.experiments.harness import in_turn, timed

SIZE = 1_000_000
FRAME_MAX = 131072
BODIES = 40


def send(port: int) -> None:
    """Deliver for ever."""
    sender = Sender(AMQP_0_9_1)
    sender.frame_max = FRAME_MAX
    wire = sender.content(1, AMQP_0_9_1["basic.deliver"], ("tag", 1, False, "", "q"), {}, os.urandom(SIZE))
    with socket.create_connection(("127.0.0.1", port)) as ours:
        try:
            while True:
                ours.sendall(wire)
        except OSError:
            pass  # enough


def reading(ours: socket.socket, receiver: Receiver, room: int) -> Callable[[], float]:
    poller = select.poll()
    poller.register(ours, select.POLLIN)

    def read() -> None:
        got = 0
        while got < BODIES:
            poller.poll()
            got += len(receiver.receive(ours.recv(room, socket.MSG_DONTWAIT)))

    return lambda: timed(read)


def main() -> None:
    receiver = Receiver(AMQP_0_9_1, Message._amqplib_received, local_time)
    receiver.frame_max = FRAME_MAX
    receiver.channels.add(1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = get_context("spawn").Process(target=send, args=(server.getsockname()[1],), daemon=True)
        peer.start()
        ours, _ = server.accept()
        with ours:
            rooms = {
                "%d KB" % (room // 1024): reading(ours, receiver, room) for room in (131072, 262144, 524288, 1 << 20)
            }
            in_turn(rooms, BODIES, rounds=15)
    peer.join()


if __name__ == "__main__":
    main()
