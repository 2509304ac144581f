#!/usr/bin/env python3
"""A worker that survives its broker: it comes back with its queue and consumer, and ends cleanly on SIGTERM.

python3 demo/steady_worker.py --queue demo.steady

Kill the broker (kill -9) and start it again while this and steady_publisher.py run: there is nothing to be done here.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, installed or not

import amqplib.client_0_9_1 as amqp
from demo.options import connection_arguments, parser, run


def main() -> None:
    """Print and acknowledge what comes until SIGTERM."""
    p = parser("Take tasks from a queue, over losses of the broker, until SIGTERM.")
    p.add_argument("--queue", default="demo.steady", help="(default: %(default)s)")
    options = p.parse_args()
    recover = amqp.Recovery(first=True)  # the broker may also start after this
    with amqp.Connection(recover=recover, **connection_arguments(options)) as conn, conn.channel() as ch:
        # what is not acknowledged by then goes back to the queue
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
        ch.queue_declare(options.queue, durable=True, auto_delete=False)
        ch.basic_qos(prefetch_count=20)
        print("waiting for tasks; SIGTERM ends this", flush=True)
        for msg in ch.consume(options.queue):
            print(msg.body, "again" if msg.redelivered else "", flush=True)
            msg.ack()


if __name__ == "__main__":
    sys.exit(run(main))
