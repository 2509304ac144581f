"""Proves that messages left unconfirmed by an end are told of as that end: what catches lost connections catches it."""

from __future__ import annotations

import errno
import pickle
from typing import Any, Callable, Dict, Tuple, Type

import pytest

import amqplib.client_0_9_1 as amqp

from .peer import Peer
from .test_confirmed_publishing import expect_publish, select
from .threads import Threads


def publish_and_wait(ch: amqp.Channel) -> None:
    ch.basic_publish(amqp.Message(b"1"), routing_key="q")
    ch.wait_for_confirms()


CALLS: Dict[str, Callable[[amqp.Channel], Any]] = {
    "publish_confirm": lambda ch: ch.basic_publish_confirm(amqp.Message(b"1"), routing_key="q"),
    "wait_for_confirms": publish_and_wait,
}

#: What ends it: the peer's step; the classes of the exception; its code, text, method and errno.
Way = Tuple[Callable[[Peer], None], Tuple[Type[BaseException], ...], int, str, Tuple[int, int], Any]


def close_channel(peer: Peer) -> None:
    peer.send("channel.close", 404, "no exchange", 60, 40)
    peer.expect("channel.close_ok")


def close_connection(peer: Peer) -> None:
    peer.send("connection.close", 320, "bye", 0, 0, channel=0)
    peer.expect("connection.close_ok", channel=0)


WAYS: Dict[str, Way] = {
    "channel.close": (close_channel, (amqp.AMQPChannelException,), 404, "no exchange", (60, 40), None),
    "connection.close": (close_connection, (amqp.AMQPConnectionException,), 320, "bye", (0, 0), None),
    "reset": (lambda peer: peer.reset(), (amqp.ConnectionLostError, OSError), 0, "lost", (0, 0), errno.ECONNRESET),
    "end": (lambda peer: peer.close(), (amqp.ConnectionLostError, OSError), 0, "a word", (0, 0), errno.ECONNRESET),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("way", WAYS)
def test_it_is_both(newer_peer: Peer, newer: amqp.Channel, way: str, call: str) -> None:
    end, kinds, code, text, method_sig, number = WAYS[way]
    select(newer_peer, newer)
    expect_publish(newer_peer, "q", b"1")
    end(newer_peer)
    with pytest.raises(amqp.UnconfirmedError) as caught:
        CALLS[call](newer)
    exc: Any = caught.value
    for kind in kinds:
        assert isinstance(exc, kind)
    assert isinstance(exc.__cause__, kinds)
    assert not isinstance(exc.__cause__, amqp.UnconfirmedError)
    assert (exc.amqp_reply_code, exc.amqp_method_sig) == (code, method_sig)
    assert text in exc.amqp_reply_text
    assert getattr(exc, "errno", None) == number
    assert exc.args == exc.__cause__.args
    assert "messages are not safe: 0 nacked, 0 returned as unroutable, 1 not confirmed" in str(exc)
    assert text in str(exc)
    again = pickle.loads(pickle.dumps(exc))
    assert type(again) is type(exc)
    assert (again.args, str(again)) == (exc.args, str(exc))
    assert getattr(again, "errno", None) == number
    assert [msg.body for msg in again.messages] == [b"1"]


def test_the_loop_of_the_overview_goes_on(newer_peer: Peer) -> None:
    """A second connection is made."""
    for _ in range(2):
        newer_peer.welcome()
        newer_peer.open_channel()
        newer_peer.answer("confirm.select", "confirm.select_ok")
        expect_publish(newer_peer, "q", b"1")
        newer_peer.reset()
    lost = 0
    while lost < 2:
        try:
            with amqp.Connection(newer_peer.address, heartbeat=0) as conn, conn.channel() as ch:
                ch.basic_publish_confirm(amqp.Message(b"1"), routing_key="q")
        except (amqp.AMQPConnectionException, OSError):
            lost += 1


def test_what_was_refused_before_the_end(newer_peer: Peer, newer: amqp.Channel) -> None:
    """Nothing is unconfirmed, and the end is told with it all the same."""
    select(newer_peer, newer)
    for n in (1, 2):
        expect_publish(newer_peer, "q", b"%d" % n)
        newer.basic_publish(amqp.Message(b"%d" % n), routing_key="q")
    newer_peer.send("basic.nack", 1, False, False)
    close_connection(newer_peer)
    with pytest.raises(amqp.AMQPConnectionException) as caught:
        newer.wait_for_confirms()
    assert isinstance(caught.value, amqp.UnconfirmedError)
    assert (list(caught.value.nacked), list(caught.value.unconfirmed)) == ([1], [2])


def test_told_again(newer_peer: Peer, newer: amqp.Channel) -> None:
    """A channel that was closed before this call."""
    select(newer_peer, newer)
    expect_publish(newer_peer, "q", b"1")
    close_channel(newer_peer)
    newer.basic_publish(amqp.Message(b"1"), routing_key="q")
    with pytest.raises(amqp.AMQPChannelException):
        newer.wait()
    with pytest.raises(amqp.ChannelClosedError, match="404 no exchange") as caught:
        newer.wait_for_confirms()
    assert isinstance(caught.value, amqp.UnconfirmedError)
    assert isinstance(caught.value, AttributeError)


def test_a_call_while_another_thread_closes_the_connection(
    newer_peer: Peer, newer_conn: amqp.Connection, newer: amqp.Channel, threads: Threads
) -> None:
    """It is the connection that ends, so that is what the exception is, as it will be a moment later."""
    newer_peer.expect("connection.close", channel=0)
    threads.start(newer_conn.close)
    newer_peer.wait()
    with pytest.raises(amqp.ConnectionLostError, match="this program is closing the connection"):
        newer.basic_publish(amqp.Message(b"1"), routing_key="q")
    newer_peer.send("connection.close_ok", channel=0)
    assert threads.results() == [None]
