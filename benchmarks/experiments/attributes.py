"""Verdict: what a channel and a link have is kept in slots where it would be more than 29 attributes otherwise.

Python 3.11 keeps the attributes of an object within it, and finds them at once, as long as there are no more than 29.
Beyond that each object has a dict of its own. Nanoseconds of CPU on Python 3.11 for reading eight attributes of one
object, or of 1,000 by turns, and setting one:

    29 attributes       28    30
    30 attributes       40    48
    30 in slots         27    27

Publishing on 1,000 channels had cost 1.17 times what it costs on few, and costs 1.01 times that now (benchmarks/run
growth). On Python 3.13 it makes next to no difference.
"""

from __future__ import annotations

from typing import Any, Callable, List

from benchmarks.experiments.harness import in_turn, timed

COUNT = 200_000

SOURCE = """
class Object:
    %s
    def __init__(self):
        %s

def work(objects):
    for one in objects:
        one.a0; one.a3; one.a7; one.a12; one.a16; one.a20; one.a21; one.a27; one.a15 = one
"""


def variant(attributes: int, slots: bool, objects: int) -> Callable[[], float]:
    names = ["a%d" % number for number in range(attributes)]
    space: Any = {}
    exec(SOURCE % ("__slots__ = %r" % names if slots else "", "; ".join("self.%s = None" % n for n in names)), space)
    these: List[Any] = [space["Object"]() for _ in range(objects)] * (COUNT // objects)
    return lambda: timed(lambda: space["work"](these))


if __name__ == "__main__":
    for count in (1, 1000):
        print("%d objects by turns" % count)
        in_turn(
            {
                "29 attributes": variant(29, False, count),
                "30 attributes": variant(30, False, count),
                "30 in slots": variant(30, True, count),
            },
            per=COUNT,
        )
