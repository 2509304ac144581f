"""py-amqp, the fork of amqplib that Celery uses."""

from __future__ import annotations

from typing import Any

import amqp

from benchmarks.clients.driver import PREFETCH, Client, Clock, Server, Task, main, received, renamed


class PyAmqp(Client):
    distribution = "amqp"

    def connect(self, server: Server) -> None:
        ssl = {"ca_certs": server.ca, "server_hostname": server.host} if server.ca else False
        self.connection = amqp.Connection("%s:%d" % (server.host, server.port), ssl=ssl)
        self.connection.connect()
        self.channel = self.connection.channel()

    def close(self) -> None:
        self.connection.close()

    def publish(self, task: Task, clock: Clock) -> None:
        publish, samples = self.channel.basic_publish, renamed(task, {}, seconds=True)
        with clock:
            for body, properties, exchange, routing_key in samples:
                publish(amqp.Message(body, **properties), exchange, routing_key)
            self.channel.queue_declare(task.queue, passive=True)

    def publish_confirmed(self, task: Task, clock: Clock) -> None:
        publish, samples = self.channel.basic_publish_confirm, renamed(task, {}, seconds=True)
        with clock:
            for body, properties, exchange, routing_key in samples:
                publish(amqp.Message(body, **properties), exchange, routing_key)

    def consume(self, task: Task, clock: Clock) -> Any:
        connection, count = self.connection, task.messages
        got = received(task)

        def callback(msg: Any) -> None:
            got.append(msg.body)

        with clock:
            self.channel.basic_consume(task.queue, no_ack=True, callback=callback)
            while len(got) < count:
                connection.drain_events()
        return got

    def consume_ack(self, task: Task, clock: Clock) -> Any:
        connection, channel, count = self.connection, self.channel, task.messages
        got = received(task)

        def callback(msg: Any) -> None:
            got.append(msg.body)
            channel.basic_ack(msg.delivery_tag)

        channel.basic_qos(0, PREFETCH, False)
        with clock:
            channel.basic_consume(task.queue, callback=callback)
            while len(got) < count:
                connection.drain_events()
        return got

    def get(self, task: Task, clock: Clock) -> Any:
        channel, queue = self.channel, task.queue
        got = received(task)
        with clock:
            for _ in range(task.messages):
                msg = channel.basic_get(queue, no_ack=True)
                if msg is not None:
                    got.append(msg.body)
        return got


if __name__ == "__main__":
    main(PyAmqp())
