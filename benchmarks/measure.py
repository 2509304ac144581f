"""The measuring itself: every library at every row, in turn, several rounds of it.

A round goes through the rows, and at each through the libraries, so that what disturbs the machine disturbs all alike.
The figure of a library at a row is the median over the rounds.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from statistics import median
from typing import Dict, List, Optional, Sequence

from benchmarks.clients.driver import Server, Task
from benchmarks.drivers import Driver, DriverError
from benchmarks.judge import Judge
from benchmarks.progress import Progress
from benchmarks.work import OURS, REFERENCE, Row

_MICRO = 1e6


@dataclass
class Figures:
    """What one library needs at one row, measurement by measurement."""

    #: Microseconds of CPU time, and on the wall, a message.
    cpu: List[float] = field(default_factory=list)
    wall: List[float] = field(default_factory=list)
    #: Octets of memory at most, beyond those of the idle client, as a multiple of the body.
    memory: List[float] = field(default_factory=list)

    def of(self, row: Row) -> List[float]:
        """What the row is about."""
        return self.memory if row.memory else self.cpu


@dataclass
class Results:
    """Figures by row and library; a library that lacks something, or fails at it, has none there."""

    figures: Dict[str, Dict[str, Figures]] = field(default_factory=dict)
    versions: Dict[str, str] = field(default_factory=dict)
    #: What went wrong, in words.
    failures: List[str] = field(default_factory=list)

    def figure(self, row: Row, library: str) -> Optional[float]:
        """The median."""
        found = self.figures.get(row.name, {}).get(library)
        return median(found.of(row)) if found and found.of(row) else None

    def wall(self, row: Row, library: str) -> Optional[float]:
        found = self.figures.get(row.name, {}).get(library)
        return median(found.wall) if found and found.wall else None

    def ratio(self, row: Row, library: str = OURS, to: str = REFERENCE) -> Optional[float]:
        """Of a library's median to another's, which may be that of another row (`row.against`)."""
        ours, theirs = self.figure(row, library), self.figures.get(row.against or row.name, {}).get(to)
        if ours is None or theirs is None or not theirs.of(row):
            return None
        return ours / median(theirs.of(row))

    def paired(self, row: Row, to: str) -> Optional[float]:
        """The median of the ratios of amqplib to another, round by round: what disturbs a round disturbs both."""
        ours = self.figures.get(row.name, {}).get(OURS)
        theirs = self.figures.get(row.against if to == REFERENCE and row.against else row.name, {}).get(to)
        if not ours or not theirs:
            return None
        return median(mine / its for mine, its in zip(ours.of(row), theirs.of(row)))

    def verdict(self, row: Row) -> Optional[float]:
        """What the target is about: memory as it is, time as a share of py-amqp's."""
        return self.figure(row, OURS) if row.memory else self.ratio(row)


class Bench:
    """Drivers and judge, ready to measure."""

    def __init__(self, libraries: Sequence[str], python: str, server: Server) -> None:
        self._libraries = list(libraries)
        self._python, self._server = python, server
        self._stack = ExitStack()
        self._queues = itertools.count()  # a new one each time: what closes late must not take another's messages

    def __enter__(self) -> Bench:
        self._judge = self._stack.enter_context(closing(Judge(self._server)))
        self._drivers = {
            library: self._stack.enter_context(Driver(library, self._python, self._server))
            for library in self._libraries
        }
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def run(self, rows: Sequence[Row], rounds: int, scale: float, results: Results) -> None:
        """Measure, and add to the results. JudgeError if a library of those loses a message."""
        progress = Progress(rounds * len(rows) * len(self._libraries))
        for number in range(rounds):
            turn = number % len(self._libraries)
            for row in rows:
                for library in self._libraries[turn:] + self._libraries[:turn]:
                    progress.step("round %d: %s, %s" % (number + 1, row.name, library))
                    self._measure(row, library, scale, results)
        progress.end()
        results.versions.update((name, driver.version) for name, driver in self._drivers.items())

    def _measure(self, row: Row, library: str, scale: float, results: Results) -> None:
        queue = "benchmark.%d" % next(self._queues)
        task = Task(row.work, queue, row.messages_for(library, scale), row.size, kind=row.kind)
        driver = self._drivers[library]
        self._judge.prepare(task, row.receives)
        if row.memory:
            driver.end()  # the peak is that of a process
        try:
            answer = driver.do(task)
            self._judge.examine(task, row.receives, answer, library)
        except DriverError as exc:
            if str(exc) not in results.failures:
                results.failures.append(str(exc))
            return
        finally:
            self._judge.clean(task)
        if answer.get("unsupported"):
            return
        figures = results.figures.setdefault(row.name, {}).setdefault(library, Figures())
        figures.cpu.append(answer["cpu"] / task.messages * _MICRO)
        figures.wall.append(answer["wall"] / task.messages * _MICRO)
        if row.memory:
            figures.memory.append(answer["peak"] / task.size)
            driver.end()
