"""Puts messages into the queues that are consumed from, and sees to it that what was published is there."""

from __future__ import annotations

import time
from typing import Any, Dict, List

from amqplib.client_0_9_1 import Connection, Message
from benchmarks.clients.driver import Server, Task, expected
from benchmarks.clients.messages import EXCHANGE

#: Seconds until the broker's count has to be right.
_PATIENCE = 20


class JudgeError(Exception):
    """Messages were lost, changed or invented; says by whom, and how many."""


class Judge:
    """Its connection is amqplib's; the counts are the broker's."""

    def __init__(self, server: Server) -> None:
        ssl = {"ca_certs": server.ca} if server.ca else False
        self._connection = Connection("%s:%d" % (server.host, server.port), ssl=ssl, heartbeat=0)
        self._channel = self._connection.channel()
        self._channel.auto_decode = False  # some libraries call every body UTF-8

    def close(self) -> None:
        self._connection.close()

    def prepare(self, task: Task, receives: bool) -> None:
        """A new queue, empty or with the messages of the task."""
        channel = self._channel
        channel.queue_declare(task.queue, auto_delete=False)
        channel.queue_bind(task.queue, EXCHANGE, "#")
        if receives:
            with channel.batch():
                for body, properties, exchange, routing_key in task.samples():
                    channel.basic_publish(Message(body, **properties), exchange, routing_key)
            self._expect(task.messages, task, "the judge")

    def examine(self, task: Task, receives: bool, answer: Dict[str, Any], library: str) -> None:
        """Has the library done what it claims?"""
        if answer.get("unsupported"):
            return
        if receives:
            if answer["count"] != task.messages or answer["digest"] != expected(task):
                raise JudgeError("%s, %s: received %d bodies, not those sent" % (library, task.work, answer["count"]))
            self._expect(0, task, library)
            return
        self._expect(task.messages, task, library)
        for number, (sample, msg) in enumerate(zip(task.samples(), self._drain(task))):
            sent = sample.properties.items()  # some libraries add others
            if msg.body != sample.body or any(msg.properties.get(name) != value for name, value in sent):
                text = "%s, %s: message %d arrived as %.60r, %.400r"
                raise JudgeError(text % (library, task.work, number, msg.body, msg.properties))

    def clean(self, task: Task) -> None:
        self._channel.queue_delete(task.queue)

    def _expect(self, count: int, task: Task, library: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while True:
            declared = self._channel.queue_declare(task.queue, passive=True)
            assert declared
            if declared[1] == count:
                return
            if time.monotonic() < deadline:  # the broker answers this before it has put away what came earlier
                time.sleep(0.01)
                continue
            raise JudgeError("%s, %s: %d messages in the queue, not %d" % (library, task.work, declared[1], count))

    def _drain(self, task: Task) -> List[Message]:
        got: List[Message] = []
        tag = self._channel.basic_consume(task.queue, no_ack=True, callback=got.append)
        while len(got) < task.messages:
            self._channel.wait(timeout=30)
        self._channel.basic_cancel(tag)
        if task.width > 1:  # nothing is promised of the order between channels
            got.sort(key=lambda msg: int(msg.body.split()[0]))
        return got
