"""Programs of benchmarks/clients as processes: started, told what to do, and ended."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from types import TracebackType
from typing import Any, Dict, List, Optional, Type, TypeVar

from benchmarks.clients.driver import Server, Task
from benchmarks.environment import ROOT
from benchmarks.work import LIBRARIES


class DriverError(Exception):
    """A library failed at a task; says how."""


ProgramT = TypeVar("ProgramT", bound="Program")


class Program:
    """One process that answers lines with lines of JSON; started when it is first needed, and again after it failed."""

    def __init__(self, name: str, command: List[str], environment: Optional[Dict[str, str]] = None) -> None:
        self.name = name
        #: What it says when it is ready.
        self.greeting: Any = None
        self._command = command
        self._environment = environment or {}
        self._process: Optional[subprocess.Popen[str]] = None

    def __enter__(self: ProgramT) -> ProgramT:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.end()

    def ask(self, line: str, what: str, timeout: float = 60) -> Any:
        """The answer to a line; DriverError, which calls it `what`, when there is none."""
        if self._process is None:
            self.start()
        process = self._process
        assert process
        assert process.stdin
        process.stdin.write(line + "\n")
        process.stdin.flush()
        return self._answer(what, timeout)

    def pin(self, processor: int) -> None:
        """Have it run on this one, once it runs."""
        if self._process:
            os.sched_setaffinity(self._process.pid, {processor})

    def end(self) -> None:
        process, self._process = self._process, None
        if process:
            process.kill()
            process.communicate()
            self._errors.close()

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **self._environment}
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (lives as long as the process)
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            self._command, stdin=pipe, stdout=pipe, stderr=self._errors, env=environment, cwd=str(ROOT), text=True
        )
        self.greeting = self._answer("start", 60)

    def _answer(self, what: str, timeout: float) -> Any:
        process = self._process
        assert process
        assert process.stdout
        timer = threading.Timer(timeout, process.kill)
        timer.start()
        line = process.stdout.readline()
        timer.cancel()
        if line:
            return json.loads(line)
        process.wait()
        self._errors.seek(0)
        says = self._errors.read().strip().splitlines()[-1:] or ["it gave no answer for %g s" % timeout]
        self.end()
        raise DriverError("%s, %s: %s" % (self.name, what, says[0]))


class Driver(Program):
    """That of a library."""

    def __init__(self, library: str, python: str, server: Server) -> None:
        """`library` is one of LIBRARIES, or the name of a driver itself."""
        module = "benchmarks.clients." + LIBRARIES.get(library, library)
        super().__init__(library, [python, "-m", module, json.dumps(server._asdict())])

    @property
    def version(self) -> str:
        """What the library says it is; known once the process runs."""
        return str(self.greeting["version"]) if self.greeting else ""

    def do(self, task: Task, timeout: float = 60) -> Dict[str, Any]:
        """The figures of a task, as benchmarks.clients.driver.do() gives them."""
        answer: Dict[str, Any] = self.ask(json.dumps(task._asdict()), task.work, timeout)
        return answer
