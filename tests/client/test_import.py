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

CLIENT = "amqplib.client_0_8"
YARDSTICK = "socket, ssl, struct, logging, queue, datetime, decimal, threading"

LIMIT = 1.5

#: Prints what an import loads: each module and its file.
LOADED = """
import json, sys
before = set(sys.modules)
import %s
found = {name: getattr(sys.modules[name], "__file__", None) for name in set(sys.modules) - before}
print(json.dumps(found))
"""

#: Prints the seconds that an import takes.
TIMED = """
import sys
from time import perf_counter
begin = perf_counter()
import %s
print(perf_counter() - begin)
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


def test_nothing_but_the_standard_library(root: str) -> None:
    found = json.loads(run(root, LOADED % CLIENT))
    assert CLIENT in found
    library = str(Path(json.__file__).parent.parent)
    ours = {name: file for name, file in found.items() if name.split(".")[0] == "amqplib"}
    strangers = {name: file for name, file in found.items() if name not in ours and file}
    assert [name for name, file in ours.items() if not file.startswith(root)] == []
    assert [name for name, file in strangers.items() if not file.startswith(library)] == []
    assert [name for name, file in strangers.items() if "-packages" in file] == []


def test_ssl_is_not_loaded_before_it_is_needed(root: str) -> None:
    assert "ssl" not in json.loads(run(root, LOADED % CLIENT))


def seconds(root: str, modules: str) -> float:
    return float(run(root, TIMED % modules))


def test_time(root: str) -> None:
    """Both are measured in turn, so that a busy machine slows down both; the best of several rounds counts."""
    seconds(root, CLIENT)  # compiles it
    ratios: List[float] = []
    for _ in range(6):
        pairs = [(seconds(root, CLIENT), seconds(root, YARDSTICK)) for _ in range(7)]
        ratios.append(statistics.median(a for a, _ in pairs) / statistics.median(b for _, b in pairs))
        if ratios[-1] <= LIMIT:
            return
    raise AssertionError("the import takes %s times as long as that of %s" % (ratios, YARDSTICK))
