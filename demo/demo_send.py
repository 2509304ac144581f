#!/usr/bin/env python3
"""Send a message to everybody who runs demo_receive.py.

python3 demo/demo_send.py hello world
python3 demo/demo_send.py quit           # ends the receivers
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, installed or not

import amqplib.client_0_8 as amqp
from demo.options import connection_arguments, parser, run


def main() -> None:
    """Send the words of the command line as one message."""
    p = parser("Send a message to everybody who runs demo_receive.py; 'quit' ends them.")
    p.add_argument("words", nargs="+", metavar="WORD", help="the message")
    options = p.parse_args()

    with amqp.Connection(**connection_arguments(options)) as conn, conn.channel() as ch:
        ch.access_request("/data", active=True, write=True)
        ch.exchange_declare("myfan", "fanout", auto_delete=True)

        msg = amqp.Message(
            " ".join(options.words),
            content_type="text/plain",
            application_headers={"foo": 7, "bar": "baz"},
        )
        ch.basic_publish(msg, "myfan")


if __name__ == "__main__":
    sys.exit(run(main))
