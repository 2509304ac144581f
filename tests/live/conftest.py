"""What live tests are given: connections that get closed, names that get deleted, and no time to hang."""

from __future__ import annotations

import re
import uuid
from contextlib import ExitStack, suppress
from types import ModuleType
from typing import Any, Callable, Iterator, List

import pytest

from amqplib.client.channel import Channel
from amqplib.client.connection import Connection
from amqplib.client.exceptions import DialectError
from tests.conftest import Broker
from tests.live.helpers import eventually
from tests.live.secure import SERIES, Secured, SecureNodes

Connect = Callable[..., Connection]


def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith("tests/live/") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(90))


class Names:
    """Names that nobody else has."""

    def __init__(self) -> None:
        self.queues: List[str] = []
        self.exchanges: List[str] = []

    @staticmethod
    def any() -> str:
        return "amqplib-test-" + uuid.uuid4().hex

    def queue(self) -> str:
        return self.keep(self.any())

    def exchange(self) -> str:
        self.exchanges.append(self.any())
        return self.exchanges[-1]

    def keep(self, queue: str) -> str:
        """Have a queue deleted that the server has named."""
        self.queues.append(queue)
        return queue


@pytest.fixture(scope="session")
def tidy(broker: Broker) -> Iterator[None]:
    """After all the tests, nothing of theirs is left on the broker."""
    yield
    ours = re.compile(r"^(amqplib-test-\S*|amq\.gen\S*|myfan|clock)$", re.MULTILINE)

    def left() -> List[str]:
        assert broker.ctl
        return ours.findall(broker.ctl("list_queues", "name") + broker.ctl("list_exchanges", "name"))

    if broker.ctl:
        with suppress(AssertionError):
            eventually(lambda: not left())
        assert not left(), "left of the tests"


@pytest.fixture
def names(broker: Broker, amqp: ModuleType, tidy: None) -> Iterator[Names]:
    """Names for queues and exchanges, which are deleted after the test."""
    names = Names()
    yield names
    if names.queues or names.exchanges:
        with amqp.Connection(**broker.login) as connection, connection.channel() as channel:
            for queue in names.queues:
                channel.queue_delete(queue)
            for exchange in names.exchanges:
                channel.exchange_delete(exchange)


@pytest.fixture
def connect(broker: Broker, amqp: ModuleType, names: Names) -> Iterator[Connect]:
    """Connection, logged in to the broker of the tests unless its arguments say otherwise.

    What it has opened is closed after the test. A test that breaks a connection leaves nothing to close; any other
    has to close without an error.
    """
    with ExitStack() as stack:

        def connect(*args: Any, **kwargs: Any) -> Connection:
            login = {} if args else broker.login
            connection: Connection = amqp.Connection(*args, **{**login, **kwargs})
            stack.callback(connection.close)
            return connection

        yield connect


@pytest.fixture
def address(broker: Broker) -> str:
    """Host and port of a broker on which guest may do what the programs in the documents do."""
    if (broker.userid, broker.password, broker.virtual_host) != ("guest", "guest", "/"):
        pytest.skip("the programs log in as guest")
    if broker.host.rpartition(":")[0] not in ("127.0.0.1", "localhost"):
        pytest.skip("the programs are for a broker on this machine")
    return broker.host


@pytest.fixture
def conn(connect: Connect) -> Connection:
    return connect()


@pytest.fixture
def ch(conn: Connection) -> Channel:
    return conn.channel()


@pytest.fixture
def queue(ch: Channel, names: Names) -> str:
    """An empty queue."""
    name = names.queue()
    ch.queue_declare(name, auto_delete=False)
    return name


@pytest.fixture(scope="session")
def secure_nodes() -> Iterator[SecureNodes]:
    with ExitStack() as stack:
        yield SecureNodes(stack)


@pytest.fixture(scope="session", params=SERIES)
def secured(request: pytest.FixtureRequest, secure_nodes: SecureNodes) -> Secured:
    """A RabbitMQ with TLS and more ways to log in than PLAIN."""
    return secure_nodes.get(request.param)


@pytest.fixture
def modern(ch: Channel) -> Channel:
    """A channel of a connection that speaks 0-9-1."""
    assert ch.connection
    if ch.connection.protocol == "0-8":
        with pytest.raises(DialectError, match="0-9-1"):
            ch.confirm_select()
        pytest.skip("AMQP 0-8 has none of this, and says so")
    return ch
