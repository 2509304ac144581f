"""The programs of the account with recovery on: there is no line of connecting again in them.

A call may wait for as long as the broker is away, unless it was given a time of its own; then it has to keep to that.
"""

from __future__ import annotations

import time
from types import ModuleType
from typing import Any, Dict, Set

import amqplib.client_0_9_1 as amqp91

from .account import PREFETCH, STUCK, TIMEOUT, WINDOW, Account, Consumer, Program, Publisher
from .proxy import Door

__all__ = ["RecoveringConsumer", "RecoveringPublisher"]


def connect(program: Program, lost: Any, given_up: Any) -> Any:
    """A connection that comes back."""
    options: Dict[str, Any] = {"connect_timeout": TIMEOUT, "write_timeout": TIMEOUT}
    options.update(reply_timeout=STUCK, blocked_timeout=STUCK, heartbeat=1)
    policy = program.amqp.Recovery(first=True, on_lost=lost, on_given_up=given_up)
    return program.amqp.Connection(program.door.host, recover=policy, **options)


class RecoveringPublisher(Publisher):
    """Publishes its messages, and waits until all are confirmed."""

    def __init__(self, account: Account, who: int, door: Door, count: int) -> None:
        super().__init__(account, who, door, count)
        self.published = 0

    def session(self) -> bool:
        conn = connect(self, lambda exc: self.ended(exc, 0), lambda exc: self.books.raw.append("given up: %r" % exc))
        ch = conn.channel()
        ch.confirm_select(window=WINDOW)
        sent: Set[int] = set()
        while self.todo or sent:
            for _ in range(min(len(self.todo), self.pick.randrange(1, 2 * WINDOW))):
                if self.early():
                    break
                self.publish(ch, self.todo[0])
                sent.add(self.todo.popleft())
            unsafe: Set[int] = set()
            try:
                self.call(TIMEOUT, "wait_for_confirms()", lambda: ch.wait_for_confirms(timeout=TIMEOUT))
            except amqp91.UnconfirmedError as exc:
                later: Any = exc.unconfirmed.values()
                again: Any = exc.nacked.values()
                unsafe, refused = {msg.number for msg in later}, {msg.number for msg in again}
                self.todo.extendleft(sorted(refused, reverse=True))
                sent -= refused
            self.confirmed(sent - unsafe)
            sent = unsafe
            while self.todo and self.early() and not sent:
                time.sleep(0.005)
        with self.books.lock:  # what was sent more than once
            self.books.in_flight += conn.stats().messages_out - self.count
            self.books.recoveries += conn.stats().recoveries
        self.close(conn)
        return True

    def call(self, within: float, name: str, call: Any) -> Any:
        """A publish has no deadline."""
        return super().call(STUCK if name == "basic_publish()" else within, name, call)


class RecoveringConsumer(Consumer):
    """Acknowledges what it gets until all is over."""

    def __init__(self, account: Account, who: int, door: Door, amqp: ModuleType) -> None:
        super().__init__(account, who, door, amqp)

    def session(self) -> bool:
        conn = connect(
            self, lambda exc: self.ended(exc, PREFETCH), lambda exc: self.books.raw.append("given up: %r" % exc)
        )
        ch = conn.channel()
        ch.basic_qos(0, PREFETCH, False)
        ch.basic_consume(self.queue, callback=self.got)
        while not self.account.over.is_set():
            try:
                self.call(2 * TIMEOUT, "wait()", lambda: ch.wait(timeout=0.5))
            except self.amqp.AMQPTimeoutError:
                if self.unacked is not None:
                    msg, self.unacked = self.unacked, None
                    ch.basic_ack(msg.delivery_tag, multiple=True)
        with self.books.lock:
            self.books.recoveries += conn.stats().recoveries
        self.close(conn)
        return True
