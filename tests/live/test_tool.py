"""`python -m amqplib`, as one types it."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import pytest

from amqplib.client.channel import Channel
from amqplib.tool.program import run
from tests.conftest import Broker
from tests.live.conftest import Names
from tests.live.helpers import PATIENCE, ROOT, bodies, holds, publish

pytestmark = pytest.mark.only(client="client_0_9_1", reason="it has a client of its own")


class Tool:
    """The command line, with a broker to talk to."""

    def __init__(self, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
        login = "%s:%s@" % (broker.userid, broker.password)
        self.url = "amqp://%s%s/%s" % (login, broker.host, broker.virtual_host.replace("/", "%2f"))
        self._stdin, self._patch, self._captured = tmp_path / "stdin", monkeypatch, capfd

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """A process of it."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        env = {**os.environ, "PYTHONPATH": str(ROOT), "AMQP_URL": self.url}
        return subprocess.Popen([sys.executable, "-m", "amqplib", *arguments], env=env, **{**pipes, **options})

    def run(self, *arguments: str, given: bytes = b"", code: int = 0) -> str:
        """What it prints, on stderr if it fails; in this process."""
        self._stdin.write_bytes(given)
        with self._stdin.open() as stdin, self._patch.context() as patch:
            patch.setattr(sys, "stdin", stdin)
            patch.setenv("AMQP_URL", self.url)
            level = logging.getLogger().level
            try:
                ended = run(list(arguments))
            except SystemExit as exc:
                ended = int(exc.code or 0)
            finally:
                logging.getLogger().setLevel(level)
        out, err = self._captured.readouterr()
        assert ended == code, err
        if code in (0, 4):
            assert not err
            return str(out)
        assert "Traceback" not in err
        return str(err)


@pytest.fixture
def tool(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Tool:
    return Tool(broker, tmp_path, monkeypatch, capfd)


def test_trace(tool: Tool, queue: str) -> None:
    with tool.start("publish", queue, "--trace") as process:
        out, err = process.communicate(b"hello", PATIENCE)
    assert out == b"1 published, and the broker has them\n"
    lines = err.decode().splitlines()
    assert any(" -> 1 basic.publish exchange='' routing_key='%s' mandatory=True " % queue in line for line in lines)
    assert any(" <- 1 basic.ack delivery_tag=1" in line for line in lines)
    assert lines[-1].endswith(" <- 0 connection.close_ok")


def test_as_a_program(tool: Tool, queue: str) -> None:
    with tool.start("publish", queue) as process:
        assert process.communicate(b"hello", PATIENCE) == (b"1 published, and the broker has them\n", b"")
    with tool.start("get", queue, "-v") as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert out == b"hello\n"
    assert err.startswith(b"amqplib: connected to ")
    assert process.returncode == 0


def test_ping(tool: Tool, broker: Broker) -> None:
    first, second = tool.run("ping").splitlines()
    assert first.startswith("%s %s, AMQP 0-9-1: connected in " % (broker.product, broker.version))
    assert second.startswith("a channel opened and closed in ")
    assert tool.run("ping", "-q") == ""


def test_there_and_back(tool: Tool, queue: str) -> None:
    assert tool.run("publish", queue, given=b"hello\n") == "1 published, and the broker has them\n"
    assert tool.run("publish", queue, "-m", "hi", "-q") == ""
    assert tool.run("get", queue, "--all") == "hello\nhi\n"
    assert tool.run("get", queue, code=4) == ""


def test_all_that_belongs_to_a_message(tool: Tool, queue: str) -> None:
    words = ["-p", "type=greeting", "-p", "priority:=5", "-p", "timestamp:=86400", "-H", "n:=[1]", "-H", "a=b=c"]
    tool.run("publish", "--exchange", "amq.direct", "nobody", "-m", "x", code=3)
    tool.run("bind", queue, "amq.direct", "somebody")
    tool.run("publish", "--exchange", "amq.direct", "somebody", "-m", "x", *words)
    (line,) = tool.run("get", queue, "--keep", "--json").splitlines()
    record = json.loads(line)
    assert record.pop("message_count") == 0
    assert record == {
        "body": "x",
        "properties": {"type": "greeting", "priority": 5, "timestamp": {"$timestamp": 86400}, "delivery_mode": 2},
        "headers": {"n": [1], "a": "b=c"},
        "exchange": "amq.direct",
        "routing_key": "somebody",
        "redelivered": False,
    }
    again = json.loads(tool.run("get", queue, "--json"))
    assert again["redelivered"] is True
    # what was printed can be sent
    tool.run("publish", "--json", given=line.encode())
    assert json.loads(tool.run("get", queue, "--json"))["headers"] == record["headers"]
    tool.run("unbind", queue, "amq.direct", "somebody")
    said = tool.run("publish", "--json", given=line.encode(), code=3)
    assert said.startswith("amqplib: message 1 was not taken: no queue took it (")


def test_files_and_lines(tool: Tool, queue: str, tmp_path: Path, ch: Channel) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"1\r\n2\n\xff")
    two.write_bytes(b"3\n")
    tool.run("publish", queue, str(one), "-", str(two), given=b"in")
    ch.auto_decode = False
    assert bodies(ch, queue) == [b"1\r\n2\n\xff", b"in", b"3\n"]
    tool.run("publish", "--lines", "-n", "2", queue, str(one), str(two))
    assert bodies(ch, queue) == [b"1", b"1", b"2", b"2", b"\xff", b"\xff", b"3", b"3"]
    assert "No such file" in tool.run("publish", queue, str(tmp_path / "three"), code=1)


def test_consume_as_they_come(tool: Tool, queue: str, ch: Channel) -> None:
    publish(ch, queue, "1", "2", "3")
    with tool.start("consume", queue, "-n", "2") as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, b"1\n2\n", b"")
    holds(ch, queue, 1)
    assert tool.run("consume", queue, "--idle", "0.5", "--raw") == "3"
    assert tool.run("consume", queue, "--idle", "0", code=4) == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it(tool: Tool, queue: str, ch: Channel, number: signal.Signals) -> None:
    """What was printed is acknowledged, and nothing else."""
    with tool.start("consume", queue) as process:
        assert process.stdout
        publish(ch, queue, "1")
        assert process.stdout.readline() == b"1\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (128 + number, b"")


def test_nobody_reads_its_output(tool: Tool, queue: str, ch: Channel) -> None:
    """As with `| head`. What could not be written is not acknowledged."""
    publish(ch, queue, "1", "2")
    ours, theirs = os.pipe()
    os.close(ours)
    with tool.start("consume", queue, stdout=theirs) as process:
        os.close(theirs)
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (128 + signal.SIGPIPE, b"")
    holds(ch, queue, 2)


def test_what_comes_slowly_is_confirmed_at_once(tool: Tool, names: Names, ch: Channel) -> None:
    """A mistake ends it, while its input is open."""
    with tool.start("publish", "--lines", "amqplib-test-nowhere") as process:
        assert process.stdin
        assert process.stderr
        while process.poll() is None:
            try:
                process.stdin.write(b"line\n")
                process.stdin.flush()
            except BrokenPipeError:
                break
        assert b"message 1 was not taken: no queue took it" in process.stderr.read()
        process.wait(PATIENCE)
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass
    assert process.returncode == 3


def test_queues_and_exchanges(tool: Tool, names: Names, ch: Channel) -> None:
    queue, exchange, other = names.queue(), names.exchange(), names.exchange()
    said = tool.run("declare", "queue", queue, "-a", "x-max-length:=1")
    assert json.loads(said) == {"queue": queue, "messages": 0, "consumers": 0}
    assert "406" in tool.run("declare", "queue", queue, code=1)
    assert tool.run("declare", "exchange", exchange, "topic") == ""
    assert tool.run("declare", "exchange", other, "fanout", "--transient", "--auto-delete") == ""
    assert tool.run("bind", "--exchanges", other, exchange, "a.#") == ""
    assert tool.run("bind", queue, other) == ""
    tool.run("publish", "-e", exchange, "a.b", "-m", "1", "-n", "3")
    holds(ch, queue, 1)
    assert tool.run("purge", queue) == "1 messages dropped\n"
    assert tool.run("unbind", "--exchanges", other, exchange, "a.#") == ""
    tool.run("publish", "-e", exchange, "a.b", "-m", "1", code=3)
    assert tool.run("publish", "-e", exchange, "a.b", "-m", "1", "--unsafe") == "1 sent\n"
    tool.run("publish", queue, "-m", "2")
    assert "406" in tool.run("delete", "queue", queue, "--if-empty", code=1)
    assert tool.run("delete", "queue", queue, "--if-unused") == "1 messages went with it\n"
    assert tool.run("delete", "exchange", exchange) == ""
    assert "404" in tool.run("declare", "queue", queue, "--passive", code=1)
    assert "404" in tool.run("declare", "exchange", exchange, "--passive", code=1)


def test_streams(tool: Tool, names: Names, broker: Broker) -> None:
    if not broker.is_rabbitmq():
        pytest.skip("the broker in the box has no streams")
    queue = names.queue()
    tool.run("declare", "queue", queue, "--type", "stream")
    tool.run("publish", "--lines", queue, given=b"1\n2\n3\n")
    assert tool.run("consume", queue, "--offset", "first", "-n", "3") == "1\n2\n3\n"
    assert tool.run("consume", queue, "--offset", "2", "-n", "1") == "3\n"


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_bench(tool: Tool, broker: Broker, kind: str) -> None:
    if kind == "quorum" and not broker.is_rabbitmq():
        pytest.skip("the broker in the box has no quorum queues")
    lines = tool.run("bench", "-n", "50", "--type", kind).splitlines()
    assert len(lines) == 6
    assert all("us of CPU each" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "required: COMMAND"),
        (["publish"], "no QUEUE is given, and no --exchange"),
        (["publish", "q", "file", "-m", "x"], "--message and files: give one of them"),
        (["publish", "q", "--json", "-H", "a=1"], "stand in the lines"),
        (["publish", "q", "-m", "x", "-p", "colour=red"], "Message has no property 'colour'"),
        (["publish", "q", "-m", "x", "-p", "priority"], "'priority' is not NAME=TEXT, nor NAME:=JSON"),
        (["publish", "q", "-m", "x", "-p", "priority:=five"], "no JSON"),
        (["publish", "q", "-m", "x", "-n", "0"], "'0' is not a number of 1 or more"),
        (["consume", "q", "--idle", "-1"], "'-1' is not a number of seconds"),
        (["ping", "--url", "@/nowhere"], "/nowhere: No such file or directory"),
        (["ping", "--url", "amqp://host:port/"], "port"),
        (["ping", "--cert", "/nowhere"], "/nowhere"),
    ],
)
def test_mistakes(tool: Tool, broker: Broker, words: List[str], said: str) -> None:
    if broker.is_rabbitmq():
        pytest.skip("these do not get as far as the broker")
    assert said in tool.run(*words, code=2)


def test_lines_that_are_no_messages(tool: Tool, queue: str) -> None:
    lines = b'{"body": "1"}\n\n{"body": 2}\n'
    said = tool.run("publish", "--json", queue, given=lines, code=2)
    assert said == "amqplib: -, line 3: body: a string; other JSON has to be written as one\n"


def test_where_the_broker_is(tool: Tool, tmp_path: Path) -> None:
    """A file keeps the password out of the list of processes."""
    file = tmp_path / "url"
    file.write_text(tool.url + "\n")
    tool.url = "127.0.0.1:1"
    assert "connected in" in tool.run("ping", "--url", "@%s" % file)
    assert "127.0.0.1:1" in tool.run("ping", code=1)


def test_progress_is_shown_on_a_terminal(tool: Tool, queue: str) -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    shown = b""
    with tool.start("publish", "--lines", queue, stderr=theirs) as process:
        os.close(theirs)
        assert process.stdin
        while b"/s" not in shown:
            process.stdin.write(b"x\n" * 50)
            process.stdin.flush()
            os.set_blocking(ours, False)
            try:
                shown += os.read(ours, 1000)
            except BlockingIOError:
                pass
        out, _ = process.communicate(timeout=PATIENCE)
    os.close(ours)
    assert process.returncode == 0
    assert out.endswith(b" published, and the broker has them\n")
