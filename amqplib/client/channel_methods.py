"""AMQP's methods as Python methods: those that send something, and wait for an answer if there is one.

The arguments are the protocol's, in its order, but for the ticket, which comes last. What a channel keeps track of -
its consumers, messages on their way, its end - is in `channel`.

Errors, for all methods: ValueError when an argument cannot be sent (nothing was sent, the channel stays usable);
AMQPChannelException when the server closes the channel, be it for this call or for one before that nothing answers;
ChannelClosedError when it was closed before; AMQPConnectionException (an OSError as well when the network was the
cause) when the connection is over; AMQPTimeoutError when the connection's reply_timeout is up, and the channel with it;
DialectError where the AMQP version that is spoken has no such method.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Literal, NamedTuple, Optional, overload

from .abstract_channel import AbstractChannel
from .logger import LOGGER
from .unseen import given_back, settle_given, take_again

__all__ = ["Arguments", "ChannelMethods", "DeclaredQueue"]

Arguments = Optional[Dict[str, Any]]


class DeclaredQueue(NamedTuple):
    """What queue_declare() returns."""

    #: Its name, which the server may have made up.
    queue: str
    #: Messages that are ready to be delivered.
    message_count: int
    consumer_count: int


class ChannelMethods(AbstractChannel):
    """The part of Channel that keeps no track of anything."""

    default_ticket: int
    is_open: bool

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
        ticket: int = self._amqplib.call("access.request", realm, exclusive, passive, active, write, read)[1][0]
        self.default_ticket = ticket
        return ticket

    def _amqplib_ticket(self, ticket: Optional[int]) -> int:
        return self.default_ticket if ticket is None else ticket

    # --- class channel

    def flow(self, active: bool) -> bool:
        """Ask the server to stop (False) or go on (True) sending deliveries; what it says it does.

        RabbitMQ >= 3 refuses False with 540 NOT_IMPLEMENTED, which ends the connection: use basic_qos().
        """
        return bool(self._amqplib.call("channel.flow", active)[1][0])

    # --- class exchange

    def exchange_declare(
        self,
        exchange: str,
        type: str = "",
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        nowait: bool = False,
        arguments: Arguments = None,
        ticket: Optional[int] = None,
    ) -> None:
        """Create an exchange of a type ('direct', 'fanout', 'topic', 'headers'), or check the one that is there.

        passive: only check that it exists (404 when not). durable: it survives a restart of the broker.
        auto_delete: it goes when nothing is bound to it any more. internal: only other exchanges publish to it.
        nowait: return without an answer; an error closes the channel later.
        The type may be left out with passive only.
        """
        if type == "" and not passive:
            raise TypeError(
                "exchange_declare() has no type, such as direct, fanout, topic or headers; it may be left out with"
                " passive=True only"
            )
        self._amqplib.request(
            "exchange.declare",
            nowait,
            self._amqplib_ticket(ticket),
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
        self._amqplib.request("exchange.delete", nowait, self._amqplib_ticket(ticket), exchange, if_unused, nowait)

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
        args = self._amqplib_ticket(ticket), destination, source, routing_key, nowait, arguments
        self._amqplib.request("exchange.bind", nowait, *args)

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
        args = self._amqplib_ticket(ticket), destination, source, routing_key, nowait, arguments
        self._amqplib.request("exchange.unbind", nowait, *args)

    # --- class queue

    @overload
    def queue_declare(
        self,
        queue: str = "",
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        nowait: Literal[False] = False,
        arguments: Arguments = None,
        ticket: Optional[int] = None,
    ) -> DeclaredQueue: ...

    @overload
    def queue_declare(
        self,
        queue: str = "",
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        nowait: bool = False,
        arguments: Arguments = None,
        ticket: Optional[int] = None,
    ) -> Optional[DeclaredQueue]: ...

    def queue_declare(
        self,
        queue: str = "",
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        nowait: bool = False,
        arguments: Arguments = None,
        ticket: Optional[int] = None,
    ) -> Optional[DeclaredQueue]:
        """Create a queue, or check the one that is there; its facts, None with nowait.

        queue: '' lets the server make up a name. passive: only check that it exists. durable: it survives a restart
        of the broker. exclusive: only for this connection, and gone with it. auto_delete: it goes, with what is in it,
        when its last consumer does. The queue declared last is what '' means to other methods of this channel.
        """
        reply = self._amqplib.request(
            "queue.declare",
            nowait,
            self._amqplib_ticket(ticket),
            queue,
            passive,
            durable,
            exclusive,
            auto_delete,
            nowait,
            arguments,
        )
        return None if reply is None else DeclaredQueue._make(reply)

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
        self._amqplib.request(
            "queue.bind", nowait, self._amqplib_ticket(ticket), queue, exchange, routing_key, nowait, arguments
        )

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
        self._amqplib.call("queue.unbind", self._amqplib_ticket(ticket), queue, exchange, routing_key, arguments)

    def queue_purge(self, queue: str = "", nowait: bool = False, ticket: Optional[int] = None) -> Optional[int]:
        """Drop all messages that are ready in the queue; how many there were, None with nowait."""
        reply = self._amqplib.request("queue.purge", nowait, self._amqplib_ticket(ticket), queue, nowait)
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
        reply = self._amqplib.request(
            "queue.delete", nowait, self._amqplib_ticket(ticket), queue, if_unused, if_empty, nowait
        )
        return None if reply is None else int(reply[0])

    # --- class basic

    def basic_qos(self, prefetch_size: int = 0, prefetch_count: Optional[int] = None, a_global: bool = False) -> None:
        """Limit what the server sends ahead: at most prefetch_count unacknowledged deliveries; 0 for no limit.

        prefetch_size, in bytes, has to be 0 on RabbitMQ, which knows no other limit than the count. a_global: for the
        whole channel instead of each consumer (RabbitMQ's reading, which 4.3 and later ignore:
        https://www.rabbitmq.com/docs/consumer-prefetch).
        """
        if prefetch_count is None:  # most likely it was meant to be the first one, which is the size
            raise TypeError("basic_qos() has no prefetch_count: basic_qos(prefetch_count=...)")
        self._amqplib.call("basic.qos", prefetch_size, prefetch_count, a_global)
        if not a_global:
            return
        from .connect import hints  # rarely needed

        hint = hints.on_global_qos(self._amqplib.driver.session.server_properties)
        if hint:
            LOGGER.warning("%s: %s", self._amqplib.where, hint)

    def basic_ack(self, delivery_tag: int, multiple: bool = False) -> None:
        """Tell the server that a message is done with; with multiple also all before it (0: all) that was given here.

        What had come and was not handled yet is never among them: where it had come before, those that were given are
        acknowledged one by one.
        """
        line = self._amqplib
        if multiple:
            self._amqplib_settle(delivery_tag, lambda *which: line.ack_frame(line.port.number, *which))
            return
        sending = line.sending  # first: see Line.emit
        line.emit(line.ack_frame(line.port.number, delivery_tag, multiple), sending, not line.consumers.transacted)
        line.consumers.given.pop(delivery_tag, None)

    def _amqplib_settle(self, delivery_tag: int, frame_of: Callable[[int, bool], bytes]) -> None:
        """Settle several."""
        line = self._amqplib
        sending = line.sending  # first: see Line.emit
        frame_of(delivery_tag, True)  # ValueError, before anything is sent
        line.check()
        settle_given(line, delivery_tag, lambda tag, multiple: line.emit(frame_of(tag, multiple), sending))

    def basic_nack(self, delivery_tag: int, multiple: bool = False, requeue: bool = True) -> None:
        """Give messages back, with multiple all up to this one. They are requeued, or dropped or dead-lettered. 0-9-1.

        https://www.rabbitmq.com/docs/nack
        """
        line = self._amqplib
        if multiple:
            self._amqplib_settle(delivery_tag, lambda *which: line.frame("basic.nack", *which, requeue))
            return
        line.send("basic.nack", delivery_tag, multiple, requeue)
        given_back(line, delivery_tag)

    def basic_reject(self, delivery_tag: int, requeue: bool = False) -> None:
        """Give a message back; the server requeues it, or drops or dead-letters it."""
        line = self._amqplib
        line.send("basic.reject", delivery_tag, requeue)
        given_back(line, delivery_tag)

    def basic_recover(self, requeue: bool = False) -> None:
        """Ask for all unacknowledged messages of this channel again; with requeue anybody may get them.

        RabbitMQ has requeue=True only: the default, which AMQP has for old programs, is answered with 540 and the end
        of the connection. Nothing answers the other. The messages come again under new delivery tags, as redelivered,
        and the former ones are refused then (406). What was on its way when this was called is delivered twice, first
        under a former tag: so call this where nothing is, as with a basic_qos() that is exhausted.
        """
        line = self._amqplib
        if requeue:
            take_again(line, lambda: line.send("basic.recover_async", True))
        else:
            line.send("basic.recover_async", requeue)

    # --- class tx

    def tx_select(self) -> None:
        """From now on publishes and acknowledgements take effect with tx_commit() only."""
        self._amqplib.call("tx.select")
        self._amqplib.consumers.transacted = True

    def tx_commit(self) -> None:
        """Make all publishes and acknowledgements since the last commit or rollback happen."""
        self._amqplib.call("tx.commit")

    def tx_rollback(self) -> None:
        """Forget all publishes and acknowledgements since the last commit or rollback."""
        self._amqplib.call("tx.rollback")
