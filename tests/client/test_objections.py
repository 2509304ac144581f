"""Proves that what the server objected to on a channel is told, though the connection is what is closed."""

from __future__ import annotations

import logging
from typing import Any, List

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91

from .frozen import AMQP_0_9_1
from .peer import Peer, method

WORDS = "NOT_FOUND - no exchange 'no-such-exchange' in vhost '/'"


def close_frame(peer: Peer, channel: int = 1, text: str = WORDS) -> bytes:
    return method("channel.close", 404, text, 60, 40, channel=channel, dialect=peer.dialect)


def publish(ch: Any) -> None:
    ch.basic_publish(amqp.Message(b"x"), "no-such-exchange", "x")


def part_after(peer: Peer, objections: bytes, count: int = 1) -> None:
    """The objections come before the close-ok."""
    peer.expect("connection.close", channel=0)
    peer.send_bytes(objections + method("connection.close_ok", channel=0, dialect=peer.dialect))
    peer.drain()


def assert_404(exc: BaseException, channel: int = 1) -> None:
    assert type(exc) is amqp.NotFound
    assert (exc.amqp_reply_code, exc.amqp_reply_text, exc.amqp_method_sig) == (404, WORDS, (60, 40))
    assert "channel %d of" % channel in str(exc)


def expect_publish(peer: Peer, channel: int = 1) -> None:
    peer.expect_content("basic.publish", message=({}, b"x"), channel=channel)


def test_close_raises_it(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    expect_publish(peer)
    part_after(peer, close_frame(peer))
    publish(ch)
    with pytest.raises(amqp.AMQPChannelException) as caught:
        conn.close()
    assert_404(caught.value)
    assert (conn.transport, conn.channels, ch.is_open) == (None, None, False)
    conn.close()


def test_close_raises_it_in_0_9_1(newer_peer: Peer, newer_conn: amqp91.Connection, newer: amqp91.Channel) -> None:
    expect_publish(newer_peer)
    part_after(newer_peer, close_frame(newer_peer))
    publish(newer)
    with pytest.raises(amqp91.AMQPChannelException) as caught:
        newer_conn.close()
    assert_404(caught.value)
    assert newer_peer.dialect is AMQP_0_9_1


def test_leaving_a_with_block_raises_it(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    expect_publish(peer)
    part_after(peer, close_frame(peer))
    with pytest.raises(amqp.AMQPChannelException) as caught, conn:
        publish(ch)
    assert_404(caught.value)


@pytest.mark.parametrize("kind", [KeyError, SystemExit])
def test_leaving_with_an_exception_logs_it(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The exception matters more, and may be sys.exit() at the end of a script."""
    expect_publish(peer)
    part_after(peer, close_frame(peer))
    publish(ch)
    with caplog.at_level(logging.WARNING, "amqplib"), pytest.raises(kind, match="mine"), conn:
        raise kind("mine")
    assert conn.transport is None
    assert ["404 NOT_FOUND" in record.getMessage() for record in caplog.records] == [True]


def test_so_does_leaving_a_channel_with_an_exception(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    expect_publish(peer)
    peer.expect("channel.close")
    peer.send_bytes(close_frame(peer) + method("channel.close_ok"))
    peer.expect("channel.close_ok")
    publish(ch)
    with caplog.at_level(logging.WARNING, "amqplib"), pytest.raises(KeyError, match="mine"), ch:
        raise KeyError("mine")
    assert ["404 NOT_FOUND" in record.getMessage() for record in caplog.records] == [True]
    peer.part()
    conn.close()


def test_of_several_the_first_is_raised_and_the_others_are_logged(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    peer.open_channel(2)
    peer.open_channel(3)
    channels = [ch, conn.channel(), conn.channel()]
    for number in (1, 2, 3):
        expect_publish(peer, number)
    part_after(peer, close_frame(peer, 2) + close_frame(peer, 1, "the second") + close_frame(peer, 3, "the third"))
    for each in channels:
        publish(each)
    with caplog.at_level(logging.WARNING, "amqplib"), pytest.raises(amqp.AMQPChannelException) as caught:
        conn.close()
    assert_404(caught.value, 2)
    logged = [record.getMessage() for record in caplog.records]
    assert [("404 the second" in text, "404 the third" in text) for text in logged] == [(True, False), (False, True)]


def test_what_was_told_is_not_raised_again(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    expect_publish(peer)
    peer.send_bytes(close_frame(peer))
    peer.expect("channel.close_ok")
    publish(ch)
    with pytest.raises(amqp.AMQPChannelException):
        ch.wait()
    peer.part()
    conn.close()


def test_though_the_number_has_been_taken_by_another_channel(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel
) -> None:
    """Another channel's call has read the objection; then the number was free again."""
    peer.open_channel(2)
    other = conn.channel()
    expect_publish(peer)
    peer.expect("tx.select", channel=2)
    peer.send_bytes(close_frame(peer) + method("tx.select_ok", channel=2))
    peer.expect("channel.close_ok")
    publish(ch)
    other.tx_select()
    peer.open_channel(1)
    again = conn.channel()
    assert again.channel_id == 1
    peer.part()
    with pytest.raises(amqp.AMQPChannelException) as caught:
        conn.close()
    assert_404(caught.value)


def test_closes_that_cross(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """The channel's own close has told it; the connection's close says nothing more."""
    expect_publish(peer)
    peer.expect("channel.close")
    peer.send_bytes(close_frame(peer) + method("channel.close_ok"))
    peer.expect("channel.close_ok")
    publish(ch)
    with pytest.raises(amqp.AMQPChannelException) as caught:
        ch.close()
    assert_404(caught.value)
    peer.part()
    conn.close()


def test_it_is_logged_where_closing_fails_for_another_reason(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    expect_publish(peer)
    peer.expect("connection.close", channel=0)
    peer.send_bytes(close_frame(peer))
    peer.drain()
    publish(ch)
    with caplog.at_level(logging.WARNING, "amqplib"), pytest.raises(amqp.AMQPTimeoutError):
        conn.close(timeout=1.0)
    assert ["404 NOT_FOUND" in record.getMessage() for record in caplog.records] == [True]


def test_objections_that_nobody_asks_for_take_no_more_and_more_memory(peer: Peer, conn: amqp.Connection) -> None:
    peer.open_channel(1)
    other = conn.channel()
    for _ in range(150):
        peer.open_channel(2)
        peer.expect("tx.select")
        peer.send_bytes(close_frame(peer, 2) + method("tx.select_ok"))
        peer.expect("channel.close_ok", channel=2)
    for _ in range(150):
        assert conn.channel().channel_id == 2
        other.tx_select()
    peer.part()
    kept: List[str] = []
    logger = logging.getLogger("amqplib")
    handler = logging.Handler()
    handler.emit = lambda record: kept.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    try:
        with pytest.raises(amqp.AMQPChannelException):
            conn.close()
    finally:
        logger.removeHandler(handler)
    assert len(kept) == 99
