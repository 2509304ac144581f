"""Celery on this library: a worker, as one starts it, and a program that sends tasks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Iterator, List, Tuple

import pytest

celery = pytest.importorskip("celery")

from tests.brokers import Node  # noqa: E402
from tests.live.helpers import PATIENCE, ROOT  # noqa: E402

pytestmark = [
    pytest.mark.thorough(box=True),
    pytest.mark.only(client="client_0_9_1", reason="Celery has a client of its own"),
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("default"),  # Celery's and its libraries' own
]

TASKS = """
import os
from celery import Celery

app = Celery("tasks", broker=os.environ["BROKER"], backend="rpc://")
app.conf.update(
    broker_transport="amqplib.kombu:Transport",
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_heartbeat=10,
    task_acks_late=True,
    task_default_queue=os.environ["QUEUE"],
    worker_proc_alive_timeout=60,
)

@app.task
def add(a, b):
    return a + b

@app.task(bind=True, max_retries=3)
def third_time(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.05)
    return self.request.retries

@app.task
def slow(path):
    open(path, "w").close()
    import time
    time.sleep(2)
    return "done"
"""

PROGRAM = """
import sys
from tasks import add, app, third_time

results = [add.delay(number, 1) for number in range(50)]
assert [result.get(timeout=60) for result in results] == [number + 1 for number in range(50)]
assert add.apply_async((1, 2), countdown=0.5).get(timeout=60) == 3
assert third_time.delay().get(timeout=60) == 2
(pong,) = app.control.inspect(timeout=30, limit=1).ping().values()
assert pong == {"ok": "pong"}
print("all of it")
"""


class Celery:
    """A directory with tasks, and processes in it."""

    def __init__(self, directory: Path, host: str) -> None:
        self.directory = directory
        self.queue = "amqplib-test-%x" % time.monotonic_ns()
        (directory / "tasks.py").write_text(TASKS)
        path = os.pathsep.join((str(directory), str(ROOT)))
        broker = "amqp://guest:guest@%s//" % host
        self.env = {**os.environ, "PYTHONPATH": path, "BROKER": broker, "QUEUE": self.queue}
        self.processes: List[Tuple[subprocess.Popen[bytes], Path]] = []

    def worker(self, pool: str) -> Tuple[subprocess.Popen[bytes], Path]:
        log = self.directory / ("worker-%d.log" % len(self.processes))
        command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-P", pool, "-c", "1", "-l", "INFO"]
        command += ["-n", "%s@%%h" % self.queue, "--without-gossip", "--without-mingle"]
        with log.open("wb") as out:
            process = subprocess.Popen(command, cwd=str(self.directory), env=self.env, stdout=out, stderr=out)
        self.processes.append((process, log))
        self.wait_for(lambda: b" ready." in log.read_bytes())
        return process, log

    def run(self, program: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            cwd=str(self.directory),
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=4 * PATIENCE,
            check=False,
        )
        said = done.stdout.decode()
        assert done.returncode == 0, said + self.logs()
        return said

    def logs(self) -> str:
        return "\n".join(log.read_text() for _, log in self.processes)

    def wait_for(self, condition: Any) -> None:
        end = time.monotonic() + 4 * PATIENCE
        while not condition():
            assert time.monotonic() < end, self.logs()
            for process, _ in self.processes:
                assert process.poll() is None, self.logs()
            time.sleep(0.05)

    def end(self) -> None:
        for process, _ in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait(PATIENCE)


@pytest.fixture
def here(mortal: Node, tmp_path: Path) -> Iterator[Celery]:
    here = Celery(tmp_path, mortal.host)
    yield here
    here.end()


@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_tasks(here: Celery, pool: str) -> None:
    """Results, a countdown, retries and control; and a warm shutdown that ends what is being done."""
    process, _ = here.worker(pool)
    assert here.run(PROGRAM) == "all of it\n"
    begun = here.directory / "begun"
    here.run("from tasks import slow; slow.delay(%r)" % str(begun))
    here.wait_for(begun.exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait(4 * PATIENCE) == 0, here.logs()
    assert "Warm shutdown" in here.logs()
    assert "succeeded" in here.logs().rpartition("slow")[2]
    assert "Traceback" not in here.logs()


def test_a_broker_that_is_killed_and_comes_back(here: Celery, mortal: Node) -> None:
    """The worker is there again, and so are tasks that nobody had done."""
    _, log = here.worker("prefork")
    assert here.run(PROGRAM) == "all of it\n"
    mortal.kill()
    here.wait_for(lambda: b"onnection to broker lost" in log.read_bytes() or b"Cannot connect" in log.read_bytes())
    mortal.run()
    mortal.wait_ready()
    here.wait_for(lambda: b"Connected to" in log.read_bytes().rpartition(b"onnection to broker lost")[2])
    assert here.run(PROGRAM) == "all of it\n"
