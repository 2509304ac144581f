"""tests/mutants: which mistakes it makes, and what it says of those that change nothing."""

from __future__ import annotations

import ast
from typing import List

import pytest

from tests.mutants.__main__ import CHECKOUT, PATHS, all_in, same
from tests.mutants.mistakes import mistakes


def changed(code: str) -> List[str]:
    return [mistake.made(code) for mistake in mistakes(code)]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("a < b", ["a <= b", "a >= b"]),
        ("a is not b", ["a is b"]),
        ("a not in b", ["a in b"]),
        ("a or b", ["False or b", "a and b", "a or False"]),
        ("not a", ["a"]),
        ("é + (b)", ["é - (b)"]),
        ("'%s is' % a", []),
        ("a if b else c", ["a if not (b) else c"]),
        ("f(a, b=c, d=None)", ["f(a, b=None, d=None)"]),
        ("min(a)", ["max(a)"]),
        ("1", ["(1 + 1)"]),
        ("2", ["(2 + 1)", "(2 - 1)"]),
        ("'for people'", []),
        ("'name'", ['""']),
        ("b''", ['b"X"']),
        ("True", ["False"]),
        ("f'{a} b'", []),
    ],
)
def test_of_an_expression(code: str, expected: List[str]) -> None:
    assert changed("x = " + code) == ["x = " + each for each in expected]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("f()", ["pass"]),
        ("raise f", ["pass"]),
        ("a = f", ["a = None"]),
        ("a.b = f", ["a.b = None", "pass"]),
        ("a += b", ["a -= b", "a = b", "pass"]),
        ("return a", ["return None"]),
        ("return", ["pass"]),
        ("with a: pass", ["if True: pass"]),
        ("with a as c: pass", []),
        ("if a: pass", ["if not (a): pass"]),
        ("while a: break", ["while a: continue", "while not (a): break"]),
        ("try: pass\n    finally: c", ["try: pass\n    finally: pass"]),
        ("try: pass\n    except E: c = d", ["try: pass\n    except E: c = None", "try: pass\n    except E: raise"]),
        ("assert a < b", []),
        ("a: int = None", []),
        ("'A docstring'", []),
    ],
)
def test_of_a_statement(code: str, expected: List[str]) -> None:
    begin = "class A:\n  def f(self):\n    "
    assert sorted(changed(begin + code)) == [begin + each for each in sorted(expected)]


def test_where_a_mistake_is() -> None:
    code = "\nclass A:\n    def f(self):\n        a()\n        return (b\n            < c)\n"
    mistake = next(each for each in mistakes(code) if each.instead == "<=")
    assert (mistake.line, mistake.first, mistake.last, mistake.scope) == (6, 3, 6, "A.f")
    assert mistake.described(code) == "A.f: < c) -> <= c)"


def test_a_module_with_a_mistake_is_still_python() -> None:
    for made in all_in(["amqplib/protocol/gates.py"]):
        ast.parse(made.mistake.made(made.text))


def test_the_files_are_there_and_what_changes_nothing_is_in_them() -> None:
    assert [path for path in PATHS if not (CHECKOUT / path).exists()] == []
    found = {
        made.mistake.described(made.text) for made in all_in(["amqplib/protocol", "amqplib/wire", "amqplib/client"])
    }
    assert same() - found == set()
