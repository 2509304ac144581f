"""Channels: by number, without one, and again; their end; many of them."""

from __future__ import annotations

from typing import Dict, List

import pytest

from amqplib.client.channel import Channel
from amqplib.client.connection import Connection
from amqplib.client.exceptions import ChannelClosedError
from tests.live.conftest import Names
from tests.live.helpers import bodies, over, publish


def test_by_number_without_and_again(conn: Connection) -> None:
    ch = conn.channel(1)
    assert ch.channel_id == 1
    ch2 = conn.channel()
    assert ch2.channel_id == 2
    ch3 = conn.channel(1)
    assert ch3 is ch
    assert conn.channels == {0: conn, 1: ch, 2: ch2}


def test_the_lowest_free_number(conn: Connection) -> None:
    channels = [conn.channel() for _ in range(5)]
    assert [ch.channel_id for ch in channels] == [1, 2, 3, 4, 5]
    channels[1].close()
    channels[3].close()
    assert [conn.channel().channel_id for _ in range(3)] == [2, 4, 6]


def test_a_number_used_again(conn: Connection) -> None:
    first = conn.channel(7)
    first.close()
    second = conn.channel(7)
    assert second is not first
    assert over(first)
    assert not over(second)


def test_the_highest_number(conn: Connection) -> None:
    assert conn.channel(conn.channel_max).channel_id == conn.channel_max


@pytest.mark.parametrize("number", [-1, 0, 65536, "1", 1.5])
def test_no_such_number(conn: Connection, number: int) -> None:
    with pytest.raises(ValueError, match="channel_id"):
        conn.channel(number)
    assert conn.channel().channel_id == 1


def test_a_number_beyond_what_the_server_allows(conn: Connection) -> None:
    if conn.channel_max == 65535:
        pytest.skip("this server allows all of them")
    with pytest.raises(ValueError, match="1 to %d" % conn.channel_max):
        conn.channel(conn.channel_max + 1)


def test_close_does_not_affect_others(conn: Connection, queue: str) -> None:
    ch1, ch2 = conn.channel(), conn.channel()
    ch2.close()
    assert over(ch2)
    assert not over(ch1)
    publish(ch1, queue, "still here")
    assert bodies(ch1, queue) == ["still here"]
    assert conn.channels
    assert ch2 not in conn.channels.values()


def test_close_twice(ch: Channel) -> None:
    ch.close()
    ch.close()
    assert over(ch)


def test_close_says_why(ch: Channel) -> None:
    ch.close(200, "done", (50, 10))
    assert over(ch)


def test_calls_on_a_closed_channel(ch: Channel) -> None:
    ch.close()
    with pytest.raises(ChannelClosedError, match="channel 1 is closed: by this program"):
        ch.queue_declare()
    with pytest.raises(ChannelClosedError):
        ch.basic_ack(1)
    with pytest.raises(ChannelClosedError):
        ch.wait()
    with pytest.raises(AttributeError):
        ch.basic_cancel("tag")


def test_with_statement(conn: Connection) -> None:
    with conn.channel() as ch:
        assert not over(ch)
    assert over(ch)
    assert not over(conn)


def test_close_makes_sure_of_what_was_published(conn: Connection, queue: str) -> None:
    with conn.channel() as ch:
        publish(ch, queue, *map(str, range(500)))
    assert bodies(conn.channel(), queue) == [str(n) for n in range(500)]


def test_close_of_the_connection_closes_channels(conn: Connection) -> None:
    channels = [conn.channel() for _ in range(3)]
    conn.close()
    assert all(map(over, channels))


def test_two_thousand_one_after_another(conn: Connection) -> None:
    for _ in range(2000):
        ch = conn.channel()
        assert ch.channel_id == 1
        ch.close()
    assert conn.channels == {0: conn}


def test_two_thousand_at_once(conn: Connection) -> None:
    size = min(2000, conn.channel_max)
    channels = [conn.channel() for _ in range(size)]
    assert sorted(conn.channels or {}) == list(range(size + 1))
    for ch in channels[::2] + channels[1::2]:
        ch.close()
    assert conn.channels == {0: conn}


def test_two_channels_in_turns(conn: Connection, names: Names) -> None:
    """Each has its own consumer, calls and deliveries, and gets nothing of the other's."""
    seen: Dict[Channel, List[str]] = {}
    channels = [conn.channel(), conn.channel()]
    queues = [names.queue(), names.queue()]
    for ch, queue in zip(channels, queues):
        seen[ch] = []
        ch.queue_declare(queue, auto_delete=False)
        ch.basic_consume(queue, no_ack=True, callback=lambda msg: seen[msg.channel].append(msg.body))
    for n in range(50):
        publish(channels[n % 2], queues[0], "a%d" % n)
        publish(channels[n % 2], queues[1], "b%d" % n)
        channels[n % 3 % 2].queue_declare(queues[n % 2], passive=True)
    while len(seen[channels[1]]) < 50:
        channels[1].wait()
    assert seen[channels[0]] == []
    while len(seen[channels[0]]) < 50:
        channels[0].wait()
    for ch, letter in zip(channels, "ab"):
        # even and odd numbers came over channels of their own, so order is kept among themselves only
        for parity in (0, 1):
            expected = ["%s%d" % (letter, n) for n in range(parity, 50, 2)]
            assert [body for body in seen[ch] if int(body[1:]) % 2 == parity] == expected
