"""What could not be sent is taken back whole: nothing of it is lost, and nothing is counted that was not sent."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import Any, Deque, Iterator, List, Optional

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from amqplib.client.output import Output
from amqplib.protocol.acks import Acks


@contextlib.contextmanager
def full(conn: amqp.Connection) -> Iterator[None]:
    """In here the system takes nothing."""
    transport: Any = conn.transport
    transport.send = lambda data: 0
    try:
        yield
    finally:
        del transport.send


def bodies(ch: amqp.Channel, queue: str) -> List[int]:
    found: List[int] = []
    while True:
        msg = ch.basic_get(queue, no_ack=True)
        if msg is None:
            return found
        found.append(len(msg.body or b""))


@pytest.mark.parametrize("confirms", [False, True])
def test_a_long_body_inside_a_batch(confirms: bool) -> None:
    with Broker() as broker, amqp.Connection(broker.address, write_timeout=0.2) as conn, conn.channel() as ch:
        ch.queue_declare("q", auto_delete=False)
        if confirms:
            ch.confirm_select()
        with ch.batch():
            ch.basic_publish(amqp.Message(b"1"), routing_key="q")
            ch.basic_publish(amqp.Message(b"22"), routing_key="q")
            with full(conn), pytest.raises(amqp.AMQPTimeoutError):
                ch.basic_publish(amqp.Message(b"x" * 1_000_000), routing_key="q")
            ch.basic_publish(amqp.Message(b"333"), routing_key="q")
        if confirms:
            ch.wait_for_confirms(timeout=10)
            assert ch.basic_publish_confirm(amqp.Message(b"4444"), routing_key="q") == 4
        assert bodies(ch, "q") == ([1, 2, 3, 4] if confirms else [1, 2, 3])


def test_confirm_select_without_an_answer() -> None:
    with Broker() as broker, amqp.Connection(broker.address, write_timeout=0.2) as conn, conn.channel() as ch:
        ch.queue_declare("q", auto_delete=False)
        with ch.batch():
            ch.basic_publish(amqp.Message(b"1"), routing_key="q")
            with full(conn), pytest.raises(amqp.AMQPTimeoutError):
                ch.confirm_select(nowait=True)
            assert ch.basic_publish(amqp.Message(b"22"), routing_key="q") is None
        assert bodies(ch, "q") == [1, 2]


@pytest.mark.parametrize("owed", [False, True])
@pytest.mark.parametrize("held", [None, False, True], ids=["no acks gathered", "no acks", "acks"])
def test_what_is_owed_or_held_back_by_then_goes_first(owed: bool, held: Optional[bool]) -> None:
    class Full:
        def send(self, data: object) -> int:
            return 0

    debts: Deque[bytes] = deque()
    transport: Any = Full()
    output = Output(transport, debts)
    if held is not None:
        output.acks = Acks()
    assert not output.push(b"frame")
    if owed:
        debts.append(b"close-ok")
    if held and output.acks is not None:
        output.acks.add(1, b"ack", 0.0)
    rest = output.rest
    assert rest is not None
    assert output.take_back(rest)
    assert output.holding == (owed or bool(held))
    assert output.clear == (not output.holding)
    assert not output.busy
    assert not output.take_back(rest)
