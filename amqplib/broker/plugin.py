"""The pytest plugin, which pytest finds by itself where amqplib is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterator

import pytest

if TYPE_CHECKING:
    from .broker import Broker

__all__ = ["amqplib_broker"]


@pytest.fixture
def amqplib_broker() -> Iterator[Broker]:
    """An AMQP broker in memory, empty, for this test alone: amqp.Connection(amqplib_broker.address)."""
    from .broker import Broker  # not before a test asks: pytest loads this module at every start

    with Broker() as broker:
        yield broker
