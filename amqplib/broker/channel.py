"""A channel of a connection: what each method of a client does. The methods about exchanges and queues are in topology.

A Python method's name is that of the AMQP method, and its arguments are the method's fields in their order; so the
method table is the only place where they are listed. A method without a Python method here is one that a client may
not send.
"""

from __future__ import annotations

import struct
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from ..wire.tables import encode_shortstr
from .arguments import consumer_priority
from .errors import ChannelRefusal, ConnectionRefusal
from .message import MESSAGE_OVERHEAD, Content, Message
from .names import unique_name
from .peer import Peer
from .queue import Consumer, Entry, Queue
from .replies import REPLY_TO
from .topology import TopologyMethods
from .vhost import Outcome, VHost

__all__ = ["Channel"]

_TAG_AND_BITS = struct.Struct(">QB")

_NO_ROUTE = (312, "NO_ROUTE")


class Unacked(NamedTuple):
    """A message that is out with the client."""

    queue: Queue
    entry: Entry
    consumer: Optional[ChannelConsumer]


class ChannelConsumer(Consumer):
    """A consumer of this channel."""

    __slots__ = ("_channel", "_limit", "_outstanding", "_prefix", "exclusive", "no_ack", "priority", "queue", "tag")

    def __init__(
        self, channel: Channel, queue: Queue, tag: str, no_ack: bool, exclusive: bool, priority: int, limit: int
    ) -> None:
        self._channel = channel
        self._limit = 0 if no_ack else limit
        self._outstanding = 0
        self._prefix = channel.deliver_key + encode_shortstr(tag)
        self.queue = queue
        self.tag = tag
        self.no_ack = no_ack
        self.exclusive = exclusive
        self.priority = priority

    def ready(self) -> bool:
        """Neither its own limit nor anything of the channel is in the way."""
        return not 0 < self._limit <= self._outstanding and self._channel.takes_deliveries()

    def deliver(self, entry: Entry) -> None:
        """basic.deliver"""
        channel = self._channel
        if self.no_ack:
            tag = channel.next_tag()
            self.queue.settle(entry)
        else:
            self._outstanding += 1
            channel.outstanding += 1
            tag = channel.hold(Unacked(self.queue, entry, self))
        message = entry.message
        payload = self._prefix + _TAG_AND_BITS.pack(tag, entry.redelivered) + message.route
        channel.write_content(payload, message.properties.raw, message.body)

    def settled(self) -> None:
        """One of its messages is done with."""
        self._outstanding -= 1
        self._channel.outstanding -= 1

    def cancelled(self) -> None:
        """The queue is gone."""
        self._channel.consumer_cancelled(self)


class Channel(TopologyMethods):
    """One channel, from channel.open on."""

    def __init__(self, session: Peer, number: int, vhost: VHost, confirms_due: Callable[[Channel], None]) -> None:
        self.vhost = vhost
        self.owner = session
        self.number = number
        #: The client has been told that the channel closes, and has not answered yet.
        self.closing = False
        #: Messages that consumers of this channel hold.
        self.outstanding = 0
        self.consumers: Dict[str, ChannelConsumer] = {}
        self.deliver_key = session.dialect["basic.deliver"].key.to_bytes(4, "big")
        self._session = session
        self._confirms_due = confirms_due  # called when there are some
        self._tag = 0
        self._unacked: Dict[int, Unacked] = {}
        self._consumer_limit = 0
        self._channel_limit = 0
        self._turn = 0  # of queues, where the channel's limit has them wait for each other
        self._reply_tag = self._reply_name = ""  # of the consumer of replies
        self._published: Optional[int] = None  # the latest publish's number, once confirms are on
        self._confirms: List[Tuple[int, bool]] = []  # decided and not yet told
        self._transaction: Optional[_Transaction] = None

    # --- what consumers need

    def takes_deliveries(self) -> bool:
        """May consumers of this channel get something now? Its limit holds back even those that do not acknowledge."""
        return self._session.writable and not 0 < self._channel_limit <= self.outstanding

    def next_tag(self) -> int:
        """A new delivery tag."""
        self._tag += 1
        return self._tag

    def hold(self, unacked: Unacked) -> int:
        """Remember a message that the client has to acknowledge, by the tag returned."""
        self._tag += 1
        self._unacked[self._tag] = unacked
        return self._tag

    def write_content(self, payload: bytes, properties: bytes, body: bytes) -> None:
        """Send a method, given as its payload, with a content."""
        self._session.write_content(self.number, payload, properties, body)

    def consumer_cancelled(self, consumer: ChannelConsumer) -> None:
        """Its queue is gone, or somebody has it end: the client is told, if it said that it wants to know."""
        del self.consumers[consumer.tag]
        if self._session.tells_of_cancelled_consumers and not self.closing:
            self.reply("basic.cancel", consumer.tag, True)

    def cancel_consumers(self, queue: Optional[str]) -> int:
        """Have consumers of this queue, or of any, end; how many."""
        ended = [consumer for consumer in self.consumers.values() if queue in (None, consumer.queue.name)]
        for consumer in ended:
            consumer.cancelled()
            self.vhost.remove_consumer(consumer.queue, consumer)
        return len(ended)

    def pump(self) -> None:
        """Something that was in the way of deliveries is not any more. The queues take turns to be the first, and share
        what the channel's limit has room for: each gives one message, and then another."""
        queues = list(dict.fromkeys(consumer.queue for consumer in self.consumers.values()))
        if queues:
            self._turn = (self._turn + 1) % len(queues)
            queues = queues[self._turn :] + queues[: self._turn]
        while self._channel_limit and queues:
            queues = [queue for queue in queues if queue.hand_out()]
        for queue in queues:
            queue.pump()

    def reply(self, name: str, *args: object) -> None:
        """Send a method."""
        self._session.send(self.number, name, *args)

    # --- the channel

    def channel_flow(self, active: bool) -> None:
        """channel.flow; RabbitMQ lets clients stop nothing with it."""
        if not active:
            raise ConnectionRefusal(540, "active=false")
        self.reply("channel.flow_ok", True)

    def channel_flow_ok(self, active: bool) -> None:
        """The answer to a flow of ours."""

    def stop(self) -> None:
        """The channel is over: what it held goes back, in its order."""
        self.closing = True
        for consumer in list(self.consumers.values()):
            self.vhost.remove_consumer(consumer.queue, consumer)
        self.consumers.clear()
        self._end_replies()
        held = list(self._unacked.values())
        if self._transaction:
            held += [unacked for _, _, unacked in self._transaction.settlements]
            self._forget_publishes(self._transaction)
        self._unacked.clear()
        self._transaction = None
        self._return_to_queues(held)

    @staticmethod
    def _return_to_queues(held: List[Unacked]) -> None:
        by_queue: Dict[Queue, List[Entry]] = {}
        for unacked in held:
            if unacked.consumer:
                unacked.consumer.settled()
            by_queue.setdefault(unacked.queue, []).append(unacked.entry)
        for queue, entries in by_queue.items():
            queue.requeue(entries)

    # --- consumers

    def basic_qos(self, prefetch_size: int, prefetch_count: int, a_global: bool) -> None:
        """basic.qos: for consumers yet to come, or for the channel (https://www.rabbitmq.com/docs/consumer-prefetch)."""
        if prefetch_size:
            raise ConnectionRefusal(540, "prefetch_size!=0 (%d)" % prefetch_size)
        if a_global:
            self._channel_limit = prefetch_count
        else:
            self._consumer_limit = prefetch_count
        self.reply("basic.qos_ok")
        self.pump()

    def basic_consume(
        self,
        ticket: int,
        queue: str,
        consumer_tag: str,
        no_local: bool,
        no_ack: bool,
        exclusive: bool,
        nowait: bool,
        arguments: Optional[Dict[str, Any]] = None,
    ) -> None:
        """basic.consume. no_local means nothing to RabbitMQ."""
        if consumer_tag in self.consumers:
            raise ConnectionRefusal(530, "attempt to reuse consumer tag '%s'" % consumer_tag)
        if (queue or self.latest_name()) == REPLY_TO:
            self._consume_replies(consumer_tag, no_ack, nowait)
            return
        source = self.queue_named(queue)
        if self._channel_limit and source.arguments.get("x-queue-type") == "quorum":
            raise ConnectionRefusal(540, "%s does not support global qos" % self.vhost.described(source.name))
        tag = consumer_tag or unique_name("amq.ctag-")
        priority = consumer_priority(arguments or {}, self.vhost.described(source.name))
        consumer = ChannelConsumer(self, source, tag, no_ack, exclusive, priority, self._consumer_limit)
        self.vhost.add_consumer(source, consumer)
        self.consumers[tag] = consumer
        if not nowait:
            self.reply("basic.consume_ok", tag)
        source.pump()

    def _consume_replies(self, consumer_tag: str, no_ack: bool, nowait: bool) -> None:
        if not no_ack:
            raise ChannelRefusal(406, "reply consumer cannot acknowledge")
        if self._reply_name:
            raise ChannelRefusal(406, "reply consumer already set")
        self._reply_tag = consumer_tag or unique_name("amq.ctag-")
        self._reply_name = self.vhost.replies.expect(self._deliver_reply)
        if not nowait:
            self.reply("basic.consume_ok", self._reply_tag)

    def _deliver_reply(self, message: Message) -> None:
        head = self.deliver_key + encode_shortstr(self._reply_tag) + _TAG_AND_BITS.pack(self.next_tag(), False)
        self.write_content(head + message.route, message.properties.raw, message.body)

    def _end_replies(self) -> None:
        if self._reply_name:
            self.vhost.replies.forget(self._reply_name)
            self._reply_tag = self._reply_name = ""

    def basic_cancel(self, consumer_tag: str, nowait: bool) -> None:
        """basic.cancel. A tag that is not there is no error."""
        if self._reply_name and consumer_tag == self._reply_tag:
            self._end_replies()
        consumer = self.consumers.pop(consumer_tag, None)
        if consumer:
            self.vhost.remove_consumer(consumer.queue, consumer)
        if not nowait:
            self.reply("basic.cancel_ok", consumer_tag)

    def basic_cancel_ok(self, consumer_tag: str) -> None:
        """The answer to a cancel of ours; ours want none."""

    def basic_get(self, ticket: int, queue: str, no_ack: bool) -> None:
        """basic.get"""
        source = self.queue_named(queue)
        entry = source.get()
        if entry is None:
            self.reply("basic.get_empty", "")
            return
        if no_ack:
            tag = self.next_tag()
            source.settle(entry)
        else:
            tag = self.hold(Unacked(source, entry, None))
        message = entry.message
        payload = self._session.dialect["basic.get_ok"].encode(
            tag, entry.redelivered, message.exchange, message.routing_key, source.message_count
        )
        self.write_content(payload, message.properties.raw, message.body)

    # --- what becomes of deliveries

    def basic_ack(self, delivery_tag: int, multiple: bool) -> None:
        """basic.ack"""
        self._settle("ack", delivery_tag, multiple)

    def basic_nack(self, delivery_tag: int, multiple: bool, requeue: bool) -> None:
        """basic.nack"""
        self._settle("requeue" if requeue else "reject", delivery_tag, multiple)

    def basic_reject(self, delivery_tag: int, requeue: bool) -> None:
        """basic.reject"""
        self._settle("requeue" if requeue else "reject", delivery_tag, False)

    def _settle(self, how: str, delivery_tag: int, multiple: bool) -> None:
        taken = self._take(delivery_tag, multiple)
        if self._transaction:
            self._transaction.settlements += [(how, tag, unacked) for tag, unacked in taken]
        else:
            self._carry_out(how, [unacked for _, unacked in taken])

    def _take(self, delivery_tag: int, multiple: bool) -> List[Tuple[int, Unacked]]:
        """The messages that a tag means, no longer held; 406 where there is none."""
        held = self._unacked
        if multiple and not delivery_tag:
            taken = list(held.items())
        elif delivery_tag not in held:
            raise ChannelRefusal(406, "unknown delivery tag %d" % delivery_tag)
        elif not multiple:
            return [(delivery_tag, held.pop(delivery_tag))]
        else:
            taken = []
            for tag, unacked in held.items():  # by rising tags, for they are held in that order
                if tag > delivery_tag:
                    break
                taken.append((tag, unacked))
        for tag, _ in taken:
            del held[tag]
        return taken

    def _carry_out(self, how: str, taken: List[Unacked]) -> None:
        if how == "requeue":
            self._return_to_queues(taken)
        else:
            for queue, entry, consumer in taken:
                if consumer:
                    consumer.settled()
                if how == "ack":
                    queue.settle(entry)
                else:
                    queue.reject(entry)
        if self._channel_limit:
            self.pump()
        else:
            for consumer in {unacked.consumer for unacked in taken}:
                if consumer:
                    consumer.queue.pump()

    def basic_recover(self, requeue: bool) -> None:
        """basic.recover"""
        self.basic_recover_async(requeue)
        self.reply("basic.recover_ok")

    def basic_recover_async(self, requeue: bool) -> None:
        """basic.recover of 0-8, and basic.recover-async, which nothing answers."""
        if not requeue:
            raise ConnectionRefusal(540, "requeue=false")
        held = list(self._unacked.values())
        self._unacked.clear()
        self._return_to_queues(held)

    # --- publishing

    def basic_publish(
        self, ticket: int, exchange: str, routing_key: str, mandatory: bool, immediate: bool, content: Content
    ) -> None:
        """basic.publish"""
        if immediate:
            raise ConnectionRefusal(540, "immediate=true")
        if self.vhost.exchange(exchange).internal:
            raise ChannelRefusal(
                403, "cannot publish to internal exchange '%s' in vhost '%s'" % (exchange, self.vhost.name)
            )
        content.check_properties(self._session.user)
        if content.properties.values.get("reply_to") == REPLY_TO:
            if not self._reply_name:
                raise ChannelRefusal(406, "fast reply consumer does not exist")
            content = content.with_properties(reply_to=self._reply_name)
        if self.vhost.replies.waiting and not exchange:
            self.vhost.deliver_replies(routing_key, content)
        if self._transaction:
            content.check()  # not when the commit is half done
            self._transaction.publishes.append((exchange, routing_key, mandatory, content))
            self._session.memory.octets += MESSAGE_OVERHEAD + len(content.body)
        elif self._published is None:
            self._publish(exchange, routing_key, mandatory, content)
        else:
            self._published += 1
            if self._session.orders.nacks_this_publish():
                confirmed = False
            else:
                confirmed = self._publish(exchange, routing_key, mandatory, content).accepted
            if not self._confirms:
                self._confirms_due(self)
            self._confirms.append((self._published, confirmed))

    def _publish(self, exchange: str, routing_key: str, mandatory: bool, content: Content) -> Outcome:
        outcome = self.vhost.publish(exchange, routing_key, content)
        if mandatory and not outcome.routed:
            payload = self._session.dialect["basic.return"].encode(*_NO_ROUTE, exchange, routing_key)
            self.write_content(payload, content.properties.raw, content.body)
        return outcome

    def confirm_select(self, nowait: bool) -> None:
        """confirm.select"""
        if self._transaction:
            raise ChannelRefusal(406, "cannot switch from tx to confirm mode")
        if self._published is None:
            self._published = 0
        if not nowait:
            self.reply("confirm.select_ok")

    def take_confirms(self) -> List[Tuple[int, bool]]:
        """What is to be told to the publisher: number and whether all is well, in order."""
        confirms, self._confirms = self._confirms, []
        return confirms

    def confirm(self, confirms: List[Tuple[int, bool]]) -> None:
        """basic.ack and basic.nack; publishes that are well and follow each other share one."""
        if self.closing:
            return
        for place, (number, well) in enumerate(confirms):
            if not well:
                self.reply("basic.nack", number, False, False)
            elif place + 1 == len(confirms) or not confirms[place + 1][1]:
                self.reply("basic.ack", number, place > 0 and confirms[place - 1][1])

    # --- transactions

    def tx_select(self) -> None:
        """tx.select"""
        if self._published is not None:
            raise ChannelRefusal(406, "cannot switch from confirm to tx mode")
        self._transaction = self._transaction or _Transaction()
        self.reply("tx.select_ok")

    def tx_commit(self) -> None:
        """tx.commit"""
        done = self._begin_anew()
        for publish in done.publishes:
            self._publish(*publish)
        for how, _, unacked in done.settlements:
            self._carry_out(how, [unacked])
        self.reply("tx.commit_ok")

    def tx_rollback(self) -> None:
        """tx.rollback: publishes are forgotten, and what was acknowledged is held again."""
        undone = self._begin_anew()
        held = {**self._unacked, **{tag: unacked for _, tag, unacked in undone.settlements}}
        self._unacked = dict(sorted(held.items()))
        self.reply("tx.rollback_ok")

    def _begin_anew(self) -> _Transaction:
        if self._transaction is None:
            raise ChannelRefusal(406, "channel is not transactional")
        ended, self._transaction = self._transaction, _Transaction()
        self._forget_publishes(ended)
        return ended

    def _forget_publishes(self, ended: _Transaction) -> None:
        self._session.memory.octets -= sum(MESSAGE_OVERHEAD + len(content.body) for _, _, _, content in ended.publishes)


class _Transaction:
    """What a commit carries out."""

    def __init__(self) -> None:
        self.publishes: List[Tuple[str, str, bool, Content]] = []
        self.settlements: List[Tuple[str, int, Unacked]] = []
