"""Much at once: messages, connections, consumers that are slow."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Iterator, List

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker

ROOT = Path(__file__).resolve().parents[2]

#: What the broker must do in a second of one processor: publish with a confirm, delivery, acknowledgement.
MESSAGES_A_SECOND = 10_000

MESSAGES = 20_000


@pytest.fixture
def program() -> Iterator[subprocess.Popen[str]]:
    """The broker in a process of its own, so that what it costs is seen."""
    command = [sys.executable, "-m", "amqplib.broker", "--port", "0"]
    with subprocess.Popen(command, cwd=str(ROOT), stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def address_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().partition(" on ")[2].partition(";")[0]


def processor_time(pid: int) -> float:
    """Seconds that a process has had of all processors."""
    fields = Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.thorough
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")
def test_messages_a_second(program: subprocess.Popen[str]) -> None:
    """By the broker's own processor time, which other programs on the machine do not change much."""
    address = address_of(program)
    with amqp.Connection(address) as sender, amqp.Connection(address) as receiver:
        ch = receiver.channel()
        queue = ch.queue_declare(exclusive=False)[0]
        ch.basic_qos(0, 100, False)
        seen: List[int] = []

        def callback(msg: amqp.Message) -> None:
            seen.append(1)
            msg.ack()

        ch.basic_consume(queue, callback=callback)
        before = processor_time(program.pid)

        def publish() -> None:
            out = sender.channel()
            out.confirm_select(window=1000)
            for _ in range(MESSAGES):
                out.basic_publish(amqp.Message(b"x" * 100), routing_key=queue)
            out.wait_for_confirms(timeout=60)

        thread = threading.Thread(target=publish)
        thread.start()
        while len(seen) < MESSAGES:
            ch.wait(timeout=30)
        thread.join()
        spent = processor_time(program.pid) - before
    print("%d messages took the broker %.2f s: %.0f a second" % (MESSAGES, spent, MESSAGES / spent))
    assert MESSAGES / spent > MESSAGES_A_SECOND


def test_500_connections(program: subprocess.Popen[str]) -> None:
    """All open at once, each with a queue and a consumer of its own; a message to all of them arrives everywhere."""
    address = address_of(program)
    connections: List[amqp.Connection] = []
    seen: List[int] = []
    try:
        for n in range(500):
            conn = amqp.Connection(address, heartbeat=0, connect_timeout=30)
            connections.append(conn)
            ch = conn.channel()
            queue = ch.queue_declare(exclusive=True)[0]
            ch.queue_bind(queue, "amq.fanout")
            ch.basic_consume(queue, no_ack=True, callback=lambda msg, n=n: seen.append(n))  # type: ignore[misc]
        connections[0].channel().basic_publish(amqp.Message("to all"), "amq.fanout")
        for conn in connections:
            conn.drain_events(timeout=30)
        assert seen == list(range(500))
    finally:
        for conn in connections:
            conn.close()


def test_a_consumer_that_does_not_read(broker: Broker, ch: amqp.Channel) -> None:
    """It is sent a megabyte or two more than the system takes; the rest stays in the queue, for others to have."""
    with amqp.Connection(broker.address) as slow:
        queue = slow.channel().queue_declare("q", auto_delete=False)[0]
        slow.channel().basic_consume(queue, no_ack=True)
        body = b"x" * 100_000
        for _ in range(300):
            ch.basic_publish(amqp.Message(body), routing_key=queue)
        left = ch.queue_declare(queue, passive=True)[1]
        assert left > 100
        msg = ch.basic_get(queue, no_ack=True)
        assert msg is not None
        assert msg.body == body
        taken = 0
        while taken < 299:  # and once it reads again, it gets them
            slow.drain_events(timeout=20)
            taken += 1
    assert broker.queues()[queue].messages == 0
