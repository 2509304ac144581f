#!/usr/bin/env python3
"""A worker: take tasks from a queue, a few at a time, and acknowledge each when it is done.

python3 demo/worker.py --queue demo.confirmed --idle 2

Start several of them: the broker deals the tasks out evenly, and gives those of a worker that dies to another one.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, installed or not

import amqplib.client_0_9_1 as amqp
from demo.options import connection_arguments, parser, run


def work(task: str) -> None:
    """Do it. What raises here is a task that will never work."""
    if "impossible" in task:
        raise ValueError(task)


def main() -> None:
    """Work until no task has come for --idle seconds."""
    p = parser("Take tasks from a queue and acknowledge each when it is done.")
    p.add_argument("--queue", default="demo.confirmed", help="(default: %(default)s)")
    p.add_argument("--idle", type=float, default=None, metavar="SECONDS", help="end after so long without a task")
    options = p.parse_args()

    done = refused = 0
    with amqp.Connection(**connection_arguments(options)) as conn, conn.channel() as ch:
        ch.queue_declare(options.queue, durable=True)
        ch.basic_qos(0, 20, False)
        print("waiting for tasks; Ctrl-C ends this", flush=True)
        for msg in ch.consume(options.queue, timeout=options.idle):
            try:
                work(str(msg.body))
            except ValueError:
                msg.reject(requeue=False)  # dropped, or dead-lettered where the queue says so
                refused += 1
            else:
                msg.ack()
                done += 1
    print("%d tasks done, %d refused" % (done, refused))


if __name__ == "__main__":
    sys.exit(run(main))
