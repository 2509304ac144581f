"""What one channel sends without waiting for a reply: publishes, acknowledgements, and what batch() gathers.

This is the hot path. A publish that nothing stands against (no gate, and nothing else on its way) goes straight to the
network, with the driver's lock held for that long. Any other is let in by the port's gate, or waits for its turn.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Dict, Iterator, Optional

from ..protocol.confirms import Mandatory, Sent
from ..protocol.endings import Over
from ..protocol.gates import BLOCKED, SHUT, Batch, Data, Entered
from ..protocol.port import Port
from . import backpressure, heartbeat
from .deadline import NEVER, Deadline
from .driver import Driver
from .exceptions import AMQPException, AMQPTimeoutError, ConnectionBlockedError, NestedCallError
from .output import Rest

if TYPE_CHECKING:
    from ..protocol.gates import Gate

__all__ = ["Sending"]


def undo(driver: Driver, port: Port, gathered: bytes, counting: bool) -> None:
    """With the lock held: a method could not be sent after all, nor what was gathered before it."""
    driver.output.frames -= 1
    if gathered and port.batch is not None:
        port.batch.put_back(gathered)
    if counting and port.books is not None:
        if port.books.next_tag > 1:
            driver.abandon(port, "by this program: confirm.select could not be sent, and publishes were counted")
        else:
            port.count_no_more(driver.session)


class Sending:
    """The sending side of one channel."""

    __slots__ = ("__weakref__", "_deadlines", "driver", "port")

    def __init__(self, driver: Driver, port: Port) -> None:
        self.driver = driver
        self.port = port
        self._deadlines: Dict[int, Deadline] = {}  # of threads inside publishing_until()

    def succeed(self, other: Sending) -> None:
        """Be used in the place of another one: threads inside its publishing_until() are inside this one's."""
        self._deadlines = other._deadlines

    # --- publish

    def publish(self, frames: Data, msg: Any, mandatory: Optional[Mandatory] = None) -> Optional[int]:
        """Send the frames of a message; its delivery tag in confirm mode. Over when it can never be sent."""
        driver, port = self.driver, self.port
        if port.batch is None and driver.clock() >= driver.look_at:
            driver.look()
        output = driver.output
        if type(frames) is bytes and mandatory is None:
            tag = rest = full = None
            try:
                with driver.lock:
                    gate = port.gate
                    if gate is not None and gate.gathers:
                        entered = gate.enter(frames, msg, None)
                        if entered is not None:
                            output.messages += 1
                            tag = entered[0]
                            if gate.size < Batch.LIMIT:
                                return tag
                            full = True
                    elif output.clear and (gate is None or gate is port.books):
                        output.clear = False  # for what comes out of nowhere before it is True again: see failed()
                        if gate is not None:
                            tag = gate.count(msg, frames)
                        if gate is not None and not tag:  # the window is full
                            output.clear = True
                        else:
                            output.messages += 1
                            size = len(frames)
                            sent = output.transport.send(frames)  # this is Output.push(), without a call
                            output.octets += size
                            if sent == size:
                                output.clear = True
                                return tag
                            rest = output.rest = Rest(frames, sent)
            except BaseException as exc:
                driver.failed(exc, tag)
                raise
            if rest is not None:
                return self._await_own(tag, rest, self.until())
            if full:
                self._send_some(self.until(), tag)
                return tag
        return self._publish_slowly(frames, msg, mandatory)

    def _await_own(self, tag: Optional[int], rest: Rest, deadline: Deadline) -> Optional[int]:
        try:
            backpressure.await_gone(self.driver, rest, lambda: self._take_back(tag), deadline)
        except Over:
            raise Over(tag) from None
        return tag

    @contextmanager
    def publishing_until(self, deadline: Deadline) -> Iterator[None]:
        """Inside this with-statement, what this thread publishes has a deadline."""
        me = threading.get_ident()
        before = self._deadlines.get(me, NEVER)  # of one that a signal handler interrupts
        self._deadlines[me] = deadline
        try:
            yield
        finally:
            if before is NEVER:
                self._deadlines.pop(me, None)
            else:
                self._deadlines[me] = before

    def until(self) -> Deadline:
        """The deadline of what this thread publishes."""
        return self._deadlines.get(threading.get_ident(), NEVER) if self._deadlines else NEVER

    def _publish_slowly(self, frames: Data, msg: Any, mandatory: Optional[Mandatory]) -> Optional[int]:
        driver, port = self.driver, self.port
        deadline = self.until()
        if mandatory is not None:
            driver.refuse_nested("keeping the books of confirms")
        output = driver.output
        key: Optional[Sent] = None
        tag: Optional[int] = None
        while True:
            if mandatory is not None and key is None and port.books is not None:
                key = driver.session.look_of(*mandatory)  # how it would look if it came back; not with the lock held
            try:
                with driver.lock:
                    gate = port.gate
                    if gate is SHUT:
                        raise Over
                    gathers = gate is not None and gate.gathers and type(frames) is bytes
                    counted = mandatory is None or port.books is None or key is not None
                    if counted and (output.clear or gathers):
                        entered = self._enter(frames, msg, key)
                        if entered is not None:
                            tag, data = entered
                            if data is not None:
                                output.push(data)
                            output.messages += 1
                            rest = output.rest if data is not None else None
                            break
            except BaseException as exc:
                driver.failed(exc, tag)
                raise
            if counted:  # else confirm_select() was faster
                self._await_turn(gate, deadline)
        if data is None:
            if gate is not None and gate.size >= Batch.LIMIT:
                self._send_some(deadline, tag)
        elif rest is not None:
            self._await_own(tag, rest, deadline)
        if driver.notices.calls:  # on_blocked, say; what there is to log may wait
            driver.tell()
        return tag

    def _enter(self, frames: Data, msg: Any, key: Optional[Sent]) -> Optional[Entered]:
        """With the lock held: through the gate, None where it has to wait.

        The output is `busy` afterwards where there is something to send now.
        """
        output = self.driver.output
        # taken here, and given back: for what comes between the books and the network, and for signal handlers
        clear, holding = output.clear, output.holding
        output.clear = output.holding = False
        gate = self.port.gate
        entered: Optional[Entered] = None
        if clear or (gate is not None and gate.gathers and type(frames) is bytes):
            entered = (None, frames) if gate is None else gate.enter(frames, msg, key)
        if entered is None or entered[1] is None:
            output.holding = holding
            output.clear = clear
        return entered

    def _take_back(self, tag: Optional[int]) -> None:
        """With the lock held: a publish was not sent after all."""
        driver, port = self.driver, self.port
        driver.output.messages -= 1
        if tag and port.books is not None and not port.books.take_back(tag):
            # others have been counted behind it, so the peer would count them differently
            driver.abandon(port, "by this program: a message could not be sent, and others were gathered behind it")

    def _send_some(self, deadline: Deadline, tag: Optional[int] = None) -> None:
        """Send what is gathered; what cannot go now stays gathered. tag: of the publish that was gathered last."""
        if self.driver.clock() >= self.driver.look_at:
            self.driver.look()
        try:
            self.flush(deadline)
        except (AMQPTimeoutError, NestedCallError):
            pass
        except Over:
            raise Over(tag) from None

    def send_again(self, frames: Data) -> None:
        """Send the frames of a message that the books have from an earlier session. No gate but SHUT is asked."""
        driver, output = self.driver, self.driver.output
        while True:
            try:
                with driver.lock:
                    if self.port.gate is SHUT:
                        raise Over
                    if output.clear:
                        output.messages += 1
                        output.push(frames)
                        rest = output.rest
                        break
            except BaseException as exc:
                driver.failed(exc)
                raise
            backpressure.await_room(driver, NEVER)
        if rest is not None:
            backpressure.await_gone(driver, rest, None, NEVER)

    # --- methods

    def ack(self, frame: bytes) -> None:
        """Send the frame that acknowledges one message; or hold it back for a moment, see protocol/acks.py."""
        driver, port = self.driver, self.port
        output = driver.output
        acks = output.acks
        if acks is None:
            self.send(frame)
            return
        now = driver.clock()
        if now >= driver.look_at:
            driver.look()
        with driver.lock:
            if port.gate is SHUT:
                raise Over
            held = port.batch is None and (output.clear or output.holding)
            if held:
                output.clear = output.holding = False  # so that a signal handler sends nothing in between
                try:
                    due = acks.add(port.number, frame, now)
                finally:
                    output.holding = True
        if not held:
            self.send(frame)
        elif due:
            driver.pay()
        elif not acks.watched:
            try:
                heartbeat.watch_held(driver)
            except RuntimeError:  # there are too many threads; or Python 3.12 is about to exit
                driver.pay()

    def send(self, frame: bytes, counting: bool = False) -> None:
        """Send the frame of a method that nothing answers; inside batch() it is gathered.

        counting: it is confirm.select, so it goes at once, and publishes behind it are counted.
        """
        driver, port = self.driver, self.port
        if driver.clock() >= driver.look_at:
            driver.look()
        output = driver.output
        while True:
            try:
                with driver.lock:
                    if port.gate is SHUT:
                        raise Over
                    batch, rest = port.batch, None
                    if batch is not None and not counting:
                        if output.acks is not None:
                            output.acks.sent(port.number, frame)
                        output.frames += 1
                        batch.add(frame)
                        break
                    if output.clear:
                        output.clear = False
                        if output.acks is not None:
                            output.acks.sent(port.number, frame)
                        gathered = b"" if batch is None else batch.take()
                        if counting:
                            port.begin_to_count(driver.session)
                        output.frames += 1
                        if output.push(gathered + frame if gathered else frame):
                            return
                        batch, rest = None, output.rest
                        break
            except BaseException as exc:
                driver.failed(exc)
                raise
            driver.refuse_nested("sending")
            backpressure.await_room(driver, NEVER)
        if rest is not None:
            backpressure.await_gone(driver, rest, lambda: self._unsent(frame, gathered, counting), NEVER)
        elif batch is not None and batch.size >= Batch.LIMIT:
            self._send_some(NEVER)

    def _unsent(self, frame: bytes, gathered: bytes, counting: bool) -> None:
        """With the lock held: a method was not sent after all."""
        undo(self.driver, self.port, gathered, counting)
        if self.driver.output.acks is not None:
            self.driver.output.acks.unsent(self.port.number, frame)

    # --- batches

    def begin_batch(self) -> Optional[Batch]:
        """Gather what the port sends from now on; None if it is being gathered already."""
        driver, port = self.driver, self.port
        with driver.lock:
            if port.batch is not None or port.gate is SHUT:
                return None
            batch = Batch(port.books, threading.get_ident())
            self._gather(batch)
            return batch

    def _gather(self, batch: Batch) -> None:
        self.port.batch = batch
        self.driver.batches.append(self)
        self.port.regate(self.driver.session)

    def end_batch(self, batch: Batch) -> None:
        """Send what is gathered, and gather no more."""
        try:
            if self.driver.clock() >= self.driver.look_at:  # publishes that are gathered do not
                self.driver.look()
        except BaseException:
            try:
                self._end_batch(batch)
            except (Over, AMQPException, OSError):
                pass  # what came out of looking, Ctrl-C perhaps, is why
            raise
        self._end_batch(batch)

    def _end_batch(self, batch: Batch) -> None:
        driver, port, me = self.driver, self.port, threading.get_ident()
        try:
            while True:
                with driver.lock:
                    others = batch.goes_by_others(me)
                    if port.gate is SHUT and (batch.gathered or batch.lost):
                        raise Over
                    if not batch.gathered and not others:
                        self._drop_batch()
                        if not batch.gathered:
                            return
                        self._gather(batch)  # a signal handler has added to it just now
                if others:
                    driver.wait_undisturbed(lambda: None if batch.goes_by_others(me) else True, NEVER)
                else:
                    self.flush()
        except BaseException:
            # it will never leave, and in confirm mode it has been counted
            driver.abandon(port, "by this program: a batch could not be sent")
            with driver.lock:
                batch.lose()
                if batch.books is None and batch.goes_by_others(me):
                    batch.lost = True  # as far as is known
                self._drop_batch()
            raise

    def _drop_batch(self) -> None:
        driver, port = self.driver, self.port
        if port.batch is not None:
            port.batch = None
            driver.batches.remove(self)
            port.regate(driver.session)

    def flush(self, deadline: Deadline = NEVER) -> None:
        """Send what is gathered."""
        batch = self.port.batch
        if batch is None or not batch.gathered:
            return
        me = threading.get_ident()
        batch.going.add(me)
        try:
            self._flush(deadline)
        finally:
            with self.driver.lock:
                batch.going.discard(me)
                if me != batch.owner:
                    self.driver.stir()  # who leaves batch() waits for this

    def _flush(self, deadline: Deadline) -> None:
        driver, port = self.driver, self.port
        output, data = driver.output, b""
        batch: Optional[Batch] = None
        while True:
            try:
                with driver.lock:
                    batch = port.batch
                    if batch is None or not batch.gathered or port.gate is SHUT:
                        return
                    if output.clear:
                        output.clear = False
                        data = batch.take()
                        output.push(data)
                        rest = output.rest
                        break
            except BaseException as exc:
                try:
                    driver.failed(exc)
                finally:
                    self._note_loss(batch, data)
                raise
            driver.refuse_nested("sending a batch")
            backpressure.await_room(driver, deadline)
        taken = batch
        if rest is not None:
            try:
                backpressure.await_gone(driver, rest, lambda: taken.put_back(data), deadline)
            except Over:
                self._note_loss(batch, data)
                raise

    def _note_loss(self, batch: Optional[Batch], data: bytes) -> None:
        """What was taken from a batch was lost with the connection, if it was."""
        with self.driver.lock:
            if batch is not None and self.driver.session.ending is not None:
                batch.lose(data)

    # --- waiting for one's turn

    def _await_turn(self, gate: Optional[Gate], deadline: Deadline) -> None:
        """Wait until a publish that this gate has not let in may be tried again."""
        driver, port = self.driver, self.port
        driver.refuse_nested("publishing")
        books = port.books
        if gate is not None and gate.size:
            self.flush(deadline)
        elif gate is BLOCKED:
            self.await_unblocked()
        elif books is not None and books.full():
            until = driver.timeouts.answering() if deadline is NEVER else deadline
            driver.wait_for(lambda: True if not books.full() or port.gate is not gate else None, until)
        else:
            backpressure.await_room(driver, deadline)

    def await_unblocked(self) -> None:
        """Wait until the broker takes publishes again; ConnectionBlockedError after the blocked_timeout."""
        driver, port = self.driver, self.port
        driver.tell()
        deadline = self.until()
        until = driver.timeouts.unblocking()
        if not deadline.patient:  # one that is waits for as long as the block lasts, and no longer
            until = until.sooner(deadline)
        try:
            driver.wait_for(lambda: True if port.gate is not BLOCKED else None, until, free=True)
        except AMQPTimeoutError as exc:
            with driver.lock:  # another thread may hear just now that the block is over
                if port.gate is not BLOCKED:
                    return
                text = "%s: nothing was published%s" % (driver.where, driver.timeouts.excuse())
            raise ConnectionBlockedError(text) from exc
