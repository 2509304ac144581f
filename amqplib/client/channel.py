"""Channels, as programs hold them: each method with what it promises, and the ways that have to be fast.

The plain methods, that send something and wait for the answer, are in `channel_methods`; errors are explained there.
What is not told in a few lines is a function elsewhere: `waiting`, `consuming`, `stopping`, `unseen`, `confirming`.
"""

from __future__ import annotations

import queue
import threading
from contextlib import contextmanager
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ClassVar,
    Collection,
    Dict,
    Generator,
    Generic,
    Iterator,
    List,
    Optional,
    Tuple,
    Union,
)

from ..protocol.confirms import Back, Confirms
from ..protocol.endings import BY_PROGRAM, CHANNEL_PARTED, CONNECTION_PARTED, Ending, Over
from ..protocol.port import DELIVER, RETURN, Item
from ..wire.content import Oversize
from ..wire.errors import UnknownPropertyError
from ..wire.spec import Sig, sig_of
from . import left_out
from .abstract_channel import AbstractChannel
from .channel_methods import Arguments, ChannelMethods
from .computed import computed
from .confirming import publish_confirm, wait_for_confirms
from .consumers import Consumer, Consumers
from .consuming import cancel, consume, subscribe
from .exceptions import AMQPTimeoutError, ChannelClosedError, NestedCallError
from .functions import Callback, check_functions, name_after
from .handlers import METHOD_MAP
from .logger import LOGGER
from .message import GenericContent, MessageT, decode_body, encode_body, no_message
from .queues import Alerts, ReturnedMessages
from .stopping import stop, stop_later
from .unseen import expects, give_back_at_once
from .waiting import NOTHING, after_handling, next_method

if TYPE_CHECKING:
    from ..protocol.timing import ConfirmTime
    from .connection import Connection

__all__ = ["Channel"]

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
                line = self._amqplib = whole.for_channel(port, self._do_close)
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
        sig, args, msg = item or next_method(self, allowed_methods, line.driver.timeouts.deadline(timeout))
        if sig is DELIVER:
            if self.auto_decode and "content_encoding" in msg.properties:
                decode_body(msg)
            result = line.consumers.deliver(self, args, msg)
        elif sig is NOTHING:
            return None
        else:
            result = self._amqplib_dispatch(sig, args, msg)
        if line.consumers.look:
            after_handling(self)
        return result

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
                line.driver.parting.leaving.goes_on(line.driver.sent)
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
        line.driver.parting.told_last = threading.get_ident(), line.port
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
        consumer = Consumer(consumer_tag, no_ack, arguments, on_cancel)
        ticket = self._amqplib_ticket(ticket)
        return subscribe(self, consumer, callback, queue, no_local, exclusive, nowait, ticket, arguments)

    def basic_cancel(self, consumer_tag: str, nowait: bool = False) -> None:
        """End a consumer; its tag leaves `callbacks`. What was given to its callback stays to be acknowledged.

        What had come and was not handled yet goes back to the queue; with no_ack it is lost, and a warning says so.
        """
        line = self._amqplib

        def ask(end: Callable[..., None]) -> None:
            if nowait:
                line.send("basic.cancel", consumer_tag, nowait)
                line.driver.changed(end)
            else:
                line.call("basic.cancel", consumer_tag, nowait, answered=end)

        cancel(self, consumer_tag, ask)

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
        messages = consume(self, queue, no_ack, exclusive, arguments, timeout)
        next(messages)  # subscribes: from here on the generator ends the consumer, however it ends itself
        return messages

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
            stop(self)
        except NestedCallError:
            line.driver.changed(lambda: stop_later(self))

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
            raise left_out.error(line, facts, no_ack, msg)
        if self.auto_decode and "content_encoding" in msg.properties:
            decode_body(msg)
        msg.delivery_info = {
            "delivery_tag": delivery_tag,
            "redelivered": redelivered,
            "exchange": exchange,
            "routing_key": routing_key,
            "message_count": message_count,
        }
        msg._amqplib_got_on = self
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
        port = sending.port
        args = port.number, ticket, exchange, routing_key, mandatory, immediate
        properties = msg.properties
        try:
            frames = line.publish_frames(args, properties, body)
        except UnknownPropertyError:  # put into it since it was made
            properties = msg._amqplib_to_send()
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
        wait_for_confirms(self, self._amqplib_books(), timeout)

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
        args = msg, exchange, routing_key, mandatory, immediate, ticket
        return publish_confirm(self, args, timeout)


name_after("Channel", ChannelMethods, AbstractChannel)
