"""The demos, as one runs them: a receiver here, a sender there."""

from __future__ import annotations

import subprocess
import threading
from types import ModuleType
from typing import Iterator, List

import pytest

from amqplib.client.channel import Channel
from tests.conftest import Broker
from tests.live.conftest import Names
from tests.live.helpers import PATIENCE, get, python, run


@pytest.fixture
def options(broker: Broker, amqp: ModuleType, names: Names) -> List[str]:
    """What every demo is told."""
    if broker.virtual_host != "/" or amqp.__name__ != "amqplib.client_0_8":
        pytest.skip("the demos are for client_0_8 and the default virtual host")
    names.exchanges += ["myfan", "clock"]
    return ["--host", broker.host, "-u", broker.userid, "-p", broker.password]


class Receiver:
    """demo_receive.py, and all the lines that it prints."""

    def __init__(self, options: List[str]) -> None:
        self.process: subprocess.Popen[str] = python("demo/demo_receive.py", *options)
        self.lines: List[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()

    def wait_for(self, *lines: str) -> None:
        """Until it has printed all of these, in this order, with others between them or not."""

        def come() -> bool:
            rest = iter(self.lines)
            return all(line in rest for line in lines)

        with self._news:
            assert self._news.wait_for(come, PATIENCE), "\n".join(self.lines)

    def end(self) -> int:
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code


@pytest.fixture
def receivers(options: List[str]) -> Iterator[List[Receiver]]:
    started = [Receiver(options), Receiver(options)]
    try:
        for receiver in started:
            receiver.wait_for("waiting for messages on %s; Ctrl-C ends this" % options[1])
        yield started
    finally:
        for receiver in started:
            receiver.process.kill()
            receiver.end()
            assert receiver.process.stdout
            receiver.process.stdout.close()


def test_send_and_receive(options: List[str], receivers: List[Receiver]) -> None:
    assert run("demo/demo_send.py", *options, "hello", "world") == ""
    for receiver in receivers:
        receiver.wait_for(
            "properties:",
            "    content_type: 'text/plain'",
            "    content_encoding: 'UTF-8'",
            "delivery info:",
            "    channel: 1",
            "    delivery_tag: 1",
            "    redelivered: False",
            "    exchange: 'myfan'",
            "    routing_key: ''",
            "body:",
            "    hello world",
        )
        assert receiver.process.poll() is None
    assert run("demo/demo_send.py", *options, "Grüße, 日本") == ""
    assert run("demo/demo_send.py", *options, "quit") == ""
    for receiver in receivers:
        assert receiver.end() == 0, "\n".join(receiver.lines)
        receiver.wait_for("    hello world", "    Grüße, 日本", "    quit")
        assert receiver.lines[-1] == "    quit"


def test_round_trip(options: List[str]) -> None:
    shown = run("demo/round_trip.py", *options)
    for line in ("$ demo_send.py hello world", "    hello world", "$ demo_send.py quit", "    quit"):
        assert line in shown.splitlines()


def test_nobody_receives(options: List[str]) -> None:
    assert run("demo/demo_send.py", *options, "hello") == ""


@pytest.mark.parametrize("demo", ["demo_send.py", "demo_receive.py", "amqp_clock.py"])
def test_help(demo: str) -> None:
    shown = run("demo/" + demo, "--help")
    for option in ("--host", "-u", "--userid", "-p", "--password", "--ssl"):
        assert option in shown


def test_nothing_to_send(options: List[str]) -> None:
    with python("demo/demo_send.py", *options) as process:
        output = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 2
    assert "usage:" in output


def test_wrong_password(options: List[str]) -> None:
    with python("demo/demo_receive.py", *options[:-1], "wrong") as process:
        output = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode != 0
    assert "403" in output


def test_the_clock(options: List[str], ch: Channel, names: Names) -> None:
    queue = names.queue()
    names.exchanges.append("clock")
    ch.exchange_declare("clock", "topic", auto_delete=False)
    ch.queue_declare(queue, auto_delete=False)
    ch.queue_bind(queue, "clock", "#")
    printed = run("demo/amqp_clock.py", *options, "--every", "0.1", "--count", "3").split()
    msgs = [get(ch, queue) for _ in range(3)]
    assert [msg.routing_key for msg in msgs] == printed
    year, month, day, weekday, hour, minute = map(int, printed[0].split("."))
    assert msgs[0].body == "%04d-%02d-%02d %02d:%02d" % (year, month, day, hour, minute)
    stamp = msgs[0].timestamp
    assert (stamp.year, stamp.month, stamp.day, stamp.weekday()) == (year, month, day, weekday)
