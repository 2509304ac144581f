"""Who imports whom in amqplib: there are no circles, not even by imports inside functions."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Dict, Iterator, List, Set, Tuple

import pytest

ROOT = Path(__file__).resolve().parents[1]


def modules(root: Path) -> Dict[str, Path]:
    """The modules of the package amqplib under a directory, by name."""
    found = {}
    for path in sorted((root / "amqplib").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def is_for_types_only(node: ast.AST) -> bool:
    """Is it an `if TYPE_CHECKING:`?"""
    if not isinstance(node, ast.If):
        return False
    test = node.test
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


def imports(tree: ast.AST) -> Iterator[ast.stmt]:
    """All import statements that are carried out at some time, wherever they stand."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif is_for_types_only(node):
            assert isinstance(node, ast.If)
            for other in node.orelse:
                yield from imports(ast.Module([other], []))
        else:
            yield from imports(node)


def imported(name: str, is_package: bool, statement: ast.stmt) -> Iterator[Tuple[str, str]]:
    """(module, name in it) of what a statement in the module `name` imports; the name is "" for a module as such."""
    if isinstance(statement, ast.Import):
        yield from ((alias.name, "") for alias in statement.names)
    elif isinstance(statement, ast.ImportFrom):
        base: List[str] = []
        if statement.level:
            base = name.split(".")[: len(name.split(".")) - statement.level + is_package]
        module = ".".join([*base, *([statement.module] if statement.module else [])])
        yield from ((module, alias.name) for alias in statement.names)


def graph(root: Path) -> Dict[str, Set[str]]:
    """Which modules of the package each of them imports."""
    paths = modules(root)
    edges: Dict[str, Set[str]] = {}
    for name, path in paths.items():
        edges[name] = set()
        for statement in imports(ast.parse(path.read_text(encoding="utf-8"))):
            for module, item in imported(name, path.name == "__init__.py", statement):
                inner = "%s.%s" % (module, item)
                edges[name].add(inner if inner in paths else module)
    return {
        name: {target for target in targets if target in edges and target != name} for name, targets in edges.items()
    }


def in_circles(edges: Dict[str, Set[str]]) -> List[str]:
    """The modules that lie on a circle, or between two: what is left when those without imports or importers go."""
    edges = {name: set(targets) for name, targets in edges.items()}
    while True:
        wanted = set().union(*edges.values()) if edges else set()
        kept = {name for name, targets in edges.items() if targets and name in wanted}
        if len(kept) == len(edges):
            return sorted(kept)
        edges = {name: targets & kept for name, targets in edges.items() if name in kept}


@pytest.fixture(scope="module")
def edges() -> Dict[str, Set[str]]:
    """Those of the package as it is."""
    return graph(ROOT)


def test_there_are_no_circles(edges: Dict[str, Set[str]]) -> None:
    assert len(edges) > 60
    assert edges["amqplib.client.driver"] >= {"amqplib.client.output", "amqplib.protocol.session"}
    assert in_circles(edges) == []


@pytest.mark.parametrize(
    ("one", "circle"),
    [
        ("from .two import x", True),
        ("from . import two", True),
        ("import amqplib.two", True),
        ("def f():\n    from .two import x", True),
        ("if 1:\n    from .two import x", True),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .two import x", False),
        ("import typing\nif typing.TYPE_CHECKING:\n    from .two import x", False),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    from .two import x", True),
        ("from .three import x", False),
    ],
)
def test_a_circle_is_found(tmp_path: Path, one: str, circle: bool) -> None:
    package = tmp_path / "amqplib"
    package.mkdir()
    for name, text in (("__init__", ""), ("one", one), ("two", "from .one import y"), ("three", "")):
        (package / (name + ".py")).write_text(text)
    assert in_circles(graph(tmp_path)) == (["amqplib.one", "amqplib.two"] if circle else [])


#: What a package of ours may import of the others. The protocol's are proven more strictly: tests/wire/test_purity.py.
BELOW: Dict[str, Set[str]] = {
    "wire": set(),
    "protocol": {"wire"},
    "client": {"wire", "protocol"},
    "broker": {"wire"},
    "client_0_8": {"wire", "protocol", "client"},
    "client_0_9_1": {"wire", "protocol", "client"},
}


@pytest.mark.parametrize("package", BELOW)
def test_imports_go_downwards(edges: Dict[str, Set[str]], package: str) -> None:
    wrong = set()
    for name, targets in edges.items():
        if name.split(".")[1:2] == [package]:
            packages = {target.split(".")[1] for target in targets if target != "amqplib"}
            wrong |= {(name, other) for other in packages - BELOW[package] - {package}}
    assert wrong == set()
