"""The line of a channel, or of the connection, that goes on after the network connection was lost.

Where a plain line raises why the connection is over, this one waits until there is another, in the deadline of whoever
called, and tries again what can be tried again. While there is a connection it does what a plain line does.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Tuple

from ...protocol.carried import LaterSession
from ...protocol.endings import CHANNEL_PARTED, Ending, Over
from ...protocol.gates import Batch
from ...protocol.port import Call, Item, Port
from ...wire.spec import Method
from ..calling import Calling
from ..connect.secret import hide_made_of
from ..deadline import Deadline
from ..driver import Driver
from ..exceptions import (
    AMQPTimeoutError,
    ConnectionLostError,
    InterruptedCallError,
    StaleDeliveryError,
    TransactionLostError,
)
from ..line import Line
from ..logger import LOGGER
from ..method_names import api_name
from ..sending import Sending
from ..stats import Stats
from ..threads import threading
from .refused import go_on

if TYPE_CHECKING:
    from .policy import Recovery
    from .reviver import Reviver

__all__ = ["RecoveringLine"]

#: Calls that may be made twice: the second time they change nothing more, or what they were for is lost anyway.
_HARMLESS = frozenset(
    (
        "access.request",
        "basic.cancel",
        "basic.consume",
        "basic.qos",
        "channel.close",
        "channel.flow",
        "channel.open",
        "confirm.select",
        "exchange.bind",
        "exchange.declare",
        "exchange.unbind",
        "queue.bind",
        "queue.declare",
        "queue.unbind",
        "tx.rollback",
        "tx.select",
    )
)

#: Methods for a delivery of the present session.
_SETTLING = frozenset(("basic.ack", "basic.nack", "basic.reject"))

#: Methods that mean nothing in another session: answers to what the peer has said in that one, and a call for messages
#: that come again in any case.
_OF_ITS_SESSION = frozenset(("basic.cancel_ok", "basic.recover_async", "channel.flow_ok"))


class _Again(Exception):
    """A call was cut off, and there is another connection. Not for programs."""

    def __init__(self, sent: bool) -> None:
        super().__init__()
        #: May the peer have got it?
        self.sent = sent


def _stale(recovery: Recovery, tag: int, where: str) -> bytes:
    """What there is to send for a delivery of a session that is gone: nothing."""
    if recovery.stale_acks == "raise":
        text = "the connection that delivered the message with delivery tag %d was lost: the broker has taken it back, "
        text += "and delivers it again. Nothing was sent"
        raise StaleDeliveryError(0, text % tag, (0, 0), where)
    LOGGER.debug("%s: delivery tag %d is of a connection that was lost: ignored", where, tag)
    return b""


class RecoveringLine(Line):
    """The way of one channel's methods to the peer and back, over one network connection after the other."""

    __slots__ = ("__weakref__", "is_open", "reviver", "void")

    def __init__(self, driver: Driver, port: Port, on_over: Callable[[], None], reviver: Reviver) -> None:
        super().__init__(driver, port, on_over)
        self.reviver = reviver
        #: Has the peer opened the channel once?
        self.is_open = False
        #: Was a transaction lost, and its program not told?
        self.void = False
        self._equip(driver)

    # --- one network connection after the other

    def for_channel(self, port: Port, on_over: Callable[[], None]) -> Line:
        """With the lock held: the line of a channel of this connection."""
        line = RecoveringLine(self.driver, port, on_over, self.reviver)
        self.reviver.add(line)
        return line

    def opened(self) -> None:
        """The peer has opened it."""
        with self.driver.lock:
            super().opened()
            self.is_open = True

    def move(self, driver: Driver, port: Port) -> None:
        """With the lock held: go on with another network connection.

        Other threads look at these without the lock, hence the order. What makes frames is before `sending`: see
        Line.emit. That is before `port`, so that whoever takes a message from the port acknowledges it over the same
        network connection. And that is before `driver`, so that check() finds the former one lost, and not the line.
        """
        before = self.sending
        self._equip(driver)
        self.calling = Calling(driver, port)
        sending = Sending(driver, port)
        sending.succeed(before)
        self.sending = sending
        self.port = port
        self.driver = driver
        go_on(port.books, driver)

    def _equip(self, driver: Driver) -> None:
        # none of these holds the line, which is to go with its last reference
        session, recovery = driver.session, self.reviver.recovery
        sender = session.sender
        publish = self.publish_frames = sender.publish
        if recovery.message_ids:

            def identified(args: Tuple[Any, ...], properties: Dict[str, Any], body: bytes) -> Any:
                if properties.get("message_id") is None:
                    properties["message_id"] = str(uuid.uuid4())
                return publish(args, properties, body)

            self.publish_frames = identified
        self.ack_frame = sender.ack
        if isinstance(session, LaterSession):
            later, where, base, ack = session, self.where, session.base, sender.ack

            def translated(channel: int, delivery_tag: int, multiple: bool) -> bytes:
                if type(delivery_tag) is int and delivery_tag > base:  # most often
                    return ack(channel, delivery_tag - base, multiple)
                if later.dead(delivery_tag):
                    return _stale(recovery, delivery_tag, where)
                return later.ack(channel, delivery_tag, multiple)

            self.ack_frame = translated

    @property
    def alive(self) -> bool:
        """Is it over for no other reason than the end of its network connection, if it is?"""
        ending = self.port.ending
        return not self.is_over and (ending is None or ending is self.driver.session.ending)

    def is_lost(self) -> bool:
        """Is there no connection for it just now, but will be?"""
        return self._lost_with(self.driver)

    def _lost_with(self, driver: Driver) -> bool:
        """After Over on a driver: was its network connection lost, and will there be another for this line?"""
        ending = driver.session.ending
        return ending is not None and self.alive and self.reviver.hopes(ending)

    def come_back(self, driver: Driver, deadline: Deadline, enough: Optional[Callable[[], bool]] = None) -> None:
        """After Over on a driver: wait until there is another. Raises what it means if there will be none.

        enough: called with the lock held; when it is true the wait is over as well. AMQPTimeoutError at the deadline;
        the connection is brought back all the same.
        """
        driver.refuse_nested("another call")
        if not self._lost_with(driver):
            raise self.over()
        if not self.reviver.await_return(self, deadline, enough) or not self.alive:
            raise self.over()

    def end_of_connection(self) -> Optional[Ending]:
        """Why the connection is over for good, once it is."""
        ending = self.driver.session.ending
        return None if ending is None or self.reviver.hopes(ending) else ending

    def _let_go(self) -> None:
        is_all = self.end_of_connection() is not None or not self.port.number
        if not is_all:
            self.reviver.drop(self)
        super()._let_go()
        if is_all:
            self.reviver.let_go()

    def _let_go_if_over(self) -> None:
        if not self.is_lost():
            super()._let_go_if_over()

    def check(self) -> None:
        """Raise why it is over, if it is, and for good."""
        if self.port.ending is None and self.driver.session.control.ending is None:
            return  # most often
        if not self.is_lost():
            super().check()

    # --- out

    def frame(self, name: str, *args: Any) -> bytes:
        """The frame of a method, with the peer's names and tags; b"" where there is nothing to say to the peer."""
        if name in _SETTLING:
            session = self.sending.driver.session  # see move()
            if isinstance(session, LaterSession):
                if session.dead(args[0]):
                    return _stale(self.reviver.recovery, args[0], self.where)
                args = (session.of_peer(args[0]), *args[1:])
            return super().frame(name, *args)
        return super().frame(name, *self._on_wire(self.method(name), args))

    def _on_wire(self, method: Method, args: Tuple[Any, ...]) -> Tuple[Any, ...]:
        return self.reviver.topology.on_wire(self.port.number, method, args)

    def _happened(self, name: str, args: Tuple[Any, ...], reply: Tuple[Any, ...] = ()) -> None:
        with self.driver.lock:
            self.reviver.topology.happened(self.port.number, self.method(name), args, reply)

    def send(self, name: str, *args: Any) -> None:
        """Send a method that nothing answers."""
        if name in _SETTLING:
            sending = self.sending  # first: see Line.emit
            self.check()
            self.emit(self.frame(name, *args), sending)
            return
        deadline = self.driver.timeouts.answering()
        while True:
            self.check()
            sending = self.sending
            frame = self.frame(name, *args)
            if self._sent(lambda: sending.send(frame)):  # noqa: B023
                break
            if name in _OF_ITS_SESSION and self.is_lost():
                return
            self.come_back(sending.driver, deadline)
        self._happened(name, args)

    def _sent(self, send: Callable[[], Any]) -> bool:
        """False for the end of the connection, or of the channel."""
        try:
            send()
            return True
        except AMQPTimeoutError:
            self.driver.tell()
            raise
        except Over:
            return False

    def emit(self, frame: bytes, sending: Optional[Sending] = None, one: bool = False) -> None:
        """Send, or gather, the frame of an acknowledgement, which no other session than its own is to get."""
        sending = sending or self.sending
        if not frame:
            return
        try:
            if one:
                sending.ack(frame)
            else:
                sending.send(frame)
            return
        except AMQPTimeoutError:
            self.driver.tell()
            raise
        except Over:
            pass
        if not self._lost_with(sending.driver):
            raise self.over()
        if self.reviver.recovery.stale_acks == "raise":
            text = "the connection was lost before the acknowledgement could be sent: the broker delivers again what "
            text += "it was for"
            raise StaleDeliveryError(0, text, (0, 0), self.where)

    def give_back(self, tag: int) -> None:
        """Reject a message that the program was not given; one of a session that is gone has gone back by itself."""
        try:
            super().give_back(tag)
        except StaleDeliveryError:
            pass

    # --- calls

    def call(
        self,
        name: str,
        *args: Any,
        timeout: Optional[float] = None,
        answered: Optional[Callable[[Tuple[Any, ...]], None]] = None,
        event: str = "",
        until: Optional[Deadline] = None,
    ) -> Item:
        """Send a method and wait for what answers it; again, on another connection, where that is harmless."""
        timeouts = self.driver.timeouts
        deadline = until or (timeouts.answering() if timeout is None else timeouts.deadline(timeout))
        if self.void and name in ("tx.commit", "tx.rollback"):
            self.void = False
            if name == "tx.commit":
                self.call("tx.rollback", until=deadline)  # what has been published since belongs to what is lost
                text = "the transaction is void: the connection was lost in the middle of it, and is back. Nothing of "
                text += "it has taken effect: do all of it again"
                raise TransactionLostError(0, text, self.method(name).sig, self.where)
        topology = self.reviver.topology
        method = self.method(name)

        def noted(reply: Tuple[Any, ...]) -> None:
            # as it arrives: whatever comes afterwards, a loss or an exception, it has happened
            topology.happened(self.port.number, method, args, reply)
            if answered is not None:
                answered(reply)

        while True:
            self.check()
            if name == "basic.cancel" and self._cancelled(args, answered):
                return (0, 0), (), None
            number = self.port.number
            frame = self.driver.session.sender.method(number, method, topology.on_wire(number, method, args))
            sent = hide_made_of(args, frame)
            try:
                item = self.ask(method, sent, answered=noted, event=event, until=deadline)
                break
            except _Again as again:
                cut = again.sent
            if name == "tx.commit":
                self.void = False  # which is what is said now
            if cut and name not in _HARMLESS:
                raise self._interrupted(name)
            method = self.method(name)  # of another connection, which may speak another dialect
        if name == "tx.rollback":
            self.void = False
        return item

    def leave_consumer(self, consumer_tag: str, answered: Callable[[Tuple[Any, ...]], None]) -> None:
        """The same; and it is not begun again, answered or not."""

        def ended(reply: Tuple[Any, ...]) -> None:
            self.reviver.topology.ended(self.port.number, consumer_tag)
            answered(reply)

        super().leave_consumer(consumer_tag, ended)

    def _cancelled(self, args: Tuple[Any, ...], answered: Optional[Callable[[Tuple[Any, ...]], None]]) -> bool:
        """While there is no connection a consumer can be ended at once: it is just not begun again."""
        with self.driver.lock:
            if not self.is_lost():
                return False
            self.reviver.topology.ended(self.port.number, args[0])
            if answered is not None:
                answered(())
            return True

    def get(self, *args: Any) -> Item:
        """The same for basic.get. A message that was on its way is in its queue again, unless no_ack was set."""
        deadline = self.driver.timeouts.answering()
        while True:
            session = self.driver.session
            method = session.dialect["basic.get"]
            frame = session.sender.get(self.port.number, self._on_wire(method, args))
            try:
                return self.ask(method, frame, until=deadline)
            except _Again as again:
                cut = again.sent
            if cut and args[2]:
                raise self._interrupted(method.name)

    def select_confirms(self, method: Method, frame: bytes, nowait: bool) -> None:
        """Send confirm.select; publishes that go behind it are counted, and none before it."""
        deadline = self.driver.timeouts.answering()
        while True:
            counting = self.port.books is None
            if nowait:
                sending = self.sending
                if self._sent(lambda: sending.send(frame, counting)):  # noqa: B023
                    return
                self.come_back(sending.driver, deadline)
                continue
            try:
                self.ask(method, frame, event="counting" if counting else "", until=deadline)
                return
            except _Again:
                pass

    def cut(self, driver: Driver, call: Call, name: str, deadline: Deadline) -> Exception:
        """What to raise for a call that the end of the channel or the connection came before, on this driver."""
        if name == "connection.close" or not self._lost_with(driver):
            return self.over(name)
        self.come_back(driver, deadline)
        return _Again(call.sent)

    def _interrupted(self, name: str) -> InterruptedCallError:
        text = "the connection was lost while %s was waiting, and is back. Whether the broker has carried it out is "
        text += "not known, so it was not repeated"
        return InterruptedCallError(0, text % api_name(name), self.method(name).sig, self.where)

    # --- in

    def wait_for(self, take: Callable[[], Any], deadline: Deadline, free: bool = True) -> Any:
        """Read until `take()`, called with the lock held, gives something, over whatever connections that takes."""
        while True:
            driver = self.driver
            try:
                return driver.wait_for(take, deadline, free)
            except Over:
                pass
            self.come_back(driver, deadline)

    def wait_for_method(self, take: Callable[[], Any], deadline: Deadline) -> Any:
        """The same. Raises a RecoveryError for what could not be declared again, once."""
        found: List[Any] = []

        def enough() -> bool:
            """While there is no connection: is it here, or has the loop of the program nothing to wait for any more?"""
            try:
                item = take()
            except Over:
                return False
            if item is not None:
                found.append(item)
            return item is not None

        while True:
            error = self.reviver.untold(self.port.number)
            if error is not None:
                raise error
            driver = self.driver
            try:
                return driver.wait_for(take, deadline, True)
            except Over:
                pass
            self.come_back(driver, deadline, enough)
            if found:
                return found[0]

    def count_waiting(self, more: int, deliveries: int = 0) -> None:
        """So many more threads wait for any method of the port, or for a delivery."""
        with self.driver.lock:
            super().count_waiting(more, deliveries)

    def count_draining(self, more: int) -> None:
        """So many more threads wait for any method."""
        with self.driver.lock:
            self.driver.session.draining += more

    # --- publishes

    def publish_again(self, sending: Sending, tag: Optional[int]) -> bool:
        """A publish met the end; tag: what the books have it under, if they do. Has it to be published once more?

        What is in the books is sent again with all else that is.
        """
        if not self._lost_with(sending.driver):
            raise self.over()
        if tag is not None:
            return False
        if self.reviver.recovery.publishes == "raise" and self.is_lost():
            self.reviver.begin()
            text = "nothing was published: there is no connection for the time being"
            raise ConnectionLostError(0, text, (0, 0), self.where)
        self.come_back(sending.driver, sending.until())
        return True

    def flush(self) -> None:
        """Send what is gathered; what is lost is told at the end of the batch."""
        self._sent(self.sending.flush)

    def end_batch(self, batch: Batch) -> None:
        """Send what is gathered, and gather no more.

        What is in the books is sent again if need be. Other messages are lost with the connection, which is raised.
        """
        with self.driver.lock:
            sending, here = self.sending, self.port.batch is batch
        if here:
            try:
                self._sent(lambda: sending.end_batch(batch))
            except BaseException:
                self._let_go_if_over()
                raise
            ending = sending.driver.session.ending
            if ending is None and self.port.ending is not None:
                raise self.over()
            if ending is not None and not self.reviver.hopes(ending):
                raise self.over()
        if batch.lost:
            text = (
                "the connection was lost before all of a batch() had been sent, and messages in it are lost: without "
            )
            text += "confirm_select() nobody knows which"
            raise InterruptedCallError(0, text, (0, 0), self.where)

    # --- the end

    def close(self, name: str, args: Tuple[Any, ...], timeout: Optional[float]) -> None:
        """Send a close and wait for the answer. The connection's ends all attempts to bring it back."""
        if self.port.number:
            me = threading.get_ident()
            with self.driver.lock:
                if self.is_lost() and timeout is None and self.driver.parting.leaving.by == (me, True):
                    # an exception is on its way, and the broker has closed the channel anyway
                    self.port.ending = CHANNEL_PARTED
            super().close(name, args, timeout)
            return
        self.reviver.stop()
        try:
            super().close(name, args, timeout)
        except ValueError:
            self.reviver.go_on()  # nothing was sent
            raise

    def counted(self, stats: Stats) -> Stats:
        """With what went over connections before this one."""
        return self.reviver.counted(stats)
