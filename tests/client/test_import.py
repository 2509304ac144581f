"""Proves that importing the client is cheap, and loads nothing that does not come with Python."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List

import pytest

import amqplib

CLIENTS = "amqplib.client_0_8", "amqplib.client_0_9_1"
each_client = pytest.mark.parametrize("client", CLIENTS)
YARDSTICK = "socket, ssl, struct, logging, queue, datetime, decimal, threading"

#: In time of the processor: 1.6 on Python 3.11 and 1.7 on 3.13 when this was set. It was 1.5 by the clock.
LIMIT = 2.0

#: Prints what an import loads: each module and its file.
LOADED = """
import json, sys
before = set(sys.modules)
import %s
found = {name: getattr(sys.modules[name], "__file__", None) for name in set(sys.modules) - before}
print(json.dumps(found))
"""

#: Prints the seconds of the processor that an import takes: what others do beside it is not counted.
TIMED = """
import sys
from time import process_time
begin = process_time()
import %s
print(process_time() - begin)
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A directory with nothing but a copy of the package, in which Python may keep what it compiles."""
    directory = tmp_path_factory.mktemp("copy")
    shutil.copytree(Path(amqplib.__file__).parent, directory / "amqplib", ignore=shutil.ignore_patterns("__pycache__"))
    yield str(directory)
    shutil.rmtree(directory)


def run(root: str, code: str) -> str:
    """The output of a fresh Python that has this directory, its library, and nothing else."""
    start = "import sys; sys.path.insert(0, %r)\n" % root
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", start + code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


@each_client
def test_nothing_but_the_standard_library(root: str, client: str) -> None:
    found = json.loads(run(root, LOADED % client))
    assert client in found
    library = str(Path(json.__file__).parent.parent)
    ours = {name: file for name, file in found.items() if name.split(".")[0] == "amqplib"}
    strangers = {name: file for name, file in found.items() if name not in ours and file}
    assert [name for name, file in ours.items() if not file.startswith(root)] == []
    assert [name for name, file in strangers.items() if not file.startswith(library)] == []
    assert [name for name, file in strangers.items() if "-packages" in file] == []


@each_client
def test_ssl_is_not_loaded_before_it_is_needed(root: str, client: str) -> None:
    assert "ssl" not in json.loads(run(root, LOADED % client))


@each_client
def test_neither_is_what_other_programs_are_for(root: str, client: str) -> None:
    """The broker in the box, the command line, pytest, kombu, and the other client module."""
    found = json.loads(run(root, LOADED % client))
    (other,) = set(CLIENTS) - {client}
    for name in other, "amqplib.broker", "amqplib.tool", "amqplib.pytest_plugin", "amqplib.kombu", "pytest", "kombu":
        assert name not in found
    # what costs nothing while nobody asks for it
    for name in (
        "amqplib.client.trace",
        "amqplib.wire.watch",
        "amqplib.protocol.timing",
        "amqplib.client.recovery.reviver",
    ):
        assert name not in found


def seconds(root: str, modules: str) -> float:
    return float(run(root, TIMED % modules))


@each_client
def test_time(root: str, client: str) -> None:
    """Both are measured in turn, so that a busy machine slows down both; the best of several rounds counts."""
    seconds(root, client)  # compiles it
    ratios: List[float] = []
    for _ in range(6):
        pairs = [(seconds(root, client), seconds(root, YARDSTICK)) for _ in range(7)]
        ratios.append(statistics.median(a for a, _ in pairs) / statistics.median(b for _, b in pairs))
        if ratios[-1] <= LIMIT:
            return
    raise AssertionError("the import takes %s times as long as that of %s" % (ratios, YARDSTICK))
