"""Brokers and programs that end without a word."""

from __future__ import annotations

import errno
import os
from types import ModuleType

import pytest

from amqplib.client.channel import Channel
from amqplib.client.connection import Connection
from amqplib.client.exceptions import AMQPConnectionException, AMQPTimeoutError, ConnectionLostError
from amqplib.client.message import Message
from tests.brokers import Node
from tests.conftest import Broker, Peer
from tests.live.helpers import PATIENCE, Relay, Worker, bodies, eventually, get, over, publish, python, run
from tests.waits import waits

GONE = {errno.ECONNRESET, errno.EPIPE}


def open_on(amqp: ModuleType, node: Node) -> Connection:
    connection: Connection = amqp.Connection(node.host, connect_timeout=20)
    return connection


# --- the broker ---------------------------------------------------------------------------------------------


@pytest.mark.only(rabbitmq=True, reason="the broker in the box keeps nothing over its end")
@pytest.mark.thorough(box=True)
@pytest.mark.timeout(90)
def test_the_broker_is_killed_while_we_wait(amqp: ModuleType, mortal: Node) -> None:
    conn = open_on(amqp, mortal)
    ch, other = conn.channel(), conn.channel()
    ch.queue_declare("kept", durable=True, auto_delete=False)
    ch.tx_select()
    ch.basic_publish(Message("kept", delivery_mode=2), routing_key="kept")
    ch.tx_commit()
    with Worker(mortal.kill, delay=0.2), pytest.raises(ConnectionLostError) as caught:
        other.wait()
    assert isinstance(caught.value, OSError)
    assert caught.value.errno in GONE
    assert over(conn)
    assert over(ch)
    for step in (ch.queue_declare, other.wait, conn.channel):
        with pytest.raises(OSError, match=mortal.host) as later:
            step()
        assert later.value.errno in GONE
    conn.close()
    with pytest.raises(ConnectionLostError) as refused:
        open_on(amqp, mortal)
    assert refused.value.errno == errno.ECONNREFUSED

    mortal.run()
    mortal.wait_ready()
    with open_on(amqp, mortal) as conn:
        msg = get(conn.channel(), "kept")
        assert msg.body == "kept"


@pytest.mark.thorough(box=True)
@pytest.mark.timeout(90)
def test_the_broker_is_killed_while_we_publish(amqp: ModuleType, mortal: Node) -> None:
    conn = open_on(amqp, mortal)
    ch = conn.channel()
    ch.queue_declare("any")

    def publish_on() -> None:
        while True:
            publish(ch, "any", "x" * 1000)

    with Worker(mortal.kill, delay=0.2), pytest.raises(OSError, match=mortal.host) as caught:
        publish_on()
    assert isinstance(caught.value, ConnectionLostError)
    assert caught.value.errno in GONE
    assert over(conn)


@pytest.mark.thorough(box=True)
@pytest.mark.timeout(90)
def test_the_broker_stops_while_we_wait(amqp: ModuleType, mortal: Node) -> None:
    """In good order: it says so."""
    conn = open_on(amqp, mortal)
    ch = conn.channel()
    with Worker(mortal.stop, delay=0.2), pytest.raises(AMQPConnectionException, match="CONNECTION_FORCED") as caught:
        ch.wait()
    assert caught.value.amqp_reply_code == 320
    assert over(conn)


@pytest.mark.timeout(90)
def test_the_broker_is_silent_while_we_connect(amqp: ModuleType, mortal: Node) -> None:
    mortal.freeze()
    try:
        with waits(0.4, 0.51), pytest.raises(AMQPTimeoutError):
            amqp.Connection(mortal.host, connect_timeout=0.5)
    finally:
        mortal.thaw()
    open_on(amqp, mortal).close()


# --- the program --------------------------------------------------------------------------------------------

PUBLISHER = """
import os, signal, sys
import {module} as amqp
conn = amqp.Connection(**{login!r})
ch = conn.channel()
for n in range(500):
    ch.basic_publish(amqp.Message("%d " % n + "x" * (n * 37 % 9000)), routing_key={queue!r})
{end}
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [("os._exit(3)", 3), ("os.kill(os.getpid(), signal.SIGKILL)", -9), ("sys.exit(4)", 4), ("1 / 0", 1)],
)
@pytest.mark.thorough  # and its relay takes one connection only
def test_what_was_published_is_not_lost(
    peer: Peer, broker: Broker, ch: Channel, queue: str, end: str, code: int
) -> None:
    """Every publish is with the system when it returns: a program may end without a close.

    A relay keeps the broker's end open: RabbitMQ itself forgets what a channel has yet to look at when the
    connection goes.
    """
    with Relay(broker.host) as relay:
        login = {**broker.login, "host": relay.host}
        program = PUBLISHER.format(module=peer.client, login=login, queue=queue, end=end)
        with python("-W", "ignore::ResourceWarning", "-c", program) as process:
            output = process.communicate(timeout=PATIENCE)[0]
        assert process.returncode == code, output
        assert "Error" not in output.replace("ZeroDivisionError", "")
        for n in range(500):
            assert get(ch, queue).body == "%d " % n + "x" * (n * 37 % 9000)
        assert bodies(ch, queue) == []


CONSUMER = """
import sys
import {module} as amqp
conn = amqp.Connection(**{login!r})
ch = conn.channel()
ch.basic_qos(0, 3, False)
def callback(msg):
    print(msg.body, flush=True)
    if msg.body == "0":
        ch.basic_ack(msg.delivery_tag)
ch.basic_consume({queue!r}, callback=callback)
while ch.callbacks:
    ch.wait()
"""


def test_killed_while_consuming(peer: Peer, broker: Broker, ch: Channel, queue: str) -> None:
    """What it did not acknowledge is delivered to the next."""
    publish(ch, queue, "0", "1", "2", "3")
    program = CONSUMER.format(module=peer.client, login=broker.login, queue=queue)
    with python("-c", program) as process:
        try:
            assert process.stdout
            lines = [process.stdout.readline() for _ in range(4)]
        finally:
            process.kill()
    assert lines == ["0\n", "1\n", "2\n", "3\n"]
    msgs = [get(ch, queue) for _ in range(3)]
    assert sorted((str(msg.body), msg.redelivered) for msg in msgs) == [("1", True), ("2", True), ("3", True)]
    assert ch.basic_get(queue) is None


QUIET = """
import gc, sys
import {module} as amqp
login = {login!r}
conn = amqp.Connection(**login)
ch = conn.channel()
ch.queue_declare(exclusive=True)
ch.close()
conn.close()
with amqp.Connection(**login) as conn, conn.channel() as ch:
    ch.queue_declare(exclusive=True)
try:
    amqp.Connection(**dict(login, password="wrong"))
except OSError:
    pass
else:
    sys.exit("logged in")
del conn, ch
gc.collect()
print("done")
"""


def test_no_warnings(peer: Peer, broker: Broker) -> None:
    """With every warning an error, also those about sockets that nobody closed."""
    program = QUIET.format(module=peer.client, login=broker.login)
    assert run("-X", "dev", "-c", program) == "done\n"


def test_a_connection_that_is_dropped(peer: Peer, broker: Broker) -> None:
    """Nothing is said and nothing waited for; the broker sees the socket close."""
    program = "import %s as amqp\nconn = amqp.Connection(**%r)\nch = conn.channel()\ndel conn, ch\nprint('done')"
    assert run("-W", "ignore::ResourceWarning", "-c", program % (peer.client, broker.login)) == "done\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_that_exits(ch: Channel, queue: str) -> None:
    """A forked child that leaves without touching the connection leaves it to the parent."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    publish(ch, queue, "still mine")
    eventually(lambda: bodies(ch, queue) == ["still mine"])
