"""Channels: AMQP's methods as Python methods, with their arguments in protocol order.

A channel belongs to a connection and is numbered. Every method here sends one protocol method; those that have a
reply wait for it. Section numbers are those of the AMQP 0-8 and 0-9-1 specifications' class descriptions.

Errors, for all methods: ValueError when an argument cannot be sent (nothing was sent, the channel stays usable);
AMQPChannelException when the server closes the channel, be it for this call or for one before that nothing
answers; ChannelClosedError when it was closed before; AMQPConnectionException (an OSError as well when the network
was the cause) when the connection is over.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Callable, ClassVar, Collection, Deque, Dict, Literal, Optional, Tuple, overload

from ..wire.spec import AMQP_0_8, Method, Sig
from .abstract_channel import AbstractChannel, Item
from .exceptions import AMQPChannelException, AMQPTimeoutError, ChannelClosedError, ConnectionLostError
from .link import LOGGER
from .message import GenericContent, Message, decode_body, encode_body

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Channel"]

Callback = Callable[[Message], Any]
Arguments = Optional[Dict[str, Any]]


def _sig(name: str) -> Sig:
    return AMQP_0_8[name].sig


_CLOSE = _sig("channel.close")
_CLOSE_OK = _sig("channel.close_ok")
_CONSUME_OK = _sig("basic.consume_ok")
_GET_EMPTY = _sig("basic.get_empty")
_RETURN = _sig("basic.return")

#: What a wait() gets for a returned message, which has been dealt with already.
_COUNTED: Item = ((0, 0), (), None)


class Channel(AbstractChannel):
    """One channel of a connection; made by Connection.channel().

    connection: an open Connection.
    channel_id: 1 to connection.channel_max; None takes the lowest free number.
    auto_decode: decode bodies that have a content_encoding to str.

    Attributes: `channel_id` and `connection` (None once closed), `is_open`, `active` (False while the server asks for
    no messages), `default_ticket`, `callbacks` (consumer tag -> callback), `returned_messages` (a queue.Queue of (reply
    code, reply text, exchange, routing key, Message)) and `alerts` (a queue.Queue of (reply code, reply text,
    details)), both of which outlive the channel.
    """

    connection: Optional[Connection]
    channel_id: Optional[int]

    def __init__(self, connection: Connection, channel_id: Optional[int] = None, auto_decode: bool = True) -> None:
        link = connection._open_link()
        if channel_id is not None and not (isinstance(channel_id, int) and 0 < channel_id <= connection.channel_max):
            raise ValueError(
                "channel_id: %r: %s has channels 1 to %d" % (channel_id, link.where, connection.channel_max)
            )
        AbstractChannel.__init__(self, link, link.add_route(channel_id, connection.channel_max, self))
        self.connection = connection
        self.channel_id = self._number
        self.auto_decode = auto_decode
        self.active = True
        self.default_ticket = 0
        self.callbacks: Dict[str, Optional[Callback]] = {}
        self.returned_messages: queue.Queue[Tuple[int, str, str, str, Message]] = queue.Queue()
        self.alerts: queue.Queue[Tuple[int, str, Dict[str, Any]]] = queue.Queue()
        self._new_callback: Optional[Callback] = None
        # threads inside wait() that take a returned message for a method, and how many of those have come meanwhile
        self._counting = threading.Lock()
        self._awaiting_returns = 0
        self._counted_returns = 0
        self._close_item: Optional[Item] = None
        self._close_sent = self._close_answered = False
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
        if sig == _CLOSE_OK:
            self._close_answered = True
        if self._close_item:
            return  # the server has closed the channel
        if sig in self._expected:
            if sig == _CONSUME_OK:
                # before any delivery for the new tag can be seen by another thread
                self.callbacks[args[0]] = self._new_callback
            self._replies.append((sig, args, content))
        elif sig == _RETURN:
            # at once to where the program looks for it; a wait() that would have had it next counts it as its method
            if self.auto_decode:
                decode_body(content)
            self._basic_return(args, content)
            if self._awaiting_returns and not self.method_queue:
                self._counted_returns += 1
        else:
            self.method_queue.append((sig, args, content))
            if sig == _CLOSE:
                self._close_item = self.method_queue[-1]

    def wait(self, allowed_methods: Optional[Collection[Sig]] = None) -> Any:
        """Handle ONE method that the server has sent for this channel, waiting until there is one.

        A delivery calls its consumer's callback, in this thread. Returns what the handler returns, which is None for
        all that servers send. `allowed_methods`, (class id, method id) pairs of AMQP 0-8, limits what is handled;
        others stay for a later wait(). Also raises what the callback raises; the channel stays usable.
        """
        item = None
        if allowed_methods is None:
            with suppress(IndexError):
                item = self.method_queue.popleft()
        if item is None:
            item = self._wait_for_item(allowed_methods)
        return None if item is _COUNTED else self.dispatch_method(*item)

    def _wait_for_item(self, allowed: Optional[Collection[Sig]]) -> Item:
        returns = allowed is None or _RETURN in allowed
        if allowed is not None:
            allowed = (*allowed, _CLOSE)
        self._check_open(closing=False)

        def take() -> Optional[Item]:
            if returns and self._counted_returns:
                self._counted_returns -= 1
                return _COUNTED
            item = self._take_next(allowed) or self._close_item
            if item is None and (self._close_answered or not self.is_open):
                self._link.check()
                raise ChannelClosedError(
                    0, "channel %d was closed by this program" % self._number, (0, 0), self._where()
                )
            return item

        if not returns:
            return self._link.wait_for(take)
        with self._counting:
            self._awaiting_returns += 1
        try:
            return self._link.wait_for(take)
        finally:
            with self._counting:
                self._awaiting_returns -= 1
                if not self._awaiting_returns:
                    self._counted_returns = 0

    def _take_reply(self) -> Optional[Item]:
        return self._replies.popleft() if self._replies else self._close_item

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Item:
        with self._calling:
            self._check_open()  # a call that this one had to wait for may have closed the channel
            item = super()._call(name, *args, **kwargs)
            if item[0] == _CLOSE:
                self._closed_by_server(item[1])
        return item

    def _send(self, name: str, *args: Any) -> None:
        self._check_open()
        super()._send(name, *args)

    def _request(self, name: str, nowait: bool, *args: Any) -> Optional[Tuple[Any, ...]]:
        """Send a method that the server answers unless told not to; the reply's arguments, None without one."""
        if nowait:
            self._send(name, *args)
            return None
        return self._call(name, *args)[1]

    # --- the end

    def _check_open(self, closing: bool = True) -> None:
        if not self.is_open:
            self._link.check()
            text = "channel %d is closed: %s" % (self._number, self._closed_because)
            raise ChannelClosedError(0, text, (0, 0), self._where())
        if closing and self._close_item:
            self._closed_by_server(self._close_item[1])

    def _closed_by_server(self, args: Tuple[Any, ...]) -> None:
        """The server closed the channel: agree, and raise why."""
        self._check_open(closing=False)  # another thread may have been faster
        reply_code, reply_text, class_id, method_id = args
        where = self._where()
        try:
            self._to_agree.pop()
        except IndexError:
            pass  # several threads have been waiting; another one answers
        else:
            self._agree("by the server: %s %s" % (reply_code, reply_text))
        raise AMQPChannelException(reply_code, reply_text, (class_id, method_id), where)

    def _agree(self, why: str) -> None:
        try:
            self._link.send(self._number, self._method("channel.close_ok"), ())
        except (AMQPTimeoutError, ConnectionLostError):
            self._link.check()  # then nobody waits for it, and the connection's end is the larger news
        if self._close_sent and not self._close_answered:
            self._link.retire_route(self._number)
        else:
            self._link.drop_route(self._number)
        self._finish(why)

    def close(self, reply_code: int = 0, reply_text: str = "", method_sig: Sig = (0, 0)) -> None:
        """Close the channel; a second time does nothing.

        Once this returns, everything that was sent on the channel has been received by the server.
        """
        if self.is_open:
            self._check_open()
            self._close_sent = True
            try:
                self._call("channel.close", reply_code, reply_text, *method_sig)
            except ValueError:
                self._close_sent = False  # nothing was
                raise
            self._link.drop_route(self._number)
            self._finish("by this program")

    def _abandon(self, why: str) -> None:
        if self.is_open:
            if not self._close_sent:
                with suppress(AMQPTimeoutError, ConnectionLostError):
                    self._link.send(self._number, self._method("channel.close"), (0, why[:120], 0, 0))
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
        self.callbacks = {}
        for sig, args, content in self.method_queue:
            if sig == _RETURN:
                self._basic_return(args, content)
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

    # --- class access

    def access_request(
        self,
        realm: str,
        exclusive: bool = False,
        passive: bool = False,
        active: bool = False,
        write: bool = False,
        read: bool = False,
    ) -> int:
        """Ask for a ticket for a realm; it becomes the default ticket. RabbitMQ grants every one of them."""
        ticket: int = self._call("access.request", realm, exclusive, passive, active, write, read)[1][0]
        self.default_ticket = ticket
        return ticket

    def _ticket(self, ticket: Optional[int]) -> int:
        return self.default_ticket if ticket is None else ticket

    # --- class exchange

    def exchange_declare(
        self,
        exchange: str,
        type: str,
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = True,
        internal: bool = False,
        nowait: bool = False,
        arguments: Arguments = None,
        ticket: Optional[int] = None,
    ) -> None:
        """Create an exchange of a type ('direct', 'fanout', 'topic', 'headers'), or check the one that is there.

        passive: only check that it exists (404 when not). durable: it survives a restart of the broker.
        auto_delete: it goes when nothing is bound to it any more (the default here, unlike elsewhere). internal: only
        other exchanges publish to it. nowait: return without an answer; an error closes the channel later.
        """
        self._request(
            "exchange.declare",
            nowait,
            self._ticket(ticket),
            exchange,
            type,
            passive,
            durable,
            auto_delete,
            internal,
            nowait,
            arguments,
        )

    def exchange_delete(
        self, exchange: str, if_unused: bool = False, nowait: bool = False, ticket: Optional[int] = None
    ) -> None:
        """Delete an exchange; with if_unused only when nothing is bound to it (406 when something is)."""
        self._request("exchange.delete", nowait, self._ticket(ticket), exchange, if_unused, nowait)

    # --- class queue

    @overload
    def queue_declare(
        self,
        queue: str = "",
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = True,
        nowait: Literal[False] = False,
        arguments: Arguments = None,
        ticket: Optional[int] = None,
    ) -> Tuple[str, int, int]: ...

    @overload
    def queue_declare(
        self,
        queue: str = "",
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = True,
        nowait: bool = False,
        arguments: Arguments = None,
        ticket: Optional[int] = None,
    ) -> Optional[Tuple[str, int, int]]: ...

    def queue_declare(
        self,
        queue: str = "",
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = True,
        nowait: bool = False,
        arguments: Arguments = None,
        ticket: Optional[int] = None,
    ) -> Optional[Tuple[str, int, int]]:
        """Create a queue, or check the one that is there; (its name, messages ready, consumers), None with nowait.

        queue: '' lets the server make up a name. passive: only check that it exists. durable: it survives a restart
        of the broker. exclusive: only for this connection, and gone with it. auto_delete: it goes with its last
        consumer (the default here, unlike elsewhere). The queue declared last is what '' means to other methods of
        this channel.
        """
        reply = self._request(
            "queue.declare",
            nowait,
            self._ticket(ticket),
            queue,
            passive,
            durable,
            exclusive,
            auto_delete,
            nowait,
            arguments,
        )
        return None if reply is None else (reply[0], reply[1], reply[2])

    def queue_bind(
        self,
        queue: str,
        exchange: str,
        routing_key: str = "",
        nowait: bool = False,
        arguments: Arguments = None,
        ticket: Optional[int] = None,
    ) -> None:
        """Let messages that are published to the exchange reach the queue, as the exchange's type says."""
        self._request("queue.bind", nowait, self._ticket(ticket), queue, exchange, routing_key, nowait, arguments)

    def queue_unbind(
        self,
        queue: str,
        exchange: str,
        routing_key: str = "",
        nowait: bool = False,
        arguments: Arguments = None,
        ticket: Optional[int] = None,
    ) -> None:
        """Undo a queue_bind() with the same arguments. The protocol has no nowait for this: it is always answered."""
        self._call("queue.unbind", self._ticket(ticket), queue, exchange, routing_key, arguments)

    def queue_purge(self, queue: str = "", nowait: bool = False, ticket: Optional[int] = None) -> Optional[int]:
        """Drop all messages that are ready in the queue; how many there were, None with nowait."""
        reply = self._request("queue.purge", nowait, self._ticket(ticket), queue, nowait)
        return None if reply is None else int(reply[0])

    def queue_delete(
        self,
        queue: str = "",
        if_unused: bool = False,
        if_empty: bool = False,
        nowait: bool = False,
        ticket: Optional[int] = None,
    ) -> Optional[int]:
        """Delete a queue and its messages; how many there were, None with nowait.

        if_unused, if_empty: only without consumers, without messages (406 otherwise). Deleting a queue that is not
        there is no error on RabbitMQ >= 3.2.
        """
        reply = self._request("queue.delete", nowait, self._ticket(ticket), queue, if_unused, if_empty, nowait)
        return None if reply is None else int(reply[0])

    # --- class basic

    def basic_qos(self, prefetch_size: int, prefetch_count: int, a_global: bool) -> None:
        """Limit what the server sends ahead: at most prefetch_count unacknowledged deliveries; 0 for no limit.

        prefetch_size, in bytes, has to be 0 on RabbitMQ, which knows no other limit than the count. a_global: for the
        whole channel instead of each consumer (RabbitMQ's reading:
        https://www.rabbitmq.com/docs/consumer-prefetch).
        """
        self._call("basic.qos", prefetch_size, prefetch_count, a_global)

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
    ) -> str:
        """Have the queue's messages delivered to callback(message) inside wait(); the consumer tag.

        consumer_tag: '' lets the server make one up. no_ack: the server forgets a message as it sends it, so that
        one is lost when this program fails; otherwise each has to be given to basic_ack(). exclusive: nobody else
        may consume from the queue. no_local: nothing that this connection has published (RabbitMQ ignores it).
        Without a callback the deliveries are taken and dropped.
        """
        args = self._ticket(ticket), queue, consumer_tag, no_local, no_ack, exclusive, nowait
        if nowait:
            self._check_open()
            before = dict(self.callbacks)
            self.callbacks[consumer_tag] = callback
            try:
                self._send("basic.consume", *args)
            except ValueError:
                self.callbacks = before
                raise
            return consumer_tag
        with self._calling:
            self._new_callback = callback
            try:
                tag: str = self._call("basic.consume", *args)[1][0]
            finally:
                self._new_callback = None
        return tag

    def basic_cancel(self, consumer_tag: str, nowait: bool = False) -> None:
        """End a consumer; its tag leaves `callbacks`. What was delivered before stays to be acknowledged."""
        self._request("basic.cancel", nowait, consumer_tag, nowait)
        self.callbacks.pop(consumer_tag, None)

    def _basic_cancel(self, args: Tuple[str]) -> None:
        """The server ended a consumer, as when its queue was deleted."""
        LOGGER.warning("%s: the server cancelled consumer %r", self._where(), args[0])
        self.callbacks.pop(args[0], None)

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
        sig, args, msg = self._call("basic.get", self._ticket(ticket), queue, no_ack)
        if sig == _GET_EMPTY:
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
        message: Message = msg
        return message

    def basic_publish(
        self,
        msg: GenericContent,
        exchange: str = "",
        routing_key: str = "",
        mandatory: bool = False,
        immediate: bool = False,
        ticket: Optional[int] = None,
    ) -> None:
        """Send a message to an exchange; '' is the default one, which routes to the queue named routing_key.

        The message is with the operating system when this returns, and nothing says when the broker has it: close
        the channel, or use tx_commit(), to know. mandatory: a message that no queue takes comes back into
        `returned_messages`. immediate: likewise when no consumer takes it at once; RabbitMQ >= 3 refuses it with 540,
        which ends the connection.
        """
        if not isinstance(msg, GenericContent):
            raise ValueError("msg: %r is not a Message" % type(msg).__name__)
        self._check_open()
        body = encode_body(msg)
        args = self._ticket(ticket), exchange, routing_key, mandatory, immediate
        self._link.send_content(self._number, self._method("basic.publish"), args, msg.properties, body)

    def basic_ack(self, delivery_tag: int, multiple: bool = False) -> None:
        """Tell the server that a message is done with; with multiple also all before it (0: all)."""
        self._send("basic.ack", delivery_tag, multiple)

    def basic_reject(self, delivery_tag: int, requeue: bool) -> None:
        """Give a message back; the server requeues it, or drops or dead-letters it."""
        self._send("basic.reject", delivery_tag, requeue)

    def basic_recover(self, requeue: bool = False) -> None:
        """Ask for all unacknowledged messages of this channel again; with requeue anybody may get them.

        RabbitMQ knows requeue=True only. Nothing answers this.
        """
        self._send("basic.recover_async", requeue)

    def _basic_return(self, args: Tuple[int, str, str, str], msg: Message) -> None:
        self.returned_messages.put((*args, msg))

    # --- class tx

    def tx_select(self) -> None:
        """From now on publishes and acknowledgements take effect with tx_commit() only."""
        self._call("tx.select")

    def tx_commit(self) -> None:
        """Make all publishes and acknowledgements since the last commit or rollback happen."""
        self._call("tx.commit")

    def tx_rollback(self) -> None:
        """Forget all publishes and acknowledgements since the last commit or rollback."""
        self._call("tx.rollback")

    _METHOD_MAP: ClassVar[Dict[Sig, Callable[..., Any]]] = {
        _sig("channel.flow"): _flow,
        _sig("channel.alert"): _alert,
        _CLOSE: _closed_by_server,
        _sig("basic.cancel"): _basic_cancel,
        _sig("basic.deliver"): _basic_deliver,
        _RETURN: _basic_return,
    }
