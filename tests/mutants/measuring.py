"""A pytest plugin: which lines each test runs, and how long it takes. What it writes is `Measured`."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Dict, Generator, Iterator, List, NamedTuple, Set

import coverage
import pytest

#: The file to write.
TO = "AMQPLIB_MUTANTS_MEASURED"

#: The tests that are asked; those that need a broker or a network that fails take too long.
DIRECTORIES = ("tests/wire", "tests/protocol", "tests/client", "tests/interleavings")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def test_files(root: Path) -> Iterator[str]:
    """Those in the directories, relative to the checkout."""
    for directory in DIRECTORIES:
        for path in sorted((root / directory).glob("test_*.py")):
            yield path.relative_to(root).as_posix()


class Measured(NamedTuple):
    """What the tests run."""

    #: The files of tests, as they were: file -> digest.
    files: Dict[str, str]
    #: Seconds that each test takes, by its id; of those that pass.
    seconds: Dict[str, float]
    #: By file, relative to the checkout: the tests that run each line.
    lines: Dict[str, Dict[int, Set[str]]]

    def write(self, path: Path) -> None:
        names = list(self.seconds)
        number = {name: at for at, name in enumerate(names)}
        lines = {
            file: {line: sorted(number[test] for test in tests if test in number) for line, tests in of.items()}
            for file, of in self.lines.items()
        }
        path.write_text(json.dumps([self.files, self.seconds, lines]))

    @classmethod
    def read(cls, path: Path) -> Measured:
        files, seconds, lines = json.loads(path.read_text())
        names = list(seconds)
        by_line = {
            file: {int(line): {names[at] for at in tests} for line, tests in of.items()} for file, of in lines.items()
        }
        return cls(files, seconds, by_line)


class Measuring:
    def __init__(self, to: Path, root: Path) -> None:
        self.to, self.root = to, root
        self.cover = coverage.Coverage(data_file=None, source=[str(root / "amqplib")], branch=False)
        self.seconds: Dict[str, float] = {}
        self.failed: List[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        self.cover.start()
        self.cover.switch_context("")
        try:
            return (yield)
        finally:
            self.cover.stop()
            self._write()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self.cover.switch_context(item.nodeid)
        began = time.perf_counter()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = round(time.perf_counter() - began, 4)
            self.cover.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome != "passed":
            self.failed.append(report.nodeid)

    def _write(self) -> None:
        for test in self.failed:
            self.seconds.pop(test, None)
        data = self.cover.get_data()
        lines: Dict[str, Dict[int, Set[str]]] = {}
        for file in data.measured_files():
            of: Dict[int, Set[str]] = defaultdict(set)
            for line, tests in data.contexts_by_lineno(file).items():
                of[line].update(test for test in tests if test)
            lines[Path(file).relative_to(self.root).as_posix()] = of
        files = {file: digest(self.root / file) for file in test_files(self.root)}
        Measured(files, self.seconds, lines).write(self.to)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Measuring(Path(os.environ[TO]), config.rootpath))
