"""Channels: what arrives and is handled, consumers, publishing, and the end.

The plain methods, that send something and wait for the answer, are in `channel_methods`; errors are explained there.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from contextlib import contextmanager
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ClassVar,
    Collection,
    Deque,
    Dict,
    Generator,
    Generic,
    Iterator,
    List,
    Optional,
    Tuple,
    Union,
    cast,
)

from ..protocol.confirms import Back, Confirms, Unsafe
from ..protocol.endings import BY_PROGRAM, CHANNEL_PARTED, CONNECTION_PARTED, Ending, Over
from ..protocol.port import DELIVER, RETURN, Item
from ..wire.content import Oversize
from ..wire.errors import UnknownPropertyError
from ..wire.spec import Sig, sig_of
from .abstract_channel import AbstractChannel
from .channel_methods import Arguments, ChannelMethods
from .computed import computed
from .confirming import Account, await_confirms, report_all
from .consuming import Consumer, Consumers, expects, give_back_at_once, give_back_unseen, warn_of_offset
from .deadline import Deadline
from .exceptions import AMQPException, AMQPTimeoutError, ChannelClosedError, NestedCallError
from .functions import Callback, check_functions, name_after
from .handlers import METHOD_MAP, end_consumer
from .lapse import Lapse
from .line import Line
from .logger import LOGGER
from .message import GenericContent, MessageT, decode_body, encode_body, no_message
from .queues import Alerts, ReturnedMessages

if TYPE_CHECKING:
    from ..protocol.timing import ConfirmTime
    from .connection import Connection

__all__ = ["Channel"]

#: In the place of a method: what was waited for is there already.
_NOTHING: Sig = (0, 0)
_HERE: Item = _NOTHING, (), None

#: In the place of a returned message that the program has taken already.
_NOTED: Item = (RETURN, (), None)

_GET_EMPTY = sig_of("basic.get_empty")


class Channel(ChannelMethods, Generic[MessageT]):
    """One channel of a connection; made by Connection.channel().

    connection: an open Connection.
    channel_id: 1 to connection.channel_max; None takes the lowest free number.
    auto_decode: decode bodies that have a content_encoding to str.

    Attributes: `channel_id` and `connection` (None once closed), `is_open`, `active` (False while the server asks for
    no messages), `default_ticket`, `callbacks` (consumer tag -> callback), `returned_messages` (a queue.Queue of (reply
    code, reply text, exchange, routing key, Message)), `alerts` (a queue.Queue of (reply code, reply text, details))
    and `unconfirmed`, which outlive the channel; `on_return`, a function that wait() calls with the five things that
    returned_messages has for each message that comes back.
    """

    connection: Optional[Connection] = None
    channel_id: Optional[int] = None
    is_open = False

    #: Is a callback that cannot be called refused where it is given?
    _amqplib_refuses: ClassVar[bool] = True

    on_return = Callback["Callable[[int, str, str, str, MessageT], Any]"]()

    _METHOD_MAP: ClassVar[Dict[Sig, Callable[..., Any]]] = METHOD_MAP

    def __init__(self, connection: Connection, channel_id: Optional[int] = None, auto_decode: bool = True) -> None:
        whole = connection._amqplib
        whole.check()
        highest = connection.channel_max
        if channel_id is not None and not (isinstance(channel_id, int) and 0 < channel_id <= highest):
            raise ValueError("channel_id: %r: %s has channels 1 to %d" % (channel_id, whole.where, highest))
        deliver = self._METHOD_MAP[DELIVER]
        with whole.driver.lock:
            port = whole.driver.session.allot(channel_id, highest)
            if port is not None:
                line = self._amqplib = whole.another(port, self._do_close)
                line.consumers = Consumers(deliver, deliver is not METHOD_MAP[DELIVER])
        if port is None and channel_id is None:
            raise ValueError("all %d channels of %s are in use" % (highest, whole.where))
        if port is None:
            raise ValueError("channel %d of %s is in use" % (channel_id or 0, whole.where))
        self.connection = connection
        self.channel_id = port.number
        self.auto_decode = auto_decode
        self.active = True
        self.default_ticket = 0
        self.callbacks: Dict[str, Optional[Callable[[MessageT], Any]]] = {}
        self.alerts: queue.Queue[Tuple[int, str, Dict[str, Any]]] = Alerts()
        self.returned_messages: queue.Queue[Tuple[int, str, str, str, MessageT]] = ReturnedMessages(self)
        self.on_return = None
        port.keep_returned = self._amqplib_keep_returned
        port.consumers, port.give_back = line.consumers.running, partial(give_back_at_once, line)
        port.expects = self._amqplib_expects
        port.wants_ack = line.consumers.wants_ack
        self.is_open = True
        try:
            line.call("channel.open", "")
        except BaseException:
            driver = line.driver
            if driver.session.ending is not None:  # which is told to whoever has the connection
                whole.tell_kept()
            if self.is_open:  # nothing was sent
                with driver.lock:
                    line.port.ending = Ending(BY_PROGRAM, 0, "it was never opened")
                    line.port.happen("parted", driver.session)
                    driver.session.free(line.port)
                line.parted()
            raise
        line.opened()
        if connection.channels is not None:
            connection.channels[port.number] = self
        LOGGER.debug("%s is open", line.where)

    # --- what arrives

    def wait(self, allowed_methods: Optional[Collection[Sig]] = None, timeout: Optional[float] = None) -> Any:
        """Handle ONE method that the server has sent for this channel, waiting until there is one.

        A delivery calls its consumer's callback, in this thread. Returns what the handler returns, which is None for
        all that servers send. `allowed_methods`, (class id, method id) pairs of AMQP 0-8, limits what is handled;
        others stay for a later wait(). Also raises what the callback raises, and AMQPTimeoutError when nothing has come
        for `timeout` seconds; the channel stays usable.

        Handles nothing and returns None, once in each thread, when the channel's last consumer has ended by something
        else than what this thread has handled: so `while ch.callbacks: ch.wait()` ends, whoever calls basic_cancel().
        Likewise when this thread has tested `unconfirmed`, `returned_messages.empty()` or the connection's `blocked`
        before, and another one has read since what makes the test say something else.
        When a callback has kept to itself that the channel or the connection is over, it is raised here.
        """
        line, item = self._amqplib, None
        if allowed_methods is None:
            try:  # a deque: no lock is needed to take from it
                item = line.port.inbox.popleft()
            except IndexError:
                pass
        sig, args, msg = item or self._amqplib_next(allowed_methods, line.driver.timeouts.deadline(timeout))
        if sig is DELIVER:
            if self.auto_decode and "content_encoding" in msg.properties:
                decode_body(msg)
            result = line.consumers.deliver(self, args, msg)
        elif sig is _NOTHING:
            return None
        else:
            result = self._amqplib_dispatch(sig, args, msg)
        if line.consumers.look:
            self._amqplib_look()
        return result

    def _amqplib_look(self) -> None:
        """A method has been handled, and a loop may test `callbacks` next, which may be empty."""
        line = self._amqplib
        if line.consumers.stopping:
            self._amqplib_stop()
        self._amqplib_knows()
        if not self.is_open and line.why_over() is not None:
            line.kept.clear()  # a callback has kept it to itself: that is no end to be content with
            raise line.why_over() or line.over()

    def _amqplib_knows(self) -> None:
        """This thread knows that the last consumer has ended, if it has: neither wait() nor drain_events() tells it."""
        for lapse in self._amqplib_lapses():
            lapse.is_known()

    def _amqplib_lapses(self) -> List[Lapse]:
        """The end of the last consumer, for wait() and for drain_events(), if that is what came last."""
        line = self._amqplib
        both = line.consumers.lapse, line.driver.parting.lapse
        return [lapse for lapse in both if lapse is not None and lapse.port is line.port]

    def _amqplib_next(
        self, allowed: Optional[Collection[Sig]], deadline: Deadline, here: Callable[[], bool] = lambda: False
    ) -> Item:
        line, port = self._amqplib, self._amqplib.port
        if not self.is_open:
            raise line.over()
        held, counts_returned = line.consumers, int(allowed is None or RETURN in allowed)
        counts_deliveries = allowed is None or DELIVER in allowed
        if port.noted and not self.returned_messages.queue:  # empty() would wait for a put() that a signal interrupted
            port.noted = 0  # the program has had them already

        def take() -> Optional[Item]:
            port = line.port  # now: it may be another one after a loss
            if here() or held.stopping:
                return _HERE
            if counts_returned and port.next_noted():
                return _NOTED
            item = port.next(allowed)
            if item is None:
                # a connection that may come back is no end of a loop, but to be told of it may be
                if port.ending is not None and not line.is_lost():
                    raise Over
                if held.lapse is not None and counts_deliveries and held.lapse.is_news(line.driver.sent):
                    return _HERE
                if port.ending is not None:
                    raise Over
                if counts_returned and line.driver.tested.is_past(port, line.driver.session.control):
                    return _HERE
            return item

        line.count_waiting(counts_returned, counts_deliveries)
        try:
            item: Item = line.wait_for_method(take, deadline)
        finally:
            line.count_waiting(-counts_returned, -counts_deliveries)
        if held.stopping and item is _HERE:
            self._amqplib_stop()
            self._amqplib_knows()
        return item

    def _amqplib_keep_returned(self, args: Tuple[Any, ...], msg: Any) -> Union[bool, Back]:
        if self._METHOD_MAP.get(RETURN) is not METHOD_MAP[RETURN]:
            return True  # the program's own handler
        back = Back((*args, msg))
        back.told = self.on_return is not None
        if not back.told or self._amqplib.driver.session.raw is not None:
            self.returned_messages.put(back)
        return back

    def _amqplib_expects(self, item: Item) -> bool:
        return expects(self._amqplib, self.callbacks, item)  # which a program may replace

    def _amqplib_tell(self, line: Line) -> None:
        """Call the program's functions for messages that came back, and for all that has been settled."""
        while self.on_return is not None and line.driver.session.raw is None:
            with line.driver.lock:
                item = line.port.next((RETURN,))
            if item is None:
                break
            self._amqplib_dispatch(*item)
        books = line.port.books
        if line.port.reminder is not None or (books is not None and books.reports):
            report_all(line)

    def _amqplib_collect(self, collect: Callable[[], Unsafe]) -> Account:
        """With the lock held: what the books have to tell, and nothing else then tells."""
        unsafe, books = collect(), self._amqplib_books()
        returned = self.returned_messages
        backs, books.reported = books.reported, []
        for back in backs:
            if isinstance(returned, ReturnedMessages):  # a program may have set another one
                returned.drop(back)
        return Account(*unsafe, backs)

    # --- the end

    def close(
        self, reply_code: int = 0, reply_text: str = "", method_sig: Sig = (0, 0), timeout: Optional[float] = None
    ) -> None:
        """Close the channel; a second time does nothing.

        Once this returns, everything that was sent on the channel has been received by the server. AMQPTimeoutError
        when that is not certain after `timeout` seconds, or the connection's reply_timeout; the channel is over then.
        """
        line = self._amqplib
        if not self.is_open:
            line.kept.clear()
            return
        line.check()
        try:
            line.close("channel.close", (reply_code, reply_text, *method_sig), timeout)
        except ChannelClosedError:
            if line.port.ending is not CHANNEL_PARTED:
                raise
            return  # another thread has closed it meanwhile
        except (AMQPTimeoutError, NestedCallError) as exc:
            if self.is_open:  # it has not been sent
                line.abandon("by this program: %s came before the server could be told" % type(exc).__name__)
                left = line.driver.parting.left
                line.driver.parting.left = left and left._replace(sent=line.driver.sent)
            raise
        line.parted()

    def _do_close(self) -> None:
        """Let go of the connection and of all that waits, when the channel or the connection is over."""
        self.is_open = False
        line = self._amqplib
        connection, self.connection, self.channel_id = self.connection, None, None
        if connection is not None and connection.channels is not None:
            connection.channels.pop(line.port.number, None)
        callbacks, self.callbacks = self.callbacks, {}
        over = line.driver.session.ending
        if over is not None and over is not CONNECTION_PARTED:
            # perhaps it is another channel's program that was told, and a loop of this one's is not to end as if all
            # were done
            self.callbacks = line.kept = dict.fromkeys(callbacks)
            line.driver.parting.kept.append(line.kept)
        # what these belong to most likely has the channel
        self.on_return = None
        line.driver.parting.let_go = threading.get_ident(), line.port
        with line.driver.lock:
            line.driver.tested.forget(line.port)
            line.consumers.clear()
            if self._METHOD_MAP.get(RETURN) is METHOD_MAP[RETURN] and line.driver.session.raw is None:
                for sig, args, msg in line.port.inbox:
                    if sig is RETURN and msg is not None:  # on_return was not called in time
                        self.returned_messages.put((*args, msg))
            line.port.let_go()
        ending = line.port.ending
        LOGGER.debug("%s is closed: %s", line.where, ending.words if ending else "the connection is over")

    # --- class channel

    def flow(self, active: bool) -> bool:
        """Ask the server to stop (False) or go on (True) sending deliveries; what it says it does.

        RabbitMQ >= 3 refuses False with 540 NOT_IMPLEMENTED, which ends the connection: use basic_qos().
        """
        return bool(self._amqplib.call("channel.flow", active)[1][0])

    # --- class basic: consumers

    def basic_consume(
        self,
        queue: str = "",
        consumer_tag: str = "",
        no_local: bool = False,
        no_ack: bool = False,
        exclusive: bool = False,
        nowait: bool = False,
        callback: Optional[Callable[[MessageT], Any]] = None,
        ticket: Optional[int] = None,
        arguments: Arguments = None,
        on_cancel: Optional[Callable[[str], Any]] = None,
    ) -> str:
        """Have the queue's messages delivered to callback(message) inside wait(); the consumer tag.

        consumer_tag: '' lets the server make one up. no_ack: the server forgets a message as it sends it, so that
        one is lost when this program fails; otherwise each has to be given to basic_ack(). exclusive: nobody else
        may consume from the queue. no_local: nothing that this connection has published (RabbitMQ ignores it).
        arguments (0-9-1): a dict, such as {'x-priority': 10} or, for a stream, {'x-stream-offset': 'first'}; there an
        int is the number of a message, and a datetime a time.
        on_cancel: called with the tag, inside wait(), when the server ends the consumer, as it does when the queue is
        deleted; the tag has left `callbacks` then. Without a callback the deliveries are taken and dropped.
        """
        check_functions(callback=callback if self._amqplib_refuses else None, on_cancel=on_cancel)
        if callable(consumer_tag):
            raise ValueError("consumer_tag: %.100r is a function: write callback=" % (consumer_tag,))
        return self._amqplib_subscribe(
            Consumer(consumer_tag, no_ack, arguments, on_cancel),
            callback,
            queue,
            no_local,
            exclusive,
            nowait,
            ticket,
            arguments,
        )

    def _amqplib_subscribe(
        self,
        consumer: Consumer,
        callback: Optional[Callable[[MessageT], Any]],
        queue: str,
        no_local: bool,
        exclusive: bool,
        nowait: bool,
        ticket: Optional[int],
        arguments: Arguments,
    ) -> str:
        line, tag = self._amqplib, consumer.tag
        if arguments:
            warn_of_offset(line, arguments)
        args: Tuple[Any, ...] = self._amqplib_ticket(ticket), queue, tag, no_local, consumer.no_ack, exclusive, nowait
        if len(line.method("basic.consume").fields) > len(args):
            args += (arguments,)
        elif arguments:
            raise line.not_in_dialect("arguments of basic.consume")

        def begin(reply: Tuple[Any, ...]) -> None:
            consumer.tag = reply[0]
            self.callbacks[consumer.tag] = callback
            line.consumers.begin(consumer)
            if line.driver.parting.lapse is not None and line.driver.parting.lapse.port is line.port:
                line.driver.parting.lapse = None

        if not nowait:
            line.call("basic.consume", *args, answered=begin)
            return consumer.tag
        line.check()
        nobody: Any = object()
        before = self.callbacks.get(tag, nobody)
        self.callbacks[tag] = callback
        try:
            line.send("basic.consume", *args)
        except (ValueError, AMQPTimeoutError):  # nothing was sent
            self.callbacks.pop(tag, None)
            if before is not nobody:
                self.callbacks[tag] = before
            raise
        with line.driver.lock:
            begin((tag,))
        return tag

    def basic_cancel(self, consumer_tag: str, nowait: bool = False) -> None:
        """End a consumer; its tag leaves `callbacks`. What was given to its callback stays to be acknowledged.

        What had come and was not handled yet goes back to the queue; with no_ack it is lost, and a warning says so.
        """
        line = self._amqplib

        def cancel(end: Callable[..., None]) -> None:
            if nowait:
                line.send("basic.cancel", consumer_tag, nowait)
                line.driver.changed(end)
            else:
                line.call("basic.cancel", consumer_tag, nowait, answered=end)

        self._amqplib_end_consumer(consumer_tag, cancel)

    def _amqplib_end_consumer(self, consumer_tag: str, cancel: Callable[[Callable[..., None]], None]) -> None:
        """End a consumer by `cancel`, which calls what it is given when that has happened, with the lock held."""
        line, me, ended = self._amqplib, threading.get_ident(), []

        def end(_: Any = None) -> None:
            ended.append(end_consumer(self, consumer_tag, me))

        late: Optional[AMQPTimeoutError] = None
        try:
            cancel(end)
        except AMQPTimeoutError as exc:
            if not ended:
                raise
            late = exc
        consumer, _callback = ended[0]
        if consumer is not None and not line.consumers.own:  # a program's own handler gets them
            give_back_unseen(self, consumer)
            for lapse in self._amqplib_lapses():
                lapse.is_all(line.driver.sent)
        if late is not None:
            raise late

    def consume(
        self,
        queue: str = "",
        no_ack: bool = False,
        exclusive: bool = False,
        arguments: Arguments = None,
        timeout: Optional[float] = None,
    ) -> Generator[MessageT, None, None]:
        """Iterate over the messages of a queue: `for msg in ch.consume('work'): ...; msg.ack()`.

        The consumer is there when this returns, and errors such as 404 are raised by this call. The iteration ends when
        no message has come for `timeout` seconds since the loop asked for one, or when the server cancels the consumer.
        Leaving the loop, close() of what this returns, and dropping it cancel the consumer as well. Messages that had
        been delivered by then, but not been given to the loop, go back to the queue (with no_ack they are lost: set
        basic_qos() and acknowledge if that matters; a quorum queue counts each return, up to its x-delivery-limit).
        Leaving it waits for the server's answer no longer than the connection's close_timeout, with a warning.
        Other consumers' callbacks of this channel run meanwhile. A stream takes nothing back: say where to begin,
        arguments={'x-stream-offset': 'next'}, so that it is known for one.
        """
        messages = self._amqplib_consume(queue, no_ack, exclusive, arguments, timeout)
        next(messages)  # subscribes: from here on the generator ends the consumer, however it ends itself
        return cast("Generator[MessageT, None, None]", messages)

    def _amqplib_consume(
        self, queue: str, no_ack: bool, exclusive: bool, arguments: Arguments, timeout: Optional[float]
    ) -> Generator[Optional[MessageT], None, None]:
        """None once the consumer is there, and then its messages."""
        line = self._amqplib
        idle = line.driver.timeouts.deadline(timeout)  # ValueError, before there is a consumer
        arrived: Deque[MessageT] = deque()
        consumer = Consumer("", no_ack, arguments, arrived=arrived)
        waits = 0  # the thread that looks into `arrived` before it waits

        def arrive(msg: MessageT) -> None:
            arrived.append(msg)
            if waits != threading.get_ident():  # that thread may have looked already, and sit in poll()
                with line.driver.lock:
                    line.driver.stir()
                if consumer.left:  # since this one was taken from the inbox
                    give_back_unseen(self, consumer)

        tag = self._amqplib_subscribe(consumer, arrive, queue, False, exclusive, False, None, arguments)
        try:
            yield None
            idle, come = line.driver.timeouts.deadline(timeout), lambda: bool(arrived) or tag not in self.callbacks
            while arrived or tag in self.callbacks:
                if line.consumers.stopping:
                    self._amqplib_stop()
                    continue
                try:
                    msg = arrived.popleft()
                except IndexError:  # asked for no permission: another thread may give some of it back
                    msg = None
                if msg is not None:
                    if not no_ack:
                        line.consumers.given[msg.delivery_tag] = None
                    yield msg
                    idle = line.driver.timeouts.deadline(timeout)
                elif idle.expired() and not self._amqplib_delivered_to(tag):
                    break
                else:
                    waits = threading.get_ident()
                    try:  # another thread's wait() may take in what this one is for
                        item = line.port.next() or self._amqplib_next(None, idle, come)
                    except AMQPTimeoutError:
                        if not idle.expired() or line.is_lost():
                            raise  # the program's own timeout, on the socket; or there is no connection
                    else:
                        if item[0] is DELIVER:
                            if self.auto_decode:
                                decode_body(item[2])
                            line.consumers.deliver(self, *item[1:])
                        elif item is not _HERE:
                            self._amqplib_dispatch(*item)
            if not self.is_open or (line.port.ending is not None and not line.is_lost()):
                raise line.over()  # a channel that is lost has no consumers either: that is no end to be content with
        except BaseException:
            # most likely the loop was left, perhaps by an exception, which matters more than what the channel says
            try:
                leave = partial(line.leave_consumer, tag)
                self._amqplib_stop_consuming(consumer, lambda: self._amqplib_end_consumer(tag, leave))
            except (AMQPException, OSError) as exc:
                if isinstance(exc, AMQPTimeoutError):
                    line.unanswered()
                if self.is_open and tag in self.callbacks:  # dropped in the middle of another call, as by a collector
                    LOGGER.warning("%s: consumer %r could not be cancelled and goes on: %s", line.where, tag, exc)
                elif self.is_open and isinstance(exc, AMQPTimeoutError):
                    LOGGER.warning("%s: the end of consumer %r is not waited for any more: %s", line.where, tag, exc)
            raise
        self._amqplib_stop_consuming(consumer, lambda: self.basic_cancel(tag))

    def stop_consuming(self) -> None:
        """End all consumers of this channel, and so the loops of wait(), consume() and drain_events() on it.

        A loop ends after the message in hand, which can still be acknowledged. What had been delivered and not been
        looked at goes back, as after basic_cancel(). Any thread may call this, and a signal handler at any moment:
        where it cannot be served, in the middle of sending, say, the loop does this before it handles another message.
        Consumers that are made later are none of its business. Does nothing on a channel that is over; otherwise raises
        as basic_cancel() does.
        """
        line = self._amqplib
        if not self.is_open:
            return
        try:
            self._amqplib_stop()
        except NestedCallError:
            line.driver.changed(self._amqplib_stop_later)

    def _amqplib_stop(self) -> None:
        """Cancel every consumer; NestedCallError, and they are still to be cancelled, where that cannot be done now."""
        line, me = self._amqplib, threading.get_ident()
        call = line.port.call
        if call is not None and call.thread == me:  # perhaps it is what makes a consumer
            raise line.driver.nested("waiting for a reply on the same channel")
        line.consumers.stopped()
        try:
            for tag in list(self.callbacks):
                self.basic_cancel(tag)
        except NestedCallError:
            self._amqplib_stop_later()
            raise

    def _amqplib_stop_later(self) -> None:
        self._amqplib.consumers.stop()
        self._amqplib.driver.parting.stopping = True

    def _amqplib_delivered_to(self, tag: str) -> bool:
        """Has something come for a consumer that waits in the inbox?"""
        items = list(self._amqplib.port.inbox)  # in one step: other threads may add to it
        return any(sig == DELIVER and args[0] == tag for sig, args, _ in items)

    def _amqplib_stop_consuming(self, consumer: Consumer, cancel: Callable[[], None]) -> None:
        """End a consumer of consume(), and give back what has come for it and was not looked at."""
        if not self.is_open:
            return
        late: Optional[AMQPTimeoutError] = None
        if consumer.tag in self.callbacks:
            try:
                cancel()
            except AMQPTimeoutError as exc:
                if consumer.tag in self.callbacks or not self.is_open:
                    raise
                late = exc
            self._amqplib_knows()
        consumer.left = True
        give_back_unseen(self, consumer)
        if late is not None:
            raise late

    def basic_get(self, queue: str = "", no_ack: bool = False, ticket: Optional[int] = None) -> Optional[MessageT]:
        """One message from the queue, None when it is empty. Unless no_ack is set, it has to be acknowledged.

        AMQPException when its properties are longer than the connection's header_max; the channel stays usable.
        """
        line = self._amqplib
        sig, facts, msg = line.get(self.default_ticket if ticket is None else ticket, queue, no_ack)
        if sig is _GET_EMPTY:
            return None
        delivery_tag, redelivered, exchange, routing_key, message_count = facts
        if type(msg) is Oversize:
            text = "a message was left out, for it has %s: delivery tag %d, from exchange %r with routing key %r. "
            if no_ack:
                text += "The broker has forgotten it, for no_ack was set"
            else:
                text += "It is not acknowledged, and comes again when the channel is closed; "
                text += "basic_reject(%d, False) drops it, or dead-letters it" % delivery_tag
                with line.driver.lock:
                    line.port.left_out.add(delivery_tag)
            text += ". Connect with %s=%d or more to take it"
            what = msg, delivery_tag, exchange, routing_key, msg.option, msg.size
            raise AMQPException(0, text % what, line.method("basic.get").sig, line.where)
        if self.auto_decode and "content_encoding" in msg.properties:
            decode_body(msg)
        msg.delivery_info = {
            "delivery_tag": delivery_tag,
            "redelivered": redelivered,
            "exchange": exchange,
            "routing_key": routing_key,
            "message_count": message_count,
        }
        msg._got_on = self
        if not no_ack:
            line.consumers.given[delivery_tag] = None
        message: MessageT = msg
        return message

    # --- class basic: publishing

    def basic_publish(
        self,
        msg: MessageT,
        exchange: str = "",
        routing_key: str = "",
        mandatory: bool = False,
        immediate: bool = False,
        ticket: Optional[int] = None,
    ) -> Optional[int]:
        """Send a message to an exchange; '' is the default one, which routes to the queue named routing_key.

        The message is with the operating system when this returns. Whether the broker has it, confirm_select() makes
        it say: then this returns the publish's delivery tag, and waits first while the window is full. While the broker
        takes no publishes (connection.blocked) this waits, for the connection's blocked_timeout. mandatory: a message
        that no queue takes comes back into `returned_messages`. immediate: likewise when no consumer takes it at once;
        RabbitMQ >= 3 refuses it with 540, which ends the connection.
        """
        if not isinstance(msg, GenericContent):
            raise no_message(msg)
        line = self._amqplib
        sending = line.sending  # first: what is made for a session is sent in it or not at all
        body = msg.body
        if type(body) is not bytes:
            body = encode_body(msg)
        if ticket is None:
            ticket = self.default_ticket
        port = line.port
        args = port.number, ticket, exchange, routing_key, mandatory, immediate
        properties = msg.properties
        try:
            frames = line.publish_frames(args, properties, body)
        except UnknownPropertyError:  # put into it since it was made
            properties = msg._to_send()
            frames = line.publish_frames(args, properties, body)
        if mandatory or immediate:
            with line.driver.lock:
                port.returnable += 1
        try:
            tag = sending.publish(frames, msg, (exchange, routing_key, body, properties) if mandatory else None)
        except AMQPTimeoutError:
            line.driver.tell()  # that the broker takes nothing may be why
            raise
        except Over as over:
            tag = over.tag
        else:
            if type(frames) is not bytes or not body:  # a message is counted as if it had a body in one frame
                line.driver.output.frames += -1 if isinstance(frames, bytes) else (len(frames) - 1) // 3 - 1
            return tag
        if line.publish_again(sending, tag):
            return Channel.basic_publish(self, msg, exchange, routing_key, mandatory, immediate, ticket)
        return tag

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Inside this with-statement, publishes and acknowledgements of this channel are gathered.

        They leave in pieces of about 64 KB, before anything on this connection waits or this channel sends something
        else, and at the end of the block. That takes a fraction of the time of sending them one by one. Outside of it
        everything has left when the call returns; inside, what has not left yet is lost if the program dies.
        """
        line = self._amqplib
        batch = line.sending.begin_batch()
        if batch is None:  # inside another one: that sends, unless it is another thread's, which may go on for long
            try:
                yield
            finally:
                within = line.port.batch
                if within is not None and within.owner != threading.get_ident():
                    line.flush()
            return
        try:
            yield
        finally:
            line.end_batch(batch)

    # --- publisher confirms (class confirm, 0-9-1; https://www.rabbitmq.com/docs/confirms)

    @computed
    def unconfirmed(self) -> Dict[int, MessageT]:
        """Publishes that the server has not confirmed yet: delivery tag -> message, in the order of publishing.

        Still there after the channel was lost: these are the ones to publish again.
        """
        port, driver = self._amqplib.port, self._amqplib.driver
        books = port.books
        if books is None:
            return {}
        unconfirmed, count = books.unconfirmed, len(books.unconfirmed)
        driver.tested.note(port, "unconfirmed", count > 0, lambda: len(unconfirmed) >= count)
        return unconfirmed

    def confirm_select(
        self,
        nowait: bool = False,
        window: Optional[int] = None,
        on_ack: Optional[Callable[[int, MessageT], Any]] = None,
        on_nack: Optional[Callable[[int, MessageT], Any]] = None,
        timed: bool = False,
    ) -> None:
        """From now on the server confirms every publish on this channel. Cannot be undone, nor be combined with tx.

        window: with so many publishes unconfirmed, basic_publish() waits. on_ack, on_nack: called with the delivery tag
        and the message for each publish that was confirmed or refused, inside wait(), wait_for_confirms() and
        basic_publish_confirm(). Of a mandatory message that came back, which the broker confirms too, `on_return` tells
        instead. A refused one that on_nack was called for in wait() is not reported again. timed: note how long the
        server takes, for confirm_times().
        """
        if window is not None and not (isinstance(window, int) and window > 0):
            raise ValueError("window: %r: a number of publishes, 1 or more, or None for no limit" % (window,))
        check_functions(on_ack=on_ack, on_nack=on_nack)
        line = self._amqplib
        method = line.method("confirm.select")
        line.check()
        frame = line.frame("confirm.select", nowait)
        line.select_confirms(method, frame, nowait)
        books = self._amqplib_books()
        with line.driver.lock:
            books.window, books.on_ack, books.on_nack = window, on_ack, on_nack
            if timed:
                from ..protocol.timing import time_confirms  # not before it is needed

                time_confirms(books, line.driver.clock)

    def confirm_times(self) -> List[ConfirmTime]:
        """How long the server took to confirm publishes: (seconds, acknowledged) for each since this was last called.

        From the publish, inside batch() from when it was gathered, to when the confirm was read. A message that came
        back has none. The latest 10,000 are kept, and can be had when the channel is over, too. ValueError without
        confirm_select(timed=True).
        """
        times = self._amqplib_books().times
        if times is None:
            raise ValueError("confirm_select(timed=True) has not been called on %s" % self._amqplib.where)
        taken: List[ConfirmTime] = times.take()
        return taken

    def _amqplib_books(self) -> Confirms:
        line = self._amqplib
        books = line.port.books
        if books is None:
            line.method("confirm.select")  # which there has to be
            raise ValueError("confirm_select() has not been called on %s" % line.where)
        return books

    def wait_for_confirms(self, timeout: Optional[float] = None) -> None:
        """Wait until the server has confirmed everything that was published on this channel.

        UnconfirmedError, which holds the messages, when it refused some, some came back (and no on_return is set), or
        the channel or connection has ended before; ConfirmTimeoutError, which is also an AMQPTimeoutError, when some
        are not confirmed after `timeout` seconds, or without one after the connection's reply_timeout, not counting the
        time in which the broker takes no publishes. Refused and returned messages are reported once, to all threads
        that wait for them; unconfirmed ones stay outstanding.
        Callbacks of confirm_select() are called in here; what they publish is waited for, too.
        """
        line, books = self._amqplib, self._amqplib_books()
        timeouts = line.driver.timeouts
        line.driver.refuse_nested("keeping the books of confirms")
        deadline = timeouts.answering() if timeout is None else timeouts.deadline(timeout)
        with line.driver.lock:
            told = books.begin_to_wait()
        try:
            await_confirms(
                line,
                lambda: not books.unconfirmed,
                self._amqplib_tell,
                lambda: self._amqplib_collect(lambda: books.collect(told)),
                deadline,
            )
        finally:
            with line.driver.lock:
                books.wait_no_more(told)

    def basic_publish_confirm(
        self,
        msg: MessageT,
        exchange: str = "",
        routing_key: str = "",
        mandatory: bool = False,
        immediate: bool = False,
        ticket: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> int:
        """Publish one message, by basic_publish(), and wait until the server has confirmed it; its delivery tag.

        Raises as wait_for_confirms() does, for this message only. `timeout`, in seconds, is for all of it; without one
        it waits for the connection's reply_timeout, and for blocked_timeout before that. Selects confirm mode first if
        need be.
        """
        if not isinstance(msg, GenericContent):
            raise no_message(msg)
        line = self._amqplib
        timeouts = line.driver.timeouts
        line.driver.refuse_nested("keeping the books of confirms")
        timeouts.deadline(timeout)  # ValueError, before anything is sent
        if line.port.books is None:
            self.confirm_select()
        line.check()
        deadline = timeouts.answering() if timeout is None else timeouts.deadline(timeout)
        books = self._amqplib_books()
        with line.driver.lock:
            told = books.begin_to_wait()
        try:
            with line.sending.publishing_until(deadline):
                tag = self.basic_publish(msg, exchange, routing_key, mandatory, immediate, ticket)
            if tag is None:
                name = type(self).__name__
                raise TypeError(
                    "%s.basic_publish() returns None: it has to return what Channel.basic_publish() does" % name
                )
            await_confirms(
                line,
                lambda: tag not in books.unconfirmed,
                self._amqplib_tell,
                lambda: self._amqplib_collect(lambda: books.collect_one(tag, told)),
                deadline,
            )
        finally:
            with line.driver.lock:
                books.wait_no_more(told)
        return tag


name_after("Channel", ChannelMethods, AbstractChannel)
