"""Proves how long it takes to leave with-statements while the broker is blocked or stalled: one deadline for all."""

from __future__ import annotations

import contextlib
import time
from typing import Any, List

import pytest

import amqplib.client_0_8 as amqp08
import amqplib.client_0_9_1 as amqp
from amqplib.client.leaving import Leaving
from amqplib.client.timeouts import Timeouts
from tests.waits import Asked, waits

from .peer import PATIENCE, Peer


def connect(peer: Peer, **options: Any) -> amqp.Connection:
    peer.welcome()
    peer.open_channel()
    return amqp.Connection(peer.address, heartbeat=0, **options)


def block(peer: Peer, conn: amqp.Connection) -> None:
    peer.send("connection.blocked", "low on memory", channel=0)
    conn.wait(timeout=PATIENCE)


def test_one_deadline_while_the_broker_is_blocked(newer_peer: Peer, timeouts: List[Timeouts]) -> None:
    """reply_timeout and blocked_timeout count once; both closes are sent."""
    conn = connect(newer_peer, blocked_timeout=0.4)
    ch = conn.channel()
    block(newer_peer, conn)
    timeouts[-1].reply_timeout = 0.4
    newer_peer.expect("channel.close")
    newer_peer.expect("connection.close", channel=0)
    newer_peer.expect_end()
    with waits(0.75, 0.81), pytest.raises(amqp.AMQPTimeoutError, match=r"no Channel\.close_ok"), conn, ch:
        pass
    assert conn.transport is None


def test_one_deadline_for_closes_that_are_answered_slowly(newer_peer: Peer) -> None:
    """The second close has what the first has left."""
    conn = connect(newer_peer, reply_timeout=2.0)
    ch = conn.channel()
    newer_peer.expect("channel.close")
    newer_peer.do(lambda: time.sleep(0.2))
    newer_peer.send("channel.close_ok")
    newer_peer.expect("connection.close", channel=0)
    newer_peer.expect_end()
    with waits(1.95, 2.01), pytest.raises(amqp.AMQPTimeoutError, match=r"no Connection\.close_ok"), conn, ch:
        pass


def raise_inside(conn: amqp.Connection, ch: Any) -> None:
    with conn, ch:
        raise KeyError("mine")


def test_an_exception_leaves_within_close_timeout(newer_peer: Peer) -> None:
    conn = connect(newer_peer, close_timeout=0.3)
    ch = conn.channel()
    block(newer_peer, conn)
    newer_peer.expect("channel.close")
    newer_peer.expect("connection.close", channel=0)
    newer_peer.expect_end()
    with waits(0.28, 0.31), pytest.raises(KeyError, match="mine"):
        raise_inside(conn, ch)


def test_what_is_closed_after_that_has_as_long_as_ever(newer_peer: Peer, timeouts: List[Timeouts]) -> None:
    conn = connect(newer_peer, close_timeout=0.1)
    ch = conn.channel()
    newer_peer.answer("channel.close", "channel.close_ok")
    with pytest.raises(KeyError, match="mine"), ch:
        raise KeyError("mine")
    timeouts[-1].reply_timeout = 0.4
    newer_peer.expect("connection.close", channel=0)
    newer_peer.expect_end()
    with waits(0.38, 0.41), pytest.raises(amqp.AMQPTimeoutError):
        conn.close()


def test_or_sooner_where_any_answer_is_waited_for_less(newer_peer: Peer) -> None:
    """Leaving by an exception does not take longer than leaving without one."""
    conn = connect(newer_peer, reply_timeout=0.3)
    ch = conn.channel()
    newer_peer.expect("channel.close")
    newer_peer.expect("connection.close", channel=0)
    newer_peer.expect_end()
    with waits(0.28, 0.31), pytest.raises(KeyError, match="mine"):
        raise_inside(conn, ch)


def test_a_loop_whose_end_is_not_answered(newer_peer: Peer, timeouts: List[Timeouts]) -> None:
    """It has been waited for already; the connection's close is sent, and not waited for."""
    before: List[float] = []
    conn = connect(newer_peer, close_timeout=PATIENCE)
    ch = conn.channel()
    newer_peer.answer("basic.consume", "basic.consume_ok", "tag")
    newer_peer.send_content("basic.deliver", "tag", 1, False, "", "q")
    newer_peer.expect("basic.cancel", "tag", False)
    newer_peer.expect("channel.close")
    newer_peer.expect("connection.close", channel=0)
    newer_peer.expect_end()

    def work() -> None:
        with conn, ch, contextlib.closing(ch.consume("q")) as messages:  # not all Pythons end it as it is left
            for _ in messages:
                timeouts[-1].reply_timeout = 1.0
                before.append(asked.seconds)
                raise KeyError("mine")

    with Asked() as asked, pytest.raises(KeyError, match="mine"):
        work()
    assert 0.95 <= asked.seconds - before[0] <= 1.01


def a_loop(peer: Peer, ch: amqp.Channel) -> Any:
    """One over two messages, of which it has seen the first; the peer does not answer its end."""
    peer.answer("basic.consume", "basic.consume_ok", "tag")
    for number in (1, 2):
        peer.send_content("basic.deliver", "tag", number, False, "", "q")
    peer.answer("queue.purge", "queue.purge_ok", 0)
    peer.expect("basic.cancel", "tag", False)
    peer.expect("basic.reject", 2, True)
    messages = ch.consume("q")
    ch.queue_purge("other")
    next(messages)
    return messages


@pytest.mark.parametrize("how", ["break", "exception"])
def test_a_loop_that_is_left_is_waited_for_until_close_timeout(
    newer_peer: Peer, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """Its consumer has ended then: what had come and comes late goes back. The channel goes on, and a late answer is
    none to anything else."""
    conn = connect(newer_peer, close_timeout=0.3)
    ch = conn.channel()
    messages = a_loop(newer_peer, ch)
    with waits(0.28, 0.31):
        if how == "break":
            messages.close()
        else:
            with pytest.raises(KeyError):
                messages.throw(KeyError("mine"))
    assert ch.is_open
    assert not ch.callbacks
    assert "the end of consumer 'tag' is not waited for any more" in caplog.text
    newer_peer.expect("basic.consume", 0, "q", "other", False, False, False, False, {})
    newer_peer.send_content("basic.deliver", "tag", 3, False, "", "q")
    newer_peer.send("basic.cancel_ok", "tag")
    newer_peer.send("basic.consume_ok", "other")
    newer_peer.expect("basic.reject", 3, True)
    newer_peer.expect("basic.cancel", "other", False)
    newer_peer.send("basic.cancel_ok", "other")
    ch.basic_consume("q", "other", callback=lambda msg: None)
    ch.wait(timeout=PATIENCE)
    ch.basic_cancel("other")
    newer_peer.part()
    conn.close()


def test_the_closes_behind_such_a_loop_do_not_wait(newer_peer: Peer) -> None:
    conn = connect(newer_peer, close_timeout=0.3)
    ch = conn.channel()
    loops = [a_loop(newer_peer, ch)]
    newer_peer.expect("channel.close")
    newer_peer.expect("connection.close", channel=0)
    newer_peer.expect_end()
    with waits(0.28, 0.31), pytest.raises(KeyError, match="mine"), conn, ch, contextlib.closing(loops.pop()):
        raise KeyError("mine")


def test_and_within_five_seconds_by_default(newer_peer: Peer, timeouts: List[Timeouts]) -> None:
    newer_peer.welcome()
    conn = amqp.Connection(newer_peer.address)
    assert [each.close_timeout for each in timeouts] == [5.0]
    newer_peer.part()
    conn.close()


def test_client_0_8_has_none_unless_it_is_given(peer: Peer, timeouts: List[Timeouts]) -> None:
    """As long as for any other answer."""
    peer.welcome()
    peer.open_channel()
    conn = amqp08.Connection(peer.address)
    ch = conn.channel()
    timeouts[-1].reply_timeout = 0.5
    peer.expect("channel.close")
    peer.expect("connection.close", channel=0)
    peer.expect_end()
    with waits(0.45, 0.51), pytest.raises(KeyError), conn, ch:
        raise KeyError


def test_closes_without_with(newer_peer: Peer, timeouts: List[Timeouts]) -> None:
    """What follows upon a close that was not answered does not wait; a timeout of its own holds."""
    conn = connect(newer_peer)
    ch = conn.channel()
    timeouts[-1].reply_timeout = 0.3
    newer_peer.expect("channel.close")
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.close()
    newer_peer.expect("connection.close", channel=0)
    newer_peer.expect_end()
    with waits(0, 0.01), pytest.raises(amqp.AMQPTimeoutError):
        conn.close()


def test_a_close_with_a_timeout_of_its_own_says_nothing_about_the_next(newer_peer: Peer) -> None:
    """The program was in a hurry, or another thread's call was in the way: the broker may be well."""
    conn = connect(newer_peer, reply_timeout=PATIENCE)
    ch = conn.channel()
    newer_peer.expect("channel.close")
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.close(timeout=0.05)
    newer_peer.expect("connection.close", channel=0)
    newer_peer.do(lambda: time.sleep(0.1))
    newer_peer.send("connection.close_ok", channel=0)
    newer_peer.expect_end()
    conn.close()


def test_a_close_later_on_waits_again(newer_peer: Peer, timeouts: List[Timeouts]) -> None:
    """The broker has answered something since."""
    conn = connect(newer_peer)
    ch = conn.channel()
    timeouts[-1].reply_timeout = 0.1
    newer_peer.expect("channel.close")
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.close()
    timeouts[-1].reply_timeout = PATIENCE
    newer_peer.open_channel(2)
    conn.channel()
    newer_peer.expect("connection.close", channel=0)
    newer_peer.do(lambda: time.sleep(0.1))
    newer_peer.send("connection.close_ok", channel=0)
    newer_peer.expect_end()
    conn.close()


def test_several_channels(newer_peer: Peer, timeouts: List[Timeouts]) -> None:
    conn = connect(newer_peer)
    newer_peer.open_channel(2)
    one, two = conn.channel(), conn.channel()
    timeouts[-1].reply_timeout = 0.3
    newer_peer.expect("channel.close", channel=2)
    newer_peer.expect("channel.close", channel=1)
    newer_peer.expect("connection.close", channel=0)
    newer_peer.expect_end()
    with waits(0.28, 0.31), pytest.raises(amqp.AMQPTimeoutError, match="channel 2"), conn, one, two:
        pass


@pytest.mark.parametrize("what", ["channel", "connection", "call"])
def test_on_blocked_is_called_by_the_call_that_notices_it_and_times_out(
    newer_peer: Peer, timeouts: List[Timeouts], what: str
) -> None:
    told: List[str] = []
    conn = connect(newer_peer, blocked_timeout=0.2, on_blocked=told.append)
    ch = conn.channel()
    timeouts[-1].reply_timeout = 0.1
    newer_peer.send("connection.blocked", "low on memory", channel=0)
    newer_peer.wait()
    newer_peer.expect(
        {"channel": "channel.close", "connection": "connection.close", "call": "queue.purge"}[what],
        channel=0 if what == "connection" else 1,
    )
    newer_peer.drain()
    with pytest.raises(amqp.AMQPTimeoutError, match="low on memory"):
        {"channel": ch.close, "connection": conn.close, "call": lambda: ch.queue_purge("q")}[what]()
    assert told == ["low on memory"]
    if what != "connection":
        with pytest.raises(amqp.AMQPTimeoutError):
            conn.close()


@pytest.mark.parametrize(("answered", "seconds"), [(True, 5.0), (False, 0)])
def test_a_loop_that_ends_behind_a_close(answered: bool, seconds: float) -> None:
    """Only where the close was not answered there is no hope of another answer."""
    timeouts, leaving = Timeouts(reply_timeout=5.0), Leaving()
    leaving.closed(3, timeouts.answering(), answered)
    assert leaving.cancelling_until(timeouts, 3).seconds == seconds
    assert leaving.cancelling_until(timeouts, 4).seconds == 5.0  # something else has been sent since
