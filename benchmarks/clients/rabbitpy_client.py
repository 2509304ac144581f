"""rabbitpy; it has a thread that reads and writes."""

from __future__ import annotations

import urllib.parse
from typing import Any

import rabbitpy

from benchmarks.clients.driver import PREFETCH, Client, Clock, Server, Task, main, received, renamed

_NAMES = {"application_headers": "headers", "type": "message_type"}


class Rabbitpy(Client):
    distribution = "rabbitpy"

    def connect(self, server: Server) -> None:
        url = "%s://guest:guest@%s:%d/%%2F" % ("amqps" if server.ca else "amqp", server.host, server.port)
        if server.ca:
            url += "?" + urllib.parse.urlencode({"cacertfile": server.ca, "verify": "required"})
        self.connection = rabbitpy.Connection(url)
        self.channel = self.connection.channel()

    def close(self) -> None:
        self.connection.close()

    def publish(self, task: Task, clock: Clock) -> None:
        channel, samples = self.channel, renamed(task, _NAMES)
        with clock:
            for body, properties, exchange, routing_key in samples:
                rabbitpy.Message(channel, body, properties).publish(exchange, routing_key)
            rabbitpy.Queue(channel, task.queue).declare(passive=True)

    def publish_confirmed(self, task: Task, clock: Clock) -> None:
        channel, samples = self.channel, renamed(task, _NAMES)
        channel.enable_publisher_confirms()
        with clock:
            for body, properties, exchange, routing_key in samples:
                rabbitpy.Message(channel, body, properties).publish(exchange, routing_key)

    def consume(self, task: Task, clock: Clock) -> Any:
        count = task.messages
        got = received(task)
        with clock:
            for msg in rabbitpy.Queue(self.channel, task.queue).consume(no_ack=True):
                got.append(msg.body)
                if len(got) == count:
                    break
        return got

    def consume_ack(self, task: Task, clock: Clock) -> Any:
        count = task.messages
        got = received(task)
        with clock:
            for msg in rabbitpy.Queue(self.channel, task.queue).consume(prefetch=PREFETCH):
                got.append(msg.body)
                msg.ack()
                if len(got) == count:
                    break
        return got

    def get(self, task: Task, clock: Clock) -> Any:
        queue = rabbitpy.Queue(self.channel, task.queue)
        got = received(task)
        with clock:
            for _ in range(task.messages):
                msg = queue.get(acknowledge=False)
                if msg is not None:
                    got.append(msg.body)
        return got


if __name__ == "__main__":
    main(Rabbitpy())
