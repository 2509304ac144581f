"""Queues: what is ready in its order, who gets it, and when it is over.

A queue does no I/O and knows no protocol. It is driven: publish(), get(), requeue() and the rest come from channels,
the passing of time from `Timers`, and what it has to say goes to consumers and to its virtual host.
"""

from __future__ import annotations

from collections import deque
from itertools import chain
from operator import attrgetter
from typing import Any, Callable, Deque, Dict, Iterable, Iterator, List, Mapping, Optional

from .arguments import QueueOptions
from .memory import Memory
from .message import Message
from .timers import Timer, Timers

__all__ = ["Consumer", "Entry", "Queue"]


class Entry:
    """A message in a queue."""

    __slots__ = ("expires", "level", "message", "redelivered", "returns", "sequence")

    def __init__(self, message: Message, sequence: int, level: int, expires: Optional[float]) -> None:
        self.message = message
        #: Its place in the queue, which it keeps when it goes out and comes back.
        self.sequence = sequence
        #: Of priority.
        self.level = level
        #: The moment of its expiry.
        self.expires = expires
        self.redelivered = False
        #: How often it has come back.
        self.returns = 0


class Consumer:
    """Who takes messages from a queue: a channel's part in it is a subclass."""

    priority = 0
    exclusive = False

    def ready(self) -> bool:
        """Can it take one now?"""
        raise NotImplementedError

    def deliver(self, entry: Entry) -> None:
        """Take this one."""
        raise NotImplementedError

    def cancelled(self) -> None:
        """The queue is gone."""
        raise NotImplementedError


class _Ready:
    """Entries in the order in which they go out: the highest level first, within a level by sequence."""

    __slots__ = ("_levels", "count", "octets")

    def __init__(self, levels: int) -> None:
        self._levels: List[Deque[Entry]] = [deque() for _ in range(levels)]
        self.count = 0
        self.octets = 0

    def push(self, entry: Entry) -> None:
        """A new one."""
        self._levels[entry.level].append(entry)
        self.count += 1
        self.octets += len(entry.message.body)

    def put_back(self, entries: Iterable[Entry]) -> None:
        """Some that were here before: each at its old place. The head of a level is gone through once for all."""
        by_level: Dict[int, List[Entry]] = {}
        for entry in entries:
            by_level.setdefault(entry.level, []).append(entry)
            self.count += 1
            self.octets += len(entry.message.body)
        for number, returned in by_level.items():
            level = self._levels[number]
            head: List[Entry] = []
            for entry in sorted(returned, key=attrgetter("sequence")):
                while level and level[0].sequence < entry.sequence:
                    head.append(level.popleft())
                head.append(entry)
            level.extendleft(reversed(head))

    def __iter__(self) -> Iterator[Entry]:
        return chain.from_iterable(self._levels)

    def pop(self) -> Entry:
        """The next one."""
        for level in reversed(self._levels):
            if level:
                return self._taken(level.popleft())
        raise IndexError

    def _taken(self, entry: Entry) -> Entry:
        self.count -= 1
        self.octets -= len(entry.message.body)
        return entry

    def pop_expired(self, now: float) -> Iterator[Entry]:
        """Those at the head whose time is up: no other can expire, of whatever level."""
        while True:
            moment = self.next_expiry()
            if moment is None or moment > now:
                return
            yield self.pop()

    def next_expiry(self) -> Optional[float]:
        """When the one at the head expires."""
        return next((level[0].expires for level in reversed(self._levels) if level), None)


class Queue:
    """One queue. `owner` is whatever stands for the connection that it is exclusive to."""

    def __init__(
        self,
        name: str,
        timers: Timers,
        durable: bool = False,
        auto_delete: bool = False,
        owner: Optional[object] = None,
        arguments: Optional[Mapping[str, Any]] = None,
        memory: Optional[Memory] = None,
    ) -> None:
        self.name = name
        self.durable = durable
        self.auto_delete = auto_delete
        self.owner = owner
        self.arguments = arguments or {}
        self.options = QueueOptions(self.arguments)
        self.consumers: List[Consumer] = []
        #: It has been deleted: what comes back to it is dropped.
        self.deleted = False
        #: Messages that are out with somebody, and not acknowledged.
        self.unacknowledged = 0
        #: Set by the virtual host. Gets a message that is dropped, and "expired", "rejected", "maxlen" ...
        self.on_dead: Callable[[Queue, Message, str], None] = lambda queue, message, reason: None
        #: Set by the virtual host: the queue has been unused for its x-expires.
        self.on_expired: Callable[[Queue], None] = lambda queue: None
        self._memory = memory or Memory()
        self._ready = _Ready(self.options.priorities + 1)
        self._sequence = 0
        self._mortal = False  # some message has had an expiry
        self._timers = timers
        self._expiry: Optional[Timer] = None  # of the message at the head, or of one that was there
        self._expiry_moment = 0.0
        self._disuse: Optional[Timer] = None  # of the queue
        self._latest_use = 0.0
        self.used()

    @property
    def message_count(self) -> int:
        """Messages ready to go out."""
        return self._ready.count

    # --- messages

    def publish(self, message: Message, ttl: Optional[float] = None, priority: int = 0) -> bool:
        """A new message at the end; False if the queue is full and refuses it."""
        options = self.options
        ready = self._ready
        if options.overflow != "drop-head" and self._full(ready.count + 1, ready.octets + len(message.body)):
            if options.overflow == "reject-publish-dlx":
                self.on_dead(self, message, "maxlen")
            return False
        if options.ttl is not None:
            ttl = options.ttl if ttl is None else min(ttl, options.ttl)
        self._sequence += 1
        level = min(priority, options.priorities) if options.priorities else 0
        expires = None if ttl is None else self._timers.clock() + ttl
        self._mortal = self._mortal or expires is not None
        ready.push(Entry(message, self._sequence, level, expires))
        self._memory.enter(message)
        if self.consumers:
            self.pump()
        if expires is not None:
            self._expire()
        self._drop_head()
        return True

    def _drop_head(self) -> None:
        """What the queue is too short for goes, from its head."""
        ready = self._ready
        while self._full(ready.count, ready.octets) and ready.count:
            self._die(ready.pop(), "maxlen")
            if self._mortal:
                self._expire()  # what was behind it

    def _die(self, entry: Entry, reason: str) -> None:
        self._memory.leave(entry.message)
        self.on_dead(self, entry.message, reason)

    def _full(self, count: int, octets: int) -> bool:
        options = self.options
        return (options.max_length is not None and count > options.max_length) or (
            options.max_bytes is not None and octets > options.max_bytes
        )

    def get(self) -> Optional[Entry]:
        """The next message, which is the caller's then to settle()."""
        self.used()
        self._expire()
        return self._take() if self._ready.count else None

    def _take(self) -> Entry:
        entry = self._ready.pop()
        self.unacknowledged += 1
        if self._mortal:
            self._expire()  # what was behind it
        return entry

    def settle(self, entry: Entry) -> None:
        """A message that was out is done with."""
        self.unacknowledged -= 1
        self._memory.leave(entry.message)

    def reject(self, entry: Entry) -> None:
        """A message that was out is not wanted."""
        self.settle(entry)
        if not self.deleted:
            self.on_dead(self, entry.message, "rejected")

    def requeue(self, entries: List[Entry]) -> None:
        """Messages that were out come back, each to its old place."""
        limit = self.options.delivery_limit
        returned: List[Entry] = []
        for entry in entries:
            self.unacknowledged -= 1
            entry.redelivered = True
            entry.returns += 1
            if self.deleted:
                self._memory.leave(entry.message)
            elif limit is not None and entry.returns > limit:
                self._die(entry, "delivery_limit")
            else:
                returned.append(entry)
        if not self.deleted:
            self._ready.put_back(returned)
            self._expire()
            self.pump()
            if self.options.overflow == "drop-head":
                self._drop_head()

    def purge(self) -> int:
        """Drop all that is ready; how many."""
        ready, self._ready = self._ready, _Ready(self.options.priorities + 1)
        for entry in ready:
            self._memory.leave(entry.message)
        return ready.count

    def drop_transient(self) -> None:
        """Of what is ready, that stays which is to outlive the broker."""
        ready, self._ready = self._ready, _Ready(self.options.priorities + 1)
        for entry in ready:
            if entry.message.persistent or self.options.replicated:
                self._ready.push(entry)
            else:
                self._memory.leave(entry.message)

    def pump(self) -> None:
        """Hand out what is ready to consumers that can take it: in turns, those of higher priority first."""
        while self.hand_out():
            pass

    def hand_out(self) -> bool:
        """One message of these; False if there is none, or nobody to take it."""
        consumer = self._next_consumer() if self._ready.count else None
        if consumer is None:
            return False
        consumer.deliver(self._take())
        return True

    def _next_consumer(self) -> Optional[Consumer]:
        consumers = self.consumers
        if self.options.single_active_consumer:
            return consumers[0] if consumers and consumers[0].ready() else None
        for place, consumer in enumerate(consumers):
            if consumer.ready():
                if len(consumers) > 1:  # its turn comes again behind its equals
                    del consumers[place]
                    self._insert(consumer)
                return consumer
        return None

    # --- consumers

    def add_consumer(self, consumer: Consumer) -> None:
        """One more. It gets what it can take as soon as pump() is called."""
        if self.options.single_active_consumer:
            self.consumers.append(consumer)
        else:
            self._insert(consumer)
        self.used()

    def _insert(self, consumer: Consumer) -> None:
        place = len(self.consumers)
        while place and self.consumers[place - 1].priority < consumer.priority:
            place -= 1
        self.consumers.insert(place, consumer)

    def remove_consumer(self, consumer: Consumer) -> None:
        """It is gone."""
        self.consumers.remove(consumer)
        self.used()
        self.pump()

    def delete(self) -> int:
        """The end; how many messages were ready."""
        self.deleted = True
        for timer in (self._expiry, self._disuse):
            if timer:
                timer.cancel()
        consumers, self.consumers = self.consumers, []
        for consumer in consumers:
            consumer.cancelled()
        return self.purge()

    # --- time

    def used(self) -> None:
        """Somebody uses the queue: its expiry is put off."""
        self._latest_use = self._timers.clock()
        if self.options.expires is not None and self._disuse is None:
            self._disuse = self._timers.after(self.options.expires, self._disuse_due)

    def _disuse_due(self) -> None:
        self._disuse = None
        assert self.options.expires is not None
        left = self._latest_use + self.options.expires - self._timers.clock()
        if self.consumers:
            return  # the end of the last one is a use
        if left > 0:
            self._disuse = self._timers.after(left, self._disuse_due)
        else:
            self.on_expired(self)

    def _expire(self) -> None:
        for entry in self._ready.pop_expired(self._timers.clock()):
            self._die(entry, "expired")
        moment = self._ready.next_expiry()
        if moment is None or (self._expiry and self._expiry_moment <= moment):
            return
        if self._expiry:
            self._expiry.cancel()
        self._expiry_moment = moment
        self._expiry = self._timers.after(moment - self._timers.clock(), self._expiry_due)

    def _expiry_due(self) -> None:
        self._expiry = None
        self._expire()
