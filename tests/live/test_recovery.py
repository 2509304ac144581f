"""A connection that comes back: a broker that is killed or restarted, and one that has not noticed the loss."""

from __future__ import annotations

import subprocess
import threading
import time
import uuid
from types import ModuleType
from typing import Any, Iterator, List, Tuple

import pytest

from amqplib.client.message import Message
from tests.brokers import Node
from tests.conftest import Broker
from tests.faults.proxy import Fault, Proxy
from tests.live.helpers import eventually, python

pytestmark = [pytest.mark.timeout(180), pytest.mark.thorough(box=True)]

#: Bounds a hang.
LONG = 60


@pytest.fixture
def name(mortal: Node, amqp: ModuleType) -> Iterator[str]:
    """A queue's and an exchange's, which are deleted in the end."""
    name = "amqplib-test-" + uuid.uuid4().hex
    yield name
    if not mortal.running():
        mortal.run()
        mortal.wait_ready()
    with amqp.Connection(mortal.host) as conn, conn.channel() as ch:
        ch.queue_delete(name)
        ch.exchange_delete(name)


def end_and_come_back(mortal: Node, how: str) -> None:
    """'kill' or 'stop' the node, and have it come back."""
    getattr(mortal, how)()
    mortal.run()
    mortal.wait_ready()


def receive(ch: Any, found: List[Any], *bodies: str) -> None:
    """Wait for these, besides others that may come twice."""
    deadline = time.monotonic() + LONG
    while not {msg.body for msg in found} >= set(bodies):
        assert time.monotonic() < deadline, [msg.body for msg in found]
        try:
            ch.wait(timeout=1)
        except TimeoutError:
            pass


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_everything_comes_back(mortal: Node, amqp: ModuleType, name: str, how: str) -> None:
    conn = amqp.Connection(mortal.host, recover=True, reply_timeout=LONG)
    ch, other = conn.channel(), conn.channel()
    found: List[Any] = []
    mine: List[Any] = []
    ch.exchange_declare(name, "topic", auto_delete=False)
    ch.queue_declare(name, durable=True, auto_delete=False)
    ch.queue_bind(name, name, "all.#")
    ch.basic_qos(0, 10, False)
    ch.basic_consume(name, callback=found.append)
    old = other.queue_declare(exclusive=True)[0]
    other.queue_bind(old, name, "all.mine")
    other.basic_consume(old, callback=mine.append, no_ack=True)
    ch.queue_declare(name, durable=True, auto_delete=False)
    end_and_come_back(mortal, how)
    ch.queue_declare(name, durable=True, auto_delete=False)  # here the loss is noticed, at the latest
    assert conn.stats().recoveries == 1
    ch.basic_publish(Message("after"), name, "all.mine")
    receive(ch, found, "after")
    receive(other, mine, "after")
    found[-1].ack()
    assert other.queue_declare(old, passive=True)[0] != old
    conn.close()


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_consumers_of_an_idle_program_live_on(mortal: Node, amqp: ModuleType, name: str, how: str) -> None:
    """It does something else all the while; what comes meanwhile is there when it waits."""
    back = threading.Event()
    policy = amqp.Recovery(idle=True, on_recovered=back.set)
    conn = amqp.Connection(mortal.host, recover=policy, reply_timeout=LONG)
    ch = conn.channel()
    found: List[Any] = []
    ch.queue_declare(name, durable=True, auto_delete=False)
    ch.basic_consume(name, callback=found.append)
    end_and_come_back(mortal, how)
    assert back.wait(LONG)
    with amqp.Connection(mortal.host) as other, other.channel() as their:
        assert their.queue_declare(name, passive=True)[2] == 1
        their.basic_publish(Message("x"), routing_key=name)
    receive(ch, found, "x")
    found[0].ack()
    assert conn.stats().recoveries == 1
    conn.close()


@pytest.mark.only(client="client_0_9_1", reason="AMQP 0-8 has no confirms")
@pytest.mark.parametrize("how", ["kill", "stop"])
def test_nothing_that_was_confirmed_is_lost(mortal: Node, amqp: ModuleType, name: str, how: str) -> None:
    """Nor anything else that was published; and what comes twice was in flight."""
    with amqp.Connection(mortal.host) as declaring, declaring.channel() as ch:
        ch.queue_declare(name, durable=True, auto_delete=False)
    conn = amqp.Connection(mortal.host, recover=True, reply_timeout=LONG)
    ch = conn.channel()
    told: List[int] = []
    ch.confirm_select(window=50, on_ack=lambda tag, msg: told.append(tag))
    ended = threading.Event()

    def end() -> None:
        end_and_come_back(mortal, how)
        ended.set()

    thread = threading.Thread(target=end)
    count = 0
    while count < 200 or not ended.is_set():
        if count == 100:
            thread.start()
        count += 1
        assert ch.basic_publish(Message("%d" % count, delivery_mode=2), routing_key=name) == count
        if count % 10 == 0:
            ch.wait_for_confirms(LONG)
    thread.join()
    ch.wait_for_confirms(LONG)
    assert sorted(told) == list(range(1, count + 1))
    assert conn.stats().recoveries >= 1
    bodies: List[Any] = []
    while len(set(bodies)) < count:
        msg = ch.basic_get(name, no_ack=True)
        assert msg is not None, "%d of %d" % (len(set(bodies)), count)
        bodies.append(msg.body)
    assert set(bodies) == {"%d" % number for number in range(1, count + 1)}
    conn.close()


def test_a_queue_that_the_broker_still_holds(broker: Broker, amqp: ModuleType) -> None:
    """The client has noticed the silence of the network, and the broker has not: it holds what is exclusive (405)."""
    name = "amqplib-test-" + uuid.uuid4().hex
    host, _, port = broker.host.rpartition(":")
    tried: List[str] = []
    silent = threading.Event()
    policy = amqp.Recovery(before=lambda what: tried.append(str(what)), on_lost=lambda exc: silent.set())
    with Proxy((host.strip("[]"), int(port))) as proxy:
        door = proxy.door()
        login: Tuple[str, str] = (broker.userid, broker.password)
        arguments = {"virtual_host": broker.virtual_host, "heartbeat": 3, "recover": policy, "reply_timeout": LONG}
        conn = amqp.Connection(door.host, *login, **arguments)
        ch = conn.channel()
        ch.queue_declare(name, exclusive=True)
        found: List[Any] = []
        ch.basic_consume(name, callback=found.append)
        # from now on the broker hears from the client, whose heartbeats pass, but the client hears nothing
        door.strike(down=Fault("swallow"))
        ch.queue_declare(name, exclusive=True)
        assert silent.is_set()
        assert conn.stats().recoveries == 1
        ch.basic_publish(Message("x"), routing_key=name)
        receive(ch, found, "x")
        conn.close()
    with amqp.Connection(broker.host, *login, virtual_host=broker.virtual_host) as conn, conn.channel() as ch:
        eventually(lambda: _is_gone(conn, name))


def _is_gone(conn: Any, name: str) -> bool:
    try:
        conn.channel().queue_declare(name, passive=True)
    except OSError:
        raise
    except Exception as exc:
        return "404" in str(exc)
    return False


def test_an_operator_closes_the_connection(broker: Broker, amqp: ModuleType) -> None:
    if broker.ctl is None:
        pytest.skip("this broker has no ctl")
    name = "amqplib-test-" + uuid.uuid4().hex
    with amqp.Connection(broker.host, broker.userid, broker.password, recover=True) as conn:
        ch = conn.channel()
        ch.queue_declare(name, exclusive=True)
        found: List[Any] = []
        ch.basic_consume(name, callback=found.append)
        broker.ctl("close_all_connections", "an operator wants it so")
        ch.queue_declare(name, exclusive=True)
        ch.basic_publish(Message("x"), routing_key=name)
        receive(ch, found, "x")
        assert conn.stats().recoveries == 1


@pytest.mark.only(client="client_0_9_1", reason="a demo has its own client")
def test_demos_that_survive(mortal: Node, name: str) -> None:
    """A kill -9 of the broker; each message gets through, and both end well on SIGTERM."""
    options = ["--host", mortal.host, "--queue", name]
    with python("demo/steady_worker.py", *options) as worker, python(
        "demo/steady_publisher.py", *options, "--pause", "0.002"
    ) as publisher:
        try:
            done = Lines(worker)
            published = Lines(publisher)
            done.wait_for("task 50")
            end_and_come_back(mortal, "kill")
            latest = max(int(line.split()[1]) for line in done.lines if line.startswith("task "))
            done.wait_for("task %d" % (latest + 300))
            publisher.terminate()
            assert publisher.wait(LONG) == 0
            (summary,) = [line for line in published.rest() if "messages are safe" in line]
            count, recoveries = int(summary.split()[0]), int(summary.split()[-2])
            assert recoveries >= 1
            done.wait_for(*("task %d" % number for number in range(count)))
            worker.terminate()
            assert worker.wait(LONG) == 0
            assert not [line for line in done.rest() if "Traceback" in line]
        finally:
            for process in (worker, publisher):
                process.kill()


class Lines:
    """What a process prints: the words of each line but "again"."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: List[str] = []
        self._process = process
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            with self._news:
                self.lines.append(" ".join(line.replace(" again", "").split()))
                self._news.notify_all()

    def wait_for(self, *lines: str) -> None:
        """Until it has printed all of these, in any order."""
        wanted = set(lines)
        with self._news:
            assert self._news.wait_for(lambda: wanted <= set(self.lines), LONG), self.lines[-20:]

    def rest(self) -> List[str]:
        """All lines, once it has ended."""
        self._reader.join(LONG)
        return self.lines
