#!/usr/bin/env python3
"""Publish messages and know that the broker has every one of them.

python3 demo/publish_confirmed.py --count 1000
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, installed or not

import amqplib.client_0_9_1 as amqp
from demo.options import connection_arguments, number, parser, run


def main() -> int:
    """Publish --count messages to a queue that outlives the broker."""
    p = parser("Publish messages and have the broker confirm every one of them.")
    p.add_argument("--queue", default="demo.confirmed", help="(default: %(default)s)")
    p.add_argument("--count", type=number, default=1000, metavar="N", help="(default: %(default)s)")
    options = p.parse_args()

    with amqp.Connection(**connection_arguments(options)) as conn, conn.channel() as ch:
        ch.queue_declare(options.queue, durable=True)
        # at most 200 messages are on their way at a time; publishing waits while there are more
        ch.confirm_select(window=200)
        msgs = [amqp.Message("message %d" % n, delivery_mode=2) for n in range(options.count)]
        published = 0
        try:
            try:
                for msg in msgs:
                    ch.basic_publish(msg, routing_key=options.queue, mandatory=True)
                    published += 1
            finally:  # also when the connection was lost: it knows what was refused or came back before
                ch.wait_for_confirms(timeout=30)
        except (amqp.AMQPException, OSError) as exc:
            # what is not safe, and what was never published; the one at which it failed may be in both
            unsafe = exc.messages if isinstance(exc, amqp.UnconfirmedError) else []
            rest = msgs[published:]
            if unsafe and rest and unsafe[-1] is rest[0]:
                del rest[0]
            unsafe += rest
            print("%s\nnot safe, publish these %d again: %r" % (exc, len(unsafe), unsafe), file=sys.stderr)
            return 1
    print("%d messages are safe in %s" % (options.count, options.queue))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
