"""Publishes that the broker refuses (basic.nack) are sent again, for a while, where connections come back."""

from __future__ import annotations

import threading
import time
from typing import Any, Dict, List, Tuple

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from amqplib.client import heartbeat

#: Bounds a hang.
LONG = 30


def connect(broker: Broker, **policy: Any) -> amqp.Connection:
    return amqp.Connection(broker.address, recover=amqp.Recovery(**policy), reply_timeout=LONG)


class Publisher:
    """A channel in confirm mode, and what it is told."""

    def __init__(self, conn: amqp.Connection, **options: Any) -> None:
        self.conn = conn
        self.ch = conn.channel()
        self.ch.queue_declare("q", durable=True, auto_delete=False)
        self.told: List[Any] = []
        told = self.told.append
        self.ch.confirm_select(
            on_ack=lambda tag, msg: told((tag, True)), on_nack=lambda tag, msg: told((tag, False)), **options
        )

    def publish(self, *bodies: str) -> List[Any]:
        return [self.ch.basic_publish(amqp.Message(body, delivery_mode=2), routing_key="q") for body in bodies]

    def read(self) -> None:
        """What the broker has said until now."""
        self.ch.queue_declare("q", passive=True)


def contents(broker: Broker, count: int) -> List[Any]:
    """What is in the queue, once so many messages are there."""
    deadline = time.monotonic() + LONG
    while broker.queues()["q"].messages < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    with amqp.Connection(broker.address) as conn, conn.channel() as ch:
        found = []
        for msg in iter(lambda: ch.basic_get("q", no_ack=True), None):
            assert msg is not None
            found.append(msg.body)
        return found


def test_until_the_broker_takes_them(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    with connect(broker) as conn:
        publisher = Publisher(conn)
        broker.faults.nack_every(1)
        assert publisher.publish("1", "2") == [1, 2]
        publisher.read()
        assert list(publisher.ch.unconfirmed) == [1, 2]
        broker.faults.clear()
        publisher.ch.wait_for_confirms(LONG)
        assert publisher.told == [(1, True), (2, True)]
        assert publisher.publish("3") == [3]
        publisher.ch.wait_for_confirms(LONG)
        assert contents(broker, 3) == ["1", "2", "3"]
    assert "the broker refuses publishes (basic.nack); they are sent again for 10 s" in caplog.text


def test_behind_what_was_published_meanwhile(broker: Broker) -> None:
    """Every other one is refused: of three the second, which is the fourth then, and the fifth."""
    with connect(broker) as conn:
        publisher = Publisher(conn)
        broker.faults.nack_every(2)
        publisher.publish("1", "2", "3")
        publisher.ch.wait_for_confirms(LONG)
        assert sorted(publisher.told) == [(1, True), (2, True), (3, True)]
        assert contents(broker, 3) == ["1", "3", "2"]
        assert conn.stats().messages_out == 5


def test_many(broker: Broker) -> None:
    """Whatever is acknowledged is there, and the program's tags go on."""
    with connect(broker) as conn:
        publisher = Publisher(conn, window=50)
        broker.faults.nack_every(7)
        bodies = ["%d" % number for number in range(1000)]
        assert publisher.publish(*bodies) == list(range(1, 1001))
        publisher.ch.wait_for_confirms(LONG)
        assert sorted(publisher.told) == [(tag, True) for tag in range(1, 1001)]
        assert sorted(contents(broker, 1000)) == sorted(bodies)


def test_the_time_for_it_is_up(broker: Broker) -> None:
    with connect(broker, nacked=0.25) as conn:
        publisher = Publisher(conn)
        broker.faults.nack_every(1)
        publisher.publish("1")
        with pytest.raises(amqp.UnconfirmedError) as caught:
            publisher.ch.wait_for_confirms(LONG)
        assert list(caught.value.nacked) == [1]
        assert publisher.told == [(1, False)]
        assert conn.stats().messages_out > 1
        broker.faults.clear()
        assert publisher.publish("2") == [2]
        publisher.ch.wait_for_confirms(LONG)
        assert contents(broker, 1) == ["2"]


@pytest.mark.parametrize("policy", [{"nacked": 0}, {"unconfirmed": "report"}], ids=["nacked", "unconfirmed"])
def test_not_at_all(broker: Broker, policy: Dict[str, Any]) -> None:
    with connect(broker, **policy) as conn:
        publisher = Publisher(conn)
        broker.faults.nack_every(1)
        publisher.publish("1")
        with pytest.raises(amqp.UnconfirmedError):
            publisher.ch.wait_for_confirms(LONG)
        assert conn.stats().messages_out == 1


@pytest.mark.parametrize("beats", [0, 60])
def test_while_the_program_does_something_else(broker: Broker, beats: int) -> None:
    """Once it knows of the refusal. It need not wait for anything."""
    with amqp.Connection(broker.address, heartbeat=beats, recover=True) as conn:
        publisher = Publisher(conn)
        broker.faults.nack_every(1)
        publisher.publish("1")
        publisher.read()
        broker.faults.clear()
        assert contents(broker, 1) == ["1"]
        publisher.read()
        assert not publisher.ch.unconfirmed


def test_a_publish_that_waits_for_its_confirm(broker: Broker) -> None:
    with connect(broker) as conn:
        publisher = Publisher(conn)
        broker.faults.nack_every(2)
        for body in ("1", "2", "3"):
            publisher.ch.basic_publish_confirm(amqp.Message(body), routing_key="q", timeout=LONG)
        assert contents(broker, 3) == ["1", "2", "3"]


def test_a_window_that_is_full_of_them(broker: Broker) -> None:
    with connect(broker) as conn:
        publisher = Publisher(conn, window=1)
        broker.faults.nack_every(2)
        publisher.publish("1", "2", "3")
        publisher.ch.wait_for_confirms(LONG)
        assert contents(broker, 3) == ["1", "2", "3"]


def test_long_ones(broker: Broker) -> None:
    """Of several frames."""
    with amqp.Connection(broker.address, frame_max=4096, recover=True) as conn:
        publisher = Publisher(conn)
        broker.faults.nack_every(2)
        bodies = [letter * 100000 for letter in "abc"]
        publisher.publish(*bodies)
        publisher.ch.wait_for_confirms(LONG)
        assert contents(broker, 3) == [bodies[0], bodies[2], bodies[1]]


def test_inside_a_batch(broker: Broker) -> None:
    """Behind what is gathered, which has been counted."""
    with connect(broker) as conn:
        publisher = Publisher(conn)
        broker.faults.nack_every(1)
        publisher.publish("1")
        publisher.read()
        broker.faults.clear()
        with publisher.ch.batch():
            publisher.publish("2")
            deadline = time.monotonic() + LONG
            while conn.stats().messages_out < 3:  # the third is the first once more
                assert time.monotonic() < deadline
                time.sleep(0.005)
            publisher.publish("3")
        publisher.ch.wait_for_confirms(LONG)
        assert sorted(publisher.told) == [(1, True), (2, True), (3, True)]
        assert contents(broker, 3) == ["2", "1", "3"]


def test_a_loss_before_they_are_sent_again(broker: Broker) -> None:
    """They are sent again with all else that is unconfirmed, in its order, and once."""
    with connect(broker, delay=5.0, delay_max=5.0) as conn:  # which is how long they wait, too
        publisher = Publisher(conn)
        broker.faults.nack_every(2)
        publisher.publish("1", "2", "3")
        publisher.read()
        assert list(publisher.ch.unconfirmed) == [2]
        broker.faults.clear()
        broker.restart(crash=True)
        publisher.read()
        assert publisher.publish("4") == [4]
        publisher.ch.wait_for_confirms(LONG)
        assert contents(broker, 4) == ["1", "3", "2", "4"]
        assert conn.stats().recoveries == 1
        assert conn.stats().messages_out == 5


def test_a_refusal_of_what_is_sent_again_after_a_loss(broker: Broker) -> None:
    """As by a queue that has yet to get its leader when the connection is back."""
    back = threading.Event()
    with connect(broker, on_recovered=back.set) as conn:
        publisher = Publisher(conn)
        broker.faults.delay_confirms(3600)
        publisher.publish("1", "2")
        broker.down(crash=True, durable=False)
        broker.faults.clear()
        broker.faults.nack_every(1)
        broker.up()
        publisher.read()
        assert back.wait(LONG)
        broker.faults.clear()
        assert publisher.publish("3") == [3]
        publisher.ch.wait_for_confirms(LONG)
        assert sorted(publisher.told) == [(1, True), (2, True), (3, True)]
        assert sorted(contents(broker, 3)) == ["1", "2", "3"]


@pytest.mark.parametrize(("version", "seconds", "recoveries"), [("3.10.8", 5.0, (1, 2)), ("4.0.5", 0.5, (0,))])
def test_a_channel_that_is_refused_for_ever(
    broker: Broker, version: str, seconds: float, recoveries: Tuple[int, ...]
) -> None:
    """As by RabbitMQ 3.10, also when its queue has a leader again: another connection is made, and not on and on."""
    lost: List[str] = []
    with connect(broker, nacked=seconds, on_lost=lambda exc: lost.append(str(exc))) as conn:
        conn.server_properties.update(product="RabbitMQ", version=version)
        publisher = Publisher(conn)
        broker.faults.nack_every(1)
        publisher.publish("1")
        with pytest.raises(amqp.UnconfirmedError) as caught:
            publisher.ch.wait_for_confirms(LONG)
        assert list(caught.value.nacked) == [1]
        assert conn.stats().recoveries == len(lost)
        assert len(lost) in recoveries  # after a second, and two more
        assert all("has refused publishes" in text for text in lost)


def test_those_of_a_channel_that_is_closed(broker: Broker) -> None:
    with connect(broker) as conn:
        publisher = Publisher(conn)
        broker.faults.nack_every(1)
        publisher.publish("1")
        publisher.read()
        publisher.ch.close()
        assert [msg.body for msg in publisher.ch.unconfirmed.values()] == ["1"]
        broker.faults.clear()
        other = Publisher(conn)  # of the same number
        other.publish("2")
        other.ch.wait_for_confirms(LONG)
        assert contents(broker, 1) == ["2"]


def test_how_long_it_took(broker: Broker) -> None:
    """From the publish to the acknowledgement in the end."""
    with connect(broker) as conn:
        publisher = Publisher(conn, timed=True)
        broker.faults.nack_every(2)
        publisher.publish("1", "2")
        publisher.ch.wait_for_confirms(LONG)
        times = publisher.ch.confirm_times()
        assert [each.acknowledged for each in times] == [True, True]
        assert times[1].seconds >= 0.05


def test_no_thread_for_it(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when Python is about to exit: then a nack is a nack."""

    def refuse(*args: Any, **options: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(heartbeat, "repeat", refuse)
    with connect(broker) as conn:
        publisher = Publisher(conn)
        broker.faults.nack_every(1)
        publisher.publish("1")
        with pytest.raises(amqp.UnconfirmedError) as caught:
            publisher.ch.wait_for_confirms(LONG)
        assert list(caught.value.nacked) == [1]
