"""Drivers of benchmarks/clients as processes: started, told what to do, and ended."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from types import TracebackType
from typing import Any, Dict, Optional, Type

from benchmarks.clients.driver import Server, Task
from benchmarks.environment import ROOT
from benchmarks.work import LIBRARIES


class DriverError(Exception):
    """A library failed at a task; says how."""


class Driver:
    """One process; started when it is first needed, and again after it failed."""

    def __init__(self, library: str, python: str, server: Server) -> None:
        """`library` is one of LIBRARIES, or the name of a driver itself."""
        self.name = library
        #: What the library says it is; known once the process runs.
        self.version = ""
        self._command = [
            python,
            "-m",
            "benchmarks.clients." + LIBRARIES.get(library, library),
            json.dumps(server._asdict()),
        ]
        self._process: Optional[subprocess.Popen[str]] = None

    def __enter__(self) -> Driver:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.end()

    def do(self, task: Task, timeout: float = 60) -> Dict[str, Any]:
        """The figures of a task, as benchmarks.clients.driver.do() gives them."""
        if self._process is None:
            self._start()
        process = self._process
        assert process
        assert process.stdin
        process.stdin.write(json.dumps(task._asdict()) + "\n")
        process.stdin.flush()
        return self._answer(task.work, timeout)

    def end(self) -> None:
        process, self._process = self._process, None
        if process:
            process.kill()
            process.communicate()
            self._errors.close()

    def _start(self) -> None:
        environment = dict(os.environ, PYTHONPATH=str(ROOT), PYTHONDONTWRITEBYTECODE="1")
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (lives as long as the process)
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            self._command, stdin=pipe, stdout=pipe, stderr=self._errors, env=environment, text=True
        )
        self.version = self._answer("start", 60)["version"]

    def _answer(self, what: str, timeout: float) -> Dict[str, Any]:
        process = self._process
        assert process
        assert process.stdout
        timer = threading.Timer(timeout, process.kill)
        timer.start()
        line = process.stdout.readline()
        timer.cancel()
        if line:
            answer: Dict[str, Any] = json.loads(line)
            return answer
        process.wait()
        self._errors.seek(0)
        says = self._errors.read().strip().splitlines()[-1:] or ["it gave no answer for %g s" % timeout]
        self.end()
        raise DriverError("%s, %s: %s" % (self.name, what, says[0]))
