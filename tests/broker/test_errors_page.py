"""docs/errors.rst quotes errors as they are: each is provoked here, in the order of the page."""

from __future__ import annotations

import doctest
import inspect
import os
import re
import socket
from contextlib import suppress
from typing import Any, Callable, Iterator, List

import pytest

import amqplib.client_0_8 as old
import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from amqplib.client.net import tls_errors
from tests.live.helpers import Worker, eventually
from tests.pages import blocks, page

QUOTED = [block.code for block in blocks(page("errors")) if block.language == "text"]


class Trouble:
    """A broker, and what goes wrong with it."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.connections: List[Any] = []

    def connect(self, **arguments: Any) -> amqp.Connection:
        conn = amqp.Connection(self.broker.address, **arguments)
        self.connections.append(conn)
        return conn

    def channel(self, **arguments: Any) -> amqp.Channel:
        """Of a connection that ends with the broker."""
        ch = self.connect(**arguments).channel()
        ch.queue_declare("q", durable=True)
        return ch

    def refused(self) -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            amqp.Connection("127.0.0.1:%d" % bound.getsockname()[1])

    def login(self) -> None:
        self.connect(password="wrong")

    def vhost(self) -> None:
        amqp.Connection("amqp://%s/" % self.broker.address)

    def http(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def answer() -> None:
                with listener.accept()[0] as client:
                    client.recv(100)
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

            with Worker(answer):
                amqp.Connection("127.0.0.1:%d" % listener.getsockname()[1])

    def plain(self) -> None:
        self.connect(ssl=True)

    def argument(self) -> None:
        self.connect(hearbeat=10)

    def not_found(self) -> None:
        self.channel().queue_declare("letters", passive=True)

    def differently(self) -> None:
        ch = self.channel()
        ch.queue_declare("letters", durable=True)
        ch.queue_declare("letters")

    def locked(self) -> None:
        self.channel().queue_declare("letters", exclusive=True)
        self.channel().queue_declare("letters", exclusive=True)

    def twice(self, ch: Any = None) -> None:
        ch = ch or self.channel()
        ch.basic_publish(amqp.Message("x"), routing_key="q")
        msg = next(ch.consume("q"))
        for _ in range(2):
            msg.ack()
        ch.queue_declare("q", passive=True)

    def returned(self) -> None:
        self.channel().basic_publish_confirm(amqp.Message("x"), routing_key="nowhere", mandatory=True)

    def no_message(self) -> None:
        self.channel().basic_publish("x", routing_key="q")  # type: ignore[arg-type]

    def value(self) -> None:
        self.channel().basic_publish(amqp.Message("x", expiration=5), routing_key="q")  # type: ignore[arg-type]

    def closed(self) -> None:
        ch = self.channel()
        with pytest.raises(amqp.PreconditionFailed):
            self.twice(ch)
        ch.queue_declare("q", passive=True)

    def nothing_came(self) -> None:
        self.channel().wait(timeout=0.1)

    def no_answer(self) -> None:
        ch = self.channel(reply_timeout=0.5)
        self.broker.faults.stall()
        ch.queue_declare("q", durable=True)

    def blocked(self) -> None:
        ch = self.channel(blocked_timeout=0)
        self.broker.faults.block("low on memory")
        ch.basic_publish(amqp.Message("x"), routing_key="q")
        eventually(lambda: self.blocks(ch))
        ch.basic_publish(amqp.Message("x"), routing_key="q")

    @staticmethod
    def blocks(ch: amqp.Channel) -> bool:
        assert ch.connection
        with pytest.raises(amqp.AMQPTimeoutError):
            ch.connection.drain_events(timeout=0.01)
        return ch.connection.blocked is not None

    def silent(self) -> None:
        ch = self.channel(heartbeat=1)
        self.broker.faults.stall()
        ch.wait(timeout=30)

    def forced(self) -> None:
        ch = self.channel()
        self.broker.faults.close_connections("shutdown")
        ch.wait(timeout=30)

    def fork(self) -> None:
        """A child says what it was told by its exit code, and by a pipe."""
        ch = self.channel()
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                ch.queue_declare("q", durable=True)
            except amqp.ConnectionLostError as exc:
                os.write(writing, str(exc).encode())
            finally:
                os._exit(0)
        os.close(writing)
        os.waitpid(child, 0)
        with open(reading, encoding="utf-8") as pipe:
            raise amqp.ConnectionLostError(0, pipe.read())

    def dialect(self) -> None:
        conn = old.Connection(self.broker.address)
        self.connections.append(conn)
        conn.channel().confirm_select()


TROUBLE: List[Callable[[Trouble], None]] = [
    Trouble.refused,
    Trouble.login,
    Trouble.vhost,
    Trouble.http,
    Trouble.plain,
    Trouble.argument,
    Trouble.not_found,
    Trouble.differently,
    Trouble.locked,
    Trouble.twice,
    Trouble.returned,
    Trouble.no_message,
    Trouble.value,
    Trouble.closed,
    Trouble.nothing_came,
    Trouble.no_answer,
    Trouble.blocked,
    Trouble.silent,
    Trouble.forced,
    Trouble.fork,
    Trouble.dialect,
]


@pytest.fixture
def at_hand(broker: Broker) -> Iterator[Trouble]:
    trouble = Trouble(broker)
    yield trouble
    broker.faults.clear()
    for conn in trouble.connections:
        with suppress(amqp.AMQPException, OSError):  # what it ended with was the test
            conn.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    ("quoted", "trouble"), list(zip(QUOTED, TROUBLE)), ids=[trouble.__name__ for trouble in TROUBLE]
)
def test_quoted(quoted: str, trouble: Callable[[Trouble], None], at_hand: Trouble) -> None:
    with pytest.raises((amqp.AMQPException, OSError, ValueError, TypeError)) as caught:
        trouble(at_hand)
    said = "%s: %s" % (type(caught.value).__name__, caught.value)
    want = quoted.rstrip("\n").replace("localhost:5672", "...")
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    if not doctest.OutputChecker().check_output(want + " ...\n", said + " .\n", flags):
        assert said == want


def test_each_is_provoked() -> None:
    assert len(QUOTED) == len(TROUBLE)


def test_words_of_tls() -> None:
    """Those that docs/howto/tls.rst has in italics."""
    quoted = re.findall(r"[^*]\*([^*]+)\*[^*]", page("howto/tls"))
    assert len(quoted) == 5
    source = inspect.getsource(tls_errors)
    assert [words for words in quoted if words not in source] == []
