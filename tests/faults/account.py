"""Nothing is lost: an account of every message, kept while the network and the broker break again and again.

Publishers with confirms and consumers with acknowledgements talk to a real RabbitMQ through the fault proxy, and
connect again by hand as docs/overview.txt says. What nobody confirmed is published again. In the end the books say

    attempted     messages that were handed to basic_publish() at least once
    confirmed     ... of which the broker has said that it has them
    received      ... that a consumer got, at least once
    lost          confirmed, and never received
    duplicated    deliveries beyond the first
    invented      received, and never sent, or with another body
    late          calls that asked to wait for longer than their deadline and SLACK
    raw           errors that are not documented

Duplicates are as they should be, but no more than were in flight when a connection broke: what was unconfirmed then,
and what was delivered then and perhaps not acknowledged.

    python3 -m tests.faults.account --suite bookworm --messages 1000000 --faults 2000
"""

from __future__ import annotations

import argparse
import collections
import importlib
import logging
import random
import sys
import threading
import time
import zlib
from collections import deque
from types import ModuleType
from typing import Any, Callable, Counter, List, Optional, Set, Tuple, Type

import amqplib.client_0_9_1 as amqp91
from tests.brokers import SUITES, BrokerError, Node, Nodes, install
from tests.waits import Asked

from .harness import Calls, documented
from .proxy import Door, Fault, Proxy

__all__ = ["Account", "Books"]

LOGGER = logging.getLogger("account")

#: Seconds that one call may wait.
TIMEOUT = 2.0
WINDOW = 100
PREFETCH = 50

QUEUES = ("amqplib-account-classic", "amqplib-account-quorum")

#: A quorum queue that is killed within a second of its declaration loses confirmed messages, whatever the client does.
SETTLING = 2.0

#: Seconds without a message, or in which one fault finds no connection, after which everything has hung.
STUCK = 60

#: A fault that finds no traffic is tried again with more of it, and sooner in it, up to so many times; then at once.
TRIES = 8

Id = Tuple[int, int]


def body_of(who: int, number: int) -> bytes:
    """A body that can be checked: it says whose it is, and all the rest follows from that."""
    name = b"%d:%d:" % (who, number)
    seed = zlib.crc32(name)
    return name + seed.to_bytes(4, "big") * (seed % 300)


def id_of(body: Any) -> Optional[Id]:
    """Whose it is; None when it is none that was ever made."""
    try:
        who, number, _ = bytes(body).split(b":", 2)
        found = int(who), int(number)
    except ValueError:
        return None
    return found if body_of(*found) == body else None


class Books:
    """What happened."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.attempted: Set[Id] = set()
        self.publishes = 0
        self.confirmed: Set[Id] = set()
        self.received: Counter[Id] = collections.Counter()
        self.strangers: List[Any] = []
        #: The most duplicates that the ends of connections explain.
        self.in_flight = 0
        self.ends: Counter[str] = collections.Counter()
        self.faults: Counter[str] = collections.Counter()
        self.late: List[str] = []
        self.raw: List[str] = []
        self.seconds = 0.0
        #: How often connections came back by themselves, where they do.
        self.recoveries = 0

    @property
    def lost(self) -> Set[Id]:
        return self.confirmed - set(self.received)

    @property
    def invented(self) -> int:
        return len(self.strangers) + len(set(self.received) - self.attempted)

    @property
    def duplicated(self) -> int:
        return sum(self.received.values()) - len(self.received)

    def wrong(self) -> List[str]:
        """What must not be."""
        found = [*self.late, *self.raw]
        if self.attempted != self.confirmed:
            found.append("%d were attempted and never confirmed" % len(self.attempted - self.confirmed))
        if self.lost:
            found.append("%d are lost, among them %s" % (len(self.lost), sorted(self.lost)[:10]))
        if self.invented:
            found.append("%d are invented: %s" % (self.invented, self.strangers[:5]))
        if self.duplicated > self.in_flight:
            found.append("%d are duplicated, and no more than %d were in flight" % (self.duplicated, self.in_flight))
        return found

    def summary(self) -> str:
        figures = [
            ("faults", sum(self.faults.values())),
            ("attempted", len(self.attempted)),
            ("publishes", self.publishes),
            ("confirmed", len(self.confirmed)),
            ("received", len(self.received)),
            ("lost", len(self.lost)),
            ("duplicated", self.duplicated),
            ("in flight", self.in_flight),
            ("invented", self.invented),
            ("late", len(self.late)),
            ("raw", len(self.raw)),
            ("recoveries", self.recoveries),
            ("seconds", round(self.seconds)),
        ]
        return ", ".join("%s %d" % figure for figure in figures)


class Program(threading.Thread):
    """One program with a connection that it makes again whenever that is lost."""

    def __init__(self, account: Account, who: int, door: Door, amqp: ModuleType) -> None:
        super().__init__(daemon=True)
        self.account = account
        self.books = account.books
        self.who = who
        self.door = door
        self.amqp = amqp
        self.queue = QUEUES[who % len(QUEUES)]
        self.pick = random.Random(who)

    def run(self) -> None:
        while not self.account.over.is_set():
            if self.session():
                break
            time.sleep(self.pick.uniform(0.01, 0.2))

    def session(self) -> bool:
        """One connection, to its end; True when all is done."""
        raise NotImplementedError

    def call(self, within: float, name: str, call: Callable[[], Any]) -> Any:
        calls = Calls(self.account.asked, within)
        try:
            return calls(name, call)
        finally:
            with self.books.lock:
                self.books.late += calls.late

    def connect(self) -> Any:
        options = dict.fromkeys(("connect_timeout", "reply_timeout", "write_timeout", "blocked_timeout"), TIMEOUT)
        return self.call(TIMEOUT, "Connection()", lambda: self.amqp.Connection(self.door.host, heartbeat=1, **options))

    def ended(self, exc: BaseException, in_flight: int) -> None:
        """A connection has ended for this reason."""
        with self.books.lock:
            self.books.ends["%s: %s" % (type(self).__name__, type(exc).__name__)] += 1
            self.books.in_flight += in_flight
            if not documented(exc):
                self.books.raw.append(repr(exc))

    def close(self, conn: Any) -> None:
        if conn is not None:
            try:
                self.call(TIMEOUT, "close()", conn.close)
            except Exception as exc:
                self.ended(exc, 0)


class Publisher(Program):
    """Publishes messages 0 to count - 1, and again what is not confirmed, until all are."""

    def __init__(self, account: Account, who: int, door: Door, count: int) -> None:
        super().__init__(account, who, door, amqp91)
        self.todo = deque(range(count))
        self.count = count

    def early(self) -> bool:
        """Messages are spread over all the faults."""
        return self.count - len(self.todo) >= self.account.share * self.count

    def session(self) -> bool:
        conn = ch = None
        sent: Set[int] = set()  # of which nothing is known yet
        try:
            conn = self.connect()
            ch = self.call(TIMEOUT, "channel()", conn.channel)
            self.call(TIMEOUT, "confirm_select()", lambda: ch.confirm_select(window=WINDOW))
            while self.todo:
                for _ in range(min(len(self.todo), self.pick.randrange(1, 2 * WINDOW))):
                    if self.early():
                        break
                    self.publish(ch, self.todo[0])
                    sent.add(self.todo.popleft())
                self.call(TIMEOUT, "wait_for_confirms()", lambda: ch.wait_for_confirms(timeout=TIMEOUT))
                self.confirmed(sent)
                sent = set()
                while self.todo and self.early():
                    time.sleep(0.005)
        except Exception as exc:
            unsafe = self.unsafe(exc, ch)
            self.ended(exc, len(unsafe))
            self.confirmed(sent - unsafe)
            self.todo.extendleft(sorted(unsafe - set(self.todo), reverse=True))
        self.close(conn)
        return not self.todo

    def publish(self, ch: Any, number: int) -> None:
        msg = self.amqp.Message(body_of(self.who, number), delivery_mode=2)
        msg.number = number
        with self.books.lock:
            self.books.attempted.add((self.who, number))
            self.books.publishes += 1
        # it may wait for room in the window, for the end of a block, and for the system to take it
        self.call(3 * TIMEOUT, "basic_publish()", lambda: ch.basic_publish(msg, routing_key=self.queue))

    def unsafe(self, exc: BaseException, ch: Any) -> Set[int]:
        """What has to be published again after this error."""
        if not isinstance(exc, amqp91.UnconfirmedError) and ch is not None:
            try:
                ch.wait_for_confirms(timeout=0)
            except amqp91.UnconfirmedError as known:
                exc = known
            except (amqp91.AMQPException, ValueError):
                return set()  # all that was sent is confirmed; or it was not even in confirm mode yet
        return {msg.number for msg in getattr(exc, "messages", ())}

    def confirmed(self, numbers: Set[int]) -> None:
        with self.books.lock:
            self.books.confirmed.update((self.who, number) for number in numbers)


class Consumer(Program):
    """Acknowledges what it gets; every other one does so for ten at a time."""

    unacked: Any = None

    def session(self) -> bool:
        conn = None
        consuming = False
        try:
            conn = self.connect()
            ch = self.call(TIMEOUT, "channel()", conn.channel)
            self.unacked = None
            self.call(TIMEOUT, "basic_qos()", lambda: ch.basic_qos(0, PREFETCH, False))
            consuming = True
            self.call(TIMEOUT, "basic_consume()", lambda: ch.basic_consume(self.queue, callback=self.got))
            while not self.account.over.is_set():
                try:
                    # handling one message may mean an acknowledgement, which the system may not take at once
                    self.call(2 * TIMEOUT, "wait()", lambda: ch.wait(timeout=0.5))
                except self.amqp.AMQPTimeoutError:
                    if self.unacked is not None:
                        msg, self.unacked = self.unacked, None
                        ch.basic_ack(msg.delivery_tag, multiple=True)
        except Exception as exc:
            self.ended(exc, PREFETCH if consuming else 0)
        self.close(conn)
        return False

    def got(self, msg: Any) -> None:
        found = id_of(msg.body)
        with self.books.lock:
            if found is None:
                self.books.strangers.append(msg.body)
            else:
                self.books.received[found] += 1
        if self.who // len(QUEUES) % 2 == 0:
            msg.channel.basic_ack(msg.delivery_tag)
        elif msg.delivery_tag % 10:
            self.unacked = msg
        else:
            self.unacked = None
            msg.channel.basic_ack(msg.delivery_tag, multiple=True)


class Account:
    """The programs, and what happens to them meanwhile."""

    #: What is done, in turn; most of it to the network.
    PLAN = ("cut", "reset", "stall", "half_close", "shut", "drip", "handshake", "swallow", "delay", "refuse") * 3 + (
        "cut",
        "reset",
        "close_all",
        "stall",
        "shut",
        "blocked",
        "drip",
        "handshake",
        "freeze",
    )

    def __init__(
        self,
        node: Node,
        messages: int,
        faults: int,
        seed: int = 1,
        consumer: str = "amqplib.client_0_9_1",
        kill_every: int = 10,
        recover: bool = False,
    ) -> None:
        self.node = node
        self.messages = messages
        self.faults = faults
        self.kill_every = kill_every
        self.books = Books()
        #: When the consumers have to go.
        self.over = threading.Event()
        #: How much of all may be published by now.
        self.share = 0.0
        self.asked = Asked()
        self._consumer = importlib.import_module(consumer)
        self._recover = recover
        self._pick = random.Random(seed)

    def run(self) -> Books:
        """All of it."""
        began = time.monotonic()
        direct = amqp91.Connection(self.node.host)
        for name in QUEUES:
            kind = name.rpartition("-")[2]
            ch = direct.channel()
            ch.queue_declare(name, durable=True, auto_delete=False, arguments={"x-queue-type": kind})
        direct.close()
        time.sleep(SETTLING)
        count = len(QUEUES) * 2
        with Proxy(("127.0.0.1", self.node.port)) as proxy, self.asked:
            self._doors = doors = [proxy.door(), proxy.door()]  # for publishers, for consumers
            share = self.messages // count
            publisher, consumer = self._programs()
            publishers = [publisher(self, who, doors[0], share) for who in range(count)]
            consumers = [consumer(self, who, doors[1], self._consumer) for who in range(count)]
            for program in [*publishers, *consumers]:
                program.start()
            for number in range(self.faults):
                kind = (
                    "kill" if number % self.kill_every == self.kill_every // 2 else self.PLAN[number % len(self.PLAN)]
                )
                if self._suffer(kind, number):
                    self.books.faults[kind] += 1
                self.share = (number + 1) / (self.faults + 1)
                self.report("%d: %s" % (number, kind))
                due = number * self.messages // (self.faults + 1)
                if not self._progress(lambda: len(self.books.confirmed) >= due):  # noqa: B023
                    break
            self.share = 1.0
            self._progress(lambda: not any(publisher.is_alive() for publisher in publishers))
            self._progress(lambda: not self.books.lost)
            self.over.set()
            for program in [*publishers, *consumers]:
                program.join(10 * TIMEOUT)
                if program.is_alive():
                    self.books.late.append("%s %d hangs" % (type(program).__name__, program.who))
        self._drain()
        self.books.seconds = time.monotonic() - began
        return self.books

    def _programs(self) -> Tuple[Type[Publisher], Type[Consumer]]:
        if not self._recover:
            return Publisher, Consumer
        recovering = importlib.import_module("tests.faults.recovering")
        return recovering.RecoveringPublisher, recovering.RecoveringConsumer

    def _progress(self, done: Callable[[], bool]) -> bool:
        """Wait until `done`; False when nothing happens any more."""
        before, since = (0, 0), time.monotonic()
        while not done():
            time.sleep(0.02)
            now = len(self.books.confirmed), len(self.books.received)
            if now != before:
                before, since = now, time.monotonic()
            elif time.monotonic() - since > STUCK:
                self.books.late.append("nothing has been confirmed or received for %d s" % STUCK)
                return False
        return True

    def _drain(self) -> None:
        """What is left in the queues: nothing, but for duplicates."""
        with amqp91.Connection(self.node.host) as conn, conn.channel() as ch:
            for name in QUEUES:
                for msg in iter(lambda: ch.basic_get(name, no_ack=True), None):  # noqa: B023
                    found = id_of(msg.body)
                    if found is None:
                        self.books.strangers.append(msg.body)
                    else:
                        self.books.received[found] += 1

    def report(self, what: str) -> None:
        """Called after every fault."""
        LOGGER.debug("%s: %s", what, self.books.summary())

    # --- faults

    def _suffer(self, kind: str, number: int) -> bool:
        """One fault, tried until it has happened: there may be no connection just now, or nothing to send on it."""
        attempts = 0
        deadline = time.monotonic() + STUCK
        while time.monotonic() < deadline:
            attempts += 1
            part = min(attempts / TRIES, 1)
            self.share = (number + part) / (self.faults + 1)
            if self._inflict(kind, self._pick.choice(self._doors), 1 - part):
                return True
        return False

    def _inflict(self, kind: str, door: Door, depth: float) -> bool:
        """One fault, this deep in the traffic, 0 to 1; did it happen?"""
        if kind == "kill":
            self.node.kill()
            time.sleep(self._pick.uniform(0, 0.5))
            self.node.run()
            self.node.wait_ready()
            time.sleep(SETTLING)
        elif kind == "freeze":
            self.node.freeze()
            time.sleep(self._pick.uniform(0.5, 3.5))
            self.node.thaw()
        elif kind == "close_all":
            self.node.ctl("close_all_connections", "an operator wants it so")
        elif kind == "blocked":
            self.node.ctl("set_vm_memory_high_watermark", "0.0000001")
            time.sleep(self._pick.uniform(0.1, 3))
            self.node.ctl("set_vm_memory_high_watermark", "0.4")
        elif kind == "refuse":
            door.refusals = self._pick.randrange(1, 10)
            door.strike(up=Fault("reset"))
            return self._wait_for(lambda: door.refusals == 0)
        elif kind == "handshake":
            for faults in (door.up_faults, door.down_faults):
                faults.extend(
                    Fault(self._pick.choice(("cut", "reset", "stall")), self._pick.randrange(600)) for _ in range(2)
                )
            door.strike(up=Fault("cut"))
            return self._wait_for(lambda: not door.up_faults)
        else:
            before = door.suffered[kind]
            up = self._pick.random() < 0.5
            # where messages go there are many bytes, and few where only acknowledgements do
            after = int(depth * self._pick.randrange(5000 if up == (door is self._doors[0]) else 60))
            fault = Fault(kind, after, seconds=0.0005 if kind == "drip" else 0.3)
            door.strike(up=fault) if up else door.strike(down=fault)
            if not self._wait_for(lambda: door.suffered[kind] > before):
                door.strike()
                return False
            if kind in ("stall", "shut", "drip", "delay"):  # healed sooner or later than it is noticed
                time.sleep(self._pick.uniform(0.1, 3))
                door.strike()
        return True

    @staticmethod
    def _wait_for(done: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + 1
        while not done() and time.monotonic() < deadline:
            time.sleep(0.005)
        return done()


def main(arguments: List[str]) -> int:
    parser = argparse.ArgumentParser(description="Keep an account of messages while everything breaks.")
    parser.add_argument("--suite", choices=SUITES, default=SUITES[0], help="the RabbitMQ of which Debian")
    parser.add_argument("--messages", type=int, default=20000)
    parser.add_argument("--faults", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kill-every", type=int, default=10, help="one fault in so many kills the broker")
    parser.add_argument("--consumer", default="amqplib.client_0_9_1", help="the client module of the consumers")
    parser.add_argument("--recover", action="store_true", help="programs whose connections come back by themselves")
    parser.add_argument("--verbose", action="store_true", help="say so after every fault")
    options = parser.parse_args(arguments)
    if options.verbose:
        logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
        LOGGER.setLevel(logging.DEBUG)
    try:
        with Nodes() as nodes:
            node = nodes.start(install(options.suite))
            account = Account(
                node,
                options.messages,
                options.faults,
                options.seed,
                options.consumer,
                options.kill_every,
                options.recover,
            )
            books = account.run()
    except BrokerError as error:
        print("account.py: %s" % error, file=sys.stderr)
        return 1
    print("RabbitMQ %s, consumers %s, seed %d: %s" % (node.version, options.consumer, options.seed, books.summary()))
    print("faults: %s" % dict(books.faults))
    print("connections ended by: %s" % dict(books.ends))
    for line in [*books.late[:20], *books.raw[:20]]:
        print(line)
    return 1 if books.wrong() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
