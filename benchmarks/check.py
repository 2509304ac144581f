"""Has amqplib become slower? sh benchmarks/run check: four minutes, for continuous integration.

Judged is what noise does not move: how many instructions of its own Python executes for each row of the Python part
(benchmarks/python.py), and how many C functions it calls, against what benchmarks/recorded.json has for this Python.
A row fails when either is over 3 % more.

How long that takes only warns, for it depends on the machine and on what else that does; and only here does it show
when a C function takes longer. The warning comes when a row of the Python part, as a multiple of a loop of plain Python
in the same process, is over 20 % worse than recorded; and when one of the main rows of the table, with amqplib, py-amqp
and the floor by turns, is over 25 % worse in both ratios, that to py-amqp and that to the floor: what has become dearer
in amqplib shows in both, what has befallen one of the others in one. A row that cannot be measured any more fails.

What is worse is measured once more, longer, before it is believed. --record measures three times and writes the worst
of each ratio as the new record, for the Python it runs on. --python does either for the Python part alone, which needs
neither RabbitMQ nor the other libraries.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Callable, Collection, Dict, Protocol, Sequence, TypeVar

from benchmarks import python
from benchmarks.clients.python_part import PARTS, Part
from benchmarks.drivers import DriverError
from benchmarks.environment import broker, peers_python, server
from benchmarks.measure import Bench, Results
from benchmarks.work import BY_NAME, FLOOR, LARGE, MEDIUM, OURS, REFERENCE, Row

RECORD = Path(__file__).resolve().parent / "recorded.json"
#: Times what is recorded: of what is counted, of the Python part's time, and of the rows beside other libraries.
COUNT_TOLERANCE, PYTHON_TOLERANCE, TOLERANCE = 1.03, 1.20, 1.25

ROWS = [
    BY_NAME[name] for name in ("publish", "batch", "headers", "consume", "ack", "get", "confirmed", "1MB-out", "1MB-in")
]
ROUNDS, LONG_ROUNDS, RECORD_ROUNDS = 7, 15, 15
RECORD_TIMES = 3
#: Share of the messages; a quarter of the few large ones would be over in three milliseconds.
SCALE, SCALE_OF_LARGE = 0.25, 2.0

#: Has the C library (glibc) keep memory that is given back. Whether it has to ask the system for the next large body
#: hangs on the order in which the others came and went, and is worth a factor of two or more.
KEEPS_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}

#: What the Python part is compared with, in the record.
LOOP = "loop"

#: What is counted of the Python part, in the record.
COUNTED = ["instructions", "C calls"]

#: What a row is compared with -> ratio; or what is counted -> how often.
Ratios = Dict[str, float]


class Line(Protocol):
    """A row of either kind."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...


LineT = TypeVar("LineT", bound=Line)


class PythonLine:
    """A row of the Python part, with a name that the record has not used for another."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.name = "python " + part.name
        self.title = part.title


#: Those that are no matter of how fast memory is.
PYTHON_LINES = [PythonLine(part) for part in PARTS if part.size < MEDIUM]


def measure_python(lines: Sequence[PythonLine], rounds: int) -> Dict[str, Ratios]:
    try:
        figures = python.measure([line.part for line in lines], rounds)
    except DriverError as exc:
        print("failed: %s" % exc)
        return {line.name: {} for line in lines}
    return {line.name: {LOOP: round(python.ratio_of_best(figures[line.part.name]), 3)} for line in lines}


def count_python(lines: Sequence[PythonLine], rounds: int = 1) -> Dict[str, Ratios]:
    """It is the same in every round."""
    try:
        counts = python.count([line.part for line in lines])
    except DriverError as exc:
        print("failed: %s" % exc)
        return {line.name: {} for line in lines}
    return {line.name: {what: round(count, 2) for what, count in counts[line.part.name].items()} for line in lines}


def ratios(rows: Sequence[Row], results: Results) -> Dict[str, Ratios]:
    found: Dict[str, Ratios] = {}
    for row in rows:
        pairs = {to: results.paired(row, to) for to in (REFERENCE, FLOOR)}
        found[row.name] = {to: round(ratio, 3) for to, ratio in pairs.items() if ratio is not None}
    return found


def does_more(row: Line, found: Dict[str, Ratios], recorded: Dict[str, Ratios]) -> bool:
    """Of what is counted, anything more than the tolerance allows; also when it could not be counted."""
    counts = found[row.name]
    return not counts or any(counts[what] > recorded[row.name][what] * COUNT_TOLERANCE for what in COUNTED)


def worse(row: Line, found: Dict[str, Ratios], recorded: Dict[str, Ratios], tolerance: float) -> bool:
    """By more than the tolerance, whatever it is compared with; also when there is nothing to compare."""
    shared = set(found[row.name]) & set(recorded.get(row.name, {}))
    return all(found[row.name][to] > recorded[row.name][to] * tolerance for to in shared)


def judge(
    rows: Sequence[LineT],
    recorded: Dict[str, Ratios],
    measure: Callable[[Sequence[LineT], int], Dict[str, Ratios]],
    tolerance: float,
) -> Dict[str, Ratios]:
    """Measure, print, and measure again what is worse; the rows that were worse twice, and what was found."""
    failing = list(rows)
    for rounds in (ROUNDS, LONG_ROUNDS):
        found = measure(failing, rounds)
        for row in failing:
            print(line(row, found, recorded))
        failing = [row for row in failing if worse(row, found, recorded, tolerance)]
        if not failing:
            break
        print("worse by more than %d %%: %s" % (round(tolerance * 100 - 100), ", ".join(row.name for row in failing)))
    return {row.name: found[row.name] for row in failing}


def line(row: Line, found: Dict[str, Ratios], recorded: Dict[str, Ratios]) -> str:
    cells = [
        "%s %7.3f (%.3f)" % (to, ratio, recorded.get(row.name, {}).get(to, float("nan")))
        for to, ratio in found[row.name].items()
    ]
    return "%-40s %s" % (row.title, "   ".join(cells))


def read_record(version: str, rows: Sequence[Line]) -> Dict[str, Ratios]:
    """The ratios of the rows that were recorded on this Python, or else on the nearest one."""
    record: Dict[str, Dict[str, Ratios]] = json.loads(RECORD.read_text())

    def distance(other: str) -> int:
        return abs(int(other.split(".")[1]) - int(version.split(".")[1]))

    nearest = min((other for other in record if any(row.name in record[other] for row in rows)), key=distance)
    if nearest != version:
        print("nothing is recorded for Python %s; compared with Python %s" % (version, nearest))
    return record[nearest]


def worst(several: Sequence[Dict[str, Ratios]]) -> Dict[str, Ratios]:
    """Of each ratio the largest, where all have it."""
    shared = {
        name: [to for to in first if all(to in one[name] for one in several)] for name, first in several[0].items()
    }
    return {name: {to: max(one[name][to] for one in several) for to in tos} for name, tos in shared.items()}


def write_record(version: str, found: Dict[str, Ratios]) -> None:
    """Add to the record; what is not among it stays."""
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    of_version = record.setdefault(version, {})
    for name, figures in found.items():
        of_version.setdefault(name, {}).update(figures)
    RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


def record_rows(
    version: str,
    rows: Sequence[LineT],
    measure: Callable[[Sequence[LineT], int], Dict[str, Ratios]],
    rounds: int,
    times: int = RECORD_TIMES,
) -> int:
    """Measure so many times and write the worst; the code to end with."""
    found = worst([measure(rows, rounds) for _ in range(times)])
    print("\n".join(line(row, found, found) for row in rows))
    missing = [row.name for row in rows if not found[row.name]]
    if missing:
        print("nothing is recorded, for these could not be measured: " + ", ".join(missing))
        return 1
    write_record(version, found)
    return 0


def python_part(version: str, record: bool) -> int:
    """The code to end with."""
    print("Python part of amqplib: what it does for an operation (and what is recorded)")
    if record:
        code = record_rows(version, PYTHON_LINES, count_python, 1, times=1)
    else:
        code = judge_counts(version)
    print("How long that takes, as a multiple of a loop of plain Python (and what is recorded)")
    if record:
        return record_rows(version, PYTHON_LINES, measure_python, ROUNDS) or code
    return judge_times(PYTHON_LINES, read_record(version, PYTHON_LINES), measure_python, PYTHON_TOLERANCE) or code


def judge_counts(version: str) -> int:
    """The code to end with."""
    recorded: Dict[str, Ratios] = json.loads(RECORD.read_text()).get(version, {})
    if not all(set(COUNTED) <= set(recorded.get(row.name, {})) for row in PYTHON_LINES):
        print("not judged: no counts are recorded for Python %s, and those of another one are others" % version)
        return 0
    found = count_python(PYTHON_LINES)
    print("\n".join(line(row, found, recorded) for row in PYTHON_LINES))
    failed = [row.name for row in PYTHON_LINES if does_more(row, found, recorded)]
    print("does more than recorded, which fails: %s" % ", ".join(failed) if failed else "does no more than recorded")
    return 1 if failed else 0


def beside_others(version: str, record: bool) -> int:
    """The code to end with."""
    interpreter = peers_python()
    with broker() as node, Bench([OURS, REFERENCE, FLOOR], interpreter, server(node)) as bench:
        os.environ.update(KEEPS_MEMORY)  # of the drivers, which start when they are first asked for something

        def measure(rows: Sequence[Row], rounds: int) -> Dict[str, Ratios]:
            results = Results()
            bench.run([row for row in rows if row.size < LARGE], rounds, SCALE, results)
            bench.run([row for row in rows if row.size >= LARGE], rounds, SCALE_OF_LARGE, results)
            for failure in results.failures:
                print("failed: " + failure)
            return ratios(rows, results)

        print("Ratios of client CPU time, amqplib to others (and what is recorded)")
        if record:
            return record_rows(version, ROWS, measure, RECORD_ROUNDS)
        return judge_times(ROWS, read_record(version, ROWS), measure, TOLERANCE)


def judge_times(
    rows: Sequence[LineT],
    recorded: Dict[str, Ratios],
    measure: Callable[[Sequence[LineT], int], Dict[str, Ratios]],
    tolerance: float,
) -> int:
    """Warn of those that are slower; the code to end with, which is not 0 when one could not be measured."""
    slower = judge(rows, recorded, measure, tolerance)
    unmeasured = [name for name, found in slower.items() if not found]
    print(("warning, which fails nothing: " if slower else "") + verdict(slower))
    if unmeasured:
        print("could not be measured, which fails: " + ", ".join(unmeasured))
    return 1 if unmeasured else 0


def verdict(slower: Collection[str]) -> str:
    return "slower than recorded: %s" % ", ".join(slower) if slower else "as fast as recorded"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/run check", description=__doc__.split("\n\n")[0])
    parser.add_argument("--record", action="store_true", help="write the ratios to benchmarks/recorded.json")
    parser.add_argument("--python", action="store_true", help="the Python part alone, without RabbitMQ and others")
    options = parser.parse_args(arguments)
    version = "%d.%d" % sys.version_info[:2]
    code = python_part(version, options.record)
    return code if options.python else beside_others(version, options.record) or code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
