#!/usr/bin/env python3
"""Celery's tasks, published and received through amqplib.kombu and through kombu's own transport (py-amqp), by turns.

    PYTHON benchmarks/tasks.py URL [TASKS]        PYTHON is one that has Celery; URL is a broker's

Prints the processor time of the client for each task, in microseconds, the smallest of five, and what amqplib's is of
py-amqp's. Publishing is Task.apply_async(); receiving is a kombu consumer that decodes and acknowledges each message.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

TRANSPORTS = {"amqplib": "amqplib.kombu:Transport", "py-amqp": "pyamqp"}
ROUNDS = 5


def cpu(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def measured(url: str, transport: str, tasks: int) -> Dict[str, float]:
    """Processor time of all tasks: published, received."""
    import celery

    queue = "amqplib-bench-%x" % time.monotonic_ns()
    app = celery.Celery("bench", broker=url, set_as_current=False)
    app.conf.update(broker_transport=transport, task_default_queue=queue, task_ignore_result=True)

    @app.task(name="add")  # type: ignore[untyped-decorator, unused-ignore]
    def add(a: int, b: int) -> int:
        return a + b

    with app.connection_for_write() as conn:
        bound = app.amqp.queues[queue](conn.default_channel)
        bound.declare()

        def publish() -> None:
            with app.amqp.Producer(conn.default_channel) as producer:
                for number in range(tasks):
                    add.apply_async((number, 1), producer=producer, retry=False)

        def receive() -> None:
            left = [tasks]

            def on_message(body: Any, message: Any) -> None:
                message.ack()
                left[0] -= 1

            with app.amqp.Consumer(conn.default_channel, [bound], callbacks=[on_message], prefetch_count=100):
                while left[0]:
                    conn.drain_events(timeout=30)

        figures = {"published": cpu(publish)}
        time.sleep(0.2)  # the broker is done with them
        figures["received"] = cpu(receive)
        bound.delete()
    return figures


def main() -> None:
    """See the head of this file."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    url, tasks = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    found: Dict[str, List[Dict[str, float]]] = {name: [] for name in TRANSPORTS}
    for _ in range(ROUNDS):
        for name, transport in TRANSPORTS.items():
            found[name].append(measured(url, transport, tasks))
    for what in ("published", "received"):
        least = {name: min(each[what] for each in figures) / tasks * 1e6 for name, figures in found.items()}
        shares = ", ".join("%s %.1f us" % pair for pair in least.items())
        print("a task %-10s %s: %.2f" % (what, shares, least["amqplib"] / least["py-amqp"]))


if __name__ == "__main__":
    main()
