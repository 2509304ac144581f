"""AMQP's methods as Python methods: those that send something, and wait for an answer if there is one.

The arguments are the protocol's, in its order, but for the ticket, which comes last. What a channel keeps track of -
its consumers, messages on their way, its end - is in `channel` and `publishing`.

Errors, for all methods: ValueError when an argument cannot be sent (nothing was sent, the channel stays usable);
AMQPChannelException when the server closes the channel, be it for this call or for one before that nothing answers;
ChannelClosedError when it was closed before; AMQPConnectionException (an OSError as well when the network was the
cause) when the connection is over; AMQPTimeoutError when the connection's reply_timeout is up, and the channel with it;
DialectError where the AMQP version that is spoken has no such method.
"""

from __future__ import annotations

from typing import Any, Dict, Literal, Optional, Tuple, overload

from . import advice
from .abstract_channel import AbstractChannel
from .logger import LOGGER

__all__ = ["Arguments", "ChannelMethods"]

Arguments = Optional[Dict[str, Any]]


class ChannelMethods(AbstractChannel):
    """The part of Channel that keeps no track of anything."""

    default_ticket: int
    is_open: bool

    def _check_open(self, closing: bool = True) -> None:
        """Raise why the channel is over, if it is."""
        raise NotImplementedError

    def _emit(self, frame: bytes) -> None:
        """Send, or gather in batch(), the frame of a method that nothing answers."""
        raise NotImplementedError

    def _request(self, name: str, nowait: bool, *args: Any) -> Optional[Tuple[Any, ...]]:
        """Send a method that the server answers unless told not to; the reply's arguments, None without one."""
        if nowait:
            self._send(name, *args)
            return None
        return self._call(name, *args)[1]

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

    def exchange_bind(
        self,
        destination: str,
        source: str,
        routing_key: str = "",
        nowait: bool = False,
        arguments: Arguments = None,
        ticket: Optional[int] = None,
    ) -> None:
        """Let messages that are published to the exchange `source` reach the exchange `destination` too. 0-9-1."""
        args = self._ticket(ticket), destination, source, routing_key, nowait, arguments
        self._request("exchange.bind", nowait, *args)

    def exchange_unbind(
        self,
        destination: str,
        source: str,
        routing_key: str = "",
        nowait: bool = False,
        arguments: Arguments = None,
        ticket: Optional[int] = None,
    ) -> None:
        """Undo an exchange_bind() with the same arguments. 0-9-1."""
        args = self._ticket(ticket), destination, source, routing_key, nowait, arguments
        self._request("exchange.unbind", nowait, *args)

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
        whole channel instead of each consumer (RabbitMQ's reading, which 4.3 and later ignore:
        https://www.rabbitmq.com/docs/consumer-prefetch).
        """
        self._call("basic.qos", prefetch_size, prefetch_count, a_global)
        hint = a_global and advice.on_global_qos(self._link.server_properties)
        if hint:
            LOGGER.warning("%s: %s", self._where(), hint)

    def basic_ack(self, delivery_tag: int, multiple: bool = False) -> None:
        """Tell the server that a message is done with; with multiple also all before it (0: all)."""
        if not self.is_open or self._close_item:
            self._check_open()
        self._emit(self._link.sender.ack(self._number, delivery_tag, multiple))

    def basic_nack(self, delivery_tag: int, multiple: bool = False, requeue: bool = True) -> None:
        """Give messages back, with multiple all up to this one. They are requeued, or dropped or dead-lettered. 0-9-1.

        https://www.rabbitmq.com/docs/nack
        """
        method = self._method("basic.nack")
        self._check_open()
        self._emit(self._link.sender.method(self._number, method, (delivery_tag, multiple, requeue)))

    def basic_reject(self, delivery_tag: int, requeue: bool) -> None:
        """Give a message back; the server requeues it, or drops or dead-letters it."""
        self._check_open()
        self._emit(self._link.sender.method(self._number, self._method("basic.reject"), (delivery_tag, requeue)))

    def basic_recover(self, requeue: bool = False) -> None:
        """Ask for all unacknowledged messages of this channel again; with requeue anybody may get them.

        RabbitMQ knows requeue=True only. Nothing answers this.
        """
        self._send("basic.recover_async", requeue)

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
