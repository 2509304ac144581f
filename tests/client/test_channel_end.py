"""Proves how a channel ends: closed by the program, by the server, or both at once; its number is free again then."""

from __future__ import annotations

from typing import Any, Callable, Dict, List

import pytest

import amqplib.client_0_8 as amqp

from .peer import Peer, content, method

ARGS = (404, "NOT_FOUND - no queue 'q'", 50, 30)
CLOSE = method("channel.close", *ARGS)
RAISED = (404, "NOT_FOUND - no queue 'q'", (50, 30), "Channel.queue_purge")

CALLS: Dict[str, Callable[[amqp.Channel], Any]] = {
    "sync": lambda ch: ch.queue_declare("q"),
    "nowait": lambda ch: ch.queue_declare("q", nowait=True),
    "publish": lambda ch: ch.basic_publish(amqp.Message(b"x")),
    "ack": lambda ch: ch.basic_ack(1),
    "consume": lambda ch: ch.basic_consume("q", "tag", nowait=True),
    "cancel": lambda ch: ch.basic_cancel("tag"),
    "get": lambda ch: ch.basic_get("q"),
    "flow": lambda ch: ch.flow(True),
    "commit": lambda ch: ch.tx_commit(),
    "wait": lambda ch: ch.wait(),
    "wait for a method": lambda ch: ch.wait([(60, 60)]),
}


@pytest.fixture
def other(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> amqp.Channel:
    """Channel 2."""
    peer.open_channel(2)
    return conn.channel()


def assert_closed(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """The channel is closed, the connection is not, and the number can be used again."""
    assert (ch.is_open, ch.connection, ch.callbacks) == (False, None, {})
    assert conn.channels is not None
    assert 1 not in conn.channels
    ch.close()
    peer.open_channel(1)
    again = conn.channel(1)
    peer.answer("tx.select", "tx.select_ok")
    again.tx_select()


def call_and_fail(ch: amqp.Channel, call: Callable[[amqp.Channel], Any]) -> None:
    """The call raises what the server said."""
    with pytest.raises(amqp.AMQPChannelException) as caught:
        call(ch)
    assert type(caught.value) is amqp.NotFound
    assert caught.value.args == RAISED
    assert "channel 1" in str(caught.value)
    assert "404 NOT_FOUND" in str(caught.value)


# --- by the program ----------------------------------------------------------------------------------------


def test_closing(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    ch.callbacks["tag"] = print
    peer.expect("channel.close")
    peer.send_bytes(content("basic.deliver", "tag", 1, False, "", "q") + method("channel.close_ok"))
    ch.close()
    ch.close()
    assert_closed(peer, conn, ch)


@pytest.mark.parametrize("name", CALLS)
def test_calls_on_a_closed_channel(peer: Peer, conn: amqp.Connection, ch: amqp.Channel, name: str) -> None:
    peer.answer("channel.close", "channel.close_ok")
    ch.close()
    with pytest.raises(
        amqp.ChannelClosedError, match=r"channel 1 is closed: by this program.*; open another one: conn.channel\(\)"
    ) as caught:
        CALLS[name](ch)
    assert isinstance(caught.value, amqp.AMQPChannelException)
    assert isinstance(caught.value, AttributeError)  # what old programs caught here
    assert not isinstance(caught.value, amqp.AMQPConnectionException)


def test_a_close_that_cannot_be_sent_changes_nothing(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    with pytest.raises(ValueError, match="reply_text"):
        ch.close(reply_text="x" * 256)
    peer.answer("tx.select", "tx.select_ok")
    ch.tx_select()
    peer.expect("tx.commit")
    peer.send_bytes(CLOSE)
    peer.expect("channel.close_ok")
    call_and_fail(ch, lambda ch: ch.tx_commit())
    assert_closed(peer, conn, ch)


def test_deliveries_before_the_close_stay_unhandled(peer: Peer, ch: amqp.Channel) -> None:
    """Nobody can acknowledge them any more."""
    got: List[Any] = []
    ch.callbacks["tag"] = got.append
    peer.expect("channel.close")
    peer.send_bytes(content("basic.deliver", "tag", 1, False, "", "q") + method("channel.close_ok"))
    ch.close()
    assert (got, ch.pending()) == ([], 0)


# --- by the server -----------------------------------------------------------------------------------------

READERS = {"sync": "queue.declare", "get": "basic.get", "wait": "", "wait for a method": "", "commit": "tx.commit"}


@pytest.mark.parametrize("name", READERS)
def test_closed_by_the_server(peer: Peer, conn: amqp.Connection, ch: amqp.Channel, name: str) -> None:
    if READERS[name]:
        peer.expect(READERS[name])
    peer.send_bytes(CLOSE)
    peer.expect_bytes(method("channel.close_ok"))
    call_and_fail(ch, CALLS[name])
    assert_closed(peer, conn, ch)


@pytest.mark.parametrize("name", CALLS)
def test_found_by_the_next_call(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, other: amqp.Channel, name: str
) -> None:
    """Read by another channel's call, it is raised by the next one of its own, which sends nothing but close-ok."""
    peer.expect("tx.select", channel=2)
    peer.send_bytes(CLOSE + method("tx.select_ok", channel=2))
    other.tx_select()
    assert ch.is_open
    peer.expect_bytes(method("channel.close_ok"))
    call_and_fail(ch, CALLS[name])
    with pytest.raises(amqp.ChannelClosedError, match="404 NOT_FOUND"):
        CALLS[name](ch)
    assert_closed(peer, conn, ch)
    peer.answer("tx.commit", "tx.commit_ok", channel=2)
    other.tx_commit()


def test_found_by_close(peer: Peer, conn: amqp.Connection, ch: amqp.Channel, other: amqp.Channel) -> None:
    peer.expect("tx.select", channel=2)
    peer.send_bytes(CLOSE + method("tx.select_ok", channel=2))
    other.tx_select()
    peer.expect_bytes(method("channel.close_ok"))
    call_and_fail(ch, lambda ch: ch.close())
    assert_closed(peer, conn, ch)


def test_a_reply_before_the_close_counts(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    peer.expect("queue.purge")
    peer.send_bytes(method("queue.purge_ok", 3) + CLOSE)
    assert ch.queue_purge() == 3
    peer.expect_bytes(method("channel.close_ok"))
    call_and_fail(ch, lambda ch: ch.basic_publish(amqp.Message(b"x")))
    assert_closed(peer, conn, ch)


def test_deliveries_before_the_close_are_handled_first(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    got: List[amqp.Message] = []
    ch.callbacks["tag"] = got.append
    delivery = content("basic.deliver", "tag", 1, False, "", "q", message=({}, b"x"))
    peer.send_bytes(delivery + delivery + CLOSE)
    peer.expect("channel.close_ok")
    ch.wait()
    ch.wait()
    call_and_fail(ch, lambda ch: ch.wait())
    assert len(got) == 2
    assert_closed(peer, conn, ch)


def test_the_server_closes_what_is_being_closed(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """Both closes cross: the server answers ours, before or after it has the answer to its own."""
    peer.expect("channel.close")
    peer.send_bytes(CLOSE)
    peer.expect_bytes(method("channel.close_ok"))
    call_and_fail(ch, lambda ch: ch.close())
    assert not ch.is_open
    peer.send("channel.close_ok")
    peer.open_channel(2)  # 1 is in use until its close-ok is there
    second = conn.channel()
    assert second.channel_id == 2
    peer.answer("tx.select", "tx.select_ok", channel=2)
    second.tx_select()
    assert_closed(peer, conn, ch)


def test_the_server_closes_what_is_being_closed_and_answers_at_once(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel
) -> None:
    peer.expect("channel.close")
    peer.send_bytes(CLOSE + method("channel.close_ok"))
    peer.expect_bytes(method("channel.close_ok"))
    call_and_fail(ch, lambda ch: ch.close())
    assert_closed(peer, conn, ch)


def test_a_content_on_its_way_when_the_server_closes(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    """The rest of it never comes; what is sent on the channel's next life is no part of it."""
    whole = content("basic.deliver", "tag", 1, False, "", "q", message=({}, b"body"))
    peer.send_bytes(content("basic.deliver", "tag", 1, False, "", "q", message=({}, b"x")) + whole[:-12])
    ch.wait()
    peer.answer("channel.close", "channel.close_ok")
    with pytest.raises(amqp.ConnectionLostError, match="broke the protocol"):
        ch.close()  # a method in the middle of a content is against the protocol
    peer.drain()
    assert conn.transport is None


def test_in_a_with_block(peer: Peer, conn: amqp.Connection, ch: amqp.Channel) -> None:
    peer.expect("queue.purge")
    peer.send_bytes(CLOSE)
    peer.expect("channel.close_ok")
    with pytest.raises(amqp.AMQPChannelException, match="404"), ch:
        ch.queue_purge("q")
    assert_closed(peer, conn, ch)


def test_an_exception_in_a_with_block_is_not_masked(
    peer: Peer, conn: amqp.Connection, ch: amqp.Channel, other: amqp.Channel
) -> None:
    peer.expect("tx.select", channel=2)
    peer.send_bytes(CLOSE + method("tx.select_ok", channel=2))
    other.tx_select()
    peer.expect("channel.close_ok")
    with pytest.raises(KeyError, match="mine"), ch:
        raise KeyError("mine")
    assert_closed(peer, conn, ch)
