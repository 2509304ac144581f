"""Calls: a method goes out, and whoever made the call waits for the method that answers it.

One call at a time waits on a channel, since a reply names no request. One that gives up (a timeout, Ctrl-C) retires the
channel, so that its late reply never answers another.
"""

from __future__ import annotations

from typing import Any, Optional

from ..protocol.endings import Over
from ..protocol.gates import SHUT
from ..protocol.port import Call, Item, Port
from ..protocol.states import CLOSED
from . import backpressure
from .deadline import Deadline
from .driver import LOOK_AGAIN, Driver
from .exceptions import AMQPTimeoutError
from .method_names import method_name
from .sending import undo

__all__ = ["OUTLIVED", "Calling"]

#: A call that its channel outlives when it is not answered in time: nothing depends on the reply.
OUTLIVED = "outlived"


def _names(call: Call) -> str:
    return " or ".join(method_name(sig) for sig in call.expected)


class Calling:
    """The calls of one channel."""

    __slots__ = ("driver", "port")

    def __init__(self, driver: Driver, port: Port) -> None:
        self.driver = driver
        self.port = port

    def call(
        self,
        frame: bytes,
        call: Call,
        deadline: Deadline,
        name: str,
        event: str = "",
    ) -> Item:
        """Send the frame of a method and wait for what answers it.

        event: what becomes of the port with it: "closing", or "counting" for confirm.select; or OUTLIVED. Over when the
        channel or the connection is over instead; AMQPTimeoutError at the deadline.
        """
        driver, port, output = self.driver, self.port, self.driver.output
        came = leads = False
        try:
            if driver.batches:
                driver.flush(deadline)
            driver.refuse_nested("another call")
            rest, gathered = None, b""
            # the usual case, in few steps: nothing stands against it, nobody else reads, and the first read brings it
            try:
                with driver.lock:
                    if (
                        output.clear
                        and driver.reader is None
                        and port.call is None
                        and port.gate is not SHUT
                        and not driver.batches
                        and not event
                    ):
                        output.clear = False
                        port.call = call
                        call.sent = True
                        output.frames += 1
                        if output.push(frame):
                            leads = True
                            driver.reader = call.thread
                        rest = output.rest
            except BaseException as exc:
                driver.failed(exc)
                raise
            if leads:
                came = driver.pump(deadline.within(LOOK_AGAIN))
                if call.reply is not None:
                    return call.reply
        except BaseException as exc:
            self._give_up(call, deadline, exc, event)
            raise
        finally:
            if leads:
                driver.reader = None  # here: an exception from outside may come with a call
                if driver.followers or driver.session.control.state is CLOSED:
                    driver.tell_followers()
        try:
            if not call.sent:
                gathered, rest = self._begin_call(frame, call, deadline, name, event)
            if rest is not None:
                backpressure.await_gone(driver, rest, lambda: self._unsent(call, gathered, event), deadline)
            since = None if not leads else driver.clock() if came else deadline.began
            return driver.wait_for(lambda: self._answer(call), deadline, since=since)
        except BaseException as exc:
            self._give_up(call, deadline, exc, event)
            raise

    def _answer(self, call: Call) -> Optional[Item]:
        if call.reply is None and (self.port.ending is not None or self.driver.session.ending is not None):
            raise Over
        return call.reply

    def _give_up(self, call: Call, deadline: Deadline, exc: BaseException, event: str) -> None:
        """Nobody waits for the reply any more. Raises what a timeout means to the program."""
        driver, port = self.driver, self.port
        try:
            if call.sent and event == OUTLIVED and isinstance(exc, AMQPTimeoutError):
                driver.changed(lambda: port.forgo(call))
            elif call.sent and driver.session.ending is None and port.ending is None:
                # the reply may still come, and must not answer the next call
                driver.abandon(port, "%s came while %s was awaited" % (type(exc).__name__, _names(call)))
            if call.sent and isinstance(exc, AMQPTimeoutError):
                raise self._no_reply(call, deadline) from None
        finally:
            with driver.lock:
                if port.call is call:
                    port.call = None
                    driver.stir()

    def _begin_call(self, frame: bytes, call: Call, deadline: Deadline, name: str, event: str) -> Any:
        """Send a call's frame as soon as no other call of the port waits: what was gathered before it, and the rest."""
        driver, port = self.driver, self.port
        output = driver.output
        while True:
            driver.refuse_nested("another call")
            try:
                with driver.lock:
                    before = port.call
                    if before is not None and before.thread == call.thread:
                        raise driver.nested("waiting for a reply on the same channel")
                    if before is None and port.gate is SHUT:
                        raise Over
                    if before is None and output.clear:
                        output.clear = False
                        port.call = call
                        call.sent = True
                        gathered = b"" if port.batch is None else port.batch.take()
                        if event == "counting":
                            port.begin_to_count(driver.session)
                        elif event == "closing":
                            port.happen(event, driver.session)
                        output.frames += 1
                        output.push(gathered + frame if gathered else frame)
                        return gathered, output.rest
            except BaseException as exc:
                driver.failed(exc)
                raise
            if before is None:
                backpressure.await_room(driver, deadline)
            else:
                self._await_other_call(before, deadline, name)

    def _await_other_call(self, before: Call, deadline: Deadline, name: str) -> None:
        driver, port = self.driver, self.port
        try:
            driver.wait_undisturbed(lambda: True if port.call is not before else None, deadline)
        except AMQPTimeoutError:
            text = "%s: %s: another thread's call had no answer within %.3g s"
            raise AMQPTimeoutError(text % (driver.name_of(port.number), name, deadline.seconds or 0)) from None

    def _unsent(self, call: Call, gathered: bytes, event: str) -> None:
        """With the lock held: a call was not sent after all."""
        call.sent = False
        if event == "closing":
            self.port.happen("unsent", self.driver.session)
        undo(self.driver, self.port, gathered, event == "counting")

    def _no_reply(self, call: Call, deadline: Deadline) -> AMQPTimeoutError:
        driver, port = self.driver, self.port
        text = "%s: no %s within %.3g s" % (
            driver.name_of(port.number),
            _names(call),
            driver.clock() - deadline.began,
        )
        return AMQPTimeoutError(text + driver.timeouts.excuse())
