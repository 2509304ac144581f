#!/usr/bin/env python3
"""Subscribe to topics: words separated by dots, where * stands for one word and # for any number of them.

python3 demo/topic_subscriber.py '*.*.*.*.*.#'      # while demo/amqp_clock.py --every 1 runs
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, installed or not

import amqplib.client_0_9_1 as amqp
from demo.options import connection_arguments, number, parser, run, shown


def main() -> None:
    """Print what comes until --count messages have, or none for --idle seconds."""
    p = parser("Print the messages of a topic exchange whose routing keys match.")
    p.add_argument("patterns", nargs="+", metavar="PATTERN", help="such as '*.*.*.*.*.30' or 'orders.#'")
    p.add_argument("--exchange", default="clock", help="(default: %(default)s)")
    p.add_argument("--count", type=number, default=0, metavar="N", help="end after N messages (default: never)")
    p.add_argument("--idle", type=float, default=None, metavar="SECONDS", help="end after so long without a message")
    options = p.parse_args()

    with amqp.Connection(**connection_arguments(options)) as conn, conn.channel() as ch:
        ch.exchange_declare(options.exchange, "topic")
        queue, _, _ = ch.queue_declare(exclusive=True)
        for pattern in options.patterns:
            ch.queue_bind(queue, options.exchange, routing_key=pattern)
        print("subscribed", flush=True)
        for received, msg in enumerate(ch.consume(queue, no_ack=True, timeout=options.idle), 1):
            print("%s: %s" % (shown(msg.routing_key), shown(msg.body)), flush=True)
            if received == options.count:
                break


if __name__ == "__main__":
    sys.exit(run(main))
