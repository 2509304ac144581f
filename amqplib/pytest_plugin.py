"""The pytest plugin, which pytest finds by itself where amqplib is installed, and loads at every start.

So nothing of amqplib is imported here but this file, until a test asks for a broker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterator

import pytest

if TYPE_CHECKING:
    from .broker import Broker

__all__ = ["amqplib_broker", "amqplib_session_broker"]


@pytest.fixture
def amqplib_broker() -> Iterator[Broker]:
    """An AMQP broker in memory, empty, for this test alone: amqp.Connection(amqplib_broker.address)."""
    from .broker import Broker

    with Broker() as broker:
        yield broker


@pytest.fixture(scope="session")
def amqplib_session_broker() -> Iterator[Broker]:
    """One for all tests of the run, which find in it what others have left: for a program that is started once."""
    from .broker import Broker

    with Broker() as broker:
        yield broker
