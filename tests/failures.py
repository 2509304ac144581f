"""What is shown with a test that has failed: how to run it again, what ran before it, what its brokers have logged."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import suppress
from typing import Any, Deque, Dict, Iterator, List, Tuple

import pytest

__all__ = ["before_it", "logs", "run_again"]

#: So many characters of a broker's log are shown.
LOG_SHOWN = 6000

#: So many tests of those that ran before.
TESTS_SHOWN = 20


def run_again(item: pytest.Item) -> str:
    """The command that runs this test alone, with the same numbers drawn."""
    chosen = {name: value for name, value in os.environ.items() if name.startswith("AMQPLIB_TEST_") and value}
    for name in ("AMQPLIB_TEST_CACHE", "AMQPLIB_TEST_PROCESSES"):
        chosen.pop(name, None)
    words = ["%s=%s" % (name, shlex.quote(value)) for name, value in sorted(chosen.items())]
    words += [shlex.quote(sys.executable), "-m", "pytest", "-p", "no:cacheprovider"]
    # pytest-randomly draws a seed for each run; a process of pytest-xdist has it from the one that started it
    seed = getattr(item.config, "workerinput", {}).get("randomly_seed", item.config.getoption("randomly_seed", None))
    if isinstance(seed, int):
        words.append("--randomly-seed=%d" % seed)
    if item.get_closest_marker("soak"):
        words += ["-m", "soak"]
    return " ".join([*words, shlex.quote(item.nodeid)])


def before_it(ran: Deque[str]) -> str:
    """The tests that ran in this process before the failed one, the last of `ran`: as arguments, in their order."""
    return "\n".join(map(shlex.quote, list(ran)[-1 - TESTS_SHOWN : -1])) or "none"


def logs(funcargs: Dict[str, Any]) -> List[Tuple[str, str]]:
    """Of each broker among the fixtures of a test: a title, and the end of what it has logged."""
    found: Dict[int, Tuple[str, str]] = {}
    for name, value in funcargs.items():
        for broker in _brokers(value):
            with suppress(OSError):  # in the teardown of the last test it may be gone
                found[id(broker)] = ("end of the log of %s (%s)" % (broker, name), broker.log()[-LOG_SHOWN:])
    return list(found.values())


def _brokers(value: Any) -> Iterator[Any]:
    """The broker, or those that the fixture is made of."""
    for each in (value, getattr(value, "broker", None), getattr(value, "node", None)):
        if callable(getattr(each, "log", None)):
            yield each
