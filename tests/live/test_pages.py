"""Every block of Python in docs/howto/ and docs/porting/ is run as it stands there, and prints what stands below it."""

from __future__ import annotations

import contextlib
import doctest
import importlib.util
import io
import signal
import textwrap
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker as BoxBroker
from tests.live.conftest import Names
from tests.live.helpers import PATIENCE, eventually, python
from tests.live.secure import Secured
from tests.pages import DOCS, Block, addressed, blocks, declared, page

pytestmark = pytest.mark.only(client="client_0_9_1", reason="it is what the pages import")
#: On the broker in the box, and on one RabbitMQ.
on_two = pytest.mark.thorough(box=True)

#: Those that are more than blocks to be run one after the other have a test of their own.
OTHERS = {"forking", "logging", "loops", "rpc", "testing", "tls", "tokens", "worker"}
PLAIN = sorted(path.stem for path in (DOCS / "howto").glob("*.rst") if path.stem not in OTHERS)


def python_blocks(name: str, folder: str = "howto/") -> List[Block]:
    found = [block for block in blocks(page(folder + name)) if block.language == "python"]
    assert found
    return found


def compare(said: str, want: str) -> None:
    if want and not doctest.OutputChecker().check_output(want, said, doctest.ELLIPSIS):
        assert said == want


def run(block: Block, host: str, names: Dict[str, Any]) -> None:
    """In this process, in a module with these names."""
    code = compile("\n" * (block.line - 1) + addressed(block.code, host), "the page", "exec")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, names)
    compare(out.getvalue(), addressed(block.output, host))


@contextmanager
def program(code: str) -> Iterator[Any]:
    """In a process of its own; it is killed at the end."""
    with python("-u", "-c", code) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(process: Any) -> str:
    said: str = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0, said
    return said


@pytest.fixture
def clean(names: Names) -> Callable[[str], None]:
    """What a page declares is deleted after the test."""

    def clean(text: str) -> None:
        names.queues += sorted(set(declared(text)))

    return clean


def of_streams(name: str) -> Any:
    marks = [pytest.mark.only(since=(3, 9), reason="the broker in the box has no streams")] if name == "streams" else []
    return pytest.param(name, marks=marks)


@on_two
@pytest.mark.parametrize("name", [of_streams(name) for name in PLAIN])
def test_page(name: str, address: str, clean: Callable[[str], None]) -> None:
    clean(page("howto/" + name))
    names: Dict[str, Any] = {"__name__": "__main__"}
    for block in python_blocks(name):
        run(block, address, names)


@on_two
@pytest.mark.parametrize("name", [path.stem for path in (DOCS / "porting").glob("*.rst")])
def test_porting(name: str, address: str, clean: Callable[[str], None]) -> None:
    """The other clients' programs: tests/broker/test_other_clients.py."""
    clean(page("porting/" + name))
    found = [block for block in python_blocks(name, "porting/") if not block.code.startswith("# with p")]
    assert all(block.output for block in found)
    for block in found:
        run(block, address, {})


def test_the_first_page(address: str, clean: Callable[[str], None]) -> None:
    clean(page("index"))
    (block,) = python_blocks("index", "")
    run(block, address, {})


@on_two
def test_what_is_published_is_there(address: str, clean: Callable[[str], None]) -> None:
    clean(page("howto/publish"))
    run(python_blocks("publish")[0], address, {})
    with amqp.Connection(address) as conn, conn.channel() as ch:
        assert ch.queue_declare("orders", passive=True).message_count == 1000


def test_what_is_published_while_the_broker_goes_away() -> None:
    with BoxBroker() as broker:
        broker.faults.drop(after_octets=20_000, received=True)
        broker.faults.delay_confirms(0.001)
        run(python_blocks("publish")[0], broker.address, {})
        broker.faults.clear()
        with amqp.Connection(broker.address) as conn, conn.channel() as ch:
            come = {msg.message_id for msg in ch.consume("orders", no_ack=True, timeout=1)}
    assert come == {str(number) for number in range(1000)}


def consumers(host: str, queue: str) -> int:
    with amqp.Connection(host) as conn, conn.channel() as ch:
        return ch.queue_declare(queue, durable=True).consumer_count


def put(host: str, queue: str, *bodies: str) -> None:
    with amqp.Connection(host) as conn, conn.channel() as ch:
        for body in bodies:
            ch.basic_publish_confirm(amqp.Message(body, delivery_mode=2), routing_key=queue, mandatory=True)


def test_worker() -> None:
    """It is there again after a restart; at SIGTERM it finishes what it has begun, and the rest goes back."""
    (block,) = python_blocks("worker")
    busy = "        busy = True\n"
    then = busy + "        if msg.text == 'last':\n            signal.raise_signal(signal.SIGTERM)\n"
    assert busy in block.code
    with BoxBroker() as broker:
        code = addressed(block.code, broker.address).replace(busy, then)
        with program(code) as worker:
            eventually(lambda: "tasks" in broker.queues() and broker.queues()["tasks"].consumers)
            put(broker.address, "tasks", "one")
            assert worker.stdout.readline() == "done: one\n"
            broker.restart(crash=True)
            eventually(lambda: broker.queues()["tasks"].consumers)
            with amqp.Connection(broker.address) as conn, conn.channel() as ch:
                ch.tx_select()  # so that both are there at once
                for body in ("last", "not begun"):
                    ch.basic_publish(amqp.Message(body, delivery_mode=2), routing_key="tasks")
                ch.tx_commit()
            said = finish(worker)
        assert said.endswith("done: last\n"), said
        assert broker.queues()["tasks"].messages == 1


def test_worker_that_ends_while_there_is_no_broker() -> None:
    (block,) = python_blocks("worker")
    with BoxBroker() as broker, program(addressed(block.code, broker.address)) as worker:
        eventually(lambda: "tasks" in broker.queues() and broker.queues()["tasks"].consumers)
        broker.down(crash=True)
        said = worker.stdout.readline()
        assert "the connection was lost" in said
        worker.send_signal(signal.SIGTERM)
        finish(worker)


@on_two
def test_rpc(address: str, clean: Callable[[str], None]) -> None:
    clean(page("howto/rpc"))
    server, client = python_blocks("rpc")
    with program(addressed(server.code, address)):
        eventually(lambda: consumers(address, "squares") == 1)
        run(client, address, {})


@on_two
def test_forking(address: str, clean: Callable[[str], None]) -> None:
    """One that has a connection already forks: its children have connections of their own."""
    (block,) = python_blocks("forking")
    server = """
        def serve(path):
            status = []
            assert app({'PATH_INFO': path}, lambda *args: status.append(args[0])) == [b'noted\\n']
            assert status == ['200 OK']
            assert app({'PATH_INFO': path}, lambda *args: status.append(args[0])) == [b'noted\\n']

        serve('/parent')
        for name in ('/left', '/right'):
            child = os.fork()
            if not child:
                try:
                    serve(name)
                    os._exit(0)
                finally:
                    os._exit(1)
            assert os.waitpid(child, 0)[1] == 0
        serve('/parent')
    """
    clean("queue_declare('visits'")
    with amqp.Connection(address) as conn, conn.channel() as ch:
        ch.queue_declare("visits", durable=True)
        with program(addressed(block.code, address) + textwrap.dedent(server)) as process:
            finish(process)
        bodies = [msg.text.rpartition(" ")[2] for msg in ch.consume("visits", no_ack=True, timeout=0.5)]
    assert sorted(bodies) == ["/left"] * 2 + ["/parent"] * 4 + ["/right"] * 2


def test_tls(secured: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(secured.certificates)
    names: Dict[str, Any] = {}
    for block in python_blocks("tls"):
        assert "rabbit.example.org" in block.code
        run(block._replace(code=block.code.replace("rabbit.example.org", secured.host)), "", names)


def test_tokens(tmp_path: Path) -> None:
    """Also after the password has changed while the broker was away."""
    token = tmp_path / "token"
    token.write_text("guest\n")
    names: Dict[str, Any] = {}
    with BoxBroker() as broker:
        for block in python_blocks("tokens"):
            run(
                block._replace(code=block.code.replace("/run/secrets/rabbitmq-token", str(token))),
                broker.address,
                names,
            )
        with amqp.Connection(broker.address, credentials=names["credentials"], recover=True) as conn:
            ch = conn.channel()
            broker.down(crash=True)
            broker.add_user("guest", "another")
            token.write_text("another")
            broker.up()
            ch.queue_declare(exclusive=True)
            assert conn.stats().recoveries == 1


def test_testing(tmp_path: Path) -> None:
    for number, block in enumerate(python_blocks("testing")):
        (tmp_path / ("test_%d.py" % number)).write_text(block.code)
    arguments = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "amqplib.pytest_plugin"]
    with python(*arguments, "--rootdir", str(tmp_path), str(tmp_path)) as process:
        assert "4 passed" in finish(process)


def test_logging() -> None:
    code = python_blocks("logging")[0]
    restart = "broker.restart(durable=True, crash=True)"
    remark = "# here the broker is restarted"
    assert remark in code.code
    start = "from amqplib.broker import Broker\nbroker = Broker()\nbroker.start()\n"
    with program(start + code.code.replace("'localhost'", "broker.address").replace(remark, restart)) as process:
        said = finish(process)
    compare(
        "\n".join(line for line in said.splitlines() if "WARNING" in line) + "\n",
        code.output.replace("localhost:5672", "..."),
    )


def test_logging_of_a_program() -> None:
    """In a process of its own: it changes what logging does."""
    check = "\nassert not logging.getLogger('amqplib').propagate\n"
    with program(python_blocks("logging")[1].code + check) as process:
        finish(process)


@on_two
def test_select(address: str, clean: Callable[[str], None]) -> None:
    clean(page("howto/loops"))
    run(python_blocks("loops")[1], address, {})


@on_two
@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_green_threads(library: str, address: str, clean: Callable[[str], None]) -> None:
    if importlib.util.find_spec(library) is None:  # not imported: that changes what fork() does in this process
        pytest.skip("there is no %s here" % library)
    clean(page("howto/loops"))
    block = python_blocks("loops")[0]
    code = addressed(block.code, address)
    if library == "eventlet":
        code = code.replace(
            "from gevent import monkey\nmonkey.patch_all()\n", "import eventlet\neventlet.monkey_patch()\n"
        )
        code = code.replace("import gevent\n", "")
        code = code.replace("gevent.joinall([", "for thread in [").replace("], raise_error=True)", "]: thread.wait()")
        code = code.replace("gevent.spawn", "eventlet.spawn")
    with python("-W", "ignore", "-c", code) as process:
        compare(finish(process), block.output)
