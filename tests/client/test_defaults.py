"""Proves that what has one sensible value may be left out, and that what is declared stays till it is deleted.

client_0_8 is as it was (see test_call_bytes), and warns where its defaults are not what is meant.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import subprocess
import sys
from typing import Any, Callable, Dict, Iterator, List

import pytest

import amqplib.client_0_8
import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker

from .peer import PATIENCE, Peer


@pytest.fixture
def channel() -> Iterator[amqp.Channel]:
    with Broker() as broker, amqp.Connection(broker.address, heartbeat=0, reply_timeout=PATIENCE) as conn:
        yield conn.channel()


def test_bytes(newer_peer: Peer, newer: amqp.Channel) -> None:
    newer_peer.expect("basic.qos", 0, 5, False)
    newer_peer.send("basic.qos_ok")
    newer.basic_qos(prefetch_count=5)
    newer_peer.expect("exchange.declare", 0, "x", "", True, False, False, False, False, {})
    newer_peer.send("exchange.declare_ok")
    newer.exchange_declare("x", passive=True)
    newer_peer.expect("basic.reject", 7, False)
    newer.basic_reject(7)
    newer_peer.wait()


def test_with_a_broker(channel: amqp.Channel) -> None:
    channel.basic_qos(prefetch_count=1)
    channel.exchange_declare("amq.topic", passive=True)
    channel.queue_declare("q", auto_delete=False)
    channel.basic_publish(amqp.Message(b"x"), routing_key="q")
    msg = channel.basic_get("q")
    assert msg is not None
    channel.basic_reject(msg.delivery_tag)
    assert channel.queue_declare("q", passive=True)[1] == 0  # as msg.reject() does
    with pytest.raises(amqp.AMQPChannelException, match="404"):
        channel.exchange_declare("there.is.none", passive=True)


@pytest.mark.parametrize(
    "call",
    [
        lambda ch: ch.exchange_declare("x"),
        lambda ch: ch.exchange_declare("x", durable=True),
        lambda ch: ch.basic_qos(1),
    ],
)
def test_what_has_no_sensible_value_has_to_be_given(newer_peer: Peer, newer: amqp.Channel, call: Any) -> None:
    """An exchange that is made has a type; the first number of basic_qos() is not the count."""
    with pytest.raises(TypeError, match=r"has no (type|prefetch_count)"):
        call(newer)
    assert newer.is_open


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("exchange_declare", "exchange type passive durable auto_delete internal nowait arguments ticket"),
        ("basic_qos", "prefetch_size prefetch_count a_global"),
        ("basic_reject", "delivery_tag requeue"),
    ],
)
@pytest.mark.parametrize("module", [amqplib.client_0_8, amqp])
def test_positions_and_names_are_what_they_were(module: Any, name: str, parameters: str) -> None:
    assert list(inspect.signature(getattr(module.Channel, name)).parameters) == ["self", *parameters.split()]


# --- auto_delete


def test_what_is_declared_stays(newer_peer: Peer, newer: amqp.Channel) -> None:
    newer_peer.expect("queue.declare", 0, "tasks", False, True, False, False, False, {})
    newer_peer.send("queue.declare_ok", "tasks", 6, 1)
    newer.queue_declare("tasks", durable=True)
    newer_peer.expect("exchange.declare", 0, "x", "topic", False, False, False, False, False, {})
    newer_peer.send("exchange.declare_ok")
    newer.exchange_declare("x", "topic")
    newer_peer.wait()


def test_what_the_last_consumer_leaves_is_there(channel: amqp.Channel) -> None:
    """Ten tasks, of which four are done."""
    channel.queue_declare("tasks", durable=True)
    for number in range(10):
        channel.basic_publish(amqp.Message(b"%d" % number, delivery_mode=2), routing_key="tasks")
    with contextlib.closing(channel.consume("tasks")) as tasks:  # not all Pythons end it with the loop
        for done, msg in enumerate(tasks, 1):
            msg.ack()
            if done == 4:
                break
    assert channel.queue_declare("tasks", passive=True).message_count == 6


WARNED: Dict[str, Callable[[Any], Any]] = {
    "queue 'tasks'": lambda ch: ch.queue_declare("tasks", durable=True),
    "queue 'more'": lambda ch: ch.queue_declare("more", False, True, nowait=True),
    "exchange 'x'": lambda ch: ch.exchange_declare("x", "topic", durable=True),
}

NOT_WARNED: Dict[str, Callable[[Any], Any]] = {
    "given": lambda ch: ch.queue_declare("q", durable=True, auto_delete=True),
    "given, by position": lambda ch: ch.queue_declare("q", False, True, False, True),
    "not": lambda ch: ch.queue_declare("q", durable=True, auto_delete=False),
    "transient": lambda ch: ch.queue_declare("q"),
    "passive": lambda ch: ch.queue_declare("there", passive=True, durable=True),
    "exchange, given": lambda ch: ch.exchange_declare("x", "topic", durable=True, auto_delete=True),
    "exchange, transient": lambda ch: ch.exchange_declare("x", "topic"),
}


def said(caplog: pytest.LogCaptureFixture, call: Callable[[Any], Any], module: Any) -> List[str]:
    """What is logged by a call."""
    with Broker() as broker, module.Connection(broker.address, heartbeat=0) as conn:
        ch = conn.channel()
        ch.queue_declare("there", auto_delete=False)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "amqplib"):
            call(ch)
        return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("what", WARNED)
def test_the_older_module_warns(caplog: pytest.LogCaptureFixture, what: str) -> None:
    (text,) = said(caplog, WARNED[what], amqplib.client_0_8)
    assert text.startswith(what + ": auto_delete was not given, and is True")
    assert "auto_delete=False" in text
    assert said(caplog, WARNED[what], amqp) == []


@pytest.mark.parametrize("what", NOT_WARNED)
def test_nothing_to_warn_of(caplog: pytest.LogCaptureFixture, what: str) -> None:
    assert said(caplog, NOT_WARNED[what], amqplib.client_0_8) == []


DECLARES_OFTEN = """
import logging
from amqplib import client_0_8
from amqplib.broker import Broker

logging.basicConfig(format="%(message)s")
with Broker() as broker, client_0_8.Connection(broker.address) as conn, conn.channel() as ch:
    for _ in range(150):
        ch.queue_declare("q", durable=True, nowait=True)
"""


def test_a_program_that_declares_before_each_publish() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DECLARES_OFTEN], capture_output=True, timeout=60, check=True, text=True
    )
    lines = done.stderr.splitlines()
    assert len(lines) == 100
    assert lines[-1].endswith("after 100 warnings it is not")


@pytest.mark.parametrize("name", ["queue_declare", "exchange_declare"])
def test_the_older_modules_default_is_what_it_was(name: str) -> None:
    default = inspect.signature(getattr(amqplib.client_0_8.Channel, name)).parameters["auto_delete"].default
    assert default == True  # noqa: E712
    assert repr(default) == "True"
    assert inspect.signature(getattr(amqp.Channel, name)).parameters["auto_delete"].default is False


# --- what is returned


def test_the_facts_of_a_queue_have_names(channel: amqp.Channel) -> None:
    facts = channel.queue_declare("q")
    assert facts == ("q", 0, 0)
    assert (facts.queue, facts.message_count, facts.consumer_count) == ("q", 0, 0)
    name, messages, consumers = facts
    assert (name, messages, consumers) == tuple(facts)
    assert channel.queue_declare("q", nowait=True) is None


def test_those_of_the_older_module_are_a_plain_tuple(peer: Peer, ch: amqplib.client_0_8.Channel) -> None:
    """Which programs print."""
    peer.expect("queue.declare")
    peer.send("queue.declare_ok", "q", 1, 2)
    facts = ch.queue_declare("q")
    assert (type(facts), repr(facts)) == (tuple, "('q', 1, 2)")
