"""What a message costs as things grow: sh benchmarks/run growth.

Messages over 1 to 1,000 channels of a connection, over 1 to 1,000 consumers of a channel, and with 1,000 to 100,000
deliveries that wait behind a synchronous call. Client CPU time, the sizes in turn, each in a new process, the median
of the rounds. Ends with code 1 when a message costs over 10 % more at the largest size than at the best smaller one.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from statistics import median
from typing import Dict, List, NamedTuple, Sequence, Tuple

from benchmarks.clients.driver import Server, Task
from benchmarks.clients.growth_client import CALLS
from benchmarks.drivers import Driver
from benchmarks.environment import broker, server
from benchmarks.judge import Judge
from benchmarks.progress import Progress
from benchmarks.work import SMALL

LIMIT = 1.10
MESSAGES = 40_000
WIDTHS = (1, 10, 100, 1000)
WAITING = (1000, 10_000, 100_000)


class Growth(NamedTuple):
    """Tasks that differ in one size only, and how many things one of them does."""

    title: str
    tasks: List[Tuple[int, Task, int]]


def growths() -> List[Growth]:
    def over(work: str) -> List[Tuple[int, Task, int]]:
        untimed = 1 if work == "publish_on_channels" else 0  # a channel
        return [(width, Task(work, "growth", MESSAGES, SMALL, width), MESSAGES - untimed * width) for width in WIDTHS]

    def behind(work: str, things: int) -> List[Tuple[int, Task, int]]:
        return [(count, Task(work, "growth", count, SMALL), things or count) for count in WAITING]

    return [
        Growth("a publish, on so many channels", over("publish_on_channels")),
        Growth("a delivery, on so many channels", over("consume_on_channels")),
        Growth("a delivery, of so many consumers", over("consume_by_consumers")),
        Growth("a delivery, so many waiting", behind("handle_after_calls", 0)),
        Growth("a call, so many deliveries waiting", behind("calls_before_deliveries", CALLS)),
    ]


def measure(task: Task, where: Server, judge: Judge) -> float:
    """Seconds of CPU."""
    receives = task.work != "publish_on_channels"
    judge.prepare(task, receives=False)
    try:
        with Driver("growth_client", sys.executable, where) as driver:
            answer = driver.do(task, timeout=120)
        judge.examine(task, receives, answer, "amqplib")
        return float(answer["cpu"])
    finally:
        judge.clean(task)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/run growth", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each, of which the median counts (5)")
    options = parser.parse_args(arguments)
    wanted = growths()
    progress = Progress(options.rounds * sum(len(growth.tasks) for growth in wanted))
    grown = 0
    with broker() as node, closing(Judge(server(node))) as judge:
        for growth in wanted:
            found: Dict[int, List[float]] = {}
            for _ in range(options.rounds):
                for size, task, things in growth.tasks:
                    progress.step("%s: %d" % (growth.title, size))
                    found.setdefault(size, []).append(measure(task, server(node), judge) / things * 1e6)
            progress.end()
            figures = {size: median(values) for size, values in found.items()}
            *smaller, last = figures.values()
            growth_factor = last / min(smaller)
            grown += growth_factor > LIMIT
            cells = "".join(("%d: %.2f us" % pair).rjust(18) for pair in figures.items())
            line = "%-36s%s   x %.2f" % (growth.title, cells, growth_factor)
            print(line + " !" * (growth_factor > LIMIT), flush=True)
    limit = "more than %d %%" % round(LIMIT * 100 - 100)
    print("%d of %d have grown by %s" % (grown, len(wanted), limit) if grown else "nothing has grown by %s" % limit)
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
