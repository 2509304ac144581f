"""Fixtures for tests of the client against a scripted peer: the peer, a connection to it, a channel of that."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91
from amqplib.broker import Broker

from .frozen import AMQP_0_9_1
from .peer import Peer
from .threads import Threads
from .tls_peer import TLSPeer, server_context

#: Seconds for one test. A test that needs as much has hung.
LIMIT = 120


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


@pytest.fixture
def newer_peer() -> Iterator[Peer]:
    """A peer that speaks 0-9-1."""
    with Peer(dialect=AMQP_0_9_1) as scripted:
        yield scripted


@pytest.fixture
def newer_conn(newer_peer: Peer) -> Iterator[amqp91.Connection]:
    """A connection to that. It is closed in the end, unless it already is."""
    newer_peer.welcome()
    connection = amqp91.Connection(newer_peer.address, heartbeat=0)
    yield connection
    if connection.transport is not None:
        newer_peer.part()
        connection.close()


@pytest.fixture
def newer(newer_peer: Peer, newer_conn: amqp91.Connection) -> amqp91.Channel:
    """Channel 1 of that connection."""
    newer_peer.open_channel()
    return newer_conn.channel()


@pytest.fixture
def threads() -> Threads:
    """For a test that needs some."""
    return Threads()


@pytest.fixture
def hurried() -> Iterator[None]:
    """Threads take turns as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def tls_peer(certificates: Path) -> Iterator[TLSPeer]:
    """A peer with a certificate for localhost; its context may be changed before somebody connects."""
    with TLSPeer(server_context(certificates)) as peer:
        yield peer


@pytest.fixture
def trusting(certificates: Path) -> Dict[str, Any]:
    """Options that trust the authority of the tests."""
    return {"ca_certs": str(certificates / "ca.pem")}


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A broker in the box, of the test's own."""
    with Broker() as box:
        yield box
