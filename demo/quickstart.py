#!/usr/bin/env python3
"""A message there and back, with nothing but Python: the broker is amqplib's own, in this process.

python3 demo/quickstart.py
python3 demo/quickstart.py --host localhost:5672     # the same, through a RabbitMQ
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Dict

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, installed or not

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from demo.options import connection_arguments, parser, run, shown


def there_and_back(login: Dict[str, Any]) -> None:
    """Send a message, receive it, and say what happens."""
    with amqp.Connection(**login) as conn, conn.channel() as ch:
        product, version = (shown(conn.server_properties.get(name)) for name in ("product", "version"))
        print("connected to %s %s, with AMQP %s" % (product, version, conn.protocol))

        queue, _, _ = ch.queue_declare(exclusive=True)  # a name is given, and it is gone with the connection
        print("declared a queue; the server calls it %s" % shown(queue))

        ch.confirm_select()
        ch.basic_publish_confirm(amqp.Message("hello world"), routing_key=queue, timeout=10)
        print("sent 'hello world', and the broker has it for certain")

        for msg in ch.consume(queue, timeout=10):
            msg.ack()
            print("received %r, and acknowledged it" % msg.body)
            break


def main() -> int:
    """See the head of this file."""
    text = "Send a message and receive it, through a broker in this process or with --host through another."
    given = parser(text, own_broker=True).parse_args()
    login = connection_arguments(given)
    if given.host:
        there_and_back(login)
        return 0
    with Broker() as broker:
        print("started a broker in this process, on %s" % broker.address)
        there_and_back({**login, "host": broker.address})
    print("ended the broker; with --host NAME:PORT the message goes through yours")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
