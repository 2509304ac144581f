"""A session of a client, recorded against a server that plays by a script; and a server that plays it again.

The recording is two strings of bytes and when they were said: turns of (so many bytes from the client in all, what the
server says then). To play it again nothing is parsed, so it can be done with any byte wrong, missing or late.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections import deque
from types import ModuleType, TracebackType
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, Sequence, Tuple, Type

from amqplib.wire.protocol import Sender
from amqplib.wire.spec import AMQP_0_8, AMQP_0_9_1, Dialect

__all__ = ["Recording", "Replayer", "Session", "record"]

BODY = b"twelve bytes"
QUEUE = "the-queue"
PROPERTIES = {"content_type": "text/plain", "application_headers": {"number": 7}, "delivery_mode": 2}

#: Calls one part of the session: what is called, and its name. It returns what that returns.
Step = Callable[[str, Callable[[], Any]], Any]


class Recording(NamedTuple):
    """`turns`: (octets from the client up to here in all, what the server says then)."""

    turns: Tuple[Tuple[int, bytes], ...]

    @property
    def up(self) -> int:
        """Octets that the client sends in all."""
        return self.turns[-1][0]

    @property
    def down(self) -> int:
        """Octets that the server sends in all."""
        return sum(len(answer) for _, answer in self.turns)

    def answers(self) -> bytes:
        return b"".join(answer for _, answer in self.turns)


class Session:
    """What the client does: all kinds of calls, in either dialect. Each call goes through `step`, which may time it."""

    def __init__(self, amqp: ModuleType, host: str, step: Step, **options: Any) -> None:
        self._amqp = amqp
        self._host = host
        self._step = step
        self._options = options
        self.received: List[Any] = []

    def run(self, wait_timeout: Optional[float] = None) -> None:
        """All of it. Raises what a call raises, after the connection was closed, if there is one."""
        step, amqp = self._step, self._amqp
        conn = step("Connection()", lambda: amqp.Connection(self._host, **self._options))
        try:
            ch = step("channel()", conn.channel)
            if conn.protocol == "0-8":
                step("tx_select()", ch.tx_select)
            else:
                step("confirm_select()", ch.confirm_select)
            step("queue_declare()", lambda: ch.queue_declare(QUEUE))
            message = amqp.Message(BODY, **PROPERTIES)
            step("basic_publish()", lambda: ch.basic_publish(message, routing_key=QUEUE))
            if conn.protocol == "0-8":
                step("tx_commit()", ch.tx_commit)
            else:
                step("wait_for_confirms()", lambda: ch.wait_for_confirms(timeout=wait_timeout))
            got = step("basic_get()", lambda: ch.basic_get(QUEUE))
            if got is not None:
                self.received.append(got)
                step("basic_ack()", lambda: ch.basic_ack(got.delivery_tag))
            step("basic_consume()", lambda: ch.basic_consume(QUEUE, "tag", callback=self.received.append))
            for _ in range(2):
                step("wait()", lambda: ch.wait(timeout=wait_timeout))
            step("basic_cancel()", lambda: ch.basic_cancel("tag"))
            step("channel.close()", ch.close)
        except BaseException:
            try:
                step("close() after an error", conn.close)
            except (amqp.AMQPException, amqp.AMQPTimeoutError):
                pass  # the first one tells why
            raise
        step("close()", conn.close)


def script(dialect: Dialect) -> List[Tuple[bytes, Sequence[bytes]]]:
    """(what the client's next bytes contain at their end, what the server says to that)."""
    sender = Sender(dialect)
    newer = dialect is AMQP_0_9_1

    def method(name: str, *args: Any, channel: int = 1) -> bytes:
        return sender.method(channel, dialect[name], args)

    def content(name: str, *args: Any) -> bytes:
        return sender.content(1, dialect[name], args, PROPERTIES, BODY)

    def ids(name: str) -> bytes:
        return dialect[name].key.to_bytes(4, "big")

    version = (0, 9) if newer else (8, 0)
    properties = {
        "product": "Recorded",
        "version": "1.0",
        "capabilities": {"publisher_confirms": True, "basic.nack": True, "consumer_cancel_notify": True},
    }
    start = method("connection.start", *version, properties, b"PLAIN AMQPLAIN", b"en_US", channel=0)
    deliveries = [content("basic.deliver", "tag", tag, False, "", QUEUE) for tag in (2, 3)]
    select = "confirm.select" if newer else "tx.select"
    commit = (ids("tx.commit"), [method("tx.commit_ok")])
    return [
        (dialect.header, [start]),
        (ids("connection.start_ok"), [method("connection.tune", 2047, 131072, 1, channel=0)]),
        (ids("connection.open"), [method("connection.open_ok", "", channel=0)]),
        (ids("channel.open"), [method("channel.open_ok", *([""] * len(dialect["channel.open_ok"].fields)))]),
        (ids(select), [method(select + "_ok")]),
        (ids("queue.declare"), [method("queue.declare_ok", QUEUE, 0, 0)]),
        (BODY + b"\xce", [method("basic.ack", 1, False)]) if newer else commit,
        (ids("basic.get"), [content("basic.get_ok", 1, False, "", QUEUE, 0)]),
        (ids("basic.consume"), [method("basic.consume_ok", "tag"), *deliveries]),
        (ids("basic.cancel"), [method("basic.cancel_ok", "tag")]),
        (ids("channel.close"), [method("channel.close_ok")]),
        (ids("connection.close"), [method("connection.close_ok", channel=0)]),
    ]


def record(amqp: ModuleType, **options: Any) -> Recording:
    """Run a session of `amqp` once, and note who says what when."""
    dialect = AMQP_0_8 if amqp.__name__.endswith("client_0_8") else AMQP_0_9_1
    turns: List[Tuple[int, bytes]] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def serve() -> None:
            with listener.accept()[0] as sock:
                sock.settimeout(10)
                said = b""
                looked_at = 0
                for sign, answers in script(dialect):
                    # a frame's end octet is the last thing of every call; the header has none
                    while sign not in said[looked_at:] or not (said.endswith(b"\xce") or sign == dialect.header):
                        data = sock.recv(65536)
                        if not data:
                            return
                        said += data
                    looked_at = len(said)
                    turns.append((len(said), b"".join(answers)))
                    sock.sendall(turns[-1][1])
                sock.recv(1)

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        port = listener.getsockname()[1]
        session = Session(amqp, "127.0.0.1:%d" % port, lambda name, call: call(), **options)
        session.run(wait_timeout=10)
        server.join(10)
    assert len(turns) == len(script(dialect)), "the session ended after %d turns" % len(turns)
    assert [msg.body for msg in session.received] == [BODY] * 3
    return Recording(tuple(turns))


class _Playing:
    """One connection of a Replayer."""

    def __init__(self, turns: Sequence[Tuple[int, bytes]]) -> None:
        self.turns = deque(turns)
        self.heard = 0


class Replayer:
    """Plays recordings again, any number at a time, in one thread: connect() gives a socket to each.

    It says what the server said as soon as as many bytes have come, whichever they are. When there is nothing more to
    say, it waits for the other end to close, as a server does.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._bell, self._ring = socket.socketpair()
        self._new: Deque[Tuple[socket.socket, _Playing]] = deque()
        self._over = False
        self._thread = threading.Thread(target=self._serve, name="replayer", daemon=True)

    def connect(self, turns: Sequence[Tuple[int, bytes]]) -> socket.socket:
        """The client's end of a new connection, on which this is played."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._new.append((ours, _Playing(turns)))
        self._ring.send(b"x")
        return theirs

    def __enter__(self) -> Replayer:
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._over = True
        self._ring.send(b"x")
        self._thread.join()
        for sock in (self._bell, self._ring):
            sock.close()

    def _serve(self) -> None:
        playing: Dict[socket.socket, _Playing] = {}
        while not self._over:
            for key, _ in self._selector.select():
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock is self._bell:
                    sock.recv(1000)
                elif not self._play(sock, playing[sock]):
                    self._selector.unregister(sock)
                    del playing[sock]
                    sock.close()
            while self._new:
                sock, one = self._new.popleft()
                playing[sock] = one
                self._selector.register(sock, selectors.EVENT_READ)
        for sock in playing:
            sock.close()
        self._selector.close()

    @staticmethod
    def _play(sock: socket.socket, one: _Playing) -> bool:
        try:
            data = sock.recv(65536)
            if not data:
                return False
            one.heard += len(data)
            while one.turns and one.turns[0][0] <= one.heard:
                sock.sendall(one.turns.popleft()[1])
        except OSError:
            return False
        return True
