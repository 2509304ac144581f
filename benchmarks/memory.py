"""Memory and idle CPU of amqplib: sh benchmarks/run memory.

- a million messages published, consumed and acknowledged on one connection, no two alike: memory stays where it was
  after the first tenth
- what a connection with a channel takes, and what it costs while nothing happens
- a body of 100 MB in, and out: the most that the process takes beyond an idle one

The last two beside the other libraries. Ends with code 1 when a limit is passed. Three minutes.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack, closing
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from benchmarks.clients.driver import Server, Task
from benchmarks.drivers import Driver, DriverError
from benchmarks.environment import broker, peers_python, server
from benchmarks.judge import Judge
from benchmarks.progress import Progress
from benchmarks.work import HUGE, LIBRARIES, OURS, SMALL

#: Limits: octets that memory may grow after the first tenth; octets a connection; the share of a processor that an idle
#: connection may use; octets at most for a large body, as a multiple of it.
GROWTH, CONNECTION, IDLE, BODY = 1_000_000, 150_000, 0.0005, 1.25
PARTS = 10


class Line(NamedTuple):
    """Something to be measured, a process for each library."""

    title: str
    task: Task
    limit: float
    #: The figure, out of a driver's answer.
    figure: Callable[[Dict[str, Any]], float]
    #: How it is printed.
    text: Callable[[float], str]


def lines(messages: int) -> List[Line]:
    def kilobytes(octets: float) -> str:
        return "%.0f KB" % (octets / 1000)

    def peak(answer: Dict[str, Any]) -> float:
        return float(answer["peak"]) / HUGE

    return [
        Line("a connection and its channel", Task("connections", "memory", 0, 0, 100), CONNECTION,
             lambda answer: float(answer["octets"]), kilobytes),
        Line("idle, of a processor", Task("idle", "memory", 0, 0), IDLE,
             lambda answer: float(answer["cpu"]), lambda used: "%.3f %%" % (used * 100)),
        Line("100 MB body in, times the body", Task("consume", "memory", 1, HUGE), BODY, peak, lambda x: "%.2f" % x),
        Line("100 MB body out, times the body", Task("publish", "memory", 1, HUGE), BODY, peak, lambda x: "%.2f" % x),
        Line("%d messages, grown by" % messages, Task("watch_memory", "memory", messages, SMALL, PARTS), GROWTH,
             lambda answer: float(max(answer["octets"]) - answer["octets"][0]), kilobytes),
    ]  # fmt: skip


def measure(line: Line, library: str, python: str, where: Server, judge: Judge) -> Optional[float]:
    """None where the library has no such thing."""
    receives = line.task.work == "consume"
    judge.prepare(line.task, receives)
    try:
        with Driver(library, python, where) as driver:
            answer = driver.do(line.task, timeout=600)
        if line.task.work in ("consume", "publish"):
            judge.examine(line.task, receives, answer, library)
        return None if answer.get("unsupported") else line.figure(answer)
    finally:
        judge.clean(line.task)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/run memory", description=__doc__.split("\n\n")[0])
    parser.add_argument("--messages", type=int, default=1_000_000, help="published and consumed (1000000)")
    parser.add_argument("--libraries", nargs="+", choices=list(LIBRARIES), default=list(LIBRARIES), metavar="LIBRARY",
                        help="some of: " + " ".join(LIBRARIES))  # fmt: skip
    parser.add_argument("--tls", action="store_true", help="over TLS")
    options = parser.parse_args(arguments)
    python, wanted, bad = peers_python(), lines(options.messages), 0
    progress = Progress(len(wanted) * len(options.libraries))
    print(" " * 36 + "".join(name.rjust(11) for name in options.libraries) + "      limit")
    with ExitStack() as stack:
        where = server(stack.enter_context(broker(options.tls)), options.tls)
        judge = stack.enter_context(closing(Judge(where)))
        for line in wanted:
            cells = []
            for library in options.libraries:
                progress.step("%s, %s" % (line.title, library))
                try:
                    figure = measure(line, library, python, where, judge)
                except DriverError as exc:
                    progress.say(str(exc))
                    figure = None
                cells.append("-" if figure is None else line.text(figure))
                if library == OURS and (figure is None or figure > line.limit):
                    bad += 1
                    cells[-1] += " !"
            progress.end()
            print(
                line.title.ljust(36) + "".join(cell.rjust(11) for cell in [*cells, line.text(line.limit)]), flush=True
            )
    print("%d of %d limits passed" % (bad, len(wanted)) if bad else "amqplib stays below every limit")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
