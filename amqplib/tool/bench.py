"""`amqplib bench`: what this machine, the network and the broker do in a second."""

from __future__ import annotations

import argparse
import time
import uuid
from typing import Any, Callable, Dict, List, NamedTuple

import amqplib.client_0_9_1 as amqp

__all__ = ["Row", "bench"]

_WINDOW = 1000

#: One in so many is also asked for by basic_get, each of which waits for an answer.
_FEWER = 10


class Row(NamedTuple):
    """What a number of messages took."""

    what: str
    number: int
    #: On the clock, and of this process's processor time.
    seconds: float
    cpu: float

    def __str__(self) -> str:
        rate, each = self.number / max(self.seconds, 1e-9), 1e6 * self.cpu / self.number
        return "%-28s %9d %9.2f s %10.0f /s %8.1f us of CPU each" % (self.what, self.number, self.seconds, rate, each)


def _timed(what: str, number: int, work: Callable[[], Any]) -> Row:
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return Row(what, number, time.perf_counter() - began, time.process_time() - cpu)


def bench(ch: amqp.Channel, given: argparse.Namespace, tell: Callable[[Row], Any]) -> List[Row]:
    """Publish and consume on a queue of its own, which is gone in the end; tell() is called with each row."""
    number, rows = given.count, []
    arguments: Dict[str, Any] = {"x-queue-type": given.type}
    exclusive = given.type == "classic"
    name = "amqplib-bench-%s" % uuid.uuid4().hex
    ch.queue_declare(name, durable=not exclusive, exclusive=exclusive, auto_delete=False, arguments=arguments)
    try:
        msg = amqp.Message(b"x" * given.size, delivery_mode=2)

        def publish() -> None:
            for _ in range(number):
                ch.basic_publish(msg, routing_key=name)
            ch.queue_declare(name, passive=True)  # once this is answered, the broker has read them all

        def publish_in_batch() -> None:
            with ch.batch():
                for _ in range(number):
                    ch.basic_publish(msg, routing_key=name)
            ch.queue_declare(name, passive=True)

        def publish_confirmed() -> None:
            ch.confirm_select(window=_WINDOW)
            for _ in range(number):
                ch.basic_publish(msg, routing_key=name)
            ch.wait_for_confirms()

        def consume() -> None:
            ch.basic_qos(prefetch_count=_WINDOW)
            left = number
            for got in ch.consume(name, timeout=60):
                got.ack()
                left -= 1
                if not left:
                    return
            raise RuntimeError("%d messages did not come back" % left)

        def get() -> None:
            for _ in range(max(number // _FEWER, 1)):
                got = ch.basic_get(name)
                assert got is not None
                got.ack()

        def measure(what: str, work: Callable[[], None], times: int = number) -> None:
            rows.append(_timed(what, times, work))
            tell(rows[-1])

        for what, work in (
            ("published", publish),
            ("consumed, acknowledged", consume),
            ("published in a batch", publish_in_batch),
            ("consumed, acknowledged", consume),
            ("published, confirmed", publish_confirmed),
        ):
            measure(what, work)
        measure("got one by one, acknowledged", get, max(number // _FEWER, 1))
    finally:
        if ch.is_open:
            ch.queue_delete(name)
    return rows
