"""What the benchmarks need around them: a virtual environment with the other libraries, and a broker.

Both are kept where the tests keep theirs (AMQPLIB_TEST_CACHE, ~/.cache/amqplib-tests). The broker is a private RabbitMQ
3.10 on 127.0.0.1, which ends with the benchmark; tests/install_rabbitmq.sh fetches it when it is not there yet.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from benchmarks.clients.driver import Server
from tests.brokers import LOOPBACK, Node, Nodes, install
from tests.venvs import venv_with

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "benchmarks" / "requirements.txt"
SUITE = "bookworm"
#: What the libraries of requirements.txt run on.
NEEDED = (3, 11)


def peers_python() -> str:
    """The interpreter of the virtual environment, made or made anew when it is not what requirements.txt says."""
    if sys.version_info < NEEDED:
        sys.exit("the libraries to compare with need Python %d.%d or later" % NEEDED)
    return venv_with("benchmarks", REQUIREMENTS.read_text())


@contextmanager
def broker(tls: bool = False) -> Iterator[Node]:
    """A private RabbitMQ."""
    say("starting RabbitMQ")
    found = install(SUITE)
    with Nodes() as nodes:
        yield nodes.start(found, tls=tls)


def server(node: Node, tls: bool = False) -> Server:
    """Where clients find it. With TLS its certificate is for localhost and for 127.0.0.1."""
    if not tls:
        return Server(LOOPBACK, node.port, None)
    assert node.tls_port
    assert node.certificates
    return Server("localhost", node.tls_port, str(node.certificates / "ca.pem"))


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
