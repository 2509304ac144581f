"""A connection is lost, and the conversation in which it comes back is broken at every single byte, both ways.

It comes back all the same, at the attempt after that: nothing that was published is lost, the consumer goes on, and
what was declared is there. All offsets are in the long run (-m soak), some of them in each.
"""

from __future__ import annotations

import itertools
import time
from typing import Any, List, NamedTuple, Optional, Set, Tuple

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker

from .harness import open_files, side_by_side
from .proxy import Door, Fault, Proxy

#: Bounds a hang.
LONG = 60.0

#: Seconds for which an attempt, and each call, waits where the fault is silence. All has to be made first, too.
SHORT = 2.0

SILENT = ("stall", "swallow")

#: Published and not confirmed when the connection is lost.
UNCONFIRMED = ("one", "two", "three" * 20)

_NUMBERS = itertools.count()


class Case(NamedTuple):
    way: str
    fault: Fault

    def __str__(self) -> str:
        return "%s %s after byte %d" % (self.way, self.fault.kind, self.fault.after)


class Program:
    """A program that has a bit of everything on one connection."""

    def __init__(self, door: Door, patience: float) -> None:
        policy = amqp.Recovery(delay=0.01, delay_max=0.05)
        self.conn = amqp.Connection(
            door.host, recover=policy, connect_timeout=patience, reply_timeout=patience, write_timeout=patience
        )
        self.found: List[Any] = []
        self.ch, self.other = self.conn.channel(), self.conn.channel()
        # names that none before had, as ports come again; and as long as those of each other
        self.exchange = "%06d" % next(_NUMBERS)
        self.ch.exchange_declare(self.exchange, "fanout", auto_delete=False)
        self.ch.queue_declare(self.exchange, auto_delete=False)
        self.ch.queue_bind("", self.exchange)
        self.ch.basic_qos(prefetch_count=10)
        self.ch.basic_consume("", "tag", callback=self.got)
        # what is in this one goes with each connection
        self.other.queue_bind(self.other.queue_declare(exclusive=True)[0], "amq.topic", "x.#")
        self.other.confirm_select()
        for body in UNCONFIRMED:
            self.other.basic_publish(amqp.Message(body), self.exchange)

    def got(self, msg: Any) -> None:
        self.found.append(msg.body)
        msg.ack()

    def go_on(self) -> Set[Any]:
        """Whatever happens to the connection; what is received in the end."""
        deadline = time.monotonic() + LONG
        wanted = {*UNCONFIRMED, "after"}
        published = False
        while not set(self.found) >= wanted or self.other.unconfirmed:
            assert time.monotonic() < deadline, "%d of %d" % (len(set(self.found)), len(wanted))
            try:
                if self.conn.stats().recoveries and not published:
                    assert self.other.basic_publish(amqp.Message("after"), self.exchange) == len(wanted)
                    published = True
                self.conn.drain_events(timeout=0.05)
            except amqp.AMQPTimeoutError:
                pass
        return set(self.found)


def conversation(broker: Broker) -> Tuple[int, int]:
    """Octets of an undisturbed one, up and down."""
    with Proxy((broker.host, broker.port)) as proxy:
        door = proxy.door()
        program = Program(door, LONG)
        before = program.conn.stats()
        door.strike(up=Fault("reset"))
        program.go_on()
        after = program.conn.stats()
        program.conn.close()
        return after.bytes_out - before.bytes_out, after.bytes_in - before.bytes_in


def judge(broker: Broker, proxy: Proxy, case: Case) -> Optional[str]:
    door, program = proxy.door(), None
    try:
        program = Program(door, SHORT if case.fault.kind in SILENT else LONG)
        (door.up_faults if case.way == "up" else door.down_faults).append(case.fault)
        (door.down_faults if case.way == "up" else door.up_faults).append(Fault("cut", 1 << 40))
        door.strike(up=Fault("reset"))
        found = program.go_on()
        unexpected = found - {*UNCONFIRMED, "after"}
        if unexpected:
            return "received %r" % sorted(unexpected)
        if list(program.ch.callbacks) != ["tag"] or program.conn.stats().recoveries < 1:
            return "it did not come back whole: %r, %r" % (list(program.ch.callbacks), program.conn.stats())
    except Exception as exc:
        return "%s: %s" % (type(exc).__name__, exc)
    finally:
        if program is not None:
            try:
                program.conn.close(timeout=SHORT)
            except (amqp.AMQPException, OSError):
                pass  # the fault may come now
        door.close()
    return None


def every(broker: Broker, kinds: List[str], step: int) -> List[str]:
    up, down = conversation(broker)
    assert min(up, down) > 300
    cases = [
        Case(way, Fault(kind, after))
        for kind in kinds
        for way, octets in (("up", up), ("down", down))
        for after in range(0, octets, step)
    ]
    with Proxy((broker.host, broker.port)) as proxy:
        return side_by_side(cases, lambda case: judge(broker, proxy, case), threads=8)


@pytest.mark.timeout(300)
def test_some_bytes() -> None:
    with Broker() as broker:
        assert every(broker, ["cut", "reset"], 23) == []


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["cut", "reset", "half_close", "stall", "swallow"])
def test_every_byte(kind: str) -> None:
    before = open_files()
    with Broker(heartbeat=1) as broker:  # silence of a connection that is back has to be noticed, too
        assert every(broker, [kind], 11 if kind in SILENT else 1) == []
    assert open_files() <= before  # what tests before this one have left may have gone
