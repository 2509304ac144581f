"""The floor: what the system and the broker alone cost a Python program.

Out, every byte is made before the clock runs, and only sendall() counts. In, it walks from frame to frame and cuts the
bodies out; it builds no message, looks at no property and calls nothing. No client can be faster this way; one that
gathers its sends is compared with publish_batch, and so on. All against the same broker as the libraries.
"""

from __future__ import annotations

import io
import socket
from typing import Any, List, Tuple

from amqplib.wire.frames import BODY, METHOD, PREFIX
from amqplib.wire.protocol import Receiver, Sender
from amqplib.wire.spec import AMQP_0_9_1
from amqplib.wire.tables import utc_time
from benchmarks.clients.driver import PREFETCH, WINDOW, Client, Clock, Server, Task, main, received

#: Octets that are sent, and asked for, at once.
PIECE = 65536


class Floor(Client):
    def connect(self, server: Server) -> None:
        self.socket = socket.create_connection((server.host, server.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = server.context()
        if context:
            self.socket = context.wrap_socket(self.socket, server_hostname=server.host)
        self.sender = Sender(AMQP_0_9_1)
        self.receiver = Receiver(AMQP_0_9_1, lambda properties, body: body, utc_time)
        self.receiver.channels.add(1)
        self.socket.sendall(b"AMQP\x00\x00\x09\x01")
        self._await()
        self._send(0, "connection.start_ok", {}, "PLAIN", "\0guest\0guest", "en_US")
        channel_max, frame_max, _heartbeat = self._await()
        self._send(0, "connection.tune_ok", channel_max, frame_max, 0)
        self.sender.frame_max = frame_max
        self._send(0, "connection.open", "/", "", False)
        self._await()
        self._send(1, "channel.open", "")
        self._await()
        self._rest = b""

    def close(self) -> None:
        self._send(0, "connection.close", 0, "", 0, 0)
        self._await()
        self.socket.close()

    def _send(self, channel: int, name: str, *args: Any) -> None:
        self.socket.sendall(self.sender.method(channel, AMQP_0_9_1[name], args))

    def _await(self) -> Tuple[Any, ...]:
        """The arguments of the next method."""
        while True:
            events = self.receiver.receive(self.socket.recv(PIECE))
            if self.receiver.error:
                raise self.receiver.error
            if events:
                return events[0][2]

    # --- out

    def _publishes(self, task: Task) -> List[bytes]:
        method, content = AMQP_0_9_1["basic.publish"], self.sender.content
        return [
            content(1, method, (0, exchange, routing_key, False, False), properties, body)
            for body, properties, exchange, routing_key in task.samples()
        ]

    def _send_all(self, task: Task, clock: Clock, pieces: List[bytes]) -> None:
        sendall = self.socket.sendall
        with clock:
            for piece in pieces:
                sendall(piece)
            self._send(1, "queue.declare", 0, task.queue, True, False, False, False, False, {})
            self._await()

    def publish(self, task: Task, clock: Clock) -> None:
        self._send_all(task, clock, self._publishes(task))

    def publish_batch(self, task: Task, clock: Clock) -> None:
        whole = b"".join(self._publishes(task))
        self._send_all(task, clock, [whole[start : start + PIECE] for start in range(0, len(whole), PIECE)])

    def publish_confirmed(self, task: Task, clock: Clock) -> None:
        """Confirms are only counted once the window is full."""
        pieces, sendall, confirmed = self._publishes(task), self.socket.sendall, 0
        self._send(1, "confirm.select", False)
        self._await()
        with clock:
            for number, piece in enumerate(pieces):
                while number - confirmed >= WINDOW:
                    confirmed = self._last_confirm()
                sendall(piece)
            while confirmed < task.messages:
                confirmed = self._last_confirm()

    def _last_confirm(self) -> int:
        """The delivery tag of the last basic.ack in what has come; acks all have the same size."""
        size = PREFIX.size + 14
        buf = self._rest + self.socket.recv(PIECE)
        whole = len(buf) // size
        self._rest = buf[whole * size :]
        if not whole:
            return 0
        start = (whole - 1) * size
        return int.from_bytes(buf[start + 11 : start + 19], "big")

    # --- in

    def _walk(self, bodies: Any) -> int:
        """Read once; append the bodies that are whole; how many methods have come."""
        buf, offset, methods = self._rest + self.socket.recv(PIECE), 0, 0
        unpack, size = PREFIX.unpack_from, len(buf)
        while size - offset >= 8:
            kind, _channel, length = unpack(buf, offset)
            after = offset + 8 + length
            if after > size:
                break
            if kind == BODY:
                bodies.append(buf[offset + 7 : after - 1])
            elif kind == METHOD:
                methods += 1
            offset = after
        self._rest = buf[offset:]
        return methods

    def start_consumer(self, task: Task, no_ack: bool = True) -> None:
        self._send(1, "basic.consume", 0, task.queue, "", False, no_ack, False, False, {})

    def consume(self, task: Task, clock: Clock) -> Any:
        got = received(task)
        with clock:
            self.start_consumer(task)
            if task.size > PIECE:
                self._long_bodies(task, got)
            while len(got) < task.messages:
                self._walk(got)
        return got

    def _long_bodies(self, task: Task, got: Any) -> None:
        """Bodies of several frames, the cheapest way of experiments/large_bodies.py."""
        buf, held, recv = memoryview(bytearray(16 * PIECE)), 0, self.socket.recv_into
        body = None
        while len(got) < task.messages:
            held += recv(buf[held:])
            offset = 0
            while held - offset >= 8:
                kind, _channel, length = PREFIX.unpack_from(buf, offset)
                if offset + 8 + length > held:
                    break
                if kind == BODY:
                    body = body or self._room_for(task.size)
                    body.write(buf[offset + 7 : offset + 7 + length])
                    if body.tell() == task.size:
                        got.append(body.getvalue())
                        body = None
                offset += 8 + length
            buf[: held - offset] = buf[offset:held]
            held -= offset

    @staticmethod
    def _room_for(size: int) -> io.BytesIO:
        made = io.BytesIO()
        made.seek(size - 1)
        made.write(b"\0")
        made.seek(0)
        return made

    def consume_ack(self, task: Task, clock: Clock) -> Any:
        got = received(task)
        ack = AMQP_0_9_1["basic.ack"]
        acks = [self.sender.method(1, ack, (tag + 1, False)) for tag in range(task.messages)]
        self._send(1, "basic.qos", 0, PREFETCH, False)
        self._await()
        sendall = self.socket.sendall
        with clock:
            self.start_consumer(task, no_ack=False)
            while len(got) < task.messages:
                before = len(got)
                self._walk(got)
                for piece in acks[before : len(got)]:
                    sendall(piece)
        return got

    def consume_ack_batch(self, task: Task, clock: Clock) -> Any:
        got = received(task)
        ack = AMQP_0_9_1["basic.ack"]
        acks = [self.sender.method(1, ack, (tag + 1, False)) for tag in range(task.messages)]
        self._send(1, "basic.qos", 0, PREFETCH, False)
        self._await()
        with clock:
            self.start_consumer(task, no_ack=False)
            while len(got) < task.messages:
                before = len(got)
                self._walk(got)
                self.socket.sendall(b"".join(acks[before : len(got)]))
        return got

    def get(self, task: Task, clock: Clock) -> Any:
        got = received(task)
        frame = self.sender.method(1, AMQP_0_9_1["basic.get"], (0, task.queue, True))
        with clock:
            for number in range(task.messages):
                self.socket.sendall(frame)
                while len(got) <= number:
                    self._walk(got)
        return got


if __name__ == "__main__":
    main(Floor())
