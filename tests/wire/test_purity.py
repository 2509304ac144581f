"""Proves that amqplib.wire does no I/O: it imports nothing that could, neither itself nor by way of others."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List, Set

import pytest

import amqplib.wire

PACKAGE = Path(amqplib.wire.__file__).parent
MODULES = sorted(PACKAGE.glob("**/*.py"))

#: All that the wire may use of the standard library.
ALLOWED = {"__future__", "datetime", "decimal", "io", "struct", "typing"}

FORBIDDEN = {"asyncio", "logging", "os", "select", "selectors", "signal", "socket", "ssl", "subprocess", "threading"}


def imports(module: Path) -> Iterator[str]:
    """What a module imports, at its top or within functions; "." for modules of its own package."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level or node.module or ""
        elif isinstance(node, ast.Name) and node.id in ("__import__", "open", "input", "print"):
            yield node.id


def test_modules_are_found() -> None:
    expected = {"__init__", "codecs", "content", "errors", "frames", "protocol", "spec", "tables"}
    assert {module.stem for module in MODULES} >= expected


@pytest.mark.parametrize("module", MODULES, ids=[module.stem for module in MODULES])
def test_imports(module: Path) -> None:
    assert set(imports(module)) <= ALLOWED | {"."}


def loaded_by(names: List[str]) -> Set[str]:
    """The modules that an interpreter of its own holds after importing `names`."""
    code = "import sys; sys.path.insert(0, %r)\nimport %s\nprint(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", code % (str(PACKAGE.parent.parent), ", ".join(names))]
    return set(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=60).stdout.decode().split())


def test_importing_it_loads_nothing_else() -> None:
    loaded = loaded_by(["amqplib.wire.protocol"])
    assert "amqplib.wire.protocol" in loaded
    assert {name for name in loaded if name.startswith("amqplib")} <= {
        "amqplib",
        "amqplib.wire",
        *("amqplib.wire." + module.stem for module in MODULES),
    }
    # what the allowed modules load by themselves differs from version to version of Python
    brought = loaded - loaded_by(sorted(ALLOWED))
    assert {name for name in brought if not name.startswith("amqplib")} == set()
    assert not brought & FORBIDDEN
