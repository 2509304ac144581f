#!/usr/bin/env python3
"""Print every message that demo_send.py sends, until one says 'quit'."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, installed or not

import amqplib.client_0_8 as amqp
from demo.options import connection_arguments, parser, run, shown


def show(msg: amqp.Message) -> None:
    """Print a message with all that is known of it; 'quit' ends the consumer it was delivered to."""
    print("properties:")
    for name, value in msg.properties.items():
        print("    %s: %r" % (name, value))
    print("delivery info:")
    for name, value in msg.delivery_info.items():
        print("    %s: %s" % (name, msg.channel.channel_id if name == "channel" else repr(value)))
    print("body:")
    print("    %s" % shown(msg.body), flush=True)

    msg.channel.basic_ack(msg.delivery_tag)
    if msg.body == "quit":
        msg.channel.basic_cancel(msg.consumer_tag)


def main() -> None:
    """Receive until the consumer has been cancelled."""
    options = parser(__doc__.strip()).parse_args()

    with amqp.Connection(**connection_arguments(options)) as conn, conn.channel() as ch:
        ch.access_request("/data", active=True, read=True)
        ch.exchange_declare("myfan", "fanout", auto_delete=True)
        qname, _, _ = ch.queue_declare()
        ch.queue_bind(qname, "myfan")
        ch.basic_consume(qname, callback=show)
        print("waiting for messages on %s; Ctrl-C ends this" % options.host, flush=True)

        while ch.callbacks:
            ch.wait()


if __name__ == "__main__":
    sys.exit(run(main))
