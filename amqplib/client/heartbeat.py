"""Heartbeats: one thread tells all peers that we are here while the program does something else.

There is one for the process, however many connections it has: it starts with the first that has agreed on heartbeats,
or holds acknowledgements back, which it sends when they have waited for long enough; and ends half a second after the
last, or before a fork. It only sends. That a peer is silent is noticed by whoever
waits (`liveness`). A connection that is dropped without a close is held by a weak reference, and forgotten at its next
beat.
"""

from __future__ import annotations

import atexit
import heapq
import itertools
import threading
import time
import weakref
from typing import TYPE_CHECKING, Callable, List, Optional, Tuple

from ..protocol.acks import HELD

if TYPE_CHECKING:
    from .driver import Driver

__all__ = ["forked", "forking", "is_beating", "look_again", "watch"]

#: When the next beat is due; a number that tells entries of the same moment apart; seconds between beats; whose it is.
_Entry = Tuple[float, int, float, "weakref.ref[Driver]"]


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

    def add(self, driver: Driver, seconds: float) -> None:
        """Send a heartbeat every so many seconds; RuntimeError when there can be no thread for it."""
        with self._changed:
            self._alone_since, self._ends = None, False
            due = time.monotonic() + seconds
            heapq.heappush(self._entries, (due, next(self._numbers), seconds, weakref.ref(driver)))
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
            if thread is None or _is_on(self._current()) or any(_is_on(entry[3]()) for entry in self._entries):
                return
            self._changed.notify()
        thread.join(STAYS)

    def send_held(self) -> None:
        """The program ends, and what is held back would be lost."""
        with self._changed:
            refs = [entry[3] for entry in self._entries] + [self._current]
        for ref in refs:
            driver = ref()
            if driver is not None and driver.output.holding:
                driver.pay_quietly()

    def _run(self) -> None:
        while True:
            driver, seconds = self._next()
            if not seconds:
                return
            if driver is None:
                continue  # it was dropped just now
            if seconds > HELD:
                driver.beat()
                again = _is_on(driver)
            else:
                again = driver.send_late()
            with self._changed:
                self._current = _nobody
                if again:
                    entry = (time.monotonic() + seconds, next(self._numbers), seconds, weakref.ref(driver))
                    heapq.heappush(self._entries, entry)
            del driver

    def _next(self) -> Tuple[Optional[Driver], float]:
        """Whose beat is due, once it is; None when there is nobody left."""
        with self._changed:
            while True:
                now = time.monotonic()
                alive = [entry for entry in self._entries if _is_on(entry[3]())]
                if len(alive) < len(self._entries):
                    heapq.heapify(alive)
                    self._entries = alive
                if alive:
                    self._wakes, _, seconds, ref = alive[0]
                    if self._wakes <= now:
                        heapq.heappop(self._entries)
                        self._current = ref
                        return ref(), seconds
                else:
                    if self._alone_since is None:
                        self._alone_since = now
                    self._wakes = self._alone_since + STAYS
                    if self._ends or self._wakes <= now:
                        self.thread = None
                        return None, 0.0
                self._changed.wait(self._wakes - now)


def _is_on(driver: Optional[Driver]) -> bool:
    return driver is not None and driver.session.ending is None


_beats = _Beats()

#: Will what is held back be sent when the program ends?
_at_exit = False


def watch(driver: Driver, interval: int) -> None:
    """Send heartbeats on a connection that has agreed on one every `interval` seconds, until it is over."""
    _beats.add(driver, interval / 2)


def watch_held(driver: Driver) -> None:
    """A connection holds acknowledgements back: send them in a moment, and look again while there are any."""
    global _at_exit
    if not _at_exit:
        _at_exit = True
        atexit.register(lambda: _beats.send_held())
    _beats.add(driver, HELD)
    acks = driver.output.acks
    if acks is not None:
        acks.watched = True


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
