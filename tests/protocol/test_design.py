"""docs/design.txt says what is so: the table of states, the files, names in the code, and who takes the lock."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Dict, Iterator, Set

import pytest

from amqplib.protocol import states
from amqplib.wire.spec import AMQP_0_8, AMQP_0_9_1

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "amqplib"
TEXT = (ROOT / "docs" / "design.txt").read_text(encoding="utf-8")

#: Of methods of AMQP, which look like names in modules.
METHODS = {name for dialect in (AMQP_0_8, AMQP_0_9_1) for name in dialect.by_name}


def section(title: str) -> str:
    """The text under a heading."""
    return TEXT.split("\n%s\n%s\n" % (title, "-" * len(title)))[1].split("\n\n\n")[0]


@pytest.mark.parametrize("rows", [states.CHANNEL_ROWS, states.CONNECTION_ROWS])
def test_the_table_in_the_document(rows: str) -> None:
    shown = "".join(line.strip() + "\n" for line in TEXT.splitlines())
    assert rows in "\n" + shown


@pytest.mark.parametrize("folder", ["wire", "protocol", "client", "client/connect", "client/net", "client/recovery"])
def test_every_file_is_in_the_list(folder: str) -> None:
    listed = set(re.findall(r"\w+", section("Layers").split("client_0_8/")[0]))
    files = {path.stem for path in (PACKAGE / folder).glob("*.py")} - {"__init__"}
    assert files - listed == set()


# --- names


def names_in(tree: ast.AST) -> Iterator[str]:
    """What can be asked of a module, or of a class and its instances."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from (each.id for each in ast.walk(target) if isinstance(each, ast.Name))
    if isinstance(tree, ast.ClassDef):
        for inner in ast.walk(tree):
            if isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name) and inner.value.id == "self":
                yield inner.attr


def everything() -> Dict[str, Set[str]]:
    """Class or module -> names. A class has those of its bases; a module also those of its classes."""
    found: Dict[str, Set[str]] = {}
    bases: Dict[str, Set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        own = found.setdefault(path.stem, set())
        own.update(names_in(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                names = set(names_in(node))
                own.update(names)
                found.setdefault(node.name, set()).update(names)
                above = {getattr(base, "id", getattr(base, "attr", "")) for base in node.bases}
                bases.setdefault(node.name, set()).update(above - {node.name})
    for _ in range(5):
        for name, above in bases.items():
            for base in above:
                found[name] |= found.get(base, set())
    return found


EVERYTHING = everything()
NAMED = sorted(
    {
        "%s.%s" % pair
        for pair in re.findall(r"(?<![\w./])(\w+)\.(\w+)", TEXT)
        if pair[0] in EVERYTHING and "%s.%s" % pair not in METHODS and pair[1] not in ("py", "txt", "rst")
    }
)


def test_names_are_found() -> None:
    assert {"Driver.fail", "Line.over", "Reviver._replace", "connecting._start", "driver.LOOK_AGAIN"} <= set(NAMED)


@pytest.mark.parametrize("name", NAMED)
def test_what_the_document_names_is_there(name: str) -> None:
    owner, member = name.split(".")
    assert member in EVERYTHING[owner]


# --- the lock


def takes_the_lock(path: Path) -> bool:
    """Is there a `with` over a driver's lock, the reviver's, or the tracer's?"""
    items = (
        item.context_expr
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.With)
        for item in node.items
    )
    return any("lock" in {getattr(each, "attr", "") for each in ast.walk(expr)} for expr in items)


@pytest.mark.parametrize("package", ["client", "client_0_8", "client_0_9_1"])
def test_who_takes_the_lock_is_listed(package: str) -> None:
    block = section("Locks").split("These files take it")[1].split("\nIt is taken")[0]
    shown = re.search(r"^    %s/ (.*?)(?=^    \w+/ |\Z)" % package, block, re.M | re.S)
    listed = set(re.findall(r"\w+", shown[1])) - {"in", "recovery"} if shown else set()
    assert {path.stem for path in (PACKAGE / package).rglob("*.py") if takes_the_lock(path)} == listed


# --- private names

#: Python's own, and two that programs of amqplib 1.0 override.
NOT_OURS = {"_make", "_replace", "_is_owned", "_release_save", "_acquire_restore", "_do_close", "_METHOD_MAP"}


def private_of_others(tree: ast.AST) -> Set[str]:
    """Private names that are asked of other objects than self, and are not of this file."""
    own: Set[str] = set()
    asked: Set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            own.add(node.name)
        elif isinstance(node, ast.Attribute):
            is_self = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            is_super = isinstance(node.value, ast.Call) and getattr(node.value.func, "id", "") == "super"
            (own if is_self or is_super else asked).add(node.attr)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            own.add(node.target.id)
    private = {name for name in asked if name.startswith("_") and not name.startswith(("__", "_amqplib"))}
    return private - own - NOT_OURS


@pytest.mark.parametrize("package", ["protocol", "client", "client_0_8", "client_0_9_1"])
def test_a_private_name_is_its_files_own(package: str) -> None:
    found = {
        path.name: private_of_others(ast.parse(path.read_text(encoding="utf-8")))
        for path in (PACKAGE / package).rglob("*.py")
    }
    assert {name: names for name, names in found.items() if names} == {}
