"""docs/broker.txt shows code that runs, and names what there is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from amqplib.broker.faults import Faults

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "broker.txt").read_text(encoding="utf-8")


def block(first: str, last: str) -> str:
    """The indented lines from one to another."""
    lines = TEXT.split("\n")
    start = next(n for n, line in enumerate(lines) if first in line)
    end = next(n for n, line in enumerate(lines) if n >= start and last in line)
    return "\n".join(line[4:] for line in lines[start : end + 1])


def test_the_first_example() -> None:
    exec(block("from amqplib.broker import Broker", "messages == 1"), {})


def test_the_example_of_a_fault(broker: Broker) -> None:
    names = {"amqp": amqp, "pytest": pytest}
    exec(block("def test_a_broker_that_hangs", "faults.resume()"), names)
    names["test_a_broker_that_hangs"](broker)  # type: ignore[operator]


def test_the_example_of_a_restart(broker: Broker) -> None:
    names = {"amqp": amqp, "pytest": pytest}
    exec(block("def test_it_connects_again", "passive=True)[1] == 0"), names)
    names["test_it_connects_again"](broker)  # type: ignore[operator]


CLIENTS = {
    "pika": ("import pika\n", "def test_with_pika", "connection.close()"),
    "amqp": ("import amqp\n", "def test_with_py_amqp", "== 'hello'"),
    "celery": (
        "import celery\nfrom celery.contrib.testing.worker import start_worker\n",
        "def test_with_celery",
        "get(timeout=10) == 5",
    ),
    "amqplib": ("import amqplib.client_0_9_1\n", "def test_in_company", "message_count == 0"),
}


@pytest.mark.timeout(200)
@pytest.mark.parametrize("client", list(CLIENTS))
def test_the_examples_with_other_clients(client: str, tmp_path: Path) -> None:
    """As somebody's tests of their own, which find the fixtures by the plugin."""
    if not find_spec(client):
        pytest.skip("it needs Python 3.10 or later")
    imports, first, last = CLIENTS[client]
    (tmp_path / "test_it.py").write_text(imports + block(first, last) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "amqplib.pytest_plugin", "-p", "no:cacheprovider", "test_it.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=150
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_every_fault_is_named() -> None:
    section = TEXT[TEXT.index("Faults on order") : TEXT.index("What it costs")]
    named = set(re.findall(r"^    (\w+)\(", section, re.MULTILINE)) | set(
        re.findall(r"^    \w+\(.*?\), (\w+)\(", section, re.MULTILINE)
    )
    assert named - {"def"} == {name for name in vars(Faults) if not name.startswith("_")}


def test_what_a_broker_shows_is_named() -> None:
    shown = {name for name in vars(Broker) if not name.startswith("_")} - {"running"}
    assert {name for name in shown if name not in TEXT} == set()
