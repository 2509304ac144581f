#!/usr/bin/env python3
"""Remote procedure calls: a request names a queue for the answer (reply_to) and a number of its own (correlation_id).

python3 demo/rpc.py serve --count 1         # in one terminal
python3 demo/rpc.py call 6 7                # in another: prints 42
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, installed or not

import amqplib.client_0_9_1 as amqp
from demo.options import connection_arguments, connection_options, number, run

REQUESTS = "demo.rpc"


def serve(ch: amqp.Channel, count: int) -> None:
    """Answer `count` requests; 0 for ever. What is no request is dropped, else it would come back for ever."""
    ch.queue_declare(REQUESTS, durable=True)
    ch.basic_qos(0, 1, False)
    print("serving", flush=True)
    for answered, request in enumerate(ch.consume(REQUESTS), 1):
        try:
            a, b = json.loads(request.body)
            answer = amqp.Message(json.dumps(a * b), correlation_id=request.correlation_id)
            if not request.reply_to:
                raise ValueError("it has no reply_to")
            ch.basic_publish(answer, routing_key=request.reply_to)
        except (ValueError, TypeError) as exc:
            print("not a request: %r (%s)" % (request, exc), flush=True)
            request.reject(requeue=False)
        else:
            request.ack()
        if answered == count:
            return


def call(ch: amqp.Channel, a: float, b: float, timeout: float) -> float:
    """The product of a and b, as the server has it. TimeoutError when it does not answer."""
    ch.queue_declare(REQUESTS, durable=True)
    answers, _, _ = ch.queue_declare(exclusive=True)  # ours alone, and gone with the connection
    correlation_id = str(uuid.uuid4())
    ch.basic_publish(
        amqp.Message(json.dumps([a, b]), reply_to=answers, correlation_id=correlation_id), routing_key=REQUESTS
    )
    for answer in ch.consume(answers, no_ack=True, timeout=timeout):
        if answer.correlation_id == correlation_id:
            return float(json.loads(answer.body))
    raise TimeoutError("no answer within %g s" % timeout)


def main() -> None:
    """serve, or call A B."""
    p = argparse.ArgumentParser(description="Remote procedure calls over a request queue and reply_to.")
    commands = p.add_subparsers(dest="command", required=True)
    server = commands.add_parser("serve", help="answer requests", parents=[connection_options()])
    server.add_argument("--count", type=number, default=0, metavar="N", help="end after N requests (default: never)")
    client = commands.add_parser("call", help="have two numbers multiplied", parents=[connection_options()])
    client.add_argument("a", type=float)
    client.add_argument("b", type=float)
    client.add_argument("--timeout", type=float, default=10, metavar="SECONDS", help="(default: %(default)s)")
    options = p.parse_args()

    with amqp.Connection(**connection_arguments(options)) as conn, conn.channel() as ch:
        if options.command == "serve":
            serve(ch, options.count)
        else:
            print("%g" % call(ch, options.a, options.b, options.timeout))


if __name__ == "__main__":
    sys.exit(run(main))
