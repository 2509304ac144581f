"""What was on a connection that was lost, made again on another, which nobody else knows yet.

In this order: exchanges, queues and bindings, on a channel of their own, since what is refused closes its channel; then
each channel of the program's with its modes, limits and consumers; then what is unconfirmed. What the broker refuses
to declare is noted, and the rest goes on.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Deque, Dict, List, Optional, Set, Tuple

from ...protocol.carried import CarriedBooks, cut_to
from ...protocol.endings import BY_PROGRAM, Ending, Over
from ...protocol.handshake import Agreement
from ...protocol.port import ACK, DELIVER, RETURN, Item, Port
from ...protocol.topology import Declaration
from ...wire.spec import sig_of
from ..consumers import Consumers
from ..deadline import Deadline
from ..driver import Driver
from ..exceptions import AMQPChannelException, AMQPException, ConnectionLostError, DialectError, RecoveryError
from ..line import Line
from ..logger import LOGGER
from ..sending import Sending
from .line import RecoveringLine

if TYPE_CHECKING:
    from .reviver import Reviver

__all__ = ["Replay"]

_CANCEL, _ALERT = sig_of("basic.cancel"), sig_of("channel.alert")

#: What RabbitMQ says of a queue, or a consumer, that is another connection's alone: ACCESS_REFUSED, RESOURCE_LOCKED.
#: Most likely that other one is the one that was lost, which the broker has yet to notice.
_LOCKED = (403, 405)

#: Seconds between two attempts at what is locked.
_LOCKED_PAUSE = 0.1

#: Seconds for an answer, where the program has set no reply_timeout.
_PATIENCE = 30.0


def _nothing() -> None:
    pass


class Replay:
    """One attempt on one connection."""

    def __init__(self, reviver: Reviver, driver: Driver, agreed: Agreement) -> None:
        self._reviver = reviver
        self._driver = driver
        self._agreed = agreed
        self._recovery, self._topology = reviver.recovery, reviver.topology
        self._spare: Optional[Line] = None
        self._locked_until = Deadline(self._recovery.locked)
        # channel number -> its port here, and what a consumer without acknowledgements has got on one before that
        self._ports: Dict[int, Port] = {}
        self._salvaged: Dict[int, List[Item]] = {}
        self._counts: Dict[str, int] = {}
        self._published = 0
        # consumers that there are, by channel number and tag
        self._consuming: List[Tuple[int, str]] = []
        #: What could not be declared again.
        self.failures: List[RecoveryError] = []

    @property
    def summary(self) -> str:
        """What was restored, for a line in the log."""
        parts = ["%d %ss" % (count, kind) for kind, count in self._counts.items() if kind != "qos"]
        parts.append("%d channels" % len(self._ports))
        if self._published:
            parts.append("%d publishes sent again" % self._published)
        if self.failures:
            parts.append("%d failures: %s" % (len(self.failures), "; ".join(map(str, self.failures))))
        return ", ".join(parts)

    def run(self) -> None:
        """Restore everything. Raises what ends the connection meanwhile."""
        for declaration in self._topology.shared():
            if self._is_wanted(declaration):
                self._declare(declaration)
        if self._spare is not None:
            self._spare.close("channel.close", (0, "", 0, 0), self._patience())
            self._spare = None
        with self._reviver.lock:
            lines = [line for line in self._reviver.lines() if line.port.number and line.alive and line.is_open]
        for line in lines:
            self._restore(line)
        for line in lines:
            self._publish(line)

    def _patience(self) -> float:
        seconds = self._driver.timeouts.reply_timeout
        return _PATIENCE if seconds is None else seconds

    # --- declarations

    def _is_wanted(self, declaration: Declaration) -> bool:
        wanted = self._recovery.wanted
        return wanted is None or bool(self._reviver.call(wanted, declaration))

    def _declare(self, declaration: Declaration) -> None:
        """An exchange, a queue or a binding."""
        while True:
            if self._spare is None:
                self._spare = self._open(None)
            error = self._make(self._spare, declaration)
            if error is None:
                return
            if isinstance(error, AMQPChannelException):
                self._spare = None
            if not self._wait_for_lock(error):
                self._failed(declaration, error)
                return

    def _wait_for_lock(self, error: AMQPException) -> bool:
        """Is it worth another attempt? Then wait for a moment."""
        if error.amqp_reply_code not in _LOCKED or self._locked_until.expired():
            return False
        if error.amqp_reply_code == 403 and "exclusive" not in error.amqp_reply_text:
            return False
        pause = Deadline(_LOCKED_PAUSE)
        with self._reviver.lock:
            while not pause.expired() and self._driver.session.ending is None:
                self._reviver.news.wait(pause.within(_LOCKED_PAUSE))
        return True

    def _make(self, line: Line, declaration: Declaration) -> Optional[AMQPException]:
        """Declare something again; what is against it."""
        if self._recovery.before is not None:
            self._reviver.call(self._recovery.before, declaration)
        try:
            method = line.method(declaration.method)
            args = self._topology.args(declaration, method)
            reply = line.call(declaration.method, *args, timeout=self._patience())[1]
        except (AMQPChannelException, DialectError) as exc:
            return exc
        if declaration.kind == "queue" and not declaration.arguments["queue"]:
            before, now = self._topology.current(declaration.name), str(reply[0])
            with self._reviver.lock:
                self._topology.renamed(declaration.name, now)
            if self._recovery.on_renamed is not None:
                self._reviver.call(self._recovery.on_renamed, before, now)
        self._counts[declaration.kind] = self._counts.get(declaration.kind, 0) + 1
        if self._recovery.after is not None:
            self._reviver.call(self._recovery.after, declaration)
        return None

    def _failed(self, declaration: Declaration, why: AMQPException) -> None:
        text = "the connection is back, but not %s: %s" % (declaration, why)
        error = RecoveryError(why.amqp_reply_code, text, why.amqp_method_sig, self._driver.where, declaration)
        error.__cause__ = why.with_traceback(None)
        self.failures.append(error)
        LOGGER.error("%s", error)
        if self._recovery.on_failed is not None:
            self._reviver.call(self._recovery.on_failed, error)

    # --- channels

    def _open(self, number: Optional[int]) -> Line:
        """Open a channel of this number, or of any."""
        driver = self._driver
        with self._reviver.lock:
            port = driver.session.allot(number, self._agreed.channel_max)
        if port is None:
            text = "channel %s cannot be opened again: this broker has channels up to %d only"
            raise ValueError(text % (number, self._agreed.channel_max))
        line = Line(driver, port, _nothing)
        line.call("channel.open", "", timeout=self._patience())
        line.opened()
        return line

    def _restore(self, line: RecoveringLine) -> None:
        """A channel of the program's, with all that it had."""
        number = line.port.number
        gone: Set[Tuple[str, str]] = set()
        while True:
            here = self._open(number)
            self._ports[number] = here.port
            self._consuming = [each for each in self._consuming if each[0] != number]
            books = line.port.books
            if books is not None:
                here.call("confirm.select", False, timeout=self._patience())
            if self._topology.channel(number).transacted:
                here.call("tx.select", timeout=self._patience())
            refused = self._restore_consumers(line, here, gone)
            if refused is None:
                break
            declaration, error = refused
            no_ack = _without_acks(line.consumers)
            kept = [item for item in here.port.inbox if item[0] is DELIVER and item[1][0] in no_ack]
            self._salvaged.setdefault(number, []).extend(kept)
            if not self._wait_for_lock(error):
                gone.add((declaration.kind, declaration.name))
                self._failed(declaration, error)
        for tag in [name for kind, name in gone if kind == "consumer"]:
            here.port.inbox.append((_CANCEL, (tag, True), None))
            self._driver.session.ready[number] = here.port

    def _restore_consumers(
        self, line: RecoveringLine, here: Line, gone: Set[Tuple[str, str]]
    ) -> Optional[Tuple[Declaration, AMQPException]]:
        """What was refused, which has closed the channel."""
        ended = {item[1][0] for item in list(line.port.inbox) if item[0] == _CANCEL}
        for declaration in self._topology.of_channel(line.port.number):
            if (declaration.kind, declaration.name) in gone:
                continue
            if declaration.kind == "consumer":
                tag = declaration.name
                if tag in ended or tag not in line.consumers.running or not self._is_wanted(declaration):
                    continue
            error = self._make(here, declaration)
            if error is not None:
                return declaration, error
            if declaration.kind == "consumer":
                self._consuming.append((line.port.number, declaration.name))
        return None

    # --- publishes

    def _publish(self, line: RecoveringLine) -> None:
        """Send again what is unconfirmed."""
        before, port = line.port, self._ports[line.port.number]
        books = before.books
        if not isinstance(books, CarriedBooks):
            return
        driver = self._driver
        sending = Sending(driver, port)
        with self._reviver.lock:
            books.lose(self._recovery.unconfirmed == "report")
            port.succeed(before)  # what comes back is told as ever
            port.books = books
            tags = books.begin()
            port.regate(driver.session)
        for tag in tags:
            with self._reviver.lock:
                frames = books.frames[tag]
                books.sent_again()
            try:
                sending.send_again(cut_to(self._agreed.frame_max, frames))
            except Over:
                break
            self._published += 1
        ending = driver.session.ending
        if ending is not None:
            raise ConnectionLostError(0, "lost again, in the middle of publishing again: %s" % ending.words)

    # --- handing over

    def hand_over(self) -> None:
        """With the lock held: the program's channels are here from now on."""
        driver, left = self._driver, dict(self._ports)
        for line in self._reviver.lines():
            before, number = line.port, line.port.number
            if not number:
                driver.session.control.waiting = before.waiting
                line.move(driver, driver.session.control)
            elif not line.alive:
                line.driver = driver  # whose port is over by itself
            else:
                port = left.pop(number, None) or driver.session.allot(number, self._agreed.channel_max)
                if port is not None:  # else it was being opened, and there is no such number here
                    self._carry(line, before, port)
                    line.move(driver, port)
        for port in left.values():  # the program has closed these channels meanwhile
            port.ending = Ending(BY_PROGRAM, 0, "by this program, without a connection")
            port.happen("abandon", driver.session)

    def _carry(self, line: RecoveringLine, before: Port, port: Port) -> None:
        """What the program has yet to be given of what came before the loss, and is not given anew."""
        consumers = line.consumers
        no_ack = _without_acks(consumers)
        kept: Deque[Item] = deque()
        while before.inbox:
            try:
                item = before.inbox.popleft()
            except IndexError:
                break  # another thread's wait() has it
            sig, args, content = item
            if sig is RETURN or sig == _ALERT or (sig is DELIVER and args[0] in no_ack):
                kept.append(item)
            elif sig == _CANCEL:
                kept.append((sig, (args[0], True), content))  # there is nobody to be answered
        kept.extend(self._salvaged.get(line.port.number, ()))
        port.inbox.extendleft(reversed(kept))
        if port.books is not None and port.books.reports:
            port.remind(self._driver.session, (ACK, (0, False), None))
        if port.inbox:
            self._driver.session.ready[port.number] = port
        port.succeed(before)
        if before.batch is not None:
            before.batch.lose()
        consumers.lost(port, before)
        session = self._driver.session
        for number, tag in self._consuming:
            if number == port.number and tag not in consumers.running:  # cancelled meanwhile
                session.owe(session.sender.method(number, session.dialect["basic.cancel"], (tag, True)))
        parting = self._driver.parting
        if parting.lapse is not None and parting.lapse.port is before:
            parting.lapse.port = port
        line.void = line.void or self._topology.channel(port.number).transacted


def _without_acks(consumers: Consumers) -> Set[str]:
    """The consumers whose messages are nowhere else."""
    return {tag for tag, consumer in list(consumers.running.items()) if consumer.no_ack}
