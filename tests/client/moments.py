"""Every moment of a call, for what a signal handler, a __del__ or another thread does in the middle of it.

    for moment in moments("client/driver.py"):
        with moment(what):
            call()

Each time round, `what` is done before another instruction of the files, the first, the second and so on, until the call
is over before. That needs no luck, and no time to wait for it.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Callable, Collection, ContextManager, Iterator, Optional

import amqplib

__all__ = ["Moment", "moments"]

_OURS = Path(amqplib.__file__).parent

#: As a with-statement: have something done at that moment.
Moment = Callable[[Callable[[], Any]], ContextManager[None]]


def moments(*files: str, functions: Collection[str] = ()) -> Iterator[Moment]:
    """All moments at which this thread is in one of these files of the library, one by one; or in these functions only,
    and those inside of them."""
    names = {str(_OURS / file) for file in files}

    def within(frame: FrameType) -> bool:
        called: Optional[FrameType] = frame
        while called is not None and called.f_code.co_filename in names:
            if called.f_code.co_name in functions:
                return True
            called = called.f_back
        return False

    # Python 3.12 looks when settrace() is called whether there has been any frame like this in the interpreter.
    sys._getframe().f_trace_opcodes = True
    number, come = 0, True
    while come:
        come = False

        @contextlib.contextmanager
        def moment(what: Callable[[], Any], after: int = number) -> Iterator[None]:
            left = after

            def trace(frame: FrameType, event: str, arg: Any) -> Any:
                nonlocal left, come
                if come or frame.f_code.co_filename not in names:
                    return None
                if functions and not within(frame):
                    return None
                frame.f_trace_opcodes = True
                if event == "opcode":
                    left -= 1
                    if left < 0:
                        come = True
                        what()  # which is not traced
                return trace

            before = sys.gettrace()
            sys.settrace(trace)
            try:
                yield
            finally:
                sys.settrace(before)

        yield moment
        number += 1
    assert number > 1, "the files are not there, or nothing of them was called"
