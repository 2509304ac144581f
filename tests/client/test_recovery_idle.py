"""Recovery(idle=True): a connection that nobody uses at the moment is brought back, and its consumers live on."""

from __future__ import annotations

import gc
import logging
import select
import threading
import time
import weakref
from typing import Any, Dict, List, Optional

import pytest

import amqplib.client_0_8 as amqp08
import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from amqplib.client import heartbeat
from amqplib.client.net.transport import Transport

#: Bounds a hang.
LONG = 30


class Heard:
    """What a connection has told by the functions of its Recovery."""

    def __init__(self) -> None:
        self.lost = threading.Event()
        self.back = threading.Event()
        self.why: Optional[Exception] = None
        self.threads: List[str] = []

    def on_lost(self, exc: Exception) -> None:
        self.why = exc
        self.threads.append(threading.current_thread().name)
        self.lost.set()

    def on_recovered(self) -> None:
        self.threads.append(threading.current_thread().name)
        self.back.set()

    def policy(self, **values: Any) -> amqp.Recovery:
        return amqp.Recovery(idle=True, on_lost=self.on_lost, on_recovered=self.on_recovered, **values)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """One for each look at a socket."""
    looked, unread = threading.Semaphore(0), Transport.unread

    def look(transport: Transport, most: int) -> int:
        try:
            return unread(transport, most)
        finally:
            looked.release()

    monkeypatch.setattr(Transport, "unread", look)
    return looked


def wait_for_messages(broker: Broker, queue: str, unacked: int) -> None:
    """Until so many have been sent to consumers."""
    deadline = time.monotonic() + LONG
    while broker.queues()[queue][:2] != (0, unacked):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def publish(broker: Broker, *bodies: str) -> None:
    """By another program."""
    with amqp.Connection(broker.address) as conn, conn.channel() as ch:
        for body in bodies:
            ch.basic_publish(amqp.Message(body), routing_key="q")


@pytest.mark.parametrize("how", ["reset", "end", "crash", "restart without anything"])
@pytest.mark.parametrize("module", [amqp08, amqp])
def test_consumers_live_on(broker: Broker, heard: Heard, how: str, module: Any) -> None:
    """With and without heartbeats."""
    conn = module.Connection(broker.address, recover=heard.policy())
    ch, found, threads = conn.channel(), [], []

    def got(msg: Any) -> None:
        found.append(msg.body)
        threads.append(threading.current_thread())
        msg.ack()

    ch.queue_declare("q", auto_delete=False)
    ch.basic_consume("q", callback=got)
    if how in ("reset", "end"):
        broker.faults.drop(reset=how == "reset")
    else:
        broker.restart(durable=how == "crash", crash=how == "crash")
    assert heard.back.wait(LONG)
    assert broker.queues()["q"].consumers == 1
    publish(broker, "x")
    ch.wait(timeout=LONG)
    assert (found, threads) == (["x"], [threading.current_thread()])
    assert heard.threads == ["amqplib-recovery"] * 2
    assert conn.stats().recoveries == 1
    conn.close()


def test_again_and_again(broker: Broker, heard: Heard) -> None:
    conn = amqp.Connection(broker.address, recover=heard.policy())
    ch = conn.channel()
    ch.queue_declare("q", auto_delete=False)
    ch.basic_consume("q")
    for count in (1, 2, 3):
        heard.back.clear()
        broker.restart(crash=True)
        assert heard.back.wait(LONG)
        assert conn.stats().recoveries == count
        assert broker.queues()["q"].consumers == 1
    conn.close()


def test_a_loss_that_an_acknowledgement_meets(broker: Broker, heard: Heard) -> None:
    """That is no reason to wait for the connection, and nobody may come later who needs it."""
    conn = amqp.Connection(broker.address, recover=heard.policy())
    ch = conn.channel()
    found: List[Any] = []
    ch.queue_declare("q", auto_delete=False)
    ch.basic_consume("q", callback=found.append)
    publish(broker, "x")
    ch.wait(timeout=LONG)
    broker.down(crash=True)
    while conn._amqplib.driver.session.ending is None:
        found[0].ack()
    broker.up()
    assert heard.back.wait(LONG)
    conn.close()


def test_a_peer_that_is_silent(broker: Broker, heard: Heard) -> None:
    conn = amqp.Connection(broker.address, heartbeat=1, recover=heard.policy())
    broker.faults.stall()
    assert heard.lost.wait(LONG)
    assert "silent for 2." in str(heard.why)
    broker.faults.resume()
    assert heard.back.wait(LONG)
    conn.close()


def test_one_that_sends_heartbeats_only(broker: Broker, heard: Heard, looks: threading.Semaphore) -> None:
    """Nobody reads them, and they tell that it is there."""
    conn = amqp.Connection(broker.address, heartbeat=1, recover=heard.policy())
    for _ in range(4):
        assert looks.acquire(timeout=LONG)
    assert not heard.lost.is_set()
    assert conn.stats().recoveries == 0
    conn.close()


def test_nothing_is_taken(broker: Broker, heard: Heard, looks: threading.Semaphore) -> None:
    """An event loop that waits for the socket is told of what has come."""
    conn = amqp.Connection(broker.address, recover=heard.policy())
    ch = conn.channel()
    ch.queue_declare("q", auto_delete=False)
    ch.basic_consume("q")
    publish(broker, "x")
    wait_for_messages(broker, "q", 1)
    while looks.acquire(blocking=False):
        pass
    for _ in range(2):
        assert looks.acquire(timeout=LONG)
    assert conn.pending() == 0
    assert select.select([conn.fileno()], [], [], 0)[0]
    conn.close()


def test_what_had_come_is_not_lost(broker: Broker, heard: Heard) -> None:
    """It was sent to a consumer with no_ack, and so it is nowhere else."""
    conn = amqp.Connection(broker.address, recover=heard.policy())
    ch = conn.channel()
    found: List[Any] = []
    ch.queue_declare("q", auto_delete=False)
    ch.basic_consume("q", no_ack=True, callback=lambda msg: found.append(msg.body))
    publish(broker, "1", "2", "3")
    wait_for_messages(broker, "q", 0)
    broker.faults.drop()
    assert heard.back.wait(LONG)
    publish(broker, "4")
    while len(found) < 4:
        ch.wait(timeout=LONG)
    assert found == ["1", "2", "3", "4"]
    conn.close()


def test_what_the_broker_says_before_it_goes(broker: Broker, heard: Heard) -> None:
    conn = amqp.Connection(broker.address, recover=heard.policy())
    broker.restart()
    assert heard.back.wait(LONG)
    assert isinstance(heard.why, amqp.AMQPConnectionException)
    assert heard.why.amqp_reply_code == 320
    conn.close()


def test_a_loss_that_does_not_heal(broker: Broker, heard: Heard, looks: threading.Semaphore) -> None:
    """The login is refused now: it is given up, and whoever comes is told."""
    over = threading.Event()
    conn = amqp.Connection(broker.address, recover=heard.policy(on_given_up=lambda exc: over.set()))
    broker.faults.refuse_logins()
    broker.faults.drop()
    assert over.wait(LONG)
    with pytest.raises(amqp.AMQPConnectionException, match="did not come back"):
        conn.channel()


def test_a_connection_that_is_closed_stays_closed(
    broker: Broker, heard: Heard, looks: threading.Semaphore, caplog: pytest.LogCaptureFixture
) -> None:
    conn = amqp.Connection(broker.address, recover=heard.policy())
    other = amqp.Connection(broker.address, recover=amqp.Recovery(idle=True))
    conn.close()
    for _ in range(2):
        assert looks.acquire(timeout=LONG)
    other.close()
    assert not heard.lost.is_set()
    assert broker.connections() == []


def test_one_that_is_dropped_is_left_alone(broker: Broker, heard: Heard) -> None:
    conn = amqp.Connection(broker.address, recover=heard.policy())
    broker.down(crash=True)
    assert heard.lost.wait(LONG)
    gone = weakref.ref(conn)
    del conn
    deadline = time.monotonic() + LONG
    while gone() is not None:  # an attempt may be on its way
        gc.collect()
        assert time.monotonic() < deadline
    broker.up()


@pytest.mark.parametrize("query", ["?recover_idle=true", "?recover=true&recover_idle=true"])
def test_a_url_asks_for_it(broker: Broker, query: str) -> None:
    with amqp.Connection("amqp://%s%s" % (broker.address, query)) as conn:
        ch = conn.channel()
        ch.queue_declare("q", auto_delete=False)
        ch.basic_consume("q")
        broker.restart(durable=False, crash=True)
        deadline = time.monotonic() + LONG
        while "q" not in broker.queues() or not broker.queues()["q"].consumers:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_no_thread_for_it(broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """As when Python is about to exit. It comes back when it is used."""

    def refuse(*args: Any, **options: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(heartbeat, "repeat", refuse)
    with caplog.at_level(logging.WARNING, "amqplib"):
        conn = amqp.Connection(broker.address, recover=amqp.Recovery(idle=True))
    assert "does not come back until it is used" in caplog.text
    broker.restart(crash=True)
    values: Dict[str, Any] = {"auto_delete": False}
    conn.channel().queue_declare("q", **values)
    conn.close()
