"""A world in which the connection comes back: each network connection has a wire and a broker of its own.

The Reviver is the real one, and so are its lines, its replay and the books that go on. The thread that it starts is one
of the scheduler's, which waits until it is asked for; what it asks for (connecting, the clock, a condition) is this
world's. One driver follows upon the other with the same lock.
"""

from __future__ import annotations

import contextlib
import threading
from functools import partial
from types import SimpleNamespace
from typing import Any, Callable, ClassVar, Dict, Iterator, List, Optional, Tuple

from amqplib.client.channel import Channel
from amqplib.client.connection import Connection
from amqplib.client.deadline import Deadline
from amqplib.client.driver import Driver
from amqplib.client.message import Message
from amqplib.client.recovery import replay, reviver
from amqplib.client.recovery.policy import Recovery
from amqplib.client.timeouts import Timeouts
from amqplib.protocol.handshake import Agreement
from amqplib.wire.protocol import Receiver, Sender
from amqplib.wire.spec import AMQP_0_9_1

from .scheduler import Condition, Lock, Scheduler
from .world import FRAME_MAX, Broker, Program, Watched, Wire, World

__all__ = ["RecoveringProgram"]


class _Started:
    """In the place of a thread: what the Reviver wants to have run."""

    def __init__(self, world: RecoveringWorld, target: Callable[[], None]) -> None:
        self.ident: Optional[int] = None
        self._world, self._target = world, target

    def start(self) -> None:
        self.ident = id(self)
        self._world.jobs.append(self)
        if self._world.threads_are_over:  # nobody else is there to run it
            self._world.work()

    def run(self) -> None:
        self._world.running.append(self)
        try:
            self._target()
        finally:
            self._world.running.pop()


class RecoveringWorld(World):
    """One connection, and the brokers that it has had."""

    def __init__(self, program: RecoveringProgram, **timeouts: Optional[float]) -> None:
        World.latest = self
        self.scheduler = program.scheduler
        self.lock = Lock(self.scheduler)
        self.brokers: List[Broker] = []
        self.wires: List[Wire] = []
        #: What the Reviver has started and nobody has begun; what runs.
        self.jobs: List[_Started] = []
        self.running: List[_Started] = []
        #: Is there only who prepares, or looks at the end?
        self.threads_are_over = True
        self._program = program
        self._timeouts = Timeouts(**timeouts, clock=self.scheduler.clock)
        self._names = {
            "connect": self._connect,
            "new_lock": lambda: self.lock,
            "time": SimpleNamespace(monotonic=self.scheduler.clock, sleep=None),
            "Deadline": partial(Deadline, clock=self.scheduler.clock),
            "threading": SimpleNamespace(
                Condition=lambda lock: Condition(lock, self.scheduler),
                Thread=lambda target, name, daemon: _Started(self, target),
                current_thread=lambda: self.running[-1] if self.running else threading.current_thread(),
            ),
        }
        with self.in_place():
            self.connection = Connection(recover=program.recovery)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the Reviver is given what is this world's."""
        kept = {name: vars(reviver)[name] for name in self._names}, vars(replay)["Deadline"]
        vars(reviver).update(self._names)
        vars(replay)["Deadline"] = self._names["Deadline"]
        try:
            yield
        finally:
            vars(reviver).update(kept[0])
            vars(replay)["Deadline"] = kept[1]

    def _connect(self, plan: Any, hosts: Any, deadline: Any) -> Tuple[Driver, Agreement]:
        scheduler = self.scheduler
        scheduler.point("connect")
        wire: Any = Wire(scheduler)
        self.wires.append(wire)
        broker = Broker(wire, scheduler)
        self.brokers.append(broker)
        self._program.is_made(broker, len(self.brokers))
        receiver = Receiver(AMQP_0_9_1, Message._amqplib_received, Message._amqplib_to_time)
        session = plan.make_session(receiver, Sender(AMQP_0_9_1))
        receiver.frame_max = session.sender.frame_max = FRAME_MAX
        plan.timeouts = self._timeouts
        driver = Watched.__new__(Watched)
        driver.scheduler = scheduler
        news = plan.news
        Driver.__init__(
            driver, session, wire, plan.timeouts, "the broker", lock=plan.lock, clock=scheduler.clock, condition=news
        )
        agreed = Agreement()
        agreed.channel_max, agreed.frame_max = 10, FRAME_MAX
        return driver, agreed

    def work(self) -> None:
        """Run what the Reviver has started."""
        while self.jobs:
            self.jobs.pop(0).run()


class RecoveringProgram(Program):
    """What threads do with a connection that is lost in the midst of it. `threads` does not name the Reviver's."""

    recovery: ClassVar[Recovery] = Recovery()

    world: RecoveringWorld

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.tags: Dict[int, Dict[bytes, Optional[int]]] = {}
        self.world = RecoveringWorld(self, **self.timeouts)
        self.connection = self.world.connection
        self._left = 0

    @classmethod
    def play(cls, scheduler: Scheduler) -> None:
        """One order."""
        self = cls(scheduler)
        with self.world.in_place():
            self.prepare()
            self._left, self.world.threads_are_over = len(self.threads), False
            try:
                functions = [partial(self._run, getattr(self, name)) for name in self.threads]
                outcomes = scheduler.run([*functions, self._recover])
            finally:
                self.world.threads_are_over = True
            for name, outcome in zip([*self.threads, "recovery"], outcomes):
                if isinstance(outcome, BaseException) and not isinstance(outcome, self.allowed):
                    raise AssertionError("%s: %r" % (name, outcome)) from outcome
            self.world.work()
            self.at_rest()
            self.check(outcomes[:-1])

    def _run(self, function: Callable[[], Any]) -> Any:
        try:
            return function()
        finally:
            self._left -= 1

    def _recover(self) -> None:
        """The thread of the Reviver, which is there as long as any other."""
        world = self.world
        while True:
            self.scheduler.block("begin to bring back", lambda: bool(world.jobs) or not self._left)
            if not world.jobs:
                return
            world.work()

    def is_made(self, broker: Broker, number: int) -> None:
        """A network connection is made, the first one or a later one."""

    def lose(self) -> None:
        """Lose the present one, as soon as what is due has been done."""
        self.world.brokers[-1].lose()

    def at_rest(self) -> None:
        """What can be used can be used, perhaps once it is back."""
        before = 0
        while self.connection.is_open and before < len(self.world.brokers):  # the loss may be still to come
            before = len(self.world.brokers)
            self.open().close()
        driver: Any = self.connection._amqplib.driver
        self.driver = driver
        self.broker, self.wire = self.world.brokers[-1], self.world.wires[-1]
        kept, self.tags = self.tags, {}  # they are not the broker's tags
        super().at_rest()
        self.tags = kept

    def all_bodies(self) -> List[bytes]:
        """What any of the brokers has got."""
        return [body for broker in self.world.brokers for _, body in broker.published.get(1, ())]

    def settled(self, channel: Channel) -> None:
        """Everything was confirmed: so a broker has said so of each, which may have got it twice, and the tags are
        the program's, each given once."""
        channel.wait_for_confirms()
        assert not channel.unconfirmed
        tags = self.tags[1]
        assert set(tags) <= set(self.all_bodies())
        assert sorted(tag or 0 for tag in tags.values()) == list(range(1, len(tags) + 1)), tags
