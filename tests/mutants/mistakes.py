"""The mistakes that are made: all the small changes of a module that this knows, as pieces of text to put in.

Strings with a blank in them are left alone, since they are for people, and so are annotations, docstrings and what only
type checkers see.
"""

from __future__ import annotations

import ast
import re
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple, Type

__all__ = ["Mistake", "mistakes"]


class Mistake(NamedTuple):
    """Characters `begin` to `end` of a text become `instead`."""

    begin: int
    end: int
    instead: str
    #: The line that it is in, from 1, and those of the function, or else of the statement, around it.
    line: int
    first: int
    last: int
    #: Class and function, with dots between; "" where it is in neither.
    scope: str

    def made(self, text: str) -> str:
        return text[: self.begin] + self.instead + text[self.end :]

    def described(self, text: str) -> str:
        """The same wherever it stands: the scope, and its line before and after, or those that it takes."""
        begin = text.rfind("\n", 0, self.begin) + 1
        end = text.find("\n", self.end)
        before, made = text[begin:end], self.made(text)
        after = made[begin : end + len(made) - len(text)]
        return "%s: %s -> %s" % (self.scope, squeezed(before), squeezed(after))


def squeezed(code: str) -> str:
    return " ".join(code.split())


_COMPARED: Dict[Type[ast.cmpop], Tuple[str, ...]] = {
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
}

_COMPUTED: Dict[Type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "+",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "+",
    ast.LShift: ">>",
    ast.RShift: "<<",
    ast.BitAnd: "|",
    ast.BitOr: "&",
    ast.BitXor: "|",
}

_CALLED = {"min": "max", "max": "min", "append": "appendleft", "popleft": "pop", "any": "all", "all": "any"}


def mistakes(text: str) -> List[Mistake]:
    """All that can be made in the text of a module, in the order of their places."""
    found = {(each.begin, each.end, each.instead): each for each in _Finder(text).all()}
    return [each for _, each in sorted(found.items()) if text[each.begin : each.end] != each.instead]


class _Finder:
    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = text.splitlines(keepends=True)
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line))
        self.scope: List[str] = []
        self.around: List[ast.stmt] = []

    def all(self) -> Iterator[Mistake]:
        return self._body(ast.parse(self.text).body)

    # --- places

    def _at(self, line: int, column: int) -> int:
        # columns count bytes
        return self.starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())

    def _begin(self, node: ast.AST) -> int:
        return self._at(node.lineno, node.col_offset)  # type: ignore[attr-defined]

    def _end(self, node: ast.AST) -> int:
        return self._at(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    def _source(self, node: ast.AST) -> str:
        return self.text[self._begin(node) : self._end(node)]

    def _mistake(self, begin: int, end: int, instead: str) -> Mistake:
        line = self.text.count("\n", 0, begin) + 1
        around = self.around[-1]
        return Mistake(begin, end, instead, line, around.lineno, around.end_lineno or line, ".".join(self.scope))

    def _replaced(self, node: ast.AST, instead: str) -> Mistake:
        return self._mistake(self._begin(node), self._end(node), instead)

    # --- statements

    def _body(self, body: List[ast.stmt]) -> Iterator[Mistake]:
        for node in body:
            inside_function = bool(self.around)
            if not inside_function:
                self.around.append(node)
            yield from self._statement(node, inside_function)
            if not inside_function:
                self.around.pop()

    def _statement(self, node: ast.stmt, inside: bool) -> Iterator[Mistake]:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield from self._definition(node)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            yield from self._body(node.orelse)
        elif isinstance(node, (ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal, ast.Pass, ast.Assert)):
            return
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return  # a docstring
        elif isinstance(node, ast.Assign) and self._source(node.targets[0]) in ("__all__", "__slots__"):
            return
        else:
            yield from self._removed(node, inside)
            for name, value in ast.iter_fields(node):
                if name == "annotation":
                    continue
                for each in value if isinstance(value, list) else [value]:
                    if isinstance(each, ast.stmt):
                        yield from self._body([each])
                    elif isinstance(each, ast.ExceptHandler):
                        yield from self._body(each.body)
                    elif isinstance(each, ast.withitem):
                        yield from self._expression(each.context_expr)
                    elif isinstance(each, ast.expr):
                        yield from self._expression(each)
            if isinstance(node, (ast.If, ast.While)):
                yield self._replaced(node.test, "not (%s)" % self._source(node.test))
            if isinstance(node, ast.AugAssign):
                yield from self._computed(node.target, node.op, node.value, "=")

    def _definition(self, node: ast.stmt) -> Iterator[Mistake]:
        assert isinstance(node, (ast.FunctionDef, ast.ClassDef))
        if isinstance(node, ast.FunctionDef):
            for default in [*node.args.defaults, *node.args.kw_defaults]:
                if default is not None:
                    yield from self._expression(default)
        self.scope.append(node.name)
        self.around.append(node)
        if isinstance(node, ast.ClassDef):
            around, self.around = self.around, []
            yield from self._body(node.body)
            self.around = around
        else:
            yield from self._body(node.body)
        self.around.pop()
        self.scope.pop()

    def _removed(self, node: ast.stmt, inside: bool) -> Iterator[Mistake]:
        """Without the statement, or with a part of it."""
        if isinstance(node, (ast.Expr, ast.Raise, ast.Delete, ast.AugAssign)):
            yield self._replaced(node, "pass")
        elif isinstance(node, ast.Assign) and inside:
            attributes = [isinstance(each, (ast.Attribute, ast.Subscript)) for each in node.targets]
            if all(attributes):
                yield self._replaced(node, "pass")
            if not (isinstance(node.value, ast.Constant) and node.value.value is None):
                yield self._replaced(node.value, "None")
        elif isinstance(node, ast.Return):
            if node.value is None:
                yield self._replaced(node, "pass")
            elif not (isinstance(node.value, ast.Constant) and node.value.value is None):
                yield self._replaced(node.value, "None")
        elif isinstance(node, ast.Break):
            yield self._replaced(node, "continue")
        elif isinstance(node, ast.Continue):
            yield self._replaced(node, "break")
        elif isinstance(node, ast.With) and all(each.optional_vars is None for each in node.items):
            last = node.items[-1].context_expr
            yield self._mistake(self._begin(node), self._end(last), "if True")
        elif isinstance(node, ast.Try):
            if node.finalbody:
                yield self._emptied(node.finalbody)
            if node.handlers:
                for handler in node.handlers:
                    yield self._emptied(handler.body, "raise")

    def _emptied(self, body: List[ast.stmt], instead: str = "pass") -> Mistake:
        return self._mistake(self._begin(body[0]), self._end(body[-1]), instead)

    # --- expressions

    def _expression(self, node: ast.AST) -> Iterator[Mistake]:
        if isinstance(node, ast.Constant):
            yield from self._constant(node)
        elif isinstance(node, ast.Compare):
            left: ast.expr = node.left
            for op, right in zip(node.ops, node.comparators):
                begin, end = self._end(left), self._begin(right)
                between = self.text[begin:end]
                match = re.search(r"[<>=!]+|is not|not in|is|in", between)
                assert match is not None
                for instead in _COMPARED[type(op)]:
                    yield self._mistake(begin + match.start(), begin + match.end(), instead)
                left = right
        elif isinstance(node, ast.BoolOp):
            yield from self._joined(node)
        elif isinstance(node, ast.BinOp):
            if not self._formats(node):
                yield from self._computed(node.left, node.op, node.right)
        elif isinstance(node, ast.UnaryOp):
            yield self._replaced(node, self._source(node.operand))
        elif isinstance(node, ast.IfExp):
            yield self._replaced(node.test, "not (%s)" % self._source(node.test))
        elif isinstance(node, ast.Call):
            yield from self._called(node)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.expr, ast.comprehension, ast.keyword)):
                yield from self._expression(child)

    def _constant(self, node: ast.Constant) -> Iterator[Mistake]:
        value = node.value
        if isinstance(value, bool):
            yield self._replaced(node, str(not value))
        elif isinstance(value, (int, float)):
            yield self._replaced(node, "(%s + 1)" % self._source(node))
            if value > 1:
                yield self._replaced(node, "(%s - 1)" % self._source(node))
        elif isinstance(value, str) and not re.search(r"\s|%", value) and not self._is_template(node):
            yield self._replaced(node, '""' if value else '"X"')
        elif isinstance(value, bytes):
            yield self._replaced(node, 'b""' if value else 'b"X"')

    def _is_template(self, node: ast.Constant) -> bool:
        return not re.match(r"[rRuU]?[\"']", self._source(node))  # a piece of an f-string has no quotes of its own

    def _joined(self, node: ast.BoolOp) -> Iterator[Mistake]:
        word, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:]):
            begin, end = self._end(left), self._begin(right)
            match = re.search(r"\b%s\b" % word, self.text[begin:end])
            assert match is not None
            yield self._mistake(begin + match.start(), begin + match.end(), other)
        for value in node.values:  # as if it were not there
            yield self._replaced(value, "True" if word == "and" else "False")

    def _formats(self, node: ast.BinOp) -> bool:
        """Text for people: "..." % something."""
        left = node.left
        return isinstance(node.op, ast.Mod) and isinstance(left, ast.Constant) and isinstance(left.value, str)

    def _computed(self, left: ast.expr, op: ast.operator, right: ast.expr, after: str = "") -> Iterator[Mistake]:
        instead = _COMPUTED.get(type(op))
        begin, end = self._end(left), self._begin(right)
        match = re.search(r"[-+*/%<>&|^]+", self.text[begin:end])
        if instead is not None and match is not None:
            yield self._mistake(begin + match.start(), begin + match.end(), instead)
            if after:
                yield self._mistake(begin + match.start(), begin + match.end() + 1, after)

    def _called(self, node: ast.Call) -> Iterator[Mistake]:
        function: Optional[ast.expr] = node.func
        name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", None)
        if function is not None and name in _CALLED:
            end = self._end(function)
            yield self._mistake(end - len(name), end, _CALLED[name])
        for keyword in node.keywords:
            if keyword.arg is not None and not isinstance(keyword.value, ast.Constant):
                yield self._replaced(keyword.value, "None")
