"""Publishes that the broker refuses (basic.nack), as a quorum queue without a leader does: they are sent again.

The thread of heartbeats does that, in a moment, and goes on until the broker has taken them or the time for that is up:
the program may do something else meanwhile, and need not wait for anything. Like all that thread sends, they go where
there is room, and nothing waits.
"""

from __future__ import annotations

import math
import random
import weakref
from typing import TYPE_CHECKING, Dict, Optional

from ...protocol.carried import CarriedBooks, cut_to
from ...protocol.confirms import Confirms
from ...protocol.endings import LOST, Ending, Over
from ...protocol.gates import BLOCKED, SHUT
from .. import heartbeat

if TYPE_CHECKING:
    from ..driver import Driver
    from .line import RecoveringLine
    from .reviver import Reviver

__all__ = ["Refused", "go_on", "new_books"]

#: Seconds between two looks at what is due.
_EVERY = 0.1

#: RabbitMQ 3.10 goes on refusing the publishes of a channel whose first one has met a quorum queue without a leader,
#: also when there is one. So another connection is made: after so many seconds, and after twice as many each time that
#: does not help, for what refuses may as well be a queue that is full. After a minute it is another matter.
_RENEWS, _SLOWLY = 1.0, 60.0


class Refused:
    """What the broker has refused on one channel. All but `_send` is called with the lock held."""

    def __init__(self, reviver: Reviver, number: int) -> None:
        self._reviver = weakref.ref(reviver)
        self._recovery = reviver.recovery
        self._number = number
        # when each was refused for the first time, and when it is due
        self._since: Dict[int, float] = {}
        self._due: Dict[int, float] = {}
        # when another connection was made for it; seconds after which the next is
        self._renewed, self._renews_after = -math.inf, _RENEWS
        # when one was told to the program as refused
        self._told = -math.inf
        # on which the thread of heartbeats is at it
        self._driver: Optional[weakref.ref[Driver]] = None

    def is_kept(self, tag: int) -> bool:
        """Is this one sent again? See CarriedBooks.keeper."""
        line = self._line()
        if line is None:
            return False
        now = line.driver.clock()
        if not self._since:
            text = "%s: the broker refuses publishes (basic.nack); they are sent again for %.3g s"
            line.driver.notices.warn(text, line.where, self._recovery.nacked)
        away = now - self._since.setdefault(tag, now)
        if away >= self._recovery.nacked or not self._begin(line.driver):
            self._since.pop(tag)
            self._told = now
            return False
        chance = random.random()  # nosec B311: for load, not for secrets
        self._due[tag] = now + self._recovery.pause(away, chance)
        return True

    def go_on(self, driver: Driver, books: CarriedBooks) -> None:
        """The channel has another network connection, on which all that is unconfirmed has been sent again."""
        kept = {tag: self._since[tag] for tag in books.kept}  # refused there, too
        self._since = kept
        if kept:
            self._begin(driver)

    def _line(self) -> Optional[RecoveringLine]:
        """The channel's, unless that is over, and the number another one's."""
        reviver = self._reviver()
        line = reviver.line_of(self._number) if reviver is not None else None
        books = line.port.books if line is not None else None
        return line if isinstance(books, CarriedBooks) and books.keeper is self else None

    def _begin(self, driver: Driver) -> bool:
        """Have the thread do it; False where there can be none."""
        if driver.session.ending is not None:
            return True  # it is being brought back, and go_on() comes then
        if self._driver is not None and self._driver() is driver:
            return True
        try:
            heartbeat.repeat(driver, _EVERY, self._send)
        except RuntimeError:  # there are too many threads; or Python 3.12 is about to exit
            return False
        self._driver = weakref.ref(driver)
        return True

    def _send(self, driver: Driver) -> bool:
        """By the thread of heartbeats: send what is due. False when there is nothing more."""
        try:
            with driver.lock:
                more = self._send_due(driver)
                if not more:
                    self._driver = None
            reviver = self._reviver()
            if driver.session.ending is not None and reviver is not None:
                reviver.begin()
            return more
        except BaseException as exc:
            try:
                driver.failed(exc)
            except Over:
                pass  # whoever waits or sends next is told
            return True

    def _renews(self, driver: Driver) -> bool:
        """End the connection, to have another one, if that is what it takes."""
        said, now = driver.session.server_properties, driver.clock()
        if said.get("product") != "RabbitMQ" or not str(said.get("version")).startswith("3."):
            return False
        since = min(self._since.values(), default=now)
        helped = self._told < self._renewed < since  # all that had been refused before
        if helped or now - self._renewed > _SLOWLY:
            self._renews_after = _RENEWS
        away = now - max(self._renewed, since)
        if away < self._renews_after:
            return False
        self._renewed, self._renews_after = now, min(2 * self._renews_after, _SLOWLY)
        text = (
            "given up: the broker has refused publishes (basic.nack) for %.3g s, and may do so on this channel for ever"
        )
        driver.fail(Ending(LOST, 0, text % away))
        return True

    def _send_due(self, driver: Driver) -> bool:
        line = self._line()
        books = line.port.books if line is not None else None
        if line is None or line.driver is not driver or line.port.gate is SHUT or not isinstance(books, CarriedBooks):
            return False
        if self._renews(driver):
            return False
        port, output = line.port, driver.output
        if output.rest is not None or output.holding:
            driver.pay_debts()
        now = driver.clock()
        for tag in [tag for tag in books.kept if self._due[tag] <= now]:
            if port.gate is BLOCKED:
                break
            data = cut_to(driver.session.sender.frame_max, books.frames[tag])
            if port.batch is not None and port.batch.gathered:  # counted already, so this goes behind it
                if not isinstance(data, bytes):
                    break
                books.send_refused(tag)
                output.messages += 1
                port.batch.add(data)
            elif output.clear:
                books.send_refused(tag)
                output.messages += 1
                output.push(data)
            else:
                break
        for tag in [tag for tag in self._due if tag not in books.kept]:
            del self._due[tag]
            if tag not in books.unconfirmed:
                self._since.pop(tag, None)
        if not books.kept:
            self._since = {tag: since for tag, since in self._since.items() if tag in books.unconfirmed}
        return bool(books.kept) or output.rest is not None


def new_books(reviver: Reviver, number: int) -> CarriedBooks:
    """The books of one channel of a connection that comes back."""
    books = CarriedBooks()
    if reviver.recovery.nacked and reviver.recovery.unconfirmed == "resend":
        books.keeper = Refused(reviver, number)
    return books


def go_on(books: Optional[Confirms], driver: Driver) -> None:
    """With the lock held: a channel has another network connection."""
    keeper = books.keeper if isinstance(books, CarriedBooks) else None
    if isinstance(books, CarriedBooks) and isinstance(keeper, Refused):
        keeper.go_on(driver, books)
