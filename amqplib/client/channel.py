"""Channels: what arrives and is handled, consumers, publishing, and the end.

The plain methods, that send something and wait for the answer, are in `channel_methods`; errors are explained there.
"""

from __future__ import annotations

import queue
from collections import deque
from contextlib import suppress
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ClassVar,
    Collection,
    Deque,
    Dict,
    Iterator,
    List,
    NoReturn,
    Optional,
    Tuple,
)

from ..wire.spec import Method, Sig, sig_of
from .channel_methods import Arguments
from .deadline import Deadline
from .exceptions import (
    AMQPChannelException,
    AMQPException,
    AMQPTimeoutError,
    ChannelClosedError,
    ConnectionLostError,
    NestedCallError,
)
from .logger import LOGGER
from .message import Message, decode_body
from .publishing import RETURN, SETTLING, Publishing
from .routes import Item

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Channel"]

#: In the place of a method: what was waited for is there already.
_HERE: Item = ((0, 0), (), None)

#: Takes a Message, of whichever client module the program uses.
Callback = Callable[[Any], Any]


# There is one signature object for each method, in either dialect (spec._api_sig): where speed counts, `is` compares.
_CLOSE = sig_of("channel.close")
_CLOSE_OK = sig_of("channel.close_ok")
_CONSUME_OK = sig_of("basic.consume_ok")
_DELIVER = sig_of("basic.deliver")
_GET_EMPTY = sig_of("basic.get_empty")

#: Why a channel is closed after close().
_PARTED = "by this program"


class Channel(Publishing):
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

    def __init__(self, connection: Connection, channel_id: Optional[int] = None, auto_decode: bool = True) -> None:
        link = connection._open_link()
        if channel_id is not None and not (isinstance(channel_id, int) and 0 < channel_id <= connection.channel_max):
            raise ValueError(
                "channel_id: %r: %s has channels 1 to %d" % (channel_id, link.where, connection.channel_max)
            )
        Publishing.__init__(self, link, link.add_route(channel_id, connection.channel_max, self))
        self.connection = connection
        self.channel_id = self._number
        self.auto_decode = auto_decode
        self.active = True
        self.default_ticket = 0
        self.callbacks: Dict[str, Optional[Callback]] = {}
        self.alerts: queue.Queue[Tuple[int, str, Dict[str, Any]]] = queue.Queue()
        self._on_cancel: Dict[str, Callable[[str], Any]] = {}
        self._close_sent = self._close_answered = False
        self._deliver = self._METHOD_MAP[_DELIVER]
        self._closed_because = ""
        # who takes this answers the server's close
        self._to_agree: Deque[None] = deque([None])
        self.is_open = True
        try:
            self._call("channel.open", "")
        except BaseException:
            if self.is_open:  # nothing was sent, or the connection is over
                link.drop_route(self._number)
                self._finish("it was never opened")
            raise
        connection._channels()[self._number] = self
        LOGGER.debug("channel %d of %s is open", self._number, link.where)

    # --- how methods come in

    def _arrived(self, method: Method, args: Tuple[Any, ...], content: Any) -> None:
        sig = method.sig
        if sig is _DELIVER and not self._close_item:  # the most frequent by far
            if not self.method_queue:
                self._link.ready[self._number] = self
            self.method_queue.append((sig, args, content))
            return
        if sig == _CLOSE_OK:
            self._close_answered = True
        if self._close_item:
            return  # the server has closed the channel
        if sig in self._expected:
            if sig == _CONSUME_OK:
                # before any delivery for the new tag, or its end, can be seen by another thread
                self.callbacks[args[0]], on_cancel = self._new_consumer
                if on_cancel:
                    self._on_cancel[args[0]] = on_cancel
            self._replies.append((sig, args, content))
        elif sig == RETURN:
            self._returned(args, content)
        elif sig in SETTLING and self._confirms:
            self._settled(sig, args)
        else:
            item = (sig, args, content)
            self._enqueue(item)
            if sig == _CLOSE:
                self._close_item = item

    def _enqueue(self, item: Item) -> None:
        self.method_queue.append(item)
        self._link.ready[self._number] = self

    def wait(self, allowed_methods: Optional[Collection[Sig]] = None, timeout: Optional[float] = None) -> Any:
        """Handle ONE method that the server has sent for this channel, waiting until there is one.

        A delivery calls its consumer's callback, in this thread. Returns what the handler returns, which is None for
        all that servers send. `allowed_methods`, (class id, method id) pairs of AMQP 0-8, limits what is handled;
        others stay for a later wait(). Also raises what the callback raises, and AMQPTimeoutError when nothing has come
        for `timeout` seconds; the channel stays usable.
        """
        item = None
        if allowed_methods is None and self.method_queue:
            try:
                item = self.method_queue.popleft()
            except IndexError:
                pass  # another thread was faster
        if item is None:
            item = self._wait_for_item(allowed_methods, Deadline(timeout))
        if item[0] is _DELIVER:
            _, args, msg = item
            if self.auto_decode and "content_encoding" in msg.properties:
                decode_body(msg)
            return self._deliver(self, args, msg)
        return self.dispatch_method(*item)

    def _wait_for_item(
        self, allowed: Optional[Collection[Sig]], deadline: Deadline, here: Callable[[], bool] = lambda: False
    ) -> Item:
        if allowed is not None:
            allowed = (*allowed, _CLOSE)
        self._check_open(closing=False)

        counts_returned = allowed is None or RETURN in allowed
        if self._noted and not self.returned_messages.queue:  # empty() would wait for a put() that a signal interrupted
            self._noted = 0  # the program has had them already

        def take() -> Optional[Item]:
            if here():
                return _HERE
            item = (counts_returned and self._take_noted()) or self._take_next(allowed) or self._close_item
            if item is None and (self._close_answered or not self.is_open):
                self._link.check()
                self._raise_closed(_PARTED)
            return item

        if not counts_returned:
            return self._link.wait_for(take, deadline, free=True)
        self._waiting.append(None)
        try:
            return self._link.wait_for(take, deadline, free=True)
        finally:
            self._waiting.pop()

    def _take_reply(self) -> Optional[Item]:
        if self._replies:
            return self._replies.popleft()
        if not self.is_open and self._close_item is None:  # another thread, or a signal handler, did not wait for this
            self._link.check()
            self._raise_closed(self._closed_because)
        return self._close_item

    def _ask(self, method: Method, frame: bytes, timeout: Optional[float] = None, consumer: Any = None) -> Item:
        item = super()._ask(method, frame, timeout, consumer)
        self._noted = 0
        if item[0] is _CLOSE:
            self._closed_by_server(item[1])
        if self._link.notices or self._link.remarks:
            self._link.tell()
        return item

    def _check_callable(self) -> None:
        self._check_open()

    def _send(self, name: str, *args: Any) -> None:
        self._check_open()
        super()._send(name, *args)

    # --- the end

    def _check_open(self, closing: bool = True) -> None:
        if not self.is_open:
            self._link.check()
            self._raise_closed(self._closed_because)
        if closing and self._close_item:
            self._closed_by_server(self._close_item[1])

    def _too_late(self) -> NoReturn:
        self._raise_closed(self._closed_because or "another thread is closing it, or the connection")

    def _raise_closed(self, why: str) -> NoReturn:
        raise ChannelClosedError(0, "channel %d is closed: %s" % (self._number, why), (0, 0), self._where())

    def _closed_by_server(self, args: Tuple[Any, ...]) -> None:
        """The server closed the channel: agree, and raise why."""
        self._check_open(closing=False)  # another thread may have been faster
        reply_code, reply_text, class_id, method_id = args
        where, method_sig = self._where(), self._link.dialect.sig(class_id, method_id)
        try:
            self._to_agree.pop()
        except IndexError:
            pass  # several threads have been waiting; another one answers
        else:
            self._agree("by the server: %s %s" % (reply_code, reply_text))
        raise AMQPChannelException(reply_code, reply_text, method_sig, where)

    def _agree(self, why: str) -> None:
        close_ok = self._link.sender.method(self._number, self._method("channel.close_ok"), ())
        try:
            if self._said_last:  # our own close, which is the one thing that it may follow
                self._link.send_raw(close_ok, deadline=Deadline(0))
            else:
                self._link.send_last(close_ok, self)
        except (AMQPTimeoutError, NestedCallError):
            LOGGER.debug("%s: a close-ok could not be sent", self._where())
        except ConnectionLostError:
            self._link.check()  # then nobody waits for it, and the connection's end is the larger news
        if self._close_sent and not self._close_answered:
            self._link.retire_route(self._number)
        else:
            self._link.drop_route(self._number)
        self._finish(why)

    def close(
        self, reply_code: int = 0, reply_text: str = "", method_sig: Sig = (0, 0), timeout: Optional[float] = None
    ) -> None:
        """Close the channel; a second time does nothing.

        Once this returns, everything that was sent on the channel has been received by the server. AMQPTimeoutError
        when that is not certain after `timeout` seconds, or the connection's reply_timeout; the channel is over then.
        """
        if self.is_open:
            self._check_open()
            self._close_sent = True
            try:
                self._call("channel.close", reply_code, reply_text, *method_sig, timeout=timeout)
            except ValueError:
                self._close_sent = False  # nothing was
                raise
            except ChannelClosedError:
                if self._closed_because != _PARTED:
                    raise
                return  # another thread has closed it meanwhile
            except (AMQPTimeoutError, NestedCallError) as exc:
                if self.is_open:  # it has not been sent either
                    self._close_sent = False
                    self._abandon("by this program: %s came before the server could be told" % type(exc).__name__)
                raise
            self._link.drop_route(self._number)
            self._finish(_PARTED)

    def _abandon(self, why: str) -> None:
        if self.is_open:
            if not self._close_sent:
                close = self._link.sender.method(self._number, self._method("channel.close"), (0, why[:120], 0, 0))
                with suppress(ConnectionLostError, ChannelClosedError):
                    self._link.send_last(close, self)
            self._link.retire_route(self._number)
            self._finish(why)

    def _finish(self, why: str) -> None:
        self._closed_because = why
        LOGGER.debug("channel %d of %s is closed: %s", self._number, self._link.where, why)
        self._do_close()

    def _do_close(self) -> None:
        """Let go of the connection and of all that waits. Called once, when the channel or the connection is over."""
        self.is_open = False
        connection, self.connection, self.channel_id = self.connection, None, None
        if connection is not None and connection.channels is not None:
            connection.channels.pop(self._number, None)
        self.callbacks, self._on_cancel = {}, {}
        # what these belong to most likely has the channel
        self.on_return = self._on_ack = self._on_nack = None
        self.method_queue.clear()

    def _where(self) -> str:
        return "channel %d of %s" % (self._number, self._link.where)

    # --- class channel

    def flow(self, active: bool) -> bool:
        """Ask the server to stop (False) or go on (True) sending deliveries; what it says it does.

        RabbitMQ >= 3 refuses False with 540 NOT_IMPLEMENTED, which ends the connection: use basic_qos().
        """
        return bool(self._call("channel.flow", active)[1][0])

    def _flow(self, args: Tuple[bool]) -> None:
        self.active = args[0]
        self._send("channel.flow_ok", self.active)

    def _alert(self, args: Tuple[int, str, Dict[str, Any]]) -> None:
        self.alerts.put(args)

    # --- class basic

    def basic_consume(
        self,
        queue: str = "",
        consumer_tag: str = "",
        no_local: bool = False,
        no_ack: bool = False,
        exclusive: bool = False,
        nowait: bool = False,
        callback: Optional[Callback] = None,
        ticket: Optional[int] = None,
        arguments: Arguments = None,
        on_cancel: Optional[Callable[[str], Any]] = None,
    ) -> str:
        """Have the queue's messages delivered to callback(message) inside wait(); the consumer tag.

        consumer_tag: '' lets the server make one up. no_ack: the server forgets a message as it sends it, so that
        one is lost when this program fails; otherwise each has to be given to basic_ack(). exclusive: nobody else
        may consume from the queue. no_local: nothing that this connection has published (RabbitMQ ignores it).
        arguments (0-9-1): a dict, such as {'x-priority': 10} or, for a stream, {'x-stream-offset': 'first'}.
        on_cancel: called with the tag, inside wait(), when the server ends the consumer, as it does when the queue is
        deleted; the tag has left `callbacks` then. Without a callback the deliveries are taken and dropped.
        """
        args: Tuple[Any, ...] = self._ticket(ticket), queue, consumer_tag, no_local, no_ack, exclusive, nowait
        if len(self._method("basic.consume").fields) > len(args):
            args += (arguments,)
        elif arguments:
            raise self._not_in_dialect("arguments of basic.consume")
        if nowait:
            self._check_open()
            before = dict(self.callbacks)
            self.callbacks[consumer_tag] = callback
            try:
                self._send("basic.consume", *args)
            except (ValueError, AMQPTimeoutError):  # nothing was sent
                self.callbacks = before
                raise
            if on_cancel:
                self._on_cancel[consumer_tag] = on_cancel
            return consumer_tag
        tag: str = self._call("basic.consume", *args, consumer=(callback, on_cancel))[1][0]
        return tag

    def basic_cancel(self, consumer_tag: str, nowait: bool = False) -> None:
        """End a consumer; its tag leaves `callbacks`. What was delivered before stays to be acknowledged."""
        self._request("basic.cancel", nowait, consumer_tag, nowait)
        self.callbacks.pop(consumer_tag, None)
        self._on_cancel.pop(consumer_tag, None)

    def _basic_cancel(self, args: Tuple[str, bool]) -> None:
        """The server ended a consumer, as when its queue was deleted."""
        consumer_tag, nowait = args
        why = "its queue is gone or has moved, or (RabbitMQ 4.3) a message was unacknowledged for consumer_timeout"
        LOGGER.warning("%s: the server cancelled consumer %r: most likely %s", self._where(), consumer_tag, why)
        self.callbacks.pop(consumer_tag, None)
        on_cancel = self._on_cancel.pop(consumer_tag, None)
        if not nowait:
            self._send("basic.cancel_ok", consumer_tag)
        if on_cancel:
            on_cancel(consumer_tag)

    def consume(
        self,
        queue: str = "",
        no_ack: bool = False,
        exclusive: bool = False,
        arguments: Arguments = None,
        timeout: Optional[float] = None,
    ) -> Iterator[Message]:
        """Iterate over the messages of a queue: `for msg in ch.consume('work'): ...; msg.ack()`.

        The consumer is made when the first message is asked for, so that is where errors such as 404 are raised.
        The iteration ends when no message has come for `timeout` seconds since the loop asked for one, or when the
        server cancels the consumer; leaving the loop cancels it as well. Messages that had been delivered by then, but
        not been given to the loop, go back to the queue (with no_ack they are lost: set basic_qos() and acknowledge if
        that matters; a quorum queue counts each return, up to its x-delivery-limit). Other consumers' callbacks of this
        channel run meanwhile. A stream takes nothing back: say where to begin, arguments={'x-stream-offset': 'next'},
        so that it is known for one.
        """
        arrived: Deque[Message] = deque()
        tag = self.basic_consume(
            queue, no_ack=no_ack, exclusive=exclusive, callback=arrived.append, arguments=arguments
        )
        # a stream takes nothing back, and needs nothing
        takes_back = not no_ack and "x-stream-offset" not in (arguments or {})
        idle, come = Deadline(timeout), lambda: bool(arrived) or tag not in self.callbacks
        try:
            while arrived or tag in self.callbacks:
                if arrived:
                    yield arrived.popleft()
                    idle = Deadline(timeout)
                elif idle.expired() and not self._delivered_to(tag):
                    break
                else:
                    try:  # another thread's wait() may take in what this one is for
                        item = self._take_next(None) or self._wait_for_item(None, idle, come)
                    except AMQPTimeoutError:
                        if not idle.expired():
                            raise  # the program's own timeout, on the socket
                    else:
                        if item is not _HERE:
                            self.dispatch_method(*item)
            self._check_open()  # a channel that is lost has no consumers either: that is no end to be content with
        except BaseException:
            # most likely the loop was left, perhaps by an exception, which matters more than what the channel says
            with suppress(AMQPException, OSError):
                self._stop_consuming(tag, arrived, takes_back)
            raise
        self._stop_consuming(tag, arrived, takes_back)

    def _delivered_to(self, tag: str) -> List[int]:
        """Delivery tags of what has come for a consumer and waits in the queue of methods."""
        items = list(self.method_queue)  # in one step: other threads may add to it
        return [args[1] for sig, args, _ in items if sig == _DELIVER and args[0] == tag]

    def _stop_consuming(self, tag: str, arrived: Collection[Message], takes_back: bool) -> None:
        """End a consumer of consume(), and give back what has come for it and was not looked at."""
        if not self.is_open:
            return
        if tag in self.callbacks:
            self.basic_cancel(tag)
        left = [msg.delivery_info["delivery_tag"] for msg in arrived]
        # what had come before the cancel-ok is in the queue of methods; without a callback it will be dropped
        left += self._delivered_to(tag)
        for delivery_tag in left if takes_back else []:
            self.basic_reject(delivery_tag, True)

    def _basic_deliver(self, args: Tuple[Any, ...], msg: Message) -> None:
        consumer_tag, delivery_tag, redelivered, exchange, routing_key = args
        msg.delivery_info = {
            "channel": self,
            "consumer_tag": consumer_tag,
            "delivery_tag": delivery_tag,
            "redelivered": redelivered,
            "exchange": exchange,
            "routing_key": routing_key,
        }
        callback = self.callbacks.get(consumer_tag)
        if callback is not None:
            callback(msg)

    def basic_get(self, queue: str = "", no_ack: bool = False, ticket: Optional[int] = None) -> Optional[Message]:
        """One message from the queue, None when it is empty. Unless no_ack is set, it has to be acknowledged."""
        self._check_open()
        frame = self._link.sender.get(self._number, (self._ticket(ticket), queue, no_ack))
        sig, args, msg = self._ask(self._link.dialect["basic.get"], frame)
        if sig is _GET_EMPTY:
            return None
        if self.auto_decode:
            decode_body(msg)
        delivery_tag, redelivered, exchange, routing_key, message_count = args
        msg.delivery_info = {
            "delivery_tag": delivery_tag,
            "redelivered": redelivered,
            "exchange": exchange,
            "routing_key": routing_key,
            "message_count": message_count,
        }
        msg._got_on = self
        message: Message = msg
        return message

    _METHOD_MAP: ClassVar[Dict[Sig, Callable[..., Any]]] = {
        **Publishing._METHOD_MAP,
        sig_of("channel.flow"): _flow,
        sig_of("channel.alert"): _alert,
        _CLOSE: _closed_by_server,
        sig_of("basic.cancel"): _basic_cancel,
        sig_of("basic.deliver"): _basic_deliver,
    }
