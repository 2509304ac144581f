"""Verdict: recv(65536), and a poll object that is kept. Asking for 256 KB costs five times as much for small reads.

What it costs to wait for some small messages and to read them, which is what a client does that is faster than the
broker. A bytes object of 128 KB or more is a mapping of its own, which is shrunk and given back each time, until the
process has given back something as large as that for another reason. On Python 3.11 and Linux, microseconds of CPU for
a read of 6 KB over a socket pair, the peer's write included:

    new poll object, 256 KB     21.5
    kept, 256 KB                21.0
    kept, 128 KB                20.7
    kept, 64 KB                  4.2
    kept, 16 KB                  4.2

The object is worth more than is seen here: with the arithmetic around it, 2.5 microseconds a read.
"""

from __future__ import annotations

import ctypes
import select
import socket
from typing import Callable

from benchmarks.experiments.harness import in_turn, timed

#: A process in which nothing large has been given back yet: then glibc maps blocks of 128 KB and more one by one.
M_MMAP_THRESHOLD, FRESH = -3, 131072

COUNT = 5000
DATA = b"x" * 6000


def reading(room: int, kept: bool) -> Callable[[], float]:
    def variant() -> float:
        ours, theirs = socket.socketpair()
        keeper = select.poll()
        keeper.register(ours, select.POLLIN)

        def read() -> None:
            for _ in range(COUNT):
                theirs.send(DATA)
                poller = keeper
                if not kept:
                    poller = select.poll()
                    poller.register(ours, select.POLLIN)
                poller.poll(60000)
                ours.recv(room, socket.MSG_DONTWAIT)

        with ours, theirs:
            return timed(read)

    return variant


if __name__ == "__main__":
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, FRESH)
    in_turn(
        {
            "new poll object, 256 KB": reading(262144, False),
            "kept, 256 KB": reading(262144, True),
            "kept, 128 KB": reading(131072, True),
            "kept, 64 KB": reading(65536, True),
            "kept, 16 KB": reading(16384, True),
        },
        per=COUNT,
    )
