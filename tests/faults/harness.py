"""Many runs at once, each judged: it ends in time, and in success or an error that is documented."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from types import TracebackType
from typing import Any, Callable, Deque, Dict, Generic, Iterable, List, Optional, Tuple, Type, TypeVar

import amqplib.client_0_8 as amqp

__all__ = ["LONG", "SLACK", "Calls", "Clock", "Late", "documented", "open_files", "side_by_side"]

#: AMQPLIB_TEST_LONG=1: the long form of tests that have one.
LONG = os.environ.get("AMQPLIB_TEST_LONG", "") not in ("", "0")

#: Seconds that a call may take beyond its deadline.
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
    """Descriptors that this process has open."""
    return len(os.listdir("/proc/self/fd"))


class Clock:
    """Times calls, and knows how long this process did not get to run meanwhile.

    On a machine that is busy elsewhere a thread wakes late, whatever it waited for. So one that does nothing but sleep
    keeps a record of by how much; this much does not count.
    """

    TICK = 0.01

    def __init__(self) -> None:
        self._late: Deque[Tuple[float, float]] = deque(maxlen=100000)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Clock:
        self._thread.start()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._over.set()
        self._thread.join()

    def _tick(self) -> None:
        while not self._over.is_set():
            before = time.monotonic()
            time.sleep(self.TICK)
            now = time.monotonic()
            if now - before > 1.5 * self.TICK:
                self._late.append((now, now - before - self.TICK))

    def starved(self, since: float) -> float:
        """Seconds in which this process wanted to run, since then, and did not."""
        time.sleep(self.TICK)  # for the thread to notice
        return sum(seconds for when, seconds in list(self._late) if when >= since)


class Calls:
    """What Session calls its calls through: times each, and remembers those that were late."""

    def __init__(self, clock: Clock, deadline: float) -> None:
        self._clock = clock
        self._deadline = deadline
        self.name = "nothing"
        self.late: List[str] = []

    def __call__(self, name: str, call: Callable[[], Any]) -> Any:
        self.name = name
        began = time.monotonic()
        try:
            return call()
        finally:
            took = time.monotonic() - began
            if took > self._deadline + SLACK:
                starved = self._clock.starved(began)
                if took - starved > self._deadline + SLACK:
                    self.late.append("%s took %.2f s, %.2f s of them starved" % (name, took, starved))


class Late(str):
    """A verdict that may be the machine's fault."""


class _Run(Generic[Case]):
    def __init__(self, cases: Iterable[Case], judge: Callable[[Case], Optional[str]]) -> None:
        self.cases = deque(cases)
        self.judge = judge
        self.wrong: List[str] = []
        self.late: List[Case] = []
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
            if isinstance(verdict, Late):
                self.late.append(case)
            elif verdict:
                self.wrong.append("%s: %s" % (case, verdict))
            self.running.pop(me, None)


def side_by_side(cases: Iterable[Case], judge: Callable[[Case], Optional[str]], threads: int = 50) -> List[str]:
    """Judge all cases, so many at a time; the verdicts that are not None. A case that hangs is a verdict as well.

    So many threads want to run at once that one may be late for that. Those that were are judged again one by one.
    """
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
    again = ((case, judge(case)) for case in run.late)
    return [*run.wrong, *("%s: %s" % (case, verdict) for case, verdict in again if verdict)]
