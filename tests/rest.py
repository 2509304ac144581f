"""Waits until no other thread of this process can go on by itself, for tests in which threads have to be somewhere.

It is seen by what the system counts, so that neither load nor a scheduler can make it look so: a thread that would run
if it could is not at rest, nor is one that waits for its turn in the interpreter, since it asks for that again and
again. Threads of the tests' peers and of brokers in the box are threads of this process, too: what has been sent to
them has been dealt with. Time may still set something going, and so may another process.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Dict, Optional

__all__ = ["await_rest"]

_TASKS = "/proc/self/task"


def await_rest(within: float = 30.0) -> None:
    """Return when each other thread waits for something; AssertionError after so many seconds."""
    end = time.monotonic() + within
    # longer than a thread waits for its turn before it asks again
    pause = max(0.005, 3 * sys.getswitchinterval())
    before = None
    while True:
        now = _waits()
        if now is not None and now == before:
            return
        assert time.monotonic() < end, "a thread does not come to rest"
        before = now
        time.sleep(pause)


def _waits() -> Optional[Dict[str, str]]:
    """How often each other thread has begun to wait; None if one does not wait now."""
    found = {}
    for task in os.listdir(_TASKS):
        if int(task) == threading.get_native_id():
            continue
        try:
            with open("%s/%s/status" % (_TASKS, task)) as file:
                status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
        except (FileNotFoundError, ProcessLookupError):
            return None  # it has just ended
        if status["State"][0] != "S":
            return None
        found[task] = status["voluntary_ctxt_switches"]
    return found
