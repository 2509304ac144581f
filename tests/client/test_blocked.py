"""Proves what happens while the broker takes no publishes (connection.blocked): what waits, raises, and is told."""

from __future__ import annotations

import time
from typing import Any, Deque, List

import pytest

import amqplib.client_0_9_1 as amqp
from amqplib.client.notices import Notices
from amqplib.client.timeouts import Timeouts
from tests.rest import await_rest
from tests.waits import waits

from .ends import give_up
from .frozen import AMQP_0_9_1
from .peer import PATIENCE, Peer, method

BLOCKED = method("connection.blocked", "low on memory", channel=0, dialect=AMQP_0_9_1)
UNBLOCKED = method("connection.unblocked", channel=0, dialect=AMQP_0_9_1)

MESSAGE = ({"content_encoding": "UTF-8"}, b"x")


def connect(peer: Peer, **options: Any) -> amqp.Connection:
    peer.welcome()
    return amqp.Connection(peer.address, heartbeat=0, **options)


def open_channel(peer: Peer, conn: amqp.Connection) -> amqp.Channel:
    peer.open_channel()
    return conn.channel()


def block(peer: Peer, conn: amqp.Connection) -> None:
    peer.send("connection.blocked", "low on memory", channel=0)
    conn.wait(timeout=PATIENCE)


@pytest.fixture
def told() -> List[str]:
    return []


def part(peer: Peer, conn: amqp.Connection) -> None:
    peer.part()
    conn.close()


def test_publishing_raises_at_once(newer_peer: Peer) -> None:
    conn = connect(newer_peer, blocked_timeout=0)
    ch = open_channel(newer_peer, conn)
    block(newer_peer, conn)
    with pytest.raises(amqp.ConnectionBlockedError, match=r"nothing was published; .* blocked .* low on memory"):
        ch.basic_publish(amqp.Message("x"))
    assert ch.is_open
    part(newer_peer, conn)


def test_publishing_waits_for_a_time(newer_peer: Peer) -> None:
    conn = connect(newer_peer, blocked_timeout=0.2)
    ch = open_channel(newer_peer, conn)
    began = time.monotonic()
    block(newer_peer, conn)
    with waits(0.18, 0.21, began), pytest.raises(amqp.AMQPTimeoutError):
        ch.basic_publish(amqp.Message("x"))
    part(newer_peer, conn)


def test_publishing_goes_on_when_it_may(newer_peer: Peer) -> None:
    conn = connect(newer_peer, blocked_timeout=PATIENCE)
    ch = open_channel(newer_peer, conn)
    block(newer_peer, conn)
    newer_peer.do(await_rest)
    newer_peer.send("connection.unblocked", channel=0)
    newer_peer.expect_content("basic.publish", message=MESSAGE)
    ch.basic_publish(amqp.Message("x"))
    assert conn.blocked is None
    part(newer_peer, conn)


def publish_until(ch: amqp.Channel) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        ch.basic_publish(amqp.Message("x"))
        time.sleep(0.02)


def test_a_program_that_only_publishes_notices(newer_peer: Peer, told: List[str]) -> None:
    conn = connect(newer_peer, blocked_timeout=0, on_blocked=told.append)
    ch = open_channel(newer_peer, conn)
    newer_peer.expect_content("basic.publish", message=MESSAGE)
    ch.basic_publish(amqp.Message("x"))
    newer_peer.send("connection.blocked", "low on disk", channel=0)
    newer_peer.drain()
    with pytest.raises(amqp.ConnectionBlockedError, match="low on disk"):
        publish_until(ch)
    assert told == ["low on disk"]
    give_up(conn)


@pytest.mark.parametrize("confirmed", [False, True])
def test_what_is_told_may_use_the_connection(newer_peer: Peer, confirmed: bool) -> None:
    """It is called where no lock is held: calls, publishes, whatever."""
    answers: List[Any] = []
    conn = connect(newer_peer, blocked_timeout=PATIENCE)
    ch = open_channel(newer_peer, conn)
    if confirmed:
        newer_peer.answer("confirm.select", "confirm.select_ok")
        ch.confirm_select()

    def unblocked() -> None:
        answers.append(ch.queue_purge("q"))
        ch.basic_publish(amqp.Message("x"))

    conn.on_blocked = lambda reason: answers.append(ch.queue_purge("q"))
    conn.on_unblocked = unblocked
    newer_peer.send("connection.blocked", "low on memory", channel=0)
    newer_peer.answer("queue.purge", "queue.purge_ok", 1)
    conn.wait(timeout=PATIENCE)
    newer_peer.do(await_rest)  # the publish waits, and is not about to begin
    newer_peer.send("connection.unblocked", channel=0)
    newer_peer.expect_content("basic.publish", message=MESSAGE)
    newer_peer.answer("queue.purge", "queue.purge_ok", 2)
    newer_peer.expect_content("basic.publish", message=MESSAGE)  # that of unblocked()
    ch.basic_publish(amqp.Message("x"))
    assert answers == [1, 2]
    part(newer_peer, conn)


def test_no_confirm_because_of_a_block(newer_peer: Peer) -> None:
    conn = connect(newer_peer)
    ch = open_channel(newer_peer, conn)
    newer_peer.answer("confirm.select", "confirm.select_ok")
    ch.confirm_select()
    newer_peer.expect_content("basic.publish", message=MESSAGE)
    newer_peer.send("connection.blocked", "low on memory", channel=0)
    ch.basic_publish(amqp.Message("x"))
    newer_peer.wait()
    with pytest.raises(amqp.ConfirmTimeoutError, match=r"1 not confirmed yet; the broker has blocked .* low on memory"):
        ch.wait_for_confirms(timeout=0.2)
    part(newer_peer, conn)


def test_what_is_told_after_a_call(newer_peer: Peer, told: List[str]) -> None:
    conn = connect(newer_peer, on_blocked=told.append, on_unblocked=lambda: told.append("again"))
    ch = open_channel(newer_peer, conn)
    newer_peer.expect("queue.purge")
    newer_peer.send("connection.blocked", "low on memory", channel=0)
    newer_peer.send("connection.unblocked", channel=0)
    newer_peer.send("queue.purge_ok", 1)
    assert ch.queue_purge("q") == 1
    while len(told) < 2:  # the answer may have come before
        newer_peer.answer("queue.purge", "queue.purge_ok", 1)
        ch.queue_purge("q")
    assert told == ["low on memory", "again"]
    part(newer_peer, conn)


def test_what_is_told_raises(newer_peer: Peer) -> None:
    """It comes out of wait(), and nothing is the worse for it."""

    def raise_it(reason: str) -> None:
        raise KeyError(reason)

    conn = connect(newer_peer, on_blocked=raise_it)
    newer_peer.send("connection.blocked", "low on memory", channel=0)
    with pytest.raises(KeyError, match="low on memory"):
        conn.wait(timeout=PATIENCE)
    newer_peer.send("connection.unblocked", channel=0)
    conn.wait(timeout=PATIENCE)
    part(newer_peer, conn)


def test_an_answer_is_waited_for_longer(newer_peer: Peer, timeouts: List[Timeouts]) -> None:
    """The broker does not answer while it blocks; that time does not count as its fault."""
    conn = connect(newer_peer, blocked_timeout=PATIENCE)
    ch = open_channel(newer_peer, conn)
    block(newer_peer, conn)
    timeouts[-1].reply_timeout = 0.3
    newer_peer.expect("queue.purge")
    newer_peer.do(lambda: time.sleep(0.8))
    newer_peer.send_bytes(UNBLOCKED + method("queue.purge_ok", 1, dialect=AMQP_0_9_1))
    assert ch.queue_purge("q") == 1
    timeouts[-1].reply_timeout = None
    part(newer_peer, conn)


def test_but_not_for_ever(newer_peer: Peer, timeouts: List[Timeouts]) -> None:
    conn = connect(newer_peer, blocked_timeout=0.3)
    ch = open_channel(newer_peer, conn)
    block(newer_peer, conn)
    timeouts[-1].reply_timeout = 0.1
    newer_peer.expect("queue.purge")
    newer_peer.expect("channel.close")
    begun = time.monotonic()
    with pytest.raises(amqp.AMQPTimeoutError, match=r"no Channel\.queue_purge_ok .* the broker has blocked"):
        ch.queue_purge("q")
    assert time.monotonic() - begun >= 0.35
    timeouts[-1].reply_timeout = None
    part(newer_peer, conn)


def test_a_timeout_of_the_callers_own_holds(newer_peer: Peer) -> None:
    conn = connect(newer_peer, blocked_timeout=None)
    open_channel(newer_peer, conn)
    block(newer_peer, conn)
    newer_peer.expect("connection.close", channel=0)
    newer_peer.expect_end()
    with waits(0.18, 0.21), pytest.raises(amqp.AMQPTimeoutError, match="the broker has blocked the connection"):
        conn.close(timeout=0.2)
    assert conn.transport is None


def test_a_publish_with_a_timeout_of_its_own(newer_peer: Peer) -> None:
    """That holds while the broker blocks, too."""
    conn = connect(newer_peer, blocked_timeout=None)
    ch = open_channel(newer_peer, conn)
    newer_peer.answer("confirm.select", "confirm.select_ok")
    ch.confirm_select()
    block(newer_peer, conn)
    with waits(0.18, 0.21), pytest.raises(amqp.ConnectionBlockedError):
        ch.basic_publish_confirm(amqp.Message("x"), timeout=0.2)
    assert not ch.unconfirmed
    part(newer_peer, conn)


def test_several_blocks_in_the_time_of_one_call(newer_peer: Peer, timeouts: List[Timeouts]) -> None:
    """None of them counts as the broker's fault."""
    conn = connect(newer_peer, blocked_timeout=PATIENCE)
    ch = open_channel(newer_peer, conn)
    block(newer_peer, conn)
    timeouts[-1].reply_timeout = 0.5
    newer_peer.expect("queue.purge")
    for _ in range(3):
        newer_peer.do(lambda: time.sleep(0.3))
        newer_peer.send_bytes(UNBLOCKED + BLOCKED)
    newer_peer.send_bytes(UNBLOCKED + method("queue.purge_ok", 1, dialect=AMQP_0_9_1))
    assert ch.queue_purge("q") == 1
    timeouts[-1].reply_timeout = None
    part(newer_peer, conn)


@pytest.mark.parametrize("name", ["reply_timeout", "write_timeout", "blocked_timeout"])
@pytest.mark.parametrize("value", ["5", float("nan"), []])
def test_timeouts_that_are_none(name: str, value: Any) -> None:
    """Before anybody is connected to."""
    with pytest.raises(ValueError, match=name + ": a timeout is a number of seconds, 0 or more, or None"):
        amqp.Connection("127.0.0.1:1", **{name: value})


def test_what_another_thread_tells_just_then_is_told_once() -> None:
    """Between looking whether something is to tell, and taking it."""
    told: List[str] = []

    class Taken(Deque[Any]):
        def popleft(self) -> Any:
            self.clear()
            return super().popleft()

    notices = Notices()
    notices.calls = Taken([lambda: told.append("blocked")])
    notices.tell()
    assert told == []
