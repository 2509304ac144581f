"""Fixtures for tests of the client against a scripted peer: the peer, a connection to it, a channel of that."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, List

import pytest

import amqplib.client_0_8 as amqp

from .peer import Peer

#: Seconds for one test. A test that needs as much has hung.
LIMIT = 60


def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LIMIT))


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A peer on 127.0.0.1 that nobody has connected to."""
    with Peer() as scripted:
        yield scripted


@pytest.fixture
def conn(peer: Peer) -> Iterator[amqp.Connection]:
    """A connection to the peer. It is closed in the end, unless it already is."""
    peer.welcome()
    connection = amqp.Connection(peer.address)
    yield connection
    if connection.transport is not None:
        peer.part()
        try:
            connection.close()
        except Exception:
            if peer.failure is None:
                raise


@pytest.fixture
def ch(peer: Peer, conn: amqp.Connection) -> amqp.Channel:
    """Channel 1 of the connection."""
    peer.open_channel()
    return conn.channel()
