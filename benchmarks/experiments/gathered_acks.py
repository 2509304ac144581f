"""Verdict: gathering acknowledgements stays an option. It is the broker and the clock that gain most by it, and a
program that is killed gets some again that it has acknowledged.

On Python 3.11 and RabbitMQ 3.10, microseconds a message, the median of seven:

                      client    broker  by the clock
    each at once        41.3      62.0      70.2
    gathered            38.2      44.0      56.7

Of the 20 messages that a program had acknowledged when it was killed, right after the last, in twenty runs:

    no work, each at once       none came again
    no work, gathered           2.5 came again, at most 8
    5 ms of work, each at once  none
    5 ms of work, gathered      1, at most 1

What client, broker and clock take for an event of a shop that is consumed and acknowledged, each acknowledgement sent
at once, or gathered; and what a program sees that is killed right after one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Dict, List, Tuple

import amqplib.client_0_9_1 as amqp
from benchmarks.clients.messages import make_samples
from benchmarks.environment import ROOT, broker
from tests.brokers import Node

QUEUE = "gathered-acks"
COUNT, ROUNDS, PREFETCH = 5000, 7, 100

#: Of messages that are consumed until the process is killed, right after so many acknowledgements.
KILLED_AFTER, KILLS = 20, 20

PROGRAM = """
import os, sys, time
import amqplib.client_0_9_1 as amqp

host, gathers, seconds, after = sys.argv[1], sys.argv[2] == "True", float(sys.argv[3]), int(sys.argv[4])
ch = amqp.Connection(host, gather_acks=gathers).channel()
ch.basic_qos(0, 100, False)
for done, msg in enumerate(ch.consume("gathered-acks"), 1):
    time.sleep(seconds)
    msg.ack()
    if done == after:
        os.kill(os.getpid(), 9)
"""


def fill(host: str, count: int) -> None:
    with amqp.Connection(host) as conn, conn.channel() as ch:
        ch.queue_declare(QUEUE)
        ch.queue_purge(QUEUE)
        ch.queue_bind(QUEUE, "amq.topic", "#")
        with ch.batch():
            for body, properties, exchange, routing_key in make_samples("shop", count, 100, QUEUE):
                ch.basic_publish(amqp.Message(body, **properties), exchange, routing_key)


def left(host: str) -> int:
    with amqp.Connection(host) as conn, conn.channel() as ch:
        return ch.queue_declare(QUEUE, passive=True).message_count


def cpu_of(pid: str) -> float:
    """Seconds."""
    fields = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def consume(node: Node, pid: str, gathers: bool) -> Tuple[float, float, float]:
    """Microseconds a message: the client's CPU, the broker's, and by the clock."""
    fill(node.host, COUNT)
    with amqp.Connection(node.host, gather_acks=gathers) as conn, conn.channel() as ch:
        ch.basic_qos(0, PREFETCH, False)
        seen: List[int] = []

        def work(msg: amqp.Message) -> None:
            seen.append(msg.delivery_tag)
            msg.ack()

        began = time.process_time(), cpu_of(pid), time.monotonic()
        tag = ch.basic_consume(QUEUE, callback=work)
        while len(seen) < COUNT:
            ch.wait()
        ch.basic_cancel(tag)
        took = time.process_time() - began[0], time.monotonic() - began[2]
    while left(node.host):
        time.sleep(0.01)
    client, clock = took
    return client / COUNT * 1e6, (cpu_of(pid) - began[1]) / COUNT * 1e6, clock / COUNT * 1e6


def come_again(node: Node, gathers: bool, seconds: float) -> int:
    """How many come again of the messages that a program has acknowledged, killed right after the last."""
    fill(node.host, 2 * KILLED_AFTER)
    command = [sys.executable, "-c", PROGRAM, node.host, str(gathers), str(seconds), str(KILLED_AFTER)]
    subprocess.run(command, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)})
    with amqp.Connection(node.host) as conn, conn.channel() as ch:
        while ch.queue_declare(QUEUE, passive=True).consumer_count:
            time.sleep(0.01)
    time.sleep(0.1)  # what was on its way to the program is in the queue again
    return left(node.host) - KILLED_AFTER


def main() -> None:
    with broker() as node:
        pid = node.ctl("eval", "os:getpid().").strip().strip('"')
        found: Dict[bool, List[Tuple[float, float, float]]] = {False: [], True: []}
        for _ in range(ROUNDS):
            for gathers, figures in found.items():
                figures.append(consume(node, pid, gathers))
        print("                      client    broker  by the clock, microseconds a message")
        for gathers, figures in found.items():
            name = "gathered" if gathers else "each at once"
            print("    %-14s  %8.1f  %8.1f  %8.1f" % (name, *(median(column) for column in zip(*figures))))
        print("of %d acknowledged messages, killed right after the last, %d times:" % (KILLED_AFTER, KILLS))
        for seconds in (0.0, 0.005):
            for gathers in found:
                again = sorted(come_again(node, gathers, seconds) for _ in range(KILLS))
                name = "gathered" if gathers else "each at once"
                what = "%g ms of work each, %s" % (seconds * 1000, name)
                print("    %-32s  %g come again, at most %d" % (what, median(again), again[-1]))


if __name__ == "__main__":
    main()
