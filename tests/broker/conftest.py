"""What tests of the broker in the box are given."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, List

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.broker import Broker


def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(60))


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A broker of the test's own."""
    with Broker() as broker:
        yield broker


@pytest.fixture
def conn(broker: Broker) -> Iterator[amqp.Connection]:
    """A connection to it."""
    with amqp.Connection(broker.address) as connection:
        yield connection


@pytest.fixture
def ch(conn: amqp.Connection) -> amqp.Channel:
    """A channel of that."""
    return conn.channel()
