"""Has amqplib become slower? sh benchmarks/run check: a minute, for continuous integration.

Measures the main rows of the table with amqplib, py-amqp and the floor by turns, and compares the ratios with those in
benchmarks/recorded.json. A row fails when both, that to py-amqp and that to the floor, are worse than recorded by more
than 25 %: what has become dearer in amqplib shows in both, what has befallen one of the others in one. What fails is
measured once more, longer, before it is believed.

--record measures three times and writes the worst of each ratio as the new record, for the Python it runs on: on a
virtual machine they differ by a quarter from one minute to the next.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Callable, Dict, List, Sequence

from benchmarks.environment import broker, peers_python, server
from benchmarks.measure import Bench, Results
from benchmarks.work import BY_NAME, FLOOR, LARGE, OURS, REFERENCE, Row

RECORD = Path(__file__).resolve().parent / "recorded.json"
TOLERANCE = 1.25

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

#: What a row is compared with -> ratio.
Ratios = Dict[str, float]


def ratios(rows: Sequence[Row], results: Results) -> Dict[str, Ratios]:
    found: Dict[str, Ratios] = {}
    for row in rows:
        pairs = {to: results.paired(row, to) for to in (REFERENCE, FLOOR)}
        found[row.name] = {to: round(ratio, 3) for to, ratio in pairs.items() if ratio is not None}
    return found


def worse(row: Row, found: Dict[str, Ratios], recorded: Dict[str, Ratios]) -> bool:
    """By more than the tolerance, whatever it is compared with; also when there is nothing to compare."""
    shared = set(found[row.name]) & set(recorded.get(row.name, {}))
    return all(found[row.name][to] > recorded[row.name][to] * TOLERANCE for to in shared)


def judge(
    rows: Sequence[Row], recorded: Dict[str, Ratios], measure: Callable[[Sequence[Row], int], Dict[str, Ratios]]
) -> List[Row]:
    """Measure, print, and measure again what fails; the rows that failed twice."""
    failing = list(rows)
    for rounds in (ROUNDS, LONG_ROUNDS):
        found = measure(failing, rounds)
        for row in failing:
            print(line(row, found, recorded))
        failing = [row for row in failing if worse(row, found, recorded)]
        if not failing:
            break
        print("worse by more than %d %%: %s" % (TOLERANCE * 100 - 100, ", ".join(row.name for row in failing)))
    return failing


def line(row: Row, found: Dict[str, Ratios], recorded: Dict[str, Ratios]) -> str:
    cells = [
        "%s %7.3f (%.3f)" % (to, ratio, recorded.get(row.name, {}).get(to, float("nan")))
        for to, ratio in found[row.name].items()
    ]
    return "%-40s %s" % (row.title, "   ".join(cells))


def read_record(version: str) -> Dict[str, Ratios]:
    """The ratios that were recorded on this Python, or else on the nearest one."""
    record: Dict[str, Dict[str, Ratios]] = json.loads(RECORD.read_text())

    def distance(other: str) -> int:
        return abs(int(other.split(".")[1]) - int(version.split(".")[1]))

    nearest = min(record, key=distance)
    if nearest != version:
        print("nothing is recorded for Python %s; compared with Python %s" % (version, nearest))
    return record[nearest]


def worst(several: Sequence[Dict[str, Ratios]]) -> Dict[str, Ratios]:
    """Of each ratio the largest."""
    return {name: {to: max(one[name][to] for one in several) for to in first} for name, first in several[0].items()}


def write_record(version: str, found: Dict[str, Ratios]) -> None:
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    record[version] = found
    RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/run check", description=__doc__.split("\n\n")[0])
    parser.add_argument("--record", action="store_true", help="write the ratios to benchmarks/recorded.json")
    options = parser.parse_args(arguments)
    version = "%d.%d" % sys.version_info[:2]
    python = peers_python()
    with broker() as node, Bench([OURS, REFERENCE, FLOOR], python, server(node)) as bench:
        os.environ.update(KEEPS_MEMORY)  # of the drivers, which start when they are first asked for something

        def measure(rows: Sequence[Row], rounds: int) -> Dict[str, Ratios]:
            results = Results()
            bench.run([row for row in rows if row.size < LARGE], rounds, SCALE, results)
            bench.run([row for row in rows if row.size >= LARGE], rounds, SCALE_OF_LARGE, results)
            for failure in results.failures:
                print("failed: " + failure)
            return ratios(rows, results)

        print("Ratios of client CPU time, amqplib to others (and what is recorded)")
        if options.record:
            found = worst([measure(ROWS, RECORD_ROUNDS) for _ in range(RECORD_TIMES)])
            write_record(version, found)
            print("\n".join(line(row, found, found) for row in ROWS))
            return 0
        failed = judge(ROWS, read_record(version), measure)
    print("slower than recorded: %s" % ", ".join(row.name for row in failed) if failed else "as fast as recorded")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
