"""A pytest plugin that fails a run whose coverage is under these figures; tests/run loads it with -p.

A figure that is missed becomes one more failed test, so that pytest itself says so: in its summary, in its closing
line and in its exit code. It needs pytest-cov, and says nothing when a test has failed anyway.
"""

from __future__ import annotations

import io
from typing import Generator

import coverage
import pytest

# of statements and branches together, in percent
FIGURES = (
    ("amqplib/wire", 100.0),
    ("amqplib/protocol", 100.0),
    ("amqplib", 95.0),
)


# Outermost, because pytest-cov saves its data in the same hook after the last test.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    result = yield
    if not session.testsfailed and not hasattr(session.config, "workerinput"):  # nor in a process of xdist's
        for package, figure in FIGURES:
            judge(session, package, figure)
    return result


def judge(session: pytest.Session, package: str, figure: float) -> None:
    data = coverage.Coverage()
    data.load()
    table = io.StringIO()
    try:
        reached = data.report(include=[package + "/*"], show_missing=True, skip_covered=True, file=table)
    except coverage.CoverageException as error:
        reached = 0.0
        table.write(str(error))
    if reached < figure:
        missed = "%s is covered to %.2f %%, which should be %g %%" % (package, reached, figure)
        name = "coverage of " + package
        report = pytest.TestReport(
            nodeid=name,
            location=(name, None, name),
            keywords={},
            outcome="failed",
            longrepr="%s\n\n%s" % (missed, table.getvalue()),
            when="call",
        )
        session.config.hook.pytest_runtest_logreport(report=report)
