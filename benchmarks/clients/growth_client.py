"""amqplib with more and more channels, consumers, and deliveries that wait: what a message costs then.

Works that consume get their messages from a second connection, before the clock runs: what is timed is the client's
work, not the broker's pace.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, List

from amqplib.client_0_9_1 import Channel, Message
from benchmarks.clients.amqplib_client import Amqplib
from benchmarks.clients.driver import Clock, Server, Task, main


class Growing(Amqplib):
    def connect(self, server: Server) -> None:
        super().connect(server)
        self.feeder = Amqplib()
        self.feeder.connect(server)
        self.got: List[Any] = []

    def close(self) -> None:
        super().close()
        self.feeder.close()

    def _channels(self, task: Task) -> List[Channel]:
        return [self.channel, *(self.connection.channel() for _ in range(task.width - 1))]

    def _feed(self, task: Task) -> None:
        """Publish the messages to the consumers that are there."""
        channel = self.feeder.channel
        with channel.batch():
            for body in task.bodies():
                channel.basic_publish(Message(body), routing_key=task.queue)
        channel.queue_declare(task.queue, passive=True)

    def _callback(self, msg: Message) -> None:
        self.got.append(msg.body)

    def publish_on_channels(self, task: Task, clock: Clock) -> None:
        """By turns on `width` channels; the first publish on each is not timed."""
        channels, queue = self._channels(task), task.queue
        turns = [(channels[number % task.width], body) for number, body in enumerate(task.bodies())]
        for channel, body in turns[: task.width]:
            channel.basic_publish(Message(body), routing_key=queue)
        with clock:
            for channel, body in turns[task.width :]:
                channel.basic_publish(Message(body), routing_key=queue)

    def consume_on_channels(self, task: Task, clock: Clock) -> Any:
        """One consumer on each of `width` channels."""
        for channel in self._channels(task):
            channel.basic_consume(task.queue, no_ack=True, callback=self._callback)
        return self._drain(task, clock)

    def consume_by_consumers(self, task: Task, clock: Clock) -> Any:
        """`width` consumers on one channel."""
        for _ in range(task.width):
            self.channel.basic_consume(task.queue, no_ack=True, callback=self._callback)
        return self._drain(task, clock)

    def _drain(self, task: Task, clock: Clock) -> List[bytes]:
        """All of them twice, of which the second time counts: a broker is slower with consumers that are new to it,
        and its messages then come in ones and twos, each of which costs a read."""
        connection, got = self.connection, self.got
        for timed in (False, True):
            got.clear()
            self._feed(task)
            with clock if timed else nullcontext():
                while len(got) < task.messages:
                    connection.drain_events()
        return sorted(got, key=lambda body: int(body.split()[0]))  # by turns to consumers, so in no order

    def handle_after_calls(self, task: Task, clock: Clock) -> Any:
        """All messages arrive while calls are waited for, and are handled after that."""
        self._let_arrive(task, clock)
        return self.got

    def calls_before_deliveries(self, task: Task, clock: Clock) -> Any:
        """CALLS calls, while all messages wait to be handled."""
        self._let_arrive(task, Clock())
        with clock:
            for _ in range(CALLS):
                self.channel.queue_declare(task.queue, passive=True)
        return self._handle(task)

    def _let_arrive(self, task: Task, clock: Clock) -> None:
        channel, queue = self.channel, task.queue
        channel.basic_consume(queue, no_ack=True, callback=self._callback)
        self._feed(task)
        with clock:
            while channel.pending() < task.messages:
                channel.queue_declare(queue, passive=True)
            if task.work == "handle_after_calls":
                self._handle(task)

    def _handle(self, task: Task) -> List[bytes]:
        channel, got = self.channel, self.got
        while len(got) < task.messages:
            channel.wait()
        return got


#: How many times calls_before_deliveries() calls.
CALLS = 500


if __name__ == "__main__":
    main(Growing())
