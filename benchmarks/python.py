"""The Python part of amqplib, without the system's: sh benchmarks/run python [--beside DIR | --recover].

What an operation costs in CPU time when sending and receiving are done in memory (benchmarks/clients/python_part.py):
beside another checkout, which the same program measures by turns with this one; with a connection that comes back
(recover=True), beside one that does not; or beside a loop of plain Python, which tells how fast the machine is just
now, so that the ratio can be compared with one of another day (run check).
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from benchmarks.clients.python_part import BY_NAME, LOOP, PARTS, Part
from benchmarks.drivers import DriverError, Program
from benchmarks.environment import ROOT
from benchmarks.progress import Progress

#: New processes, each with its memory laid out another way: that alone is worth some per cent.
ROUNDS = 7
#: Pairs of slices of about five milliseconds at each row in a round: one of the row, one of what it is compared with.
SLICES = 32
#: Both slices of a pair run on the same one, for one may be the slower for seconds. Rows and rounds take turns.
_PROCESSORS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


#: What is counted -> how often an operation does it.
Counts = Dict[str, float]


class Process(Program):
    """benchmarks.clients.python_part with the amqplib of a checkout, and perhaps a connection that comes back."""

    def __init__(self, checkout: Path, recover: bool = False) -> None:
        command = [sys.executable, "-m", "benchmarks.clients.python_part", str(checkout), *["recover"] * recover]
        super().__init__(str(checkout), command, {"PYTHONHASHSEED": "0"})

    def measure(self, part: Part) -> float:
        """Microseconds an operation, in one slice."""
        return float(self.ask(part.name, part.name)) * 1e6

    def count(self, part: Part) -> Counts:
        """What Python does for an operation."""
        return {what: float(count) for what, count in self.ask("count " + part.name, part.name).items()}


class Figure(NamedTuple):
    """A row in one round."""

    #: Microseconds an operation, and of what it is compared with, in the best slices.
    ours: float
    other: float
    ratio: float


#: The name of a row -> its figures, round by round.
Figures = Dict[str, List[Figure]]


def ratio(figures: Sequence[Figure]) -> float:
    """The median of the rounds."""
    return median(figure.ratio for figure in figures)


def ratio_of_best(figures: Sequence[Figure]) -> float:
    """Of all slices. Beside the loop this moves least, for in slow phases what uses more memory is slowed down more."""
    return min(figure.ours for figure in figures) / min(figure.other for figure in figures)


def sum_up(slices: Sequence[Tuple[float, float]]) -> Figure:
    """The median of the ratios: a virtual machine has phases of a tenth of a second in which all takes half as long
    again, so the slices of a pair can be compared, and even the best ones of a round cannot."""
    ours, other = zip(*slices)
    return Figure(min(ours), min(other), median(mine / its for mine, its in slices))


def measure(parts: Sequence[Part], rounds: int, beside: Optional[Path] = None, recover: bool = False) -> Figures:
    """This checkout, perhaps with `recover`, and another by turns; or this one and the loop, in the same process."""
    figures: Figures = {part.name: [] for part in parts}
    progress = Progress(rounds * len(parts))
    for number in range(rounds):
        with ExitStack() as stack:
            ours = stack.enter_context(Process(ROOT, recover))
            other = stack.enter_context(Process(beside)) if beside else ours
            for process in {ours, other}:
                process.start()
            for index, part in enumerate(parts):
                for process in {ours, other} if _PROCESSORS else ():
                    process.pin(_PROCESSORS[(number + index) % len(_PROCESSORS)])
                progress.step("round %d: %s" % (number + 1, part.name))
                figures[part.name].append(sum_up(_take_turns(ours, part, other, part if beside else LOOP)))
    progress.end()
    return figures


def count(parts: Sequence[Part]) -> Dict[str, Counts]:
    """What Python does for an operation: the same on every machine with this Python, however busy it is.

    Nearly: what is done once in so many milliseconds is done more often by a slow one. So it is the least of three.
    """

    def least(several: Sequence[Counts]) -> Counts:
        return {what: min(counts[what] for counts in several) for what in several[0]}

    with Process(ROOT) as process:
        return {part.name: least([process.count(part) for _ in range(3)]) for part in parts}


def _take_turns(ours: Process, part: Part, other: Process, opposite: Part) -> List[Tuple[float, float]]:
    slices = []
    for number in range(SLICES):
        if number % 2:
            second = other.measure(opposite)
            slices.append((ours.measure(part), second))
        else:
            first = ours.measure(part)
            slices.append((first, other.measure(opposite)))
    return slices


def text(figures: Figures, beside: bool) -> str:
    """The table."""
    lines = ["%-40s %9s %12s %9s" % ("", "ours", "theirs" if beside else "plain loop", "ratio")]
    lines[0] += "   of the rounds" * beside
    for name, several in figures.items():
        ours, its = min(figure.ours for figure in several), min(figure.other for figure in several)
        cells = BY_NAME[name].title, ours, its, ratio(several) if beside else ratio_of_best(several)
        lines.append("%-40s %6.2f us %9.2f us %9.2f" % cells)
        if beside:
            ratios = sorted(figure.ratio for figure in several)
            lines[-1] += "   %.2f to %.2f" % (ratios[0], ratios[-1])
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/run python", description=__doc__.split("\n\n")[0])
    opposite = parser.add_mutually_exclusive_group()
    opposite.add_argument("--beside", type=Path, metavar="DIR", help="a checkout to be measured by turns with this one")
    opposite.add_argument("--recover", action="store_true", help="with recover=True, by turns with what is without")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="new processes, of which the median counts (7)")
    parser.add_argument("--rows", nargs="+", choices=list(BY_NAME), default=list(BY_NAME), metavar="ROW",
                        help="some of: " + " ".join(BY_NAME))  # fmt: skip
    options = parser.parse_args(arguments)
    beside: Optional[Path] = ROOT if options.recover else options.beside and options.beside.resolve()
    parts = [part for part in PARTS if part.name in options.rows]
    try:
        figures = measure(parts, options.rounds, beside, options.recover)
    except DriverError as exc:
        print("failed: %s" % exc)
        return 1
    print(text(figures, beside is not None))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
