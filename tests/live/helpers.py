"""Steps that many live tests take."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, List, Optional, Type, Union

import pytest

from amqplib.client.channel import Channel
from amqplib.client.connection import Connection
from amqplib.client.exceptions import AMQPChannelException
from amqplib.client.message import Message

ROOT = Path(__file__).resolve().parents[2]

#: Seconds that anything may take which takes milliseconds.
PATIENCE = 30.0


def get(ch: Channel, queue: str, no_ack: bool = True) -> Message:
    """The next message of a queue: one published on another channel may need a moment to get there."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        msg: Optional[Message] = ch.basic_get(queue, no_ack=no_ack)
        if msg is not None:
            return msg
        time.sleep(0.005)
    raise AssertionError("no message in %s within %g s" % (queue, PATIENCE))


def declare(ch: Channel, names: Any, **arguments: Any) -> str:
    """A durable queue with x-arguments."""
    queue: str = names.queue()
    given = {"x-" + name.replace("_", "-"): value for name, value in arguments.items()}
    ch.queue_declare(queue, durable=True, auto_delete=False, arguments=given)
    return queue


def bodies(ch: Channel, queue: str) -> List[Any]:
    """The bodies of all messages that are in a queue now."""
    found: List[Any] = []
    while True:
        msg = ch.basic_get(queue, no_ack=True)
        if msg is None:
            return found
        found.append(msg.body)


def publish(ch: Channel, queue: str, *payloads: Any) -> None:
    """Put messages in a queue, through the default exchange."""
    for payload in payloads:
        ch.basic_publish(Message(payload), routing_key=queue)


def holds(ch: Channel, queue: str, number: int) -> None:
    """Wait for so many messages to be ready in a queue.

    RabbitMQ counts without waiting for what is on its way: for certain is only what was fetched.
    """
    eventually(lambda: ch.queue_declare(queue, passive=True)[1] == number, "%d messages in the queue" % number)


def eventually(condition: Callable[[], Any], what: str = "") -> None:
    """Wait for something that the broker does in its own time."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "not within %g s: %s" % (PATIENCE, what or condition)
        time.sleep(0.01)


def over(of: Union[Channel, Connection]) -> bool:
    """Is it closed, with nothing left of it?"""
    if isinstance(of, Connection):
        return of.transport is None and of.connection is None and of.channels is None
    return not of.is_open and of.connection is None and of.channel_id is None and of.callbacks == {}


def refused(conn: Connection, code: int, step: Callable[[Channel], Any]) -> AMQPChannelException:
    """The server closes the channel over this step, with this code; the connection does not mind."""
    ch = conn.channel()
    with pytest.raises(AMQPChannelException) as caught:
        step(ch)
    assert caught.value.amqp_reply_code == code
    assert over(ch)
    assert not over(conn.channel())
    return caught.value


class Worker(threading.Thread):
    """A thread as a with-block, whose end waits for it and raises what it raised."""

    def __init__(self, work: Callable[[], Any], delay: float = 0) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._delay = delay
        self._error: Optional[BaseException] = None

    def run(self) -> None:
        try:
            time.sleep(self._delay)
            self._work()
        except BaseException as exc:  # raised again where it is waited for
            self._error = exc

    def finish(self) -> None:
        self.join(PATIENCE)
        assert not self.is_alive(), "%r still runs after %g s" % (self._work, PATIENCE)
        if self._error:
            raise self._error

    def __enter__(self) -> Worker:
        self.start()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if kind is None:
            self.finish()


def together(*work: Callable[[], Any]) -> None:
    """Run these at once, each in a thread of its own."""
    workers = [Worker(one) for one in work]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.finish()


class Relay:
    """Passes one connection on to a broker; keeps it open to the broker when the client is gone."""

    def __init__(self, host: str) -> None:
        name, _, port = host.rpartition(":")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self._broker = socket.create_connection((name, int(port)), PATIENCE)
        self.host = "127.0.0.1:%d" % self._listener.getsockname()[1]
        self._worker = Worker(self._work)

    def _work(self) -> None:
        with self._listener.accept()[0] as client, Worker(lambda: self._pass_on(self._broker, client)):
            self._pass_on(client, self._broker)
            self._broker.shutdown(socket.SHUT_RD)  # what the broker still says is for nobody

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket) -> None:
        with suppress(ConnectionError):
            while True:
                data = source.recv(65536)
                if not data:
                    break
                target.sendall(data)

    def __enter__(self) -> Relay:
        self._worker.start()
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: object, trace: Optional[TracebackType]) -> None:
        self._listener.close()
        self._broker.close()
        if kind is None:
            self._worker.finish()


def python(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """This Python with this checkout, and a pipe from all that it prints."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", *arguments],
        cwd=str(ROOT),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def run(*arguments: str) -> str:
    """What a Python program prints that ends well."""
    with python(*arguments) as process:
        try:
            output = process.communicate(timeout=PATIENCE)[0]
        except BaseException:
            process.kill()
            raise
    assert process.returncode == 0, output
    return output
