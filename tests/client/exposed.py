"""All that could be read of an exception: by who prints it, by who prints its local variables too."""

from __future__ import annotations

import gc
import traceback
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Iterator, List, Set

import amqplib

__all__ = ["exposed", "reachable"]

_OURS = str(Path(amqplib.__file__).parent)


def exposed(exc: BaseException) -> str:
    """Text and arguments of the exception and of all that led to it, and the local variables of the library's
    functions in their tracebacks. Those of the program's own functions are the program's."""
    texts: List[str] = []
    for each in _chain(exc, set()):
        texts += [str(each), repr(each), repr(each.args), repr(vars(each))]
        for frame in traceback.TracebackException.from_exception(each, capture_locals=True).stack:
            if frame.filename.startswith((_OURS, "<string>")):  # the latter is compiled from the method table
                texts += ["%s, %s" % (frame.name, frame.line), *map("%s = %s".__mod__, (frame.locals or {}).items())]
    return "\n".join(texts)


def _chain(exc: BaseException, seen: Set[int]) -> Iterator[BaseException]:
    if id(exc) not in seen:
        seen.add(id(exc))
        yield exc
        for other in exc.__cause__, exc.__context__:
            if other is not None:
                yield from _chain(other, seen)


def reachable(whole: Any) -> Iterator[Any]:
    """An object and all that it is made of, as far as a debugger would follow: attributes, slots, items of containers;
    not into modules, classes and functions."""
    seen: List[Any] = []  # which keeps them, so that no two have one id()
    ids: Set[int] = set()
    left = [whole]
    while left:
        part = left.pop()
        if id(part) in ids or isinstance(part, (type, ModuleType, FunctionType, BuiltinFunctionType)):
            continue
        ids.add(id(part))
        seen.append(part)
        yield part
        left += gc.get_referents(part)
