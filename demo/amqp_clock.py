#!/usr/bin/env python3
"""A clock: publish the time every minute, on the minute, to the topic exchange 'clock'.

The routing key is the time itself, as year.month.day.weekday.hour.minute: a queue that is bound with '*.*.*.*.*.30'
gets one message an hour, with '*.*.*.0.9.0' one on Monday at nine.
"""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, installed or not

import amqplib.client_0_8 as amqp
from demo.options import connection_arguments, number, parser, run

EXCHANGE = "clock"


def tick(ch: amqp.Channel, now: datetime) -> str:
    """Publish one time; the routing key it went out with."""
    routing_key = "%d.%d.%d.%d.%d.%d" % (now.year, now.month, now.day, now.weekday(), now.hour, now.minute)
    msg = amqp.Message(now.strftime("%Y-%m-%d %H:%M"), content_type="text/plain", timestamp=now)
    ch.basic_publish(msg, EXCHANGE, routing_key)
    return routing_key


def main() -> None:
    """Publish for ever, or --count times."""
    p = parser("Publish the time to the topic exchange 'clock', on the minute.")
    p.add_argument("--every", type=float, default=60, metavar="SECONDS", help="interval (default: %(default)s)")
    p.add_argument("--count", type=number, default=0, metavar="N", help="end after N messages (default: never)")
    options = p.parse_args()
    if options.every <= 0:
        p.error("--every takes a number of seconds above 0")

    with amqp.Connection(**connection_arguments(options)) as conn, conn.channel() as ch:
        ch.access_request("/data", active=True, write=True)
        # it stays when its last listener has gone, else the next tick would find no exchange
        ch.exchange_declare(EXCHANGE, "topic", auto_delete=False)
        sent = 0
        while not options.count or sent < options.count:
            time.sleep(options.every - time.time() % options.every)
            print(tick(ch, datetime.now()), flush=True)
            sent += 1


if __name__ == "__main__":
    sys.exit(run(main))
