"""What a Channel or Connection has: its port, and the driver of the network connection that it is on.

A line turns AMQP's methods into frames and calls, and the endings of ports into exceptions. It is the one thing of ours
that a Channel or Connection holds under a private name, so a program's subclass cannot take that name by accident; and
the one thing to exchange when a channel is to go on with another network connection.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Callable, Collection, Dict, List, Optional, Tuple, Type

from ..protocol.endings import BY_PEER, BY_PROGRAM, CHANNEL_PARTED, CONNECTION_PARTED, LOST, Ending, Over
from ..protocol.gates import SHUT, Batch
from ..protocol.port import Call, Item, Port
from ..protocol.states import CLOSED, CLOSING, ENDED
from ..wire.spec import Method, Sig
from ..wire.text import printable
from . import heartbeat
from .calling import OUTLIVED, Calling
from .connect.secret import hide_made_of
from .deadline import Deadline
from .driver import Driver
from .exceptions import (
    AMQPChannelException,
    AMQPConnectionException,
    AMQPException,
    AMQPTimeoutError,
    ChannelClosedError,
    ConnectionLostError,
    DialectError,
    of_code,
    waited,
)
from .sending import Sending
from .stats import Stats

if TYPE_CHECKING:
    from .connect.login import Login
    from .consumers import Consumers

__all__ = ["Line", "connection_error"]

#: CONNECTION_FORCED: no call's fault.
_SHUTDOWN = 320

_ERRORS = {BY_PEER: AMQPConnectionException, BY_PROGRAM: ConnectionLostError, LOST: ConnectionLostError}


def connection_error(ending: Ending, where: str) -> AMQPConnectionException:
    """A fresh exception for the end of a connection: a shared one would keep frames alive."""
    kind: Type[AMQPConnectionException] = ending.error or _ERRORS[ending.by]
    if ending.by is BY_PEER:
        kind = of_code(kind, ending.reply_code)
    what = ending.reply_code, ending.reply_text, ending.method_sig, where
    return kind(*what, ending.errno) if issubclass(kind, ConnectionLostError) else kind(*what)


def channel_error(ending: Ending, where: str) -> AMQPChannelException:
    """A fresh exception for a channel that the peer has closed."""
    kind = of_code(AMQPChannelException, ending.reply_code)
    return kind(ending.reply_code, ending.reply_text, ending.method_sig, where)


class Line:
    """The way of one channel's methods to the peer and back."""

    __slots__ = (
        "_on_over",
        "ack_frame",
        "calling",
        "consumers",
        "driver",
        "kept",
        "login",
        "port",
        "publish_frames",
        "sending",
    )

    def __init__(self, driver: Driver, port: Port, on_over: Callable[[], None]) -> None:
        self.driver = driver
        self.port = port
        self.sending, self.calling = Sending(driver, port), Calling(driver, port)
        sender = driver.session.sender
        #: The frames of basic.publish and of basic.ack, by the short way (wire/hot.py).
        self.publish_frames, self.ack_frame = sender.publish, sender.ack
        #: Of a channel's line: the consumers of the channel.
        self.consumers: Consumers
        #: Of the connection's: who logs in.
        self.login: Login
        #: The channel's `callbacks` as long as the program has yet to be told that the connection is over: tags only,
        #: so that no callback is kept alive.
        self.kept: Dict[str, Any] = {}
        # lets go of what the channel holds; called once, when the program is told that it is over
        self._on_over: Optional[Callable[[], None]] = on_over

    def for_channel(self, port: Port, on_over: Callable[[], None]) -> Line:
        """With the lock held: the line of a channel of this connection."""
        return Line(self.driver, port, on_over)

    def opened(self) -> None:
        """The peer has opened it."""
        acks = self.driver.output.acks
        with self.driver.lock:
            if acks is not None:
                acks.forget(self.port.number)
            self.port.happen("opened", self.driver.session)

    @property
    def where(self) -> str:
        """What to call it in an error message."""
        return self.driver.name_of(self.port.number)

    def method(self, name: str) -> Method:
        """A method of the dialect that is spoken; DialectError where it has none of this name."""
        try:
            return self.driver.session.dialect[name]
        except KeyError:
            raise self.not_in_dialect(name) from None

    def not_in_dialect(self, what: str) -> DialectError:
        """The error to raise for what the dialect does not have."""
        text = "AMQP %s, which is spoken here, has no %s; connect with protocol='0-9-1', or import amqplib.client_0_9_1"
        return DialectError(0, text % (self.driver.session.dialect.name, what), (0, 0), self.where)

    # --- out

    def frame(self, name: str, *args: Any) -> bytes:
        """The frame of a method."""
        method = self.method(name)
        return hide_made_of(args, self.driver.session.sender.method(self.port.number, method, args))

    def send(self, name: str, *args: Any) -> None:
        """Send a method that nothing answers."""
        self.check()
        self.emit(self.frame(name, *args))

    def give_back(self, tag: int) -> None:
        """Reject a message that the program was not given, so that it goes back to its queue."""
        self.send("basic.reject", tag, True)

    def emit(self, frame: bytes, sending: Optional[Sending] = None, one: bool = False) -> None:
        """Send, or gather in batch(), the frame of a method that nothing answers.

        one: it acknowledges one message, and may be held back for a moment.
        sending: what to send it with, which the caller had before it had the frame made: so tags are never those of
        another session than the one that gets it.
        """
        try:
            if one:
                (sending or self.sending).ack(frame)
            else:
                (sending or self.sending).send(frame)
            return
        except AMQPTimeoutError:
            self.driver.tell()
            raise
        except Over:
            pass  # outside of this clause the exception has no context, which would keep frames alive
        raise self.over()

    def call(
        self,
        name: str,
        *args: Any,
        timeout: Optional[float] = None,
        answered: Optional[Callable[[Tuple[Any, ...]], None]] = None,
        event: str = "",
        until: Optional[Deadline] = None,
    ) -> Item:
        """Send a method and wait for what answers it, `until` then, for `timeout`, or the connection's reply_timeout.

        answered: called, with the lock held, with the arguments of the answer as it arrives.
        """
        method = self.method(name)
        self.check()
        frame = hide_made_of(args, self.driver.session.sender.method(self.port.number, method, args))
        return self.ask(method, frame, timeout, answered, event, until)

    def get(self, *args: Any) -> Item:
        """The same for basic.get, by the short way."""
        session = self.driver.session
        return self.ask(session.dialect["basic.get"], session.sender.get(self.port.number, args))

    def request(self, name: str, nowait: bool, *args: Any) -> Optional[Tuple[Any, ...]]:
        """Send a method that the server answers unless told not to; the reply's arguments, None without one."""
        if nowait:
            self.send(name, *args)
            return None
        return self.call(name, *args)[1]

    def select_confirms(self, method: Method, frame: bytes, nowait: bool) -> None:
        """Send confirm.select; publishes that go behind it are counted, and none before it."""
        counting = self.port.books is None
        if not nowait:
            self.ask(method, frame, event="counting" if counting else "")
            return
        try:
            self.sending.send(frame, counting)
            return
        except Over:
            pass
        raise self.over()

    def ask(
        self,
        method: Method,
        frame: bytes,
        timeout: Optional[float] = None,
        answered: Optional[Callable[[Tuple[Any, ...]], None]] = None,
        event: str = "",
        until: Optional[Deadline] = None,
    ) -> Item:
        """Send the frame of a method and wait for what answers it."""
        driver, timeouts = self.driver, self.driver.timeouts
        deadline = until or (timeouts.answering() if timeout is None else timeouts.deadline(timeout))
        item = self.converse(method.replies, frame, deadline, method.name, answered, event)
        self.port.noted = 0  # a call that meets returned messages does not leave them to wait()
        if driver.notices:
            driver.tell()
        return item

    def converse(
        self,
        expected: Collection[Sig],
        frame: bytes,
        deadline: Deadline,
        name: str,
        answered: Optional[Callable[[Tuple[Any, ...]], None]] = None,
        event: str = "",
    ) -> Item:
        """Send a frame and wait for one of the methods expected."""
        call, calling = Call(expected, threading.get_ident(), answered), self.calling
        try:
            return calling.call(frame, call, deadline, name, event)
        except Over:
            pass
        except BaseException as exc:
            try:
                if isinstance(exc, AMQPTimeoutError):
                    self.driver.tell()  # that the broker takes nothing may be why
            finally:
                self._let_go_if_over()  # nobody waits for the reply any more, so the channel is
            raise
        raise self.cut(calling.driver, call, name, deadline)

    def cut(self, driver: Driver, call: Call, name: str, deadline: Deadline) -> Exception:
        """What to raise for a call that the end of the channel or the connection came before, on this driver."""
        return self.over(name)

    def wait_for(self, take: Callable[[], Any], deadline: Deadline, free: bool = True) -> Any:
        """Read until `take()`, called with the lock held, gives something."""
        try:
            return self.driver.wait_for(take, deadline, free)
        except Over:
            pass
        raise self.over()

    def wait_for_method(self, take: Callable[[], Any], deadline: Deadline) -> Any:
        """The same for wait() and its like, which also raise what the program has to hear of otherwise."""
        return self.wait_for(take, deadline)

    def count_waiting(self, more: int, deliveries: int = 0) -> None:
        """So many more threads wait for any method of the port, or for a delivery: see Port.waiting and Port.taking."""
        self.port.waiting += more
        self.port.taking += deliveries

    def count_draining(self, more: int) -> None:
        """So many more threads wait for any method: see Session.draining."""
        self.driver.session.draining += more

    def publish_again(self, sending: Sending, tag: Optional[int]) -> bool:
        """A publish met the end; tag: what the books have it under, if they do. Has it to be published once more?"""
        raise self.over()

    def counted(self, stats: Stats) -> Stats:
        """With what went over connections before this one."""
        return stats

    # --- batches

    def flush(self) -> None:
        """Send what is gathered."""
        try:
            self.sending.flush()
        except Over:
            pass
        batch = self.port.batch  # perhaps another thread's, which has just begun
        if batch is not None and batch.gathered and self.port.gate is SHUT:
            raise self.over()

    def end_batch(self, batch: Batch) -> None:
        """Send what is gathered, and gather no more."""
        try:
            self.sending.end_batch(batch)
            return
        except Over:
            pass
        except BaseException:
            self._let_go_if_over()
            raise
        raise self.over()

    # --- the end

    def close(self, name: str, args: Tuple[Any, ...], timeout: Optional[float]) -> None:
        """Send a close and wait for the answer: as long as `leaving` says, or for a time that the program has set."""
        driver, leaving, answered = self.driver, self.driver.parting.leaving, True
        timeouts = driver.timeouts
        deadline = leaving.closing_until(timeouts, driver.sent) if timeout is None else timeouts.deadline(timeout)
        try:
            self.call(name, *args, event="closing", until=deadline)
        except AMQPTimeoutError:
            answered = False
            raise
        finally:
            if timeout is None:
                leaving.closed(driver.sent, deadline, answered)
            else:
                leaving.closed_in_time()

    def leave_consumer(self, consumer_tag: str, answered: Callable[[Tuple[Any, ...]], None]) -> None:
        """Cancel the consumer of a loop that is left, perhaps by an exception: within the time for that.

        Where that is not answered the consumer has ended all the same, and the channel goes on; AMQPTimeoutError.
        """
        driver = self.driver
        deadline = driver.parting.leaving.cancelling_until(driver.timeouts, driver.sent)
        self.call("basic.cancel", consumer_tag, False, answered=answered, event=OUTLIVED, until=deadline)

    def unanswered(self) -> None:
        """Something that the program has left was not answered; a close that follows upon it does not wait."""
        driver = self.driver
        driver.parting.leaving.closed(driver.sent, driver.timeouts.deadline(0), False)

    def leave(self, close: Callable[[], None], with_exception: bool) -> None:
        """Close at the end of a with-statement."""
        leaving = self.driver.parting.leaving
        before, leaving.by = leaving.by, (threading.get_ident(), with_exception)
        try:
            close()
        finally:
            leaving.by = before

    def check(self) -> None:
        """Raise why it is over, if it is."""
        if self.port.ending is not None or self.driver.session.control.ending is not None:
            raise self.over()

    def over(self, waiting: str = "") -> AMQPException:
        """The exception that says why it is over. What the peer has said is said once; later calls were too late.

        waiting: the method whose call was waiting for its reply.
        """
        exc = self._over()
        if waiting and exc.amqp_reply_code not in (0, _SHUTDOWN):
            waited(exc, waiting)
        return exc

    def _over(self) -> AMQPException:
        driver, port = self.driver, self.port
        ending = self.end_of_connection()
        if ending is not None:
            self._let_go()
            self.tell_kept()
            return connection_error(ending, driver.where)
        with driver.lock:
            ending, first = port.ending, port.state is ENDED or self._on_over is not None
            if port.state is ENDED:
                port.happen("told", driver.session)
            driver.session.told(ending)
        if ending is None:
            if driver.session.state is CLOSING:
                return ConnectionLostError(0, "this program is closing the connection", where=driver.where)
            return self._closed("another thread is closing it")
        self._let_go()
        if first and ending.by is BY_PEER:
            return channel_error(ending, self.where)
        return self._closed(ending.words)

    def end_of_connection(self) -> Optional[Ending]:
        """Why the connection is over, once it is."""
        return self.driver.session.ending

    def _closed(self, why: str) -> AMQPException:
        if not self.port.number:
            return ConnectionLostError(0, why, where=self.where)
        return ChannelClosedError(0, "channel %d is closed: %s" % (self.port.number, why), (0, 0), self.where)

    def objections(self) -> List[AMQPChannelException]:
        """What the peer has closed channels of the connection for and nobody was told yet, in order; it is told now."""
        driver = self.driver
        with driver.lock:
            objections, driver.session.objections = driver.session.objections, []
        return [channel_error(ending, driver.name_of(number)) for number, ending in objections]

    def abandon(self, words: str) -> None:
        """Give it up: nobody waits for what may still arrive."""
        self.driver.abandon(self.port, words)
        self._let_go()

    def tell_kept(self) -> None:
        """The program is told that the connection is over: on a channel, or on the connection, which is for all."""
        self.kept.clear()
        kept = self.driver.parting.kept
        while kept and not self.port.number:
            kept.pop().clear()

    def why_over(self, port: Optional[Port] = None) -> Optional[AMQPException]:
        """The exception for an end that was not the program's close(), also if the program has been told.

        port: another channel's.
        """
        port = port or self.port
        driver, ending = self.driver, port.ending
        over = self.end_of_connection()
        if over is not None:
            return None if over is CONNECTION_PARTED else connection_error(over, driver.where)
        if ending is None or ending is CHANNEL_PARTED:
            return None
        where = driver.name_of(port.number)
        if ending.by is BY_PEER:
            return channel_error(ending, where)
        return ChannelClosedError(0, "channel %d is closed: %s" % (port.number, ending.words), (0, 0), where)

    def parted(self) -> None:
        """The program has closed it, in good order."""
        self._let_go()

    def _let_go_if_over(self) -> None:
        if self.port.ending is not None:
            self._let_go()

    def _let_go(self) -> None:
        if self.end_of_connection() is not None:
            if self.driver.liveness.interval:
                heartbeat.look_again()  # it may have been the last connection that has any
            _call_once(self.driver.parting, "on_over")
        _call_once(self, "_on_over")

    def is_lost(self) -> bool:
        """Is there no connection for it just now, but will be?"""
        return False

    @property
    def is_over(self) -> bool:
        """Has the program been told that it is over?"""
        return self._on_over is None

    def said(self) -> str:
        """Number, place and state, for the repr() of what has this line. No secrets are in it."""
        state = CLOSED if self.is_over else self.port.state
        number = "%d of" % self.port.number if self.port.number else "to"
        return printable("%s %s: %s" % (number, self.driver.where, state.name.lower()))

    def __repr__(self) -> str:
        return "<%s>" % self.said()


def _call_once(owner: Any, name: str) -> None:
    """Call what the owner has under this name, and have it no more; unless an exception from outside cuts it off."""
    function = getattr(owner, name)
    if function is not None:
        setattr(owner, name, None)
        try:
            function()
        except BaseException:
            setattr(owner, name, function)
            raise
