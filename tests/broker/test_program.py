"""The broker as a program, as a pytest fixture, and in the first command of README.txt."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List, Optional

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker
from amqplib.broker.__main__ import main
from amqplib.client.exceptions import AMQPConnectionException, AMQPTimeoutError, AuthenticationError

ROOT = Path(__file__).resolve().parents[2]

TEST_OF_A_USER = """
import amqplib.client_0_9_1 as amqp

def test_empty(amqplib_broker):
    assert amqplib_broker.queues() == {}
    with amqp.Connection(amqplib_broker.address) as conn:
        conn.channel().queue_declare("q", auto_delete=False)
    assert list(amqplib_broker.queues()) == ["q"]

def test_empty_again(amqplib_broker):
    test_empty(amqplib_broker)
"""


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=str(cwd),
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )


class Program:
    """`python -m amqplib.broker`, running."""

    def __init__(self, *arguments: str, files: Optional[int] = None) -> None:
        command = [sys.executable, "-m", "amqplib.broker", "--port", "0", *arguments]
        if files is not None:  # as many may it have open
            command = ["sh", "-c", 'ulimit -n %d; exec "$@"' % files, "sh", *command]
        self.process = subprocess.Popen(command, cwd=str(ROOT), stdout=subprocess.PIPE, text=True)
        first = self._line()
        found = re.match(r"an AMQP broker in memory on (127\.0\.0\.1:\d+); Ctrl-C ends it", first)
        assert found, first
        self.address = found.group(1)

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()

    def end(self, number: int) -> List[str]:
        """What it says after the signal, and before."""
        self.process.send_signal(number)
        output = self.process.communicate(timeout=20)[0]
        assert self.process.returncode == 0
        return str(output).splitlines()


@pytest.fixture
def programs() -> Iterator[List[Program]]:
    started: List[Program] = []
    yield started
    for program in started:
        program.process.kill()
        program.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_program(programs: List[Program], number: int) -> None:
    program = Program("-v", "--user", "alice:se:cret", "--user", "bob:x", "--vhost", "/", "--vhost", "test")
    programs.append(program)
    with amqp.Connection(program.address, "alice", "se:cret", virtual_host="test") as conn:
        assert conn.channel().is_open
        assert conn.heartbeat == 60
    with pytest.raises(AuthenticationError):
        amqp.Connection(program.address)
    lines = program.end(number)
    assert re.match(r"\d\d:\d\d:\d\d 127\.0\.0\.1:\d+: opened by alice, AMQP 0-9-1, virtual host test", lines[0])
    assert any("login refused" in line for line in lines)
    assert lines[-1] == "ended"


def test_the_program_is_quiet_unless_asked(programs: List[Program]) -> None:
    programs.append(Program("--heartbeat", "0"))
    with amqp.Connection(programs[0].address) as conn:
        assert conn.heartbeat == 0
    assert programs[0].end(signal.SIGINT) == ["ended"]


def test_a_port_that_is_taken(programs: List[Program], capsys: pytest.CaptureFixture[str]) -> None:
    programs.append(Program())
    port = programs[0].address.rpartition(":")[2]
    assert main(["--port", port]) == 1
    assert "no broker on 127.0.0.1, port %s: Address already in use" % port in capsys.readouterr().err


@pytest.mark.parametrize("user", ["alice", ":x"])
def test_a_user_that_is_none(user: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--user", user])
    said = capsys.readouterr().err
    assert "argument --user: it is NAME:PASSWORD" in said
    assert user not in said.splitlines()[-1]


def test_users_from_a_file(programs: List[Program], tmp_path: Path) -> None:
    """What is there is one NAME:PASSWORD a line; and --user is for more than one."""
    (tmp_path / "users").write_text("alice:se:cret\n\nbob:x\n")
    programs.append(Program("--user", "@%s" % (tmp_path / "users"), "--user", "carol:y"))
    for name, password in (("alice", "se:cret"), ("bob", "x"), ("carol", "y")):
        amqp.Connection(programs[0].address, name, password).close()
    with pytest.raises(AuthenticationError):
        amqp.Connection(programs[0].address)


def test_users_from_the_environment(programs: List[Program], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQPLIB_BROKER_USERS", "alice:secret\nbob:x")
    programs.append(Program())
    for name, password in (("alice", "secret"), ("bob", "x")):
        amqp.Connection(programs[0].address, name, password).close()
    programs.append(Program("--user", "carol:y"))
    amqp.Connection(programs[1].address, "carol", "y").close()
    for program, name in ((programs[0], "guest"), (programs[1], "bob")):
        with pytest.raises(AuthenticationError):
            amqp.Connection(program.address, name, "x" if name == "bob" else name)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"alice:x\nbob\n", "users, line 2: is NAME:PASSWORD"),
        (b"\n", "users: there is nobody in it"),
        (b"\xff:\xff", "users: 'utf-8' codec can't decode"),
        (None, "users: No such file or directory"),
    ],
)
def test_a_file_of_users_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Optional[bytes], said: str
) -> None:
    if content is not None:
        (tmp_path / "users").write_bytes(content)
    with pytest.raises(SystemExit):
        main(["--user", "@%s" % (tmp_path / "users")])
    assert said in capsys.readouterr().err


def test_an_environment_that_names_nobody(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("AMQPLIB_BROKER_USERS", "secret")
    with pytest.raises(SystemExit):
        main([])
    said = capsys.readouterr().err
    assert "AMQPLIB_BROKER_USERS, line 1: is NAME:PASSWORD" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("host", "user", "warned"),
    [
        ("0.0.0.0", None, True),
        ("0.0.0.0", "guest:guest", True),
        ("0.0.0.0", "guest:another", False),
        ("127.0.0.2", None, False),
        ("localhost", None, False),
    ],
)
def test_a_warning_where_anybody_may_log_in(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, host: str, user: Optional[str], warned: bool
) -> None:
    monkeypatch.setattr("amqplib.broker.__main__.Broker", refuse)
    assert main(["--host", host, "--port", "0", *(["--user", user] if user else [])]) == 1
    assert ("warning: on %s, anybody may log in as guest" % host in capsys.readouterr().err) == warned


def refuse(**options: object) -> None:
    """Instead of a broker that others can reach."""
    raise OSError("not in a test")


def test_memory(programs: List[Program]) -> None:
    """Publishers are blocked beyond."""
    programs.append(Program("--memory", "1", "-v"))
    blocked: List[str] = []
    with amqp.Connection(programs[0].address) as owner:
        queue = owner.channel().queue_declare(exclusive=False, auto_delete=False)[0]
        conn = amqp.Connection(programs[0].address, on_blocked=blocked.append, on_unblocked=lambda: blocked.append(""))
        ch = conn.channel()
        ch.basic_publish(amqp.Message(b"x" * (1 << 20)), routing_key=queue)
        with pytest.raises(AMQPTimeoutError):
            ch.wait(timeout=1)
        assert blocked == ["low on memory"]
        assert owner.channel().queue_purge(queue) == 1
        for _ in range(2):  # what is said of the connection may wait for the next call
            assert ch.queue_purge(queue) == 0
        assert blocked == ["low on memory", ""]
        conn.close()
    lines = [line for line in programs[0].end(signal.SIGINT) if "memory" in line]
    assert len(lines) == 2
    assert lines[0].endswith("low on memory: publishers are blocked")


@pytest.mark.parametrize("arguments", [["--port", "65536"], ["--port=-1"], ["--heartbeat", "x"], ["--port", "\u0663"]])
def test_a_number_that_is_none(arguments: List[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert "is not a number from 0 to 65535" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["ascii", "utf-8:strict"])
def test_what_clients_say_is_printed_on_one_line(
    monkeypatch: pytest.MonkeyPatch, programs: List[Program], encoding: str
) -> None:
    """Whatever that is, and whatever the terminal can show: it ends their connection and nothing else."""
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    programs.append(Program("-v"))
    for vhost in (b"gr\xc3\xbc\xc3\x9fe", b"\xff", b"a\n12:00:00 b\x1b[2J"):
        with pytest.raises(AMQPConnectionException, match="530"):
            amqp.Connection(programs[0].address, virtual_host=vhost.decode("utf-8", "surrogateescape"))
    amqp.Connection(programs[0].address).close()
    lines = [line for line in programs[0].end(signal.SIGINT) if "not found" in line]
    assert len(lines) == 3
    assert lines[1].endswith(r"vhost \udcff not found")
    assert lines[2].endswith(r"vhost a\n12:00:00 b\x1b[2J not found")


def test_nobody_reads_what_it_prints(programs: List[Program]) -> None:
    programs.append(Program("-v"))
    process = programs[0].process
    assert process.stdout
    process.stdout.close()
    for _ in range(3):
        amqp.Connection(programs[0].address).close()
    process.terminate()
    assert process.wait(20) == 0
    process.stdout = None


def test_more_connections_than_files(programs: List[Program]) -> None:
    """Those that cannot be accepted wait, and cost nothing; when others are closed it is their turn."""
    programs.append(Program("-v", files=20))
    address = programs[0].address
    open_: List[amqp.Connection] = []

    def open_on() -> None:
        for _ in range(20):
            open_.append(amqp.Connection(address, connect_timeout=1))

    with pytest.raises(AMQPTimeoutError):
        open_on()
    for connection in open_:
        connection.close()
    amqp.Connection(address).close()
    waits = [line for line in programs[0].end(signal.SIGTERM) if "no more connections for now" in line]
    assert 0 < len(waits) < 100


TEST_OF_ONE_FOR_ALL = """
import amqplib.client_0_9_1 as amqp

def test_first(amqplib_session_broker):
    with amqp.Connection(amqplib_session_broker.address) as conn:
        conn.channel().queue_declare("q")

def test_second(amqplib_session_broker, amqplib_broker):
    assert list(amqplib_session_broker.queues()) == ["q"]
    assert list(amqplib_broker.queues()) == []
"""

TEST_OF_SOMEBODY_ELSE = """
import sys

def test_what_is_loaded():
    ours = {name for name in sys.modules if name.split(".")[0] == "amqplib"}
    assert ours == {"amqplib", "amqplib.pytest_plugin"}
"""


@pytest.mark.parametrize(
    ("text", "passed"), [(TEST_OF_A_USER, 2), (TEST_OF_ONE_FOR_ALL, 2), (TEST_OF_SOMEBODY_ELSE, 1)]
)
def test_the_plugin(tmp_path: Path, text: str, passed: int) -> None:
    """As a user has it, but for the installation: that is what the entry point in pyproject.toml is for."""
    entry = re.search(
        r'\[project\.entry-points\.pytest11\]\namqplib = "([\w.]+)"', (ROOT / "pyproject.toml").read_text()
    )
    assert entry
    (tmp_path / "test_of_a_user.py").write_text(text)
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", entry.group(1), cwd=tmp_path)
    assert "%d passed" % passed in done.stdout, done.stdout


def test_quickstart() -> None:
    """README's first command: nothing is installed, and nothing but the standard library is imported."""
    done = run("-I", "-S", str(ROOT / "demo" / "quickstart.py"), cwd=Path("/"))
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert re.match(r"started a broker in this process, on 127\.0\.0\.1:\d+", lines[0])
    assert "connected to amqplib broker" in lines[1]
    assert "received 'hello world', and acknowledged it" in lines
    assert lines[-1] == "ended the broker; with --host NAME:PORT the message goes through yours"


def test_publish_confirmed_to_a_broker_that_is_lost() -> None:
    """Each message is in its queue, or named as one to publish again, once: also what was nacked before the end."""
    with Broker() as broker:
        broker.faults.nack_every(7)
        broker.faults.drop(after_octets=20_000, received=True)
        done = run("demo/publish_confirmed.py", "--host", broker.address, "--count", "1000")
        broker.faults.clear()
        named = re.findall(r"<Message '(message \d+)'", done.stdout)
        with amqp.Connection(broker.address) as conn, conn.channel() as ch:
            kept = [msg.body for msg in iter(lambda: ch.basic_get("demo.confirmed", no_ack=True), None)]
    assert done.returncode == 1
    assert "nacked" in done.stdout
    assert 0 < len(kept) < 1000
    assert len(named) == len(set(named)) < 1000
    assert {*kept, *named} == {"message %d" % n for n in range(1000)}
