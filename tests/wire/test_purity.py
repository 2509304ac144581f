"""Proves that amqplib.wire and amqplib.protocol do no I/O, and that neither has anything of those above it: they import
nothing that could do any, neither themselves nor by way of others."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, List, Set

import pytest

import amqplib

ROOT = Path(amqplib.__file__).parent

#: All that each package may use of the standard library.
ALLOWED: Dict[str, Set[str]] = {
    "wire": {"__future__", "datetime", "decimal", "io", "struct", "typing"},
    "protocol": {"__future__", "bisect", "collections", "itertools", "typing"},
}

#: The packages of ours that each may use.
BELOW: Dict[str, Set[str]] = {"wire": {"wire"}, "protocol": {"wire", "protocol"}}

FORBIDDEN = {
    "_socket",
    "_thread",
    "asyncio",
    "logging",
    "os",
    "queue",
    "select",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
}

EXPECTED = {
    "wire": {"__init__", "codecs", "content", "errors", "frames", "protocol", "spec", "tables"},
    "protocol": {"__init__", "confirms", "endings", "gates", "handshake", "port", "session", "states"},
}

MODULES = {package: sorted((ROOT / package).glob("**/*.py")) for package in ALLOWED}
EACH = [
    pytest.param(package, module, id="%s.%s" % (package, module.stem))
    for package in ALLOWED
    for module in MODULES[package]
]


def imports(tree: ast.AST, package: str) -> Iterator[str]:
    """What a module imports, at its top or within functions; by absolute names, such as amqplib.wire.spec."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            within = ("amqplib", package)[: 3 - node.level] if node.level else ()
            base = ".".join([*within, *([node.module] if node.module else [])])
            yield from ((base + "." + alias.name for alias in node.names) if not node.module else (base,))
        elif isinstance(node, ast.Name) and node.id in ("__import__", "open", "input", "print"):
            yield node.id


def strange(names: Set[str], package: str) -> Set[str]:
    """Those of the names that a module of the package may not import."""
    ours = {"amqplib." + other for other in BELOW[package]}
    return {name for name in names if name not in ALLOWED[package] and ".".join(name.split(".")[:2]) not in ours}


@pytest.mark.parametrize("package", ALLOWED)
def test_modules_are_found(package: str) -> None:
    assert {module.stem for module in MODULES[package]} >= EXPECTED[package]


@pytest.mark.parametrize(("package", "module"), EACH)
def test_imports(package: str, module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    assert strange(set(imports(tree, package)), package) == set()


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("import socket", True),
        ("import os.path", True),
        ("from time import monotonic", True),
        ("def f():\n    import threading", True),
        ("if TYPE_CHECKING:\n    from ..client.driver import Driver", True),
        ("from .. import client", True),
        ("from ..client import driver", True),
        ("import amqplib.client.driver", True),
        ("open('x')", True),
        ("from .. import wire", False),
        ("from ..wire.spec import Sig", False),
        ("from ..wire import frames", False),
        ("from . import port", False),
        ("from .port import Port", False),
        ("from collections import deque", False),
    ],
)
def test_what_may_not_be_imported_is_found(statement: str, found: bool) -> None:
    assert bool(strange(set(imports(ast.parse(statement), "protocol")), "protocol")) is found


def test_the_wire_knows_nothing_of_the_protocol() -> None:
    assert strange({"amqplib.protocol.port", "amqplib.wire.spec", "collections"}, "wire") == {
        "amqplib.protocol.port",
        "collections",
    }


def loaded_by(names: List[str]) -> Set[str]:
    """The modules that an interpreter of its own holds after importing `names`."""
    code = "import sys; sys.path.insert(0, %r)\nimport %s\nprint(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", code % (str(ROOT.parent), ", ".join(names))]
    return set(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=60).stdout.decode().split())


@pytest.mark.parametrize("package", ALLOWED)
def test_importing_it_loads_nothing_else(package: str) -> None:
    names = ["amqplib.%s.%s" % (package, module.stem) for module in MODULES[package] if module.stem != "__init__"]
    loaded = loaded_by(names)
    assert loaded >= set(names)
    known = {"amqplib.%s.%s" % (other, module.stem) for other in BELOW[package] for module in MODULES[other]}
    packages = {"amqplib." + other for other in BELOW[package]}
    assert {name for name in loaded if name.startswith("amqplib")} <= {"amqplib", *packages, *known}
    # what the allowed modules load by themselves differs from version to version of Python
    brought = loaded - loaded_by(sorted(set().union(*(ALLOWED[other] for other in BELOW[package]))))
    assert {name for name in brought if not name.startswith("amqplib")} == set()
    assert not brought & FORBIDDEN
