"""kombu on this library, by amqplib.kombu."""

from __future__ import annotations

import os
import socket
import time
from typing import Any, Callable, Iterator, List

import pytest

kombu: Any = pytest.importorskip("kombu")
asynchronous: Any = pytest.importorskip("kombu.asynchronous")

import amqplib.client_0_9_1 as amqp  # noqa: E402
from amqplib.broker import Broker as InMemory  # noqa: E402
from tests.brokers import Node  # noqa: E402
from tests.conftest import Broker  # noqa: E402
from tests.live.conftest import Names  # noqa: E402
from tests.live.helpers import PATIENCE, eventually  # noqa: E402

pytestmark = pytest.mark.only(client="client_0_9_1", reason="kombu has a client of its own")

TRANSPORT = "amqplib.kombu:Transport"


def connection(broker: Any, **options: Any) -> Any:
    host, _, port = broker.host.rpartition(":")
    login = {"userid": "guest", "password": "guest", "virtual_host": "/"}
    if isinstance(broker, Broker):
        login.update({name: value for name, value in broker.login.items() if name in login})
    return kombu.Connection(host, port=int(port), transport=TRANSPORT, **login, **options)


@pytest.fixture
def conn(broker: Broker) -> Iterator[Any]:
    with connection(broker) as conn:
        yield conn


@pytest.fixture
def queue(conn: Any, names: Names) -> Any:
    exchange = kombu.Exchange(names.exchange(), "topic")
    return kombu.Queue(names.queue(), exchange, "a.#")(conn.default_channel)


def test_there_and_back(conn: Any, queue: Any) -> None:
    with conn.Producer() as producer:
        producer.publish(
            {"a": [1, "ü"]},
            exchange=queue.exchange,
            routing_key="a.b",
            declare=[queue],
            headers={"x": 1},
            expiration=60,
        )
    got: List[Any] = []

    def on_message(body: Any, message: Any) -> None:
        got.append((body, message.headers, message.properties["expiration"], message.delivery_info["routing_key"]))
        message.ack()

    with conn.Consumer(queue, callbacks=[on_message]):
        conn.drain_events(timeout=PATIENCE)
    assert got == [({"a": [1, "ü"]}, {"x": 1}, "60000", "a.b")]
    assert queue.get() is None


def test_nothing_to_drain(conn: Any) -> None:
    conn.connect()
    with pytest.raises(socket.timeout):
        conn.drain_events(timeout=0.01)


def test_no_ack_needs_no_acknowledgement(conn: Any, queue: Any) -> None:
    """Programs call ack() all the same."""
    queue.declare()
    conn.Producer().publish("x", exchange=queue.exchange, routing_key="a")
    got: List[Any] = []
    with conn.Consumer(queue, no_ack=True, on_message=got.append) as consumer:
        conn.drain_events(timeout=PATIENCE)
        got[0].ack()
        consumer.channel.basic_qos(0, 1, False)  # the channel is there
    assert got[0].payload == "x"


def test_simple_queues(conn: Any, names: Names) -> None:
    name = names.queue()
    names.exchanges.append(name)
    with conn.SimpleQueue(name) as queue:
        queue.put("hello", reply_to=kombu.Queue("answers"))
        msg = queue.get(timeout=PATIENCE)
        assert msg.payload == "hello"
        assert msg.properties["reply_to"] == "answers"
        msg.ack()
        assert queue.qsize() == 0


def test_what_no_queue_takes(broker: Broker) -> None:
    with connection(broker, transport_options={"confirm_publish": True, "max_retries": 3}) as conn:
        with pytest.raises(amqp.UnconfirmedError, match="1 returned as unroutable"):
            conn.Producer().publish("x", routing_key="amqplib-test-nowhere", mandatory=True)
        back: List[Any] = []
        with conn.channel() as channel:
            producer = conn.Producer(channel, on_return=lambda *given: back.append(given))
            producer.publish("x", routing_key="amqplib-test-nowhere", mandatory=True)
        ((exc, exchange, routing_key, msg),) = back
        assert (exc.amqp_reply_code, exchange, routing_key, msg.body) == (312, "", "amqplib-test-nowhere", b"x")


def test_names_of_arguments(conn: Any, names: Names) -> None:
    queue = kombu.Queue(names.queue(), kombu.Exchange(""), max_length=1, message_ttl=60, channel=conn.default_channel)
    queue.declare()
    for text in "ab":
        conn.Producer().publish(text, routing_key=queue.name)
    eventually(lambda: (queue.queue_declare(passive=True) or (0, 0))[1] == 1)
    assert queue.get(no_ack=True).payload == "b"


def test_errors_of_kombu(conn: Any, broker: Broker) -> None:
    with pytest.raises(conn.channel_errors, match="404"):
        conn.channel().queue_declare("amqplib-test-nowhere", passive=True)
    with pytest.raises(conn.connection_errors):
        connection(broker, connect_timeout=5).clone(password="wrong").connect()
    assert not issubclass(amqp.NotFound, conn.recoverable_channel_errors)


def loop_until(hub: Any, condition: Callable[[], Any]) -> None:
    loop, end = hub.create_loop(), time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        next(loop)


@pytest.fixture
def hub() -> Iterator[Any]:
    hub = asynchronous.Hub()
    yield hub
    hub.close()


def test_an_event_loop(conn: Any, queue: Any, hub: Any) -> None:
    """It hears what comes, and what another call has read: deliveries that come before an answer."""
    queue.declare()
    got: List[Any] = []
    producer = conn.Producer(conn.channel())
    for number in range(10):
        producer.publish(number, exchange=queue.exchange, routing_key="a")
    producer.channel.queue_declare(queue.name, passive=True)  # the broker has them
    conn.register_with_event_loop(hub)
    with conn.Consumer(queue, on_message=got.append) as consumer:
        eventually(lambda: consumer.channel.pending() or consumer.channel.basic_qos(0, 0, False))
        loop_until(hub, lambda: len(got) == 10)
        producer.publish(10, exchange=queue.exchange, routing_key="a")
        loop_until(hub, lambda: len(got) == 11)
        assert [msg.payload for msg in got] == list(range(11))
    conn.transport.unregister_from_event_loop(conn.connection, hub)
    assert not hub.readers


@pytest.mark.thorough(box=True)
def test_a_lost_connection(mortal: Node, hub: Any) -> None:
    """The loop ends with one of connection_errors; the next use connects anew, and declares what it needs."""
    with connection(mortal) as conn:
        conn.register_with_event_loop(hub)
        mortal.kill()
        with pytest.raises(conn.recoverable_connection_errors):
            loop_until(hub, lambda: False)
        assert not conn.connected
        conn.collect()
        mortal.run()
        mortal.wait_ready()
        conn.ensure_connection(max_retries=100, interval_start=0.1, interval_max=0.1)
        name = "amqplib-test-%x" % time.monotonic_ns()
        queue = kombu.Queue(name, kombu.Exchange(""), auto_delete=True, channel=conn.default_channel)
        queue.declare()
        conn.Producer().publish("again", routing_key=queue.name)
        eventually(lambda: (queue.queue_declare(passive=True) or (0, 0))[1] == 1)
        queue.delete()


def test_a_silent_peer(broker: Broker) -> None:
    if broker.is_rabbitmq():
        pytest.skip("the broker in the box can be told to be silent")
    with InMemory() as box, connection(Host(box.address), heartbeat=1) as conn:
        conn.connect()
        assert conn.supports_heartbeats
        assert conn.get_heartbeat_interval() == 1
        conn.heartbeat_check()
        box.faults.stall()
        with pytest.raises(conn.connection_errors, match="silent"):
            check_for_ever(conn)


def check_for_ever(conn: Any) -> None:
    while True:
        conn.heartbeat_check()
        time.sleep(0.05)


class Host:
    """A broker, by its address."""

    def __init__(self, host: str) -> None:
        self.host = host


def test_a_child_process(broker: Broker, queue: Any, conn: Any) -> None:
    """As in Celery's workers: it drops its parent's connection without a word, and makes one of its own."""
    queue.declare()
    child = os.fork()
    if not child:
        try:
            conn.collect()
            with connection(broker) as own:
                own.Producer().publish("from the child", exchange=queue.exchange, routing_key="a")
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    eventually(lambda: queue.queue_declare(passive=True)[1] == 1)
    assert queue.get(no_ack=True).payload == "from the child"
