"""What a program has declared on a connection, so that it can be declared again on another: a record, no I/O.

It is what the program asked for and has not undone: exchanges, queues and bindings of the connection; consumers, the
limits of basic.qos and the modes (confirm, tx) of each channel. What it deleted, cancelled or unbound is not in it, nor
is what the broker deletes by itself as the last consumer of an auto-delete queue, or the last binding of an auto-delete
exchange, goes. A queue that was only looked at (passive) is not in it either.

A queue whose name the server makes up gets another name each time. It stands here under the first, which is the one
that the program knows, and `current` is what the peer calls it now.
"""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Optional, Set, Tuple

from ..wire.spec import AMQP_0_9_1, Method

__all__ = ["Channel", "Declaration", "Topology"]

#: Arguments of a method by their names, in its order.
Fields = Dict[str, Any]


class Declaration:
    """One thing that is declared again."""

    __slots__ = ("arguments", "channel", "kind", "method", "name")

    def __init__(self, kind: str, name: str, method: str, arguments: Fields, channel: int = 0) -> None:
        #: 'exchange', 'queue', 'binding', 'qos' or 'consumer'.
        self.kind = kind
        #: The exchange's, queue's or consumer's; of a binding its destination, the queue or exchange.
        self.name = name
        #: The method that declares it, such as 'queue.declare', and its arguments by their names in AMQP.
        self.method = method
        self.arguments = arguments
        #: The number of the channel, for qos and consumers.
        self.channel = channel

    def __str__(self) -> str:
        if self.kind == "binding":
            source = self.arguments.get("exchange", self.arguments.get("source"))
            text = "the binding of %r to exchange %r with routing key %r"
            return text % (self.name, source, self.arguments["routing_key"])
        if self.kind == "consumer":
            return "consumer %r of queue %r on channel %d" % (self.name, self.arguments["queue"], self.channel)
        if self.kind == "qos":
            return "basic.qos on channel %d" % self.channel
        return "%s %r" % (self.kind, self.name)


class Channel:
    """What is known of one channel."""

    __slots__ = ("consumers", "limits", "qos", "queue", "transacted")

    def __init__(self) -> None:
        #: The queue declared last, which is what '' stands for.
        self.queue = ""
        #: a_global -> the latest basic.qos.
        self.qos: Dict[bool, Fields] = {}
        #: consumer tag -> its basic.consume.
        self.consumers: Dict[str, Fields] = {}
        #: consumer tag -> the basic.qos that was in force for consumers when it began.
        self.limits: Dict[str, Optional[Fields]] = {}
        #: Has tx.select been called?
        self.transacted = False


class Topology:
    """The record of one connection."""

    def __init__(self) -> None:
        self.exchanges: Dict[str, Fields] = {}
        self.queues: Dict[str, Fields] = {}
        #: (method, destination, source, routing key, repr of the arguments) -> the method's fields.
        self.bindings: Dict[Tuple[str, str, str, str, str], Fields] = {}
        self.channels: Dict[int, Channel] = {}
        # the program's name -> the present one, of queues whose name the server made up
        self._names: Dict[str, str] = {}
        # queues that have had a consumer, which an auto-delete queue goes with
        self._consumed: Set[str] = set()

    def channel(self, number: int) -> Channel:
        """What is known of a channel."""
        found = self.channels.get(number)
        if found is None:
            found = self.channels[number] = Channel()
        return found

    # --- names

    def current(self, queue: str) -> str:
        """What the peer calls a queue now."""
        return self._names.get(queue, queue)

    def known_as(self, queue: str) -> str:
        """What the program calls it."""
        if not self._names:
            return queue  # most often
        return next((name for name, current in self._names.items() if current == queue), queue)

    def renamed(self, queue: str, current: str) -> None:
        """The server has made up another name."""
        self._names[queue] = current

    def on_wire(self, number: int, method: Method, args: Tuple[Any, ...]) -> Tuple[Any, ...]:
        """The arguments to send for those that the program gave: queues by their present names.

        '' stays where it asks for a new queue. Else it is the queue declared last on the channel, which the peer does
        not know of any more after a loss.
        """
        position = _QUEUES.get(method.name)
        if position is None or position >= len(args):
            return args
        queue = args[position]
        if queue and not self._names:
            return args  # most often
        if queue == "" and method.name != "queue.declare":
            queue = self.channel(number).queue
        if not isinstance(queue, str) or (queue == args[position] and queue not in self._names):
            return args
        return (*args[:position], self.current(queue), *args[position + 1 :])

    # --- what happens

    def happened(self, number: int, method: Method, args: Tuple[Any, ...], reply: Tuple[Any, ...] = ()) -> None:
        """A method has been sent on a channel, as the program gave it, and answered, unless nothing answers it."""
        note = _NOTES.get(method.name)
        if note is not None:
            fields = dict(zip(_names_of(method), args))
            if method.name != "queue.declare" and "queue" in fields:
                fields["queue"] = self.known_as(fields["queue"] or self.channel(number).queue)
            note(self, number, fields, reply)

    def _queue_declared(self, number: int, fields: Fields, reply: Tuple[Any, ...]) -> None:
        name = fields["queue"] or (reply[0] if reply else "")
        if not name:
            return  # without an answer nobody knows what it is called
        name = self.known_as(name)
        self.channel(number).queue = name
        if fields["passive"]:
            return
        if not fields["queue"]:
            self._names[name] = name
        if name not in self.queues or fields["queue"] == name:
            self.queues[name] = {**fields, "nowait": False}

    def _exchange_declared(self, number: int, fields: Fields, reply: Tuple[Any, ...]) -> None:
        if not fields["passive"] and fields["exchange"]:
            self.exchanges[fields["exchange"]] = {**fields, "nowait": False}

    def _queue_deleted(self, number: int, fields: Fields, reply: Tuple[Any, ...]) -> None:
        self._drop_queue(fields["queue"])

    def _drop_queue(self, name: str) -> None:
        self.queues.pop(name, None)
        self._names.pop(name, None)
        self._consumed.discard(name)
        for channel in self.channels.values():
            for tag in [tag for tag, fields in channel.consumers.items() if fields["queue"] == name]:
                del channel.consumers[tag]
        self._unbind([key for key in self.bindings if key[:2] == ("queue.bind", name)])

    def _exchange_deleted(self, number: int, fields: Fields, reply: Tuple[Any, ...]) -> None:
        self._drop_exchange(fields["exchange"])

    def _drop_exchange(self, name: str) -> None:
        self.exchanges.pop(name, None)
        gone = [key for key in self.bindings if key[2] == name or key[:2] == ("exchange.bind", name)]
        self._unbind(gone)

    def _queue_bound(self, number: int, fields: Fields, reply: Tuple[Any, ...]) -> None:
        key = "queue.bind", fields["queue"], fields["exchange"], fields["routing_key"], _as_key(fields)
        self.bindings[key] = {**fields, "nowait": False}

    def _exchange_bound(self, number: int, fields: Fields, reply: Tuple[Any, ...]) -> None:
        key = "exchange.bind", fields["destination"], fields["source"], fields["routing_key"], _as_key(fields)
        self.bindings[key] = {**fields, "nowait": False}

    def _queue_unbound(self, number: int, fields: Fields, reply: Tuple[Any, ...]) -> None:
        self._unbind([("queue.bind", fields["queue"], fields["exchange"], fields["routing_key"], _as_key(fields))])

    def _exchange_unbound(self, number: int, fields: Fields, reply: Tuple[Any, ...]) -> None:
        key = "exchange.bind", fields["destination"], fields["source"], fields["routing_key"], _as_key(fields)
        self._unbind([key])

    def _unbind(self, keys: List[Tuple[str, str, str, str, str]]) -> None:
        for key in keys:
            if self.bindings.pop(key, None) is None:
                continue
            source = self.exchanges.get(key[2])
            if source and source["auto_delete"] and not any(other[2] == key[2] for other in self.bindings):
                self._drop_exchange(key[2])

    def _consumed_from(self, number: int, fields: Fields, reply: Tuple[Any, ...]) -> None:
        tag = reply[0] if reply else fields["consumer_tag"]
        self._consumed.add(fields["queue"])
        channel = self.channel(number)
        channel.consumers[tag] = {**fields, "consumer_tag": tag, "nowait": False}
        channel.limits[tag] = channel.qos.get(False)

    def _cancelled(self, number: int, fields: Fields, reply: Tuple[Any, ...]) -> None:
        self.ended(number, fields["consumer_tag"])

    def ended(self, number: int, tag: str) -> None:
        """A consumer has ended."""
        fields = self.channel(number).consumers.pop(tag, None)
        if fields is not None:
            self._perhaps_gone(fields["queue"])

    def _perhaps_gone(self, name: str) -> None:
        """An auto-delete queue goes with the last of its consumers. Others than ours are not known of."""
        queue = self.queues.get(name)
        if queue is None or not queue["auto_delete"] or name not in self._consumed:
            return
        if not any(each["queue"] == name for channel in self.channels.values() for each in channel.consumers.values()):
            self._drop_queue(name)

    def over(self, number: int) -> None:
        """A channel is over, and its consumers with it."""
        channel = self.channels.pop(number, None)
        for fields in channel.consumers.values() if channel else ():
            self._perhaps_gone(fields["queue"])

    def _qos_set(self, number: int, fields: Fields, reply: Tuple[Any, ...]) -> None:
        self.channel(number).qos[bool(fields["a_global"])] = fields

    def _transacted(self, number: int, fields: Fields, reply: Tuple[Any, ...]) -> None:
        self.channel(number).transacted = True

    # --- to be declared again, in this order

    def shared(self) -> Iterator[Declaration]:
        """Exchanges, queues and bindings. In a server-made name's place stands ''."""
        for name, fields in list(self.exchanges.items()):
            yield Declaration("exchange", name, "exchange.declare", fields)
        for name, fields in list(self.queues.items()):
            yield Declaration("queue", name, "queue.declare", fields)
        for key, fields in list(self.bindings.items()):
            yield Declaration("binding", key[1], key[0], fields)

    def of_channel(self, number: int) -> Iterator[Declaration]:
        """Limits and consumers of a channel: a consumer's limit is the one that was in force when it began, so those
        go before."""
        channel = self.channels.get(number)
        if channel is None:
            return
        whole, latest, in_force = channel.qos.get(True), channel.qos.get(False), None
        if whole is not None:
            yield Declaration("qos", "", "basic.qos", whole, number)
        for tag, fields in list(channel.consumers.items()):
            limit = channel.limits.get(tag)
            if limit is not None and limit is not in_force:
                yield Declaration("qos", "", "basic.qos", limit, number)
                in_force = limit
            yield Declaration("consumer", tag, "basic.consume", fields, number)
        if latest is not None and latest is not in_force:
            yield Declaration("qos", "", "basic.qos", latest, number)

    def args(self, declaration: Declaration, method: Method) -> Tuple[Any, ...]:
        """What to send for it now."""
        fields = declaration.arguments
        args = tuple(fields.get(name) for name, _ in method.fields)
        if declaration.method == "queue.declare":
            return args
        return self.on_wire(declaration.channel, method, args)


#: Where a method has the name of a queue, in either dialect.
_QUEUES = {
    method.name: position
    for method in AMQP_0_9_1.by_name.values()
    for position, (name, _) in enumerate(method.fields)
    if name == "queue"
}


#: Names of a method's fields, of the dialect that was spoken last.
_FIELDS: Dict[str, Tuple[Method, Tuple[str, ...]]] = {}


def _names_of(method: Method) -> Tuple[str, ...]:
    known = _FIELDS.get(method.name)
    if known is None or known[0] is not method:
        known = _FIELDS[method.name] = method, tuple(name for name, _ in method.fields)
    return known[1]


def _as_key(fields: Fields) -> str:
    """Arguments of a binding, for telling whether two are the same."""
    arguments: Optional[Dict[str, Any]] = fields.get("arguments")
    return repr(sorted(arguments.items())) if arguments else ""


_NOTES = {
    "queue.declare": Topology._queue_declared,
    "exchange.declare": Topology._exchange_declared,
    "queue.delete": Topology._queue_deleted,
    "exchange.delete": Topology._exchange_deleted,
    "queue.bind": Topology._queue_bound,
    "exchange.bind": Topology._exchange_bound,
    "queue.unbind": Topology._queue_unbound,
    "exchange.unbind": Topology._exchange_unbound,
    "basic.consume": Topology._consumed_from,
    "basic.cancel": Topology._cancelled,
    "basic.qos": Topology._qos_set,
    "tx.select": Topology._transacted,
}
