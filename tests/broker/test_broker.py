"""Broker: its beginning and its end, who may use it, and what it says of itself."""

from __future__ import annotations

import socket
import threading
from types import ModuleType
from typing import Dict, List

import pytest

import amqplib.client_0_8
import amqplib.client_0_9_1
from amqplib.broker import Broker
from amqplib.client.exceptions import AMQPConnectionException, AuthenticationError, ConnectionLostError


def running(broker: Broker) -> bool:
    return broker.running


@pytest.mark.parametrize("amqp", [amqplib.client_0_8, amqplib.client_0_9_1], ids=["0-8", "0-9-1"])
def test_both_dialects_on_one_port(broker: Broker, amqp: ModuleType) -> None:
    with amqp.Connection(broker.address) as conn, conn.channel() as ch:
        assert conn.protocol == ("0-8" if amqp is amqplib.client_0_8 else "0-9-1")
        queue = ch.queue_declare(exclusive=True)[0]
        ch.basic_publish(amqp.Message("hello"), routing_key=queue)
        assert ch.basic_get(queue, no_ack=True).body == "hello"


def test_it_is_gone_in_the_end() -> None:
    with Broker() as broker:
        conn = amqplib.client_0_9_1.Connection(broker.address)
        assert running(broker)
        assert "amqplib broker on port %d" % broker.port in {thread.name for thread in threading.enumerate()}
    assert not running(broker)
    assert "amqplib broker on port %d" % broker.port not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(ConnectionLostError):
        conn.channel()
    conn.close()
    with pytest.raises(ConnectionLostError):
        amqplib.client_0_9_1.Connection(broker.address)
    with pytest.raises(RuntimeError, match="does not run"):
        broker.queues()


def test_it_serves_once() -> None:
    with Broker() as broker:
        with pytest.raises(RuntimeError, match="runs already"):
            broker.start()
        amqplib.client_0_9_1.Connection(broker.address).close()
    with pytest.raises(RuntimeError, match="has ended"):
        broker.start()


@pytest.mark.parametrize("early", [False, True])
def test_it_serves_until_it_is_told_to_end(early: bool) -> None:
    """Also if that comes before it serves, as a signal may."""
    broker = Broker()
    ended = threading.Thread(target=broker.serve)
    if early:
        broker.end()
    ended.start()
    if not early:
        conn = amqplib.client_0_9_1.Connection(broker.address)
        broker.end()
        with pytest.raises(ConnectionLostError):
            conn.wait(timeout=20)
        conn.close()
    ended.join(20)
    assert not ended.is_alive()
    assert not running(broker)


@pytest.mark.parametrize(
    "limits", [{"heartbeat": -1}, {"heartbeat": 65536}, {"channel_max": 65536}, {"frame_max": 100}, {"frame_max": -1}]
)
def test_limits_that_cannot_be(limits: Dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(limits))):
        Broker(**limits)  # type: ignore[arg-type] # mypy takes the dictionary for any of the arguments


def test_one_virtual_host_is_a_list_too() -> None:
    with pytest.raises(TypeError, match="vhosts: a list of names, not the one 'test'"):
        Broker(vhosts="test")


def test_a_port_of_ones_own() -> None:
    with Broker() as first, pytest.raises(OSError, match="in use"):
        Broker(port=first.port)
    with Broker(port=first.port) as second, amqplib.client_0_9_1.Connection("127.0.0.1:%d" % first.port):
        assert second.address == first.address


def test_ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with Broker(host="::1") as broker:
        assert broker.address.startswith("[::1]:")
        with amqplib.client_0_9_1.Connection(broker.address) as conn:
            assert conn.channel().is_open


def test_users_and_virtual_hosts() -> None:
    amqp = amqplib.client_0_9_1
    with Broker(users={"alice": "secret"}, vhosts=["/", "test"]) as broker:
        for vhost in ("/", "test"):
            with amqp.Connection(broker.address, "alice", "secret", virtual_host=vhost) as conn:
                assert conn.channel().is_open
        with pytest.raises(AuthenticationError, match="refused"):
            amqp.Connection(broker.address)
        with pytest.raises(AMQPConnectionException, match="NOT_ALLOWED - vhost nowhere not found"):
            amqp.Connection(broker.address, userid="alice", password="secret", virtual_host="nowhere")


def test_what_virtual_hosts_hold_is_apart() -> None:
    connection = amqplib.client_0_9_1.Connection
    with Broker(vhosts=["/", "test"]) as broker, connection(broker.address, virtual_host="test") as conn:
        conn.channel().queue_declare("only here", exclusive=True)
        assert list(broker.queues("test")) == ["only here"]
        assert broker.queues() == {}


def test_a_virtual_host_that_is_there_already(broker: Broker, conn: amqplib.client_0_9_1.Connection) -> None:
    conn.channel().queue_declare("kept", auto_delete=False)
    broker.add_vhost("/")
    assert list(broker.queues()) == ["kept"]


def test_what_is_there(broker: Broker, conn: amqplib.client_0_9_1.Connection) -> None:
    ch = conn.channel()
    ch.queue_declare("q", durable=True, auto_delete=False)
    ch.exchange_declare("e", "topic", auto_delete=False)
    ch.queue_bind("q", "e", "#")
    for _ in range(3):
        ch.basic_publish(amqplib.client_0_9_1.Message("x"), "e")
    assert ch.basic_get("q") is not None
    queue = broker.queues()["q"]
    assert (queue.messages, queue.unacknowledged, queue.consumers, queue.durable) == (2, 1, 0, True)
    exchange = broker.exchanges()["e"]
    assert (exchange.type, exchange.durable, exchange.bindings) == ("topic", False, 1)
    (connection,) = broker.connections()
    assert (connection.user, connection.protocol, connection.channels) == ("guest", "0-9-1", 1)
    assert connection.client_properties["library"] == "Python amqplib"


def test_a_line_for_each_connection() -> None:
    lines: List[str] = []
    with Broker(log=lines.append) as broker, amqplib.client_0_9_1.Connection(broker.address) as conn:
        conn.channel().close()
    assert len(lines) == 2
    assert lines[0].endswith("opened by guest, AMQP 0-9-1, virtual host /")
    assert "closed by the client" in lines[1]


def test_a_log_that_asks_the_broker() -> None:
    """It is called in the broker's own thread, which cannot wait for itself."""
    said: List[str] = []

    def log(line: str) -> None:
        with pytest.raises(RuntimeError) as caught:
            broker.queues()
        said.append(str(caught.value))

    with Broker(log=log) as broker, amqplib.client_0_9_1.Connection(broker.address, connect_timeout=10) as conn:
        assert conn.channel().is_open
        assert broker.queues() == {}
    assert said
    assert all("the broker's own thread" in text for text in said)


def test_limits_are_proposed_to_clients() -> None:
    connection = amqplib.client_0_9_1.Connection
    with Broker(heartbeat=7, frame_max=8192, channel_max=5) as broker, connection(broker.address) as conn:
        assert (conn.heartbeat, conn.frame_max, conn.channel_max) == (7, 8192, 5)
