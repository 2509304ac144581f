"""The network connection is lost at every point of what two threads do, and comes back, in every order; see `world`.

The loss is something that the world outside does, as a confirm is: an order has it at any point. One more preemption
is left to the threads, of which the third brings the connection back; to programs of many orders only in the long form.
"""

from __future__ import annotations

import logging
from typing import Any, Callable, ClassVar, Dict, Iterator, List, Optional, Tuple, Type

import pytest

from amqplib.client import driver as driver_module
from amqplib.client.exceptions import ChannelClosedError, ConnectionLostError, UnconfirmedError
from amqplib.client.recovery.line import RecoveringLine
from amqplib.protocol.carried import CarriedBooks

from .breaking import break_function
from .recovering import RecoveringProgram
from .scheduler import Fault, explore
from .world import Broker, programs


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Confirmed(RecoveringProgram):
    """A channel in confirm mode, which is lost when so many publishes have come and been acknowledged."""

    loss_after: ClassVar[int] = 0
    free = False

    def prepare(self) -> None:
        self.channel = self.open(confirms=True)
        self.come = 0
        broker = self.world.brokers[0]
        if self.loss_after:
            judge = broker.judge

            def judged(channel: int, tag: int, body: bytes) -> None:
                judge(channel, tag, body)
                self.come += 1
                if self.come == self.loss_after:
                    self.lose()

            broker.judge = judged
        else:
            self.lose()

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None] * len(self.threads)
        self.settled(self.channel)


class TwoPublish(Confirmed):
    """On one channel."""

    threads: ClassVar[Tuple[str, ...]] = ("one", "two")

    def one(self) -> None:
        self.publish(self.channel, b"one")
        self.publish(self.channel, b"more")

    def two(self) -> None:
        self.publish(self.channel, b"two")


class TwoPublishAndOneIsConfirmed(TwoPublish):
    """Before the loss: what is sent again has other tags on the wire."""

    loss_after = 1


class TwoPublishAndTwoAreConfirmed(TwoPublish):
    """Of three."""

    loss_after = 2


class PublishBesideWait(Confirmed):
    """One waits for the confirms while the other publishes."""

    preemptions = 1
    threads: ClassVar[Tuple[str, ...]] = ("waits", "publishes")
    loss_after = 1

    def prepare(self) -> None:
        super().prepare()
        self.publish(self.channel, b"before")

    def waits(self) -> None:
        self.channel.wait_for_confirms()

    def publishes(self) -> None:
        self.publish(self.channel, b"one")
        self.publish(self.channel, b"two")


class PublishInAWindow(TwoPublish):
    """Of one: each waits for the confirm of the other."""

    preemptions = 1
    loss_after = 1

    def prepare(self) -> None:
        super().prepare()
        self.channel.confirm_select(window=1)


class PublishBesideBatch(Confirmed):
    """What is gathered when the connection is lost was counted, and is sent again."""

    threads: ClassVar[Tuple[str, ...]] = ("gathers", "publishes")

    def gathers(self) -> None:
        with self.channel.batch():
            self.publish(self.channel, b"1")
            self.publish(self.channel, b"2")

    def publishes(self) -> None:
        self.publish(self.channel, b"a")


class PublishBesideBatchThatIsSent(PublishBesideBatch):
    """And of which something is confirmed."""

    loss_after = 1


class PublishBesideClose(Confirmed):
    """Of the connection: it does not come back, and nobody waits for ever."""

    preemptions = 1
    threads: ClassVar[Tuple[str, ...]] = ("publishes", "closes")
    timeouts: ClassVar[Dict[str, Optional[float]]] = {"reply_timeout": 30.0}

    def publishes(self) -> None:
        self.publish(self.channel, b"one")
        self.channel.wait_for_confirms()

    def closes(self) -> None:
        self.connection.close()

    def at_rest(self) -> None:
        assert not self.connection.is_open
        super().at_rest()

    def check(self, outcomes: List[Any]) -> None:
        for outcome in outcomes:
            known = (ChannelClosedError, ConnectionLostError, UnconfirmedError)
            assert outcome is None or isinstance(outcome, known), repr(outcome)
        assert isinstance(outcomes[0], Exception) or b"one" in self.all_bodies()
        assert set(self.all_bodies()) <= {b"one"}


class PublishBesideCloseOfTheChannel(Confirmed):
    """Whatever was published before it is confirmed, or told to be unconfirmed."""

    preemptions = 1
    threads: ClassVar[Tuple[str, ...]] = ("publishes", "closes")

    def publishes(self) -> None:
        self.publish(self.channel, b"one")

    def closes(self) -> None:
        self.channel.close()

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes[1] is None
        assert not self.channel.is_open
        if outcomes[0] is None:
            unconfirmed = {msg.body for msg in self.channel.unconfirmed.values()}
            assert unconfirmed | set(self.all_bodies()) == {b"one"}


class CallBesideCall(RecoveringProgram):
    """Each gets its own answer, and what was declared is there."""

    preemptions = 1
    threads: ClassVar[Tuple[str, ...]] = ("one", "two")
    free = False

    def prepare(self) -> None:
        self.channel, self.other = self.open(), self.open()
        self.lose()

    def one(self) -> None:
        self.channel.queue_declare("one")

    def two(self) -> None:
        self.other.basic_qos(0, 5, False)

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None, None]
        heard = [name for _, name in self.broker.heard]
        assert "queue.declare" in heard
        assert "basic.qos" in heard


class OpenBesideCall(CallBesideCall):
    """A channel is opened in the middle of it."""

    def two(self) -> None:
        self.connection.channel().basic_qos(0, 5, False)


class Consuming(RecoveringProgram):
    """A consumer whose broker has one message for it, on each connection: the same."""

    preemptions = 1
    threads: ClassVar[Tuple[str, ...]] = ("consumes", "calls")
    free = False

    def is_made(self, broker: Broker, number: int) -> None:
        broker.on["basic.consume"] = lambda: broker.later(lambda: broker.deliver(b"task"))

    def prepare(self) -> None:
        self.channel = self.open()
        self.got: List[Any] = []
        self.channel.basic_consume("q", "c", callback=self.take)
        self.lose()

    def take(self, msg: Any) -> None:
        self.got.append(msg)
        msg.ack()

    def consumes(self) -> None:
        self.channel.wait()

    def calls(self) -> None:
        self.channel.queue_declare("other")

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None, None]
        assert [msg.body for msg in self.got] == [b"task"]
        # it is acknowledged on the connection that has delivered it, or on none, and comes again
        for broker in self.world.brokers:
            assert broker.acked in ([], [(1, 1, False)])
        while not self.broker.acked:
            self.channel.wait()
        assert self.broker.acked == [(1, 1, False)]
        assert list(self.channel.callbacks) == ["c"]


class ConsumingBesidePublish(Consuming):
    """The other thread publishes on the same channel."""

    def prepare(self) -> None:
        super().prepare()
        self.channel.confirm_select()

    def calls(self) -> None:
        self.publish(self.channel, b"one")

    def check(self, outcomes: List[Any]) -> None:
        super().check(outcomes)
        self.settled(self.channel)


class ConsumingBesideCancel(Consuming):
    """The other thread ends the consumer, which ends the loop: it does not come back."""

    def consumes(self) -> None:
        while self.channel.callbacks:
            self.channel.wait()

    def calls(self) -> None:
        self.channel.basic_cancel("c")

    def check(self, outcomes: List[Any]) -> None:
        assert outcomes == [None, None]
        assert {msg.body for msg in self.got} <= {b"task"}
        assert not self.channel.callbacks
        names = [name for _, name in self.broker.heard]
        assert names.count("basic.consume") <= names.count("basic.cancel")


class LostTwice(TwoPublish):
    """Also the second connection, in the middle of what is sent again."""

    def is_made(self, broker: Broker, number: int) -> None:
        if number == 2:
            broker.on["confirm.select"] = broker.lose


PROGRAMS = [pytest.param(program, id=program.__name__) for program in programs(RecoveringProgram)]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_loss_at_every_point(program: Type[RecoveringProgram], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "LOOK_AGAIN", program.look_again)
    assert explore(program.play, program.preemptions, program.free) > 10


@pytest.mark.soak
@pytest.mark.parametrize("program", PROGRAMS)
def test_with_another_preemption(program: Type[RecoveringProgram], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "LOOK_AGAIN", program.look_again)
    explore(program.play, 2, program.free)


#: Where, what stands there, what in its place, and the program that finds it.
BROKEN: Dict[str, Tuple[Callable[..., Any], str, str, Type[RecoveringProgram]]] = {
    "a publish that the books have is published once more": (
        RecoveringLine.publish_again,
        "return False",
        "pass",
        TwoPublish,
    ),
    "what is sent again is not counted": (
        CarriedBooks.begin,
        "self._ahead = self.next_tag - 1 - len(self._again)",
        "self._ahead = 0",
        TwoPublishAndOneIsConfirmed,
    ),
    "what is gathered is lost": (
        CarriedBooks.enter,
        "self.frames[entered[0]] = frames",
        "self.frames[entered[0]] = b''",
        PublishBesideBatch,
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function, old, new, program = BROKEN[name]
    monkeypatch.setattr(driver_module, "LOOK_AGAIN", program.look_again)
    break_function(monkeypatch, function, (old, new))
    with pytest.raises(Fault):
        explore(program.play, 2, program.free)
