"""A broker that goes down and comes back. What RabbitMQ does then is in tests/live/test_restarts.py."""

from __future__ import annotations

import errno
import socket
import time
from typing import Any, Dict, List, Tuple

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from amqplib.client.exceptions import AMQPConnectionException, AuthenticationError, ConnectionLostError
from tests.broker.test_malformed import Raw

KEPT = amqp.Message("kept", delivery_mode=2)


def with_a_queue(broker: Broker) -> amqp.Connection:
    """A connection, and a durable queue with a persistent message and another one."""
    conn = amqp.Connection(broker.address)
    ch = conn.channel()
    ch.queue_declare("work", durable=True, auto_delete=False)
    ch.basic_publish(KEPT, routing_key="work")
    ch.basic_publish(amqp.Message("lost"), routing_key="work")
    ch.close()
    return conn


def there(broker: Broker) -> bool:
    return broker.is_up


def bodies(ch: amqp.Channel) -> List[Tuple[Any, bool]]:
    """What is in the queue, and whether it is redelivered."""
    found: List[Tuple[Any, bool]] = []
    while True:
        msg = ch.basic_get("work", no_ack=True)
        if msg is None:
            return found
        assert msg.delivery_info
        found.append((msg.body, msg.delivery_info["redelivered"]))


def ends_with(conn: amqp.Connection, error: type) -> Any:
    with pytest.raises(error) as caught:
        conn.channel().queue_declare(exclusive=True)
    return caught.value


@pytest.mark.parametrize("crash", [False, True])
def test_down_and_up(broker: Broker, crash: bool) -> None:
    conn = with_a_queue(broker)
    assert there(broker) is True
    broker.down(crash=crash)
    assert broker.running
    assert there(broker) is False
    assert broker.queues()["work"].messages == 1
    assert broker.connections() == []
    error = ends_with(conn, ConnectionLostError if crash else AMQPConnectionException)
    if crash:
        assert error.errno == errno.ECONNRESET
    else:
        assert error.amqp_reply_text == "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((broker.host, broker.port))
    broker.up()
    assert there(broker) is True
    with amqp.Connection(broker.address) as conn, conn.channel() as ch:
        assert bodies(ch) == [("kept", False)]


@pytest.mark.parametrize("durable", [True, False])
def test_restart(broker: Broker, durable: bool) -> None:
    """With what is durable, or without anything but users, virtual hosts and what is always there."""
    broker.add_user("alice", "secret")
    broker.add_vhost("test")
    conn = with_a_queue(broker)
    ch = conn.channel()
    ch.exchange_declare("e", "fanout", durable=True, auto_delete=False)
    ch.queue_bind("work", "e")
    ch.queue_bind("work", "amq.fanout")
    broker.restart(durable=durable)
    with pytest.raises(AMQPConnectionException):
        conn.close()
    with amqp.Connection(broker.address, "alice", "secret", virtual_host="test") as conn:
        assert conn.channel().is_open
    assert set(broker.queues()) == ({"work"} if durable else set())
    assert ("e" in broker.exchanges()) == durable
    assert broker.exchanges()["amq.fanout"].bindings == durable
    if not durable:
        assert broker.memory() == 0


def test_what_was_out_comes_back(broker: Broker) -> None:
    """In its place, and marked."""
    with_a_queue(broker).close()
    conn = amqp.Connection(broker.address)
    ch = conn.channel()
    ch.basic_publish(amqp.Message("second", delivery_mode=2), routing_key="work")
    assert ch.basic_get("work") is not None
    broker.restart(crash=True)
    ends_with(conn, ConnectionLostError)
    with amqp.Connection(broker.address) as conn, conn.channel() as ch:
        assert bodies(ch) == [("kept", True), ("second", False)]


def test_time_goes_on(broker: Broker) -> None:
    with amqp.Connection(broker.address) as conn, conn.channel() as ch:
        arguments: Dict[str, Any] = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
        ch.queue_declare("dead", durable=True, auto_delete=False)
        ch.queue_declare("dying", durable=True, auto_delete=False, arguments={"x-message-ttl": 200, **arguments})
        ch.queue_declare("disused", durable=True, auto_delete=False, arguments={"x-expires": 200})
        ch.basic_publish(KEPT, routing_key="dying")
        ch.queue_declare("dying", passive=True)
        conn.close()
    broker.restart()
    with amqp.Connection(broker.address) as conn, conn.channel() as ch:
        seen: List[amqp.Message] = []
        ch.basic_consume("dead", callback=seen.append)
        ch.wait(timeout=20)
        assert [msg.body for msg in seen] == ["kept"]
        deadline = time.monotonic() + 20
        while "disused" in broker.queues():
            assert time.monotonic() < deadline


def test_down_twice_and_up_twice(broker: Broker) -> None:
    """The second time, what was kept the first time can still be dropped."""
    with_a_queue(broker).close()
    broker.down()
    assert broker.queues()["work"].messages == 1
    broker.down(durable=False)
    assert broker.queues() == {}
    broker.up()
    broker.up()
    amqp.Connection(broker.address).close()


def test_a_port_that_stays_its_own(broker: Broker) -> None:
    """Others that ask for any port are not given this one; and nothing that was open before is in the way."""
    connections = [amqp.Connection(broker.address) for _ in range(20)]
    for _ in range(5):
        broker.restart(crash=True)
        amqp.Connection(broker.address).close()
    for conn in connections:
        ends_with(conn, ConnectionLostError)


def test_faults_stay(broker: Broker) -> None:
    broker.faults.refuse_logins()
    broker.restart()
    with pytest.raises(AuthenticationError):
        amqp.Connection(broker.address)


def test_clients_that_do_not_answer(broker: Broker) -> None:
    """One that reads nothing, and one that has not even logged in."""
    with Raw(broker) as silent, Raw(broker) as raw:
        raw.log_in()
        silent.send(silent.dialect.header)
        silent.expect("connection.start")
        broker.down()
        assert raw.expect("connection.close")[0] == 320
        assert raw.next_is("")


def test_it_ends_while_it_is_down() -> None:
    with Broker() as broker:
        broker.down()
    assert not there(broker)
    for step in (broker.down, broker.up, broker.restart):
        with pytest.raises(RuntimeError, match="does not run"):
            step()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((broker.host, broker.port))


def test_a_broker_that_hangs_can_go_down(broker: Broker) -> None:
    with amqp.Connection(broker.address) as conn:
        broker.faults.stall()
        broker.down()
        broker.faults.resume()
        ends_with(conn, OSError)
