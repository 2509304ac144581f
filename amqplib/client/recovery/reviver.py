"""Bringing a connection back: who waits for it, who does it, when it is tried again, and what ends it.

There is one Reviver for a Connection, and no thread of it while there is a network connection. When that is lost, the
first who waits, calls or publishes has a thread started, or the thread of heartbeats does (`idle`), which is there
until the connection is back, or given up.
Those who need the connection wait for it, each in its own deadline: so a program that only ever waits for a tenth of a
second gets its connection back, too, Ctrl-C hits no half-restored session, and a deadline holds whatever the network
does.

All network connections of a Connection share one lock and its condition. The new one is known to nobody but the thread
that makes it until it replaces the old one, in one step (`_replace`). Whoever is in the middle of something on the old
one finds that it is over.
"""

from __future__ import annotations

import errno
import math
import random
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Tuple

from ...protocol.carried import CarriedSession, LaterSession
from ...protocol.endings import BY_PEER, BY_PROGRAM, CONNECTION_PARTED, LOST, Ending, Over
from ...protocol.handshake import Agreement
from ...protocol.session import Session
from ...protocol.topology import Topology
from ...wire.protocol import Receiver, Sender
from .. import fork
from ..connect.address import DEFAULT_PORT, DEFAULT_TLS_PORT, Address, parse_hosts
from ..connect.connecting import Plan, connect
from ..connect.url import Target
from ..deadline import Deadline
from ..driver import Driver, new_lock
from ..exceptions import (
    AMQPConnectionException,
    AMQPException,
    AMQPTimeoutError,
    AuthenticationError,
    ConnectionLostError,
    ProtocolVersionError,
    RecoveryError,
    TLSError,
)
from ..line import connection_error
from ..logger import LOGGER
from ..stats import Stats
from ..threads import threading
from .idle import look_after
from .line import RecoveringLine
from .policy import Recovery
from .refused import new_books
from .replay import Replay

if TYPE_CHECKING:
    from ..connection import Connection

__all__ = ["Reviver", "heals"]

#: CONNECTION_FORCED, by a broker that is shut down or an operator; INTERNAL_ERROR, by one that is in trouble;
#: FRAME_ERROR, CHANNEL_ERROR, UNEXPECTED_FRAME, where octets were lost or changed on their way. What else a server
#: closes a connection for is the program's doing, or does not go away.
_HEALING = (320, 501, 504, 505, 541)

#: Seconds after which a connection that came back has proved itself. One that is lost before is no new loss: pauses and
#: limits go on, lest what the broker closes a connection for is done to it again and again without a pause.
_STEADY = 1.0

#: Errors that another attempt would end in, too.
_FINAL = (ProtocolVersionError, AuthenticationError)

#: Seconds for an attempt to connect, where the program has set no connect_timeout.
_PATIENCE = 30.0


def heals(ending: Ending) -> bool:
    """May another network connection do better than one that ended like this?"""
    if ending.final or ending.by is BY_PROGRAM:
        return False
    if ending.by is BY_PEER:
        return ending.reply_code in _HEALING
    return ending.error is None or not issubclass(ending.error, _FINAL)


def _may_heal(exc: BaseException) -> bool:
    """May another attempt to connect do better than one that has failed like this?"""
    if isinstance(exc, _FINAL):
        return False
    if isinstance(exc, TLSError):
        return exc.errno != errno.EPROTO  # a certificate, say; else the link broke meanwhile
    if isinstance(exc, AMQPConnectionException) and not isinstance(exc, ConnectionLostError):
        return exc.amqp_reply_code in _HEALING
    return isinstance(exc, OSError)  # which a ConnectionLostError and an AMQPTimeoutError are, too


class Reviver:
    """What brings one Connection back."""

    def __init__(self, recovery: Recovery, plan: Plan, target: Target, connect_timeout: Optional[float]) -> None:
        self.recovery = recovery
        self.topology = Topology()
        self.plan = plan
        self._addresses = list(target.addresses)
        for host in recovery.hosts:
            self._addresses += parse_hosts(host, DEFAULT_TLS_PORT if target.tls else DEFAULT_PORT)
        self._patience = connect_timeout
        #: THE lock of all its drivers, one after the other, and its condition: see client/driver.py.
        self.lock = new_lock() if plan.lock is None else plan.lock
        self.news = threading.Condition(self.lock)
        fork.watch(self)
        plan.lock, plan.news, plan.make_session = self.lock, lambda lock: self.news, self._make_session
        #: Channel number -> its line, 0 for the connection's. Weakly: a channel that is dropped is not brought back.
        self._lines: Dict[int, weakref.ref[RecoveringLine]] = {}
        self._connection: Callable[[], Optional[Connection]] = lambda: None
        # with the lock held: is a thread at it? has the program closed the connection? what is being made
        self._running: Optional[threading.Thread] = None
        self._stopped = False
        self._fresh: Optional[Driver] = None
        self._last = ""
        #: How often the connection has come back.
        self.recoveries = 0
        # of the latest loss: when it was, how many attempts there were, when the connection was back after it
        self._began, self._attempts, self._back_at = 0.0, 0, -math.inf
        #: What was delivered over the connections before the present one; None for the first.
        self._base: Optional[int] = None
        self._before = Stats(0, 0, 0, 0, 0, 0, 0, 0, 0.0)
        self._untold: List[RecoveryError] = []

    def _make_session(self, receiver: Receiver, sender: Sender) -> Session:
        base, books = self._base, partial(new_books, self)
        return CarriedSession(receiver, sender, books) if base is None else LaterSession(receiver, sender, base, books)

    # --- the first connection

    def connect(self, deadline: Deadline) -> Tuple[Driver, Agreement]:
        """Make the first connection; again and again, if the program has asked for that."""
        began, attempts = time.monotonic(), 0
        while True:
            attempts += 1
            try:
                return connect(self.plan, self._hosts(), deadline)
            except Exception as exc:
                away = time.monotonic() - began
                if not self.recovery.first or not _may_heal(exc) or self.recovery.exhausted(attempts, away):
                    raise
                LOGGER.info("no connection yet, after %d attempts in %.1f s: %s", attempts, away, exc)
            time.sleep(self._pause(away))
            deadline = self._patient()

    def _hosts(self) -> List[Address]:
        hosts = list(self._addresses)
        if self.recovery.shuffle:
            random.shuffle(hosts)  # nosec B311: for load, not for secrets
        return hosts

    def _pause(self, away: float) -> float:
        pause = self.recovery.pause(away, random.random())  # nosec B311: for load, not for secrets
        return pause if self.recovery.time is None else min(pause, max(0.0, self.recovery.time - away))

    def _patient(self) -> Deadline:
        return self.plan.timeouts.deadline(_PATIENCE if self._patience is None else self._patience)

    # --- what there is

    def take_on(self, connection: Connection, driver: Driver) -> RecoveringLine:
        """The connection is made; its line."""
        line = RecoveringLine(driver, driver.session.control, connection._do_close, self)
        self._connection = weakref.ref(connection)
        self._lines[0] = weakref.ref(line)
        if self.recovery.idle:
            look_after(driver, self)
        return line

    def add(self, line: RecoveringLine) -> None:
        """With the lock held: one more channel."""
        self.topology.over(line.port.number)  # of one that was dropped without a close
        self._lines[line.port.number] = weakref.ref(line)

    def drop(self, line: RecoveringLine) -> None:
        """A channel is over."""
        with line.driver.lock:
            ref = self._lines.get(line.port.number)
            if ref is not None and ref() in (line, None):
                del self._lines[line.port.number]
                self.topology.over(line.port.number)

    def line_of(self, number: int) -> Optional[RecoveringLine]:
        """With the lock held: that of a channel, if it is there."""
        ref = self._lines.get(number)
        return ref() if ref is not None else None

    def lines(self) -> List[RecoveringLine]:
        """With the lock held: those that there are."""
        found = [ref() for ref in list(self._lines.values())]
        return [line for line in found if line is not None]

    def counted(self, stats: Stats) -> Stats:
        """With what went over the connections before this one."""
        before = self._before
        return stats._replace(
            recoveries=self.recoveries,
            frames_in=before.frames_in + stats.frames_in,
            frames_out=before.frames_out + stats.frames_out,
            bytes_in=before.bytes_in + stats.bytes_in,
            bytes_out=before.bytes_out + stats.bytes_out,
            messages_in=before.messages_in + stats.messages_in,
            messages_out=before.messages_out + stats.messages_out,
        )

    # --- waiting for it

    def hopes(self, ending: Ending) -> bool:
        """Will there be another network connection after one that has ended like this?"""
        return not self._stopped and heals(ending)

    def await_return(
        self, line: RecoveringLine, deadline: Deadline, enough: Optional[Callable[[], bool]] = None
    ) -> bool:
        """Wait until the line has a connection again, or it is enough; False when it will have none. AMQPTimeoutError
        when late."""
        began = time.monotonic()
        while True:
            self.begin()
            with line.driver.lock:
                driver = line.driver
                ending = driver.session.ending
                if ending is None:
                    return True
                connection = self._line()
                if not self.hopes(ending) or not line.alive or connection is None or connection.driver is not driver:
                    return False  # the last: it was left behind, for the present broker has no such channel number
                if enough is not None and enough():
                    return True
                until = driver.timeouts.put_off(deadline)
                if until.expired():
                    raise AMQPTimeoutError(self._away(driver, ending, time.monotonic() - began))
                if self._running is not None:
                    self.news.wait(until.within(1.0))

    def _away(self, driver: Driver, ending: Ending, waited: float) -> str:
        text = "%s: the connection was lost (%s), and is not back within %.3g s" % (driver.where, ending.words, waited)
        return "%s: %s" % (text, self._last) if self._last else text

    def untold(self, number: int) -> Optional[RecoveryError]:
        """The next error for whoever waits on this channel; on 0, the connection, for any."""
        if not self._untold:
            return None
        with self.lock:
            for position, error in enumerate(self._untold):
                if number == 0 or error.declaration.channel in (0, number):
                    return self._untold.pop(position)
        return None

    # --- beginning and end

    def begin(self) -> None:
        """Have the connection brought back, if it is away and nobody is at it."""
        with self.lock:
            line = self._line()
            if line is None or (self._running is not None and self._running.ident is not None):
                return
            driver = line.driver
            if driver.session.ending is None or not self.hopes(driver.session.ending):
                return
            thread = threading.Thread(target=self._run, name="amqplib-recovery", daemon=True)
            self._running, self._last = thread, ""
        try:
            thread.start()
        except RuntimeError as exc:  # there are too many threads; or Python 3.12 is about to exit
            with self.lock:
                self._running = None
                self._give_up(driver, exc)

    def _line(self) -> Optional[RecoveringLine]:
        return self.line_of(0)

    def stop(self) -> None:
        """The program closes the connection: it does not come back from now on."""
        with self.lock:
            self._stopped = True
            fresh = self._fresh
            self.news.notify_all()
        if fresh is not None:
            fresh.fail(CONNECTION_PARTED, "parted")

    def go_on(self) -> None:
        """It does not, after all."""
        with self.lock:
            self._stopped = False

    def let_go(self) -> None:
        """The connection is over for good."""
        # what these are known by knows this
        self.plan.make_session, self.plan.news = Session, threading.Condition

    def leave_to_parent(self, parent: int) -> None:
        """This is a child process now, and the connection is its parent's."""
        self.lock = new_lock()
        self.news = threading.Condition(self.lock)
        self._stopped, self._running, self._fresh = True, None, None
        self._untold = []

    def _is_wanted(self) -> bool:
        return not self._stopped and self._connection() is not None

    # --- in the thread, which holds the connection for the time of an attempt only: it may be dropped meanwhile

    def _run(self) -> None:
        with self.lock:
            if self._running is not threading.current_thread():
                return  # a signal handler in the middle of begin() has begun another
        recovered = False
        try:
            recovered = self._bring_back()
        except BaseException as exc:
            LOGGER.exception("bringing a connection back failed")
            driver = self._driver()
            if driver is not None:
                with self.lock:
                    self._give_up(driver, exc)
                del driver
        finally:
            with self.lock:
                if self._running is threading.current_thread():
                    self._running = self._fresh = None
                self.news.notify_all()
        if recovered and self.recovery.on_recovered is not None:
            self.call(self.recovery.on_recovered)

    def _bring_back(self) -> bool:
        """Try until there is another connection in the place of this one, or there is no more reason to."""
        now, where = time.monotonic(), self._lost()
        if now - self._back_at >= _STEADY:
            self._began, self._attempts = now, 0
        else:
            self._rest(self._pause(now - self._began))
        while self._is_wanted():
            self._attempts += 1
            try:
                what = self._attempt()
            except Exception as exc:
                self._last = str(exc)
                away = time.monotonic() - self._began
                if not _may_heal(exc) or self.recovery.exhausted(self._attempts, away):
                    self._surrender(exc, self._attempts, away)
                    return False
                LOGGER.info("%s: not back after %d attempts in %.1f s: %s", where, self._attempts, away, exc)
            else:
                away = self._back_at - self._began
                text = "%s: the connection is back after %.1f s, at attempt %d, %s"
                LOGGER.warning(text, where, away, self._attempts, what)
                return True
            self._rest(self._pause(away))
        return False

    def _driver(self) -> Optional[Driver]:
        line = self._line()
        return None if line is None else line.driver

    def _lost(self) -> str:
        """Say that it was, and note what is to be known of the last session; what to call it in the log."""
        driver = self._driver()
        if driver is None or driver.session.ending is None:
            return ""
        ending, session = driver.session.ending, driver.session
        assert isinstance(session, CarriedSession)
        self._base = session.delivered()
        LOGGER.warning("%s: the connection was lost, and will be made again: %s", driver.where, ending.words)
        if self.recovery.on_lost is not None:
            self.call(self.recovery.on_lost, connection_error(ending, driver.where))
        return driver.where

    def _rest(self, seconds: float) -> None:
        deadline = Deadline(seconds)
        with self.lock:
            while self._is_wanted() and not deadline.expired():
                self.news.wait(deadline.within(seconds))

    def _attempt(self) -> str:
        """Make another connection with all that was on the lost one, and put it in its place; what that was."""
        with self.lock:
            self.plan.timeouts.unblock()  # a connection that was blocked is gone
        fresh, agreed = connect(self.plan, self._hosts(), self._patient())
        done = False
        try:
            with self.lock:
                self._fresh = fresh
                fresh.session.server_properties = agreed.server_properties
                fresh.session.control.happen("opened", fresh.session)
            replay = Replay(self, fresh, agreed)
            replay.run()
            before = self._replace(fresh, agreed, replay)
            done = True
        finally:
            if not done:
                with self.lock:
                    self._fresh = None
                    self._count(fresh)
                fresh.fail(Ending(BY_PROGRAM, 0, "given up: not all of the last one could be restored"), "parted")
                fresh.shut()
        self._pay(fresh)
        if self.recovery.idle:
            look_after(fresh, self)
        before.fail(CONNECTION_PARTED, "parted")  # so that a thread that still reads closes the socket on its way out
        before.shut()
        return "at %s, with %s" % (fresh.transport.address, replay.summary)

    @staticmethod
    def _pay(driver: Driver) -> None:
        """Send what replacing has left to be sent."""
        try:
            with driver.lock:
                driver.pay_debts()
        except Exception as exc:
            try:
                driver.failed(exc)
            except Over:
                pass  # whoever waits or sends next finds that it is lost again

    def _replace(self, fresh: Driver, agreed: Agreement, replay: Replay) -> Driver:
        """The one place where a session takes another's; the driver of that."""
        connection = self._connection()
        with self.lock:
            driver, ending = self._driver(), fresh.session.ending
            if ending is not None:
                raise connection_error(ending, fresh.where)
            if not self._is_wanted() or connection is None or driver is None:
                raise ConnectionLostError(0, "closed by this program", where=fresh.where)
            self._count(driver)
            self.recoveries, self._back_at = self.recoveries + 1, time.monotonic()
            fresh.session.draining, fresh.session.raw = driver.session.draining, driver.session.raw
            fresh.parting, fresh.tested = driver.parting, driver.tested
            fresh.notices.succeed(driver.notices)
            fresh.notices.listen(connection)
            if driver.session.blocked is not None and fresh.session.blocked is None:
                fresh.notices.blocked(fresh.where, None)
            fresh.transport.sock.settimeout(driver.transport.sock.gettimeout())
            replay.hand_over()
            connection.transport = fresh.transport
            connection.server_properties = agreed.server_properties
            connection.version_major, connection.version_minor = agreed.version
            connection.mechanisms, connection.locales = agreed.mechanisms, agreed.locales
            connection.known_hosts = agreed.known_hosts
            connection.channel_max, connection.frame_max = agreed.channel_max, agreed.frame_max
            connection.heartbeat = agreed.heartbeat
            self._untold += replay.failures
            self._running = self._fresh = None  # from here on another loss is another thread's
            self.news.notify_all()
        return driver

    def _count(self, driver: Driver) -> None:
        """With the lock held: what has gone over a connection that is done with."""
        session, output = driver.session, driver.output
        self._before = self.counted(
            Stats(
                frames_in=session.receiver.frames,
                frames_out=output.frames + 3 * output.messages,
                bytes_in=driver.liveness.octets,
                bytes_out=output.octets,
                messages_in=session.receiver.contents,
                messages_out=output.messages,
                in_flight=0,
                pending=0,
                last_seen=0.0,
            )
        )

    def _surrender(self, exc: Exception, attempts: int, away: float) -> None:
        driver = self._driver()
        if driver is None or not self._is_wanted():
            return
        with self.lock:
            self._give_up(driver, exc)
            ending = driver.session.ending
        assert ending is not None
        LOGGER.error("%s: given up after %d attempts in %.1f s: %s", driver.where, attempts, away, exc)
        if self.recovery.on_given_up is not None:
            self.call(self.recovery.on_given_up, connection_error(ending, driver.where))

    def _give_up(self, driver: Driver, exc: BaseException) -> None:
        """With the lock held: the connection is over for good, and this is why."""
        ending = driver.session.control.ending
        if ending is None or not heals(ending):
            return
        kind = type(exc) if isinstance(exc, AMQPConnectionException) else None
        code = exc.amqp_reply_code if isinstance(exc, AMQPException) else 0
        said = exc.amqp_reply_text if isinstance(exc, AMQPException) else "%s: %s" % (type(exc).__name__, exc)
        text = "%s; the connection had been lost (%s), and did not come back" % (said, ending.words)
        number = exc.errno if isinstance(exc, ConnectionLostError) else ending.errno
        driver.session.control.ending = Ending(LOST, code, text, (0, 0), number, kind, final=True)
        self.news.notify_all()

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function of the program's, whose errors are its own."""
        try:
            return function(*args)
        except Exception:
            LOGGER.exception("%r, a function for recovery, raised", function)
            return None
