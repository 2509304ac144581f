"""amqpstorm; it has a thread that reads."""

from __future__ import annotations

from typing import Any

import amqpstorm

from benchmarks.clients.driver import PREFETCH, Client, Clock, Server, Task, main, received, renamed

_NAMES = {"application_headers": "headers", "type": "message_type"}


class Amqpstorm(Client):
    distribution = "amqpstorm"

    def connect(self, server: Server) -> None:
        options = {"context": server.context(), "server_hostname": server.host} if server.ca else None
        self.connection = amqpstorm.Connection(
            server.host, "guest", "guest", port=server.port, ssl=bool(server.ca), ssl_options=options
        )
        self.channel = self.connection.channel()

    def close(self) -> None:
        self.connection.close()

    def publish(self, task: Task, clock: Clock) -> None:
        publish, samples = self.channel.basic.publish, renamed(task, _NAMES)
        with clock:
            for body, properties, exchange, routing_key in samples:
                publish(body, routing_key, exchange, properties)
            self.channel.queue.declare(task.queue, passive=True)

    def publish_confirmed(self, task: Task, clock: Clock) -> None:
        publish, samples = self.channel.basic.publish, renamed(task, _NAMES)
        self.channel.confirm_deliveries()
        with clock:
            for body, properties, exchange, routing_key in samples:
                publish(body, routing_key, exchange, properties)

    def consume(self, task: Task, clock: Clock) -> Any:
        channel, count = self.channel, task.messages
        got = received(task)

        def callback(msg: Any) -> None:
            got.append(msg.body)
            if len(got) == count:
                channel.stop_consuming()

        with clock:
            channel.basic.consume(callback, task.queue, no_ack=True)
            channel.start_consuming(auto_decode=False)
        return got

    def consume_ack(self, task: Task, clock: Clock) -> Any:
        channel, count = self.channel, task.messages
        got = received(task)

        def callback(msg: Any) -> None:
            got.append(msg.body)
            msg.ack()
            if len(got) == count:
                channel.stop_consuming()

        channel.basic.qos(PREFETCH)
        with clock:
            channel.basic.consume(callback, task.queue)
            channel.start_consuming(auto_decode=False)
        return got

    def get(self, task: Task, clock: Clock) -> Any:
        channel, queue = self.channel, task.queue
        got = received(task)
        with clock:
            for _ in range(task.messages):
                msg = channel.basic.get(queue, no_ack=True, auto_decode=False)
                if msg is not None:
                    got.append(msg.body)
        return got


if __name__ == "__main__":
    main(Amqpstorm())
