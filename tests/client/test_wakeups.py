"""Proves that a thread that waits is woken by what it waits for, and at once, whoever reads it, and by nothing else.

Whoever waits looks again of its own accord now and then. In these tests it does not: it is woken, or it hangs.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import Counter
from types import FrameType
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import pytest

import amqplib.client_0_8 as amqp
import amqplib.client_0_9_1 as amqp91
from tests.rest import await_rest
from tests.waits import waits

from .peer import PATIENCE, Peer, content, method
from .test_confirmed_publishing import expect_publish, select
from .threads import Threads

pytestmark = pytest.mark.usefixtures("woken")

DELIVER = (60, 60)


class Waiter:
    """A thread that waits."""

    def __init__(self, wait: Callable[[], Any]) -> None:
        self._wait = wait
        self._done = threading.Event()
        self.outcome: Any = None
        Threads().start(self._run)
        await_rest()

    def _run(self) -> None:
        try:
            self.outcome = self._wait()
        except BaseException as exc:
            self.outcome = exc.with_traceback(None)
        self._done.set()

    def woken(self) -> None:
        """Wait for it to be done."""
        assert self._done.wait(PATIENCE), "it is still waiting"

    def waits(self) -> bool:
        """Is it at rest, and not done?"""
        await_rest()
        return not self._done.is_set()


def deliver(peer: Peer, number: int, channel: int = 1) -> None:
    peer.send_content("basic.deliver", "tag", number, False, "", "", channel=channel)


@pytest.fixture
def channels(peer: Peer, conn: amqp.Connection) -> List[amqp.Channel]:
    """Two channels, with a consumer 'tag' each."""
    made = []
    for number in (1, 2):
        peer.open_channel(number)
        made.append(conn.channel())
        made[-1].callbacks["tag"] = lambda msg: None
    return made


# --- one reads, another waits


def test_by_what_another_thread_reads(peer: Peer, channels: List[amqp.Channel]) -> None:
    one, other = channels
    leader = Waiter(one.wait)
    follower = Waiter(other.wait)
    deliver(peer, 1, 2)
    follower.woken()
    deliver(peer, 1, 1)
    leader.woken()


def test_after_the_thread_that_read_has_what_it_wants(peer: Peer, channels: List[amqp.Channel]) -> None:
    one, other = channels
    leader = Waiter(one.wait)
    follower = Waiter(other.wait)
    deliver(peer, 1, 1)
    leader.woken()
    deliver(peer, 1, 2)
    follower.woken()


@pytest.mark.parametrize("how", ["timeout", "raises"])
def test_after_the_wait_of_the_thread_that_read_has_failed(peer: Peer, channels: List[amqp.Channel], how: str) -> None:
    one, other = channels

    def fails(msg: amqp.Message) -> None:
        raise KeyError

    one.callbacks["tag"] = fails
    leader = Waiter(lambda: one.wait(timeout=0.3 if how == "timeout" else PATIENCE))
    follower = Waiter(other.wait)
    if how == "raises":
        deliver(peer, 1, 1)
    leader.woken()
    assert isinstance(leader.outcome, amqp.AMQPTimeoutError if how == "timeout" else KeyError)
    deliver(peer, 1, 2)
    follower.woken()
    assert follower.outcome is None


def test_by_a_call_of_another_threads(peer: Peer, channels: List[amqp.Channel]) -> None:
    """What comes with the answer to it, and what comes behind that."""
    one, other = channels
    follower = Waiter(other.wait)
    peer.expect("queue.purge")
    peer.send_bytes(content("basic.deliver", "tag", 1, False, "", "", channel=2) + method("queue.purge_ok", 3))
    assert one.queue_purge("q") == 3
    follower.woken()


def test_a_call_by_what_another_thread_reads(peer: Peer, channels: List[amqp.Channel]) -> None:
    one, other = channels
    leader = Waiter(other.wait)
    for number in range(3):
        peer.answer("queue.purge", "queue.purge_ok", number)
        assert one.queue_purge("q") == number
    deliver(peer, 1, 2)
    leader.woken()


def test_those_who_wait_for_confirms(newer_peer: Peer, newer: amqp91.Channel) -> None:
    """By an acknowledgement that another thread reads."""
    select(newer_peer, newer)
    expect_publish(newer_peer, "q", b"x")
    newer.basic_publish(amqp91.Message(b"x"), routing_key="q")
    leader = Waiter(lambda: newer.wait([DELIVER]))
    waiters = [Waiter(newer.wait_for_confirms) for _ in range(2)]
    newer_peer.send("basic.ack", 1, False)
    for waiter in waiters:
        waiter.woken()
        assert waiter.outcome is None
    deliver(newer_peer, 1)
    leader.woken()


def test_those_who_wait_for_room(newer_peer: Peer, newer: amqp91.Channel) -> None:
    select(newer_peer, newer, window=1)
    expect_publish(newer_peer, "q", b"x")
    newer.basic_publish(amqp91.Message(b"x"), routing_key="q")
    leader = Waiter(lambda: newer.wait([DELIVER]))
    publisher = Waiter(lambda: newer.basic_publish(amqp91.Message(b"y"), routing_key="q"))
    newer_peer.send("basic.ack", 1, False)
    expect_publish(newer_peer, "q", b"y")
    publisher.woken()
    assert publisher.outcome == 2
    deliver(newer_peer, 1)
    leader.woken()


@pytest.mark.parametrize("how", ["reset", "close", "the server's close", "this program's close"])
def test_all_by_the_end(peer: Peer, conn: amqp.Connection, channels: List[amqp.Channel], how: str) -> None:
    waiters = [Waiter(channel.wait) for channel in (*channels, channels[1])]
    if how == "the server's close":
        peer.send("connection.close", 320, "bye", 0, 0, channel=0)
        peer.expect("connection.close_ok", channel=0)
        peer.expect_end()
    elif how == "this program's close":
        peer.part()
        conn.close()
    else:
        getattr(peer, how)()
    for waiter in waiters:
        waiter.woken()
        assert isinstance(waiter.outcome, amqp.AMQPConnectionException), waiter.outcome


def test_all_by_the_end_of_their_channel(peer: Peer, channels: List[amqp.Channel]) -> None:
    one, other = channels
    leader = Waiter(other.wait)
    waiters = [Waiter(one.wait) for _ in range(2)]
    peer.answer("channel.close", "channel.close_ok")
    one.close()
    for waiter in waiters:
        waiter.woken()
        assert isinstance(waiter.outcome, amqp.ChannelClosedError), waiter.outcome
    deliver(peer, 1, 2)
    leader.woken()


# --- what a wait counts


def test_a_delivery_that_wait_has_handled_is_not_handled_again(peer: Peer, conn: amqp.Connection) -> None:
    """drain_events() has been told of the channel, and finds nothing there."""
    peer.open_channel()
    ch = conn.channel()
    got: List[int] = []
    ch.callbacks["tag"] = lambda msg: got.append(msg.delivery_tag)
    deliver(peer, 1)
    ch.wait(timeout=PATIENCE)
    for timeout in (0, 0.05):
        with pytest.raises(amqp.AMQPTimeoutError):
            conn.drain_events(timeout=timeout)
    deliver(peer, 2)
    conn.drain_events(timeout=PATIENCE)
    assert got == [1, 2]


def test_each_returned_message_counts_as_one_wait(peer: Peer, ch: amqp.Channel) -> None:
    """Also when two come at once, and the program leaves them where they are."""
    peer.send_bytes(b"".join(content("basic.return", 312, text, "", "k") for text in "ab"))
    for _ in range(2):
        ch.wait(timeout=PATIENCE)
    began = time.monotonic()
    with pytest.raises(amqp.AMQPTimeoutError):
        ch.wait(timeout=0.1)
    assert time.monotonic() - began >= 0.09
    assert [ch.returned_messages.get_nowait()[1] for _ in range(2)] == ["a", "b"]


def test_four_threads_wait_on_one_channel_two_of_them_for_some_methods_only(
    peer: Peer, ch: amqp.Channel, threads: Threads, hurried: None
) -> None:
    """Each method is handled once, by a thread that waits for it."""
    got: List[int] = []
    ch.callbacks["tag"] = lambda msg: got.append(msg.delivery_tag)
    over = threading.Event()
    bursts, alerts, deliveries = 8, 120, 20  # of alerts, 1000 are kept
    # many, so that looking for one of them takes a while
    some = [*((60, method_id) for method_id in range(200, 240)), DELIVER]

    def wait(*allowed: Any) -> int:
        handled = 0
        while True:
            try:
                ch.wait(*allowed)
            except amqp.ChannelClosedError:
                assert over.is_set()
                return handled
            handled += 1

    for _ in range(2):
        threads.start(wait)
        threads.start(wait, some)
    for burst in range(bursts):
        # those for some threads only, far behind what these have to pass over
        peer.send_bytes(b"".join(method("channel.alert", n, "", {}) for n in range(alerts)))
        numbers = range(burst * deliveries, (burst + 1) * deliveries)
        peer.send_bytes(b"".join(content("basic.deliver", "tag", n, False, "", "") for n in numbers))
    end = time.monotonic() + PATIENCE
    while len(got) < bursts * deliveries or ch.alerts.qsize() < bursts * alerts:
        assert time.monotonic() < end, (len(got), ch.alerts.qsize())
        time.sleep(0.01)
    over.set()
    peer.answer("channel.close", "channel.close_ok")
    ch.close()
    handled = threads.results()
    assert sorted(got) == list(range(bursts * deliveries))
    assert Counter(ch.alerts.get_nowait()[0] for _ in range(bursts * alerts)) == dict.fromkeys(range(alerts), bursts)
    assert sum(handled) == bursts * (alerts + deliveries)


# --- what a wait is not to be disturbed by, and what is told in it


WAITS: Dict[str, Callable[[amqp91.Channel], Any]] = {
    "for some methods": lambda ch: ch.wait([DELIVER], timeout=0.3),
    "for any": lambda ch: ch.wait(timeout=0.3),
    "for confirms": lambda ch: ch.wait_for_confirms(timeout=0.3),
    "for one confirm": lambda ch: ch.basic_publish_confirm(amqp91.Message(b"y"), routing_key="q", timeout=0.3),
    "on the connection": lambda ch: ch.connection and ch.connection.drain_events(timeout=0.3),
}


@pytest.mark.parametrize("name", WAITS)
def test_a_block_is_told_of_inside_a_wait(newer_peer: Peer, name: str) -> None:
    """Though that goes on waiting, in vain."""
    told: List[Any] = []
    inside = False
    newer_peer.welcome()
    newer_peer.open_channel()
    conn = amqp91.Connection(newer_peer.address, heartbeat=0, on_blocked=lambda reason: told.append((reason, inside)))
    ch = conn.channel()
    select(newer_peer, ch)
    expect_publish(newer_peer, "q", b"x")
    ch.basic_publish(amqp91.Message(b"x"), routing_key="q")
    newer_peer.wait()
    newer_peer.send("connection.blocked", "low", channel=0)
    inside = True
    newer_peer.wait()
    if name == "for one confirm":
        expect_publish(newer_peer, "q", b"y")
    with waits(0.29, 0.31), pytest.raises(amqp91.AMQPTimeoutError):
        WAITS[name](ch)
    assert told == [("low", True)]
    newer_peer.part()
    conn.close()


def test_a_wait_does_not_raise_the_end_of_another_channel(newer_peer: Peer, threads: Threads) -> None:
    """What that one's batch is given can never leave; its own thread is told, at once."""
    newer_peer.welcome()
    newer_peer.open_channel(1)
    newer_peer.open_channel(2)
    conn = amqp91.Connection(newer_peer.address, reply_timeout=PATIENCE, heartbeat=0)
    ch, other = conn.channel(), conn.channel()
    closing, waited = threading.Event(), threading.Event()
    newer_peer.expect("channel.close")
    newer_peer.do(closing.set)
    newer_peer.do(lambda: None if waited.wait(PATIENCE) else pytest.fail("nobody has waited"))
    newer_peer.send("channel.close_ok")
    seen: List[BaseException] = []

    def wait(call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as exc:
            seen.append(exc)

    def batch() -> None:
        with ch.batch():
            threads.start(ch.close)
            assert closing.wait(PATIENCE)
            with pytest.raises(amqp91.ChannelClosedError):
                ch.basic_publish(amqp91.Message(b"x"), "e")
            wait(lambda: conn.drain_events(timeout=0.01))
            wait(lambda: other.wait(timeout=0.01))
            waited.set()

    batch()
    assert threads.results() == [None]
    assert [type(exc) for exc in seen] == [amqp91.AMQPTimeoutError] * 2
    newer_peer.part()
    conn.close()


# --- the end of a block, as the time for it is up


@pytest.fixture
def impatient(newer_peer: Peer) -> Iterator[amqp91.Channel]:
    """A channel on which another thread waits, of a connection that bears with a block for 20 ms."""
    newer_peer.welcome()
    newer_peer.open_channel()
    conn = amqp91.Connection(newer_peer.address, heartbeat=0, blocked_timeout=0.02)
    ch = conn.channel()
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            with contextlib.suppress(amqp91.AMQPTimeoutError):
                ch.wait(timeout=0.005)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    yield ch
    over.set()
    thread.join(PATIENCE)
    newer_peer.part()
    conn.close()


def await_block(ch: amqp91.Channel, blocked: bool) -> None:
    end = time.monotonic() + PATIENCE
    while ch.connection and (ch.connection.blocked is not None) != blocked:
        assert time.monotonic() < end
        time.sleep(0.0005)


def publish_or_not(ch: amqp91.Channel, body: bytes) -> bool:
    """Was it published? If not, the reason is a block only if that is what it names."""
    try:
        ch.basic_publish(amqp91.Message(body), routing_key="q")
    except amqp91.AMQPTimeoutError as exc:
        said = isinstance(exc, amqp91.ConnectionBlockedError), str(exc)
    else:
        return True
    assert said[0] == ("has blocked the connection" in said[1] and "low" in said[1]), said
    return False


def test_unblocked_as_the_time_is_up(newer_peer: Peer, impatient: amqp91.Channel) -> None:
    """A publish either has been sent when it returns, or has not been when it raises."""
    sent: List[bytes] = []
    for number in range(40):
        newer_peer.send("connection.blocked", "low", channel=0)
        newer_peer.wait()
        await_block(impatient, True)
        later = 0.017 + 0.0003 * (number % 20)
        newer_peer.do(lambda later=later: time.sleep(later))  # type: ignore[misc]
        newer_peer.send("connection.unblocked", channel=0)
        if publish_or_not(impatient, b"%d" % number):
            sent.append(b"%d" % number)
        newer_peer.wait()
        await_block(impatient, False)
    for body in sent:
        expect_publish(newer_peer, "q", body)
    newer_peer.wait()


@pytest.mark.parametrize("moment", [("return", None), ("call", "excuse")], ids=["soon", "as the text is made"])
def test_unblocked_just_after_the_time_was_up(
    newer_peer: Peer, impatient: amqp91.Channel, monkeypatch: pytest.MonkeyPatch, moment: Tuple[str, Optional[str]]
) -> None:
    """The error is on its way to the program when another thread hears that the block is over."""
    newer_peer.send("connection.blocked", "low", channel=0)
    newer_peer.wait()
    await_block(impatient, True)
    me = threading.get_ident()
    make = amqp91.AMQPTimeoutError.__init__
    over = threading.Event()

    def made(self: Any, *args: Any, **more: Any) -> None:
        make(self, *args, **more)
        if threading.get_ident() == me and not over.is_set():
            over.set()
            newer_peer.send("connection.unblocked", channel=0)
            sys.setprofile(on_its_way)

    def on_its_way(frame: FrameType, event: str, arg: Any) -> None:
        # one function after the other, where none is named; in the first ones there may be a lock that is held
        if event == moment[0] and moment[1] in (None, frame.f_code.co_name):
            end = time.monotonic() + 0.1
            while impatient.connection and impatient.connection.blocked is not None and time.monotonic() < end:
                time.sleep(0.001)

    monkeypatch.setattr(amqp91.AMQPTimeoutError, "__init__", made)
    before = sys.getprofile()
    try:
        published = publish_or_not(impatient, b"x")
    finally:
        sys.setprofile(before)
    assert over.is_set()
    await_block(impatient, False)
    if published:
        expect_publish(newer_peer, "q", b"x")
    assert publish_or_not(impatient, b"y")
    expect_publish(newer_peer, "q", b"y")
    newer_peer.wait()
