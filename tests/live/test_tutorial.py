"""The programs of docs/tutorial/, started as its consoles show, print what those show."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import List

import pytest

from tests.live.conftest import Names
from tests.live.helpers import PATIENCE, eventually
from tests.pages import DOCS, ROOT, addressed, blocks, declared, page

TUTORIAL = sorted(path.stem for path in (DOCS / "tutorial").glob("*.rst"))


class Console:
    """A shell in a directory with the programs of a page."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory, self._stack = directory, stack
        self._outputs: List[Path] = []

    def enter(self, command: str) -> None:
        """Wait for its end, or with a & behind it until it has said the first thing."""
        words = shlex.split(command)
        in_background = words[-1] == "&"
        arguments = words[1:-1] if in_background else words[1:]
        assert words[0] == "python3"
        output = self._directory / ("output-%d" % len(self._outputs))
        self._outputs.append(output)
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-u", "-W", "error", *arguments],
                cwd=str(self._directory),
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=file,
                stderr=file,
            )
        self._stack.callback(process.wait, PATIENCE)
        self._stack.callback(process.kill)
        if in_background:
            eventually(lambda: output.stat().st_size)
        else:
            assert process.wait(PATIENCE) == 0, output.read_text()

    def lines(self) -> List[str]:
        """What they all have printed; in no order, for they take turns as they like."""
        return sorted(line for output in self._outputs for line in output.read_text().splitlines())


@pytest.mark.only(client="client_0_9_1", reason="it is what the pages import")
@pytest.mark.thorough(box=True)
@pytest.mark.parametrize("name", TUTORIAL)
def test_tutorial(name: str, address: str, names: Names, tmp_path: Path) -> None:
    text = page("tutorial/" + name)
    names.queues += sorted(set(declared(text)))
    names.exchanges += [one for one in set(declared(text)) if one.endswith("logs")]
    found = blocks(text)
    for block in found:
        if block.language == "python":
            (tmp_path / block.file).write_text(addressed(block.code, address))
    (session,) = (block.code.splitlines() for block in found if block.language == "console")
    with ExitStack() as stack:
        console = Console(tmp_path, stack)
        for line in session:
            if line.startswith("$ "):
                console.enter(line[2:])
        want = sorted(line for line in session if not line.startswith("$ "))
        try:
            eventually(lambda: console.lines() == want)
        except AssertionError:
            assert console.lines() == want


def test_there_are_six() -> None:
    assert [name[0] for name in TUTORIAL] == list("123456")
