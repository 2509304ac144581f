"""What stands in pyproject.toml and setup.py is complete, and does not install something else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import amqplib

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

#: What setup.py sees of setuptools.
SETUPTOOLS = """
__version__ = %r

def setup():
    print("setup() was called")
"""


def run_setup(tmp_path: Path, version: str) -> subprocess.CompletedProcess[str]:
    """setup.py with a setuptools of this version."""
    (tmp_path / "setuptools.py").write_text(SETUPTOOLS % version)
    code = "import sys, runpy; sys.path.insert(0, %r); runpy.run_path(%r)" % (str(tmp_path), str(ROOT / "setup.py"))
    return subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("version", ["40.8.0", "60.10.0", "75.3.2"])
def test_a_setuptools_that_reads_no_pyproject(tmp_path: Path, version: str) -> None:
    done = run_setup(tmp_path, version)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "setuptools %s is too old" % version in done.stderr
    assert "pip install" in done.stderr


@pytest.mark.parametrize("version", ["77.0.1", "80.9.0.post20250601"])
def test_a_setuptools_that_does(tmp_path: Path, version: str) -> None:
    done = run_setup(tmp_path, version)
    assert (done.returncode, done.stdout, done.stderr) == (0, "setup() was called\n", "")


def test_metadata() -> None:
    """What an index shows; and the version is the package's own."""
    project = PYPROJECT[PYPROJECT.index("[project]") : PYPROJECT.index("[tool.")]
    assert re.search(r'^version = "(.*)"$', project, re.MULTILINE).group(1) == amqplib.__version__  # type: ignore[union-attr]
    for name in "name", "description", "readme", "license", "requires-python", "authors", "keywords", "classifiers":
        assert re.search(r"^%s = " % name, project, re.MULTILINE), name
    assert "[project.urls]" in project
    assert "Typing :: Typed" in project


def test_types_are_installed() -> None:
    assert (ROOT / "amqplib" / "py.typed").is_file()
