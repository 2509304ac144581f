"""Makes small mistakes in the library, one at a time, and looks whether the tests notice.

    python -m tests.mutants [--count N] [--seed S] [--time SECONDS] [PATHS]

PATHS are files and directories, or FILE:LINE for one line. By default they are what moves octets and keeps the books:
amqplib/protocol, amqplib/wire, and the client's driver with what it hands work to. --count of all the mistakes that can
be made there (tests/mutants/mistakes.py) are drawn by --seed. For each, tests run that run the changed line, the quick
ones first; then others that run the same function, or the same file. A mistake is noticed when a test fails, or when
they take more than twice their time. Those that nobody notices are printed, as diffs.

Which tests run which line is measured first (in 24 minutes beside other work), and kept in ~/.cache/amqplib-tests until
a file of the library changes. A test that has been written or changed since runs always.

The checkout is not touched: everything runs in a copy below the directory for temporary files. What is named in
tests/mutants/same.txt changes nothing, for a reason that stands there; it is not made.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Sequence, Set, Tuple

from .measuring import Measured
from .mistakes import Mistake, mistakes
from .running import START, Copy, Outcome

CHECKOUT = Path(__file__).resolve().parents[2]

_CLIENT = [
    "arrivals",
    "backpressure",
    "calling",
    "consumers",
    "consuming",
    "driver",
    "leaving",
    "left_out",
    "line",
    "liveness",
    "notices",
    "output",
    "sending",
    "stopping",
    "tested",
    "unseen",
    "waiting",
]
_WIRE = ("codecs", "content", "errors", "frames", "hot", "protocol", "spec", "tables")
PATHS = (
    "amqplib/protocol",
    *("amqplib/wire/%s.py" % name for name in _WIRE),
    *("amqplib/client/%s.py" % name for name in _CLIENT),
)

#: Seconds of tests for each mistake; and of others where those have noticed nothing, and then of others still.
BUDGETS = (2.0, 30.0, 90.0)

#: The first are of so many files at most: to import all of them takes seconds.
FILES = 3


class Made(NamedTuple):
    """A mistake in a file."""

    file: str
    text: str
    mistake: Mistake

    @property
    def where(self) -> str:
        return "%s:%d" % (self.file, self.mistake.line)

    def diff(self) -> str:
        before, after = self.text.splitlines(), self.mistake.made(self.text).splitlines()
        lines = list(difflib.unified_diff(before, after, lineterm="", n=1))[3:]
        return "\n".join("    " + line for line in lines)

    def shown(self) -> str:
        return "%s\n%s" % (self.diff(), self.mistake.described(self.text))


def same() -> Set[str]:
    """Mistakes that change nothing: tests/mutants/same.txt. What they do to a line, and below it, indented, why."""
    lines = (Path(__file__).parent / "same.txt").read_text().splitlines()
    return {line for line in lines if line and not line[0].isspace() and not line.startswith("#")}


def all_in(paths: Sequence[str]) -> Iterator[Made]:
    for path in paths:
        name, _, line = path.partition(":")
        where = CHECKOUT / name
        for file in sorted(where.rglob("*.py")) if where.is_dir() else [where]:
            text = file.read_text()
            relative = file.resolve().relative_to(CHECKOUT).as_posix()
            for mistake in mistakes(text):
                if not line or mistake.line == int(line):
                    yield Made(relative, text, mistake)


def library_digest() -> str:
    found = hashlib.sha256(sys.version.encode())
    for path in sorted((CHECKOUT / "amqplib").rglob("*.py")):
        found.update(str(path.relative_to(CHECKOUT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:16]


class Choice:
    """Which tests run for a mistake."""

    def __init__(self, measured: Measured) -> None:
        self.measured = measured
        #: Tests that have noticed mistakes, by file: they are the first that are asked for others there.
        self.keen: Dict[str, List[str]] = {}

    def tests(self, made: Made) -> List[List[str]]:
        """Those that run first, in few files; and those that run where these notice nothing, and then where those do
        not."""
        mistake, seconds = made.mistake, self.measured.seconds
        lines = self.measured.lines.get(made.file, {})
        of_line = lines.get(mistake.line, set())
        of_function: Set[str] = set().union(*(lines.get(at, ()) for at in range(mistake.first, mistake.last + 1)))
        of_file: Set[str] = set().union(*lines.values())
        keen = self.keen.get(made.file, [])[-5:]
        own = made.file.replace("amqplib/", "tests/", 1).rpartition("/")[0] + "/"  # they look closely

        def order(test: str) -> Tuple[bool, bool, float, str]:
            return test not in keen, not test.startswith(own), seconds[test], test

        groups: List[List[str]] = [[] for _ in BUDGETS]
        files: Set[str] = set()
        left = list(BUDGETS)
        for tests in (of_line, of_function - of_line, of_file - of_function):
            for test in sorted(tests, key=order):
                file = test.partition("::")[0]
                for at, group in enumerate(groups):
                    if seconds[test] <= left[at] and (at or file in files or len(files) < FILES):
                        left[at] -= seconds[test]
                        group.append(test)
                        if not at:
                            files.add(file)
                        break
        return groups

    def noticed(self, made: Made, test: str) -> None:
        keen = self.keen.setdefault(made.file, [])
        if test in self.measured.seconds:
            if test in keen:
                keen.remove(test)
            keen.append(test)


def try_out(copy: Copy, choice: Choice, made: Made, groups: List[List[str]]) -> Outcome:
    """Make a mistake, and run groups of tests until one notices it."""
    copy.put(made.file, made.mistake.made(made.text))
    seconds = 0.0
    outcome = Outcome(False, "", 0.0)
    try:
        for tests in groups:
            outcome = run(copy, choice, tests, made)
            seconds += outcome.seconds
            if outcome.noticed:
                choice.noticed(made, outcome.by)
                break
        return outcome._replace(seconds=seconds)
    finally:
        copy.put(made.file, made.text)


def run(copy: Copy, choice: Choice, tests: List[str], made: Made) -> Outcome:
    limit = START + 2 * sum(choice.measured.seconds[test] for test in tests)
    while True:
        outcome = copy.run(tests, choice.measured, limit)
        if outcome.by != "time":
            return outcome
        # is it the mistake, or the machine?
        copy.put(made.file, made.text)
        control = copy.run(tests, choice.measured, limit)
        copy.put(made.file, made.mistake.made(made.text))
        if control.by != "time":
            return outcome
        limit *= 2


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="Do the tests notice mistakes?")
    parser.add_argument("--count", type=int, default=100, help="so many mistakes (100)")
    parser.add_argument("--seed", type=int, default=1, help="which of them (1)")
    parser.add_argument("--time", type=float, default=3600, help="seconds after which no other is made (3600)")
    parser.add_argument("--all-same", action="store_true", help="make those that are known to change nothing, too")
    parser.add_argument("paths", nargs="*", default=PATHS, metavar="PATHS")
    options = parser.parse_args()

    known = set() if options.all_same else same()
    every = [made for made in all_in(options.paths) if made.mistake.described(made.text) not in known]
    drawn = random.Random(options.seed).sample(every, min(options.count, len(every)))
    print("%d of %d mistakes, seed %d" % (len(drawn), len(every), options.seed))

    cache = Path(os.environ.get("AMQPLIB_TEST_CACHE") or Path.home() / ".cache" / "amqplib-tests")
    cache.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="amqplib-mutants-"))
    try:
        copy = Copy(CHECKOUT, scratch)
        where = cache / ("mutants-%s.json" % library_digest())
        if not where.exists():
            print("first, which tests run which line: half an hour, if the machine has other work")
            copy.measure(where)
        choice = Choice(Measured.read(where))
        return go(copy, choice, drawn, options.time)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def go(copy: Copy, choice: Choice, drawn: List[Made], seconds: float) -> int:
    quick = [test for test, takes in choice.measured.seconds.items() if takes < 0.005]
    outcome = copy.run(quick, choice.measured, 600, keep_bytecode=True)
    if outcome.noticed:
        print("a test fails without any mistake: %s\n%s" % (outcome.by, copy.log.read_text()[-4000:]))
        return 2
    end = time.monotonic() + seconds
    noticed = in_time = 0
    unnoticed = drawn
    # the last tests take long, and come when all mistakes have been made once: the time may be over by then
    for rounds, groups in enumerate((slice(0, 2), slice(2, None))):
        left, unnoticed = unnoticed, []
        for at, made in enumerate(left):
            if time.monotonic() > end:
                print("the time is over: %d %s" % (len(left) - at, ("were not made", "did not meet all tests")[rounds]))
                unnoticed += left[at:] if rounds else []
                break
            outcome = try_out(copy, choice, made, choice.tests(made)[groups])
            shown = "noticed by " + outcome.by if outcome.noticed else "NOT noticed"
            print("%d/%d %s: %s, %.1f s" % (at + 1, len(left), made.where, shown, outcome.seconds), flush=True)
            if outcome.noticed:
                noticed += 1
                in_time += outcome.by == "time"
            else:
                unnoticed.append(made)
                print(made.shown(), flush=True)
    for made in unnoticed:
        print("\n%s\n%s" % (made.where, made.shown()))
    count = noticed + len(unnoticed)
    print("\n%d mistakes, %d noticed (%d of them by the time that the tests took)" % (count, noticed, in_time))
    print("%.1f %%" % (100.0 * noticed / max(count, 1)))
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
