"""What docs/overview.txt shows without >>> is code as well: it compiles, and calls what there is, with what fits.

The examples with >>> are run, in tests/live/test_overview.py.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any, Iterator, List, Optional, Tuple

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91

OVERVIEW = Path(__file__).resolve().parents[2] / "docs" / "overview.txt"

#: How indented paragraphs begin that are no code; nor are those with columns, three blanks apart.
PROSE = ("TLSError: ", "IMPORTANT: ")
COLUMNS = re.compile(r"\S {3,}[^# ]")


def paragraphs() -> Iterator[str]:
    """All that are indented, but for those with >>>."""
    for paragraph in re.split(r"\n\s*\n", OVERVIEW.read_text(encoding="utf-8")):
        lines = paragraph.split("\n")
        if all(line.startswith("    ") for line in lines) and not lines[0].startswith("    >>>"):
            yield textwrap.dedent(paragraph)


CODE = [text for text in paragraphs() if not text.startswith(PROSE) and not COLUMNS.search(text)]


def lines_with_remarks() -> List[str]:
    """The calls of the section on what more there is: what they do is said behind them, in the same line."""
    section = OVERVIEW.read_text(encoding="utf-8").split("More that 0-9-1 has\n")[1].split("\n\n")[0]
    return [line.strip().split("   ")[0] for line in section.split("\n") if re.match(r"    \w", line)]


def target(func: ast.expr) -> Optional[Any]:
    """What is called, if it is ours."""
    if isinstance(func, ast.Name):
        return amqp91.Connection if func.id == "Connection" else None
    assert isinstance(func, ast.Attribute)
    if func.attr == "Connection":
        return amqp91.Connection
    if not isinstance(func.value, ast.Name) or func.value.id not in ("ch", "conn", "msg"):
        return None
    owner = {"ch": amqp.Channel, "conn": amqp.Connection, "msg": amqp.Message}[func.value.id]
    return getattr(owner, func.attr)


def check_calls(source: str) -> int:
    """How many calls of ours fit; TypeError for one that does not."""
    found = 0
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = target(node.func)
        if called is not None:
            signature = inspect.signature(called)
            args: Tuple[Any, ...] = tuple(node.args)
            if not inspect.isclass(called):
                args = (None, *args)
            signature.bind(*args, **{word.arg: word.value for word in node.keywords if word.arg})
            found += 1
    return found


@pytest.mark.parametrize("source", CODE)
def test_code(source: str) -> None:
    check_calls(source)


def test_calls_with_remarks() -> None:
    lines = lines_with_remarks()
    assert len(lines) >= 7
    assert [check_calls(line) for line in lines] == [1] * len(lines)


def test_that_is_what_there_is() -> None:
    assert len(CODE) >= 8
    assert sum(map(check_calls, CODE)) >= 15
    with pytest.raises(TypeError):
        check_calls("ch.basic_qos(0, 10)")
