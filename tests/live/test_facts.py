"""What a connection says of itself, and the end of loops, on a broker."""

from __future__ import annotations

import select
from types import ModuleType
from typing import Any, Callable, Dict, List

import pytest

from amqplib.client.channel import Channel
from amqplib.client.connection import Connection
from amqplib.client.exceptions import AccessRefused, NotFound, PreconditionFailed, ResourceLocked
from amqplib.client.message import Message
from tests.conftest import Broker

from .conftest import Connect, Names
from .helpers import PATIENCE, Worker, eventually, holds, publish


def test_where_it_goes_and_as_whom(broker: Broker, conn: Connection, ch: Channel) -> None:
    open_then = conn.is_open
    assert conn.tls is None
    for part in (broker.host, repr(broker.virtual_host), repr(broker.userid), "open"):
        assert part in repr(conn)
        assert part in repr(ch)
    ch.close()
    assert repr(ch).endswith(": closed>")
    conn.close()
    assert (open_then, conn.is_open) == (True, False)
    assert repr(conn).endswith(": closed>")


def test_select_takes_the_connection(conn: Connection, ch: Channel, queue: str) -> None:
    got: List[Any] = []
    ch.basic_consume(queue, callback=got.append, no_ack=True)
    publish(ch, queue, "x")
    while not got:
        if not conn.pending():
            assert select.select([conn], [], [], PATIENCE)[0] == [conn]
        conn.drain_events(timeout=PATIENCE)
    assert got[0].body == "x"


def test_exceptions_by_code(conn: Connection, connect: Connect, names: Names, queue: str) -> None:
    with pytest.raises(NotFound):
        conn.channel().queue_declare(names.any(), passive=True)
    with pytest.raises(AccessRefused):
        conn.channel().queue_declare("amq." + names.any())
    with pytest.raises(PreconditionFailed):
        conn.channel().queue_declare(queue, durable=True, auto_delete=False)
    mine = connect().channel().queue_declare(names.queue(), exclusive=True)[0]
    with pytest.raises(ResourceLocked):
        conn.channel().basic_get(mine)


def by_wait(ch: Channel, queue: str, work: Callable[[Message], Any]) -> None:
    ch.basic_consume(queue, callback=work)
    while ch.callbacks:
        ch.wait()


def by_drain_events(ch: Channel, queue: str, work: Callable[[Message], Any]) -> None:
    ch.basic_consume(queue, callback=work)
    assert ch.connection
    while ch.callbacks:
        ch.connection.drain_events()


def by_consume(ch: Channel, queue: str, work: Callable[[Message], Any]) -> None:
    for msg in ch.consume(queue):
        work(msg)


LOOPS: Dict[str, Callable[[Channel, str, Callable[[Message], Any]], None]] = {
    "wait": by_wait,
    "drain_events": by_drain_events,
    "consume": by_consume,
}


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_the_end_of_a_loop(conn: Connection, queue: str, amqp: ModuleType, loop: Any) -> None:
    """By the program in the middle, and by another thread while it waits. What was delivered goes back."""
    ch, other = conn.channel(), conn.channel()
    done: List[Any] = []

    def work(msg: Message) -> None:
        msg.ack()
        done.append(msg.body)
        if msg.body == "two":
            ch.stop_consuming()

    publish(other, queue, "one", "two", "three", "four")
    holds(other, queue, 4)
    loop(ch, queue, work)
    assert done == ["one", "two"]
    holds(other, queue, 2)
    with Worker(lambda: loop(ch, queue, work)):
        eventually(lambda: done == ["one", "two", "three", "four"])
        ch.stop_consuming()
    assert ch.is_open
