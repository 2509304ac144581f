"""Virtual environments with other libraries, kept where the tests keep theirs (see brokers.cache())."""

from __future__ import annotations

import fcntl
import platform
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from tests.brokers import cache


def venv_with(name: str, requirements: str) -> str:
    """The interpreter of the one called so, with these requirements (lines as pip reads them from a file).

    It is made, or made anew, unless it is there, whole, and for these requirements: by one process at a time, for tests
    run in several.
    """
    venv = cache() / ("%s-%s" % (name, platform.python_version()))
    python, complete = venv / "bin" / "python", venv / "complete"
    with _alone(venv.with_name(venv.name + ".lock")):
        if not complete.exists() or complete.read_text() != requirements or not python.exists():
            print("making a virtual environment in %s" % venv, file=sys.stderr, flush=True)
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
            wanted = venv / "requirements.txt"
            wanted.write_text(requirements)
            pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-r", str(wanted)]
            subprocess.run(pip, check=True, stdout=sys.stderr)
            complete.write_text(requirements)
    return str(python)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """While others that come here wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
