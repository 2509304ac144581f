"""Timestamps with amqplib.client_0_9_1: aware, UTC, to the second; in properties, headers and what RabbitMQ adds."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from amqplib.client_0_9_1 import Channel, Message

from .helpers import get

pytestmark = pytest.mark.only(client="client_0_9_1", reason="client_0_8 has naive local times")

MOMENTS = [
    datetime(2026, 11, 23, 12, 30, 15, tzinfo=timezone.utc),
    datetime(1970, 1, 3, tzinfo=timezone.utc),
    datetime(2026, 11, 23, 12, 30, 15, tzinfo=timezone(timedelta(hours=5, minutes=30))),
]


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_there_and_back(ch: Channel, queue: str, moment: datetime) -> None:
    headers = {"when": moment, "nested": {"list": [moment]}}
    ch.basic_publish(Message("x", timestamp=moment, application_headers=headers), routing_key=queue)
    msg = get(ch, queue)
    assert msg.timestamp == moment
    assert msg.application_headers == headers
    times = [msg.timestamp, msg.application_headers["when"], msg.application_headers["nested"]["list"][0]]
    assert [time.tzinfo for time in times] == [timezone.utc] * 3


def test_naive_is_local(ch: Channel, queue: str) -> None:
    naive = datetime(2026, 7, 1, 12, 0)
    ch.basic_publish(Message("x", timestamp=naive), routing_key=queue)
    assert get(ch, queue).timestamp == naive.astimezone()


def test_of_a_death(ch: Channel, queue: str) -> None:
    """x-death, which RabbitMQ adds itself, is an array of tables with a timestamp."""
    dead = ch.queue_declare(
        exclusive=True,
        auto_delete=False,
        arguments={"x-message-ttl": 1, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue},
    )[0]
    before = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(seconds=1)
    ch.basic_publish(Message("x", application_headers={"a": 1}), routing_key=dead)
    (death,) = get(ch, queue).application_headers["x-death"]
    assert death["queue"] == dead
    assert death["reason"] == "expired"
    assert before <= death["time"] <= datetime.now(timezone.utc) + timedelta(seconds=1)
