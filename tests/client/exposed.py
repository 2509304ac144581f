"""All that could be read of an exception: by who prints it, by who prints its local variables too."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Iterator, List, Set

import amqplib

__all__ = ["exposed"]

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
