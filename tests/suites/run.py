"""Run the test suites of other AMQP clients against the broker in the box.

    python3 tests/suites/run.py [amqp] [amqpstorm] [rabbitpy]

The suites come in the clients' source distributions, which are downloaded from PyPI into the cache of the tests
(AMQPLIB_TEST_CACHE, ~/.cache/amqplib-tests), and so is what they need, into a virtual environment there. Left out is
what needs more than a broker: TLS, RabbitMQ's management, the internet. It needs Python 3.11 or later, and two minutes.
The exit code is 0 when all that was run has passed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

import amqplib.client_0_9_1 as amqp  # noqa: E402
from amqplib.broker import Broker  # noqa: E402
from tests.brokers import cache  # noqa: E402
from tests.venvs import venv_with  # noqa: E402

#: What the suites need, beside the clients themselves.
REQUIREMENTS = """\
pamqp==4.0.0
pytest==8.4.2
pytest-timeout==2.4.0
python-dotenv==1.1.1
requests==2.32.5
vine==5.1.0
"""

#: Seconds for one test.
PATIENCE = 60


class Suite(NamedTuple):
    """A client's tests."""

    requirement: str
    arguments: List[str]
    #: As many tests pass at least: fewer means that they were not found.
    passed: int


SUITES: Dict[str, Suite] = {
    "amqp": Suite("amqp==5.4.2", ["t/integration", "-k", "not tls and not ssl"], 40),
    "amqpstorm": Suite(
        "amqpstorm==3.1.4",
        [
            "amqpstorm/tests/functional",
            "--ignore=amqpstorm/tests/functional/management",
            "--ignore=amqpstorm/tests/functional/ssl",
            "--ignore=amqpstorm/tests/functional/test_web_based.py",
        ],
        90,
    ),
    "rabbitpy": Suite("rabbitpy==3.0.2", ["tests"], 360),
}


def say(what: str) -> None:
    print("suites: %s" % what, flush=True)


def unpack(archive: tarfile.TarFile, directory: str) -> None:
    """Its files and folders, where their names stay below. (Debian's Python 3.11 has no extractall(filter=) for it.)"""
    members = [member for member in archive if member.isreg() or member.isdir()]
    for member in members:
        if Path(member.name).is_absolute() or ".." in Path(member.name).parts:
            raise ValueError("%r has %r in it" % (archive.name, member.name))
    archive.extractall(directory, members)


def source(requirement: str, executable: str) -> Path:
    """The directory of the source distribution, downloaded and unpacked when it is not there yet."""
    name, version = requirement.split("==")
    directory = cache() / "sdists" / ("%s-%s" % (name, version))
    if not directory.is_dir():
        say("downloading %s" % requirement)
        pip = [executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check"]
        options = ["--no-deps", "--no-binary", name, "-d", str(directory.parent)]
        subprocess.run([*pip, *options, requirement], check=True)
        with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
            with tarfile.open(str(directory) + ".tar.gz") as archive:
                unpack(archive, scratch)
            (Path(scratch) / directory.name).rename(directory)
    return directory


class Management(BaseHTTPRequestHandler):
    """Of RabbitMQ's management as much as a test needs to clean up: queues and exchanges are deleted."""

    #: Set by management().
    address = ""

    def do_DELETE(self) -> None:
        _, _, kind, _, name = map(unquote, self.path.split("/"))
        with amqp.Connection(self.address) as conn, conn.channel() as ch:
            if kind == "queues":
                ch.queue_delete(name)
            else:
                ch.exchange_delete(name)
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def management(broker: Broker) -> Iterator[str]:
    """The URL of a Management for this broker."""
    handler = type("Management", (Management,), {"address": broker.address})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield "http://127.0.0.1:%d" % server.server_port
        server.shutdown()
        thread.join()


def run(suite: Suite, executable: str) -> bool:
    """Whether all is well."""
    directory = source(suite.requirement, executable)
    with Broker() as broker, management(broker) as url:
        given = dict.fromkeys(("AMQP_HOST", "RABBITMQ_HOST"), "127.0.0.1")
        given.update(dict.fromkeys(("AMQP_URI", "RABBITMQ_URL"), "amqp://guest:guest@127.0.0.1:5672/%2F"))
        given.update(AMQP_USERNAME="guest", AMQP_PASSWORD="guest", AMQP_HTTP_URL=url)
        given.update(BOX_PORT=str(broker.port), PYTHONPATH=str(Path(__file__).parent), PYTHONDONTWRITEBYTECODE="1")
        command = [executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "box_port"]
        command += ["--timeout", str(PATIENCE), "-W", "ignore", *suite.arguments]
        say("%s: %s" % (suite.requirement, " ".join(suite.arguments)))
        passed = 0
        with subprocess.Popen(
            command, cwd=str(directory), env={**os.environ, **given}, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout
            for line in process.stdout:
                print(line, end="", flush=True)
                found = re.search(r"(\d+) passed", line)
                passed = int(found.group(1)) if found else passed
    if passed < suite.passed:
        say("%d tests have passed, and there should be %d at least" % (passed, suite.passed))
    return process.returncode == 0 and passed >= suite.passed


def main(names: List[str]) -> int:
    executable = venv_with("suites", REQUIREMENTS)
    failed = [name for name in names or SUITES if not run(SUITES[name], executable)]
    say("failed: %s" % ", ".join(failed) if failed else "all is well")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
