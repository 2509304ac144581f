"""A virtual host: its exchanges, queues and bindings, and the way of a message through them. No I/O.

What a method asks for that cannot be is refused here, with RabbitMQ's codes and words.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import Any, Callable, Deque, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from .arguments import (
    check_binding_arguments,
    check_equivalent,
    check_equivalent_arguments,
    check_exchange_arguments,
    check_queue_arguments,
    equivalent_arguments,
    expiration,
)
from .errors import ChannelRefusal, ConnectionRefusal
from .memory import Memory
from .message import Content, Message, carbon_copies, dead_letter, in_a_circle, route_bytes
from .names import unique_name
from .queue import Consumer, Queue
from .replies import Replies
from .routing import MATCHES, Binding
from .timers import Timer, Timers

__all__ = ["AT_ONCE", "MOST_DEAD", "Exchange", "Outcome", "VHost"]

_PREDECLARED = {
    "": "direct",
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.topic": "topic",
    "amq.headers": "headers",
    "amq.match": "headers",
}

#: Routes that are remembered before they are all forgotten.
_BOUND = 4096

#: Messages that go on to dead-letter exchanges at once when one dies; of those that die on the way, more than honest
#: programs have. For others a turn ends after so many seconds.
AT_ONCE = 100
_TURN = 0.002

#: Dead messages that wait, beyond which those that die on the way are dropped: where each goes to many queues that pass
#: it on to each other, they would be more and more.
MOST_DEAD = 10_000


class Exchange:
    """An exchange and the bindings of which it is the source."""

    def __init__(
        self,
        name: str,
        type: str,
        durable: bool = True,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Optional[Mapping[str, Any]] = None,
    ) -> None:
        self.name = name
        self.type = type
        self.durable = durable
        self.auto_delete = auto_delete
        self.internal = internal
        self.arguments = arguments or {}
        self.bindings: List[Binding] = []

    @property
    def properties(self) -> Dict[str, Any]:
        """What a second declaration must agree with, in the order in which it is compared."""
        return {
            "type": self.type,
            "durable": self.durable,
            "auto_delete": self.auto_delete,
            "internal": self.internal,
        }


class Outcome(NamedTuple):
    """What became of a publish."""

    #: Some queue was found for it.
    routed: bool
    #: No queue has refused it.
    accepted: bool


class _Route(NamedTuple):
    queues: Sequence[Queue]
    octets: bytes


class VHost:
    """One virtual host."""

    def __init__(
        self,
        name: str,
        timers: Timers,
        now: Callable[[], datetime],
        memory: Optional[Memory] = None,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.name = name
        self.exchanges = {name: Exchange(name, type) for name, type in _PREDECLARED.items()}
        self.queues: Dict[str, Queue] = {}
        #: Who waits for replies without a queue.
        self.replies = Replies()
        self._timers = timers
        self._now = now
        self._memory = memory or Memory()
        self._log = log
        self._dead: Deque[Tuple[Queue, Message, str]] = deque()  # on their way to dead-letter exchanges
        self._burying = False
        self._later: Optional[Timer] = None  # has the rest of them go on
        self._dropping = False  # there are too many
        self._routes: Dict[Tuple[str, str], _Route] = {}

    def described(self, queue: str) -> str:
        """The queue as refusals name it."""
        return self._of("queue", queue)

    def _of(self, kind: str, name: str) -> str:
        return "%s '%s' in vhost '%s'" % (kind, name, self.name)

    # --- exchanges

    def exchange(self, name: str) -> Exchange:
        """The exchange of this name; 404 where there is none."""
        try:
            return self.exchanges[name]
        except KeyError:
            raise ChannelRefusal(404, "no %s" % self._of("exchange", name)) from None

    @staticmethod
    def _not_the_default(name: str) -> None:
        if not name:
            raise ChannelRefusal(403, "operation not permitted on the default exchange")

    def existing_exchange(self, name: str) -> Exchange:
        """exchange.declare, passive."""
        self._not_the_default(name)
        return self.exchange(name)

    def declare_exchange(
        self, name: str, type: str, durable: bool, auto_delete: bool, internal: bool, arguments: Mapping[str, Any]
    ) -> None:
        """exchange.declare, not passive."""
        if type not in MATCHES:
            raise ConnectionRefusal(503, "unknown exchange type '%s'" % type)
        self._not_the_default(name)
        check_exchange_arguments(arguments, self._of("exchange", name))
        made = Exchange(name, type, durable, auto_delete, internal, arguments)
        current = self.exchanges.get(name)
        if current:
            what = self._of("exchange", name)
            check_equivalent(what, current.properties, made.properties)
            check_equivalent_arguments(what, ["alternate-exchange"], current.arguments, arguments)
            return
        if name.startswith("amq."):
            raise ChannelRefusal(403, "exchange name '%s' contains reserved prefix 'amq.*'" % name)
        self.exchanges[name] = made
        self._routes.clear()

    def delete_exchange(self, name: str, if_unused: bool) -> None:
        """exchange.delete. One that is not there is no error."""
        self._not_the_default(name)
        if name.startswith("amq."):
            raise ChannelRefusal(403, "deletion of system %s not allowed" % self._of("exchange", name))
        exchange = self.exchanges.get(name)
        if exchange is None:
            return
        if if_unused and exchange.bindings:
            raise ChannelRefusal(406, "%s in use" % self._of("exchange", name))
        del self.exchanges[name]
        self._drop_bindings_to("exchange", name)

    # --- bindings

    def bind(self, source: str, binding: Binding, owner: object) -> None:
        """queue.bind and exchange.bind."""
        self._not_the_default(source)
        exchange = self.exchange(source)
        if binding.destination_kind == "queue":
            self.queue(binding.destination, owner)
        else:
            self.existing_exchange(binding.destination)
        if exchange.type == "headers":
            check_binding_arguments(binding.arguments)
        if binding not in exchange.bindings:
            exchange.bindings.append(binding)
            self._routes.clear()

    def unbind(self, source: str, binding: Binding, owner: object) -> None:
        """queue.unbind and exchange.unbind. What is not there is no error."""
        self._not_the_default(source)
        if binding.destination_kind == "exchange":
            self._not_the_default(binding.destination)
        exchange = self.exchanges.get(source)
        if exchange and binding in exchange.bindings:
            if binding.destination_kind == "queue":
                self.queue(binding.destination, owner)
            exchange.bindings.remove(binding)
            self._routes.clear()
            if exchange.auto_delete and not exchange.bindings:
                del self.exchanges[source]
                self._drop_bindings_to("exchange", source)

    def _drop_bindings_to(self, kind: str, name: str) -> None:
        """It is gone; and with it go exchanges that had their last binding to it, and so on."""
        self._routes.clear()
        gone = deque([(kind, name)])
        while gone:
            destination = gone.popleft()
            for exchange in list(self.exchanges.values()):
                kept = [b for b in exchange.bindings if (b.destination_kind, b.destination) != destination]
                if len(kept) < len(exchange.bindings):
                    exchange.bindings = kept
                    if exchange.auto_delete and not kept:
                        del self.exchanges[exchange.name]
                        gone.append(("exchange", exchange.name))

    # --- queues

    def queue(self, name: str, owner: object) -> Queue:
        """The queue of this name, for the connection `owner`; 404 where there is none, 405 if it is another's."""
        queue = self.queues.get(name)
        if queue is None:
            raise self.no_queue(name)
        if queue.owner is not None and queue.owner is not owner:
            raise self._locked(name)
        return queue

    def no_queue(self, name: str) -> ChannelRefusal:
        """The refusal of what is about a queue that is not there."""
        return ChannelRefusal(404, "no %s" % self._of("queue", name))

    def _locked(self, name: str) -> ChannelRefusal:
        return ChannelRefusal(
            405,
            "cannot obtain exclusive access to locked %s. It could be originally declared on another connection or "
            "the exclusive property value does not match that of the original declaration." % self._of("queue", name),
        )

    def declare_queue(
        self,
        name: str,
        durable: bool,
        exclusive: bool,
        auto_delete: bool,
        arguments: Mapping[str, Any],
        owner: object,
    ) -> Queue:
        """queue.declare, not passive; an empty name has the server give one."""
        current = self.queues.get(name)
        what = self._of("queue", name)
        if current:
            if current.owner is not (owner if exclusive else None):
                raise self._locked(name)
            check_equivalent(
                what,
                {"durable": current.durable, "auto_delete": current.auto_delete},
                {"durable": durable, "auto_delete": auto_delete},
            )
            check_equivalent_arguments(what, equivalent_arguments(current.arguments), current.arguments, arguments)
            current.used()
            return current
        if name.startswith("amq."):
            raise ChannelRefusal(403, "queue name '%s' contains reserved prefix 'amq.*'" % name)
        name = name or unique_name("amq.gen-")
        check_queue_arguments(arguments, self.described(name), durable, exclusive, auto_delete)
        queue = Queue(name, self._timers, durable, auto_delete, owner if exclusive else None, arguments, self._memory)
        queue.on_dead = self._bury
        queue.on_expired = self._disused
        self.queues[name] = queue
        self._routes.clear()
        return queue

    def delete_queue(self, queue: Queue, if_unused: bool = False, if_empty: bool = False) -> int:
        """queue.delete of one that is there; the messages that were ready in it."""
        if if_unused and queue.consumers:
            raise ChannelRefusal(406, "%s in use" % self._of("queue", queue.name))
        if if_empty and queue.message_count:
            raise ChannelRefusal(406, "%s not empty" % self._of("queue", queue.name))
        del self.queues[queue.name]
        self._drop_bindings_to("queue", queue.name)
        return queue.delete()

    def _disused(self, queue: Queue) -> None:
        self.delete_queue(queue)

    def add_consumer(self, queue: Queue, consumer: Consumer) -> None:
        """basic.consume; 403 where an exclusive consumer is, or cannot be."""
        taken = queue.consumers and (consumer.exclusive or queue.consumers[0].exclusive)
        if taken or (consumer.exclusive and queue.options.single_active_consumer):
            raise ChannelRefusal(403, "%s in exclusive use" % self._of("queue", queue.name))
        queue.add_consumer(consumer)

    def remove_consumer(self, queue: Queue, consumer: Consumer) -> None:
        """It is cancelled, or its channel is gone."""
        if queue.deleted:
            return
        queue.remove_consumer(consumer)
        if queue.auto_delete and not queue.consumers:
            self.delete_queue(queue)

    # --- messages

    def publish(self, exchange: str, routing_key: str, content: Content) -> Outcome:
        """basic.publish to an exchange that is there."""
        properties = content.properties
        values = properties.values
        headers = values.get("application_headers")
        if headers and ("CC" in headers or "BCC" in headers):
            message = Message(exchange, routing_key, properties, content.body)
            keys = [routing_key, *carbon_copies(headers), *carbon_copies(headers, "BCC")]
            if "BCC" in headers:
                message = message.without("BCC")
            return self._enqueue(message, self._find(exchange, keys, headers)[0])
        route = self._routes.get((exchange, routing_key))
        if route is None:
            queues, fixed = self._find(exchange, [routing_key], headers or {})
            route = _Route(queues, route_bytes(exchange, routing_key))
            if fixed:
                if len(self._routes) >= _BOUND:
                    self._routes.clear()
                self._routes[exchange, routing_key] = route
        message = Message(exchange, routing_key, properties, content.body, route.octets)
        return self._enqueue(message, route.queues)

    def deliver_replies(self, routing_key: str, content: Content) -> None:
        """Before publish() to the default exchange: hand the message to who waits for it without a queue."""
        content.check()
        message = Message("", routing_key, content.properties, content.body)
        headers = message.headers
        keys = [routing_key, *carbon_copies(headers), *carbon_copies(headers, "BCC")]
        self.replies.deliver(message.without("BCC") if "BCC" in headers else message, keys)

    @staticmethod
    def _enqueue(message: Message, queues: Sequence[Queue]) -> Outcome:
        values = message.properties.values
        ttl = expiration(values.get("expiration"))
        priority = values.get("priority", 0)
        accepted = True
        for queue in queues:
            accepted = queue.publish(message, ttl, priority) and accepted
        return Outcome(bool(queues), accepted)

    def _find(self, exchange: str, keys: List[str], headers: Mapping[str, Any]) -> Tuple[List[Queue], bool]:
        """The queues that a message goes to, each once; and whether that is so whatever its headers are."""
        found: Dict[str, Queue] = {}
        fixed = True
        seen: Set[str] = set()
        waiting = [exchange]
        while waiting:
            name = waiting.pop(0)
            source = self.exchanges.get(name)
            if source is None or name in seen:
                continue
            seen.add(name)
            if not name:
                found.update((key, self.queues[key]) for key in keys if key in self.queues)
                continue
            fixed = fixed and source.type != "headers"
            matches = MATCHES[source.type]
            taken = [b for b in source.bindings if any(matches(b, key, headers) for key in keys)]
            for binding in taken:
                if binding.destination_kind == "queue":
                    found[binding.destination] = self.queues[binding.destination]
                else:
                    waiting.append(binding.destination)
            alternate = source.arguments.get("alternate-exchange")
            if not taken and alternate:  # the default exchange is none, as RabbitMQ sees it
                waiting.append(alternate)
        return list(found.values()), fixed

    # --- dead letters

    def _bury(self, queue: Queue, message: Message, reason: str) -> None:
        """A queue has dropped a message. It may be that another one drops it next, and so on: they are dealt with one
        after the other, AT_ONCE of them before this returns and the rest in turns with all else that there is to do."""
        if self._burying and len(self._dead) >= MOST_DEAD:
            self._drop()
            return
        self._memory.enter(message)
        self._dead.append((queue, message, reason))
        if not self._burying and self._later is None:
            self._bury_some(AT_ONCE)

    def _bury_some(self, number: int) -> None:
        clock = self._timers.clock
        until = clock() + _TURN
        self._burying = True
        failure: Optional[Exception] = None
        while self._dead and (number or clock() < until):
            number = max(0, number - 1)
            queue, message, reason = self._dead.popleft()
            self._memory.leave(message)
            if self._memory.exhausted:
                self._drop()
                continue
            try:
                self._to_dead_letter_exchange(queue, message, reason)
            except Exception as exc:  # the others are not to wait for the next one that dies
                failure = failure or exc
        self._burying = False
        self._dropping = self._dropping and bool(self._dead)
        self._later = self._timers.after(0, self._go_on_burying) if self._dead else None
        if failure:
            raise failure

    def _drop(self) -> None:
        if not self._dropping:
            self._dropping = True
            self._log("vhost %s: too many dead letters: some are dropped" % self.name)

    def _go_on_burying(self) -> None:
        self._bury_some(1)

    def _to_dead_letter_exchange(self, queue: Queue, message: Message, reason: str) -> None:
        """The way of a dead message, where its queue has one for it."""
        exchange = queue.options.dead_letter_exchange
        if exchange is None or exchange not in self.exchanges:
            return
        key = queue.options.dead_letter_routing_key
        keys = [message.routing_key, *carbon_copies(message.headers)] if key is None else [key]
        dead = dead_letter(message, queue.name, reason, self._now(), exchange, key)
        queues, _ = self._find(exchange, keys, dead.headers)
        if reason != "rejected":
            queues = [queue for queue in queues if not in_a_circle(dead, queue.name)]
        if not exchange:
            self.replies.deliver(dead, keys)
        self._enqueue(dead, queues)

    # --- the end of the broker, and its return

    def clear(self) -> None:
        """The virtual host is gone: give back what its messages take."""
        self.restart(durable=False)

    def restart(self, durable: bool) -> None:
        """What has outlived the broker stays: what is durable, or nothing. No connection is open meanwhile."""
        while self._dead:
            self._memory.leave(self._dead.popleft()[1])
        for queue in list(self.queues.values()):
            if durable and queue.durable:
                queue.drop_transient()
                queue.used()
            else:
                self.delete_queue(queue)
        for name, exchange in list(self.exchanges.items()):
            if not (durable and exchange.durable) and name not in _PREDECLARED and name in self.exchanges:
                del self.exchanges[name]
                self._drop_bindings_to("exchange", name)
        if not durable:
            for exchange in self.exchanges.values():
                exchange.bindings.clear()
