"""Running tests on a copy of the checkout, each time in a process of its own.

It is forked from one that has imported what tests import, but for the library and the tests themselves, and that has no
threads: that saves a second a time.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Set

import hypothesis
import pytest

from .measuring import DIRECTORIES, TO, Measured, digest, test_files

#: What tests import, to have it once.
for _name in ("asyncio", "hypothesis.stateful", "pytest_timeout", "ssl", "unittest.mock"):
    importlib.import_module(_name)

#: Seconds beside twice what the tests take: to begin with, and for a machine that has other work.
START = 20.0

_ARGS = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly", "--hypothesis-seed=0", "--tb=line", "--no-header"]
_ARGS += ["-p", "no:xdist", "-p", "no:pytest_cov"]  # which take time to load
# that hypothesis is imported, which is meant
_ARGS += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]

_PASSED = (0, 5)


class Outcome(NamedTuple):
    """What came of a run."""

    noticed: bool
    #: By which test, or how.
    by: str
    seconds: float


class _Chosen:
    """A plugin: only these tests, in their order; and all that are in no measured file."""

    def __init__(self, tests: Sequence[str], known: Set[str], report: Path) -> None:
        self.order = {test: at for at, test in enumerate(tests)}
        self.known, self.report = known, report

    def pytest_sessionstart(self) -> None:
        # an example that fails is enough
        phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
        profile = hypothesis.settings.get_profile("amqplib")
        hypothesis.settings.register_profile("mutants", parent=profile, phases=phases, database=None)
        hypothesis.settings.load_profile("mutants")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: List[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self.order or item.nodeid not in self.known]
        items.sort(key=lambda item: self.order.get(item.nodeid, -1))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.report.write_text(json.dumps(report.nodeid))
            os._exit(1)  # what is wrong may take long to tear down

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.report.write_text(json.dumps(report.nodeid or "an import"))


class Copy:
    """A copy of the checkout, in which one file is wrong at a time."""

    def __init__(self, checkout: Path, scratch: Path) -> None:
        self.checkout, self.root, self.report, self.log = (
            checkout,
            scratch / "copy",
            scratch / "report",
            scratch / "log",
        )
        ignore = shutil.ignore_patterns(".git", "__pycache__", "*.pyc", ".*_cache", "build", "dist")
        shutil.copytree(checkout, self.root, ignore=ignore)
        self.made = 0
        environ = {"PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1", "AMQPLIB_TEST_QUICK": "1"}
        self.environ: Dict[str, str] = {**os.environ, **environ}

    def measure(self, to: Path) -> None:
        """Run all the tests, once, and write down what they run."""
        command = [sys.executable, "-m", "pytest", *_ARGS, "-p", "tests.mutants.measuring", *DIRECTORIES]
        command.remove("-x")
        partial = to.with_name(to.name + ".partial")
        environ = {**self.environ, TO: str(partial)}
        if subprocess.run(command, cwd=self.root, env=environ, stdout=sys.stderr).returncode:
            print("those that have failed are left out", file=sys.stderr)
        partial.replace(to)

    def put(self, file: str, text: str) -> None:
        """Have this text in a file."""
        self.made += 1
        path = self.root / file
        path.write_text(text)
        # bytecode goes by seconds and sizes: each has a second of its own
        os.utime(path, (self.made, self.made))

    def run(self, tests: Sequence[str], measured: Measured, limit: float, keep_bytecode: bool = False) -> Outcome:
        """Run these tests in their order, until one fails; and those that have changed since they were measured."""
        changed = [file for file in test_files(self.root) if measured.files.get(file) != digest(self.root / file)]
        files = sorted({test.partition("::")[0] for test in tests}.union(changed))
        if not files:
            return Outcome(False, "", 0.0)
        known = set(measured.seconds)
        if self.report.exists():
            self.report.unlink()
        began = time.monotonic()
        done, mine = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            try:
                os.close(done)
                self._be_child(files, _Chosen(tests, known, self.report), keep_bytecode)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(99)
        os.close(mine)
        group = pid
        over = select.select([done], [], [], limit)[0]  # readable when the last that has the other end has ended
        try:
            if not over:
                return Outcome(True, "time", time.monotonic() - began)
            status = os.waitpid(pid, 0)[1]
            pid = 0
        finally:
            os.close(done)
            try:
                os.killpg(group, signal.SIGKILL)  # also what it has started
            except ProcessLookupError:
                pass
            if pid:
                os.waitpid(pid, 0)
        seconds = time.monotonic() - began
        if os.WIFSIGNALED(status):
            return Outcome(True, "signal %d" % os.WTERMSIG(status), seconds)
        if os.WEXITSTATUS(status) in _PASSED:
            return Outcome(False, "", seconds)
        by: Optional[str] = json.loads(self.report.read_text()) if self.report.exists() else None
        return Outcome(True, by or "exit %d" % os.WEXITSTATUS(status), seconds)

    def _be_child(self, files: List[str], chosen: _Chosen, keep_bytecode: bool) -> None:
        os.setsid()
        to = os.open(str(self.log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(to, number)
        os.close(to)
        os.chdir(self.root)
        os.environ.clear()
        os.environ.update(self.environ)
        for name in [name for name in sys.modules if name.partition(".")[0] in ("amqplib", "tests")]:
            del sys.modules[name]
        sys.path[:] = [str(self.root), *(each for each in sys.path if each not in ("", str(self.checkout)))]
        sys.dont_write_bytecode = not keep_bytecode
        code = pytest.main([*_ARGS, "--rootdir", str(self.root), *files], plugins=[chosen])
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(code))
