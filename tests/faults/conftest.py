"""What the tests of faults share."""

from __future__ import annotations

import importlib
import logging
from types import ModuleType
from typing import Iterator, NamedTuple

import pytest

from tests.conftest import MAIN_PEERS, Broker, Brokers, Peer, Unavailable, give_up


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The library warns of what it cannot read, and these tests send it thousands of such things."""
    logger = logging.getLogger("amqplib")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


class Rabbit(NamedTuple):
    """A RabbitMQ that runs, and the client to try on it."""

    amqp: ModuleType
    broker: Broker


@pytest.fixture(params=[peer for peer in MAIN_PEERS if peer.series[0].isdigit()], ids=str)
def rabbit(request: pytest.FixtureRequest, brokers: Brokers) -> Rabbit:
    peer: Peer = request.param
    try:
        broker = brokers.shared(peer.series)
    except Unavailable as exc:
        give_up(str(exc))
    return Rabbit(importlib.import_module(peer.client), broker)
