"""A connection that nobody uses at the moment: its loss is noticed all the same, and it is brought back.

The thread of heartbeats looks, now and then, without taking anything: what has come stays with the system until the
program waits. So memory does not grow, an event loop that waits for the socket misses nothing, and no code of the
program runs in that thread. Whether the peer is silent is told by whether there is more than there was. When the
connection is over the last that has come is taken in, which has an end then, for it may say why.
"""

from __future__ import annotations

import errno
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

from ...protocol.endings import Over
from .. import heartbeat
from ..exceptions import ConnectionLostError
from ..logger import LOGGER

if TYPE_CHECKING:
    from ..driver import Driver
    from .reviver import Reviver

__all__ = ["look_after"]

#: Seconds between two looks.
_EVERY = 1.0

#: Octets up to which it is seen that more has come: 60 hours of RabbitMQ's heartbeats. Where so many wait to be read
#: nobody can tell whether the peer is silent.
_MOST = 65536


class _Eye:
    """On one network connection."""

    def __init__(self, reviver: Reviver) -> None:
        self._reviver = weakref.ref(reviver)
        # octets that waited to be read, and when there were others last
        self._unread, self._since = 0, 0.0

    def look(self, driver: Driver) -> bool:
        """By the thread of heartbeats; False when it is over, and somebody is bringing it back."""
        if driver.session.ending is None and driver.reader is None:  # who reads notices everything
            try:
                self._look(driver)
            except ConnectionLostError as exc:
                with suppress(Over):
                    driver.failed(exc)
        if driver.session.ending is None:
            return True
        reviver = self._reviver()
        if reviver is not None:
            reviver.begin()
        return False

    def _look(self, driver: Driver) -> None:
        liveness, now = driver.liveness, driver.clock()
        unread = driver.transport.unread(_MOST)
        if unread != self._unread or unread >= _MOST or not self._since:
            self._unread, self._since = unread, now
        silent = now - max(self._since, liveness.heard_at)
        if liveness.too_long(silent) and driver.reader is None:
            text = "the peer has been silent for %.1f s, with a heartbeat of %d s agreed on"
            raise ConnectionLostError(0, text % (silent, liveness.interval), errno=errno.ETIMEDOUT)


def look_after(driver: Driver, reviver: Reviver) -> None:
    """Have a connection brought back though nobody uses it."""
    try:
        heartbeat.repeat(driver, _EVERY, _Eye(reviver).look, outlasts=True)
    except RuntimeError as exc:  # there are too many threads; or Python 3.12 is about to exit
        LOGGER.warning("%s: it does not come back until it is used, for there is no thread: %s", driver.where, exc)
