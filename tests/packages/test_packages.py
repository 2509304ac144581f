"""The packages that are made of this checkout: complete, and they work where nothing else is installed.

On Python 3.11 and later, with what tests/requirements.txt installs there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Dict, List

import pytest

pytest.importorskip("build", reason="build is not installed: it needs Python 3.11 here")

ROOT = Path(__file__).resolve().parents[2]

#: A message there and back, and that it is the installed package which did it.
PROGRAM = """
import pathlib, sys
import amqplib
import amqplib.client_0_8 as old
import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker

assert pathlib.Path(sys.prefix) in pathlib.Path(amqplib.__file__).parents, amqplib.__file__
assert (pathlib.Path(amqplib.__file__).parent / "py.typed").is_file()
with Broker() as broker:
    with old.Connection(broker.address) as conn, amqp.Connection(broker.address) as other:
        ch = conn.channel()
        ch.access_request("/data", active=True, write=True, read=True)
        ch.queue_declare("q", auto_delete=False)
        ch.basic_publish(old.Message("Hello"), routing_key="q")
        ch.close()
        print(other.channel().basic_get("q").body)
"""


def run(*command: object, **options: object) -> str:
    """What it prints, where no checkout is on the path."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "COVERAGE_FILE")}
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
        env=environment,
        **options,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, done.stdout
    return str(done.stdout)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a source distribution and a wheel that was made of that."""
    folder = tmp_path_factory.mktemp("packages")
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".git", "__pycache__", ".*_cache", "dist"))
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", source)
    shutil.rmtree(source)
    return folder / "dist"


def only(packages: Path, pattern: str) -> Path:
    [found] = packages.glob(pattern)
    return found


@pytest.fixture(scope="module")
def unpacked(packages: Path) -> Path:
    """The source distribution, unpacked."""
    with tarfile.open(only(packages, "*.tar.gz")) as archive:
        archive.extractall(packages.parent)
    return only(packages.parent, "amqplib-*")


def interpreters() -> Dict[str, Path]:
    """This Python, the oldest that amqplib is for, and the newest that is here."""
    places = [Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"]
    found = {"this": Path(sys.executable)}
    others = sorted(
        (tuple(map(int, path.parents[1].name.split("."))), path)
        for place in places
        for path in place.glob("3.*/bin/python")
        if path.parents[1].name.replace(".", "").isdigit()
    )
    others = [(version, path) for version, path in others if version >= (3, 8)]
    if others:
        found["oldest"], found["newest"] = others[0][1], others[-1][1]
    return found


def test_what_is_in_them(packages: Path) -> None:
    """Of the package, the same in both; and the source has what it takes to try, test and measure it."""
    with tarfile.open(only(packages, "*.tar.gz")) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(only(packages, "*.whl")) as archive:
        wheel = set(archive.namelist())
    here = {
        str(path.relative_to(ROOT))
        for path in ROOT.glob("amqplib/**/*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in wheel if name.startswith("amqplib/")} == here
    assert {name for name in source if name.startswith("amqplib/")} == here
    for name in (
        "README.txt",
        "LICENSE",
        "CHANGES",
        "SECURITY.txt",
        "setup.py",
        "tests/run",
        "tests/requirements.txt",
        "demo/demo_send.py",
        "docs/overview.txt",
        "benchmarks/run",
        "fuzz/wire.py",
    ):
        assert name in source, name
    assert not [name for name in source if name.endswith(".pyc")]


def test_what_indexes_and_packagers_check(packages: Path, unpacked: Path) -> None:
    both: List[Path] = [only(packages, "*.tar.gz"), only(packages, "*.whl")]
    assert run(sys.executable, "-m", "twine", "--no-color", "check", "--strict", *both).count("PASSED") == 2
    assert run(sys.executable, "-m", "check_wheel_contents", both[1]).rstrip().endswith("OK")
    # there is no address of the developers'
    assert "Final rating: 10/10" in run(
        sys.executable, "-m", "pyroma", "-n", "10", "--skip-tests=AuthorEmail", unpacked
    )


@pytest.mark.parametrize("which", ["this", "oldest", "newest"])
def test_the_wheel_works_where_nothing_else_is_installed(packages: Path, tmp_path: Path, which: str) -> None:
    python = interpreters().get(which)
    if python is None:
        pytest.skip("no Python of pyenv's here")
    run(python, "-m", "venv", tmp_path / "venv")
    binaries = tmp_path / "venv" / "bin"
    wheel = only(packages, "*.whl")
    run(binaries / "python", "-m", "pip", "install", "-qq", "--no-index", "--disable-pip-version-check", wheel)
    assert run(binaries / "python", "-c", PROGRAM, cwd=tmp_path) == "Hello\n"
    assert "publish" in run(binaries / "amqplib", "--help", cwd=tmp_path)
    assert "publish" in run(binaries / "python", "-m", "amqplib", "--help", cwd=tmp_path)
    assert "pip download" in run(binaries / "amqplib", "docs", cwd=tmp_path)
    documented = run(binaries / "python", "-m", "pydoc", "amqplib.client_0_9_1.Channel", cwd=tmp_path)
    assert "basic_publish" in documented


def test_the_source_is_tested_by_a_plain_pytest(unpacked: Path) -> None:
    """Without any plugin, and without hypothesis, whose tests are left out then."""
    hide = "import sys; sys.modules['hypothesis'] = None; import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    tests = "tests/wire", "tests/protocol", "tests/client/test_handshake.py", "tests/test_packaging.py"
    environment = ["env", "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1", "AMQPLIB_TEST_QUICK=1"]
    said = run(*environment, sys.executable, "-c", hide, "-p", "no:cacheprovider", *tests, cwd=unpacked)
    assert " passed" in said
    assert "failed" not in said
    assert "hypothesis is not installed" in said
