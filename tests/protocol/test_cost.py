"""Proves that what a peer says of publishes costs the same, however many are outstanding.

What is counted is what the interpreter does, not seconds.
"""

from __future__ import annotations

import gc
import sys
from functools import partial
from types import FrameType
from typing import Any, Callable, Dict

import pytest

from amqplib.protocol.confirms import Confirms, Sent

pytestmark = pytest.mark.skipif(sys.implementation.name != "cpython", reason="only CPython tells of each instruction")

FEW, MANY = 10, 5000


def cost(do: Callable[[], Any]) -> int:
    """How many instructions of Python it takes, but for finalizers of what others have left to be collected."""
    count = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    # Python 3.12 looks when settrace() is called whether there has been any frame like this in the interpreter.
    sys._getframe().f_trace_opcodes = True
    before, collects = sys.gettrace(), gc.isenabled()
    gc.disable()
    sys.settrace(trace)
    try:
        do()
    finally:
        sys.settrace(before)
        if collects:
            gc.enable()
    return count


def outstanding(count: int, alike: bool = False) -> Confirms:
    """Books with so many mandatory publishes, and as many others."""
    books = Confirms()
    for number in range(count):
        properties = b"" if alike else b"%d" % number
        books.enter(b"frames", None, Sent("", "q", b"x", properties))
        books.count(None, b"frames")
    return books


#: What a peer may say, of books with `count` mandatory publishes.
SAID: Dict[str, Callable[[Confirms, int], Any]] = {
    "a return of another body": lambda books, count: books.came_back(Sent("", "q", b"y", b"")),
    "a return of another route": lambda books, count: books.came_back(Sent("", "p", b"x", b"")),
    "a return of another exchange": lambda books, count: books.came_back(Sent("amq.topic", "q", b"x", b"")),
    "a return of one of them": lambda books, count: books.came_back(Sent("", "q", b"x", b"%d" % (count - 1))),
    "an ack of the newest": lambda books, count: books.settle(2 * count, False, True),
    "a nack of the newest but one": lambda books, count: books.settle(2 * count - 1, False, False),
    "an ack of one in the middle": lambda books, count: books.settle(count, False, True),
    "a nack of a tag that is to come": lambda books, count: books.settle(2 * count + 1, False, False),
    "an ack of a tag that never was": lambda books, count: books.settle(2**64 - 1, False, True),
    "an ack of all, a second time": lambda books, count: (books.settle(9, True, True), books.settle(9, True, True)),
}


@pytest.mark.parametrize("what", SAID)
def test_it_costs_the_same(what: str) -> None:
    few, many = (cost(partial(SAID[what], outstanding_of[count], count)) for count in (FEW, MANY))
    assert few > 0
    assert many <= few + 10


outstanding_of: Dict[int, Confirms] = {}


@pytest.fixture(autouse=True)
def _books() -> None:
    outstanding_of.update({count: outstanding(count) for count in (FEW, MANY)})


def test_returns_with_other_properties_put_together_what_is_alike_once() -> None:
    """The first finds many that it may be one of, the next finds one."""
    few, many = outstanding_of[FEW], outstanding_of[MANY]
    for books in few, many:
        books.came_back(Sent("", "q", b"x", b"changed by a broker"))
    assert cost(lambda: many.came_back(Sent("", "q", b"x", b"changed again"))) <= 10 + cost(
        lambda: few.came_back(Sent("", "q", b"x", b"changed again"))
    )


def test_a_publish_that_is_alike_is_put_together_with_the_others_alone() -> None:
    """Publish, and one that comes back changed, in turns: what was put together once is not gone through again."""

    def turn(books: Confirms, number: int) -> None:
        books.enter(b"frames", None, Sent("", "q", b"x", b"new %d" % number))
        books.came_back(Sent("", "q", b"x", b"changed"))

    for books in outstanding_of.values():
        turn(books, 1)
    few, many = (cost(partial(turn, outstanding_of[count], 2)) for count in (FEW, MANY))
    assert many <= few + 10
