"""Verdict: threads without the GIL are used well; what is shared is what modules hold, and stays so.

Two threads on two processors of a virtual machine, Python 3.13.5 configured with --disable-gil, November 2026. A loop
of plain Python that shares nothing shows what the machine has to give. First what an operation takes of the processor,
1.0 being what it takes alone; then what two threads do in the time of one:

                modules shared    a copy for each thread
    loop        1.08, 1.62        1.11, 1.63
    publish     1.19, 1.53        1.02, 1.75
    batch       1.12, 1.57        1.03, 1.79
    shop-out    1.21, 1.52        1.24, 1.52
    shop-in     1.36, 1.27        1.10, 1.78
    routing     1.06, 1.77        1.07, 1.84
    call        1.19, 1.55        1.13, 1.72

No lock and no table that is written is shared. What costs is the count of references to what the modules hold and each
connection uses: bound methods of struct.Struct, above all in tables.py, rows of the method table, dicts of functions.
This Python counts references to functions and classes without disturbing other threads, to those objects not yet. With
headers there are several such objects to a field. Compiling the codecs for each connection anew would avoid it,
and make connecting dearer for everybody.

How much more processor time an operation takes while another thread does the same on a connection of its own (1.0: as
if it were alone), in the Python part of some rows (benchmarks/clients/python_part.py); with the modules of amqplib
shared by both threads, as they are, and with a copy of them for each. On a Python that has the GIL the threads take
turns, and the wall shows no gain; without it two processors are needed to see anything.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from statistics import median
from typing import Any, Callable, Dict, List

from benchmarks.clients import in_memory
from benchmarks.clients.python_part import BY_NAME, LOOP, Client

ROWS = ("publish", "batch", "shop-out", "shop-in", "routing", "call")
ROUNDS, SLICES = 15, 8


class Together:
    """In the place of a Client's clock: the threads begin at once."""

    def __init__(self, threads: int) -> None:
        self._all_here = threading.Barrier(threads)
        #: Of each thread.
        self.cpu: List[float] = []
        self.wall: List[float] = []

    def __call__(self) -> _Clock:
        return _Clock(self)

    def begin(self) -> float:
        self._all_here.wait()
        self.wall.append(time.perf_counter())
        return time.thread_time()

    def end(self, begun: float) -> None:
        self.cpu.append(time.thread_time() - begun)
        self.wall.append(time.perf_counter())


class _Clock:
    seconds = 0.0  # what a row returns is not looked at

    def __init__(self, together: Together) -> None:
        self._together = together

    def __enter__(self) -> _Clock:
        self._begun = self._together.begin()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._together.end(self._begun)


def work(client: Any, row: str) -> None:
    part = BY_NAME.get(row, LOOP)
    do: Callable[..., object] = getattr(client, part.work or part.name)
    do(part.times * SLICES, *((part.kind, part.size) if part.kind else ()))


def at_once(clients: List[Any], row: str) -> Together:
    together = Together(len(clients))
    threads = [threading.Thread(target=work, args=(client, row)) for client in clients]
    for client, thread in zip(clients, threads):
        client._clock = together
        thread.start()
    for thread in threads:
        thread.join()
    assert len(together.cpu) == len(clients)
    return together


def with_modules_of_its_own() -> Client:
    for name in [name for name in sys.modules if name.partition(".")[0] == "amqplib"]:
        del sys.modules[name]
    return Client()


def main() -> None:
    in_memory.replace_poll()
    clients = {"shared": [Client(), Client()], "own": [with_modules_of_its_own(), with_modules_of_its_own()]}
    gc.disable()
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    print("Python %s, %s the GIL" % (sys.version.split()[0], "with" if gil else "without"))
    print("    %-10s  %s" % ("", "processor time of an operation, and what two threads do in the time of one"))
    for row in ("loop", *ROWS):
        costs: Dict[str, List[float]] = {"shared": [], "own": []}
        gains: Dict[str, List[float]] = {"shared": [], "own": []}
        for _ in range(ROUNDS):
            for kind, both in clients.items():
                gc.collect()
                one = at_once(both[:1], row)
                gc.collect()
                two = at_once(both, row)
                costs[kind].append(sum(two.cpu) / 2 / one.cpu[0])
                gains[kind].append(2 * (max(one.wall) - min(one.wall)) / (max(two.wall) - min(two.wall)))
        shown = ["%s %.2f, %.2f" % (kind, median(costs[kind]), median(gains[kind])) for kind in clients]
        print("    %-10s  %s" % (row, "    ".join(shown)), flush=True)


if __name__ == "__main__":
    main()
