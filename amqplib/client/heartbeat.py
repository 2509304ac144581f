"""Heartbeats: one thread tells all peers that we are here while the program does something else.

There is one for the process, however many connections it has: it starts with the first that has agreed on heartbeats,
or holds acknowledgements back, which it sends when they have waited for long enough, or is looked after; and ends half
a second after the last, or before a fork. It only sends. That a peer is silent is noticed by whoever waits
(`liveness`), unless the connection is looked after (recovery/idle). A connection that is dropped without a close is
held by a weak reference, and forgotten at its next beat.
"""

from __future__ import annotations

import atexit
import heapq
import itertools
import threading
import time
import weakref
from typing import TYPE_CHECKING, Callable, List, NamedTuple, Optional

from ..protocol.acks import HELD

if TYPE_CHECKING:
    from .driver import Driver

__all__ = ["forked", "forking", "is_beating", "look_again", "repeat", "watch"]

#: What is done for a connection at each beat: False when it is not to be done again.
Deed = Callable[["Driver"], bool]


class _Entry(NamedTuple):
    """What is to be done for one connection."""

    #: When it is due next.
    due: float
    #: Tells entries of the same moment apart.
    number: int
    #: Between two times.
    seconds: float
    ref: weakref.ref[Driver]
    deed: Deed
    #: Is it also done when the connection is over, once?
    outlasts: bool

    @property
    def is_wanted(self) -> bool:
        """Is the connection there, or has the deed to be told that it is over?"""
        driver = self.ref()
        return driver is not None and (self.outlasts or driver.session.ending is None)


#: Seconds that the thread stays when the last connection is over: programs that make one after another need one thread.
STAYS = 0.5


def _nobody() -> Optional[Driver]:
    return None


class _Beats:
    """The thread and its list of what is due."""

    def __init__(self) -> None:
        self._changed = threading.Condition()  # over a lock that a signal handler can take again
        self._entries: List[_Entry] = []
        self._numbers = itertools.count()
        #: None while nobody needs it.
        self.thread: Optional[threading.Thread] = None
        self._wakes = 0.0  # when it looks next
        self._alone_since: Optional[float] = None  # when it found that there are no more connections
        self._ends = False  # is it to end at once when there are none?
        self._current: Callable[[], Optional[Driver]] = _nobody  # for which something is being sent

    def add(self, driver: Driver, seconds: float, deed: Deed, outlasts: bool = False) -> None:
        """Do this for a connection every so many seconds; RuntimeError when there can be no thread for it."""
        with self._changed:
            self._alone_since, self._ends = None, False
            due = time.monotonic() + seconds
            entry = _Entry(due, next(self._numbers), seconds, weakref.ref(driver), deed, outlasts)
            heapq.heappush(self._entries, entry)
            if self.thread is None:
                self._wakes = due
                thread = threading.Thread(target=self._run, name="amqplib-heartbeat", daemon=True)
                try:
                    thread.start()
                except BaseException:
                    self._entries.clear()
                    raise
                self.thread = thread
            elif due < self._wakes:
                self._changed.notify()

    def look_again(self) -> None:
        """Somebody may have gone."""
        with self._changed:
            if self._wakes > time.monotonic() + STAYS:
                self._changed.notify()

    def end(self) -> None:
        """If there are no more connections, wait for the thread to end, which takes a moment."""
        with self._changed:
            thread, self._ends = self.thread, True
            if thread is None or _is_on(self._current()) or any(_is_on(entry.ref()) for entry in self._entries):
                return
            self._changed.notify()
        thread.join(STAYS)

    def send_held(self) -> None:
        """The program ends, and what is held back would be lost."""
        with self._changed:
            refs = [entry.ref for entry in self._entries] + [self._current]
        for ref in refs:
            driver = ref()
            if driver is not None and driver.output.holding:
                driver.pay_quietly()

    def _run(self) -> None:
        while True:
            entry = self._next()
            if entry is None:
                return
            driver = entry.ref()
            if driver is None:
                continue  # it was dropped just now
            again = entry.deed(driver)
            with self._changed:
                self._current = _nobody
                if again:
                    due = time.monotonic() + entry.seconds
                    heapq.heappush(self._entries, entry._replace(due=due, number=next(self._numbers)))
            del driver

    def _next(self) -> Optional[_Entry]:
        """What is due, once it is; None when there is nobody left."""
        with self._changed:
            while True:
                now = time.monotonic()
                alive = [entry for entry in self._entries if entry.is_wanted]
                if len(alive) < len(self._entries):
                    heapq.heapify(alive)
                    self._entries = alive
                if alive:
                    entry = alive[0]
                    self._wakes = entry.due
                    if self._wakes <= now:
                        heapq.heappop(self._entries)
                        self._current = entry.ref
                        return entry
                else:
                    if self._alone_since is None:
                        self._alone_since = now
                    self._wakes = self._alone_since + STAYS
                    if self._ends or self._wakes <= now:
                        self.thread = None
                        return None
                self._changed.wait(self._wakes - now)


def _is_on(driver: Optional[Driver]) -> bool:
    return driver is not None and driver.session.ending is None


def _beat(driver: Driver) -> bool:
    driver.beat()
    return _is_on(driver)


def _send_late(driver: Driver) -> bool:
    return driver.send_late()


_beats = _Beats()

#: Will what is held back be sent when the program ends?
_at_exit = False


def watch(driver: Driver, interval: int) -> None:
    """Send heartbeats on a connection that has agreed on one every `interval` seconds, until it is over."""
    _beats.add(driver, interval / 2, _beat)


def watch_held(driver: Driver) -> None:
    """A connection holds acknowledgements back: send them in a moment, and look again while there are any."""
    global _at_exit
    if not _at_exit:
        _at_exit = True
        atexit.register(lambda: _beats.send_held())
    _beats.add(driver, HELD, _send_late)
    acks = driver.output.acks
    if acks is not None:
        acks.watched = True


def repeat(driver: Driver, seconds: float, deed: Deed, outlasts: bool = False) -> None:
    """Do this every so many seconds while there is the connection and it says so; RuntimeError without a thread for it.

    outlasts: once more when the connection is over.
    """
    _beats.add(driver, seconds, deed, outlasts)


def look_again() -> None:
    """A connection is over: it may have been the last."""
    _beats.look_again()


def is_beating() -> bool:
    """Is it the thread of heartbeats that asks?"""
    thread = _beats.thread
    return thread is not None and thread.ident == threading.get_ident()


def forking() -> None:
    """A child process is about to be made: a thread that has nothing to do is in the way of that."""
    _beats.end()


def forked() -> None:
    """This is a child process now, which has none of the threads, and none of the connections."""
    global _beats
    _beats = _Beats()
