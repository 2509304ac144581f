"""Small programs of two and three threads, in every order with up to two preemptions; see `scheduler`.

A program whose order fails says which: play it again with

    replay(TheProgram.play, [(14, 1), (20, "broker")])
"""

from __future__ import annotations

import ast
import logging
from typing import Any, Callable, ClassVar, Dict, Iterator, List, Tuple, Type

import pytest

from amqplib.client import backpressure
from amqplib.client import driver as driver_module
from amqplib.client.calling import Calling
from amqplib.client.driver import Driver
from amqplib.client.exceptions import (
    AMQPChannelException,
    AMQPConnectionException,
    AMQPException,
    AMQPTimeoutError,
    ChannelClosedError,
    ConnectionBlockedError,
    ConnectionLostError,
    NestedCallError,
    UnconfirmedError,
)
from amqplib.client.message import Message
from amqplib.client.output import Output
from amqplib.client.sending import Sending
from amqplib.protocol.acks import Acks
from amqplib.protocol.confirms import Confirms
from amqplib.protocol.gates import Batch
from amqplib.protocol.port import Port
from amqplib.protocol.session import Session
from tests.conftest import is_full

from .breaking import break_function
from .scheduler import Fault, explore, replay
from .world import Program, programs, wants_lock

BIG = b"b" * 9000

#: Orders of a program; two of three have fewer anyway. --all plays each to the end.
MOST = 1000000 if is_full() else 600


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


#: What is called with the lock held only, as the rules at the top of the driver have it.
LOCKED = (
    (Session, ("allot", "free", "take", "next_ready", "owe", "block", "unblock", "end")),
    (Port, ("happen", "arrived", "regate", "remind", "next_noted", "begin_to_count", "count_no_more")),
    (Batch, ("enter", "add", "take", "put_back", "lose")),
    (Confirms, ("enter", "take_back", "settle", "came_back", "collect", "collect_one")),
    (Confirms, ("begin_to_wait", "wait_no_more")),
    (Output, ("push", "drain", "take_back")),
    (Acks, ("add", "sent", "unsent", "take", "forget")),
)


# --- publishing


class TwoPublish(Program):
    """On one channel in confirm mode: tags are given in the order of the wire."""

    threads: ClassVar[Tuple[str, ...]] = ("one", "two")

    def prepare(self) -> None:
        self.channel = self.open(confirms=True)

    def one(self) -> None:
        self.publish(self.channel, b"one")

    def two(self) -> None:
        self.publish(self.channel, b"two")

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None, None]
        assert sorted(self.bodies()) == [b"one", b"two"]


class ThreePublish(TwoPublish):
    """Three threads, and a window of one."""

    threads: ClassVar[Tuple[str, ...]] = ("one", "two", "three")
    free = False

    def prepare(self) -> None:
        self.channel = self.open(confirms=True, window=1)

    def three(self) -> None:
        self.publish(self.channel, b"three")

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None, None, None]
        assert sorted(self.bodies()) == [b"one", b"three", b"two"]


class PublishBesideBatchEnd(Program):
    """What is published while another thread leaves batch() goes with the batch or behind it, and never stays."""

    threads: ClassVar[Tuple[str, ...]] = ("gathers", "publishes")
    confirms = False

    def prepare(self) -> None:
        self.channel = self.open(confirms=self.confirms)

    def gathers(self) -> None:
        with self.channel.batch():
            self.publish(self.channel, b"1")
            self.publish(self.channel, b"2")

    def publishes(self) -> None:
        self.publish(self.channel, b"a")
        self.publish(self.channel, b"b")

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None, None]
        bodies = self.bodies()
        assert sorted(bodies) == [b"1", b"2", b"a", b"b"]
        assert bodies.index(b"1") < bodies.index(b"2")
        assert bodies.index(b"a") < bodies.index(b"b")


class CountedPublishBesideBatchEnd(PublishBesideBatchEnd):
    """In confirm mode."""

    free = False
    confirms = True


class BatchBesideBatch(PublishBesideBatchEnd):
    """Two batches at once on one channel."""

    def publishes(self) -> None:
        with self.channel.batch():
            self.publish(self.channel, b"a")
            self.publish(self.channel, b"b")


class BatchBesideCall(Program):
    """A call takes along what is gathered."""

    threads: ClassVar[Tuple[str, ...]] = ("gathers", "calls")
    free = False

    def prepare(self) -> None:
        self.channel = self.open(confirms=True)

    def gathers(self) -> None:
        with self.channel.batch():
            self.publish(self.channel, b"1")
            self.publish(self.channel, b"2")

    def calls(self) -> None:
        self.channel.queue_purge("q")

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None, None]
        assert self.bodies() == [b"1", b"2"]


class CallBesideBatch(BatchBesideCall):
    """The batch begins when the call has seen that there is none."""

    threads: ClassVar[Tuple[str, ...]] = ("calls", "gathers")


class ConfirmSelectBesidePublish(Program):
    """A publish is counted here if, and only if, it goes behind confirm.select, where the broker counts it."""

    free = False
    threads: ClassVar[Tuple[str, ...]] = ("selects", "publishes")
    nowait = False

    def prepare(self) -> None:
        self.channel = self.open()

    def selects(self) -> None:
        self.channel.confirm_select(nowait=self.nowait)

    def publishes(self) -> None:
        self.publish(self.channel, b"1")
        self.publish(self.channel, b"2")

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None, None]
        assert self.bodies() == [b"1", b"2"]
        self.channel.wait_for_confirms()


class ConfirmSelectNowaitBesidePublish(ConfirmSelectBesidePublish):
    """Without an answer."""

    nowait = True


class PublishBesideServersClose(Program):
    """The server closes the channel: what is published is sent before its close was read, or refused."""

    threads: ClassVar[Tuple[str, ...]] = ("publishes", "waits")
    allowed = (AMQPChannelException,)

    def prepare(self) -> None:
        self.channel = self.open(confirms=True)
        self.broker.refuse()

    def publishes(self) -> None:
        self.publish(self.channel, b"1")
        self.publish(self.channel, b"2")

    def waits(self) -> None:
        self.channel.wait()

    def check(self, outcomes: List[Any]) -> None:
        assert isinstance(outcomes[1], AMQPChannelException)
        told = [exc for exc in self.raised(outcomes) if not isinstance(exc, ChannelClosedError)]
        assert len(told) == 1, "the reason is told once"


class ConfirmedPublishBesideServersClose(Program):
    """What the server never confirmed is not said to be safe."""

    threads: ClassVar[Tuple[str, ...]] = ("publishes", "publishes_too")
    free = False

    def prepare(self) -> None:
        self.channel = self.open(confirms=True)
        self.broker.refuse()

    def publishes(self) -> bytes:
        self.channel.basic_publish_confirm(Message(b"1"), "", "q")
        return b"1"

    def publishes_too(self) -> bytes:
        self.channel.basic_publish_confirm(Message(b"2"), "", "q")
        return b"2"

    def check(self, outcomes: List[Any]) -> None:
        for outcome in outcomes:
            assert isinstance(outcome, (AMQPChannelException, UnconfirmedError)) or outcome in self.bodies()
            if isinstance(outcome, UnconfirmedError):
                assert isinstance(outcome.__cause__, AMQPChannelException)
                assert len(outcome.unconfirmed) == 1


class WaitsForConfirms(Program):
    """One is refused, and two threads wait: both are told, whoever collects it."""

    threads: ClassVar[Tuple[str, ...]] = ("one", "two")

    def prepare(self) -> None:
        self.channel = self.open(confirms=True)
        self.broker.judge = lambda channel, tag, body: self.broker.say("basic.nack", tag, False, False, channel=channel)
        self.publish(self.channel, b"1")

    def one(self) -> None:
        self.channel.wait_for_confirms()

    two = one

    def check(self, outcomes: List[Any]) -> None:
        # one that begins to wait when the other has been told already has nothing to hear
        told = [outcome for outcome in outcomes if isinstance(outcome, UnconfirmedError)]
        assert told, "nobody was told"
        assert all(list(exc.nacked) == [1] for exc in told)


class PublishBesideBlockWithWindow(Program):
    """The broker blocks the connection, and later takes publishes again; the window is one."""

    threads: ClassVar[Tuple[str, ...]] = ("one", "two")
    free = False

    def prepare(self) -> None:
        self.channel = self.open(confirms=True, window=1)
        self.broker.say("connection.blocked", "memory", channel=0)
        self.broker.say("connection.unblocked", channel=0, seconds=1.0)

    def one(self) -> None:
        self.publish(self.channel, b"1")

    def two(self) -> None:
        self.publish(self.channel, b"a")

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None, None]
        assert sorted(self.bodies()) == [b"1", b"a"]


class PublishBesideBlock(Program):
    """Nothing waits for longer than blocked_timeout, not even when the time is up as the broker takes publishes."""

    threads: ClassVar[Tuple[str, ...]] = ("one", "two")
    timeouts: ClassVar = {"blocked_timeout": 1.0}
    allowed = (ConnectionBlockedError,)

    def prepare(self) -> None:
        self.channel = self.open()
        self.broker.say("connection.blocked", "memory", channel=0)
        self.broker.say("connection.unblocked", channel=0, seconds=1.0)

    def one(self) -> None:
        self.publish(self.channel, b"1")

    def two(self) -> None:
        self.publish(self.channel, b"2")

    def check(self, outcomes: List[Any]) -> None:
        sent = [body for body, outcome in zip((b"1", b"2"), outcomes) if outcome is None]
        assert sorted(self.bodies()) == sent


class BigBodyBesideOthers(Program):
    """The system takes a long message in pieces; a small one on another channel goes before or behind it."""

    threads: ClassVar[Tuple[str, ...]] = ("big", "other")
    small: ClassVar[List[bytes]] = [b"small"]

    def prepare(self) -> None:
        self.channels = self.open(), self.open()
        self.wire.room = 5000
        self.broker.take(None)

    def big(self) -> None:
        self.publish(self.channels[0], BIG)

    def other(self) -> None:
        self.publish(self.channels[1], b"small")

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None, None]
        assert self.bodies(1) == [BIG]
        assert self.bodies(2) == self.small


class BigBodyBesideCall(BigBodyBesideOthers):
    """So does a call."""

    free = False
    small: ClassVar[List[bytes]] = []

    def other(self) -> None:
        self.channels[1].queue_purge("q")


class BigBodyBesideTwo(BigBodyBesideOthers):
    """Both at once."""

    threads: ClassVar[Tuple[str, ...]] = ("big", "other", "calls")
    preemptions = 1
    free = False

    def calls(self) -> None:
        self.channels[1].queue_purge("q")

    def check(self, outcomes: List[Any]) -> None:
        super().check(outcomes[:2])
        assert outcomes[2] is None


class BigBodyTooLate(Program):
    """The system takes a part of a long message, and then nothing for the write_timeout: the connection is over."""

    threads: ClassVar[Tuple[str, ...]] = ("big", "small")
    timeouts: ClassVar = {"write_timeout": 0.1}
    allowed = (AMQPTimeoutError, ConnectionLostError)

    def prepare(self) -> None:
        self.channels = self.open(), self.open()
        self.wire.room = 100

    def big(self) -> None:
        self.publish(self.channels[0], BIG)

    def small(self) -> None:
        self.publish(self.channels[1], b"s" * 30)

    def check(self, outcomes: List[Any]) -> None:
        assert isinstance(outcomes[0], (AMQPTimeoutError, ConnectionLostError))
        assert self.scheduler.now < 1001


class NothingIsTaken(Program):
    """The system takes nothing of two messages: both are taken back, and tags are given again."""

    threads: ClassVar[Tuple[str, ...]] = ("one", "two")
    timeouts: ClassVar = {"write_timeout": 0.1}
    allowed = (AMQPTimeoutError, ChannelClosedError)

    def prepare(self) -> None:
        self.channel = self.open(confirms=True)
        self.wire.room = 0

    def one(self) -> None:
        self.publish(self.channel, b"1")

    def two(self) -> None:
        self.publish(self.channel, b"2")

    def check(self, outcomes: List[Any]) -> None:
        assert all(isinstance(outcome, (AMQPTimeoutError, ChannelClosedError)) for outcome in outcomes)
        if self.channel.is_open:
            self.publish(self.channel, b"3")
            self.channel.wait_for_confirms()
            assert self.bodies() == [b"3"]


# --- waiting, calls


class WaitBesideWait(Program):
    """A thread leaves with what it has read for itself; the one that followed reads on."""

    threads: ClassVar[Tuple[str, ...]] = ("one", "two")

    def prepare(self) -> None:
        self.channels = self.open(), self.open()
        self.got: List[bytes] = []
        for channel in self.channels:
            channel.basic_consume("q", callback=lambda msg: self.got.append(msg.body))
        self.broker.deliver(b"for one", channel=1)
        self.broker.deliver(b"for two", channel=2)

    def one(self) -> None:
        self.channels[0].wait()

    def two(self) -> None:
        self.channels[1].wait()

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None, None]
        assert sorted(self.got) == [b"for one", b"for two"]


class ThreeWait(WaitBesideWait):
    """The same of three, two of which share a channel."""

    threads: ClassVar[Tuple[str, ...]] = ("one", "two", "three")
    free = False

    def prepare(self) -> None:
        super().prepare()
        self.broker.deliver(b"for either", channel=2, tag=2)

    three = WaitBesideWait.two

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None, None, None]
        assert sorted(self.got) == [b"for either", b"for one", b"for two"]


class WaitWithTimeout(Program):
    """A thread whose time is up leaves; the delivery comes at that very moment, or later, to the other."""

    threads: ClassVar[Tuple[str, ...]] = ("impatient", "patient")

    def prepare(self) -> None:
        self.channels = self.open(), self.open()
        self.got: List[bytes] = []
        for channel in self.channels:
            channel.basic_consume("q", callback=lambda msg: self.got.append(msg.body))
        delivery = b"for the patient"
        self.broker.later(lambda: None, 2.0)
        self.broker.deliver(delivery, channel=2)

    def impatient(self) -> None:
        self.channels[0].wait(timeout=2.0)

    def patient(self) -> None:
        self.channels[1].wait()

    def check(self, outcomes: List[Any]) -> None:
        assert isinstance(outcomes[0], AMQPTimeoutError)
        assert outcomes[1] is None
        assert self.got == [b"for the patient"]
        assert self.scheduler.now <= 1002.0


class DrainBesideWait(Program):
    """drain_events() takes what comes on any channel, wait() what comes on one."""

    threads: ClassVar[Tuple[str, ...]] = ("drains", "waits")

    def prepare(self) -> None:
        self.channel = self.open()
        self.got: List[bytes] = []
        self.channel.basic_consume("q", callback=lambda msg: self.got.append(msg.body))
        self.broker.deliver(b"1", tag=1)
        self.broker.deliver(b"2", tag=2)

    def drains(self) -> None:
        self.connection.drain_events()

    def waits(self) -> None:
        self.channel.wait()

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None, None]
        assert sorted(self.got) == [b"1", b"2"]


class AnswerBesideWait(Program):
    """What the reader waits for comes only when the other thread has been told of what was read for it."""

    threads: ClassVar[Tuple[str, ...]] = ("waits", "calls")

    def prepare(self) -> None:
        self.channels = self.open(), self.open()
        self.got: List[bytes] = []
        self.channels[0].basic_consume("q", callback=lambda msg: self.got.append(msg.body))
        self.broker.on["basic.publish"] = lambda: self.broker.deliver(b"1")

    def waits(self) -> None:
        self.channels[0].wait()

    def calls(self) -> None:
        self.channels[1].queue_purge("q")
        self.publish(self.channels[1], b"go on")

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None, None]
        assert self.got == [b"1"]


class TwoCallsOnOneChannel(Program):
    """The second goes when the first has its answer; each gets its own."""

    threads: ClassVar[Tuple[str, ...]] = ("one", "two")

    def prepare(self) -> None:
        self.channel = self.open()

    def one(self) -> Any:
        return self.channel.queue_purge("q")

    def two(self) -> Any:
        return self.channel.queue_declare("q")

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [0, ("c", 0, 0)]


class CallBesideLoss(Program):
    """The connection is lost: whoever calls, waits or publishes is told."""

    threads: ClassVar[Tuple[str, ...]] = ("calls", "waits", "publishes")
    free = False
    allowed = (ConnectionLostError,)

    def prepare(self) -> None:
        self.channels = self.open(), self.open(), self.open()
        self.broker.lose()

    def calls(self) -> None:
        self.channels[0].queue_purge("q")

    def waits(self) -> None:
        self.channels[1].wait()

    def publishes(self) -> None:
        self.publish(self.channels[2], b"1")

    def check(self, outcomes: List[Any]) -> None:
        assert isinstance(outcomes[1], ConnectionLostError)


class BatchBesideLoss(Program):
    """The connection is lost while the system takes nothing: what was gathered is lost with it."""

    threads: ClassVar[Tuple[str, ...]] = ("gathers", "waits")
    allowed = (ConnectionLostError,)

    def prepare(self) -> None:
        self.channels = self.open(), self.open()
        self.wire.room = 0
        self.broker.lose()

    def gathers(self) -> None:
        with self.channels[0].batch():
            self.publish(self.channels[0], b"1")

    def waits(self) -> None:
        self.channels[1].wait()

    def check(self, outcomes: List[Any]) -> None:
        assert [type(outcome) for outcome in outcomes] == [ConnectionLostError] * 2


class CallTooLate(Program):
    """A call has no answer in time: its channel is over, the other one's is not."""

    threads: ClassVar[Tuple[str, ...]] = ("calls", "calls_too")

    def prepare(self) -> None:
        self.channels = self.open(), self.open()
        self.broker.silent.add("queue.purge")

    def calls(self) -> None:
        self.driver.timeouts.reply_timeout = 2.0
        self.channels[0].queue_purge("q")

    def calls_too(self) -> Any:
        return self.channels[1].queue_declare("q")

    def check(self, outcomes: List[Any]) -> None:
        assert isinstance(outcomes[0], AMQPTimeoutError)
        assert outcomes[1] == ("c", 0, 0)


# --- the end


class CloseBesideWait(Program):
    """A thread closes the channel on which another one waits, which is told."""

    threads: ClassVar[Tuple[str, ...]] = ("waits", "closes")

    def prepare(self) -> None:
        self.channel = self.open()

    def waits(self) -> None:
        self.channel.wait()

    def closes(self) -> None:
        self.channel.close()

    def check(self, outcomes: List[Any]) -> None:
        assert isinstance(outcomes[0], ChannelClosedError)
        assert outcomes[1] is None


class CloseBesidePublish(Program):
    """A publish goes before the close, or is refused; nothing goes behind it."""

    threads: ClassVar[Tuple[str, ...]] = ("publishes", "closes")
    allowed = (ChannelClosedError,)

    def prepare(self) -> None:
        self.channel = self.open(confirms=True)

    def publishes(self) -> None:
        self.publish(self.channel, b"1")

    def closes(self) -> None:
        self.channel.close()

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes[1] is None
        assert (outcomes[0] is None) == (self.bodies() == [b"1"])


class CloseBesideClose(Program):
    """Two threads close one channel, which the server is closing, too."""

    preemptions = 1
    threads: ClassVar[Tuple[str, ...]] = ("closes", "closes_too")
    allowed = (AMQPChannelException,)

    def prepare(self) -> None:
        self.channel = self.open()
        self.broker.refuse()

    def closes(self) -> None:
        self.channel.close()

    closes_too = closes


class ConnectionCloseBesideAll(Program):
    """A thread closes the connection; whoever waits, calls or publishes on it is told."""

    threads: ClassVar[Tuple[str, ...]] = ("waits", "publishes", "closes")
    free = False
    allowed = (ConnectionLostError, ChannelClosedError)

    def prepare(self) -> None:
        self.channels = self.open(), self.open()

    def waits(self) -> None:
        self.channels[0].wait()

    def publishes(self) -> None:
        self.publish(self.channels[1], b"1")

    def closes(self) -> None:
        self.connection.close()

    def check(self, outcomes: List[Any]) -> None:
        assert isinstance(outcomes[0], (ConnectionLostError, ChannelClosedError))
        assert outcomes[2] is None
        assert (outcomes[1] is None) == (self.bodies(2) == [b"1"])
        assert self.wire.closed


class ConnectionCloseBesideClose(Program):
    """Two threads close the connection, which the server is closing, too."""

    threads: ClassVar[Tuple[str, ...]] = ("closes", "closes_too")
    free = False
    allowed = (AMQPConnectionException,)

    def prepare(self) -> None:
        self.channel = self.open()
        self.broker.say("connection.close", 320, "CONNECTION_FORCED", 0, 0, channel=0)

    def closes(self) -> None:
        self.connection.close()

    closes_too = closes

    def check(self, outcomes: List[Any]) -> None:
        assert self.connection.transport is None
        assert self.wire.closed


class CancelBesideConsume(Program):
    """A thread ends the consumer that another one iterates over, which ends."""

    threads: ClassVar[Tuple[str, ...]] = ("consumes", "cancels")

    def prepare(self) -> None:
        self.channel = self.open()
        self.broker.on["basic.consume"] = lambda: self.broker.deliver(b"1")
        self.iterator = self.channel.consume("q")
        assert next(self.iterator).body == b"1"

    def consumes(self) -> List[bytes]:
        return [bytes(msg.body) for msg in self.iterator]

    def cancels(self) -> None:
        self.channel.basic_cancel("c")

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [[], None]


class CancelNowaitBesideConsume(CancelBesideConsume):
    """Without an answer, so that nothing comes by which the thread that reads would hear of it: it looks again."""

    look_again = 1.0

    def cancels(self) -> None:
        self.channel.basic_cancel("c", nowait=True)


class StopBesideConsume(CancelBesideConsume):
    """Likewise where it ends all consumers of the channel."""

    def cancels(self) -> None:
        self.channel.stop_consuming()


class StopBesideWait(Program):
    """A thread ends the consumers that another one waits for: that one handles a message or not, and its loop ends."""

    threads: ClassVar[Tuple[str, ...]] = ("waits", "stops")

    def prepare(self) -> None:
        self.channel = self.open()
        self.got: List[bytes] = []
        self.channel.basic_consume("q", callback=lambda msg: self.got.append(msg.body))
        self.broker.deliver(b"1")

    def waits(self) -> None:
        while self.channel.callbacks:
            self.channel.wait()

    def stops(self) -> None:
        self.channel.stop_consuming()

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None, None]
        assert not self.channel.callbacks
        assert self.got in ([], [b"1"])


class WindowBesideClose(Program):
    """The window is full and stays so; the channel is closed, and whoever waits to publish is told."""

    threads: ClassVar[Tuple[str, ...]] = ("publishes", "closes")
    allowed = (ChannelClosedError,)

    def prepare(self) -> None:
        self.channel = self.open(confirms=True, window=1)
        self.broker.judge = lambda channel, tag, body: None

    def publishes(self) -> None:
        self.publish(self.channel, b"1")
        self.publish(self.channel, b"2")

    def closes(self) -> None:
        self.channel.close()

    def check(self, outcomes: List[Any]) -> None:
        assert isinstance(outcomes[0], ChannelClosedError)
        assert outcomes[1] is None
        assert self.bodies() in ([], [b"1"])
        assert list(self.channel.unconfirmed) == [1] * len(self.bodies())


class BlockBesideConnectionClose(Program):
    """The broker blocks the connection for good; it is closed, and whoever waits to publish is told."""

    free = False
    threads: ClassVar[Tuple[str, ...]] = ("publishes", "closes")
    allowed = (ConnectionLostError, ChannelClosedError)

    def prepare(self) -> None:
        self.channel = self.open()
        self.broker.say("connection.blocked", "memory", channel=0)

    def publishes(self) -> None:
        self.publish(self.channel, b"1")
        self.publish(self.channel, b"2")

    def closes(self) -> None:
        self.connection.close()

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes[1] is None
        assert (outcomes[0] is None) == (self.bodies() == [b"1", b"2"])


class ConfirmsBesideLoss(Program):
    """The connection is lost with a message on its way: it is not said to be safe, by neither of those who wait."""

    threads: ClassVar[Tuple[str, ...]] = ("waits", "waits_too")
    allowed = (UnconfirmedError, ConnectionLostError)
    free = False

    def prepare(self) -> None:
        self.channel = self.open(confirms=True)
        self.publish(self.channel, b"1")  # which is acknowledged
        self.broker.judge = lambda channel, tag, body: None
        self.publish(self.channel, b"2")  # which is not
        self.broker.lose()

    def waits(self) -> None:
        self.channel.wait_for_confirms()

    waits_too = waits

    def check(self, outcomes: List[Any]) -> None:
        assert not [outcome for outcome in outcomes if outcome is None], "it was said to be safe"
        for outcome in outcomes:
            if isinstance(outcome, UnconfirmedError):
                assert 2 in outcome.unconfirmed
        assert 2 in self.channel.unconfirmed


class ReturnedBesidePublish(Program):
    """A mandatory message comes back, another one is acknowledged: each is told of its own."""

    threads: ClassVar[Tuple[str, ...]] = ("unroutable", "routable")
    free = False

    def prepare(self) -> None:
        self.channel = self.open(confirms=True)

        def judge(channel: int, tag: int, body: bytes) -> None:
            if body == b"unroutable":
                self.broker.give_back(body, channel=channel)
            self.broker.say("basic.ack", tag, False, channel=channel)

        self.broker.judge = judge

    def unroutable(self) -> None:
        self.channel.basic_publish_confirm(Message(b"unroutable"), "", "q", mandatory=True)

    def routable(self) -> None:
        self.channel.basic_publish_confirm(Message(b"routable"), "", "q", mandatory=True)

    def check(self, outcomes: List[Any]) -> None:
        assert isinstance(outcomes[0], UnconfirmedError)
        assert [msg.body for msg in outcomes[0].returned.values()] == [b"unroutable"]
        assert outcomes[1] is None
        assert not self.channel.returned_messages.queue


class BeatBesideOthers(Program):
    """A heartbeat never comes between the frames of a message, and nothing waits for it."""

    threads: ClassVar[Tuple[str, ...]] = ("beats", "big", "small")
    free = False

    def prepare(self) -> None:
        self.channels = self.open(), self.open()
        self.wire.room = 5000
        self.broker.take(None)

    def beats(self) -> None:
        self.driver.beat()

    def big(self) -> None:
        self.publish(self.channels[0], BIG)

    def small(self) -> None:
        self.publish(self.channels[1], b"small")

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None, None, None]
        assert (self.bodies(1), self.bodies(2)) == ([BIG], [b"small"])


class HeldAcks(Program):
    """Acknowledgements that are held back leave before what follows them, once each, and without being waited for."""

    threads: ClassVar[Tuple[str, ...]] = ("acks", "publishes", "beats")

    def prepare(self) -> None:
        self.channel = self.open()
        acks = self.driver.output.acks = Acks()
        acks.watched = True  # by the thread here that beats

    def acks(self) -> None:
        self.channel.basic_ack(1)
        self.channel.basic_ack(2)

    def publishes(self) -> None:
        self.publish(self.channel, b"1")

    def beats(self) -> None:
        self.driver.pay_quietly()

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None] * len(self.threads)
        self.driver.pay_quietly()
        assert self.settled() == [1, 2]
        assert self.bodies() == [b"1"]
        assert self.driver.output.clear
        assert self.driver.output.rest is None

    def settled(self) -> List[int]:
        """The tags that the broker takes for acknowledged, as often as it does."""
        tags: List[int] = []
        for _, tag, multiple in self.broker.acked:
            tags += set(range(1, tag + 1)).difference(tags) if multiple else [tag]
        return tags


class HeldAcksBesideBigBody(HeldAcks):
    """The system takes a long message in pieces."""

    threads: ClassVar[Tuple[str, ...]] = ("acks", "publishes")

    def prepare(self) -> None:
        super().prepare()
        self.wire.room = 5000
        self.broker.take(None)

    def publishes(self) -> None:
        self.publish(self.channel, BIG)

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None, None]
        self.driver.pay_quietly()
        assert self.settled() == [1, 2]
        assert self.bodies() == [BIG]


class HeldAcksBesideWait(HeldAcks):
    """One thread reads, and waits for a message that comes when all is acknowledged."""

    threads: ClassVar[Tuple[str, ...]] = ("acks", "waits", "beats")

    def prepare(self) -> None:
        super().prepare()
        self.got: List[Any] = []
        self.channel.callbacks["c"] = self.got.append
        self.broker.on["basic.ack"] = self.acked

    def acked(self) -> None:
        if self.settled()[-1:] == [2]:
            self.broker.deliver(b"next", tag=3)

    def beats(self) -> None:
        while self.settled() != [1, 2]:
            self.scheduler.block("a moment", lambda: self.driver.output.holding or self.settled() == [1, 2], None)
            self.driver.pay_quietly()

    def waits(self) -> None:
        self.channel.wait()

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None] * len(self.threads)
        assert [msg.body for msg in self.got] == [b"next"]


class HeldAcksBesideClose(HeldAcks):
    """None comes behind the close of its channel; one that was held back before has gone."""

    threads: ClassVar[Tuple[str, ...]] = ("acks", "closes", "beats")
    allowed = (AMQPException,)

    def closes(self) -> None:
        self.channel.close()

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes[1:] == [None, None]
        self.driver.pay_quietly()
        assert self.settled() in ([], [1], [1, 2])
        assert outcomes[0] is not None or self.settled() == [1, 2]
        assert self.driver.output.clear


class HeldAcksBesideServersClose(HeldAcksBesideClose):
    """Nor behind our answer to the server's."""

    threads: ClassVar[Tuple[str, ...]] = ("acks", "waits", "beats")

    def prepare(self) -> None:
        super().prepare()
        self.broker.refuse()

    def waits(self) -> None:
        self.channel.wait()

    def check(self, outcomes: List[Any]) -> None:
        assert isinstance(outcomes[1], AMQPException)
        self.driver.pay_quietly()
        assert self.driver.output.clear


class HeldAcksInterrupted(HeldAcks):
    """A signal handler acknowledges in the middle of it, or is told that it cannot."""

    threads: ClassVar[Tuple[str, ...]] = ("acks", "publishes")
    handler = "handles"

    def handles(self) -> None:
        try:
            self.channel.basic_ack(3)
        except NestedCallError:
            pass

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None, None]
        self.driver.pay_quietly()
        assert sorted(self.settled()) in ([1, 2], [1, 2, 3])
        assert self.bodies() == [b"1"]
        assert self.driver.output.clear


class GivenUpBesideWait(Program):
    """A channel is given up while the system takes nothing: its close is sent once there is room, by whoever waits.

    It waits for something to read, and hears of what is to be sent when it looks again.
    """

    look_again = 1.0

    free = False
    threads: ClassVar[Tuple[str, ...]] = ("calls", "waits")

    def prepare(self) -> None:
        self.channels = self.open(), self.open()
        self.got: List[bytes] = []
        self.channels[1].basic_consume("q", callback=lambda msg: self.got.append(msg.body))
        self.driver.timeouts.reply_timeout = 2.0
        self.broker.silent.add("queue.purge")
        self.broker.on["queue.purge"] = self.fill
        self.broker.on["channel.close"] = lambda: self.broker.deliver(b"what the other had not acknowledged", channel=2)

    def fill(self) -> None:
        self.wire.room = 0
        self.broker.later(lambda: None, 5.0)
        self.broker.take(None)

    def calls(self) -> None:
        self.channels[0].queue_purge("q")

    def waits(self) -> None:
        self.channels[1].wait()

    def check(self, outcomes: List[Any]) -> None:
        assert isinstance(outcomes[0], AMQPTimeoutError)
        assert outcomes[1] is None
        assert self.scheduler.now <= 1005.0 + self.look_again


# --- signals


class Signalled(Program):
    """A signal handler calls in the middle of things: it is served or told that it cannot be, and nothing hangs.

    Here whoever waits looks again after a while: a handler may have read what the wait that it interrupted is for.
    """

    handler = "handle"
    handled: Any = "never called"
    look_again = 1.0

    def handle(self) -> None:
        self.handled = None
        try:
            self.call()
        except NestedCallError as exc:
            self.handled = exc

    def call(self) -> None:
        """What the handler does."""
        self.channels[1].queue_purge("q")

    def prepare(self) -> None:
        self.channels = self.open(confirms=True), self.open()
        self.got: List[bytes] = []
        for channel in self.channels:
            channel.basic_consume("q", callback=lambda msg: self.got.append(msg.body))
        self.deliveries()

    def deliveries(self) -> None:
        self.broker.deliver(b"1")


class CallInWait(Signalled):
    """In the middle of a wait()."""

    threads: ClassVar[Tuple[str, ...]] = ("waits",)

    def waits(self) -> None:
        self.channels[0].wait()

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None]
        assert self.got == [b"1"]


class CallInWaitBesideWait(CallInWait):
    """In the middle of a wait(), while another thread waits as well."""

    threads: ClassVar[Tuple[str, ...]] = ("waits", "waits_too")
    free = False

    def deliveries(self) -> None:
        self.broker.deliver(b"1")
        self.broker.deliver(b"2", channel=2)

    def waits_too(self) -> None:
        self.channels[1].wait()

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None, None]
        assert sorted(self.got) == [b"1", b"2"]


class CloseInWait(Signalled):
    """Closing the connection, as programs do at SIGTERM."""

    threads: ClassVar[Tuple[str, ...]] = ("waits",)

    def call(self) -> None:
        self.connection.close()

    def deliveries(self) -> None:
        self.broker.later(lambda: self.broker.deliver(b"1"), 0.5)

    def waits(self) -> None:
        self.channels[0].wait()

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None] or isinstance(outcomes[0], ConnectionLostError)
        assert b"1" in self.got or isinstance(outcomes[0], ConnectionLostError)


class CloseInWaitBesideWait(CloseInWait):
    """Another thread waits as well, and is told."""

    threads: ClassVar[Tuple[str, ...]] = ("waits", "waits_too")
    free = False

    def waits_too(self) -> None:
        self.channels[1].wait()

    def check(self, outcomes: List[Any]) -> None:
        super().check(outcomes[:1])
        if self.handled is None:
            told = isinstance(outcomes[1], (ConnectionLostError, ChannelClosedError))
            assert told or b"2" in self.got
            assert self.driver.session.ending is not None

    def deliveries(self) -> None:
        self.broker.later(lambda: self.broker.deliver(b"1"), 0.5)
        self.broker.later(lambda: self.broker.deliver(b"2", channel=2), 0.5)


class StopInLoop(Signalled):
    """Ending the consumer that the loop of consume() is for, which is not refused at any moment: the loop ends."""

    threads: ClassVar[Tuple[str, ...]] = ("iterates",)

    def call(self) -> None:
        self.channel.stop_consuming()

    def prepare(self) -> None:
        self.channel = self.open()
        self.got: List[bytes] = []
        self.broker.on["basic.consume"] = lambda: self.broker.deliver(b"1")
        self.iterator = self.channel.consume("q")

    def iterates(self) -> None:
        for msg in self.iterator:
            msg.ack()
            self.got.append(bytes(msg.body))
            self.channel.stop_consuming()

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None]
        assert self.handled in (None, "never called")
        assert not self.channel.callbacks
        assert self.got in ([], [b"1"])


class CallInCall(Signalled):
    """A call in the middle of a call on another channel."""

    threads: ClassVar[Tuple[str, ...]] = ("calls",)

    def calls(self) -> Any:
        return self.channels[0].queue_declare("q")

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [("c", 0, 0)]


class CloseInClose(Signalled):
    """Closing the connection in the middle of closing it."""

    threads: ClassVar[Tuple[str, ...]] = ("closes",)

    def closes(self) -> None:
        self.connection.close()

    call = closes

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None]
        assert self.connection.transport is None
        assert self.wire.closed


class CallWhileWaitingForConfirms(Signalled):
    """A publish in the middle of waiting for confirms is waited for, too."""

    threads: ClassVar[Tuple[str, ...]] = ("waits",)

    def waits(self) -> None:
        self.publish(self.channels[0], b"1")
        self.channels[0].wait_for_confirms()

    def call(self) -> None:
        self.publish(self.channels[0], b"2")

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None]
        assert sorted(self.bodies()) == ([b"1", b"2"] if self.handled is None else [b"1"])


class CallInPublish(Signalled):
    """In the middle of a publish that is counted."""

    threads: ClassVar[Tuple[str, ...]] = ("publishes", "waits_too")
    free = False

    def publishes(self) -> None:
        self.publish(self.channels[0], b"1")
        self.publish(self.channels[0], b"2")

    def deliveries(self) -> None:
        self.broker.deliver(b"2", channel=2)

    def waits_too(self) -> None:
        self.channels[1].wait()

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None, None]
        assert self.bodies() == [b"1", b"2"]


class PublishInBatch(CallInPublish):
    """A publish in the middle of a batch of the same channel, and of its end."""

    threads: ClassVar[Tuple[str, ...]] = ("publishes", "waits_too")

    def publishes(self) -> None:
        with self.channels[0].batch():
            self.publish(self.channels[0], b"1")
            self.publish(self.channels[0], b"2")

    def call(self) -> None:
        self.publish(self.channels[0], b"from the handler")

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None, None]
        bodies = self.bodies()
        assert [body for body in bodies if body != b"from the handler"] == [b"1", b"2"]
        assert bodies.count(b"from the handler") == (self.handled is None)


class PublishInPublish(CallInPublish):
    """A publish in the middle of a publish, of a message that the system takes in pieces."""

    threads: ClassVar[Tuple[str, ...]] = ("publishes",)

    def publishes(self) -> None:
        self.publish(self.channels[0], BIG)

    def deliveries(self) -> None:
        self.wire.room = 100
        self.broker.take(4000, None)

    def call(self) -> None:
        self.publish(self.channels[1], b"from the handler")

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None]
        assert self.bodies() == [BIG]
        assert self.bodies(2) == ([b"from the handler"] if self.handled is None else [])


# --- exceptions from outside


class Interrupted(Program):
    """Ctrl-C at any point: what waits is over, and the connection is usable, or plainly over with that reason.

    Here whoever waits looks again after a while: a reader that is interrupted may not have told that it goes.
    """

    handler = "handle"
    look_again = 1.0
    free = False
    allowed = (KeyboardInterrupt, AMQPException, AMQPTimeoutError)

    def handle(self) -> None:
        raise KeyboardInterrupt

    def prepare(self) -> None:
        self.channels = self.open(confirms=True), self.open()
        self.got: List[bytes] = []
        for channel in self.channels:
            channel.basic_consume("q", callback=lambda msg: self.got.append(msg.body))

    def check(self, outcomes: List[Any]) -> None:
        ending = self.driver.session.ending
        if ending is not None:
            assert "KeyboardInterrupt" in ending.reply_text, "it is over for another reason"
        others = [each for each in outcomes[1:] if isinstance(each, BaseException)]
        assert ending is not None or not others, "another thread failed, and the connection is usable"
        assert self.scheduler.now <= 1002.0, "it took more than one more look"


class WaitInterrupted(Interrupted):
    """A wait, beside another one's."""

    threads: ClassVar[Tuple[str, ...]] = ("waits", "waits_too")

    def prepare(self) -> None:
        super().prepare()
        self.broker.deliver(b"1")
        self.broker.deliver(b"2", channel=2)

    def waits(self) -> None:
        self.channels[0].wait()

    def waits_too(self) -> None:
        self.channels[1].wait()

    def check(self, outcomes: List[Any]) -> None:
        super().check(outcomes)
        if self.driver.session.ending is None:
            assert b"2" in self.got
            if outcomes[0] is not None and b"1" not in self.got:
                self.channels[0].wait()  # it has not been lost
            assert sorted(self.got) == [b"1", b"2"]


class PublishInterrupted(Interrupted):
    """A publish of a long message, which the system takes in pieces, beside others of another thread."""

    threads: ClassVar[Tuple[str, ...]] = ("publishes", "publishes_too")

    def prepare(self) -> None:
        super().prepare()
        self.wire.room = 100
        self.broker.take(None)

    def publishes(self) -> None:
        self.publish(self.channels[0], BIG)

    def publishes_too(self) -> None:
        self.publish(self.channels[1], b"1")

    def check(self, outcomes: List[Any]) -> None:
        super().check(outcomes)
        if self.driver.session.ending is None:
            assert self.bodies(2) == [b"1"]
            # whether it was sent or not, the books and the broker agree on what comes next
            self.publish(self.channels[0], b"next")
            self.channels[0].wait_for_confirms()


class CallInterrupted(Interrupted):
    """A call, beside one on the same channel, which may then be over."""

    threads: ClassVar[Tuple[str, ...]] = ("calls", "calls_too")

    def calls(self) -> None:
        self.channels[0].queue_purge("q")

    def calls_too(self) -> None:
        self.channels[0].queue_declare("q")

    def check(self, outcomes: List[Any]) -> None:
        ending = self.driver.session.ending
        assert ending is None or "KeyboardInterrupt" in ending.reply_text
        if ending is None and isinstance(outcomes[1], BaseException):
            assert isinstance(outcomes[1], ChannelClosedError)
            assert "KeyboardInterrupt" in str(outcomes[1])


class ConfirmInterrupted(Interrupted):
    """Waiting for a confirm, beside another thread that does."""

    threads: ClassVar[Tuple[str, ...]] = ("confirms", "confirms_too")

    def confirms(self) -> None:
        self.channels[0].basic_publish_confirm(Message(b"1"), "", "q")

    def confirms_too(self) -> None:
        self.channels[0].basic_publish_confirm(Message(b"2"), "", "q")

    def check(self, outcomes: List[Any]) -> None:
        super().check(outcomes)
        if outcomes[1] is None:
            assert b"2" in self.bodies()
        if self.driver.session.ending is None:
            self.channels[0].wait_for_confirms()


class BatchInterrupted(Interrupted):
    """A batch."""

    threads: ClassVar[Tuple[str, ...]] = ("gathers", "publishes")

    def gathers(self) -> None:
        with self.channels[0].batch():
            self.publish(self.channels[0], b"1")
            self.publish(self.channels[0], b"2")

    def publishes(self) -> None:
        self.publish(self.channels[1], b"a")

    def check(self, outcomes: List[Any]) -> None:
        super().check(outcomes)
        if self.driver.session.ending is None and self.channels[0].is_open:
            self.channels[0].wait_for_confirms()


#: Where each line is a point, when all are.
LINES = tuple(
    "amqplib/client/%s.py" % name
    for name in (
        "backpressure",
        "calling",
        "channel",
        "confirming",
        "connection",
        "consuming",
        "driver",
        "line",
        "output",
        "sending",
        "waiting",
    )
)

EVERY = [
    pytest.param(
        program,
        id=program.__name__,
        marks=[pytest.mark.xfail(raises=Fault, reason=program.fault)] if program.fault else [],
    )
    for program in programs()
]


@pytest.mark.parametrize("program", EVERY)
def test_every_order(program: Type[Program], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "LOOK_AGAIN", program.look_again)
    assert explore(program.play, program.preemptions, program.free, most=MOST) > program.preemptions


@pytest.mark.soak
@pytest.mark.parametrize("program", [each for each in programs() if not each.handler], ids=lambda each: each.__name__)
def test_one_preemption_at_every_line(program: Type[Program], monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only where something is known to matter; of signals, Python itself says where they may come."""
    monkeypatch.setattr(driver_module, "LOOK_AGAIN", program.look_again)
    explore(program.play, 1, False, LINES)


@pytest.mark.parametrize("program", list(programs()), ids=lambda program: program.__name__)
def test_what_wants_the_lock_is_called_with_it(program: Type[Program], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "LOOK_AGAIN", program.look_again)
    for owner, names in LOCKED:
        for name in names:
            monkeypatch.setattr(owner, name, wants_lock(getattr(owner, name)))
    explore(program.play, 0, free=False)


# --- faults that are put into the driver are found


#: Where, what stands there, what in its place, the program that finds it, and what it says.
BROKEN: Dict[str, Tuple[Callable[..., Any], str, str, Type[Program], str]] = {
    "a reader that leaves tells nobody": (
        Driver.tell_followers,
        "if self.followers:",
        "if not self.followers:",
        WaitBesideWait,
        "nothing will ever come",
    ),
    "a reader tells before it has left": (
        Driver.wait_undisturbed,
        "self.reader = None  # here: an exception from outside may come with a call\n",
        "self.tell_followers()\n                self.reader = None\n            if False:\n",
        WaitBesideWait,
        "nothing will ever come",
    ),
    "what is here and who reads is looked at one after the other": (
        Driver.wait_undisturbed,
        "                until = self.timeouts.put_off(deadline)\n",
        "                self.lock.__exit__(); self.lock.__enter__()\n"
        "                until = self.timeouts.put_off(deadline)\n",
        WaitBesideWait,
        "nothing will ever come",
    ),
    "the gate is looked at without the lock": (
        Sending.publish,
        "            with driver.lock:\n                gate = port.gate\n",
        "            gate = port.gate\n            with driver.lock:\n",
        CloseBesidePublish,
        "behind a close",
    ),
    "a publish is counted after it was sent": (
        Sending.publish,
        "tag = gate.count(msg, frames)\n",
        "output.transport.send(frames); output.clear = True\n"
        "                        driver.lock.__exit__(); driver.lock.__enter__(); return gate.count(msg, frames)\n",
        TwoPublish,
        "has the tag",
    ),
    "a message goes before the rest of another": (
        Sending.publish,
        "elif output.clear and (gate is None",
        "elif (gate is None",
        BigBodyBesideOthers,
        "order:",
    ),
    "a call goes before another one has its answer": (
        Calling._begin_call,
        "if before is None and output.clear:",
        "if output.clear:",
        TwoCallsOnOneChannel,
        "order:",
    ),
    "a close does not shut the gate": (
        Port.regate,
        "if self.state is CLOSING or self.state in OVER:",
        "if self.state in OVER:",
        CloseBesidePublish,
        "behind a close",
    ),
    "a batch ends before all of it has gone": (
        Sending._end_batch,
        "self.flush()\n",
        "self._drop_batch()\n            return\n",
        PublishBesideBatchEnd,
        "order:",
    ),
    "what was cut off in the middle of sending is taken for sent": (
        Driver.failed,
        "broken = self.output.busy",
        "broken = False",
        PublishInterrupted,
        "order:",
    ),
    "who waits for room spins while another thread finds out why there is none": (
        backpressure.await_room,
        "driver.wait_undisturbed(lambda: None if output.busy else True, deadline)",
        "pass",
        CallBesideLoss,
        "there is no end to it",
    ),
    "a signal handler may wait anywhere": (
        Driver.refuse_nested,
        "if self.lock._is_owned()",
        "return\n    if self.lock._is_owned()",
        CallInPublish,
        "order:",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function, old, new, program, says = BROKEN[name]
    monkeypatch.setattr(driver_module, "LOOK_AGAIN", program.look_again)
    break_function(monkeypatch, function, (old, new))
    with pytest.raises(Fault, match=says) as caught:
        explore(program.play, program.preemptions, program.free)
    # what is printed is played again
    order = ast.literal_eval(str(caught.value).split("the order: ")[1].split("\n")[0])
    with pytest.raises(Fault, match=says):
        replay(program.play, order)
