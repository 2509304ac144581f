"""Many runs at once, each judged: it ends in time, and in success or an error that is documented."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections import deque
from typing import Any, Callable, Dict, Generic, Iterable, List, Optional, Tuple, TypeVar

import amqplib.client_0_8 as amqp
from tests.waits import Asked

__all__ = ["HUNG", "LONG", "SLACK", "Calls", "documented", "open_files", "side_by_side"]

#: AMQPLIB_TEST_LONG=1: the long form of tests that have one.
LONG = os.environ.get("AMQPLIB_TEST_LONG", "") not in ("", "0")

#: Seconds that a call may ask to wait for beyond its deadline.
SLACK = 0.5

#: Seconds after which a run has hung.
HUNG = 60.0

Case = TypeVar("Case")

#: What programs are told to expect; see amqplib.client.exceptions.
DOCUMENTED = (amqp.AMQPException, amqp.AMQPTimeoutError)


def documented(exc: BaseException) -> bool:
    """Is this an error that programs know of, and does it say something?"""
    return isinstance(exc, DOCUMENTED) and bool(str(exc))


def open_files() -> int:
    """Descriptors that this process has open, but for those of what nobody has any more."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


class Calls:
    """What Session calls its calls through: remembers those that were late.

    That is judged by what they ask the system to wait for. The clock would measure as well how busy the machine is; by
    it a call is late only when it has hung.
    """

    def __init__(self, asked: Asked, deadline: float) -> None:
        self._asked = asked
        self._deadline = deadline
        self.name = "nothing"
        self.late: List[str] = []

    def __call__(self, name: str, call: Callable[[], Any]) -> Any:
        self.name = name
        before, began = self._asked.seconds, time.monotonic()
        try:
            return call()
        finally:
            waited, took = self._asked.seconds - before, time.monotonic() - began
            if waited > self._deadline + SLACK or took > self._deadline + HUNG:
                self.late.append("%s took %.2f s, and asked to wait for %.2f s" % (name, took, waited))


class _Run(Generic[Case]):
    def __init__(self, cases: Iterable[Case], judge: Callable[[Case], Optional[str]]) -> None:
        self.cases = deque(cases)
        self.judge = judge
        self.wrong: List[str] = []
        self.running: Dict[int, Tuple[Case, float]] = {}

    def work(self) -> None:
        me = threading.get_ident()
        while True:
            try:
                case = self.cases.popleft()
            except IndexError:
                break
            self.running[me] = case, time.monotonic()
            try:
                verdict = self.judge(case)
            except BaseException as exc:
                verdict = "%s: %s" % (type(exc).__name__, exc)
            if verdict:
                self.wrong.append("%s: %s" % (case, verdict))
            self.running.pop(me, None)


def side_by_side(cases: Iterable[Case], judge: Callable[[Case], Optional[str]], threads: int = 50) -> List[str]:
    """Judge all cases, so many at a time; the verdicts that are not None. A case that hangs is a verdict as well."""
    run = _Run(cases, judge)
    workers = [threading.Thread(target=run.work, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        time.sleep(0.05)
        hung = [str(case) for case, began in list(run.running.values()) if time.monotonic() - began > HUNG]
        if hung:
            run.cases.clear()
            return [*run.wrong, *("%s: hangs" % case for case in hung)]
    return run.wrong
