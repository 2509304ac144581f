"""Loops of docs/overview.txt and programs of README.txt, run as they stand there: none hangs or dies of what heals."""

from __future__ import annotations

import errno
import logging
import os
import queue as queues
import random
import select
import signal
import socket
import textwrap
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest

import amqplib.client_0_8
import amqplib.client_0_9_1
from amqplib.broker import Broker as BoxBroker
from amqplib.client.channel import Channel
from amqplib.client.connect import url
from amqplib.client.exceptions import AMQPChannelException, AMQPConnectionException, AuthenticationError
from amqplib.client.message import Message
from tests.conftest import Broker
from tests.pages import blocks

from .conftest import Connect, Names
from .helpers import PATIENCE, Worker, declare, eventually, publish

ROOT = Path(__file__).resolve().parents[2]


def run(code: str, **names: Any) -> Dict[str, Any]:
    exec(compile(code, "the document", "exec"), names)
    return names


# --- receiving --------------------------------------------------------------------------------------------


def between(beginning: str, end: str) -> str:
    """The indented code of the overview between two texts of it."""
    text = (ROOT / "docs" / "overview.txt").read_text(encoding="utf-8")
    assert text.count(beginning) == 1
    return textwrap.dedent(text.partition(beginning)[2].partition(end)[0])


def test_receiving_for_ever_ends_with_the_queue(ch: Channel, connect: Connect, queue: str) -> None:
    got: List[str] = []
    publish(ch, queue, "one", "two")
    ch.basic_consume(queue, callback=lambda msg: got.append(msg.body))
    with Worker(lambda: run(between("To receive for ever:\n", "\nch.callbacks"), ch=ch)):
        eventually(lambda: got == ["one", "two"])
        connect().channel().queue_delete(queue)


@pytest.fixture
def pair() -> Iterator[Tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("heartbeat", [0, 1])
def test_a_loop_of_its_own(
    connect: Connect, amqp: ModuleType, pair: Tuple[socket.socket, socket.socket], names: Names, heartbeat: int
) -> None:
    """With heartbeats, a call that reads ahead, two channels, and a second descriptor that must not be kept waiting."""
    conn, seen, other = connect(heartbeat=heartbeat), queues.Queue(), pair[0]  # type: ignore[var-annotated]
    ch, second, away = conn.channel(), conn.channel(), connect().channel()
    name, also = names.queue(), names.queue()
    for each in (name, also):
        away.queue_declare(each, auto_delete=False)

    def show(msg: Message) -> None:
        ch.queue_declare(name, passive=True)  # reads what has come meanwhile
        seen.put(msg.body)
        if msg.body == "quit":
            ch.basic_cancel(msg.consumer_tag)

    ch.basic_consume(name, callback=show)
    second.basic_consume(also, callback=show)
    code = between("so it has to handle what there is:\n", "\nWhere select() ends")

    def work() -> None:
        run(code, select=select, conn=conn, ch=ch, amqp=amqp, other=other, handle=lambda one: seen.put(one.recv(9)))

    with Worker(work):
        publish(away, name, *"abc")
        assert [seen.get(timeout=PATIENCE) for _ in range(3)] == ["a", "b", "c"]
        if heartbeat:
            came = conn.stats().frames_in
            eventually(lambda: conn.stats().frames_in > came)  # a heartbeat
        pair[1].sendall(b"other")
        assert seen.get(timeout=PATIENCE) == b"other"
        publish(away, also, "second")
        assert seen.get(timeout=PATIENCE) == "second"
        publish(away, name, "quit")


# --- signals ----------------------------------------------------------------------------------------------

LOOPS = {
    "wait": ("With wait():\n", "\nWith consume():"),
    "consume": ("With consume():\n", "\nIt ends the consumers that there are"),
}


def with_signals(loop: str) -> str:
    return between("goes\nback to its queue:\n", "\nWith wait():") + between(*LOOPS[loop])


@pytest.fixture
def handlers() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def signalled(broker: Broker, amqp: ModuleType, loop: str, name: str, handle: Callable[[Message], Any]) -> None:
    code = with_signals(loop).replace("'work'", repr(name))
    login = SimpleNamespace(Connection=lambda host: amqp.Connection(**broker.login))
    run(
        code,
        amqp=login,
        host="",
        signal=signal,
        handle=handle,
    )


def kill() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_signal_while_the_queue_is_empty(
    broker: Broker, amqp: ModuleType, ch: Channel, queue: str, handlers: None, woken: None, loop: str
) -> None:
    """It ends at once, and not when it would look again, or when a heartbeat is due."""
    publish(ch, queue, "first")
    began: List[float] = []

    def idle() -> None:
        eventually(lambda: began)
        eventually(lambda: consumers(ch, queue) == 1)
        began.append(time.monotonic())
        kill()

    with Worker(idle):
        signalled(broker, amqp, loop, queue, lambda msg: began.append(time.monotonic()))
        ended = time.monotonic()
    assert ended - began[-1] < 20
    assert ch.basic_get(queue) is None


def consumers(ch: Channel, queue: str) -> int:
    return int(ch.queue_declare(queue, passive=True)[2])


@pytest.mark.parametrize("loop", LOOPS)
def test_a_signal_in_the_middle_of_a_message(
    broker: Broker, amqp: ModuleType, ch: Channel, queue: str, handlers: None, loop: str
) -> None:
    """It is finished and acknowledged, and the ones behind it go back."""
    publish(ch, queue, "one", "two", "three")
    done: List[Any] = []

    def handle(msg: Message) -> None:
        if msg.body == "two":
            kill()
        done.append(msg.body)

    signalled(broker, amqp, loop, queue, handle)
    assert done == ["one", "two"]
    eventually(lambda: ch.queue_declare(queue, passive=True)[1] == 1)
    msg = ch.basic_get(queue, no_ack=True)
    assert msg is not None
    assert msg.body == "three"


# --- when things go wrong ---------------------------------------------------------------------------------


class Ended(Exception):
    """The loop of the document ends by this only."""


def go_on(host: str, work: Callable[[Message], Any], slept: List[float], **options: Any) -> None:
    amqp = amqplib.client_0_9_1
    kept = {name: getattr(amqp, name) for name in amqp.__all__}
    kept["Connection"] = lambda host: amqp.Connection(host, connect_timeout=PATIENCE, **options)

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        assert len(slept) < 1000
        time.sleep(0.02)

    code = between("connection does not will look like this:\n", "\nIt declares what it needs")
    run(
        code,
        amqp=SimpleNamespace(**kept),
        host=host,
        work=work,
        log=logging.getLogger("program"),
        time=SimpleNamespace(sleep=sleep),
        random=random,
        errno=errno,
    )


def stop_at_quit(got: List[Any]) -> Callable[[Message], None]:
    def work(msg: Message) -> None:
        msg.ack()
        got.append(msg.body)
        if msg.body == "quit":
            raise Ended

    return work


def put(host: str, *bodies: str) -> None:
    """As soon as the queue is there."""

    def there() -> bool:
        try:
            with amqplib.client_0_8.Connection(host) as conn, conn.channel() as ch:
                ch.queue_declare("work", passive=True)
                publish(ch, "work", *bodies)
        except (OSError, AMQPConnectionException, AMQPChannelException):
            return False
        return True

    eventually(there)


def test_going_on(caplog: pytest.LogCaptureFixture) -> None:
    """After somebody has deleted the queue, and after a crash of the broker."""
    got: List[Any] = []
    slept: List[float] = []
    with BoxBroker() as broker:
        host = broker.address

        def happen() -> None:
            put(host, "first")
            eventually(lambda: got == ["first"])
            with amqplib.client_0_8.Connection(host) as conn, conn.channel() as ch:
                ch.queue_delete("work")
            eventually(lambda: slept)
            put(host, "second")
            eventually(lambda: got == ["first", "second"])
            broker.down(crash=True)
            down = len(slept)
            eventually(lambda: len(slept) >= down + 4)  # refused meanwhile
            broker.up()
            put(host, "quit")

        with Worker(happen), pytest.raises(Ended):
            go_on(host, stop_at_quit(got), slept)
    assert got == ["first", "second", "quit"]
    assert "the queue was deleted" in caplog.text
    assert max(slept) > 2 * min(slept)


def test_an_exclusive_queue_that_is_there_still() -> None:
    got: List[Any] = []
    slept: List[float] = []
    with BoxBroker() as broker, amqplib.client_0_8.Connection(broker.address) as other:
        other.channel().queue_declare("work", exclusive=True)

        def happen() -> None:
            eventually(lambda: len(slept) > 2)
            other.close()
            put(broker.address, "quit")

        with Worker(happen), pytest.raises(Ended):
            go_on(broker.address, stop_at_quit(got), slept)


@pytest.mark.parametrize("wrong", ["declaration", "login", "vhost"])
def test_what_does_not_heal(wrong: str) -> None:
    slept: List[float] = []
    options = {"login": {"password": "not"}, "vhost": {"virtual_host": "not"}}.get(wrong, {})
    kind = {"login": AuthenticationError, "vhost": AMQPConnectionException}.get(wrong, AMQPChannelException)
    with BoxBroker() as broker, amqplib.client_0_8.Connection(broker.address) as other:
        other.channel().queue_declare("work", durable=False, auto_delete=False)
        with pytest.raises(kind):
            go_on(broker.address, lambda msg: None, slept, **options)
    assert slept == []


# --- README.txt -------------------------------------------------------------------------------------------


@pytest.fixture
def local(address: str, names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(url, "DEFAULT_PORT", int(address.rpartition(":")[2]))
    names.queues.append("letters")


@pytest.fixture(scope="module")
def readme() -> List[str]:
    """The programs in README.txt."""
    text = (ROOT / "README.txt").read_text(encoding="utf-8")
    return [block.code for block in blocks(text) if block.language == "python"]


def test_the_first_message(
    local: None, readme: List[str], capsys: pytest.CaptureFixture[str], amqp: ModuleType
) -> None:
    """It ends. Without its queue, the publish is refused."""
    if amqp is not amqplib.client_0_9_1:
        pytest.skip("the example imports client_0_9_1")
    code = readme[0].replace("timeout=5", "timeout=0.5")
    run(code)
    assert capsys.readouterr().out == "hello world\n"
    declare = "ch.queue_declare('letters', durable=True)"
    assert declare in code
    with pytest.raises(amqp.UnconfirmedError, match="1 returned as unroutable"):
        run(code.replace(declare, "ch.queue_delete('letters')"))


def test_the_first_message_without_rabbitmq(readme: List[str], capsys: pytest.CaptureFixture[str]) -> None:
    run(readme[1])
    assert capsys.readouterr().out == "hello world\n"
    assert len(readme) == 2


# --- what is said of values -------------------------------------------------------------------------------


def test_times(broker: Broker, ch: Channel, queue: str, amqp: ModuleType) -> None:
    """Naive in client_0_8, aware in client_0_9_1; an int where there is no such year."""
    for seconds in (1, 2**62):
        ch.basic_publish(Message("x", timestamp=seconds), routing_key=queue)
    first, second = (ch.basic_get(queue, no_ack=True) for _ in range(2))
    assert first is not None
    assert second is not None
    assert (first.timestamp.tzinfo is None) == (amqp is amqplib.client_0_8)
    assert second.timestamp == 2**62


@pytest.mark.only(since=(3, 9), reason="streams came with 3.9; the broker in the box has none")
def test_a_decimal_in_a_stream(modern: Channel, names: Names) -> None:
    from decimal import Decimal

    stream = declare(modern, names, queue_type="stream")
    modern.basic_publish(Message("x", application_headers={"price": Decimal("9.95")}), routing_key=stream)
    with pytest.raises(AMQPConnectionException, match="541"):
        modern.wait(timeout=PATIENCE)
