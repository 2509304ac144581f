"""Waiting until the system takes what it has not taken yet (backpressure): the peer reads less than the program sends.

What was sent and not taken is a rest, see `output`. Whoever sent it waits here until it has gone, or takes it back;
whoever wants to send waits until others' have. Both read what comes meanwhile if nobody else does: else two full
buffers would wait for each other.
"""

from __future__ import annotations

import errno
from typing import Callable, Optional

from ..protocol.endings import LOST, Ending, Over
from .deadline import Deadline
from .driver import LOOK_EVERY, Driver
from .exceptions import AMQPTimeoutError
from .output import Rest
from .threads import threading

__all__ = ["await_gone", "await_room"]


def await_room(driver: Driver, deadline: Deadline) -> None:
    """Wait until what others send has gone."""
    output = driver.output
    if output.holding:
        driver.pay()
    with driver.lock:
        rest, clear = output.rest, output.clear
    if rest is not None:
        await_gone(driver, rest, None, deadline, others=True)
    elif not clear:  # somebody is in the middle of sending, or of finding out why that failed
        driver.wait_undisturbed(lambda: None if output.busy else True, deadline)


def await_gone(
    driver: Driver, rest: Rest, back: Optional[Callable[[], None]], deadline: Deadline, others: bool = False
) -> None:
    """Wait until the system has taken a rest, and read what comes meanwhile.

    AMQPTimeoutError at the deadline, or when it takes nothing for the write_timeout or the socket's own timeout.
    `back` is called, with the lock held, when nothing of it has gone, so that all stays usable; when some of it has
    gone, the connection is over. Unless it is others', who see to that, and the caller has just been waiting.
    """
    output, stall, me = driver.output, driver.timeouts.writing(), threading.get_ident()
    while True:
        leads = False
        try:
            with driver.lock:
                if output.rest is not rest:
                    break
                if driver.session.ending is not None:
                    raise Over
                if rest.moved:
                    rest.moved, stall = False, driver.timeouts.writing()
                stalled = driver.timeouts.put_off(stall)
                until = driver.timeouts.put_off(deadline).sooner(stalled)
                own = driver.transport.sock.gettimeout()
                if until.expired() or (own is not None and driver.clock() - stall.began >= own):
                    raise _taken_nothing(driver, rest, back, stall, others, stalled.expired())
                if driver.reader is None:
                    leads = True
                    driver.reader = me
            if driver.reader == me:
                driver.pump(until.within(LOOK_EVERY))
            else:
                _make_room(driver, until.within(LOOK_EVERY))
        finally:
            if leads:
                driver.reader = None  # here: an exception from outside may come with a call
                driver.tell_followers()
    if driver.session.ending is not None:
        raise Over


def _taken_nothing(
    driver: Driver, rest: Rest, back: Optional[Callable[[], None]], stall: Deadline, others: bool, stalled: bool
) -> Exception:
    seconds = driver.clock() - stall.began
    text = "%s has taken no data for %.3g s%s" % (driver.transport.address, seconds, driver.timeouts.excuse())
    if rest.gone and (stalled or not others):
        text += ", after %d bytes of a message" % rest.gone
        driver.fail(Ending(LOST, 0, text, errno=errno.ETIMEDOUT))
        return Over()
    if not others and driver.output.take_back(rest):
        if back is not None:
            back()
        driver.notify()
    return AMQPTimeoutError(text)


def _make_room(driver: Driver, seconds: float) -> None:
    """Another thread reads: wait for room only, and send on."""
    try:
        writable = driver.transport.ready(seconds, writing=True)[1]
        if writable:
            with driver.lock:
                driver.pay_debts()
    except BaseException as exc:
        driver.failed(exc)
        raise
