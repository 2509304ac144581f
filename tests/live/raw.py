"""A client that says what no client says."""

from __future__ import annotations

import socket
from typing import Any, List, Tuple

from amqplib.wire.protocol import Receiver, Sender
from amqplib.wire.spec import AMQP_0_9_1
from amqplib.wire.tables import utc_time
from tests.conftest import Broker
from tests.live.helpers import PATIENCE


class Raw:
    """A connection of AMQP 0-9-1, method by method."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        host, _, port = broker.host.rpartition(":")
        self._sock = socket.create_connection((host, int(port)), PATIENCE)
        self._receiver = Receiver(AMQP_0_9_1, lambda properties, body: body, utc_time)
        self._receiver.channels.update(range(1 << 16))
        self._events: List[Any] = []

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *exc: object) -> None:
        self._sock.close()

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def method(self, name: str, *args: Any, channel: int = 0) -> None:
        self.send(Sender(AMQP_0_9_1).method(channel, AMQP_0_9_1[name], args))

    def next(self) -> Tuple[int, str, Tuple[Any, ...], Any]:
        """Channel, method, arguments and body of what comes next."""
        while not self._events:
            data = self._sock.recv(65536)
            assert data, "the broker has closed the connection"
            self._events += self._receiver.receive(data)
            assert not self._receiver.error
        channel, method, args, body = self._events.pop(0)
        return channel, method.name, args, body

    def expect(self, name: str) -> Tuple[Any, ...]:
        """The arguments of what comes next, which is this."""
        event = self.next()
        assert event[1] == name, event
        return event[2]

    def start(self) -> None:
        self.send(AMQP_0_9_1.header)
        self.expect("connection.start")

    def log_in(self, channel_max: int = 2047, frame_max: int = 131072) -> None:
        """Up to connection.open-ok."""
        self.start()
        response = "\0%s\0%s" % (self._broker.userid, self._broker.password)
        self.method("connection.start_ok", {}, "PLAIN", response, "en_US")
        self.expect("connection.tune")
        self.method("connection.tune_ok", channel_max, frame_max, 0)
        self.method("connection.open", self._broker.virtual_host, "", False)
        self.expect("connection.open_ok")
