"""amqplib, of this checkout."""

from __future__ import annotations

from typing import Any, List

from amqplib.client_0_9_1 import Channel, Connection, Message
from benchmarks.clients.driver import (
    PREFETCH,
    WINDOW,
    Client,
    Clock,
    Server,
    Task,
    main,
    memory,
    received,
)


class Amqplib(Client):
    def connect(self, server: Server) -> None:
        self._server = server
        self._connect()

    def _connect(self, gather_acks: bool = False) -> None:
        server = self._server
        ssl = {"ca_certs": server.ca} if server.ca else False
        self.connection = Connection("%s:%d" % (server.host, server.port), ssl=ssl, gather_acks=gather_acks)
        self.channel: Channel = self.connection.channel()

    def close(self) -> None:
        self.connection.close()

    def publish(self, task: Task, clock: Clock) -> None:
        publish, queue, samples = self.channel.basic_publish, task.queue, task.samples()
        with clock:
            for body, properties, exchange, routing_key in samples:
                publish(Message(body, **properties), exchange, routing_key)
            self.channel.queue_declare(queue, passive=True)

    def publish_batch(self, task: Task, clock: Clock) -> None:
        publish, queue, samples = self.channel.basic_publish, task.queue, task.samples()
        with clock:
            with self.channel.batch():
                for body, properties, exchange, routing_key in samples:
                    publish(Message(body, **properties), exchange, routing_key)
            self.channel.queue_declare(queue, passive=True)

    def publish_confirmed(self, task: Task, clock: Clock) -> None:
        publish, samples = self.channel.basic_publish, task.samples()
        self.channel.confirm_select(window=WINDOW)
        with clock:
            for body, properties, exchange, routing_key in samples:
                publish(Message(body, **properties), exchange, routing_key)
            self.channel.wait_for_confirms()

    def publish_confirmed_batch(self, task: Task, clock: Clock) -> None:
        publish, samples = self.channel.basic_publish, task.samples()
        self.channel.confirm_select(window=WINDOW)
        with clock:
            with self.channel.batch():
                for body, properties, exchange, routing_key in samples:
                    publish(Message(body, **properties), exchange, routing_key)
            self.channel.wait_for_confirms()

    def consume(self, task: Task, clock: Clock) -> Any:
        channel, count = self.channel, task.messages
        got = received(task)

        def callback(msg: Message) -> None:
            got.append(msg.body)

        with clock:
            channel.basic_consume(task.queue, no_ack=True, callback=callback)
            while len(got) < count:
                channel.wait()
        return got

    def consume_ack(self, task: Task, clock: Clock) -> Any:
        channel, count = self.channel, task.messages
        got = received(task)

        def callback(msg: Message) -> None:
            got.append(msg.body)
            channel.basic_ack(msg.delivery_tag)

        channel.basic_qos(0, PREFETCH, False)
        with clock:
            channel.basic_consume(task.queue, callback=callback)
            while len(got) < count:
                channel.wait()
        return got

    def consume_ack_batch(self, task: Task, clock: Clock) -> Any:
        channel = self.channel
        with channel.batch():
            return self.consume_ack(task, clock)

    def consume_gathered(self, task: Task, clock: Clock) -> Any:
        self.connection.close()
        self._connect(gather_acks=True)
        return self.consume_ack(task, clock)

    def get(self, task: Task, clock: Clock) -> Any:
        channel, queue = self.channel, task.queue
        got = received(task)
        with clock:
            for _ in range(task.messages):
                msg = channel.basic_get(queue, no_ack=True)
                if msg is not None:
                    got.append(msg.body)
        return got

    def watch_memory(self, task: Task) -> List[int]:
        """Routes, headers and sizes change from message to message, so that what is remembered of them must stay
        bounded, too."""
        channel, queue = self.channel, task.queue
        sent, got, sizes = 0, 0, []
        channel.queue_bind(queue, "amq.topic", "#")

        def callback(msg: Message) -> None:
            nonlocal got
            got += 1
            channel.basic_ack(msg.delivery_tag)

        channel.basic_consume(queue, callback=callback)
        for _ in range(task.width):
            for _ in range(task.messages // task.width // _GULP):
                with channel.batch():
                    for number in range(sent, sent + _GULP):
                        msg = Message(b"." * (number % 300), correlation_id=str(number))
                        msg.properties["application_headers"] = {"number": number}
                        channel.basic_publish(msg, "amq.topic", "route.%d" % number)
                sent += _GULP
                while got < sent:
                    channel.wait()
            sizes.append(memory("VmRSS"))
        return sizes


#: Messages that are published before they are received.
_GULP = 100


if __name__ == "__main__":
    main(Amqplib())
