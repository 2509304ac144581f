"""Proves that a __del__ of the program's runs where nothing is locked: other threads use the connection meanwhile."""

from __future__ import annotations

import gc
import threading
from typing import Any, Callable, Dict, Iterator, List

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker

from .peer import PATIENCE

#: What a __del__ calls; set by `deleted`.
_on_del: List[Callable[[], Any]] = []


class Body(amqp.Message):
    def __del__(self) -> None:
        for function in _on_del:
            function()


class Callback:
    def __call__(self, *args: Any) -> None:
        """Nothing."""

    def __del__(self) -> None:
        for function in _on_del:
            function()


@pytest.fixture
def conn() -> Iterator[amqp.Connection]:
    with Broker() as broker, amqp.Connection(broker.address, heartbeat=0, reply_timeout=PATIENCE) as conn:
        yield conn


@pytest.fixture
def deleted(conn: amqp.Connection) -> Iterator[List[bool]]:
    """For each __del__: whether another thread could publish meanwhile."""
    could: List[bool] = []
    other = conn.channel()

    def publish() -> None:
        thread = threading.Thread(target=lambda: other.basic_publish(amqp.Message(b"x"), "amq.fanout"), daemon=True)
        thread.start()
        thread.join(2)
        could.append(not thread.is_alive())

    _on_del.append(publish)
    yield could
    _on_del.clear()


def confirmed(ch: amqp.Channel) -> None:
    ch.confirm_select()
    ch.basic_publish(Body(b"1"), "amq.fanout")
    ch.wait_for_confirms(timeout=PATIENCE)


def confirmed_together(ch: amqp.Channel) -> None:
    ch.confirm_select()
    with ch.batch():
        ch.basic_publish(Body(b"1"), "amq.fanout")
        ch.basic_publish(amqp.Message(b"2"), routing_key="nowhere")
    ch.wait_for_confirms(timeout=PATIENCE)


def cancelled(ch: amqp.Channel) -> None:
    ch.basic_cancel(ch.basic_consume(ch.queue_declare()[0], callback=Callback()))


def cancelled_without_an_answer(ch: amqp.Channel) -> None:
    ch.basic_cancel(ch.basic_consume(ch.queue_declare()[0], callback=Callback()), nowait=True)


def cancelled_by_the_server(ch: amqp.Channel) -> None:
    name = ch.queue_declare()[0]
    ch.basic_consume(name, callback=Callback())
    ch.queue_delete(name)
    while ch.callbacks:
        ch.wait(timeout=PATIENCE)


def closed(ch: amqp.Channel) -> None:
    ch.on_return = Callback()
    ch.close()


DONE: Dict[str, Callable[[amqp.Channel], None]] = {
    "confirmed": confirmed,
    "confirmed together": confirmed_together,
    "cancelled": cancelled,
    "cancelled without an answer": cancelled_without_an_answer,
    "cancelled by the server": cancelled_by_the_server,
    "closed": closed,
}


@pytest.mark.parametrize("name", DONE)
def test_another_thread_can_go_on(conn: amqp.Connection, deleted: List[bool], name: str) -> None:
    DONE[name](conn.channel())
    gc.collect()
    assert deleted == [True]
