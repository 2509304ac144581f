"""The end of connections that a test has no more use for, and whose peer would not answer a close."""

from __future__ import annotations

from typing import Any

import pytest

import amqplib.client_0_8 as amqp

__all__ = ["give_up"]


def give_up(connection: Any) -> None:
    """End a connection whose peer answers nothing; nothing is done when it is over already."""
    if connection.transport is not None:
        with pytest.raises((amqp.AMQPTimeoutError, amqp.AMQPConnectionException)):
            connection.close(timeout=0.1)
    assert connection.transport is None
