"""The demos, as one runs them: a receiver here, a sender there."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
from typing import Iterator, List, Tuple

import pytest

from amqplib.client.channel import Channel
from amqplib.client.message import Message
from tests.conftest import Broker
from tests.live.conftest import Names
from tests.live.helpers import PATIENCE, get, python, run

pytestmark = pytest.mark.only(client="client_0_8", reason="a demo has its own client")


@pytest.fixture
def options(broker: Broker, names: Names) -> List[str]:
    """What every demo is told."""
    if broker.virtual_host != "/":
        pytest.skip("the demos are for the default virtual host")
    names.exchanges += ["myfan", "clock"]
    names.queues.append("demo.rpc")
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


def test_quickstart_on_a_broker_that_is_there(options: List[str], broker: Broker) -> None:
    lines = run("demo/quickstart.py", *options).splitlines()
    assert lines[0] == "connected to %s %s, with AMQP 0-9-1" % (broker.product, broker.version)
    assert lines[-1] == "received 'hello world', and acknowledged it"


def test_nobody_receives(options: List[str]) -> None:
    assert run("demo/demo_send.py", *options, "hello") == ""


DEMOS = {
    "demo_send.py": ["hello"],
    "demo_receive.py": [],
    "amqp_clock.py": [],
    "quickstart.py": [],
    "publish_confirmed.py": [],
    "worker.py": [],
    "steady_worker.py": [],
    "steady_publisher.py": [],
    "rpc.py": ["call", "6", "7"],
    "topic_subscriber.py": ["#"],
}


def fails(demo: str, *arguments: str) -> Tuple[int, str]:
    """Its exit code, and what it says: never a traceback."""
    with python("demo/" + demo, *arguments) as process:
        output = process.communicate(timeout=PATIENCE)[0]
    assert "Traceback" not in output
    assert process.returncode != 0
    return process.returncode, output


@pytest.mark.parametrize("demo", DEMOS)
def test_help(demo: str) -> None:
    shown = run("demo/" + demo, *DEMOS[demo][:1], "--help")
    for option in ("--host", "-u", "--userid", "-p", "--password", "--ssl"):
        assert option in shown


@pytest.mark.parametrize("demo", [demo for demo in DEMOS if not demo.startswith("steady")])  # which wait for one
def test_no_broker(demo: str) -> None:
    code, output = fails(demo, *DEMOS[demo], "--host", "127.0.0.1:1")
    assert code == 1
    assert [line for line in output.splitlines() if "127.0.0.1:1: Connection refused" in line] == [output.rstrip("\n")]


@pytest.mark.parametrize(
    ("demo", "arguments", "said"),
    [
        ("demo_send.py", [], "WORD"),
        ("topic_subscriber.py", [], "PATTERN"),
        ("rpc.py", [], "command"),
        ("rpc.py", ["call", "6"], "required: b"),
        ("rpc.py", ["call", "six", "7"], "'six'"),
        ("publish_confirmed.py", ["--count", "-1"], "'-1' is not a number of 0 or more"),
        ("worker.py", ["--idle", "x"], "--idle"),
        ("amqp_clock.py", ["--every", "0"], "above 0"),
    ],
)
def test_wrong_arguments(demo: str, arguments: List[str], said: str) -> None:
    code, output = fails(demo, *arguments)
    assert code == 2
    assert "usage:" in output
    assert said in output.splitlines()[-1]


def test_a_wrong_host() -> None:
    code, output = fails("worker.py", "--host", "localhost:99999")
    assert (code, len(output.splitlines())) == (1, 1)
    assert "1 to 65535" in output


def test_wrong_password(options: List[str]) -> None:
    code, output = fails("demo_receive.py", *options[:-1], "wrong")
    assert (code, len(output.splitlines())) == (1, 1)
    assert "403" in output


@pytest.mark.parametrize(
    ("demo", "arguments"),
    [("worker.py", []), ("demo_receive.py", []), ("rpc.py", ["serve"]), ("topic_subscriber.py", ["#"])],
)
def test_ctrl_c(options: List[str], names: Names, demo: str, arguments: List[str]) -> None:
    if demo == "worker.py":
        arguments = ["--queue", names.queue()]
    with python("demo/" + demo, *arguments, *options) as process:
        assert process.stdout
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=PATIENCE)[0] == ""
    assert process.returncode == 130


def test_publish_and_work(options: List[str], ch: Channel, names: Names) -> None:
    queue = names.queue()
    printed = run("demo/publish_confirmed.py", *options, "--queue", queue, "--count", "500")
    assert printed == "500 messages are safe in %s\n" % queue
    ch.basic_publish(Message("this is impossible"), routing_key=queue)
    assert ch.queue_declare(queue, passive=True)[1] in (500, 501)
    done = refused = 0
    while done + refused < 501:  # a machine with other work may let half a second pass between two tasks
        printed = run("demo/worker.py", *options, "--queue", queue, "--idle", "0.5")
        told = re.fullmatch(r"(\d+) tasks done, (\d+) refused", printed.splitlines()[-1])
        assert told
        done, refused = done + int(told[1]), refused + int(told[2])
    assert (done, refused) == (500, 1)
    assert ch.basic_get(queue) is None


def test_publish_what_is_refused(options: List[str], ch: Channel, names: Names) -> None:
    queue = names.queue()
    with python("demo/publish_confirmed.py", *options, "--queue", "amq.reserved", "--count", "5") as process:
        output = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 1
    assert "403 ACCESS_REFUSED" in output
    ch.queue_declare(queue, durable=True, auto_delete=False)
    assert run("demo/publish_confirmed.py", *options, "--queue", queue, "--count", "0").startswith("0 messages")


def test_a_call(options: List[str], ch: Channel) -> None:
    with python("demo/rpc.py", "serve", "--count", "3", *options) as server:
        assert server.stdout
        assert server.stdout.readline() == "serving\n"
        ch.basic_publish(Message("no request"), routing_key="demo.rpc")
        assert run("demo/rpc.py", "call", "6", "7", *options) == "42\n"
        assert run("demo/rpc.py", "call", "1.5", "-2", *options) == "-3\n"
        output = server.communicate(timeout=PATIENCE)[0]
    assert server.returncode == 0
    assert "not a request" in output


def test_a_call_that_nobody_answers(options: List[str], ch: Channel) -> None:
    code, output = fails("rpc.py", "call", "6", "7", "--timeout", "0.2", *options)
    assert (code, output) == (1, "rpc.py: no answer within 0.2 s\n")
    assert ch.queue_purge("demo.rpc") == 1


def test_topics(options: List[str], ch: Channel) -> None:
    with python("demo/topic_subscriber.py", "*.2", "3.#", "--count", "3", *options) as process:
        assert process.stdout
        assert process.stdout.readline() == "subscribed\n"
        for key in ("1.2", "1.3", "3", "3.2.1"):
            ch.basic_publish(Message("body of " + key), "clock", key)
        output = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0
    assert output.splitlines() == ["%s: body of %s" % (key, key) for key in ("1.2", "3", "3.2.1")]


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


#: What a stranger may send: no UTF-8, what commands a terminal, and what a codec makes lone surrogates of.
STRANGE = {
    b"no.utf-8.\xff\xfe": (b"body", None, r"'no.utf-8.\udcff\udcfe': b'body'"),
    b"esc.\x1b[2J": (b"\x1b[2J", "UTF-8", r"'esc.\x1b[2J': '\x1b[2J'"),
    b"two\nlines": (b"a\nforged: line", "UTF-8", r"'two\nlines': 'a\nforged: line'"),
    b"turned": ("\u202eabc".encode(), "UTF-8", r"turned: '\u202eabc'"),
    b"no.text": (b"\xff\xfe", None, r"no.text: b'\xff\xfe'"),
    b"no.codec": (b"x", "nonsense", "no.codec: b'x'"),
    b"a.codec": (rb"\ud800", "unicode_escape", r"a.codec: '\ud800'"),
}


def test_what_strangers_send_is_shown(options: List[str], ch: Channel) -> None:
    ch.exchange_declare("clock", "topic", auto_delete=False)
    with python("demo/topic_subscriber.py", "#", "--count", str(len(STRANGE)), *options) as process:
        assert process.stdout
        assert process.stdout.readline() == "subscribed\n"
        for key, (body, encoding, _) in STRANGE.items():
            message = Message(body, content_encoding=encoding)
            ch.basic_publish(message, "clock", key.decode("utf-8", "surrogateescape"))
        printed = process.communicate(timeout=PATIENCE)[0].splitlines()
    assert printed == [shown for _, _, shown in STRANGE.values()]
    assert process.returncode == 0


def test_a_receiver_of_what_strangers_send(options: List[str], receivers: List[Receiver], ch: Channel) -> None:
    for key, (body, encoding, _) in STRANGE.items():
        message = Message(body, content_encoding=encoding, message_id=key.decode("utf-8", "surrogateescape"))
        ch.basic_publish(message, "myfan", key.decode("utf-8", "surrogateescape"))
    assert run("demo/demo_send.py", *options, "quit") == ""
    for receiver in receivers:
        receiver.wait_for(r"    message_id: 'no.utf-8.\udcff\udcfe'", r"    routing_key: 'two\nlines'", r"    '\ud800'")
        assert receiver.end() == 0
