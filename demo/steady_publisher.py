#!/usr/bin/env python3
"""A publisher that survives its broker: each message is safe in the end, and it ends cleanly on SIGTERM.

python3 demo/steady_publisher.py --queue demo.steady --pause 0.01
"""

from __future__ import annotations

import itertools
import signal
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, installed or not

import amqplib.client_0_9_1 as amqp
from demo.options import connection_arguments, parser, run


def main() -> None:
    """Publish a message after each --pause until SIGTERM; then wait until all are confirmed."""
    p = parser("Publish to a queue, over losses of the broker, until SIGTERM.")
    p.add_argument("--queue", default="demo.steady", help="(default: %(default)s)")
    p.add_argument("--pause", type=float, default=0.1, metavar="SECONDS", help="(default: %(default)s)")
    options = p.parse_args()
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: over.set())
    recover = amqp.Recovery(first=True, message_ids=True)  # the same id on a message that is sent again
    with amqp.Connection(recover=recover, **connection_arguments(options)) as conn, conn.channel() as ch:
        ch.queue_declare(options.queue, durable=True, auto_delete=False)
        ch.confirm_select(window=200)
        print("publishing; SIGTERM ends this", flush=True)
        for number in itertools.count():
            if over.wait(options.pause):
                break
            ch.basic_publish(amqp.Message("task %d" % number, delivery_mode=2), routing_key=options.queue)
        ch.wait_for_confirms(timeout=60)
        print("%d messages are safe, over %d recoveries" % (number, conn.stats().recoveries))


if __name__ == "__main__":
    sys.exit(run(main))
