"""Proves that what is shown with a failed test is true: the command runs this test, and the logs are its brokers'."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import failures


def test_the_command_runs_the_test(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within itself it only says so: which is how it ends."""
    if "AMQPLIB_TEST_AGAIN" in os.environ:
        return
    monkeypatch.setenv("AMQPLIB_TEST_AGAIN", "a value to quote")
    command = failures.run_again(request.node)
    assert shlex.split(command)[-1] == request.node.nodeid
    done = subprocess.run(
        command, shell=True, cwd=str(Path(__file__).parents[1]), capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_what_ran_before() -> None:
    assert failures.before_it(deque(["a"])) == "none"
    assert failures.before_it(deque(["a b", "c", "failed"])) == "'a b'\nc"


def test_the_logs_of_brokers() -> None:
    """Of each one once, whatever the fixture keeps it in; one that has gone has none."""

    def gone() -> str:
        raise FileNotFoundError

    node = SimpleNamespace(log=lambda: "x" * 10000 + "the end")
    funcargs = {"mortal": node, "secured": SimpleNamespace(node=node), "gone": SimpleNamespace(log=gone), "n": 1}
    ((title, text),) = failures.logs(funcargs)
    assert title.startswith("end of the log of ")
    assert len(text) < 10000
    assert text.endswith("the end")
