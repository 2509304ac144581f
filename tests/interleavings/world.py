"""A world of one connection: a network without sockets, a broker that plays along, and a driver that a scheduler holds.

The network takes octets and gives them; the broker reads every frame with the tests' own codec and objects to what a
client must not do, so an order in which frames are torn, mixed up or sent behind a close fails where that happens.
Connection and Channel are the real ones, and so is all that they use but the lock, the condition, the clock and the
transport.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import Any, Callable, ClassVar, Deque, Dict, Iterator, List, Optional, Set, Tuple, Type

from amqplib.client.channel import Channel
from amqplib.client.connect import connecting
from amqplib.client.connection import Connection
from amqplib.client.driver import Driver
from amqplib.client.exceptions import AMQPException, AMQPTimeoutError, ConnectionLostError
from amqplib.client.message import Message
from amqplib.client.timeouts import Timeouts
from amqplib.protocol.handshake import Agreement
from amqplib.protocol.session import Session
from amqplib.wire.protocol import Receiver, Sender
from amqplib.wire.spec import AMQP_0_9_1
from tests.client import frozen

from .scheduler import Condition, Lock, Scheduler

__all__ = ["Broker", "Program", "Wire", "World", "programs", "wants_lock"]

FRAME_MAX = 4096

method = frozen.AMQP_0_9_1.method


class Wire:
    """The transport: what the peer has sent and nobody has read yet, and room for what is sent."""

    encrypted = False
    address = "broker:5672"

    def __init__(self, scheduler: Scheduler) -> None:
        self.sock = self  # of which the driver only wants gettimeout()
        self.incoming = b""
        #: Octets that the system takes before it takes no more; None for any number.
        self.room: Optional[int] = None
        #: The network connection is gone: what is there can still be read, and nothing sent.
        self.lost = False
        self.shuts = self.closed = False
        self.feed: Callable[[bytes], None] = lambda data: None
        self._scheduler = scheduler
        self._receives = self._sends = False
        self._polls = 0
        #: Has somebody woken whoever waits for something to be read, or the next one?
        self.woken = False

    def be_woken(self) -> None:
        pass

    def wake(self) -> None:
        self.woken = True

    def gettimeout(self) -> None:
        return None

    def settimeout(self, seconds: None) -> None:
        """As it was on the connection before."""

    def _readable(self) -> bool:
        return bool(self.incoming) or self.lost or self.shuts

    def _writable(self) -> bool:
        return self.room is None or self.room > 0 or self.lost or self.shuts

    def readable(self, seconds: float) -> bool:
        return self.ready(seconds, reading=True)[0]

    def ready(self, seconds: float, reading: bool = False, writing: bool = False) -> Tuple[bool, bool]:
        if self.closed:
            raise ConnectionLostError(0, "the program has closed the socket", errno=9)
        scheduler = self._scheduler

        def found() -> bool:
            return (reading and (self._readable() or self.woken)) or (writing and self._writable())

        until = scheduler.now + seconds
        self._polls += 1
        try:
            what = "poll for %s" % " and ".join(["reading"] * reading + ["writing"] * writing)
            scheduler.block(what, lambda: found() or scheduler.now >= until, until)
        finally:
            self._polls -= 1
        self.woken = self.woken and not reading
        return reading and self._readable(), writing and self._writable()

    def receive(self) -> bytes:
        assert not self._receives, "two threads read at once"
        self._receives = True
        try:
            self._scheduler.point("receive")
        finally:
            self._receives = False
        data, self.incoming = self.incoming, b""
        if not data and (self.lost or self.shuts):
            raise ConnectionLostError(0, "the peer closed the connection without a word", errno=104)
        return data

    def send(self, data: Any) -> int:
        whole = b"".join(data) if isinstance(data, (list, tuple, deque)) else bytes(data)
        assert not self._sends, "two threads send at once"
        self._sends = True
        try:
            self._scheduler.point("send")
        finally:
            self._sends = False
        if self.lost or self.shuts:
            raise ConnectionLostError(0, "the connection was lost: Broken pipe", errno=32)
        taken = whole if self.room is None else whole[: self.room]
        if self.room is not None:
            self.room -= len(taken)
        self.feed(taken)
        return len(taken)

    def shut(self) -> None:
        self.shuts = True

    def close(self) -> None:
        assert not self._polls or self.closed, "the socket is closed while a thread waits for it"
        self.shuts = self.closed = True


class Broker:
    """The other end. What it does is due, one thing after another, and done when the scheduler says so."""

    def __init__(self, wire: Wire, scheduler: Scheduler) -> None:
        self._wire = wire
        self._scheduler = scheduler
        self._due: Deque[Tuple[float, Callable[[], None]]] = deque()
        self._buffer = b""
        wire.feed = self._feed
        scheduler.may_act = lambda: bool(self._due) and self._due[0][0] <= scheduler.now
        scheduler.act = lambda: self._due.popleft()[1]()
        scheduler.acts_at = lambda: self._due[0][0] if self._due else None
        #: Channel -> tag and body of every publish. The tag is 0 outside of confirm mode.
        self.published: Dict[int, List[Tuple[int, bytes]]] = {}
        #: Channel, delivery tag and `multiple` of every acknowledgement.
        self.acked: List[Tuple[int, int, bool]] = []
        #: All methods, with their channel.
        self.heard: List[Tuple[int, str]] = []
        #: What is done about a publish in confirm mode; acknowledged unless a test says otherwise.
        self.judge: Callable[[int, int, bytes], None] = lambda channel, tag, body: self.say(
            "basic.ack", tag, False, channel=channel
        )
        #: Methods that are not answered.
        self.silent: Set[str] = set()
        #: What else is done when a method comes.
        self.on: Dict[str, Callable[[], None]] = {}
        self._tags: Dict[int, int] = {}
        self._content: Optional[Tuple[int, int, bytes]] = None  # channel, octets to come, body so far
        self._over: Set[int] = set()  # channels of which the client has sent a close
        self._refused: Set[int] = set()  # channels that were closed from here
        self._lives: Dict[int, int] = {}  # how often each was

    # --- what it does

    def later(self, step: Callable[[], None], seconds: float = 0.0) -> None:
        """Do something, behind all that is due."""
        self._due.append((self._scheduler.now + seconds, step))

    def say(self, name: str, *args: Any, channel: int = 1, seconds: float = 0.0) -> None:
        """Send a method; nothing but a close-ok on a channel that was closed from here."""
        self._send(method(channel, name, args), channel if name != "channel.close_ok" else 0, seconds)

    def _send(self, data: bytes, channel: int, seconds: float = 0.0) -> None:
        life = self._lives.get(channel)

        def step() -> None:
            if self._lives.get(channel) == life:
                self._wire.incoming += data

        self.later(step, seconds)

    def deliver(self, body: bytes, channel: int = 1, tag: int = 1, consumer: str = "c") -> None:
        """Send a message to a consumer."""
        args = consumer, tag, False, "", "q"
        self._send(frozen.AMQP_0_9_1.content(channel, "basic.deliver", args, {}, body), channel)

    def give_back(self, body: bytes, channel: int = 1) -> None:
        """Return a message that no queue takes."""
        args = 312, "NO_ROUTE", "", "q"
        self._send(frozen.AMQP_0_9_1.content(channel, "basic.return", args, {}, body), channel)

    def refuse(self, channel: int = 1, code: int = 404) -> None:
        """Close a channel; what comes for it is dropped until the answer."""

        def step() -> None:
            if channel not in self._over:
                self._refused.add(channel)
                self._lives[channel] = self._lives.get(channel, 0) + 1
                self._wire.incoming += method(channel, "channel.close", (code, "NOT_FOUND", 0, 0))

        self.later(step)

    def lose(self) -> None:
        """Lose the network connection."""

        def step() -> None:
            self._wire.lost = True

        self.later(step)

    def take(self, *amounts: Optional[int]) -> None:
        """Make room for so many octets more, one amount after another; None for any number."""
        for amount in amounts:

            def step(amount: Optional[int] = amount) -> None:
                self._wire.room = None if amount is None else (self._wire.room or 0) + amount

            self.later(step)

    # --- what it hears

    @property
    def whole(self) -> bool:
        """Have all frames come as a whole, and all messages?"""
        return not self._buffer and self._content is None

    def _feed(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 8:
            kind, channel, size = struct.unpack_from(">BHL", self._buffer)
            assert kind in (1, 2, 3, 8), "no frame begins here: %r" % self._buffer[:40]
            if len(self._buffer) < size + 8:
                return
            frame, self._buffer = self._buffer[: size + 8], self._buffer[size + 8 :]
            assert frame[-1:] == b"\xce", "a frame is torn: %r" % frame[:40]
            self._frame(kind, channel, frame[7:-1])

    def _frame(self, kind: int, channel: int, payload: bytes) -> None:
        if self._content is not None:
            its_channel, missing, body = self._content
            assert channel == its_channel, "channel %d comes between the frames of a message" % channel
            if missing < 0:
                assert kind == 2, "a content header was due"
                missing = struct.unpack_from(">Q", payload, 4)[0]
            else:
                assert kind == 3, "a body was due"
                body, missing = body + payload, missing - len(payload)
            self._content = (channel, missing, body) if missing else None
            if self._content is None:
                self._message(channel, body)
            return
        assert kind in (1, 8), "a frame of type %d out of nowhere" % kind
        if kind == 1:
            self._method(channel, *frozen.AMQP_0_9_1.read_method(payload))

    def _message(self, channel: int, body: bytes) -> None:
        if channel in self._refused:
            return
        tag = 0
        if channel in self._tags:
            tag = self._tags[channel] = self._tags[channel] + 1
        self.published.setdefault(channel, []).append((tag, body))
        if tag:
            self.judge(channel, tag, body)

    def _method(self, channel: int, name: str, args: Tuple[Any, ...]) -> None:
        self.heard.append((channel, name))
        ends = name in ("channel.close_ok", "connection.close_ok")
        assert ends or not {0, channel} & self._over, "%s comes behind a close" % name
        if name == "basic.publish":
            self._content = channel, -1, b""
        if name == "basic.ack":
            self.acked.append((channel, *args))
        if name == "channel.close_ok":
            self._refused.discard(channel)
            self._tags.pop(channel, None)
        if channel in self._refused and name != "channel.close":
            return
        if name == "channel.close":
            self._over.add(channel)
            self._tags.pop(channel, None)
            self.later(lambda: self._over.discard(channel))
        elif name == "connection.close":
            self._over.add(0)
        elif name == "confirm.select":
            self._tags.setdefault(channel, 0)
        if name in self.on:
            self.on[name]()
        answer = frozen.AMQP_0_9_1.answer_to(name)
        # the last field of these says that there is to be no answer
        nowait = name in ("confirm.select", "basic.cancel") and args[-1]
        if answer and not nowait and name not in self.silent:
            values = {"s": "c", "L": 0, "S": ""}
            self.say(answer, *(values[field] for field in frozen.AMQP_0_9_1.fields(answer)), channel=channel)


class Watched(Driver):
    """A driver in which what is looked at without the lock is a point, too."""

    __slots__ = ("scheduler",)

    scheduler: Scheduler

    def refuse_nested(self, doing: str) -> None:
        """Asked before a publish waits, without the lock: what was seen with it may not be so any more."""
        if doing == "publishing" and not self.lock._is_owned():
            self.scheduler.point("before its turn")
        super().refuse_nested(doing)


def _watched(name: str) -> property:
    slot = getattr(Driver, name)

    def get(self: Watched) -> Any:
        if not self.lock._is_owned():
            self.scheduler.point("look at " + name)
        return slot.__get__(self)

    def set_(self: Watched, value: Any) -> None:
        if not self.lock._is_owned():
            self.scheduler.point("set " + name)
        slot.__set__(self, value)

    return property(get, set_)


for _name in ("reader", "followers"):
    setattr(Watched, _name, _watched(_name))


class _Login:
    who = "guest"


class World:
    """One connection, and its broker."""

    #: The one of the order that is being played.
    latest: ClassVar[World]

    def __init__(self, scheduler: Scheduler, **timeouts: Optional[float]) -> None:
        World.latest = self
        self.scheduler = scheduler
        self.wire = Wire(scheduler)
        self.broker = Broker(self.wire, scheduler)
        self.lock = Lock(scheduler)
        receiver = Receiver(AMQP_0_9_1, Message._amqplib_received, Message._amqplib_to_time)
        session = Session(receiver, Sender(AMQP_0_9_1))
        receiver.frame_max = session.sender.frame_max = FRAME_MAX
        driver = Watched.__new__(Watched)
        driver.scheduler = scheduler
        wire: Any = self.wire
        Driver.__init__(
            driver,
            session,
            wire,
            Timeouts(**timeouts, clock=scheduler.clock),
            "the broker",
            lock=self.lock,
            clock=scheduler.clock,
            condition=lambda lock: Condition(lock, scheduler),
        )
        self.driver = driver
        agreed = Agreement()
        agreed.channel_max, agreed.frame_max = 10, FRAME_MAX
        kept = vars(connecting)["connect"]
        vars(connecting)["connect"] = lambda *args: (driver, agreed)
        try:
            self.connection = Connection()
        finally:
            vars(connecting)["connect"] = kept


class Program:
    """What threads do with one connection, and what has to be the case afterwards. One object plays one order.

    `threads` names the methods that threads execute, `prepare` runs before, `check` afterwards.
    """

    threads: ClassVar[Tuple[str, ...]] = ()
    preemptions = 2
    #: Is it free who goes on in the place of a thread that cannot? Otherwise each choice counts as a preemption.
    free = True
    #: The name of the method that a signal calls in the first thread.
    handler = ""
    timeouts: ClassVar[Dict[str, Optional[float]]] = {}
    #: Seconds after which whoever waits looks again. Never: so one who is not woken waits for ever, which is a fault.
    look_again = float("inf")
    #: A fault that is known and makes orders fail, until it is mended.
    fault = ""
    #: Exceptions that a thread may end with.
    allowed: Tuple[type, ...] = (AMQPException, AMQPTimeoutError)

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.world = World(scheduler, **self.timeouts)
        self.broker, self.wire, self.driver = self.world.broker, self.world.wire, self.world.driver
        self.connection = self.world.connection
        #: What publishing has returned: channel -> body -> tag.
        self.tags: Dict[int, Dict[bytes, Optional[int]]] = {}

    @classmethod
    def play(cls, scheduler: Scheduler) -> None:
        """One order."""
        self = cls(scheduler)
        self.prepare()
        if self.handler:
            scheduler.handler = getattr(self, self.handler)
        outcomes = scheduler.run([getattr(self, name) for name in self.threads])
        for name, outcome in zip(self.threads, outcomes):
            if isinstance(outcome, BaseException) and not isinstance(outcome, self.allowed):
                raise AssertionError("%s: %r" % (name, outcome)) from outcome
        self.at_rest()
        self.check(outcomes)

    def prepare(self) -> None:
        """Before the threads."""

    def check(self, outcomes: List[Any]) -> None:
        """After the threads; what they returned or raised."""

    # --- for the threads

    def open(self, confirms: bool = False, **arguments: Any) -> Channel:
        """A channel; in prepare() the broker answers at once."""
        channel = self.connection.channel()
        if confirms:
            channel.confirm_select(**arguments)
        return channel

    def publish(self, channel: Channel, body: bytes) -> Optional[int]:
        """Publish, and note the tag."""
        number = channel.channel_id or 0
        tag = channel.basic_publish(Message(body), "", "q")
        self.tags.setdefault(number, {})[body] = tag
        return tag

    # --- for the checks

    def at_rest(self) -> None:
        """Whatever the threads did, nothing of it hangs about, and what can be used can be used."""
        driver, session = self.driver, self.driver.session
        assert not self.world.lock.depth, "the lock is still held"
        assert driver.reader is None, "somebody still counts as the reader"
        assert not driver.followers, "somebody still counts as a follower"
        assert not driver.receiving, "somebody still counts as receiving"
        assert not [port for port in session.ports.values() if port.call], "a call still waits"
        assert not driver.batches, "something is still being gathered"
        assert not session.draining, "somebody still counts as draining"
        assert not [port for port in session.ports.values() if port.waiting], "somebody still counts as waiting"
        for number, tags in self.tags.items():
            said = {body: tag for tag, body in self.broker.published.get(number, ())}
            for body, tag in tags.items():
                if body in said:
                    assert (tag or 0) == said[body], "%r has the tag %r, and %r at the broker" % (body, tag, said[body])
        if session.ending is None:
            self.wire.room = None
            self.broker.silent.clear()
            self.open().close()
            assert driver.output.clear, "something stays unsent"
            assert self.broker.whole, "a frame or a message was not finished"
            assert not session.owed, "something is still owed"

    def raised(self, outcomes: List[Any]) -> List[BaseException]:
        """What threads have raised."""
        return [outcome for outcome in outcomes if isinstance(outcome, BaseException)]

    def bodies(self, channel: int = 1) -> List[bytes]:
        """What the broker has got, in order."""
        return [body for _, body in self.broker.published.get(channel, ())]


def wants_lock(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which is never to be called without the lock."""

    def wrapper(*args: Any, **named: Any) -> Any:
        assert World.latest.lock._is_owned(), "%s is called without the lock" % function.__qualname__
        return function(*args, **named)

    return wrapper


def programs(kind: Type[Program] = Program) -> Iterator[Type[Program]]:
    """All programs below one."""
    for each in kind.__subclasses__():
        if each.threads:
            yield each
        yield from programs(each)
