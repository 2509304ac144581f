"""Proves what a channel in confirm mode makes of messages that are alike, of one that was not sent after all, and of
acknowledgements that come while other threads publish and wait. See test_confirmed_publishing for the plain course."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from typing import List, Optional

import pytest

import amqplib.client_0_9_1 as amqp
from tests.rest import await_rest
from tests.waits import waits

from .frozen import AMQP_0_9_1
from .full import full
from .peer import PATIENCE, Peer, method
from .test_confirmed_publishing import NO_ROUTE, expect_publish, select
from .threads import Threads


def publish(peer: Peer, ch: amqp.Channel, body: bytes) -> Optional[int]:
    """A mandatory message, which the peer gets."""
    expect_publish(peer, "q", body, True)
    return ch.basic_publish(amqp.Message(body), routing_key="q", mandatory=True)


def publish_in_vain(ch: amqp.Channel, body: bytes) -> None:
    """A mandatory message, which does not leave."""
    with waits(0.9, 1.01), pytest.raises(amqp.AMQPTimeoutError):
        ch.basic_publish_confirm(amqp.Message(body), routing_key="q", mandatory=True, timeout=1.0)


def give_back(peer: Peer, body: bytes) -> None:
    peer.send_content("basic.return", *NO_ROUTE, "", "q", message=({}, body))


def verdict(peer: Peer, ch: amqp.Channel) -> amqp.UnconfirmedError:
    """Of what the peer has said by now."""
    peer.wait()
    with pytest.raises(amqp.UnconfirmedError) as caught:
        ch.wait_for_confirms(timeout=0.1)
    return caught.value


# --- messages that are alike


@pytest.mark.parametrize("again", [False, True])
def test_one_came_back_while_another_could_not_be_sent(
    newer_peer: Peer, newer_conn: amqp.Connection, newer: amqp.Channel, again: bool
) -> None:
    """Of the two that were sent one is refused, so the other one is what came back; not a third, sent later."""
    select(newer_peer, newer)
    for _ in range(2):
        publish(newer_peer, newer, b"x")
    with full(newer_peer, newer_conn):
        newer_peer.do(await_rest)  # the return comes while the third waits to be sent
        give_back(newer_peer, b"x")
        publish_in_vain(newer, b"x")
        assert newer.returned_messages.qsize() == 1
    if again:
        assert publish(newer_peer, newer, b"x") == 3
    newer_peer.send("basic.nack", 1, False, False)
    said = verdict(newer_peer, newer)
    assert (list(said.nacked), list(said.returned), list(said.unconfirmed)) == ([1], [2], [3] * again)


@pytest.mark.parametrize("another_kind", [False, True])
def test_the_number_of_one_that_could_not_be_sent_is_given_again(
    newer_peer: Peer, newer_conn: amqp.Connection, newer: amqp.Channel, another_kind: bool
) -> None:
    """What was sent later than the one that came back cannot be that one."""
    acked: List[int] = []
    select(newer_peer, newer, on_ack=lambda tag, msg: acked.append(tag))
    for number in (1, 2):
        assert publish(newer_peer, newer, b"x") == number
    with full(newer_peer, newer_conn):
        publish_in_vain(newer, b"x")
    give_back(newer_peer, b"x")
    newer_peer.send("basic.ack", 7, False)  # of none: something to wait for
    newer_peer.wait()
    newer.wait(timeout=PATIENCE)
    assert newer.returned_messages.qsize() == 1
    tags = [3]
    if another_kind:
        assert publish(newer_peer, newer, b"y") == tags[0]
        tags.insert(0, 4)
    assert publish(newer_peer, newer, b"x") == tags[0]
    for tag in tags:
        newer_peer.send("basic.ack", tag, False)
    newer_peer.send("basic.nack", 1, False, False)
    said = verdict(newer_peer, newer)
    assert (list(said.nacked), list(said.returned), said.unconfirmed) == ([1], [2], {})
    assert acked == tags


# --- the program's functions


def test_a_function_that_raises_at_the_first_of_three(newer_peer: Peer, newer: amqp.Channel) -> None:
    """The next wait() goes on with the second."""
    acked: List[int] = []

    def on_ack(tag: int, msg: object) -> None:
        acked.append(tag)
        if tag == 1:
            raise KeyError("the program's own")

    select(newer_peer, newer, on_ack=on_ack)
    for _ in range(3):
        publish(newer_peer, newer, b"x")
    newer_peer.send("basic.ack", 3, True)
    with pytest.raises(KeyError, match="the program's own"):
        newer.wait(timeout=PATIENCE)
    assert acked == [1]
    newer.wait(timeout=PATIENCE)
    assert acked == [1, 2, 3]
    with pytest.raises(amqp.AMQPTimeoutError):
        newer.wait(timeout=0.05)


# --- threads


def test_publishing_and_settling_in_two_threads(
    newer_peer: Peer, newer: amqp.Channel, threads: Threads, hurried: None
) -> None:
    """Neither meets the other in the middle of an entry in the books."""
    select(newer_peer, newer)
    count = 3000

    def answer() -> None:
        for number in range(1, count + 1):
            newer_peer.bodies(1)
            if not number % 100:  # so that an entry takes its time
                newer_peer.says(method("basic.ack", number, True, dialect=AMQP_0_9_1))

    newer_peer.do(answer)
    over = threading.Event()

    def wait() -> None:
        while not over.is_set():
            try:
                newer.wait(timeout=0.01)
            except amqp.AMQPTimeoutError:
                pass

    threads.start(wait)
    try:
        for number in range(1, count + 1):
            while len(newer.unconfirmed) > 300:  # until it is in the middle of an entry, that is
                time.sleep(0)
            assert newer.basic_publish(amqp.Message(b"x"), routing_key="q", mandatory=True) == number
        newer.wait_for_confirms(timeout=PATIENCE)
    finally:
        over.set()
    threads.results()
    assert newer.unconfirmed == {}


def test_looking_at_what_is_unconfirmed_while_another_thread_publishes(
    newer_peer: Peer, newer: amqp.Channel, threads: Threads, hurried: None
) -> None:
    """Each look sees the messages from the first to one of the last, in order."""
    select(newer_peer, newer)
    count = 3000
    published: List[int] = []
    looked = threading.Semaphore(0)

    def read_all() -> None:
        newer_peer.bodies(count)

    def publish_all() -> None:
        for number in range(1, count + 1):
            newer.basic_publish(amqp.Message(b"x"), routing_key="q")
            published.append(number)
            if not number % 100:
                assert looked.acquire(timeout=PATIENCE)

    newer_peer.do(read_all)
    threads.start(publish_all)
    looks = 0
    while len(published) < count:
        before = len(published)
        try:
            newer.wait_for_confirms(timeout=0)
        except amqp.ConfirmTimeoutError as exc:
            tags = list(exc.unconfirmed)
            assert tags == list(range(1, len(tags) + 1))
            assert len(tags) >= before
            looks += 1
            looked.release()
    threads.results()
    assert looks > 10
    assert list(newer.unconfirmed) == list(range(1, count + 1))
    newer_peer.send("basic.ack", count, True)
    newer.wait_for_confirms(timeout=PATIENCE)


# --- what is kept


def test_nothing_is_kept_for_a_wait_that_is_over(newer_peer: Peer, newer: amqp.Channel) -> None:
    """What is refused later is reported once, and not noted for those who waited before."""
    select(newer_peer, newer)
    expect_publish(newer_peer, "q", b"1")
    newer_peer.send("basic.ack", 1, False)
    newer.basic_publish_confirm(amqp.Message(b"1"), routing_key="q", timeout=PATIENCE)
    newer.wait_for_confirms(timeout=PATIENCE)
    msg = amqp.Message(b"2")
    ref = weakref.ref(msg)
    expect_publish(newer_peer, "q", b"2")
    newer.basic_publish(msg, routing_key="q")
    del msg
    newer_peer.send("basic.nack", 2, False, False)
    assert list(verdict(newer_peer, newer).nacked) == [2]
    gc.collect()
    assert ref() is None
