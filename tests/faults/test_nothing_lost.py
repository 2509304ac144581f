"""The account of account.py, in its short form: on each RabbitMQ, while it and the network break again and again."""

from __future__ import annotations

import pytest

from tests.conftest import Brokers, Unavailable, give_up

from .account import Account
from .harness import LONG

pytestmark = [pytest.mark.soak, pytest.mark.timeout(4 * 3600 if LONG else 600)]


@pytest.mark.parametrize(
    ("series", "consumer"), [("3.10", "amqplib.client_0_8"), ("4.0", "amqplib.client_0_9_1")], ids=["3.10", "4.0"]
)
def test_nothing_is_lost(brokers: Brokers, series: str, consumer: str) -> None:
    try:
        node = brokers.mortal(series)
    except Unavailable as exc:
        give_up(str(exc))
    messages, faults, kill_every = (500000, 1000, 20) if LONG else (20000, 40, 10)
    account = Account(node, messages, faults, consumer=consumer, kill_every=kill_every)
    books = account.run()
    print(
        "RabbitMQ %s: %s\nfaults: %s\nends: %s" % (node.version, books.summary(), dict(books.faults), dict(books.ends))
    )
    assert not books.wrong(), "%s\n%s" % ("\n".join(books.wrong()[:20]), books.summary())
    assert len(books.confirmed) == messages
    assert sum(books.faults.values()) >= 0.9 * faults, books.faults
