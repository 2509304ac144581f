"""The account of account.py, in its short form: on each RabbitMQ, while it and the network break again and again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.brokers import Nodes
from tests.conftest import give_up, installation

from .account import Account, Books
from .harness import LONG

pytestmark = [pytest.mark.soak, pytest.mark.timeout(4 * 3600 if LONG else 600)]


def keep(series: str, messages: int, faults: int, kill_every: int, **programs: Any) -> Books:
    """The account of so many messages over so many faults, in which nothing is wrong."""
    install = installation(series)
    if install is None:
        give_up("there is no RabbitMQ %s here" % series)
    with Nodes() as nodes:
        node = nodes.start(install)
        books = Account(node, messages, faults, kill_every=kill_every, **programs).run()
    print("RabbitMQ %s: %s" % (node.version, books.summary()))
    print("faults: %s\nends: %s" % (dict(books.faults), dict(books.ends)))
    assert not books.wrong(), "%s\n%s" % ("\n".join(books.wrong()[:20]), books.summary())
    assert len(books.confirmed) == messages
    assert sum(books.faults.values()) == faults, books.faults
    return books


@pytest.mark.parametrize(
    ("series", "consumer"), [("3.10", "amqplib.client_0_8"), ("4.0", "amqplib.client_0_9_1")], ids=["3.10", "4.0"]
)
def test_nothing_is_lost(series: str, consumer: str) -> None:
    messages, faults, kill_every = (500000, 1000, 20) if LONG else (20000, 40, 10)
    keep(series, messages, faults, kill_every, consumer=consumer)


@pytest.mark.parametrize("series", ["3.10", "4.0"])
def test_nothing_is_lost_where_connections_come_back(series: str) -> None:
    """With programs in which there is no line of connecting again."""
    messages, faults, kill_every = (250000, 500, 20) if LONG else (20000, 40, 10)
    assert keep(series, messages, faults, kill_every, recover=True).recoveries >= faults
