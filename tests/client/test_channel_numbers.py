"""Proves how channels are numbered: the lowest free number, one asked for, the same again, and none left."""

from __future__ import annotations

from typing import Any

import pytest

import amqplib.client_0_8 as amqp

from .peer import Peer


def numbers(conn: amqp.Connection) -> Any:
    assert conn.channels is not None
    return sorted(conn.channels)


def test_the_lowest_free_number(peer: Peer, conn: amqp.Connection) -> None:
    opened = {}
    for number in (1, 2, 3):
        peer.open_channel(number)
        opened[number] = conn.channel()
        assert opened[number].channel_id == number
    peer.answer("channel.close", "channel.close_ok", channel=2)
    opened[2].close()
    assert numbers(conn) == [0, 1, 3]
    for number in (2, 4):
        peer.open_channel(number)
        assert conn.channel().channel_id == number
    assert numbers(conn) == [0, 1, 2, 3, 4]


def test_a_number_asked_for(peer: Peer, conn: amqp.Connection) -> None:
    for number in (2, 2047):
        peer.open_channel(number)
        assert conn.channel(number).channel_id == number
    for number in (1, 3):  # 2 is taken
        peer.open_channel(number)
        assert conn.channel().channel_id == number
    peer.open_channel(9)
    assert conn.channel(channel_id=9).channel_id == 9


def test_the_same_again(peer: Peer, conn: amqp.Connection) -> None:
    """Nothing is sent for it."""
    peer.open_channel(7)
    ch = conn.channel(7)
    assert conn.channel(7) is ch
    peer.answer("channel.close", "channel.close_ok", channel=7)
    ch.close()
    peer.open_channel(7)
    again = conn.channel(7)
    assert again is not ch
    assert again.is_open
    assert not ch.is_open


def test_a_number_of_a_channel_that_the_server_closed(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    peer.expect("queue.purge")
    peer.send("channel.close", 404, "no queue", 50, 30)
    peer.expect("channel.close_ok")
    with pytest.raises(amqp.AMQPChannelException):
        ch.queue_purge("q")
    peer.open_channel(1)
    assert conn.channel(1) is not ch
    assert numbers(conn) == [0, 1]


@pytest.mark.parametrize("number", [0, -1, 2048, 65536, 10**30, "1", 1.0, b"1"])
def test_no_such_number(peer: Peer, conn: amqp.Connection, number: Any) -> None:
    with pytest.raises(ValueError, match="channel_id: "):
        conn.channel(number)
    assert numbers(conn) == [0]


def test_all_numbers_in_use(peer: Peer) -> None:
    peer.welcome(channel_max=3)
    with amqp.Connection(peer.address) as conn:
        for number in (1, 2, 3):
            peer.open_channel(number)
            last = conn.channel()
        with pytest.raises(ValueError, match="all 3 channels"):
            conn.channel()
        with pytest.raises(ValueError, match="channel_id: 4"):
            conn.channel(4)
        peer.answer("channel.close", "channel.close_ok", channel=3)
        last.close()
        peer.open_channel(3)
        conn.channel()
        peer.part()


def test_a_channel_made_by_its_class(peer: Peer, conn: amqp.Connection) -> None:
    peer.open_channel(1)
    first = amqp.Channel(conn)
    peer.open_channel(5)
    second = amqp.Channel(conn, 5, auto_decode=False)
    peer.open_channel(6)
    third = amqp.Channel(connection=conn, channel_id=6, auto_decode=True)
    assert conn.channels == {0: conn, 1: first, 5: second, 6: third}
    assert conn.channel(5) is second
    assert (first.auto_decode, second.auto_decode, third.auto_decode) == (True, False, True)
    with pytest.raises(ValueError, match=r"channel 5 of .* is in use"):
        amqp.Channel(conn, 5)


def test_the_server_refuses_to_open_one(peer: Peer, conn: amqp.Connection) -> None:
    peer.expect("channel.open")
    peer.send("channel.close", 504, "too many", 20, 10)
    peer.expect("channel.close_ok")
    with pytest.raises(amqp.AMQPChannelException) as caught:
        conn.channel()
    assert caught.value.args == (504, "too many", (20, 10), "Channel.open")
    assert numbers(conn) == [0]
    peer.open_channel(1)
    conn.channel()


def test_messages_for_a_channel_go_to_it(peer: Peer, conn: amqp.Connection) -> None:
    channels = []
    for number in (1, 2, 3):
        peer.open_channel(number)
        channels.append(conn.channel())
    for number in (3, 1, 2):
        peer.answer("queue.purge", "queue.purge_ok", 10 * number, channel=number)
        assert channels[number - 1].queue_purge() == 10 * number
