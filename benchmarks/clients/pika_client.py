"""pika's BlockingConnection."""

from __future__ import annotations

from typing import Any

import pika

from benchmarks.clients.driver import PREFETCH, Client, Clock, Server, Task, main, received, renamed

_NAMES = {"application_headers": "headers"}


class Pika(Client):
    distribution = "pika"

    def connect(self, server: Server) -> None:
        context = server.context()
        options = pika.SSLOptions(context, server.host) if context else None
        parameters = pika.ConnectionParameters(server.host, server.port, ssl_options=options)
        self.connection = pika.BlockingConnection(parameters)
        self.channel = self.connection.channel()

    def close(self) -> None:
        self.connection.close()

    def publish(self, task: Task, clock: Clock) -> None:
        publish, samples = self.channel.basic_publish, renamed(task, _NAMES, seconds=True)
        with clock:
            for body, properties, exchange, routing_key in samples:
                publish(exchange, routing_key, body, pika.BasicProperties(**properties))
            self.channel.queue_declare(task.queue, passive=True)

    def publish_confirmed(self, task: Task, clock: Clock) -> None:
        publish, samples = self.channel.basic_publish, renamed(task, _NAMES, seconds=True)
        self.channel.confirm_delivery()
        with clock:
            for body, properties, exchange, routing_key in samples:
                publish(exchange, routing_key, body, pika.BasicProperties(**properties))

    def consume(self, task: Task, clock: Clock) -> Any:
        channel, count = self.channel, task.messages
        got = received(task)

        def callback(_channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
            got.append(body)
            if len(got) == count:
                channel.stop_consuming()

        with clock:
            channel.basic_consume(task.queue, callback, auto_ack=True)
            channel.start_consuming()
        return got

    def consume_ack(self, task: Task, clock: Clock) -> Any:
        channel, count = self.channel, task.messages
        got = received(task)

        def callback(_channel: Any, method: Any, _properties: Any, body: bytes) -> None:
            got.append(body)
            channel.basic_ack(method.delivery_tag)
            if len(got) == count:
                channel.stop_consuming()

        channel.basic_qos(prefetch_count=PREFETCH)
        with clock:
            channel.basic_consume(task.queue, callback)
            channel.start_consuming()
        return got

    def get(self, task: Task, clock: Clock) -> Any:
        channel, queue = self.channel, task.queue
        got = received(task)
        with clock:
            for _ in range(task.messages):
                method, _properties, body = channel.basic_get(queue, auto_ack=True)
                if method is not None:
                    got.append(body)
        return got


if __name__ == "__main__":
    main(Pika())
